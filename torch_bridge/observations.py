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
        return torch.as_tensor(super().array(value, like), **_form(like))

    def unseen(self, shape: tuple[int, ...], like: Sequence[Any]) -> torch.Tensor:
        return torch.full(shape, torch.nan, **_form(like))


OBSERVED = _ObservedTensors()


def _form(like: Sequence[Any]) -> dict[str, Any]:
    """The dtype and the device of the first tensor among the other inputs."""
    tensors = [value for value in like if isinstance(value, torch.Tensor) and value.is_floating_point()]
    return {"dtype": tensors[0].dtype, "device": tensors[0].device} if tensors else {"dtype": torch.float32}


def log_probability(probabilities: torch.Tensor) -> torch.Tensor:
    """The logarithms of probabilities of evidence; minus infinity, with the gradient 0, where one is 0."""
    none = probabilities < torch.finfo(torch.float32).tiny
    logarithm = torch.where(none, 1.0, probabilities).log()
    return torch.where(none, -torch.inf, logarithm)
