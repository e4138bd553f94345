"""From a checked program to strata of semi-naive rules."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter

from scallax import ir
from scallax.planner.algebra import DeltaRule, Plan, Stratum
from scallax.planner.deltas import expand_deltas
from scallax.planner.demand import ask_for_bindings
from scallax.planner.enumeration import enumerate_terms
from scallax.planner.rewrite import propagate_equalities
from scallax.planner.samples import lift
from scallax.planner.strata import needed_relations, stratify


def plan(
    program: ir.Program, outputs: Sequence[str], sampled: Collection[str] = (), with_facts: Collection[str] = ()
) -> Plan:
    """The plan that computes `outputs` and what they depend on, and no other relation.

    The whole program is stratified: raises `StratificationError` even for relations that no output needs. Relations in
    `sampled` have facts for each sample (see `lift`), those in `with_facts` have facts of the program.
    """
    stratify(program)
    program = enumerate_terms(ask_for_bindings(_restrict(program, outputs)))
    lifted: frozenset[str] = frozenset()
    if sampled:
        program, lifted = lift(program, sampled, with_facts)
    components = stratify(program)
    needed = needed_relations(program, outputs)
    rules: dict[str, list[tuple[int, ir.Rule]]] = {name: [] for name in needed}
    for index, rule in enumerate(program.rules):
        if rule.relation in needed:
            rules[rule.relation].append((index, propagate_equalities(rule)))
    return Plan(
        relations=tuple(relation for relation in program.relations if relation.name in needed),
        strata=tuple(_plan_stratum(component, rules) for component in components if needed.issuperset(component)),
        derived=frozenset(rule.relation for rule in program.rules if rule.relation in needed),
        variants=program.variants,
        terms=program.terms,
        lifted=lifted & needed,
    )


def _restrict(program: ir.Program, outputs: Sequence[str]) -> ir.Program:
    """The program in which a rule that no output needs asks for nothing."""
    if not any(relation.demand for relation in program.relations):
        return program
    needed = needed_relations(program, outputs)
    rules = tuple(rule if rule.relation in needed else replace(rule, body=()) for rule in program.rules)
    return replace(program, rules=rules)


def _plan_stratum(relations: tuple[str, ...], rules: Mapping[str, Sequence[tuple[int, ir.Rule]]]) -> Stratum:
    """The versions of the rules for a component, in program order."""
    versions: list[DeltaRule] = []
    for index, rule in sorted((entry for name in relations for entry in rules[name]), key=itemgetter(0)):
        versions += expand_deltas(rule, index, relations)
    return Stratum(
        relations,
        once=tuple(version for version in versions if version.delta is None),
        each_round=tuple(version for version in versions if version.delta is not None),
    )
