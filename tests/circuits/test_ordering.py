"""The order of nodes and derivations: the same for every numbering of a graph, and of the same meaning."""

import numpy as np
import pytest

from scallax.circuits.canonical_order import order_by_content
from scallax.circuits.graph import Graph
from scallax.grounding.derivations import ONE, literal_operand

NUM_LITERALS = 4


def random_graph(rng: np.random.Generator) -> tuple[Graph, np.ndarray]:
    """Nodes of one to three derivations over all nodes, so with cycles, and over few literals, so that many are alike.

    The outputs are all nodes, so that none is left out.
    """
    count = int(rng.integers(2, 12))
    head = np.concatenate([np.arange(count), rng.integers(0, count, rng.integers(0, 2 * count))])

    def operands(odds: float, none: float) -> np.ndarray:
        leaves = literal_operand(rng.integers(0, NUM_LITERALS, len(head)))
        leaves[rng.random(len(head)) < none] = ONE
        return np.where(rng.random(len(head)) < odds, rng.integers(0, count, len(head)), leaves)

    third = operands(0, 0.7) if rng.random() < 0.5 else None
    graph = Graph(count, head, operands(0.7, 0), operands(0.3, 0.5), np.zeros(count, np.bool_), third)
    return graph, rng.permutation(count)


def shuffle(rng: np.random.Generator, graph: Graph, outputs: np.ndarray) -> tuple[Graph, np.ndarray]:
    """The same graph with other numbers of nodes and another order of derivations."""
    number, rows = rng.permutation(graph.num_nodes), rng.permutation(len(graph.head))

    def renumber(operands: np.ndarray) -> np.ndarray:
        return np.where(operands >= 0, number[np.maximum(operands, 0)], operands)

    complement = np.empty_like(graph.complement)
    complement[number] = graph.complement
    third = None if graph.third is None else graph.third[rows]
    shuffled = Graph(
        graph.num_nodes,
        number[graph.head[rows]],
        renumber(graph.left[rows]),
        renumber(graph.right[rows]),
        complement,
        third,
    )
    return shuffled, renumber(outputs)


def as_lists(graph: Graph, outputs: np.ndarray) -> list:
    columns = [graph.head, graph.left, graph.right, graph.complement, outputs]
    return [graph.num_nodes, *(c.tolist() for c in columns), None if graph.third is None else graph.third.tolist()]


def truth(graph: Graph, outputs: np.ndarray, world: int) -> list[bool]:
    """For each output, whether it holds in a world, whose bits are the literals: the least fixpoint."""
    nodes = [False] * graph.num_nodes

    def holds(operand: int) -> bool:
        return operand == ONE or (nodes[operand] if operand >= 0 else bool(world >> -3 - operand & 1))

    columns = [graph.head, graph.left, graph.right, *([] if graph.third is None else [graph.third])]
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    for _ in nodes:
        for head, *operands in rows:
            nodes[head] |= all(map(holds, operands))
    return [holds(operand) for operand in outputs.tolist()]


@pytest.mark.parametrize("seed", range(150))
def test_the_order_is_that_of_the_content(seed: int):
    rng = np.random.default_rng(seed)
    graph, outputs = random_graph(rng)
    expected = as_lists(*order_by_content(graph, outputs))
    for _ in range(4):
        assert as_lists(*order_by_content(*shuffle(rng, graph, outputs))) == expected


@pytest.mark.parametrize("seed", range(40))
def test_ordered_outputs_hold_in_the_same_worlds(seed: int):
    graph, outputs = random_graph(np.random.default_rng(seed))
    ordered, ordered_outputs = order_by_content(graph, outputs)
    assert ordered.num_nodes <= graph.num_nodes
    for world in range(2**NUM_LITERALS):
        assert truth(ordered, ordered_outputs, world) == truth(graph, outputs, world)


def test_nodes_that_unfold_alike_are_one():
    # Cycles of two and of three nodes, each `n <- next(n) or s`: all are s.
    s = literal_operand(0)
    head = np.array([0, 1, 2, 3, 4, 0, 1, 2, 3, 4])
    left = np.array([1, 0, 3, 4, 2, s, s, s, s, s])
    graph = Graph(5, head, left, np.full(10, ONE), np.zeros(5, np.bool_))
    ordered, outputs = order_by_content(graph, np.arange(5))
    assert ordered.num_nodes == 1
    assert outputs.tolist() == [0] * 5
    assert sorted(ordered.left.tolist()) == [s, 0]
