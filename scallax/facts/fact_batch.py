"""Facts of one relation that were given at once, and their text as items of a program."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scallax.facts.mappings import Tuples
from scallax.facts.specification import Tag
from scallax.language import ir
from scallax.language.tensors import Tensor, is_variable
from scallax.language.values import Value


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

    def has_tag(self, is_meant: Callable[[object], bool]) -> bool:
        """Whether some tag is meant, of which the tag's type decides."""
        return any(map(is_meant, {type(tag): tag for tag in self.tags}.values()))

    def with_numbers(self, is_array: Callable[[Any], bool]) -> "FactBatch":
        """The batch with numbers for tags that are arrays."""
        if not self.has_tag(is_array):
            return self
        tags: Any = self.tags
        return replace(self, tags=tuple(tag.item() if is_array(tag) else tag for tag in tags))

    def with_constants(self) -> "FactBatch":
        """The batch with constants for tensors that gradients pass through."""
        if not self.holds_variables:
            return self
        return replace(self, values=_constant(self.values), tuples=_constant(self.tuples))

    @property
    def holds_variables(self) -> bool:
        """Whether gradients pass through some tensor in the tuples."""
        return any(any(map(is_variable, column)) for column in _tensor_columns(self.tuples))


def _tensor_columns(tuples: Tuples) -> Iterator[tuple[Value, ...]]:
    """The columns whose first value is a tensor: all values are."""
    places = [place for place, value in enumerate(tuples[0]) if isinstance(value, Tensor)] if tuples else []
    return (tuple(values[place] for values in tuples) for place in places)


def _constant(tuples: Tuples) -> Tuples:
    return tuple(
        tuple(value.content() if isinstance(value, Tensor) else value for value in values) for values in tuples
    )


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
