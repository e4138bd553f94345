"""Bounds of the lengths of proofs, against all proofs of small random graphs."""

import itertools

import numpy as np
import pytest

from scallax.circuits.graph import Graph
from scallax.circuits.proof_lengths import list_length, longest_proof
from scallax.grounding.derivations import ONE, literal_operand
from scallax.grounding.reachability import component_depths

LITERALS = 12


def random_graph(generator: np.random.Generator, num_nodes: int, negates: bool) -> Graph:
    """Nodes of a few derivations of earlier nodes and literals, in shuffled order; some are complements."""
    rows, complement = [], np.zeros(num_nodes, bool)

    def leaf() -> int:
        return literal_operand(int(generator.integers(LITERALS)))

    for node in range(num_nodes):

        def operand(node=node):
            choice = generator.integers(-3, node)
            return leaf() if choice < 0 else choice

        complement[node] = negates and node > 0 and generator.random() < 0.2
        count = 1 if complement[node] else generator.integers(1, 4)
        for _ in range(count):
            left = generator.integers(node) if complement[node] else operand()
            right = ONE if complement[node] or generator.random() < 0.3 else operand()
            third = (
                ONE if right >= 0 or generator.random() < 0.5 else literal_operand(int(generator.integers(LITERALS)))
            )
            rows.append((node, left, right, third))
    number = generator.permutation(num_nodes)
    head, left, right, third = np.array([rows[i] for i in generator.permutation(len(rows))]).T
    left, right = (np.where(each >= 0, number[np.maximum(each, 0)], each) for each in (left, right))
    return Graph(num_nodes, number[head], left, right, complement[np.argsort(number)], third)


def all_proofs(graph: Graph, k: int) -> dict[int, set[frozenset]]:
    """All proofs of each node; of complements all that falsify some `k` proofs, each by one literal."""
    depth, _ = component_depths(graph.num_nodes, graph.head, graph.left, graph.right)
    proofs: dict[int, set[frozenset]] = {}

    def of(operand: int) -> set[frozenset]:
        return proofs[operand] if operand >= 0 else {frozenset() if operand == ONE else frozenset([operand])}

    for node in np.argsort(depth, kind="stable").tolist():
        proofs[node] = set()
        for place in np.flatnonzero(graph.head == node).tolist():
            left, right = of(int(graph.left[place])), of(int(graph.right[place]))
            if graph.complement[node]:
                kept = sorted(left, key=str)[-k:]
                proofs[node] |= {frozenset(("not", literal) for literal in each) for each in itertools.product(*kept)}
                continue
            third = of(int(graph.third[place]))
            proofs[node] |= {a | b | c for a, b, c in itertools.product(left, right, third)}
    return proofs


def bound(graph: Graph, k: int, most: int = 1000) -> int:
    depth, cyclic = component_depths(graph.num_nodes, graph.head, graph.left, graph.right)
    return longest_proof(graph, depth, cyclic, k, most)


@pytest.mark.parametrize("negates", [False, True])
def test_no_proof_is_longer_than_the_bound(negates: bool):
    generator, is_tight = np.random.default_rng(0), 0
    for _ in range(60):
        graph = random_graph(generator, 6, negates)
        longest = max(len(proof) for proofs in all_proofs(graph, 3).values() for proof in proofs)
        assert longest <= bound(graph, 3)
        is_tight += longest == bound(graph, 3)
        assert bound(graph, 3, most=2) <= 2
    # Where derivations share no literal, some proof is as long.
    assert is_tight > 10


def test_the_bound_of_a_chain_is_its_length_and_that_of_a_cycle_all_literals():
    nodes = np.arange(50)
    left = np.where(nodes > 0, nodes - 1, literal_operand(0))
    third = np.full(50, ONE)
    chain = Graph(50, nodes, left, literal_operand(1 + nodes), np.zeros(50, bool), third)
    assert bound(chain, 3) == 51
    chain.left[0] = 49
    assert bound(chain, 3, most=77) == 77


def test_lists_have_size_classes():
    assert [list_length(count) for count in (0, 1, 4, 5, 8, 9, 33)] == [4, 4, 4, 8, 8, 16, 64]
