"""The best proofs of each row of a pool, where values may be looked at: by sorting those that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scallax.kernels.runs import run_starts
from scallax.provenance.proofs.literal_sets import AbstractLiteralSets
from scallax.provenance.proofs.ranks import keys_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Shaped

# Pairs of proofs, times places, up to which all are compared at once.
_MAX_COMPARED = 1 << 14


# Places of a set up to which those of all sets lie side by side in memory, place by place; else set by set.
_FEW_PLACES = 16


class Pool(NamedTuple):
    """Proofs side by side, each of one row; `by_proof` makes their members."""

    rows: Int[np.ndarray, " proofs"]
    ranks: Int[np.ndarray, " proofs"]
    members: Shaped[np.ndarray, "places proofs"]

    def take(self, which: np.ndarray | slice) -> Pool:
        """Some of the proofs: their numbers, or which they are."""
        return Pool(self.rows[which], self.ranks[which], take_sets(self.members, which))


def by_proof(members: Shaped[np.ndarray, "proofs places"]) -> Shaped[np.ndarray, "places proofs"]:
    """The members of a pool, as they lie best in memory."""
    return np.ascontiguousarray(members.T) if members.shape[1] <= _FEW_PLACES else members.T


def take_sets(members: Shaped[np.ndarray, "places proofs"], which: np.ndarray | slice) -> np.ndarray:
    """The members of some of the proofs."""
    return members[:, which] if len(members) <= _FEW_PLACES else members.T[which].T


def select_rows(
    pool: Pool, num_rows: int, sets: AbstractLiteralSets, k: int, absorb: bool
) -> tuple[Pool, Int[np.ndarray, " proofs"]]:
    """The best proofs of each row, at most `k`, by row and in order, and the place of each among those of its row.

    The order, and which proofs go, are those of `dnf.select`.
    """
    counts = np.bincount(pool.rows, minlength=num_rows)
    if counts.max(initial=0) > 1:
        pool = pool.take(_sorted(pool, sets))
        pool = pool.take(_minimal(pool, counts, sets, k, absorb))
        counts = np.bincount(pool.rows, minlength=num_rows)
    elif (pool.rows[1:] < pool.rows[:-1]).any():
        pool = pool.take(np.argsort(pool.rows))
    places = np.arange(len(pool.rows)) - (counts.cumsum() - counts)[pool.rows]
    if counts.max(initial=0) > k:
        is_best = places < k
        return pool.take(is_best), places[is_best]
    return pool, places


def _sorted(pool: Pool, sets: AbstractLiteralSets) -> Int[np.ndarray, " proofs"]:
    """The order of proofs by row, then rank descending, then literals."""
    # Both fit in 32 bits: one number to sort by takes half the time of two.
    keys = (pool.rows.astype(np.int64) << 32) - keys_of(pool.ranks)
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    equal = keys[1:] == keys[:-1]
    if not equal.any():
        return order
    # Literals are compared only where all else is equal.
    is_tied = np.concatenate([[False], equal]) | np.concatenate([equal, [False]])
    tied = order[is_tied]
    members = take_sets(pool.members, tied)
    by_place = [members[place] for place in sets.ordering(len(members)) if (members[place] != members[place, 0]).any()]
    order[is_tied] = tied[np.lexsort((*reversed(by_place), keys[is_tied]))]
    return order


def _minimal(
    pool: Pool, counts: Int[np.ndarray, " rows"], sets: AbstractLiteralSets, k: int, absorb: bool
) -> Bool[np.ndarray, " proofs"]:
    """Whether sorted proofs, `counts` of each row, are among the first `k` that contain (equal) none before them.

    Others behind those may be kept too.
    """
    most, (size, total) = int(counts.max()), pool.members.shape
    starts = counts.cumsum() - counts
    places = np.arange(total) - starts[pool.rows]
    if len(counts) * most * most * size <= _MAX_COMPARED:
        table = np.full((len(counts), most, size), sets.fill)
        table[pool.rows, places] = pool.members.T
        table = np.moveaxis(table, 0, -1)
        covers = sets.covers(table[:, None], table[None], absorb)
        # Containing is transitive: it does not matter whether the earlier proof is kept itself.
        covered = (covers & np.tri(most, k=-1, dtype=np.bool_).T[..., None]).any(0)
        return ~covered[places, pool.rows]
    kept, is_open = np.zeros(total, np.bool_), np.ones(total, np.bool_)
    outlines = sets.outlines(pool.members)
    for _ in range(k):
        rest = is_open.nonzero()[0]
        if not len(rest):
            break
        rows = pool.rows[rest]
        starts = run_starts(rows)
        kept[rest[starts]] = True
        # The best of its row, for each of the rest; most do not contain it, as few bits tell.
        first = np.repeat(rest[starts], np.diff(np.append(starts, len(rest))))
        may_cover = (outlines[first] & ~outlines[rest]) == 0
        first, rest = first[may_cover], rest[may_cover]
        is_open[rest[sets.covers(take_sets(pool.members, first), take_sets(pool.members, rest), absorb)]] = False
    return kept
