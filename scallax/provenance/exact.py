"""Exact probabilities: sum and product over a circuit in which they are those of probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scallax.kernels.array_namespace import Namespace, array_namespace
from scallax.kernels.schedule import COMPLEMENT
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.probability import leaf_values
from scallax.provenance.traits import Traits

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from scallax.kernels.array_namespace import Array


@dataclass(frozen=True)
class Exact(AbstractProvenance):
    """Sum and product, `1 - p` for not, of a compiled circuit: sums are disjoint and products are independent.

    Values are polynomials of degree 1 in each probability, without a division or a clamp, also for numbers outside
    [0, 1]; their derivatives `P(F | fact) - P(F | not fact)` are as exact. An absent fact has the probability 0.
    """

    traits: Traits

    def leaf_tags(self, literals: LiteralTable) -> Float[Array, "leaves batch"]:
        return leaf_values(literals, 0.0)

    def step(self, kind, total, left, right, cyclic, literals):
        if kind == COMPLEMENT:
            return _rest(literals.xp, left)
        return total + sum(a * b for a, b in zip(left, right, strict=True))

    def head_cotangent(self, total, heads, complement, cyclic):
        return array_namespace(total).where(complement, -total, total)

    def differs(self, old, new) -> Bool[Array, ""]:
        # A circuit has no cycle.
        return array_namespace(new).zeros((), bool)

    def recover(self, tags, literals):
        return tags


def _rest(xp: Namespace, parts: Sequence[Float[Array, "width batch"]]) -> Float[Array, "width batch"]:
    """The rest `1 - Σ parts`, also where that is little: rounded as if it were computed exactly.

    The rounding error of a subtraction is found by FastTwoSum (Dekker, Numerische Mathematik 18, 1971): no part is
    larger than the rest before it, if they are probabilities that exclude each other.
    """
    rest, lost = xp.ones_like(parts[0]), xp.zeros_like(parts[0])
    for part in parts:
        less = rest - part
        lost = lost + ((rest - less) - part)
        rest = less
    return rest + lost
