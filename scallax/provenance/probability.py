"""Provenances whose tag is a number for each tuple: min-max and sum-product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
from jax import lax

from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import COMPLEMENT
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.traits import Traits

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int


def leaf_values(literals: LiteralTable, zero: float) -> Float[Array, "leaves batch"]:
    """`zero`, 1 and the literals' probabilities, `zero` where absent."""
    p = jnp.where(literals.present, literals.probabilities, zero)
    return jnp.concatenate([batch_constant(p, (1,), zero), batch_constant(p, (1,), 1), p])


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
        total = total + sum(a * b for a, b in zip(left, right, strict=True))
        return jnp.clip(total, 0, self.ceiling)

    def head_cotangent(self, total, heads, complement, cyclic):
        saturated = (cyclic | self.masks_clamp) & (heads >= self.ceiling)
        return jnp.where(complement, -total, jnp.where(saturated, jnp.zeros_like(total), total))

    def differs(self, old, new) -> Bool[Array, ""]:
        # 8 epsilon is 1e-6 in float32. A NaN differs once, so that it passes on around the cycle.
        moved = jnp.abs(new - old) > 8 * jnp.finfo(new.dtype).eps
        return (moved | (jnp.isnan(new) & ~jnp.isnan(old))).any()

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
        num_literals = literals.probabilities.shape[0]
        origin = jnp.pad(1 + jnp.arange(num_literals, dtype=jnp.int32), (2, 0))
        none = batch_constant(literals.probabilities, origin.shape, 0, jnp.int32)
        return DecidingLiteral(leaf_values(literals, -jnp.inf), none + origin[:, None])

    def step(self, kind, total, left, right, cyclic, literals):
        if kind == COMPLEMENT:
            value, origin = left[0]
            return DecidingLiteral(1 - jnp.where(value == -jnp.inf, 0, value), -origin)
        for a, b in zip(left, right, strict=True):
            # A NaN wins, here and below, so that it is seen at the output.
            smaller = _choose((b.value < a.value) | jnp.isnan(b.value), b, a)
            # An equal value wins, but on a cycle, where it must not change hands for ever.
            wins = jnp.where(cyclic, smaller.value > total.value, smaller.value >= total.value)
            total = _choose(wins | jnp.isnan(smaller.value), smaller, total)
        return total

    def differs(self, old, new) -> Bool[Array, ""]:
        # A NaN does not differ from itself.
        return ((old.value < new.value) | (old.value > new.value) | (old.origin != new.origin)).any()

    def recover(self, tags, literals):
        value, origin = tags
        literal = jnp.maximum(jnp.abs(origin) - 1, 0)
        p = jnp.take_along_axis(literals.probabilities, literal, 0, mode="promise_in_bounds")
        constant = lax.stop_gradient(jnp.where(value == -jnp.inf, 0, value))
        decided = jnp.where(origin > 0, p, jnp.where(origin < 0, 1 - p, constant))
        return jnp.where(value == -jnp.inf, constant, decided)


def _choose(condition, a: DecidingLiteral, b: DecidingLiteral) -> DecidingLiteral:
    return DecidingLiteral(*(jnp.where(condition, x, y) for x, y in zip(a, b, strict=True)))
