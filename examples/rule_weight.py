"""Recovers the probabilities written in a program from data: how contagious flu is, and who has it to begin with."""

import torch
from rich import print

import scallax
import torch_bridge

PROGRAM = """
rel contact = {(0, 1), (1, 2), (2, 3), (0, 4), (4, 3)}
rel seed = {0.5::0; 0.5::2}
rel ill(x) = seed(x)
rel 0.5::ill(y) = ill(x), contact(x, y)
"""
TRUTH = PROGRAM.replace("0.5::0; 0.5::2", "0.7::0; 0.3::2").replace("0.5::ill", "0.35::ill")
OPTIONS = {"provenance": "difftopkproofs", "k": 8, "output_mapping": ("ill", range(5))}


def main() -> None:
    """Draws outcomes for many outbreaks from the true program, and fits the program with other numbers to them."""
    torch.manual_seed(0)
    with torch.no_grad():
        chances = torch_bridge.Module(TRUTH, **OPTIONS)()[0]
    outcomes = torch.bernoulli(chances.expand(20_000, -1))
    module = torch_bridge.Module(PROGRAM, trainable=["seed", "ill"], **OPTIONS)
    optimizer = torch.optim.Adam(module.parameters(), lr=0.05)
    for step in range(301):
        optimizer.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy(module()[0], outcomes.mean(0))
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            found = {name: [round(p, 3) for p in values.flatten().tolist()] for name, values in _found(module).items()}
            print(f"step {step:3}: loss {loss.item():.4f}, probabilities {found}")
    learned = _found(module)["ill.rules.0"].item()
    print(f"the weight of the rule is {learned:.3f}; the data were drawn with 0.35")
    assert abs(learned - 0.35) < 0.02, "the weight was not recovered"


def _found(module: torch_bridge.Module) -> dict[str, torch.Tensor]:
    return {name: values.detach() for name, values in module.probabilities().items()}


if __name__ == "__main__":
    scallax.cache_compiled()  # the next run finds what this one compiles
    main()
