"""Outputs whose proofs are all known when code is compiled: of their proofs only the weights are computed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.schedule import Tile
from scallax.provenance.proofs.bit_sets import BitSets
from scallax.provenance.proofs.dnf import ProofSets, scan_proofs
from scallax.provenance.proofs.ranks import NO_PROOF, add_ranks, is_proof, keys_of

if TYPE_CHECKING:
    from jaxtyping import Float, Int, UInt32

    from scallax.kernels.array_namespace import Array

# Proofs of an output, and numbers of all of them together (factors times outputs times proofs), up to which all are
# listed.
_MAX_PROOFS = 128
_MAX_FACTORS = 1 << 13


class Disjunctions(NamedTuple):
    """The proofs of each of `width` heads, without those that another one makes superfluous.

    `operands` int32 `[factors, proofs, width]` are the leaves whose weights they multiply, the row zero where there is
    none; `bits` are their literals, of each head in ascending order.
    """

    operands: Int[np.ndarray, "factors proofs width"]
    bits: UInt32[np.ndarray, "proofs width words"]


class Dependence(Enum):
    """How any two proofs of an output that may be kept together are known to depend on each other."""

    INDEPENDENT = auto()
    """They share no variable, in whichever polarity."""

    EXCLUSIVE = auto()
    """One of them has the negation of a literal of the other."""

    MIXED = auto()
    """Some share a variable, and not all such are exclusive."""

    UNKNOWN = auto()
    """It depends on which are kept."""


class Choice(NamedTuple):
    """The proofs of each head that are kept, by number; the number after the last where there are fewer than `k`."""

    found: Disjunctions
    places: Int[Array, "width k batch"]
    dependence: Dependence


class _Known(NamedTuple):
    """The proofs of a row: their literals, and for each the leaves whose product it is, in order."""

    bits: UInt32[np.ndarray, "proofs words"]
    factors: list[tuple[int, ...]]


def leaf_bits(
    columns: Int[np.ndarray, "2 literals"],
    negated: Int[np.ndarray, " negated"] | None,
    exclusions: UInt32[np.ndarray, "literals positive_words"],
    sets: BitSets,
) -> UInt32[np.ndarray, "rows words"]:
    """The bits of zero, one, the literals, and the complements of the literals `negated`."""
    places = np.concatenate([[-1, -1], columns[0], [] if negated is None else columns[1][negated]]).astype(np.int64)
    bits = np.zeros((len(places), sets.total), np.uint32)
    found = np.flatnonzero(places >= 0)
    bits[found, places[found] // 32] = np.uint32(1) << (places[found] % 32).astype(np.uint32)
    if sets.has_groups:
        bits[2 : 2 + len(exclusions), sets.identity :] = exclusions
    return bits


def list_proofs(
    tiles: Sequence[Tile],
    outputs: Int[np.ndarray, " outputs"],
    leaves: UInt32[np.ndarray, "rows words"],
    sets: BitSets,
    k: int,
    absorb: bool,
) -> Disjunctions | None:
    """All proofs of the outputs; None if they are too many, or if the best `k` might not be those that steps find.

    The steps keep `k` proofs of every row. Where a row has more, a joined leaf must be independent of all of them, and
    no proof of a head may contain one of another derivation: then the best `k` of all are joins of the best.
    """
    known = {row: _Known(leaves[row : row + 1], [(row,)]) for row in range(2, len(leaves))}
    known[0] = _Known(leaves[:0], [])
    known[1] = _Known(leaves[1:2], [()])
    for tile in tiles:
        for lane in range(tile.operands.shape[2]):
            found = _join(tile.operands[:, :, lane].T, known, sets, k, absorb)
            if found is None or len(found.factors) > _MAX_PROOFS:
                return None
            known[tile.target + lane] = found
    if not all(int(row) in known for row in outputs):
        return None
    listed = [known[int(row)] for row in outputs]
    most = max(1, *(len(each.factors) for each in listed))
    longest = max((len(factors) for each in listed for factors in each.factors), default=1)
    shape = (max(1, longest), most, len(listed))
    if np.prod(shape) > _MAX_FACTORS:
        return None
    column = _last_columns(leaves[:, : sets.identity])
    operands, bits = np.ones(shape, np.int32), np.zeros((*shape[1:], sets.total), np.uint32)
    for place, each in enumerate(listed):
        operands[0, len(each.factors) :, place] = 0
        bits[: len(each.factors), place] = each.bits
        for number, factors in enumerate(each.factors):
            # In the order of columns, as all products of weights.
            operands[: len(factors), number, place] = sorted(factors, key=column.__getitem__)
    return Disjunctions(operands, bits)


def _last_columns(bits: UInt32[np.ndarray, "rows words"]) -> list[int]:
    """The column of each row that has one."""
    each = np.unpackbits(np.ascontiguousarray(bits).astype("<u4").view(np.uint8), axis=-1, bitorder="little")
    return each.argmax(-1).tolist() if each.size else [0] * len(bits)


def _join(derivations, known: dict[int, _Known], sets: BitSets, k: int, absorb: bool) -> _Known | None:
    """The proofs of a head with these derivations `[derivations, 3]`."""
    parts: list[UInt32[np.ndarray, "proofs words"]] = []
    found: list[tuple[int, ...]] = []
    source: list[int] = []
    is_whole = True
    for number, (row, *joined) in enumerate(derivations.tolist()):
        if not all(each in known for each in (row, *joined)):
            return None
        bits, factors = known[row]
        is_long = len(factors) > k
        is_whole &= not is_long
        for leaf in joined:
            if not known[leaf].factors:
                bits, factors = bits[:0], []
                continue
            other = known[leaf].bits
            clash = np.asarray(sets.contradict(bits[..., None], other[..., None])).reshape(-1)
            own = other[:, : sets.identity]
            has = leaf == 1 or (own & ~bits[:, : sets.identity] == 0).all(-1)
            if is_long and leaf != 1 and (clash.any() or np.any(has)):
                return None
            # A literal counts once.
            has = np.broadcast_to(has, len(factors))
            factors = [
                each if there else (*each, leaf)
                for each, there, gone in zip(factors, has, clash, strict=True)
                if not gone
            ]
            bits = (bits | other)[~clash]
        parts.append(bits)
        found += factors
        source += [number] * len(factors)
    bits = np.concatenate(parts)
    own = bits[:, : sets.identity]
    order = np.lexsort(own.T)
    bits, own, numbers = bits[order], own[order], np.array(source)[order] if source else np.zeros(0, int)
    # `covers[i, j]`: proof i makes proof j superfluous.
    equal = (own[:, None] == own[None]).all(-1)
    covers = equal & np.tri(len(own), k=-1, dtype=bool).T
    if absorb:
        covers |= (own[:, None] & ~own[None] == 0).all(-1) & ~equal
    if not is_whole and (covers & (numbers[:, None] != numbers[None])).any():
        return None
    keep = ~covers.any(0)
    return _Known(bits[keep], [found[place] for place, kept in zip(order, keep, strict=True) if kept])


def dependence(found: Disjunctions, sets: BitSets, k: int, *, all_present: bool) -> Dependence:
    """How the proofs of all outputs depend on each other.

    `all_present`: in every sample each output has all of its proofs.
    """
    both, positive, identity = sets.both, sets.positive, sets.identity
    negated = found.bits[..., positive:identity]
    parts = [found.bits[..., :both] | negated[..., :both], found.bits[..., both:positive], negated[..., both:]]
    variables = np.concatenate(parts, -1)
    shares = (variables[:, None] & variables[None] != 0).any(-1)
    exists = found.operands[0] != 0
    is_pair = np.tri(len(exists), k=-1, dtype=bool)[..., None] & exists[:, None] & exists[None]
    if not (shares & is_pair).any():
        return Dependence.INDEPENDENT
    union = found.bits[:, None] | found.bits[None]
    if sets.contradict_by_polarity(union[..., None])[..., 0][is_pair].all():
        return Dependence.EXCLUSIVE
    must_share = is_pair.any((0, 1)) & (shares | ~is_pair).all((0, 1))
    return Dependence.MIXED if k > 1 and all_present and must_share.any() else Dependence.UNKNOWN


def best_proofs(
    weights: Float[Array, "rows batch"],
    ranks: Int[Array, "rows batch"],
    found: Disjunctions,
    k: int,
    is_log: bool = False,
) -> tuple[ProofSets, Int[Array, "width k batch"]]:
    """The `k` best proofs of each head, or all if none has more, by rank descending, then bit set.

    And their numbers. `weights` (`is_log`: their logarithms) and `ranks` are those of the leaves; a rank of `NO_PROOF`
    is absent.
    """
    xp = array_namespace(ranks)
    # The empty proof is always there. XLA does not fuse what comes before a branch with what comes after it: else the
    # rank of a leaf would be computed for each of its uses (`sum-2` at batch 16: 15 % of a step).
    ranks = xp.cond(is_proof(ranks).any(), lambda: ranks, lambda: xp.full_like(ranks, NO_PROOF))
    rank, *others = xp.take(ranks, found.operands)
    for other in others:
        rank = xp.where(is_proof(rank) & is_proof(other), add_ranks(rank, other), NO_PROOF)
    count, width, words = found.bits.shape
    number = np.arange(count, dtype=np.int32)[:, None, None]

    def take_best(keys, _):
        best = keys.max(0, keepdims=True)
        place = xp.where((keys == best) & (keys != NO_PROOF), number, count).min(0, keepdims=True)
        return xp.where(number == place, NO_PROOF, keys), (best[0], place[0])

    _, best = scan_proofs(xp, take_best, keys_of(rank), length=min(k, count))
    keys, numbers = (xp.moveaxis(leaf, 0, 1) for leaf in best)
    heads, there = np.arange(width, dtype=np.int32)[:, None, None], numbers < count
    product = functools.reduce(xp.add if is_log else xp.multiply, list(xp.take(weights, found.operands)))
    chosen = xp.read_clipped(product, (numbers, heads, np.arange(product.shape[2], dtype=np.int32)))
    bits = xp.take_clipped(found.bits.reshape(-1, words), numbers * width + heads)
    bits = xp.moveaxis(xp.where(there[..., None], bits, xp.uint32(0)), -1, -2)
    none = xp.full_like(chosen, -np.inf if is_log else 0)
    return ProofSets(keys_of(keys), bits, xp.where(there, chosen, none)), numbers


def pull_independent(
    choice: Choice,
    weights: Float[Array, "rows batch"],
    coefficients: Float[Array, "width k batch"],
    num_literals: int,
    negated: Int[np.ndarray, " negated"],
) -> Float[Array, "width literals batch"]:
    """The derivatives by the literals of a sum of weights of independent proofs, each times its coefficient.

    `weights` are those of the leaves: zero, one, the literals, and the complements of the literals `negated`; 0
    where there is none. At most one proof of a head has a literal, in one polarity.

    The derivative of `Σ c Π w` by a factor is `c` times the product of the factors before it and of those after it:
    no division, so that it is right where a weight is 0.
    """
    xp = array_namespace(weights)
    found = choice.found
    number = np.arange(len(found.bits), dtype=np.int32)[:, None, None]
    slots = []
    for slot in range(coefficients.shape[1]):
        value, place = coefficients[None, :, slot], choice.places[None, :, slot]
        slots.append(xp.where(place == number, value, xp.zeros_like(value)))
    coefficient = functools.reduce(xp.add, slots)
    factors = list(xp.take(weights, found.operands))
    after = [xp.ones_like(coefficient)]
    for factor in factors[:0:-1]:
        after.insert(0, factor * after[0])
    terms = []
    for factor, rest in zip(factors, after, strict=True):
        terms.append(coefficient * rest)
        coefficient = coefficient * factor
    places, signs = _uses(found, num_literals, negated)
    rows = xp.stack(terms).reshape(-1, weights.shape[1])
    rows = xp.concatenate([rows, xp.zeros_like(rows[:1])])
    return xp.asarray(signs[..., None], rows.dtype) * xp.take(rows, places)


def _uses(
    found: Disjunctions, num_literals: int, negated: Int[np.ndarray, " negated"]
) -> tuple[Int[np.ndarray, "width literals"], Int[np.ndarray, "width literals"]]:
    """Where among all operands a head has a literal, else behind them all; and 1, or -1 for its negation."""
    leaves = found.operands.reshape(-1)
    used = np.flatnonzero(leaves > 1)
    literal = np.concatenate([np.arange(num_literals), negated])[leaves[used] - 2]
    head = used % found.operands.shape[2]
    places = np.full((found.operands.shape[2], num_literals), len(leaves))
    signs = np.ones(places.shape, np.int32)
    places[head, literal] = used
    signs[head, literal] = np.where(leaves[used] - 2 < num_literals, 1, -1)
    return places.astype(np.int32), signs
