"""Weighted model counting of proof sets, exact for the proofs kept.

Literals are independent, or (`grouped`) the members of an exclusive group are the outcomes of one variable, whose
residual outcome has the probability 1 - Σp.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from scallax.kernels.array_namespace import Namespace, array_namespace
from scallax.kernels.batches import batch_constant
from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.clauses import Dependence
from scallax.provenance.proofs.dnf import ProofSets, Sections, scan_proofs
from scallax.provenance.proofs.ranks import add_ranks, is_proof, rank_weights
from scallax.provenance.traits import MAX_UNROLLED_PROOFS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped, UInt32

    from scallax.kernels.array_namespace import Array

# Numbers held at once: terms of inclusion-exclusion times outputs and batch, and fewer for its gradient, which holds
# some times as many.
_MAX_NUMBERS = 1 << 24
_MAX_GRADIENT_NUMBERS = 1 << 20

# Columns whose factors one step multiplies; divides the 32 bits of a word.
_COLUMNS_AT_ONCE = 8

# Blocks of columns up to which loops over them are written out.
_MAX_UNROLLED = 4

# Proofs whose patterns one step of a loop over sets of proofs settles.
_PROOFS_AT_ONCE = 3

# Products are not divided by factors below this.
_SMALL = 1e-18

# For each proof whether it has some literal `[outputs, batch]`: of many proofs one array.
Has: TypeAlias = "Sequence[Bool[Array, 'outputs batch']] | Bool[Array, 'proofs outputs batch']"

Count: TypeAlias = "Callable[[ProofSets, LiteralTable], Float[Array, 'outputs batch']]"


def clause_weights(
    bits: UInt32[Array, "... words batch"], literals: LiteralTable, sections: Sections, grouped: bool
) -> Float[Array, "... batch"]:
    """The probability that all literals of a clause are true together; 1 for the empty clause, 0 for a contradiction.

    Cost is linear in the columns.
    """
    if grouped and sections.has_groups:
        return _grouped_weights(bits, literals, sections)
    factors = _factors(sections, literals.probabilities, literals.columns)
    return _possible(sections, bits, _multiply(sections, factors, bits[..., : sections.identity, :]))


def clause_ranks(
    bits: UInt32[Array, "... words batch"], literals: LiteralTable, sections: Sections, grouped: bool
) -> Int[Array, "... batch"]:
    """The ranks of clauses that do not contradict themselves, from their literals. Cost is linear in the columns."""
    xp = literals.xp
    if grouped and sections.has_groups:
        start = batch_constant(literals.probabilities, bits.shape[:-2], 0, xp.int32)
        return _join_groups(
            bits, literals, sections, start, lambda total, factor: add_ranks(total, rank_weights(factor))
        )
    ranks = rank_weights(_factors(sections, literals.probabilities, literals.columns))

    def add(total, block):
        for bit, rank in _block(ranks, bits, block):
            total = add_ranks(total, xp.where(bit, rank, xp.zeros_like(rank)))
        return total

    return _for_blocks(xp, sections, add, batch_constant(ranks, bits.shape[:-2], 0))


def _possible(sections: Sections, bits, weights):
    """The weights of clauses, 0 of those that contradict themselves."""
    xp = array_namespace(weights)
    if not sections.both:
        return weights
    return xp.where(sections.contradict_by_polarity(bits), xp.zeros_like(weights), weights)


def _factors(sections: Sections, p, columns) -> Float[Array, "columns batch"]:
    """The probability of the literal of each column, in its polarity."""
    xp = array_namespace(p)
    p = xp.take_clipped(p, columns)
    is_positive = np.arange(32 * sections.identity) < 32 * sections.positive
    return xp.where(is_positive[:, None], p, 1 - p)


def _multiply(sections: Sections, factors, bits):
    """The product of the factors `[columns, batch]` whose bits `[..., words, batch]` are set."""
    xp = array_namespace(factors)

    def multiply(product, block):
        for bit, factor in _block(factors, bits, block):
            product = product * xp.where(bit, factor, xp.ones_like(factor))
        return product

    return _for_blocks(xp, sections, multiply, batch_constant(factors, bits.shape[:-2], 1))


def _for_blocks(xp: Namespace, sections: Sections, step, state, most_unrolled: int = _MAX_UNROLLED):
    """The state after a step for each block of columns in use."""
    blocks = sections.blocks(_COLUMNS_AT_ONCE)
    if len(blocks) <= most_unrolled:
        for block in blocks:
            state = step(state, xp.int32(block))
        return state
    numbers = xp.asarray(blocks, xp.int32)
    return xp.loop(len(blocks), lambda index, state: step(state, numbers[index]), state)


def _block(values, bits, block):
    """For each column of a block: whether a clause has it `[..., batch]`, and its value there."""
    xp = array_namespace(bits)
    word = xp.index_axis(bits, block * _COLUMNS_AT_ONCE // 32, bits.ndim - 2)
    word = word >> (block * _COLUMNS_AT_ONCE % 32).astype(xp.uint32)
    values = xp.slice_rows(values, block * _COLUMNS_AT_ONCE, _COLUMNS_AT_ONCE)
    for column in range(_COLUMNS_AT_ONCE):
        yield (word >> xp.uint32(column)) & xp.uint32(1) != 0, xp.broadcast_to(values[column], word.shape)


def _grouped_weights(bits, literals: LiteralTable, sections: Sections):
    xp = literals.xp
    ones = batch_constant(literals.probabilities, bits.shape[:-2], 1)
    return _join_groups(bits, literals, sections, ones, xp.multiply)


def _join_groups(bits, literals: LiteralTable, sections: Sections, start, join):
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
        if sections.negated:
            negated = _has(bits, negated_column)
            excluded = excluded + xp.where(negated, value, xp.zeros_like(value))
            count = count + 2 * (positive & negated).astype(xp.int32)
        factor = xp.where(count == 0, 1 - excluded, xp.where(count == 1, chosen, xp.zeros_like(chosen)))
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
    word = xp.index_axis(bits, xp.maximum(column, 0) // 32, bits.ndim - 2)
    bit = (word >> (xp.maximum(column, 0) % 32).astype(xp.uint32)) & xp.uint32(1) != 0
    return bit & (column >= 0)


def count_proofs(
    proofs: ProofSets, literals: LiteralTable, sections: Sections, grouped: bool, otherwise: Count
) -> Float[Array, "outputs batch"]:
    """The probability that some proof of an output is true, differentiable in the literals' probabilities.

    `1 - Π (1 - w)` if in no output two proofs share a variable, which then are independent; else what `otherwise` says.
    """
    xp = literals.xp
    if grouped and sections.has_groups:
        # The members of a group depend on each other even if no literal is shared.
        return otherwise(proofs, literals)
    used = is_proof(proofs.ranks)
    bits = xp.where(used[..., None, :], proofs.bits, xp.uint32(0))
    is_independent = ~sections.share_variables(bits).any()
    own = bits[..., : sections.identity, :]

    def independent(p):
        weights = _weigh_proofs(proofs, sections, _factors(sections, p, literals.columns), own)
        return _some(weights), weights

    def general(p):
        return otherwise(proofs, replace(literals, probabilities=p))

    def general_beside(p):
        return general(p), batch_constant(p, used.shape[:-1], 0)

    def count_forward(p):
        # The weights are kept: fused into the derivatives, they would be multiplied again for each use.
        value, weights = xp.cond(is_independent, independent, general_beside, p)
        return value, (p, weights)

    def pull_independent(p, weights, cotangent):
        (pulled,) = xp.vjp(_some, weights)[1](cotangent)
        return _pull_proofs(sections, literals, _factors(sections, p, literals.columns), weights, own, pulled)

    def pull_general(p, _, cotangent):
        return xp.vjp(general, p)[1](cotangent)[0]

    def count_backward(kept, cotangent):
        return (xp.cond(is_independent, pull_independent, pull_general, *kept, cotangent),)

    return xp.custom_vjp(lambda p: count_forward(p)[0], count_forward, count_backward)(literals.probabilities)


def count_with_derivatives(
    proofs: ProofSets,
    literals: LiteralTable,
    sections: Sections,
    dependence: Dependence,
) -> tuple[Float[Array, "outputs batch"], Float[Array, "outputs literals batch"]]:
    """The probability that some proof of an output is true, and its derivatives by the literals' probabilities.

    The same as `count_proofs` and `inclusion_exclusion` for independent literals and at most `MAX_UNROLLED_PROOFS`
    proofs, but the weights are computed once.
    """
    xp = literals.xp
    used = is_proof(proofs.ranks)
    bits = xp.where(used[..., None, :], proofs.bits, xp.uint32(0))
    own = bits[..., : sections.identity, :]
    factors = _factors(sections, literals.probabilities, literals.columns)

    def pull(weights, coefficients):
        return _pull_proofs(sections, literals, factors, weights, own, coefficients, each_output=True)

    def weigh():
        return _weigh_proofs(proofs, sections, factors, own)

    def independent(weights):
        values, by_weight = count_independent(weights)
        return values, pull(weights, by_weight)

    def mixed(_):
        exists, unions = _unions(used, proofs.bits)
        found = _weigh_unions(sections, factors, unions)
        signs = _signs(xp, used.shape[1], found.dtype)
        values = (signs * xp.where(exists, found, xp.zeros_like(found))).sum(0)
        signed = xp.where(exists, signs, xp.zeros_like(signs))
        return values, _pull_unions(sections, literals, factors, bits, unions, found, signed, each_output=True)

    if dependence is Dependence.EXCLUSIVE:
        weights = weigh()
        return weights.sum(1), pull(weights, xp.ones_like(weights))
    if dependence is Dependence.MIXED:
        return mixed(None)
    is_independent = ~sections.share_variables(bits).any()
    # In a branch of their own they are kept: fused into the derivatives, they would be multiplied again for each use.
    weights = xp.cond(is_independent, weigh, lambda: batch_constant(factors, used.shape[:-1], 0))
    return xp.cond(is_independent, independent, mixed, weights)


def _weigh_proofs(proofs: ProofSets, sections: Sections, factors, own) -> Float[Array, "outputs proofs batch"]:
    """The weights of proofs with the literals `own`, 0 in unused places."""
    xp = array_namespace(factors)
    if proofs.weights is not None:
        return proofs.weights
    found = _multiply(sections, factors, own)
    return xp.where(is_proof(proofs.ranks), found, xp.zeros_like(found))


def count_independent(
    weights: Float[Array, "outputs proofs batch"],
) -> tuple[Float[Array, "outputs batch"], Float[Array, "outputs proofs batch"]]:
    """The probability that some of independent proofs is true, and its derivatives by their weights."""
    xp = array_namespace(weights)
    values, pull = xp.vjp(_some, weights)
    return values, pull(xp.ones_like(values))[0]


def _some(weights: Float[Array, "outputs proofs batch"]) -> Float[Array, "outputs batch"]:
    """The probability that one of some independent events happens: `s ← s + w (1 - s)` for each weight `w` in turn.

    Its gradient are leave-one-out products, by plain multiplications.

    Summed up event by event: 1 - Π (1 - w) would lose the digits of small weights.
    """
    xp = array_namespace(weights)

    def add(some, weight):
        return some + weight * (1 - some), None

    return scan_proofs(xp, add, xp.zeros_like(weights[:, 0]), xp.moveaxis(weights, 1, 0))[0]


def inclusion_exclusion(
    proofs: ProofSets, literals: LiteralTable, sections: Sections, grouped: bool
) -> Float[Array, "outputs batch"]:
    """The probability that some proof of an output is true: signed weights of the unions of all subsets of proofs.

    `P(∨ F_i) = Σ over the sets S but the empty one of (-1)^(|S| + 1) P(∧ of the proofs in S)`. For at most 10 proofs
    (2^k terms; relative error about 3e-6 in float32 at 10). Differentiable in the literals' probabilities.
    """
    xp = literals.xp
    num_outputs, k, _, batch = proofs.bits.shape
    is_grouped, used = grouped and sections.has_groups, is_proof(proofs.ranks)

    def count(p, used, bits):
        table = replace(literals, probabilities=p)
        exists, unions = _unions(used, bits)
        found = clause_weights(unions, table, sections, grouped)
        # A term that does not exist has a finite weight, so that `where` has a finite gradient.
        return (_signs(xp, k, found.dtype) * xp.where(exists, found, xp.zeros_like(found))).sum(0)

    def pull(p, used, bits, cotangent):
        if is_grouped:
            return xp.vjp(lambda p: count(p, used, bits), p)[1](cotangent)[0]
        factors = _factors(sections, p, literals.columns)
        exists, unions = _unions(used, bits)
        signs = _signs(xp, k, p.dtype) * cotangent[None]
        signed = xp.where(exists, signs, xp.zeros_like(signs))
        found = _weigh_unions(sections, factors, unions)
        return _pull_unions(sections, literals, factors, bits, unions, found, signed)

    def total(p):
        if num_outputs * batch * sections.total << k <= _MAX_NUMBERS:
            return count(p, used, proofs.bits)
        return xp.map_rows(lambda output: count(p, output[0][None], output[1][None])[0], (used, proofs.bits))

    def total_backward(p, cotangent):
        if num_outputs * batch << k <= _MAX_GRADIENT_NUMBERS:
            return (pull(p, used, proofs.bits, cotangent),)

        def add(gradient, output):
            used, bits, cotangent = output
            return gradient + pull(p, used[None], bits[None], cotangent[None]), None

        return (xp.scan(add, xp.zeros_like(p), (used, proofs.bits, cotangent))[0],)

    return xp.custom_vjp(total, lambda p: (total(p), p), total_backward)(literals.probabilities)


def _unions(valid, bits):
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


def _signs(xp: Namespace, k: int, dtype) -> Float[Array, "sets 1 1"]:
    """The signs of the unions of all sets of proofs but the empty one."""
    sizes = _sets(k)[1:].sum(1)
    return xp.asarray(np.where(sizes % 2 == 1, 1.0, -1.0), dtype)[:, None, None]


def _weigh_unions(sections: Sections, factors, unions):
    """The weights of unions of proofs."""
    return _possible(sections, unions, _multiply(sections, factors, unions[..., : sections.identity, :]))


def _pull_proofs(sections: Sections, literals: LiteralTable, factors, weights, own, cotangent, each_output=False):
    """The gradient of the weights `[outputs, proofs, batch]` of proofs with the bits `own`."""
    xp = literals.xp
    by_proof, found, coefficients = (xp.moveaxis(leaf, 1, 0) for leaf in (own, weights, cotangent))

    def weights_of(factors):
        return _multiply(sections, factors, by_proof)

    def sum_up(terms):
        return functools.partial(_add_up, terms)

    return _pull_columns(
        sections, literals, factors, by_proof, coefficients, found, weights_of, sum_up, each_output=each_output
    )


def _pull_unions(sections: Sections, literals: LiteralTable, factors, bits, unions, found, signed, each_output=False):
    """The gradient of the sum of the weights `found` of all unions, each times its coefficient `signed`.

    By a literal's factor it is the sum, over the sets with a proof that has the literal, of what their unions weigh
    without it. These sets depend only on the proofs that have it, so that there are 2^k sums.
    """
    xp = literals.xp

    def weights_of(factors):
        return _weigh_unions(sections, factors, unions)

    def sum_up(terms):
        return functools.partial(_look_up, _sums_of_hit_sets(terms))

    by_proof = xp.moveaxis(bits, 1, 0)
    return _pull_columns(
        sections, literals, factors, by_proof, signed, found, weights_of, sum_up, each_output=each_output
    )


def _sums_of_hit_sets(values: Float[Array, "sets outputs batch"]) -> Float[Array, "patterns outputs batch"]:
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
    """`count` steps of `_sums_of_hit_sets` at once, in arrays of one size, so that a loop of them compiles fast.

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


def _look_up(table: Float[Array, "patterns outputs batch"], has: Has) -> Float[Array, "outputs batch"]:
    """The entry of the table whose number has the bits `has`."""
    xp = array_namespace(table)
    if len(has) > MAX_UNROLLED_PROOFS:
        values = np.int32(1) << np.arange(len(has), dtype=np.int32)[:, None, None]
        number = xp.where(xp.asarray(has), values, xp.zeros_like(values)).sum(0, keepdims=True, dtype=xp.int32)
        return xp.take_along_axis(table, number, 0)[0]
    entries = list(table)
    for bit in has:
        entries = [xp.where(bit, odd, even) for even, odd in zip(entries[::2], entries[1::2], strict=True)]
    return entries[0]


def _pull_columns(
    sections: Sections,
    literals: LiteralTable,
    factors: Float[Array, "columns batch"],
    bits: UInt32[Array, "proofs outputs words batch"],
    coefficients: Shaped[Array, "clauses outputs batch"],
    weights: Float[Array, "clauses outputs batch"],
    weights_of: Callable[[Array], Array],
    sum_up: Callable[[Array], Callable],
    each_output: bool = False,
) -> Float[Array, "literals batch"] | Float[Array, "outputs literals batch"]:
    """The gradient of a sum of weights of clauses, each times its coefficient; of all outputs, or of each.

    `weights_of` gives the weights `[clauses, outputs, batch]` for factors of the columns, and `sum_up(terms)` a
    function that adds up the terms of clauses with a literal, given which proofs `[proofs, outputs, batch]` have it.

    A weight divided by a factor is the product of the others, unless it is small. For a clause with one small factor,
    the derivative by it is the product of the others. With two or more, those by the small ones are at most `_SMALL`
    times the others, and taken as 0.
    """
    xp = literals.xp
    k, num_outputs, _, batch = bits.shape
    is_small = (xp.abs(factors) < _SMALL).astype(factors.dtype)
    inverse = xp.where(is_small > 0, xp.zeros_like(factors), 1 / xp.where(is_small > 0, 1, factors))
    divided = sum_up(weights * coefficients)

    def pull(*terms):
        def pull_block(gradient, block):
            if 1 < k <= MAX_UNROLLED_PROOFS and num_outputs > 1:
                # As one array, they would be written down for all columns before they are used (sum2: 1.2 ms, not 0.8).
                has = list(zip(*([bit for bit, _ in _block(inverse, proof, block)] for proof in bits), strict=True))
            else:
                has = [bit for bit, _ in _block(inverse, bits, block)]
            scales = [[scale for _, scale in _block(values, bits[0], block)] for values, _ in terms]
            columns = [
                functools.reduce(xp.add, [total(bit) * scale for scale, (_, total) in zip(factor, terms, strict=True)])
                for bit, *factor in zip(has, *scales, strict=True)
            ]
            rows = xp.stack(columns, -2)
            if each_output:
                return xp.write_slice(gradient, rows, block * _COLUMNS_AT_ONCE, 1)
            # A product with ones is how the sum over outputs is fast on CPUs.
            rows = rows.reshape(num_outputs, _COLUMNS_AT_ONCE * batch)
            total = rows if num_outputs == 1 else xp.ones((1, num_outputs), rows.dtype) @ rows
            total = total.reshape(_COLUMNS_AT_ONCE, batch)
            return xp.write_slice(gradient, total, block * _COLUMNS_AT_ONCE, 0)

        # A step is long: written out for each block, it would take seconds to compile.
        start = batch_constant(factors, (num_outputs, len(factors)), 0) if each_output else xp.zeros_like(factors)
        return _for_blocks(xp, sections, pull_block, start, most_unrolled=1)

    def with_small():
        count = weights_of(1 + is_small)
        others = weights_of(xp.where(is_small > 0, xp.ones_like(factors), factors))
        # One small factor counts 2, others 1.
        alone = sum_up(xp.where(count == 2, others * coefficients, xp.zeros_like(others)))
        return pull((inverse, divided), (is_small, alone))

    gradient = xp.cond(is_small.any(), with_small, lambda: pull((inverse, divided)))
    gradient = xp.concatenate([gradient, xp.zeros_like(gradient[..., :1, :])], -2)
    # -1 is the row of zeros at the end.
    positive, negated = (xp.read(gradient, (..., places, slice(None))) for places in literals.column_of)
    return positive - negated
