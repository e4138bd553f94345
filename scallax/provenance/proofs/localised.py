"""Counting of proofs that are lists: each output's as bit sets over its own few literals, by the code for bit sets.

An output's `k` lists of `length` columns have at most `k * length` literals. These are numbered in the order of their
columns, so that sums and products have the order that they have with one numbering for all. Outputs stand where samples
do, each with the probabilities of its own literals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from scallax.kernels.array_namespace import Namespace, array_namespace
from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.dnf import ProofSets
from scallax.provenance.proofs.ranks import is_proof

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt32

    from scallax.kernels.array_namespace import Array

# Rows of a loop that are written out at once.
_ROWS_AT_ONCE = 16

# Numbers that are held at once where values are counted: sets of proofs, times words, times outputs and batch.
_MAX_NUMBERS = 1 << 26

# The probability at places without a literal: no factor that nothing uses is small.
_UNUSED = 0.5

Count: TypeAlias = "Callable[[ProofSets, LiteralTable], Float[Array, '1 columns']]"
CountWithDerivatives: TypeAlias = (
    "Callable[[ProofSets, LiteralTable], tuple[Float[Array, '1 columns'], Float[Array, '1 places columns']]]"
)


class Localised(NamedTuple):
    """The proofs of outputs as bit sets over their own literals; a column for each sample and output, by sample.

    `rows` are the literals at the places of each column; the number of literals where there is none.
    """

    proofs: ProofSets
    literals: LiteralTable
    rows: Int[Array, "places columns"]


def count_localised(
    proofs: ProofSets, literals: LiteralTable, grouped: bool, count: Count
) -> Float[Array, "outputs batch"]:
    """The values that `count` gives for lists of columns `[outputs, proofs, length, batch]`, as bit sets."""
    xp = literals.xp
    outputs, k, length, batch = proofs.members.shape
    size = max(1, _MAX_NUMBERS // ((k * length + 31) // 32 * batch << min(k, 10)))

    def values(part):
        found = localise(ProofSets(*part), literals, grouped)
        return count(found.proofs, found.literals).reshape(batch, -1).T

    if outputs <= size:
        return values((proofs.ranks, proofs.members))
    # So many outputs one part after the other, the last one with others again.
    starts = np.minimum(np.arange(0, outputs, size, dtype=np.int32), outputs - size)
    places = starts[:, None] + np.arange(size, dtype=np.int32)
    parts = xp.map_rows(lambda at: values((xp.take(proofs.ranks, at), xp.take(proofs.members, at))), xp.asarray(places))
    number = np.minimum(np.arange(outputs) // size, len(starts) - 1)
    return xp.take(parts.reshape(-1, batch), number * size + np.arange(outputs) - starts[number])


def derivatives_localised(
    proofs: ProofSets, literals: LiteralTable, count: CountWithDerivatives
) -> tuple[Float[Array, "outputs batch"], Float[Array, "outputs literals batch"]]:
    """The values that `count` gives for lists of columns, as bit sets, and their derivatives by all literals.

    Literals are independent.
    """
    xp = literals.xp
    outputs, _, _, batch = proofs.members.shape
    num_literals = len(literals.probabilities)
    found = localise(proofs, literals, grouped=False)
    values, derivatives = count(found.proofs, found.literals)
    sample, output = np.divmod(np.arange(batch * outputs, dtype=np.int32), outputs)
    # A place without a literal is behind those of all outputs.
    first = (output * num_literals)[None]
    place = xp.where(found.rows < num_literals, first + found.rows, outputs * num_literals) * batch + sample[None]
    flat = xp.add_at(xp.zeros_like(values, shape=(outputs * num_literals * batch,)), place, derivatives[0])
    return values.reshape(batch, outputs).T, flat.reshape(outputs, num_literals, batch)


def localise(proofs: ProofSets, literals: LiteralTable, grouped: bool) -> Localised:
    """Lists of columns `[outputs, proofs, length, batch]` as bit sets over the literals of each output and sample.

    `grouped`: exclusive groups are told apart too.
    """
    xp = literals.xp
    outputs, k, length, batch = proofs.members.shape
    positive, both, negated = literals.words[:3]
    members = xp.where(is_proof(proofs.ranks)[..., None, :], proofs.members, -1)
    # Columns by sample.
    members = xp.moveaxis(members, 0, -1).reshape(k, length, batch * outputs)
    is_negated = members >= 32 * positive
    # A literal of both polarities by its positive column.
    keys = xp.where(is_negated & (members < 32 * (positive + both)), members - 32 * positive, members)
    number = _number_at_once if xp.is_eager else _number_by_comparing
    places, table = number(xp, keys.reshape(k * length, -1))
    count = len(table)
    words = -(-count // 32)
    bits = _bit_sets(xp, places.reshape(members.shape), is_negated, members >= 0, words, bool(negated))
    columns = xp.asarray(literals.columns)
    rows = xp.where(table >= 0, xp.take(columns, xp.maximum(table, 0)), len(literals.probabilities))
    ranks = xp.moveaxis(proofs.ranks, 0, -1).reshape(1, k, batch * outputs)
    local = _local_literals(literals, rows, words, bool(negated), grouped)
    return Localised(ProofSets(ranks, bits[None]), local, rows)


def _number_at_once(
    xp: Namespace, keys: Int[np.ndarray, "entries columns"]
) -> tuple[Int[np.ndarray, "entries columns"], Int[np.ndarray, "places columns"]]:
    """The place of each key among the distinct ones of its column, ascending; and those, -1 behind them.

    Keys below 0 are none, and may have any place. As many places as some column needs.
    """
    by_column = np.ascontiguousarray(keys.T)
    order = np.argsort(by_column, axis=1)
    ascending = np.take_along_axis(by_column, order, 1)
    is_first = ascending >= 0
    is_first[:, 1:] &= ascending[:, 1:] != ascending[:, :-1]
    place = np.maximum(is_first.cumsum(1, dtype=np.int32) - 1, 0)
    places = np.empty_like(place)
    np.put_along_axis(places, order, place, 1)
    table = np.full((len(keys.T), int(place.max(initial=0)) + 1), -1, np.int32)
    row, at = is_first.nonzero()
    table[row, place[row, at]] = ascending[row, at]
    return places.T, np.ascontiguousarray(table.T)


def _number_by_comparing(
    xp: Namespace, keys: Int[Array, "entries columns"]
) -> tuple[Int[Array, "entries columns"], Int[Array, "places columns"]]:
    """The results of `_number_at_once`, with a place for each entry: by comparing all entries of a column."""
    count = len(keys)
    entry = np.arange(count, dtype=np.int32)[:, None]

    def fold(step, start, *rows):
        items = tuple(xp.asarray(each)[:, None] for each in rows)
        return xp.scan(step, start, items, unroll=min(count, _ROWS_AT_ONCE))[0]

    def find_again(again, item):
        key, number = item
        return again | ((keys == key) & (entry > number)), None

    firsts = xp.where(fold(find_again, keys < 0, keys, entry), -1, keys)

    def count_below(places, item):
        (first,) = item
        return places + ((first >= 0) & (first < keys)).astype(xp.int32), None

    places = fold(count_below, xp.zeros_like(keys), firsts)

    def put(table, item):
        first, place = item
        return xp.maximum(table, xp.where(entry == place, first, -1)), None

    return places, fold(put, xp.full_like(keys, -1), firsts, places)


def _bit_sets(
    xp: Namespace,
    places: Int[Array, "proofs length columns"],
    is_negated: Bool[Array, "proofs length columns"],
    is_there: Bool[Array, "proofs length columns"],
    words: int,
    has_negated: bool,
) -> UInt32[Array, "proofs words columns"]:
    """The bit sets of proofs: `words` of positive columns, then as many of negated ones, if there are any."""
    number = np.arange(words * (1 + has_negated), dtype=np.int32)[None, :, None]
    word = (places >> 5) + np.int32(words) * is_negated.astype(xp.int32) if has_negated else places >> 5
    bit = xp.where(is_there, xp.uint32(1) << (places & 31).astype(xp.uint32), xp.uint32(0))

    def add(bits, item):
        word, bit = item
        return bits | xp.where(word[:, None] == number, bit[:, None], xp.uint32(0)), None

    start = xp.zeros_like(bit, shape=(len(places), number.shape[1], places.shape[-1]))
    items = (xp.moveaxis(word, 1, 0), xp.moveaxis(bit, 1, 0))
    return xp.scan(add, start, items, unroll=min(places.shape[1], _ROWS_AT_ONCE))[0]


def _local_literals(
    literals: LiteralTable, rows: Int[Array, "places columns"], words: int, has_negated: bool, grouped: bool
) -> LiteralTable:
    """The literals of `rows`, each column with its own."""
    xp = literals.xp
    count = len(rows)
    place = np.arange(count, dtype=np.int32)
    section = np.full(32 * words, -1, np.int32)
    section[:count] = place
    is_grouped = grouped and len(literals.groups) > 0
    ends = np.ones(count, np.bool_)
    if is_grouped:
        groups = xp.cumsum(literals.group_end, dtype=xp.int32) - literals.group_end.astype(xp.int32)
        group = xp.take_filled(xp.asarray(groups), rows, -1)
        ends = xp.concatenate([group[1:] != group[:-1], xp.ones_like(rows[:1], xp.bool_)])
    return replace(
        literals,
        probabilities=_take_own(literals.probabilities, rows),
        present=xp.ones_like(rows, xp.bool_),
        exclusions=np.zeros((count, words * is_grouped), np.uint32),
        group_end=ends,
        columns=np.concatenate([section] * (1 + has_negated)),
        column_of=np.stack([place, 32 * words + place if has_negated else np.full_like(place, -1)]),
        negated=np.zeros(0, np.int32),
        words=(words, words * has_negated, words * has_negated, count, count * has_negated),
        certain=np.zeros(count, np.bool_),
        length=0,
        groups=np.zeros(0, np.int32),
    )


def _take_own(values: Float[Array, "literals batch"], rows: Int[Array, "places columns"]) -> Array:
    """The values `[places, columns]` of each column's literals; columns are by sample."""
    xp = array_namespace(values)
    num_literals, batch = values.shape
    sample = np.arange(rows.shape[1], dtype=np.int32) // max(rows.shape[1] // batch, 1)

    def take(values, rows):
        return xp.take_filled(values.reshape(-1), rows * batch + sample[None], _UNUSED)

    def pull(rows, cotangent):
        # Places without a literal are behind the last one.
        flat = xp.zeros_like(cotangent, shape=(num_literals * batch,))
        return xp.add_at(flat, rows * batch + sample[None], cotangent).reshape(num_literals, batch), None

    return xp.custom_vjp(take, lambda values, rows: (take(values, rows), rows), pull)(values, rows)
