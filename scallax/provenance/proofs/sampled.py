"""Sampled proofs: which k are kept is drawn, in proportion to their probabilities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.schedule import COMPLEMENT, LINEAR, LITERALS, NODES
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.proofs.dnf import ProofSets, pad_proofs
from scallax.provenance.proofs.literal_sets import mix
from scallax.provenance.proofs.ranks import NO_PROOF, ZERO, add_ranks, is_proof, keys_of, rank_weights
from scallax.provenance.proofs.top_k import Leaves, TopKProofs, sets_of
from scallax.provenance.traits import Traits

if TYPE_CHECKING:
    from jaxtyping import Int, UInt32

    from scallax.kernels.array_namespace import Array

# Every doubling is 2^18 in rank.
_RANK_OF_2_TO_24 = 24 << 18


@dataclass(frozen=True)
class SampledProofs(AbstractProvenance):
    """At most `k` proofs for each tuple, drawn without replacement in proportion to their probabilities.

    Every proof has one random number, a function of the seed and of its literals: the proofs kept are those of the
    largest p / e, with e exponentially distributed (Efraimidis and Spirakis, 2006). They have the distribution of
    drawing with replacement until k are distinct. So a result depends on the seed alone, not on orders, batches or
    rounds, and tuples that share proofs agree on them. A set of at most k proofs is kept whole. The complement of a
    tuple is that of `topkproofs`.
    """

    traits: Traits
    ranked: TopKProofs

    def leaf_tags(self, literals: LiteralTable) -> ProofSets:
        return self.ranked.leaf_tags(literals)

    def compact_leaves(self, literals: LiteralTable) -> Leaves:
        return self.ranked.compact_leaves(literals)

    def read_leaves(self, leaves: Leaves, places, literals: LiteralTable) -> ProofSets:
        return self.ranked.read_leaves(leaves, places, literals)

    def widen(self, leaves: ProofSets, literals: LiteralTable) -> ProofSets:
        return self.ranked.widen(leaves, literals)

    def alike(self, tags: ProofSets, others: ProofSets) -> tuple[ProofSets, ProofSets]:
        return self.ranked.alike(tags, others)

    def step(self, kind, total, left, right, cyclic, literals):
        if kind == COMPLEMENT:
            return self.ranked.step(kind, total, left, right, cyclic, literals)
        k = self.ranked.k
        candidates = {LITERALS: 1, LINEAR: k, NODES: k * k}[kind] * len(left)
        # All distinct proofs, none of them dropped.
        pool = replace(self.ranked, k=k + candidates).step(kind, total, left, right, cyclic, literals)
        sets = sets_of(literals)
        chance = _exponential_ranks(sets.digests(pool.members, literals.seed))
        # Weights that are no probabilities have no chance beside those that are.
        priority = literals.xp.where(keys_of(pool.ranks) > ZERO, add_ranks(pool.ranks, -chance), pool.ranks)
        ranked = replace(self.ranked, absorbs=False)
        pool, drawn = self.alike(pool, ranked.best(literals, ProofSets(priority, pool.members)))
        kept = (pool.members[..., :, None, :, :] == drawn.members[..., None, :, :, :]).all(-2)
        kept = (kept & is_proof(drawn.ranks)[..., None, :, :]).any(-2)
        pool = ProofSets(literals.xp.where(kept, pool.ranks, NO_PROOF), pool.members)
        return pad_proofs(ranked.best(literals, pool), k, sets)

    def narrow(self, tags, literals):
        return self.ranked.narrow(tags, literals)

    def differs(self, old, new):
        return self.ranked.differs(old, new)

    def proof_sets(self, tags) -> ProofSets:
        return tags

    def recover(self, tags, literals):
        return self.ranked.recover(tags, literals)


def _exponential_ranks(digests: UInt32[Array, "... batch"]) -> Int[Array, "... batch"]:
    """For random numbers the ranks of exponentially distributed ones, up to a constant.

    `-log u` of a uniform `u`; its logarithm is that of ranks, so that every array library draws the same.
    """
    xp = array_namespace(digests)
    # 23 bits, in the middle of their intervals: never 0 or 1. As are their logarithms: never 0.
    odd = (mix(digests) >> 9).astype(xp.int32) * 2 + 1
    logarithm = _RANK_OF_2_TO_24 - rank_weights(odd.astype(xp.float32)) + 1
    return rank_weights(logarithm.astype(xp.float32))
