"""The tasks of `tasks.py` through `torch_bridge.Module` beside the reference's recorded times.

`python -m benchmarks.workloads` prints a line for each task with input mappings (`benchmarks.per_sample` has those
with facts per sample): milliseconds of a step forward and of one forward and backward (medians, and the fastest), of
one whose module does nothing, which is what torch takes, the reference's step, its goal, and how many times faster.
With `--sums` it also says by how much the sum of the first batch's output differs from the recorded one, where a proof
that contains another takes a place, as in the reference.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import torch

import torch_bridge
from benchmarks.tasks import TASKS, Task

REFERENCE = Path(__file__).with_name("reference.json")
BATCH = 16
K = 3

# The goal is this part of the reference's step; no less than the milliseconds beside it.
_ACYCLIC_GOAL = 50, 0.5
_CYCLIC_GOAL = 10, 0.0


def reference_rows() -> dict[str, dict]:
    """The reference's figures of each task at batch 16 and k = 3."""
    rows = json.loads(REFERENCE.read_text())["rows"]
    return {row["task"]: row for row in rows if (row["batch"], row["k"]) == (BATCH, K)}


def build(task: Task, **options) -> torch_bridge.Module:
    """The module of a task."""
    with warnings.catch_warnings():
        # Outputs that no rule can derive: sums of four digits are listed from 0.
        warnings.simplefilter("ignore")
        return torch_bridge.Module(**task.module, provenance="difftopkproofs", k=K, **options)


def first_sum(name: str) -> float:
    """The sum of the output for the inputs that the reference's sum was recorded for, with proofs as it keeps them."""
    task = TASKS[name]()
    inputs = task.inputs(torch.Generator().manual_seed(0), BATCH)
    with torch.no_grad():
        return float(build(task, absorb=False)(**inputs).sum())


class _Nothing(torch.autograd.Function):
    """Zeros `[batch, outputs]` that depend on the inputs, with gradients of 0."""

    @staticmethod
    def forward(ctx, num_outputs: int, *inputs: torch.Tensor):
        ctx.save_for_backward(*inputs)
        return torch.zeros(len(inputs[0]), num_outputs)

    @staticmethod
    def backward(ctx, *cotangents):
        return None, *map(torch.zeros_like, ctx.saved_tensors)


def measure(
    task: Task, module: Callable[..., torch.Tensor], repeats: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Milliseconds of each step forward, and forward and backward, after the first."""
    generator = torch.Generator().manual_seed(0)
    forward, both = [], []
    start = time.perf_counter()
    while len(both) <= repeats and (len(both) < 3 or time.perf_counter() - start < seconds):
        inputs = task.inputs(generator, BATCH)
        begun = time.perf_counter()
        values = module(**inputs)
        forward.append(1e3 * (time.perf_counter() - begun))
        (values * torch.linspace(0.5, 1.5, values.shape[-1])).sum().backward()
        both.append(1e3 * (time.perf_counter() - begun))
    return forward[1:], both[1:]


def _do_nothing(num_outputs: int, **inputs: torch.Tensor) -> torch.Tensor:
    values = _Nothing.apply(num_outputs, *inputs.values())
    assert isinstance(values, torch.Tensor)
    return values


def goal(name: str, reference_step: float) -> float:
    """The milliseconds that a step may take."""
    part, least = _CYCLIC_GOAL if name.startswith(("path", "maze")) else _ACYCLIC_GOAL
    return max(reference_step / part, least)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--repeats", default=100, type=int)
    parser.add_argument("--seconds", default=5.0, type=float, help="limit for the steps of each task")
    parser.add_argument("--sums", action="store_true", help="compare the sums of outputs")
    parser.add_argument("--synchronous", action="store_true", help="JAX computes in the calling thread, as on request")
    arguments = parser.parse_args()
    jax.config.update("jax_cpu_enable_async_dispatch", not arguments.synchronous)
    print(f"{'task':10}{'fwd ms':>9}{'both ms':>9}{'least':>9}{'torch':>9}{'reference':>11}{'goal':>8}{'times':>7}")
    for name in arguments.tasks:
        step = reference_rows()[name]["step_ms"]
        task = TASKS[name]()
        forward, both = measure(task, build(task), arguments.repeats, arguments.seconds)
        idle = partial(_do_nothing, len(task.module["output_mapping"]))
        middle, alone = statistics.median(both), statistics.median(measure(task, idle, arguments.repeats, 1.0)[1])
        row = f"{name:10}{statistics.median(forward):9.2f}{middle:9.2f}{min(both):9.2f}{alone:9.2f}{step:11.2f}"
        row += f"{goal(name, step):8.2f}{step / middle:7.0f}"
        if arguments.sums:
            row += f"  sum differs by {first_sum(name) - reference_rows()[name]['output_sum']:.4f}"
        print(row, flush=True)


if __name__ == "__main__":
    main()
