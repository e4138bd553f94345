"""Weighted model counting of proof sets, exact for the proofs kept.

Literals are independent, or (`grouped`) the members of an exclusive group are the outcomes of one variable, whose
residual outcome has the probability 1 - Σp.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32

from scallax.kernels.batches import batch_constant
from scallax.provenance.base import LiteralTable
from scallax.provenance.dnf import ProofSets, Sections

# Numbers held at once for the gradient of inclusion-exclusion: literals times terms, outputs and batch.
_MAX_NUMBERS = 1 << 24


def clause_weights(
    bits: UInt32[Array, "... words batch"], literals: LiteralTable, sections: Sections, grouped: bool
) -> Float[Array, "... batch"]:
    """The probability that all literals of a clause are true together; 1 for the empty clause, 0 for a contradiction.

    Differentiable in the literals' probabilities; gradients are leave-one-out products, finite at 0 and 1. Cost is
    linear in the program's literals.
    """
    if grouped:
        return _grouped_weights(bits, literals, sections)
    return _independent_weights(sections, literals.probabilities, bits, literals.count)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _independent_weights(sections, p, bits, count):
    def multiply(literal, product):
        return product * _factor(sections, p, bits, literal)

    return lax.fori_loop(jnp.int32(0), count, multiply, _ones(p, bits))


def _independent_forward(sections, p, bits, count):
    return _independent_weights(sections, p, bits, count), (p, bits, count)


def _independent_backward(sections, saved, cotangent):
    """`d weight / d p[l]` is the product of the factors before and after `l`: prefixes are kept, suffixes carried."""
    p, bits, count = saved
    ones = _ones(p, bits)

    def keep_prefix(literal, state):
        product, prefixes = state
        prefixes = lax.dynamic_update_index_in_dim(prefixes, product, literal, 0)
        return product * _factor(sections, p, bits, literal), prefixes

    prefixes = batch_constant(ones, (p.shape[0], *ones.shape[:-1]), 0)
    _, prefixes = lax.fori_loop(jnp.int32(0), count, keep_prefix, (ones, prefixes))

    def pull_back(step, state):
        suffix, gradient = state
        literal = count - 1 - step
        others = suffix * lax.dynamic_index_in_dim(prefixes, literal, 0, keepdims=False)
        share = jnp.where(_has(sections.positive(bits), literal), others, jnp.zeros_like(others))
        if sections.has_negation:
            positive, negated = _has(sections.positive(bits), literal), _has(sections.negated(bits), literal)
            share = jnp.where(negated, jnp.where(positive, jnp.zeros_like(others), -others), share)
        # A product with ones is how the sum over clauses is fast on CPUs.
        rows = share.reshape(-1, share.shape[-1])
        total = jnp.ones((1, rows.shape[0]), p.dtype) @ rows
        gradient = lax.dynamic_update_slice_in_dim(gradient, total, literal, 0)
        return suffix * _factor(sections, p, bits, literal), gradient

    _, gradient = lax.fori_loop(jnp.int32(0), count, pull_back, (cotangent, jnp.zeros_like(p)))
    return gradient, None, None


_independent_weights.defvjp(_independent_forward, _independent_backward)


def _factor(sections: Sections, p, bits, literal):
    """What a literal contributes to the weight of each clause `[..., batch]`."""
    positive = _has(sections.positive(bits), literal)
    value = jnp.broadcast_to(lax.dynamic_index_in_dim(p, literal, 0, keepdims=False), positive.shape)
    factor = jnp.where(positive, value, jnp.ones_like(value))
    if not sections.has_negation:
        return factor
    complement = jnp.where(positive, jnp.zeros_like(value), 1 - value)
    return jnp.where(_has(sections.negated(bits), literal), complement, factor)


def _has(words: UInt32[Array, "... words batch"], literal: Int[Array, ""]) -> Bool[Array, "... batch"]:
    word = lax.dynamic_index_in_dim(words, literal // 32, words.ndim - 2, keepdims=False)
    return (word >> (literal % 32).astype(jnp.uint32)) & jnp.uint32(1) != 0


def _ones(p, bits):
    return batch_constant(p, (*bits.shape[:-2],), 1)


def _grouped_weights(bits, literals: LiteralTable, sections: Sections):
    """Members of a group are consecutive: what a clause says of a group is carried until its last member.

    A group contributes p of the one member that is chosen, 0 if two are, and else 1 - Σp of the excluded ones.
    """
    p = literals.probabilities
    ones = _ones(p, bits)

    def step(carry, inputs):
        product, chosen, excluded, count = carry
        literal, value, end = inputs
        value = jnp.broadcast_to(value, product.shape)
        positive = _has(sections.positive(bits), literal)
        chosen = chosen + jnp.where(positive, value, jnp.zeros_like(value))
        count = count + positive.astype(jnp.int32)
        if sections.has_negation:
            negated = _has(sections.negated(bits), literal)
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
    indices = jnp.arange(p.shape[0], dtype=jnp.int32)
    (weights, *_), _ = lax.scan(step, start, (indices, p, literals.group_end))
    return weights


def inclusion_exclusion(
    proofs: ProofSets, literals: LiteralTable, sections: Sections, grouped: bool
) -> Float[Array, "outputs batch"]:
    """The probability that some proof of an output is true: signed weights of the unions of all subsets of proofs.

    For at most 10 proofs (2^k terms; relative error about 3e-6 in float32 at 10). Differentiable in the literals'
    probabilities.
    """
    num_outputs, k, _, batch = proofs.bits.shape
    if literals.probabilities.shape[0] * num_outputs * batch << k <= _MAX_NUMBERS:
        return _signed_unions(proofs.weights, proofs.bits, literals, sections, grouped)

    @jax.checkpoint
    def one(output):
        weights, bits = output
        return _signed_unions(weights[None], bits[None], literals, sections, grouped)[0]

    return lax.map(one, (proofs.weights, proofs.bits))


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
