"""Proofs side by side, without unused places, where values may be looked at: how tags become pools and pools tags."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.dnf import ProofSets
from scallax.provenance.proofs.literal_sets import AbstractLiteralSets
from scallax.provenance.proofs.ranks import NO_PROOF, add_ranks, is_proof
from scallax.provenance.proofs.selecting import Pool, by_proof, select_rows, take_sets

if TYPE_CHECKING:
    from jaxtyping import Int, Shaped


def pool_of(proofs: ProofSets) -> Pool:
    """The proofs that there are, by rows `[..., batch]`."""
    ranks, members = _by_row(proofs)
    places = np.flatnonzero(is_proof(ranks))
    chosen = members.reshape(-1, members.shape[-1])[places]
    return Pool(places // ranks.shape[1], ranks.reshape(-1)[places], by_proof(chosen))


def pool_above(
    table: ProofSets,
    places: Int[np.ndarray, "width rows"],
    leaves: Sequence[ProofSets],
    least: Int[np.ndarray, "width batch"],
    sets: AbstractLiteralSets,
) -> Pool:
    """The proofs of rows of a table that have at least the rank `least` of their head when joined with leaves.

    `leaves` are proofs `[width, rows, 1, batch]` of one literal at most. All ranks are those of probabilities: none
    grows where a literal is added. By rows `[width, rows, batch]`.
    """
    ranks, bounds = table.ranks[places], least[:, None, None, :]
    is_open = is_proof(ranks) & (ranks >= bounds)
    for leaf in leaves:
        is_open &= is_proof(leaf.ranks)
    joined = sum((leaf.ranks.astype(np.int64) for leaf in leaves), start=ranks.astype(np.int64))
    is_sure = is_open & (joined >= bounds)
    chosen = np.flatnonzero(is_sure)
    if least.max(initial=NO_PROOF) > NO_PROOF:
        # Those that have a leaf's literal already keep their rank.
        doubtful = np.flatnonzero(is_open & ~is_sure)
        at, number, sample = _split(doubtful, ranks.shape)
        members = by_proof(table.members[places.reshape(-1)[at], number, :, sample])
        found = ranks.reshape(-1)[doubtful].astype(np.int64)
        for leaf in leaves:
            flat = leaf.ranks.reshape(-1, ranks.shape[-1])[at, sample]
            literal = by_proof(leaf.members.reshape(-1, *leaf.members.shape[-2:])[at, :, sample])
            found += np.where(sets.covers(literal, members, True), 0, flat)
        head = at // places.shape[1]
        chosen = np.concatenate([chosen, doubtful[found >= least[head, sample]]])
    at, number, sample = _split(chosen, ranks.shape)
    members = by_proof(table.members[places.reshape(-1)[at], number, :, sample])
    return Pool(at * ranks.shape[-1] + sample, ranks.reshape(-1)[chosen], members)


def _split(
    flat: Int[np.ndarray, " proofs"], shape: tuple[int, ...]
) -> tuple[Int[np.ndarray, " proofs"], Int[np.ndarray, " proofs"], Int[np.ndarray, " proofs"]]:
    """Flat places in an array `[width, rows, proofs, batch]`: the place of width and rows, the proof, the sample."""
    count, batch = shape[-2:]
    rest, sample = np.divmod(flat, batch) if batch > 1 else (flat, np.zeros_like(flat))
    at, number = np.divmod(rest, count)
    return at, number, sample


def _by_row(
    proofs: ProofSets,
) -> tuple[Int[np.ndarray, "rows proofs"], Shaped[np.ndarray, "rows proofs places"]]:
    """Ranks and members of proofs `[..., proofs, batch]` by rows `[..., batch]`."""
    count, size, batch = proofs.members.shape[-3:]
    if batch == 1:
        # Most often; to move an axis takes as long as a small step.
        return proofs.ranks.reshape(-1, count), proofs.members.reshape(-1, count, size)
    ranks, members = np.moveaxis(proofs.ranks, -2, -1), np.moveaxis(proofs.members, (-3, -2), (-2, -1))
    return ranks.reshape(-1, count), members.reshape(-1, count, size)


def best_of_pools(
    pools: Sequence[Pool], shape: tuple[int, ...], k: int, sets: AbstractLiteralSets, *, absorb: bool
) -> ProofSets:
    """The best proofs of pools of the rows `shape` `[..., batch]`, at most `k`: `dnf.select` without unused places."""
    num_rows = math.prod(shape)
    best, places = select_rows(_concatenated(pools, sets), num_rows, sets, k, absorb)
    count, members = int(places.max(initial=0)) + 1, sets.fit(best.members)
    ranks = np.full((num_rows, count), NO_PROOF, np.int32)
    of_rows = np.full((num_rows, count, len(members)), sets.fill)
    ranks[best.rows, places], of_rows[best.rows, places] = best.ranks, members.T
    if shape[-1] == 1:
        return ProofSets(ranks.reshape(*shape[:-1], count, 1), of_rows.reshape(*shape[:-1], count, len(members), 1))
    return ProofSets(
        np.moveaxis(ranks.reshape(*shape, count), -1, -2),
        np.moveaxis(of_rows.reshape(*shape, count, len(members)), (-2, -1), (-3, -2)),
    )


def _concatenated(pools: Sequence[Pool], sets: AbstractLiteralSets) -> Pool:
    pools = [pool for pool in pools if len(pool.rows)] or pools[:1]
    if len(pools) == 1:
        return pools[0]
    size = max(len(pool.members) for pool in pools)
    members = np.full((sum(len(pool.rows) for pool in pools), size), sets.fill)
    start = 0
    for pool in pools:
        members[start : start + len(pool.rows), : len(pool.members)] = pool.members.T
        start += len(pool.rows)
    rows, ranks = (np.concatenate([pool[part] for pool in pools]) for part in (0, 1))
    return Pool(rows, ranks, by_proof(members))


def join_rows(
    pool: Pool, others: ProofSets, literals: LiteralTable, sets: AbstractLiteralSets, *, is_single: bool
) -> Pool:
    """Every union of a proof of the pool and one of the same row of others `[..., proofs, batch]`: `dnf.conjoin`.

    The ranks are those of independent literals. `is_single`: the others are proofs of at most one literal.
    """
    ranks, members = _by_row(others)
    # Used places are in front.
    counts = is_proof(ranks).sum(1)[pool.rows]
    source, number = pool, np.zeros(len(counts), np.int64)
    if (counts != 1).any():
        number = np.arange(counts.sum()) - np.repeat(counts.cumsum() - counts, counts)
        source = pool.take(np.repeat(np.arange(len(counts)), counts))
    other, rank = by_proof(members[source.rows, number]), ranks[source.rows, number]
    if not rank.any() and (other == sets.fill).all():
        # The others always hold.
        return source
    union, contradict, share = sets.join(source.members, other, literals)
    found = Pool(source.rows, add_ranks(source.ranks, rank), union)
    if share.any():
        if is_single:
            ranks = source.ranks[share]
        else:
            samples = source.rows[share] % others.ranks.shape[-1]
            ranks = sets.ranks(take_sets(union, share), literals, grouped=False, samples=samples)
        found.ranks[share] = ranks
    return found if contradict is None or not contradict.any() else found.take(~contradict)
