"""Delta expansion: the semi-naive versions of a recursive rule."""

from collections.abc import Collection

from scallax.language import ir
from scallax.planner.algebra import DeltaRule, Version


def expand_deltas(rule: ir.Rule, index: int, stratum: Collection[str]) -> tuple[DeltaRule, ...]:
    """One version per atom of the rule's own stratum, or the rule as it is if there is none.

    In version i, recursive atoms before i see old tuples, atom i the delta and those after it all tuples, so
    that over the rounds every combination of body tuples is met in exactly one version.
    """
    recursive = [
        i for i, literal in enumerate(rule.body) if isinstance(literal, ir.Atom) and literal.relation in stratum
    ]
    if not recursive:
        return (DeltaRule(rule, index, (Version.TOTAL,) * len(rule.body)),)
    return tuple(
        DeltaRule(rule, index, tuple(_version(i, delta, recursive) for i in range(len(rule.body))))
        for delta in recursive
    )


def _version(position: int, delta: int, recursive: Collection[int]) -> Version:
    if position == delta:
        return Version.DELTA
    return Version.OLD if position in recursive and position < delta else Version.TOTAL
