"""Provenances that keep the best derivation: the most probable one, or the cheapest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scallax.kernels.array_namespace import Namespace
from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import COMPLEMENT
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.noisy_or import moved
from scallax.provenance.traits import Traits

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from scallax.kernels.array_namespace import Array

# A derivation that is nested deeper than this on a cycle does not converge.
MAX_HEIGHT = 2_000


class Ranked(NamedTuple):
    """The value of the best derivation, and how often it goes through tuples of a cycle.

    Among derivations of equal value the one of least height is the best, then the first: so the derivation that decides
    a tuple never depends on the tuple itself, and the gradient goes along one derivation.
    """

    value: Float[Array, "... batch"]
    height: Int[Array, "... batch"]


@dataclass(frozen=True)
class MaxMult(AbstractProvenance):
    """The most probable derivation: maximum and product; `1 - p` for not.

    The gradient is that of the product along the best derivation. On a cycle products are clamped to [0, 1]: factors
    over 1 would not converge.
    """

    traits: Traits

    def leaf_tags(self, literals: LiteralTable) -> Ranked:
        return _ranked_leaves(literals, 0.0, 1.0)

    def step(self, kind, total, left, right, cyclic, literals):
        if kind == COMPLEMENT:
            return Ranked(1 - left[0].value, literals.xp.zeros_like(left[0].height))
        xp = literals.xp
        a, b = _stack(xp, left), _stack(xp, right)
        product = a.value * b.value
        product = xp.where(cyclic, xp.clip(product, 0, 1), product)
        return _best(xp, Ranked(product, _height(xp, a, b, cyclic)), total, xp.greater)

    def differs(self, old, new) -> Bool[Array, ""]:
        return moved(old.value, new.value) | (old.height != new.height).any()

    def recover(self, tags, literals):
        return tags.value


@dataclass(frozen=True)
class RealTropical(AbstractProvenance):
    """The cheapest derivation: minimum and sum of costs, infinite for what does not hold.

    Negation is that of truth: what holds at any cost is false, what does not hold is true at no cost. The gradient
    counts the uses of each fact in the cheapest derivation. A cycle of negative cost has no cheapest derivation: -inf.
    """

    traits: Traits

    def leaf_tags(self, literals: LiteralTable) -> Ranked:
        return _ranked_leaves(literals, np.inf, 0.0)

    def step(self, kind, total, left, right, cyclic, literals):
        xp = literals.xp
        if kind == COMPLEMENT:
            value = left[0].value
            return Ranked(xp.where(value == np.inf, xp.zeros_like(value), np.inf), xp.zeros_like(left[0].height))
        a, b = _stack(xp, left), _stack(xp, right)
        absent = (a.value == np.inf) | (b.value == np.inf)
        height = _height(xp, a, b, cyclic)
        cost = xp.where(absent, np.inf, a.value + b.value)
        cost = xp.where(~absent & (height > MAX_HEIGHT), -np.inf, cost)
        return _best(xp, Ranked(cost, xp.minimum(height, MAX_HEIGHT + 1)), total, xp.less)

    def differs(self, old, new) -> Bool[Array, ""]:
        return moved(old.value, new.value) | (old.height != new.height).any()

    def recover(self, tags, literals):
        return tags.value


def _ranked_leaves(literals: LiteralTable, zero: float, one: float) -> Ranked:
    xp = literals.xp
    value = xp.where(literals.certain[:, None], one, literals.probabilities)
    value = xp.where(literals.present, value, zero)
    value = xp.concatenate([batch_constant(value, (1,), zero), batch_constant(value, (1,), one), value])
    return Ranked(value, batch_constant(value, value.shape[:1], 0, xp.int32))


def _height(xp: Namespace, a: Ranked, b: Ranked, cyclic) -> Int[Array, "... batch"]:
    """The height of a derivation from two tuples; 0 outside of cycles."""
    height = xp.minimum(1 + xp.maximum(a.height, b.height), MAX_HEIGHT + 1)
    return xp.where(cyclic, height, xp.zeros_like(height))


def _stack(xp: Namespace, rows: Sequence[Ranked]) -> Ranked:
    return Ranked(*(xp.stack(leaves) for leaves in zip(*rows, strict=True)))


def _best(xp: Namespace, found: Ranked, total: Ranked, is_better: Callable[[Array, Array], Array]) -> Ranked:
    """The best of `total` and of what was found, `[rows, ..., batch]` for a power of two of rows.

    Neighbours are compared in rounds: one row after the other takes XLA time in the square of their number to compile.
    """
    while found.value.shape[0] > 1:
        old, new = (Ranked(*(leaf[first::2] for leaf in found)) for first in (0, 1))
        found = _better(xp, new, old, is_better)
    return _better(xp, Ranked(*(leaf[0] for leaf in found)), total, is_better)


def _better(xp: Namespace, new: Ranked, old: Ranked, is_better: Callable[[Array, Array], Array]) -> Ranked:
    is_lower = (new.value == old.value) & (new.height < old.height)
    wins = is_better(new.value, old.value) | is_lower | xp.isnan(new.value)
    return Ranked(*(xp.where(wins, x, y) for x, y in zip(new, old, strict=True)))
