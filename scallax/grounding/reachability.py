"""Reachability in derivations: the part that outputs need, and an order in which to evaluate it."""

import numpy as np

from scallax.kernels.runs import distinct, ranges, stable_order

# SciPy is faster from some hundreds of edges on, and takes a quarter of a second to import.
_FEW_EDGES = 10_000


def needed_derivations(
    num_nodes: int, head: np.ndarray, left: np.ndarray, right: np.ndarray, outputs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the derivations that outputs depend on, sorted by head, and which nodes those are."""
    by_head = stable_order(head, num_nodes)
    counts = np.bincount(head, minlength=num_nodes)
    starts = counts.cumsum() - counts
    is_needed = np.zeros(num_nodes, bool)
    frontier = distinct(outputs[outputs >= 0], num_nodes)
    while len(frontier):
        is_needed[frontier] = True
        used = by_head[ranges(starts[frontier], counts[frontier])]
        operands = np.concatenate([left[used], right[used]])
        frontier = distinct(operands[operands >= 0], num_nodes)
        frontier = frontier[~is_needed[frontier]]
    return by_head[is_needed[head[by_head]]], is_needed


def component_depths(
    num_nodes: int, head: np.ndarray, left: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each node the longest path of strongly connected components below it, and whether it is on a cycle."""
    if not num_nodes:
        return np.zeros(0, np.int64), np.zeros(0, bool)
    operands = np.concatenate([left, right])
    heads = np.concatenate([head, head])[operands >= 0]
    component, depth, cyclic = strong_components(num_nodes, operands[operands >= 0], heads)
    return depth[component], cyclic[component]


def strong_components(
    num_nodes: int, tails: np.ndarray, heads: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The strongly connected component of each node; by component, the longest path to it and whether it is a cycle.

    Edges go from `tails` to `heads`. Components are numbered in the order of their first nodes.
    """
    depth, is_above = _longest_paths(num_nodes, tails, heads)
    if is_above.all():
        return np.arange(num_nodes), depth, np.zeros(num_nodes, bool)
    # Between what no cycle leads to and what leads to no cycle.
    _, is_below = _longest_paths(num_nodes, heads, tails)
    core = np.flatnonzero(~(is_above | is_below))
    place = np.full(num_nodes, -1)
    place[core] = np.arange(len(core))
    within = (place[tails] >= 0) & (place[heads] >= 0)
    leader = np.arange(num_nodes)
    leader[core] = core[_component_leaders(len(core), place[tails[within]], place[heads[within]])]
    component = np.cumsum(leader == np.arange(num_nodes))[leader] - 1
    num_components = int(component.max()) + 1
    cyclic = np.bincount(component, minlength=num_components) > 1
    cyclic[component[tails[tails == heads]]] = True
    between = component[tails] != component[heads]
    depth, _ = _longest_paths(num_components, component[tails[between]], component[heads[between]])
    return component, depth, cyclic


def _component_leaders(num_nodes: int, tails: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """The first node of each node's strongly connected component."""
    if len(tails) <= _FEW_EDGES:
        return _search_components(num_nodes, tails, heads)
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    matrix = csr_array((np.ones(len(tails), np.int8), (tails, heads)), shape=(num_nodes, num_nodes))
    _, component = connected_components(matrix, directed=True, connection="strong")
    _, first = np.unique(component, return_index=True)
    return first[component]


def _search_components(num_nodes: int, tails: np.ndarray, heads: np.ndarray) -> np.ndarray:
    """As `_component_leaders`, by Tarjan's search depth first (SIAM Journal on Computing 1, 1972) without recursion."""
    ends = np.bincount(tails, minlength=num_nodes).cumsum().tolist()
    following = [0, *ends[:-1]]
    targets = heads[stable_order(tails, num_nodes)].tolist()
    # Dates are from 1; that of a node whose component is found is later than all.
    low, found = [0] * num_nodes, num_nodes + 1
    leaders = np.zeros(num_nodes, np.int64)
    date = 0
    # The nodes that are met and have no component yet, and those of them that are not left.
    met: list[int] = []
    path: list[tuple[int, int]] = []
    for root in range(num_nodes):
        if low[root]:
            continue
        node = root
        while True:
            if not low[node]:
                date += 1
                low[node] = date
                met.append(node)
                path.append((node, date))
            if following[node] < ends[node]:
                target = targets[following[node]]
                following[node] += 1
                if not low[target]:
                    node = target
                elif low[target] < low[node]:
                    low[node] = low[target]
                continue
            _, own_date = path.pop()
            if low[node] == own_date:
                start = len(met) - 1
                while met[start] != node:
                    start -= 1
                members = met[start:]
                del met[start:]
                leaders[members] = min(members)
                for member in members:
                    low[member] = found
            if not path:
                break
            below = low[node]
            node = path[-1][0]
            if below < low[node]:
                low[node] = below
    return leaders


def _longest_paths(num_nodes: int, tails: np.ndarray, heads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The edges on the longest path to each node, and which nodes no cycle leads to: those that it holds for."""
    by_tail = stable_order(tails, num_nodes)
    counts = np.bincount(tails, minlength=num_nodes)
    starts = counts.cumsum() - counts
    waiting = np.bincount(heads, minlength=num_nodes)
    depth = np.zeros(num_nodes, np.int64)
    frontier = (waiting == 0).nonzero()[0]
    level = 0
    while len(frontier):
        depth[frontier] = level
        reached = heads[by_tail[ranges(starts[frontier], counts[frontier])]]
        np.subtract.at(waiting, reached, 1)
        frontier = distinct(reached[waiting[reached] == 0], num_nodes)
        level += 1
    return depth, waiting == 0
