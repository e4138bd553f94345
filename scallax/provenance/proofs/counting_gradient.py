"""Gradients of weighted model counting, by the factors of literals: a division for each, and no sum of differences."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from scallax.kernels.array_namespace import Namespace, array_namespace
from scallax.kernels.batches import batch_constant
from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.bit_sets import BitSets
from scallax.provenance.proofs.clause_weights import (
    COLUMNS_AT_ONCE,
    block_values,
    for_blocks,
    has_columns,
    literal_factors,
    multiply_factors,
    possible_weights,
    split_rows,
)
from scallax.provenance.proofs.dnf import ProofSets, scan_proofs
from scallax.provenance.proofs.ranks import is_proof
from scallax.provenance.traits import MAX_UNROLLED_PROOFS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Shaped, UInt32

    from scallax.kernels.array_namespace import Array

# Numbers held at once: terms of inclusion-exclusion times outputs and batch.
_MAX_NUMBERS = 1 << 20

# Terms above which the gradient by small factors has code of its own.
_MANY_TERMS = 1 << 13

# Proofs whose patterns one step of a loop over sets of proofs settles.
_PROOFS_AT_ONCE = 3

# Products are not divided by factors below this.
_SMALL = 1e-18

# For each proof whether it has some literal `[outputs, batch]`: of many proofs one array.
Has: TypeAlias = "Sequence[Bool[Array, 'outputs batch']] | Bool[Array, 'proofs outputs batch']"


def count_independent(
    weights: Float[Array, "outputs proofs batch"],
) -> tuple[Float[Array, "outputs batch"], Float[Array, "outputs proofs batch"]]:
    """The probability that some of independent proofs is true, and its derivatives by their weights."""
    xp = array_namespace(weights)
    values, pull = xp.vjp(some, weights)
    return values, pull(xp.ones_like(values))[0]


def some(weights: Float[Array, "outputs proofs batch"]) -> Float[Array, "outputs batch"]:
    """The probability that one of some independent events happens: `s ← s + w (1 - s)` for each weight `w` in turn.

    Its gradient are leave-one-out products, by plain multiplications.

    Summed up event by event: 1 - Π (1 - w) would lose the digits of small weights.
    """
    xp = array_namespace(weights)

    def add(some, weight):
        return some + weight * (1 - some), None

    return scan_proofs(xp, add, xp.zeros_like(weights[:, 0]), xp.moveaxis(weights, 1, 0))[0]


def pull_sets(
    proofs: ProofSets,
    literals: LiteralTable,
    sets: BitSets,
    is_independent: Bool[Array, ""] | None,
    cotangent: Float[Array, "outputs batch"],
) -> Float[Array, "literals batch"]:
    """The gradient of the literals' probabilities for a cotangent of the counts of `count_sets`."""

    def pull(proofs, cotangent):
        return count_sets(proofs, literals, sets, is_independent, cotangent)[1]

    return add_outputs(pull, literals.probabilities, proofs, cotangent)


def add_outputs(
    pull: Callable[[ProofSets, Array], Array], like: Array, proofs: ProofSets, cotangent: Float[Array, "outputs batch"]
) -> Array:
    """The sum over outputs of `pull(proofs, cotangent)`, an array like `like`: one by one if they are many."""
    xp = array_namespace(like)
    num_outputs, k, batch = proofs.ranks.shape
    if num_outputs * batch << k <= _MAX_NUMBERS:
        return pull(proofs, cotangent)

    def add(gradient, output):
        return gradient + pull(*xp.map(lambda leaf: leaf[None], output)), None

    return xp.scan(add, xp.zeros_like(like), (proofs, cotangent))[0]


def unite(valid, bits):
    """For every set of proofs but the empty one, bit i of its number for proof i: whether all exist, and their union.

    `[2^k - 1, outputs, batch]` and `[2^k - 1, outputs, words, batch]`.
    """
    xp = array_namespace(bits)
    k = valid.shape[-2]
    if k > MAX_UNROLLED_PROOFS:
        # A chain of concatenations would take seconds to compile.
        chosen = _sets(k)[1:, None, :, None]
        exists = (valid[None] | ~chosen).all(-2)
        members = xp.where(chosen[..., None], bits[None], xp.uint32(0))
        return exists, xp.reduce_or(members, 2)
    unions = xp.zeros_like(bits[None, :, 0])
    exists = xp.ones_like(valid[None, :, 0])
    for proof in range(k):
        unions = xp.concatenate([unions, unions | bits[None, :, proof]])
        exists = xp.concatenate([exists, exists & valid[None, :, proof]])
    return exists[1:], unions[1:]


def _sets(k: int) -> Bool[np.ndarray, "sets proofs"]:
    """For the number of every set of `k` proofs which it has."""
    return (np.arange(1 << k)[:, None] >> np.arange(k)) & 1 != 0


def signs_of_sets(xp: Namespace, k: int, dtype) -> Float[Array, "sets 1 1"]:
    """The signs of the unions of all sets of proofs but the empty one."""
    sizes = _sets(k)[1:].sum(1)
    return xp.asarray(np.where(sizes % 2 == 1, 1.0, -1.0), dtype)[:, None, None]


def _weigh_unions(sets: BitSets, factors, unions):
    """The weights of unions of proofs."""
    return possible_weights(sets, unions, multiply_factors(sets, factors, unions[..., : sets.identity, :]))


def pull_proofs(sets: BitSets, literals: LiteralTable, factors, weights, own, cotangent, each_output=False):
    """The gradient of the weights `[outputs, proofs, batch]` of proofs with the bits `own`."""
    xp = literals.xp
    by_proof, found, coefficients = (xp.moveaxis(leaf, 1, 0) for leaf in (own, weights, cotangent))

    def alone(is_small):
        return (
            _weigh_one_small(lambda factors: multiply_factors(sets, factors, by_proof), factors, is_small)
            * coefficients
        )

    return pull_columns(
        sets, literals, factors, by_proof, found * coefficients, alone, _add_up, each_output=each_output
    )


def count_sets(
    proofs: ProofSets,
    literals: LiteralTable,
    sets: BitSets,
    is_independent: Bool[Array, ""] | None,
    cotangent: Float[Array, "outputs batch"] | None = None,
    each_output: bool = False,
) -> tuple[Float[Array, "outputs batch"], Float[Array, "literals batch"] | Float[Array, "outputs literals batch"]]:
    """The probability that some proof is true, by the unions of sets of proofs, and its gradient for a cotangent.

    Where `is_independent`, an array, is true, all is found without unions: the proofs, at most `MAX_UNROLLED_PROOFS`,
    must have weights then.

    The derivative by a literal's factor is the sum, over the sets with a proof that has the literal, of what their
    unions weigh without it. These sets depend only on the proofs that have it, so that there are 2^k sums.
    """
    xp = literals.xp
    used = is_proof(proofs.ranks)
    factors = literal_factors(sets, literals)
    exists, unions = unite(used, proofs.members)
    signs = signs_of_sets(xp, used.shape[1], factors.dtype)
    scale = xp.ones((1, 1, 1), factors.dtype) if cotangent is None else cotangent[None]

    def weigh(factors):
        return _weigh_unions(sets, factors, unions)

    def by_unions():
        found = weigh(factors)
        signed = signs * xp.where(exists, found, xp.zeros_like(found))
        return signed.sum(0), sums_of_hit_sets(signed * scale)

    def by_proofs():
        assert proofs.weights is not None
        values, by_weight = count_independent(proofs.weights)
        return values, sums_of_members(xp.moveaxis(proofs.weights * by_weight, 1, 0) * scale)

    values, table = by_unions() if is_independent is None else xp.cond(is_independent, by_proofs, by_unions)

    def alone(is_small):
        found = _weigh_one_small(weigh, factors, is_small)
        return sums_of_hit_sets(signs * xp.where(exists, found, xp.zeros_like(found)) * scale)

    by_proof = xp.moveaxis(xp.where(used[..., None, :], proofs.members, xp.uint32(0)), 1, 0)
    gradient = pull_columns(sets, literals, factors, by_proof, table, alone, look_up, each_output=each_output)
    return values, gradient


def _weigh_one_small(weigh: Callable[[Array], Array], factors, is_small) -> Float[Array, "clauses outputs batch"]:
    """The weights of the clauses with one small factor, without it; 0 for the others."""
    xp = array_namespace(factors)
    count, others = xp.map_rows(weigh, xp.stack([1 + is_small, xp.where(is_small > 0, 1, factors)]))
    # One small factor counts 2, others 1.
    return xp.where(count == 2, others, xp.zeros_like(others))


def sums_of_members(terms: Float[Array, "proofs outputs batch"]) -> Float[Array, "patterns outputs batch"]:
    """For every set of proofs the sum of their terms."""
    xp = array_namespace(terms)
    sums = xp.zeros_like(terms[:1])
    for term in split_rows(terms):
        sums = xp.concatenate([sums, sums + term[None]])
    return sums


def sums_of_hit_sets(values: Float[Array, "sets outputs batch"]) -> Float[Array, "patterns outputs batch"]:
    """For every set of proofs the sum of the values of all those that it meets; no sum is a difference."""
    xp = array_namespace(values)
    rest = xp.concatenate([xp.zeros_like(values[:1]), values])
    k = len(rest).bit_length() - 1
    if k > MAX_UNROLLED_PROOFS:
        sums = rest, xp.zeros_like(rest)
        sums = xp.loop(k // _PROOFS_AT_ONCE, lambda _, sums: _settle_proofs(sums, _PROOFS_AT_ONCE), sums)
        return _settle_proofs(sums, k % _PROOFS_AT_ONCE)[1]
    rest = rest[None]
    met = xp.zeros_like(rest[:, 0])
    while rest.shape[1] > 1:
        without, within = rest[:, 0::2], rest[:, 1::2]
        met = xp.concatenate([met, met + within.sum(1)])
        rest = xp.concatenate([without + within, without])
    return met


def _settle_proofs(sums: tuple[Array, Array], count: int) -> tuple[Array, Array]:
    """`count` steps of `sums_of_hit_sets` at once, in arrays of one size, so that a loop of them compiles fast.

    Rows are numbered by the patterns of the proofs settled so far, in front, and the sets of the others. `sums` are
    those over the sets that do not meet their pattern, and over those that do.
    """
    xp = array_namespace(*sums)
    rest, met = (leaf.reshape(-1, 1 << count, *leaf.shape[1:]) for leaf in sums)
    sets = range(1 << count)
    either, parts = met.sum(1), [rest[:, each] for each in sets]
    apart = [[part for each, part in zip(sets, parts, strict=True) if not each & pattern] for pattern in sets]
    meets = [[part for each, part in zip(sets, parts, strict=True) if each & pattern] for pattern in sets]
    return (
        xp.concatenate([functools.reduce(xp.add, terms) for terms in apart]),
        xp.concatenate([functools.reduce(xp.add, terms, either) for terms in meets]),
    )


def _add_up(terms: Float[Array, "proofs outputs batch"], has: Has) -> Float[Array, "outputs batch"]:
    """The terms of the proofs `has`, added up."""
    xp = array_namespace(terms)
    if len(has) > MAX_UNROLLED_PROOFS:
        return xp.where(xp.asarray(has), terms, xp.zeros_like(terms)).sum(0)
    parts = [xp.where(bit, term, xp.zeros_like(term)) for bit, term in zip(has, terms, strict=True)]
    return functools.reduce(xp.add, parts)


def look_up(table: Float[Array, "patterns outputs batch"], has: Has) -> Float[Array, "outputs batch"]:
    """The entry of the table whose number has the bits `has`."""
    xp = array_namespace(table)
    if len(has) > MAX_UNROLLED_PROOFS:
        values = np.int32(1) << np.arange(len(has), dtype=np.int32)[:, None, None]
        number = xp.where(xp.asarray(has), values, xp.zeros_like(values)).sum(0, keepdims=True, dtype=xp.int32)
        return xp.take_along_axis(table, number, 0)[0]
    entries = split_rows(table)
    for bit in has:
        entries = [xp.where(bit, odd, even) for even, odd in zip(entries[::2], entries[1::2], strict=True)]
    return entries[0]


def pull_columns(
    sets: BitSets,
    literals: LiteralTable,
    factors: Float[Array, "columns batch"],
    bits: UInt32[Array, "proofs outputs words batch"],
    terms: Shaped[Array, "terms outputs batch"],
    alone: Callable[[Array], Array],
    sum_up: Callable[[Array, Has], Array],
    each_output: bool,
    of_complement: Array | None = None,
) -> Float[Array, "literals batch"] | Float[Array, "outputs literals batch"]:
    """The gradient of a sum of weights of clauses, each times its coefficient; of all outputs, or of each.

    `sum_up(terms, has)` adds up the terms of clauses with a literal, given which proofs `[proofs, outputs, batch]` have
    it. `terms` are those of weights times coefficients, and `alone(is_small)` those of the clauses with one small
    factor, without it.

    A weight divided by a factor is the product of the others, unless it is small. For a clause with one small factor,
    the derivative by it is the product of the others. With two or more, those by the small ones are at most `_SMALL`
    times the others, and taken as 0.

    `of_complement` are minus the derivatives of the factors of negated literals by those of literals; None: 1.
    """
    xp = literals.xp
    k, num_outputs, _, batch = bits.shape
    is_small = (xp.abs(factors) < _SMALL).astype(factors.dtype)
    inverse = xp.where(is_small > 0, 0, 1 / xp.where(is_small > 0, 1, factors))

    def pull(scales, terms, gradient):
        def pull_block(gradient, block):
            if 1 < k <= MAX_UNROLLED_PROOFS and num_outputs > 1:
                # As one array, they would be written down for all columns before they are used (sum2: 1.2 ms, not 0.8).
                has = list(zip(*(has_columns(proof, block) for proof in bits), strict=True))
            else:
                has = has_columns(bits, block)
            scale = block_values(scales, block, (num_outputs, batch))
            columns = [sum_up(terms, bit) * each for bit, each in zip(has, scale, strict=True)]
            axis = 1 if each_output else 0
            rows = xp.stack(columns if each_output else [column.sum(0) for column in columns], -2)
            start = block * COLUMNS_AT_ONCE
            rows += xp.slice_rows(gradient, start, COLUMNS_AT_ONCE, axis)
            return xp.write_slice(gradient, rows, start, axis)

        return for_blocks(xp, sets, pull_block, gradient)

    def add(number, gradient):
        # All factors, then the small ones if there are any: one code for both.
        scales, found = xp.cond(number == 0, lambda: (inverse, terms), lambda: (is_small, alone(is_small)))
        return pull(scales, found, gradient)

    start = batch_constant(factors, (num_outputs, len(factors)), 0) if each_output else xp.zeros_like(factors)
    if terms.size > _MANY_TERMS:
        # Code that knows its terms takes a third less time than one that serves both.
        gradient = pull(inverse, terms, start)
        gradient = xp.cond(is_small.any(), lambda: pull(is_small, alone(is_small), gradient), lambda: gradient)
    else:
        gradient = xp.loop(1 + is_small.any().astype(xp.int32), add, start)
    gradient = xp.concatenate([gradient, xp.zeros_like(gradient[..., :1, :])], -2)
    # -1 is the row of zeros at the end.
    positive, negated = (xp.read(gradient, (..., places, slice(None))) for places in literals.column_of)
    if of_complement is not None:
        negated = negated * (of_complement[None] if each_output else of_complement)
    return positive - negated
