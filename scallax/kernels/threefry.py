"""Random numbers as JAX draws them: Threefry-2x32 in counter mode (Salmon et al., SC 2011), on NumPy arrays.

The numbers are those of `jax.random` with its defaults: keys of the kind `threefry2x32`, drawn in the partitionable
way.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped, UInt32
    from numpy.typing import DTypeLike

# Arrays, or single words.
Words: TypeAlias = np.ndarray | np.uint32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = np.uint32(0x1BD11BDA)


def key(seed: int | np.ndarray | np.generic) -> UInt32[np.ndarray, "... 2"]:
    """The keys of seeds from 0 to 2^32 - 1."""
    low = np.asarray(seed, np.uint32)
    return np.stack([np.zeros_like(low), low], -1)


def fold_in(keys: UInt32[np.ndarray, "... 2"], data: int | np.ndarray | np.generic) -> UInt32[np.ndarray, "... 2"]:
    """A key for each key and each number of `data`, int32 or uint32."""
    low = np.asarray(data).astype(np.uint32)
    return np.stack(_hash(keys, np.zeros_like(low), low), -1)


def bits(keys: UInt32[np.ndarray, "... 2"], shape: Sequence[int], size: int = 32) -> Shaped[np.ndarray, " ..."]:
    """Random words of 32 or 64 bits of a shape for each key."""
    counters = np.arange(math.prod(shape), dtype=np.uint64)
    high, low = (counters >> np.uint64(32)).astype(np.uint32), counters.astype(np.uint32)
    first, second = _hash(keys[..., None, :], high, low)
    words = first ^ second
    if size == 64:
        words = (first.astype(np.uint64) << np.uint64(32)) | second
    return words.reshape(*keys.shape[:-1], *shape)


def uniform(
    keys: UInt32[np.ndarray, "... 2"], shape: Sequence[int], dtype: DTypeLike = np.float32
) -> Float[np.ndarray, " ..."]:
    """Numbers from [0, 1) of a shape for each key, float32 or float64."""
    kind: Any = np.dtype(dtype)
    word, size = np.dtype(f"u{kind.itemsize}"), 8 * kind.itemsize
    # Random digits of a number from 1 to 2.
    digits = bits(keys, shape, size) >> word.type(size - np.finfo(kind).nmant)
    ones: np.ndarray = np.ones_like(digits, kind).view(word)
    numbers: np.ndarray = (digits | ones).view(kind)
    return numbers - kind.type(1)


def categorical(
    keys: UInt32[np.ndarray, " 2"], logits: Float[np.ndarray, "... categories"], shape: Sequence[int]
) -> np.ndarray:
    """Categories drawn by logits, int64 `[*shape, ...]`: those of the largest logit with Gumbel noise."""
    dtype = logits.dtype
    tiny = np.finfo(dtype).tiny
    noise = uniform(keys, (*shape, *logits.shape), dtype)
    noise = np.maximum(tiny, noise * (dtype.type(1) - tiny) + tiny)
    return np.argmax(logits - np.log(-np.log(noise)), -1)


def _hash(
    keys: UInt32[np.ndarray, "... 2"], first: UInt32[Words, " ..."], second: UInt32[Words, " ..."]
) -> tuple[UInt32[Words, " ..."], UInt32[Words, " ..."]]:
    """The two words of each counter, encrypted by the key: 20 rounds, with the key added after every four."""
    parts = keys[..., 0], keys[..., 1], keys[..., 0] ^ keys[..., 1] ^ _PARITY
    # Sums wrap.
    with np.errstate(over="ignore"):
        first, second = first + parts[0], second + parts[1]
        for number in range(5):
            for rotation in _ROTATIONS[number % 2]:
                first = first + second
                second = (second << np.uint32(rotation)) | (second >> np.uint32(32 - rotation))
                second = first ^ second
            first = first + parts[(number + 1) % 3]
            second = second + parts[(number + 2) % 3] + np.uint32(number + 1)
    return first, second
