"""Size classes of batches: rows behind those of the caller, so that batches of like size share compiled code.

A row is added by repeating the last one: it settles when that one does, and every other row is computed as without it.
Nothing looks at the added rows, and they are cut off the results. All of this is done by NumPy where the arrays are on
the host, so that nothing is compiled for a size that is no class.

A batch is padded in calls that compute at once, with arrays on one device: inside a function of the caller's that JAX
transforms, and on a mesh, batches have the sizes that they are given with. Arrays beside facts per sample always get
the rows that the grounding has room for.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import get_opaque_trace_state
from jax.sharding import get_abstract_mesh

from scallax.circuits.size_classes import class_of_batch
from scallax.errors import UnsupportedError
from scallax.evaluation.batch import Arguments, ArrayLike, Signature, batch_size
from scallax.evaluation.cache import call
from scallax.evaluation.jax_moves import to_device
from scallax.evaluation.jax_values import is_committed, is_concrete, is_on_host
from scallax.evaluation.moves import pad_rows

if TYPE_CHECKING:
    from jaxtyping import Array, PyTree, Shaped

T = TypeVar("T")


@jax.tree_util.register_dataclass
@final
@dataclass(frozen=True, slots=True)
class SizedResiduals:
    """The residuals of a batch that was computed with `num_rows` rows: so many has the cotangent of its values."""

    arrays: PyTree[Array]
    num_rows: int = field(metadata={"static": True})


@final
@dataclass(frozen=True, slots=True)
class SizedBatch:
    """The arguments of a call, `given`, with rows behind them: the values have `num_rows`, the caller's are `size`."""

    given: Arguments
    arguments: Arguments
    size: int
    num_rows: int

    @staticmethod
    def of(signature: Signature, given: Arguments, num_rows: int | None = None) -> SizedBatch:
        """The arguments as they are, or padded if they may be and their number of rows is no class.

        With `num_rows` they get so many. Arrays beside facts per sample get those that the circuit has inputs for.
        """
        size = batch_size(signature, given)
        if signature.is_union:
            return SizedBatch(given, _pad_arrays(signature, given), size, size)
        if num_rows is None:
            num_rows = class_of_batch(size)
            if num_rows != size and not _computes_at_once((*given.arrays, *given.logits)):
                num_rows = size
        if num_rows == size:
            return SizedBatch(given, given, size, size)
        arrays = tuple(_pad(array, num_rows) for array in given.arrays)
        logits = tuple(
            array if array.ndim == len(shape) else _pad(array, num_rows)
            for array, shape in zip(given.logits, signature.logit_shapes, strict=True)
        )
        return SizedBatch(given, Arguments(arrays, logits), size, num_rows)

    def pad_cotangent(self, cotangent: ArrayLike) -> ArrayLike:
        """The cotangent with zeros for the rows that are cut off."""
        missing = self.num_rows - self.size
        if not missing:
            return cotangent
        widths = ((0, missing), (0, 0))
        return np.pad(np.asarray(cotangent), widths) if _is_at_hand(cotangent) else jnp.pad(cotangent, widths)

    def cut(self, values: Shaped[Array, "rows ..."]) -> Shaped[ArrayLike, "size ..."]:
        """The values of the caller's rows: an array of NumPy if rows are cut off on the host."""
        return values if self.num_rows == self.size else _cut(values, self.size)

    def cut_gradients(
        self, arrays: Sequence[Array | None], logits: Sequence[Array]
    ) -> tuple[tuple[ArrayLike | None, ...], tuple[ArrayLike, ...]]:
        """The gradients of the caller's rows, and of logits."""
        of_arrays = tuple(
            None if gradient is None else _cut_as(gradient, array)
            for gradient, array in zip(arrays, self.given.arrays, strict=True)
        )
        return of_arrays, tuple(map(_cut_as, logits, self.given.logits))


def run_sized(signature: Signature, given: Arguments, run: Callable[[Arguments], T]) -> tuple[SizedBatch, T]:
    """The arguments as they were padded, and the result of `run` for them.

    A batch that is refused with padding is computed without: it may fit, and errors tell of the rows that were given.
    """
    batch = SizedBatch.of(signature, given)
    if batch.num_rows > batch.size:
        with suppress(UnsupportedError):
            return batch, run(batch.arguments)
        batch = SizedBatch(given, given, batch.size, batch.size)
    return batch, run(batch.arguments)


def _pad_arrays(signature: Signature, arguments: Arguments) -> Arguments:
    """The arguments of samples side by side: the first array has no rows of samples, all others may have."""
    num_rows = signature.num_rows
    if num_rows is None or all(array.shape[0] == num_rows for array in arguments.arrays[1:]):
        return arguments
    tags, *arrays = arguments.arrays
    return Arguments((tags, *(_pad(array, num_rows) for array in arrays)), arguments.logits)


def _pad(array: ArrayLike, num_rows: int) -> ArrayLike:
    if not _is_at_hand(array):
        return call(None, _repeat_last, (num_rows,), array)
    rows = pad_rows(np.asarray(array), num_rows)
    return to_device(rows, [array]) if is_committed(array) else rows


def _cut_as(gradient: Array, given: ArrayLike) -> ArrayLike:
    return gradient if gradient.shape == given.shape else _cut(gradient, given.shape[0])


def _cut(values: Array, size: int) -> ArrayLike:
    return np.asarray(values)[:size] if _is_at_hand(values) else call(None, _first_rows, (size,), values)


def _repeat_last(num_rows: int, array: Array) -> Array:
    return jnp.pad(array, ((0, num_rows - array.shape[0]), *((0, 0),) * (array.ndim - 1)), mode="edge")


def _first_rows(size: int, values: Array) -> Array:
    return values[:size]


def _computes_at_once(arrays: Sequence[Any]) -> bool:
    """Whether functions of the arrays are computed at once, on one device, not traced into another function."""
    if not all(map(_is_on_one_device, arrays)):
        return False
    return get_opaque_trace_state() == _outermost_trace() and get_abstract_mesh().empty


def _is_on_one_device(array: Any) -> bool:
    return isinstance(array, np.ndarray) or (is_concrete(array) and len(array.devices()) == 1)


def _is_at_hand(array: Any) -> bool:
    """Whether NumPy can move the values without waiting for an accelerator or gathering them from a mesh."""
    return _is_on_one_device(array) and is_on_host(array)


@functools.cache
def _outermost_trace() -> Any:
    """The state of JAX outside of all transformations, which a thread of its own begins with."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(get_opaque_trace_state).result()
