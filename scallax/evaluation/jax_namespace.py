"""The operations of JAX for computations that are written against an array namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, ShapeDtypeStruct, lax

from scallax.kernels.array_namespace import Namespace


@final
class JaxNamespace(Namespace):
    """JAX's operations, traced under `jit`. Index arrays may be of NumPy: they become constants of the code."""

    is_eager = False

    def __init__(self):
        super().__init__(jnp)

    def map(self, function, tree, *others):
        return jax.tree.map(function, tree, *others)

    def leaves(self, tree):
        return jax.tree.leaves(tree)

    def structure(self, tree):
        return jax.tree.structure(tree)

    def shapes(self, function):
        return jax.eval_shape(function)

    def is_array(self, value):
        return isinstance(value, jax.Array)

    def is_float(self, array):
        return jnp.issubdtype(array.dtype, jnp.floating)

    def at_once(self):
        return jax.ensure_compile_time_eval()

    def take(self, array, places):
        return jnp.asarray(array).at[places].get(mode="promise_in_bounds", wrap_negative_indices=False)

    def read(self, array, index):
        return jnp.asarray(array).at[index].get(mode="promise_in_bounds")

    def read_clipped(self, array, index):
        return jnp.asarray(array).at[index].get(mode="clip")

    def take_clipped(self, array, places):
        return jnp.asarray(array).at[places].get(mode="clip")

    def take_filled(self, array, places, fill):
        return jnp.asarray(array).at[places].get(mode="fill", fill_value=fill)

    def take_along_axis(self, array, places, axis):
        return jnp.take_along_axis(array, places, axis, mode="promise_in_bounds")

    def set_at(self, array, index, values):
        return jnp.asarray(array).at[index].set(values)

    def add_at(self, array, places, values):
        return jnp.asarray(array).at[places].add(values, mode="drop")

    def slice_rows(self, array, start, size, axis=0):
        return lax.dynamic_slice_in_dim(array, start, size, axis)

    def index_axis(self, array, index, axis):
        return lax.dynamic_index_in_dim(array, index, axis, keepdims=False)

    def write_slice(self, array, values, start, axis):
        return lax.dynamic_update_slice_in_dim(array, values, start, axis)

    def segment_sum(self, values, segments, count, *, is_sorted=False):
        return jax.ops.segment_sum(values, segments, count, indices_are_sorted=is_sorted)

    def segment_max(self, values, segments, count):
        return jax.ops.segment_max(values, segments, count)

    def sort_rows(self, columns, num_keys):
        return lax.sort(tuple(columns), dimension=0, num_keys=num_keys)

    def select(self, condition, a, b):
        return lax.select(condition, a, b)

    def clamp(self, numbers, low, high):
        return lax.clamp(jnp.int32(low), numbers, jnp.int32(high))

    def population_count(self, words):
        return lax.population_count(words)

    def reduce_or(self, words, axis):
        return lax.reduce(words, np.zeros((), words.dtype), lax.bitwise_or, (axis % words.ndim,))

    def bitcast(self, array, dtype):
        return lax.bitcast_convert_type(array, dtype)

    def to_int32(self, numbers):
        return numbers.astype(jnp.int32)

    def cond(self, condition, then, otherwise, *arguments):
        return lax.cond(condition, then, otherwise, *arguments)

    def switch(self, index, branches, *arguments):
        return lax.switch(index, branches, *arguments)

    def while_loop(self, goes_on, step, state):
        return lax.while_loop(goes_on, step, state)

    def loop(self, count, step, state):
        start = 0 if isinstance(count, int) else jnp.zeros_like(count)
        return lax.fori_loop(start, count, step, state)

    def scan(self, step, state, items, length=0, unroll=1):
        return lax.scan(step, state, items, length if items is None else None, unroll=unroll)

    def map_rows(self, function, items):
        return lax.map(function, items)

    def stop_gradient(self, array):
        return lax.stop_gradient(array)

    def custom_vjp(self, function, forward, backward):
        if _IS_NATIVE.get():
            return function
        guarded = jax.custom_vjp(function)
        guarded.defvjp(forward, backward)
        return guarded

    def straight_through(self, value, replacement, but):
        if not _IS_NATIVE.get():
            return replacement
        return jnp.where(but, replacement, _straight_through(value, replacement))

    def vjp(self, function, *primals):
        return jax.vjp(function, *primals)

    def uniform_by_name(self, seed, names, dtype):
        key = jax.random.key(seed)
        return jax.vmap(lambda name: jax.random.uniform(jax.random.fold_in(key, name), (1,), dtype))(jnp.asarray(names))

    def call_on_host(
        self, function: Callable[..., np.ndarray], shape: tuple[int, ...], floats: Sequence[Any], *arrays: Any
    ) -> jax.Array:
        """`function(floats, *arrays)` on the host.

        Floats are handed over as words: in a branch, the thread of the callback may not know that float64 is enabled,
        and would round them.
        """
        dtype = floats[0].dtype
        words = [lax.bitcast_convert_type(array, jnp.uint32) for array in floats]
        size = (2,) * (dtype.itemsize == 8)

        def run(words, *arrays):
            given = [np.ascontiguousarray(word).view(dtype) for word in words]
            found = function([array[..., 0] if size else array for array in given], *map(np.asarray, arrays))
            return np.ascontiguousarray(found).view(np.uint32).reshape(*found.shape, *size)

        result = jax.pure_callback(run, ShapeDtypeStruct((*shape, *size), jnp.uint32), words, *arrays)
        return lax.bitcast_convert_type(result, dtype)


JAX = JaxNamespace()

_IS_NATIVE: ContextVar[bool] = ContextVar("is_native", default=False)


@contextmanager
def native_derivatives() -> Iterator[None]:
    """Functions with a reverse derivative of their own are plain ones here: JAX pushes no tangent through those."""
    token = _IS_NATIVE.set(True)
    try:
        yield
    finally:
        _IS_NATIVE.reset(token)


@jax.custom_jvp
def _straight_through(value: Array, replacement: Array) -> Array:
    return replacement


_straight_through.defjvp(lambda primals, tangents: (primals[1], tangents[0]))
