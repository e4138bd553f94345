"""Sizes of compiled circuits: diagrams over orders along the derivations are small, and cycles have no rounds."""

import itertools
from typing import Any

import numpy as np
import pytest

from scallax.circuits.knowledge.compiler import compile_circuit
from scallax.grounding.derivations import ONE, Derivations, Literals, literal_operand
from tests.circuits.test_exact import derivations_of, evaluate, grid, literals_of


def lattice(num_rows: int, num_columns: int) -> list[tuple[int, int]]:
    """The steps of a grid between neighbours, by rows."""
    cells = [(x, y) for x in range(num_rows) for y in range(num_columns)]
    steps = [((x, y), (x + i, y + j)) for x, y in cells for i, j in ((0, 1), (1, 0))]
    return [(a * num_columns + b, c * num_columns + d) for (a, b), (c, d) in steps if c < num_rows and d < num_columns]


def undirected(edges: list[tuple[int, int]]) -> tuple[Derivations, Literals, np.ndarray]:
    """Whether the last node is reached from the first over uncertain edges, which lead both ways."""
    rows = [
        (end, start or ONE, int(literal_operand(i)), False, False)
        for i, edge in enumerate(edges)
        for start, end in (edge, edge[::-1])
        if end
    ]
    last = max(end for _, end in edges)
    return derivations_of(last + 1, rows), literals_of(np.full(len(edges), -1)), np.array([last])


def probability_of_path(edges: list[tuple[int, int]], p: np.ndarray) -> float:
    """The probability that the first and the last node are connected, by the states of what edges have to do with."""
    last = max(end for _, end in edges)
    # The nodes that were met and are met again, or are ends of the path, in the sets that are connected.
    states: dict[frozenset[frozenset[int]], float] = {frozenset([frozenset([0]), frozenset([last])]): 1.0}
    for place, (edge, chance) in enumerate(zip(edges, p.tolist(), strict=True)):
        kept = {0, last}.union(*edges[place + 1 :])
        found: dict[frozenset[frozenset[int]], float] = {}
        for state, weight in states.items():
            sets = [*state, *(frozenset([node]) for node in edge if not any(node in each for each in state))]
            joined = frozenset().union(*(each for each in sets if not each.isdisjoint(edge)))
            for now, share in (
                (sets, 1 - chance),
                ([joined, *(each for each in sets if each.isdisjoint(edge))], chance),
            ):
                key = frozenset(each & kept for each in now)
                found[key] = found.get(key, 0.0) + weight * share
        states = found
    return sum(weight for state, weight in states.items() if any({0, last} <= each for each in state))


# Decisions of the reduced diagrams over edges along the diagonals: 775, 1,148 and 4,970.
@pytest.mark.parametrize(
    ("program", "most_decisions"),
    [("directed", 800), (lattice(5, 5), 1_148), (lattice(6, 6), 4_970), (lattice(60, 2), 400)],
)
def test_circuits_of_grids_are_small(program: Any, most_decisions: int):
    problem = grid(6) if program == "directed" else undirected(program)
    circuit = compile_circuit(*problem)
    # A sum of two products is as much as a decision.
    assert len(circuit[0].head) <= 2 * most_decisions
    p = np.random.default_rng(0).uniform(size=len(problem[1]))
    if program != "directed":
        np.testing.assert_allclose(evaluate(circuit, p), probability_of_path(program, p), rtol=1e-12)
    again, _ = compile_circuit(*problem)
    for name in ("head", "left", "right", "left_negated", "right_negated"):
        np.testing.assert_array_equal(getattr(circuit[0], name), getattr(again, name))


def test_cycles_of_two_operands_are_those_of_one():
    edges = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (2, 1), (3, 4), (4, 1)]
    facts, paths = {edge: int(literal_operand(i)) for i, edge in enumerate(edges)}, {}
    for pair in itertools.product(range(5), repeat=2):
        paths[pair] = len(paths)
    first = [(paths[edge], fact, ONE, False, False) for edge, fact in facts.items()]
    triples = list(itertools.product(range(5), repeat=3))
    one = [(paths[x, z], paths[x, y], facts[y, z], False, False) for x, y, z in triples if (y, z) in facts]
    two = [(paths[x, z], paths[x, y], paths[y, z], False, False) for x, y, z in triples]
    p = np.random.default_rng(0).uniform(size=len(edges))
    values = [
        evaluate(compile_circuit(derivations_of(25, first + more), literals_of(np.full(8, -1)), np.arange(25)), p)
        for more in (one, two)
    ]
    np.testing.assert_allclose(*values, rtol=1e-12)
    assert (values[0][1:] > 0).sum() > 15
