"""Calls with facts per sample: reading them, and their groundings, which are kept by content."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.evaluation.batch_grounding import BatchGrounder, BatchGrounding, BatchOutput, grounding_cache
from scallax.evaluation.derived_program import CheckedProgram
from scallax.facts.arguments import unknown_name
from scallax.facts.fact_table import FactTable
from scallax.facts.mappings import InputMapping, Tuples
from scallax.facts.sample_facts import FactList, FactReader, Tagging, batch_size, check_ids
from scallax.kernels.bounded_cache import BoundedCache
from scallax.language.tensors import TensorFramework, TensorInputs, is_variable
from scallax.language.values import Value
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.traits import AbstractSemantics

Outputs = tuple[tuple[str, Tuples | None], ...]

_MOST_GROUNDERS = 32


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """The inputs of a call: facts by relation, sorted by name; arrays of mapped inputs; the number of samples.

    `tensors` are those in the facts, if there are facts.
    """

    facts: tuple[FactTable, ...]
    arrays: dict[str, Any]
    num_samples: int
    tensors: TensorInputs | None = None

    def resolve(self, output: BatchOutput) -> Tuples:
        """The tuples of an output of the batch, with tensors of the framework for variables."""
        tuples = output.tuples
        if self.tensors is None or not self.tensors.tensors or not output.is_listed:
            return tuples
        if not any(map(_holds_variables, tuples)):
            return tuples
        found = dict.fromkeys(value for values in tuples for value in values if is_variable(value))
        arrays = dict(zip(found, self.tensors.resolve(found), strict=True))
        resolved = (tuple(arrays[value] if is_variable(value) else value for value in values) for values in tuples)
        return tuple(resolved)  # pyright: ignore[reportReturnType]  # arrays are values for who called

    def with_constants(self) -> "BatchFacts":
        """The same with constants for variables. InputError if their elements are not known."""
        return replace(self, facts=tuple(part.with_constants() for part in self.facts))


def _holds_variables(values: tuple[Value, ...]) -> bool:
    return any(map(is_variable, values))


@dataclass(slots=True)
class SampleProgram:
    """A program whose batches are grounded one by one; all that is known of it beforehand.

    `checked` has the facts that all samples have.
    """

    checked: CheckedProgram
    mappings: Mapping[str, InputMapping]
    untagged: frozenset[str]
    digest: str
    cache: BoundedCache[tuple, BatchGrounding] = field(default_factory=grounding_cache)
    _grounders: dict[tuple, BatchGrounder] = field(default_factory=dict)

    def read(
        self,
        inputs: Mapping[str, Any],
        disjunctions: Mapping[str, Any],
        provenance: AbstractSemantics,
        framework: TensorFramework,
        *,
        tags_come_later: bool = False,
    ) -> BatchFacts:
        """The inputs by kind: lists and `FactList`s are facts, all else are arrays of mapped relations.

        `framework` says which tensors in facts have gradients, if outputs have some.

        InputError for a relation that the program lacks, for facts that do not fit it and for batches of unequal sizes.
        """
        if not isinstance(disjunctions, Mapping):
            message = f"`disjunctions` is {disjunctions!r}; it is a dictionary from relations to lists for each sample"
            raise InputError(message)
        schemas = {relation.name: relation for relation in self.checked.program.relations if not relation.hidden}
        facts, arrays, sizes = [], {}, {}
        tensors = TensorInputs(framework, has_variables=provenance.traits.passes_gradients)
        for name, value in sorted(inputs.items()):
            if name not in schemas:
                raise unknown_name(f"the program has no relation `{name}` to give facts of", name, schemas)
            if isinstance(value, list | tuple | FactList):
                tagging = self._tagging(name, provenance, tags_come_later)
                certain = _bools_are_certain(provenance)
                schema, variants = schemas[name], self.checked.program.variants
                takes_ids = provenance.traits.returns_proofs
                reader = FactReader(schema, variants, tagging, tensors, certain, takes_ids)
                facts.append(reader.read(value, disjunctions.get(name)))
                sizes[name] = len(facts[-1].counts)
            else:
                arrays[name] = value
                shape = getattr(value, "shape", None)
                if shape:
                    sizes[name] = int(shape[0])
        for name in disjunctions:
            if name not in inputs or name in arrays:
                known = [part.relation for part in facts]
                raise unknown_name(f"`disjunctions` names `{name}`, of which no facts are given", name, known)
        check_ids(facts)
        if tags_come_later and tensors.tensors:
            hint = "give the facts in a call, or detach their tensors"
            raise InputError(Diagnostic("what is grounded ahead of a call has no gradients by tensors", hint=hint))
        return BatchFacts(tuple(facts), arrays, batch_size(sizes), tensors)

    def _tagging(self, name: str, provenance: AbstractSemantics, tags_come_later: bool) -> Tagging:
        if name in self.untagged or not provenance.traits.takes_tagged_facts:
            return Tagging.NEVER
        return Tagging.LATER if tags_come_later else Tagging.ALWAYS

    def ground(self, batch: BatchFacts, provenance: AbstractSemantics, outputs: Outputs) -> BatchGrounding:
        """The grounding of a batch, from the cache if it has one of the same facts."""
        sampled = tuple(part.relation for part in batch.facts)
        mapped = tuple(batch.arrays)
        key = (provenance, outputs, sampled, mapped, batch.num_samples, tuple(part.key for part in batch.facts))
        found = self.cache.find(key)
        if found is None:
            grounder = self._grounder(provenance, outputs, sampled, mapped)
            found = grounder.ground(batch.facts, batch.num_samples, batch.tensors)
            # A grounding that depends on the elements of variables belongs to this call alone.
            if batch.tensors is None or not batch.tensors.was_read:
                self.cache.add(key, found)
        return found

    def _grounder(
        self, provenance: AbstractSemantics, outputs: Outputs, sampled: tuple[str, ...], mapped: tuple[str, ...]
    ) -> BatchGrounder:
        key = (provenance, outputs, sampled, mapped)
        if key not in self._grounders:
            if len(self._grounders) >= _MOST_GROUNDERS:
                del self._grounders[next(iter(self._grounders))]
            self._grounders[key] = BatchGrounder.prepare(
                self.checked,
                provenance,
                {name: self.mappings[name] for name in mapped},
                outputs,
                sampled,
                self.digest,
            )
        return self._grounders[key]


def has_facts(inputs: Mapping[str, Any], disjunctions: Mapping[str, Any] | None) -> bool:
    """Whether a call gives facts for each sample."""
    return bool(disjunctions) or any(isinstance(value, list | tuple | FactList) for value in inputs.values())


def check_per_sample(provenance: AbstractSemantics) -> None:
    """UnsupportedError for a provenance under which samples cannot differ in their facts."""
    # How many proofs it keeps is found when the program is grounded.
    if provenance.name == "probproofs":
        hint = "give an input mapping, or choose `topkproofs` with a large `k`"
        raise UnsupportedError(Diagnostic(f"the provenance `{provenance.name}` takes no facts per sample", hint=hint))


def check_outputs_per_sample(provenance: AbstractSemantics) -> None:
    """UnsupportedError for a provenance whose outputs are more than numbers, so that no sample can choose its own."""
    if provenance.traits.returns_proofs or not isinstance(provenance, AbstractProvenance):
        hint = "name the same outputs for all samples"
        raise UnsupportedError(
            Diagnostic(f"under the provenance `{provenance.name}` samples cannot differ in their outputs", hint=hint)
        )


def _bools_are_certain(provenance: AbstractSemantics) -> bool:
    return provenance.traits.uses_tags and not provenance.traits.keeps_bool_tags
