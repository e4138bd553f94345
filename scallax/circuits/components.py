"""Components of a graph of derivations: parts that have no literal in common."""

import numpy as np

from scallax.circuits.graph import Graph
from scallax.grounding.derivations import ONE, ZERO, Literals, operand_literal
from scallax.kernels.row_sets import group
from scallax.kernels.runs import distinct, ranges
from scallax.language.records import record


@record
class Components:
    """The component of each node and of each literal, int64, from 0; -1 for the literals that are shared.

    A component without literals of its own has the number 0, as what depends on shared literals only may have any.
    """

    of_node: np.ndarray
    of_literal: np.ndarray
    count: int

    def of_operands(self, operands: np.ndarray) -> np.ndarray:
        """The components of operand codes; 0 for what has none."""
        # A negative code is a place from the end. A complement is in the component of its literal.
        literals = np.maximum(self.of_literal, 0)[::-1]
        return np.concatenate([self.of_node, literals, literals, [0, 0]])[operands]


def find_components(graph: Graph, literals: Literals, component_of: np.ndarray) -> Components:
    """The components of a graph.

    `component_of` int64 `[known literals]` gives components that share nothing but the literals of -1, which may be in
    all of them; the literals behind those, such as the tags of rules, are in one of them too. With such literals the
    components are found anew, as small as they are.
    """
    num_nodes, num_literals = graph.num_nodes, len(literals)
    if len(component_of) == num_literals:
        count = max(int(component_of.max(initial=-1)) + 1, 1)
        return Components(_components_of_nodes(graph, component_of), component_of, count)
    tails = np.concatenate([graph.left, graph.right] if graph.third is None else [graph.left, graph.right, graph.third])
    heads = np.tile(graph.head, len(tails) // max(len(graph.head), 1))
    # A complement is in the component of its literal.
    literal = operand_literal(tails) % max(num_literals, 1)
    is_leaf = (tails < 0) & (tails != ONE) & (tails != ZERO)
    is_own = np.ones(num_literals, np.bool_)
    is_own[: len(component_of)] = component_of >= 0
    own_leaf = is_leaf.nonzero()[0]
    own_leaf = own_leaf[is_own[literal[own_leaf]]]
    inner = (tails >= 0).nonzero()[0]
    leaves = heads[own_leaf], literal[own_leaf]
    edges = heads[inner], tails[inner]
    return _search(num_nodes, literals, is_own, leaves, edges)


def _components_of_nodes(graph: Graph, component_of: np.ndarray) -> np.ndarray:
    """The component of each node, from those of its leaves up; 0 where none comes."""
    of_node = np.full(graph.num_nodes, -1)
    # A negative code is a place from the end; constants, like shared literals, are in no component.
    of_leaf = np.concatenate([component_of[::-1], component_of[::-1], [-1, -1]])
    columns = [graph.left, graph.right] if graph.third is None else [graph.left, graph.right, graph.third]
    for column in columns:
        leaves = (column < 0).nonzero()[0]
        found = of_leaf[column[leaves]]
        own = (found >= 0).nonzero()[0]
        of_node[graph.head[leaves[own]]] = found[own]
    if (of_node >= 0).all():
        return of_node
    tails, heads = np.concatenate(columns), np.tile(graph.head, len(columns))
    inner = (tails >= 0).nonzero()[0]
    starts, order = group(tails[inner], graph.num_nodes)
    heads = heads[inner[order]]
    frontier = (of_node >= 0).nonzero()[0]
    while len(frontier):
        counts = starts[frontier + 1] - starts[frontier]
        users = heads[ranges(starts[frontier], counts)]
        found = of_node[frontier].repeat(counts)
        fresh = of_node[users] < 0
        users = users[fresh]
        of_node[users] = found[fresh]
        frontier = distinct(users, graph.num_nodes)
    return np.maximum(of_node, 0)


def _search(
    num_nodes: int,
    literals: Literals,
    is_own: np.ndarray,
    leaves: tuple[np.ndarray, np.ndarray],
    edges: tuple[np.ndarray, np.ndarray],
) -> Components:
    """The smallest components: nodes and literals that depend on a common own literal, or on ones of one group.

    A node that depends on no own literal does not connect those that use it.
    """
    heads, tails = edges
    open_nodes = np.zeros(num_nodes, np.bool_)
    open_nodes[leaves[0]] = True
    while True:
        grown = heads[open_nodes[tails]]
        if open_nodes[grown].all():
            break
        open_nodes[grown] = True
    connects = open_nodes[tails]
    own = is_own.nonzero()[0]
    grouped = own[literals.group[own] >= 0]
    group = literals.group[grouped]
    leader = np.empty(int(group.max(initial=-1)) + 1, np.int64)
    leader[group] = grouped
    heads = np.concatenate([heads[connects], leaves[0], num_nodes + leader[group]])
    tails = np.concatenate([tails[connects], num_nodes + leaves[1], num_nodes + grouped])
    found = _connected(num_nodes + len(literals), tails, heads)
    with_literals, number = np.unique(found[num_nodes + own], return_inverse=True)
    number_of = np.zeros(len(found), np.int64)
    number_of[with_literals] = np.arange(len(with_literals))
    of_literal = np.full(len(literals), -1)
    of_literal[own] = number
    return Components(number_of[found[:num_nodes]], of_literal, max(len(with_literals), 1))


def _connected(size: int, tails: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """The first node of each node's connected component; edges have no direction."""
    label = np.arange(size)
    while True:
        tail, head = label[tails], label[heads]
        apart = tail != head
        if not apart.any():
            return label
        tails, heads, tail, head = tails[apart], heads[apart], tail[apart], head[apart]
        # The later of two trees is hung below the earlier one. Then each node is hung below its tree's root.
        np.minimum.at(label, np.maximum(tail, head), np.minimum(tail, head))
        while (label[label] != label).any():
            label = label[label]
