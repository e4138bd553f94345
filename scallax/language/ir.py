"""Programs in core form: typed relations, rules as conjunctions of literals, facts and queries."""

from collections.abc import Callable, Iterator
from dataclasses import field, replace

from scallax.errors import Diagnostic, Span
from scallax.language.library import BUILT_IN, Library
from scallax.language.records import record
from scallax.language.values import Scalar, Value, ValueType


@record
class Relation:
    """A named set of tuples; `columns` are the column types, `names` the declared column names or None."""

    name: str
    columns: tuple[ValueType, ...]
    names: tuple[str | None, ...]
    hidden: bool = False
    # One letter for each column, `b` or `f`: tuples are computed only for demanded values of the `b` columns.
    demand: str = ""
    # The constructor whose terms the relation lists; its first column is the term, the others are the arguments.
    constructor: str | None = None
    span: Span | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        columns = (
            ("bound " if letter == "b" else "") + (str(type) if name is None else f"{name}: {type}")
            for name, type, letter in zip(self.names, self.columns, self.demand.ljust(len(self.columns)), strict=True)
        )
        return f"{'hidden ' if self.hidden else ''}type {self.name}({', '.join(columns)})"


@record
class Variable:
    name: str
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class Constant:
    value: Value
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class Wildcard:
    """`_`, or a variable of a negated atom that nothing else binds: any value."""

    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class Unary:
    """An operator, `-` or `!`, with its operand."""

    op: str
    operand: "Expression"
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class Binary:
    """An operator, one of `+ - * / % == != < <= > >= && || ^`, and its operands.

    Both operands have one type, except that a duration may stand beside a date.
    """

    op: str
    left: "Expression"
    right: "Expression"
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class Conditional:
    condition: "Expression"
    then: "Expression"
    otherwise: "Expression"
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class Cast:
    operand: "Expression"
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class New:
    """A term: a constructor with its arguments."""

    constructor: str
    arguments: tuple["Expression", ...]
    type: ValueType = ValueType.ENTITY
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class Call:
    """A call `$function(arguments)` of a built-in or foreign function."""

    function: str
    arguments: tuple["Expression", ...]
    type: ValueType
    span: Span | None = field(default=None, compare=False, repr=False)


Expression = Variable | Constant | Unary | Binary | Conditional | Cast | New | Call
Term = Variable | Constant | Wildcard


@record
class Atom:
    """A positive atom of a body. Arguments that were expressions have become variables with equalities."""

    relation: str
    terms: tuple[Term, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class NegatedAtom:
    """A literal that holds if no tuple of the relation matches; the rest of the body binds its variables.

    `computed` are arguments that were expressions: if one of them leaves its integer type, no tuple matches.
    """

    relation: str
    terms: tuple[Term, ...]
    span: Span | None = field(default=None, compare=False, repr=False)
    computed: tuple[Expression, ...] = ()


@record
class Constraint:
    """A literal that holds if a boolean expression is true. An `==` may also bind a variable: see `solve_equality`.

    An `==` or `!=` compares mathematical values: a side that leaves its integer type in the computation equals nothing.
    A constraint that `saturates` compares values that are clamped to the bounds of their types, as those in heads are.
    """

    condition: Expression
    span: Span | None = field(default=None, compare=False, repr=False)
    saturates: bool = False


@record
class Case:
    """A literal that holds if `subject` is a term of the constructor with these arguments.

    It binds all of them. If nothing else binds the subject, it ranges over all known terms.
    """

    subject: Variable | Constant
    constructor: str
    terms: tuple[Term, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class Reduce:
    """The results of an aggregate for each group; the only literal of its rule.

    The columns of `body`, the aggregated relation, are `keys`, `arguments` and `values`. The columns of `domain` are
    `groups`, with the keys among them: each tuple of the domain is a group. Without a domain, the keys of the body are
    the groups. If `is_discrete`, every possible tuple is taken, and the result is certain.
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


@record
class ForeignAtom:
    """A built-in or foreign predicate; it computes its outputs from its inputs, which the rest of the body binds.

    `computed` are the outputs of a negated one, as in a `NegatedAtom`.
    """

    predicate: str
    inputs: tuple[Term, ...]
    outputs: tuple[Term, ...]
    is_negated: bool
    span: Span | None = field(default=None, compare=False, repr=False)
    computed: tuple[Expression, ...] = ()

    @property
    def terms(self) -> tuple[Term, ...]:
        """All arguments, the inputs first."""
        return self.inputs + self.outputs


BodyLiteral = Atom | NegatedAtom | ForeignAtom | Constraint | Reduce | Case


@record
class Choice:
    """One of the `count` alternatives of a disjunctive head, numbered from 0.

    The rules with the same `number` are the alternatives of one head. For each value of `bindings`, the variables of
    the body, one alternative holds. With `probabilities`, of all alternatives in order, that is a random choice, and
    what they leave of 1 is the probability that none holds.
    """

    number: int
    alternative: int
    count: int
    bindings: tuple[Expression, ...]
    probabilities: tuple[Expression, ...] = ()


@record
class Rule:
    """A rule `tag :: relation(head) = body`.

    An empty body holds once. `tag` is an f32, f64, bool or integer expression over body variables. If the rule
    `is_certain`, its tuples are certain, whatever the tags of its body are.
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
            choice = self.choice
            if choice.probabilities:
                tag += f"{print_expression(choice.probabilities[choice.alternative])} :: "
            tag += f"[{choice.alternative + 1} of {choice.count} in choice {choice.number}] "
        head = f"{tag}{self.relation}({', '.join(map(print_expression, self.head))})"
        return f"{head} :- {', '.join(map(_print_literal, self.body))}"


@record
class Fact:
    """A tuple of constants with its tag. Facts with the same `group`, numbered from 0, exclude each other."""

    relation: str
    values: tuple[Value, ...]
    tag: float | bool | None = None
    group: int | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


# Characters with a special meaning in CSV.
NO_DELIMITERS = '"\r\n\0'


@record
class FactsFile:
    """A CSV file with facts of a relation.

    `fields` are the columns to read, or empty for all. With `keys`, each row gives a fact for every other column.
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


@record
class AnswerFile:
    """A CSV file to which the answer to a query is written."""

    query: str
    path: str
    delimiter: str
    has_header: bool
    has_probability: bool
    span: Span | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.query} to {self.path!r}"


@record
class Query:
    """A relation that the program asks for.

    For an atom query such as `p(1, x)`, `name` is a relation with that printed name; an added rule defines it.
    """

    name: str
    span: Span | None = field(default=None, compare=False, repr=False)


@record
class Evidence:
    """A formula that was observed to hold: a hidden relation without columns, and the formula as program text."""

    relation: str
    formula: str
    span: Span | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return f"evidence {self.formula}"


@record
class Variant:
    """A constructor of an algebraic data type, with the types of its arguments."""

    name: str
    columns: tuple[ValueType, ...]

    def __str__(self) -> str:
        return f"constructor {self.name}({', '.join(map(str, self.columns))})"


@record
class Program:
    """A checked program: every name is resolved, every column typed, every variable bound.

    `terms` are the constants of type Entity. `warnings` tell of constructs that the language allows but hardly anyone
    means; those about relations that nothing declares or fills are also in `undefined`, by relation. `library` holds
    the functions, predicates and aggregates that the program may use.
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
    # The signatures of the foreign items that it uses, without those that its attributes make.
    foreign: tuple[str, ...] = ()
    library: Library = field(default=BUILT_IN, compare=False, repr=False)
    # Observations in every sample.
    evidence: tuple[Evidence, ...] = ()

    def __str__(self) -> str:
        columns = {relation.name: relation.columns for relation in self.relations}
        lines = [*map(str, self.variants), *map(str, self.relations), *map(str, self.files)]
        lines += map(str, self.answer_files)
        for fact in self.facts:
            values = ", ".join(map(print_value, fact.values, columns[fact.relation]))
            group = "" if fact.group is None else f" in group {fact.group}"
            lines.append(f"{'' if fact.tag is None else f'{fact.tag}::'}{fact.relation}({values}){group}")
        lines += map(str, self.rules)
        lines += map(str, self.evidence)
        lines += [f"query {query.name}" for query in self.queries]
        return "\n".join(lines)


def values_name(number: int) -> str:
    """The name of a helper relation: the values that the rest of a body gives to an aggregate or a negation."""
    return f"#values{number}"


def is_values(relation: str) -> bool:
    """Whether a relation is one that `values_name` names."""
    return relation.startswith("#values")


def demand_name(relation: str) -> str:
    """The name of the demand relation: the values for which the bound columns of a relation are asked."""
    return f"d#{relation}"


def demanded_relation(demand: str) -> str:
    """The relation whose demand a demand relation holds."""
    return demand.removeprefix("d#")


def is_demand(relation: str) -> bool:
    """Whether a relation is a demand relation."""
    return relation.startswith("d#")


def operands(expression: Expression) -> tuple[Expression, ...]:
    """The expressions from which an expression is computed directly."""
    match expression:
        case Unary(operand=operand) | Cast(operand=operand):
            return (operand,)
        case Binary(left=left, right=right):
            return left, right
        case Conditional(condition=condition, then=then, otherwise=otherwise):
            return condition, then, otherwise
        case New(arguments=arguments) | Call(arguments=arguments):
            return arguments
        case _:
            return ()


def with_operands(expression: Expression, change: Callable[[Expression], Expression]) -> Expression:
    """The expression with each of its operands changed."""
    match expression:
        case Unary() | Cast():
            return replace(expression, operand=change(expression.operand))
        case Binary():
            return replace(expression, left=change(expression.left), right=change(expression.right))
        case Conditional():
            condition, then, otherwise = map(change, operands(expression))
            return replace(expression, condition=condition, then=then, otherwise=otherwise)
        case New() | Call():
            return replace(expression, arguments=tuple(map(change, expression.arguments)))
        case _:
            return expression


def parts(expression: Expression) -> Iterator[Expression]:
    """The expression and all of its subexpressions."""
    waiting = [expression]
    while waiting:
        part = waiting.pop()
        yield part
        waiting += reversed(operands(part))


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


# The prefix before the quotes of a text.
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
    """An aggregate as program text, with helper relations in the place of its parts."""

    def names(variables: tuple[Variable, ...]) -> str:
        return ", ".join(variable.name for variable in variables)

    parameters = ", ".join(f"{name}={print_value(value, ValueType.STRING)}" for name, value in reduce.parameters)
    where = "" if reduce.domain is None else f" where {names(reduce.groups)}: {reduce.domain}({names(reduce.groups)})"
    return (
        f"({names(reduce.results)}) := {reduce.op}{'!' if reduce.is_discrete else ''}"
        f"{f'<{parameters}>' if parameters else ''}{f'[{names(reduce.arguments)}]' if reduce.arguments else ''}"
        f"({names(reduce.values)}: {reduce.body}({names(reduce.keys + reduce.arguments + reduce.values)}){where})"
    )
