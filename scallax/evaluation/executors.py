"""The choice of who evaluates a circuit: NumPy, at once, or JAX, by compiled code."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.evaluation.jax_values import is_jax_array, is_traced
from scallax.evaluation.numpy_executor import fits, grows_lists, most_work, work
from scallax.provenance.custom import CustomProvenance
from scallax.provenance.traits import AbstractSemantics

_LOGGER = logging.getLogger("scallax")


def runs_at_once(
    executor: str | None, provenance: AbstractSemantics, circuit: Circuit, arrays: Sequence[Any] = ()
) -> bool:
    """Whether NumPy evaluates a circuit at once; otherwise JAX compiles it first.

    The arguments alone decide, never time, nor what was called before: so answers are the same in every run. `executor`
    is `numpy`, `jax`, or None for a choice by the work that the circuit takes. Arrays that are traced or on several
    devices, circuits on a device, and algebras of users, which are written in JAX, are always JAX's.
    """
    on_host = isinstance(circuit.outputs, np.ndarray)
    if executor == "jax" or not on_host or isinstance(provenance, CustomProvenance) or any(map(_needs_jax, arrays)):
        return False
    if executor is None and not fits(circuit, provenance):
        message = "JAX compiles a circuit of work %s under `%s`; NumPy computes circuits of work up to %s at once"
        _LOGGER.info(message, f"{work(circuit, provenance):,.0f}", provenance.name, f"{most_work(circuit):,}")
        return False
    return True


def finds_proofs_at_once(provenance: AbstractSemantics, circuit: Circuit, arrays: Sequence[Any]) -> bool:
    """Whether NumPy finds the proofs of outputs, which JAX then counts and differentiates.

    So it is on cycles with many literals, where compiled code has bit sets for want of a bound of the proofs. The
    arguments alone decide; the proofs are the same.
    """
    if not isinstance(circuit.outputs, np.ndarray) or circuit.stages or circuit.evidence is not None:
        return False
    if any(map(_needs_jax, arrays)):
        return False
    return provenance.traits.is_distributive and grows_lists(circuit, provenance)


def _needs_jax(array: Any) -> bool:
    return is_traced(array) or (is_jax_array(array) and len(array.devices()) > 1)
