"""Random program texts: over the whole grammar, mostly well-formed, and mutations of texts."""

from collections.abc import Callable, Sequence
from random import Random

from scallax.analysis.aggregators import AGGREGATORS
from scallax.language.functions import FUNCTIONS
from scallax.language.predicates import PREDICATES
from scallax.language.values import ValueType

_RELATIONS = ("edge", "path", "p", "q", "r", "s", "big", "word")
_VARIABLES = ("x", "y", "z", "w", "n")
# Literals of the types that are no numbers, by type.
_WORDY = {
    "bool": ("true", "false"),
    "char": ("'a'", "'0'", r"'\n'", "'é'", r"'\''"),
    "String": ('"a"', '"b"', '""', '"12"', r'"\"\n\\"', '"é"', '"inf"', '"1e400"', '"a{}b"', '"""\\t\n"b\\""""'),
    "Symbol": ('s"a"', 's"b"', 's""', r's"\""'),
    "DateTime": ('t"2020-01-31"', 't"0001-01-01"', 't"9999-12-31 23:59:59"', 't"2020-02-29T10:00:00+02:00"'),
    "Duration": ('d"1h"', 'd"1M"', 'd"-1 y 3d"', 'd"0s"', 'd"9000000000000 s"', 'd"99999999999999999999y"'),
}
_TYPES = ("i8", "i32", "i64", "i128", "u8", "usize", "u128", "f32", "f64", "bool", "char", "String")
_EXOTIC_TYPES = ("Symbol", "DateTime", "Duration", "Entity", "Tensor", "isize", "&str", "Alias", "Missing")
_AGGREGATES = (*AGGREGATORS, "nothing")
_FUNCTIONS = (*FUNCTIONS, "nothing")
_PREDICATES = (*PREDICATES, "nothing")
_ATTRIBUTES = (
    "@hidden",
    '@file("no.csv")',
    '@file("no.csv", deliminator=";", header=true, keys=["a"], fields=["b", "c"])',
    '@file("no.csv", has_probability=true)',
    '@file("out.csv", deliminator="\\t")',
    '@demand("bf")',
    '@demand("b")',
    "@goal",
    '@scheduler("dfs")',
    '@scheduler("beam", beam_size=3)',
    '@storage("sorted")',
    "@tagged",
    "@no_temp_relation",
    "@nothing(1, x = [1])",
)
_PARAMETERS = ("<2>", "<0>", "<desc>", "<asc=true>", '<", ">', '<"-", all>', "<k=2>", "<nothing=1>", "<i32>", "<-1>")
_NUMBERS = ("i8", "i32", "i64", "i128", "u8", "usize", "u128", "f32", "f64")
_AND = ("and", "/\\")
_OR = ("or", "\\/")
_DISTORTED = (
    "rel",
    "(",
    ")",
    "{",
    "}",
    ",",
    ":",
    "::",
    "=",
    "and",
    "not",
    "=>",
    '"',
    "/*",
    "1",
    "x",
    "!",
    "<",
    "@",
    ";",
)


# Declarations that the parts of exotic programs refer to.
_DECLARED = (
    "type E = Nil() | Cons(i32, E) | Node(E, E) | Leaf(i32) | Tip() | Fork(E, E)",
    "type Color = RED | GREEN = 3 | BLUE",
    "const LEAF = Leaf(1)",
)


class ProgramWriter:
    """Writes programs: exotic ones use every construct, careful ones are mostly free of errors and reach grounding."""

    def __init__(self, random: Random):
        self._random = random
        self._exotic = random.random() < 0.4
        self._careful = not self._exotic and random.random() < 0.8
        # Variables that a careful rule may use outside its first atoms.
        self._bound: Sequence[str] = ()
        count = random.randint(2, len(_RELATIONS))
        names = random.sample(_RELATIONS, count)
        # Mostly one type, so that joins and sums have a chance to fit.
        kind = self._kind = random.choice((*_TYPES, *_WORDY))
        self._columns = {
            name: [
                kind if self._careful or random.random() < 0.8 else random.choice(_TYPES)
                for _ in range(random.randint(0, 3))
            ]
            for name in names
        }

    def program(self) -> str:
        items = [self._declaration()] if self._careful or self._random.random() < 0.8 else []
        if self._exotic and self._random.random() < 0.8:
            items += [*_DECLARED, f"const K = {self._literal(self._kind)}"]
        items += [self._fact_item() for _ in range(self._random.randint(0, 4))]
        items += [self._item() for _ in range(self._random.randint(1, 5))]
        if self._random.random() < 0.3:
            items += self._random.choice((self._terms, self._demanded, self._enumeration))()
        text = self._random.choice(("\n", " ", "\n\n// c\n", " /* c */ ")).join(items)
        return self._distort(text) if not self._careful and self._random.random() < 0.3 else text

    def _distort(self, text: str) -> str:
        words = text.split(" ")
        for _ in range(self._random.randint(1, 3)):
            place = self._random.randrange(len(words))
            match self._random.randrange(3):
                case 0:
                    del words[place]
                case 1:
                    words.insert(place, self._random.choice(_DISTORTED))
                case _:
                    words[place] = self._random.choice(_DISTORTED)
            if not words:
                break
        return " ".join(words)

    def _pick(self, common: Sequence[Callable[[], str]], exotic: Sequence[Callable[[], str]] = ()) -> str:
        choices = [*common, *exotic] if self._exotic else common
        return self._random.choice(choices)()

    def _item(self) -> str:
        attribute = f"{self._random.choice(_ATTRIBUTES)} " if self._exotic and self._random.random() < 0.1 else ""
        item = self._pick(
            [self._rule, self._rule, self._rule, self._fact_item, self._query, self._constants],
            [
                self._aliases,
                self._data_type,
                self._imports,
                self._disjunction,
                self._reduction_rule,
                self._query,
                self._destructor,
                self._file,
            ],
        )
        return attribute + item

    def _declaration(self) -> str:
        relations: list[str] = []
        for name, types in self._columns.items():
            columns = [f"c{i}: {type}" if self._random.random() < 0.2 else type for i, type in enumerate(types)]
            if self._exotic and columns and self._random.random() < 0.1:
                columns[0] = self._random.choice(("bound ", "free ", "")) + self._random.choice(_EXOTIC_TYPES)
            relations.append(f"{name}({', '.join(columns)})")
        prefix = "extern " if self._exotic and self._random.random() < 0.02 else ""
        return f"{prefix}type {', '.join(relations)}"

    def _aliases(self) -> str:
        return self._random.choice(
            (
                "type Alias = i32",
                "type Alias <: usize",
                "type Other <: i32",
                "type $g(x: i32) -> i32",
                "type Loop = Loop",
            )
        )

    def _data_type(self) -> str:
        return self._random.choice(
            ("type Hue = CYAN | GREEN = 3", "type F = Twig(i32) | Bush(F, E)", "type E = Nil() | Cons(i32, E)")
        )

    def _imports(self) -> str:
        return self._random.choice(('import "no_such_file.scl"', 'import ""', 'import "/"', r'import "\0"'))

    def _file(self) -> str:
        return f"{self._random.choice(_ATTRIBUTES[1:5])} type extra({self._random.choice(_TYPES)}, String)"

    def _destructor(self) -> str:
        name = self._relation()
        arguments = [self._pattern(2) if self._random.random() < 0.5 else self._variable() for _ in self._types(name)]
        return f"rel {name}({', '.join(arguments)}) = {self._formula(2)}"

    def _terms(self) -> list[str]:
        """A data type with terms of every origin, and rules that take them apart and make larger ones."""
        kind, variable = self._kind, self._variable()
        items = [
            f"type Tree = Tip() | Leaf({kind}) | Fork(Tree, Tree)",
            f"const LEAF = Leaf({self._literal(kind)}), FORK = Fork(LEAF, Tip())",
            "rel tree = {LEAF, FORK, Tip()}",
            f"rel tree(new Leaf({self._literal(kind)})) rel value({variable}) = tree(t), case t is Leaf({variable})",
        ]
        rules = [
            "rel tree(new Fork(s, t)) = tree(s), tree(t)",
            "rel tree(s) = tree(Fork(s, _))",
            f"rel value({variable}) = case t is Leaf({variable}) and not tree(t)",
            f"rel size(t, n) = n := count({variable}: tree(t), case t is Leaf({variable}))",
            "rel size(Fork(s, t), n + m) = size(s, n), size(t, m)",
            "rel no_tip(t) = tree(t), not case t is Fork(Tip(), _)",
            "rel text(t as String, $hash(t)) = tree(t) rel back($parse_entity(s)) = text(s, _)",
            'rel unread($parse_entity("Leaf("))',
            f"rel value({variable}) = tree({self._pattern(2)})",
            "query tree(Fork(LEAF, t))",
        ]
        return items + self._random.sample(rules, self._random.randint(1, 5))

    def _pattern(self, depth: int) -> str:
        choice = self._random.random()
        if depth == 0 or choice < 0.3:
            return self._random.choice((self._variable(), "_", self._literal(self._kind), "Tip()", "LEAF"))
        if choice < 0.6:
            return f"Leaf({self._pattern(0)})"
        return f"Fork({self._pattern(depth - 1)}, {self._pattern(depth - 1)})"

    def _demanded(self) -> list[str]:
        """A relation that is infinite but for its demand."""
        base, step = self._random.randint(0, 3), self._random.randint(1, 3)
        declaration = self._random.choice(
            ("type steps(bound n: i32, m: i32)", '@demand("bf") type steps(i32, i32)', "type steps(n: i32, m: i32)")
        )
        return [
            declaration,
            f"rel steps({base}, 1)",
            f"rel steps(n, m + k) = steps(n - {step}, m), steps(n - 1, k), n > {base}",
            self._random.choice((f"query steps({self._random.randint(0, 9)}, m)", "query steps(n, m)", "query steps")),
        ]

    def _enumeration(self) -> list[str]:
        """Members of an enum, aliases, constants, symbols and alternatives of heads."""
        first, second = self._random.sample(("RED", "GREEN", "BLUE", "NUMBER"), 2)
        tag = self._random.choice(("0.5", "0.2 * 2.0", "true"))
        return [
            f"type Color = RED | GREEN = {self._random.randint(0, 4)} | BLUE",
            "type Shade <: Color type shade(Shade, Symbol)",
            f"const NUMBER: usize = {self._random.randint(0, 9)}, WORD = {self._literal(self._kind)}",
            f'rel shade = {{0.4::({first}, s"a"); {tag}::({second}, s"b")}}',
            "rel {dark(c); light(c)} = shade(c, _)",
            f"rel 0.5::both(c) and other(c + 1) = dark(c) {self._random.choice(_OR)} light(c)",
            f"@hidden rel named(c, n as String) = shade(c, n), c {self._random.choice(('==', '<', '!='))} {second}",
            "rel total = count(c: shade(c, _)) rel most = argmax[c](n: n := count(s: shade(c, s)))",
        ]

    def _constants(self) -> str:
        if self._careful:
            return f"const K{self._random.randint(0, 99)}: {self._kind} = {self._literal(self._kind)}"
        return f"const K = {self._literal(self._random.choice(_TYPES))}, T: i32 = {self._number()}"

    def _query(self) -> str:
        name = self._relation()
        return f"query {name}" if self._random.random() < 0.5 else f"query {self._atom(name)}"

    def _relation(self) -> str:
        return (
            "missing"
            if not self._careful and self._random.random() < 0.02
            else self._random.choice(list(self._columns))
        )

    def _types(self, name: str) -> list[str]:
        types = self._columns.get(name, ["i32"])
        return [*types, "i32"] if not self._careful and self._random.random() < 0.02 else types

    def _fact_item(self) -> str:
        name = self._relation()
        types = self._types(name)

        def values() -> str:
            return ", ".join(self._literal(type) for type in types)

        if self._random.random() < 0.4:
            return f"rel {self._tag()}{name}({values()})"
        separator = self._random.choice((", ", ", ", "; "))
        elements = [f"{self._tag()}({values()})" for _ in range(self._random.randint(0, 5))]
        return f"rel {name} = {{{separator.join(elements)}}}"

    def _tag(self) -> str:
        if self._random.random() < 0.6:
            return ""
        if self._careful:
            return f"{self._random.choice(('0.5', '0.0', '1.0', 'true', 'false'))}::"
        return f"{self._random.choice(('0.5', '0.0', '1.0', '1', 'true', 'false', '3.25', '-1.0', '0.1 + 0.2', 'x'))}::"

    def _rule(self) -> str:
        name = self._relation()
        if self._careful:
            return self._careful_rule(name)
        heads = [f"{name}({', '.join(self._term() for _ in self._types(name))})"]
        if self._random.random() < 0.05:
            heads.append(self._atom(self._relation()))
        tag = ""
        if self._random.random() < 0.15:
            tag = f"{self._random.choice(('0.5', 'true', 'false', '1.0 / x', 'x', 'x > y', '2'))} :: "
        head = self._random.choice((" and ", ", ") if self._exotic else (" and ",)).join(heads)
        return f"rel {tag}{head} {self._random.choice(('=', ':-'))} {self._formula(3)}"

    def _careful_rule(self, name: str) -> str:
        """Atoms of variables, then whatever uses these."""
        self._bound = ()
        atoms = [self._atom(self._relation()) for _ in range(self._random.randint(1, 3))]
        self._bound = [variable for variable in _VARIABLES if any(variable in _words(atom) for atom in atoms)]
        if not self._bound:
            return self._fact_item()
        body = [*atoms, *(self._careful_literal() for _ in range(self._random.randint(0, 2)))]
        tag = f"{self._random.choice(('0.5', 'true', 'false', '2.0'))} :: " if self._random.random() < 0.15 else ""
        heads = [f"{name}({', '.join(self._expression(1) for _ in self._types(name))})"]
        if self._random.random() < 0.1:
            other = self._relation()
            heads.append(f"{other}({', '.join(self._variable() for _ in self._types(other))})")
        self._bound = ()
        self._random.shuffle(body)
        head = self._random.choice((" and ".join(heads), f"{{{'; '.join(heads)}}}")) if heads[1:] else heads[0]
        return f"rel {tag}{head} = {', '.join(body)}"

    def _careful_literal(self) -> str:
        """A formula over bound variables that fits their type, with variables of its own if it binds some."""
        x, y = self._variable(), self._variable()
        name = self._relation()
        own = [f"v{i}" if self._random.random() < 0.6 else self._variable() for i, _ in enumerate(self._types(name))]
        inner = f"{name}({', '.join(own)})"
        fresh = [variable for variable in own if variable.startswith("v")]
        number = self._random.randint(0, 9)
        choices = [
            self._literal_formula(),
            self._literal_formula(),
            f"n{number} in 0..{number}",
            f"${self._random.choice(('hash', 'format'))}({x}, {y}) != 1" if self._kind != "String" else f"{x} != {y}",
            f"new_tag_variable(), ({x} == {y} or not {inner})",
            f"({x} == {y} implies {inner})",
        ]
        if fresh:
            bindings = ", ".join(fresh)
            choices += [
                f"{self._random.choice(('', 'not '))}exists({bindings}: {inner})",
                f"{self._random.choice(('', 'not '))}forall({bindings}: {inner} implies {fresh[0]} == {x})",
                f"c{number} := count{self._random.choice(('', '!'))}({bindings}: {inner}), c{number} > 0",
                f"m{number} := {self._random.choice(('min', 'max'))}({fresh[0]}: {inner}), m{number} != {x}",
                f"m{number} := argmax[{x}]({fresh[0]}: {inner}, {self._bound_atom()})",
                f"c{number} := count({fresh[0]}: {inner} where {x}: {self._bound_atom()})",
            ]
            if self._kind in _NUMBERS:
                choices.append(f"{fresh[0]}s := {self._random.choice(('sum', 'prod', 'avg'))}({fresh[0]}: {inner})")
            if self._kind == "String":
                choices.append(f'{fresh[0]}s := string_join<", ">({fresh[0]}: {inner})')
        return self._random.choice((*choices, *self._calls(x, y)))

    def _bound_atom(self) -> str:
        name = self._relation()
        return f"{name}({', '.join(self._variable() for _ in self._types(name))})"

    def _calls(self, x: str, y: str) -> list[str]:
        """Constraints that call what is built in for the type of the variables."""
        match self._kind:
            case "String":
                return [
                    f"string_chars({x}, _, 'a')",
                    f"string_split({x}, {y}, _)",
                    f"string_find({x}, {y}, s1, e1), $substring({x}, s1, e1) == {y}",
                    f"$string_index_of($string_upper({x}), $string_trim({y})) >= 0",
                    f"$string_replace({x}, {y}, {x}) < $string_concat({x}, {y})",
                    f"$string_char_at({x}, $string_length({y})) == 'a'",
                ]
            case "DateTime":
                return [
                    f"datetime_ymd({x}, _, mon, _), $datetime_month0({y}) < mon",
                    f'{x} + d"1M" <= {y}',
                    f'({x} - {y}) < d"1y"',
                ]
            case "Duration":
                return [f"{x} + {y} > {x} * 3", f"{x} / {self._random.randint(0, 2)} < {y}"]
            case "f32" | "f64" as kind:
                unary = self._random.choice(
                    ("exp", "log", "sqrt", "sin", "tan", "asin", "floor", "round", "sign", "abs")
                )
                return [
                    f"${unary}({x}) <= $max({x}, {y}, {y})",
                    f"$powf({x}, {y}) > $atan2({x}, {y})",
                    f"{self._random.choice(('soft_eq', 'soft_gt', 'soft_neq', 'float_eq'))}<{kind}>({x}, {y})",
                ]
            case kind if kind in _NUMBERS:
                return [
                    f"range<{kind}>({x}, {y}, _)",
                    f"not range({x}, {y}, _)",
                    f"$pow({x}, 3) >= $min({x}, {y})",
                    f"$mod({x}, {y}) == $abs({x})",
                ]
        return [f"{x} {self._random.choice(('==', '!='))} {y}"]

    def _disjunction(self) -> str:
        return f"rel {{{self._atom(self._relation())}; {self._atom(self._relation())}}} = {self._formula(2)}"

    def _reduction_rule(self) -> str:
        return f"rel {self._relation()}({self._variable()}, n) = n := {self._aggregate()}"

    def _formula(self, depth: int) -> str:
        if depth == 0 or self._random.random() < 0.15:
            return self._literal_formula()
        match self._random.randrange(8 if self._exotic else 7):
            case 0 | 1 | 2:
                return ", ".join(self._literal_formula() for _ in range(self._random.randint(1, 4)))
            case 3 | 4:
                return f"{self._formula(depth - 1)} {self._random.choice(_AND)} {self._literal_formula()}"
            case 5:
                return f"({self._formula(depth - 1)}) {self._random.choice(_OR)} {self._literal_formula()}"
            case 6:
                return f"not ({self._formula(depth - 1)}) and {self._literal_formula()}"
            case _:
                return f"{self._literal_formula()} implies {self._literal_formula()}"

    def _literal_formula(self) -> str:
        return self._pick(
            [self._positive, self._positive, self._positive, self._negative, self._comparison],
            [
                self._aggregation,
                lambda: f"{self._variable()} in {self._number()}..{self._random.choice(('', '='))}{self._number()}",
                lambda: f"case {self._variable()} is Cons({self._variable()}, _)",
                lambda: f"case {self._variable()} is {self._pattern(2)}",
                self._predicate,
                lambda: f"exists({self._variable()}: {self._formula(1)})",
                lambda: f"forall({self._variable()}, y: {self._formula(1)})",
            ],
        )

    def _predicate(self) -> str:
        parameter = self._random.choice(("", "", "<i32>", "<f32>", "<usize>", "<String>", "<2>"))
        terms = ", ".join(self._term() for _ in range(self._random.randint(1, 4)))
        return f"{self._random.choice(_PREDICATES)}{parameter}({terms})"

    def _positive(self) -> str:
        return self._atom(self._relation())

    def _negative(self) -> str:
        return f"{self._random.choice(('not ', '~'))}{self._atom(self._relation())}"

    def _atom(self, name: str) -> str:
        choice = 0.0 if self._careful and not self._bound else 0.3
        terms = (self._term() if self._random.random() < choice else self._variable() for _ in self._types(name))
        return f"{name}({', '.join(terms)})"

    def _comparison(self) -> str:
        is_odd = not self._careful and self._random.random() < 0.03
        operator = "=" if is_odd else self._random.choice(("==", "!=", "<", "<=", ">", ">="))
        return f"{self._expression(2)} {operator} {self._expression(2)}"

    def _aggregation(self) -> str:
        return f"{self._variable()} := {self._aggregate()}"

    def _aggregate(self) -> str:
        arguments = f"[{self._variable()}]" if self._random.random() < 0.2 else ""
        strict = "!" if self._random.random() < 0.1 else ""
        parameters = self._random.choice(_PARAMETERS) if self._random.random() < 0.15 else ""
        where = f" where {self._variable()}: {self._formula(1)}" if self._random.random() < 0.3 else ""
        name = self._random.choice(_AGGREGATES)
        binding = self._random.choice((self._variable(), self._variable(), f"({self._variable()}: i32)", "x, y"))
        return f"{name}{strict}{parameters}{arguments}({binding}: {self._formula(1)}{where})"

    def _term(self) -> str:
        choice = self._random.random()
        if choice < 0.1:
            return "_"
        return self._variable() if choice < 0.7 else self._expression(2)

    def _variable(self) -> str:
        return self._random.choice(self._bound or _VARIABLES)

    def _expression(self, depth: int) -> str:
        if depth == 0 or self._random.random() < 0.4:
            kind = self._kind if self._careful else self._random.choice(_TYPES)
            return self._variable() if self._random.random() < 0.7 else self._literal(kind)
        if self._careful:
            return self._careful_expression()
        inner = depth - 1
        return self._pick(
            [
                lambda: f"({self._expression(inner)}) {self._operator()} ({self._expression(inner)})",
                lambda: f"({self._expression(inner)} {self._operator()} {self._expression(inner)})",
                lambda: f"{self._random.choice('-+!')}{self._expression(inner)}",
                lambda: f"({self._expression(inner)}) as {self._random.choice(_TYPES)}",
                lambda: f"(if {self._expression(inner)} then {self._expression(inner)} else {self._expression(inner)})",
            ],
            [
                lambda: f"${self._random.choice(_FUNCTIONS)}({self._expression(inner)}, {self._expression(inner)})",
                lambda: f"new Cons({self._expression(inner)}, {self._expression(inner)})",
                lambda: f"Node({self._expression(inner)}, {self._expression(inner)})",
                lambda: f"{self._expression(inner)} as {self._random.choice(_EXOTIC_TYPES)}",
                lambda: f"(({self._expression(inner)}) > 1 ? {self._expression(inner)} : K)",
            ],
        )

    def _careful_expression(self) -> str:
        left, right = self._expression(0), self._expression(0)
        match self._kind:
            case "bool":
                return f"({left} {self._random.choice(('&&', '||', '^', '==', '<'))} {right})"
            case "char" | "Symbol":
                return f"({left} == {right} ? {left} : {right})"
            case "DateTime":
                return f"({left} {self._random.choice('+-')} {self._literal('Duration')})"
            case "Duration":
                return self._random.choice((f"({left} + {right})", f"({left} * -3)", f"({left} / 2)"))
            case "String":
                return f"({left} + {right})"
        operation = f"({left} {self._random.choice('++-*/%')} {right})"
        condition = f"{self._expression(0)} {self._random.choice(('<', '==', '>='))} {self._expression(0)}"
        cast = f"({self._expression(0)} as {self._random.choice(('i64', 'String', 'f64'))} as {self._kind})"
        choice = f"(if {condition} then {operation} else {self._expression(0)})"
        return self._random.choice((operation, operation, choice, cast))

    def _operator(self) -> str:
        return self._random.choice(("+", "+", "+", "-", "-", "*", "*", "/", "%", "&&", "||", "^", "=="))

    def _number(self) -> str:
        return str(self._random.choice((0, 1, 2, 3, 7, 127, 128, 255, 256, 2**31, 2**63 - 1, 2**64, 2**127, 10**40)))

    def _literal(self, type: str) -> str:
        if self._exotic and self._random.random() < 0.1:
            return self._random.choice(('s"a"', 't"2020-01-01"', 'd"1h"', "K", "RED", "Nil()", '"""a\nb"""', 't"x"'))
        match type:
            case _ if type in _WORDY:
                return self._random.choice(_WORDY[type])
            case "f32" | "f64":
                return self._random.choice(("0.0", "1.5", "3.25e-3", "1.0e308", "1.0e39", "-0.5", "2"))
            case _ if self._random.random() < 0.8:
                return str(self._random.randint(0, 4))
            case _ if self._careful:
                return str(self._random.choice(ValueType(type).bounds))
            case _:
                return self._random.choice(("-", "")) + self._number()


def _words(text: str) -> list[str]:
    return text.replace("(", " ").replace(")", " ").replace(",", " ").split()


def mutate(texts: Sequence[str], random: Random) -> str:
    """One of the texts with some of its bytes flipped, deleted, repeated or replaced by those of another."""
    data = bytearray(random.choice(texts).encode())
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        place = random.randrange(len(data) + 1)
        end = min(len(data), place + random.choice((1, 1, 3, 10, 50)))
        match random.randrange(5):
            case 0 if place < len(data):
                data[place] ^= 1 << random.randrange(8)
            case 1:
                del data[place:end]
            case 2:
                data[place:place] = data[place:end] * random.choice((1, 2, 20))
            case 3:
                data[place:place] = random.randbytes(random.randint(1, 4))
            case _:
                other = random.choice(texts).encode()
                start = random.randrange(len(other) + 1)
                data[place:end] = other[start : start + random.randint(1, 40)]
    return data.decode(errors=random.choice(("replace", "ignore")))
