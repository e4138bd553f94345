"""The input layout of arrays of mapped relations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np

from scallax.circuits.circuit import ZERO_ROW, Circuit
from scallax.circuits.constant_program import EmbeddedProgram, embed
from scallax.errors import Diagnostic, InputError
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
from scallax.facts.specification import evidence_of
from scallax.facts.tensor_facts import Retention
from scallax.language.tensors import TensorFramework
from scallax.provenance.traits import AbstractSemantics

if TYPE_CHECKING:
    from jaxtyping import Array

    from scallax.evaluation.cache import Holder
    from scallax.evaluation.placement import PackedCircuits, PlacedCircuit

_JAX = JaxTensors()

# The input of a call that says what was observed, where something may be.
_EVIDENCE = "evidence"


class ObservedArrays:
    """The observations of a call as arrays on the host; bridges have classes of their own for tensors."""

    def array(self, value: Any, like: Sequence[Any]) -> Any:
        """An array of floats for lists, in which None says that a tuple was not looked at; `like` are other inputs.

        ValueError for lists that are no array of numbers.
        """
        if isinstance(value, list | tuple | bool | int | float) or getattr(value, "dtype", None) in (bool, object):
            return np.array(value, np.float32)
        return value

    def unseen(self, shape: tuple[int, ...], like: Sequence[Any]) -> Any:
        """An array of NaN: nothing was looked at."""
        return np.full(shape, np.nan, np.float32)


_ON_HOST = ObservedArrays()


@final
class MappedLayout(AbstractNamedLayout):
    """Arrays `[batch, *mapping.shape]` of all mapped relations, in order.

    `checks` refuses, or warns of, their values.
    """

    def __init__(self, compiled: CompiledProgram, provenance: AbstractSemantics, checks: InputChecks):
        self.compiled = compiled
        self.provenance = provenance
        self.checks = checks
        self.mappings: dict[str, InputMapping] = compiled.specification.call_mappings
        self.shapes = tuple(mapping.shape for mapping in self.mappings.values())
        self._retentions = tuple(mapping.retention for mapping in self.mappings.values())
        self._given_logs = tuple(number for number, mapping in enumerate(self.mappings.values()) if mapping.log)

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
    def given_logs(self) -> tuple[int, ...]:
        return self._given_logs

    @property
    def num_observed(self) -> int:
        return len(self.compiled.specification.evidence)

    @property
    def is_conditional(self) -> bool:
        return self.compiled.is_conditional

    def evidence_places(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.num_values * np.arange(1, 1 + shape[0]) - 1

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
        return self.compiled.num_values

    @property
    def circuit(self) -> Circuit:
        return self.compiled.program(self.provenance)

    @cached_property
    def embedded(self) -> EmbeddedProgram | None:
        return embed(self.circuit)

    @cached_property
    def draws(self) -> bool:
        if not self.outputs and not self.is_conditional:
            return False
        if is_drawn(self._retentions) or self.provenance.traits.draws or self.compiled.draws_per_sample():
            return True
        return self.circuit.draws

    @property
    def derivable(self) -> np.ndarray:
        """The columns of the outputs that some inputs can derive, int64."""
        return np.flatnonzero(np.asarray(self.circuit.outputs)[: self.compiled.num_outputs] != ZERO_ROW)

    def check_shapes(self, shapes: Sequence[tuple[int, ...]]) -> None:
        """InputError if the shapes of arrays do not fit their mappings or each other."""
        check_shapes(dict(zip(self.mappings, self.shapes, strict=True)), shapes)

    def order(self, inputs: Mapping[str, T], arrays: ObservedArrays = _ON_HOST) -> tuple[T, ...]:
        """The inputs in the order of the mappings. InputError if one is missing or is no input relation.

        `arrays` makes those of what was observed.
        """
        if self.num_observed:
            others = {name: value for name, value in inputs.items() if name != _EVIDENCE}
            given: list[Any] = list(others.values())
            sizes = (array.shape[0] for array in given if getattr(array, "shape", ()))
            inputs = {**others, **self._observe(inputs, next(sizes, None), arrays, given)}
        ordered = order_inputs(self.mappings, inputs, lambda: self.compiled.samples.checked.program.relations)
        self.compiled.warn_of_empty(inputs)
        return ordered

    def _observe(
        self, inputs: Mapping[str, Any], num_samples: int | None, arrays: ObservedArrays, like: Sequence[Any]
    ) -> dict[str, Any]:
        """The arrays of what a call observed, by name among its inputs: NaN where it says nothing.

        `num_samples` is None if no other input tells it. InputError for relations of which nothing may be observed.
        """
        mappings = dict(self.compiled.specification.evidence)
        given = read_by_relation(inputs.get(_EVIDENCE), "`evidence`")
        found = {}
        for relation, value in given.items():
            if relation not in mappings:
                message = f"`evidence` names `{relation}`, of which no tuples may be observed"
                hint = f'name them when the reasoner is made: `evidence={{"{relation}": …}}`'
                raise InputError(Diagnostic(message, hint=hint))
            try:
                found[relation] = arrays.array(value, like)
            except (TypeError, ValueError, RuntimeError) as error:  # ragged lists, or no numbers in them
                hint = "give 1 for what holds, 0 for what does not, None for what was not looked at"
                raise InputError(Diagnostic(f"`evidence` of `{relation}` is no array: {error}", hint=hint)) from None
        sizes = [array.shape[0] for array in found.values() if getattr(array, "shape", ())]
        size = num_samples if num_samples is not None else (*sizes, 1)[0]
        return {
            evidence_of(relation): found.get(relation, arrays.unseen((size, *mapping.shape), like))
            for relation, mapping in mappings.items()
        }

    def read(
        self,
        inputs: Mapping[str, Any],
        disjunctions: Mapping[str, Sequence] | None = None,
        *,
        tags_come_later: bool = False,
        framework: TensorFramework = _JAX,
        arrays: ObservedArrays = _ON_HOST,
    ) -> BatchFacts:
        """The inputs of a call with facts per sample, by kind.

        `framework` is what tensors in facts are of that have gradients; `arrays` makes those of what was observed.
        InputError for what does not fit the program.
        """
        check_per_sample(self.provenance)
        samples = self.compiled.samples
        facts = inputs
        if self.num_observed:
            facts = {name: value for name, value in inputs.items() if name != _EVIDENCE}
        batch = samples.read(facts, disjunctions or {}, self.provenance, framework, tags_come_later=tags_come_later)
        for relation, array in batch.arrays.items():
            if relation not in self.mappings:
                raise not_mapped(relation, array)
        mapped = dict(self.compiled.specification.input_mappings)
        check_given(mapped, {*batch.arrays, *(part.relation for part in batch.facts)})
        self.compiled.warn_of_empty(inputs)
        if not self.num_observed:
            return batch
        observed = self._observe(inputs, batch.num_samples, arrays, list(batch.arrays.values()))
        return replace(batch, arrays={**batch.arrays, **observed})

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
        # The observations of a call have no names.
        return lambda proofs: [
            tuple(replace(names[row], is_true=is_true) for row, is_true in proof if names[row].relation)
            for proof in proofs
        ]
