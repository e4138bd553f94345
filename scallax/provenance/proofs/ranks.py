"""The rank of a proof: an integer that does not depend on the order in which its literals were joined.

The rank of a proof with the literals' weights `w` is

    Σ 2 L(w) + [w < 0],  with  L(w) = 2^17 (e - 127) + T[i] + ⌊(r (T[i + 1] - T[i]) + 2^14) / 2^15⌋,

where `e` is the exponent of the float32 nearest to `w`, `i` are the first 8 bits of its mantissa and `r` the other 15,
and `T[i] = round(2^17 log2(1 + i / 256))` is a table: `L(w)` is `2^17 log2 |w|` to within 2 or 3 units. A sum is odd if
an odd number of weights is negative. A weight of zero has the rank of 2^-1024: each zero more puts a proof behind all
products of fewer, and those with as many zeros are in the order of their other literals, on the way to a proof as in
the end. A sum is kept between `LEAST` and the rank of what is not finite: proofs with four zeros tie. Those with one
add nothing to a value, those with two nothing to a derivative.

All of that are shifts of bits, look-ups and sums of integers, which nothing rounds: every order of joins, every
representation of proofs and every array library finds the same rank for weights from 0 to 1 (for others as long as no
sum on the way is at a limit). Products of floats would differ in their last digits by the order of factors and where a
multiplication and an addition are one instruction, and logarithms of floats from library to library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from scallax.kernels.array_namespace import array_namespace

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from scallax.kernels.array_namespace import Array
    from scallax.provenance.base import LiteralTable

# The rank of an unused place.
NO_PROOF = np.iinfo(np.int32).min

# The rank of one literal that weighs zero: less than that of any other normal number that is not negative.
ZERO = -(1 << 28)

# The rank of what is no finite number: it is taken first, so that it is seen at the output.
_NOT_FINITE = 1 << 28

# The least rank: room is left below for the keys of negative products, above `NO_PROOF`.
LEAST = -(7 << 27)

# Fixed-point digits of a logarithm, and bits of a mantissa whose logarithm is looked up; the others are interpolated.
_DIGITS, _LOOKED_UP = 17, 8
_STEP = 23 - _LOOKED_UP
_LOGARITHMS = np.round((1 << _DIGITS) * np.log2(1 + np.arange((1 << _LOOKED_UP) + 1) / (1 << _LOOKED_UP)))

# Each logarithm and its distance to the next, below 2^10, in one number: one look-up takes half the time of two.
_DISTANCE = 10
_TABLE = (_LOGARITHMS[:-1] * (1 << _DISTANCE) + np.diff(_LOGARITHMS)).astype(np.int32)


def rank_weights(weights: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
    """The ranks of weights of literals, in the order of their sizes in float32: the equation is that of this module.

    int32; `ZERO` for weights below 2^-126 in size, which some array libraries take for zero, and 2^28 for what is not
    finite.
    """
    xp = array_namespace(weights)
    bits = xp.bitcast(weights.astype(xp.float32), xp.int32)
    size = bits & np.iinfo(np.int32).max
    place, rest = (size >> _STEP) & ((1 << _LOOKED_UP) - 1), size & ((1 << _STEP) - 1)
    entry = xp.take(_TABLE, place)
    # The product is below 2^25.
    rise = ((entry & ((1 << _DISTANCE) - 1)) * rest + (1 << (_STEP - 1))) >> _STEP
    rank = 2 * ((((size >> 23) - 127) << _DIGITS) + (entry >> _DISTANCE) + rise) - (bits >> 31)
    rank = xp.where(size < (1 << 23), ZERO, rank)
    return xp.where(size < (255 << 23), rank, _NOT_FINITE)


def rank_logarithms(logs: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
    """The ranks of weights with these natural logarithms, in their order down to `ZERO`, 2^-1024."""
    xp = array_namespace(logs)
    half = xp.clip(logs * np.asarray((1 << _DIGITS) / np.log(2), logs.dtype), ZERO // 2, _NOT_FINITE // 2)
    return xp.where(xp.isnan(logs), _NOT_FINITE, 2 * xp.to_int32(half))


def rank_literals(literals: LiteralTable, weights: Float[Array, "*shape"]) -> Int[Array, "*shape"]:
    """The ranks of weights of literals, which are logarithms if those are."""
    return rank_logarithms(weights) if literals.is_log else rank_weights(weights)


def add_ranks(a: Int[Array, " ..."], b: Int[Array, " ..."]) -> Int[Array, " ..."]:
    """The rank of two proofs together that share no literal."""
    return array_namespace(a, b).clamp(a + b, LEAST, _NOT_FINITE)


def keys_of(ranks: Int[Array, "*shape"]) -> Int[Array, "*shape"]:
    """Numbers in the order of the products that ranks stand for, negative ones too; twice that is the rank again."""
    # Odd are the ranks of negative products and their keys, and nothing else: `NO_PROOF` and the limits are even.
    return array_namespace(ranks).select(ranks & 1 != 0, 2 * LEAST - ranks, ranks)


def is_proof(ranks: Int[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """Whether places hold a proof."""
    return ranks != NO_PROOF
