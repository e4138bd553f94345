"""Values moved from place to place as `moves` does, where JAX has them: on the host, unless they are traced."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

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
    return _TAKE(absent, values, sources, _invert(sources, values.shape) if places is None else places)[0]


def _invert(sources: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    row = np.asarray(sources).reshape(-1)
    places = np.full(math.prod(shape), row.size, np.int32)
    taken = np.flatnonzero(row < places.size)
    places[row[taken]] = taken
    return places.reshape(shape)


def _pull_take(fill, arrays, cotangents):
    _, sources, places = arrays
    # A gather by the inverse: the derivative that JAX would take of a gather is a scatter, which is slow.
    return [*_TAKE(0.0, cotangents[0], places, sources), None, None]


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
        forms = tuple((array.shape, np.dtype(array.dtype)) for array in arrays)
        return _JOIN(((length,), dtype, forms), *arrays)[0]
    joined = concatenate(np, (length,), dtype, *arrays)
    return to_device(joined, arrays) if any(map(is_committed, arrays)) else joined


def split(values: Shaped[ArrayLike, " ..."]) -> list[Shaped[Array, ""]]:
    """The values as scalars, in row-major order."""
    forms = (((), np.dtype(values.dtype)),) * values.size
    return _SPLIT(forms, values) if is_float(values.dtype) else _divide_anywhere(forms, values)


def _join(form: tuple, *arrays: ArrayLike) -> list[Array]:
    shape, dtype, _ = form
    if any(isinstance(array, Tracer) for array in arrays):
        return [call(None, concatenate, (_JAX, shape, dtype), *arrays)]
    return [to_device(concatenate(np, shape, dtype, *arrays), arrays)]


def _pull_join(form, arrays, cotangents):
    _, _, forms = form
    parts = _SPLIT(forms, *cotangents)
    return [part if is_float(dtype) else None for part, (_, dtype) in zip(parts, forms, strict=True)]


def _pull_split(forms, arrays, cotangents):
    (values,) = arrays
    own = tuple((cotangent.shape, np.dtype(cotangent.dtype)) for cotangent in cotangents)
    return _JOIN((values.aval.shape, np.dtype(values.aval.dtype), own), *cotangents)


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


class _Linear:
    """`function(static, *arrays)`, linear in the floats among the arrays, with a transpose of its own.

    `shapes` gives shape and dtype of each result. `pull(static, arrays, cotangents)` gives the cotangents of the
    arrays, of which those of floats are undefined, or None. `without_constant` makes the static part of the tangents.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., list[Array]],
        shapes: Callable[..., list[_Form]],
        pull: Callable[..., list[Array | None]],
        without_constant: Callable[[Any], Any] = lambda static: static,
    ):
        self._primitive = primitive = Primitive(f"scallax_{name}")
        primitive.multiple_results = True
        primitive.def_impl(lambda *arrays, static: function(static, *arrays))

        @primitive.def_abstract_eval
        def find_avals(*avals, static):
            return [avals[0].update(shape=shape, dtype=dtype) for shape, dtype in shapes(static, *avals)]

        def jvp(arrays, tangents, *, static):
            given = [
                (jnp.zeros_like(array) if type(tangent) is ad.Zero else tangent) if is_float(array.dtype) else array
                for array, tangent in zip(arrays, tangents, strict=True)
            ]
            linear = without_constant(static)
            return primitive.bind(*arrays, static=static), primitive.bind(*given, static=linear)

        def transpose(cotangents, *arrays, static):
            zeros = [ad.instantiate_zeros(cotangent) for cotangent in cotangents]
            return pull(static, arrays, zeros)

        def map_batch(arrays, axes, *, static):
            results = jax.vmap(functools.partial(function, static), axes)(*arrays)
            return results, [0] * len(results)

        ad.primitive_jvps[primitive] = jvp
        ad.primitive_transposes[primitive] = transpose
        batching.primitive_batchers[primitive] = map_batch
        lower = mlir.lower_fun(lambda *arrays, static: function(static, *arrays), multiple_results=True)
        mlir.register_lowering(primitive, lower)

    def __call__(self, static: Any, *arrays: ArrayLike) -> list[Array]:
        """The results."""
        return self._primitive.bind(*arrays, static=static)


_TAKE = _Linear(
    "take",
    lambda fill, values, sources, places: [_take(values, sources, fill)],
    lambda fill, values, sources, places: [(sources.shape, values.dtype)],
    _pull_take,
    lambda fill: 0.0,
)
_JOIN = _Linear("join", _join, lambda form, *arrays: [form[:2]], _pull_join)
_SPLIT = _Linear(
    "split", lambda forms, values: _divide_anywhere(forms, values), lambda forms, values: forms, _pull_split
)
