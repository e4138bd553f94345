"""Many small arrays as one: a compiled function takes some microseconds for each array that it is given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

if TYPE_CHECKING:
    from jaxtyping import Array, Int32, PyTree

# Elements of an array from which it is given by itself: to copy it would take longer.
_LARGE = 1 << 13


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class _Form:
    """The structure of a tree, and for each array its shape and the character of its dtype; there is one of each."""

    structure: Any
    arrays: tuple[tuple[tuple[int, ...], str], ...]


@dataclass(frozen=True, slots=True)
class Packed:
    """A tree of arrays of bool, int32, uint32 and float32: the small ones in one of int32, one after the other.

    Trees of one form share compilations.
    """

    words: Int32[Array | np.ndarray, " words"]
    large: tuple[Array | np.ndarray, ...]
    form: _Form


jax.tree_util.register_dataclass(Packed, data_fields=["words", "large"], meta_fields=["form"])

# Forms that are in use.
_FORMS: WeakValueDictionary[tuple, _Form] = WeakValueDictionary()


def pack(tree: PyTree[np.ndarray | np.generic]) -> Packed:
    """The arrays of NumPy of a tree; copies the small ones."""
    leaves, structure = jax.tree.flatten(tree)
    key = (structure, tuple((leaf.shape, leaf.dtype.char) for leaf in leaves))
    form = _FORMS.setdefault(key, _Form(*key))
    words = [_words(leaf) for leaf in leaves if 0 < leaf.size < _LARGE]
    return Packed(np.concatenate(words), tuple(leaf for leaf in leaves if leaf.size >= _LARGE), form)


def unpack(packed: Packed) -> PyTree[Array]:
    """The tree; small arrays are slices."""
    large, leaves, start = iter(packed.large), [], 0
    for shape, char in packed.form.arrays:
        size = math.prod(shape)
        if size >= _LARGE:
            leaves.append(jnp.asarray(next(large)))
            continue
        words = jnp.asarray(packed.words[start : start + size])
        values = words != 0 if char == "?" else lax.bitcast_convert_type(words, np.dtype(char))
        leaves.append(values.reshape(shape))
        start += size
    return jax.tree.unflatten(packed.form.structure, leaves)


def _words(leaf: np.ndarray | np.generic) -> Int32[np.ndarray, " words"]:
    flat = leaf.reshape(-1)
    assert flat.itemsize in (1, 4)
    return flat.astype(np.int32) if leaf.dtype == np.bool_ else flat.view(np.int32)
