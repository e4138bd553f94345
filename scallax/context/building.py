"""Building a context: its state, and the methods that add texts, facts, rules, mappings and functions of Python."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scallax.context.collection import Collection
from scallax.context.draft import Draft
from scallax.context.fact_reading import TagReader, read_apart, read_pairs
from scallax.context.options import Options
from scallax.errors import Diagnostic, InputError, Source, checks_calls
from scallax.facts.arguments import read_file, read_type
from scallax.facts.fact_checks import read_groups
from scallax.facts.fact_table import FactTable
from scallax.facts.given_columns import are_columns
from scallax.facts.mappings import InputMapping
from scallax.facts.tables import CsvFile, Table, read_table
from scallax.language.foreign import ForeignAggregate, ForeignAttribute, ForeignFunction, ForeignItem, ForeignPredicate
from scallax.language.tensors import TensorFramework, TensorInputs

if TYPE_CHECKING:  # a context without probabilities does not wait for it
    from scallax.context.sample_runs import KeptProgram

_COLUMN = re.compile(r"(?:([A-Za-z_]\w*)\s*:\s*)?([A-Za-z_&]\w*)\Z")


@dataclass(slots=True)
class ContextState:
    """The data of a context.

    `foreign` are foreign items as they were registered. `results` are those of the last run, of the draft `run_draft`
    under `run_options`; `kept` serves further samples. `tensors` are those in facts, None as long as gradients pass
    through none.
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
class AbstractBuilder(ABC):
    """A program with facts that grows step by step; a step that raises leaves it as it was.

    A provenance without tags (`unit`, `proofs`) takes tuples for facts; the others take pairs `(tag, tuple)`, where
    None for a tag means certain.
    """

    state: ContextState

    @abstractmethod
    def is_array(self, tag: object) -> bool:
        """Whether a tag is an array of the framework whose gradients pass through the context."""

    @abstractmethod
    def adapted(self, item: ForeignItem) -> ForeignItem:
        """A foreign item as the context calls it."""

    def adapted_mapping(self, mapping: InputMapping) -> InputMapping:
        """An input mapping as the context keeps it."""
        return mapping

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

    # Programs -----------------------------------------------------------------------------------------------------

    def add_program(self, program: str) -> None:
        """Adds the items of a text: facts, rules, types, queries.

        Raises whatever is wrong with the program as a whole, with every problem that is found.
        """
        self._add(self._source(program, "program"))

    def add_item(self, item: str) -> list[str]:
        """Adds one item or several, as `add_program`; returns the names of the relations that its queries ask for."""
        source = self._source(item, "item")
        self._add(source)
        queries = self.state.draft.program.queries
        return [query.name for query in queries if query.span is not None and query.span.source == source]

    def import_file(self, path: str | Path) -> None:
        """Adds the items of a file and of the files that it imports; a file that was imported before adds nothing."""
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
        """Declares a relation with its columns.

        Args:
            name: The relation's name.
            types: A tuple of column types, or one type for a relation of one column. A type is Python's `int` (`i32`),
                `float` (`f32`), `bool` or `str` (`String`), a value type, or a text `type` or `name: type`.
            input_mapping: The tuples that the entries of a tensor stand for; see `set_input_mapping`.
            retain_topk: The number of the largest entries that are kept: the `retain_k` of `set_input_mapping`.
            non_probabilistic: Whether facts of the relation are given without tags.
            load_csv: A file of facts; see `load_csv`.

        Raises:
            InputError: The name or a type is none, or an argument does not fit the others.
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

    def add_rule(self, rule: str, tag: object = None, demand: str | None = None) -> None:
        """Adds a rule, with or without `rel` in front of it.

        Args:
            rule: The text of one rule.
            tag: The probability that the rule holds. It is one random variable for everything that the rule derives; a
                tag in the text, `0.9::head = body`, is one for each derivation. None: the rule is certain.
            demand: A letter for each column of the head, `b` for bound and `f` for free: only tuples whose bound values
                are asked for are derived.

        Raises:
            ParseError: The text is not one rule.
            UnsupportedError: A rule with a tag is an aggregate alone.
        """
        reader = self._tags
        if not reader.takes_objects and isinstance(tag, tuple) and len(tag) == 2 and tag[1] is None:
            tag = tag[0]  # how the reference wants tags of provenances with exclusive groups
        tag, number = reader.read(tag, f"the tag of the rule `{rule}`,")
        self.state.draft = self.state.draft.with_rule(rule, demand, tag, number)

    # Facts --------------------------------------------------------------------------------------------------------

    def add_facts(
        self, relation: str, elems: Any, disjunctions: Iterable[Iterable[int]] | None = None, *, tags: Any = None
    ) -> None:
        """Adds facts of a relation that is declared, or used by the program.

        Args:
            relation: The relation's name.
            elems: Tuples, or pairs `(tag, tuple)` under a provenance with tags; a value stands for its 1-tuple. A tag
                is a number, a bool, a scalar array, or None for a certain fact. Under `difftopkproofsdebug` it may be
                a pair of a tag and a positive number of the fact, which proofs name it by.
                Or columns: a dictionary of arrays or lists, an array of NumPy `[facts, columns]`, a table of pandas,
                or one of pyarrow, polars and others that give Arrow's streams. They are found by name where all of the
                relation's columns have names, else they stand in its order. No object is made for a fact.
            disjunctions: Lists of positions in `elems`, of facts that exclude each other.
            tags: The tags of tuples, or of columns: an array or a list with one for each fact, or the name of the
                column that has them. None: facts that are given in columns are certain.

        Raises:
            InputError: The relation does not exist, or a fact does not fit it; the first such fact is named.

        Example:
            >>> import numpy as np
            >>> import scallax
            >>> context = scallax.Context("minmaxprob")
            >>> context.add_relation("edge", ("start: i32", "stop: i32"))
            >>> edges = {"start": np.array([0, 1]), "stop": np.array([1, 2])}
            >>> context.add_facts("edge", edges, tags=np.array([0.5, 0.25]))
            >>> context.run()
            >>> list(context.relation("edge"))
            [(0.5, (0, 1)), (0.25, (1, 2))]
        """
        facts = self._read_facts(relation, elems, disjunctions, tags)
        self.state.draft = self.state.draft.with_facts(facts)

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
        """Adds the rows of a file or of a table of a database as facts.

        Args:
            relation: The relation's name.
            source: A file, a connection to a database or its URL, or a table of columns, as for `scallax.Table`; or a
                `scallax.Table`, and then the other arguments do not count.
            columns: The names of the table's columns that are the relation's, in this order.
            tag: The name of the column of tags.
            table: The name of the table in a database; by default the relation's.
            delimiter: The character between the columns of a text file.

        Raises:
            InputError: The table cannot be read, or a row does not fit; the first problems are named, with their rows.
        """
        found = source if isinstance(source, Table) else Table(source, columns, tag, table, delimiter)
        facts = read_table(found, self.state.draft.relation(relation))
        self.state.draft = self.state.draft.with_facts(facts)

    def load_csv(self, relation: str, file: "str | Path | CsvFile") -> None:
        """Adds the facts of a CSV file with columns by position; `load` takes columns by name.

        Args:
            relation: The relation's name.
            file: The file's path, or a `scallax.CsvFile` with the path and how the file is read.

        Raises:
            InputError: The file cannot be read, or a row does not fit; the row is named.
        """
        self.state.draft = self.state.draft.with_csv(relation, file if isinstance(file, CsvFile) else CsvFile(file))

    def set_non_probabilistic(self, relations: str | Iterable[str], non_probabilistic: bool = True) -> None:
        """Says whether facts of some relations are given without tags from now on.

        Args:
            relations: The name of a relation, or several names.
            non_probabilistic: True for facts without tags, False for facts with tags.

        Raises:
            InputError: A relation does not exist.
        """
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

        The other arguments are those of `scallax.InputMapping`. Without a mapping and with options, the options are
        those of the mapping that is set; without both, that mapping is removed: the relation takes lists of facts only.

        Args:
            relation: The relation's name.
            mapping: Nested lists of tuples, of the tensor's shape without the batch; or None.
            disjunctive: Whether all entries exclude each other.
            disjunctive_dim: The dimension along which entries exclude each other.
            retain_threshold: The least entry that exists in a sample.
            retain_k: The most entries that exist in a sample.
            sample_dim: The dimension along which `retain_k` counts; None: among all entries.
            sample_strategy: `top` for the `retain_k` largest entries, `categorical` for that many draws.

        Raises:
            InputError: The relation does not exist or has no mapping, or the tuples do not fit it.
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

    # Functions of Python ------------------------------------------------------------------------------------------

    def register_foreign_function(self, function: ForeignFunction) -> None:
        """Adds a function `$name(…)` of Python that `foreign_function` decorates."""
        self._register(function, ForeignFunction, "foreign_function")

    def register_foreign_predicate(self, predicate: ForeignPredicate) -> None:
        """Adds a predicate, a generator of Python that `foreign_predicate` decorates."""
        self._register(predicate, ForeignPredicate, "foreign_predicate")

    def register_foreign_aggregate(self, aggregate: ForeignAggregate) -> None:
        """Adds an aggregate, a function of Python that `foreign_aggregate` decorates."""
        self._register(aggregate, ForeignAggregate, "foreign_aggregate")

    def register_foreign_attribute(self, attribute: ForeignAttribute) -> None:
        """Adds an attribute `@name`, a function of Python that `foreign_attribute` decorates."""
        self._register(attribute, ForeignAttribute, "foreign_attribute")

    # ----------------------------------------------------------------------------------------------------------------

    @property
    def provenance(self) -> str:
        """The name of the provenance, which says how tags are computed."""
        return self.state.options.provenance

    def requires_tag(self) -> bool:
        """Whether facts are pairs of a tag and a tuple."""
        return self.state.options.has_tags

    def _add(self, source: Source) -> None:
        self.state.draft = self.state.draft.with_sources(source)

    def _read_facts(
        self, relation: str, elems: Any, disjunctions: Iterable[Iterable[int]] | None, tags: Any = None
    ) -> FactTable:
        draft = self.state.draft
        schema = draft.relation(relation)
        reader = self._tags if self.requires_tag() and relation not in draft.untagged else None
        others = self.provenance, self.tensors, draft.program.variants
        if are_columns(elems) or tags is not None:
            facts = read_apart(schema, elems, tags, reader, *others)
        else:
            facts = read_pairs(schema, elems, reader, *others)
        if disjunctions is None:
            return facts
        what = f"facts of `{relation}`: `disjunctions`"
        return replace(facts, groups=read_groups(what, disjunctions, facts.num_facts))

    def _register(self, item: object, kind: type, decorator: str) -> None:
        if not isinstance(item, kind):
            hint = f"decorate it with `{decorator}`"
            raise InputError(Diagnostic(f"{item!r} was not made by `{decorator}`", hint=hint))
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


def _column(relation: object, column: object) -> str:
    """A column as a program declares it."""
    if isinstance(column, str) and ":" in column:
        if not _COLUMN.match(column):
            hint = "write `type` or `name: type`"
            raise InputError(Diagnostic(f"relation `{relation}`: {column!r} is no column", hint=hint))
        return column
    return read_type(str(relation), column)
