"""Provenances whose tag is a number for each tuple: min-max and sum-product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scallax.kernels.array_namespace import Namespace, array_namespace
from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import COMPLEMENT
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.traits import Traits

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from scallax.kernels.array_namespace import Array


def leaf_values(literals: LiteralTable, zero: float) -> Float[Array, "leaves batch"]:
    """`zero`, 1 and the literals' probabilities, `zero` where absent."""
    p = literals.xp.where(literals.present, literals.probabilities, zero)
    return literals.xp.concatenate([batch_constant(p, (1,), zero), batch_constant(p, (1,), 1), p])


@dataclass(frozen=True)
class AddMult(AbstractProvenance):
    """Add-mult: `t = clamp(Σ Π a)` over the derivations of a tuple, to [0, `ceiling`]; `1 - p` for a negation.

    The gradient of an acyclic program passes straight through the clamp, so that a saturated sum still learns, unless
    the provenance `masks_clamp`. On a cycle the clamp's own derivative counts (0 above the ceiling): the gradient is
    the implicit one at the fixpoint.
    """

    traits: Traits
    ceiling: float = 1.0
    masks_clamp: bool = False

    def leaf_tags(self, literals: LiteralTable) -> Float[Array, "leaves batch"]:
        return leaf_values(literals, 0.0)

    def step(self, kind, total, left, right, cyclic, literals):
        if kind == COMPLEMENT:
            return 1 - left[0]
        xp, total = literals.xp, total + sum(a * b for a, b in zip(left, right, strict=True))
        clamped = xp.clip(total, 0, self.ceiling)
        return clamped if self.masks_clamp else xp.straight_through(total, clamped, cyclic)

    def head_cotangent(self, total, heads, complement, cyclic):
        xp = array_namespace(total)
        saturated = (cyclic | self.masks_clamp) & (heads >= self.ceiling)
        return xp.where(complement, -total, xp.where(saturated, xp.zeros_like(total), total))

    def differs(self, old, new) -> Bool[Array, ""]:
        # 8 epsilon is 1e-6 in float32. A NaN differs once, so that it passes on around the cycle.
        xp = array_namespace(new)
        moved = xp.abs(new - old) > 8 * xp.finfo(new.dtype).eps
        return (moved | (xp.isnan(new) & ~xp.isnan(old))).any()

    def recover(self, tags, literals):
        return tags


class DecidingLiteral(NamedTuple):
    """A value and where it comes from: literal `i` as `i + 1`, its complement as `-(i + 1)`, a constant as 0.

    Zero and absent facts have the value -inf, so that they decide no maximum and every minimum.
    """

    value: Float[Array, "... batch"]
    origin: Int[Array, "... batch"]


@dataclass(frozen=True)
class MinMax(AbstractProvenance):
    """Max-min: a tag is the maximum over derivations, each the minimum of its atoms; `1 - p` for a negation.

    The gradient of a tag is that of the one literal that decides it.

    The first of equal values decides a minimum and the last a maximum, as in the reference.
    """

    traits: Traits

    def leaf_tags(self, literals: LiteralTable) -> DecidingLiteral:
        xp, num_literals = literals.xp, literals.probabilities.shape[0]
        origin = xp.pad(1 + xp.arange(num_literals, dtype=xp.int32), (2, 0))
        none = batch_constant(literals.probabilities, origin.shape, 0, xp.int32)
        return DecidingLiteral(leaf_values(literals, -np.inf), none + origin[:, None])

    def step(self, kind, total, left, right, cyclic, literals):
        xp = literals.xp
        if kind == COMPLEMENT:
            value, origin = left[0]
            return DecidingLiteral(1 - xp.where(value == -np.inf, 0, value), -origin)
        for a, b in zip(left, right, strict=True):
            # A NaN wins, here and below, so that it is seen at the output.
            smaller = _choose(xp, (b.value < a.value) | xp.isnan(b.value), b, a)
            # An equal value wins, but on a cycle, where it must not change hands for ever.
            wins = xp.where(cyclic, smaller.value > total.value, smaller.value >= total.value)
            total = _choose(xp, wins | xp.isnan(smaller.value), smaller, total)
        return total

    def differs(self, old, new) -> Bool[Array, ""]:
        # A NaN does not differ from itself.
        return ((old.value < new.value) | (old.value > new.value) | (old.origin != new.origin)).any()

    def recover(self, tags, literals):
        xp, (value, origin) = literals.xp, tags
        literal = xp.maximum(xp.abs(origin) - 1, 0)
        p = xp.take_along_axis(literals.probabilities, literal, 0)
        constant = xp.stop_gradient(xp.where(value == -np.inf, 0, value))
        decided = xp.where(origin > 0, p, xp.where(origin < 0, 1 - p, constant))
        return xp.where(value == -np.inf, constant, decided)


def _choose(xp: Namespace, condition, a: DecidingLiteral, b: DecidingLiteral) -> DecidingLiteral:
    return DecidingLiteral(*(xp.where(condition, x, y) for x, y in zip(a, b, strict=True)))
