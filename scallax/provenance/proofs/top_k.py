"""Top-k proofs: a tag is the k most probable proofs of a tuple (Huang et al., Scallop, NeurIPS 2021)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import COMPLEMENT, NODES
from scallax.kernels.tiles import stack_rows
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.proofs.clause_weights import clause_ranks
from scallax.provenance.proofs.clauses import (
    Choice,
    Dependence,
    best_proofs,
    dependence,
    leaf_bits,
    list_proofs,
    pull_independent,
)
from scallax.provenance.proofs.columns import used_columns
from scallax.provenance.proofs.counting import count_proofs, count_with_derivatives, inclusion_exclusion
from scallax.provenance.proofs.counting_gradient import count_independent
from scallax.provenance.proofs.decision_diagrams import count_models
from scallax.provenance.proofs.dnf import (
    ProofSets,
    Sections,
    column_bits,
    concatenate,
    conjoin,
    extend,
    pad_proofs,
    select,
    trim,
)
from scallax.provenance.proofs.layers import count_candidates, fold_layers, list_layers
from scallax.provenance.proofs.narrowing import narrow
from scallax.provenance.proofs.ranks import NO_PROOF, is_proof, rank_weights
from scallax.provenance.traits import MAX_INCLUSION_EXCLUSION, Traits

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, UInt32

    from scallax.kernels.array_namespace import Array

# Columns that a complement tries at once; divides the 32 bits of a word.
_COLUMNS_AT_ONCE = 8


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
        return _read_leaves(self.compact_leaves(literals), sections_of(literals))

    def compact_leaves(self, literals: LiteralTable) -> Leaves:
        """A column for each leaf instead of a bit set."""
        xp = literals.xp
        negated = xp.take(literals.column_of[1], literals.negated)
        columns = xp.concatenate([xp.full(2, -1, xp.int32), literals.column_of[0], negated])
        present = literals.present
        ranks = rank_weights(_leaf_weights(literals))
        none = xp.zeros_like(present[:1], shape=(2, present.shape[1]))
        there = xp.concatenate([none, present, xp.take(present, literals.negated)])
        # One is the empty proof, and the complement of an absent literal is one.
        is_used = xp.set_at(xp.set_at(there, 1, True), slice(2 + len(present), None), True)
        exclusions = xp.pad(literals.exclusions, ((2, len(literals.negated)), (0, 0)))
        return Leaves(xp.where(is_used, ranks, NO_PROOF), there, columns, exclusions)

    def read_leaves(self, leaves: Leaves, places, literals: LiteralTable) -> ProofSets:
        rows = literals.xp.map(lambda leaf: literals.xp.take(leaf, places), leaves)
        return _read_leaves(rows, sections_of(literals))

    def widen(self, leaves: ProofSets) -> ProofSets:
        xp = array_namespace(leaves.ranks)
        ranks = xp.pad(leaves.ranks, ((0, 0), (0, self.k - 1), (0, 0)), constant_values=NO_PROOF)
        return ProofSets(ranks, xp.pad(leaves.bits, ((0, 0), (0, self.k - 1), (0, 0), (0, 0))))

    def step(self, kind, total, left, right, cyclic, literals):
        sections, xp = sections_of(literals), literals.xp
        if kind == COMPLEMENT:
            return self._complement(left[0], literals, sections)
        if kind == NODES:
            candidates = self._conjoin(stack_rows(xp, left), stack_rows(xp, right), literals, sections)
        else:
            candidates = stack_rows(xp, left)
            for leaf in (stack_rows(xp, right[::2]), stack_rows(xp, right[1::2])):
                candidates = extend(candidates, ProofSets(leaf.ranks[..., 0, :], leaf.bits[..., 0, :, :]), sections)
            if self._needs_grouped_ranks(sections):
                candidates = self._rank(candidates, literals, sections)
        pool = ProofSets(_merge_rows(candidates.ranks), _merge_rows(candidates.bits))
        return pad_proofs(select(concatenate(total, pool), self.k, sections, self.absorbs), self.k)

    def flat_outputs(self, leaves, tiles, outputs, literals, *, all_present):
        sections = sections_of(literals)
        if self._needs_grouped_ranks(sections):
            return None
        # The complement of a literal says nothing where it is absent.
        negated = np.asarray(literals.negated) if all_present else None
        bits = leaf_bits(np.asarray(literals.column_of), negated, np.asarray(literals.exclusions), sections)
        found = list_proofs(tiles, outputs, bits, sections, self.k, self.absorbs)
        layers = list_layers(tiles, len(leaves.ranks), self.k)
        # A proof of a layer takes more time than one of a list: its literals are not known.
        if layers is not None and (found is None or 3 * count_candidates(layers) < 2 * found.operands[0].size):
            return fold_layers(layers, outputs, leaves, self.k, sections, self.absorbs), None
        if found is None:
            return None
        proofs, places = best_proofs(_leaf_weights(literals), leaves.ranks[:, 0], found, self.k)
        return proofs, Choice(found, places, dependence(found, sections, self.k, all_present=all_present))

    def _conjoin(self, left: ProofSets, right: ProofSets, literals: LiteralTable, sections: Sections) -> ProofSets:
        xp = literals.xp
        if xp.is_eager:
            left, right = trim(left), trim(right)
        candidates, shares = conjoin(left, right, sections)
        if self._needs_grouped_ranks(sections):
            return self._rank(candidates, literals, sections)
        ranks = xp.cond(
            shares.any(),
            lambda: xp.where(shares, self._rank(candidates, literals, sections).ranks, candidates.ranks),
            lambda: candidates.ranks,
        )
        return ProofSets(ranks, candidates.bits)

    def narrow(self, tags, literals):
        return narrow(tags, literals, sections_of(literals))

    def differs(self, old, new):
        return (old.bits != new.bits).any() | (is_proof(old.ranks) != is_proof(new.ranks)).any()

    def proof_sets(self, tags) -> ProofSets:
        return tags

    def recover(self, tags, literals):
        sections = sections_of(literals)
        count = inclusion_exclusion if self.k <= MAX_INCLUSION_EXCLUSION else count_models

        def otherwise(tags, literals):
            return count(tags, literals, sections, self.traits.has_multivalued_variables)

        return count_proofs(tags, literals, sections, self.traits.has_multivalued_variables, otherwise)

    def recover_with_derivatives(self, tags, literals, known):
        if known is None or known.dependence is not Dependence.INDEPENDENT:
            relation = Dependence.UNKNOWN if known is None else known.dependence
            return count_with_derivatives(tags, literals, sections_of(literals), relation)
        values, by_weight = count_independent(tags.weights)
        weights, negated = _leaf_weights(literals), np.asarray(literals.negated)
        return values, pull_independent(known, weights, by_weight, len(literals.probabilities), negated)

    def _needs_grouped_ranks(self, sections: Sections) -> bool:
        """Whether a proof's weight is no product of its literals' weights even if no literal repeats."""
        return self.traits.has_multivalued_variables and sections.has_groups and sections.negated > 0

    def _rank(self, candidates: ProofSets, literals: LiteralTable, sections: Sections) -> ProofSets:
        """The candidates with ranks counted from their literals."""
        ranks = clause_ranks(candidates.bits, literals, sections, self.traits.has_multivalued_variables)
        return ProofSets(literals.xp.where(is_proof(candidates.ranks), ranks, NO_PROOF), candidates.bits)

    def _complement(self, tags: ProofSets, literals: LiteralTable, sections: Sections) -> ProofSets:
        """The negation of a DNF by a beam of `k` over its clauses: each clause is falsified by one of its literals."""
        xp = literals.xp
        if xp.is_eager:
            return pad_proofs(self._complement_at_once(trim(tags), literals, sections), self.k)
        beam = xp.map(xp.zeros_like, tags)
        beam = ProofSets(xp.set_at(xp.full_like(tags.ranks, NO_PROOF), (..., 0, slice(None)), 0), beam.bits)
        opposites = _opposites(literals, sections, literals.columns)

        def falsify(beam, clause):
            rank, bits = clause
            extended = self._falsify(beam, bits, opposites, literals, sections)
            return _where_proof(rank, extended, beam), None

        clauses = (xp.moveaxis(tags.ranks, -2, 0), xp.moveaxis(tags.bits, -3, 0))
        return xp.scan(falsify, beam, clauses)[0]

    def _falsify(
        self, beam: ProofSets, clause, opposites: ProofSets, literals: LiteralTable, sections: Sections
    ) -> ProofSets:
        """The best `k` proofs of the beam, each with the complement of a literal of `clause` `[..., words, batch]`."""
        xp = literals.xp

        def block(found, number):
            clause_word = xp.slice_rows(clause, number * _COLUMNS_AT_ONCE >> 5, 1, clause.ndim - 2)
            first = (number * _COLUMNS_AT_ONCE & 31).astype(xp.uint32)
            shifts = first + xp.arange(_COLUMNS_AT_ONCE, dtype=xp.uint32)
            has = (clause_word >> shifts.reshape(*(1,) * (clause.ndim - 2), -1, 1)) & xp.uint32(1) != 0
            single = ProofSets(
                *(xp.slice_rows(leaf, number * _COLUMNS_AT_ONCE, _COLUMNS_AT_ONCE) for leaf in opposites[:2])
            )
            return self._falsify_by(found, beam, has, single, literals, sections), None

        none = ProofSets(xp.full_like(beam.ranks, NO_PROOF), xp.zeros_like(beam.bits))
        return xp.scan(block, none, xp.asarray(sections.blocks(_COLUMNS_AT_ONCE), xp.int32))[0]

    def _falsify_by(
        self, found: ProofSets, beam: ProofSets, has, opposites: ProofSets, literals: LiteralTable, sections: Sections
    ) -> ProofSets:
        """The best of `found` and of the proofs of the beam, each with one of the `opposites` `[columns, ...]`.

        `has` `[..., columns, batch]` says which of them there are.
        """
        xp, (rank, bits) = literals.xp, opposites[:2]
        single = ProofSets(
            xp.where(has, xp.broadcast_to(rank, has.shape), NO_PROOF),
            xp.broadcast_to(bits, (*has.shape[:-1], bits.shape[1], has.shape[-1])),
        )
        candidates, shares = conjoin(beam, single, sections)
        if self._needs_grouped_ranks(sections):
            candidates = self._rank(candidates, literals, sections)
        else:
            same = xp.repeat(beam.ranks, has.shape[-2], axis=-2)
            candidates = ProofSets(xp.where(shares, same, candidates.ranks), candidates.bits)
        return select(concatenate(found, candidates), self.k, sections, self.absorbs)

    def _complement_at_once(self, tags: ProofSets, literals: LiteralTable, sections: Sections) -> ProofSets:
        """`_complement`, where values may be looked at: only literals that occur in a clause are tried."""
        *leading, _, batch = tags.ranks.shape
        empty = ProofSets(np.zeros((*leading, 1, batch), np.int32), np.zeros_like(tags.bits[..., :1, :, :]))
        none = ProofSets(np.full_like(empty.ranks, NO_PROOF), empty.bits)
        columns, has = used_columns(
            np.where(is_proof(tags.ranks)[..., None, :], tags.bits, 0)[..., : sections.identity, :]
        )
        opposites = _opposites(literals, sections, literals.columns[columns], columns)
        beam = empty
        for place in range(tags.ranks.shape[-2]):
            found, of_clause = none, has[..., place, :]
            occurs = of_clause.any(tuple(range(1, of_clause.ndim)))
            # In the blocks of compiled code, after each of which proofs beyond the best `k` are dropped.
            for block in sorted(set((columns[occurs] // _COLUMNS_AT_ONCE).tolist())):
                tried = np.flatnonzero(occurs & (columns // _COLUMNS_AT_ONCE == block))
                single = ProofSets(opposites.ranks[tried], opposites.bits[tried])
                found = self._falsify_by(found, beam, np.moveaxis(of_clause[tried], 0, -2), single, literals, sections)
            count = max(found.ranks.shape[-2], beam.ranks.shape[-2])
            beam = _where_proof(tags.ranks[..., place, :], pad_proofs(found, count), pad_proofs(beam, count))
            beam = trim(beam)
        return beam


def _where_proof(rank: Int[Array, "... batch"], proofs: ProofSets, others: ProofSets) -> ProofSets:
    """The proofs where a rank is one of a proof, else others."""
    xp, unused = array_namespace(rank), ~is_proof(rank)[..., None, :]
    return ProofSets(
        xp.where(unused, others.ranks, proofs.ranks), xp.where(unused[..., None, :], others.bits, proofs.bits)
    )


def _opposites(literals: LiteralTable, sections: Sections, of_column, columns=None) -> ProofSets:
    """For columns of the literals `of_column` the proofs of one literal that their complements are.

    Ranks `[columns, batch]` and bits `[columns, words, batch or 1]`; `columns` are their numbers, by default all.
    """
    xp = literals.xp
    is_positive = (np.arange(32 * sections.identity) if columns is None else columns) < 32 * sections.positive
    p = xp.take_clipped(literals.probabilities, of_column)
    # not a, if the clause has a; a, if it has not a.
    ranks = rank_weights(xp.where(is_positive[:, None], 1 - p, p))
    opposite = xp.where(is_positive[:, None], *(_columns_of(literals, i, sections)[of_column] for i in (1, 0)))
    # The words of all columns of the batch, or of each.
    opposite = opposite[..., None]
    if sections.has_groups:
        excluded = xp.take_clipped(literals.exclusions, of_column)
        excluded = excluded if excluded.ndim == 3 else excluded[..., None]
        excluded = xp.where(is_positive[:, None, None], xp.uint32(0), excluded)
        opposite = xp.broadcast_to(opposite, (*opposite.shape[:2], excluded.shape[2]))
        opposite = xp.concatenate([opposite, excluded], 1)
    return ProofSets(ranks, opposite)


def _leaf_weights(literals: LiteralTable) -> Float[Array, "leaves batch"]:
    """The weights of zero, one, the literals, and the complements of those in `negated`; 0 for what is absent."""
    xp = literals.xp
    p = xp.where(literals.present, literals.probabilities, 0)
    complements = 1 - xp.take(p, literals.negated)
    return xp.concatenate([batch_constant(p, (1,), 0), batch_constant(p, (1,), 1), p, complements])


def sections_of(literals: LiteralTable) -> Sections:
    """How the words of proofs over these literals are divided."""
    positive, both, negated, *columns = literals.words
    return Sections(positive, both, negated, (columns[0], columns[1]), literals.exclusions.shape[1] > 0)


def _read_leaves(leaves: Leaves, sections: Sections) -> ProofSets:
    xp = array_namespace(leaves.ranks)
    bits = column_bits(xp, leaves.columns, sections.identity)
    if sections.has_groups:
        bits = xp.concatenate([bits, leaves.exclusions], 1)
    # An unused place keeps no bits, so that equal tags are equal arrays.
    # All arrays vary with the batch, also where no input is masked.
    here = xp.where(leaves.there[:, None, :], bits[:, :, None], batch_constant(leaves.ranks, (1, 1), 0, xp.uint32))
    return ProofSets(leaves.ranks[:, None], here[:, None])


def _columns_of(literals: LiteralTable, polarity: int, sections: Sections):
    """For each literal the bit of its column of a polarity (0 positive, 1 negated), `[literals, identity words]`."""
    column = literals.column_of[polarity]
    return column_bits(literals.xp, column, sections.identity)


def _merge_rows(leaf):
    """`[width, rows, proofs, ...]` as `[width, rows * proofs, ...]`."""
    return leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:])
