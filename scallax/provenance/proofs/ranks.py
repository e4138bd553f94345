"""The rank of a proof: an integer that does not depend on the order in which its literals were joined.

A rank is the sum of the fixed-point logarithms of its literals' weights, `2 round(2^17 log2 |w|)`, plus 1 for each
negative one, whose number is thereby even or odd. Integers are added without rounding, so that every order of joins,
every representation of proofs and every array library finds the same rank; a product of floats would differ in its last
digits. The logarithm is computed from the bits of float32 by integers alone, for the same reason.
"""

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int

# The rank of an unused place.
NO_PROOF = np.iinfo(np.int32).min

# The rank of what weighs zero: less than that of any other product of float32 that is not negative.
ZERO = -(1 << 29)

# The rank of what is no finite number: it is taken first, so that it is seen at the output.
_NOT_FINITE = 1 << 28

# Fixed-point digits of a logarithm, and bits of a mantissa whose logarithm is looked up; the others are interpolated.
_DIGITS, _LOOKED_UP = 17, 8
_STEP = 23 - _LOOKED_UP
_LOGARITHMS = np.round((1 << _DIGITS) * np.log2(1 + np.arange((1 << _LOOKED_UP) + 1) / (1 << _LOOKED_UP)))

# Each logarithm and its distance to the next, below 2^10, in one number: one look-up takes half the time of two.
_DISTANCE = 10
_TABLE = (_LOGARITHMS[:-1] * (1 << _DISTANCE) + np.diff(_LOGARITHMS)).astype(np.int32)


def rank_weights(weights: Float[Array, "..."]) -> Int[Array, "..."]:
    """The ranks of weights of literals, in the order of their sizes in float32."""
    bits = lax.bitcast_convert_type(weights.astype(jnp.float32), jnp.int32)
    size = bits & np.iinfo(np.int32).max
    place, rest = (size >> _STEP) & ((1 << _LOOKED_UP) - 1), size & ((1 << _STEP) - 1)
    entry = jnp.asarray(_TABLE).at[place].get(mode="promise_in_bounds", wrap_negative_indices=False)
    # The product is below 2^25.
    rise = ((entry & ((1 << _DISTANCE) - 1)) * rest + (1 << (_STEP - 1))) >> _STEP
    rank = 2 * ((((size >> 23) - 127) << _DIGITS) + (entry >> _DISTANCE) + rise) - (bits >> 31)
    # Numbers below the normal ones are zero in some array libraries.
    rank = jnp.where(size < (1 << 23), ZERO, rank)
    return jnp.where(size < (255 << 23), rank, _NOT_FINITE)


def add_ranks(a: Int[Array, "..."], b: Int[Array, "..."]) -> Int[Array, "..."]:
    """The rank of two proofs together that share no literal."""
    return lax.clamp(jnp.int32(ZERO), a + b, jnp.int32(_NOT_FINITE))


def keys_of(ranks: Int[Array, "..."]) -> Int[Array, "..."]:
    """Numbers in the order of the products that ranks stand for, negative ones too; twice that is the rank again."""
    # Odd are the ranks of negative products and their keys, and nothing else: `NO_PROOF` and the limits are even.
    return lax.select(ranks & 1 != 0, -(1 << 30) - ranks, ranks)


def is_proof(ranks: Int[Array, "..."]) -> Bool[Array, "..."]:
    """Whether places hold a proof."""
    return ranks != NO_PROOF
