"""A batch of input arrays: what describes it, and its entries one by one. Nothing here imports JAX."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from scallax.errors import UnsupportedError
from scallax.evaluation.interpretation import ABSENT
from scallax.evaluation.jax_values import is_float, is_traced
from scallax.evaluation.moves import computing_dtype, split
from scallax.evaluation.retention import retained_entries
from scallax.facts.tensor_facts import Retention

if TYPE_CHECKING:
    from jax.typing import DTypeLike
    from jaxtyping import Array

    from scallax.circuits.circuit import Circuit
    from scallax.circuits.constant_program import EmbeddedProgram
    from scallax.evaluation.packing import Packed
    from scallax.provenance.base import AbstractProvenance

# The kinds of arrays that a caller may give for an input `[batch, *mapping.shape]`.
ArrayLike: TypeAlias = "Array | np.ndarray"
Shapes = tuple[tuple[int, ...], ...]
# As arrays, as a constant of the code, or as one array; None if it has no outputs.
AnyCircuit: TypeAlias = "Circuit | EmbeddedProgram | Packed | None"


@dataclass(frozen=True, slots=True)
class Signature:
    """The static arguments of a compiled function; equal ones share a compilation.

    `retentions` has one item for each input relation, `logit_shapes` one for each parameter; `num_outputs` is the
    number of output tuples. `is_union`: the program has the facts of all samples side by side, as one sample; the
    inputs are flattened one after the other, and values and cotangents are `[outputs]`. Such a program has inputs for
    `num_rows` rows of each array behind the first; None for those that are given. The last `num_observed` arrays say
    what was observed, with three inputs for each entry. The arrays `given_logs` are logarithms of probabilities.
    """

    provenance: AbstractProvenance
    retentions: tuple[Retention | None, ...]
    logit_shapes: tuple[tuple[int, ...], ...]
    num_outputs: int
    is_union: bool = False
    num_rows: int | None = None
    num_observed: int = 0
    given_logs: tuple[int, ...] = ()

    def is_observed(self, number: int) -> bool:
        """Whether the array of a number says what was observed."""
        return number >= len(self.retentions) - self.num_observed


class Arguments(NamedTuple):
    """The arrays of a call: inputs `[batch, *mapping.shape]`, and logits `[*shape]` or `[batch, *shape]`."""

    arrays: tuple[ArrayLike, ...]
    logits: tuple[ArrayLike, ...] = ()


def output_dtype(signature: Signature, arguments: Arguments) -> DTypeLike:
    """The dtype of a discrete provenance, else the float dtype of the inputs, or of the logits without inputs.

    Float32 or float64, the wider, if they differ.
    """
    if signature.provenance.traits.output_dtype is not None:
        return signature.provenance.traits.output_dtype
    dtypes = {np.dtype(array.dtype) for array in arguments.arrays or arguments.logits if is_float(array.dtype)}
    return dtypes.pop() if len(dtypes) == 1 else computing_dtype((*arguments.arrays, *arguments.logits))


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
        if is_traced(array):
            if retention is not None:
                raise UnsupportedError("which inputs are retained depends on their values, and they are traced")
            values = list(split(array))
        else:
            values = np.asarray(array).reshape(-1).tolist()
        if entries is not None:
            values = [entry for sample in entries[number] for entry in sample]
        if retention is not None:
            kept = retained_entries(retention, array, seed, number).reshape(-1).tolist()
            values = [value if is_kept else ABSENT for value, is_kept in zip(values, kept, strict=True)]
        size = math.prod(array.shape[1:])
        listed.append([values[sample * size : (sample + 1) * size] for sample in range(array.shape[0])])
    return listed


def batch_size(signature: Signature, arguments: Arguments) -> int:
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


def is_empty(signature: Signature, arguments: Arguments) -> bool:
    """Whether there are no values: no samples or, of samples side by side, no outputs."""
    return batch_size(signature, arguments) == 0 or (signature.is_union and not signature.num_outputs)
