"""An order of nodes and derivations that follows from what they are made of, whichever way they were found.

Tags that leave something out, as the k best proofs do, depend on the order in which derivations are joined, and on a
cycle on that of the nodes too. Here both follow from the derivations, down to the leaves. So the layout, and with it
every tag, is the same for all ways of grounding that find the derivations which are needed, whatever else they find.
"""

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from scallax.circuits.graph import Graph, relabel
from scallax.kernels.row_sets import group
from scallax.kernels.runs import ranges, row_order, run_starts, stable_order

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_HIGH = np.uint64(29)
# The round of a node that nothing supports.
_NEVER = np.iinfo(np.int64).max


def order_by_content(graph: Graph, outputs: np.ndarray) -> tuple[Graph, np.ndarray]:
    """The graph with nodes and derivations in an order that does not depend on the one they have; outputs renumbered.

    Nodes are ordered by the first round in which they can hold, then by a hash of their derivations. Nodes whose
    derivations are equal all the way down are one. The derivations of a node are ordered by their operands: those come
    first that can hold first. Literals keep their order; every node has a derivation. It takes linear time but for
    sorting, as long as literals tell the nodes of cycles apart.
    """
    if not graph.num_nodes:
        return graph, outputs
    for seed in itertools.count():
        rounds, keys = _find_contents(graph, seed)
        order = np.lexsort((keys, rounds))
        is_first = np.ones(len(order), np.bool_)
        keys, rounds = keys[order], rounds[order]
        is_first[1:] = (keys[1:] != keys[:-1]) | (rounds[1:] != rounds[:-1])
        position, rank = np.empty(len(order), np.int64), np.empty(len(order), np.int64)
        position[order], rank[order] = np.arange(len(order)), is_first.cumsum() - 1
        ordered = _renumber(graph, position, rank)
        # Should two hashes be equal by chance, others are taken.
        repeats = (~is_first).nonzero()[0]
        if not len(repeats):
            return ordered, _rename(outputs, position)
        if _are_alike(ordered, repeats - 1, repeats):
            break
    kept = is_first[ordered.head]
    ordered = Graph(
        int(rank[order[-1]]) + 1,
        rank[order][ordered.head[kept]],
        ordered.left[kept],
        ordered.right[kept],
        ordered.complement[is_first],
        None if ordered.third is None else ordered.third[kept],
    )
    return ordered, _rename(outputs, rank)


def _renumber(graph: Graph, position: np.ndarray, rank: np.ndarray) -> Graph:
    """The derivations in order, with heads by position and operands by rank."""
    head = position[graph.head]
    left, right = _rename(graph.left, rank), _rename(graph.right, rank)
    columns = [head, np.maximum(left, right), np.minimum(left, right), left]
    order = row_order(columns if graph.third is None else [*columns, graph.third])
    complement = np.empty_like(graph.complement)
    complement[position] = graph.complement
    third = None if graph.third is None else graph.third[order]
    return Graph(graph.num_nodes, head[order], left[order], right[order], complement, third)


def _rename(operands: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The operands with these numbers for nodes."""
    (renamed,) = relabel(numbers, operands)
    return renamed


def _are_alike(graph: Graph, some: np.ndarray, others: np.ndarray) -> bool:
    """Whether pairs of nodes have the same derivations; those of the graph are in order."""
    counts = np.bincount(graph.head, minlength=graph.num_nodes)
    starts = counts.cumsum() - counts
    if (graph.complement[some] != graph.complement[others]).any() or (counts[some] != counts[others]).any():
        return False
    rows, other_rows = ranges(starts[some], counts[some]), ranges(starts[others], counts[others])
    columns = [graph.left, graph.right, *([] if graph.third is None else [graph.third])]
    return all(np.array_equal(column[rows], column[other_rows]) for column in columns)


def _find_contents(graph: Graph, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """For each node the first round in which it can hold, int64, and a hash of what it is made of, uint64.

    All derivations are tried in every round. Hashes are of the derivations that hold first, then of all; then nodes are
    told apart by the hashes of their operands again and again, until no more of them differ.
    """
    operands = [graph.left, graph.right, *([] if graph.third is None else [graph.third])]
    # The leaves in use, in their order, then the nodes: a place for each operand from the lowest on.
    lowest = min(int(each.min(initial=0)) for each in operands)
    place = np.zeros(graph.num_nodes - lowest, np.int64)
    for each in operands:
        place[each[each < 0] - lowest] = 1
    num_leaves = int(place.sum())
    place = place.cumsum() - 1
    place[len(place) - graph.num_nodes :] = num_leaves + np.arange(graph.num_nodes)
    keys = np.zeros(num_leaves + graph.num_nodes, np.uint64)
    keys[:num_leaves] = _mix(np.full(num_leaves, seed, np.uint64), np.arange(num_leaves, dtype=np.uint64))
    of_nodes = keys[num_leaves:]
    places = [place[each - lowest] for each in operands]
    rounds = np.full(graph.num_nodes, _NEVER)
    for number, (heads, rows) in enumerate(_derive_in_rounds(graph)):
        rounds[heads] = number
        of_nodes[heads] = _hash_derivations(keys, places, graph, rows)
    by_head = stable_order(graph.head, graph.num_nodes)
    num_known = 0
    while True:
        of_nodes[:] = _mix(of_nodes, _hash_derivations(keys, places, graph, by_head))
        num_found = len(run_starts(np.sort(of_nodes)))
        if num_found in (num_known, graph.num_nodes):
            return rounds, of_nodes
        num_known = num_found


def _derive_in_rounds(graph: Graph) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each round the nodes, ascending, that are derived for the first time, and the derivations of them by head."""
    inner = [graph.left >= 0, graph.right >= 0]
    waiting = inner[0].astype(np.int64) + inner[1]
    users = np.concatenate([each.nonzero()[0] for each in inner])
    starts, order = group(np.concatenate([graph.left[inner[0]], graph.right[inner[1]]]), graph.num_nodes)
    users = users[order]
    found = np.zeros(graph.num_nodes, np.bool_)
    done = (waiting == 0).nonzero()[0]
    while True:
        done = done[~found[graph.head[done]]]
        done = done[stable_order(graph.head[done], graph.num_nodes)]
        heads = graph.head[done][run_starts(graph.head[done])]
        if not len(heads):
            return
        yield heads, done
        found[heads] = True
        touched = users[ranges(starts[heads], starts[heads + 1] - starts[heads])]
        # A derivation may name one node twice.
        np.subtract.at(waiting, touched, 1)
        done = np.sort(touched[waiting[touched] == 0])
        done = done[run_starts(done)]


def _hash_derivations(keys: np.ndarray, places: Sequence[np.ndarray], graph: Graph, rows: np.ndarray) -> np.ndarray:
    """For each head of the derivations `rows`, in order of heads, a hash of the multiset of their operands."""
    head = graph.head[rows]
    first = run_starts(head)
    derivations = _mix(*(keys[place[rows]] for place in places))
    return _mix(np.add.reduceat(derivations, first), graph.complement[head[first]].astype(np.uint64))


def _mix(*columns: np.ndarray) -> np.ndarray:
    """A hash uint64 `[rows]` of columns, in their order."""
    mixed = columns[0] * _MULTIPLIER
    high = np.right_shift(mixed, _HIGH)
    mixed ^= high
    for column in columns[1:]:
        mixed ^= column
        mixed *= _MULTIPLIER
        np.right_shift(mixed, _HIGH, out=high)
        mixed ^= high
    mixed *= _MULTIPLIER
    return mixed
