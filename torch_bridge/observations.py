"""Evidence as tensors: what a call observed, and the logarithm of its probability."""

from collections.abc import Sequence
from typing import Any, final

import torch

from scallax.evaluation import ObservedArrays


@final
class _ObservedTensors(ObservedArrays):
    """What a call observed as tensors on the device of its other inputs."""

    def array(self, value: Any, like: Sequence[Any]) -> Any:
        if isinstance(value, torch.Tensor):
            return value
        return torch.from_numpy(super().array(value, like)).to(_device(like))

    def unseen(self, shape: tuple[int, ...], like: Sequence[Any]) -> torch.Tensor:
        return torch.full(shape, torch.nan, device=_device(like))


OBSERVED = _ObservedTensors()


def _device(like: Sequence[Any]) -> torch.device:
    found = (value.device for value in like if isinstance(value, torch.Tensor))
    return next(found, torch.device("cpu"))


def log_probability(probabilities: torch.Tensor) -> torch.Tensor:
    """The logarithms of probabilities of evidence; minus infinity, with the gradient 0, where one is 0."""
    none = probabilities < torch.finfo(torch.float32).tiny
    logarithm = torch.where(none, 1.0, probabilities).log()
    return torch.where(none, -torch.inf, logarithm)
