"""The executor for small circuits: the fold on NumPy arrays at once, without JAX and without waiting for a compiler."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.evaluation.fold import run, with_selections
from scallax.kernels.array_namespace import NUMPY
from scallax.kernels.tiles import Tags
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.custom import CustomProvenance
from scallax.provenance.traits import AbstractSemantics, Gradient

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Shaped

# Numbers that a fold may compute, of the tags of all derivations, up to which it is run at once.
MOST_WORK = 1 << 24


def evaluate(
    provenance: AbstractProvenance,
    circuit: Circuit,
    inputs: Float[np.ndarray, "inputs batch"],
    present: Bool[np.ndarray, "inputs batch"] | None = None,
) -> tuple[Shaped[np.ndarray, "outputs batch"], Tags]:
    """The outputs' values, and the tags of the outputs, of the algebra's own form, which `proof_sets` reads.

    All arrays are of NumPy, those of the circuit too; `inputs` are float32 or float64. Values are of the padded length,
    floats of the inputs' dtype, or bool or int32 for a discrete provenance. `present` False means that the fact does
    not exist in that sample. Nothing is differentiated. Raises UnsupportedError if the tags would not fit in memory.
    """
    if present is None:
        present = np.ones(inputs.shape, np.bool_)
    # Numbers may be any, as in compiled code: an infinite or undefined one shows in the output.
    with np.errstate(all="ignore"):
        inputs, present = with_selections(provenance, circuit, inputs, present, _values)
        values, residuals = run(provenance, replace(circuit, stages=()), inputs, present)
        if provenance.traits.gradient in (Gradient.NONE, Gradient.RECOVER):
            return values, residuals.tags
        return values, NUMPY.map(lambda leaf: NUMPY.take(leaf, circuit.outputs), residuals.tags)


def fits(circuit: Circuit, provenance: AbstractSemantics) -> bool:
    """Whether a circuit is small enough that it is answered at once sooner than it would be compiled.

    Decided by the circuit's size and the provenance alone, for one sample. The algebras of users are written in JAX,
    and are always compiled.
    """
    return not isinstance(provenance, CustomProvenance) and work(circuit, provenance) <= MOST_WORK


def work(circuit: Circuit, provenance: AbstractSemantics) -> float:
    """An estimate of the numbers that folding the circuit computes, for one sample."""
    circuits = [circuit, *(stage.program for stage in circuit.stages)]
    return sum(len(each.forward.left) + each.num_rows for each in circuits)


def _values(provenance: AbstractProvenance, inputs: np.ndarray, present: np.ndarray, circuit: Circuit) -> np.ndarray:
    return run(provenance, circuit, inputs, present)[0]
