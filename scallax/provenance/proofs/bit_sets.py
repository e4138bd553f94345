"""Sets of literals as bits, 32 columns a word: their cost follows the number of all literals of a program."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from scallax.kernels.array_namespace import Namespace, array_namespace
from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.clause_weights import COLUMNS_AT_ONCE, clause_ranks
from scallax.provenance.proofs.columns import rank_clauses, used_columns
from scallax.provenance.proofs.dnf import scan_proofs
from scallax.provenance.proofs.literal_sets import AbstractLiteralSets, Members, State, Unions, digest_words
from scallax.provenance.proofs.ranks import NO_PROOF, rank_literals

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Shaped, UInt32

    from scallax.kernels.array_namespace import Array

# Words up to which their comparison is written out: that takes less time than arrays of all, but more code.
_MOST_UNROLLED = 8


@final
@dataclass(frozen=True, slots=True)
class BitSets(AbstractLiteralSets):
    """How words of bits are divided: columns of positive literals, of negated ones, and what groups exclude.

    `positive` and `negated` are numbers of words; in the first `both` words of each, equal columns are one literal in
    its two polarities, and no literal beyond has both. `columns` says how many of the two sections' columns are in use.
    The third section are the positive columns that groups exclude because of the positive literals, if there are any.
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
    def fill(self) -> np.uint32:
        return np.uint32(0)

    @property
    def largest(self) -> np.uint32:
        return np.uint32(0xFFFFFFFF)

    @property
    def total(self) -> int:
        """The number of words of a proof."""
        return self.identity + self.positive * self.has_groups

    @property
    def identity(self) -> int:
        """The number of words that tell proofs apart: positive and negated literals."""
        return self.positive + self.negated

    def of_columns(self, xp, columns, exclusions):
        bits = column_bits(xp, columns, self.identity)
        return xp.concatenate([bits, exclusions], 1) if self.has_groups else bits

    def ordering(self, places: int) -> Sequence[int]:
        # A set with the last column in which two differ is larger.
        return range(self.identity)[::-1]

    def join(self, a: Members, b: Members, literals: LiteralTable) -> Unions:
        union: Array = a | b
        contradict = self.contradict(union, union) if self.both or self.has_groups else None
        share = (a[..., : self.identity, :] & b[..., : self.identity, :] != 0).any(-2)
        return Unions(union, contradict, share)

    def oppose(self, a: Members, b: Members) -> Bool[Array, "... batch"]:
        return self.contradict_by_polarity(a | b)

    def covers(self, part: Members, whole: Members, absorb: bool) -> Bool[Array, "... batch"]:
        def word_covers(part, whole):
            return part & ~whole == 0 if absorb else part == whole

        if self.identity > _MOST_UNROLLED:
            return word_covers(part[..., : self.identity, :], whole[..., : self.identity, :]).all(-2)
        covers = word_covers(part[..., 0, :], whole[..., 0, :])
        for word in range(1, self.identity):
            covers &= word_covers(part[..., word, :], whole[..., word, :])
        return covers

    def outlines(self, members: Members) -> Shaped[np.ndarray, "... batch"]:
        return np.bitwise_or.reduce(members[..., : self.identity, :], -2)

    def ranks(self, members, literals, *, grouped, samples=None) -> Int[Array, "... batch"]:
        if samples is not None and not grouped:
            return rank_clauses(members, literals, self, samples)
        return clause_ranks(members, literals if samples is None else literals.of_samples(samples), self, grouped)

    def sizes(self, members: Members) -> Int[Array, "... batch"]:
        xp = array_namespace(members)
        return xp.population_count(members[..., : self.identity, :]).astype(xp.int32).sum(-2, dtype=xp.int32)

    def complements(self, members: Members, literals: LiteralTable) -> Members:
        xp, words = literals.xp, self.positive
        positive, negated = members[..., :words, :], members[..., words : 2 * words, :]
        if not self.has_groups:
            return xp.concatenate([negated, positive], -2)
        # The literals that the one literal, negated now, excludes once it is positive.
        places = xp.arange(32 * words, dtype=xp.uint32)
        shifts = (places % 32).reshape(*(1,) * (negated.ndim - 2), -1, 1)
        has = (negated[..., places // 32, :] >> shifts) & xp.uint32(1) != 0
        others = xp.take_clipped(literals.exclusions, xp.asarray(literals.columns)[xp.argmax(has, -2)])
        excluded = xp.where(has.any(-2)[..., None, :], xp.moveaxis(others, -1, -2), xp.uint32(0))
        return xp.concatenate([negated, positive, excluded], -2)

    def digests(self, members: Members, seed: UInt32[Array, ""]) -> UInt32[Array, "... batch"]:
        xp, words = array_namespace(members), members[..., : self.identity, :]
        numbers = np.arange(self.identity, dtype=np.int32).reshape(*(1,) * (words.ndim - 2), -1, 1)
        return digest_words(numbers, words, seed).sum(-2, dtype=xp.uint32)

    def fold_complements(
        self, step: Callable[[State, Array, Members], State], state: State, clause: Members, literals: LiteralTable
    ) -> State:
        """One step for each block of columns."""
        if literals.xp.is_eager:
            return self._fold_used_complements(step, state, clause, literals)
        xp = literals.xp
        ranks, opposites = self._opposites(literals, literals.columns)

        def block(state, number):
            clause_word = xp.slice_rows(clause, number * COLUMNS_AT_ONCE >> 5, 1, clause.ndim - 2)
            first = (number * COLUMNS_AT_ONCE & 31).astype(xp.uint32)
            shifts = first + xp.arange(COLUMNS_AT_ONCE, dtype=xp.uint32)
            has = (clause_word >> shifts.reshape(*(1,) * (clause.ndim - 2), -1, 1)) & xp.uint32(1) != 0
            rank, bits = (xp.slice_rows(leaf, number * COLUMNS_AT_ONCE, COLUMNS_AT_ONCE) for leaf in (ranks, opposites))
            # Blocks of columns that no clause has add nothing to the best proofs.
            return xp.cond(has.any(), lambda: step(state, *_where_had(xp, has, rank, bits)), lambda: state), None

        return xp.scan(block, state, xp.asarray(self.blocks(COLUMNS_AT_ONCE), xp.int32))[0]

    def _fold_used_complements(self, step, state, clause, literals: LiteralTable):
        """`fold_complements`, where values may be looked at: only literals that occur in a clause are tried."""
        columns, has = used_columns(clause[..., : self.identity, :])
        ranks, opposites = self._opposites(literals, literals.columns[columns], columns)
        for block in sorted(set((columns // COLUMNS_AT_ONCE).tolist())):
            tried = np.flatnonzero(columns // COLUMNS_AT_ONCE == block)
            of_clause = np.moveaxis(has[tried], 0, -2)
            state = step(state, *_where_had(literals.xp, of_clause, ranks[tried], opposites[tried]))
        return state

    def _opposites(self, literals: LiteralTable, of_column, columns=None) -> tuple[Array, Array]:
        """For columns of the literals `of_column` the sets of one literal that their complements are, and their ranks.

        Ranks `[columns, batch]` and bits `[columns, words, batch or 1]`; `columns` are their numbers, by default all.
        """
        xp = literals.xp
        is_positive = (np.arange(32 * self.identity) if columns is None else columns) < 32 * self.positive
        p = xp.take_clipped(literals.probabilities, of_column)
        # not a, if the clause has a; a, if it has not a.
        ranks = rank_literals(literals, xp.where(is_positive[:, None], literals.complement(p), p))
        negated, positive = (column_bits(xp, literals.column_of[i], self.identity)[of_column] for i in (1, 0))
        # The words of all columns of the batch, or of each.
        opposite = xp.where(is_positive[:, None], negated, positive)[..., None]
        if self.has_groups:
            excluded = xp.take_clipped(literals.exclusions, of_column)
            excluded = excluded if excluded.ndim == 3 else excluded[..., None]
            excluded = xp.where(is_positive[:, None, None], xp.uint32(0), excluded)
            opposite = xp.broadcast_to(opposite, (*opposite.shape[:2], excluded.shape[2]))
            opposite = xp.concatenate([opposite, excluded], 1)
        return ranks, opposite

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


def _where_had(xp: Namespace, has: Bool[Array, "... complements batch"], rank, bits) -> tuple[Array, Members]:
    """Ranks and sets of complements of literals, where clauses have these."""
    ranks = xp.where(has, xp.broadcast_to(rank, has.shape), NO_PROOF)
    return ranks, xp.broadcast_to(bits, (*has.shape[:-1], bits.shape[1], has.shape[-1]))
