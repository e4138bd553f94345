"""From a checked program to strata of semi-naive rules."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from operator import itemgetter

from scallax.language import ir
from scallax.language.bindings import term_names, variable_names
from scallax.planner.algebra import DeltaRule, Growth, Plan, Stratum
from scallax.planner.deltas import expand_deltas
from scallax.planner.demand import automatic_demand, declared_demand
from scallax.planner.elimination import eliminate_variables
from scallax.planner.enumeration import enumerate_terms
from scallax.planner.rewrite import propagate_equalities, tell_bindings_apart
from scallax.planner.samples import lift
from scallax.planner.strata import needed_relations, read_relations, stratify


def plan(
    program: ir.Program,
    outputs: Sequence[str],
    *,
    uses_tags: bool = True,
    is_order_sensitive: bool = False,
    demand: bool = True,
    eliminate: bool = False,
    sampled: Collection[str] = (),
) -> Plan:
    """The plan that computes `outputs` and the relations on which they depend.

    Other relations than the outputs have only the tuples on which outputs can depend, as far as constants and
    declarations tell. Without `demand`, only declarations restrict them, and the order is the same. With `uses_tags`,
    rules have tags, choices and soft comparisons; `is_order_sensitive` says that tags depend on the order of nodes. The
    whole program is stratified: raises `StratificationError` even for relations that no output needs.

    With `eliminate`, sums of facts get relations of their own where tags allow it (see `eliminate_variables`).

    Relations in `sampled` have facts for each sample (see `lift`).
    """
    stratify(program)
    program = declared_demand(_restrict(program, outputs))
    program = enumerate_terms(replace(program, rules=tuple(map(propagate_equalities, program.rules))))
    if eliminate:
        program = eliminate_variables(program)
    labelled, labels = _label_tagged(program) if uses_tags else (program, {})
    asked = automatic_demand(
        labelled, outputs, uses_tags=uses_tags, is_order_sensitive=is_order_sensitive, has_samples=len(sampled) > 0
    )
    by_content = asked is not labelled
    if by_content:
        program = asked if demand else labelled
    else:
        labels = {}
    lifted: frozenset[str] = frozenset()
    if sampled:
        program, lifted = lift(program, sampled)
    components = stratify(program)
    needed = needed_relations(program, outputs)
    rules: dict[str, list[tuple[int, ir.Rule]]] = {name: [] for name in needed}
    for index, rule in enumerate(program.rules):
        if rule.relation in needed:
            rules[rule.relation].append((index, rule))
    wanted = [each for each in components if needed.issuperset(each)]
    # Relations that all samples share come first, in strata of their own.
    shared = _merge_alike([each for each in wanted if lifted.isdisjoint(each)], rules)
    sampled_ones = _merge_alike([each for each in wanted if not lifted.isdisjoint(each)], rules)
    return Plan(
        relations=tuple(relation for relation in program.relations if relation.name in needed),
        strata=tuple(_plan_stratum(component, rules, labels) for component in (*shared, *sampled_ones)),
        derived=frozenset(name for name, found in rules.items() if found),
        variants=program.variants,
        terms=program.terms,
        lifted=lifted & needed,
        aggregates=any(
            isinstance(part, ir.Reduce) for found in rules.values() for _, rule in found for part in rule.body
        ),
        by_content=by_content,
        library=program.library,
    )


def _label_tagged(program: ir.Program) -> tuple[ir.Program, dict[int, tuple[ir.Variable, ...]]]:
    """The program whose tagged rules have no wildcards, and by index the variables that tell their bindings apart."""
    rules, labels = list(program.rules), {}
    for index, rule in enumerate(rules):
        if rule.tag is not None:
            rules[index], labels[index] = tell_bindings_apart(rule)
    return replace(program, rules=tuple(rules)), labels


def _restrict(program: ir.Program, outputs: Sequence[str]) -> ir.Program:
    """The program in which rules that no output needs demand nothing."""
    if not any(relation.demand for relation in program.relations):
        return program
    needed = needed_relations(program, outputs)
    rules = tuple(rule if rule.relation in needed else replace(rule, body=()) for rule in program.rules)
    return replace(program, rules=rules)


def _merge_alike(
    components: Sequence[tuple[str, ...]], rules: Mapping[str, Sequence[tuple[int, ir.Rule]]]
) -> list[tuple[str, ...]]:
    """The components, merged if their rules join the same two relations and neither needs the other.

    One round then evaluates both, and computes their common joins once. Relations that are recursive, or whose rules
    make literals, stay alone.
    """
    merged: list[tuple[str, ...]] = []
    # The place of each relation among the merged, and the pairs that the movable ones of a place join.
    places: dict[str, int] = {}
    joined: dict[int, set[tuple[str, str]]] = {}
    for component in components:
        own = [rule for name in component for _, rule in rules[name]]
        reads = {relation for rule in own for relation in read_relations(rule)}
        place = len(merged)
        if reads.isdisjoint(component) and all(rule.tag is None and rule.choice is None for rule in own):
            pairs = {pair for rule in own for pair in _joined_pairs(rule)}
            lowest = max((places.get(name, -1) + 1 for name in reads), default=0)
            place = next((i for i in range(lowest, len(merged)) if not pairs.isdisjoint(joined.get(i, ()))), place)
            joined.setdefault(place, set()).update(pairs)
        if place == len(merged):
            merged.append(component)
        else:
            merged[place] += component
        places.update((name, place) for name in component)
    return merged


def _joined_pairs(rule: ir.Rule) -> set[tuple[str, str]]:
    """The relations of any two atoms of a body."""
    names = sorted(literal.relation for literal in rule.body if isinstance(literal, ir.Atom))
    return set(combinations(names, 2))


def _plan_stratum(
    relations: tuple[str, ...],
    rules: Mapping[str, Sequence[tuple[int, ir.Rule]]],
    labels: Mapping[int, tuple[ir.Variable, ...]],
) -> Stratum:
    """The versions of the rules for a component, in program order."""
    versions: list[DeltaRule] = []
    for index, rule in sorted((entry for name in relations for entry in rules[name]), key=itemgetter(0)):
        expanded = expand_deltas(rule, index, relations)
        versions += [replace(version, label=labels[index]) for version in expanded] if index in labels else expanded
    each_round = tuple(version for version in versions if version.delta is not None)
    return Stratum(
        relations,
        once=tuple(version for version in versions if version.delta is None),
        each_round=each_round,
        growth=_growth([version.rule for version in each_round]),
    )


def _growth(rules: Sequence[ir.Rule]) -> Growth:
    """The reason why a recursion by these rules ends."""
    found = {_growth_of(rule) for rule in rules}
    return next((growth for growth in (Growth.OPEN, Growth.COMPARED) if growth in found), Growth.FINITE)


def _growth_of(rule: ir.Rule) -> Growth:
    terms = [term for literal in rule.body if isinstance(literal, ir.Atom | ir.Case) for term in literal.terms]
    given = term_names(terms)
    made = [part for part in rule.head if not isinstance(part, ir.Constant)]
    made = [part for part in made if not isinstance(part, ir.Variable) or part.name not in given]
    if not made:
        return Growth.FINITE
    compared = _compared_names(rule)
    return Growth.COMPARED if all(variable_names(part) & compared for part in made) else Growth.OPEN


def _compared_names(rule: ir.Rule) -> set[str]:
    """The variables that a body compares by size, directly or through others."""
    conditions = [literal.condition for literal in rule.body if isinstance(literal, ir.Constraint)]
    comparisons = [part for part in conditions if isinstance(part, ir.Binary) and part.op in ("<", "<=", ">", ">=")]
    compared: set[str] = set().union(*map(variable_names, comparisons))
    # A computed value may be compared through a variable: `y == x + 1 and y < 10`.
    for _ in conditions:
        compared.update(*(names for names in map(variable_names, conditions) if names & compared))
    return compared
