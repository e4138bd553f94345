"""The index arrays of a program on the devices where it is evaluated."""

from functools import cached_property
from typing import final

import jax
from jax.extend.backend import get_default_device

from scallax.circuits.circuit import Circuit
from scallax.circuits.constant_program import EmbeddedProgram, embed
from scallax.evaluation.batch import Arguments
from scallax.evaluation.checks import is_concrete
from scallax.evaluation.compiled_program import CompiledProgram
from scallax.evaluation.fork_guard import check_process
from scallax.provenance.traits import AbstractSemantics


@final
class PlacedPrograms:
    """The index arrays under one provenance, kept on each device after the first call there."""

    def __init__(self, grounded: CompiledProgram, provenance: AbstractSemantics):
        self._grounded = grounded
        self._provenance = provenance
        self._kept: dict = {}

    @cached_property
    def embedded(self) -> EmbeddedProgram | None:
        """The program as a constant, if it is small."""
        return embed(self._grounded.program(self._provenance))

    def program(self, arguments: Arguments) -> Circuit:
        """The index arrays, on the device of the arguments."""
        check_process()
        device = None
        if jax.device_count() > 1:
            arrays = [a for a in (*arguments.arrays, *arguments.logits) if isinstance(a, jax.Array) and is_concrete(a)]
            devices = {d for array in arrays if array.committed for d in array.devices()}
            device = devices.pop() if len(devices) == 1 else None
        # Where inputs are bound to no device, nor is the program: it goes where they go.
        key = (device, get_default_device())
        if key in self._kept:
            return self._kept[key]
        with jax.ensure_compile_time_eval():
            program = jax.device_put(self._grounded.program(self._provenance), device)
        # Inside an eager `shard_map` even a copy to the device is traced.
        if all(is_concrete(leaf) for leaf in jax.tree.leaves(program)):
            self._kept[key] = program
        return program
