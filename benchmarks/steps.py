"""Milliseconds of a training step's symbolic layer through `torch_bridge.Module`: forward, and forward with backward.

`python -m benchmarks.steps` prints a line for each task, provenance and batch size: medians, with the compilations of
the row and the seconds they took. Compilations are shared by rows whose programs have one size class. A row whose
first step takes longer than its limit (`--seconds`) is repeated no more.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import jax
import torch

import torch_bridge

DIGITS = {"digit_a": range(10), "digit_b": range(10), "digit_c": range(10)}
SIDE = 6


@dataclass(frozen=True)
class Task:
    """Arguments of a module, and whether the values of each input are a distribution."""

    module: dict
    normalised: bool = True


def _digits(count: int) -> dict:
    return dict(list(DIGITS.items())[:count])


def _grid() -> Task:
    """Cells of a grid that are reached from its first, over edges to the right and downwards that may be missing."""
    cells = [(row, column) for row in range(SIDE) for column in range(SIDE)]
    edges = [(SIDE * r + c, SIDE * r + c + 1) for r, c in cells if c + 1 < SIDE]
    edges += [(SIDE * r + c, SIDE * (r + 1) + c) for r, c in cells if r + 1 < SIDE]
    program = "rel reached(0)  rel reached(y) = reached(x), edge(x, y)"
    outputs = ("reached", range(1, SIDE * SIDE))
    return Task({"program": program, "input_mappings": {"edge": edges}, "output_mapping": outputs}, normalised=False)


TASKS = {
    "sum-2": Task(
        {
            "program": "rel sum_2(a + b) = digit_a(a), digit_b(b)",
            "input_mappings": _digits(2),
            "output_mapping": ("sum_2", range(19)),
        }
    ),
    "sum-3": Task(
        {
            "program": "rel sum_3(a + b + c) = digit_a(a), digit_b(b), digit_c(c)",
            "input_mappings": _digits(3),
            "output_mapping": ("sum_3", range(28)),
        }
    ),
    "less-than": Task(
        {
            "program": "rel less(a < b) = digit_a(a), digit_b(b)",
            "input_mappings": _digits(2),
            "output_mapping": ("less", [True, False]),
        }
    ),
    "grid-6x6": _grid(),
}
PROVENANCES = ("diffminmaxprob", "diffaddmultprob", *(f"difftopkproofs:{k}" for k in (1, 3, 5, 10)))
BATCHES = (16, 64, 1024)


@dataclass
class Compilations:
    """The compilations of a block."""

    seconds: list[float] = field(default_factory=list)


@contextmanager
def _counted() -> Iterator[Compilations]:
    found = Compilations()

    def listen(event: str, duration_secs: float, **kwargs) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            found.seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def _inputs(task: Task, module: torch_bridge.Module, batch: int, generator: torch.Generator) -> dict[str, torch.Tensor]:
    inputs = {}
    for relation, mapping in module.specification.input_mappings:
        values = torch.rand(batch, *mapping.shape, generator=generator)
        inputs[relation] = (values / values.sum(1, keepdim=True) if task.normalised else values).requires_grad_()
    return inputs


def _median(step: Callable[[], object], repeats: int, seconds: float) -> float:
    """Milliseconds of a step, the median of as many as fit the limit, three at least."""
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < repeats and (len(times) < 3 or time.perf_counter() - start < seconds):
        begun = time.perf_counter()
        step()
        times.append(time.perf_counter() - begun)
        if len(times) == 1 and times[0] > seconds:
            break
    return 1e3 * statistics.median(times)


def measure(task: Task, provenance: str, batch: int, repeats: int, seconds: float) -> str:
    """The figures of one row."""
    name, _, k = provenance.partition(":")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = torch_bridge.Module(**task.module, provenance=name, k=int(k or 3))
    inputs = _inputs(task, module, batch, torch.Generator().manual_seed(0))
    weights = torch.linspace(
        0.5,
        1.5,
        module.reasoner.compiled_program.outputs[0].start + len(module.reasoner.compiled_program.outputs[0].tuples),
    )

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return module(**inputs)

    def both() -> None:
        (module(**inputs) * weights).sum().backward()

    with _counted() as compiled:
        forward()
        both()
    figures = _median(forward, repeats, seconds), _median(both, repeats, seconds)
    return "".join(f"{ms:10.2f}" for ms in figures) + f"{len(compiled.seconds):9}{sum(compiled.seconds):8.1f}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--provenances", nargs="+", default=list(PROVENANCES), help="a name, or name:k")
    parser.add_argument("--batches", nargs="+", default=list(BATCHES), type=int)
    parser.add_argument("--repeats", default=50, type=int, help="steps of each kind and row")
    parser.add_argument("--seconds", default=3.0, type=float, help="limit for the steps of each kind and row")
    arguments = parser.parse_args()
    header = f"{'task':10} {'provenance':18} {'batch':>5}{'fwd ms':>10}{'both ms':>10}{'compiled':>9}{'s':>8}"
    print(header, flush=True)
    for name in arguments.tasks:
        for provenance in arguments.provenances:
            for batch in arguments.batches:
                row = measure(TASKS[name], provenance, batch, arguments.repeats, arguments.seconds)
                print(f"{name:10} {provenance:18} {batch:5}{row}", flush=True)


if __name__ == "__main__":
    main()
