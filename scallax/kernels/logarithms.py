"""Probabilities as logarithms: sums and complements that do not leave the logarithm, with finite gradients.

Minus infinity stands for what is impossible, and passes no gradient. All functions are made of operations that JAX
differentiates, in both modes: what would be infinite or undefined is replaced before it is computed, not after.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from scallax.kernels.array_namespace import array_namespace

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from scallax.kernels.array_namespace import Array

_LOG_2 = math.log(2)


def is_none(logs: Float[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """Whether logarithms are those of 0."""
    return logs == -math.inf


def log1mexp(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The logarithms of complements, `log(1 - exp(x))`; of a probability of 1 minus infinity, without a gradient.

    Each half of the range by the formula that loses no digits there (Maechler, "Accurately computing
    log(1 - exp(-|a|))", 2012).
    """
    xp = array_namespace(x)
    minus_one = xp.full_like(x, -1)
    none = x >= 0
    is_near = x > -_LOG_2
    near = xp.log(-xp.expm1(xp.where(is_near & ~none, x, minus_one)))
    far = xp.log1p(-xp.exp(xp.where(is_near, minus_one, x)))
    return xp.where(none, xp.full_like(x, -math.inf), xp.where(is_near, near, far))


def log_complement(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The logarithms of the complements of probabilities; minus infinity, without a gradient, where none is left."""
    xp = array_namespace(p)
    none = p >= 1
    logs = xp.log1p(-xp.where(none, xp.zeros_like(p), p))
    return xp.where(none, xp.full_like(logs, -math.inf), logs)


def log_sum(terms: Sequence[Float[Array, "*shape"]]) -> Float[Array, "*shape"]:
    """The logarithm of the sum of what the terms are logarithms of."""
    first, *others = terms
    xp = array_namespace(first)
    largest = first
    for term in others:
        largest = xp.maximum(largest, term)
    largest = xp.stop_gradient(largest)
    none = is_none(largest)
    shift = xp.where(none, xp.zeros_like(largest), largest)
    total = sum(xp.exp(term - shift) for term in terms)
    logs = shift + xp.log(xp.where(none, xp.ones_like(total), total))
    return xp.where(none, xp.full_like(logs, -math.inf), logs)


def log_rest(parts: Sequence[Float[Array, "*shape"]]) -> Float[Array, "*shape"]:
    """The logarithm of `1 - Σ exp(part)`, for parts that exclude each other; minus infinity where they are all.

    The largest part is taken from 1 without rounding it first, so that a rest next to it keeps its digits.
    """
    if len(parts) == 1:
        return log1mexp(parts[0])
    xp = array_namespace(parts[0])
    largest, others = parts[0], xp.zeros_like(parts[0])
    for part in parts[1:]:
        others = others + xp.exp(xp.minimum(largest, part))
        largest = xp.maximum(largest, part)
    is_near = largest > -_LOG_2
    near = -xp.expm1(xp.where(is_near, largest, xp.zeros_like(largest))) - others
    far = xp.exp(xp.where(is_near, xp.full_like(largest, -math.inf), largest)) + others
    # No rest is left of some halves, nor of a number that rounding has taken.
    none = xp.where(is_near, near <= 0, far >= 1)
    near = xp.log(xp.where(is_near & ~none, near, xp.ones_like(near)))
    far = xp.log1p(-xp.where(is_near | none, xp.zeros_like(far), far))
    return xp.where(none, xp.full_like(near, -math.inf), xp.where(is_near, near, far))
