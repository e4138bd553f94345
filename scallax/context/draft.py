"""A program under construction: its texts, relations and facts. A change gives another draft, or is refused."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import final

from scallax.circuits.compile import analyse_program
from scallax.errors import Diagnostic, InputError, ParseError, Source, Span, TypeInferenceError, UnsupportedError
from scallax.facts.arguments import unknown_name
from scallax.facts.fact_table import FactTable
from scallax.facts.files import read_facts
from scallax.facts.mappings import InputMapping, Tuples, fit_entries, fit_rows, show_tuple, typical_rows, typical_tuples
from scallax.facts.tables import CsvFile
from scallax.language import ir
from scallax.language.columns import Column, Rows
from scallax.language.foreign import ForeignItem
from scallax.language.library import read_foreign
from scallax.language.values import Value
from scallax.planner.plan import plan
from scallax.syntax import ast
from scallax.syntax.imports import read_imports
from scallax.syntax.parser import parse

_RULE_WORD = re.compile(r"\s*(@|rel\b)")


_EMPTY = ir.Program((), (), (), ())


@final
@dataclass(frozen=True, slots=True, eq=False)
class Batches:
    """Batches of facts in the order in which they were added: those `before`, and the `last`.

    To add one takes the same time however many there are, and changes no others' batches.
    """

    before: "Batches | None" = None
    last: FactTable | None = None
    count: int = 0

    @staticmethod
    def of(batches: Iterable[FactTable]) -> "Batches":
        """The batches in their order."""
        found = Batches()
        for batch in batches:
            found = found.add(batch)
        return found

    def add(self, batch: FactTable) -> "Batches":
        """These, then another one."""
        return Batches(self, batch, self.count + 1)

    def first(self, count: int) -> "Batches":
        """The first `count`."""
        found = self
        while found.count > count:
            assert found.before is not None
            found = found.before
        return found

    def since(self, count: int) -> list[FactTable]:
        """All but the first `count`."""
        found: list[FactTable] = []
        rest = self
        while rest.count > count:
            assert rest.last is not None
            assert rest.before is not None
            found.append(rest.last)
            rest = rest.before
        return found[::-1]

    def __iter__(self) -> Iterator[FactTable]:
        return iter(self.since(0))

    def __len__(self) -> int:
        return self.count


@final
@dataclass(frozen=True, slots=True)
class Draft:
    """The content of a context, a value: every change gives another draft.

    `imports` are the files that `sources` import; `program` is the checked program of all texts and facts.
    `untagged` are relations whose facts have no tags; `foreign` are functions of Python and the like. `examples` and
    `mapped_examples` are, by relation, few of the facts and of the tuples of a mapping, which say as much of the
    columns' types as all of them; `schemas` are the program's relations by name.
    """

    imports: tuple[Source, ...] = ()
    sources: tuple[Source, ...] = ()
    batches: Batches = Batches()
    mappings: tuple[tuple[str, InputMapping], ...] = ()
    untagged: frozenset[str] = frozenset()
    foreign: tuple[ForeignItem, ...] = ()
    program: ir.Program = _EMPTY
    schemas: Mapping[str, ir.Relation] = field(default_factory=dict)
    examples: Mapping[str, Tuples] = field(default_factory=dict)
    mapped_examples: Mapping[str, Tuples] = field(default_factory=dict)

    @property
    def parts(self) -> tuple:
        """The data of the draft, from which `restored` makes it again with its foreign items."""
        # The tuples as they were given are fitted to the columns when they are read.
        batches = tuple(replace(batch.with_constants(), columns=()) for batch in self.batches)
        return self.imports, self.sources, batches, self.mappings, self.untagged

    @staticmethod
    def restored(parts: tuple, foreign: tuple[ForeignItem, ...]) -> "Draft":
        """The draft of these parts."""
        imports, sources, batches, mappings, untagged = parts
        examples: dict[str, Tuples] = {}
        for batch in batches:
            typical = typical_rows(Rows(batch.given or (), batch.num_facts))
            examples[batch.relation] = typical_tuples(chain(examples.get(batch.relation, ()), typical))
        mapped = {relation: typical_tuples(mapping.tuples) for relation, mapping in mappings}
        draft = Draft(imports, sources, Batches.of(batches), mappings, untagged, foreign)
        return replace(draft, examples=examples, mapped_examples=mapped).analysed()

    def with_constants(self) -> "Draft":
        """The draft with constants for tensors that gradients pass through."""
        if not self.holds_variables:
            return self
        return replace(self, batches=Batches.of(batch.with_constants() for batch in self.batches))

    @property
    def holds_variables(self) -> bool:
        """Whether gradients pass through some tensor in facts."""
        return any(batch.holds_variables for batch in self.batches)

    def relation(self, name: str) -> ir.Relation:
        """InputError if the program has no such relation."""
        found = self.schemas.get(name) if isinstance(name, str) else None
        if found is None:
            known = [other.name for other in self.program.relations if is_written(other) and not other.hidden]
            raise unknown_name(f"there is no relation `{name}`", str(name), known)
        return found

    def with_sources(self, *sources: Source) -> "Draft":
        """Adds texts and the files that they import. Raises every problem of the program as a whole."""
        imports = read_imports(sources, known=[*self.imports, *self.sources])
        changed = replace(self, imports=(*self.imports, *imports), sources=(*self.sources, *sources))
        return changed.analysed()

    def with_facts(self, batch: FactTable) -> "Draft":
        """Adds facts; where the relation's types are not declared, they are inferred from them too.

        Their tuples need not be fitted yet. InputError for a relation that does not exist, for a tuple that does not
        fit it and for a number that another fact has.
        """
        relation = self.relation(batch.relation).name
        if batch.given is None:
            batch = replace(batch, given=batch.columns)
        _check_ids(self.batches, batch)
        known = self.examples.get(relation)
        typical = typical_tuples(chain(known or (), typical_rows(Rows(batch.given or (), batch.num_facts))))
        grown = self if typical == known else replace(self, examples={**self.examples, relation: typical})
        try:
            batch = grown._fitted(batch)
        except InputError as error:  # they may fit what inference makes of them
            try:
                grown = grown.analysed()
            except TypeInferenceError:  # the program is right without them
                raise error from None
            batch = grown._fitted(batch)
        return replace(grown, batches=grown.batches.add(batch))

    def with_csv(self, relation: str, file: CsvFile) -> "Draft":
        """Adds the facts of a CSV file with columns by position."""
        declared = self.relation(relation)
        span = Span(Source(f"{relation}: {file.path}", f"<file of {relation}>"), 0, len(relation))
        options = (str(file.path), file.delimiter, file.has_header, file.has_probability)
        facts = read_facts(ir.FactsFile(relation, *options, tuple(file.keys), tuple(file.fields), span), declared)
        return self.with_facts(facts)

    def with_mapping(self, relation: str, mapping: InputMapping | None) -> "Draft":
        """Sets or removes a relation's input mapping; InputError if its tuples do not fit the relation."""
        found, examples = dict(self.mappings), dict(self.mapped_examples)
        found.pop(relation, None)
        examples.pop(relation, None)
        if mapping is not None and mapping.kind is not None:
            columns = self.relation(relation).columns
            what = f"input mapping of `{relation}`"
            entries = fit_entries(mapping.entries, columns, what, self.program.variants)
            found[relation] = InputMapping(entries, **mapping.options)
            examples[relation] = typical_tuples(entries.tuples)
        mappings = tuple(sorted(found.items(), key=lambda item: item[0]))
        return replace(self, mappings=mappings, mapped_examples=examples)

    def with_foreign(self, *items: ForeignItem) -> "Draft":
        """Adds functions of Python and the like. InputError if a name is taken."""
        return replace(self, foreign=(*self.foreign, *items)).analysed()

    def with_rule(self, rule: str, demand: str | None, tag: object, number: int = 0) -> "Draft":
        """Adds a rule, given without `rel`; all its derivations share one fact with the tag unless that is None.

        `number` is the fact's, 0 for none.
        """
        if not isinstance(rule, str):
            raise InputError(f"the rule is {rule!r}; it must be a text")
        place = 1 + sum(source.name.startswith("<rule ") for source in self.sources)
        text = rule if _RULE_WORD.match(rule) else f"rel {rule}"
        if demand is not None:
            text = f'@demand("{demand}") {text}'
        source = Source(text, f"<rule {place}>")
        _single_rule(source)
        untagged = self.with_sources(source)
        if tag is None:
            return untagged
        name = f"tag_of_rule_{place}"
        while any(relation.name == name for relation in untagged.program.relations):
            name += "_"
        declaration = Source(f"@hidden type {name}()", f"<tag of rule {place}>")
        changed = self.with_sources(declaration, Source(_conjoined(source, name), source.name))
        return changed.with_facts(FactTable.unfitted(name, Rows((), 1), Column.of([tag]), ids=[number]))

    def analysed(self) -> "Draft":
        """The draft with the program of all its texts and facts, and with facts that fit it.

        Only examples of the facts are looked at, and facts of relations whose columns are of other types than before.
        """
        given = dict(self.examples)
        for relation, tuples in self.mapped_examples.items():
            given[relation] = typical_tuples(chain(given.get(relation, ()), tuples))
        program = analyse_program([*self.imports, *self.sources], given, read_foreign(self.foreign))
        plan(program, computed_relations(program))
        schemas = {relation.name: relation for relation in program.relations}
        analysed = replace(self, program=program, schemas=schemas)
        changed = {
            name for name in given if name not in self.schemas or schemas[name].columns != self.schemas[name].columns
        }
        for name, mapping in self.mappings:
            if name in changed:
                what = f"input mapping of `{name}`"
                fit_entries(mapping.entries, schemas[name].columns, what, program.variants)
        if changed.isdisjoint(self.examples):
            return analysed
        batches = (analysed._fitted(batch) if batch.relation in changed else batch for batch in self.batches)
        return replace(analysed, batches=Batches.of(batches))

    def _fitted(self, batch: FactTable) -> FactTable:
        """The batch with tuples that fit the relation's columns. InputError for the first that does not."""
        columns, what = self.schemas[batch.relation].columns, f"facts of `{batch.relation}`"
        given = Rows(batch.given or (), batch.num_facts)
        return batch.fitted(fit_rows(given, columns, what, self.program.variants, batch.tags))

    @property
    def warnings(self) -> list[Diagnostic]:
        """The warnings of the program; one that a relation has no facts only if none were added since the analysis."""
        filled = [
            warning for name, warning in self.program.undefined if name in {**self.examples, **self.mapped_examples}
        ]
        return [warning for warning in self.program.warnings if warning not in filled]


def is_written(relation: ir.Relation) -> bool:
    """Whether a user wrote the relation's name: names that the analysis made have a `#`, those of queries a `(`."""
    return "#" not in relation.name and "(" not in relation.name


def computed_relations(program: ir.Program) -> list[str]:
    """The names of the relations that a context computes; relations that the analysis made are left out."""
    return [relation.name for relation in program.relations if "#" not in relation.name]


def changed_relations(before: Draft, after: Draft) -> set[str]:
    """The relations whose rules, facts or columns are not the same in a draft and in one that grew from it."""
    changed = {batch.relation for batch in after.batches.since(len(before.batches))}
    if before.program is not after.program:
        old, new = _parts(before.program), _parts(after.program)
        changed |= {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    return changed


def _parts(program: ir.Program) -> dict[str, list]:
    """The parts of a program that determine the tuples of a relation, by relation: schema, facts, rules, files."""
    parts: dict[str, list] = {relation.name: [relation] for relation in program.relations}
    for part in (*program.facts, *program.rules, *program.files):
        parts[part.relation].append(part)
    return parts


@dataclass(frozen=True, slots=True)
class Samples:
    """Drafts that add facts of the relations `sampled` to those of `base`, whose program is theirs.

    `outputs` is the relation that is asked for in each.
    """

    base: Draft
    drafts: Sequence[Draft]
    sampled: tuple[str, ...]
    outputs: tuple[str, ...]


def _check_ids(batches: Batches, added: FactTable) -> None:
    """InputError for a number that two facts have."""
    if added.ids is None or not added.ids.any():
        return
    seen: dict[int, tuple[str, tuple[Value, ...]]] = {}
    for batch in (*batches, added):
        if batch.ids is None or batch.given is None:
            continue
        for number, values in zip(batch.ids.tolist(), Rows(batch.given, batch.num_facts), strict=True):
            fact = batch.relation, values
            if number and seen.setdefault(number, fact) != fact:
                shown = " and ".join(f"`{relation}{show_tuple(found)}`" for relation, found in (seen[number], fact))
                raise InputError(f"{shown} both have the number {number}")


def _single_rule(source: Source) -> ast.Rule | ast.ReduceRule:
    items = parse(source).items
    if len(items) != 1 or not isinstance(items[0].declaration, ast.Rule | ast.ReduceRule):
        hint = "write a head, `=` and a body; `add_program` takes several items"
        raise ParseError(Diagnostic(f"`{source.text}` is not one rule", hint=hint))
    return items[0].declaration


def _conjoined(source: Source, relation: str) -> str:
    """The text of a rule with an atom of a nullary relation added to its body."""
    rule = _single_rule(source)
    if isinstance(rule, ast.ReduceRule):
        hint = f"write it as `{rule.relation}(n) = n := …`"
        raise UnsupportedError(Diagnostic("a rule that is an aggregate alone takes no tag", rule.span, hint))
    span = rule.body.span
    text = source.text
    return f"{text[: span.start]}({text[span.start : span.end]}) and {relation}(){text[span.end :]}"
