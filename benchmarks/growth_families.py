"""Families of programs whose facts can be as many as one likes: relations of uncertain facts, and rules for `out`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np

# By relation its facts, int64 `[facts, columns]`, none of them twice.
Facts = dict[str, np.ndarray]

_TWO_HOPS = ("two(x, z) = edge(x, y), edge(y, z)",)
_HOPS = (*_TWO_HOPS, "out(x, w) = two(x, z), edge(z, w)")
_REACHED = ("out(y) = edge(0, y)", "out(z) = out(y), edge(y, z)")
_CLOSURE = ("out(x, y) = edge(x, y)", "out(x, z) = out(x, y), edge(y, z)")


@dataclass(frozen=True)
class Family:
    """`facts` makes those of a size; the sizes that are measured are doubled from `first`."""

    facts: Callable[[int, np.random.Generator], Facts]
    rules: tuple[str, ...]
    first: int

    def program(self, facts: Facts) -> str:
        """The text with the types of the relations, and the rules."""
        types = [f"type {name}({', '.join(['i32'] * rows.shape[1])})" for name, rows in facts.items()]
        return "\n".join([*types, *(f"rel {rule}" for rule in self.rules)])

    def drawn(self, size: int, seed: int) -> Facts:
        """The facts of a size; with a seed other than 0 the places but 0 have other numbers."""
        facts = self.facts(size, np.random.default_rng(seed))
        return {name: np.where(rows > 0, rows + 7 * seed, rows) for name, rows in facts.items()}


def _random(n: int, generator: np.random.Generator, places: float) -> np.ndarray:
    """About n edges between `places` times as many nodes."""
    return np.unique(generator.integers(0, max(int(n * places), 2), (n, 2)), axis=0)


def _edges(make: Callable[[int, np.random.Generator], np.ndarray]) -> Callable[[int, np.random.Generator], Facts]:
    return lambda n, generator: {"edge": make(n, generator)}


def _chain(n: int, _: np.random.Generator) -> np.ndarray:
    return np.stack([np.arange(n), np.arange(1, n + 1)], 1)


def _cycle(n: int, _: np.random.Generator) -> np.ndarray:
    there = np.stack([np.arange(n), np.arange(1, n + 1) % n], 1)
    return np.concatenate([there, there[:, ::-1]])


def _grid(n: int, _: np.random.Generator) -> np.ndarray:
    """A square of about n cells, with edges to the right and down."""
    cells = np.arange(int(n**0.5) ** 2).reshape(int(n**0.5), -1)
    across, down = (cells[:, :-1], cells[:, 1:]), (cells[:-1], cells[1:])
    return np.concatenate([np.stack([a.ravel(), b.ravel()], 1) for a, b in (across, down)])


def _tree(n: int, generator: np.random.Generator) -> np.ndarray:
    """A random tree of n edges, with the root 0; its depth is about a logarithm of n."""
    child = np.arange(1, n + 1)
    return np.stack([(generator.random(n) * child).astype(np.int64), child], 1)


def _binary_tree(n: int, _: np.random.Generator) -> np.ndarray:
    child = np.arange(1, n + 1)
    return np.stack([(child - 1) // 2, child], 1)


def _star(n: int, _: np.random.Generator) -> np.ndarray:
    """Half of n edges go into the node 0, the others out of it."""
    inward, outward = np.arange(1, n // 2 + 1), np.arange(n // 2 + 1, n + 1)
    zeros = np.zeros_like
    return np.concatenate([np.stack([inward, zeros(inward)], 1), np.stack([zeros(outward), outward], 1)])


def _layered(n: int, generator: np.random.Generator) -> np.ndarray:
    """From the node 0 to ten layers, with two edges for each node to random nodes of the next layer."""
    width = max(n // 20, 2)
    layers = np.arange(9 * width).reshape(9, width) + 1
    edges = [np.stack([np.zeros(width, np.int64), layers[0]], 1)]
    for above, below in pairwise(layers):
        edges += [np.stack([above, generator.choice(below, width)], 1) for _ in range(2)]
    return np.unique(np.concatenate(edges), axis=0)


def _three_relations(n: int, generator: np.random.Generator) -> Facts:
    return {name: _random(n // 3, generator, 0.7) for name in ("first", "second", "third")}


def _long(n: int, generator: np.random.Generator) -> Facts:
    """Tuples of eight columns, and the keys that some of them have."""
    rows = generator.integers(0, 50, (n // 2, 8))
    rows[:, 0] = np.arange(n // 2)
    return {"long": rows, "key": np.arange(0, n, 2)[:, None]}


def _members(n: int, _: np.random.Generator) -> Facts:
    """Groups of four members."""
    return {"member": np.stack([np.arange(n) // 4, np.arange(n)], 1)}


def _blocked(n: int, generator: np.random.Generator) -> Facts:
    """Two edges for each node that may be blocked."""
    count = n // 3
    return {"edge": _random(2 * count, generator, 0.5), "blocked": np.arange(count)[:, None]}


# The families that the reference was measured on.
RECORDED: dict[str, Family] = {
    "facts": Family(_edges(lambda n, _: np.stack([np.arange(n)] * 2, 1)), ("out(x) = edge(x, _)",), 2_000),
    "wide": Family(_edges(partial(_random, places=0.5)), _HOPS, 1_000),
    "chain": Family(_edges(_chain), _REACHED, 50),
    "cycle": Family(_edges(_cycle), _REACHED, 50),
    "grid": Family(_edges(_grid), _REACHED, 64),
    "closure": Family(_edges(_chain), _CLOSURE, 25),
}

# Others, to check with.
_GENERATION = (
    "out(x, y) = edge(p, x), edge(p, y), x != y",
    "out(x, y) = edge(p, x), out(p, q), edge(q, y)",
)
OTHERS: dict[str, Family] = {
    "same generation": Family(_edges(_binary_tree), _GENERATION, 30),
    "star": Family(_edges(_star), ("out(x, z) = edge(x, y), edge(y, z)",), 50),
    "tree": Family(_edges(_tree), _REACHED, 500),
    "layered": Family(_edges(_layered), _REACHED, 500),
    "three relations": Family(_three_relations, ("out(a, d) = first(a, b), second(b, c), third(c, d)",), 1_000),
    "long tuples": Family(_long, ("out(a, h, g, f, e, d, c, b) = key(a), long(a, b, c, d, e, f, g, h)",), 1_000),
    "groups": Family(_members, ("out(g, n) = n := count(m: member(g, m))",), 200),
    "negation": Family(_blocked, ("out(x, y) = edge(x, y), not blocked(x)",), 1_000),
}
FAMILIES = RECORDED | OTHERS

# A million facts have about ten million derivations.
MILLION = Family(_edges(partial(_random, places=0.37)), _HOPS, 1_000_000)
