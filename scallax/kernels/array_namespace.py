"""Array namespaces: one text of a computation runs at once on NumPy arrays, or is traced and compiled by JAX.

`array_namespace(*arrays)` gives the operations for some arrays, as the array API standard has it. NumPy's are here;
those of JAX are registered by the stage that may import it. Array of both are computed with by Python's operators,
methods and indices; the methods of a `Namespace` are the operations for which the two have no common name.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from types import ModuleType
from typing import Any, final

import numpy as np

from scallax.kernels import threefry

# An array or a number of one of the libraries.
Array = Any
# Tuples, named tuples, lists and dictionaries of arrays, nested; for JAX any pytree.
Tree = Any


class Namespace(ABC):
    """The operations of an array library.

    The annotated names are functions and dtypes that NumPy and `jax.numpy` share, with their meaning there. Dtypes are
    given wherever the libraries' defaults differ: numbers are int32, uint32, bool, and float32 or float64.
    """

    # Whether operations run when they are called, so that values may be looked at and work be skipped.
    is_eager: bool

    abs: Callable[..., Any]
    add: Callable[..., Any]
    arange: Callable[..., Any]
    argmax: Callable[..., Any]
    asarray: Callable[..., Any]
    bool_: Any
    broadcast_to: Callable[..., Any]
    clip: Callable[..., Any]
    concatenate: Callable[..., Any]
    cumsum: Callable[..., Any]
    exp: Callable[..., Any]
    expm1: Callable[..., Any]
    finfo: Callable[..., Any]
    float32: Any
    full: Callable[..., Any]
    full_like: Callable[..., Any]
    greater: Callable[..., Any]
    int32: Any
    isfinite: Callable[..., Any]
    isinf: Callable[..., Any]
    isnan: Callable[..., Any]
    less: Callable[..., Any]
    log: Callable[..., Any]
    log1p: Callable[..., Any]
    maximum: Callable[..., Any]
    minimum: Callable[..., Any]
    moveaxis: Callable[..., Any]
    multiply: Callable[..., Any]
    ones: Callable[..., Any]
    ones_like: Callable[..., Any]
    pad: Callable[..., Any]
    repeat: Callable[..., Any]
    stack: Callable[..., Any]
    uint32: Any
    where: Callable[..., Any]
    zeros: Callable[..., Any]
    zeros_like: Callable[..., Any]

    def __init__(self, library: ModuleType):
        for name in Namespace.__annotations__:
            if name != "is_eager":
                setattr(self, name, getattr(library, name))

    # Trees of arrays.

    @abstractmethod
    def map(self, function: Callable[..., Any], tree: Tree, *others: Tree) -> Tree:
        """The tree with `function(leaf, *others)` for its leaves."""

    @abstractmethod
    def leaves(self, tree: Tree) -> list[Any]:
        """The leaves in order."""

    @abstractmethod
    def structure(self, tree: Tree) -> Any:
        """The tree without its leaves; equal for trees of one structure."""

    @abstractmethod
    def shapes(self, function: Callable[[], Tree]) -> Tree:
        """Array of the shapes and dtypes of what the function returns; where possible nothing is computed."""

    @abstractmethod
    def is_array(self, value: object) -> bool:
        """Whether a value is an array of the library."""

    @abstractmethod
    def is_float(self, array: Array) -> bool:
        """Whether an array is one of floats."""

    @abstractmethod
    def at_once(self) -> AbstractContextManager[None]:
        """Within it, operations run when they are called, also while code is traced."""

    # Reading and writing at places.

    @abstractmethod
    def take(self, array: Array, places: Array) -> Any:
        """The rows at some places, all of them in range."""

    @abstractmethod
    def read(self, array: Array, index: Any) -> Any:
        """`array[index]`, which is in range, from the end for negative places."""

    @abstractmethod
    def read_clipped(self, array: Array, index: tuple[Array, ...]) -> Any:
        """`array[index]` for places from 0; the last one along an axis for those from its end on."""

    @abstractmethod
    def take_clipped(self, array: Array, places: Array) -> Any:
        """The rows at some places: the last row for those from the end on; -1 is the last row as well."""

    @abstractmethod
    def take_filled(self, array: Array, places: Array, fill: Any) -> Any:
        """The rows at some places from 0, and `fill` for those from the end on."""

    @abstractmethod
    def take_along_axis(self, array: Array, places: Array, axis: int) -> Any:
        """NumPy's function, for places that are all in range."""

    @abstractmethod
    def set_at(self, array: Array, index: Any, values: Array) -> Any:
        """A copy of the array with `values` at an index."""

    @abstractmethod
    def add_at(self, array: Array, places: Array, values: Array) -> Any:
        """A copy of the array with `values` added to the rows at some places; those from the end on are passed over."""

    @abstractmethod
    def slice_rows(self, array: Array, start: Array, size: int, axis: int = 0) -> Any:
        """`array[start : start + size]` along an axis, all in range; not to be written to."""

    @abstractmethod
    def index_axis(self, array: Array, index: Array, axis: int) -> Any:
        """`array` at an index of one axis, which goes."""

    @abstractmethod
    def write_slice(self, array: Array, values: Array, start: Array, axis: int) -> Any:
        """A copy of the array with `values` from `start` on along an axis."""

    @abstractmethod
    def segment_sum(self, values: Array, segments: Array, count: int, *, is_sorted: bool = False) -> Any:
        """Sums `[count, ...]` of the rows of each of `count` segments; `is_sorted` says that segments ascend."""

    @abstractmethod
    def segment_max(self, values: Array, segments: Array, count: int) -> Any:
        """The largest values `[count, ...]` of the rows of each of `count` segments."""

    @abstractmethod
    def sort_rows(self, columns: Sequence[Array], num_keys: int) -> Sequence[Any]:
        """Array of one shape, sorted along the first axis by the first `num_keys` of them."""

    # Integers and bits.

    @abstractmethod
    def select(self, condition: Array, a: Array, b: Array) -> Any:
        """`where` for arrays of one shape and dtype; compiled code has no function of its own for it."""

    @abstractmethod
    def clamp(self, numbers: Array, low: int, high: int) -> Any:
        """int32 numbers, those beyond a bound replaced by it."""

    @abstractmethod
    def population_count(self, words: Array) -> Any:
        """The numbers of set bits, of the words' dtype."""

    @abstractmethod
    def reduce_or(self, words: Array, axis: int) -> Any:
        """The bitwise or along an axis, which goes."""

    @abstractmethod
    def bitcast(self, array: Array, dtype: Any) -> Any:
        """The array's bits as those of another dtype of the same size."""

    @abstractmethod
    def to_int32(self, numbers: Array) -> Any:
        """Floats in the range of int32 rounded towards 0; 0 for NaN."""

    # Control.

    @abstractmethod
    def cond(self, condition: Array, then: Callable[..., Any], otherwise: Callable[..., Any], *arguments: Any) -> Any:
        """`then(*arguments)` if the condition holds, else `otherwise(*arguments)`."""

    @abstractmethod
    def switch(self, index: Array, branches: Sequence[Callable[..., Any]], *arguments: Any) -> Any:
        """`branches[index](*arguments)`."""

    @abstractmethod
    def while_loop(self, goes_on: Callable[[Any], Any], step: Callable[[Any], Any], state: Any) -> Any:
        """The state after steps for as long as it `goes_on`."""

    @abstractmethod
    def loop(self, count: Array, step: Callable[[Any, Any], Any], state: Any) -> Any:
        """The state after `step(i, state)` for i from 0 to `count`."""

    @abstractmethod
    def scan(
        self, step: Callable[[Any, Any], tuple[Any, Any]], state: Any, items: Tree, length: int = 0, unroll: int = 1
    ) -> tuple[Any, Any]:
        """The last state of `state, output = step(state, item)` for the rows of `items`, and the outputs stacked.

        `length` steps if `items` is None; `unroll` of them are written out where code is compiled.
        """

    @abstractmethod
    def map_rows(self, function: Callable[[Any], Any], items: Tree) -> Any:
        """The results of a function for each row of `items`, one after the other, stacked."""

    # Differentiation.

    @abstractmethod
    def stop_gradient(self, array: Array) -> Any:
        """The array, as a constant."""

    @abstractmethod
    def custom_vjp(
        self, function: Callable[..., Any], forward: Callable[..., Any], backward: Callable[..., Any]
    ) -> Callable[..., Any]:
        """The function with a derivative of its own: `forward` gives value and residuals, `backward` the gradients."""

    @abstractmethod
    def straight_through(self, value: Array, replacement: Array, but: Array) -> Any:
        """The replacement, with the derivative of the value, but its own if `but`, where tangents are pushed."""

    @abstractmethod
    def vjp(self, function: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
        """The value of a function, and what pulls cotangents back; of arrays of JAX alone."""

    # Draws and the host.

    @abstractmethod
    def uniform_by_name(self, seed: Array, names: Array, dtype: Any) -> Any:
        """A number from [0, 1) for each name `[names, 1]`, drawn by the seed (uint32) and the name alone."""

    @abstractmethod
    def call_on_host(
        self, function: Callable[..., Any], shape: tuple[int, ...], floats: Sequence[Array], *arrays: Array
    ) -> Any:
        """`function(floats, *arrays)` on NumPy arrays: an array of a known shape, of the dtype of the floats."""


@final
class NumPyNamespace(Namespace):
    """NumPy's operations, run at once. Call them where floating-point errors are ignored, as compiled code does."""

    is_eager = True

    def __init__(self):
        super().__init__(np)

    def map(self, function, tree, *others) -> Any:
        if isinstance(tree, tuple | list):
            parts = [self.map(function, *parts) for parts in zip(tree, *others, strict=True)]
            return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
        if tree is None:
            return None
        if isinstance(tree, dict):
            return {key: self.map(function, part, *(other[key] for other in others)) for key, part in tree.items()}
        return function(tree, *others)

    def leaves(self, tree):
        if isinstance(tree, tuple | list):
            return [leaf for part in tree for leaf in self.leaves(part)]
        if isinstance(tree, dict):
            return [leaf for key in sorted(tree) for leaf in self.leaves(tree[key])]
        return [] if tree is None else [tree]

    def structure(self, tree):
        return type(tree), self.map(lambda _: None, tree)

    def shapes(self, function):
        return function()

    def is_array(self, value):
        return isinstance(value, np.ndarray)

    def is_float(self, array):
        return np.issubdtype(array.dtype, np.floating)

    def at_once(self):
        return nullcontext()

    def take(self, array, places):
        return np.asarray(array).take(places, axis=0)

    def read(self, array, index):
        return array[index]

    def read_clipped(self, array, index):
        return array[tuple(np.minimum(places, size - 1) for places, size in zip(index, array.shape, strict=False))]

    def take_clipped(self, array, places):
        return array[np.minimum(places, len(array) - 1)]

    def take_filled(self, array, places, fill):
        found = array[np.minimum(places, len(array) - 1)]
        found[places >= len(array)] = fill
        return found

    def take_along_axis(self, array, places, axis):
        return np.take_along_axis(array, places, axis)

    def set_at(self, array, index, values):
        array = array.copy()
        array[index] = values
        return array

    def add_at(self, array, places, values):
        array = array.copy()
        inside = places < len(array)
        np.add.at(array, places[inside], values[inside])
        return array

    def slice_rows(self, array, start, size, axis=0):
        return array[(slice(None),) * axis + (slice(start, start + size),)]

    def index_axis(self, array, index, axis):
        return array[(slice(None),) * axis + (index,)]

    def write_slice(self, array, values, start, axis):
        return self.set_at(array, (slice(None),) * axis + (slice(start, start + values.shape[axis]),), values)

    def segment_sum(self, values, segments, count, *, is_sorted=False):
        sums = np.zeros((count, *values.shape[1:]), values.dtype)
        np.add.at(sums, segments, values)
        return sums

    def segment_max(self, values, segments, count):
        largest = np.full((count, *values.shape[1:]), -np.inf, values.dtype)
        np.maximum.at(largest, segments, values)
        return largest

    def sort_rows(self, columns, num_keys):
        order = np.lexsort(columns[:num_keys][::-1], axis=0)
        return [np.take_along_axis(column, order, 0) for column in columns]

    def select(self, condition, a, b):
        return np.where(condition, a, b)

    def clamp(self, numbers, low, high):
        return np.minimum(np.maximum(numbers, low), high)

    def population_count(self, words):
        return np.bitwise_count(words).astype(words.dtype)

    def reduce_or(self, words, axis):
        return np.bitwise_or.reduce(words, axis)

    def bitcast(self, array, dtype):
        return array.view(dtype)

    def to_int32(self, numbers):
        return np.where(np.isnan(numbers), 0, numbers).astype(np.int32)

    def cond(self, condition, then, otherwise, *arguments):
        return then(*arguments) if condition else otherwise(*arguments)

    def switch(self, index, branches, *arguments):
        return branches[int(index)](*arguments)

    def while_loop(self, goes_on, step, state):
        while goes_on(state):
            state = step(state)
        return state

    def loop(self, count, step, state):
        for index in range(int(count)):
            state = step(index, state)
        return state

    def scan(self, step, state, items, length=0, unroll=1):
        if items is not None:
            length = len(self.leaves(items)[0])
        outputs = []
        for index in range(length):
            item = None if items is None else self.map(lambda leaf, index=index: leaf[index], items)
            state, output = step(state, item)
            outputs.append(output)
        return state, self._stack(outputs)

    def map_rows(self, function, items):
        rows = range(len(self.leaves(items)[0]))
        return self._stack([function(self.map(lambda leaf, row=row: leaf[row], items)) for row in rows])

    def _stack(self, outputs: list[Any]) -> Any:
        if not outputs or outputs[0] is None:
            return None
        return self.map(lambda *leaves: np.stack(leaves), *outputs)

    def stop_gradient(self, array):
        return array

    def straight_through(self, value, replacement, but):
        return replacement

    def custom_vjp(self, function, forward, backward):
        return function

    def vjp(self, function, *primals):
        raise AssertionError("gradients are those of JAX arrays")

    def uniform_by_name(self, seed, names, dtype):
        keys = threefry.fold_in(threefry.key(seed), names)
        return threefry.uniform(keys, (1,), dtype)

    def call_on_host(self, function, shape, floats, *arrays):
        return function(floats, *arrays)


NUMPY = NumPyNamespace()

# The function that makes the namespace of arrays that are not NumPy's.
_makers: list[Callable[[], Namespace]] = []


def array_namespace(*arrays: Any) -> Namespace:
    """The operations for these arrays: NumPy's if all are of NumPy, else those that were registered."""
    for array in arrays:
        if not isinstance(array, np.ndarray | np.generic):
            return compiling_namespace()
    return NUMPY


def compiling_namespace() -> Namespace:
    """The operations that are traced and compiled."""
    if not _makers:
        # It registers itself when its package is imported; a user's algebra may be called before.
        importlib.import_module("scallax.evaluation")
    return _makers[-1]()


def register(make: Callable[[], Namespace]) -> None:
    """Has `make` give the operations for arrays that are not NumPy's; it is called whenever one is met."""
    _makers.append(make)
