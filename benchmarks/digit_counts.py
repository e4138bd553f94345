"""Milliseconds of a training step through `torch_bridge.Module` that counts over 64 uncertain digits of 10 classes.

`python -m benchmarks.digit_counts` prints a line for each task and provenance: the steps of its loop forward and
backward, the least and the median time of forward with backward at batch 64, and the seconds of processor time of
construction, grounding and compilation of the ground program. In `threes` the output is how many images show a 3, in
`classes` how many show each class. `exclusive` digits are one of ten, others are ten independent facts of an image.
"""

import argparse
import statistics
import time
import warnings

import torch

import torch_bridge
from scallax.evaluation.compiled_program import ground, provenance_of
from scallax.facts.mappings import InputMapping

IMAGES = 64
CLASSES = 10
BATCH = 64
TASKS = {
    "threes": ("rel number(n) = n := count(i: digit(i, 3))", [(n,) for n in range(IMAGES + 1)]),
    "classes": (
        "rel number(d, n) = n := count(i: digit(i, d))",
        [(d, n) for d in range(CLASSES) for n in range(IMAGES + 1)],
    ),
}
PROVENANCES = ("diffaddmultprob", "diffexact")


def measure(task: str, provenance: str, exclusive: bool, repeats: int) -> str:
    """The figures of one row."""
    program, outputs = TASKS[task]
    digits = InputMapping(
        [[(i, d) for d in range(CLASSES)] for i in range(IMAGES)],
        disjunctive=exclusive,
        disjunctive_dim=1 if exclusive else None,
    )
    begun = time.process_time()
    with warnings.catch_warnings():
        # A count in a class that is always 0 is no mistake here.
        warnings.simplefilter("ignore")
        module = torch_bridge.Module(
            program,
            provenance=provenance,
            input_mappings={"digit": digits},
            output_mapping=("number", outputs),
        )
    compiled = ground(module.specification).program(provenance_of(module.specification))
    seconds = time.process_time() - begun
    logits = torch.randn(BATCH, IMAGES, CLASSES, generator=torch.Generator().manual_seed(0)).requires_grad_()
    weights = torch.linspace(0.5, 1.5, len(outputs))

    def step() -> None:
        (module(digit=torch.softmax(logits, 2)) * weights).sum().backward()

    step()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - begun))
    assert compiled.transpose is not None
    steps = int(compiled.forward.tiles.count), int(compiled.transpose.tiles.count)
    return f"{steps[0]:8}{steps[1]:8}{min(times):10.2f}{statistics.median(times):10.2f}{seconds:10.2f}"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--provenances", nargs="+", default=list(PROVENANCES))
    parser.add_argument("--repeats", default=100, type=int, help="steps of each row")
    arguments = parser.parse_args()
    columns = f"{'fwd':>8}{'bwd':>8}{'least ms':>10}{'median ms':>10}{'cpu s':>10}"
    print(f"{'task':10} {'provenance':18} {'digits':12}{columns}")
    for task in arguments.tasks:
        for provenance in arguments.provenances:
            for exclusive in (False, True):
                row = measure(task, provenance, exclusive, arguments.repeats)
                kind = "exclusive" if exclusive else "independent"
                print(f"{task:10} {provenance:18} {kind:12}{row}", flush=True)


if __name__ == "__main__":
    main()
