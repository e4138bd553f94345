"""Seconds, peak memory and sizes of grounding transitive closures whose sizes are known.

`python -m benchmarks.grounding` prints a line per graph, with certain and with uncertain edges; each runs in a
process of its own, so that the peak is its own. A wrong size fails. The last graph is queried whole, and then by
`path(0, x)` and `path(x, 60)`: demand computes what these ask for.
"""

import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmarks.laps import peak_mib
from scallax.circuits.compile import analyse_program
from scallax.errors import Source
from scallax.grounding.derivations import ONE, Literals, literal_operand
from scallax.grounding.fixpoint import FactSet, ground
from scallax.planner.plan import plan

PROGRAM = """
type edge(i64, i64)
rel path(x, y) = edge(x, y)
rel path(x, z) = path(x, y), edge(y, z)
"""

RIGHT_RECURSIVE = """
type edge(i64, i64)
rel path(x, y) = edge(x, y)
rel path(x, z) = edge(x, y), path(y, z)
"""


@dataclass(frozen=True)
class Graph:
    """Edges, and what is known of their transitive closure."""

    name: str
    edges: Callable[[], list[tuple[int, int]]]
    tuples: int
    rounds: int | None = None
    query: str = "path"
    program: str = PROGRAM


def _random() -> list[tuple[int, int]]:
    edges = np.unique(np.random.default_rng(0).integers(0, 1000, (3000, 2)), axis=0)
    return [(int(x), int(y)) for x, y in edges]


def _path(n: int) -> list[tuple[int, int]]:
    return [(i, i + 1) for i in range(n - 1)]


def _paths(count: int, n: int) -> list[tuple[int, int]]:
    """`count` paths of n nodes beside each other."""
    return [(i * n + j, i * n + j + 1) for i in range(count) for j in range(n - 1)]


def _cycle(n: int) -> list[tuple[int, int]]:
    return [(i, (i + 1) % n) for i in range(n)]


def _tree(depth: int) -> list[tuple[int, int]]:
    return [(i // 2, i) for i in range(2, 2 ** (depth + 1))]


def _grid(rows: int, columns: int) -> list[tuple[int, int]]:
    right = [(i * columns + j, i * columns + j + 1) for i in range(rows) for j in range(columns - 1)]
    down = [(i * columns + j, (i + 1) * columns + j) for i in range(rows - 1) for j in range(columns)]
    return right + down


GRAPHS = (
    Graph("random 1,000 nodes", _random, 892_097, 16),
    Graph("path of 1,000", lambda: _path(1000), 1000 * 999 // 2, 999),
    Graph("cycle of 600", lambda: _cycle(600), 600**2, 600),
    Graph("tree of depth 14", lambda: _tree(14), sum(d * 2**d for d in range(1, 15)), 14),
    Graph("grid 40 x 40", lambda: _grid(40, 40), sum(i * j - 1 for i in range(1, 41) for j in range(1, 41)), 78),
    Graph("200 paths of 61, all", lambda: _paths(200, 61), 200 * 61 * 60 // 2, 60),
    Graph("200 paths, path(0, x)", lambda: _paths(200, 61), 60, 60, "path(0, x)"),
    Graph("200 paths, path(x, 60)", lambda: _paths(200, 61), 60 * 61 // 2, None, "path(x, 60)"),
    Graph("path(0, x) from the right", lambda: _paths(200, 61), 60 * 61 // 2, None, "path(0, x)", RIGHT_RECURSIVE),
)


def measure(number: int, uncertain: bool) -> None:
    """Grounds the closure of a graph and prints its line."""
    graph = GRAPHS[number]
    edges = graph.edges()
    count = len(edges)
    literals = count if uncertain else 0
    operands = np.asarray(literal_operand(np.arange(count))) if uncertain else np.full(count, ONE)
    compiled = plan(analyse_program([Source(f"{graph.program}query {graph.query}")]), [graph.query])
    unused = Literals(np.full(literals, 0.5), *(np.full(literals, -1) for _ in range(3)))
    before = peak_mib()
    start = time.perf_counter()
    grounding = ground(compiled, {"edge": FactSet(list(zip(*edges, strict=True)), operands)}, unused)
    seconds = time.perf_counter() - start
    tuples = grounding.relations["path"].size
    assert tuples == graph.tuples, f"{graph.name}: {tuples} tuples, not {graph.tuples}"
    assert graph.rounds is None or grounding.num_rounds == graph.rounds, f"{graph.name}: {grounding.num_rounds} rounds"
    kind = "uncertain" if uncertain else "certain"
    print(
        f"{graph.name:25} {kind:10} {tuples:>9,} {grounding.num_rounds:>6} {len(grounding.derivations):>11,}"
        f" {seconds:>8.2f} {peak_mib() - before:>9,.0f}"
    )


def main() -> None:
    """Measures every graph in a process of its own."""
    print(f"{'graph':25} {'edges':10} {'tuples':>9} {'rounds':>6} {'derivations':>11} {'seconds':>8} {'added MiB':>9}")
    spawn = multiprocessing.get_context("spawn")
    for number in range(len(GRAPHS)):
        for uncertain in (False, True):
            run = spawn.Process(target=measure, args=(number, uncertain))
            run.start()
            run.join()
            if run.exitcode != 0:
                sys.exit(f"{GRAPHS[number].name} failed")


if __name__ == "__main__":
    main()
