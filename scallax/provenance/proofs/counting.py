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
from scallax.provenance.proofs.columns import along, rank_clauses, used_columns
from scallax.provenance.proofs.dnf import ProofSets, Sections, scan_proofs, trim
from scallax.provenance.proofs.ranks import add_ranks, is_proof, rank_weights
from scallax.provenance.traits import MAX_INCLUSION_EXCLUSION, MAX_UNROLLED_PROOFS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped, UInt32

    from scallax.kernels.array_namespace import Array

# Numbers held at once: terms of inclusion-exclusion times outputs and batch, and fewer for its gradient, which holds
# some times as many.
_MAX_NUMBERS = 1 << 24
_MAX_GRADIENT_NUMBERS = 1 << 20
# The same, where they are computed at once.
_MAX_NUMBERS_AT_ONCE = 1 << 22

# Columns whose factors one step multiplies; divides the 32 bits of a word.
_COLUMNS_AT_ONCE = 8

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
    if xp.is_eager:
        return rank_clauses(bits, literals, sections)
    ranks = rank_weights(_factors(sections, literals.probabilities, literals.columns))

    def add(total, block):
        for bit, rank in zip(_has_columns(bits, block), _block(ranks, block, total.shape), strict=True):
            total = add_ranks(total, xp.where(bit, rank, 0))
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
    if xp.is_eager:
        columns, has = used_columns(bits)
        ones = np.ones_like(factors, shape=())
        # Along the first axis one factor after the other, as compiled code multiplies them.
        return np.where(has, along(factors[columns], has), ones).prod(0, dtype=factors.dtype)

    def multiply(product, block):
        for bit, factor in zip(_has_columns(bits, block), _block(factors, block, product.shape), strict=True):
            product = product * xp.where(bit, factor, 1)
        return product

    return _for_blocks(xp, sections, multiply, batch_constant(factors, bits.shape[:-2], 1))


def _for_blocks(xp: Namespace, sections: Sections, step, state):
    """The state after a step for each block of columns in use.

    A step is long: written out for each block, it would take seconds to compile.
    """
    blocks = sections.blocks(_COLUMNS_AT_ONCE)
    if len(blocks) <= 1:
        return functools.reduce(step, map(xp.int32, blocks), state)
    numbers = xp.asarray(blocks, xp.int32)
    return xp.loop(len(blocks), lambda index, state: step(state, numbers[index]), state)


def _has_columns(bits, block) -> list[Bool[Array, "... batch"]]:
    """For each column of a block whether a clause has it."""
    xp = array_namespace(bits)
    word = xp.index_axis(bits, block * _COLUMNS_AT_ONCE >> 5, bits.ndim - 2)
    word = word >> (block * _COLUMNS_AT_ONCE & 31).astype(xp.uint32)
    return [(word & np.uint32(1 << column)) != 0 for column in range(_COLUMNS_AT_ONCE)]


def _block(values: Shaped[Array, "columns batch"], block, shape: tuple[int, ...]) -> list[Shaped[Array, "... batch"]]:
    """The value of each column of a block, repeated for a shape."""
    xp = array_namespace(values)
    found = xp.slice_rows(values, block * _COLUMNS_AT_ONCE, _COLUMNS_AT_ONCE)
    return [xp.broadcast_to(value, shape) for value in _split(found)]


def _split(values: Shaped[Array, "rows ..."]) -> list[Array]:
    return [values[row] for row in range(len(values))]


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
    word = xp.index_axis(bits, xp.maximum(column, 0) >> 5, bits.ndim - 2)
    bit = (word >> (xp.maximum(column, 0) & 31).astype(xp.uint32)) & xp.uint32(1) != 0
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
    if xp.is_eager:
        return _count_at_once(proofs, literals, sections, otherwise)
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

    def count_backward(kept, cotangent):
        p, weights = kept
        if used.shape[1] <= MAX_UNROLLED_PROOFS:
            weighed, table = proofs._replace(weights=weights), replace(literals, probabilities=p)
            return (_pull_sets(weighed, table, sections, is_independent, cotangent),)
        return (xp.cond(is_independent, pull_independent, pull_general, p, weights, cotangent),)

    def pull_independent(p, weights, cotangent):
        (pulled,) = xp.vjp(_some, weights)[1](cotangent)
        return _pull_proofs(sections, literals, _factors(sections, p, literals.columns), weights, own, pulled)

    def pull_general(p, _, cotangent):
        return xp.vjp(general, p)[1](cotangent)[0]

    return xp.custom_vjp(lambda p: count_forward(p)[0], count_forward, count_backward)(literals.probabilities)


def _count_at_once(
    proofs: ProofSets, literals: LiteralTable, sections: Sections, otherwise: Count
) -> Float[np.ndarray, "outputs batch"]:
    """`count_proofs` of independent literals, where values may be looked at: each output in the way that it needs."""
    proofs = trim(proofs)
    bits = np.where(is_proof(proofs.ranks)[..., None, :], proofs.bits, np.uint32(0))
    factors = _factors(sections, literals.probabilities, literals.columns)
    values = _some(_weigh_proofs(proofs, sections, factors, bits[..., : sections.identity, :]))
    # `[outputs, batch]`: how many proofs there are, where they depend on each other.
    counts = np.where(sections.share_variables(bits), is_proof(proofs.ranks).sum(1), 0)
    for count in sorted(set(counts[counts > 0].tolist())):
        sample, output = (count == counts.T).nonzero()
        terms = sections.total << min(count, MAX_INCLUSION_EXCLUSION)
        size = max(1, _MAX_NUMBERS_AT_ONCE // max(terms, len(literals.probabilities)))
        for start in range(0, len(output), size):
            at = output[start : start + size], sample[start : start + size]
            # Outputs stand where samples do, each with its own probabilities.
            chosen = ProofSets(
                np.moveaxis(proofs.ranks[at[0], :count, at[1]], 0, -1)[None],
                np.moveaxis(proofs.bits[at[0], :count, :, at[1]], 0, -1)[None],
            )
            values[at] = otherwise(chosen, replace(literals, probabilities=literals.probabilities[:, at[1]]))[0]
    return values


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

    def weigh():
        return _weigh_proofs(proofs, sections, factors, own)

    if dependence is Dependence.EXCLUSIVE:
        weights = weigh()
        ones = xp.ones_like(weights)
        return weights.sum(1), _pull_proofs(sections, literals, factors, weights, own, ones, each_output=True)
    if dependence is Dependence.MIXED:
        return _count_sets(proofs, literals, sections, None, each_output=True)
    is_independent = ~sections.share_variables(bits).any()
    # In a branch of their own they are kept: fused into the derivatives, they would be multiplied again for each use.
    weights = xp.cond(is_independent, weigh, lambda: batch_constant(factors, used.shape[:-1], 0))
    return _count_sets(proofs._replace(weights=weights), literals, sections, is_independent, each_output=True)


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

    def total(p):
        if num_outputs * batch * sections.total << k <= _MAX_NUMBERS:
            return count(p, used, proofs.bits)
        return xp.map_rows(lambda output: count(p, output[0][None], output[1][None])[0], (used, proofs.bits))

    def total_backward(p, cotangent):
        if not is_grouped:
            return (_pull_sets(proofs, replace(literals, probabilities=p), sections, None, cotangent),)

        def pull(proofs, cotangent):
            return xp.vjp(lambda p: count(p, is_proof(proofs.ranks), proofs.bits), p)[1](cotangent)[0]

        return (_add_outputs(pull, p, proofs, cotangent),)

    return xp.custom_vjp(total, lambda p: (total(p), p), total_backward)(literals.probabilities)


def _pull_sets(
    proofs: ProofSets,
    literals: LiteralTable,
    sections: Sections,
    is_independent: Bool[Array, ""] | None,
    cotangent: Float[Array, "outputs batch"],
) -> Float[Array, "literals batch"]:
    """The gradient of the literals' probabilities for a cotangent of the counts of `_count_sets`."""

    def pull(proofs, cotangent):
        return _count_sets(proofs, literals, sections, is_independent, cotangent)[1]

    return _add_outputs(pull, literals.probabilities, proofs, cotangent)


def _add_outputs(
    pull: Callable[[ProofSets, Array], Array], like: Array, proofs: ProofSets, cotangent: Float[Array, "outputs batch"]
) -> Array:
    """The sum over outputs of `pull(proofs, cotangent)`, an array like `like`: one by one if they are many."""
    xp = array_namespace(like)
    num_outputs, k, batch = proofs.ranks.shape
    if num_outputs * batch << k <= _MAX_GRADIENT_NUMBERS:
        return pull(proofs, cotangent)

    def add(gradient, output):
        return gradient + pull(*xp.map(lambda leaf: leaf[None], output)), None

    return xp.scan(add, xp.zeros_like(like), (proofs, cotangent))[0]


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

    def alone(is_small):
        return (
            _weigh_one_small(lambda factors: _multiply(sections, factors, by_proof), factors, is_small) * coefficients
        )

    return _pull_columns(
        sections, literals, factors, by_proof, found * coefficients, alone, _add_up, each_output=each_output
    )


def _count_sets(
    proofs: ProofSets,
    literals: LiteralTable,
    sections: Sections,
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
    factors = _factors(sections, literals.probabilities, literals.columns)
    exists, unions = _unions(used, proofs.bits)
    signs = _signs(xp, used.shape[1], factors.dtype)
    scale = xp.ones((1, 1, 1), factors.dtype) if cotangent is None else cotangent[None]

    def weigh(factors):
        return _weigh_unions(sections, factors, unions)

    def by_unions():
        found = weigh(factors)
        signed = signs * xp.where(exists, found, xp.zeros_like(found))
        return signed.sum(0), _sums_of_hit_sets(signed * scale)

    def by_proofs():
        assert proofs.weights is not None
        values, by_weight = count_independent(proofs.weights)
        return values, _sums_of_members(xp.moveaxis(proofs.weights * by_weight, 1, 0) * scale)

    values, table = by_unions() if is_independent is None else xp.cond(is_independent, by_proofs, by_unions)

    def alone(is_small):
        found = _weigh_one_small(weigh, factors, is_small)
        return _sums_of_hit_sets(signs * xp.where(exists, found, xp.zeros_like(found)) * scale)

    by_proof = xp.moveaxis(xp.where(used[..., None, :], proofs.bits, xp.uint32(0)), 1, 0)
    gradient = _pull_columns(sections, literals, factors, by_proof, table, alone, _look_up, each_output=each_output)
    return values, gradient


def _weigh_one_small(weigh: Callable[[Array], Array], factors, is_small) -> Float[Array, "clauses outputs batch"]:
    """The weights of the clauses with one small factor, without it; 0 for the others."""
    xp = array_namespace(factors)
    count, others = xp.map_rows(weigh, xp.stack([1 + is_small, xp.where(is_small > 0, 1, factors)]))
    # One small factor counts 2, others 1.
    return xp.where(count == 2, others, xp.zeros_like(others))


def _sums_of_members(terms: Float[Array, "proofs outputs batch"]) -> Float[Array, "patterns outputs batch"]:
    """For every set of proofs the sum of their terms."""
    xp = array_namespace(terms)
    sums = xp.zeros_like(terms[:1])
    for term in _split(terms):
        sums = xp.concatenate([sums, sums + term[None]])
    return sums


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
    entries = _split(table)
    for bit in has:
        entries = [xp.where(bit, odd, even) for even, odd in zip(entries[::2], entries[1::2], strict=True)]
    return entries[0]


def _pull_columns(
    sections: Sections,
    literals: LiteralTable,
    factors: Float[Array, "columns batch"],
    bits: UInt32[Array, "proofs outputs words batch"],
    terms: Shaped[Array, "terms outputs batch"],
    alone: Callable[[Array], Array],
    sum_up: Callable[[Array, Has], Array],
    each_output: bool,
) -> Float[Array, "literals batch"] | Float[Array, "outputs literals batch"]:
    """The gradient of a sum of weights of clauses, each times its coefficient; of all outputs, or of each.

    `sum_up(terms, has)` adds up the terms of clauses with a literal, given which proofs `[proofs, outputs, batch]` have
    it. `terms` are those of weights times coefficients, and `alone(is_small)` those of the clauses with one small
    factor, without it.

    A weight divided by a factor is the product of the others, unless it is small. For a clause with one small factor,
    the derivative by it is the product of the others. With two or more, those by the small ones are at most `_SMALL`
    times the others, and taken as 0.
    """
    xp = literals.xp
    k, num_outputs, _, batch = bits.shape
    is_small = (xp.abs(factors) < _SMALL).astype(factors.dtype)
    inverse = xp.where(is_small > 0, 0, 1 / xp.where(is_small > 0, 1, factors))

    def pull(scales, terms, gradient):
        def pull_block(gradient, block):
            if 1 < k <= MAX_UNROLLED_PROOFS and num_outputs > 1:
                # As one array, they would be written down for all columns before they are used (sum2: 1.2 ms, not 0.8).
                has = list(zip(*(_has_columns(proof, block) for proof in bits), strict=True))
            else:
                has = _has_columns(bits, block)
            scale = _block(scales, block, (num_outputs, batch))
            columns = [sum_up(terms, bit) * each for bit, each in zip(has, scale, strict=True)]
            rows = xp.stack(columns, -2)
            axis = 1 if each_output else 0
            if not each_output:
                # A product with ones is how the sum over outputs is fast on CPUs.
                rows = rows.reshape(num_outputs, _COLUMNS_AT_ONCE * batch)
                rows = rows if num_outputs == 1 else xp.ones((1, num_outputs), rows.dtype) @ rows
                rows = rows.reshape(_COLUMNS_AT_ONCE, batch)
            start = block * _COLUMNS_AT_ONCE
            rows += xp.slice_rows(gradient, start, _COLUMNS_AT_ONCE, axis)
            return xp.write_slice(gradient, rows, start, axis)

        return _for_blocks(xp, sections, pull_block, gradient)

    def add(number, gradient):
        # All factors, then the small ones if there are any: one code for both.
        scales, found = xp.cond(number == 0, lambda: (inverse, terms), lambda: (is_small, alone(is_small)))
        return pull(scales, found, gradient)

    start = batch_constant(factors, (num_outputs, len(factors)), 0) if each_output else xp.zeros_like(factors)
    gradient = xp.loop(1 + is_small.any().astype(xp.int32), add, start)
    gradient = xp.concatenate([gradient, xp.zeros_like(gradient[..., :1, :])], -2)
    # -1 is the row of zeros at the end.
    positive, negated = (xp.read(gradient, (..., places, slice(None))) for places in literals.column_of)
    return positive - negated
