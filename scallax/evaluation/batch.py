"""A batch of input arrays through a ground program, by compiled functions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.typing import DTypeLike

from scallax.circuits.circuit import Circuit
from scallax.circuits.constant_program import EmbeddedProgram
from scallax.errors import UnsupportedError
from scallax.evaluation import fold as evaluation
from scallax.evaluation.cache import BoundFunction, Holder, call
from scallax.evaluation.interpretation import ABSENT
from scallax.evaluation.moves import computing_dtype, split
from scallax.facts.tensor_facts import Retention
from scallax.kernels.packing import Packed, unpack
from scallax.provenance.base import AbstractProvenance

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

# The kinds of arrays that a caller may give for an input `[batch, *mapping.shape]`.
ArrayLike = jax.Array | np.ndarray
Shapes = tuple[tuple[int, ...], ...]
# As arrays, as a constant of the code, or as one array; None if it has no outputs.
AnyCircuit = Circuit | EmbeddedProgram | Packed | None

# Keeps the draws of entries apart from those of proofs and selections, which have the same seed.
_RETENTION = 0x52455441


@dataclass(frozen=True, slots=True)
class Signature:
    """The static arguments of a compiled function; equal ones share a compilation.

    `retentions` has one item for each input relation, `logit_shapes` one for each parameter; `num_outputs` is the
    number of output tuples. `is_union`: the program has the facts of all samples side by side, as one sample; the
    inputs are flattened one after the other, and values and cotangents are `[outputs]`.
    """

    provenance: AbstractProvenance
    retentions: tuple[Retention | None, ...]
    logit_shapes: tuple[tuple[int, ...], ...]
    num_outputs: int
    is_union: bool = False


class Arguments(NamedTuple):
    """The arrays of a call: inputs `[batch, *mapping.shape]`, and logits `[*shape]` or `[batch, *shape]`."""

    arrays: tuple[ArrayLike, ...]
    logits: tuple[ArrayLike, ...] = ()


def evaluate_batch(
    holder: Holder | None, signature: Signature, program: AnyCircuit, arguments: Arguments
) -> Shaped[Array, "*batch outputs"]:
    """The outputs' values, of the inputs' dtype (bool for a discrete provenance); without inputs, a batch of 1."""
    return call(holder, _evaluate, (signature,), program, arguments)


def forward_batch(
    holder: Holder | None,
    signature: Signature,
    program: AnyCircuit,
    arguments: Arguments,
) -> tuple[Shaped[Array, "*batch outputs"], PyTree[Array]]:
    """The outputs' values, and what `pull_back_batch` needs beside the arguments."""
    if isinstance(program, EmbeddedProgram):
        return call(holder, _forward, (signature, program), arguments)
    return call(holder, _forward, (signature,), program, arguments)


def pull_back_batch(
    holder: Holder | None,
    signature: Signature,
    program: AnyCircuit,
    arguments: Arguments,
    residuals: PyTree[Array],
    cotangent: ArrayLike,
) -> tuple[tuple[Array | None, ...], tuple[Array, ...]]:
    """Gradients of the arrays (None for bool arrays) and of the logits, of their shapes and dtypes.

    `cotangent` is that of the outputs, `[batch, outputs]`.
    """
    if isinstance(program, EmbeddedProgram):
        return call(holder, _pull_back, (signature, program), arguments, residuals, cotangent)
    return call(holder, _pull_back, (signature,), program, arguments, residuals, cotangent)


def linearize_batch(
    holder: Holder,
    signature: Signature,
    shapes: Shapes,
    program: Circuit,
    entries: Float[ArrayLike, "batch entries"],
) -> Float[Array, "batch derivatives outputs"]:
    """The outputs' values, and behind them in each sample their derivatives by its entries.

    `entries` are the arrays of `shapes` (of a sample), one after the other. For batches of one sample or more, without
    logits.
    """
    return call(holder, _linearize, (signature, shapes), program, entries)


def linearizer(holder: Holder, signature: Signature, shapes: Shapes, program: EmbeddedProgram) -> BoundFunction:
    """`linearize_batch` for one small program, as a function of the entries."""
    return BoundFunction(holder, _linearize, (signature, shapes, program))


def _evaluate(signature: Signature, program: AnyCircuit, arguments: Arguments) -> Shaped[Array, "*batch outputs"]:
    if _is_empty(signature, arguments):
        shape = (signature.num_outputs,) if signature.is_union else (0, signature.num_outputs)
        return jnp.zeros(shape, output_dtype(signature, arguments))
    program = unpack(program) if isinstance(program, Packed) else program
    assert isinstance(program, Circuit)
    inputs, present = _columns(signature, program, arguments)
    values = _rows(signature, arguments, evaluation.evaluate(signature.provenance, program, inputs, present))
    return values[0] if signature.is_union else values


def _forward(
    signature: Signature, program: AnyCircuit, arguments: Arguments
) -> tuple[Shaped[Array, "*batch outputs"], PyTree[Array]]:
    if _is_empty(signature, arguments):
        return _evaluate(signature, None, arguments), None
    program = unpack(program) if isinstance(program, Packed) else program
    assert program is not None
    arrays = evaluation.arrays_of(program)
    inputs, present = _columns(signature, arrays, arguments)
    values, residuals = evaluation.forward(signature.provenance, program, inputs, present)
    values = _rows(signature, arguments, values)
    return values[0] if signature.is_union else values, residuals


def _linearize(
    signature: Signature,
    shapes: Shapes,
    program: Circuit | EmbeddedProgram,
    entries: Float[ArrayLike, "batch entries"],
) -> Float[Array, "batch derivatives outputs"]:
    sizes = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = jnp.split(jnp.asarray(entries), sizes, axis=1)
    arrays = tuple(part.reshape(len(part), *shape) for part, shape in zip(parts, shapes, strict=True))
    inputs, present = _columns(signature, evaluation.arrays_of(program), Arguments(arrays))
    values, derivatives = evaluation.linearize(
        signature.provenance,
        program,
        inputs,
        present,
        num_outputs=signature.num_outputs,
        all_present=all(retention is None for retention in signature.retentions),
    )
    return jnp.moveaxis(jnp.concatenate([values[None], derivatives]), -1, 0)


def _pull_back(
    signature: Signature,
    program: AnyCircuit,
    arguments: Arguments,
    residuals: PyTree[Array],
    cotangent: ArrayLike,
) -> tuple[tuple[Array | None, ...], tuple[Array, ...]]:
    arrays, logits = arguments
    if _is_empty(signature, arguments):
        zeros = tuple(jnp.zeros_like(array) if _is_float(array) else None for array in arrays)
        return zeros, tuple(map(jnp.zeros_like, logits))
    if signature.is_union:
        cotangent = cotangent[None]
    program = unpack(program) if isinstance(program, Packed) else program
    assert program is not None
    index_arrays = evaluation.arrays_of(program)
    inputs, present = _columns(signature, index_arrays, arguments)
    missing = _padded_outputs(index_arrays) - signature.num_outputs
    columns = jnp.pad(cotangent.astype(inputs.dtype).T, ((0, missing), (0, 0)))
    gradient = evaluation.backward(signature.provenance, program, inputs, present, residuals, columns)
    gradients, start = [], 0
    for array in arrays:
        size = math.prod(array.shape if signature.is_union else array.shape[1:])
        part = gradient[start : start + size].T.reshape(array.shape)
        gradients.append(part.astype(array.dtype) if _is_float(array) else None)
        start += size
    if not logits:
        return tuple(gradients), ()
    batch, dtype = inputs.shape[1], inputs.dtype
    _, pull = jax.vjp(lambda logits: _trained_columns(signature, index_arrays, logits, batch, dtype), logits)
    return tuple(gradients), pull(gradient[start:])[0]


def output_dtype(signature: Signature, arguments: Arguments) -> DTypeLike:
    """The dtype of a discrete provenance, else the float dtype of the inputs, or of the logits without inputs.

    Float32 or float64, the wider, if they differ.
    """
    if signature.provenance.traits.output_dtype is not None:
        return signature.provenance.traits.output_dtype
    dtypes = {jnp.dtype(array.dtype) for array in arguments.arrays or arguments.logits if _is_float(array)}
    return dtypes.pop() if len(dtypes) == 1 else computing_dtype((*arguments.arrays, *arguments.logits))


def probabilities(logits: Float[Array, " logits"], groups: Int[ArrayLike, " logits"]) -> Float[Array, " logits"]:
    """The sigmoid of independent logits (group -1), the softmax over the logits of each group.

    Differentiable, with finite gradients for finite logits.
    """
    # Independent logits have a segment of their own, whose softmax is not looked at.
    segment = jnp.where(groups < 0, logits.shape[0], groups)
    num_segments = logits.shape[0] + 1
    peak = jax.ops.segment_max(lax.stop_gradient(logits), segment, num_segments)
    shares = jnp.exp(logits - peak[segment])
    total = jax.ops.segment_sum(shares, segment, num_segments)
    return jnp.where(groups < 0, jax.nn.sigmoid(logits), shares / total[segment])


def retained(
    retention: Retention, values: Float[Array, "batch ..."], key: Array | None = None
) -> Bool[Array, "batch ..."]:
    """A mask of the entries that exist; among equal ones the first are kept. `key` is that of the draws."""
    kept = jnp.ones(values.shape, bool)
    if retention.threshold is not None:
        kept = values >= jnp.asarray(retention.threshold, values.dtype)
    if retention.is_drawn:
        assert key is not None
        kept &= _drawn(retention, values, key)
    elif retention.k is not None:
        axis = 1 if retention.dim is None else retention.dim + 1
        slices = values.reshape(values.shape[0], -1) if retention.dim is None else values
        order = jnp.argsort(slices, axis=axis, descending=True, stable=True)
        rank = jnp.argsort(order, axis=axis)
        kept &= (rank < retention.k).reshape(values.shape)
    return kept


def list_entries(
    arrays: Sequence[ArrayLike],
    retentions: Sequence[Retention | None],
    seed: int | Array,
    entries: Sequence[Sequence[Sequence[Any]]] | None = None,
) -> list[list[list[Any]]]:
    """For each array and sample the entries: numbers, traced ones if they are traced, or those of `entries`.

    ABSENT for entries that are not retained; `seed` is that of draws. UnsupportedError for retention of traced ones.
    """
    listed = []
    for number, (array, retention) in enumerate(zip(arrays, retentions, strict=True)):
        if isinstance(array, Tracer):
            if retention is not None:
                raise UnsupportedError("which inputs are retained depends on their values, and they are traced")
            values = split(array)
        else:
            values = np.asarray(array).reshape(-1).tolist()
        if entries is not None:
            values = [entry for sample in entries[number] for entry in sample]
        if retention is not None:
            key = np.asarray(seed, np.uint32) if isinstance(seed, int) else seed
            kept = np.asarray(call(None, _retained, (retention, number), array, key)).reshape(-1).tolist()
            values = [value if is_kept else ABSENT for value, is_kept in zip(values, kept, strict=True)]
        size = math.prod(array.shape[1:])
        listed.append([values[sample * size : (sample + 1) * size] for sample in range(array.shape[0])])
    return listed


def _retained(retention: Retention, number: int, array: Float[ArrayLike, "batch ..."], seed: Array) -> Array:
    return retained(retention, jnp.asarray(array), _drawing_key(retention, seed, number))


def _drawing_key(retention: Retention, seed: ArrayLike | int, number: int) -> Array | None:
    """The random key for drawing the entries of an input, by its number; None if they are not drawn."""
    if not retention.is_drawn:
        return None
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), _RETENTION), number)


def _drawn(retention: Retention, values: Float[Array, "batch ..."], key: Array) -> Bool[Array, "batch ..."]:
    """The entries met in k draws from each sample's, or from each slice's; none of probability 0."""
    assert retention.k is not None
    axis = 1 if retention.dim is None else retention.dim + 1
    slices = values.reshape(values.shape[0], -1) if retention.dim is None else jnp.moveaxis(values, axis, -1)
    scores = jnp.where(slices > 0, jnp.log(jnp.where(slices > 0, slices, 1)), -jnp.inf)
    # A number drawn depends on its place alone: with the samples outermost, a sample's on no other sample.
    shape = (scores.shape[0], retention.k, *scores.shape[1:-1])
    draws = jax.random.categorical(key, scores[:, None], axis=-1, shape=shape)
    met = jax.nn.one_hot(draws, slices.shape[-1], dtype=jnp.bool_).any(1) & (slices > 0)
    return met.reshape(values.shape) if retention.dim is None else jnp.moveaxis(met, -1, axis)


def _columns(
    signature: Signature, program: Circuit, arguments: Arguments
) -> tuple[Float[Array, "inputs batch"], Bool[Array, "inputs batch"]]:
    """All inputs and which of them exist, one row for each entry of each mapping, then one for each trained input."""
    arrays, logits = arguments
    dtype, batch = computing_dtype((*arguments.arrays, *arguments.logits)), _batch_size(signature, arguments)
    trained = jnp.zeros((0, batch), dtype)
    if logits:
        trained = _trained_columns(signature, program, logits, batch, dtype)
    values, masks = [], []
    for number, (array, retention) in enumerate(zip(arrays, signature.retentions, strict=True)):
        value = jnp.asarray(array, dtype)
        mask = jnp.ones(value.shape, bool)
        if retention is not None:
            mask = retained(retention, value, _drawing_key(retention, program.seed, number))
        # In a union, samples follow each other in one column.
        values.append(value.reshape(batch, -1).T)
        masks.append(mask.reshape(batch, -1).T)
    return jnp.concatenate([*values, trained]), jnp.concatenate([*masks, jnp.ones(trained.shape, bool)])


def _trained_columns(
    signature: Signature, program: Circuit, logits: tuple[ArrayLike, ...], batch: int, dtype: DTypeLike
) -> Float[Array, "trained batch"]:
    """The probabilities of the trained inputs; logits may be given once for all samples, or for each."""
    flat = []
    for array, shape in zip(logits, signature.logit_shapes, strict=True):
        array = jnp.asarray(array, dtype)
        flat.append(array.reshape(*array.shape[: array.ndim - len(shape)], -1))
    assert program.trained is not None
    slots, groups = jnp.asarray(program.trained.slots), jnp.asarray(program.trained.logit_groups)

    def pick(logits):
        return probabilities(logits, groups).at[slots].get(mode="promise_in_bounds")

    if all(array.ndim == 1 for array in flat):
        return jnp.broadcast_to(pick(jnp.concatenate(flat))[:, None], (len(slots), batch))
    each = [jnp.broadcast_to(array, (batch, array.shape[-1])) for array in flat]
    return jax.vmap(pick)(jnp.concatenate(each, 1)).T


def _rows(
    signature: Signature, arguments: Arguments, values: Shaped[Array, "padded batch"]
) -> Shaped[Array, "batch outputs"]:
    return values[: signature.num_outputs].T.astype(output_dtype(signature, arguments))


def _batch_size(signature: Signature, arguments: Arguments) -> int:
    """The batch size of the inputs; without inputs, that of logits for each sample, or 1. A union is one sample."""
    if signature.is_union:
        return 1
    if arguments.arrays:
        return arguments.arrays[0].shape[0]
    sizes = [
        array.shape[0]
        for array, shape in zip(arguments.logits, signature.logit_shapes, strict=True)
        if array.ndim > len(shape)
    ]
    return sizes[0] if sizes else 1


def _is_empty(signature: Signature, arguments: Arguments) -> bool:
    """Whether there are no values: no samples or, of samples side by side, no outputs."""
    return _batch_size(signature, arguments) == 0 or (signature.is_union and not signature.num_outputs)


def _padded_outputs(program: Circuit) -> int:
    return program.outputs.shape[0]


def _is_float(array: ArrayLike) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)
