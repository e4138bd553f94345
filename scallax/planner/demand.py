"""Demand: relations that are computed for the bindings that are asked for only, by magic sets.

Bancilhon, Maier, Sagiv and Ullman (1986): a relation p with a pattern of bound columns has a relation `d#p` of the
values that they are asked for. Every rule of p has it as a premise, and every body that uses p gives it a rule. The
tuples of `d#p` are certain, whatever the tags of those that ask.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from scallax import ir
from scallax.errors import Diagnostic, UnboundVariableError


def ask_for_bindings(program: ir.Program) -> ir.Program:
    """The program with demand relations, premises and rules; rules keep their places, those of demand come last.

    Raises `UnboundVariableError` for every use of a demanded relation that leaves a bound column open.
    """
    patterns = {relation.name: relation.demand for relation in program.relations if relation.demand}
    if not patterns:
        return program
    columns = {relation.name: relation.columns for relation in program.relations}
    asking = [
        ir.Relation(ir.demand_name(name), tuple(_bound(columns[name], pattern)), (None,) * pattern.count("b"), True)
        for name, pattern in patterns.items()
    ]
    rules: list[ir.Rule] = []
    demands: list[ir.Rule] = []
    problems: list[Diagnostic] = []
    for rule in program.rules:
        pattern = patterns.get(rule.relation)
        if pattern is not None:
            rule = replace(rule, body=(*ir.demand_premise(rule, pattern), *rule.body))
        rules.append(rule)
        demands += _Asker(rule, patterns, problems).demands()
    if problems:
        raise UnboundVariableError(*dict.fromkeys(problems))
    return replace(program, relations=(*program.relations, *asking), rules=(*rules, *dict.fromkeys(demands)))


@dataclass(slots=True)
class _Asker:
    """The literals of one body in an order in which each use of a demanded relation has its bindings."""

    rule: ir.Rule
    patterns: Mapping[str, str]
    problems: list[Diagnostic]

    def demands(self) -> Iterator[ir.Rule]:
        """A rule for each use of a demanded relation: what comes before it gives the bindings.

        Negated atoms are left out of these rules: asking for more is no mistake, and a relation that is asked for must
        not depend on a negation of its own.
        """
        waiting = list(self.rule.body)
        before: list[ir.BodyLiteral] = []
        bound: set[str] = set()
        while waiting:
            literal = next((part for part in waiting if self._is_ready(part, bound)), None)
            if literal is None:
                literal = self._next_blocked(waiting)
                if literal is None:
                    return
            waiting.remove(literal)
            if isinstance(literal, ir.Atom | ir.NegatedAtom) and literal.relation in self.patterns:
                terms = tuple(_bound(literal.terms, self.patterns[literal.relation]))
                demand = ir.Rule(
                    ir.demand_name(literal.relation),
                    tuple(term for term in terms if not isinstance(term, ir.Wildcard)),
                    tuple(before),
                    span=self.rule.span,
                    is_certain=True,
                )
                if not _is_tautology(demand):
                    yield demand
            if not isinstance(literal, ir.NegatedAtom):
                before.append(literal)
            _bind(literal, bound)

    def _is_ready(self, literal: ir.BodyLiteral, bound: set[str]) -> bool:
        match literal:
            case ir.Atom() | ir.NegatedAtom():
                terms = _bound(literal.terms, self.patterns.get(literal.relation, ""))
                return all(_is_bound(term, bound) for term in terms)
            case ir.Case(subject=subject):
                return _is_bound(subject, bound)
            case ir.ForeignAtom(inputs=inputs, outputs=outputs, is_negated=is_negated):
                terms = (*inputs, *outputs) if is_negated else inputs
                return all(_is_bound(term, bound) for term in terms if not isinstance(term, ir.Wildcard))
            case ir.Reduce():
                return True
            case ir.Constraint(condition=condition):
                return ir.is_bound(condition, bound) or ir.solve_equality(condition, bound) is not None
            case _:
                assert_never(literal)

    def _next_blocked(self, waiting: Sequence[ir.BodyLiteral]) -> ir.BodyLiteral | None:
        """A case that lists terms; if there is none, an error is reported."""
        for literal in waiting:
            if isinstance(literal, ir.Case):
                return literal
        for literal in waiting:
            if isinstance(literal, ir.Atom | ir.NegatedAtom):
                pattern = self.patterns[literal.relation]
                shown = ", ".join("bound" if letter == "b" else "free" for letter in pattern)
                self.problems.append(
                    Diagnostic(
                        f"`{literal.relation}` is computed for given values only, and this rule does not give them",
                        literal.span or self.rule.span,
                        f"its columns are {shown}: bind those that are bound by an atom, an equality or a constant",
                    )
                )
        return None


def _bound(items: Sequence, pattern: str) -> Iterator:
    return (item for item, letter in zip(items, pattern, strict=False) if letter == "b")


def _is_bound(term: ir.Term, bound: set[str]) -> bool:
    return isinstance(term, ir.Constant) or (isinstance(term, ir.Variable) and term.name in bound)


def _bind(literal: ir.BodyLiteral, bound: set[str]) -> None:
    match literal:
        case ir.Atom(terms=terms):
            bound.update(term.name for term in terms if isinstance(term, ir.Variable))
        case ir.Case(subject=subject, terms=terms):
            bound.update(term.name for term in (subject, *terms) if isinstance(term, ir.Variable))
        case ir.Constraint(condition=condition):
            solution = ir.solve_equality(condition, bound)
            if solution is not None:
                bound.add(solution[0].name)
        case ir.ForeignAtom(outputs=outputs, is_negated=False):
            bound.update(term.name for term in outputs if isinstance(term, ir.Variable))
        case ir.Reduce(groups=groups, results=results):
            bound.update(variable.name for variable in (*groups, *results))
        case ir.NegatedAtom() | ir.ForeignAtom():
            pass
        case _:
            assert_never(literal)


def _is_tautology(demand: ir.Rule) -> bool:
    """Whether a rule asks for what was asked for already."""
    return any(
        isinstance(literal, ir.Atom) and literal.relation == demand.relation and literal.terms == demand.head
        for literal in demand.body
    )
