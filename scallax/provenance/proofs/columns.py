"""The columns that some clause has, where values may be looked at, and what is added up over them alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.ranks import LEAST, add_ranks, rank_literals

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Shaped, UInt32

    from scallax.provenance.proofs.bit_sets import BitSets


def rank_clauses(
    bits: UInt32[np.ndarray, "... words batch"],
    literals: LiteralTable,
    sets: BitSets,
    samples: Int[np.ndarray, " batch"] | slice = slice(None),
) -> Int[np.ndarray, "... batch"]:
    """The ranks of clauses of independent literals that do not contradict themselves, from their literals.

    `samples` are those of the clauses of the last axis.
    """
    columns, has = used_columns(bits[..., : sets.identity, :])
    p, is_positive = literals.probabilities[literals.columns[columns]], columns < 32 * sets.positive
    ranks = rank_literals(literals, np.where(is_positive[:, None], p, literals.complement(p)))[:, samples]
    if (ranks <= 0).all():
        # Sums that only fall are kept from the least rank after each literal or at the end alike.
        total = np.where(has, along(ranks, has), 0).sum(0, dtype=np.int64)
        return np.maximum(total, LEAST).astype(np.int32)
    total = np.zeros(has.shape[1:], np.int32)
    for rank, is_there in zip(ranks, has, strict=True):
        total = add_ranks(total, np.where(is_there, rank, np.int32(0)))
    return total


def used_columns(
    bits: UInt32[np.ndarray, "... words batch"],
) -> tuple[Int[np.ndarray, " used"], Bool[np.ndarray, "used ... batch"]]:
    """The columns that some clause has, ascending, and for each which clauses have it."""
    words = np.bitwise_or.reduce(bits, (*range(bits.ndim - 2), bits.ndim - 1))
    columns = np.flatnonzero((words[:, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1))
    shifts = (columns % 32).astype(np.uint32).reshape(-1, *(1,) * (bits.ndim - 1))
    return columns, (np.moveaxis(bits, -2, 0)[columns // 32] >> shifts) & np.uint32(1) != 0


def along(values: Shaped[np.ndarray, "used batch"], has: Bool[np.ndarray, "used ... batch"]) -> np.ndarray:
    """The values with the axes of `has`."""
    return values.reshape(len(values), *(1,) * (has.ndim - 2), values.shape[1])
