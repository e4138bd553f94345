"""Ground programs of batches whose samples have facts of their own: the samples side by side, in one program."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from scallax.circuits.circuit import Circuit, leaves
from scallax.circuits.compile import compile_outputs
from scallax.circuits.conditioning import NUM_CASES, MoreNodes
from scallax.circuits.literals import Literal, name_literals
from scallax.circuits.size_classes import SizeClasses, Sizes, class_of_batch
from scallax.evaluation.derived_program import CheckedProgram
from scallax.facts.fact_table import FactTable
from scallax.facts.mappings import InputMapping, Tuples
from scallax.facts.parameters import Parameters
from scallax.grounding.derivations import CERTAIN_PRIOR, ONE, ZERO, Literals, literal_operand, mark_outcomes
from scallax.grounding.fixpoint import FactSet, Grounding, SampleGrounder
from scallax.grounding.known_terms import KnownTerms
from scallax.grounding.relation import GroundRelation
from scallax.grounding.rounds import FactColumns
from scallax.grounding.symbols import Symbols, decode, decode_values, encode_values, sort_keys
from scallax.kernels.bounded_cache import BoundedCache
from scallax.kernels.bounded_cache import CacheInfo as CacheInfo  # pickles of 0.1 name it here
from scallax.kernels.row_sets import RowTable
from scallax.language import ir
from scallax.language.tensors import Comparison, TensorInputs
from scallax.language.values import ValueType
from scallax.provenance.traits import AbstractSemantics, Traits

# Bounds of a cache of groundings.
_MOST_GROUNDINGS = 512
_MOST_BYTES = 1 << 28
# Dense results of a batch whose index is kept with its grounding.
_MOST_KEPT = 1 << 20


class BatchOutput(NamedTuple):
    """One output relation of a batch: its tuples and where they begin among those of all outputs.

    `is_listed`: no mapping says which they are.
    """

    relation: str
    tuples: Tuples
    start: int
    is_listed: bool


class BatchArrays(NamedTuple):
    """The arrays of an evaluation beside the tags: a pytree whose shapes are shared by batches of like size.

    `program` evaluates the output tuples that some sample can derive, in any order. `sources` int32 `[num_samples,
    num_outputs]` says which of them each result is: the padded number of the program's outputs for one that the sample
    cannot derive, which is 0. `places` int32 is its inverse: where in the row-major results each of the program's
    outputs stands, behind their end for padding.
    """

    program: Circuit
    sources: np.ndarray
    places: np.ndarray


@dataclass(frozen=True, eq=False)
class BatchGrounding:
    """The grounding of a batch of facts: NumPy arrays without tags. It can be pickled.

    `Reasoner.ground` and `torch_bridge.Module.ground` make one ahead of a step, for example in a data loader's worker,
    and `evaluate_grounded` takes it.

    Args:
        program: The circuit; the same as `arrays.program`.
        places: int32; the same as `arrays.places`.
        num_columns: The number of columns of `arrays.sources`.
        outputs: The outputs in `arrays.sources`. The columns are padded to a size class where no mapping tells their
            number.
        num_samples: The number of samples in the batch.
        tag_relations: The relations whose tags the evaluation takes, with their numbers of facts. The facts are those
            of all samples in the order in which they were given; the tag of a certain fact is ignored.
        padded_tags: The length of the vector of all tags.
        mapped: The relations whose arrays the evaluation takes as well.
        owner: The digest of the program that was grounded.
        comparisons: The comparisons of tensors from which the tags after those of facts are computed.
        names: The meaning of the circuit's literals, row by row, if its proofs are returned.
        mapped_rows: The rows of each array of a mapped relation that the circuit has inputs for: those of the samples,
            padded to a size class. None: one for each sample.

    Example:
        >>> import jax.numpy as jnp
        >>> import scallax
        >>> reach = scallax.Reasoner("type start(i32)  rel reach(x + 1) = start(x)", provenance="minmaxprob",
        ...     output_relation="reach")
        >>> grounding = reach.ground({"start": [[(0.5, (1,))], [(0.25, (1,)), (0.75, (2,))]]})
        >>> print(grounding.num_samples, grounding.num_tags)
        2 3
        >>> print(reach.evaluate_grounded(grounding, jnp.array([0.5, 0.25, 0.75]))[1])
        [[0.5  0.  ]
         [0.25 0.75]]
    """

    program: Circuit
    places: np.ndarray
    num_columns: int
    outputs: tuple[BatchOutput, ...]
    num_samples: int
    tag_relations: tuple[tuple[str, int], ...]
    padded_tags: int
    mapped: tuple[str, ...]
    owner: str
    comparisons: tuple[Comparison, ...] = ()
    names: tuple[Literal, ...] = ()
    mapped_rows: int | None = None

    @property
    def arrays(self) -> BatchArrays:
        """The arrays that the evaluation takes beside the tags."""
        return BatchArrays(self.program, self.sources, self.places)

    @property
    def sources(self) -> np.ndarray:
        """`arrays.sources`; as large as the dense results are, made when it is asked for, and kept if it is small."""
        if self.num_samples * self.num_columns <= _MOST_KEPT:
            return self._kept_sources
        return self._find_sources()

    @cached_property
    def _kept_sources(self) -> np.ndarray:
        return self._find_sources()

    def _find_sources(self) -> np.ndarray:
        sources = np.full((self.num_samples, self.num_columns), len(self.places), np.int32)
        derived = (self.places < sources.size).nonzero()[0]
        sources.reshape(-1)[self.places[derived]] = derived
        return sources

    @cached_property
    def derived(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The program's outputs that are results, by sample and column, and these; int64."""
        order = np.argsort(self.places, kind="stable")
        order = order[: np.count_nonzero(self.places < self.num_samples * self.num_columns)]
        samples, columns = np.divmod(self.places[order], self.num_columns or 1)
        # An observation is no result.
        are_results = columns < self.num_outputs
        return order[are_results], samples[are_results], columns[are_results]

    @property
    def num_outputs(self) -> int:
        """The number of output tuples of each sample."""
        return sum(len(output.tuples) for output in self.outputs)

    @property
    def num_tags(self) -> int:
        """The number of facts of all samples whose tags the evaluation takes."""
        return sum(count for _, count in self.tag_relations)

    @property
    def num_bytes(self) -> int:
        """The memory that it takes, approximately."""
        size = self.places.nbytes + sum(getattr(value, "nbytes", 0) for _, value in leaves(self.program))
        # The tuples of a mapping are the specification's.
        listed = sum(len(output.tuples) for output in self.outputs if output.is_listed)
        return size + 4 * min(self.num_samples * self.num_columns, _MOST_KEPT) + 100 * listed


def grounding_cache() -> BoundedCache[tuple, BatchGrounding]:
    """A cache of the groundings used last, by content: at most 512, and 256 MiB of arrays."""
    return BoundedCache(_MOST_GROUNDINGS, _MOST_BYTES, lambda _, grounding: grounding.num_bytes)


@dataclass(frozen=True, slots=True)
class _WantedOutput:
    """An output relation; with a mapping, its tuples and a table of their codes."""

    relation: str
    tuples: Tuples | None
    table: RowTable | None


@dataclass(frozen=True, slots=True)
class _Naming:
    """Says what the literals of batches stand for, if `shared` are the facts that all samples share; else nothing."""

    program: ir.Program
    mappings: Mapping[str, InputMapping]
    shared: Sequence[tuple[str, FactSet]] | None

    @staticmethod
    def of(checked: CheckedProgram, mappings: Mapping[str, InputMapping]) -> "_Naming":
        shared = checked.tag_facts() if checked.provenance.traits.returns_proofs else None
        return _Naming(checked.program, mappings, shared)

    def names(
        self,
        grounding: Grounding,
        program: Circuit,
        facts: Sequence[FactTable],
        operands: Mapping[str, np.ndarray],
        num_samples: int,
    ) -> tuple[Literal, ...]:
        """By row of the program's literals; `operands` are those of the facts and entries of each relation."""
        if self.shared is None:
            return ()
        columns: dict[str, Sequence[Sequence]] = {part.relation: part.columns for part in facts}
        for name, mapping in self.mappings.items():
            if name not in operands:
                continue
            columns[name] = [column * num_samples for column in zip(*mapping.tuples, strict=True)]
        given = [(name, FactSet(columns[name], codes)) for name, codes in operands.items()]
        names = name_literals(self.program, [*self.shared, *given], grounding)
        return tuple(names[i] for i in program.literals.ids if i >= 0)


@dataclass(slots=True)
class BatchGrounder:
    """Grounds batches of one program, for some relations with facts of their own in each sample, and some outputs.

    Arrays of two batches of like size are padded to the same lengths, see `SizeClasses`.
    """

    grounder: SampleGrounder
    # The types of relations with facts in each sample; columns and groups of mapped ones.
    types: Mapping[str, tuple[ValueType, ...]]
    mapped: Mapping[str, tuple[list[np.ndarray], np.ndarray | None]]
    # The relations without columns that were observed to hold; by name among the inputs, the tuples that may be.
    evidence: Sequence[str]
    observed: Mapping[str, _WantedOutput]
    # How many terms of each constructor all samples know.
    num_terms: tuple[int, ...]
    wanted: tuple[_WantedOutput, ...]
    parameters: Parameters
    traits: Traits
    owner: str
    naming: _Naming
    _classes: SizeClasses = field(default_factory=SizeClasses)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @staticmethod
    def prepare(
        checked: CheckedProgram,
        provenance: AbstractSemantics,
        mappings: Mapping[str, InputMapping],
        outputs: Sequence[tuple[str, Tuples | None]],
        sampled: Sequence[str],
        owner: str,
    ) -> "BatchGrounder":
        """Grounds what all samples share: a program with its facts, read as the provenance reads their tags.

        `sampled` are the relations with facts in each sample, mapped ones aside.
        Weights that become values of tuples are those of tuples whose tags are constants of the program.
        """
        checked = replace(checked, provenance=provenance)
        names = list(dict.fromkeys([*(name for name, _ in outputs), *checked.evidence_relations]))
        inputs = {name: mapping for name, mapping in mappings.items() if name not in checked.observed_inputs}
        grounder = checked.prepare_samples(names, [*sampled, *inputs])
        symbols = grounder.base.symbols
        types = {relation.name: relation.columns for relation in checked.program.relations}

        def encode(relation: str, tuples: Tuples) -> list[np.ndarray]:
            columns = zip(*tuples, strict=True) if tuples else [()] * len(types[relation])
            return [encode_values(column, type, symbols) for column, type in zip(columns, types[relation], strict=True)]

        mapped = {name: (encode(name, mapping.tuples), mapping.groups) for name, mapping in inputs.items()}
        # No sample knows the terms of outputs for that alone.
        num_terms = symbols.terms.sizes

        def want(name: str, tuples: Tuples | None) -> _WantedOutput:
            table = None
            if tuples is not None:
                table = RowTable(len(types[name]))
                table.insert(encode(name, tuples), len(tuples))
            return _WantedOutput(name, tuples, table)

        wanted = tuple(want(name, tuples) for name, tuples in outputs)
        evidence = [part.relation for part in checked.program.evidence]
        observed = {name: want(*checked.observed_inputs[name]) for name in mappings if name not in inputs}
        naming = _Naming.of(checked, inputs)
        columns = {name: types[name] for name in sampled}
        given = wanted, checked.parameters, provenance.traits, owner, naming
        return BatchGrounder(grounder, columns, mapped, evidence, observed, num_terms, *given)

    def ground(
        self, facts: Sequence[FactTable], num_samples: int, tensors: TensorInputs | None = None
    ) -> BatchGrounding:
        """The grounding of a batch; its tags are those of `facts` in order, then those computed, then mapped inputs.

        `tensors` are those in the facts, if some may be variables.
        """
        literals = _LiteralColumns(self.grounder.base.literals, self.traits)
        symbols = self.grounder.base.symbols.copy()
        symbols.tensors = tensors
        schemas, listed = self.grounder.schemas, self.grounder.listed
        known = KnownTerms(symbols.terms, self.num_terms, num_samples, listed) if listed else None
        columns: dict[str, FactColumns] = {}
        tag_relations, operands_of = [], {}
        for part in facts:
            operands = operands_of[part.relation] = literals.add_facts(part)
            if part.takes_tags:
                tag_relations.append((part.relation, part.num_facts))
            types = self.types[part.relation]
            # Terms are known, whether the relation is needed or not.
            if part.relation in schemas or (known is not None and ValueType.ENTITY in types):
                codes = [encode_values(*column, symbols) for column in zip(part.columns, types, strict=True)]
                samples = part.samples
                columns[part.relation] = FactColumns([samples, *codes], operands)
                if known is not None:
                    known.add_columns(samples, codes, types)
        num_tags = literals.num_inputs
        for relation, (codes, groups) in self.mapped.items():
            count = len(codes[0]) if codes else 1
            operands = operands_of[relation] = literals.add_mapped(count, groups, num_samples)
            if relation in schemas:
                samples = np.repeat(np.arange(num_samples), count)
                columns[relation] = FactColumns([samples, *(np.tile(code, num_samples) for code in codes)], operands)
        cases = {}
        for name, wanted in self.observed.items():
            assert wanted.tuples is not None
            cases[name] = literals.add_mapped(NUM_CASES * len(wanted.tuples), None, num_samples)
        given, num_inputs = literals.finish(), literals.num_inputs
        grounding = self.grounder.ground(columns, num_samples, given, literals.samples, symbols, known, num_inputs)
        outputs, operands, samples, column = self._find_outputs(grounding, num_samples)
        num_outputs = sum(len(output.tuples) for output in outputs)
        evidence = None
        if self.is_conditional:
            grounding, found = self._observe(grounding, cases, num_samples)
            evidence = len(operands) + np.concatenate([samples, np.arange(num_samples)])
            operands = np.concatenate([operands, found])
            samples = np.concatenate([samples, np.arange(num_samples)])
            column = np.concatenate([column, np.full(num_samples, num_outputs)])
            num_outputs += 1
        program, room, padded_tags = self._lay_out(grounding, operands, num_tags, literals, num_outputs, evidence)
        if any(wanted.table is None for wanted in self.wanted):
            num_outputs = room
        size = num_samples * num_outputs
        places = np.full(len(program.outputs), size, np.int32 if size < 1 << 31 else np.int64)
        places[: len(samples)] = samples * num_outputs + column
        return BatchGrounding(
            program,
            places,
            num_outputs,
            outputs,
            num_samples,
            tuple(tag_relations),
            padded_tags,
            (*self.mapped, *self.observed),
            self.owner,
            grounding.comparisons,
            self.naming.names(grounding, program, facts, operands_of, num_samples),
            class_of_batch(num_samples) if self.mapped or self.observed else None,
        )

    @property
    def is_conditional(self) -> bool:
        """Whether outputs are given evidence."""
        return bool(self.evidence or self.observed)

    def _observe(
        self, grounding: Grounding, cases: Mapping[str, np.ndarray], num_samples: int
    ) -> tuple[Grounding, np.ndarray]:
        """The grounding with what was observed in each sample as nodes more, and their operands `[samples]`.

        `cases` are the literals of the observed tuples, by name among the inputs.
        """
        more = MoreNodes(grounding.derivations)
        parts = [self._of_samples(grounding, _WantedOutput(name, ((),), None), num_samples) for name in self.evidence]
        for name, wanted in self.observed.items():
            tuples = self._of_samples(grounding, wanted, num_samples)
            parts.append(more.observe(tuples, cases[name].reshape(*tuples.shape, NUM_CASES)))
        operands = more.conjoin(np.concatenate(parts, 1))
        return replace(grounding, derivations=more.derivations()), operands

    def _of_samples(self, grounding: Grounding, wanted: _WantedOutput, num_samples: int) -> np.ndarray:
        """The operands `[samples, tuples]` of some tuples of a relation; ZERO for one that a sample cannot derive."""
        assert wanted.tuples is not None
        samples, column, operands = self._find_rows(grounding, wanted, num_samples)[1:]
        found = np.full((num_samples, len(wanted.tuples)), ZERO)
        found[samples, column] = operands
        return found

    def _find_outputs(
        self, grounding: Grounding, num_samples: int
    ) -> tuple[tuple[BatchOutput, ...], np.ndarray, np.ndarray, np.ndarray]:
        """The outputs, and the operands, samples and columns of those tuples that a sample derives."""
        outputs: list[BatchOutput] = []
        found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
        start = 0
        for wanted in self.wanted:
            tuples, samples, column, operands = self._find_rows(grounding, wanted, num_samples)
            found.append((samples, start + column, operands))
            outputs.append(BatchOutput(wanted.relation, tuples, start, wanted.table is None))
            start += len(tuples)
        none = np.zeros(0, np.int64)
        found.append((none, none, none))
        samples, column, operands = (np.concatenate(parts) for parts in zip(*found, strict=True))
        return tuple(outputs), operands, samples, column

    def _find_rows(
        self, grounding: Grounding, wanted: _WantedOutput, num_samples: int
    ) -> tuple[Tuples, np.ndarray, np.ndarray, np.ndarray]:
        """The tuples of a relation, and the samples, places and operands of those that a sample derives."""
        relation, is_shared = self._relation(grounding, wanted.relation)
        values = relation.columns if is_shared else relation.columns[1:]
        if wanted.table is None:
            tuples, column = _list_tuples(relation, values, grounding.symbols)
        else:
            assert wanted.tuples is not None
            tuples, column = wanted.tuples, wanted.table.find(values, relation.size)
        rows = (column >= 0).nonzero()[0]
        operands, column = relation.operands[rows], column[rows]
        if not is_shared:
            return tuples, relation.columns[0][rows], column, operands
        samples = np.repeat(np.arange(num_samples), len(rows))
        return tuples, samples, np.tile(column, num_samples), np.tile(operands, num_samples)

    def _relation(self, grounding: Grounding, name: str) -> tuple[GroundRelation, bool]:
        """A relation, and whether all samples share its tuples."""
        if name in grounding.relations:
            return grounding.relations[name], False
        return self.grounder.base.relations[name], True

    def _lay_out(
        self,
        grounding: Grounding,
        operands: np.ndarray,
        num_tags: int,
        given: "_LiteralColumns",
        num_columns: int,
        evidence: np.ndarray | None,
    ) -> tuple[Circuit, int, int]:
        """The program in the shape of its size class, and the padded numbers of columns of the results and of tags."""
        size = max(len(grounding.derivations), len(operands), 8)
        literals = grounding.literals
        while True:
            with self._lock:
                found = self._classes.find(size)
                least = dict(found.least) if found else {}
            sizes = Sizes(least)
            room = sizes.pad("columns", num_columns)
            padding = sizes.pad_some("tags", num_tags + len(grounding.comparisons)) - num_tags
            # Behind the tags of facts come those that are computed, then mapped inputs.
            is_computed = literals.source >= given.num_inputs
            source = np.where(literals.source >= num_tags, literals.source + padding, literals.source)
            source = np.where(is_computed, literals.source - given.num_inputs + num_tags, source)
            program = compile_outputs(
                replace(grounding, literals=replace(literals, source=source)),
                self.traits,
                operands,
                self.parameters,
                num_inputs=given.num_inputs + padding,
                sizes=sizes,
                component_of=given.samples if self.traits.has_local_literals else None,
                evidence=evidence,
            )
            if found and all(count <= least.get(name, 0) for name, count in sizes.counts.items()):
                return program, room, num_tags + padding
            with self._lock:
                self._classes.make_room(size, sizes.counts, found)


class _LiteralColumns:
    """The literals of a batch, behind those that all samples share."""

    def __init__(self, base: Literals, traits: Traits):
        self._base = base
        self._traits = traits
        self._count = len(base)
        self._num_groups = int(base.group.max(initial=-1)) + 1
        self._prior: list[np.ndarray] = []
        self._source: list[np.ndarray] = []
        self._group: list[np.ndarray] = []
        self._samples: list[np.ndarray] = []
        self.num_inputs = 0

    def add_facts(self, facts: FactTable) -> np.ndarray:
        """Operands int64 `[facts]`: a literal for each fact that is not certain."""
        count = facts.num_facts
        if not self._traits.uses_tags or (facts.certain is None and self._traits.is_absorptive):
            return np.full(count, ONE)
        certain = np.ones(count, np.bool_) if facts.certain is None else facts.certain
        if facts.priors is None:
            sources, prior = self.num_inputs + np.arange(count), np.full(count, np.nan)
        else:
            sources, prior = np.full(count, -1), facts.priors.copy()
        # Facts that take no tags have no place among them.
        self.num_inputs += count if facts.takes_tags else 0
        uncertain = ~certain
        if facts.groups is not None and self._traits.uses_exclusion:
            # A certain fact that excludes others is one of probability 1.
            chosen = certain & (facts.groups >= 0)
            prior[chosen] = 1.0
            sources[chosen] = -1
            uncertain |= chosen
        if not self._traits.is_absorptive:
            prior[certain], sources[certain] = CERTAIN_PRIOR, -1
            uncertain[:] = True
        operands = np.full(count, ONE)
        operands[uncertain] = self._add(
            prior[uncertain], sources[uncertain], facts.groups, uncertain, facts.samples[uncertain]
        )
        return operands

    def add_mapped(self, count: int, groups: np.ndarray | None, num_samples: int) -> np.ndarray:
        """Operands int64 `[samples * count]` of the entries of a mapping, sample by sample."""
        total = count * num_samples
        if not self._traits.uses_tags:
            return np.full(total, ONE)
        sources = self.num_inputs + np.arange(total)
        self.num_inputs += count * class_of_batch(num_samples)
        if groups is not None:
            num_groups = int(groups.max(initial=-1)) + 1
            groups = (groups + num_groups * np.arange(num_samples)[:, None]).reshape(-1)
        samples = np.repeat(np.arange(num_samples), count)
        return self._add(np.full(total, np.nan), sources, groups, np.ones(total, np.bool_), samples)

    def _add(
        self,
        prior: np.ndarray,
        source: np.ndarray,
        groups: np.ndarray | None,
        rows: np.ndarray,
        samples: np.ndarray,
    ) -> np.ndarray:
        group = np.full(len(prior), -1)
        if groups is not None:
            group = groups[rows]
            group = np.where(group >= 0, group + self._num_groups, -1)
            self._num_groups += int(groups.max(initial=-1)) + 1
        self._prior.append(prior)
        self._source.append(source)
        self._group.append(group)
        self._samples.append(samples)
        first = self._count
        self._count += len(prior)
        return np.asarray(literal_operand(np.arange(first, self._count)))

    @property
    def samples(self) -> np.ndarray:
        """The sample of each literal, int64; -1 for those that all samples share."""
        return np.concatenate([np.full(len(self._base), -1), *self._samples])

    def finish(self) -> Literals:
        base = self._base
        return Literals(
            np.concatenate([base.prior, *self._prior]),
            np.concatenate([base.source, *self._source]),
            np.concatenate([base.group, *self._group]),
            np.concatenate([base.parameter, np.full(self._count - len(base), -1)]),
            mark_outcomes(base.outcomes.nonzero()[0], self._count),
        )


def _list_tuples(
    relation: GroundRelation, columns: Sequence[np.ndarray], symbols: Symbols
) -> tuple[Tuples, np.ndarray]:
    """All tuples of the columns, each once and in value order, and the place of each row among them."""
    types = relation.schema.columns[len(relation.schema.columns) - len(columns) :]
    table = RowTable(len(columns))
    ids = table.insert(columns, relation.size)
    if not columns:
        return ((),) * table.size, ids
    keys = [
        sort_keys(decode(codes, type, symbols), type, symbols) for codes, type in zip(table.columns, types, strict=True)
    ]
    order = np.lexsort(keys[::-1])
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    values = [decode_values(codes[order], type, symbols) for codes, type in zip(table.columns, types, strict=True)]
    return tuple(zip(*values, strict=True)), ranks[ids]
