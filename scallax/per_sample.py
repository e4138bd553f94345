"""Calls with facts per sample: reading them, and their groundings, which are kept by content."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from scallax import ir
from scallax.arguments import unknown_name
from scallax.engine import GivenFacts
from scallax.errors import Diagnostic, UnsupportedError
from scallax.grounding.limits import Limits
from scallax.mappings import InputMapping, Tuples
from scallax.parameters import Parameters
from scallax.provenance.base import AbstractProvenance, AbstractSemantics
from scallax.sample_facts import FactList, FactReader, SampleFacts, Tagging, batch_size, check_ids
from scallax.union import BatchGrounder, BatchGrounding, GroundingCache

Outputs = tuple[tuple[str, Tuples | None], ...]

_MOST_GROUNDERS = 32


@dataclass(frozen=True, slots=True)
class BatchFacts:
    """The inputs of a call: facts by relation, sorted by name; arrays of mapped inputs; the number of samples."""

    facts: tuple[SampleFacts, ...]
    arrays: dict[str, Any]
    num_samples: int


@dataclass(slots=True)
class SampleProgram:
    """A program whose batches are grounded one by one; all that is known of it beforehand.

    `given` are the facts that all samples have.
    """

    program: ir.Program
    given: Sequence[GivenFacts]
    mappings: Mapping[str, InputMapping]
    untagged: frozenset[str]
    parameters: Parameters
    uniform_choices: bool
    iter_limit: int | None
    digest: str
    limits: Limits
    cache: GroundingCache = field(default_factory=GroundingCache)
    _grounders: dict[tuple, BatchGrounder] = field(default_factory=dict)

    def read(
        self,
        inputs: Mapping[str, Any],
        disjunctions: Mapping[str, Any],
        provenance: AbstractSemantics,
        *,
        tags_come_later: bool = False,
    ) -> BatchFacts:
        """The inputs by kind: lists and `FactList`s are facts, all else are arrays of mapped relations.

        InputError for a relation that the program lacks, for facts that do not fit it and for batches of unequal sizes.
        """
        schemas = {relation.name: relation for relation in self.program.relations if not relation.hidden}
        facts, arrays, sizes = [], {}, {}
        for name, value in sorted(inputs.items()):
            if name not in schemas:
                raise unknown_name(f"the program has no relation `{name}` to give facts of", name, schemas)
            if isinstance(value, list | tuple | FactList):
                tagging = self._tagging(name, provenance, tags_come_later)
                certain = _bools_are_certain(provenance)
                reader = FactReader(schemas[name], self.program.variants, tagging, certain, provenance.returns_proofs)
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
        return BatchFacts(tuple(facts), arrays, batch_size(sizes))

    def _tagging(self, name: str, provenance: AbstractSemantics, tags_come_later: bool) -> Tagging:
        if name in self.untagged or not provenance.takes_tagged_facts:
            return Tagging.NEVER
        return Tagging.LATER if tags_come_later else Tagging.ALWAYS

    def ground(self, batch: BatchFacts, provenance: AbstractSemantics, outputs: Outputs) -> BatchGrounding:
        """The grounding of a batch, from the cache if it has one of the same facts."""
        sampled = tuple(part.relation for part in batch.facts)
        mapped = tuple(batch.arrays)
        key = (provenance, outputs, sampled, mapped, batch.num_samples, tuple(part.key for part in batch.facts))
        found = self.cache.find(key)
        if found is None:
            found = self._grounder(provenance, outputs, sampled, mapped).ground(batch.facts, batch.num_samples)
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
                self.program,
                provenance,
                self.given,
                {name: self.mappings[name] for name in mapped},
                outputs,
                sampled,
                self.parameters,
                uniform_choices=self.uniform_choices,
                iter_limit=self.iter_limit,
                owner=self.digest,
                limits=self.limits,
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
    if provenance.returns_proofs or not isinstance(provenance, AbstractProvenance):
        hint = "name the same outputs for all samples"
        raise UnsupportedError(
            Diagnostic(f"under the provenance `{provenance.name}` samples cannot differ in their outputs", hint=hint)
        )


def _bools_are_certain(provenance: AbstractSemantics) -> bool:
    return provenance.uses_tags and provenance.prior(True) is None
