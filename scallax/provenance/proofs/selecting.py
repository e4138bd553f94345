"""The best proofs of a pool, where values may be looked at: by sorting those that there are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scallax.kernels.runs import run_starts
from scallax.provenance.proofs.ranks import NO_PROOF, keys_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, UInt32

# Pairs of proofs, times words, that are compared at once.
_MAX_COMPARED = 1 << 20


def select_rows(
    ranks: Int[np.ndarray, "rows proofs"],
    bits: UInt32[np.ndarray, "rows proofs words"],
    identity: int,
    k: int,
    absorb: bool,
) -> tuple[Int[np.ndarray, "rows kept"], Int[np.ndarray, "rows kept"]]:
    """The places of the best proofs of each row, in order, and their ranks: at most `k`, but at least one column.

    The first `identity` words tell proofs apart. A rank of `NO_PROOF` marks columns beyond those kept, whose places are
    0. The order, and which proofs go, are those of `dnf.select`.
    """
    row, place = (ranks != NO_PROOF).nonzero()
    keys, words = keys_of(ranks[row, place]), bits[row, place, :identity]
    # The last word counts most.
    order = np.lexsort((*words[:, words.any(0)].T, -keys, row))
    row, place, words = row[order], place[order], words[order]
    counts = np.bincount(row, minlength=len(ranks))
    kept = _minimal(words, counts, k, absorb)
    row, place = row[kept], place[kept]
    counts = np.bincount(row, minlength=len(ranks))
    column = np.arange(len(row)) - (counts.cumsum() - counts)[row]
    is_best = column < k
    row, place, column = row[is_best], place[is_best], column[is_best]
    width = max(1, min(k, int(counts.max(initial=0))))
    places, found = np.zeros((len(ranks), width), np.int64), np.full((len(ranks), width), NO_PROOF, np.int32)
    places[row, column], found[row, column] = place, ranks[row, place]
    return places, found


def _minimal(
    words: UInt32[np.ndarray, "proofs words"], counts: Int[np.ndarray, " rows"], k: int, absorb: bool
) -> Bool[np.ndarray, " proofs"]:
    """Whether proofs, `counts` of each row in turn, are among the first `k` that contain (equal) none before them.

    Others behind those may be kept too.
    """
    most = int(counts.max(initial=0))
    kept = np.ones(len(words), np.bool_)
    if most <= 1:
        return kept
    starts = counts.cumsum() - counts
    if len(counts) * most * most * words.shape[1] <= _MAX_COMPARED:
        row = np.repeat(np.arange(len(counts)), counts)
        table = np.zeros((len(counts), most, words.shape[1]), np.uint32)
        table[row, np.arange(len(words)) - starts[row]] = words
        earlier, later = table[:, :, None], table[:, None]
        covers = (earlier & ~later == 0 if absorb else earlier == later).all(-1)
        # Containing is transitive: it does not matter whether the earlier proof is kept itself.
        covered = (covers & np.tri(most, k=-1, dtype=np.bool_).T).any(1)
        return ~covered[row, np.arange(len(words)) - starts[row]]
    row = np.repeat(np.arange(len(counts)), counts)
    is_open = kept.copy()
    for _ in range(k):
        rest = is_open.nonzero()[0]
        if not len(rest):
            break
        # Rows ascend.
        first = rest[run_starts(row[rest])]
        best = np.zeros((len(counts), words.shape[1]), np.uint32)
        best[row[first]] = words[first]
        of_rest = best[row[rest]]
        goes = (of_rest & ~words[rest] == 0 if absorb else of_rest == words[rest]).all(-1)
        kept[rest[goes]] = False
        kept[first] = True
        is_open[rest[goes]] = False
    kept[is_open] = False
    return kept
