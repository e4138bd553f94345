"""The random seed of a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from scallax.errors import InputError
from scallax.evaluation.jax_values import is_jax_array

if TYPE_CHECKING:
    from jaxtyping import Array

    from scallax.evaluation.batch import ArrayLike

# A seed below 2^32, or a JAX key; None is the reasoner's own seed.
Key: TypeAlias = "int | ArrayLike | None"


def as_words(seed: Any) -> ArrayLike:
    """The seed as an array uint32 of no axes, as a ground program has it."""
    return seed.astype(np.uint32) if is_jax_array(seed) else np.asarray(seed, np.uint32)


def read_key(key: Any) -> int | Array:
    """The seed, of 32 bits, that a call's key stands for; that of a JAX key may be traced. InputError for no key."""
    match key:
        case int() if not isinstance(key, bool) and 0 <= key < 1 << 32:
            return key
        case _ if isinstance(key, np.ndarray) or is_jax_array(key):
            # The key is JAX's, and so is the number that it stands for.
            import jax
            import jax.numpy as jnp

            is_raw = key.shape == (2,) and key.dtype == np.uint32
            if is_raw or (key.shape == () and jnp.issubdtype(key.dtype, jax.dtypes.prng_key)):
                return jax.random.bits(jnp.asarray(key) if is_raw else key, (), jnp.uint32)
        case _:
            pass
    raise InputError(f"`key` is {key!r}; give an integer from 0 to 2^32 - 1, or a key of `jax.random.key`")
