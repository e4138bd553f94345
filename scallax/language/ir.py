"""Programs in core form: typed relations, rules as conjunctions of literals, facts and queries."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from scallax.errors import Diagnostic, Span
from scallax.language.library import BUILT_IN, Library
from scallax.language.values import Scalar, Value, ValueType


@dataclass(frozen=True, slots=True)
class Relation:
    """A named set of tuples; `columns` are their types, `names` the declared column names or None."""

    name: str
    columns: tuple[ValueType, ...]
    names: tuple[str | None, ...]
    hidden: bool = False
    # A letter for each column, `b` or `f`: tuples are computed for given values of the `b` columns only.
    demand: str = ""
    # The constructor whose terms the relation lists, with the term itself in front of its arguments.
    constructor: str | None = None
    span: Span | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        columns = (
            ("bound " if letter == "b" else "") + (str(type) if name is None else f"{name}: {type}")
            for name, type, letter in zip(self.names, self.columns, self.demand.ljust(len(self.columns)), strict=True)
        )
        return f"{'hidden ' if self.hidden else ''}type {self.name}({', '.join(columns)})"


@dataclass(frozen=True, slots=True)
class Variable:
    name: str
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Constant:
    value: Value
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Wildcard:
    """`_`, or a variable of a negated atom that nothing else binds: some value."""

    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Unary:
    """`op` is `-` or `!`."""

    op: str
    operand: "Expression"
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Binary:
    """`op` is one of `+ - * / % == != < <= > >= && || ^`; both operands have one type, durations beside dates aside."""

    op: str
    left: "Expression"
    right: "Expression"
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Conditional:
    condition: "Expression"
    then: "Expression"
    otherwise: "Expression"
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Cast:
    operand: "Expression"
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class New:
    """The term of a constructor and its arguments."""

    constructor: str
    arguments: tuple["Expression", ...]
    type: ValueType = ValueType.ENTITY
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """`$function(arguments)` of a built-in or foreign function."""

    function: str
    arguments: tuple["Expression", ...]
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


Expression = Variable | Constant | Unary | Binary | Conditional | Cast | New | Call
Term = Variable | Constant | Wildcard


@dataclass(frozen=True, slots=True)
class Atom:
    """A positive atom of a body. Arguments that were expressions stand as variables and equalities."""

    relation: str
    terms: tuple[Term, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class NegatedAtom:
    """No tuple of the relation matches; its variables are bound by the rest of the body.

    `computed` are arguments that were expressions: where one of them leaves its integer type, no tuple matches.
    """

    relation: str
    terms: tuple[Term, ...]
    span: Span | None = field(default=None, compare=False, repr=False)
    computed: tuple[Expression, ...] = ()


@dataclass(frozen=True, slots=True)
class Constraint:
    """A boolean expression that holds. An `==` may also bind a variable: see `solve_equality`.

    An `==` or `!=` compares numbers: a side that leaves its integer type on the way equals nothing. One that
    `saturates` compares values, which are cut to the bounds of their types as those in heads are.
    """

    condition: Expression
    span: Span | None = field(default=None, compare=False, repr=False)
    saturates: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """`subject` is a term of the constructor, with these arguments.

    Binds all of them; a subject that nothing else binds is any known term.
    """

    subject: Variable | Constant
    constructor: str
    terms: tuple[Term, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Reduce:
    """The results of an aggregate for each group; the only literal of its rule.

    The columns of `body`, the aggregated relation, are `keys`, `arguments` and `values`. Those of `domain` are
    `groups`, among them the keys: each of its tuples is a group. Without a domain the groups are the keys of the body.
    `is_discrete`: every possible tuple is taken, and the result is certain.
    """

    op: str
    body: str
    keys: tuple[Variable, ...]
    arguments: tuple[Variable, ...]
    values: tuple[Variable, ...]
    domain: str | None
    groups: tuple[Variable, ...]
    results: tuple[Variable, ...]
    parameters: tuple[tuple[str, Scalar], ...]
    is_discrete: bool
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ForeignAtom:
    """A built-in or foreign predicate that computes its outputs from its inputs, which the rest of the body binds.

    `computed` are outputs of a negated one, as in a `NegatedAtom`.
    """

    predicate: str
    inputs: tuple[Term, ...]
    outputs: tuple[Term, ...]
    is_negated: bool
    span: Span | None = field(default=None, compare=False, repr=False)
    computed: tuple[Expression, ...] = ()

    @property
    def terms(self) -> tuple[Term, ...]:
        """All arguments."""
        return self.inputs + self.outputs


BodyLiteral = Atom | NegatedAtom | ForeignAtom | Constraint | Reduce | Case


@dataclass(frozen=True, slots=True)
class Choice:
    """One of `count` alternatives of a disjunctive head, numbered from 0.

    The rules of one `number` are those alternatives: of equal `bindings`, the values of the body's variables, one of
    them holds.
    """

    number: int
    alternative: int
    count: int
    bindings: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """`tag :: relation(head) = body`.

    An empty body holds once. `tag` is an f32/f64, bool or integer expression over body variables. The tuples of a rule
    that `is_certain` are certain, whatever its body's tags.
    """

    relation: str
    head: tuple[Expression, ...]
    body: tuple[BodyLiteral, ...]
    tag: Expression | None = None
    span: Span | None = field(default=None, compare=False, repr=False)
    is_certain: bool = False
    choice: Choice | None = None

    def __str__(self) -> str:
        tag = "" if self.tag is None else f"{print_expression(self.tag)} :: "
        if self.choice is not None:
            tag += f"[{self.choice.alternative + 1} of {self.choice.count} in choice {self.choice.number}] "
        head = f"{tag}{self.relation}({', '.join(map(print_expression, self.head))})"
        return f"{head} :- {', '.join(map(_print_literal, self.body))}"


@dataclass(frozen=True, slots=True)
class Fact:
    """A tuple of constants with its tag. Facts of one `group` exclude each other (numbered from 0 over the program)."""

    relation: str
    values: tuple[Value, ...]
    tag: float | bool | None = None
    group: int | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


# Characters that have a meaning of their own in CSV.
NO_DELIMITERS = '"\r\n\0'


@dataclass(frozen=True, slots=True)
class FactsFile:
    """A CSV file of a relation's facts.

    `fields` are the columns to read, all if empty. With `keys` a row gives a fact for each other column.
    """

    relation: str
    path: str
    delimiter: str
    has_header: bool
    has_probability: bool
    keys: tuple[str, ...]
    fields: tuple[str, ...]
    span: Span | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.relation} from {self.path!r}"


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """A CSV file for the answer to a query."""

    query: str
    path: str
    delimiter: str
    has_header: bool
    has_probability: bool
    span: Span | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.query} to {self.path!r}"


@dataclass(frozen=True, slots=True)
class Query:
    """What to compute.

    `name` is the relation to read the answer from: for an atom query `p(1, x)` a relation of that printed name,
    defined by an added rule.
    """

    name: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Variant:
    """A constructor of an algebraic data type and the types of its arguments."""

    name: str
    columns: tuple[ValueType, ...]

    def __str__(self) -> str:
        return f"constructor {self.name}({', '.join(map(str, self.columns))})"


@dataclass(frozen=True, slots=True)
class Program:
    """A checked program: every name resolved, every column typed, every variable bound.

    `terms` are the constants of type Entity. `warnings` are what the language allows and is hardly meant; those about
    relations that nothing declares or fills are in `undefined` as well, by relation. `library` is what calls,
    predicates and aggregates mean.
    """

    relations: tuple[Relation, ...]
    rules: tuple[Rule, ...]
    facts: tuple[Fact, ...]
    queries: tuple[Query, ...]
    variants: tuple[Variant, ...] = ()
    terms: tuple[str, ...] = ()
    files: tuple[FactsFile, ...] = ()
    answer_files: tuple[AnswerFile, ...] = ()
    warnings: tuple[Diagnostic, ...] = field(default=(), compare=False, repr=False)
    undefined: tuple[tuple[str, Diagnostic], ...] = field(default=(), compare=False, repr=False)
    # The signatures of the foreign functions and the like that it uses, those aside that its attributes make.
    foreign: tuple[str, ...] = ()
    library: Library = field(default=BUILT_IN, compare=False, repr=False)

    def __str__(self) -> str:
        columns = {relation.name: relation.columns for relation in self.relations}
        lines = [*map(str, self.variants), *map(str, self.relations), *map(str, self.files)]
        lines += map(str, self.answer_files)
        for fact in self.facts:
            values = ", ".join(map(print_value, fact.values, columns[fact.relation]))
            group = "" if fact.group is None else f" in group {fact.group}"
            lines.append(f"{'' if fact.tag is None else f'{fact.tag}::'}{fact.relation}({values}){group}")
        lines += map(str, self.rules)
        lines += [f"query {query.name}" for query in self.queries]
        return "\n".join(lines)


def values_name(number: int) -> str:
    """The relation of what can be true beside an aggregate or a negation, which is told its variables' values by it."""
    return f"#values{number}"


def is_values(relation: str) -> bool:
    """Whether a relation is one of `values_name`."""
    return relation.startswith("#values")


def demand_name(relation: str) -> str:
    """The relation of the values that the bound columns of a demanded one are asked for."""
    return f"d#{relation}"


def demanded_relation(demand: str) -> str:
    """The relation that a demand relation is for."""
    return demand.removeprefix("d#")


def is_demand(relation: str) -> bool:
    """Whether a relation holds the values that another one is asked for."""
    return relation.startswith("d#")


# No relation has to be given values.
NO_PATTERNS: Mapping[str, str] = MappingProxyType({})


def demand_premise(rule: Rule, pattern: str, patterns: Mapping[str, str] = NO_PATTERNS) -> tuple[BodyLiteral, ...]:
    """That the values of the bound columns in a rule's head are asked for: binds what they determine.

    A head's expression saturates: what is asked for may be its value for several bindings, where the body gives these,
    in which atoms of relations in `patterns` have to be given their bound columns.
    """
    bound = bound_names(rule.body, patterns)
    terms: list[Term] = []
    equalities: list[Constraint] = []
    for column, (expression, letter) in enumerate(zip(rule.head, pattern, strict=True)):
        if letter == "b":
            term = expression
            if not isinstance(term, Variable | Constant):
                term = Variable(f"d#{column}", expression.type, rule.span)
                equality = Binary("==", term, expression, ValueType.BOOL, rule.span)
                equalities.append(Constraint(equality, rule.span, saturates=is_bound(expression, bound)))
            terms.append(term)
    return Atom(demand_name(rule.relation), tuple(terms), rule.span), *equalities


def bound_names(body: Sequence[BodyLiteral], patterns: Mapping[str, str] = NO_PATTERNS) -> set[str]:
    """The variables that a body binds; atoms of relations in `patterns` have to be given their bound columns."""
    bound: set[str] = set()
    size = -1
    while len(bound) > size:
        size = len(bound)
        for literal in body:
            bound.update(_binds(literal, bound, patterns))
    return bound


def _binds(literal: BodyLiteral, bound: Collection[str], patterns: Mapping[str, str]) -> list[str]:
    """What a literal binds once some variables are bound."""
    terms: Sequence[Term] = ()
    match literal:
        case Atom(relation=relation, terms=terms):
            asked = (term for term, letter in zip(terms, patterns.get(relation, ""), strict=False) if letter == "b")
            terms = terms if all(_is_given(term, bound) for term in asked) else ()
        case Case(subject=subject, terms=terms):
            terms = (subject, *terms)
        case Reduce(groups=groups, results=results):
            terms = (*groups, *results)
        case ForeignAtom(inputs=inputs, outputs=outputs, is_negated=False):
            terms = outputs if all(_is_given(term, bound) for term in inputs) else ()
        case Constraint():
            solution = solve_equality(literal, bound)
            terms = () if solution is None else solution[:1]
    return [term.name for term in terms if isinstance(term, Variable)]


def _is_given(term: Term, bound: Collection[str]) -> bool:
    return isinstance(term, Variable | Constant) and is_bound(term, bound)


def solve_equality(constraint: Constraint, bound: Collection[str]) -> tuple[Variable, Expression] | None:
    """The one variable of an `==` that is not bound, and the expression over bound variables that gives it.

    Solves through `+` and `-` of numbers and times, unless the constraint saturates; None if it is no such equality.
    Months differ in length, so that a time that is found may fail the equality.
    """
    condition = constraint.condition
    if not isinstance(condition, Binary) or condition.op != "==":
        return None
    for unknown, known in ((condition.left, condition.right), (condition.right, condition.left)):
        if is_bound(known, bound) and (isinstance(unknown, Variable) or not constraint.saturates):
            solution = _solve(unknown, known, bound)
            if solution is not None:
                return solution
    return None


def _solve(unknown: Expression, known: Expression, bound: Collection[str]) -> tuple[Variable, Expression] | None:
    match unknown:
        case Variable(name=name) if name not in bound:
            return unknown, known
        case Binary(op="+" | "-" as op, left=left, right=right, type=type) if type.is_number or type.is_time:
            if is_bound(right, bound):
                inverse, first, second = ("-", known, right) if op == "+" else ("+", known, right)
                return _solve(left, Binary(inverse, first, second, left.type), bound)
            if is_bound(left, bound):
                first, second = (known, left) if op == "+" else (left, known)
                return _solve(right, Binary("-", first, second, right.type), bound)
    return None


def is_bound(expression: Expression, bound: Collection[str]) -> bool:
    """Whether all variables of an expression are among `bound`."""
    match expression:
        case Variable(name=name):
            return name in bound
        case Constant():
            return True
        case Unary(operand=operand) | Cast(operand=operand):
            return is_bound(operand, bound)
        case Binary(left=left, right=right):
            return is_bound(left, bound) and is_bound(right, bound)
        case Conditional(condition=condition, then=then, otherwise=otherwise):
            return all(is_bound(part, bound) for part in (condition, then, otherwise))
        case New(arguments=arguments) | Call(arguments=arguments):
            return all(is_bound(part, bound) for part in arguments)


def may_overflow(expression: Expression) -> bool:
    """Whether an integer may leave its type on the way to the value of an expression."""
    return any(
        part.type.is_integer
        and ((isinstance(part, Binary) and part.op in "+-*/") or (isinstance(part, Unary) and part.op == "-"))
        for part in parts(expression)
    )


def parts(expression: Expression) -> Iterator[Expression]:
    """The expression and all expressions in it."""
    yield expression
    match expression:
        case Unary(operand=operand) | Cast(operand=operand):
            yield from parts(operand)
        case Binary(left=left, right=right):
            yield from parts(left)
            yield from parts(right)
        case Conditional(condition=condition, then=then, otherwise=otherwise):
            yield from parts(condition)
            yield from parts(then)
            yield from parts(otherwise)
        case New(arguments=arguments) | Call(arguments=arguments):
            for argument in arguments:
                yield from parts(argument)


def print_expression(expression: Expression | Wildcard) -> str:
    """An expression as program text, compound operands in parentheses."""
    match expression:
        case Variable(name=name):
            return name
        case Constant(value=value, type=type):
            return print_value(value, type)
        case Wildcard():
            return "_"
        case Unary(op=op, operand=operand):
            return f"{op}{_operand(operand)}"
        case Binary(op=op, left=left, right=right):
            return f"{_operand(left)} {op} {_operand(right)}"
        case Conditional(condition=condition, then=then, otherwise=otherwise):
            return f"if {_operand(condition)} then {_operand(then)} else {_operand(otherwise)}"
        case Cast(operand=operand, type=type):
            return f"{_operand(operand)} as {type}"
        case New(constructor=constructor, arguments=arguments):
            return f"new {constructor}({', '.join(map(print_expression, arguments))})"
        case Call(function=function, arguments=arguments):
            return f"${function}({', '.join(map(print_expression, arguments))})"


def _operand(expression: Expression) -> str:
    text = print_expression(expression)
    return text if isinstance(expression, Variable | Constant | Call) else f"({text})"


def print_value(value: Value, type: ValueType) -> str:
    """A value as program text."""
    match value:
        case str() if type is ValueType.ENTITY:
            return value
        case bool():
            return "true" if value else "false"
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            return f"'{value}'" if type is ValueType.CHAR else f'{_PREFIXES.get(type, "")}"{escaped}"'
        case _:
            return str(value)


# What stands before the quotes of a text.
_PREFIXES = {ValueType.SYMBOL: "s", ValueType.DATETIME: "t", ValueType.DURATION: "d"}


def _print_literal(literal: BodyLiteral) -> str:
    match literal:
        case Constraint(condition=condition):
            return print_expression(condition)
        case Case(subject=subject, constructor=constructor, terms=terms):
            return f"case {print_expression(subject)} is {constructor}({', '.join(map(print_expression, terms))})"
        case Atom(relation=relation, terms=terms) | NegatedAtom(relation=relation, terms=terms):
            negation = "not " if isinstance(literal, NegatedAtom) else ""
            return f"{negation}{relation}({', '.join(map(print_expression, terms))})"
        case ForeignAtom(predicate=predicate, terms=terms, is_negated=is_negated):
            parameter = f"<{terms[0].type}>" if terms else ""
            shown = f"{predicate}{parameter}({', '.join(map(print_expression, terms))})"
            return f"not {shown}" if is_negated else shown
        case Reduce():
            return print_reduce(literal)


def print_reduce(reduce: Reduce) -> str:
    """An aggregate as program text, with the relations that stand for its parts."""

    def names(variables: tuple[Variable, ...]) -> str:
        return ", ".join(variable.name for variable in variables)

    parameters = ", ".join(f"{name}={print_value(value, ValueType.STRING)}" for name, value in reduce.parameters)
    where = "" if reduce.domain is None else f" where {names(reduce.groups)}: {reduce.domain}({names(reduce.groups)})"
    return (
        f"({names(reduce.results)}) := {reduce.op}{'!' if reduce.is_discrete else ''}"
        f"{f'<{parameters}>' if parameters else ''}{f'[{names(reduce.arguments)}]' if reduce.arguments else ''}"
        f"({names(reduce.values)}: {reduce.body}({names(reduce.keys + reduce.arguments + reduce.values)}){where})"
    )
