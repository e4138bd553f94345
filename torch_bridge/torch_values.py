"""Foreign items with torch tensors as values of type Tensor."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from scallax.language import ForeignAggregate, ForeignFunction, ForeignItem, ForeignPredicate


def as_torch(items: Sequence[ForeignItem]) -> list[ForeignItem]:
    """The items, called with torch tensors on the CPU in the place of NumPy arrays.

    Predicates may yield tags that are scalar tensors without a gradient. An object that is no foreign item stays as it
    is, and is refused where the items are used.
    """
    if not isinstance(items, Iterable):
        return items
    return list(map(_adapted, items))


def _adapted(item: ForeignItem) -> ForeignItem:
    match item:
        case ForeignPredicate():
            read = _read_facts if item.batches is None else _read_batch
            return replace(item, function=partial(_call_predicate, item.function, read))
        case ForeignFunction() | ForeignAggregate():
            return replace(item, function=partial(_call, item.function))
        case _:
            return item


def _call_predicate(function: Callable, read: Callable[[object], object], *arguments):
    return read(_call(function, *arguments))


def _read_batch(returned: object) -> object:
    if isinstance(returned, str) or not isinstance(returned, Iterable):
        return returned
    return map(_read_facts, returned)


def _read_facts(returned: object) -> object:
    if isinstance(returned, str) or not isinstance(returned, Iterable):
        return returned
    return map(_read_fact, returned)


def _read_fact(fact: object) -> object:
    match fact:
        case (torch.Tensor() as tag, tuple() as values):
            return _number(tag), values
        case ((torch.Tensor() as tag, group), tuple() as values):
            return (_number(tag), group), values
        case _:
            return fact


def _number(tag: torch.Tensor) -> object:
    """The number in a scalar; a tensor with a gradient stays as it is, and is refused later."""
    return tag if tag.requires_grad or tag.ndim else tag.item()


def _call(function: Callable, *arguments, **options):
    return function(*map(_to_torch, arguments), **options)


def _to_torch(value: object) -> object:
    match value:
        case np.ndarray():
            # A copy, because the values of a program's tuples are read-only.
            return torch.from_numpy(value.copy())
        case list() | tuple():
            return type(value)(map(_to_torch, value))
        case _:
            return value
