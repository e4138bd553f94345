"""First steps of torch modules; each function is called in a fresh process that has imported what it needs.

Batch 16 and k = 3, but for the planner.
"""

import warnings

import torch

import torch_bridge
from benchmarks import per_sample, tasks
from benchmarks.laps import Laps
from benchmarks.workloads import BATCH, build

SIZES = (64, 63, 62, 61, 16)
SIDE = 5

# The moves after which a goal is reached on safe cells, where few enemies are seen. Only the likeliest places of each
# thing are looked at.
_PLANNER = f"""
    type actor(x: i32, y: i32)
    type goal(x: i32, y: i32)
    type enemy(x: i32, y: i32)
    rel cell = {{{", ".join(f"({x}, {y})" for x in range(SIDE) for y in range(SIDE))}}}
    rel step = {{(0, 0, 1), (1, 0, -1), (2, 1, 0), (3, -1, 0)}}
    rel safe(x, y) = cell(x, y) and not enemy(x, y)
    rel edge(a, x, y, x + dx, y + dy) = cell(x, y) and step(a, dx, dy) and safe(x + dx, y + dy)
    rel reaches(x, y, x, y) = safe(x, y)
    rel reaches(x, y, u, v) = edge(_, x, y, i, j) and reaches(i, j, u, v)
    rel enemies(n) = n := count(x, y: enemy(x, y))
    rel is_calm() = enemies(n) and n <= 4
    rel action(a) = actor(x, y) and edge(a, x, y, i, j) and goal(u, v) and reaches(i, j, u, v) and is_calm()
"""


def _step(module: torch_bridge.Module, inputs: dict) -> None:
    found = module(**inputs)
    values = found[1] if isinstance(found, tuple) else found
    values.sum().backward()


def mapped(name: str) -> None:
    """A task with input mappings: its module, and a step."""
    laps, task = Laps(), tasks.TASKS[name]()
    inputs = task.inputs(torch.Generator().manual_seed(0), BATCH)
    with laps.lap("build"):
        module = build(task)
    with laps.lap("step"):
        _step(module, inputs)
    laps.report()


def of_samples(name: str) -> None:
    """A task with facts per sample: its module, and a step."""
    laps = Laps()
    with laps.lap("build"):
        module, shape, facts = per_sample.TASKS[name]()
    inputs = facts(torch.randn(BATCH, *shape, generator=torch.Generator().manual_seed(0)).requires_grad_().softmax(-1))
    with laps.lap("step"):
        _step(module, inputs)
    laps.report()


def _planner() -> torch_bridge.Module:
    cells = [(x, y) for x in range(SIDE) for y in range(SIDE)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch_bridge.Module(
            program=_PLANNER,
            provenance="difftopkproofs",
            k=1,
            input_mappings=dict.fromkeys(("actor", "goal", "enemy"), cells),
            retain_topk={"actor": 3, "goal": 3, "enemy": 7},
            output_mapping=("action", range(4)),
        )


def _seen() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    scores = {name: torch.randn(BATCH, SIDE * SIDE, generator=generator) for name in ("actor", "goal", "enemy")}
    return {
        name: (score.sigmoid() if name == "enemy" else score.softmax(1)).requires_grad_()
        for name, score in scores.items()
    }


def planner() -> None:
    """The planner: its module, and a step."""
    laps, inputs = Laps(), _seen()
    with laps.lap("build"):
        module = _planner()
    with laps.lap("step"):
        _step(module, inputs)
    laps.report()


def explanation() -> None:
    """The proofs of one tuple of the planner, whose module has not been called."""
    laps, module = Laps(), _planner()
    inputs = {name: values.detach().numpy() for name, values in _seen().items()}
    with laps.lap("explanation"):
        assert str(module.reasoner.explain("action", (0,), inputs))
    laps.report()


def batch_sizes(name: str) -> None:
    """Steps of a task with batches of several sizes, one after the other."""
    laps, task = Laps(), tasks.TASKS[name]()
    generator = torch.Generator().manual_seed(0)
    module = build(task)
    for size in SIZES:
        inputs = task.inputs(generator, size)
        with laps.lap(f"{size}"):
            _step(module, inputs)
    laps.report()
