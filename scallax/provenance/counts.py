"""Provenances of natural numbers: how many derivations a tuple has, or the least cost of one.

Numbers are int32 and saturate: what is `LARGEST` or more is that number, and sums and products of such numbers again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from scallax.kernels.array_namespace import Namespace
from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import COMPLEMENT
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.best import MAX_HEIGHT
from scallax.provenance.traits import Traits

if TYPE_CHECKING:
    from jaxtyping import Bool, Int

    from scallax.kernels.array_namespace import Array

LARGEST = 2**31 - 1
# A cost; `LARGEST` is that of what does not hold.
_LARGEST_COST = LARGEST - 1


class Counted(NamedTuple):
    """The number of derivations, and how often the one that does so most often goes through tuples of a cycle."""

    count: Int[Array, "... batch"]
    height: Int[Array, "... batch"]


@dataclass(frozen=True)
class Natural(AbstractProvenance):
    """The number of derivations: sum and product. A tag is how many times the fact is there, without one once.

    The negation of a tuple without derivations is 1, any other 0. Counts saturate at 2,147,483,647, which is also the
    count of a tuple with endless derivations around a cycle: those nested in more than 2,000 tuples of cycles.
    """

    traits: Traits

    def leaf_tags(self, literals: LiteralTable) -> Counted:
        count = _leaves(literals, 0, 1)
        return Counted(count, literals.xp.zeros_like(count))

    def step(self, kind, total, left, right, cyclic, literals):
        xp = literals.xp
        if kind == COMPLEMENT:
            none = (left[0].count == 0).astype(xp.int32)
            return Counted(none, xp.zeros_like(none))
        for a, b in zip(left, right, strict=True):
            count = _saturating_product(xp, a.count, b.count)
            height = xp.minimum(1 + xp.maximum(a.height, b.height), MAX_HEIGHT + 1)
            height = xp.where(cyclic & (count > 0), height, xp.zeros_like(height))
            count = xp.where(height > MAX_HEIGHT, LARGEST, count)
            total = Counted(_saturating_sum(xp, total.count, count, LARGEST), xp.maximum(total.height, height))
        return total

    def differs(self, old, new) -> Bool[Array, ""]:
        return (old.count != new.count).any() | (old.height != new.height).any()

    def recover(self, tags, literals):
        return tags.count


@dataclass(frozen=True)
class Tropical(AbstractProvenance):
    """The least cost of a derivation: minimum and sum of natural numbers, without a tag 0.

    The negation of a tuple that does not hold costs nothing; any other negation does not hold. A tuple that does not
    hold costs 2,147,483,647, and one that holds at most one less.
    """

    traits: Traits

    def leaf_tags(self, literals: LiteralTable) -> Int[Array, "leaves batch"]:
        return _leaves(literals, LARGEST, 0)

    def step(self, kind, total, left, right, cyclic, literals):
        xp = literals.xp
        if kind == COMPLEMENT:
            return xp.where(left[0] == LARGEST, xp.zeros_like(left[0]), LARGEST)
        for a, b in zip(left, right, strict=True):
            absent = (a == LARGEST) | (b == LARGEST)
            total = xp.minimum(total, xp.where(absent, LARGEST, _saturating_sum(xp, a, b, _LARGEST_COST)))
        return total

    def differs(self, old, new) -> Bool[Array, ""]:
        return (old != new).any()

    def recover(self, tags, literals):
        return tags


def _leaves(literals: LiteralTable, zero: int, one: int) -> Int[Array, "leaves batch"]:
    """`zero`, `one` and the numbers of the literals, those that are not whole rounded down."""
    xp = literals.xp
    given = xp.to_int32(xp.clip(literals.probabilities, 0, 1 << 24))
    value = xp.where(literals.certain[:, None], one, given)
    value = xp.where(literals.present, value, zero)
    return xp.concatenate([batch_constant(value, (1,), zero), batch_constant(value, (1,), one), value])


def _saturating_sum(xp: Namespace, a: Int[Array, " ..."], b: Int[Array, " ..."], largest: int) -> Int[Array, " ..."]:
    # Compared before adding: the sum would wrap.
    return xp.where(a > largest - b, largest, a + b)


def _saturating_product(xp: Namespace, a: Int[Array, " ..."], b: Int[Array, " ..."]) -> Int[Array, " ..."]:
    overflows = (a > 0) & (b > LARGEST // xp.maximum(a, 1))
    return xp.where(overflows, LARGEST, a * b)
