"""Provenances whose disjunction is that of independent events: `1 - (1 - a)(1 - b)`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.schedule import COMPLEMENT
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.probability import leaf_values
from scallax.provenance.traits import Traits

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from scallax.kernels.array_namespace import Array


class Conjunction(Enum):
    """The probability of two events together."""

    PRODUCT = "product"
    MINIMUM = "minimum"


@dataclass(frozen=True)
class NoisyOr(AbstractProvenance):
    """Noisy-or: `1 - Π (1 - t)` over the derivations of a tuple, each the product or the minimum of its atoms.

    A negation is `1 - p`.

    Tags on a cycle are the least fixpoint, to 8 epsilon a round, and their gradient is that of the equations at the
    fixpoint. The first of equal values decides a minimum. The gradient of a disjunction is the product over the others,
    finite at 1.
    """

    traits: Traits
    conjunction: Conjunction

    def leaf_tags(self, literals: LiteralTable) -> Float[Array, "leaves batch"]:
        return leaf_values(literals, 0.0)

    def step(self, kind, total, left, right, cyclic, literals):
        if kind == COMPLEMENT:
            return 1 - left[0]
        none = 1 - total
        for a, b in zip(left, right, strict=True):
            none = none * (1 - self._conjoin(a, b))
        return 1 - none

    def _conjoin(self, a, b):
        # `where`, as a minimum of JAX would share the gradient of equal values.
        return a * b if self.conjunction is Conjunction.PRODUCT else array_namespace(a).where(b < a, b, a)

    def differs(self, old, new) -> Bool[Array, ""]:
        return moved(old, new)

    def recover(self, tags, literals):
        return tags


def moved(old: Float[Array, "... batch"], new: Float[Array, "... batch"]) -> Bool[Array, ""]:
    """Whether some number changed by more than 8 epsilon (1e-6 in float32), of its size if that is over 1.

    A NaN differs once, so that it passes on around the cycle.
    """
    # Infinite on both sides is no change, and their difference no number.
    xp = array_namespace(new)
    same = old == new
    size = xp.maximum(1, xp.where(xp.isfinite(new), xp.abs(new), 1))
    far = xp.abs(xp.where(same, 0, new - old)) > 8 * xp.finfo(new.dtype).eps * size
    return ((~same & far) | (xp.isnan(new) & ~xp.isnan(old))).any()
