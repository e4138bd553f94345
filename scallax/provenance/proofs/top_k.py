"""Top-k proofs: a tag is the k most probable proofs of a tuple (Huang et al., Scallop, NeurIPS 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import COMPLEMENT, LINEAR, NODES
from scallax.kernels.tiles import stack_rows
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.proofs.bit_sets import BitSets
from scallax.provenance.proofs.clauses import (
    Choice,
    Dependence,
    best_proofs,
    dependence,
    leaf_bits,
    list_proofs,
    pull_independent,
)
from scallax.provenance.proofs.column_lists import ColumnLists
from scallax.provenance.proofs.counting import count_proofs, count_with_derivatives, inclusion_exclusion
from scallax.provenance.proofs.counting_gradient import count_independent
from scallax.provenance.proofs.decision_diagrams import count_models
from scallax.provenance.proofs.dnf import (
    ProofSets,
    alike,
    concatenate,
    conjoin,
    extend,
    pad_proofs,
    select,
    trim,
)
from scallax.provenance.proofs.layers import count_candidates, fold_layers, list_layers
from scallax.provenance.proofs.literal_sets import AbstractLiteralSets
from scallax.provenance.proofs.localised import count_localised, derivatives_localised
from scallax.provenance.proofs.log_counting import count_logarithms, count_logarithms_with_derivatives
from scallax.provenance.proofs.narrowing import narrow
from scallax.provenance.proofs.pools import best_of_pools, join_rows, pool_above, pool_of
from scallax.provenance.proofs.ranks import NO_PROOF, is_proof, rank_literals
from scallax.provenance.traits import MAX_INCLUSION_EXCLUSION, Traits

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt32

    from scallax.kernels.array_namespace import Array


class Leaves(NamedTuple):
    """Sets of at most one proof of one literal: its column (-1: none) and what its group excludes, if it is there."""

    ranks: Int[Array, "leaves batch"]
    there: Bool[Array, "leaves batch"]
    columns: Int[Array, " leaves"]
    exclusions: UInt32[Array, "leaves words"]


@dataclass(frozen=True)
class TopKProofs(AbstractProvenance):
    """At most `k` proofs for each tuple, the most probable ones; the output is their exact weighted model count.

    Proof sets are found without gradients; the count is what is differentiated. A proof with two facts of one
    exclusive group is dropped. By default the remaining facts count as independent; with the trait
    `has_multivalued_variables` a group counts as one multi-valued variable, in ranking proofs too.
    """

    traits: Traits
    k: int
    absorbs: bool

    def leaf_tags(self, literals: LiteralTable) -> ProofSets:
        """Sets of at most one proof; a complement of an absent literal is one."""
        return _read_leaves(self.compact_leaves(literals), sets_of(literals))

    def compact_leaves(self, literals: LiteralTable) -> Leaves:
        """A column for each leaf instead of a bit set."""
        xp = literals.xp
        negated = xp.take(literals.column_of[1], literals.negated)
        columns = xp.concatenate([xp.full(2, -1, xp.int32), literals.column_of[0], negated])
        present = literals.present
        ranks = rank_literals(literals, _leaf_weights(literals))
        none = xp.zeros_like(present[:1], shape=(2, present.shape[1]))
        there = xp.concatenate([none, present, xp.take(present, literals.negated)])
        # One is the empty proof, and the complement of an absent literal is one.
        is_used = xp.set_at(xp.set_at(there, 1, True), slice(2 + len(present), None), True)
        exclusions = xp.pad(literals.exclusions, ((2, len(literals.negated)), (0, 0)))
        return Leaves(xp.where(is_used, ranks, NO_PROOF), there, columns, exclusions)

    def read_leaves(self, leaves: Leaves, places, literals: LiteralTable) -> ProofSets:
        rows = literals.xp.map(lambda leaf: literals.xp.take(leaf, places), leaves)
        return _read_leaves(rows, sets_of(literals))

    def widen(self, leaves: ProofSets, literals: LiteralTable) -> ProofSets:
        xp, sets = array_namespace(leaves.ranks), sets_of(literals)
        ranks = xp.pad(leaves.ranks, ((0, 0), (0, self.k - 1), (0, 0)), constant_values=NO_PROOF)
        padding = ((0, 0), (0, self.k - 1), (0, 0), (0, 0))
        return ProofSets(ranks, sets.fit(xp.pad(leaves.members, padding, constant_values=sets.fill)))

    def alike(self, tags: ProofSets, others: ProofSets) -> tuple[ProofSets, ProofSets]:
        return alike(tags, others)

    def step(self, kind, total, left, right, cyclic, literals):
        sets, xp = sets_of(literals), literals.xp
        if kind == COMPLEMENT:
            return self._complement(left[0], literals, sets)
        if xp.is_eager:
            return self._step_at_once(kind, total, left, right, literals, sets)
        if kind == NODES:
            candidates = self._conjoin(stack_rows(xp, left), stack_rows(xp, right), literals, sets)
        else:
            candidates = stack_rows(xp, left)
            for leaf in (stack_rows(xp, right[::2]), stack_rows(xp, right[1::2])):
                single = ProofSets(leaf.ranks[..., 0, :], leaf.members[..., 0, :, :])
                candidates = extend(candidates, single, sets, literals)
            if self._needs_grouped_ranks(literals, sets):
                candidates = self._rank(candidates, literals, sets)
        pool = ProofSets(_merge_rows(candidates.ranks), _merge_rows(candidates.members))
        return pad_proofs(self.best(literals, total, pool), self.k, sets)

    def best(self, literals: LiteralTable, *pools: ProofSets) -> ProofSets:
        """The best `k` of the proofs of all pools."""
        sets = sets_of(literals)
        if not literals.xp.is_eager:
            return select(concatenate(*pools), self.k, sets, self.absorbs)
        *leading, _, batch = pools[0].ranks.shape
        found = [pool_of(proofs) for proofs in pools]
        return best_of_pools(found, (*leading, batch), self.k, sets, absorb=self.absorbs)

    def _step_at_once(self, kind, total, left, right, literals: LiteralTable, sets: AbstractLiteralSets) -> ProofSets:
        """`step`, where values may be looked at: with the proofs that there are."""
        xp = literals.xp
        operands = [stack_rows(xp, each) for each in ([right] if kind == NODES else (right[::2], right[1::2]))]
        least = self._least_ranks(kind, total, left, literals, sets)
        if least is None:
            pool = pool_of(stack_rows(xp, left))
            return self._join_at_once(kind, total, pool, operands, literals, sets)
        table, places = left.table, left.by_head
        pool = pool_above(table, places, operands, least, sets)
        found = self._join_at_once(kind, total, pool, operands, literals, sets)
        # Where proofs were absorbed, those that are left out may have a place.
        lost = np.flatnonzero(((least > NO_PROOF) & ~is_proof(found.ranks[:, self.k - 1])).any(-1))
        if len(lost):
            of_lost = [xp.map(lambda leaf: leaf[lost], each) for each in (total, *operands)]
            pool = pool_above(table, places[lost], of_lost[1:], np.full_like(least[lost], NO_PROOF), sets)
            again = self._join_at_once(kind, of_lost[0], pool, of_lost[1:], literals, sets)
            found, again = alike(found, again)
            found.ranks[lost], found.members[lost] = again.ranks, again.members
        return found

    def _least_ranks(self, kind, total, left, literals: LiteralTable, sets) -> Int[np.ndarray, "width batch"] | None:
        """The ranks below which proofs of a step have no place beside the total's; None where that is not known.

        A proof that is left out comes after `k` others, and contains none that those would go for: ranks are those of
        probabilities.
        """
        if kind != LINEAR or getattr(left, "table", None) is None or total.ranks.shape[-2] < self.k:
            return None
        p = literals.probabilities
        if self._needs_grouped_ranks(literals, sets) or not ((p >= 0) & (p <= 1)).all():
            return None
        return total.ranks[:, self.k - 1]

    def _join_at_once(self, kind, total, pool, operands, literals: LiteralTable, sets) -> ProofSets:
        """The best of the total's proofs, and of a pool's by rows `[width, rows, batch]`, joined with operands."""
        width, count, _, batch = operands[0].ranks.shape
        for each in operands:
            pool = join_rows(pool, each, literals, sets, is_single=kind != NODES)
        if self._needs_grouped_ranks(literals, sets):
            ranks = sets.ranks(pool.members, literals, grouped=True, samples=pool.rows % batch)
            pool = pool._replace(ranks=ranks)
        heads = pool.rows // (count * batch) * batch + pool.rows % batch
        pools = [pool_of(total), pool._replace(rows=heads)]
        return pad_proofs(best_of_pools(pools, (width, batch), self.k, sets, absorb=self.absorbs), self.k, sets)

    def flat_outputs(self, leaves, tiles, outputs, literals, *, all_present):
        sets = bit_sets_of(literals)
        if literals.length or self._needs_grouped_ranks(literals, sets):
            return None
        # The complement of a literal says nothing where it is absent.
        negated = np.asarray(literals.negated) if all_present else None
        bits = leaf_bits(np.asarray(literals.column_of), negated, np.asarray(literals.exclusions), sets)
        found = list_proofs(tiles, outputs, bits, sets, self.k, self.absorbs)
        layers = list_layers(tiles, len(leaves.ranks), self.k)
        # A proof of a layer takes more time than one of a list: its literals are not known.
        if layers is not None and (found is None or 3 * count_candidates(layers) < 2 * found.operands[0].size):
            return fold_layers(layers, outputs, leaves, self.k, self.absorbs, sets, literals), None
        if found is None:
            return None
        proofs, places = best_proofs(_leaf_weights(literals), leaves.ranks[:, 0], found, self.k, literals.is_log)
        return proofs, Choice(found, places, dependence(found, sets, self.k, all_present=all_present))

    def _conjoin(
        self, left: ProofSets, right: ProofSets, literals: LiteralTable, sets: AbstractLiteralSets
    ) -> ProofSets:
        xp = literals.xp
        candidates, shares = conjoin(left, right, sets, literals)
        if self._needs_grouped_ranks(literals, sets):
            return self._rank(candidates, literals, sets)
        ranks = xp.cond(
            shares.any(),
            lambda: xp.where(shares, self._rank(candidates, literals, sets).ranks, candidates.ranks),
            lambda: candidates.ranks,
        )
        return ProofSets(ranks, candidates.members)

    def narrow(self, tags, literals):
        return (trim(tags), literals) if literals.length else narrow(tags, literals, bit_sets_of(literals))

    def differs(self, old, new):
        return (old.members != new.members).any() | (is_proof(old.ranks) != is_proof(new.ranks)).any()

    def proof_sets(self, tags) -> ProofSets:
        return tags

    def recover(self, tags, literals):
        if literals.length:
            return count_localised(tags, literals, self._counts_groups(literals), self.recover)
        sets = bit_sets_of(literals)
        if literals.is_log:
            return count_logarithms(tags, literals, sets, self._counts_groups(literals))
        count = inclusion_exclusion if self.k <= MAX_INCLUSION_EXCLUSION else count_models
        grouped = self._counts_groups(literals)

        def otherwise(tags, literals):
            return count(tags, literals, sets, grouped)

        return count_proofs(tags, literals, sets, grouped, otherwise)

    def recover_with_derivatives(self, tags, literals, known):
        if literals.length:
            return derivatives_localised(
                tags, literals, lambda tags, literals: self.recover_with_derivatives(tags, literals, None)
            )
        if literals.is_log:
            return count_logarithms_with_derivatives(tags, literals, bit_sets_of(literals), known)
        if known is None or known.dependence is not Dependence.INDEPENDENT:
            relation = Dependence.UNKNOWN if known is None else known.dependence
            return count_with_derivatives(tags, literals, bit_sets_of(literals), relation)
        values, by_weight = count_independent(tags.weights)
        weights, negated = _leaf_weights(literals), np.asarray(literals.negated)
        return values, pull_independent(known, weights, by_weight, len(literals.probabilities), negated)

    def _counts_groups(self, literals: LiteralTable) -> bool:
        """Whether groups are variables: those that `group_end` tells."""
        return self.traits.has_multivalued_variables or literals.counts_choices > 0

    def _needs_grouped_ranks(self, literals: LiteralTable, sets: AbstractLiteralSets) -> bool:
        """Whether a proof's weight is no product of its literals' weights even if no literal repeats."""
        return self._counts_groups(literals) and sets.has_groups and sets.negated > 0

    def _rank(self, candidates: ProofSets, literals: LiteralTable, sets: AbstractLiteralSets) -> ProofSets:
        """The candidates with ranks counted from their literals."""
        ranks = sets.ranks(candidates.members, literals, grouped=self._counts_groups(literals))
        return ProofSets(literals.xp.where(is_proof(candidates.ranks), ranks, NO_PROOF), candidates.members)

    def _complement(self, tags: ProofSets, literals: LiteralTable, sets: AbstractLiteralSets) -> ProofSets:
        """The negation of a DNF by a beam of `k` over its clauses: each clause is falsified by one of its literals."""
        xp = literals.xp
        if xp.is_eager:
            return pad_proofs(self._complement_at_once(trim(tags), literals, sets), self.k, sets)
        beam = ProofSets(
            xp.set_at(xp.full_like(tags.ranks, NO_PROOF), (..., 0, slice(None)), 0),
            xp.full_like(tags.members, sets.fill),
        )

        def falsify(beam, clause):
            rank, members = clause
            return _where(is_proof(rank)[..., None, :], self._falsify(beam, members, literals, sets), beam), None

        clauses = (xp.moveaxis(tags.ranks, -2, 0), xp.moveaxis(tags.members, -3, 0))
        return xp.scan(falsify, beam, clauses)[0]

    def _complement_at_once(self, tags: ProofSets, literals: LiteralTable, sets: AbstractLiteralSets) -> ProofSets:
        """`_complement`, where values may be looked at: without places that no proof is in."""
        beam = ProofSets(np.zeros_like(tags.ranks[..., :1, :]), np.full_like(tags.members[..., :1, :, :], sets.fill))
        for place in range(tags.ranks.shape[-2]):
            found = self._falsify(beam, tags.members[..., place, :, :], literals, sets)
            count = max(found.ranks.shape[-2], beam.ranks.shape[-2])
            found, beam = alike(*(pad_proofs(proofs, count, sets) for proofs in (found, beam)))
            beam = trim(_where(is_proof(tags.ranks[..., place, None, :]), found, beam))
        return beam

    def _falsify(self, beam: ProofSets, clause, literals: LiteralTable, sets: AbstractLiteralSets) -> ProofSets:
        """The best `k` proofs of the beam, each with the complement of a literal of `clause` `[..., places, batch]`."""
        xp = literals.xp
        found = ProofSets(xp.full_like(beam.ranks, NO_PROOF), xp.full_like(beam.members, sets.fill))
        if self.absorbs:
            # A proof that falsifies the clause already stays as it is, and no other is contained in one of another
            # literal: so the literals may be tried one after the other, and proofs beyond the best `k` dropped each
            # time.
            stays = sets.oppose(beam.members, clause[..., None, :, :])
            found = _where(stays, beam, found)
            beam = beam._replace(ranks=xp.where(stays, NO_PROOF, beam.ranks))

        def try_some(found, ranks, members):
            candidates, shares = conjoin(beam, ProofSets(ranks, members), sets, literals)
            if self._needs_grouped_ranks(literals, sets):
                candidates = self._rank(candidates, literals, sets)
            elif not self.absorbs:
                same = xp.repeat(beam.ranks, ranks.shape[-2], axis=-2)
                candidates = ProofSets(xp.where(shares, same, candidates.ranks), candidates.members)
            return self.best(literals, found, candidates)

        return sets.fold_complements(try_some, found, clause, literals)


def _where(condition: Bool[Array, "... proofs batch"], proofs: ProofSets, others: ProofSets) -> ProofSets:
    """The proofs where a condition holds, else others."""
    xp = array_namespace(condition)
    return ProofSets(
        xp.where(condition, proofs.ranks, others.ranks),
        xp.where(condition[..., None, :], proofs.members, others.members),
    )


def _leaf_weights(literals: LiteralTable) -> Float[Array, "leaves batch"]:
    """The weights of zero, one, the literals, and the complements of those in `negated`; 0 for what is absent.

    Or the logarithms of all these.
    """
    xp = literals.xp
    zero, one = (-np.inf, 0) if literals.is_log else (0, 1)
    p = xp.where(literals.present, literals.probabilities, zero)
    complements = literals.complement(xp.take(p, literals.negated))
    return xp.concatenate([batch_constant(p, (1,), zero), batch_constant(p, (1,), one), p, complements])


def sets_of(literals: LiteralTable) -> AbstractLiteralSets:
    """The form of proofs over these literals."""
    if not literals.length:
        return bit_sets_of(literals)
    return ColumnLists(*literals.words[:3], has_groups=len(literals.groups) > 0, length=literals.length)


def bit_sets_of(literals: LiteralTable) -> BitSets:
    """How the words of proofs over these literals are divided."""
    positive, both, negated, *columns = literals.words
    return BitSets(positive, both, negated, (columns[0], columns[1]), literals.exclusions.shape[1] > 0)


def _read_leaves(leaves: Leaves, sets: AbstractLiteralSets) -> ProofSets:
    xp = array_namespace(leaves.ranks)
    members = sets.of_columns(xp, leaves.columns, leaves.exclusions)
    # An unused place has the empty set, so that equal tags are equal arrays.
    # All arrays vary with the batch, also where no input is masked.
    none = batch_constant(leaves.ranks, (1, 1), sets.fill, members.dtype)
    here = xp.where(leaves.there[:, None, :], members[:, :, None], none)
    return ProofSets(leaves.ranks[:, None], here[:, None])


def _merge_rows(leaf):
    """`[width, rows, proofs, ...]` as `[width, rows * proofs, ...]`."""
    return leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:])
