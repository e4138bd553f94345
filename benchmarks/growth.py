"""How cost grows with the work: programs with uncertain facts, their sizes doubled until a run takes 10 seconds.

`python -m benchmarks.growth` prints a table in Markdown for each mode, and one of exponents: of processor seconds and
of memory in the size of the work, which is facts + tuples + derivations + literals of the proofs that are kept, over
the last two doublings. Each size is measured in a process of its own: a first run, which may compile, and runs after
it, the least of which counts. Memory is the peak beyond that of the imports. Seconds are processor seconds of all
threads; the reference's are those of `growth_reference.json`, as they would be on this machine
(`benchmarks.calibrate`).

Modes: a context (`facts` adds them, `run`, `tags` reads the tags as one array, `rows` goes through all rows), calls of
a module or reasoner with mapped inputs in batches of 4, and calls with other facts for each of 4 samples each time.
Under provenances with gradients a run ends with one, `backward`.

`--families`, `--provenances` and `--modes` choose rows (`single` are mapped inputs in batches of 1), `--sizes` measures
these sizes alone. `--kinship FILE` measures stories of kinship with trainable compositions, `--million` a million facts
with ten million derivations; `--families` without a name leaves all else out.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.calibrate import calibrate
from benchmarks.growth_families import FAMILIES, MILLION
from benchmarks.laps import peak_mib

REFERENCE = Path(__file__).with_name("growth_reference.json")
PROVENANCES = ("minmaxprob", "addmultprob", "topkproofs", "exact")
MODES = ("context", "mapped", "samples", "single")
_PARTS = {
    "context": ("facts", "run", "tags", "rows", "backward"),
    "mapped": ("build", "forward", "backward"),
    "samples": ("forward", "backward"),
    "single": ("build", "forward", "backward"),
}
# Runs after the first: so many, or those of a second.
_MOST_RUNS, _RUNS_SECONDS = 5, 1.0
# Figures below this say nothing of growth.
_LEAST_SECONDS, _LEAST_MIB = 0.02, 16.0

Figures = dict[str, Any]


def measure(mode: str, family: str, provenance: str, size: int) -> Figures:
    """The figures of one size: parts of the first and of the fastest later run, memory, and the size of the work."""
    from benchmarks import growth_runs  # only processes that measure load torch

    made = MILLION if family == "million" else FAMILIES[family]
    # Modules that the first program of a process loads belong to no size.
    growth_runs.run(mode, made, provenance, 10, 0)
    before = peak_mib()
    first = growth_runs.run(mode, made, provenance, size, 0)
    later: list[dict[str, float]] = []
    while not later or (len(later) < _MOST_RUNS and sum(map(_total, later)) < _RUNS_SECONDS):
        later.append(growth_runs.run(mode, made, provenance, size, len(later) + 1))
    memory = peak_mib() - before
    work = growth_runs.find_size(made, provenance, size)._asdict()
    return {"first": first, "second": min(later, key=_total), "mib": memory, **work}


def _total(parts: dict[str, float]) -> float:
    """The seconds of a run; facts that are given are not among those of the reference."""
    return sum(seconds for part, seconds in parts.items() if part not in ("facts", "build"))


def _in_process(call: str, gib: float) -> Any:
    """The result of a function of this file in a process of its own, or a text that says why there is none."""
    code = f"import json; from benchmarks.growth import *; print(json.dumps({call}))"
    bound = int(gib * 2**30)
    limit = (lambda: resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))) if gib else None
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, preexec_fn=limit)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1][:120]
    return json.loads(done.stdout.splitlines()[-1])


def grow(mode: str, family: str, provenance: str, sizes: Sequence[int], options: argparse.Namespace) -> list[Figures]:
    """Measures sizes one after the other, and prints their rows, until one takes too long."""
    found: list[Figures] = []
    for size in sizes or _doubled(FAMILIES[family].first):
        figures = _in_process(f"measure({mode!r}, {family!r}, {provenance!r}, {size})", options.gib)
        if isinstance(figures, str):
            print(f"| {family} | `{provenance}` | {size:,} | {figures} |", flush=True)
            break
        figures["size"] = size
        found.append(figures)
        print(_row(mode, family, provenance, figures, options.calibration), flush=True)
        if max(_total(figures["first"]), _total(figures["second"])) > options.seconds:
            break
    return found


def _doubled(size: int) -> Iterator[int]:
    while True:
        yield size
        size *= 2


def _header(mode: str) -> str:
    columns = ["family", "provenance", "size", "facts", "tuples", "derivations", "literals", "first s", "second s"]
    columns += [f"{part} s" for part in _PARTS[mode]] + ["MiB", "reference s"]
    return f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}"


def _row(mode: str, family: str, provenance: str, figures: Figures, calibration: float) -> str:
    counts = [f"{figures[name]:,}" for name in ("facts", "tuples", "derivations", "literals")]
    # A module is built once, in the first run.
    parts = {**figures["first"], **figures["second"]}
    seconds = [f"{parts[part]:.3f}" if part in parts else "" for part in _PARTS[mode]]
    totals = [f"{_total(figures[run]):.3f}" for run in ("first", "second")]
    reference = _reference(family, provenance, figures["size"], calibration) if mode == "context" else ""
    cells = [family, f"`{provenance}`", f"{figures['size']:,}", *counts, *totals, *seconds, f"{figures['mib']:.0f}"]
    return f"| {' | '.join([*cells, reference])} |"


def _reference(family: str, provenance: str, size: int, calibration: float) -> str:
    """The reference's seconds as they would be here; empty if none were recorded."""
    recorded = json.loads(REFERENCE.read_text())
    for row in recorded["rows"]:
        if (row["family"], row["provenance"]) == (family, provenance) and str(size) in row["seconds"]:
            return f"{row['seconds'][str(size)] * calibration / recorded['calibration_ms']:.3f}"
    return ""


def work(figures: Figures) -> int:
    """The size of the work."""
    return figures["facts"] + figures["tuples"] + figures["derivations"] + figures["literals"]


def exponent(figures: Sequence[Figures], cost: str, least: float) -> str:
    """The growth of a cost over the last two doublings, in the work; empty where the cost is too small to tell."""
    costs = [row["mib"] if cost == "mib" else _total(row[cost]) for row in figures]
    known = [i for i, value in enumerate(costs) if value > least]
    if len(known) < 2:
        return ""
    low, high = known[-min(3, len(known))], known[-1]
    return f"{math.log(costs[high] / costs[low]) / math.log(work(figures[high]) / work(figures[low])):.2f}"


def _exponents(figures: Sequence[Figures]) -> list[str]:
    return [exponent(figures, cost, least) for cost, least in (("second", _LEAST_SECONDS), ("mib", _LEAST_MIB))]


def _print_modes(options: argparse.Namespace) -> None:
    """The table of each mode, and that of exponents."""
    exponents = []
    for mode in options.modes:
        print(f"\n## {mode}\n\n{_header(mode)}", flush=True)
        for family in options.families:
            for provenance in options.provenances:
                found = grow(mode, family, provenance, options.sizes, options)
                exponents.append([mode, family, f"`{provenance}`", *_exponents(found)])
    print("\n## exponents\n\n| mode | family | provenance | time | memory |\n|---|---|---|---|---|")
    for cells in exponents:
        print(f"| {' | '.join(cells)} |")


def kinship(file: str, links: int) -> list[tuple[float, float]]:
    """Seconds forward and backward of the steps of `growth_kinship`."""
    from benchmarks import growth_kinship  # as above

    return growth_kinship.measure(Path(file), links)


def _print_kinship(options: argparse.Namespace) -> None:
    """The stories of kinship; the reference's seconds are of forward passes."""
    recorded = json.loads(REFERENCE.read_text())
    print(
        "\n## kinship\n\n| links | first s | forward s | backward s | reference s |\n|---|---|---|---|---|", flush=True
    )
    for links, seconds in recorded["kinship"]["seconds"].items():
        steps = _in_process(f"kinship({str(options.kinship)!r}, {links})", options.gib)
        if isinstance(steps, str):
            print(f"| {links} | {steps} |", flush=True)
            continue
        forward, backward = min(steps[1:], key=sum)
        reference = seconds * options.calibration / recorded["calibration_ms"]
        print(f"| {links} | {sum(steps[0]):.2f} | {forward:.2f} | {backward:.2f} | {reference:.2f} |", flush=True)


def _print_million(options: argparse.Namespace) -> None:
    """A million facts in a context, and with gradients in a module of one sample."""
    for mode, prefix in (("context", ""), ("single", "diff")):
        print(f"\n## a million facts: {mode}\n\n{_header(mode)}", flush=True)
        for provenance in ("addmultprob", "topkproofs"):
            grow(mode, "million", prefix + provenance, [MILLION.first], options)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known = [*PROVENANCES, *(f"diff{name}" for name in PROVENANCES)]
    parser.add_argument("--families", nargs="*", default=list(FAMILIES), choices=[*FAMILIES, []])
    parser.add_argument("--provenances", nargs="+", default=known, choices=known)
    parser.add_argument("--modes", nargs="+", default=list(MODES[:3]), choices=MODES)
    parser.add_argument("--sizes", nargs="+", type=int, default=[], help="measure these sizes alone")
    parser.add_argument("--seconds", type=float, default=10.0, help="the run that ends a row")
    parser.add_argument("--gib", type=float, default=8.0, help="memory of a process; 0: no bound")
    parser.add_argument("--kinship", type=Path, help="a file of stories of kinship")
    parser.add_argument("--million", action="store_true", help="a million facts, ten million derivations")
    options = parser.parse_args()
    options.calibration = calibrate()
    print(f"Calibration: {options.calibration:.1f} ms.")
    if options.kinship is not None:
        _print_kinship(options)
    if options.million:
        _print_million(options)
    if options.families:
        _print_modes(options)


if __name__ == "__main__":
    main()
