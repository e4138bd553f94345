"""Demand: computes relations only for the bindings that are asked for, by magic sets.

Bancilhon, Maier, Sagiv and Ullman (1986): for a relation p with a pattern of bound columns, a relation `d#p` holds the
demanded values of these columns. Every rule of p gets `d#p` as a premise, and every body that uses p gives `d#p` a
rule. The tuples of `d#p` are certain, whatever the tags of the bodies that ask. Patterns are declared
(`declared_demand`), or follow from constants (`automatic_demand`).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import assert_never

from scallax.errors import Diagnostic, UnboundVariableError
from scallax.language import ir
from scallax.language.bindings import (
    bound_terms,
    demand_premise,
    is_bound,
    is_given,
    solve_equality,
    term_names,
    variable_names,
)
from scallax.language.predicates import PREDICATES, makes_literals
from scallax.planner.joins import can_fail
from scallax.planner.sideways import Patterns, find_uses, meet_patterns
from scallax.planner.strata import find_negative_cycles, is_recursive, needed_relations

# Aggregates that draw, or whose results are literals; these depend on the other groups.
_NUMBERED = frozenset(("uniform", "categorical", "normalize", "softmax", "disjunct"))
# Aggregates that weigh tuples; all tuples of an aggregate are evaluated together.
_WEIGHING = frozenset(("rank", "top", "unique", "weighted_sum", "weighted_avg"))


def declared_demand(program: ir.Program) -> ir.Program:
    """The program with demand relations for the declared patterns, kept stratified where possible.

    If demand would make a relation depend on its own negation or aggregate, less is demanded: first, only literals that
    bind the values ask; then relations whose rules work without demand get none. Raises `UnboundVariableError` for
    every use of a demanded relation that leaves a bound column open.
    """
    asked = ask_for_bindings(program)
    cycles = find_negative_cycles(asked)
    if not cycles:
        return asked
    asked = ask_for_bindings(program, avoid={name for component in cycles for name in component})
    cyclic = _demanded(find_negative_cycles(asked))
    whole = {name for name in cyclic if all(_is_safe(rule) for rule in program.rules if rule.relation == name)}
    if not whole:
        return asked
    relations = tuple(
        replace(relation, demand="") if relation.name in whole else relation for relation in program.relations
    )
    return declared_demand(replace(program, relations=relations))


def automatic_demand(
    program: ir.Program, outputs: Sequence[str], *, uses_tags: bool, is_order_sensitive: bool, has_samples: bool = False
) -> ir.Program:
    """The program that computes only tuples that the constants in rules ask for; `outputs` are computed whole.

    Tuples on which outputs depend keep all their derivations; others may be gone. The program is returned unchanged
    where demand could change an answer: if it lists terms or draws, if literals are numbered as they are found, if
    tuples are weighed together in an order that matters (`is_order_sensitive`), and for relations that would come to
    depend on their own negation or aggregate. With `has_samples`, samples share the literals of some tagged rules, and
    demand would change which. Equalities must be propagated before.
    """
    needed = needed_relations(program, outputs)
    rules = tuple(rule for rule in program.rules if rule.relation in needed)
    considered = replace(program, rules=rules)
    if _could_change(considered, uses_tags=uses_tags, is_order_sensitive=is_order_sensitive, has_samples=has_samples):
        return program
    patterns = {name: pattern for name, pattern in _widest(considered).items() if name not in outputs}
    avoid: set[str] = set()
    while True:
        met = {name: found for name, found in meet_patterns(rules, patterns, avoid).items() if "b" in found}
        if not met:
            return program
        asked = _ask(program, needed, met, avoid)
        cycles = find_negative_cycles(asked)
        if not cycles:
            return asked
        cyclic = {name for component in cycles for name in component if not ir.is_demand(name)}
        if cyclic <= avoid:
            # Without values from these relations, their own bindings close the cycle.
            whole = _demanded(cycles).intersection(met)
            if not whole:
                return program
            patterns = {name: pattern for name, pattern in patterns.items() if name not in whole}
        avoid |= cyclic


def _could_change(program: ir.Program, *, uses_tags: bool, is_order_sensitive: bool, has_samples: bool) -> bool:
    """Whether an answer could change if tuples that nobody asks for are gone; see `automatic_demand`."""
    literals = [literal for rule in program.rules for literal in rule.body]
    lists_terms = any(relation.constructor is not None for relation in program.relations)
    if lists_terms or any(_is_numbered(literal, uses_tags) for literal in literals):
        return True
    if not uses_tags:
        return False
    has_literals = any(rule.tag is not None or rule.choice is not None for rule in program.rules)
    if has_literals and has_samples:
        return True
    weighs = any(isinstance(literal, ir.Reduce) and literal.op in _WEIGHING for literal in literals)
    return weighs and (has_literals or (is_order_sensitive and is_recursive(program)))


def _is_numbered(literal: ir.BodyLiteral, uses_tags: bool) -> bool:
    match literal:
        case ir.Reduce(op=op):
            return op in _NUMBERED
        case ir.ForeignAtom(predicate=predicate):
            # A foreign predicate may have tags, whose literals are numbered as they are met.
            return uses_tags and (predicate not in PREDICATES or makes_literals(predicate))
        case _:
            return False


def _widest(program: ir.Program) -> dict[str, str]:
    """For each relation that has rules, the columns that may be demanded.

    Results of aggregates are never demanded, nor floats, because a NaN does not equal the demanded value. There is no
    demand for demand relations.
    """
    results: dict[str, set[int]] = {rule.relation: set() for rule in program.rules if not ir.is_demand(rule.relation)}
    for rule in program.rules:
        for literal in rule.body:
            if isinstance(literal, ir.Reduce):
                places = (i for i, expression in enumerate(rule.head) if expression not in literal.groups)
                results[rule.relation].update(places)
    return {
        relation.name: "".join(
            "f" if type.is_float or column in results[relation.name] else "b"
            for column, type in enumerate(relation.columns)
        )
        for relation in program.relations
        if relation.name in results and not relation.demand
    }


def _ask(program: ir.Program, needed: Collection[str], patterns: Patterns, avoid: Collection[str]) -> ir.Program:
    """The program with premises, followed by demand relations and their rules."""
    rules: list[ir.Rule] = []
    demands: dict[ir.Rule, None] = {}
    for rule in program.rules:
        if rule.relation not in needed:
            rules.append(rule)
            continue
        for use in find_uses(rule, patterns, avoid):
            if use.relation in patterns:
                demand = use.demand(patterns[use.relation], rule)
                if not _is_tautology(demand):
                    demands[demand] = None
        is_reduced = any(isinstance(literal, ir.Reduce) for literal in rule.body)
        if rule.relation in patterns and not is_reduced:
            rule = replace(rule, body=(*demand_premise(rule, patterns[rule.relation]), *rule.body))
        rules.append(rule)
    asking = _demand_relations(program, patterns)
    return replace(program, relations=(*program.relations, *asking), rules=(*rules, *demands))


def _demand_relations(program: ir.Program, patterns: Patterns) -> Iterator[ir.Relation]:
    columns = {relation.name: relation.columns for relation in program.relations}
    for name, pattern in patterns.items():
        names = (None,) * pattern.count("b")
        yield ir.Relation(ir.demand_name(name), tuple(_bound(columns[name], pattern)), names, hidden=True)


def _demanded(components: Sequence[Sequence[str]]) -> set[str]:
    """The relations whose demand relations are among the given ones."""
    return {ir.demanded_relation(name) for component in components for name in component if ir.is_demand(name)}


def ask_for_bindings(program: ir.Program, avoid: Collection[str] = ()) -> ir.Program:
    """The program with demand relations, premises and rules; rules keep their places, demand rules come last.

    A demand relation in `avoid` gets its tuples from as few literals as bind the values, and from none that reads a
    relation in `avoid` if others suffice. Raises `UnboundVariableError` for every use of a demanded relation that
    leaves a bound column open.
    """
    patterns = {relation.name: relation.demand for relation in program.relations if relation.demand}
    if not patterns:
        return program
    asking = _demand_relations(program, patterns)
    rules: list[ir.Rule] = []
    demands: list[ir.Rule] = []
    problems: list[Diagnostic] = []
    for rule in program.rules:
        pattern = patterns.get(rule.relation)
        if pattern is not None:
            rule = replace(rule, body=(*demand_premise(rule, pattern, patterns), *rule.body))
        rules.append(rule)
        demands += _Asker(rule, patterns, avoid, problems).demands()
    if problems:
        raise UnboundVariableError(*dict.fromkeys(problems))
    return replace(program, relations=(*program.relations, *asking), rules=(*rules, *dict.fromkeys(demands)))


@dataclass(slots=True)
class _Asker:
    """Orders the literals of one body such that each use of a demanded relation gets its bindings."""

    rule: ir.Rule
    patterns: Mapping[str, str]
    avoid: Collection[str]
    problems: list[Diagnostic]

    def demands(self) -> Iterator[ir.Rule]:
        """A rule for each use of a demanded relation; the literals before it give the bindings.

        Negated atoms are left out of these rules, unless they may keep a condition from failing: too much demand is no
        mistake, and a demanded relation must not depend on its own negation.
        """
        waiting = list(self.rule.body)
        before: list[ir.BodyLiteral] = []
        bound: set[str] = set()
        while waiting:
            # Conditions come first, wherever they stand: `fib(x - 1, a), x > 1` must not demand smaller and smaller
            # numbers.
            literal = next((part for part in waiting if _filters(part, bound)), None)
            if literal is None:
                literal = next((part for part in waiting if _is_ready(part, self.patterns, bound)), None)
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
                    self._premises(literal.relation, terms, before, bound),
                    span=self.rule.span,
                    is_certain=True,
                )
                if not _is_tautology(demand):
                    yield demand
            if not isinstance(literal, ir.NegatedAtom):
                before.append(literal)
            _bind(literal, bound)

    def _premises(
        self, relation: str, terms: Sequence[ir.Term], before: Sequence[ir.BodyLiteral], bound: set[str]
    ) -> tuple[ir.BodyLiteral, ...]:
        if ir.demand_name(relation) in self.avoid:
            return _shortest(before, term_names(terms), self.avoid)
        if not any(map(_may_fail, before)):
            return tuple(before)
        negated = (part for part in self.rule.body if isinstance(part, ir.NegatedAtom))
        return (*before, *(part for part in negated if _is_ready(part, self.patterns, bound)))

    def _next_blocked(self, waiting: Sequence[ir.BodyLiteral]) -> ir.BodyLiteral | None:
        """A case that lists terms; reports an error if there is none."""
        for literal in waiting:
            if isinstance(literal, ir.Case):
                return literal
        for literal in waiting:
            if isinstance(literal, ir.Atom | ir.NegatedAtom) and literal.relation in self.patterns:
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


def _is_ready(literal: ir.BodyLiteral, patterns: Patterns, bound: Collection[str]) -> bool:
    """Whether the inputs of a literal are bound, so that it can be joined."""
    match literal:
        case ir.Atom(relation=relation, terms=terms):
            return all(is_given(term, bound) for term in _bound(terms, patterns.get(relation, "")))
        case ir.NegatedAtom(relation=relation, terms=terms):
            needed = [*_bound(terms, patterns.get(relation, "")), *(t for t in terms if isinstance(t, ir.Variable))]
            return all(is_given(term, bound) for term in needed)
        case ir.Case(subject=subject):
            return is_given(subject, bound)
        case ir.ForeignAtom(inputs=inputs, outputs=outputs, is_negated=is_negated):
            terms = (*inputs, *outputs) if is_negated else inputs
            return all(is_given(term, bound) for term in terms if not isinstance(term, ir.Wildcard))
        case ir.Reduce():
            return True
        case ir.Constraint(condition=condition):
            return is_bound(condition, bound) or solve_equality(literal, bound) is not None
        case _:
            assert_never(literal)


def _filters(literal: ir.BodyLiteral, bound: Collection[str]) -> bool:
    return isinstance(literal, ir.Constraint) and is_bound(literal.condition, bound) and not can_fail(literal.condition)


def _may_fail(literal: ir.BodyLiteral) -> bool:
    return isinstance(literal, ir.Constraint) and can_fail(literal.condition)


def _shortest(
    before: Sequence[ir.BodyLiteral], names: Collection[str], avoid: Collection[str]
) -> tuple[ir.BodyLiteral, ...]:
    """A minimal set of literals that bind some variables; readers of `avoid` are dropped first, then the last ones."""
    kept = list(before)
    last_first = before[::-1]
    for literal in sorted(last_first, key=lambda part: not (isinstance(part, ir.Atom) and part.relation in avoid)):
        rest = [part for part in kept if part is not literal]
        waiting, bound = _join(rest)
        if not waiting and bound.issuperset(names):
            kept = rest
    return tuple(kept)


def _is_safe(rule: ir.Rule) -> bool:
    """Whether the body binds every variable without any given value."""
    waiting, bound = _join(rule.body)
    expressions = (*rule.head, *(() if rule.tag is None else (rule.tag,)))
    return not waiting and all(variable_names(expression) <= bound for expression in expressions)


def _join(literals: Sequence[ir.BodyLiteral]) -> tuple[list[ir.BodyLiteral], set[str]]:
    """The literals that the others do not bind enough for, and all variables that get bound."""
    waiting, bound = list(literals), set[str]()
    while (literal := next((part for part in waiting if _is_ready(part, {}, bound)), None)) is not None:
        waiting.remove(literal)
        _bind(literal, bound)
    return waiting, bound


def _bound(items: Sequence, pattern: str) -> Iterator:
    return (item for item, letter in zip(items, pattern, strict=False) if letter == "b")


def _bind(literal: ir.BodyLiteral, bound: set[str]) -> None:
    bound |= term_names(bound_terms(literal))
    if isinstance(literal, ir.Constraint):
        solution = solve_equality(literal, bound)
        if solution is not None:
            bound.add(solution[0].name)


def _is_tautology(demand: ir.Rule) -> bool:
    """Whether a rule only demands values that are demanded already."""
    return any(
        isinstance(literal, ir.Atom) and literal.relation == demand.relation and literal.terms == demand.head
        for literal in demand.body
    )
