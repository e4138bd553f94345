"""Proof sets as arrays: disjunctions of at most k proofs, each a bit set over the literals with its weight."""

from typing import NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int, UInt32


class ProofSets(NamedTuple):
    """At most `proofs` proofs a tag, by weight descending, then bit set; weight -inf marks an unused place.

    Words come in sections of `ceil(literals / 32)`: positive literals, then negated ones (if the program negates), then
    the literals that a group excludes because of the positive ones (if there are groups).
    """

    weights: Float[Array, "... proofs batch"]
    bits: UInt32[Array, "... proofs words batch"]


class Sections(NamedTuple):
    """How the words of a proof are divided."""

    words: int
    has_negation: bool
    has_groups: bool

    @property
    def total(self) -> int:
        return self.words * (1 + self.has_negation + self.has_groups)

    @property
    def identity(self) -> int:
        """The number of words that tell proofs apart: positive and negated literals."""
        return self.words * (1 + self.has_negation)

    def positive(self, bits: UInt32[Array, "... words batch"]) -> UInt32[Array, "... section batch"]:
        return bits[..., : self.words, :]

    def negated(self, bits: UInt32[Array, "... words batch"]) -> UInt32[Array, "... section batch"]:
        """The negated literals; all zero if the program has none."""
        section = bits[..., self.words : 2 * self.words, :]
        return section if self.has_negation else jnp.zeros_like(self.positive(bits))

    def forbidden(self, bits: UInt32[Array, "... words batch"]) -> UInt32[Array, "... section batch"]:
        """The literals that cannot be true beside the proof."""
        forbidden = self.negated(bits)
        return forbidden | bits[..., self.total - self.words :, :] if self.has_groups else forbidden


def literal_bits(bits: Int[Array, " literals"], words: int) -> UInt32[Array, "literals words"]:
    """The bit set of each single literal, given their numbers."""
    literal = bits.astype(jnp.uint32)
    bit = jnp.uint32(1) << (literal % 32)
    word = jnp.arange(words, dtype=jnp.uint32)[None, :]
    return jnp.where((literal // 32)[:, None] == word, bit[:, None], jnp.uint32(0))


def conjoin(left: ProofSets, right: ProofSets, sections: Sections) -> tuple[ProofSets, Bool[Array, "... batch"]]:
    """Every union of a left and a right proof, as `[..., left * right, batch]`, and which of them share a literal.

    Weights are products: exact for independent literals that the proofs do not share. Contradictions have weight -inf.
    """
    wl, wr = left.weights[..., :, None, :], right.weights[..., None, :, :]
    bl, br = left.bits[..., :, None, :, :], right.bits[..., None, :, :, :]
    union = bl | br
    valid = (wl != -jnp.inf) & (wr != -jnp.inf)
    if sections.has_negation or sections.has_groups:
        valid &= ~(sections.positive(union) & sections.forbidden(union)).any(-2)
    shares = valid & (bl[..., : sections.identity, :] & br[..., : sections.identity, :]).any(-2)
    # The product of an unused place is thrown away, but must not warn or poison.
    product = jnp.where(valid, jnp.where(valid, wl, 1) * jnp.where(valid, wr, 1), -jnp.inf)
    flat = (*union.shape[:-4], -1)
    batch = union.shape[-1]
    candidates = ProofSets(product.reshape(*flat, batch), union.reshape(*flat, sections.total, batch))
    return candidates, shares.reshape(*flat, batch)


def select(pool: ProofSets, k: int, sections: Sections) -> ProofSets:
    """The best `k` distinct proofs of a pool, by weight descending, then bit set."""
    none = jnp.uint32(0xFFFFFFFF)

    def take_best(weights, _):
        best = weights.max(-2, keepdims=True)
        chosen = (weights == best) | jnp.isnan(weights)
        words = []
        for word in range(sections.identity):
            value = jnp.where(chosen, pool.bits[..., word, :], none).min(-2, keepdims=True)
            chosen &= pool.bits[..., word, :] == value
            words.append(value)
        for word in range(sections.identity, sections.total):
            words.append(jnp.where(chosen, pool.bits[..., word, :], jnp.uint32(0)).max(-2, keepdims=True))
        same = jnp.ones_like(chosen)
        for word in range(sections.identity):
            same &= pool.bits[..., word, :] == words[word]
        bits = jnp.where(best == -jnp.inf, jnp.uint32(0), jnp.concatenate(words, -2))
        return jnp.where(same, -jnp.inf, weights), (best.squeeze(-2), bits)

    _, (weights, bits) = lax.scan(take_best, pool.weights, None, length=k)
    return ProofSets(jnp.moveaxis(weights, 0, -2), jnp.moveaxis(bits, 0, -3))


def concatenate(*sets: ProofSets) -> ProofSets:
    """One pool of the proofs of all sets."""
    return ProofSets(jnp.concatenate([s.weights for s in sets], -2), jnp.concatenate([s.bits for s in sets], -3))
