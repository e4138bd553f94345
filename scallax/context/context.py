"""A program that is built step by step, run, and run again after new facts and rules."""

import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, final

import numpy as np

from scallax.context.answer_files import write_answer_files
from scallax.context.collection import Collection
from scallax.context.draft import Batches, Draft, computed_relations, is_written, read_groups
from scallax.context.fact_reading import ReadFacts, TagReader, check_tags, read_pairs, read_samples
from scallax.context.options import TAGLESS, Options, check_options, read_options
from scallax.context.pickling import check_class, reference_to
from scallax.context.run import compute_collections, compute_samples, find_warnings, outdated_relations
from scallax.errors import Diagnostic, InputError, Source, UnsupportedError, checks_calls, warn
from scallax.facts.arguments import read_by_relation, read_file, read_names, read_type
from scallax.facts.mappings import InputMapping
from scallax.facts.sample_facts import batch_size
from scallax.facts.tables import CsvFile, Table, read_table
from scallax.grounding.limits import Limits
from scallax.language.foreign import ForeignAggregate, ForeignAttribute, ForeignFunction, ForeignItem, ForeignPredicate
from scallax.language.library import read_foreign
from scallax.language.tensors import TensorFramework, TensorInputs, TensorValue
from scallax.planner.plan import plan
from scallax.syntax.parser import parse
from scallax.syntax.printer import print_program

if TYPE_CHECKING:  # a context without probabilities does not wait for JAX
    from scallax.context.sample_runs import KeptProgram
    from scallax.evaluation.computation import Computation
    from scallax.provenance.custom import Provenance
    from scallax.reasoner.proofs import Explanation
    from scallax.reasoner.reasoner import Reasoner

# Those whose tags are truth values, numbers or costs.
_NO_PROBABILITIES = ("bool", "natural", "tropical", "realtropical", "realtropicalproofs", "custom")
_COLUMN = re.compile(r"(?:([A-Za-z_]\w*)\s*:\s*)?([A-Za-z_&]\w*)\Z")


@dataclass(slots=True)
class ContextState:
    """What a context is made of. `foreign` are foreign items as they were registered.

    `results` are those of the last run, of the draft `run_draft` under `run_options`; `kept` serves further samples.
    `tensors` are those in facts, None as long as gradients pass through none.
    """

    options: Options
    train_k: int | None = None
    test_k: int | None = None
    early_discard: bool | None = None
    draft: Draft = field(default_factory=Draft)
    results: dict[str, Collection] = field(default_factory=dict)
    run_draft: Draft | None = None
    run_options: Options | None = None
    foreign: tuple[ForeignItem, ...] = ()
    kept: "KeptProgram | None" = None
    tensors: TensorInputs | None = None


@checks_calls
class AbstractContext(ABC):
    """A program with facts: add to it, `run()` it, read its relations; then add more and run it again.

    What raises leaves the context as it was. A provenance without tags (`unit`, `proofs`) takes tuples for facts and
    gives tuples; the others take and give pairs `(tag, tuple)`, where None for a tag means certain.
    """

    state: ContextState

    @abstractmethod
    def is_array(self, tag: object) -> bool:
        """Whether a tag is an array of the framework whose gradients pass through the context."""

    @abstractmethod
    def evaluate(self, computation: "Computation", tags: Sequence[object]) -> Any:
        """The tags of all tuples, an array `[outputs]`, for the computation's inputs: scalars and floats."""

    @abstractmethod
    def adapted(self, item: ForeignItem) -> ForeignItem:
        """A foreign item as the context calls it."""

    def adapted_mapping(self, mapping: InputMapping) -> InputMapping:
        """An input mapping as the context keeps it."""
        return mapping

    @abstractmethod
    def scalars(self, values: Any) -> list[Any]:
        """The scalars of an array `[tuples]`."""

    @abstractmethod
    def tensor(self, value: TensorValue) -> Any:
        """A constant of type Tensor as it stands in the tuples of a relation."""

    @abstractmethod
    def tensor_framework(self) -> TensorFramework | None:
        """The framework of tensors in facts that gradients pass through; None if it is not loaded."""

    @property
    def tensors(self) -> TensorInputs | None:
        """The tensors in facts, if gradients may pass through some."""
        framework = self.tensor_framework() if self.state.tensors is None else None
        if framework is not None:
            self.state.tensors = TensorInputs(framework)
        return self.state.tensors

    # Building -----------------------------------------------------------------------------------------------------

    def add_program(self, program: str) -> None:
        """Adds items: facts, rules, types, queries."""
        self._add(self._source(program, "program"))

    def add_item(self, item: str) -> list[str]:
        """Adds one item or several; the names of the relations that their queries ask for."""
        source = self._source(item, "item")
        self._add(source)
        queries = self.state.draft.program.queries
        return [query.name for query in queries if query.span is not None and query.span.source == source]

    def import_file(self, path: str | Path) -> None:
        """Adds a file's items and those of the files that it imports; one that was imported before adds nothing."""
        source = read_file(path)
        if source is None:
            raise InputError("no file is given to import")
        draft = self.state.draft
        names = {Path(known.name).resolve() for known in (*draft.imports, *draft.sources) if known.name[:1] != "<"}
        if Path(source.name).resolve() not in names:
            self._add(source)

    def add_relation(
        self,
        name: str,
        types: object,
        input_mapping: object = None,
        retain_topk: int | None = None,
        non_probabilistic: bool = False,
        load_csv: Any = None,
    ) -> None:
        """Declares a relation: `types` is a tuple of column types, or one type for a relation of one column.

        A type is Python's `int` (`i32`), `float` (`f32`), `bool` or `str` (`String`), a value type, or a text `type` or
        `name: type`. Facts of a `non_probabilistic` relation have no tags. `input_mapping` and `retain_topk` are as in
        `set_input_mapping`, with `retain_k` for the latter; `load_csv` is a file of facts.
        """
        columns = types if isinstance(types, tuple | list) else (types,)
        declared = ", ".join(_column(name, column) for column in columns)
        if not isinstance(name, str) or not _COLUMN.match(name):
            raise InputError(f"{name!r} is no name of a relation")
        before = self.state.draft
        try:
            self._add(Source(f"type {name}({declared})", f"<relation {name}>"))
            if non_probabilistic:
                self.set_non_probabilistic(name)
            if input_mapping is not None or retain_topk is not None:
                self.set_input_mapping(name, input_mapping, retain_k=retain_topk)
            if load_csv is not None:
                self.load_csv(name, load_csv)
        except BaseException:
            self.state.draft = before
            raise

    def add_facts(self, relation: str, elems: Iterable, disjunctions: Iterable[Iterable[int]] | None = None) -> None:
        """Adds facts: tuples, or pairs `(tag, tuple)` under a provenance with tags; a value stands for its 1-tuple.

        A tag is a number, a bool, a scalar array, or None for a certain fact. Each list of `disjunctions` names
        positions in `elems` that exclude each other. The relation must be declared, or used by the program. Under
        `difftopkproofsdebug` a tag may be a pair of a tag and a positive number of the fact, which proofs name it by.
        """
        facts = self._read_facts(relation, elems, disjunctions)
        self.state.draft = self.state.draft.with_facts(relation, facts.tags, facts.tuples, facts.groups, facts.ids)

    def add_rule(self, rule: str, tag: object = None, demand: str | None = None) -> None:
        """Adds a rule, with or without `rel` in front of it.

        `tag`: the rule holds with this probability; it is one random variable for all that the rule derives, where a
        tag in the text, `0.9::head = body`, is one for each derivation. `demand`: a letter for each column of the head,
        `b` for bound and `f` for free.
        """
        reader = self._tags
        if not reader.takes_objects and isinstance(tag, tuple) and len(tag) == 2 and tag[1] is None:
            tag = tag[0]  # how the reference wants tags of provenances with exclusive groups
        tag, number = reader.read(tag, f"the tag of the rule `{rule}`,")
        self.state.draft = self.state.draft.with_rule(rule, demand, tag, number)

    def load(
        self,
        relation: str,
        source: object,
        *,
        columns: Sequence[str] | None = None,
        tag: str | None = None,
        table: str | None = None,
        delimiter: str | None = None,
    ) -> None:
        """Adds the rows of a table as facts: see `scallax.Table`, whose arguments these are."""
        found = source if isinstance(source, Table) else Table(source, columns, tag, table, delimiter)
        facts = read_table(found, self.state.draft.relation(relation))
        self.state.draft = self.state.draft.with_facts(relation, facts.tags, tuple(facts.tuples))

    def load_csv(self, relation: str, file: "str | Path | CsvFile") -> None:
        """Adds the facts of a CSV file with columns by position; `load` takes columns by name."""
        self.state.draft = self.state.draft.with_csv(relation, file if isinstance(file, CsvFile) else CsvFile(file))

    def set_non_probabilistic(self, relations: str | Iterable[str], non_probabilistic: bool = True) -> None:
        """Whether facts of these relations are given without tags from now on."""
        if not isinstance(relations, Iterable):
            raise InputError(f"{relations!r} is no name of a relation, and no list of names")
        names = [relations] if isinstance(relations, str) else list(relations)
        for name in names:
            self.state.draft.relation(name)
        before = self.state.draft.untagged
        self.state.draft = replace(
            self.state.draft, untagged=before | set(names) if non_probabilistic else before - set(names)
        )

    def set_input_mapping(
        self,
        relation: str,
        mapping: object,
        disjunctive: bool | None = None,
        disjunctive_dim: int | None = None,
        retain_threshold: float | None = None,
        retain_k: int | None = None,
        sample_dim: int | None = None,
        sample_strategy: str = "top",
    ) -> None:
        """Says which tuples the entries of a tensor stand for, in functions that are made of the context.

        The arguments are those of `InputMapping`; without `mapping` the options are those of the mapping that is set,
        and without options it is removed: the relation takes lists of facts only.
        """
        options = {
            "disjunctive": disjunctive,
            "disjunctive_dim": disjunctive_dim,
            "retain_threshold": retain_threshold,
            "retain_k": retain_k,
            "sample_dim": sample_dim,
        }
        self.state.draft.relation(relation)
        found = dict(self.state.draft.mappings).get(relation) if mapping is None else mapping
        has_options = any(value not in (None, False) for value in options.values()) or sample_strategy != "top"
        if found is None and has_options:
            raise InputError(f"`{relation}` has no input mapping")
        read = None
        if has_options or mapping is not None:
            read = self.adapted_mapping(InputMapping(found, **options, sample_strategy=sample_strategy))
        self.state.draft = self.state.draft.with_mapping(relation, read)

    def register_foreign_function(self, function: ForeignFunction) -> None:
        """Adds a function `$name(…)` that `foreign_function` has made of one of Python."""
        self._register(function, ForeignFunction, "foreign_function")

    def register_foreign_predicate(self, predicate: ForeignPredicate) -> None:
        """Adds a predicate that `foreign_predicate` has made of a generator."""
        self._register(predicate, ForeignPredicate, "foreign_predicate")

    def register_foreign_aggregate(self, aggregate: ForeignAggregate) -> None:
        """Adds an aggregate that `foreign_aggregate` has made of a function."""
        self._register(aggregate, ForeignAggregate, "foreign_aggregate")

    def register_foreign_attribute(self, attribute: ForeignAttribute) -> None:
        """Adds an attribute `@name` that `foreign_attribute` has made of a function."""
        self._register(attribute, ForeignAttribute, "foreign_attribute")

    # Options ------------------------------------------------------------------------------------------------------

    @property
    def provenance(self) -> str:
        """The name of the provenance."""
        return self.state.options.provenance

    def set_iter_limit(self, iter_limit: int | None = None) -> None:
        """A recursion ends after `iter_limit` + 1 rounds; None: when nothing is new."""
        limit = iter_limit
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 0):
            raise InputError(f"the limit is {limit!r}; it must be an integer of at least 0, or None")
        self.state.options = replace(self.state.options, iter_limit=iter_limit)

    def set_early_discard(self, early_discard: bool = True) -> None:
        """Changes no value here: tuples of tag zero are listed. Kept with functions that are made of the context."""
        self.state.early_discard = bool(early_discard)

    def copied(
        self,
        provenance: str | None,
        k: int | None,
        wmc_with_disjunctions: bool | None,
        custom_provenance: object,
    ) -> Self:
        """A context with the same program and facts, perhaps under another provenance; the two change apart."""
        options = self.state.options
        name = options.provenance if provenance is None else provenance
        custom = options.custom if custom_provenance is None and name == "custom" else custom_provenance
        changed = replace(
            options,
            provenance=name if custom is None else "custom",
            k=options.k if k is None else k,
            wmc_with_disjunctions=(
                options.wmc_with_disjunctions if wmc_with_disjunctions is None else wmc_with_disjunctions
            ),
            custom=custom,
        )
        check_options(changed)
        if not changed.takes_objects and changed.provenance not in TAGLESS:
            check_tags(self.state.draft, TagReader(self.is_array, takes_objects=False))
        twin = type(self).__new__(type(self))
        vars(twin).update(vars(self))
        # What another provenance has computed is none of this one's.
        results = dict(self.state.results) if changed == options else {}
        twin.state = replace(self.state, options=changed, results=results)
        return twin

    # Running ------------------------------------------------------------------------------------------------------

    def compile(self) -> None:
        """Plans the program. Every addition is checked at once, so this finds nothing that it would not have found."""
        plan(self.state.draft.program, computed_relations(self.state.draft.program))

    def run(self) -> None:
        """Computes all relations that the last run has not, or that depend on what is new since then.

        The answers to queries with `@file` that are new are written to their files.

        Raises `GroundingError` and the like, and keeps the results of the last run.
        """
        state = self.state
        before = state.run_draft if state.run_options == state.options else None
        outputs = outdated_relations(state.draft, before, state.results)
        collections = compute_collections(state.draft, outputs, state.options, self) if outputs else []
        if state.run_draft is not state.draft:
            self._warn(state.draft)
        state.results = {
            name: state.results[name] for name in computed_relations(state.draft.program) if name in state.results
        }
        state.results.update((collection.name, collection) for collection in collections)
        state.run_draft, state.run_options = state.draft, state.options
        written = {file.query for file in state.draft.program.answer_files}
        answers = [collection.answer() for collection in collections if collection.name in written]
        write_answer_files(state.draft.program, answers)

    def run_batch(
        self, inputs: Mapping[str, Sequence], output_relation: str | Sequence[str], parallel: bool = False
    ) -> list[Collection]:
        """For each sample, a relation as a run with the facts of the sample computes it; the context stays as it is.

        `inputs` have by relation, for each sample, a list of facts as `add_facts` takes them, or a pair of it and its
        disjunctions. `output_relation` is the name of a relation, or a list of one for each sample. `parallel` changes
        nothing: under provenances of numbers all samples are computed at once, with code that calls of like size share.
        No answer is written to a file.
        """
        inputs = read_by_relation(inputs, "`inputs`")
        for relation, samples in inputs.items():
            if not isinstance(samples, list | tuple):
                raise InputError(f"`{relation}` is a {type(samples).__name__}; give a list of facts for each sample")
        size = batch_size({relation: len(samples) for relation, samples in inputs.items()})
        names = (
            [output_relation] * size
            if isinstance(output_relation, str)
            else list(read_names(output_relation, "output_relation"))
        )
        if len(names) != size:
            raise InputError(f"`output_relation` names the relations of {len(names)} samples; the batch has {size}")
        facts: dict[str, list[ReadFacts]] = {}
        for relation, samples in inputs.items():
            pairs = (given if isinstance(given, tuple) and len(given) == 2 else (given, None) for given in samples)
            facts[relation] = [self._read_facts(relation, *pair) for pair in pairs]
        state = self.state
        for name in names:
            state.draft.relation(name)
        samples, united = read_samples(state.draft, facts, names)
        collections, state.kept = compute_samples(samples, state.options, self, state.kept)
        self._warn(united)
        return collections

    def relation(self, name: str) -> Collection:
        """A relation as the last run has computed it."""
        if not self.relation_is_computed(name):
            known = self.state.draft.relation(name)
            raise InputError(Diagnostic(f"`{known.name}` is not computed yet", hint="call `run()` first"))
        return self.state.results[name]

    def reasoner(
        self, output_relation: str | None = None, output_mapping: object = None, output_mappings: Any = None
    ) -> "Reasoner":
        """The context as a pure function: the arguments are the outputs of `scallax.Reasoner`.

        Inputs are the relations with an input mapping, and those with scalar arrays for tags, whose facts are the
        mapping: the function takes `[batch, facts]` for them. All other facts are constants.
        """
        # A second that a context without functions does not spend: it imports JAX.
        from scallax.context.to_reasoner import CallOptions, draft_reasoner

        state = self.state
        options = CallOptions(state.train_k, state.test_k, state.early_discard)
        return draft_reasoner(
            state.draft, state.options, options, self.is_array, output_relation, output_mapping, output_mappings
        )

    def explain(self, relation: str, values: object, k: int | None = None) -> "Explanation":
        """The `k` likeliest proofs of a tuple, from the facts that there are now; see `scallax.Reasoner.explain`."""
        from scallax.context.to_reasoner import CallOptions, draft_reasoner  # as in `reasoner`

        draft = self.state.draft
        draft.relation(relation)
        if self.state.options.takes_objects:
            hint = '`clone(provenance="topkproofs")` explains the facts whose tags are probabilities'
            raise UnsupportedError(Diagnostic("what the objects of a custom provenance prove is not known", hint=hint))
        batches = Batches.of(batch.with_numbers(self.is_array) for batch in draft.batches)
        draft = replace(draft, batches=batches, mappings=()).with_constants()
        reasoner = draft_reasoner(draft, self.state.options, CallOptions(), lambda tag: False, relation, None, None)
        return reasoner.explain(relation, values, k=k)

    # Looking ------------------------------------------------------------------------------------------------------

    def has_relation(self, name: str) -> bool:
        """Whether the program has a relation of this name."""
        return any(relation.name == name for relation in self.state.draft.program.relations)

    def relations(self, include_hidden: bool = False) -> list[str]:
        """The names of the relations, sorted; hidden ones, those of queries and those made by the analysis apart."""
        return sorted(
            relation.name
            for relation in self.state.draft.program.relations
            if include_hidden or (is_written(relation) and not relation.hidden)
        )

    def num_relations(self, include_hidden: bool = False) -> int:
        """How many names `relations` lists."""
        return len(self.relations(include_hidden))

    def relation_is_computed(self, name: str) -> bool:
        """Whether the last run has computed a relation."""
        return isinstance(name, str) and name in self.state.results

    def relation_field_names(self, name: str) -> list[str | None]:
        """The declared names of a relation's columns, None for one without."""
        return list(self.state.draft.relation(name).names)

    def relation_is_non_probabilistic(self, name: str) -> bool:
        """Whether facts of a relation are given without tags."""
        return self.state.draft.relation(name).name in self.state.draft.untagged

    def has_input_mapping(self, name: str) -> bool:
        """Whether a relation has an input mapping."""
        return any(relation == name for relation, _ in self.state.draft.mappings)

    def requires_tag(self) -> bool:
        """Whether facts are pairs of tag and tuple."""
        return self.provenance not in TAGLESS

    def is_probabilistic(self) -> bool:
        """Whether tags are probabilities."""
        return self.provenance not in (*TAGLESS, *_NO_PROBABILITIES)

    def supports_disjunctions(self) -> bool:
        """Whether facts that exclude each other make a difference."""
        return self.state.options.traits().uses_exclusion

    def get_front_ir(self) -> str:
        """The program as it was parsed, one item a line."""
        draft = self.state.draft
        return "".join(print_program(parse(source)) for source in (*draft.imports, *draft.sources))

    def dump_front_ir(self) -> None:
        """Prints `get_front_ir()`."""
        print(self.get_front_ir(), end="")

    def __getstate__(self) -> dict:
        """Texts, facts and options: what `run()` computes is computed again."""
        state = self.state
        if state.options.custom is not None:
            check_class(state.options.custom)
        options = {"train_k": state.train_k, "test_k": state.test_k, "early_discard": state.early_discard}
        saved = {
            "options": {"options": state.options, **options},
            "parts": state.draft.parts,
            "foreign": tuple(map(reference_to, state.foreign)),
        }
        return {**{name: value for name, value in vars(self).items() if name != "state"}, "saved": saved}

    def __setstate__(self, state: dict) -> None:
        state = dict(state)
        saved = state.pop("saved")
        vars(self).update(state)
        self.state = ContextState(**saved["options"])
        self.state.foreign = tuple(reference.item() for reference in saved["foreign"])
        self.state.draft = Draft.restored(saved["parts"], tuple(map(self.adapted, self.state.foreign)))

    def __repr__(self) -> str:
        count = self.num_relations()
        return f"{type(self).__name__}({self.provenance}, {count} relation{'' if count == 1 else 's'})"

    def _add(self, source: Source) -> None:
        self.state.draft = self.state.draft.with_sources(source)

    def _warn(self, draft: Draft) -> None:
        """Warns of what is new in a draft since the last run."""
        traits = self.state.options.traits() if self.is_probabilistic() else None
        for warning in find_warnings(draft, self.state.run_draft, self, traits):
            warn(str(warning))

    def _read_facts(self, relation: str, elems: Iterable, disjunctions: Iterable[Iterable[int]] | None) -> ReadFacts:
        self.state.draft.relation(relation)
        tagged = self.requires_tag() and relation not in self.state.draft.untagged
        facts = read_pairs(relation, elems, self._tags if tagged else None, self.provenance, self.tensors)
        return replace(facts, groups=read_groups(relation, disjunctions, len(facts.tuples)))

    def _register(self, item: object, kind: type, decorator: str) -> None:
        if not isinstance(item, kind):
            hint = f"decorate it with `{decorator}`"
            raise InputError(Diagnostic(f"{item!r} is not what `{decorator}` makes", hint=hint))
        assert isinstance(item, ForeignItem)
        self.state.draft = self.state.draft.with_foreign(self.adapted(item))
        self.state.foreign = (*self.state.foreign, item)

    def _source(self, text: str, kind: str) -> Source:
        if not isinstance(text, str):
            raise InputError(f"the {kind} is a {type(text).__name__}; it must be a text")
        number = 1 + sum(source.name.startswith(f"<{kind} ") for source in self.state.draft.sources)
        return Source(text, f"<{kind} {number}>")

    @property
    def _tags(self) -> TagReader:
        options = self.state.options
        return TagReader(self.is_array, options.takes_objects, options.returns_proofs)


@checks_calls
@final
class Context(AbstractContext):
    """A program with facts: add to it, `run()` it, read its relations; then add more and run it again.

        context = Context("topkproofs")
        context.add_relation("edge", (int, int))
        context.add_facts("edge", [(0.9, (0, 1)), (0.8, (1, 2))])
        context.add_rule("path(a, c) = edge(a, c) or path(a, b) and edge(b, c)")
        context.run()
        list(context.relation("path"))

    A provenance without tags (`unit`, `proofs`) takes tuples for facts and gives tuples; the others take and give pairs
    `(tag, tuple)`, where None for a tag means certain. Tags may be JAX scalars, traced ones too: then, and under
    `diff…` provenances, the tags of tuples are JAX scalars, and `jax.grad` goes through. Under a semiring of Python
    objects (`custom_provenance`) tags are what it reads, and those of tuples what it recovers; those are listed that it
    does not discard. `reasoner` makes a compiled function of the context. What raises leaves the context as it was.
    `foreign` are functions of Python and the like, as in `Reasoner`.
    """

    def __init__(
        self,
        provenance: "str | Provenance" = "unit",
        k: int = 3,
        *,
        custom_provenance: object = None,
        train_k: int | None = None,
        test_k: int | None = None,
        wmc_with_disjunctions: bool = False,
        iter_limit: int | None = None,
        early_discard: bool | None = None,
        limits: Limits | None = None,
        foreign: Sequence[ForeignItem] = (),
    ):
        options = read_options(provenance, custom_provenance, k, wmc_with_disjunctions, limits)
        self.state = ContextState(options, train_k, test_k, early_discard)
        self.set_iter_limit(iter_limit)
        self.state.foreign = read_foreign(foreign).items
        self.state.draft = self.state.draft.with_foreign(*self.state.foreign)

    def is_array(self, tag: object) -> bool:
        # Where JAX is not loaded there is none of its arrays.
        jax = sys.modules.get("jax")
        return jax is not None and isinstance(tag, jax.Array)

    def evaluate(self, computation: "Computation", tags: Sequence[Any]) -> Any:
        # Loaded by now: there is a computation.
        from scallax.evaluation.moves import join

        computed = computation.computed()
        parts = tags if computed is None else [*tags, computed]
        is_double = any(self.is_array(part) and part.dtype == np.float64 for part in parts)
        length = len(tags) + len(computation.comparisons)
        return computation.evaluate(join(parts, length, np.float64 if is_double else np.float32))

    def clone(
        self,
        provenance: str | None = None,
        k: int | None = None,
        wmc_with_disjunctions: bool | None = None,
        *,
        custom_provenance: object = None,
    ) -> "Context":
        """A context with the same program and facts, perhaps under another provenance; the two change apart.

        Facts without tags are certain; a provenance without tags leaves those that there are aside. InputError for
        tags that the other provenance does not read.
        """
        return self.copied(provenance, k, wmc_with_disjunctions, custom_provenance)

    def scalars(self, values: Any) -> list[Any]:
        from scallax.evaluation.moves import split  # as above

        return split(values)

    def adapted(self, item: ForeignItem) -> ForeignItem:
        return item

    def tensor(self, value: TensorValue) -> TensorValue:
        return value

    def tensor_framework(self) -> TensorFramework | None:
        if "jax" not in sys.modules:
            return None
        from scallax.evaluation.fact_tags import JaxTensors  # as above

        return JaxTensors()


def _column(relation: object, column: object) -> str:
    """A column as a program declares it."""
    if isinstance(column, str) and ":" in column:
        if not _COLUMN.match(column):
            hint = "write `type` or `name: type`"
            raise InputError(Diagnostic(f"relation `{relation}`: {column!r} is no column", hint=hint))
        return column
    return read_type(str(relation), column)
