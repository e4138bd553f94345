"""The facts of one relation, in columns: what every way of giving facts makes, and everything that reads them takes."""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from itertools import chain
from typing import Any

import numpy as np

from scallax.language import ir
from scallax.language.columns import Column, Rows
from scallax.language.records import record
from scallax.language.tensors import Tensor, is_variable
from scallax.language.values import Value


@record
class FactTable:
    """The facts of one relation, in their order: for all samples of a batch, or one table that holds in each.

    `columns` are the values that fit the relation's columns; there are none if there are no facts or no columns. Those
    of facts that hold in every sample are of the class `Column`.
    `counts` says how many facts each sample has; of a table that holds in every sample it is `(facts,)`.

    The tags are one of these; without any the facts are certain, or their tags are given apart:

    - `tag_parts`: columns, sequences of scalars, or arrays, whose concatenation has a tag for each fact, None for a
      certain one;
    - `inputs` int64 `[facts]`: the positions of the tags in the flattened inputs of each evaluation;
    - `priors` float64 `[facts]`: the tags as the provenance reads them, constants of the batch.

    `certain` bool `[facts]` says which facts of a batch hold whatever their tag; None: the relation takes no tags.
    `groups` int64 `[facts]` numbers the exclusive groups, -1 for none, apart from those of other tables; None: there
    are none. `ids` int64 `[facts]` are the numbers by which proofs name the facts, 0 for none; None: none has one.
    `given` are the columns as they were given, kept where the columns' types may still change: mostly the same objects.
    """

    relation: str
    columns: tuple[Sequence[Value], ...]
    counts: tuple[int, ...]
    tag_parts: tuple[Any, ...] = ()
    certain: np.ndarray | None = None
    groups: np.ndarray | None = None
    ids: np.ndarray | None = None
    inputs: np.ndarray | None = None
    priors: np.ndarray | None = None
    given: tuple[Column, ...] | None = None

    @staticmethod
    def unfitted(
        relation: str,
        given: Rows,
        tags: Column | None,
        groups: np.ndarray | None = None,
        ids: Sequence[int] = (),
    ) -> "FactTable":
        """The table of tuples that hold in every sample and are not fitted to columns yet; no `ids`: none has one."""
        parts = () if tags is None else (tags,)
        numbers = np.array(ids, np.int64) if ids else None
        return FactTable(relation, (), (len(given),), parts, groups=groups, ids=numbers, given=given.columns)

    def fitted(self, columns: Sequence[Column]) -> "FactTable":
        """The same facts with values that fit the relation's columns."""
        tags = self.tag_parts, self.certain, self.groups, self.ids, self.inputs, self.priors
        # For one fact `replace` takes as long as everything else.
        return FactTable(self.relation, tuple(columns), self.counts, *tags, self.given)

    @staticmethod
    def of(
        relation: str,
        tuples: Sequence[tuple[Value, ...]],
        tags: Sequence[Any] | None = None,
        *,
        inputs: np.ndarray | None = None,
        groups: np.ndarray | None = None,
    ) -> "FactTable":
        """The table of tuples that hold in every sample; the other arguments are those of the fields."""
        parts = () if tags is None else (Column.of(tags),)
        return FactTable(relation, Rows.of(tuples).columns, (len(tuples),), parts, groups=groups, inputs=inputs)

    @property
    def num_facts(self) -> int:
        """The number of facts in all samples."""
        return sum(self.counts)

    @property
    def tuples(self) -> Sequence[tuple[Value, ...]]:
        """The facts as tuples."""
        return Rows([Column.of(column) for column in self.columns], self.num_facts)

    @property
    def tags(self) -> Sequence[Any]:
        """A tag for each fact, None where none is given."""
        match self.tag_parts:
            case ():
                return (None,) * self.num_facts
            case (list() | tuple() | Column() as tags,):
                return tags
            case parts:
                return list(chain.from_iterable(parts))

    @property
    def pairs(self) -> list[tuple[Any, tuple[Value, ...]]]:
        """The facts as pairs of a tag and a tuple."""
        return list(zip(self.tags, self.tuples, strict=True))

    @property
    def samples(self) -> np.ndarray:
        """The number of each fact's sample, int64 `[facts]`."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    @property
    def takes_tags(self) -> bool:
        """Whether an evaluation of a batch is given a tag for each fact."""
        return self.certain is not None and self.priors is None

    @property
    def key(self) -> tuple:
        """Everything that the grounding of a batch depends on: equal for equal facts, whatever the tags."""
        certain = None if self.certain is None else self.certain.tobytes()
        groups = None if self.groups is None else self.groups.tobytes()
        priors = None if self.priors is None else self.priors.tobytes()
        return self.relation, self.counts, self.columns, certain, groups, priors

    def take(self, index: np.ndarray) -> "FactTable":
        """The chosen facts, in this order, of a table that holds in every sample."""
        assert len(self.counts) == 1
        chosen = {
            name: None if array is None else array[index]
            for name, array in {
                "certain": self.certain,
                "groups": self.groups,
                "ids": self.ids,
                "inputs": self.inputs,
            }.items()
        }
        parts = (Column.of(self.tags).take(index),) if self.tag_parts else ()
        columns = tuple(Column.of(column).take(index) for column in self.columns)
        return replace(self, columns=columns, counts=(len(index),), tag_parts=parts, given=None, **chosen)

    def has_tag(self, is_meant: Callable[[object], bool]) -> bool:
        """Whether some tag is meant, of which the tag's type decides."""
        if not self.tag_parts:
            return self.num_facts > 0 and is_meant(None)
        if self.array_of_tags is not None:
            return is_meant(self.array_of_tags)
        tags = self.tags
        if isinstance(tags, Column):
            return any(map(is_meant, tags.kinds))
        return any(map(is_meant, {type(tag): tag for tag in tags}.values()))

    @property
    def array_of_tags(self) -> Any | None:
        """The one array `[facts]` of a framework that has all tags, if there is one."""
        match self.tag_parts:
            case (list() | tuple() | Column(),):
                return None
            case (array,):
                return array
            case _:
                return None

    @property
    def are_certain(self) -> np.ndarray:
        """True for facts without a tag, bool `[facts]`."""
        if self.array_of_tags is not None:
            return np.zeros(self.num_facts, np.bool_)
        return Column.of(self.tags).is_missing

    def with_numbers(self, is_array: Callable[[Any], bool]) -> "FactTable":
        """The same with numbers for tags that are arrays."""
        if not self.has_tag(is_array):
            return self
        return replace(self, tag_parts=(Column.of([tag.item() if is_array(tag) else tag for tag in self.tags]),))

    @property
    def holds_variables(self) -> bool:
        """Whether gradients pass through some tensor in the facts."""
        return any(any(map(is_variable, column)) for column in self.columns if _has_tensors(column))

    def with_constants(self) -> "FactTable":
        """The same with constants for tensors that are variables."""
        if not self.holds_variables:
            return self
        given = None if self.given is None else tuple(map(_constants, self.given))
        return replace(self, columns=tuple(map(_constants, self.columns)), given=given)

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def __setstate__(self, state: dict[str, Any] | list) -> None:
        if isinstance(state, list):
            # The fields of version 0.1: tuples as they were given, and those that fit the columns.
            relation, tags, given, tuples, groups, ids = state
            unfitted = FactTable.unfitted(relation, Rows.of(given), Column.of(tags), groups, ids)
            state = unfitted.fitted(Rows.of(tuples).columns).__getstate__()
        for name, value in state.items():
            object.__setattr__(self, name, value)


def _has_tensors(column: Sequence[Value]) -> bool:
    # A column whose first value is a tensor has no other values.
    is_of_objects = not isinstance(column, Column) or column.distinct is not None
    return is_of_objects and len(column) > 0 and isinstance(column[0], Tensor)


def _constants(values: Sequence[Value]) -> Column:
    return Column.of([value.content() if isinstance(value, Tensor) else value for value in values])


def independent_facts(table: FactTable) -> list[tuple[Any, tuple[Value, ...]]]:
    """The facts that are in no group, as pairs of a tag and a tuple."""
    if table.groups is None:
        return table.pairs
    return [pair for pair, group in zip(table.pairs, table.groups.tolist(), strict=True) if group < 0]


def exclusive_text(relation: ir.Relation, table: FactTable) -> str:
    """The sets of exclusive facts, as items of a program."""
    if table.groups is None:
        return ""
    sets: dict[int, list[str]] = {}
    for (tag, values), group in zip(table.pairs, table.groups.tolist(), strict=True):
        if group >= 0:
            shown = ", ".join(map(ir.print_value, values, relation.columns))
            shown = shown if len(values) == 1 else f"({shown})"
            sets.setdefault(group, []).append(f"{_print_tag(tag)}{shown}")
    return "\n".join(f"rel {relation.name} = {{{'; '.join(members)}}}" for members in sets.values())


def _print_tag(tag: Any) -> str:
    match tag:
        case None:
            return ""
        case bool():
            return "true::" if tag else "false::"
        case _:
            # Programs write exponents only behind a fraction.
            return f"{np.format_float_positional(float(tag), trim='0')}::"
