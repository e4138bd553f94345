"""A program under construction: its texts, relations and facts. A change gives another draft, or is refused."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from scallax import ir
from scallax.arguments import unknown_name
from scallax.engine import GivenFacts, analyse_program
from scallax.errors import Diagnostic, InputError, ParseError, TypeInferenceError, UnsupportedError
from scallax.files import read_facts
from scallax.foreign import ForeignItem
from scallax.imports import read_imports
from scallax.library import read_foreign
from scallax.mappings import InputMapping, Tuples, fit_entries, fit_tuples, show_tuple, typical_tuples
from scallax.planner.plan import plan
from scallax.source import Source, Span
from scallax.specification import Tag
from scallax.syntax import ast
from scallax.syntax.parser import parse
from scallax.tables import CsvFile
from scallax.values import Value

_RULE_WORD = re.compile(r"\s*(@|rel\b)")


_EMPTY = ir.Program((), (), (), ())


@dataclass(frozen=True, slots=True)
class FactBatch:
    """Facts of one relation that were given at once.

    `tags` are numbers, bools, None, or whatever the context takes for arrays; `values` are tuples as given, `tuples`
    those that fit the columns. `groups` int64 `[facts]` are numbers of exclusive groups, -1 for none; None: no groups.
    `ids` are the numbers by which proofs name the facts, 0 for none; empty: none has one.
    """

    relation: str
    tags: tuple[object, ...]
    values: Tuples
    tuples: Tuples
    groups: np.ndarray | None = None
    ids: tuple[int, ...] = ()


@final
@dataclass(frozen=True, slots=True)
class Draft:
    """What a context holds. `imports` are the files that `sources` import; `program` is what all of it says.

    `untagged` are relations whose facts have no tags; `foreign` are functions of Python and the like.
    """

    imports: tuple[Source, ...] = ()
    sources: tuple[Source, ...] = ()
    batches: tuple[FactBatch, ...] = ()
    mappings: tuple[tuple[str, InputMapping], ...] = ()
    untagged: frozenset[str] = frozenset()
    foreign: tuple[ForeignItem, ...] = ()
    program: ir.Program = _EMPTY

    @property
    def parts(self) -> tuple:
        """All but foreign items and the program, in the order of the fields: data only."""
        return self.imports, self.sources, self.batches, self.mappings, self.untagged

    def relation(self, name: str) -> ir.Relation:
        """InputError if the program has no such relation."""
        for relation in self.program.relations:
            if relation.name == name:
                return relation
        known = [other.name for other in self.program.relations if is_written(other) and not other.hidden]
        raise unknown_name(f"there is no relation `{name}`", str(name), known)

    def with_sources(self, *sources: Source) -> "Draft":
        """Adds texts and the files that they import. Raises whatever is wrong with the program as a whole."""
        imports = read_imports(sources, known=[*self.imports, *self.sources])
        changed = replace(self, imports=(*self.imports, *imports), sources=(*self.sources, *sources))
        return changed.analysed()

    def with_facts(
        self,
        relation: str,
        tags: Sequence[object],
        values: Tuples,
        groups: np.ndarray | None = None,
        ids: Sequence[int] = (),
    ) -> "Draft":
        """Adds facts; they count in type inference where the relation's types are not declared.

        InputError for a relation that does not exist, for a tuple that does not fit it and for a number that another
        fact has.
        """
        columns = self.relation(relation).columns
        batch = FactBatch(relation, tuple(tags), values, (), groups, tuple(ids))
        _check_ids([*self.batches, batch])
        try:
            fitted = fit_tuples(values, columns, f"facts of `{relation}`", self.program.variants, tags)
        except InputError as error:  # they may fit what inference makes of them
            try:
                return replace(self, batches=(*self.batches, batch)).analysed()
            except TypeInferenceError:  # the program is right without them
                raise error from None
        return replace(self, batches=(*self.batches, replace(batch, tuples=fitted)))

    def with_csv(self, relation: str, file: CsvFile) -> "Draft":
        """Adds the facts of a CSV file with columns by position."""
        declared = self.relation(relation)
        span = Span(Source(f"{relation}: {file.path}", f"<file of {relation}>"), 0, len(relation))
        options = (str(file.path), file.delimiter, file.has_header, file.has_probability)
        facts = read_facts(ir.FactsFile(relation, *options, tuple(file.keys), tuple(file.fields), span), declared)
        return self.with_facts(relation, [tag for tag, _ in facts], tuple(values for _, values in facts))

    def with_mapping(self, relation: str, mapping: InputMapping | None) -> "Draft":
        """Sets or removes a relation's input mapping; InputError if its tuples do not fit the relation."""
        found = dict(self.mappings)
        found.pop(relation, None)
        if mapping is not None and mapping.kind is not None:
            columns = self.relation(relation).columns
            what = f"input mapping of `{relation}`"
            entries = fit_entries(mapping.entries, columns, what, self.program.variants)
            found[relation] = InputMapping(entries, **mapping.options)
        return replace(self, mappings=tuple(sorted(found.items(), key=lambda item: item[0])))

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
        return changed.with_facts(name, [tag], ((),), ids=(number,))

    def analysed(self) -> "Draft":
        """With the program that all texts and facts say, and facts that fit it."""
        examples: dict[str, list[tuple[Value, ...]]] = {}
        for batch in self.batches:
            examples.setdefault(batch.relation, []).extend(typical_tuples(batch.values))
        for relation, mapping in self.mappings:
            examples.setdefault(relation, []).extend(mapping.tuples)
        given = {relation: typical_tuples(tuples) for relation, tuples in examples.items()}
        program = analyse_program([*self.imports, *self.sources], given, read_foreign(self.foreign))
        plan(program, computed_relations(program))
        columns = {relation.name: relation.columns for relation in program.relations}
        known = {relation.name: relation.columns for relation in self.program.relations}
        batches = []
        for batch in self.batches:
            name = batch.relation
            if columns[name] != known.get(name) or len(batch.tuples) != len(batch.values):
                fitted = fit_tuples(batch.values, columns[name], f"facts of `{name}`", program.variants)
                batch = replace(batch, tuples=fitted)
            batches.append(batch)
        for name, mapping in self.mappings:
            fit_entries(mapping.entries, columns[name], f"input mapping of `{name}`", program.variants)
        return replace(self, program=program, batches=tuple(batches))


def is_written(relation: ir.Relation) -> bool:
    """Whether a user wrote the relation's name: `#` is in names that the analysis made, `(` in those of queries."""
    return "#" not in relation.name and "(" not in relation.name


def computed_relations(program: ir.Program) -> list[str]:
    """The relations that a context computes: all but those that the analysis made."""
    return [relation.name for relation in program.relations if "#" not in relation.name]


def changed_relations(before: Draft, after: Draft) -> set[str]:
    """The relations whose rules, facts or columns are not the same in two drafts."""
    old, new = _parts(before), _parts(after)
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _parts(draft: Draft) -> dict[str, list]:
    """By relation everything that says what its tuples are; batches are told apart by identity."""
    parts: dict[str, list] = {relation.name: [relation] for relation in draft.program.relations}
    for part in (*draft.program.facts, *draft.program.rules, *draft.program.files):
        parts[part.relation].append(part)
    for batch in draft.batches:
        parts[batch.relation].append(id(batch.values))
    return parts


@dataclass(frozen=True, slots=True)
class Inputs:
    """The tags that are inputs of a computation, in order, and the numbers of their facts, 0 for none."""

    tags: list[object]
    ids: list[int]


def given_facts(
    draft: Draft, is_array: Callable[[object], bool], number: Callable[[object], float | bool]
) -> tuple[list[GivenFacts], Inputs]:
    """The facts of a draft, and the tags that are their inputs: those of batches with an array for a tag.

    In such a batch the other tags are inputs too, `number` of them, so that its groups stay together; facts that are
    certain and in no group are constants. Without arrays no tag is an input.
    """
    given: list[GivenFacts] = []
    inputs = Inputs([], [])
    for batch in draft.batches:
        if not any(map(is_array, batch.tags)):
            tags = [tag if tag is None else number(tag) for tag in batch.tags]
            given.append(GivenFacts(batch.relation, batch.tuples, tags=tags, groups=batch.groups))
            continue
        groups = np.full(len(batch.tags), -1) if batch.groups is None else batch.groups
        kept = np.array([tag is not None for tag in batch.tags]) | (groups >= 0)
        certain = [values for values, is_input in zip(batch.tuples, kept, strict=True) if not is_input]
        if certain:
            given.append(GivenFacts(batch.relation, certain))
        rows = np.flatnonzero(kept).tolist()
        places = np.arange(len(inputs.tags), len(inputs.tags) + len(rows))
        tuples = [batch.tuples[row] for row in rows]
        given.append(GivenFacts(batch.relation, tuples, inputs=places, groups=groups[kept]))
        tags = [batch.tags[row] for row in rows]
        inputs.tags.extend(1.0 if tag is None else tag if is_array(tag) else float(number(tag)) for tag in tags)
        inputs.ids.extend(batch.ids[row] if batch.ids else 0 for row in rows)
    return given, inputs


def _check_ids(batches: Sequence[FactBatch]) -> None:
    """InputError for a number that two facts have."""
    if not batches[-1].ids:
        return
    seen: dict[int, str] = {}
    for batch in batches:
        for number, values in zip(batch.ids, batch.values, strict=False):
            shown = f"`{batch.relation}{show_tuple(values)}`"
            if number and seen.setdefault(number, shown) != shown:
                raise InputError(f"{seen[number]} and {shown} both have the number {number}")


def read_groups(relation: str, disjunctions: Iterable[Iterable[int]] | None, count: int) -> np.ndarray | None:
    """int64 `[count]`: the number of the list in `disjunctions` that names each position, -1 for none.

    InputError for a position that is no integer from 0 to `count` - 1, and for one in two lists.
    """
    if disjunctions is None:
        return None
    groups = np.full(count, -1, np.int64)
    what = f"facts of `{relation}`: `disjunctions`"
    if isinstance(disjunctions, str) or not isinstance(disjunctions, Iterable):
        raise InputError(f"{what} is {disjunctions!r}; it is a list of lists of positions")
    for number, members in enumerate(disjunctions):
        if isinstance(members, str) or not isinstance(members, Iterable):
            raise InputError(f"{what} holds {members!r}; it is a list of lists of positions")
        for member in members:
            if isinstance(member, bool) or not isinstance(member, int | np.integer) or not 0 <= member < count:
                raise InputError(f"{what} holds {member!r}; the positions of the facts are 0 to {count - 1}")
            if groups[member] not in (-1, number):
                raise InputError(f"{what}: position {member} is in two lists")
            groups[member] = number
    return groups


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


def independent_facts(batch: FactBatch) -> list[tuple[Tag, tuple]]:
    """The facts of a batch that are in no group, with tags that are numbers."""
    groups = [-1] * len(batch.tags) if batch.groups is None else batch.groups
    return [
        (tag, values)  # pyright: ignore[reportReturnType]  # a batch without arrays has numbers for tags
        for tag, values, group in zip(batch.tags, batch.tuples, groups, strict=True)
        if group < 0
    ]


def exclusive_text(relation: ir.Relation, batch: FactBatch) -> str:
    """The sets of exclusive facts of a batch, as items of a program."""
    if batch.groups is None:
        return ""
    sets: dict[int, list[str]] = {}
    for tag, values, group in zip(batch.tags, batch.tuples, batch.groups.tolist(), strict=True):
        if group >= 0:
            shown = ", ".join(map(ir.print_value, values, relation.columns))
            shown = shown if len(values) == 1 else f"({shown})"
            sets.setdefault(group, []).append(f"{_print_tag(tag)}{shown}")
    return "\n".join(f"rel {relation.name} = {{{'; '.join(members)}}}" for members in sets.values())


def _print_tag(tag: object) -> str:
    match tag:
        case None:
            return ""
        case bool():
            return "true::" if tag else "false::"
        case _:
            # Programs write exponents only behind a fraction.
            return f"{np.format_float_positional(float(tag), trim='0')}::"  # pyright: ignore[reportArgumentType]
