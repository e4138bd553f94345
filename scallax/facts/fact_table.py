"""The facts of one relation, in columns: what every way of giving facts makes, and everything that reads them takes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np

from scallax.language.tensors import Tensor, is_variable
from scallax.language.values import Value


@dataclass(frozen=True, slots=True)
class FactTable:
    """The facts of one relation, in their order: for all samples of a batch, or one table that holds in each.

    `columns` are the values that fit the relation's columns; there are none if there are no facts or no columns.
    `counts` says how many facts each sample has; of a table that holds in every sample it is `(facts,)`.

    The tags are one of these; without any the facts are certain, or their tags are given apart:

    - `tag_parts`: sequences of scalars, or arrays, whose concatenation has a tag for each fact, None for a certain one;
    - `inputs` int64 `[facts]`: the positions of the tags in the flattened inputs of each evaluation;
    - `priors` float64 `[facts]`: the tags as the provenance reads them, constants of the batch.

    `certain` bool `[facts]` says which facts of a batch hold whatever their tag; None: the relation takes no tags.
    `groups` int64 `[facts]` numbers the exclusive groups, -1 for none, apart from those of other tables; None: there
    are none. `ids` int64 `[facts]` are the numbers by which proofs name the facts, 0 for none; None: none has one.
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
        columns = tuple(zip(*tuples, strict=True))
        parts = () if tags is None else (tags,)
        return FactTable(relation, columns, (len(tuples),), parts, groups=groups, inputs=inputs)

    @property
    def num_facts(self) -> int:
        """The number of facts in all samples."""
        return sum(self.counts)

    @property
    def tuples(self) -> list[tuple[Value, ...]]:
        """The facts as tuples."""
        return list(zip(*self.columns, strict=True)) if self.columns else [()] * self.num_facts

    @property
    def tags(self) -> list[Any]:
        """A tag for each fact, None where none is given."""
        return list(chain.from_iterable(self.tag_parts)) if self.tag_parts else [None] * self.num_facts

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

    def take(self, rows: Sequence[int]) -> "FactTable":
        """The chosen facts, in this order, of a table that holds in every sample."""
        assert len(self.counts) == 1
        index = np.array(rows, np.int64)
        chosen = {
            name: None if array is None else array[index]
            for name, array in {"certain": self.certain, "groups": self.groups, "ids": self.ids}.items()
        }
        parts = ()
        if self.tag_parts:
            tags = self.tags
            parts = (tuple(tags[row] for row in rows),)
        columns = tuple(tuple(column[row] for row in rows) for column in self.columns)
        return replace(self, columns=columns, counts=(len(rows),), tag_parts=parts, **chosen)

    def with_constants(self) -> "FactTable":
        """The same with constants for tensors that are variables."""
        columns = tuple(
            tuple(value.content() if isinstance(value, Tensor) else value for value in column)
            if any(map(is_variable, column))
            else column
            for column in self.columns
        )
        return replace(self, columns=columns)
