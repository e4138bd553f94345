"""Range restriction: every variable of a rule is bound by a positive atom or an equality."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import assert_never

from scallax import ir
from scallax.errors import Diagnostic, UnboundVariableError
from scallax.source import Span


def bind_variables(rules: Sequence[ir.Rule], demands: Mapping[str, str]) -> tuple[ir.Rule, ...]:
    """The rules, with variables that occur under negation only as wildcards.

    The rules of a relation in `demands`, by its pattern, are given the values of the bound columns of their heads.

    Raises `UnboundVariableError` with every variable that nothing binds (Ullman 1988, section 3.2, with equalities
    solved as `ir.solve_equality` does).
    """
    problems: list[Diagnostic] = []
    bound_rules = []
    for rule in rules:
        premise = ir.demand_premise(rule, demands[rule.relation]) if rule.relation in demands else ()
        bound = _bound_names(replace(rule, body=(*premise, *rule.body)))
        for problem in _unbound(rule, bound):
            if problem not in problems:
                problems.append(problem)
        bound_rules.append(replace(rule, body=tuple(_close(literal, bound) for literal in rule.body)))
    if problems:
        raise UnboundVariableError(*problems)
    return tuple(bound_rules)


def _bound_names(rule: ir.Rule) -> set[str]:
    bound = {
        term.name
        for literal in rule.body
        if isinstance(literal, ir.Atom)
        for term in literal.terms
        if isinstance(term, ir.Variable)
    }
    for literal in rule.body:
        if isinstance(literal, ir.Case):
            parts = (literal.subject, *literal.terms)
            bound.update(part.name for part in parts if isinstance(part, ir.Variable))
    conditions = [literal.condition for literal in rule.body if isinstance(literal, ir.Constraint)]
    grows = True
    while grows:
        solved = (ir.solve_equality(condition, bound) for condition in conditions)
        names = {solution[0].name for solution in solved if solution is not None}
        grows = not names <= bound
        bound |= names
    return bound


def _unbound(rule: ir.Rule, bound: set[str]) -> Iterator[Diagnostic]:
    """A diagnostic for each unbound variable, at its first place."""
    seen = set(bound)
    for variable in _variables(rule.head):
        if variable.name not in seen:
            seen.add(variable.name)
            yield Diagnostic(
                f"`{variable.name}` appears in the head of `{rule.relation}` but no positive atom in the body binds it",
                _shown(variable, rule.span),
                f"add an atom that mentions `{variable.name}` to the body",
            )
    conditions = [literal.condition for literal in rule.body if isinstance(literal, ir.Constraint)]
    for expressions, where in ((() if rule.tag is None else (rule.tag,), "the tag"), (conditions, "a condition")):
        for variable in _variables(expressions):
            # Variables with a `#` stand for an argument: what that argument lacks is reported itself.
            if variable.name not in seen and "#" not in variable.name:
                seen.add(variable.name)
                yield Diagnostic(
                    f"`{variable.name}` appears in {where} but no positive atom in the body binds it",
                    _shown(variable, rule.span),
                    f"add an atom that mentions `{variable.name}`, or an equality that can be solved for it",
                )


def _shown(variable: ir.Variable, otherwise: Span | None) -> Span | None:
    return variable.span or otherwise


def _variables(expressions: Sequence[ir.Expression]) -> Iterator[ir.Variable]:
    for expression in expressions:
        match expression:
            case ir.Variable():
                yield expression
            case ir.Constant():
                pass
            case ir.Unary(operand=operand) | ir.Cast(operand=operand):
                yield from _variables((operand,))
            case ir.Binary(left=left, right=right):
                yield from _variables((left, right))
            case ir.Conditional(condition=condition, then=then, otherwise=otherwise):
                yield from _variables((condition, then, otherwise))
            case ir.New(arguments=arguments):
                yield from _variables(arguments)
            case _:
                assert_never(expression)


def _close(literal: ir.BodyLiteral, bound: set[str]) -> ir.BodyLiteral:
    """A negated atom with a wildcard for each variable that nothing binds."""
    if not isinstance(literal, ir.NegatedAtom):
        return literal
    terms = tuple(
        ir.Wildcard(term.type, term.span) if isinstance(term, ir.Variable) and term.name not in bound else term
        for term in literal.terms
    )
    return replace(literal, terms=terms)
