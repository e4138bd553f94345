"""A batch of input arrays through a ground program: compiled functions that all reasoners share."""

import functools
import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, PyTree, Shaped

from scallax import evaluate as evaluation
from scallax.grounding.layout import GroundProgram
from scallax.mappings import Retention
from scallax.provenance import AbstractProvenance

# What a caller may give for an input `[batch, *mapping.shape]`.
ArrayLike = jax.Array | np.ndarray


@dataclass(frozen=True, slots=True)
class Signature:
    """What a compiled function depends on beside the shapes of its arguments; equal ones share a compilation.

    `retentions` has one item for each input relation; `num_outputs` is the number of output tuples.
    """

    provenance: AbstractProvenance
    retentions: tuple[Retention | None, ...]
    num_outputs: int


@functools.partial(jax.jit, static_argnums=0)
def evaluate_batch(
    signature: Signature, program: GroundProgram, arrays: tuple[ArrayLike, ...]
) -> Shaped[Array, "batch outputs"]:
    """The outputs' values, of the inputs' dtype (bool for a discrete provenance); without inputs, a batch of 1."""
    batch = _batch_size(arrays)
    if batch == 0:
        return jnp.zeros((0, signature.num_outputs), output_dtype(signature, arrays))
    inputs, present = _columns(signature, arrays)
    return _rows(signature, arrays, evaluation.evaluate(signature.provenance, program, inputs, present))


@functools.partial(jax.jit, static_argnums=0)
def forward_batch(
    signature: Signature, program: GroundProgram, arrays: tuple[ArrayLike, ...]
) -> tuple[Shaped[Array, "batch outputs"], PyTree[Array]]:
    """The outputs' values, and what `pull_back_batch` needs beside the arguments."""
    if _batch_size(arrays) == 0:
        return evaluate_batch(signature, program, arrays), None
    inputs, present = _columns(signature, arrays)
    values, residuals = evaluation.forward(signature.provenance, program, inputs, present)
    return _rows(signature, arrays, values), residuals


@functools.partial(jax.jit, static_argnums=0)
def pull_back_batch(
    signature: Signature,
    program: GroundProgram,
    arrays: tuple[ArrayLike, ...],
    residuals: PyTree[Array],
    cotangent: ArrayLike,
) -> tuple[Array | None, ...]:
    """Gradients of the arrays, of their shapes and dtypes, for a cotangent `[batch, outputs]`; None for bool arrays."""
    if _batch_size(arrays) == 0:
        return tuple(jnp.zeros_like(array) if _is_float(array) else None for array in arrays)
    inputs, present = _columns(signature, arrays)
    missing = _padded_outputs(program) - signature.num_outputs
    columns = jnp.pad(cotangent.astype(inputs.dtype).T, ((0, missing), (0, 0)))
    gradient = evaluation.backward(signature.provenance, program, inputs, present, residuals, columns)
    gradients, start = [], 0
    for array in arrays:
        size = math.prod(array.shape[1:])
        part = gradient[start : start + size].T.reshape(array.shape)
        gradients.append(part.astype(array.dtype) if _is_float(array) else None)
        start += size
    return tuple(gradients)


def output_dtype(signature: Signature, arrays: tuple[ArrayLike, ...]) -> DTypeLike:
    """Bool for a discrete provenance; else the inputs' float dtype; float32 or float64, the wider, if they differ."""
    if signature.provenance.is_discrete:
        return jnp.bool_
    dtypes = {jnp.dtype(array.dtype) for array in arrays if _is_float(array)}
    return dtypes.pop() if len(dtypes) == 1 else _computing_dtype(arrays)


def retained(retention: Retention, values: Float[Array, "batch ..."]) -> Bool[Array, "batch ..."]:
    """Which entries exist; of equal ones the first are kept."""
    kept = jnp.ones(values.shape, bool)
    if retention.threshold is not None:
        kept = values >= jnp.asarray(retention.threshold, values.dtype)
    if retention.k is not None:
        axis = 1 if retention.dim is None else retention.dim + 1
        slices = values.reshape(values.shape[0], -1) if retention.dim is None else values
        order = jnp.argsort(slices, axis=axis, descending=True, stable=True)
        rank = jnp.argsort(order, axis=axis)
        kept &= (rank < retention.k).reshape(values.shape)
    return kept


def _columns(
    signature: Signature, arrays: tuple[ArrayLike, ...]
) -> tuple[Float[Array, "inputs batch"], Bool[Array, "inputs batch"]]:
    """All inputs and which of them exist, one row for each entry of each mapping."""
    dtype, batch = _computing_dtype(arrays), _batch_size(arrays)
    if not arrays:
        return jnp.zeros((0, batch), dtype), jnp.zeros((0, batch), bool)
    values, masks = [], []
    for array, retention in zip(arrays, signature.retentions, strict=True):
        value = jnp.asarray(array, dtype)
        mask = jnp.ones(value.shape, bool) if retention is None else retained(retention, value)
        values.append(value.reshape(batch, -1).T)
        masks.append(mask.reshape(batch, -1).T)
    return jnp.concatenate(values), jnp.concatenate(masks)


def _rows(
    signature: Signature, arrays: tuple[ArrayLike, ...], values: Shaped[Array, "padded batch"]
) -> Shaped[Array, "batch outputs"]:
    return values[: signature.num_outputs].T.astype(output_dtype(signature, arrays))


def _computing_dtype(arrays: tuple[ArrayLike, ...]) -> DTypeLike:
    return jnp.float64 if any(array.dtype == jnp.float64 for array in arrays) else jnp.float32


def _batch_size(arrays: tuple[ArrayLike, ...]) -> int:
    return arrays[0].shape[0] if arrays else 1


def _padded_outputs(program: GroundProgram) -> int:
    return program.outputs.shape[0]


def _is_float(array: ArrayLike) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)
