"""Small torch models with a reasoner in them."""

from collections.abc import Callable

import torch
from torch import nn
from torch.utils.data import Dataset

import torch_bridge

SHIFTED_SUM = """
rel shift = {0.9::(0), 0.2::(1)}
rel sum_2(a + b + s) = digit_a(a) and digit_b(b) and shift(s)
"""


def shifted_sum(**options) -> torch_bridge.Module:
    """The probabilities of the sums of two digits below 3 and a shift, whose probabilities are parameters."""
    defaults = {
        "program": SHIFTED_SUM,
        "provenance": "diffaddmultprob",
        "trainable": ["shift"],
        "input_mappings": {"digit_a": range(3), "digit_b": range(3)},
        "output_mapping": ("sum_2", range(6)),
    }
    return torch_bridge.Module(**{**defaults, **options})


class Adder(nn.Module):
    """Four features to the probabilities of the sums of two digits that are read from them."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Linear(4, 6)
        self.reason = shifted_sum()

    def forward(self, features):
        digits = self.encoder(features).reshape(-1, 2, 3).softmax(-1)
        return self.reason(digit_a=digits[:, 0], digit_b=digits[:, 1])


class Sums(Dataset):
    """Probabilities of the sums 0 and 1 of two digits below 10, all of probability 0.1."""

    def __init__(self):
        self.reason = shifted_sum(
            program="rel sum_2(a + b) = digit_a(a) and digit_b(b)",
            trainable=None,
            input_mappings={"digit_a": range(10), "digit_b": range(10)},
            output_mapping=("sum_2", range(2)),
        )

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> torch.Tensor:
        digits = torch.full((1, 10), 0.1)
        return self.reason(digit_a=digits, digit_b=digits)[0, index]


def loss_of(model: Callable[[torch.Tensor], torch.Tensor], features: torch.Tensor) -> torch.Tensor:
    """The mean over samples, so that the mean over equal parts is that over the whole."""
    return -torch.log(model(features)[:, 2].float() + 1e-6).mean()


def features(batch: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, 4, generator=torch.Generator().manual_seed(seed))


def descend(model: nn.Module, batch: torch.Tensor, steps: int = 2) -> dict[str, torch.Tensor]:
    """The parameters after some steps of gradient descent."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(model, batch).backward()
        optimizer.step()
    return {name.removeprefix("module."): value.detach() for name, value in model.named_parameters()}
