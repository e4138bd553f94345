"""Values moved from place to place, without arithmetic: on the host, unless they are traced.

How many there are changes from batch to batch: so nothing is compiled for it, also where `jax.grad` differentiates what
is not compiled. Results go to the device that the values are bound to.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.typing import DTypeLike

from scallax.evaluation.cache import call

if TYPE_CHECKING:
    from jaxtyping import Array, Int, PyTree, Shaped

ArrayLike = jax.Array | np.ndarray | np.generic

# A module has no type that says that it can be hashed.
_JAX: Any = jnp

# Shape and dtype.
_Form = tuple[tuple[int, ...], np.dtype]


def computing_dtype(given: Iterable[Any]) -> type[np.floating]:
    """The dtype that numbers are computed in: float64 if an array of NumPy or JAX among them is, else float32."""
    is_double = any(isinstance(part, jax.Array | np.ndarray) and part.dtype == np.float64 for part in given)
    return np.float64 if is_double else np.float32


def to_device(values: PyTree[ArrayLike], like: Sequence[Any] = ()) -> PyTree[Array]:
    """The arrays on the device that one of `like` is bound to, or wherever JAX wants them; nothing is compiled."""
    for array in like:
        if isinstance(array, jax.Array) and not isinstance(array, Tracer) and array.committed:
            devices = array.devices()
            return jax.device_put(values, devices.pop() if len(devices) == 1 else None)
    return jax.device_put(values)


def take(
    values: Shaped[ArrayLike, "*form"],
    sources: Int[ArrayLike, ...],
    absent: float,
    places: Int[ArrayLike, "*form"] | None = None,
) -> Shaped[Array, ...]:
    """The values, as one row, at the places `sources`; `absent` where these are behind the end. None is taken twice.

    `places` are the inverse of `sources`, behind their end for a value that is not taken; needed if they are traced.
    """
    if not isinstance(values, Tracer) or not jnp.issubdtype(values.dtype, jnp.floating):
        return _take(values, sources, absent)
    return _take_floats(values, sources, _invert(sources, values.shape) if places is None else places, absent)


def _invert(sources: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    row = np.asarray(sources).reshape(-1)
    places = np.full(math.prod(shape), row.size, np.int32)
    taken = np.flatnonzero(row < places.size)
    places[row[taken]] = taken
    return places.reshape(shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(3,))
def _take_floats(values, sources, places, absent):
    return _take(values, sources, absent)


# A gather by the inverse: the derivative that JAX would take of a gather is a scatter, which is slow.
_take_floats.defvjp(
    lambda values, sources, places, absent: (_take(values, sources, absent), places),
    lambda absent, places, cotangent: (_take(cotangent, places, 0.0), None, None),
)


def _take(values: ArrayLike, places: ArrayLike, fill: float) -> Array:
    if isinstance(values, Tracer) or isinstance(places, Tracer):
        return call(None, _gather, (fill,), values, places)
    row = np.asarray(values).reshape(-1)
    taken = np.append(row, np.full(1, fill, row.dtype)).take(np.asarray(places), mode="clip")
    return to_device(taken, [values])


def _gather(fill: float, values: ArrayLike, places: ArrayLike) -> Array:
    row = jnp.asarray(values).reshape(-1)
    return row.at[places].get(mode="fill", fill_value=row.dtype.type(fill))


def join(parts: Sequence[Any], length: int, dtype: DTypeLike) -> jax.Array | np.ndarray:
    """The values of arrays and numbers, one after the other, `[length]` of `dtype`; 0 behind the last.

    An array of NumPy, unless a part is traced or bound to a device.
    """
    dtype = np.dtype(dtype)
    arrays = [part if isinstance(part, jax.Array | np.ndarray) else np.asarray(part, dtype) for part in parts]
    if any(isinstance(array, Tracer) for array in arrays):
        return _join(arrays, (length,), dtype, tuple((array.shape, np.dtype(array.dtype)) for array in arrays))
    joined = _concatenate(np, (length,), dtype, *arrays)
    is_bound = any(isinstance(array, jax.Array) and array.committed for array in arrays)
    return to_device(joined, arrays) if is_bound else joined


def split(values: Shaped[ArrayLike, ...]) -> list[Shaped[Array, ""]]:
    """The values as scalars, in row-major order."""
    if not jnp.issubdtype(values.dtype, jnp.floating):
        return _split(values)
    return _split_floats(values, values.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _join(arrays: list, shape: tuple[int, ...], dtype: np.dtype, forms: tuple[_Form, ...]) -> Array:
    if any(isinstance(array, Tracer) for array in arrays):
        return call(None, _concatenate, (_JAX, shape, dtype), *arrays)
    return to_device(_concatenate(np, shape, dtype, *arrays), arrays)


def _pull_join(shape, dtype, forms, saved, cotangent):
    parts = _divide_anywhere(forms, cotangent)
    is_float = [jnp.issubdtype(dtype, jnp.floating) for _, dtype in forms]
    return ([part if chosen else None for part, chosen in zip(parts, is_float, strict=True)],)


_join.defvjp(lambda arrays, shape, dtype, forms: (_join(arrays, shape, dtype, forms), None), _pull_join)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _split_floats(values: ArrayLike, shape: tuple[int, ...]) -> list[Array]:
    return _split(values)


def _pull_split(shape, saved, cotangents):
    dtype = np.dtype(cotangents[0].dtype)
    return (_join(cotangents, shape, dtype, (((), dtype),) * len(cotangents)),)


_split_floats.defvjp(lambda values, shape: (_split(values), None), _pull_split)


def _split(values: ArrayLike) -> list[Array]:
    return _divide_anywhere((((), np.dtype(values.dtype)),) * values.size, values)


def _concatenate(xp: Any, shape: tuple[int, ...], dtype: np.dtype, *arrays: ArrayLike) -> Any:
    parts = [xp.asarray(array, dtype).reshape(-1) for array in arrays]
    missing = math.prod(shape) - sum(map(len, parts))
    return xp.concatenate([*parts, xp.zeros(missing, dtype)]).reshape(shape)


def _divide_anywhere(forms: tuple[_Form, ...], values: ArrayLike) -> list[Array]:
    if isinstance(values, Tracer):
        return call(None, _divide, (_JAX, forms), values)
    return to_device(_divide(np, forms, np.asarray(values)), [values])


def _divide(xp: Any, forms: tuple[_Form, ...], values: ArrayLike) -> list:
    """Arrays of some forms from the values, as one row."""
    row = values.reshape(-1)
    ends = np.cumsum([math.prod(shape) for shape, _ in forms]).tolist()
    return [
        xp.asarray(row[first:end], dtype).reshape(shape)
        for first, end, (shape, dtype) in zip([0, *ends], ends, forms, strict=False)
    ]
