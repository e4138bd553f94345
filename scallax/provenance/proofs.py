"""Top-k proofs: a tag is the k most probable proofs of a tuple (Huang et al., Scallop, NeurIPS 2021)."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import lax

from scallax.errors import Diagnostic
from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import COMPLEMENT, LINEAR, LITERALS, NODES
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.decisions import MAX_NODES, count_models
from scallax.provenance.dnf import ProofSets, Sections, concatenate, conjoin, literal_bits, select
from scallax.provenance.probability import number_prior
from scallax.provenance.wmc import clause_weights, inclusion_exclusion

# More proofs are counted by decisions on the host: inclusion-exclusion has 2^k terms, and loses digits.
_MAX_INCLUSION_EXCLUSION = 10

# Literals that a complement tries at once.
_LITERALS_AT_ONCE = 8


@dataclass(frozen=True)
class TopKProofs(AbstractProvenance):
    """At most `k` proofs for each tuple, the most probable ones; the output is their exact weighted model count.

    Proof sets are found without gradients; the count is what is differentiated. A proof with two facts of one
    exclusive group is dropped. By default the remaining facts count as independent; `grouped` counts a group as one
    multi-valued variable, in ranking proofs too.
    """

    name: str
    k: int
    grouped: bool
    keeps_bool_tags: bool
    uses_tags: bool = True

    @property
    def respects_groups(self) -> bool:
        return True

    @property
    def counts_groups(self) -> bool:
        return self.grouped

    @property
    def is_discrete(self) -> bool:
        return False

    @property
    def has_tag_gradient(self) -> bool:
        return False

    @property
    def has_local_literals(self) -> bool:
        # Decisions on the host know the program's own numbers.
        return self.k <= _MAX_INCLUSION_EXCLUSION

    @property
    def is_idempotent(self) -> bool:
        return True

    def prior(self, tag: float | bool) -> float | None:
        return number_prior(tag, self.keeps_bool_tags)

    def leaf_tags(self, literals: LiteralTable) -> ProofSets:
        p = literals.probabilities
        num_literals = p.shape[0]
        sections = _sections(literals)
        first = jnp.concatenate(
            [
                batch_constant(p, (1,), -jnp.inf),
                batch_constant(p, (1,), 1),
                jnp.where(literals.present, p, -jnp.inf),
            ]
        )
        bits = [literal_bits(literals.bits, sections.words)]
        if sections.has_negation:
            bits.append(jnp.zeros((num_literals, sections.words), jnp.uint32))
        if sections.has_groups:
            bits.append(literals.exclusions)
        first_bits = jnp.pad(jnp.concatenate(bits, 1), ((2, 0), (0, 0)))
        weights = jnp.pad(first[:, None], ((0, 0), (0, self.k - 1), (0, 0)), constant_values=-jnp.inf)
        # A tag of weight -inf keeps no bits, so that equal tags are equal arrays.
        here = jnp.where((first != -jnp.inf)[:, None, :], first_bits[:, :, None], jnp.uint32(0))
        return ProofSets(weights, jnp.pad(here[:, None], ((0, 0), (0, self.k - 1), (0, 0), (0, 0))))

    @property
    def block_rows(self):
        return {LITERALS: (4,), LINEAR: (max(1, 8 // self.k),), NODES: (1,), COMPLEMENT: (1,)}

    @property
    def derivation_cost(self) -> float:
        return 0.4 * self.k

    def step(self, kind, total, left, right, cyclic, literals):
        sections = _sections(literals)
        if kind == COMPLEMENT:
            return self._complement(left[0], literals, sections)
        left, right = _stack(left), _stack(right)
        if kind == LITERALS:
            left = _first_proof(left)
        if kind != NODES:
            right = _first_proof(right)
        candidates, shares = conjoin(left, right, sections)
        weights = candidates.weights
        if self._needs_grouped_weights(sections):
            weights = self._recompute(candidates, weights != -jnp.inf, literals, sections)
        elif kind == NODES:
            weights = lax.cond(
                shares.any(), lambda: self._recompute(candidates, shares, literals, sections), lambda: weights
            )
        else:
            # The one literal on the right is in the proof already: the union is the proof.
            weights = jnp.where(shares, left.weights, weights)
        pool = ProofSets(_merge_rows(weights), _merge_rows(candidates.bits))
        return select(concatenate(total, pool), self.k, sections)

    def differs(self, old, new):
        # NaN weights may repeat for ever; the proofs do not.
        return (old.bits != new.bits).any() | ((old.weights == -jnp.inf) != (new.weights == -jnp.inf)).any()

    def recover(self, tags, literals):
        count = inclusion_exclusion if self.k <= _MAX_INCLUSION_EXCLUSION else count_models
        return count(tags, literals, _sections(literals), self.grouped)

    @property
    def refusal(self):
        if self.k <= _MAX_INCLUSION_EXCLUSION:
            return None
        hint = f"lower `k`; up to {_MAX_INCLUSION_EXCLUSION} proofs are counted without a limit"
        return Diagnostic(f"counting its proofs takes more than {MAX_NODES:,} decisions", hint=hint)

    def _needs_grouped_weights(self, sections: Sections) -> bool:
        """Whether a weight is no product of its literals' weights even if no literal repeats."""
        return self.grouped and sections.has_groups and sections.has_negation

    def _recompute(self, candidates: ProofSets, where, literals: LiteralTable, sections: Sections):
        exact = clause_weights(candidates.bits, literals, sections, self.grouped)
        return jnp.where(where, exact, candidates.weights)

    def _complement(self, tags: ProofSets, literals: LiteralTable, sections: Sections) -> ProofSets:
        """The negation of a DNF by a beam of `k` over its clauses: each clause is falsified by one of its literals."""
        beam = jax.tree.map(jnp.zeros_like, tags)
        beam = ProofSets(jnp.full_like(tags.weights, -jnp.inf).at[..., 0, :].set(1), beam.bits)

        def falsify(beam, clause):
            weight, bits = clause
            extended = self._falsify(beam, bits, literals, sections)
            unused = (weight == -jnp.inf)[..., None, :]
            weights = jnp.where(unused, beam.weights, extended.weights)
            return ProofSets(weights, jnp.where(unused[..., None, :], beam.bits, extended.bits)), None

        clauses = (jnp.moveaxis(tags.weights, -2, 0), jnp.moveaxis(tags.bits, -3, 0))
        return lax.scan(falsify, beam, clauses)[0]

    def _falsify(self, beam: ProofSets, clause, literals: LiteralTable, sections: Sections) -> ProofSets:
        """The best `k` proofs of the beam, each with the complement of a literal of `clause` `[..., words, batch]`."""
        num_literals = literals.probabilities.shape[0]
        positive, negated = sections.positive(clause), sections.negated(clause)
        padding = ((0, -num_literals % _LITERALS_AT_ONCE), (0, 0))
        table = jnp.pad(literal_bits(literals.bits, sections.words), padding)
        # The words of all columns of the batch, or of each.
        excluded = literals.exclusions if literals.exclusions.ndim == 3 else literals.exclusions[..., None]
        p, excluded = jnp.pad(literals.probabilities, padding), jnp.pad(excluded, (*padding, (0, 0)))

        def block(found, inputs):
            bit, p, excluded = inputs
            bit, p = bit[None, :, :, None], p[None]
            is_positive = (positive[:, None] & bit).any(-2)
            is_negated = (negated[:, None] & bit).any(-2)
            # not a, if the clause has a; a, if it has not a.
            complement = jnp.where(is_positive[..., None, :], jnp.uint32(0), bit)
            words = [complement, jnp.where(is_positive[..., None, :], bit, jnp.uint32(0))]
            if sections.has_groups:
                words.append(jnp.where(is_positive[..., None, :], jnp.uint32(0), excluded[None]))
            weight = jnp.where(is_positive, 1 - p, jnp.where(is_negated, p, -jnp.inf))
            single = ProofSets(weight, jnp.concatenate(words, -2))
            candidates, shares = conjoin(beam, single, sections)
            if self._needs_grouped_weights(sections):
                exact = self._recompute(candidates, candidates.weights != -jnp.inf, literals, sections)
            else:
                exact = jnp.where(shares, jnp.repeat(beam.weights, _LITERALS_AT_ONCE, axis=-2), candidates.weights)
            return select(concatenate(found, ProofSets(exact, candidates.bits)), self.k, sections), None

        none = ProofSets(jnp.full_like(beam.weights, -jnp.inf), jnp.zeros_like(beam.bits))
        blocks = table.shape[0] // _LITERALS_AT_ONCE
        inputs = tuple(a.reshape(blocks, _LITERALS_AT_ONCE, *a.shape[1:]) for a in (table, p, excluded))
        return lax.scan(block, none, inputs)[0]


def _sections(literals: LiteralTable) -> Sections:
    return Sections(-(-literals.num_bits // 32), literals.has_negation, literals.exclusions.shape[1] > 0)


def _stack(rows: Sequence[ProofSets]) -> ProofSets:
    """Tags `[width, rows, ...]` of rows of tags."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves, 1), *rows)


def _first_proof(tags: ProofSets) -> ProofSets:
    """Tags of single literals: nothing stands after their first proof."""
    return ProofSets(tags.weights[..., :1, :], tags.bits[..., :1, :, :])


def _merge_rows(leaf):
    """`[width, rows, proofs, ...]` as `[width, rows * proofs, ...]`."""
    return leaf.reshape(leaf.shape[0], -1, *leaf.shape[3:])
