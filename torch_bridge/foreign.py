"""Functions of Python that programs use, with torch tensors for values of type Tensor."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch

from scallax.foreign import ForeignAggregate, ForeignFunction, ForeignItem, ForeignPredicate


def as_torch(items: Sequence[ForeignItem]) -> list[ForeignItem]:
    """The items, called with tensors of torch on the CPU where they would be called with arrays of NumPy.

    What is no foreign item stays as it is, and is refused where the items are used.
    """
    if not isinstance(items, Iterable):
        return items
    return [
        replace(item, function=partial(_call, item.function))
        if isinstance(item, ForeignFunction | ForeignPredicate | ForeignAggregate)
        else item
        for item in items
    ]


def _call(function: Callable, *arguments, **options):
    return function(*map(_to_torch, arguments), **options)


def _to_torch(value: object) -> object:
    match value:
        case np.ndarray():
            # A copy: the values of a program's tuples cannot be written to.
            return torch.from_numpy(value.copy())
        case list() | tuple():
            return type(value)(map(_to_torch, value))
        case _:
            return value
