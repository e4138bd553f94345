"""Proof sets as arrays: disjunctions of at most k proofs, each a bit set over the literals with its rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scallax.kernels.array_namespace import Namespace, array_namespace
from scallax.provenance.proofs.ranks import NO_PROOF, add_ranks, is_proof, keys_of
from scallax.provenance.proofs.selecting import select_rows
from scallax.provenance.traits import MAX_UNROLLED_PROOFS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt32

    from scallax.kernels.array_namespace import Array

_ALL_BITS = np.uint32(0xFFFFFFFF)

# Words up to which their comparison is written out: that takes less time than arrays of all, but more code.
_MOST_UNROLLED = 8


class ProofSets(NamedTuple):
    """At most `proofs` proofs a tag, by rank descending, then bit set; `NO_PROOF` marks an unused place.

    A bit stands for a column: a literal in one polarity. Words come in three sections: columns of positive literals,
    columns of negated ones, and the positive columns that groups exclude because of the positive literals.

    `weights` are the products of the literals' weights, 0 in unused places, where they are known beside the ranks.
    """

    ranks: Int[Array, "... proofs batch"]
    bits: UInt32[Array, "... proofs words batch"]
    weights: Float[Array, "... proofs batch"] | None = None


class Sections(NamedTuple):
    """How the words of a proof are divided.

    `positive` and `negated` are numbers of words; in the first `both` words of each, equal columns are one literal in
    its two polarities, and no literal beyond has both. `columns` says how many of the two sections' columns are in use.
    """

    positive: int
    both: int
    negated: int
    columns: tuple[int, int]
    has_groups: bool

    def blocks(self, size: int) -> list[int]:
        """The numbers of the blocks of `size` columns that are in use; `size` divides 32."""
        starts = (0, 32 * self.positive)
        return [
            start // size + i
            for start, count in zip(starts, self.columns, strict=True)
            for i in range(-(-count // size))
        ]

    @property
    def total(self) -> int:
        return self.identity + self.positive * self.has_groups

    @property
    def identity(self) -> int:
        """The number of words that tell proofs apart: positive and negated literals."""
        return self.positive + self.negated

    def contradict(
        self, a: UInt32[Array, "... words batch"], b: UInt32[Array, "... words batch"]
    ) -> Bool[Array, "... batch"]:
        """Whether no world makes both clauses true."""
        union = a | b
        clash = self.contradict_by_polarity(union)
        if self.has_groups:
            clash |= (union[..., : self.positive, :] & union[..., self.identity :, :] != 0).any(-2)
        return clash

    def contradict_by_polarity(self, bits: UInt32[Array, "... words batch"]) -> Bool[Array, "... batch"]:
        """Whether a clause has a literal in both polarities."""
        negated = bits[..., self.positive : self.positive + self.both, :]
        return (bits[..., : self.both, :] & negated != 0).any(-2)

    def share_variables(self, bits: UInt32[Array, "... proofs words batch"]) -> Bool[Array, "... batch"]:
        """Whether some variable stands in two of the proofs, in whichever polarity."""
        xp = array_namespace(bits)
        positive, negated = bits[..., : self.positive, :], bits[..., self.positive : self.identity, :]
        both = positive[..., : self.both, :] | negated[..., : self.both, :]
        variables = xp.concatenate([both, positive[..., self.both :, :], negated[..., self.both :, :]], -2)

        def add(state, proof):
            seen, found = state
            return (seen | proof, found | (seen & proof != 0).any(-2)), None

        # It begins with the first proof: reductions of zeros that are known when code is compiled are computed then.
        start = variables[..., 0, :, :], xp.zeros_like(variables[..., 0, 0, :], xp.bool_)
        return scan_proofs(xp, add, start, xp.moveaxis(variables[..., 1:, :, :], -3, 0))[0][1]


def column_bits(xp: Namespace, columns: Int[Array, " literals"], words: int) -> UInt32[Array, "literals words"]:
    """The bit set of each column; that of -1 is empty."""
    bit = xp.uint32(1) << (columns & 31).astype(xp.uint32)
    word = xp.arange(words, dtype=xp.int32)[None, :]
    return xp.where((columns[:, None] >= 0) & (columns[:, None] >> 5 == word), bit[:, None], xp.uint32(0))


def extend(proofs: ProofSets, literal: ProofSets, sections: Sections) -> ProofSets:
    """Each proof `[..., proofs, batch]` with one literal more, `[..., batch]`: contradictions are no proofs.

    Ranks are right for independent literals: a literal that a proof has already changes nothing.
    """
    xp = array_namespace(proofs.ranks)
    ranks, bits = literal.ranks[..., None, :], literal.bits[..., None, :, :]
    union = proofs.bits | bits
    valid = is_proof(proofs.ranks) & is_proof(ranks)
    if sections.both or sections.has_groups:
        valid = valid & ~sections.contradict(proofs.bits, bits)
    has = (proofs.bits[..., : sections.identity, :] & bits[..., : sections.identity, :] != 0).any(-2)
    joined = xp.where(has, proofs.ranks, add_ranks(proofs.ranks, ranks))
    return ProofSets(xp.where(valid, joined, NO_PROOF), union)


def conjoin(left: ProofSets, right: ProofSets, sections: Sections) -> tuple[ProofSets, Bool[Array, "... batch"]]:
    """Every union of a left and a right proof, as `[..., left * right, batch]`, and which of them share a literal.

    Ranks are right for independent literals that the proofs do not share. Contradictions are no proofs.
    """
    xp = array_namespace(left.ranks)
    rl, rr = left.ranks[..., :, None, :], right.ranks[..., None, :, :]
    bl, br = left.bits[..., :, None, :, :], right.bits[..., None, :, :, :]
    union: Array = bl | br
    valid = is_proof(rl) & is_proof(rr)
    if sections.both or sections.has_groups:
        valid = valid & ~sections.contradict(union, union)
    shares = valid & (bl[..., : sections.identity, :] & br[..., : sections.identity, :]).any(-2)
    ranks = xp.where(valid, add_ranks(rl, rr), NO_PROOF)
    flat = (*union.shape[:-4], -1)
    batch = union.shape[-1]
    candidates = ProofSets(ranks.reshape(*flat, batch), union.reshape(*flat, sections.total, batch))
    return candidates, shares.reshape(*flat, batch)


def select(pool: ProofSets, k: int, sections: Sections, absorb: bool) -> ProofSets:
    """The best `k` distinct proofs of a pool, by rank descending, then bit set.

    Two proofs of one rank are ordered by the last column in which they differ: the one without it comes first. So a
    proof comes before all that contain it. With `absorb` no proof is kept that contains another of the pool: a part
    comes first, since its rank is at least as large; where weights are no probabilities, what contains a proof taken
    later goes then.
    """
    xp = array_namespace(pool.ranks)
    if xp.is_eager:
        return select_at_once(pool, k, sections, absorb)
    take = _take_by_words if sections.identity <= _MOST_UNROLLED else _take_whole

    def take_best(keys, _):
        best = keys.max(-2, keepdims=True)
        taken, goes = take(keys == best, pool.bits, sections, absorb)
        bits = xp.where(best == NO_PROOF, xp.uint32(0), taken)
        return xp.where(goes, NO_PROOF, keys), (best.squeeze(-2), bits)

    _, (keys, bits) = xp.scan(take_best, keys_of(pool.ranks), None, k)
    return ProofSets(keys_of(xp.moveaxis(keys, 0, -2)), xp.moveaxis(bits, 0, -3))


def select_at_once(pool: ProofSets, k: int, sections: Sections, absorb: bool) -> ProofSets:
    """The results of `select`, but for unused places behind all proofs, where values may be looked at."""
    *leading, count, words, batch = pool.bits.shape
    ranks = np.moveaxis(pool.ranks, -1, -2).reshape(-1, count)
    bits = np.moveaxis(pool.bits, -1, -3).reshape(-1, count, words)
    places, found = select_rows(ranks, bits, sections.identity, k, absorb)
    chosen = np.where((found == NO_PROOF)[..., None], np.uint32(0), bits[np.arange(len(bits))[:, None], places])
    width = places.shape[1]
    return ProofSets(
        np.moveaxis(found.reshape(*leading, batch, width), -2, -1),
        np.moveaxis(chosen.reshape(*leading, batch, width, words), -3, -1),
    )


def _take_by_words(
    chosen: Bool[Array, "... proofs batch"],
    bits: UInt32[Array, "... proofs words batch"],
    sections: Sections,
    absorb: bool,
) -> tuple[UInt32[Array, "... words batch"], Bool[Array, "... proofs batch"]]:
    """The least of the chosen bit sets, and which proofs contain it (equal it, unless `absorb`).

    Written out, word by word.
    """
    xp = array_namespace(bits)
    words = []
    for word in reversed(range(sections.identity)):
        value = xp.where(chosen, bits[..., word, :], _ALL_BITS).min(-2, keepdims=True)
        chosen &= bits[..., word, :] == value
        words.insert(0, value)
    for word in range(sections.identity, sections.total):
        words.append(xp.where(chosen, bits[..., word, :], xp.uint32(0)).max(-2, keepdims=True))
    goes = xp.ones_like(chosen)
    for word in range(sections.identity):
        goes &= (words[word] & ~bits[..., word, :] == 0) if absorb else bits[..., word, :] == words[word]
    return xp.concatenate(words, -2), goes


def _take_whole(
    chosen: Bool[Array, "... proofs batch"],
    bits: UInt32[Array, "... proofs words batch"],
    sections: Sections,
    absorb: bool,
) -> tuple[UInt32[Array, "... words batch"], Bool[Array, "... proofs batch"]]:
    """The results of `_take_by_words`, in code whose size does not depend on the number of words."""
    xp = array_namespace(bits)

    def narrow(word, chosen):
        column = xp.index_axis(bits, sections.identity - 1 - word, bits.ndim - 2)
        return chosen & (column == xp.where(chosen, column, _ALL_BITS).min(-2, keepdims=True))

    chosen = xp.loop(sections.identity, narrow, chosen)
    taken = xp.where(chosen[..., None, :], bits, xp.uint32(0)).max(-3, keepdims=True)
    told, identity = taken[..., : sections.identity, :], bits[..., : sections.identity, :]
    goes = (told & ~identity == 0 if absorb else told == identity).all(-2)
    return taken[..., 0, :, :], goes


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
    return ProofSets(ranks[..., :count, :], proofs.bits[..., :count, :, :])


def pad_proofs(proofs: ProofSets, k: int) -> ProofSets:
    """The proofs with at least `k` places for them."""
    xp, missing = array_namespace(proofs.ranks), k - proofs.ranks.shape[-2]
    if missing <= 0:
        return proofs
    *leading, _, words, batch = proofs.bits.shape
    ranks = xp.full((*leading, missing, batch), NO_PROOF, xp.int32)
    bits = xp.zeros((*leading, missing, words, batch), xp.uint32)
    return concatenate(ProofSets(proofs.ranks, proofs.bits), ProofSets(ranks, bits))


def concatenate(*sets: ProofSets) -> ProofSets:
    """One pool of the proofs of all sets."""
    xp = array_namespace(sets[0].ranks)
    return ProofSets(xp.concatenate([s.ranks for s in sets], -2), xp.concatenate([s.bits for s in sets], -3))
