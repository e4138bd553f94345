"""A process that meets new programs, sizes and batches all the time: `python -m tests.soak STEPS PARTS`.

It prints the mebibytes that are resident after each part of its steps. What is freed is given back to the system first,
so that the figures are of what is kept.
"""

import ctypes
import gc
import random
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from scallax import Context, Reasoner, limit_compiled
from torch_bridge import Module

PROVENANCES = ("unit", "minmaxprob", "addmultprob", "topkproofs", "exact")
# One of so many steps compiles.
_STEPS_OF_COMPILATION = 1_000
# Compiled functions that are kept though nothing holds them: so few that they are soon there.
_COMPILED = 8


def resident() -> float:
    """The mebibytes of the process that are in memory."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def program(draw: random.Random) -> str:
    """Paths of some length, with a constant that nearly no other program has."""
    steps = draw.randrange(1, 5)
    rules = [f"rel p{n}(x, y) = p{n - 1}(x, z), edge(z, y), x != {draw.randrange(10**6)}" for n in range(1, steps)]
    return "\n".join(
        ["type edge(a: i32, b: i32)", "rel p0(x, y) = edge(x, y)", *rules, f"rel out(x, y) = p{steps - 1}(x, y)"]
    )


def edges(draw: random.Random, most: int = 12) -> list[tuple[int, int]]:
    """Edges of a random graph; its nodes are seldom those of another."""
    first, count = draw.randrange(10**6), draw.randrange(2, most)
    return list({(first + draw.randrange(6), first + draw.randrange(6)) for _ in range(count)})


def new_context(draw: random.Random) -> None:
    """A context of a new program, run before and after facts are added."""
    provenance = draw.choice(PROVENANCES)
    context = Context(provenance, k=draw.randrange(1, 5))
    context.add_program(program(draw))
    for given in (edges(draw), edges(draw)):
        context.add_facts("edge", given if provenance == "unit" else [(draw.random(), edge) for edge in given])
        context.run()
        list(context.relation("out"))


def new_mapping(draw: random.Random) -> None:
    """A reasoner of a new program, called with batches of two sizes."""
    mapping = edges(draw)
    options: dict[str, Any] = {"input_mappings": {"edge": mapping}, "output_relation": "out", "executor": "numpy"}
    reasoner = Reasoner(program(draw), provenance=draw.choice(PROVENANCES[1:]), **options)
    for size in (draw.randrange(1, 9), draw.randrange(1, 9)):
        reasoner(edge=np.full((size, len(mapping)), 0.5, np.float32))


class Batches:
    """Facts per sample, new ones in each call; from time to time another reasoner takes them."""

    def __init__(self) -> None:
        self._reasoner: Reasoner | None = None

    def __call__(self, draw: random.Random) -> None:
        """A call."""
        if self._reasoner is None or draw.random() < 0.01:
            options: dict[str, Any] = {"output_relation": "out", "executor": "numpy"}
            self._reasoner = Reasoner(program(draw), provenance=draw.choice(PROVENANCES[1:]), **options)
        samples = [[(draw.random(), edge) for edge in edges(draw)] for _ in range(draw.randrange(1, 5))]
        self._reasoner(edge=samples)


def compile_module(draw: random.Random) -> None:
    """A module of torch with mapped inputs and a gradient, which compiles."""
    mapping = edges(draw, 60)
    options: dict[str, Any] = {
        "input_mappings": {"edge": mapping},
        "output_relation": "out",
        "provenance": "diffminmaxprob",
    }
    module = Module(program(draw), **options)
    module(edge=torch.full((2, len(mapping)), 0.5, requires_grad=True))[1].sum().backward()


def soak(steps: int, parts: int) -> None:
    """Prints the memory after each part of the steps."""
    limit_compiled(functions=_COMPILED)
    draw, kinds = random.Random(0), (new_context, new_mapping, Batches())
    for number in range(steps):
        kind: Callable[[random.Random], None] = kinds[number % len(kinds)]
        if number % _STEPS_OF_COMPILATION == 0:
            kind = compile_module
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            kind(draw)
        if (number + 1) % (steps // parts) == 0:
            print(f"{resident():.1f}", flush=True)


if __name__ == "__main__":
    soak(*map(int, sys.argv[1:]))
