"""The tags of a context's relations as a function of the tags of its facts that are inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, final

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.literals import Literal, Part
from scallax.evaluation.batch import ArrayLike
from scallax.evaluation.batch_grounding import BatchGrounding
from scallax.evaluation.derived_program import DerivedProgram
from scallax.evaluation.evaluator import Evaluator
from scallax.evaluation.interpreters import refuse_traced_proofs
from scallax.evaluation.tags_layout import TagsLayout
from scallax.facts.mappings import show_tuple
from scallax.language import ir
from scallax.language.tensors import Comparison, TensorInputs
from scallax.language.values import Value
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.traits import AbstractSemantics

if TYPE_CHECKING:
    pass

# Relations with some of their tuples, in value order.
Relations = list[tuple[ir.Relation, Sequence[tuple[Value, ...]]]]


@final
class Computation:
    """The tags of some relations' tuples as a pure function of those inputs of their circuit that are tags of facts.

    `relations` have their tuples in value order, `places` say by relation where the tags of its tuples stand among the
    circuit's outputs. The last of the `num_inputs` inputs are computed, of `comparisons` of `tensors` in facts.
    `executor` is that of `runs_at_once`.
    """

    def __init__(
        self,
        circuit: Circuit | None,
        provenance: AbstractProvenance,
        relations: Relations,
        places: Sequence[Sequence[int]],
        num_inputs: int,
        names: Sequence[Literal],
        *,
        is_packed: bool = False,
        comparisons: tuple[Comparison, ...] = (),
        tensors: TensorInputs | None = None,
        executor: str | None = None,
    ):
        self.relations, self.places, self.num_inputs = relations, places, num_inputs
        self.comparisons, self.tensors = comparisons, tensors
        # Circuits of batches share compilations by their form.
        size = len(circuit.outputs) if is_packed and circuit is not None else sum(map(len, places))
        if not is_packed and circuit is not None and circuit.evidence is not None:
            size += 1
        layout = TagsLayout(circuit, size, num_inputs, self._name, names, is_packed=is_packed)
        self.evaluator = Evaluator(layout, provenance, executor=executor)

    @staticmethod
    def of_run(derived: DerivedProgram, provenance: AbstractSemantics, executor: str | None = None) -> Computation:
        """The tags of all outputs of a program, for those of its facts that have inputs."""
        assert isinstance(provenance, AbstractProvenance)
        schemas = {relation.name: relation for relation in derived.checked.program.relations}
        # Without inputs there is nothing that gradients are of.
        differentiable = derived.checked.num_inputs + len(derived.grounding.comparisons) > 0
        circuit = derived.circuit(provenance, differentiable=differentiable) if len(derived.operands) else None
        names: list[Literal] = []
        if provenance.traits.returns_proofs and circuit is not None:
            literals = derived.literals(provenance)
            names = [literals[i] for i in circuit.literals.ids if i >= 0]
        comparisons = derived.grounding.comparisons
        return Computation(
            circuit,
            provenance,
            [(schemas[output.relation], output.tuples) for output in derived.outputs],
            [range(output.start, output.start + len(output.tuples)) for output in derived.outputs],
            derived.checked.num_inputs + len(comparisons),
            names,
            comparisons=comparisons,
            tensors=derived.checked.tensors,
            executor=executor,
        )

    @staticmethod
    def of_samples(
        grounding: BatchGrounding,
        relations: Sequence[ir.Relation],
        provenance: AbstractProvenance,
        executor: str | None = None,
    ) -> Computation:
        """The tags of one relation of each sample, of tuples that the sample can derive.

        The inputs are those of the facts of all samples, then padding. No sample has tensors that gradients pass
        through.
        """
        found: Relations = []
        places: list[list[int]] = []
        order, samples, columns = grounding.derived
        bounds = np.searchsorted(samples, np.arange(len(relations) + 1))
        outputs = {output.relation: output for output in grounding.outputs}
        for sample, relation in enumerate(relations):
            rows = slice(bounds[sample], bounds[sample + 1])
            output = outputs[relation.name]
            column = columns[rows] - output.start
            is_wanted = (column >= 0) & (column < len(output.tuples))
            found.append((relation, [output.tuples[place] for place in column[is_wanted].tolist()]))
            places.append(order[rows][is_wanted].tolist())
        return Computation(
            grounding.program,
            provenance,
            found,
            places,
            grounding.padded_tags,
            grounding.names,
            is_packed=True,
            executor=executor,
        )

    def evaluate(self, tags: ArrayLike) -> ArrayLike:
        """The tags `[outputs]` for those of the inputs, float `[inputs]`; differentiable by JAX.

        An array of NumPy, if NumPy computes it and the inputs are one.

        InputError for an input that is not finite, UnsupportedError for proofs that are too many to count; under
        tracing nothing is checked.
        """
        # Without inputs there is no array whose dtype could be followed.
        return self.evaluator.evaluate((tags,) if self.num_inputs else ())

    def proofs(self, tags: Sequence[Any], ids: Sequence[int], number: Callable[[Any], float]) -> list[list[Part]]:
        """The proofs that the provenance keeps of each output, for those tags; `ids` are the numbers of their facts.

        `number` makes a number of a tag. UnsupportedError for traced tags, which tell no proof.
        """
        refuse_traced_proofs(tags)
        computed = self.computed()
        given = (*tags, *(() if computed is None else computed))
        numbers = [each for tag in given for each in (tag.tolist() if getattr(tag, "ndim", 0) else [number(tag)])]
        evaluator = self.evaluator.with_layout(replace(self.evaluator.layout, ids=ids))
        return evaluator.proofs((np.array(numbers, np.float32),) if numbers else ())[0].tolist()

    def computed(self) -> Any:
        """The inputs that are computed, an array of the tensors' framework; None if there are none."""
        if not self.comparisons:
            return None
        assert self.tensors is not None, "tensors that are compared are in facts"
        return self.tensors.compare(self.comparisons)

    def _name(self, place: int) -> str | None:
        """The tuple whose tag stands at a place; None if no one asks for it."""
        relation, row = self._by_place.get(place, (None, ()))
        return None if relation is None else f"`{relation.name}{show_tuple(row)}`"

    @cached_property
    def _by_place(self) -> dict[int, tuple[ir.Relation, tuple[Value, ...]]]:
        return {
            place: (relation, row)
            for (relation, tuples), places in zip(self.relations, self.places, strict=True)
            for row, place in zip(tuples, places, strict=True)
        }
