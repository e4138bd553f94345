"""The input layout of arrays of mapped relations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np

from scallax.circuits.circuit import ZERO_ROW, Circuit
from scallax.circuits.constant_program import EmbeddedProgram, embed
from scallax.evaluation.batch import Arguments, ArrayLike, list_entries
from scallax.evaluation.batch_grounding import BatchGrounding
from scallax.evaluation.checks import (
    check_given,
    check_shapes,
    not_mapped,
    order_inputs,
)
from scallax.evaluation.compiled_program import CompiledProgram, Output
from scallax.evaluation.fact_tags import JaxTensors
from scallax.evaluation.grounding_cache import BatchFacts, check_per_sample
from scallax.evaluation.input_checks import InputChecks
from scallax.evaluation.input_layout import AbstractNamedLayout, Entries, Proof, T, arrange_rows, is_drawn, name_output
from scallax.evaluation.unpacking import unpack_array, unpack_places
from scallax.facts.arguments import read_by_relation
from scallax.facts.mappings import InputMapping
from scallax.facts.outputs import AskedOutputs
from scallax.facts.tensor_facts import Retention
from scallax.language.tensors import TensorFramework
from scallax.provenance.traits import AbstractSemantics

if TYPE_CHECKING:
    from jaxtyping import Array

    from scallax.evaluation.cache import Holder
    from scallax.evaluation.placement import PackedCircuits, PlacedCircuit

_JAX = JaxTensors()


@final
class MappedLayout(AbstractNamedLayout):
    """Arrays `[batch, *mapping.shape]` of all mapped relations, in order.

    `checks` refuses, or warns of, their values.
    """

    def __init__(self, compiled: CompiledProgram, provenance: AbstractSemantics, checks: InputChecks):
        self.compiled = compiled
        self.provenance = provenance
        self.checks = checks
        self.mappings: dict[str, InputMapping] = dict(compiled.specification.input_mappings)
        self.shapes = tuple(mapping.shape for mapping in self.mappings.values())
        self._retentions = tuple(mapping.retention for mapping in self.mappings.values())

    @property
    def retentions(self) -> tuple[Retention | None, ...]:
        return self._retentions

    @cached_property
    def placed(self) -> PlacedCircuit:
        """The circuit on devices."""
        from scallax.evaluation.placement import PlacedCircuit  # JAX evaluates it

        return PlacedCircuit(self.compiled, self.provenance)

    @cached_property
    def packed(self) -> PackedCircuits:
        """The circuits of batches of facts on devices."""
        from scallax.evaluation.placement import PackedCircuits  # as above

        return PackedCircuits()

    @property
    def is_union(self) -> bool:
        return False

    @property
    def outputs(self) -> tuple[Output, ...]:
        return self.compiled.outputs

    @property
    def keyed(self) -> bool:
        return self.compiled.specification.keyed

    @cached_property
    def num_values(self) -> int:
        return self.compiled.num_outputs

    @property
    def circuit(self) -> Circuit:
        return self.compiled.program(self.provenance)

    @cached_property
    def embedded(self) -> EmbeddedProgram | None:
        return embed(self.circuit)

    @cached_property
    def draws(self) -> bool:
        if not self.outputs:
            return False
        if is_drawn(self._retentions) or self.provenance.traits.draws or self.compiled.draws_per_sample():
            return True
        return self.circuit.draws

    @property
    def derivable(self) -> np.ndarray:
        """The columns of the outputs that some inputs can derive, int64."""
        return np.flatnonzero(np.asarray(self.circuit.outputs)[: self.num_values] != ZERO_ROW)

    def check_shapes(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """InputError if the shapes of arrays do not fit their mappings or each other."""
        check_shapes(dict(zip(self.mappings, self.shapes, strict=True)), shapes)

    def order(self, inputs: Mapping[str, T]) -> tuple[T, ...]:
        """The inputs in the order of the mappings. InputError if one is missing or is no input relation."""
        ordered = order_inputs(self.mappings, inputs, lambda: self.compiled.samples.checked.program.relations)
        self.compiled.warn_of_empty(inputs)
        return ordered

    def read(
        self,
        inputs: Mapping[str, Any],
        disjunctions: Mapping[str, Sequence] | None = None,
        *,
        tags_come_later: bool = False,
        framework: TensorFramework = _JAX,
    ) -> BatchFacts:
        """The inputs of a call with facts per sample, by kind.

        `framework` is what tensors in facts are of that have gradients. InputError for what does not fit the program.
        """
        check_per_sample(self.provenance)
        samples = self.compiled.samples
        batch = samples.read(inputs, disjunctions or {}, self.provenance, framework, tags_come_later=tags_come_later)
        for relation, array in batch.arrays.items():
            if relation not in self.mappings:
                raise not_mapped(relation, array)
        check_given(self.mappings, {*batch.arrays, *(part.relation for part in batch.facts)})
        self.compiled.warn_of_empty(inputs)
        return batch

    def as_batch(self, arrays: Sequence[ArrayLike]) -> BatchFacts:
        """The arrays as a batch without facts; it has one sample if there are none."""
        return BatchFacts((), dict(zip(self.mappings, arrays, strict=True)), arrays[0].shape[0] if arrays else 1)

    def ground(self, batch: BatchFacts) -> BatchGrounding:
        """The grounding of what `read` read, from the cache if the facts were met before."""
        specification = self.compiled.specification
        outputs = tuple((name, None if listed is None else listed.tuples) for name, listed in specification.outputs)
        return self.compiled.samples.ground(batch, self.provenance, outputs)

    def ground_facts(
        self,
        facts: Mapping[str, Any],
        disjunctions: Mapping[str, Sequence] | None = None,
        framework: TensorFramework = _JAX,
    ) -> BatchGrounding:
        """The grounding of facts whose tags come later."""
        facts = read_by_relation(facts, "the facts")
        return self.ground(self.read(facts, disjunctions, tags_come_later=True, framework=framework))

    def unpack(self, holder: Holder, values: ArrayLike, asked: AskedOutputs | None) -> Any:
        if asked is not None and asked.names is not None:
            return unpack_places(self.outputs, True, values, None, self.provenance.absent, asked)
        return unpack_array(holder, self.outputs, self.keyed, values)

    def place(self, arguments: Arguments) -> Circuit:
        return self.placed.place(arguments)

    def check(self, arguments: Arguments, *, are_logits_given: bool) -> None:
        self.checks.check(arguments, are_logits_given=are_logits_given)

    def check_finite(self, arguments: Arguments) -> None:
        self.checks.check_values(arguments.arrays, on_device=True)
        num_samples = arguments.arrays[0].shape[0] if arguments.arrays else None
        self.checks.check_logits(arguments, num_samples, on_device=True)

    def name_output(self, place: int) -> str:
        return name_output(self.outputs, *divmod(place, self.num_values))

    def list_inputs(self, arguments: Arguments, seed: int | Array, entries: Entries | None) -> list[list[Any]]:
        by_array = list_entries(arguments.arrays, self._retentions, seed, entries)
        if not by_array:
            return [[]]
        return [[entry for of_array in sample for entry in of_array] for sample in zip(*by_array, strict=True)]

    def dtyped(self, arguments: Arguments) -> Sequence[Any]:
        return arguments.arrays

    def arrange(self, found: Sequence[Sequence[T]], absent: Callable[[], T]) -> np.ndarray:
        return arrange_rows(found, self.num_values)

    def proof_reader(self) -> Callable[[Sequence[Proof]], list]:
        names = self.compiled.literals(self.provenance)
        return lambda proofs: [
            tuple(replace(names[row], is_true=is_true) for row, is_true in proof) for proof in proofs
        ]
