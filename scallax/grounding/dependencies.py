"""What depends on what in derivations: the part that outputs need, and the order in which to evaluate it."""

import numpy as np

from scallax.grounding.derivations import Derivations
from scallax.kernels.runs import ranges


def needed_derivations(derivations: Derivations, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the derivations that outputs depend on, sorted by head, and which nodes those are."""
    by_head = np.argsort(derivations.head, kind="stable")
    counts = np.bincount(derivations.head, minlength=derivations.num_nodes)
    starts = np.cumsum(counts) - counts
    is_needed = np.zeros(derivations.num_nodes, bool)
    frontier = np.unique(outputs[outputs >= 0])
    while len(frontier):
        is_needed[frontier] = True
        used = by_head[ranges(starts[frontier], counts[frontier])]
        operands = np.concatenate([derivations.left[used], derivations.right[used]])
        frontier = np.unique(operands[operands >= 0])
        frontier = frontier[~is_needed[frontier]]
    return by_head[is_needed[derivations.head[by_head]]], is_needed


def component_depths(
    num_nodes: int, head: np.ndarray, left: np.ndarray, right: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """For each node the longest path of strongly connected components below it, and whether it is on a cycle."""
    if not num_nodes:
        return np.zeros(0, np.int64), np.zeros(0, bool)
    # SciPy takes half a second to import, and discrete programs have no layout.
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    tails = np.concatenate([left, right])
    heads = np.concatenate([head, head])[tails >= 0]
    tails = tails[tails >= 0]
    matrix = csr_array((np.ones(len(tails), np.int8), (tails, heads)), shape=(num_nodes, num_nodes))
    num_components, component = connected_components(matrix, directed=True, connection="strong")
    cyclic = np.bincount(component, minlength=num_components) > 1
    cyclic[component[tails[tails == heads]]] = True
    between = component[tails] != component[heads]
    tails, heads = component[tails[between]], component[heads[between]]
    by_tail = np.argsort(tails, kind="stable")
    counts = np.bincount(tails, minlength=num_components)
    starts = np.cumsum(counts) - counts
    waiting = np.bincount(heads, minlength=num_components)
    depth = np.zeros(num_components, np.int64)
    frontier = np.flatnonzero(waiting == 0)
    level = 0
    while len(frontier):
        depth[frontier] = level
        reached = heads[by_tail[ranges(starts[frontier], counts[frontier])]]
        np.subtract.at(waiting, reached, 1)
        frontier = np.unique(reached)
        frontier = frontier[waiting[frontier] == 0]
        level += 1
    return depth[component], cyclic[component]
