"""The index arrays of circuits on the devices where JAX evaluates them."""

from typing import Any, final
from weakref import WeakKeyDictionary

import jax
from jax.extend.backend import get_default_device

from scallax.circuits.circuit import Circuit
from scallax.evaluation.batch import Arguments
from scallax.evaluation.batch_grounding import BatchGrounding
from scallax.evaluation.compiled_program import CompiledProgram
from scallax.evaluation.jax_values import is_committed, is_concrete
from scallax.evaluation.packing import Packed, pack
from scallax.provenance.traits import AbstractSemantics


@final
class PlacedCircuit:
    """The circuit of a program under one provenance, kept on each device after the first call there."""

    def __init__(self, compiled: CompiledProgram, provenance: AbstractSemantics):
        self._compiled = compiled
        self._provenance = provenance
        self._kept: dict = {}

    def place(self, arguments: Arguments) -> Circuit:
        """The circuit on the device of the arguments."""
        device = None
        if jax.device_count() > 1:
            arrays: list[Any] = [array for array in (*arguments.arrays, *arguments.logits) if is_committed(array)]
            devices = {d for array in arrays for d in array.devices()}
            device = devices.pop() if len(devices) == 1 else None
        # Where inputs are bound to no device, nor is the circuit: it goes where they go.
        key = (device, get_default_device())
        if key in self._kept:
            return self._kept[key]
        with jax.ensure_compile_time_eval():
            circuit = jax.device_put(self._compiled.program(self._provenance), device)
        # Inside an eager `shard_map` even a copy to the device is traced.
        if all(is_concrete(leaf) for leaf in jax.tree.leaves(circuit)):
            self._kept[key] = circuit
        return circuit


@final
class PackedCircuits:
    """The circuits of batches of facts, each as one array of the host, kept for as long as its grounding lives.

    A compiled function takes an array of the host in no more time than one that is on the CPU device already.
    """

    def __init__(self):
        self._kept: WeakKeyDictionary[BatchGrounding, Packed] = WeakKeyDictionary()

    def place(self, grounding: BatchGrounding) -> Packed:
        """The packed circuit of a batch."""
        if grounding not in self._kept:
            self._kept[grounding] = pack(grounding.program)
        return self._kept[grounding]
