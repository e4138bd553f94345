"""Provenances whose tag is a number for each tuple: min-max and sum-product."""

from dataclasses import dataclass
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from scallax.kernels.schedule import COMPLEMENT, NODES
from scallax.provenance.base import AbstractProvenance, LiteralTable


def _leaf_values(literals: LiteralTable) -> Float[Array, "leaves batch"]:
    """0, 1 and the literals' probabilities, 0 where absent."""
    p = jnp.where(literals.present, literals.probabilities, 0)
    constants = jnp.broadcast_to(jnp.array([[0], [1]], p.dtype), (2, p.shape[1]))
    return jnp.concatenate([constants, p])


@dataclass(frozen=True)
class AddMult(AbstractProvenance):
    """Sum and product, the sum clamped to [0, 1]; `1 - p` for not.

    The gradient of an acyclic program passes straight through the clamp, so that a saturated sum still learns. On a
    cycle the clamp's own derivative counts (0 above 1): the gradient is the implicit one at the fixpoint.
    """

    name: str
    keeps_bool_tags: bool
    uses_tags: bool = True

    @property
    def respects_groups(self) -> bool:
        return False

    @property
    def is_discrete(self) -> bool:
        return False

    @property
    def has_tag_gradient(self) -> bool:
        return True

    @property
    def is_idempotent(self) -> bool:
        return False

    def prior(self, tag: float | bool) -> float | None:
        return number_prior(tag, self.keeps_bool_tags)

    def leaf_tags(self, literals: LiteralTable) -> Float[Array, "leaves batch"]:
        return _leaf_values(literals)

    @property
    def block_rows(self):
        return {NODES: (1, 2, 4, 8), COMPLEMENT: (1,)}

    def step(self, kind, total, left, right, cyclic, literals):
        if kind == COMPLEMENT:
            return 1 - left[0]
        total = total + sum(a * b for a, b in zip(left, right, strict=True))
        return jnp.clip(total, 0, 1)

    def head_cotangent(self, total, heads, complement, cyclic):
        saturated = cyclic & (heads >= 1)
        return jnp.where(complement, -total, jnp.where(saturated, jnp.zeros_like(total), total))

    def differs(self, old, new) -> Bool[Array, ""]:
        # 8 epsilon is 1e-6 in float32.
        return (jnp.abs(new - old) > 8 * jnp.finfo(new.dtype).eps).any()

    def recover(self, tags, literals):
        return tags


class DecidingLiteral(NamedTuple):
    """A value and where it comes from: literal `i` as `i + 1`, its complement as `-(i + 1)`, a constant as 0, nothing as `_NOWHERE`."""

    value: Float[Array, "... batch"]
    origin: Int[Array, "... batch"]


# The origin of zero and of absent facts: such a tag never decides.
_NOWHERE = np.int32(np.iinfo(np.int32).min)


@dataclass(frozen=True)
class MinMax(AbstractProvenance):
    """Maximum and minimum; `1 - p` for not. The gradient of a tag is that of the one literal that decides it.

    Of equal values the first decides a minimum and the last a maximum, as in the reference.
    """

    name: str
    keeps_bool_tags: bool
    uses_tags: bool = True

    @property
    def respects_groups(self) -> bool:
        return False

    @property
    def is_discrete(self) -> bool:
        return False

    @property
    def has_tag_gradient(self) -> bool:
        return False

    @property
    def is_idempotent(self) -> bool:
        return True

    def prior(self, tag: float | bool) -> float | None:
        return number_prior(tag, self.keeps_bool_tags)

    def leaf_tags(self, literals: LiteralTable) -> DecidingLiteral:
        values = _leaf_values(literals)
        batch = values.shape[1]
        index = 1 + jnp.arange(literals.probabilities.shape[0], dtype=jnp.int32)
        origin = jnp.where(literals.present, index[:, None], _NOWHERE)
        constants = jnp.broadcast_to(jnp.array([[_NOWHERE], [0]], jnp.int32), (2, batch))
        return DecidingLiteral(values, jnp.concatenate([constants, origin]))

    @property
    def block_rows(self):
        return {NODES: (1, 2, 4, 8), COMPLEMENT: (1,)}

    def step(self, kind, total, left, right, cyclic, literals):
        if kind == COMPLEMENT:
            nowhere = left[0].origin == _NOWHERE
            return DecidingLiteral(1 - left[0].value, jnp.where(nowhere, 0, -left[0].origin))
        for a, b in zip(left, right, strict=True):
            smaller = _choose((b.value < a.value) | (b.origin == _NOWHERE), b, a)
            smaller = _choose(a.origin == _NOWHERE, a, smaller)
            # An equal value wins, but on a cycle, where it must not change hands for ever.
            wins = (smaller.value > total.value) | ((smaller.value == total.value) & ~cyclic)
            # What is not a number wins, so that it is seen at the output; zero loses to nothing only.
            wins = (wins | jnp.isnan(smaller.value) | (total.origin == _NOWHERE)) & (smaller.origin != _NOWHERE)
            total = _choose(wins, smaller, total)
        return total

    def differs(self, old, new) -> Bool[Array, ""]:
        return (old.value != new.value).any() | (old.origin != new.origin).any()

    def recover(self, tags, literals):
        value, origin = tags
        literal = jnp.where(origin == _NOWHERE, 0, jnp.abs(origin)) - 1
        p = jnp.take_along_axis(literals.probabilities, jnp.maximum(literal, 0), 0, mode="promise_in_bounds")
        is_complement = (origin < 0) & (origin != _NOWHERE)
        return jnp.where(origin > 0, p, jnp.where(is_complement, 1 - p, lax.stop_gradient(value)))


def _choose(condition, a: DecidingLiteral, b: DecidingLiteral) -> DecidingLiteral:
    return DecidingLiteral(*(jnp.where(condition, x, y) for x, y in zip(a, b, strict=True)))


def number_prior(tag: float | bool, keeps_bool_tags: bool) -> float | None:
    """A tag as a probability; None (certain) for a boolean one unless the provenance keeps those as 0 and 1."""
    return None if isinstance(tag, bool) and not keeps_bool_tags else float(tag)
