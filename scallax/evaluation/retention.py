"""The entries of an array that exist, on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scallax.evaluation.jax_values import canonical_dtype, is_traced
from scallax.evaluation.moves import computing_dtype
from scallax.facts.tensor_facts import Retention
from scallax.kernels import threefry

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Shaped

    from scallax.evaluation.batch import ArrayLike

# Keeps the draws of entries apart from those of proofs and selections, which have the same seed.
RETENTION = 0x52455441


def retained_entries(
    retention: Retention, values: Shaped[ArrayLike, "batch ..."], seed: int | Array, number: int
) -> Bool[np.ndarray, "batch ..."]:
    """A mask of the entries that exist, of an array that is not traced; among equal ones the first are kept.

    `seed` is that of the draws of all arrays, `number` the array's own.
    """
    assert not is_traced(values)
    array = np.asarray(values).astype(canonical_dtype(computing_dtype([values])))
    kept = np.ones(array.shape, bool)
    if retention.threshold is not None:
        kept = array >= np.asarray(retention.threshold, array.dtype)
    if retention.is_drawn:
        return kept & _drawn(retention, array, int(np.asarray(seed)), number)
    if retention.k is None:
        return kept
    axis = 1 if retention.dim is None else retention.dim + 1
    slices = array.reshape(len(array), -1) if retention.dim is None else array
    order = np.argsort(-slices, axis=axis, stable=True)
    rank = np.empty(order.shape, np.int64)
    np.put_along_axis(rank, order, np.arange(order.shape[axis]).reshape(-1, *(1,) * (order.ndim - 1 - axis)), axis)
    return kept & (rank < retention.k).reshape(array.shape)


def _drawn(
    retention: Retention, array: Float[np.ndarray, "batch ..."], seed: int, number: int
) -> Bool[np.ndarray, "batch ..."]:
    """The entries met in k draws from each sample's, or from each slice's; none of probability 0."""
    assert retention.k is not None
    axis = 1 if retention.dim is None else retention.dim + 1
    slices = array.reshape(len(array), -1) if retention.dim is None else np.moveaxis(array, axis, -1)
    key = threefry.fold_in(threefry.fold_in(threefry.key(seed), RETENTION), number)
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(slices > 0, np.log(slices), -np.inf).astype(slices.dtype)
    # A number drawn depends on its place alone: with the samples outermost, a sample's on no other sample.
    scores = np.broadcast_to(scores[:, None], (len(scores), retention.k, *scores.shape[1:]))
    draws = threefry.categorical(key, scores, ())
    met = (draws[..., None] == np.arange(slices.shape[-1])).any(1) & (slices > 0)
    return met.reshape(array.shape) if retention.dim is None else np.moveaxis(met, -1, axis)
