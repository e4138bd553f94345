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
from scallax.sample_facts import FactList, FactReader, SampleFacts, Tagging, batch_size
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
        provenance: AbstractProvenance,
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
                reader = FactReader(schemas[name], self.program.variants, tagging, _bools_are_certain(provenance))
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
        return BatchFacts(tuple(facts), arrays, batch_size(sizes))

    def _tagging(self, name: str, provenance: AbstractProvenance, tags_come_later: bool) -> Tagging:
        if name in self.untagged or not provenance.uses_tags:
            return Tagging.NEVER
        if tags_come_later:
            return Tagging.LATER
        return Tagging.OPTIONAL if provenance.is_discrete else Tagging.ALWAYS

    def ground(self, batch: BatchFacts, provenance: AbstractProvenance, outputs: Outputs) -> BatchGrounding:
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
        self, provenance: AbstractProvenance, outputs: Outputs, sampled: tuple[str, ...], mapped: tuple[str, ...]
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
    """UnsupportedError for a provenance under which samples cannot differ in their facts or outputs."""
    # How many proofs `probproofs` keeps is found when the program is grounded.
    counts_first = provenance.name in ("probproofs", "difftopkproofsdebug")
    if counts_first or not isinstance(provenance, AbstractProvenance):
        raise UnsupportedError(
            Diagnostic(
                f"the provenance `{provenance.name}` takes no facts per sample, and no outputs per sample",
                hint="give an input mapping, and name the same outputs for all samples",
            )
        )


def _bools_are_certain(provenance: AbstractProvenance) -> bool:
    return provenance.uses_tags and provenance.prior(True) is None
