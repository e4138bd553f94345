"""Weighted model counting of proof sets in logarithms: the likeliest proof is taken out of each sum before it is made.

So no sum is less than 1, whatever its proofs weigh; and the derivative by a literal's logarithm is the share of the
terms that have the literal, a sum of numbers of at most 1 without a division for each literal.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.batches import batch_constant
from scallax.kernels.logarithms import is_none, log1mexp
from scallax.provenance.base import LiteralTable
from scallax.provenance.proofs.bit_sets import BitSets
from scallax.provenance.proofs.clause_weights import clause_weights, literal_factors
from scallax.provenance.proofs.clauses import Choice
from scallax.provenance.proofs.counting import MAX_NUMBERS, count_at_once, weigh_proofs
from scallax.provenance.proofs.counting_gradient import (
    add_outputs,
    look_up,
    pull_columns,
    signs_of_sets,
    sums_of_hit_sets,
    sums_of_members,
    unite,
)
from scallax.provenance.proofs.dnf import ProofSets, scan_proofs
from scallax.provenance.proofs.ranks import is_proof
from scallax.provenance.traits import MAX_UNROLLED_PROOFS

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from scallax.kernels.array_namespace import Array

# The logarithm of the largest odds: below the largest number of float32.
_LARGEST = 88.0


def count_logarithms(
    proofs: ProofSets, literals: LiteralTable, sets: BitSets, grouped: bool
) -> Float[Array, "outputs batch"]:
    """The logarithm of the probability that some proof of an output is true, for at most 10 proofs.

    As `counting.count_proofs` and `counting.inclusion_exclusion`; differentiable in the literals' logarithms.
    """
    xp = literals.xp
    is_grouped = grouped and sets.has_groups
    if xp.is_eager and not is_grouped:
        return count_at_once(
            proofs, literals, sets, lambda proofs, table: _by_unions(proofs, table, sets, grouped), log_some
        )
    if is_grouped:
        return _count_grouped(proofs, literals, sets)
    is_independent = ~sets.share_variables(_bits(proofs)).any()

    def count(p):
        table = replace(literals, probabilities=p)

        def independent():
            weights = _weigh(proofs, table, sets)
            return log_some(weights), weights

        def general():
            return _by_unions(proofs, table, sets, False), batch_constant(p, proofs.ranks.shape[:-1], 0)

        value, weights = xp.cond(is_independent, independent, general)
        return value, (p, weights)

    def pull(kept, cotangent):
        p, weights = kept
        table, is_known = replace(literals, probabilities=p), is_independent
        if proofs.ranks.shape[1] > MAX_UNROLLED_PROOFS:
            is_known = None

        def pull_some(proofs, cotangent):
            return _count_sets(proofs, table, sets, is_known, cotangent)[1]

        return (add_outputs(pull_some, p, proofs._replace(weights=weights), cotangent),)

    return xp.custom_vjp(lambda p: count(p)[0], count, pull)(literals.probabilities)


def count_logarithms_with_derivatives(
    proofs: ProofSets, literals: LiteralTable, sets: BitSets, known: Choice | None
) -> tuple[Float[Array, "outputs batch"], Float[Array, "outputs literals batch"]]:
    """`count_logarithms` and its derivatives, of independent literals and at most `MAX_UNROLLED_PROOFS` proofs."""
    xp = literals.xp
    is_independent = ~sets.share_variables(_bits(proofs)).any()
    none = batch_constant(literals.probabilities, proofs.ranks.shape[:-1], 0)
    weights = xp.cond(is_independent, lambda: _weigh(proofs, literals, sets), lambda: none)
    return _count_sets(proofs._replace(weights=weights), literals, sets, is_independent, each_output=True)


def log_some(weights: Float[Array, "outputs proofs batch"]) -> Float[Array, "outputs batch"]:
    """The logarithm of the probability that one of some independent events of these logarithms happens."""
    xp = array_namespace(weights)
    shift, none = _shift(weights.max(1))
    scale = xp.exp(shift)

    def add(some, weight):
        # `some` and `weight` are divided by `scale`.
        return some + weight * (1 - some * scale), None

    parts = xp.exp(weights - shift[:, None])
    total = scan_proofs(xp, add, xp.zeros_like(shift), xp.moveaxis(parts, 1, 0))[0]
    return _logarithm(total, shift, none)


def _shift(largest: Array) -> tuple[Array, Array]:
    """The number that is taken out of sums with these largest terms, and which sums are of nothing."""
    xp = array_namespace(largest)
    largest = xp.stop_gradient(largest)
    none = is_none(largest)
    return xp.where(none, xp.zeros_like(largest), largest), none


def _logarithm(total: Array, shift: Array, none: Array) -> Array:
    xp = array_namespace(total)
    logs = shift + xp.log(xp.where(none, xp.ones_like(total), total))
    return xp.where(none, xp.full_like(logs, -math.inf), logs)


def _bits(proofs: ProofSets) -> Array:
    xp = array_namespace(proofs.ranks)
    return xp.where(is_proof(proofs.ranks)[..., None, :], proofs.members, xp.uint32(0))


def _weigh(proofs: ProofSets, literals: LiteralTable, sets: BitSets) -> Float[Array, "outputs proofs batch"]:
    """The logarithms of the weights of proofs; minus infinity in unused places."""
    own = _bits(proofs)[..., : sets.identity, :]
    return weigh_proofs(proofs, sets, literal_factors(sets, literals), own, is_log=True)


def _terms(
    proofs: ProofSets, literals: LiteralTable, sets: BitSets, grouped: bool
) -> tuple[Float[Array, "sets outputs batch"], Array, Array]:
    """The signed weights of the unions of all sets of proofs, divided by the largest; its logarithm, and if it is 0."""
    xp = literals.xp
    exists, unions = unite(is_proof(proofs.ranks), proofs.members)
    found = xp.where(exists, clause_weights(unions, literals, sets, grouped), -math.inf)
    shift, none = _shift(found.max(0))
    return signs_of_sets(xp, proofs.ranks.shape[1], found.dtype) * xp.exp(found - shift[None]), shift, none


def _by_unions(
    proofs: ProofSets, literals: LiteralTable, sets: BitSets, grouped: bool
) -> Float[Array, "outputs batch"]:
    """The values of `count_logarithms` by inclusion and exclusion."""
    xp = literals.xp
    num_outputs, k, _, batch = proofs.members.shape

    def count(ranks, members):
        terms, shift, none = _terms(ProofSets(ranks, members), literals, sets, grouped)
        return _logarithm(terms.sum(0), shift, none)

    if num_outputs * batch * sets.total << k <= MAX_NUMBERS:
        return count(proofs.ranks, proofs.members)
    return xp.map_rows(lambda output: count(output[0][None], output[1][None])[0], (proofs.ranks, proofs.members))


def _count_grouped(proofs: ProofSets, literals: LiteralTable, sets: BitSets) -> Float[Array, "outputs batch"]:
    """`count_logarithms` where groups are variables: its gradient is that of JAX, output by output if they are many."""
    xp, given = literals.xp, ProofSets(proofs.ranks, proofs.members)

    def count(p, proofs):
        return _by_unions(proofs, replace(literals, probabilities=p), sets, True)

    def pull(p, cotangent):
        def pull_some(proofs, cotangent):
            return xp.vjp(lambda p: count(p, ProofSets(*proofs[:2])), p)[1](cotangent)[0]

        return (add_outputs(pull_some, p, given, cotangent),)

    return xp.custom_vjp(lambda p: count(p, given), lambda p: (count(p, given), p), pull)(literals.probabilities)


def _count_sets(
    proofs: ProofSets,
    literals: LiteralTable,
    sets: BitSets,
    is_independent: Bool[Array, ""] | None,
    cotangent: Float[Array, "outputs batch"] | None = None,
    each_output: bool = False,
) -> tuple[Float[Array, "outputs batch"], Float[Array, "literals batch"] | Float[Array, "outputs literals batch"]]:
    """`counting_gradient.count_sets` of logarithms."""
    xp = literals.xp
    ones = xp.ones_like(literals.probabilities, shape=(1, 1, 1))
    scale = ones if cotangent is None else cotangent[None]

    def by_unions():
        terms, shift, none = _terms(proofs, literals, sets, False)
        total = terms.sum(0)
        shares = terms / xp.where(none, xp.ones_like(total), total)[None]
        return _logarithm(total, shift, none), sums_of_hit_sets(shares * scale)

    def by_proofs():
        assert proofs.weights is not None
        values, pull = xp.vjp(log_some, proofs.weights)
        return values, sums_of_members(xp.moveaxis(pull(xp.ones_like(values))[0], 1, 0) * scale)

    values, table = by_unions() if is_independent is None else xp.cond(is_independent, by_proofs, by_unions)
    p = literals.probabilities
    # The complement of a certain event passes no gradient.
    odds = xp.exp(xp.minimum(xp.where(p < 0, p - log1mexp(p), -math.inf), _LARGEST))
    gradient = pull_columns(
        sets,
        literals,
        # A logarithm is a sum: what it is divided by is 1, and nothing is small.
        batch_constant(p, (32 * sets.identity,), 1),
        xp.moveaxis(_bits(proofs), 1, 0),
        table,
        lambda _: xp.zeros_like(table),
        look_up,
        each_output=each_output,
        of_complement=odds,
    )
    return values, gradient
