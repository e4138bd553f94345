"""Input layouts of facts per sample: their tags, of all samples side by side, with the facts or without them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.conditioning import NUM_CASES
from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.evaluation.batch import Arguments, ArrayLike, list_entries
from scallax.evaluation.batch_grounding import BatchArrays, BatchGrounding
from scallax.evaluation.checks import check_mapped
from scallax.evaluation.compiled_program import Output
from scallax.evaluation.fact_tags import batch_tags, list_tags
from scallax.evaluation.grounding_cache import BatchFacts
from scallax.evaluation.input_layout import (
    AbstractLayout,
    AbstractNamedLayout,
    Entries,
    Proof,
    T,
    is_drawn,
    name_output,
    number_proofs,
)
from scallax.evaluation.interpretation import ABSENT
from scallax.evaluation.jax_values import is_concrete, is_on_host
from scallax.evaluation.mapped_layout import MappedLayout
from scallax.evaluation.moves import join, take, widest_dtype
from scallax.evaluation.unpacking import unpack_places
from scallax.facts.arguments import unknown_name
from scallax.facts.fact_checks import check_tags
from scallax.facts.outputs import AskedOutputs
from scallax.facts.tensor_facts import Retention
from scallax.provenance.semirings import ObjectProvenance
from scallax.provenance.traits import AbstractSemantics

if TYPE_CHECKING:
    from jaxtyping import Array

    from scallax.evaluation.cache import Holder
    from scallax.evaluation.packing import Packed


@final
@dataclass(frozen=True, slots=True)
class SampleLayout(AbstractNamedLayout):
    """The tags of a grounded batch of facts, `[padded_tags]`, and behind them the arrays of its mapped relations.

    `batch` has the facts if they are given with their tags, None if tags alone are. `program` are all mapped relations.
    """

    program: MappedLayout
    grounding: BatchGrounding
    batch: BatchFacts | None = None

    def __post_init__(self):
        if not isinstance(self.grounding, BatchGrounding):
            raise InputError(f"the grounding is a {type(self.grounding).__name__}; give what `ground` returns")

    @property
    def retentions(self) -> tuple[Retention | None, ...]:
        return (None, *(self.program.mappings[name].retention for name in self.grounding.mapped))

    @property
    def is_union(self) -> bool:
        return True

    @property
    def num_rows(self) -> int | None:
        return self.grounding.mapped_rows

    @property
    def given_logs(self) -> tuple[int, ...]:
        mappings = enumerate(self.program.mappings[name] for name in self.grounding.mapped)
        return tuple(1 + number for number, mapping in mappings if mapping.log)

    @property
    def num_observed(self) -> int:
        return self.program.num_observed

    @property
    def num_values(self) -> int:
        return len(self.grounding.program.outputs)

    @property
    def circuit(self) -> Circuit:
        return self.grounding.program

    @property
    def draws(self) -> bool:
        return is_drawn(self.retentions) or self.program.provenance.traits.draws or self.grounding.program.draws

    @property
    def outputs(self) -> list[Output]:
        """The output relations in order, with the tuples of the batch, and its tensors."""
        grounding, batch = self.grounding, self.batch
        return [
            replace(output, tuples=found.tuples if batch is None else batch.resolve(found), start=found.start)
            for output, found in zip(self.program.outputs, grounding.outputs, strict=True)
        ]

    @property
    def keyed(self) -> bool:
        return self.program.keyed

    def unpack(self, holder: Holder, values: ArrayLike, asked: AskedOutputs | None) -> Any:
        return unpack_places(self.outputs, self.keyed, values, self.sources, self.program.provenance.absent, asked)

    def arrays(self) -> tuple[Any, ...]:
        """The arguments of a call with the facts of the batch: their tags, a list if they are objects, and arrays."""
        batch, grounding = self.batch, self.grounding
        assert batch is not None, "facts are given"
        arrays = tuple(batch.arrays[name] for name in grounding.mapped)
        if not isinstance(self.program.provenance, ObjectProvenance):
            return batch_tags(batch, grounding), *arrays
        tags = list_tags(batch.facts)
        if grounding.comparisons:
            assert batch.tensors is not None, "tensors that are compared are in facts"
            tags += list(batch.tensors.compare(grounding.comparisons))
        return tags, *arrays

    def name_tags(self, tags: Mapping[str, T] | T) -> dict[str, T]:
        """The tags by relation, then the arrays of mapped relations. InputError, with every problem, for a misfit."""
        known, mapped = dict(self.grounding.tag_relations), self.grounding.mapped
        names = [*known, *mapped]
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

    def join_tags(self, tags: Mapping[str, ArrayLike] | ArrayLike) -> tuple[ArrayLike, ...]:
        """The arguments of a call with tags alone: the vector of all tags, padded, and the arrays."""
        named, grounding = self.name_tags(tags), self.grounding
        parts = [named[name] for name, _ in grounding.tag_relations]
        vector = join(parts, grounding.padded_tags, widest_dtype(parts) if parts else np.float32)
        return vector, *(named[name] for name in grounding.mapped)

    def place(self, arguments: Arguments) -> Circuit | Packed:
        # The seed of a draw is an array of the circuit.
        return self.circuit if self.draws else self.program.packed.place(self.grounding)

    def check(self, arguments: Arguments, *, are_logits_given: bool) -> None:
        if self.grounding.owner != self.program.compiled.samples.digest:
            raise InputError("the grounding is of another program; ground the batch with this reasoner")
        checks, (tags, *arrays) = self.program.checks, arguments.arrays
        if self.batch is None:
            _check_arrays(self.program.provenance)
            _check_tags(tags)
        elif not isinstance(tags, list):
            if isinstance(tags, np.ndarray):
                check_tags(self.batch.facts, tags[: self.grounding.num_tags])
            checks.check_tags(self.batch.facts, tags)
        for relation, array in zip(self.grounding.mapped, arrays, strict=True):
            checks.check_kind(relation, array)
            check_mapped(relation, array.shape, self.grounding.num_samples, self.program.mappings[relation].shape)
            if is_concrete(array) and is_on_host(array) and array.dtype != np.bool_ and array.size:
                checks.check_numbers(relation, np.asarray(array))
        checks.check_undeclared(dict(zip(self.grounding.mapped, arrays, strict=True)))
        if are_logits_given:
            checks.check_logits(arguments)

    def check_finite(self, arguments: Arguments) -> None:
        tags, *arrays = arguments.arrays
        if not np.isfinite(np.asarray(tags)).all():
            raise InputError("a tag of the batch is not finite; a tag is a finite number")
        for relation, array in zip(self.grounding.mapped, arrays, strict=True):
            self.program.checks.check_numbers(relation, np.asarray(array))

    def name_output(self, place: int) -> str:
        grounding = self.grounding
        return name_output(grounding.outputs, *divmod(int(grounding.places[place]), grounding.num_columns))

    def list_inputs(self, arguments: Arguments, seed: int | Array, entries: Entries | None) -> list[list[Any]]:
        tags, *arrays = arguments.arrays
        by_array = list_entries(arrays, self.retentions[1:], seed, entries)
        inputs = [*tags, *[None] * (self.grounding.padded_tags - len(tags))]
        for samples, missing in zip(by_array, self.count_padding(arrays), strict=True):
            inputs += [entry for sample in samples for entry in sample]
            inputs += [ABSENT] * missing
        return [inputs]

    def count_padding(self, arrays: Sequence[ArrayLike]) -> list[int]:
        """The numbers of inputs of the circuit behind those of each array of a mapped relation."""
        num_samples = self.grounding.num_samples
        missing = 0 if self.num_rows is None else self.num_rows - num_samples
        first_observed = len(arrays) - self.num_observed
        cases = [NUM_CASES if place >= first_observed else 1 for place in range(len(arrays))]
        return [missing * math.prod(array.shape[1:]) * count for array, count in zip(arrays, cases, strict=True)]

    def dtyped(self, arguments: Arguments) -> Sequence[Any]:
        assert self.batch is not None, "facts are given"
        tags, *arrays = arguments.arrays
        return [*arrays, *(given for part in self.batch.facts for given in part.tag_parts), *tags]

    def arrange(self, found: Sequence[Sequence[T]], absent: Callable[[], T]) -> np.ndarray:
        (row,), sources = found, self.sources
        arranged = np.empty(sources.shape, object)
        for sample, places in enumerate(sources.tolist()):
            for column, place in enumerate(places):
                arranged[sample, column] = row[place] if place < len(row) else absent()
        return arranged

    @property
    def sources(self) -> np.ndarray:
        """The place of each result `[num_samples, num_outputs]` among the values, behind their end for none."""
        return self.grounding.sources[:, : self.grounding.num_outputs]

    def proof_reader(self) -> Callable[[Sequence[Proof]], list]:
        assert self.batch is not None, "facts are given"
        ids = [number for part in self.batch.facts if part.ids is not None for number in part.ids.tolist()]
        return number_proofs(self.circuit, ids, self.grounding.names)


@final
@dataclass(frozen=True, slots=True)
class ArraysLayout(AbstractLayout):
    """The tags of a grounded batch, `[padded_tags]`, without its facts: `arrays` may be traced."""

    program: MappedLayout
    arrays: BatchArrays

    @property
    def retentions(self) -> tuple[Retention | None, ...]:
        return (None,)

    @property
    def is_union(self) -> bool:
        return True

    @property
    def num_values(self) -> int:
        return self.arrays.program.outputs.shape[0]

    @property
    def circuit(self) -> Circuit:
        return self.arrays.program

    @property
    def draws(self) -> bool:
        return self.program.provenance.traits.draws or self.arrays.program.draws

    def pad(self, tags: ArrayLike) -> ArrayLike:
        """The tags with zeros behind them. InputError if they are no vector, or too many."""
        length = self.circuit.num_inputs - self.circuit.num_trained
        if tags.ndim != 1 or tags.shape[0] > length:
            raise InputError(f"the tags have shape {tags.shape}; the grounding has a vector of at most {length}")
        return tags if tags.shape[0] == length else join([tags], length, tags.dtype)

    def place(self, arguments: Arguments) -> Circuit:
        return self.arrays.program

    def check(self, arguments: Arguments, *, are_logits_given: bool) -> None:
        _check_arrays(self.program.provenance)
        if self.program.num_observed:
            hint = "evaluate the grounding itself"
            raise UnsupportedError(Diagnostic("the arrays of a grounding alone take no evidence", hint=hint))
        if are_logits_given:
            self.program.checks.check_logits(arguments)

    def check_finite(self, arguments: Arguments) -> None:
        if not np.isfinite(np.asarray(arguments.arrays[0])).all():
            raise InputError("a tag of the batch is not finite; a tag is a finite number")

    def name_output(self, place: int) -> str:
        sample, column = divmod(int(self.arrays.places[place]), self.arrays.sources.shape[1])
        return f"output {column} in sample {sample}"

    def unpack(self, holder: Holder, values: ArrayLike, asked: AskedOutputs | None) -> ArrayLike:
        return take(values, self.arrays.sources, self.program.provenance.absent, self.arrays.places)


def _check_tags(tags: ArrayLike) -> None:
    """InputError for a tag, without its fact, that is not finite; tags of JAX are not looked at."""
    if isinstance(tags, np.ndarray) and not np.isfinite(tags).all():
        place = int(np.flatnonzero(~np.isfinite(tags))[0])
        raise InputError(f"tag {place} of the batch is {tags[place]}; a tag is a finite number")


def _check_arrays(provenance: AbstractSemantics) -> None:
    """UnsupportedError for a provenance whose tags are no numbers."""
    if isinstance(provenance, ObjectProvenance):
        message = f"tags of `{provenance.name}` are Python objects, not one array for a batch"
        raise UnsupportedError(Diagnostic(message, hint="give the facts with their tags in a call"))
