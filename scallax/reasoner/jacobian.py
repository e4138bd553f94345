"""Jacobians of reasoners: only the derivatives that the ground program has, in coordinate form."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.conditioning import NUM_CASES
from scallax.circuits.jacobian_sparsity import find_dependence
from scallax.errors import Diagnostic, InputError, UnsupportedError, checks_call
from scallax.evaluation.batch import ArrayLike
from scallax.evaluation.derived_program import Output
from scallax.evaluation.evaluator import Evaluator
from scallax.evaluation.grounding_cache import has_facts
from scallax.evaluation.jax_moves import to_device
from scallax.evaluation.jax_values import is_concrete
from scallax.evaluation.logits import order_logits
from scallax.evaluation.mapped_layout import MappedLayout
from scallax.evaluation.sample_layout import SampleLayout
from scallax.facts.arguments import read_by_relation
from scallax.facts.fact_table import FactTable
from scallax.facts.outputs import check_named
from scallax.reasoner.reasoner import Reasoner

if TYPE_CHECKING:
    from jaxtyping import PyTree


class Derivatives(NamedTuple):
    """The derivatives of one output by one input, in coordinate form.

    Args:
        indices: int64 `[entries, axes]`, in ascending order, none twice.
        values: `[entries]`; all other elements of the array are 0.
        shape: The shape of the array.
    """

    indices: np.ndarray
    values: np.ndarray
    shape: tuple[int, ...]


@checks_call
def jacobian(
    reasoner: Reasoner,
    inputs: Mapping[str, Any] | None = None,
    *,
    parameters: Mapping[str, ArrayLike] | None = None,
    disjunctions: Mapping[str, Sequence] | None = None,
) -> PyTree:
    """Computes the derivatives of each sample's outputs by its inputs, as sparse arrays.

    No dense array is made. Outputs that have no input in common share a backward pass (Curtis, Powell and Reid, "On the
    estimation of sparse Jacobian matrices", 1974). So there are at least as many passes as outputs of one sample depend
    on one input; with facts per sample, a parameter belongs to every sample and counts as one input of all of them.

    Args:
        reasoner: The program, a `scallax.Reasoner` under a differentiable provenance.
        inputs: The inputs by relation, as for a call of the reasoner; concrete arrays, not traced ones.
        parameters: The logits of trainable tags by name, in the place of the reasoner's own.
        disjunctions: The groups of exclusive facts by relation, as for a call of the reasoner.

    Returns:
        The outputs of a call, with a dictionary in the place of each array `[batch, …]`. Its keys are input relations
        and names of parameters; its values are `jax.experimental.sparse.BCOO` arrays `[batch, …, *shape]`, where
        `shape` is that of one sample's input, of the parameter, or `(facts,)` for facts per sample, with the largest
        number of facts that a sample has. An array has an entry wherever an output depends on an input, even if the
        derivative is 0.

    Raises:
        InputError: An argument is of a wrong kind, or an input does not fit the program.
        UnsupportedError: The arrays are traced, or the provenance has no derivatives.

    Example:
        >>> import jax.numpy as jnp
        >>> import scallax
        >>> both = scallax.Reasoner("rel both(x) = a(x), b(x)", provenance="addmultprob",
        ...     input_mappings={"a": range(2), "b": range(2)}, output_mapping=("both", range(2)))
        >>> found = scallax.jacobian(both, {"a": jnp.array([[0.5, 0.25]]), "b": jnp.array([[0.5, 1.0]])})
        >>> print(found["a"])
        BCOO(float32[1, 2, 2], nse=2)
        >>> print(found["a"].todense())
        [[[0.5 0. ]
          [0.  1. ]]]
    """
    if not isinstance(reasoner, Reasoner):
        raise InputError(f"the reasoner is a {type(reasoner).__name__}; give a `scallax.Reasoner`")
    inputs = read_by_relation(inputs, "`inputs`")
    check_differentiable(reasoner)
    compiled, evaluator = reasoner.compiled_program, reasoner.evaluator
    logits = None if parameters is None else order_logits(compiled.parameters, parameters)
    if has_facts(inputs, disjunctions):
        batch = evaluator.layout.read(inputs, disjunctions)
        layout = SampleLayout(evaluator.layout, evaluator.layout.ground(batch), batch)
        return derive(evaluator.with_layout(layout), layout.arrays(), logits, _to_bcoo)
    return derive(evaluator, evaluator.layout.order(inputs), logits, _to_bcoo)


def _to_bcoo(found: Derivatives) -> Any:
    # Loads a part of JAX that others need not wait for.
    from jax.experimental.sparse import BCOO

    data = to_device((found.values, found.indices.astype(np.int32)))
    return BCOO(data, shape=found.shape, indices_sorted=True, unique_indices=True)


def check_differentiable(reasoner: Reasoner) -> None:
    """UnsupportedError for a reasoner that has no derivatives."""
    check_named(reasoner.specification.outputs)
    if reasoner.evaluator.is_interpreted or reasoner.evaluator.provenance.traits.is_discrete:
        name = reasoner.specification.provenance
        hint = "choose a differentiable provenance, such as `difftopkproofs`"
        raise UnsupportedError(Diagnostic(f"outputs of `{name}` have no derivatives", hint=hint))


def derive(
    evaluator: Evaluator[MappedLayout] | Evaluator[SampleLayout],
    arrays: Sequence[ArrayLike],
    logits: Sequence[ArrayLike] | None,
    make: Callable[[Derivatives], Any],
) -> PyTree:
    """`jacobian` with what `make` makes of the derivatives of one output by one input.

    `arrays` are those of the layout: inputs `[batch, *shape]` in the order of the input relations, or the tags
    `[padded_tags]` of facts per sample, and inputs.
    """
    layout = evaluator.layout
    logits = evaluator.logits if logits is None else tuple(logits)
    is_mapped = isinstance(layout, MappedLayout)
    if is_mapped:
        evaluator.check(arrays, logits)
    _check_concrete((*arrays, *logits))
    # Facts per sample are one ground program of all samples, whose arrays have no batch axis.
    num_axes = 1 if is_mapped and arrays else 0
    size = arrays[0].shape[0] if num_axes else 1
    parameters = layout.compiled.parameters if is_mapped else layout.program.compiled.parameters
    of_parameters = [_Columns.of(parameter.name, parameter.initial.shape) for parameter in parameters]
    if num_axes:
        # Each sample has its own parameters, so that they have a gradient for each sample.
        logits = [
            np.broadcast_to(np.asarray(array), (size, *part.shape)) if np.ndim(array) == len(part.shape) else array
            for array, part in zip(logits, of_parameters, strict=True)
        ]
    values, residuals = evaluator.forward(arrays, logits)

    def pull_back(cotangent: np.ndarray) -> np.ndarray:
        rows = np.broadcast_to(cotangent.astype(values.dtype), values.shape)
        pulled = evaluator.pull_back(arrays, residuals, rows, logits)
        parts = [_flat(part, array, num_axes) for part, array in _pairs(pulled, arrays, logits)]
        for place in range(len(arrays) - layout.num_observed, len(arrays)):
            parts[place] = np.repeat(parts[place], NUM_CASES, 1)
        if isinstance(layout, SampleLayout):
            behind = enumerate(layout.count_padding(arrays[1:]), start=1)
            parts[1 : len(arrays)] = [np.pad(parts[place], ((0, 0), (0, count))) for place, count in behind]
        return np.concatenate([np.zeros((size, 0)), *parts], 1, dtype=values.dtype, casting="unsafe")

    rows, places, found = _differentiate(layout.circuit, values.shape[-1], pull_back)
    if is_mapped:
        shapes = zip(layout.mappings, layout.shapes, strict=True)
        columns = [_Columns.of(name, shape) for name, shape in shapes]
        columns = _without_observed(columns, layout.num_observed)
        samples = np.arange(size).repeat(len(rows))
        entries = _Entries(samples, np.tile(rows, size), np.tile(places, size), found.reshape(-1), size)
    else:
        columns = _sample_columns(layout, arrays)
        entries = _sample_entries(layout, rows, places, found[0])
    return _arrange(layout.outputs, layout.keyed, entries, [*columns, *of_parameters], make)


def _sample_columns(layout: SampleLayout, arrays: Sequence[ArrayLike]) -> list[_Columns]:
    """The inputs of a batch of facts per sample: tags by relation, their padding, and arrays of mapped relations."""
    grounding, batch = layout.grounding, layout.batch
    assert batch is not None, "facts are given"
    columns = [_Columns.of_facts(part) for part in batch.facts if part.certain is not None]
    columns.append(_Columns.padding(grounding.padded_tags - grounding.num_tags))
    arrays = arrays[1:]
    of_arrays = [
        _Columns.of(name, array.shape[1:], grounding.num_samples)
        for name, array in zip(grounding.mapped, arrays, strict=True)
    ]
    of_arrays = _without_observed(of_arrays, layout.num_observed)
    for part, missing in zip(of_arrays, layout.count_padding(arrays), strict=True):
        columns += [part, _Columns.padding(missing)]
    return columns


def _without_observed(columns: Sequence[_Columns], num_observed: int) -> list[_Columns]:
    """The columns of arrays, of which the last say what was observed: these have derivatives, and show none."""
    first = len(columns) - num_observed
    observed = [_Columns.padding(NUM_CASES * len(part.index)) for part in columns[first:]]
    return [*columns[:first], *observed]


def _sample_entries(layout: SampleLayout, rows: np.ndarray, places: np.ndarray, values: np.ndarray) -> _Entries:
    """The derivatives of a batch of facts per sample by sample and output, from those by output of the batch."""
    grounding = layout.grounding
    samples, outputs = np.divmod(grounding.places[rows], grounding.num_columns or 1)
    order = np.lexsort((places, outputs, samples))
    return _Entries(samples[order], outputs[order], places[order], values[order], grounding.num_samples)


@dataclass(frozen=True, slots=True)
class _Columns:
    """The inputs that a name stands for: `index` int64 `[columns, axes]` of each in an array of `shape`.

    Inputs of no name are padding.
    """

    name: str | None
    shape: tuple[int, ...]
    index: np.ndarray

    @staticmethod
    def of(name: str, shape: tuple[int, ...], num_samples: int = 1) -> _Columns:
        """The columns of an array in each of some samples, or of one array for all samples."""
        index = np.stack([*np.unravel_index(np.arange(math.prod(shape)), shape)], 1) if shape else _NO_AXES
        return _Columns(name, shape, np.tile(index, (num_samples, 1)))

    @staticmethod
    def padding(count: int) -> _Columns:
        """Columns that nothing is read from."""
        return _Columns(None, (), np.zeros((count, 0), np.int64))

    @staticmethod
    def of_facts(facts: FactTable) -> _Columns:
        """The columns of the facts of one relation, by their number in the sample."""
        numbers = [np.arange(count) for count in facts.counts]
        index = np.concatenate([np.zeros(0, np.int64), *numbers])[:, None]
        return _Columns(facts.relation, (max(facts.counts, default=0),), index)


_ALL_BITS = np.uint64((1 << 64) - 1)

# The index of a scalar.
_NO_AXES = np.zeros((1, 0), np.int64)


class _Entries(NamedTuple):
    """Derivatives: the sample and the place among its outputs of each, by these, and the column; all `[entries]`."""

    samples: np.ndarray
    outputs: np.ndarray
    columns: np.ndarray
    values: np.ndarray
    num_samples: int


def _arrange(
    outputs: Sequence[Output],
    keyed: bool,
    entries: _Entries,
    inputs: Sequence[_Columns],
    make: Callable[[Derivatives], Any],
) -> PyTree:
    """The derivatives by output, as a call returns values, and by input."""
    results = {}
    for output in outputs:
        is_row = (entries.outputs >= output.start) & (entries.outputs < output.start + len(output.tuples))
        found, first = {}, 0
        for part in inputs:
            end = first + len(part.index)
            chosen = (is_row & (entries.columns >= first) & (entries.columns < end)).nonzero()[0]
            axes = [entries.samples[chosen], entries.outputs[chosen] - output.start]
            shape = [entries.num_samples, len(output.tuples)]
            indices = np.stack(axes[:1] if output.is_single else axes, 1)
            indices = np.concatenate([indices, part.index[entries.columns[chosen] - first]], 1)
            shape = (*(shape[:1] if output.is_single else shape), *part.shape)
            if part.name is not None:
                found[part.name] = make(Derivatives(indices, entries.values[chosen], shape))
            first = end
        results[output.relation] = (list(output.tuples), found) if output.is_listed else found
    return results if keyed else results[outputs[0].relation]


def _differentiate(
    program: Circuit, num_outputs: int, pull_back: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Output and column int64 `[entries]` of the derivatives, by output and column; their values `[samples, entries]`.

    `pull_back` gives the gradients `[samples, columns]` for a cotangent `[outputs]` of all samples.
    """
    rows, columns = find_dependence(program, num_outputs)
    colors = _color(rows, columns)
    by_color = np.argsort(colors, kind="stable")
    bounds = np.searchsorted(colors[by_color], np.arange(colors.max(initial=-1) + 2))
    values = None
    for first, end in pairwise(bounds.tolist()):
        chosen = by_color[first:end]
        cotangent = np.zeros(num_outputs)
        cotangent[rows[chosen]] = 1
        gradient = pull_back(cotangent)
        if values is None:
            values = np.zeros((len(gradient), len(rows)), gradient.dtype)
        values[:, chosen] = gradient[:, columns[chosen]]
    if values is None:
        values = pull_back(np.zeros(num_outputs))[:, :0]
    return rows, columns, values


def _color(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """A number for each entry, the same for all of a row, such that rows of one number have no column in common.

    `rows` ascend; each takes the least number that is free.
    """
    colors = np.zeros(len(rows), np.int64)
    # The numbers of the rows of each column, as sets of bits.
    taken = np.zeros((columns.max(initial=-1) + 1, 1), np.uint64)
    starts = np.flatnonzero(np.diff(rows, prepend=-1)).tolist()
    for first, end in pairwise([*starts, len(rows)]):
        own = columns[first:end]
        words = np.bitwise_or.reduce(taken[own])
        word = int(np.argmax(words != _ALL_BITS))
        if words[word] == _ALL_BITS:
            word = len(words)
            taken = np.pad(taken, ((0, 0), (0, word)))
            words = np.zeros(word + 1, np.uint64)
        bits = int(words[word])
        free = ~bits & (bits + 1)
        colors[first:end] = 64 * word + free.bit_length() - 1
        taken[own, word] |= np.uint64(free)
    return colors


def _pairs(pulled: Sequence, arrays: Sequence, logits: Sequence) -> list[tuple[Any, Any]]:
    """Gradients and what they are of."""
    return [*zip(pulled[0], arrays, strict=True), *zip(pulled[1], logits, strict=True)]


def _flat(gradient: Any, array: ArrayLike, num_axes: int) -> np.ndarray:
    """The gradient `[samples, entries]` of an array with a batch axis, or with none; of bools it is 0."""
    shape = math.prod(array.shape[:num_axes]), math.prod(array.shape[num_axes:])
    return np.zeros(shape, bool) if gradient is None else np.asarray(gradient).reshape(shape)


def _check_concrete(arrays: Sequence[ArrayLike]) -> None:
    if not all(map(is_concrete, arrays)):
        hint = "call it outside of the transformation, or use `jax.jacrev`"
        raise UnsupportedError(
            Diagnostic("which derivatives there are is found on the host, and the inputs are traced", hint=hint)
        )
