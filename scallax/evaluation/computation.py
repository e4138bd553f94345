"""The relations of a program with facts from Python, grounded once, as a function of the tags of some facts."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, final

import numpy as np
from jax.core import Tracer
from jaxtyping import Array, PyTree

from scallax.circuits.compile import compile_outputs, ground_program, tag_facts
from scallax.circuits.literals import Literal, Part, name_literals, number_parts, read_proofs
from scallax.errors import InputError, UnsupportedError
from scallax.evaluation.batch import Arguments, ArrayLike, Signature, evaluate_batch, forward_batch, pull_back_batch
from scallax.evaluation.cache import Holder
from scallax.evaluation.constant_weights import constant_weights
from scallax.evaluation.fork_guard import check_process
from scallax.evaluation.moves import to_device
from scallax.facts.fact_table import FactTable
from scallax.facts.mappings import show_tuple
from scallax.grounding.limits import Limits
from scallax.language import ir
from scallax.language.tensors import TensorInputs
from scallax.language.values import Value
from scallax.provenance.base import AbstractProvenance


@final
class Computation:
    """The possible tuples of `outputs`, and their tags as a pure function of the inputs that `given` facts name.

    `relations` are the outputs with their possible tuples in value order, `starts` the place of each relation's first
    tuple among the tags. The last inputs are computed, of `comparisons` of `tensors` in facts.
    """

    def __init__(
        self,
        program: ir.Program,
        outputs: Sequence[ir.Relation],
        given: Sequence[FactTable],
        provenance: AbstractProvenance,
        *,
        uniform_choices: bool,
        iter_limit: int | None,
        limits: Limits,
        tensors: TensorInputs | None = None,
    ):
        grounding = ground_program(
            program,
            provenance.traits,
            given,
            [relation.name for relation in outputs],
            uniform_choices=uniform_choices,
            iter_limit=iter_limit,
            limits=limits,
            weigh=constant_weights(provenance),
            tensors=tensors,
        )
        self.tensors, self.comparisons = tensors, grounding.comparisons
        self.relations: list[tuple[ir.Relation, list[tuple[Value, ...]]]] = [
            (relation, grounding.tuples(relation.name)) for relation in outputs
        ]
        operands = np.concatenate([np.zeros(0, np.int64), *(grounding.operands(relation.name) for relation in outputs)])
        counts = [len(tuples) for _, tuples in self.relations]
        self.starts = [0, *np.cumsum(counts).tolist()]
        self.num_outputs = len(operands)
        self.num_inputs = sum(facts.num_facts for facts in given if facts.inputs is not None) + len(self.comparisons)
        self._names: list[Literal] = []
        if provenance.traits.returns_proofs:
            self._names = name_literals(program, tag_facts(program, provenance.traits, given), grounding)
        self._signature = Signature(provenance, (None,) * bool(self.num_inputs), (), self.num_outputs, is_union=True)
        self._holder = Holder()
        self._program = compile_outputs(grounding, provenance.traits, operands) if self.num_outputs else None

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
        if self._program is None:
            return to_device(np.zeros(tags.shape, tags.dtype))
        arguments = self._arguments(tags)
        (gradient,), _ = pull_back_batch(self._holder, self._signature, self._program, arguments, residuals, cotangent)
        assert gradient is not None, "tags are floats"
        return gradient

    def proofs(self, tags: Sequence[Any], ids: Sequence[int], number: Callable[[Any], float]) -> list[list[list[Part]]]:
        """The proofs that the provenance keeps of each tuple, for those tags; `ids` are the numbers of their facts.

        `number` makes a number of a tag. UnsupportedError for traced tags, which tell no proof.
        """
        if self._program is None:
            return []
        if any(isinstance(tag, Tracer) for tag in tags):
            raise UnsupportedError("proofs are Python objects, which a transformed function cannot return")
        computed = self.computed()
        numbers = [number(tag) for tag in (*tags, *(() if computed is None else computed))]
        arguments = self._arguments(np.array(numbers, np.float32))
        _, residuals = forward_batch(self._holder, self._signature, self._program, arguments)
        sources = np.asarray(self._program.literals.source).tolist()
        numbers = [ids[source] if 0 <= source < len(ids) else 0 for source in sources]
        names = [self._names[i] for i in np.asarray(self._program.literals.ids) if i >= 0]
        (found,) = read_proofs(self._signature.provenance.proof_sets(residuals.tags), self._program)
        return [number_parts(proofs, numbers, names) for proofs in found[: self.num_outputs]]

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
        refused = np.flatnonzero(np.isnan(np.asarray(values)))
        if len(refused):
            place = int(refused[0])
            number = int(np.searchsorted(self.starts, place, side="right")) - 1
            relation, tuples = self.relations[number]
            shown = show_tuple(tuples[place - self.starts[number]])
            raise UnsupportedError(replace(refusal, message=f"`{relation.name}{shown}`: {refusal.message}"))
