"""Rewriting of rules: variables that equal a constant or another variable are replaced by it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import assert_never

from scallax.language import ir
from scallax.language.bindings import bound_terms


def propagate_equalities(rule: ir.Rule) -> ir.Rule:
    """The rule without constraints `x == c` and `x == y`: c or y replaces x.

    Floats are left alone: `x == x` fails for a NaN, but shared variables match it.
    """
    for position, literal in enumerate(rule.body):
        replacement = _replacement(literal)
        if replacement is not None:
            rest = replace(rule, body=rule.body[:position] + rule.body[position + 1 :])
            return propagate_equalities(_substitute_rule(rest, dict([replacement])))
    return rule


def tell_bindings_apart(rule: ir.Rule) -> tuple[ir.Rule, tuple[ir.Variable, ...]]:
    """The rule with variables for its wildcards, except in negated literals, and all variables that its body binds.

    Their values identify the tuples that a binding of the body uses.
    """
    body = tuple(_name_wildcards(literal, position) for position, literal in enumerate(rule.body))
    variables: dict[str, ir.Variable] = {}
    for literal in body:
        for term in bound_terms(literal):
            if isinstance(term, ir.Variable):
                variables.setdefault(term.name, replace(term, span=None))
    return replace(rule, body=body), tuple(variables.values())


def _name_wildcards(literal: ir.BodyLiteral, position: int) -> ir.BodyLiteral:
    def named(terms: tuple[ir.Term, ...]) -> tuple[ir.Term, ...]:
        return tuple(
            ir.Variable(f"#{position}.{i}", term.type) if isinstance(term, ir.Wildcard) else term
            for i, term in enumerate(terms)
        )

    match literal:
        case ir.Atom(terms=terms) | ir.Case(terms=terms):
            return replace(literal, terms=named(terms))
        case ir.ForeignAtom(outputs=outputs, is_negated=False):
            return replace(literal, outputs=named(outputs))
        case ir.NegatedAtom() | ir.ForeignAtom() | ir.Constraint() | ir.Reduce():
            return literal
        case _:
            assert_never(literal)


def _replacement(literal: ir.BodyLiteral) -> tuple[str, ir.Variable | ir.Constant] | None:
    match literal:
        case ir.Constraint(condition=ir.Binary(op="==", left=left, right=right)) if not left.type.is_float:
            match left, right:
                case ir.Variable(name=name), ir.Variable() | ir.Constant():
                    return name, right
                case ir.Constant(), ir.Variable(name=name):
                    return name, left
    return None


def _substitute_rule(rule: ir.Rule, values: Mapping[str, ir.Expression]) -> ir.Rule:
    return replace(
        rule,
        head=tuple(substitute(expression, values) for expression in rule.head),
        body=tuple(_substitute_literal(literal, values) for literal in rule.body),
        tag=None if rule.tag is None else substitute(rule.tag, values),
        choice=None
        if rule.choice is None
        else replace(
            rule.choice,
            bindings=tuple(substitute(part, values) for part in rule.choice.bindings),
            probabilities=tuple(substitute(part, values) for part in rule.choice.probabilities),
        ),
    )


def _substitute_literal(literal: ir.BodyLiteral, values: Mapping[str, ir.Expression]) -> ir.BodyLiteral:
    match literal:
        case ir.Atom():
            return replace(literal, terms=tuple(_substitute_term(term, values) for term in literal.terms))
        case ir.NegatedAtom(terms=terms, computed=computed):
            terms = tuple(_substitute_term(term, values) for term in terms)
            return replace(literal, terms=terms, computed=tuple(substitute(part, values) for part in computed))
        case ir.ForeignAtom(inputs=inputs, outputs=outputs, computed=computed):
            return replace(
                literal,
                inputs=tuple(_substitute_term(term, values) for term in inputs),
                outputs=tuple(_substitute_term(term, values) for term in outputs),
                computed=tuple(substitute(part, values) for part in computed),
            )
        case ir.Constraint():
            return replace(literal, condition=substitute(literal.condition, values))
        case ir.Case():
            subject = _substitute_term(literal.subject, values)
            assert not isinstance(subject, ir.Wildcard)
            terms = tuple(_substitute_term(term, values) for term in literal.terms)
            return replace(literal, subject=subject, terms=terms)
        case ir.Reduce():
            return literal
        case _:
            assert_never(literal)


def _substitute_term(term: ir.Term, values: Mapping[str, ir.Expression]) -> ir.Term:
    if isinstance(term, ir.Variable) and term.name in values:
        value = values[term.name]
        assert isinstance(value, ir.Variable | ir.Constant)
        return value
    return term


def substitute(expression: ir.Expression, values: Mapping[str, ir.Expression]) -> ir.Expression:
    """The expression with variables replaced by name."""
    if isinstance(expression, ir.Variable):
        return values.get(expression.name, expression)
    return ir.with_operands(expression, lambda operand: substitute(operand, values))
