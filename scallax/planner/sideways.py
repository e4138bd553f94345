"""Sideways information passing: finds the columns of a relation that are read only for given values, and these values.

Beeri and Ramakrishnan (1991), "On the power of magic", with one pattern for each relation: a column is bound if every
use binds it. So a relation has one copy of its rules, and each derivation is found once, as without demand.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import assert_never

from scallax.language import ir
from scallax.language.bindings import atom_names, demand_premise, is_bound, is_given, term_names, variable_names
from scallax.language.records import record
from scallax.planner.joins import can_fail

Patterns = Mapping[str, str]


@record
class Use:
    """A literal that reads a relation: the terms of all columns, None for an open one, and their binders."""

    relation: str
    terms: tuple[ir.Variable | ir.Constant | None, ...]
    before: tuple[ir.BodyLiteral, ...]

    @property
    def pattern(self) -> str:
        return "".join("f" if term is None else "b" for term in self.terms)

    def demand(self, pattern: str, rule: ir.Rule) -> ir.Rule:
        """The rule that demands the values of the bound columns of `pattern`; all of them are given."""
        head = tuple(
            term for term, letter in zip(self.terms, pattern, strict=True) if letter == "b" and term is not None
        )
        return ir.Rule(
            ir.demand_name(self.relation), head, _connected(self.before, head), span=rule.span, is_certain=True
        )


def meet_patterns(rules: Sequence[ir.Rule], patterns: Patterns, avoid: Collection[str]) -> dict[str, str]:
    """The largest patterns, within those in `patterns`, that every use in `rules` binds.

    Values come from constants, from demand, and from relations joined with these, except relations in `avoid`; other
    uses bind nothing.
    """
    met = dict(patterns)
    readers: dict[str, list[ir.Rule]] = {}
    for rule in rules:
        readers.setdefault(rule.relation, []).append(rule)
    pending = list(readers)
    while pending:
        name = pending.pop()
        for rule in readers[name]:
            for use in find_uses(rule, met, avoid):
                least = _meet(met[use.relation], use.pattern)
                if least != met[use.relation]:
                    met[use.relation] = least
                    # Its rules are given fewer values.
                    if use.relation in readers and use.relation not in pending:
                        pending.append(use.relation)
    return met


def find_uses(rule: ir.Rule, patterns: Patterns, avoid: Collection[str]) -> list[Use]:
    """The uses of the relations in `patterns` in a rule whose own head is given the bound columns of its pattern.

    Atoms are joined starting from the values, those with the most bound columns first. Values are only columns of
    tuples, parts of terms, and constants: the demand is then finite wherever the program is, while computed values need
    not be. Conditions that may fail, negated atoms, and atoms of relations in `avoid` give nothing and filter nothing.
    """
    pattern = patterns.get(rule.relation, "")
    premise = demand_premise(rule, pattern) if "b" in pattern else ()
    if len(rule.body) == 1 and isinstance(rule.body[0], ir.Reduce):
        return [use for use in _reduced(rule.body[0], premise) if use.relation in patterns]
    bound: set[str] = set()
    before: list[ir.BodyLiteral] = []
    waiting = [*premise, *rule.body]
    uses: list[Use] = []
    while (literal := _next(waiting, bound, avoid)) is not None:
        waiting.remove(literal)
        if isinstance(literal, ir.Atom):
            if literal.relation in patterns:
                uses.append(Use(literal.relation, _given(literal.terms, bound), tuple(before)))
            bound |= term_names(literal.terms)
        elif isinstance(literal, ir.Case):
            bound |= term_names(literal.terms)
        before.append(literal)
    for literal in waiting:
        if isinstance(literal, ir.Atom | ir.NegatedAtom) and literal.relation in patterns:
            uses.append(Use(literal.relation, _given(literal.terms, bound), tuple(before)))
    return uses


def _reduced(reduce: ir.Reduce, premise: Sequence[ir.BodyLiteral]) -> Iterator[Use]:
    """Passes the demanded groups of an aggregate on to the aggregated relation and to the domain."""
    bound = atom_names(premise)
    open_columns = (None,) * (len(reduce.arguments) + len(reduce.values))
    yield Use(reduce.body, (*_given(reduce.keys, bound), *open_columns), tuple(premise))
    if reduce.domain is not None:
        yield Use(reduce.domain, _given(reduce.groups, bound), tuple(premise))


def _next(waiting: Sequence[ir.BodyLiteral], bound: set[str], avoid: Collection[str]) -> ir.BodyLiteral | None:
    """The next literal: one that filters or destructures, else the atom with the largest share of given columns."""
    best, share = None, 0.0
    for literal in waiting:
        match literal:
            case ir.Constraint(condition=condition):
                if not can_fail(condition) and is_bound(condition, bound):
                    return literal
            case ir.Case(subject=subject):
                if isinstance(subject, ir.Constant) or subject.name in bound:
                    return literal
            case ir.Atom(relation=relation, terms=terms) if relation not in avoid:
                given = sum(term is not None for term in _given(terms, bound))
                # The demanded values come first: they start the chain.
                portion = 2.0 if ir.is_demand(relation) else given / max(len(terms), 1)
                if portion > share:
                    best, share = literal, portion
            case ir.Atom() | ir.NegatedAtom() | ir.ForeignAtom() | ir.Reduce():
                pass
            case _:
                assert_never(literal)
    return best


def _given(terms: Sequence[ir.Term], bound: Collection[str]) -> tuple[ir.Variable | ir.Constant | None, ...]:
    return tuple(term if not isinstance(term, ir.Wildcard) and is_given(term, bound) else None for term in terms)


def _connected(before: Sequence[ir.BodyLiteral], head: Iterable[ir.Expression]) -> tuple[ir.BodyLiteral, ...]:
    """The literals that share variables with the head, directly or through each other: they bind its values."""
    names = {name for expression in head for name in variable_names(expression)}
    kept: set[int] = set()
    while True:
        found = [i for i, literal in enumerate(before) if i not in kept and not names.isdisjoint(_names(literal))]
        if not found:
            return tuple(before[i] for i in sorted(kept))
        kept.update(found)
        names.update(name for i in found for name in _names(before[i]))


def _names(literal: ir.BodyLiteral) -> frozenset[str]:
    match literal:
        case ir.Atom(terms=terms):
            return term_names(terms)
        case ir.Case(subject=subject, terms=terms):
            return term_names((subject, *terms))
        case ir.Constraint(condition=condition):
            return variable_names(condition)
        case ir.NegatedAtom() | ir.ForeignAtom() | ir.Reduce():
            raise AssertionError("these give no values")
        case _:
            assert_never(literal)


def _meet(first: str, second: str) -> str:
    return "".join("b" if a == b == "b" else "f" for a, b in zip(first, second, strict=True))
