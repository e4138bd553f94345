"""A grounded batch of facts per sample, evaluated: the samples side by side, as one sample of a larger program."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, final
from weakref import WeakKeyDictionary

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.backend import get_default_device
from jaxtyping import Array, PyTree

from scallax.circuits.circuit import Circuit
from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.evaluation.batch import (
    Arguments,
    ArrayLike,
    Signature,
    evaluate_batch,
    forward_batch,
    pull_back_batch,
)
from scallax.evaluation.batch_grounding import BatchArrays, BatchGrounding
from scallax.evaluation.batch_proofs import read_batch_proofs
from scallax.evaluation.cache import Holder
from scallax.evaluation.checks import check_given, check_logits, check_mapped, is_concrete, is_on_host, not_mapped
from scallax.evaluation.compiled_program import CompiledProgram
from scallax.evaluation.derived_program import Output
from scallax.evaluation.fact_tags import JaxTensors
from scallax.evaluation.fork_guard import check_process
from scallax.evaluation.grounding_cache import BatchFacts, check_per_sample
from scallax.evaluation.input_checks import InputChecks
from scallax.evaluation.moves import join, take
from scallax.evaluation.object_batches import evaluate_objects, list_entries, list_tags
from scallax.evaluation.seeds import as_words
from scallax.evaluation.unpacking import pair_with_proofs, unpack, unpack_objects, unpack_places
from scallax.facts.arguments import read_by_relation, unknown_name
from scallax.facts.mappings import show_tuple
from scallax.facts.outputs import AskedOutputs
from scallax.facts.specification import Specification
from scallax.kernels.packing import Packed, pack
from scallax.language.tensors import TensorFramework
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.semirings import ObjectProvenance
from scallax.provenance.traits import AbstractSemantics

_JAX = JaxTensors()
# The place of a program that is on no device of JAX yet.
_ON_HOST = "host"

T = TypeVar("T")
Logits = tuple[ArrayLike, ...]


@final
class BatchEvaluator:
    """Grounds batches of one program and evaluates them.

    `checks` refuses, or warns of, the arrays of mapped relations; `seed` is that of draws.

    Tags are vectors `[padded_tags]`, arrays those of the grounding's mapped relations, in its order; logits are in the
    order of the parameters, None for the reasoner's own.
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
        self._outputs = tuple(
            (name, None if listed is None else listed.tuples) for name, listed in specification.outputs
        )
        self._keyed = specification.keyed
        self._mappings = dict(specification.input_mappings)
        self._provenance = provenance
        self._logits = logits
        self._grounded = grounded
        self._checks = checks
        self._seed = seed
        # The arrays of each grounding that was met, by device.
        self._kept: WeakKeyDictionary[BatchGrounding, dict] = WeakKeyDictionary()
        self._holder = Holder()

    def with_seed(self, seed: int | Array) -> "BatchEvaluator":
        """The same evaluator drawing by another seed, of 32 bits. Shares everything."""
        twin = copy.copy(self)
        twin._seed = seed
        return twin

    @property
    def _arrays_provenance(self) -> AbstractProvenance:
        if not isinstance(self._provenance, AbstractProvenance):
            message = f"tags of `{self._provenance.name}` are Python objects, not one array for a batch"
            raise UnsupportedError(Diagnostic(message, hint="give the facts with their tags in a call"))
        return self._provenance

    def read(
        self,
        inputs: Mapping[str, Any],
        disjunctions: Mapping[str, Sequence] | None = None,
        later: bool = False,
        framework: TensorFramework = _JAX,
    ) -> BatchFacts:
        """The inputs of a call with facts per sample, by kind; `later`: their tags come later.

        `framework` is what tensors in facts are of that have gradients.

        InputError for what does not fit the program.
        """
        check_per_sample(self._provenance)
        samples = self._grounded.samples
        batch = samples.read(inputs, disjunctions or {}, self._provenance, framework, tags_come_later=later)
        for relation, array in batch.arrays.items():
            if relation not in self._mappings:
                raise not_mapped(relation, array)
        check_given(self._mappings, {*batch.arrays, *(part.relation for part in batch.facts)})
        self._grounded.warn_of_empty(inputs)
        return batch

    def ground_facts(
        self,
        facts: Mapping[str, Any],
        disjunctions: Mapping[str, Sequence] | None = None,
        framework: TensorFramework = _JAX,
    ) -> BatchGrounding:
        """The grounding of facts whose tags come later."""
        facts = read_by_relation(facts, "the facts")
        return self.ground(self.read(facts, disjunctions, True, framework))

    def ground(self, batch: BatchFacts) -> BatchGrounding:
        """The grounding of what `read` read, from the cache if the facts were met before."""
        return self._grounded.samples.ground(batch, self._provenance, self._outputs)

    def evaluate(
        self,
        grounding: BatchGrounding,
        tags: ArrayLike,
        arrays: Logits,
        logits: Sequence[ArrayLike] | None,
    ) -> Array:
        """The values of `grounding.program`'s outputs, for checked tags `[padded_tags]` and arrays of mapped relations.

        Results `[num_samples, num_outputs]` are those at the places `sources` of the grounding.
        """
        self._check_owner(grounding)
        self._check_mapped(grounding, arrays)
        values = evaluate_batch(self._holder, *self._union(grounding, tags, arrays, logits))
        self._check_recovered(grounding, tags, arrays, values)
        return values

    def forward(
        self,
        grounding: BatchGrounding,
        tags: ArrayLike,
        arrays: Logits = (),
        logits: Sequence[ArrayLike] | None = None,
        keep: bool = True,
    ) -> tuple[Array, PyTree[Array]]:
        """The values of `grounding.program`'s outputs, and what `pull_back_batch` needs if it is to be kept."""
        self._check_owner(grounding)
        self._check_mapped(grounding, arrays)
        union = self._union(grounding, tags, arrays, logits)
        if keep:
            values, residuals = forward_batch(self._holder, *union)
        else:
            values, residuals = evaluate_batch(self._holder, *union), None
        self._check_recovered(grounding, tags, arrays, values)
        return values, residuals

    def pull_back(
        self,
        grounding: BatchGrounding,
        tags: ArrayLike,
        arrays: Logits,
        residuals: PyTree[Array],
        cotangent: ArrayLike,
        logits: Sequence[ArrayLike] | None = None,
    ) -> tuple[Array, tuple[Array | None, ...], tuple[Array, ...]]:
        """Gradients of the tags, of the arrays and of the logits for a cotangent of `forward_batch`'s values."""
        union = self._union(grounding, tags, arrays, logits, is_backward=True)
        gradients, trained = pull_back_batch(self._holder, *union, residuals, cotangent)
        assert gradients[0] is not None
        return gradients[0], gradients[1:], trained

    def interpret(
        self, grounding: BatchGrounding, batch: BatchFacts, entries: Sequence[Sequence[Sequence[Any]]] | None = None
    ) -> np.ndarray:
        """`evaluate`'s results under a semiring of Python objects, which tags what the batch has.

        `entries`: for each mapped relation and sample what is tagged in place of the array's numbers.
        """
        assert isinstance(self._provenance, ObjectProvenance)
        self._check_owner(grounding)
        arrays = tuple(batch.arrays[relation] for relation in grounding.mapped)
        self._check_mapped(grounding, arrays)
        retentions = [self._mappings[relation].retention for relation in grounding.mapped]
        listed = list_entries(arrays, retentions, self._seed, entries)
        given = (*arrays, *(tags for part in batch.facts for tags in part.tag_parts))
        tags = list_tags(batch.facts)
        if grounding.comparisons:
            assert batch.tensors is not None, "tensors that are compared are in facts"
            tags += list(batch.tensors.compare(grounding.comparisons))
        return evaluate_objects(self._provenance, grounding, tags, listed, self._seed, given)

    def proofs(
        self,
        grounding: BatchGrounding,
        batch: BatchFacts,
        tags: ArrayLike,
        arrays: Logits,
        logits: Sequence[ArrayLike] | None,
    ) -> np.ndarray:
        """The proofs `[num_samples, num_outputs]` that the provenance keeps of each output; tags cannot be traced."""
        _, residuals = self.forward(grounding, tags, arrays, logits)
        if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(residuals)):
            raise UnsupportedError("proofs are Python objects, which a transformed function cannot return")
        return read_batch_proofs(grounding, batch.facts, self._arrays_provenance.proof_sets(residuals.tags))

    def results(
        self,
        grounding: BatchGrounding,
        tags: ArrayLike,
        arrays: Logits,
        logits: Sequence[ArrayLike] | None,
        asked: AskedOutputs | None = None,
        batch: BatchFacts | None = None,
    ) -> Any:
        """The result of a call; for each sample its own outputs if it asked for them. `batch` is that of `outputs`."""
        values = self.evaluate(grounding, tags, arrays, logits)
        sources = grounding.sources[:, : grounding.num_outputs]
        outputs = self.outputs(grounding, batch)
        return unpack_places(outputs, self._keyed, values, sources, self._provenance.absent, asked)

    def outputs(self, grounding: BatchGrounding, batch: BatchFacts | None = None) -> list[Output]:
        """The output relations in order, with the tuples of a grounded batch; those of `batch` have its tensors."""
        return [
            replace(output, tuples=found.tuples if batch is None else batch.resolve(found), start=found.start)
            for output, found in zip(self._grounded.outputs, grounding.outputs, strict=True)
        ]

    def unpack(self, grounding: BatchGrounding, packed: Any, batch: BatchFacts | None = None) -> Any:
        """The result of a call from values or objects `[num_samples, num_outputs]`, of any array; see `outputs`."""
        outputs = self.outputs(grounding, batch)
        if packed.dtype == object:
            return unpack_objects(outputs, self._keyed, packed, self._provenance)
        return unpack(outputs, self._keyed, packed)

    def with_proofs(
        self,
        results: Any,
        grounding: BatchGrounding,
        batch: BatchFacts,
        tags: ArrayLike,
        arrays: Logits,
        logits: Sequence[ArrayLike] | None,
    ) -> Any:
        """The results, of any array type, with the proofs beside them if the provenance returns proofs."""
        if not self._provenance.traits.returns_proofs:
            return results
        proofs = self.unpack(grounding, self.proofs(grounding, batch, tags, arrays, logits), batch)
        return pair_with_proofs(results, proofs, self._keyed)

    def evaluate_arrays(self, arrays: BatchArrays, tags: ArrayLike, logits: Sequence[ArrayLike] | None) -> Array:
        length = arrays.program.num_inputs - arrays.program.num_trained
        if tags.ndim != 1 or tags.shape[0] > length:
            raise InputError(f"the tags have shape {tags.shape}; the grounding has a vector of at most {length}")
        if tags.shape[0] < length:
            tags = join([tags], length, tags.dtype)
        signature = self._signature((), arrays.program.outputs.shape[0])
        program = self._with_seed(arrays.program) if self._draws((), arrays.program) else arrays.program
        values = evaluate_batch(self._holder, signature, program, Arguments((tags,), self._own(logits)))
        refused = self._find_refused(arrays.places, arrays.sources.shape[1], values)
        if refused is not None:
            raise self._refuse(f"output {refused[1]} in sample {refused[0]}")
        return take(values, arrays.sources, self._provenance.absent, arrays.places)

    def name_tags(self, grounding: BatchGrounding, tags: Mapping[str, T] | T) -> dict[str, T]:
        """The tags of a grounded batch by relation, then the arrays of mapped relations.

        InputError, with every problem, if they do not fit.
        """
        if not isinstance(grounding, BatchGrounding):
            raise InputError(f"the grounding is a {type(grounding).__name__}; give what `ground` returns")
        known = dict(grounding.tag_relations)
        names = [*known, *grounding.mapped]
        by_relation: Mapping[str, T]
        if isinstance(tags, Mapping):
            by_relation = tags
        else:
            if len(names) != 1:
                raise InputError(f"give the tags by relation: {', '.join(f'`{name}`' for name in names) or 'none'}")
            by_relation = {names[0]: tags}
        problems = [f"no tags for `{name}`" for name in names if name not in by_relation]
        problems += [
            str(unknown_name(f"`{name}` takes no tags here", name, names)) for name in by_relation if name not in names
        ]
        for name, count in known.items():
            shape = tuple(getattr(by_relation[name], "shape", ())) if name in by_relation else (count,)
            if shape != (count,):
                problems.append(f"the tags of `{name}` have shape {shape}; the batch has {count} facts of it")
        if problems:
            raise InputError(*problems)
        return {name: by_relation[name] for name in names}

    def order_tags(
        self, grounding: BatchGrounding, tags: Mapping[str, ArrayLike] | ArrayLike
    ) -> tuple[ArrayLike, Logits]:
        """The vector of all tags, padded, and the arrays of mapped relations."""
        named = self.name_tags(grounding, tags)
        parts = [named[name] for name, _ in grounding.tag_relations]
        vector = join(parts, grounding.padded_tags, jnp.result_type(*parts) if parts else np.float32)
        return vector, tuple(named[name] for name in grounding.mapped)

    def _check_mapped(self, grounding: BatchGrounding, arrays: Logits) -> None:
        """InputError for arrays of mapped relations that do not fit the batch."""
        for relation, array in zip(grounding.mapped, arrays, strict=True):
            shape = self._mappings[relation].shape
            self._checks.check_kind(relation, array)
            check_mapped(relation, array.shape, grounding.num_samples, shape)
            if is_concrete(array) and is_on_host(array) and array.dtype != np.bool_ and array.size:
                self._checks.check_numbers(relation, np.asarray(array))
        self._checks.check_undeclared(dict(zip(grounding.mapped, arrays, strict=True)))

    def _check_recovered(self, grounding: BatchGrounding, tags: ArrayLike, arrays: Logits, values: Array) -> None:
        """UnsupportedError for an output that the provenance refused; needs values that are not traced."""
        refused = self._find_refused(grounding.places, grounding.num_columns, values)
        if refused is None:
            return
        # NaN in, NaN out: what is on an accelerator has not been looked at.
        if not np.isfinite(np.asarray(tags)).all():
            raise InputError("a tag of the batch is not finite; a tag is a finite number")
        for relation, array in zip(grounding.mapped, arrays, strict=True):
            self._checks.check_numbers(relation, np.asarray(array))
        sample, column = refused
        output = next(output for output in reversed(grounding.outputs) if output.start <= column)
        raise self._refuse(f"`{output.relation}{show_tuple(output.tuples[column - output.start])}` in sample {sample}")

    def _find_refused(self, places: np.ndarray, num_columns: int, values: Array) -> tuple[int, int] | None:
        """The sample and the column of the first output that the provenance refused: others may be NaN behind it.

        `places` say where outputs stand in results of `num_columns`.
        """
        if self._provenance.traits.refusal is None or not is_concrete(values):
            return None
        refused = np.flatnonzero(np.isnan(np.asarray(values)))
        return divmod(int(places[refused[0]]), num_columns) if len(refused) else None

    def _refuse(self, output: str) -> UnsupportedError:
        refusal = self._provenance.traits.refusal
        assert refusal is not None
        return UnsupportedError(replace(refusal, message=f"{output}: {refusal.message}"))

    def _union(
        self,
        grounding: BatchGrounding,
        tags: ArrayLike,
        inputs: Logits,
        logits: Sequence[ArrayLike] | None,
        *,
        is_backward: bool = False,
    ) -> tuple[Signature, Circuit | Packed, Arguments]:
        """The samples of a batch side by side, as one sample, and the program with the seed."""
        check_process()
        program = grounding.program
        signature = self._signature(grounding.mapped, len(program.outputs))
        given = Arguments((tags, *inputs), self._own(logits))
        if self._draws(grounding.mapped, program):
            return signature, self._with_seed(program), given
        return signature, self._packed(grounding, is_backward=is_backward), given

    def _signature(self, mapped: Sequence[str], num_outputs: int) -> Signature:
        return Signature(
            self._arrays_provenance,
            (None, *(self._mappings[name].retention for name in mapped)),
            tuple(parameter.initial.shape for parameter in self._grounded.parameters),
            num_outputs,
            is_union=True,
        )

    def _own(self, logits: Sequence[ArrayLike] | None) -> Logits:
        """The logits, the reasoner's own for None. InputError for others than one array for each parameter."""
        if logits is None:
            return self._logits
        check_logits(self._grounded.parameters, logits)
        return tuple(logits)

    def _draws(self, mapped: Sequence[str], program: Circuit) -> bool:
        retentions = [self._mappings[name].retention for name in mapped]
        is_drawn = any(retention is not None and retention.is_drawn for retention in retentions)
        return is_drawn or self._provenance.traits.draws or program.draws

    def _with_seed(self, program: Circuit) -> Circuit:
        return replace(program, seed=as_words(self._seed))

    def _check_owner(self, grounding: BatchGrounding) -> None:
        if grounding.owner != self._grounded.samples.digest:
            raise InputError("the grounding is of another program; ground the batch with this reasoner")

    def _packed(self, grounding: BatchGrounding, *, is_backward: bool) -> Packed:
        """The program of a batch as one array: on JAX's default device from the second call on.

        Most batches never come again, and a compiled function takes an array of the host in less time.
        """
        device = get_default_device()
        kept = self._kept.get(grounding)
        if kept is None:
            packed = pack(grounding.program)
            self._kept[grounding] = {_ON_HOST: packed}
            return packed
        if device not in kept:
            on_host = kept.get(_ON_HOST) or pack(grounding.program)
            if is_backward:
                return on_host
            with jax.ensure_compile_time_eval():
                packed = jax.device_put(on_host)
            if isinstance(packed.words, Tracer):
                return on_host
            kept.pop(_ON_HOST, None)
            kept[device] = packed
        return kept[device]
