"""Stories of kinship with trainable compositions.

Links between people are facts of each sample, 8,000 compositions a mapped input, the answer the relation of two people.
"""

import json
import time
import warnings
from pathlib import Path

import torch

import torch_bridge

BATCH = 8
K = 3
_STEPS = 3

_PROGRAM = """
type edge(a: i32, b: i32, r: i32)
type question(a: i32, b: i32)
type composition(r: i32, s: i32, t: i32)
rel kin(a, b, r) = edge(a, b, r)
rel kin(a, c, t) = kin(a, b, r), kin(b, c, s), composition(r, s, t)
rel answer(r) = question(a, b), kin(a, b, r)
"""


def measure(file: Path, links: int) -> list[tuple[float, float]]:
    """Processor seconds forward and backward of steps with other stories each, after building the module."""
    stories = json.loads(file.read_text())
    relations = len(stories["relations"])
    chains = [story for story in stories[f"1.{links}_test"] if len(story[0]) == links]
    places = [(r, s, t) for r in range(relations) for s in range(relations) for t in range(relations)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch_bridge.Module(
            _PROGRAM,
            provenance="difftopkproofs",
            k=K,
            non_probabilistic=["edge", "question"],
            input_mappings={"composition": places},
            output_relation="answer",
            output_mapping=list(range(relations)),
        )
    scores = torch.randn(relations**3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    found = []
    for step in range(_STEPS):
        batch = chains[step * BATCH : (step + 1) * BATCH]
        composition = torch.softmax(scores.reshape(relations, relations, relations), 2).reshape(1, -1)
        start = time.process_time()
        values = module(
            composition=composition.expand(BATCH, -1),
            edge=[[tuple(edge) for edge in story[0]] for story in batch],
            question=[[tuple(story[1])] for story in batch],
        )
        middle = time.process_time()
        values[:, 0].sum().backward()
        found.append((middle - start, time.process_time() - middle))
    return found
