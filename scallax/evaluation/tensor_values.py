"""Tensors in facts: what is computed of them, and how close they are to each other, by JAX.

Two are as close as the cosine of the angle between them says, moved from [-1, 1] to [0, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from scallax.evaluation.cache import call

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float

    from scallax.evaluation.batch import ArrayLike

_OPERATIONS = {"+": jnp.add, "-": jnp.subtract, "*": jnp.multiply, "dot": jnp.dot}


def combine(op: str, left: Any, right: Any) -> Array:
    """The value of `+`, `-`, `*` or `dot`, of two arrays or of one and a number."""
    if isinstance(right, int | float):
        return call(None, _combine, (op, right), left)
    return call(None, _combine, (op,), right, left)


def _combine(op: str, right: ArrayLike | float, left: ArrayLike) -> Array:
    return _OPERATIONS[op](left, right)


def compare(
    pairs: Sequence[tuple[Array, Array]], negated: Bool[Array | np.ndarray, " pairs"]
) -> Float[Array, " pairs"]:
    """`(cos + 1) / 2` of the two of each pair, which have one shape, and 1 minus it where `negated`.

    1/2 where one of them is 0, and then without a derivative: the cosine has none there.
    """
    return call(None, _compare, (), list(pairs), negated)


def _compare(
    pairs: Sequence[tuple[Array, Array]], negated: Bool[Array | np.ndarray, " pairs"]
) -> Float[Array, " pairs"]:
    dtype = jnp.result_type(jnp.float32, *{array.dtype for pair in pairs for array in pair})
    places: dict[tuple[int, ...], list[int]] = {}
    for place, (left, _) in enumerate(pairs):
        places.setdefault(left.shape, []).append(place)
    values = jnp.zeros(len(pairs), dtype)
    for chosen in places.values():
        left, right = (jnp.stack([pairs[i][side].reshape(-1).astype(dtype) for i in chosen]) for side in (0, 1))
        values = values.at[np.array(chosen)].set(_closeness(left, right))
    return jnp.where(negated, 1 - values, values)


def _closeness(left: Float[Array, "pairs size"], right: Float[Array, "pairs size"]) -> Float[Array, " pairs"]:
    left, right = _scaled(left), _scaled(right)
    squares = jnp.sum(left * left, 1) * jnp.sum(right * right, 1)
    is_zero = squares == 0
    # `where` differentiates both branches, so the unused one must be finite as well.
    cosine = jnp.sum(left * right, 1) / jnp.sqrt(jnp.where(is_zero, 1.0, squares))
    return (jnp.where(is_zero, 0.0, cosine) + 1) / 2


def _scaled(rows: Float[Array, "pairs size"]) -> Float[Array, "pairs size"]:
    """The rows with a largest element of 1, which changes no angle and no derivative of one."""
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(rows), 1, keepdims=True, initial=0.0))
    return rows / jnp.where(largest == 0, 1.0, largest)
