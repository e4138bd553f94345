"""The entries of an array that exist, on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scallax.evaluation.jax_values import is_traced
from scallax.facts.tensor_facts import Retention

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Shaped

    from scallax.evaluation.batch import ArrayLike


def retained_entries(
    retention: Retention, values: Shaped[ArrayLike, "batch ..."], seed: int | Array, number: int
) -> Bool[np.ndarray, "batch ..."]:
    """A mask of the entries that exist, of an array that is not traced; among equal ones the first are kept.

    `seed` is that of the draws of all arrays, `number` the array's own.
    """
    if retention.is_drawn:
        # The draws are those of JAX's random numbers.
        from scallax.evaluation.jax_batch import draw_entries

        return np.asarray(draw_entries(retention, values, seed, number))
    assert not is_traced(values)
    array = np.asarray(values)
    kept = np.ones(array.shape, bool)
    if retention.threshold is not None:
        kept = array >= np.asarray(retention.threshold, array.dtype)
    if retention.k is None:
        return kept
    axis = 1 if retention.dim is None else retention.dim + 1
    slices = array.reshape(len(array), -1) if retention.dim is None else array
    order = np.argsort(-slices, axis=axis, stable=True)
    rank = np.empty(order.shape, np.int64)
    np.put_along_axis(rank, order, np.arange(order.shape[axis]).reshape(-1, *(1,) * (order.ndim - 1 - axis)), axis)
    return kept & (rank < retention.k).reshape(array.shape)
