"""Components of a ground program: parts that have no literal in common."""

from dataclasses import dataclass

import numpy as np

from scallax.grounding.derivations import ONE, ZERO, Literals, operand_literal
from scallax.grounding.graph import Graph


@dataclass(frozen=True, slots=True)
class Components:
    """The component of each node and of each literal, int64, from 0; -1 for the literals that are shared.

    A component without literals of its own has the number 0, as what depends on shared literals only may have any.
    """

    of_node: np.ndarray
    of_literal: np.ndarray
    count: int

    def of_operands(self, operands: np.ndarray) -> np.ndarray:
        """The components of operand codes; 0 for what has none."""
        num_nodes, num_literals = len(self.of_node), len(self.of_literal)
        is_constant = (operands == ONE) | (operands == ZERO)
        literal = num_nodes + operand_literal(operands) % max(num_literals, 1)
        place = np.where(operands >= 0, operands, np.where(is_constant, num_nodes + num_literals, literal))
        return np.maximum(np.concatenate([self.of_node, self.of_literal, [-1]])[place], 0)


def find_components(graph: Graph, literals: Literals, num_shared: int) -> Components:
    """The components of a graph; the first `num_shared` literals may be in all of them.

    Nodes and literals are in one component if they depend on a common literal that is not shared, or their literals
    are of one group. A node that depends on shared literals only does not connect those that use it.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    num_nodes, num_literals = graph.num_nodes, len(literals)
    tails = np.concatenate([graph.left, graph.right] if graph.third is None else [graph.left, graph.right, graph.third])
    heads = np.tile(graph.head, len(tails) // max(len(graph.head), 1))
    # A complement is in the component of its literal.
    literal = operand_literal(tails) % max(num_literals, 1)
    is_leaf = (tails < 0) & (tails != ONE) & (tails != ZERO)
    there = (tails >= 0) | (is_leaf & (literal >= num_shared))
    heads, tails = heads[there], np.where(is_leaf, num_nodes + literal, tails)[there]
    if num_shared:
        open_nodes = np.zeros(num_nodes, np.bool_)
        open_nodes[heads[tails >= num_nodes]] = True
        inner = tails < num_nodes
        while True:
            grown = heads[inner][open_nodes[tails[inner]]]
            if open_nodes[grown].all():
                break
            open_nodes[grown] = True
        there = ~inner | open_nodes[np.where(inner, tails, 0)]
        heads, tails = heads[there], tails[there]
    own = np.arange(num_shared, num_literals)
    grouped = own[literals.group[own] >= 0]
    _, first = np.unique(literals.group[grouped], return_inverse=True)
    leader = np.empty(len(grouped), np.int64)
    leader[first[::-1]] = grouped[::-1]
    heads = np.concatenate([heads, num_nodes + leader[first]])
    tails = np.concatenate([tails, num_nodes + grouped])
    size = num_nodes + num_literals
    matrix = csr_array((np.ones(len(tails), np.int8), (tails, heads)), shape=(size, size))
    _, found = connected_components(matrix, directed=False)
    with_literals, number = np.unique(found[num_nodes + own], return_inverse=True)
    number_of = np.zeros(int(found.max(initial=-1)) + 1, np.int64)
    number_of[with_literals] = np.arange(len(with_literals))
    of_literal = np.full(num_literals, -1)
    of_literal[own] = number
    return Components(number_of[found[:num_nodes]], of_literal, max(len(with_literals), 1))
