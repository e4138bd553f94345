"""Sets of literals as lists of columns: their cost follows the number of literals of a proof."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import numpy as np

from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.logarithms import log_complement
from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.literal_sets import AbstractLiteralSets, Members, State, Unions, digest_words
from scallax.provenance.proofs.ranks import LEAST, NO_PROOF, add_ranks, rank_literals

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Shaped, UInt32

    from scallax.kernels.array_namespace import Array


@final
@dataclass(frozen=True, slots=True)
class ColumnLists(AbstractLiteralSets):
    """Lists of columns, descending, each once, with -1 behind them: positive columns come before negated ones.

    Compiled code has `length` places for each, which all fit; NumPy at once as many as some list needs.
    """

    positive: int
    both: int
    negated: int
    has_groups: bool
    length: int

    @property
    def fill(self) -> np.int32:
        return np.int32(-1)

    @property
    def largest(self) -> np.int32:
        return np.int32(np.iinfo(np.int32).max)

    def of_columns(self, xp, columns, exclusions):
        return columns.astype(xp.int32)[:, None]

    def ordering(self, places: int) -> Sequence[int]:
        return range(places)

    def join(self, a: Members, b: Members, literals: LiteralTable) -> Unions:
        xp = array_namespace(a)
        if a.shape[-2] < b.shape[-2]:
            a, b = b, a
        left, right = a[..., :, None, :], b[..., None, :, :]
        share = ((left == right) & (right >= 0)).any((-3, -2))
        union = _insert(xp, a, b, share) if b.shape[-2] == 1 else self._merge(xp, a, b, share)
        return Unions(self.fit(union), self._contradict(a, b, literals), share)

    def fit(self, members: Members) -> Members:
        """The lists with as many places as compiled code has for them, or as some list needs."""
        if not array_namespace(members).is_eager:
            return _resized(members, self.length)
        count = members.shape[-2]
        while count > 1 and not (members[..., count - 1, :] >= 0).any():
            count -= 1
        return members[..., :count, :]

    def covers(self, part: Members, whole: Members, absorb: bool) -> Bool[Array, "... batch"]:
        if not absorb:
            return (part == whole).all(-2)
        covers = None
        for place in range(part.shape[-2]):
            column = part[..., place, None, :]
            has = (column[..., 0, :] < 0) | (column == whole).any(-2)
            covers = has if covers is None else covers & has
        return covers

    def outlines(self, members: Members) -> Shaped[np.ndarray, "... batch"]:
        bits = np.uint64(1) << (members & 63).astype(np.uint64)
        return np.bitwise_or.reduce(np.where(members >= 0, bits, np.uint64(0)), -2)

    def ranks(self, members, literals, *, grouped, samples=None) -> Int[Array, "... batch"]:
        xp = array_namespace(members)
        weights = self._weights(members, literals, samples)
        if grouped and self.has_groups:
            factors, is_factor = self._of_groups(members, weights, literals)
            ranks = xp.where(is_factor, rank_literals(literals, factors), 0)
        else:
            ranks = xp.where(members >= 0, rank_literals(literals, weights), 0)
        if xp.is_eager and (ranks <= 0).all():
            # Sums that only fall are kept from the least rank after each literal or at the end alike.
            return np.maximum(ranks.sum(-2, dtype=np.int64), LEAST).astype(np.int32)
        total = ranks[..., -1, :]
        for place in range(members.shape[-2] - 1)[::-1]:
            total = add_ranks(total, ranks[..., place, :])
        return total

    def _weights(self, members: Members, literals: LiteralTable, samples=None) -> Array:
        """The probability of each column's literal, in its polarity."""
        xp = literals.xp
        literal = xp.take(xp.asarray(literals.columns), xp.maximum(members, 0))
        samples = np.arange(literals.probabilities.shape[1], dtype=np.int32) if samples is None else samples
        samples = samples.reshape(*(1,) * (members.ndim - 1), -1)
        p = xp.read_clipped(literals.probabilities, (xp.maximum(literal, 0), samples))
        return xp.where(members < 32 * self.positive, p, literals.complement(p))

    def _of_groups(self, members: Members, weights: Array, literals: LiteralTable) -> tuple[Array, Array]:
        """The factors of groups of columns with these weights, each at its group's first place, and where these are.

        A group contributes p of the member that is chosen, or 1 - Σp of the excluded ones.
        """
        xp = literals.xp
        of_literal = xp.cumsum(literals.group_end, dtype=xp.int32) - literals.group_end.astype(xp.int32)
        literal = xp.take(xp.asarray(literals.columns), xp.maximum(members, 0))
        group = xp.where(members >= 0, xp.take(of_literal, xp.maximum(literal, 0)), -1)
        is_positive = members < 32 * self.positive
        excluded_weights = -xp.expm1(weights) if literals.is_log else 1 - weights
        p = xp.where(is_positive, weights, excluded_weights)
        is_first, chosen, excluded = members >= 0, xp.zeros_like(weights), xp.zeros_like(weights)
        has_chosen, numbers = xp.zeros_like(is_first), _numbers(members)
        for place in range(members.shape[-2])[::-1]:
            same = group == group[..., place, None, :]
            here = same & is_positive[..., place, None, :]
            has_chosen |= here
            value = xp.where(same, p[..., place, None, :], xp.zeros_like(weights))
            chosen = chosen + xp.where(here, value, xp.zeros_like(value))
            excluded = excluded + xp.where(here, xp.zeros_like(value), value)
            is_first &= ~same | (numbers <= place)
        rest = log_complement(excluded) if literals.is_log else 1 - excluded
        return xp.where(has_chosen, chosen, rest), is_first

    def sizes(self, members: Members) -> Int[Array, "... batch"]:
        return (members >= 0).sum(-2, dtype=array_namespace(members).int32)

    def complements(self, members: Members, literals: LiteralTable) -> Members:
        offset = 32 * self.positive
        xp = literals.xp
        return xp.where(members < 0, -1, members + xp.where(members < offset, offset, -offset))

    def digests(self, members: Members, seed: UInt32[Array, ""]) -> UInt32[Array, "... batch"]:
        xp = array_namespace(members)
        word, is_there = members >> 5, members >= 0
        bit = xp.where(is_there, xp.uint32(1) << (members & 31).astype(xp.uint32), xp.uint32(0))
        # The bits of each word, at its first place.
        same = word[..., :, None, :] == word[..., None, :, :]
        words = xp.where(same, bit[..., None, :, :], xp.uint32(0)).sum(-2, dtype=xp.uint32)
        follows = xp.concatenate([xp.zeros_like(is_there[..., :1, :]), word[..., 1:, :] == word[..., :-1, :]], -2)
        words = xp.where(is_there & ~follows, words, xp.uint32(0))
        return digest_words(word, words, seed).sum(-2, dtype=xp.uint32)

    def fold_complements(
        self, step: Callable[[State, Array, Members], State], state: State, clause: Members, literals: LiteralTable
    ) -> State:
        """One step for all literals of the clause."""
        xp = literals.xp
        literal = xp.take(xp.asarray(literals.columns), xp.maximum(clause, 0))
        is_positive = clause < 32 * self.positive
        positive, negated = (xp.take(xp.asarray(literals.column_of[i]), xp.maximum(literal, 0)) for i in (0, 1))
        opposite = xp.where(clause >= 0, xp.where(is_positive, negated, positive), -1)
        ranks = xp.where(clause >= 0, rank_literals(literals, self._weights(opposite, literals)), NO_PROOF)
        return step(state, ranks, opposite[..., None, :])

    def oppose(self, a: Members, b: Members) -> Bool[Array, "... batch"]:
        xp, offset = array_namespace(a), 32 * self.positive
        is_positive = b < offset
        has_both = (b >= 0) & (xp.where(is_positive, b, b - offset) < 32 * self.both)
        opposite = xp.where(has_both, xp.where(is_positive, b + offset, b - offset), -2)
        return (a[..., :, None, :] == opposite[..., None, :, :]).any((-3, -2))

    def _contradict(self, a: Members, b: Members, literals: LiteralTable) -> Bool[Array, "... batch"] | None:
        """Whether one list has the complement of a literal of the other, or another member of its exclusive group."""
        found = self.oppose(a, b) if self.both else None
        if self.has_groups:
            xp, groups = array_namespace(a), literals.groups
            of_a, of_b = (xp.where(each >= 0, xp.take(groups, xp.maximum(each, 0)), -1) for each in (a, b))
            same = (of_a[..., :, None, :] == of_b[..., None, :, :]) & (a[..., :, None, :] != b[..., None, :, :])
            excludes = (same & (of_b >= 0)[..., None, :, :]).any((-3, -2))
            found = excludes if found is None else found | excludes
        return found

    def _merge(self, xp, a: Members, b: Members, share) -> Members:
        """The unions of lists, some of which share a column."""
        merged = _merged(xp, a, b)
        if xp.is_eager:
            if share.any():
                lists = np.moveaxis(merged, -2, 0)
                lists[:, share] = _distinct_at_once(lists[:, share])
            return merged
        return xp.cond(share.any(), lambda: _distinct(xp, merged), lambda: merged)


def _insert(xp, members: Members, column: Members, has: Bool[Array, "... batch"]) -> Members:
    """Lists with one column more, `[..., 1, batch]`, where they have it not."""
    # The larger of what stands there, and of the smaller of the column and what stands before it.
    shape = np.broadcast_shapes(members[..., :1, :].shape, column.shape)
    members = xp.broadcast_to(members, (*shape[:-2], *members.shape[-2:-1], shape[-1]))
    column = xp.broadcast_to(xp.where(has[..., None, :], -1, column), shape)
    here = xp.concatenate([members, xp.full_like(column, -1)], -2)
    before = xp.concatenate([column, members], -2)
    return xp.maximum(here, xp.minimum(before, column))


def _merged(xp, a: Members, b: Members) -> Members:
    """Two lists as one, descending: by a network of comparisons (Batcher, 1968)."""
    size = 1 << (max(a.shape[-2], b.shape[-2]) - 1).bit_length()
    count = a.shape[-2] + b.shape[-2]
    shape = np.broadcast_shapes(a[..., :1, :].shape, b[..., :1, :].shape)
    a, b = (xp.broadcast_to(each, (*shape[:-2], each.shape[-2], shape[-1])) for each in (a, b))
    # First descending, then ascending: each half of it has the larger numbers of two, then the smaller ones.
    lists = xp.concatenate([_resized(a, size), _resized(b, size)[..., ::-1, :]], -2)
    half = size
    while half:
        pairs = lists.reshape(*shape[:-2], size // half, 2, half, shape[-1])
        first, second = pairs[..., 0, :, :], pairs[..., 1, :, :]
        lists = xp.stack([xp.maximum(first, second), xp.minimum(first, second)], -3)
        lists = lists.reshape(*shape[:-2], 2 * size, shape[-1])
        half //= 2
    return lists[..., :count, :]


def _distinct(xp, lists: Members) -> Members:
    """Descending lists with each column once."""
    same = lists[..., 1:, :] == lists[..., :-1, :]
    same = xp.concatenate([xp.zeros_like(same[..., :1, :]), same], -2)
    lists = xp.where(same, -1, lists)
    # Each goes as many places forward as columns before it went: by powers of two, the small ones first.
    gaps = xp.where(lists >= 0, xp.cumsum(same, -2, dtype=xp.int32), 0)
    step = 1
    while step < lists.shape[-2]:
        moves = (gaps & step) != 0

        def shifted(leaf, fill, step=step):
            return xp.concatenate([leaf[..., step:, :], xp.full_like(leaf[..., :step, :], fill)], -2)

        arrives = shifted(moves, False)
        lists = xp.where(arrives, shifted(lists, -1), xp.where(moves, -1, lists))
        gaps = xp.where(arrives, shifted(gaps, 0) - step, xp.where(moves, 0, gaps))
        step *= 2
    return lists


def _distinct_at_once(lists: Int[np.ndarray, "places lists"]) -> Int[np.ndarray, "places lists"]:
    """`_distinct`, where values may be looked at."""
    lists = lists.copy()
    lists[1:][lists[1:] == lists[:-1]] = -1
    return -np.sort(-lists, 0)


def _numbers(members: Members) -> Int[np.ndarray, ...]:
    """The numbers of places, with all axes of the members."""
    return np.arange(members.shape[-2], dtype=np.int32).reshape(*(1,) * (members.ndim - 2), -1, 1)


def _resized(members: Members, count: int) -> Members:
    """Lists with so many places: with more of them, or without those behind."""
    xp, missing = array_namespace(members), count - members.shape[-2]
    if missing <= 0:
        return members[..., :count, :]
    return xp.concatenate([members, xp.full_like(members[..., :1, :], -1, shape=_with_places(members, missing))], -2)


def _with_places(members: Members, count: int) -> tuple[int, ...]:
    return (*members.shape[:-2], count, members.shape[-1])
