"""Top-bottom-k clauses: formulas are kept as they came, disjunctions of conjunctions or their duals."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import COMPLEMENT, NODES
from scallax.provenance.base import AbstractProvenance, LiteralTable, Tags
from scallax.provenance.proofs.dnf import ProofSets, alike
from scallax.provenance.proofs.literal_sets import AbstractLiteralSets
from scallax.provenance.proofs.ranks import NO_PROOF, is_proof
from scallax.provenance.proofs.top_k import Leaves, TopKProofs, sets_of
from scallax.provenance.traits import Traits

if TYPE_CHECKING:
    from jaxtyping import Bool

    from scallax.kernels.array_namespace import Array


class Formula(NamedTuple):
    """The disjunction of `proofs`, or its negation: a conjunction of clauses, each the negation of one proof.

    The k least probable clauses of a conjunction are the negations of the k most probable proofs.
    """

    proofs: ProofSets
    is_negation: Bool[Array, "... batch"]


@dataclass(frozen=True)
class TopBottomKClauses(AbstractProvenance):
    """At most `k` clauses: the most probable of a disjunction, the least probable of a conjunction (of a negation).

    Negation is exact: it changes only the kind. Formulas of one kind are joined in it. Where kinds differ, a
    disjunction is one of proofs and a conjunction one of clauses: the other operand is converted, which keeps `k`. On a
    cycle a disjunction is one of proofs. Without negation it is `topkproofs`.
    """

    traits: Traits
    ranked: TopKProofs

    def leaf_tags(self, literals: LiteralTable) -> Formula:
        return _positive(self.ranked.leaf_tags(literals))

    def compact_leaves(self, literals: LiteralTable) -> Leaves:
        return self.ranked.compact_leaves(literals)

    def read_leaves(self, leaves: Leaves, places, literals: LiteralTable) -> Formula:
        return _positive(self.ranked.read_leaves(leaves, places, literals))

    def widen(self, leaves: Formula, literals: LiteralTable) -> Formula:
        return Formula(self.ranked.widen(leaves.proofs, literals), leaves.is_negation)

    def alike(self, tags: Formula, others: Formula) -> tuple[Formula, Formula]:
        proofs = self.ranked.alike(tags.proofs, others.proofs)
        return tags._replace(proofs=proofs[0]), others._replace(proofs=proofs[1])

    def step(self, kind, total, left, right, cyclic, literals):
        if not sets_of(literals).negated:
            proofs = self.ranked.step(
                NODES, total.proofs, [a.proofs for a in left], [b.proofs for b in right], cyclic, literals
            )
            return _positive(proofs)
        if kind == COMPLEMENT:
            return _normal(Formula(left[0].proofs, ~left[0].is_negation), literals)
        for a, b in zip(left, right, strict=True):
            total = self._disjoin(total, self._conjoin(a, b, literals), cyclic, literals)
        return total

    def narrow(self, tags, literals):
        proofs, literals = self.ranked.narrow(tags.proofs, literals)
        return Formula(proofs, tags.is_negation), literals

    def differs(self, old, new):
        return self.ranked.differs(old.proofs, new.proofs) | (old.is_negation != new.is_negation).any()

    def proof_sets(self, tags) -> ProofSets:
        return tags.proofs

    def recover(self, tags, literals):
        p = self.ranked.recover(tags.proofs, literals)
        return literals.xp.where(tags.is_negation, 1 - p, p)

    def _conjoin(self, a: Formula, b: Formula, literals: LiteralTable) -> Formula:
        # One and zero are no formulas of a kind: they would make the other change its own.
        sets = sets_of(literals)
        keeps_a, keeps_b = _is_true(b, sets) | _is_false(a), _is_true(a, sets) | _is_false(b)
        mixed = (a.is_negation != b.is_negation) & ~keeps_a & ~keeps_b
        # A conjunction is one of clauses, unless both are disjunctions of proofs: ¬A ∧ ¬B = ¬(A ∨ B).
        a, b = self._convert(a, b, mixed, True, literals)
        joined = self._join(a, b, a.is_negation, literals)
        return _normal(_where(keeps_a, a, _where(keeps_b, b, joined)), literals)

    def _disjoin(self, a: Formula, b: Formula, cyclic, literals: LiteralTable) -> Formula:
        sets = sets_of(literals)
        keeps_a, keeps_b = _is_false(b) | _is_true(a, sets), _is_false(a) | _is_true(b, sets)
        mixed = (a.is_negation != b.is_negation) & ~keeps_a & ~keeps_b
        # On a cycle the proofs found so far must stay, so that it ends: there `a`, the total, is never a negation.
        a, b = self._convert(a, b, mixed | cyclic, False, literals)
        joined = self._join(a, b, ~a.is_negation, literals)
        return _normal(_where(keeps_a, a, _where(keeps_b, b, joined)), literals)

    def _convert(self, a: Formula, b: Formula, where, kind: bool, literals: LiteralTable) -> tuple[Formula, Formula]:
        """The formulas, where asked, as negations (`kind` True) or as disjunctions of proofs; one is already."""
        wrong_a, wrong_b = where & (a.is_negation != kind), where & (b.is_negation != kind)

        def convert():
            proofs = _where(wrong_a, a.proofs, b.proofs)
            negated = self.ranked.step(COMPLEMENT, proofs, [proofs], [], where.any(), literals)
            converted = Formula(negated, literals.xp.where(wrong_a | wrong_b, kind, a.is_negation))
            return _where(wrong_a, converted, a), _where(wrong_b, converted, b)

        return literals.xp.cond((wrong_a | wrong_b).any(), convert, lambda: (a, b))

    def _join(self, a: Formula, b: Formula, by_either, literals: LiteralTable) -> Formula:
        """The proofs of either formula, or else those of both together, of the kind of `a`."""
        sets = sets_of(literals)
        total = _where(by_either, a.proofs, _constant(a.proofs, NO_PROOF, sets))
        left = _where(by_either, b.proofs, a.proofs)
        right = _where(by_either, _constant(b.proofs, 0, sets), b.proofs)
        proofs = self.ranked.step(NODES, total, [left], [right], np.bool_(False), literals)
        return Formula(proofs, a.is_negation)


def _normal(formula: Formula, literals: LiteralTable) -> Formula:
    """Constants, and formulas of one literal, as disjunctions of proofs: their negation loses nothing."""
    xp, sets = literals.xp, sets_of(literals)
    members, used = formula.proofs.members, is_proof(formula.proofs.ranks)
    sizes = sets.sizes(members)
    num_proofs = used.sum(-2, dtype=xp.int32)
    is_false, is_true = num_proofs == 0, (used & (sizes == 0)).any(-2)
    is_single = (num_proofs == 1) & (sizes.sum(-2, dtype=xp.int32) == 1)
    simple = formula.is_negation & (is_false | is_true | is_single)
    flipped = sets.complements(members, literals)
    ranks = xp.cond(
        is_single.any(),
        lambda: sets.ranks(flipped, literals, grouped=False),
        lambda: formula.proofs.ranks,
    )
    single = ProofSets(xp.where(used, ranks, NO_PROOF), xp.where(used[..., None, :], flipped, sets.fill))
    constants = _where(is_false, _constant(single, 0, sets), _constant(single, NO_PROOF, sets))
    proofs = _where(is_single & ~is_true, single, constants)
    return _where(simple, _positive(proofs), formula)


def _positive(proofs: ProofSets) -> Formula:
    return Formula(proofs, batch_constant(proofs.ranks, proofs.ranks.shape[:-2], False, np.bool_))


def _constant(like: ProofSets, rank: int, sets: AbstractLiteralSets) -> ProofSets:
    """The empty proof alone (`rank` 0), or none (`NO_PROOF`)."""
    xp = array_namespace(like.ranks)
    ranks = xp.set_at(xp.full_like(like.ranks, NO_PROOF), (..., 0, slice(None)), rank)
    return ProofSets(ranks, xp.full_like(like.members, sets.fill))


def _is_false(formula: Formula) -> Bool[Array, "... batch"]:
    """Whether formulas in normal form are false."""
    return ~formula.is_negation & ~is_proof(formula.proofs.ranks).any(-2)


def _is_true(formula: Formula, sets: AbstractLiteralSets) -> Bool[Array, "... batch"]:
    """Whether formulas in normal form are true: they have the empty proof."""
    used = is_proof(formula.proofs.ranks)
    return ~formula.is_negation & (used & (sets.sizes(formula.proofs.members) == 0)).any(-2)


def _where(condition: Bool[Array, "... batch"], a: Tags, b: Tags) -> Tags:
    """`a` where the condition holds, over the axes that the tags have beside rows and batch."""
    xp = array_namespace(condition)
    if isinstance(a, Formula):
        proofs = _where(condition, a.proofs, b.proofs)
        return Formula(proofs, xp.where(condition, a.is_negation, b.is_negation))
    a, b = alike(a, b)
    inner = condition[..., None, :]
    members = xp.where(inner[..., None, :], a.members, b.members)
    return ProofSets(xp.where(inner, a.ranks, b.ranks), members)
