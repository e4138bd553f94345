"""Conjunctions of literals that are known when code is compiled: of their proofs only the weights are computed."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt32

from scallax.provenance.dnf import ProofSets, Sections


class Clauses(NamedTuple):
    """The one proof of each row, as far as it is known, in NumPy arrays that are filled in as rows are made.

    `bits` are as in `ProofSets`; a row that is not `possible` has no proof. The complement of a literal is not known:
    where the literal is absent, it says nothing.
    """

    bits: UInt32[np.ndarray, "rows words"]
    is_known: Bool[np.ndarray, " rows"]
    possible: Bool[np.ndarray, " rows"]

    @staticmethod
    def of_leaves(
        columns: Int[np.ndarray, " literals"],
        exclusions: UInt32[np.ndarray, "literals words"],
        sections: Sections,
        num_rows: int,
    ) -> "Clauses":
        """Those of zero, one and the literals, of which `columns` are the positive ones, of `num_rows` rows."""
        places = np.concatenate([[-1, -1], columns])
        bits = np.zeros((num_rows, sections.total), np.uint32)
        found = np.flatnonzero(places >= 0)
        bits[found, places[found] // 32] = np.uint32(1) << (places[found] % 32).astype(np.uint32)
        if sections.has_groups:
            bits[2 : 2 + len(exclusions), sections.identity :] = exclusions
        is_known = np.arange(num_rows) < len(places)
        return Clauses(bits, is_known, is_known & (np.arange(num_rows) > 0))


class Disjunctions(NamedTuple):
    """The derivations of each of `width` heads, without those that another one makes superfluous.

    `operands` int32 `[3, derivations, width]` are the rows whose weights they multiply, zero where there is none;
    `bits` are their literals, of each head in ascending order.
    """

    operands: Int[np.ndarray, "3 derivations width"]
    bits: UInt32[np.ndarray, "derivations width words"]


def disjoin(
    clauses: Clauses, operands: Int[np.ndarray, "3 derivations width"], sections: Sections, absorb: bool
) -> Disjunctions | None:
    """The proofs of heads whose derivations join three rows each, the last two of them leaves; None if not known."""
    if not clauses.is_known[operands].all():
        return None
    operands = operands.copy()
    union = clauses.bits[operands[0]]
    possible = clauses.possible[operands].all(0)
    for leaf in operands[1:]:
        bits = clauses.bits[leaf]
        possible &= ~np.asarray(sections.contradict(union[..., None], bits[..., None])).squeeze(-1)
        own = bits[..., : sections.identity]
        # A literal counts once.
        leaf[(own & ~union[..., : sections.identity] == 0).all(-1) & possible] = 1
        union = union | bits
    own = union[..., : sections.identity]
    order = np.lexsort((*np.moveaxis(own, -1, 0)[::-1], ~possible), axis=0)
    operands = np.take_along_axis(operands, order[None], 1)
    union = np.take_along_axis(union, order[..., None], 0)
    possible = np.take_along_axis(possible, order, 0)
    own = union[..., : sections.identity]
    for later in range(len(own)):
        earlier = own[:later] == own[later] if not absorb else own & ~own[later] == 0
        covers = earlier.all(-1) & possible[: len(earlier)]
        if absorb:
            # Itself, and what is equal and stands later, covers nothing.
            covers &= (own != own[later]).any(-1) | (np.arange(len(own)) < later)[:, None]
        possible[later] &= ~covers.any(0)
    order = np.argsort(~possible, axis=0, kind="stable")[: max(1, possible.sum(0).max(initial=0))]
    possible = np.take_along_axis(possible, order, 0)
    operands = np.take_along_axis(operands, order[None], 1)
    operands = np.where(possible, operands, np.array([0, 1, 1])[:, None, None])
    union = np.where(possible[..., None], np.take_along_axis(union, order[..., None], 0), np.uint32(0))
    return Disjunctions(operands, union)


def note(clauses: Clauses, found: Disjunctions, target: int) -> None:
    """Writes down the proofs of the heads from row `target` on, if each has one at most."""
    if len(found.bits) == 1:
        rows = slice(target, target + found.bits.shape[1])
        clauses.bits[rows], clauses.is_known[rows] = found.bits[0], True
        clauses.possible[rows] = found.operands[0, 0] > 0


def best_proofs(weights: Float[Array, "rows batch"], found: Disjunctions, k: int) -> ProofSets:
    """The `k` most probable proofs of each head, by weight descending, then bit set; a weight of -inf is absent."""
    product, *factors = [
        weights.at[rows].get(mode="promise_in_bounds")
        for place, rows in enumerate(found.operands)
        if not place or (rows != 1).any()
    ]
    for factor in factors:
        is_there = (product != -jnp.inf) & (factor != -jnp.inf)
        product = jnp.where(is_there, product * factor, -jnp.inf)
    count, width, words = found.bits.shape
    number = np.arange(count, dtype=np.int32)[:, None, None]
    flat = jnp.asarray(found.bits.reshape(-1, words))
    lane = np.arange(width, dtype=np.int32)[None, :, None]
    best, bits = [], []
    for _ in range(min(k, count)):
        weight = product.max(0, keepdims=True)
        place = jnp.where((product == weight) | jnp.isnan(product), number, count - 1).min(0, keepdims=True)
        chosen = flat.at[(place * width + lane)[0]].get(mode="promise_in_bounds")
        bits.append(jnp.where((weight[0] == -jnp.inf)[..., None], jnp.uint32(0), chosen))
        best.append(weight[0])
        product = jnp.where(number == place, -jnp.inf, product)
    missing = k - len(best)
    return ProofSets(
        jnp.pad(jnp.stack(best, 1), ((0, 0), (0, missing), (0, 0)), constant_values=-jnp.inf),
        jnp.pad(jnp.moveaxis(jnp.stack(bits, 1), -1, -2), ((0, 0), (0, missing), (0, 0), (0, 0))),
    )
