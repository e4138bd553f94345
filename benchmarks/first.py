"""The seconds that people wait for a first answer: each row in fresh processes, without a cache of compiled code.

`python -m benchmarks.first` prints a table in Markdown: wall and processor seconds (medians over processes), in parts
where a row has several, how many functions XLA compiled, the reference's recorded time and the time to reach, both as
they would be on this machine (`benchmarks.calibrate`). Imports are not counted, but for the command line, where the
whole process is.

`--rows` takes the rows with a word in their name; `--cached` measures the second of two processes that share a cache.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.calibrate import calibrate

REFERENCE = Path(__file__).with_name("reference.json")

# The machine on which the times to reach were set: its figure of `benchmarks.calibrate`.
_GOALS_MILLISECONDS = 16.7

_COMPILED = re.compile("Finished XLA compilation of")
_PROVENANCES = (("minmaxprob", 3), ("addmultprob", 3), ("topkproofs", 3), ("exact", 3))

Lap = tuple[str, float, float]
Environment = Mapping[str, str]


@dataclass(frozen=True)
class Row:
    """A row: a call of a function of these benchmarks in a fresh process, or a process of the command line.

    Of the latter, `command` is the name of a program in `first_contexts`, and `call` are the options. `goals` are the
    seconds to reach for the parts of the row, `cached_goal` those for all parts in a second process with a cache.
    `recorded` finds the reference's time.
    """

    call: str
    goals: str = ""
    cached_goal: str = ""
    command: str | None = None
    recorded: tuple[str, str] | None = None


def _rows() -> dict[str, Row]:
    contexts, modules = "first_contexts", "first_modules"
    rows = {
        "command line: closure": Row("", "0.25", command="CLOSURE"),
        "command line: alarm, topkproofs": Row("--provenance topkproofs", "0.35", command="ALARM"),
    }
    for name, k, goal in [*((*each, "0.2") for each in _PROVENANCES), ("topbottomkclauses", 3, "0.2")]:
        recorded = f"{name} k={k}" if name == "topkproofs" else name
        rows[f"context: {recorded}"] = Row(f"{contexts}.alarm('{name}', {k})", goal, recorded=("alarm", recorded))
    rows["context: topkproofs k=40"] = Row(
        f"{contexts}.alarm('topkproofs', 40)", "0.4", recorded=("alarm", "topkproofs k=40")
    )
    for name, k in _PROVENANCES:
        rows[f"one rule more: {name}"] = Row(f"{contexts}.one_rule_more('{name}', {k})", "0.03")
    mapped = {"sum2": ("0.25", "0.2"), **dict.fromkeys(("sum3", "sum4", "less"), ("0.6", "0.25"))}
    mapped |= dict.fromkeys(("path4", "maze4", "path6", "maze5"), ("0.8", "0.3"))
    for name, (goal, cached) in mapped.items():
        call = f"{modules}.mapped('{name}')"
        rows[f"module: {name}"] = Row(call, f"0.05 + {goal}", cached, recorded=("modules", name))
    for name in ("formula5", "kin4", "formula7", "kin6"):
        call = f"{modules}.of_samples('{name}')"
        rows[f"facts per sample: {name}"] = Row(call, "1.2", "0.5", recorded=("modules", name))
    rows["module: planner 5 x 5"] = Row(f"{modules}.planner()", "1.5", "0.3")
    rows["batch sizes of sum3: 64, 63, 62, 61, 16"] = Row(f"{modules}.batch_sizes('sum3')")
    rows["explanation on the planner"] = Row(f"{modules}.explanation()", "0.3")
    rows["20,000 facts alone, topkproofs"] = Row(f"{contexts}.facts_alone('topkproofs', 3)", "0.5")
    return rows


def _command_of(row: Row, folder: Path) -> list[str]:
    """The process of a row."""
    if row.command is None:
        module, call = row.call.split(".", 1)
        function = call.partition("(")[0]
        return [sys.executable, "-c", f"from benchmarks.{module} import {function}; {call}"]
    file = folder / f"{row.command.lower()}.scl"
    text = f"from benchmarks.first_contexts import {row.command}, QUERY; print({row.command} + QUERY)"
    if not file.exists():
        file.write_text(subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True).stdout)
    return [sys.executable, "-m", "scallax", "run", *row.call.split(), str(file)]


def _run(row: Row, folder: Path, environment: Environment) -> tuple[list[Lap], str]:
    """The laps of one process, and what it wrote to standard error."""
    command = _command_of(row, folder)
    used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    # Modules are compiled before, as where the package is installed.
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, env={**inherited, **environment})
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stderr}")
    if row.command is None:
        return [tuple(lap) for lap in json.loads(done.stdout.splitlines()[-1])], done.stderr
    processor = after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime
    return [("process", wall, processor)], done.stderr


def _measure(row: Row, repeats: int, folder: Path, environment: Environment) -> tuple[str, str, int]:
    """Wall and processor seconds of the parts, and compilations, counted in a process of their own."""
    _, log = _run(row, folder, {**environment, "JAX_LOG_COMPILES": "1"})
    runs = [_run(row, folder, environment)[0] for _ in range(repeats)]
    parts = zip(*runs, strict=True)
    medians = [[statistics.median(lap[i] for lap in part) for i in (1, 2)] for part in parts]
    walls, processors = (" + ".join(f"{part[i]:.2f}" for part in medians) for i in (0, 1))
    return walls, processors, len(_COMPILED.findall(log))


def _reference(row: Row, calibration: float) -> str:
    """The reference's seconds for all parts of a row, about as they would be here; empty if none were recorded."""
    if row.recorded is None:
        return ""
    kind, name = row.recorded
    machines = [machine for machine in json.loads(REFERENCE.read_text())["first"]["machines"] if name in machine[kind]]
    if not machines:
        return ""
    machine = min(machines, key=lambda machine: abs(machine["calibration_ms"] - calibration))
    recorded = machine[kind][name]
    if isinstance(recorded, str):
        return recorded
    return f"{recorded / 1e3 * calibration / machine['calibration_ms']:.2f}"


def _goal(text: str, calibration: float) -> str:
    parts = [float(part) * calibration / _GOALS_MILLISECONDS for part in text.split(" + ") if part]
    return " + ".join(f"{part:.2f}" for part in parts)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=[""], help="words; a row is measured if one is in its name")
    parser.add_argument("--repeats", default=3, type=int, help="processes for each row")
    parser.add_argument("--cached", action="store_true", help="measure second processes with a cache in a folder")
    arguments = parser.parse_args()
    calibration = calibrate()
    print(f"Calibration: {calibration:.1f} ms.\n")
    print("| row | wall s | processor s | compiled | reference s | to reach s |\n|---|---|---|---|---|---|", flush=True)
    for name, row in _rows().items():
        if not any(word in name for word in arguments.rows):
            continue
        with tempfile.TemporaryDirectory() as folder:
            environment = {"SCALLAX_CACHE": str(Path(folder, "cache"))} if arguments.cached else {}
            if arguments.cached:
                _run(row, Path(folder), environment)
            wall, processor, compiled = _measure(row, arguments.repeats, Path(folder), environment)
        goal = _goal(row.cached_goal if arguments.cached else row.goals, calibration)
        columns = (name, wall, processor, str(compiled), _reference(row, calibration), goal)
        print(f"| {' | '.join(columns)} |", flush=True)


if __name__ == "__main__":
    main()
