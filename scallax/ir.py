"""Programs in core form: typed relations, rules as conjunctions of literals, facts and queries."""

from collections.abc import Collection
from dataclasses import dataclass, field

from scallax.source import Span
from scallax.values import Value, ValueType


@dataclass(frozen=True, slots=True)
class Relation:
    """A named set of tuples; `columns` are their types, `names` the declared column names or None."""

    name: str
    columns: tuple[ValueType, ...]
    names: tuple[str | None, ...]
    hidden: bool = False
    span: Span | None = field(default=None, compare=False, repr=False)


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
    """`op` is one of `+ - * / % == != < <= > >= && || ^`; both operands have one type."""

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


Expression = Variable | Constant | Unary | Binary | Conditional | Cast
Term = Variable | Constant | Wildcard


@dataclass(frozen=True, slots=True)
class Atom:
    """A positive atom of a body. Arguments that were expressions stand as variables and equalities."""

    relation: str
    terms: tuple[Term, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class NegatedAtom:
    """No tuple of the relation matches; its variables are bound by the rest of the body."""

    relation: str
    terms: tuple[Term, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Constraint:
    """A boolean expression that holds. An `==` may also bind a variable: see `solve_equality`."""

    condition: Expression
    span: Span | None = field(default=None, compare=False, repr=False)


BodyLiteral = Atom | NegatedAtom | Constraint


@dataclass(frozen=True, slots=True)
class Rule:
    """`tag :: relation(head) = body`. An empty body holds once. `tag` is an f32/f64, bool or integer expression over body variables."""

    relation: str
    head: tuple[Expression, ...]
    body: tuple[BodyLiteral, ...]
    tag: Expression | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Fact:
    """A tuple of constants with its tag. Facts of one `group` exclude each other (numbered from 0 over the program)."""

    relation: str
    values: tuple[Value, ...]
    tag: float | bool | None = None
    group: int | None = None
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Query:
    """What to compute. `name` is the relation to read the answer from: for an atom query `p(1, x)` a
    relation of that printed name, defined by an added rule."""

    name: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Program:
    """A checked program: every name resolved, every column typed, every variable bound."""

    relations: tuple[Relation, ...]
    rules: tuple[Rule, ...]
    facts: tuple[Fact, ...]
    queries: tuple[Query, ...]


def solve_equality(condition: Expression, bound: Collection[str]) -> tuple[Variable, Expression] | None:
    """The one variable of an `==` that is not bound, and the expression over bound variables that gives it.

    Solves through numeric `+` and `-`; None if the condition is no such equality. Integer sums saturate, so that the
    value found may fail the equality.
    """
    if not isinstance(condition, Binary) or condition.op != "==":
        return None
    for unknown, known in ((condition.left, condition.right), (condition.right, condition.left)):
        if _is_bound(known, bound):
            solution = _solve(unknown, known, bound)
            if solution is not None:
                return solution
    return None


def _solve(unknown: Expression, known: Expression, bound: Collection[str]) -> tuple[Variable, Expression] | None:
    match unknown:
        case Variable(name=name) if name not in bound:
            return unknown, known
        case Binary(op="+" | "-" as op, left=left, right=right, type=type) if type.is_number:
            if _is_bound(right, bound):
                return _solve(left, Binary("-" if op == "+" else "+", known, right, type), bound)
            if _is_bound(left, bound):
                first, second = (known, left) if op == "+" else (left, known)
                return _solve(right, Binary("-", first, second, type), bound)
    return None


def _is_bound(expression: Expression, bound: Collection[str]) -> bool:
    match expression:
        case Variable(name=name):
            return name in bound
        case Constant():
            return True
        case Unary(operand=operand) | Cast(operand=operand):
            return _is_bound(operand, bound)
        case Binary(left=left, right=right):
            return _is_bound(left, bound) and _is_bound(right, bound)
        case Conditional(condition=condition, then=then, otherwise=otherwise):
            return all(_is_bound(part, bound) for part in (condition, then, otherwise))
