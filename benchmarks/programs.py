"""Seconds from the text of a program to its checked form and to its ground program, after import.

`python -m benchmarks.programs` prints a line per program: the median of repeated runs, and the first run, which builds
the grammar's tables.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

from scallax.circuits.compile import analyse_program, ground_program
from scallax.errors import Source
from scallax.facts.fact_table import FactTable
from scallax.provenance.traits import traits_of


@dataclass(frozen=True)
class Text:
    """A program and what is done with it."""

    name: str
    text: str
    run: Callable[[str], object]
    repeats: int


def large(lines: int) -> str:
    """As many lines of declarations, facts, rules with joins, negation, arithmetic and aggregates, and comments."""
    text: list[str] = []
    block = 0
    while len(text) < lines:
        b, previous = f"r{block}", f"r{block - 1}" if block else "seed"
        text += [
            f"// block {block}",
            f"type {b}_edge(i32, i32), {b}_name(i32, String)",
            f"rel {b}_edge = {{({block}, 1), (1, 2), 0.5::(2, {block + 3})}}",
            f'rel {b}_name(1, "name {block}")',
            f"rel {b}(x, y) = {b}_edge(x, y) and {previous}(x, _)",
            f"rel {b}(x, z) = {b}(x, y), {b}_edge(y, z), x != z",
            f"rel {b}_sum(x, a + b * 2) = {b}(x, a), {b}(x, b), (a < b or a == {block})",
            f"rel {b}_far(x) = {b}(x, _) and not {b}_edge(x, 2)",
            f"rel {b}_count(n) = n := count(x: {b}_far(x))",
            f'rel 0.9::{b}_good(x, s) = {b}_far(x), {b}_name(x, s), s != "a" + s',
        ]
        block += 1
    return "\n".join(["type seed(i32, i32)", *text[: lines - 1]])


def small() -> str:
    """Ten rules, of which the closure of a graph is one, and a hundred facts."""
    edges = ", ".join(f"({i}, {(i * 7 + 3) % 50})" for i in range(50))
    colors = "\n".join(f'rel color({i}, "{"red" if i % 3 else "blue"}")' for i in range(50))
    return f"""
type edge(i32, i32), color(i32, String)
rel edge = {{{edges}}}
{colors}
rel path(x, y) = edge(x, y)
rel path(x, z) = path(x, y), edge(y, z)
rel red(x) = color(x, "red")
rel same(x, y) = color(x, c), color(y, c), x != y
rel meet(x, y) = path(x, z), edge(y, z), red(x)
rel stuck(x) = red(x), not path(x, x)
rel degree(x, n) = n := count(y: edge(x, y))
rel sum(x, a + b) = edge(x, a), edge(a, b), a < b
rel reach(n) = n := count(y: path(0, y))
rel good(x) = red(x), degree(x, n), n >= 1, not stuck(x)
query meet
query good
query reach
query same
query sum
"""


def _ground(text: str) -> object:
    program = analyse_program([Source(text)])
    given: list[FactTable] = []
    return ground_program(program, traits_of("unit"), given, [query.name for query in program.queries])


PROGRAMS = (
    Text("10 rules and 100 facts, to the ground program", small(), _ground, 30),
    Text("2,000 lines, to the checked program", large(2000), lambda text: analyse_program([Source(text)]), 5),
    Text("2,000 lines, to the ground program", large(2000) + "\nquery r198_good", _ground, 3),
)


def _seconds(program: Text) -> float:
    """Processor seconds: all of it is one thread, and other processes do not count."""
    start = time.process_time()
    program.run(program.text)
    return time.process_time() - start


def main() -> None:
    """Measures every program."""
    print(f"{'program':50} {'median s':>9} {'first s':>9}")
    for program in PROGRAMS:
        first = _seconds(program)
        median = statistics.median(_seconds(program) for _ in range(program.repeats))
        print(f"{program.name:50} {median:>9.4f} {first:>9.4f}")


if __name__ == "__main__":
    main()
