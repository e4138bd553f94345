"""The facts that the entries of a tensor stand for, one by one: what a module does with a whole batch at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from scallax.errors import InputError
from scallax.language.records import record
from scallax.language.values import Value


@record
class Retention:
    """The rule for a sample's entries: those of at least `threshold`, and the `k` largest (of each slice of `dim`).

    `is_drawn`: not the largest, but those met in k draws by probability, with replacement.
    """

    threshold: float | None
    k: int | None
    dim: int | None
    is_drawn: bool = False


class GroupCounter(Protocol):
    """Numbers exclusive groups."""

    def get_and_increment(self) -> int:
        """The next number."""
        ...


@dataclass(slots=True)
class Counter:
    """A `GroupCounter` from 0."""

    next: int = 0

    def get_and_increment(self) -> int:
        self.next += 1
        return self.next - 1


def split_samples(tensor: Any, shape: tuple[int, ...], batched: bool) -> tuple[list[Any], bool]:
    """The samples of a tensor of one, or of a batch, and whether a list of samples is the result.

    InputError for a tensor of another shape.
    """
    given = tuple(getattr(tensor, "shape", ()))
    if given == shape:
        return [tensor], batched
    if given[1:] == shape and given:
        return list(tensor), True
    wanted = ", ".join(map(str, shape))
    raise InputError(f"the tensor has shape {given}; the mapping asks for ({wanted}) or (batch, {wanted})")


def sample_facts(
    tensor: Any,
    tuples: Sequence[tuple[Value, ...]],
    retention: Retention | None,
    groups: Sequence[int | None] | None,
    random: "np.random.Generator",
) -> list[tuple[Any, tuple[Value, ...]]]:
    """Pairs of an entry and its tuple, of those that are retained, in row-major order.

    `groups`: the number of each entry's exclusive group, None for none; then a tag is a pair of an entry and a group.
    Entries are scalars of the tensor's framework.
    """
    shape = tuple(tensor.shape)
    kept = np.ones(shape, np.bool_)
    if retention is not None:
        # Gradients pass through the entries; which of them exist depends on numbers alone.
        kept = retained_entries(retention, np.array(tensor.tolist(), np.float64), random)
    facts = []
    for place, index in enumerate(np.ndindex(shape)):
        if kept[index]:
            entry = tensor[index] if shape else tensor
            facts.append((entry if groups is None else (entry, groups[place]), tuples[place]))
    return facts


def retained_entries(retention: Retention, values: np.ndarray, random: "np.random.Generator") -> np.ndarray:
    """A mask, of the sample's shape, of the entries that exist; among equal ones the first are kept."""
    kept = np.ones(values.shape, np.bool_)
    if retention.threshold is not None:
        kept = values >= retention.threshold
    if retention.k is None:
        return kept
    slices = values.reshape(1, -1)
    if retention.dim is not None:
        slices = np.moveaxis(values, retention.dim, -1).reshape(-1, values.shape[retention.dim])
    chosen = np.zeros(slices.shape, np.bool_)
    for row, weights in enumerate(slices):
        if retention.is_drawn:
            positive = np.maximum(weights, 0)
            if positive.sum() > 0:
                chosen[row, random.choice(len(weights), retention.k, p=positive / positive.sum())] = True
        else:
            chosen[row, np.argsort(-weights, kind="stable")[: retention.k]] = True
    if retention.dim is None:
        return kept & chosen.reshape(values.shape)
    moved = [size for axis, size in enumerate(values.shape) if axis != retention.dim]
    return kept & np.moveaxis(chosen.reshape(*moved, values.shape[retention.dim]), -1, retention.dim)


def number_groups(groups: np.ndarray | None, count: int, counter: GroupCounter) -> list[int | None]:
    """The number of each entry's group from a counter, None for an entry in no group."""
    if groups is None:
        return [None] * count
    numbers = {group: counter.get_and_increment() for group in dict.fromkeys(groups.tolist())}
    return [numbers[group] for group in groups.tolist()]
