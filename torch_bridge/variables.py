"""Torch tensors as values in facts: those that require a gradient are variables."""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch

from torch_bridge.dlpack import to_numpy


class TorchTensors:
    """Torch as the framework of tensors in facts."""

    def is_variable(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.requires_grad

    def key(self, value: torch.Tensor) -> Hashable:
        """A key that is equal for views of the same elements of one tensor, so that they are one value."""
        base = value._base
        # A tensor with a gradient or a hook of its own is not replaced by its base.
        if base is None or not base.requires_grad or value.retains_grad or value._backward_hooks:
            return id(value)
        return id(base), value.storage_offset(), value.shape, value.stride(), value.dtype

    def host(self, value: Any) -> np.ndarray:
        if not isinstance(value, torch.Tensor):
            return np.asarray(value)
        # NumPy has no bfloat16.
        return to_numpy(value.float() if value.dtype is torch.bfloat16 else value)

    def combine(self, op: str, left: Any, right: Any) -> torch.Tensor:
        device = next(side.device for side in (left, right) if isinstance(side, torch.Tensor))
        first, second = (side if isinstance(side, float) else _on(device, side) for side in (left, right))
        return _OPERATIONS[op](first, second)

    def compare(self, pairs: Sequence[tuple[Any, Any]], negated: np.ndarray) -> torch.Tensor:
        device = next(side.device for pair in pairs for side in pair if isinstance(side, torch.Tensor))
        places: dict[tuple[int, ...], list[int]] = {}
        for place, (left, _) in enumerate(pairs):
            places.setdefault(tuple(left.shape), []).append(place)
        parts = []
        for chosen in places.values():
            left, right = (_stack([pairs[place][side] for place in chosen], device) for side in (0, 1))
            parts.append(_closeness(left, right))
        order = np.argsort(np.concatenate([np.array(chosen) for chosen in places.values()]))
        values = torch.cat(parts)[torch.from_numpy(order).to(device)]
        if negated.any():
            values = torch.where(torch.from_numpy(negated).to(device), 1 - values, values)
        is_double = any(side.dtype in (torch.float64, np.float64) for pair in pairs for side in pair)
        return values if is_double else values.float()


_OPERATIONS = {"+": torch.add, "-": torch.sub, "*": torch.mul, "dot": torch.dot}


def _on(device: torch.device, value: Any) -> torch.Tensor:
    # A copy, because the values of a program's tuples are read-only.
    return value if isinstance(value, torch.Tensor) else torch.from_numpy(value.copy()).to(device)


def _stack(tensors: Sequence[Any], device: torch.device) -> torch.Tensor:
    """The distinct tensors in float64 as rows, repeated for each place where they stand."""
    numbers: dict[int, int] = {}
    places = [numbers.setdefault(id(tensor), len(numbers)) for tensor in tensors]
    distinct = list({id(tensor): tensor for tensor in tensors}.values())
    rows = torch.stack([_on(device, tensor).reshape(-1).double() for tensor in distinct])
    return rows if len(rows) == len(places) else rows[torch.tensor(places, device=device)]


def _closeness(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """`(cos + 1) / 2` of pairs of rows; 1/2, without a gradient, if one of them is 0."""
    left, right = _scaled(left), _scaled(right)
    squares = (left * left).sum(1) * (right * right).sum(1)
    is_zero = squares == 0
    # `where` differentiates both branches, so the unused one must be finite as well.
    cosine = (left * right).sum(1) / torch.where(is_zero, 1.0, squares).sqrt()
    return (torch.where(is_zero, 0.0, cosine) + 1) / 2


def _scaled(rows: torch.Tensor) -> torch.Tensor:
    """The rows, scaled to a largest element of 1: this changes no angle and no derivative of one."""
    if not rows.shape[1]:
        return rows
    largest = rows.detach().abs().amax(1, keepdim=True)
    return rows / torch.where(largest == 0, 1.0, largest)
