"""Reachability in derivations: the part that outputs need, and an order in which to evaluate it."""

import numpy as np

from scallax.grounding.derivations import Derivations
from scallax.kernels.runs import distinct, ranges, stable_order


def needed_derivations(derivations: Derivations, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the derivations that outputs depend on, sorted by head, and which nodes those are."""
    by_head = stable_order(derivations.head, derivations.num_nodes)
    counts = np.bincount(derivations.head, minlength=derivations.num_nodes)
    starts = counts.cumsum() - counts
    is_needed = np.zeros(derivations.num_nodes, bool)
    frontier = distinct(outputs[outputs >= 0], derivations.num_nodes)
    while len(frontier):
        is_needed[frontier] = True
        used = by_head[ranges(starts[frontier], counts[frontier])]
        operands = np.concatenate([derivations.left[used], derivations.right[used]])
        frontier = distinct(operands[operands >= 0], derivations.num_nodes)
        frontier = frontier[~is_needed[frontier]]
    return by_head[is_needed[derivations.head[by_head]]], is_needed


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

    Edges go from `tails` to `heads`.
    """
    depth, is_reached = _longest_paths(num_nodes, tails, heads)
    if is_reached.all():
        return np.arange(num_nodes), depth, np.zeros(num_nodes, bool)
    # SciPy takes half a second to import, and only programs with cycles need it.
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    matrix = csr_array((np.ones(len(tails), np.int8), (tails, heads)), shape=(num_nodes, num_nodes))
    num_components, component = connected_components(matrix, directed=True, connection="strong")
    cyclic = np.bincount(component, minlength=num_components) > 1
    cyclic[component[tails[tails == heads]]] = True
    between = component[tails] != component[heads]
    depth, _ = _longest_paths(num_components, component[tails[between]], component[heads[between]])
    return component.astype(np.int64), depth, cyclic


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
