"""Values moved from place to place as `moves` does, where JAX has them: on the host, unless they are traced."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from scallax.evaluation.cache import call
from scallax.evaluation.jax_values import is_committed, is_float
from scallax.evaluation.moves import concatenate, take_on_host

if TYPE_CHECKING:
    from jaxtyping import Array, Int, PyTree, Shaped

    from scallax.evaluation.batch import ArrayLike

# A module has no type that says that it can be hashed.
_JAX: Any = jnp

# Shape and dtype.
_Form = tuple[tuple[int, ...], np.dtype]


def to_device(values: PyTree[ArrayLike], like: Sequence[Any] = ()) -> PyTree[Array]:
    """The arrays on the device that one of `like` is bound to, or wherever JAX wants them; nothing is compiled."""
    for array in like:
        if is_committed(array):
            devices = array.devices()
            return jax.device_put(values, devices.pop() if len(devices) == 1 else None)
    # `jnp.asarray` takes less time, and compiles a function for each shape.
    return jax.device_put(values)


def take(
    values: Shaped[ArrayLike, "*form"],
    sources: Int[ArrayLike, " ..."],
    absent: float,
    places: Int[ArrayLike, "*form"] | None = None,
) -> Shaped[Array, " ..."]:
    """The values, as one row, at the places `sources`; `absent` where these are behind the end. None is taken twice.

    `places` are the inverse of `sources`, behind their end for a value that is not taken; needed if they are traced.
    """
    if not isinstance(values, Tracer) or not is_float(values.dtype):
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
    return to_device(take_on_host(values, places, fill), [values])


def _gather(fill: float, values: ArrayLike, places: ArrayLike) -> Array:
    row = jnp.asarray(values).reshape(-1)
    return row.at[places].get(mode="fill", fill_value=row.dtype.type(fill))


def join(arrays: Sequence[ArrayLike], length: int, dtype: np.dtype) -> ArrayLike:
    """The values of arrays, one after the other, `[length]` of `dtype`; 0 behind the last.

    An array of NumPy, unless one is traced or bound to a device.
    """
    if any(isinstance(array, Tracer) for array in arrays):
        return _join(list(arrays), (length,), dtype, tuple((array.shape, np.dtype(array.dtype)) for array in arrays))
    joined = concatenate(np, (length,), dtype, *arrays)
    return to_device(joined, arrays) if any(map(is_committed, arrays)) else joined


def split(values: Shaped[ArrayLike, " ..."]) -> list[Shaped[Array, ""]]:
    """The values as scalars, in row-major order."""
    if not is_float(values.dtype):
        return _split(values)
    return _split_floats(values, values.shape)


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _join(arrays: list, shape: tuple[int, ...], dtype: np.dtype, forms: tuple[_Form, ...]) -> Array:
    if any(isinstance(array, Tracer) for array in arrays):
        return call(None, concatenate, (_JAX, shape, dtype), *arrays)
    return to_device(concatenate(np, shape, dtype, *arrays), arrays)


def _pull_join(shape, dtype, forms, saved, cotangent):
    parts = _divide_anywhere(forms, cotangent)
    return ([part if is_float(dtype) else None for part, (_, dtype) in zip(parts, forms, strict=True)],)


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
