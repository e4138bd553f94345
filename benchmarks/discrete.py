"""Programs without probabilities, from 10^2 to 10^7 tuples, beside recursive queries of DuckDB.

`python -m benchmarks.discrete` prints a table in Markdown: facts, tuples of the answer, wall and processor seconds of
adding the facts, of computing the answer (the least of some runs, in a context that is new each time), and of reading
it as arrays; those of DuckDB, from tables in memory to a table of the answer; and the run's processor seconds over
DuckDB's. Both have one thread. The extra `bench` brings DuckDB; without it its columns are empty. An answer of
another size than DuckDB's fails.

`--programs` chooses, `--least` and `--most` bound the tuples.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

import scallax

try:
    import duckdb  # pyright: ignore[reportMissingImports]  # an extra
except ImportError:
    duckdb = None

_REPEATS, _SECONDS = 5, 2.0

Facts = dict[str, np.ndarray]
Times = tuple[float, float]


@dataclass(frozen=True)
class Discrete:
    """`facts` makes some for about so many tuples in the answer; `query` is the same as `rules` in SQL."""

    facts: Callable[[int], Facts]
    rules: tuple[str, ...]
    query: str
    columns: int = 2


def _chain(tuples: int) -> Facts:
    nodes = max(int((2 * tuples) ** 0.5), 2)
    return {"edge": np.stack([np.arange(nodes), np.arange(1, nodes + 1)], 1)}


def _random(tuples: int) -> Facts:
    """Three edges for each node: nearly all reach nearly all."""
    nodes = max(int((tuples / 0.89) ** 0.5), 2)
    return {"edge": np.unique(np.random.default_rng(0).integers(0, nodes, (3 * nodes, 2)), axis=0)}


def _tree(tuples: int) -> Facts:
    """A tree of nodes with two children each: of the pairs of n nodes about a third are of one generation."""
    child = np.arange(1, max(int((3 * tuples) ** 0.5), 3))
    return {"edge": np.stack([(child - 1) // 2, child], 1)}


def _pairs(tuples: int) -> Facts:
    count, generator = tuples // 2, np.random.default_rng(0)
    return {name: np.unique(generator.integers(0, count // 2, (count, 2)), axis=0) for name in ("a", "b")}


def _groups(tuples: int) -> Facts:
    return {"member": np.stack([np.arange(tuples) % (tuples // 10), np.arange(tuples)], 1)}


_CLOSURE = ("out(x, y) = edge(x, y)", "out(x, z) = out(x, y), edge(y, z)")
_CLOSURE_QUERY = """
with recursive out(x, y) as (
    select c0, c1 from edge union select out.x, edge.c1 from out join edge on out.y = edge.c0
) select x, y from out
"""
_GENERATION_QUERY = """
with recursive out(x, y) as (
    select a.c1, b.c1 from edge a join edge b on a.c0 = b.c0
    union select a.c1, b.c1 from out join edge a on a.c0 = out.x join edge b on b.c0 = out.y
) select x, y from out
"""
PROGRAMS: dict[str, Discrete] = {
    "closure of a chain": Discrete(_chain, _CLOSURE, _CLOSURE_QUERY),
    "closure of a random graph": Discrete(_random, _CLOSURE, _CLOSURE_QUERY),
    "same generation": Discrete(
        _tree,
        ("out(x, y) = edge(p, x), edge(p, y)", "out(x, y) = edge(p, x), out(p, q), edge(q, y)"),
        _GENERATION_QUERY,
    ),
    "join": Discrete(
        _pairs, ("out(x, z) = a(x, y), b(y, z)",), "select distinct a.c0, b.c1 from a join b on a.c1 = b.c0"
    ),
    "aggregate": Discrete(
        _groups, ("out(g, n) = n := count(m: member(g, m))",), "select c0, count(*) from member group by c0"
    ),
}


def _timed(action: Callable[[], Any]) -> tuple[Any, Times]:
    wall, processor = time.perf_counter(), time.process_time()
    found = action()
    return found, (time.perf_counter() - wall, time.process_time() - processor)


def _repeated(action: Callable[[], tuple[Any, list[Times]]]) -> tuple[Any, list[Times]]:
    """The result of an action, and the least times of each of its parts."""
    found, runs = None, []
    while not runs or (len(runs) < _REPEATS and sum(times[1] for run in runs for times in run) < _SECONDS):
        found, times = action()
        runs.append(times)
    return found, [min(part, key=lambda times: times[1]) for part in zip(*runs, strict=True)]


def _scallax(program: Discrete, facts: Facts) -> tuple[int, list[Times]]:
    """The number of tuples, and the times of adding facts, of a run and of reading arrays."""
    context = scallax.Context()
    for name, given in facts.items():
        context.add_relation(name, (int,) * given.shape[1])
    for rule in program.rules:
        context.add_rule(rule)
    _, added = _timed(lambda: [context.add_facts(name, given) for name, given in facts.items()])
    _, ran = _timed(context.run)
    found = context.relation("out")
    _, read = _timed(found.columns)
    return len(found), [added, ran, read]


def _duckdb(program: Discrete, facts: Facts) -> tuple[int, list[Times]]:
    """The number of tuples, and the times of computing a table."""
    assert duckdb is not None
    connection = duckdb.connect()
    connection.execute("set threads = 1")
    for name, given in facts.items():
        columns = {f"c{place}": column.astype(np.int32) for place, column in enumerate(given.T)}
        connection.register("given", columns)
        connection.execute(f"create table {name} as select * from given")
    _, ran = _timed(lambda: connection.execute(f"create table out as {program.query}"))
    found = connection.execute("select count(*) from out").fetchone()
    assert found is not None
    return found[0], [ran]


def _cells(times: Times) -> list[str]:
    return [f"{seconds:.4f}" for seconds in times]


def measure(name: str, tuples: int) -> str:
    """The row of a program for about so many tuples."""
    program = PROGRAMS[name]
    facts = program.facts(tuples)
    count, (added, ran, read) = _repeated(lambda: _scallax(program, facts))
    cells = [name, f"{sum(map(len, facts.values())):,}", f"{count:,}", *_cells(added), *_cells(ran), *_cells(read)]
    if duckdb is None:
        return f"| {' | '.join([*cells, '', '', ''])} |"
    known, (other,) = _repeated(lambda: _duckdb(program, facts))
    assert known == count, f"{name}: {count:,} tuples, DuckDB has {known:,}"
    return f"| {' | '.join([*cells, *_cells(other), f'{ran[1] / other[1]:.2f}'])} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", nargs="+", default=list(PROGRAMS), choices=list(PROGRAMS))
    parser.add_argument("--least", type=float, default=1e2)
    parser.add_argument("--most", type=float, default=1e7)
    options = parser.parse_args()
    columns = ["program", "facts", "tuples"]
    columns += [f"{part} {kind} s" for part in ("add", "run", "read", "DuckDB") for kind in ("wall", "processor")]
    print(f"| {' | '.join([*columns, 'times'])} |\n|{'---|' * (len(columns) + 1)}")
    for name in options.programs:
        tuples = int(options.least)
        while tuples <= options.most:
            print(measure(name, tuples), flush=True)
            tuples *= 10


if __name__ == "__main__":
    main()
