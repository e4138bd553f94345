"""Weighted model counting of proof sets, exact for the proofs kept.

Literals are independent, or (`grouped`) the members of an exclusive group are the outcomes of one variable, whose
residual outcome has the probability 1 - Σp.
"""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, UInt32

from scallax.kernels.batches import batch_constant
from scallax.provenance.base import LiteralTable
from scallax.provenance.dnf import ProofSets, Sections

# Numbers held at once: terms of inclusion-exclusion times outputs and batch, and for its gradient times columns / 8.
_MAX_NUMBERS = 1 << 24
_MAX_GRADIENT_NUMBERS = 1 << 20

# Columns whose factors one step multiplies; divides the 32 bits of a word.
_COLUMNS_AT_ONCE = 8

# Blocks of columns up to which loops over them are written out.
_MAX_UNROLLED = 4

# Products are not divided by factors below this.
_SMALL = 1e-18

Count = Callable[[ProofSets, LiteralTable], Float[Array, "outputs batch"]]


def clause_weights(
    bits: UInt32[Array, "... words batch"], literals: LiteralTable, sections: Sections, grouped: bool
) -> Float[Array, "... batch"]:
    """The probability that all literals of a clause are true together; 1 for the empty clause, 0 for a contradiction.

    Differentiable in the literals' probabilities; gradients are leave-one-out products, finite at 0 and 1. Cost is
    linear in the columns.
    """
    if grouped and sections.has_groups:
        return _grouped_weights(bits, literals, sections)
    own = bits[..., : sections.identity, :]
    found = _products(sections, literals.probabilities, own, literals.columns, literals.column_of)
    weights = cast(Array, found)
    if not sections.both:
        return weights
    return jnp.where(sections.contradict_by_polarity(bits), jnp.zeros_like(weights), weights)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _products(sections, p, bits, columns, column_of):
    """`[..., batch]`: the product of the probabilities of the literals whose bits are set."""
    return _multiply(sections, _factors(sections, p, columns), bits)


def _products_forward(sections, p, bits, columns, column_of):
    weights = _products(sections, p, bits, columns, column_of)
    return weights, (p, bits, columns, column_of, weights)


def _products_backward(sections, saved, cotangent):
    p, bits, columns, column_of, weights = saved
    return _pull_products(sections, p, bits, columns, column_of, weights, cotangent), None, None, None


_products.defvjp(_products_forward, _products_backward)


def _pull_products(sections, p, bits, columns, column_of, weights, cotangent):
    """The gradient of p: a clause's weight divided by a factor is the product of the others, unless it is small.

    Of a clause with one small factor, the derivative by it is the product of the others. With two or more, those by
    the small ones are at most `_SMALL` times the others, and taken as 0.
    """
    factors = _factors(sections, p, columns)
    is_small = (jnp.abs(factors) < _SMALL).astype(factors.dtype)

    def product_of_others():
        count = _multiply(sections, 1 + is_small, bits)
        others = _multiply(sections, jnp.where(is_small > 0, jnp.ones_like(factors), factors), bits)
        # One small factor counts 2, others 1.
        return jnp.where(count == 2, others * cotangent, jnp.zeros_like(others))

    alone = lax.cond(is_small.any(), product_of_others, lambda: jnp.zeros_like(weights))
    divided = weights * cotangent
    inverse = jnp.where(is_small > 0, jnp.zeros_like(factors), 1 / jnp.where(is_small > 0, 1, factors))

    def pull_back(gradient, block):
        shares = []
        for (bit, scale), (_, small) in zip(_block(inverse, bits, block), _block(is_small, bits, block), strict=True):
            shares.append(jnp.where(bit, divided * scale + alone * small, jnp.zeros_like(divided)))
        # A product with ones is how the sum over clauses is fast on CPUs.
        rows = jnp.stack(shares, -2).reshape(-1, _COLUMNS_AT_ONCE * p.shape[1])
        total = (jnp.ones((1, rows.shape[0]), p.dtype) @ rows).reshape(_COLUMNS_AT_ONCE, -1)
        return lax.dynamic_update_slice_in_dim(gradient, total, block * _COLUMNS_AT_ONCE, 0)

    gradient = _for_blocks(sections, pull_back, jnp.zeros_like(factors))
    gradient = jnp.concatenate([gradient, batch_constant(gradient, (1,), 0)])
    # -1 is the row of zeros at the end.
    by_polarity = gradient.at[column_of].get(mode="promise_in_bounds")
    return by_polarity[0] - by_polarity[1]


def _factors(sections: Sections, p, columns) -> Float[Array, "columns batch"]:
    """The probability of the literal of each column, in its polarity."""
    p = p.at[columns].get(mode="clip")
    is_positive = np.arange(32 * sections.identity) < 32 * sections.positive
    return jnp.where(is_positive[:, None], p, 1 - p)


def _multiply(sections: Sections, factors, bits):
    """The product of the factors `[columns, batch]` whose bits `[..., words, batch]` are set."""

    def multiply(product, block):
        for bit, factor in _block(factors, bits, block):
            product = product * jnp.where(bit, factor, jnp.ones_like(factor))
        return product

    return _for_blocks(sections, multiply, batch_constant(factors, bits.shape[:-2], 1))


def _for_blocks(sections: Sections, step, state):
    """The state after a step for each block of columns in use."""
    blocks = sections.blocks(_COLUMNS_AT_ONCE)
    if len(blocks) <= _MAX_UNROLLED:
        for block in blocks:
            state = step(state, jnp.int32(block))
        return state
    numbers = jnp.asarray(blocks, jnp.int32)
    return lax.fori_loop(0, len(blocks), lambda index, state: step(state, numbers[index]), state)


def _block(values, bits, block):
    """For each column of a block: whether a clause has it `[..., batch]`, and its value there."""
    word = lax.dynamic_index_in_dim(bits, block * _COLUMNS_AT_ONCE // 32, bits.ndim - 2, keepdims=False)
    word = word >> (block * _COLUMNS_AT_ONCE % 32).astype(jnp.uint32)
    values = lax.dynamic_slice_in_dim(values, block * _COLUMNS_AT_ONCE, _COLUMNS_AT_ONCE)
    for column in range(_COLUMNS_AT_ONCE):
        yield (word >> jnp.uint32(column)) & jnp.uint32(1) != 0, jnp.broadcast_to(values[column], word.shape)


def _grouped_weights(bits, literals: LiteralTable, sections: Sections):
    """Members of a group are consecutive: what a clause says of a group is carried until its last member.

    A group contributes p of the one member that is chosen, 0 if two are, and else 1 - Σp of the excluded ones.
    """
    p = literals.probabilities
    ones = batch_constant(p, bits.shape[:-2], 1)

    def step(carry, inputs):
        product, chosen, excluded, count = carry
        (positive_column, negated_column), value, end = inputs
        value = jnp.broadcast_to(value, product.shape)
        positive = _has(bits, positive_column)
        chosen = chosen + jnp.where(positive, value, jnp.zeros_like(value))
        count = count + positive.astype(jnp.int32)
        if sections.negated:
            negated = _has(bits, negated_column)
            excluded = excluded + jnp.where(negated, value, jnp.zeros_like(value))
            count = count + 2 * (positive & negated).astype(jnp.int32)
        factor = jnp.where(count == 0, 1 - excluded, jnp.where(count == 1, chosen, jnp.zeros_like(chosen)))
        return (
            jnp.where(end, product * factor, product),
            jnp.where(end, jnp.zeros_like(chosen), chosen),
            jnp.where(end, jnp.zeros_like(excluded), excluded),
            jnp.where(end, jnp.zeros_like(count), count),
        ), None

    start = (ones, jnp.zeros_like(ones), jnp.zeros_like(ones), jnp.zeros_like(ones, jnp.int32))
    (weights, *_), _ = lax.scan(step, start, (literals.column_of.T, p, literals.group_end))
    return weights


def _has(bits: UInt32[Array, "... words batch"], column) -> Bool[Array, "... batch"]:
    """Whether a clause has the literal of a column; -1 is no column."""
    word = lax.dynamic_index_in_dim(bits, jnp.maximum(column, 0) // 32, bits.ndim - 2, keepdims=False)
    bit = (word >> (jnp.maximum(column, 0) % 32).astype(jnp.uint32)) & jnp.uint32(1) != 0
    return bit & (column >= 0)


def count_proofs(
    proofs: ProofSets, literals: LiteralTable, sections: Sections, grouped: bool, otherwise: Count
) -> Float[Array, "outputs batch"]:
    """The probability that some proof of an output is true, differentiable in the literals' probabilities.

    `1 - Π (1 - w)` if in no output two proofs share a variable, which then are independent; else what `otherwise` says.
    """
    if grouped and sections.has_groups:
        # The members of a group depend on each other even if no literal is shared.
        return otherwise(proofs, literals)
    used = proofs.weights != -jnp.inf
    bits = jnp.where(used[..., None, :], proofs.bits, jnp.uint32(0))
    is_independent = ~sections.share_variables(bits).any()

    weights = jnp.where(used, proofs.weights, jnp.zeros_like(proofs.weights))
    own = bits[..., : sections.identity, :]

    def general(p):
        return otherwise(proofs, replace(literals, probabilities=p))

    @jax.custom_vjp
    def count(p):
        return lax.cond(is_independent, lambda p: _some(weights), general, p)

    def pull_independent(p, cotangent):
        (pulled,) = jax.vjp(_some, weights)[1](cotangent)
        return _pull_products(sections, p, own, literals.columns, literals.column_of, weights, pulled)

    def pull_general(p, cotangent):
        return jax.vjp(general, p)[1](cotangent)[0]

    def count_backward(p, cotangent):
        return (lax.cond(is_independent, pull_independent, pull_general, p, cotangent),)

    count.defvjp(lambda p: (count(p), p), count_backward)
    return count(literals.probabilities)


def _some(weights: Float[Array, "outputs proofs batch"]) -> Float[Array, "outputs batch"]:
    """That one of some independent events happens; leave-one-out products as gradient, by plain multiplications.

    Summed up event by event: 1 - Π (1 - w) would lose the digits of small weights.
    """
    some = jnp.zeros_like(weights[:, 0])
    for proof in range(weights.shape[1]):
        some = some + weights[:, proof] * (1 - some)
    return some


def inclusion_exclusion(
    proofs: ProofSets, literals: LiteralTable, sections: Sections, grouped: bool
) -> Float[Array, "outputs batch"]:
    """The probability that some proof of an output is true: signed weights of the unions of all subsets of proofs.

    For at most 10 proofs (2^k terms; relative error about 3e-6 in float32 at 10). Differentiable in the literals'
    probabilities.
    """
    num_outputs, k, _, batch = proofs.bits.shape

    def count(p, weights, bits):
        return _signed_unions(weights, bits, replace(literals, probabilities=p), sections, grouped)

    @jax.custom_vjp
    def total(p):
        if num_outputs * batch * sections.total << k <= _MAX_NUMBERS:
            return count(p, proofs.weights, proofs.bits)
        return lax.map(lambda output: count(p, output[0][None], output[1][None])[0], (proofs.weights, proofs.bits))

    def total_backward(p, cotangent):
        blocks = len(sections.blocks(_COLUMNS_AT_ONCE))
        if blocks * num_outputs * batch << k <= _MAX_GRADIENT_NUMBERS:
            return jax.vjp(lambda p: count(p, proofs.weights, proofs.bits), p)[1](cotangent)

        def add(gradient, output):
            weights, bits, cotangent = output
            pulled = jax.vjp(lambda p: count(p, weights[None], bits[None]), p)[1](cotangent[None])
            return gradient + pulled[0], None

        return (lax.scan(add, jnp.zeros_like(p), (proofs.weights, proofs.bits, cotangent))[0],)

    total.defvjp(lambda p: (total(p), p), total_backward)
    return total(literals.probabilities)


def _signed_unions(weights, bits, literals, sections, grouped):
    k = weights.shape[-2]
    valid = weights != -jnp.inf
    unions = jnp.zeros_like(bits[None, :, 0])
    exists = jnp.ones_like(valid[None, :, 0])
    for proof in range(k):
        unions = jnp.concatenate([unions, unions | bits[None, :, proof]])
        exists = jnp.concatenate([exists, exists & valid[None, :, proof]])
    terms = clause_weights(unions[1:], literals, sections, grouped)
    size = np.array([bin(subset).count("1") for subset in range(1, 1 << k)])
    sign = jnp.asarray(np.where(size % 2 == 1, 1.0, -1.0), terms.dtype)
    # A term that does not exist has a finite weight, so that `where` has a finite gradient.
    return (sign[:, None, None] * jnp.where(exists[1:], terms, jnp.zeros_like(terms))).sum(0)
