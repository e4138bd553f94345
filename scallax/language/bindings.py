"""Variables: those that terms and expressions mention, those that a body binds, and equalities solved for one."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import assert_never

from scallax.language.ir import (
    Atom,
    Binary,
    BodyLiteral,
    Case,
    Constant,
    Constraint,
    Expression,
    ForeignAtom,
    NegatedAtom,
    Reduce,
    Rule,
    Term,
    Unary,
    Variable,
    Wildcard,
    demand_name,
    parts,
)
from scallax.language.values import ValueType

# By default no relation has bound columns.
NO_PATTERNS: Mapping[str, str] = MappingProxyType({})


def demand_premise(rule: Rule, pattern: str, patterns: Mapping[str, str] = NO_PATTERNS) -> tuple[BodyLiteral, ...]:
    """The literals that restrict a rule to the demanded values of the bound columns in its head.

    They bind the variables that these values determine. A head's expression saturates: the demanded value may then be
    the value of several bindings, if the body gives these; atoms of relations in `patterns` must be given their bound
    columns for that.
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
    """The variables that a body binds. An atom of a relation in `patterns` needs its bound columns first."""
    bound: set[str] = set()
    size = -1
    while len(bound) > size:
        size = len(bound)
        for literal in body:
            bound.update(_binds(literal, bound, patterns))
    return bound


def _binds(literal: BodyLiteral, bound: Collection[str], patterns: Mapping[str, str]) -> frozenset[str]:
    """The variables that a literal binds once some variables are bound."""
    asked: Iterable[Term] = ()
    match literal:
        case Atom(relation=relation, terms=terms):
            asked = (term for term, letter in zip(terms, patterns.get(relation, ""), strict=False) if letter == "b")
        case ForeignAtom(inputs=inputs):
            asked = inputs
        case Constraint():
            solution = solve_equality(literal, bound)
            return frozenset() if solution is None else term_names(solution[:1])
    return term_names(bound_terms(literal)) if all(is_given(term, bound) for term in asked) else frozenset()


def bound_terms(literal: BodyLiteral) -> tuple[Term, ...]:
    """The terms whose variables a literal gives values; those of an equality depend on what is bound."""
    match literal:
        case Atom(terms=terms):
            return terms
        case Case(subject=subject, terms=terms):
            return (subject, *terms)
        case ForeignAtom(outputs=outputs, is_negated=False):
            return outputs
        case Reduce(groups=groups, results=results):
            return (*groups, *results)
        case NegatedAtom() | ForeignAtom() | Constraint():
            return ()
        case _:
            assert_never(literal)


def is_given(term: Term, bound: Collection[str]) -> bool:
    """Whether a term has a value once some variables are bound."""
    return isinstance(term, Constant) or (isinstance(term, Variable) and term.name in bound)


def solve_equality(constraint: Constraint, bound: Collection[str]) -> tuple[Variable, Expression] | None:
    """The one unbound variable of an `==`, and the expression over bound variables that gives its value.

    Solves through `+` and `-` of numbers and times, unless the constraint saturates. None if the constraint is no such
    equality. Months differ in length, so a time that is found this way may still fail the equality.
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
    return all(part.name in bound for part in parts(expression) if isinstance(part, Variable))


def may_overflow(expression: Expression) -> bool:
    """Whether an integer may leave its type while the expression is computed."""
    return any(
        part.type.is_integer
        and ((isinstance(part, Binary) and part.op in "+-*/") or (isinstance(part, Unary) and part.op == "-"))
        for part in parts(expression)
    )


def term_names(terms: Iterable[Expression | Wildcard]) -> frozenset[str]:
    """The names of the variables among some terms; the parts of expressions do not count."""
    return frozenset(term.name for term in terms if isinstance(term, Variable))


def atom_names(body: Iterable[BodyLiteral]) -> frozenset[str]:
    """The names of the variables in the atoms of a body."""
    return term_names(term for literal in body if isinstance(literal, Atom) for term in literal.terms)


def variable_names(expression: Expression) -> frozenset[str]:
    """The names of the variables in an expression."""
    return term_names(parts(expression))
