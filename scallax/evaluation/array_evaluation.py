"""Arrays of mapped relations, evaluated: `[batch, *mapping.shape]` in, `[batch, outputs]` out."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, final

import numpy as np
from jaxtyping import Array, PyTree

from scallax.circuits.circuit import Circuit
from scallax.circuits.constant_program import EmbeddedProgram
from scallax.circuits.literals import read_proofs
from scallax.errors import UnsupportedError
from scallax.evaluation.batch import Arguments, ArrayLike, Signature, evaluate_batch, forward_batch, pull_back_batch
from scallax.evaluation.batch_evaluation import Logits
from scallax.evaluation.cache import Holder
from scallax.evaluation.checks import check_logits, is_concrete
from scallax.evaluation.compiled_program import CompiledProgram
from scallax.evaluation.fork_guard import check_process
from scallax.evaluation.grounding_cache import BatchFacts
from scallax.evaluation.host_evaluation import HostEvaluator, name_proofs
from scallax.evaluation.input_checks import InputChecks
from scallax.evaluation.linearization import Linearizer
from scallax.evaluation.moves import to_device
from scallax.evaluation.placement import PlacedPrograms
from scallax.evaluation.seeds import as_words
from scallax.evaluation.unpacking import unpack_array, unpack_places
from scallax.facts.mappings import show_tuple
from scallax.facts.outputs import AskedOutputs
from scallax.facts.specification import Specification
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.semirings import ObjectProvenance
from scallax.provenance.traits import AbstractSemantics


@final
class ArrayEvaluator:
    """Evaluates one program for the arrays of its input mappings.

    `checks` refuses, or warns of, arrays; `seed` is that of draws. Arrays are in the order of the mappings, logits in
    that of the parameters, None for the reasoner's own.
    """

    def __init__(
        self,
        specification: Specification,
        provenance: AbstractSemantics,
        logits: Logits,
        grounded: CompiledProgram,
        checks: InputChecks,
        seed: int | Array,
    ):
        self._names = tuple(name for name, _ in specification.input_mappings)
        self._shapes = tuple(mapping.shape for _, mapping in specification.input_mappings)
        self._retentions = tuple(mapping.retention for _, mapping in specification.input_mappings)
        self._keyed = specification.keyed
        self._provenance = provenance
        self._logits = logits
        self._grounded = grounded
        self._checks = checks
        self._seed = seed
        self._programs = PlacedPrograms(grounded, provenance)
        self._holder = Holder()

    def with_seed(self, seed: int | Array) -> "ArrayEvaluator":
        """The same evaluator drawing by another seed, of 32 bits. Shares everything."""
        twin = copy.copy(self)
        twin._seed = seed
        return twin

    @cached_property
    def draws(self) -> bool:
        """Whether outputs depend on the seed."""
        if not self._grounded.outputs:
            return False
        is_drawn = any(retention is not None and retention.is_drawn for retention in self._retentions)
        if is_drawn or self._provenance.traits.draws or self._grounded.draws_per_sample():
            return True
        return self._grounded.program(self._provenance).draws

    def check(self, arrays: Sequence[ArrayLike], logits: Sequence[ArrayLike] | None) -> Arguments:
        """The arguments, if their kinds and shapes, and the values of those that are not traced, fit."""
        arguments = Arguments(tuple(arrays), self._logits if logits is None else tuple(logits))
        self._checks.check(arguments, are_logits_given=logits is not None)
        return arguments

    def read(self, arrays: Sequence[ArrayLike]) -> BatchFacts:
        """The arrays, checked, as a batch without facts; it has one sample if there are none."""
        self.check(arrays, None)
        return BatchFacts((), dict(zip(self._names, arrays, strict=True)), arrays[0].shape[0] if arrays else 1)

    def evaluate(self, arrays: Sequence[ArrayLike], logits: Sequence[ArrayLike] | None) -> Array:
        """See `Reasoner.evaluate`."""
        arguments = self.check(arrays, logits)
        if isinstance(self._provenance, ObjectProvenance):
            values = self._host.evaluate(arguments, self._seed)
            return values if values.dtype == object else to_device(values)  # pyright: ignore[reportReturnType]
        values = evaluate_batch(self._holder, self._signature, self._program(arguments), arguments)
        self._check_recovered(arguments, values)
        return values

    def forward(self, arrays: Sequence[ArrayLike], logits: Sequence[ArrayLike] | None) -> tuple[Array, PyTree[Array]]:
        """See `Reasoner.forward`."""
        if isinstance(self._provenance, ObjectProvenance):
            return self.evaluate(arrays, logits), None
        arguments = self.check(arrays, logits)
        values, residuals = forward_batch(self._holder, self._signature, self._training_program(arguments), arguments)
        self._check_recovered(arguments, values)
        return values, residuals

    def pull_back(
        self,
        arrays: Sequence[ArrayLike],
        residuals: PyTree[Array],
        cotangent: ArrayLike,
        logits: Sequence[ArrayLike] | None,
    ) -> tuple[tuple[Array | None, ...], tuple[Array, ...]]:
        """See `Reasoner.pull_back`."""
        arguments = Arguments(tuple(arrays), self._logits if logits is None else tuple(logits))
        program = self._training_program(arguments)
        return pull_back_batch(self._holder, self._signature, program, arguments, residuals, cotangent)

    @cached_property
    def linearizer(self) -> Linearizer | None:
        """What computes the derivatives with the values; None if nothing ever does."""
        provenance = self._provenance
        if not isinstance(provenance, AbstractProvenance) or not provenance.traits.has_derivatives:
            return None
        if self._logits or self.draws:
            return None
        program = self._grounded.program(provenance)
        if program.local is not None or program.stages:
            return None
        return Linearizer(self._holder, self._signature, self._shapes, self._programs, self._checks)

    def interpret(self, arrays: Sequence[ArrayLike], entries: Sequence[Sequence[Any]]) -> np.ndarray:
        """See `Reasoner.interpret_entries`."""
        return self._host.evaluate(self.check(arrays, None), self._seed, entries)

    def proofs(self, arrays: Sequence[ArrayLike], logits: Sequence[ArrayLike] | None) -> np.ndarray:
        """The proofs `[batch, outputs]` that the provenance keeps, lists of tuples of literals."""
        arguments = self.check(arrays, logits)
        if not all(map(is_concrete, (*arguments.arrays, *arguments.logits))):
            raise UnsupportedError("proofs are Python objects, which a transformed function cannot return")
        names, num_outputs = self._grounded.literals(self._provenance), self._grounded.num_outputs
        if isinstance(self._provenance, ObjectProvenance):
            return name_proofs(self._host.proofs(arguments, self._seed), names, num_outputs)
        program = self._program(arguments)
        residuals = forward_batch(self._holder, self._signature, program, arguments)[1]
        found = [] if residuals is None else read_proofs(self._signature.provenance.proof_sets(residuals.tags), program)
        return name_proofs(found, names, num_outputs)

    def unpack(self, values: Array, asked: AskedOutputs | None = None) -> Any:
        """The result of a call from `evaluate`'s values; for each sample its own outputs if it asked for them."""
        if asked is not None and asked.names is not None:
            return unpack_places(self._grounded.outputs, True, values, None, self._provenance.absent, asked)
        return unpack_array(self._holder, self._grounded.outputs, self._keyed, values)

    @cached_property
    def _signature(self) -> Signature:
        assert isinstance(self._provenance, AbstractProvenance)
        shapes = tuple(parameter.initial.shape for parameter in self._grounded.parameters)
        return Signature(self._provenance, self._retentions, shapes, self._grounded.num_outputs)

    @property
    def _host(self) -> HostEvaluator:
        assert isinstance(self._provenance, ObjectProvenance)
        return HostEvaluator(self._grounded, self._provenance, self._retentions)

    def _program(self, arguments: Arguments) -> Circuit:
        """The index arrays with the seed."""
        program = self._programs.program(arguments)
        return replace(program, seed=as_words(self._seed)) if self.draws else program

    def _training_program(self, arguments: Arguments) -> Circuit | EmbeddedProgram:
        """What is evaluated with gradients: it pays to compile code for a small program alone."""
        check_process()
        embedded = None if self.draws else self._programs.embedded
        return self._program(arguments) if embedded is None else embedded

    def _check_recovered(self, arguments: Arguments, values: Array) -> None:
        """UnsupportedError for the first output that the provenance refused; needs values that are not traced."""
        refusal = self._provenance.traits.refusal
        if refusal is None or not is_concrete(values):
            return
        refused = np.argwhere(np.isnan(np.asarray(values)))
        if not len(refused):
            return
        # NaN in, NaN out: inputs on an accelerator have not been looked at in every call.
        self._checks.check_values(arguments.arrays, on_device=True)
        check_logits(self._grounded.parameters, arguments.logits, len(values), on_device=True)
        sample, place = refused[0]
        output = next(output for output in reversed(self._grounded.outputs) if output.start <= place)
        shown = f"`{output.relation}{show_tuple(output.tuples[place - output.start])}`"
        raise UnsupportedError(replace(refusal, message=f"{shown} in sample {sample}: {refusal.message}"))
