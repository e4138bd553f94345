"""A batch of input arrays through a ground program, by compiled functions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from scallax.circuits.circuit import Circuit
from scallax.circuits.conditioning import NUM_CASES
from scallax.circuits.constant_program import EmbeddedProgram
from scallax.evaluation import differentiation as evaluation
from scallax.evaluation.batch import (
    AnyCircuit,
    Arguments,
    ArrayLike,
    Shapes,
    Signature,
    batch_size,
    is_empty,
    output_dtype,
)
from scallax.evaluation.cache import BoundFunction, Holder, call, describe_by
from scallax.evaluation.conditioning import given_evidence, log_probability, observed_cases
from scallax.evaluation.fold import literal_table, recover
from scallax.evaluation.jax_values import is_float
from scallax.evaluation.log_numbers import as_computed, is_converted
from scallax.evaluation.moves import computing_dtype
from scallax.evaluation.packing import Packed, unpack
from scallax.evaluation.retention import RETENTION
from scallax.facts.tensor_facts import Retention

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

# A transformation of a function, as `transform_batch` takes it.
Step: TypeAlias = tuple[str, int | tuple[int | None, ...]]


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


def recover_batch(
    holder: Holder | None, signature: Signature, program: AnyCircuit, arguments: Arguments, tags: PyTree[Array]
) -> Shaped[Array, "*batch outputs"]:
    """The outputs' values of their tags, which were found already."""
    return call(holder, _recover, (signature,), program, arguments, tags)


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


def transform_batch(
    holder: Holder | None,
    signature: Signature,
    steps: tuple[Step, ...],
    program: AnyCircuit,
    arrays: tuple[ArrayLike, ...],
    num_arrays: int,
) -> tuple[Array, ...]:
    """A transformation of the outputs' values, or of a transformation of these: the results of the last of `steps`.

    The values are a function of `num_arrays` arrays and of the logits behind them. Each step makes a function of the
    one before it, of `n` arguments: `("pull", n)` one of these and of a cotangent of each result, that gives the
    cotangents of the floats among the arguments; `("push", n)` one of these and of a tangent of each of those floats,
    that gives the tangents of the results; `("map", axes)` one that maps over those axes of its arguments.
    """
    return call(holder, _transform, (signature, steps, num_arrays), program, arrays)


def linearize_batch(
    holder: Holder,
    signature: Signature,
    shapes: Shapes,
    program: Circuit,
    entries: Float[Array | np.ndarray, "batch entries"],
) -> Float[Array, "batch derivatives outputs"]:
    """The outputs' values, and behind them in each sample their derivatives by its entries.

    `entries` are the arrays of `shapes` (of a sample), one after the other. For batches of one sample or more, without
    logits.
    """
    return call(holder, _linearize, (signature, shapes), program, entries)


def linearizer(holder: Holder, signature: Signature, shapes: Shapes, program: EmbeddedProgram) -> BoundFunction:
    """`linearize_batch` for one small program, as a function of the entries."""
    return BoundFunction(holder, _linearize, (signature, shapes, program))


def log_evidence(holder: Holder, probabilities: Float[Array, " samples"]) -> Float[Array, " samples"]:
    """The logarithms of the probabilities of what was observed; see `log_probability`."""
    return call(holder, log_probability, (), probabilities)


def _evaluate(signature: Signature, program: AnyCircuit, arguments: Arguments) -> Shaped[Array, "*batch outputs"]:
    if is_empty(signature, arguments):
        shape = (signature.num_outputs,) if signature.is_union else (0, signature.num_outputs)
        return jnp.zeros(shape, output_dtype(signature, arguments))
    program = unpack(program) if isinstance(program, Packed) else program
    assert isinstance(program, Circuit)
    inputs, present = _columns(signature, program, arguments)
    values = evaluation.evaluate(signature.provenance, program, inputs, present)
    if program.evidence is not None:
        values = given_evidence(values, program.evidence, signature.provenance.traits.is_log)
    values = _rows(signature, arguments, values)
    return values[0] if signature.is_union else values


def _forward(
    signature: Signature, program: AnyCircuit, arguments: Arguments
) -> tuple[Shaped[Array, "*batch outputs"], PyTree[Array]]:
    if is_empty(signature, arguments):
        return _evaluate(signature, None, arguments), None
    program = unpack(program) if isinstance(program, Packed) else program
    assert program is not None
    arrays = evaluation.arrays_of(program)
    inputs, present = _columns(signature, arrays, arguments)
    values, residuals = evaluation.forward(signature.provenance, program, inputs, present)
    if arrays.evidence is not None:
        residuals = residuals._replace(values=values)
        values = given_evidence(values, arrays.evidence, signature.provenance.traits.is_log)
    values = _rows(signature, arguments, values)
    return values[0] if signature.is_union else values, residuals


def _recover(
    signature: Signature, program: AnyCircuit, arguments: Arguments, tags: PyTree[Array]
) -> Shaped[Array, "*batch outputs"]:
    program = unpack(program) if isinstance(program, Packed) else program
    assert isinstance(program, Circuit)
    inputs, present = _columns(signature, program, arguments)
    literals = literal_table(signature.provenance, program, inputs, present)
    values = _rows(signature, arguments, recover(signature.provenance, program, tags, literals))
    return values[0] if signature.is_union else values


def _transform(
    signature: Signature,
    steps: tuple[Step, ...],
    num_arrays: int,
    program: AnyCircuit,
    arrays: tuple[ArrayLike, ...],
) -> tuple[Array, ...]:
    def values(*given):
        return (_evaluate(signature, program, Arguments(given[:num_arrays], given[num_arrays:])),)

    function = values
    for kind, size in steps:
        function = _STEPS[kind](function, size)
    return function(*map(jnp.asarray, arrays))


def _by_floats(function: Callable, arguments: Sequence[Array]) -> tuple[Callable, list[Array]]:
    """The function of the floats among its arguments, and these."""
    places = [place for place, argument in enumerate(arguments) if is_float(argument.dtype)]

    def of_floats(*floats):
        given = list(arguments)
        for place, value in zip(places, floats, strict=True):
            given[place] = value
        return function(*given)

    return of_floats, [arguments[place] for place in places]


def _pulled(function: Callable, size: int) -> Callable:
    def pull(*arguments):
        of_floats, floats = _by_floats(function, arguments[:size])
        results, pull_back = jax.vjp(of_floats, *floats)
        pairs = zip(arguments[size:], results, strict=True)
        return pull_back(tuple(cotangent.astype(result.dtype) for cotangent, result in pairs))

    return pull


def _pushed(function: Callable, size: int) -> Callable:
    def push(*arguments):
        of_floats, floats = _by_floats(function, arguments[:size])
        pairs = zip(arguments[size:], floats, strict=True)
        return jax.jvp(of_floats, floats, [tangent.astype(value.dtype) for tangent, value in pairs])[1]

    return push


_STEPS: dict[str, Callable[[Callable, Any], Callable]] = {"pull": _pulled, "push": _pushed, "map": jax.vmap}


def _linearize(
    signature: Signature,
    shapes: Shapes,
    program: Circuit | EmbeddedProgram,
    entries: Float[Array | np.ndarray, "batch entries"],
) -> Float[Array, "batch derivatives outputs"]:
    sizes = np.cumsum([math.prod(shape) for shape in shapes])[:-1]
    parts = jnp.split(jnp.asarray(entries), sizes, axis=1)
    arrays = tuple(part.reshape(len(part), *shape) for part, shape in zip(parts, shapes, strict=True))
    index_arrays = evaluation.arrays_of(program)
    inputs, present = _columns(signature, index_arrays, Arguments(arrays))
    values, derivatives = evaluation.linearize(
        signature.provenance,
        program,
        inputs,
        present,
        num_outputs=signature.num_outputs,
        all_present=all(retention is None for retention in signature.retentions),
    )
    if any(is_converted(signature, number) for number in range(len(arrays))):
        # Each input is a function of one entry.
        ones = tuple(map(jnp.ones_like, arrays))
        scales = jax.jvp(lambda *arrays: _columns(signature, index_arrays, Arguments(arrays))[0], arrays, ones)[1]
        derivatives = derivatives * scales[:, None]
    return jnp.moveaxis(jnp.concatenate([values[None], derivatives]), -1, 0)


def _pull_back(
    signature: Signature,
    program: AnyCircuit,
    arguments: Arguments,
    residuals: PyTree[Array],
    cotangent: ArrayLike,
) -> tuple[tuple[Array | None, ...], tuple[Array, ...]]:
    arrays, logits = arguments
    if is_empty(signature, arguments):
        zeros = tuple(jnp.zeros_like(array) if is_float(array.dtype) else None for array in arrays)
        return zeros, tuple(map(jnp.zeros_like, logits))
    if signature.is_union:
        cotangent = cotangent[None]
    program = unpack(program) if isinstance(program, Packed) else program
    assert program is not None
    index_arrays = evaluation.arrays_of(program)
    inputs, present = _columns(signature, index_arrays, arguments)
    missing = _padded_outputs(index_arrays) - signature.num_outputs
    columns = jnp.pad(cotangent.astype(inputs.dtype).T, ((0, missing), (0, 0)))
    if index_arrays.evidence is not None:
        given = partial(given_evidence, evidence=index_arrays.evidence, is_log=signature.provenance.traits.is_log)
        (columns,) = jax.vjp(given, residuals.values)[1](columns)
        residuals = residuals._replace(values=None)
    gradient = evaluation.backward(signature.provenance, program, inputs, present, residuals, columns)
    gradients, start = [], 0
    for number, array in enumerate(arrays):
        size = math.prod(array.shape if signature.is_union else array.shape[1:])
        end = start + (NUM_CASES if signature.is_observed(number) else 1) * size
        part = gradient[start:end].T
        if signature.is_observed(number) or is_converted(signature, number):
            rows = jnp.asarray(array, inputs.dtype).reshape(inputs.shape[1], -1)
            part = jax.vjp(lambda rows, number=number: _entries(signature, number, rows)[0], rows)[1](part)[0]
        part = part.reshape(array.shape)
        gradients.append(part.astype(array.dtype) if is_float(array.dtype) else None)
        start = end
    if not logits:
        return tuple(gradients), ()
    batch, dtype = inputs.shape[1], inputs.dtype
    _, pull = jax.vjp(lambda logits: _trained_columns(signature, index_arrays, logits, batch, dtype), logits)
    return tuple(gradients), pull(gradient[start:])[0]


def _describe(work: str, static: tuple, arguments: tuple) -> str:
    """Some work as the log names it, with what its compiled code is made for; `arguments` are those of `call`."""
    signature, *others = static
    program = next(
        part for part in (*others, *arguments) if isinstance(part, (EmbeddedProgram, Circuit, Packed)) or part is None
    )
    if isinstance(program, EmbeddedProgram):
        program = program.program
    elif isinstance(program, Packed):
        arrays = [jax.ShapeDtypeStruct(shape, np.dtype(char)) for shape, char in program.form.arrays]
        program = jax.tree.unflatten(program.form.structure, arrays)
    derivations = 0 if program is None else math.prod(program.forward.left.shape)
    given = next((part for part in arguments if isinstance(part, Arguments)), None)
    batch = len(arguments[-1]) if given is None else batch_size(signature, given)
    samples = "the samples of a batch side by side" if signature.is_union else f"batch {batch:,}"
    return f"{work} under `{signature.provenance.name}` of {derivations:,} derivations for {samples}"


for _function, _work in (
    (_evaluate, "the forward pass"),
    (_forward, "the forward pass, with what gradients need,"),
    (_linearize, "the forward pass with derivatives"),
    (_pull_back, "the backward pass"),
    (_transform, "derivatives"),
):
    describe_by(_function, partial(_describe, _work))


def probabilities(
    logits: Float[Array, " logits"], groups: Int[Array | np.ndarray, " logits"]
) -> Float[Array, " logits"]:
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


def _log_probabilities(
    logits: Float[Array, " logits"], groups: Int[Array | np.ndarray, " logits"]
) -> Float[Array, " logits"]:
    """The logarithms of `probabilities`, which do not leave the logarithm."""
    segment = jnp.where(groups < 0, logits.shape[0], groups)
    num_segments = logits.shape[0] + 1
    less = logits - jax.ops.segment_max(lax.stop_gradient(logits), segment, num_segments)[segment]
    total = jax.ops.segment_sum(jnp.exp(less), segment, num_segments)[segment]
    return jnp.where(groups < 0, jax.nn.log_sigmoid(logits), less - jnp.log(total))


def find_probabilities(sizes: tuple[int, ...], logits: tuple[ArrayLike, ...], groups: ArrayLike) -> list[Array]:
    """The first `sizes` probabilities of each array of logits; `groups` are those of all logits."""
    return call(None, _find_probabilities, (sizes,), logits, groups)


def _find_probabilities(sizes: tuple[int, ...], logits: tuple[ArrayLike, ...], groups: ArrayLike) -> list[Array]:
    dtype = computing_dtype(logits)
    values = probabilities(jnp.concatenate([jnp.asarray(array, dtype).reshape(-1) for array in logits]), groups)
    found, start = [], 0
    for size, array in zip(sizes, logits, strict=True):
        part = values[start : start + size] if array.ndim else values[start]
        found.append(part.astype(array.dtype))
        start += array.size
    return found


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


def _drawing_key(retention: Retention, seed: Array | np.ndarray | int, number: int) -> Array | None:
    """The random key for drawing the entries of an input, by its number; None if they are not drawn."""
    if not retention.is_drawn:
        return None
    return jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), RETENTION), number)


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
    dtype, batch = computing_dtype((*arguments.arrays, *arguments.logits)), batch_size(signature, arguments)
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
        value, exist = _entries(signature, number, value.reshape(batch, -1))
        values.append(value.T)
        masks.append((mask.reshape(batch, -1) if exist is None else exist).T)
    return jnp.concatenate([*values, trained]), jnp.concatenate([*masks, jnp.ones(trained.shape, bool)])


def _entries(
    signature: Signature, number: int, values: Float[Array, "batch entries"]
) -> tuple[Float[Array, "batch cases"], Bool[Array, "batch cases"] | None]:
    """The inputs that the entries of an array are, as the provenance computes with them.

    And which of them exist, if what was observed says it.
    """
    exist = None
    if signature.is_observed(number):
        values, exist = observed_cases(values)
    return as_computed(signature, number, values), exist


def _trained_columns(
    signature: Signature, program: Circuit, logits: tuple[ArrayLike, ...], batch: int, dtype: DTypeLike
) -> Float[Array, "trained batch"]:
    """The trained inputs, as the provenance computes with them; logits may be given for all samples, or for each."""
    flat = []
    for array, shape in zip(logits, signature.logit_shapes, strict=True):
        array = jnp.asarray(array, dtype)
        flat.append(array.reshape(*array.shape[: array.ndim - len(shape)], -1))
    assert program.trained is not None
    slots, groups = jnp.asarray(program.trained.slots), jnp.asarray(program.trained.logit_groups)

    def pick(logits):
        find = _log_probabilities if signature.provenance.traits.is_log else probabilities
        return find(logits, groups).at[slots].get(mode="promise_in_bounds")

    if all(array.ndim == 1 for array in flat):
        return jnp.broadcast_to(pick(jnp.concatenate(flat))[:, None], (len(slots), batch))
    each = [jnp.broadcast_to(array, (batch, array.shape[-1])) for array in flat]
    return jax.vmap(pick)(jnp.concatenate(each, 1)).T


def _rows(
    signature: Signature, arguments: Arguments, values: Shaped[Array, "padded batch"]
) -> Shaped[Array, "batch outputs"]:
    return values[: signature.num_outputs].T.astype(output_dtype(signature, arguments))


def _padded_outputs(program: Circuit) -> int:
    return program.outputs.shape[0]
