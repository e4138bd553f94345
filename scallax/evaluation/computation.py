"""The tags of a context's relations as a function of the tags of its facts that are inputs."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree

from scallax.circuits.circuit import Circuit
from scallax.circuits.literals import Literal, Part, number_parts, read_proofs
from scallax.errors import InputError, UnsupportedError
from scallax.evaluation.batch import Arguments, ArrayLike, Signature, evaluate_batch, forward_batch, pull_back_batch
from scallax.evaluation.batch_grounding import BatchGrounding
from scallax.evaluation.cache import Holder
from scallax.evaluation.derived_program import DerivedProgram
from scallax.evaluation.fork_guard import check_process
from scallax.evaluation.moves import to_device
from scallax.facts.mappings import show_tuple
from scallax.kernels.packing import Packed, pack
from scallax.language import ir
from scallax.language.tensors import Comparison, TensorInputs
from scallax.language.values import Value
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.traits import AbstractSemantics

# Relations with some of their tuples, in value order.
Relations = list[tuple[ir.Relation, Sequence[tuple[Value, ...]]]]


@final
class Computation:
    """The tags of some relations' tuples as a pure function of those inputs of their circuit that are tags of facts.

    `relations` have their tuples in value order, `places` say by relation where the tags of its tuples stand among the
    circuit's outputs. The last of the `num_inputs` inputs are computed, of `comparisons` of `tensors` in facts.
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
    ):
        self.relations, self.places, self.num_inputs = relations, places, num_inputs
        self.comparisons, self.tensors = comparisons, tensors
        self._circuit, self._names = circuit, names
        # Circuits of batches share compilations by their form.
        self._program: Circuit | Packed | None = pack(circuit) if is_packed else circuit
        self._holder = Holder()
        num_outputs = len(circuit.outputs) if is_packed and circuit is not None else sum(map(len, places))
        self._signature = Signature(provenance, (None,) * bool(num_inputs), (), num_outputs, is_union=True)

    @staticmethod
    def of_run(derived: DerivedProgram, provenance: AbstractSemantics) -> "Computation":
        """The tags of all outputs of a program, for those of its facts that have inputs."""
        assert isinstance(provenance, AbstractProvenance)
        schemas = {relation.name: relation for relation in derived.checked.program.relations}
        circuit = derived.circuit(provenance) if len(derived.operands) else None
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
        )

    @staticmethod
    def of_samples(
        grounding: BatchGrounding, relations: Sequence[ir.Relation], provenance: AbstractProvenance
    ) -> "Computation":
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
            grounding.program, provenance, found, places, grounding.padded_tags, grounding.names, is_packed=True
        )

    def evaluate(self, tags: ArrayLike) -> Array:
        """The tags `[outputs]` for those of the inputs, float `[inputs]`; differentiable by JAX.

        InputError for an input that is not finite, UnsupportedError for proofs that are too many to count; under
        tracing nothing is checked.
        """
        arguments = self._arguments(tags)
        if self._program is None:
            return to_device(np.zeros(0, tags.dtype))
        values = evaluate_batch(self._holder, self._signature, self._program, arguments)
        self._check(values)
        return values

    def forward(self, tags: ArrayLike) -> tuple[Array, PyTree[Array]]:
        """`evaluate`'s values, and what `pull_back` needs to differentiate them."""
        arguments = self._arguments(tags)
        if self._program is None:
            return to_device(np.zeros(0, tags.dtype)), None
        values, residuals = forward_batch(self._holder, self._signature, self._program, arguments)
        self._check(values)
        return values, residuals

    def pull_back(self, tags: ArrayLike, residuals: PyTree[Array], cotangent: ArrayLike) -> Array:
        """The gradient `[inputs]` for a cotangent `[outputs]`, with what `forward` gave for the same tags."""
        if self._program is None or not self.num_inputs:
            return to_device(np.zeros(tags.shape, tags.dtype))
        arguments = self._arguments(tags)
        (gradient,), _ = pull_back_batch(self._holder, self._signature, self._program, arguments, residuals, cotangent)
        assert gradient is not None, "tags are floats"
        return gradient

    def proofs(self, tags: Sequence[Any], ids: Sequence[int], number: Callable[[Any], float]) -> list[list[list[Part]]]:
        """The proofs that the provenance keeps of each output, for those tags; `ids` are the numbers of their facts.

        `number` makes a number of a tag. UnsupportedError for traced tags, which tell no proof.
        """
        if self._circuit is None:
            return []
        if any(isinstance(tag, Tracer) for tag in tags):
            raise UnsupportedError("proofs are Python objects, which a transformed function cannot return")
        computed = self.computed()
        numbers = [number(tag) for tag in (*tags, *(() if computed is None else computed))]
        _, residuals = self.forward(np.array(numbers, np.float32))
        sources = np.asarray(self._circuit.literals.source).tolist()
        numbers = [ids[source] if 0 <= source < len(ids) else 0 for source in sources]
        (found,) = read_proofs(self._signature.provenance.proof_sets(residuals.tags), self._circuit)
        return [number_parts(proofs, numbers, self._names) for proofs in found]

    def computed(self) -> Any:
        """The inputs that are computed, an array of the tensors' framework; None if there are none."""
        if not self.comparisons:
            return None
        assert self.tensors is not None, "tensors that are compared are in facts"
        return self.tensors.compare(self.comparisons)

    def _arguments(self, tags: ArrayLike) -> Arguments:
        check_process()
        assert tags.shape == (self.num_inputs,)
        if not isinstance(tags, Tracer) and not np.isfinite(np.asarray(tags)).all():
            raise InputError("a tag of a fact is not finite; a tag is a finite number")
        # Without inputs there is no array whose dtype could be followed.
        return Arguments((tags,) if self.num_inputs else ())

    def _check(self, values: Array) -> None:
        """UnsupportedError for the first tuple that the provenance refused; needs values that are not traced."""
        refusal = self._signature.provenance.traits.refusal
        if refusal is None or isinstance(values, Tracer):
            return
        is_refused = np.isnan(np.asarray(values))
        if not is_refused.any():
            return
        for (relation, tuples), places in zip(self.relations, self.places, strict=True):
            for row, place in zip(tuples, places, strict=True):
                if is_refused[place]:
                    message = f"`{relation.name}{show_tuple(row)}`: {refusal.message}"
                    raise UnsupportedError(replace(refusal, message=message))
