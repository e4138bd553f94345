"""Random program texts: over the whole grammar, mostly well-formed, and mutations of texts."""

from collections.abc import Callable, Sequence
from random import Random

_RELATIONS = ("edge", "path", "p", "q", "r", "s", "big", "word")
_VARIABLES = ("x", "y", "z", "w", "n")
_TYPES = ("i8", "i32", "i64", "i128", "u8", "usize", "u128", "f32", "f64", "bool", "char", "String")
_EXOTIC_TYPES = ("Symbol", "DateTime", "Duration", "Entity", "Tensor", "isize", "&str", "Alias", "Missing")
_AGGREGATES = ("count", "sum", "prod", "min", "max", "argmax", "exists", "forall", "string_join", "top", "nothing")
_FUNCTIONS = ("abs", "substring", "string_concat", "string_length", "hash", "max", "min", "pow", "format", "nothing")
_PREDICATES = ("range", "string_chars", "soft_eq", "datetime_ymd")
_ATTRIBUTES = ("@hidden", '@file("no.csv")', '@demand("bf")', "@goal", '@scheduler("dfs")', "@nothing(1, x = [1])")
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


class ProgramWriter:
    """Writes programs: exotic ones use every construct, careful ones are mostly free of errors and reach grounding."""

    def __init__(self, random: Random):
        self._random = random
        self._exotic = random.random() < 0.4
        self._careful = not self._exotic and random.random() < 0.8
        # What a careful rule may use outside its first atoms.
        self._bound: Sequence[str] = ()
        count = random.randint(2, len(_RELATIONS))
        names = random.sample(_RELATIONS, count)
        # Mostly one type, so that joins and sums have a chance to fit.
        kind = self._kind = random.choice(_TYPES)
        self._columns = {
            name: [
                kind if self._careful or random.random() < 0.8 else random.choice(_TYPES)
                for _ in range(random.randint(0, 3))
            ]
            for name in names
        }

    def program(self) -> str:
        items = [self._declaration()] if self._random.random() < 0.8 else []
        items += [self._fact_item() for _ in range(self._random.randint(0, 4))]
        items += [self._item() for _ in range(self._random.randint(1, 5))]
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
            [self._aliases, self._data_type, self._imports, self._disjunction, self._reduction_rule, self._query],
        )
        return attribute + item

    def _declaration(self) -> str:
        relations: list[str] = []
        for name, types in self._columns.items():
            columns = [f"c{i}: {type}" if self._random.random() < 0.2 else type for i, type in enumerate(types)]
            if self._exotic and columns and self._random.random() < 0.1:
                columns[0] = self._random.choice(("bound ", "free ", "")) + self._random.choice(_EXOTIC_TYPES)
            relations.append(f"{name}({', '.join(columns)})")
        prefix = "extern " if self._exotic and self._random.random() < 0.05 else ""
        return f"{prefix}type {', '.join(relations)}"

    def _aliases(self) -> str:
        return self._random.choice(
            ("type Alias = i32", "type Alias <: usize", "type $g(x: i32) -> i32", "type Alias = Alias")
        )

    def _data_type(self) -> str:
        return self._random.choice(
            ("type Color = RED | GREEN = 3 | BLUE", "type E = Leaf(i32) | Node(E, E)", "type E = Nil() | Cons(i32, E)")
        )

    def _imports(self) -> str:
        return 'import "no_such_file.scl"'

    def _constants(self) -> str:
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
        body = [*atoms, *(self._literal_formula() for _ in range(self._random.randint(0, 2)))]
        tag = f"{self._random.choice(('0.5', 'true', 'false', '2.0'))} :: " if self._random.random() < 0.15 else ""
        head = f"{name}({', '.join(self._expression(1) for _ in self._types(name))})"
        self._bound = ()
        self._random.shuffle(body)
        return f"rel {tag}{head} = {', '.join(body)}"

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
                lambda: f"{self._random.choice(_PREDICATES)}<i32>({self._term()}, {self._term()}, {self._variable()})",
                lambda: f"exists({self._variable()}: {self._formula(1)})",
                lambda: f"forall({self._variable()}, y: {self._formula(1)})",
            ],
        )

    def _positive(self) -> str:
        return self._atom(self._relation())

    def _negative(self) -> str:
        return f"{self._random.choice(('not ', '~'))}{self._atom(self._relation())}"

    def _atom(self, name: str) -> str:
        choice = 0.0 if self._careful and not self._bound else 0.3
        terms = (self._term() if self._random.random() < choice else self._variable() for _ in self._types(name))
        return f"{name}({', '.join(terms)})"

    def _comparison(self) -> str:
        operator = self._random.choice(("==", "!=", "<", "<=", ">", ">=", "==" if self._careful else "="))
        return f"{self._expression(2)} {operator} {self._expression(2)}"

    def _aggregation(self) -> str:
        return f"{self._variable()} := {self._aggregate()}"

    def _aggregate(self) -> str:
        arguments = f"[{self._variable()}]" if self._random.random() < 0.2 else ""
        strict = "!" if self._random.random() < 0.1 else ""
        parameters = "<2>" if self._random.random() < 0.1 else ""
        where = f" where {self._variable()}: {self._formula(1)}" if self._random.random() < 0.3 else ""
        name = self._random.choice(_AGGREGATES)
        return f"{name}{strict}{parameters}{arguments}({self._variable()}: {self._formula(1)}{where})"

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
                lambda: f"({self._expression(inner)} > 1 ? {self._expression(inner)} : K)",
            ],
        )

    def _careful_expression(self) -> str:
        left, right = self._expression(0), self._expression(0)
        match self._kind:
            case "bool":
                return f"({left} {self._random.choice(('&&', '||', '^'))} {right})"
            case "char":
                return left
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
            case "bool":
                return self._random.choice(("true", "false"))
            case "char":
                return self._random.choice(("'a'", "'0'", r"'\n'", "'é'"))
            case "String":
                return self._random.choice(('"a"', '"b"', '""', '"12"', r'"\"\n\\"', '"é"', '"inf"', '"1e400"'))
            case "f32" | "f64":
                return self._random.choice(("0.0", "1.5", "3.25e-3", "1.0e308", "1.0e39", "-0.5", "2"))
            case _ if self._random.random() < 0.8:
                return str(self._random.randint(0, 4))
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
