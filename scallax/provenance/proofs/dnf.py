"""Proof sets as arrays: disjunctions of at most k proofs, each a set of literals with its rank."""

from __future__ import annotations

import functools
import operator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scallax.kernels.array_namespace import Namespace, array_namespace
from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.ranks import NO_PROOF, add_ranks, is_proof, keys_of
from scallax.provenance.traits import MAX_UNROLLED_PROOFS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from scallax.kernels.array_namespace import Array
    from scallax.provenance.proofs.literal_sets import AbstractLiteralSets, Members

# Places up to which their comparison is written out: that takes less time than arrays of all, but more code.
_MOST_UNROLLED = 8
# Places up to which all earlier ones are compared again for each.
_MOST_REPEATED = 4


class ProofSets(NamedTuple):
    """At most `proofs` proofs a tag, by rank descending, then by their literals; `NO_PROOF` marks an unused place.

    `members` are sets of literals in the form that an `AbstractLiteralSets` says; an unused place has the empty set.
    `weights` are the products of the literals' weights, 0 in unused places, where they are known beside the ranks.
    """

    ranks: Int[Array, "... proofs batch"]
    members: Members
    weights: Float[Array, "... proofs batch"] | None = None


def extend(proofs: ProofSets, literal: ProofSets, sets: AbstractLiteralSets, literals: LiteralTable) -> ProofSets:
    """Each proof `[..., proofs, batch]` with one literal more, `[..., batch]`: contradictions are no proofs.

    Ranks are right for independent literals: a literal that a proof has already changes nothing.
    """
    xp = array_namespace(proofs.ranks)
    ranks = literal.ranks[..., None, :]
    union, contradict, share = sets.join(proofs.members, literal.members[..., None, :, :], literals)
    valid = is_proof(proofs.ranks) & is_proof(ranks)
    if contradict is not None:
        valid = valid & ~contradict
    joined = xp.where(share, proofs.ranks, add_ranks(proofs.ranks, ranks))
    return ProofSets(xp.where(valid, joined, NO_PROOF), union)


def conjoin(
    left: ProofSets, right: ProofSets, sets: AbstractLiteralSets, literals: LiteralTable
) -> tuple[ProofSets, Bool[Array, "... batch"]]:
    """Every union of a left and a right proof, as `[..., left * right, batch]`, and which of them share a literal.

    Ranks are right for independent literals that the proofs do not share. Contradictions are no proofs.
    """
    xp = array_namespace(left.ranks)
    rl, rr = left.ranks[..., :, None, :], right.ranks[..., None, :, :]
    union, contradict, share = sets.join(left.members[..., :, None, :, :], right.members[..., None, :, :, :], literals)
    valid = is_proof(rl) & is_proof(rr)
    if contradict is not None:
        valid = valid & ~contradict
    ranks = xp.where(valid, add_ranks(rl, rr), NO_PROOF)
    flat = (*union.shape[:-4], -1)
    candidates = ProofSets(ranks.reshape(*flat, ranks.shape[-1]), union.reshape(*flat, *union.shape[-2:]))
    return candidates, (valid & share).reshape(*flat, ranks.shape[-1])


def select(pool: ProofSets, k: int, sets: AbstractLiteralSets, absorb: bool) -> ProofSets:
    """The best `k` distinct proofs of a pool, by rank descending, then by their literals.

    Two proofs of one rank are ordered by the last column in which they differ: the one without it comes first. So a
    proof comes before all that contain it. With `absorb` no proof is kept that contains another of the pool: a part
    comes first, since its rank is at least as large; where weights are no probabilities, what contains a proof taken
    later goes then. Where values may be looked at it is `pools.best_of_pools`.
    """
    xp = array_namespace(pool.ranks)
    is_short = len(sets.ordering(pool.members.shape[-2])) <= _MOST_UNROLLED
    take = _take_by_places if is_short else _take_whole

    def take_best(keys, _):
        best = keys.max(-2, keepdims=True)
        taken = take(keys == best, pool.members, sets)
        goes = sets.covers(taken, pool.members, absorb)
        members = xp.where(best == NO_PROOF, sets.fill, taken.squeeze(-3))
        return xp.where(goes, NO_PROOF, keys), (best.squeeze(-2), members)

    _, (keys, members) = scan_proofs(xp, take_best, keys_of(pool.ranks), length=k)
    return ProofSets(keys_of(xp.moveaxis(keys, 0, -2)), xp.moveaxis(members, 0, -3))


def _take_by_places(chosen: Bool[Array, "... proofs batch"], members: Members, sets: AbstractLiteralSets) -> Members:
    """The least of the chosen sets, as the only one: written out, place by place."""
    xp, size = array_namespace(members), members.shape[-2]
    ordering, least, same = sets.ordering(size), {}, [chosen]
    # The common beginning of the conditions of several places would be written down as an array of bools: while places
    # are few, it takes less time to compare again.
    turn = -1 if len(ordering) <= _MOST_REPEATED else 1
    for place in ordering:
        chosen = functools.reduce(operator.and_, same[::turn])
        least[place] = xp.where(chosen, members[..., place, :], sets.largest).min(-2, keepdims=True)
        same.append(members[..., place, :] == least[place])
    chosen = functools.reduce(operator.and_, same)
    for place in set(range(size)) - least.keys():
        least[place] = xp.where(chosen, members[..., place, :], sets.fill).max(-2, keepdims=True)
    return xp.stack([least[place] for place in range(size)], -2)


def _take_whole(chosen: Bool[Array, "... proofs batch"], members: Members, sets: AbstractLiteralSets) -> Members:
    """The results of `_take_by_places`, in code whose size does not depend on the number of places."""
    xp = array_namespace(members)
    ordering = xp.asarray(sets.ordering(members.shape[-2]), xp.int32)

    def narrow(number, chosen):
        column = xp.index_axis(members, ordering[number], members.ndim - 2)
        return chosen & (column == xp.where(chosen, column, sets.largest).min(-2, keepdims=True))

    chosen = xp.loop(len(ordering), narrow, chosen)
    return xp.where(chosen[..., None, :], members, sets.fill).max(-3, keepdims=True)


def scan_proofs(xp: Namespace, step, start, proofs: Array | None = None, length: int = 0):
    """`xp.scan` over proofs, or of `length` steps; few are written out."""
    length = length if proofs is None else len(proofs)
    return xp.scan(step, start, proofs, length, unroll=length if length <= MAX_UNROLLED_PROOFS else 1)


def trim(proofs: ProofSets) -> ProofSets:
    """The proofs without the places that are unused in all tags, but for one; where values may be looked at.

    Used places are in front.
    """
    ranks = proofs.ranks
    count = max(1, int(np.count_nonzero(is_proof(ranks).any((*range(ranks.ndim - 2), ranks.ndim - 1)))))
    return ProofSets(ranks[..., :count, :], proofs.members[..., :count, :, :])


def alike(proofs: ProofSets, others: ProofSets) -> tuple[ProofSets, ProofSets]:
    """Both with members of one length: where values may be looked at, lists of columns may have different ones."""
    lengths = [each.members.shape[-2] for each in (proofs, others)]
    if lengths[0] == lengths[1]:
        return proofs, others
    # The tags that are kept grow by powers of two.
    length = 1 << (max(lengths) - 1).bit_length()
    return _lengthened(proofs, length), _lengthened(others, length)


def _lengthened(proofs: ProofSets, length: int) -> ProofSets:
    padding = ((0, 0),) * (proofs.members.ndim - 2) + ((0, length - proofs.members.shape[-2]), (0, 0))
    return proofs._replace(members=np.pad(proofs.members, padding, constant_values=-1))


def pad_proofs(proofs: ProofSets, k: int, sets: AbstractLiteralSets) -> ProofSets:
    """The proofs with at least `k` places for them."""
    xp, missing = array_namespace(proofs.ranks), k - proofs.ranks.shape[-2]
    if missing <= 0:
        return proofs
    *leading, _, size, batch = proofs.members.shape
    ranks = xp.full((*leading, missing, batch), NO_PROOF, xp.int32)
    members = xp.full((*leading, missing, size, batch), sets.fill, proofs.members.dtype)
    return concatenate(ProofSets(proofs.ranks, proofs.members), ProofSets(ranks, members))


def concatenate(*sets: ProofSets) -> ProofSets:
    """One pool of the proofs of all sets."""
    xp = array_namespace(sets[0].ranks)
    return ProofSets(xp.concatenate([s.ranks for s in sets], -2), xp.concatenate([s.members for s in sets], -3))
