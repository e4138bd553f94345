"""Values moved from place to place, without arithmetic: on the host, unless they are traced.

How many there are changes from batch to batch: so nothing is compiled for it, also where `jax.grad` differentiates what
is not compiled. Results go to the device that the values are bound to; those of arrays of NumPy are arrays of NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from scallax.evaluation.jax_values import canonical_dtype, is_array, is_jax_array

if TYPE_CHECKING:
    from jax.typing import DTypeLike
    from jaxtyping import Int, Shaped

    from scallax.evaluation.batch import ArrayLike


def computing_dtype(given: Iterable[Any]) -> type[np.floating]:
    """The dtype that numbers are computed in: float64 if an array of NumPy or JAX among them is, else float32."""
    is_double = any(is_array(part) and part.dtype == np.float64 for part in given)
    return np.float64 if is_double else np.float32


def widest_dtype(arrays: Sequence[ArrayLike]) -> DTypeLike:
    """The dtype that JAX gives to the values of several arrays side by side, at least one."""
    if any(map(is_jax_array, arrays)):
        import jax.numpy as jnp

        return jnp.result_type(*arrays)
    return canonical_dtype(np.result_type(*(array.dtype for array in arrays)))


def take(
    values: Shaped[ArrayLike, "*form"],
    sources: Int[ArrayLike, " ..."],
    absent: float,
    places: Int[ArrayLike, "*form"] | None = None,
) -> Shaped[ArrayLike, " ..."]:
    """The values, as one row, at the places `sources`; `absent` where these are behind the end. None is taken twice.

    `places` are the inverse of `sources`, behind their end for a value that is not taken; needed if they are traced.
    """
    if is_jax_array(values) or is_jax_array(sources):
        from scallax.evaluation import jax_moves

        return jax_moves.take(values, sources, absent, places)
    return take_on_host(values, sources, absent)


def take_on_host(values: ArrayLike, sources: ArrayLike, absent: float) -> np.ndarray:
    """`take` of values that are not traced, as an array of NumPy."""
    row = np.asarray(values).reshape(-1)
    return np.append(row, np.full(1, absent, row.dtype)).take(np.asarray(sources), mode="clip")


def join(parts: Sequence[Any], length: int, dtype: DTypeLike) -> ArrayLike:
    """The values of arrays and numbers, one after the other, `[length]` of `dtype`; 0 behind the last.

    An array of NumPy, unless a part is traced or bound to a device.
    """
    dtype = np.dtype(dtype)
    with np.errstate(over="ignore"):  # infinite numbers are the caller's to refuse
        arrays = [part if is_array(part) else np.asarray(part, dtype) for part in parts]
    if any(map(is_jax_array, arrays)):
        from scallax.evaluation import jax_moves

        return jax_moves.join(arrays, length, dtype)
    return concatenate(np, (length,), dtype, *arrays)


def split(values: Shaped[ArrayLike, " ..."]) -> Sequence[Shaped[ArrayLike, ""]]:
    """The values as scalars, in row-major order."""
    if is_jax_array(values):
        from scallax.evaluation import jax_moves

        return jax_moves.split(values)
    return list(values.reshape(-1))


def concatenate(xp: Any, shape: tuple[int, ...], dtype: np.dtype, *arrays: ArrayLike) -> Any:
    """The values of arrays, one after the other, of a shape and a dtype, 0 behind the last; by `xp`, a NumPy."""
    with np.errstate(over="ignore"):  # as in `join`
        parts = [xp.asarray(array, dtype).reshape(-1) for array in arrays]
    missing = math.prod(shape) - sum(map(len, parts))
    return xp.concatenate([*parts, xp.zeros(missing, dtype)]).reshape(shape)


def pad_rows(rows: np.ndarray, num_rows: int) -> np.ndarray:
    """The rows, at least one, and the last of them again up to a number of rows."""
    if len(rows) == num_rows:
        return rows
    padded_rows = np.empty((num_rows, *rows.shape[1:]), rows.dtype)
    padded_rows[: len(rows)] = rows
    padded_rows[len(rows) :] = rows[-1]
    return padded_rows
