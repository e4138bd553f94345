"""The weights and the ranks of clauses: products and sums over the columns that each has.

`grouped`: the members of an exclusive group are the outcomes of one variable, not independent literals.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from scallax.kernels.array_namespace import Namespace, array_namespace
from scallax.kernels.batches import batch_constant
from scallax.kernels.logarithms import log_complement
from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.columns import along, rank_clauses, used_columns
from scallax.provenance.proofs.ranks import add_ranks, rank_literals

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped, UInt32

    from scallax.kernels.array_namespace import Array
    from scallax.provenance.proofs.bit_sets import BitSets

# Columns whose factors one step multiplies; divides the 32 bits of a word.
COLUMNS_AT_ONCE = 8

# Blocks of columns up to which a loop over them is written out, where it makes so many products.
_MAX_UNROLLED, _MANY_PRODUCTS = 4, 1 << 12


def clause_weights(
    bits: UInt32[Array, "... words batch"], literals: LiteralTable, sets: BitSets, grouped: bool
) -> Float[Array, "... batch"]:
    """The probability that all literals of a clause are true together; 1 for the empty clause, 0 for a contradiction.

    Or the logarithms of all these.

    Cost is linear in the columns.
    """
    if grouped and sets.has_groups:
        return _grouped_weights(bits, literals, sets)
    factors = literal_factors(sets, literals)
    found = multiply_factors(sets, factors, bits[..., : sets.identity, :], literals.is_log)
    return possible_weights(sets, bits, found, literals.is_log)


def clause_ranks(
    bits: UInt32[Array, "... words batch"], literals: LiteralTable, sets: BitSets, grouped: bool
) -> Int[Array, "... batch"]:
    """The ranks of clauses that do not contradict themselves, from their literals. Cost is linear in the columns."""
    xp = literals.xp
    if grouped and sets.has_groups:
        start = batch_constant(literals.probabilities, bits.shape[:-2], 0, xp.int32)
        return _join_groups(
            bits, literals, sets, start, lambda total, factor: add_ranks(total, rank_literals(literals, factor))
        )
    if xp.is_eager:
        return rank_clauses(bits, literals, sets)
    ranks = rank_literals(literals, literal_factors(sets, literals))

    def add(total, block):
        for bit, rank in zip(has_columns(bits, block), block_values(ranks, block, total.shape), strict=True):
            total = add_ranks(total, xp.where(bit, rank, 0))
        return total

    return for_blocks(xp, sets, add, batch_constant(ranks, bits.shape[:-2], 0))


def possible_weights(sets: BitSets, bits, weights, is_log: bool = False):
    """The weights of clauses, 0 of those that contradict themselves; or their logarithms."""
    xp = array_namespace(weights)
    if not sets.both:
        return weights
    return xp.where(sets.contradict_by_polarity(bits), xp.full_like(weights, -np.inf if is_log else 0), weights)


def literal_factors(sets: BitSets, literals: LiteralTable) -> Float[Array, "columns batch"]:
    """The probability of the literal of each column, in its polarity; or its logarithm."""
    xp = literals.xp
    p = xp.take_clipped(literals.probabilities, literals.columns)
    is_positive = np.arange(32 * sets.identity) < 32 * sets.positive
    return xp.where(is_positive[:, None], p, literals.complement(p))


def multiply_factors(sets: BitSets, factors, bits, is_log: bool = False):
    """The product of the factors `[columns, batch]` whose bits `[..., words, batch]` are set; or its logarithm."""
    xp, one = array_namespace(factors), 0 if is_log else 1
    if xp.is_eager:
        columns, has = used_columns(bits)
        chosen = np.where(has, along(factors[columns], has), np.full_like(factors, one, shape=()))
        # Along the first axis one factor after the other, as compiled code multiplies them.
        return chosen.sum(0, dtype=factors.dtype) if is_log else chosen.prod(0, dtype=factors.dtype)

    def multiply(product, block):
        for bit, factor in zip(has_columns(bits, block), block_values(factors, block, product.shape), strict=True):
            chosen = xp.where(bit, factor, one)
            product = product + chosen if is_log else product * chosen
        return product

    start = batch_constant(factors, bits.shape[:-2], one)
    # Many products are written to memory once, not once for each block.
    most_unrolled = _MAX_UNROLLED if start.size >= _MANY_PRODUCTS else 1
    return for_blocks(xp, sets, multiply, start, most_unrolled)


def for_blocks(xp: Namespace, sets: BitSets, step, state, most_unrolled: int = 1):
    """The state after a step for each block of columns in use; up to `most_unrolled` are written out.

    A step is long: written out for each block, it would take seconds to compile.
    """
    blocks = sets.blocks(COLUMNS_AT_ONCE)
    if len(blocks) <= most_unrolled:
        return functools.reduce(step, map(xp.int32, blocks), state)
    numbers = xp.asarray(blocks, xp.int32)
    return xp.loop(len(blocks), lambda index, state: step(state, numbers[index]), state)


def has_columns(bits, block) -> list[Bool[Array, "... batch"]]:
    """For each column of a block whether a clause has it."""
    xp = array_namespace(bits)
    word = xp.index_axis(bits, block * COLUMNS_AT_ONCE >> 5, bits.ndim - 2)
    word = word >> (block * COLUMNS_AT_ONCE & 31).astype(xp.uint32)
    return [(word & np.uint32(1 << column)) != 0 for column in range(COLUMNS_AT_ONCE)]


def block_values(
    values: Shaped[Array, "columns batch"], block, shape: tuple[int, ...]
) -> list[Shaped[Array, "... batch"]]:
    """The value of each column of a block, repeated for a shape."""
    xp = array_namespace(values)
    found = xp.slice_rows(values, block * COLUMNS_AT_ONCE, COLUMNS_AT_ONCE)
    return [xp.broadcast_to(value, shape) for value in split_rows(found)]


def split_rows(values: Shaped[Array, "rows ..."]) -> list[Array]:
    """The rows of an array, each by itself."""
    return [values[row] for row in range(len(values))]


def _grouped_weights(bits, literals: LiteralTable, sets: BitSets):
    xp = literals.xp
    ones = batch_constant(literals.probabilities, bits.shape[:-2], 0 if literals.is_log else 1)
    return _join_groups(bits, literals, sets, ones, xp.add if literals.is_log else xp.multiply)


def _join_groups(bits, literals: LiteralTable, sets: BitSets, start, join):
    """`start` joined with the factor of each group by `join`, in the order of groups.

    Members of a group are consecutive: what a clause says of a group is carried until its last member. A group
    contributes p of the one member that is chosen, 0 if two are, and else 1 - Σp of the excluded ones.
    """
    xp = literals.xp
    p = literals.probabilities
    zeros = batch_constant(p, bits.shape[:-2], 0)

    def step(carry, inputs):
        total, chosen, excluded, count = carry
        (positive_column, negated_column), value, end = inputs
        value = xp.broadcast_to(value, total.shape)
        positive = _has(bits, positive_column)
        chosen = chosen + xp.where(positive, value, xp.zeros_like(value))
        count = count + positive.astype(xp.int32)
        if sets.negated:
            negated = _has(bits, negated_column)
            left_out = xp.exp(value) if literals.is_log else value
            excluded = excluded + xp.where(negated, left_out, xp.zeros_like(value))
            count = count + 2 * (positive & negated).astype(xp.int32)
        rest = log_complement(excluded) if literals.is_log else 1 - excluded
        impossible = xp.full_like(chosen, -np.inf if literals.is_log else 0)
        factor = xp.where(count == 0, rest, xp.where(count == 1, chosen, impossible))
        return (
            xp.where(end, join(total, factor), total),
            xp.where(end, xp.zeros_like(chosen), chosen),
            xp.where(end, xp.zeros_like(excluded), excluded),
            xp.where(end, xp.zeros_like(count), count),
        ), None

    carry = (start, zeros, zeros, xp.zeros_like(zeros, xp.int32))
    (total, *_), _ = xp.scan(step, carry, (literals.column_of.T, p, literals.group_end))
    return total


def _has(bits: UInt32[Array, "... words batch"], column) -> Bool[Array, "... batch"]:
    """Whether a clause has the literal of a column; -1 is no column."""
    xp = array_namespace(bits)
    word = xp.index_axis(bits, xp.maximum(column, 0) >> 5, bits.ndim - 2)
    bit = (word >> (xp.maximum(column, 0) & 31).astype(xp.uint32)) & xp.uint32(1) != 0
    return bit & (column >= 0)
