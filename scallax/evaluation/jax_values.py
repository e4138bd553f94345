"""Tells values of JAX without importing it: where JAX was never imported, there are none."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from jax.typing import DTypeLike

# The dtypes that take the place of wide ones where JAX may not use these.
_NARROW = {np.dtype(wide): np.dtype(wide[:-2] + "32") for wide in ("float64", "int64", "uint64")}

_TRUE = ("y", "yes", "t", "true", "on", "1")


def is_jax_array(value: object) -> bool:
    """Whether a value is an array of JAX, traced or not."""
    kind = getattr(sys.modules.get("jax"), "Array", None)
    return kind is not None and isinstance(value, kind)


def is_array(value: object) -> bool:
    """Whether a value is an array of NumPy or JAX."""
    return isinstance(value, np.ndarray) or is_jax_array(value)


def is_traced(value: object) -> bool:
    """Whether a value stands for one that is not known yet, under a transformation of JAX."""
    kind = getattr(sys.modules.get("jax.core"), "Tracer", None)
    return kind is not None and isinstance(value, kind)


def is_concrete(value: object) -> bool:
    """Whether the values can be looked at: they are not traced."""
    return not is_traced(value)


def is_on_host(array: Any) -> bool:
    """Whether the values, which are not traced, can be looked at without waiting for an accelerator."""
    # Steps ask of arrays of NumPy most often.
    if isinstance(array, np.ndarray) or not is_jax_array(array):
        return True
    return all(device.platform == "cpu" for device in array.devices())


def is_committed(array: Any) -> bool:
    """Whether an array is bound to a device."""
    return is_jax_array(array) and is_concrete(array) and array.committed


def is_float(dtype: DTypeLike) -> bool:
    """Whether a dtype is one of floats, the narrow ones of JAX among them."""
    return _is_kind(dtype, "f")


def is_integer(dtype: DTypeLike) -> bool:
    """Whether a dtype is one of integers, the narrow ones of JAX among them."""
    return _is_kind(dtype, "iu")


def _is_kind(dtype: Any, kinds: str) -> bool:
    kind = getattr(dtype, "kind", "V")
    if kind != "V":
        return kind in kinds
    # NumPy does not know the narrow types of JAX, nor the types of random keys.
    import jax.numpy as jnp

    return jnp.issubdtype(dtype, jnp.floating if kinds == "f" else jnp.integer)


def canonical_dtype(dtype: DTypeLike) -> np.dtype:
    """The dtype that JAX has for values of a dtype of NumPy: a narrower one, unless the caller enabled float64."""
    dtype = np.dtype(dtype)
    return dtype if uses_float64() else _NARROW.get(dtype, dtype)


def uses_float64() -> bool:
    """Whether the caller let JAX compute in float64; without it arrays of float64 are read as float32."""
    jax = sys.modules.get("jax")
    if jax is None:
        return os.environ.get("JAX_ENABLE_X64", "").lower() in _TRUE
    return jax.config.read("jax_enable_x64")
