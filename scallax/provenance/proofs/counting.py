"""Weighted model counting of proof sets, exact for the proofs kept.

Literals are independent, or (`grouped`) the members of an exclusive group are the outcomes of one variable, whose
residual outcome has the probability 1 - Σp.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.batches import batch_constant
from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.bit_sets import BitSets
from scallax.provenance.proofs.clause_weights import clause_weights, literal_factors, multiply_factors
from scallax.provenance.proofs.clauses import Dependence
from scallax.provenance.proofs.counting_gradient import (
    add_outputs,
    count_independent,
    count_sets,
    pull_proofs,
    pull_sets,
    signs_of_sets,
    some,
    unite,
)
from scallax.provenance.proofs.dnf import ProofSets, trim
from scallax.provenance.proofs.ranks import is_proof
from scallax.provenance.traits import MAX_INCLUSION_EXCLUSION, MAX_UNROLLED_PROOFS

if TYPE_CHECKING:
    from jaxtyping import Float

    from scallax.kernels.array_namespace import Array

# Numbers held at once: terms of inclusion-exclusion times outputs and batch; and where they are computed at once.
MAX_NUMBERS = 1 << 24
_MAX_NUMBERS_AT_ONCE = 1 << 22

# Proofs of all outputs and samples from which independent ones have a gradient of their own.
_MANY_PROOFS = 1 << 11

Count: TypeAlias = "Callable[[ProofSets, LiteralTable], Float[Array, 'outputs batch']]"


def count_proofs(
    proofs: ProofSets, literals: LiteralTable, sets: BitSets, grouped: bool, otherwise: Count
) -> Float[Array, "outputs batch"]:
    """The probability that some proof of an output is true, differentiable in the literals' probabilities.

    `1 - Π (1 - w)` if in no output two proofs share a variable, which then are independent; else what `otherwise` says.
    """
    xp = literals.xp
    if grouped and sets.has_groups:
        # The members of a group depend on each other even if no literal is shared.
        return otherwise(proofs, literals)
    if xp.is_eager:
        return count_at_once(proofs, literals, sets, otherwise)
    used = is_proof(proofs.ranks)
    bits = xp.where(used[..., None, :], proofs.members, xp.uint32(0))
    is_independent = ~sets.share_variables(bits).any()
    own = bits[..., : sets.identity, :]

    def independent(p):
        weights = weigh_proofs(proofs, sets, literal_factors(sets, replace(literals, probabilities=p)), own)
        return some(weights), weights

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
        if used.shape[1] <= MAX_UNROLLED_PROOFS and used.size < _MANY_PROOFS:
            # One code for both compiles in half the time, but runs longer: sums of proofs are looked up too.
            weighed, table = proofs._replace(weights=weights), replace(literals, probabilities=p)
            return (pull_sets(weighed, table, sets, is_independent, cotangent),)
        return (xp.cond(is_independent, pull_independent, pull_general, p, weights, cotangent),)

    def pull_independent(p, weights, cotangent):
        (pulled,) = xp.vjp(some, weights)[1](cotangent)
        return pull_proofs(
            sets, literals, literal_factors(sets, replace(literals, probabilities=p)), weights, own, pulled
        )

    def pull_general(p, _, cotangent):
        return xp.vjp(general, p)[1](cotangent)[0]

    return xp.custom_vjp(lambda p: count_forward(p)[0], count_forward, count_backward)(literals.probabilities)


def count_at_once(
    proofs: ProofSets, literals: LiteralTable, sets: BitSets, otherwise: Count, some: Callable[[Any], Any] = some
) -> Float[np.ndarray, "outputs batch"]:
    """`count_proofs` of independent literals, where values may be looked at: each output in the way that it needs.

    `some` counts independent proofs by their weights.
    """
    proofs = trim(proofs)
    bits = np.where(is_proof(proofs.ranks)[..., None, :], proofs.members, np.uint32(0))
    factors = literal_factors(sets, literals)
    values = some(weigh_proofs(proofs, sets, factors, bits[..., : sets.identity, :], literals.is_log))
    # `[outputs, batch]`: how many proofs there are, where they depend on each other.
    counts = np.where(sets.share_variables(bits), is_proof(proofs.ranks).sum(1), 0)
    for count in sorted(set(counts[counts > 0].tolist())):
        sample, output = (count == counts.T).nonzero()
        terms = sets.total << min(count, MAX_INCLUSION_EXCLUSION)
        size = max(1, _MAX_NUMBERS_AT_ONCE // max(terms, len(literals.probabilities)))
        for start in range(0, len(output), size):
            at = output[start : start + size], sample[start : start + size]
            # Outputs stand where samples do, each with its own probabilities.
            chosen = ProofSets(
                np.moveaxis(proofs.ranks[at[0], :count, at[1]], 0, -1)[None],
                np.moveaxis(proofs.members[at[0], :count, :, at[1]], 0, -1)[None],
            )
            values[at] = otherwise(chosen, literals.of_samples(at[1]))[0]
    return values


def count_with_derivatives(
    proofs: ProofSets,
    literals: LiteralTable,
    sets: BitSets,
    dependence: Dependence,
) -> tuple[Float[Array, "outputs batch"], Float[Array, "outputs literals batch"]]:
    """The probability that some proof of an output is true, and its derivatives by the literals' probabilities.

    The same as `count_proofs` and `inclusion_exclusion` for independent literals and at most `MAX_UNROLLED_PROOFS`
    proofs, but the weights are computed once.
    """
    xp = literals.xp
    used = is_proof(proofs.ranks)
    bits = xp.where(used[..., None, :], proofs.members, xp.uint32(0))
    own = bits[..., : sets.identity, :]
    factors = literal_factors(sets, literals)

    def weigh():
        return weigh_proofs(proofs, sets, factors, own)

    if dependence is Dependence.EXCLUSIVE:
        weights = weigh()
        ones = xp.ones_like(weights)
        return weights.sum(1), pull_proofs(sets, literals, factors, weights, own, ones, each_output=True)
    if dependence is Dependence.MIXED:
        return count_sets(proofs, literals, sets, None, each_output=True)
    is_independent = ~sets.share_variables(bits).any()
    # In a branch of their own they are kept: fused into the derivatives, they would be multiplied again for each use.
    weights = xp.cond(is_independent, weigh, lambda: batch_constant(factors, used.shape[:-1], 0))
    if used.size < _MANY_PROOFS:
        return count_sets(proofs._replace(weights=weights), literals, sets, is_independent, each_output=True)

    def independent():
        values, by_weight = count_independent(weights)
        return values, pull_proofs(sets, literals, factors, weights, own, by_weight, each_output=True)

    return xp.cond(is_independent, independent, lambda: count_sets(proofs, literals, sets, None, each_output=True))


def weigh_proofs(
    proofs: ProofSets, sets: BitSets, factors, own, is_log: bool = False
) -> Float[Array, "outputs proofs batch"]:
    """The weights of proofs with the literals `own`, 0 in unused places; or their logarithms."""
    xp = array_namespace(factors)
    if proofs.weights is not None:
        return proofs.weights
    found = multiply_factors(sets, factors, own, is_log)
    return xp.where(is_proof(proofs.ranks), found, xp.full_like(found, -np.inf if is_log else 0))


def inclusion_exclusion(
    proofs: ProofSets, literals: LiteralTable, sets: BitSets, grouped: bool
) -> Float[Array, "outputs batch"]:
    """The probability that some proof of an output is true: signed weights of the unions of all subsets of proofs.

    `P(∨ F_i) = Σ over the sets S but the empty one of (-1)^(|S| + 1) P(∧ of the proofs in S)`. For at most 10 proofs
    (2^k terms; relative error about 3e-6 in float32 at 10). Differentiable in the literals' probabilities.
    """
    xp = literals.xp
    num_outputs, k, _, batch = proofs.members.shape
    is_grouped, used = grouped and sets.has_groups, is_proof(proofs.ranks)

    def count(p, used, bits):
        table = replace(literals, probabilities=p)
        exists, unions = unite(used, bits)
        found = clause_weights(unions, table, sets, grouped)
        # A term that does not exist has a finite weight, so that `where` has a finite gradient.
        return (signs_of_sets(xp, k, found.dtype) * xp.where(exists, found, xp.zeros_like(found))).sum(0)

    def total(p):
        if num_outputs * batch * sets.total << k <= MAX_NUMBERS:
            return count(p, used, proofs.members)
        return xp.map_rows(lambda output: count(p, output[0][None], output[1][None])[0], (used, proofs.members))

    def total_backward(p, cotangent):
        if not is_grouped:
            return (pull_sets(proofs, replace(literals, probabilities=p), sets, None, cotangent),)

        def pull(proofs, cotangent):
            return xp.vjp(lambda p: count(p, is_proof(proofs.ranks), proofs.members), p)[1](cotangent)[0]

        return (add_outputs(pull, p, proofs, cotangent),)

    return xp.custom_vjp(total, lambda p: (total(p), p), total_backward)(literals.probabilities)
