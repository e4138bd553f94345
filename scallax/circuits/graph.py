"""The part of the derivations that outputs depend on, as a graph that is rewritten before it is laid out."""

from dataclasses import dataclass

import numpy as np

from scallax.grounding.derivations import ONE, ZERO, Derivations, literal_operand, operand_literal
from scallax.kernels.row_sets import RowTable
from scallax.kernels.runs import distinct, ranges, ranks, run_ids, run_starts, stable_order

# More derivations of one node are split into trees of this width.
_MAX_FAN_IN = 32
# Parts in which a single node is conjoined with another node.
_MAX_PARTS = 8


@dataclass(slots=True)
class Graph:
    """The part of the derivations that outputs depend on; node ids are dense, operands are codes."""

    num_nodes: int
    head: np.ndarray
    left: np.ndarray
    right: np.ndarray
    complement: np.ndarray  # complement[n]: node n is the negation of its one operand
    third: np.ndarray | None = None  # a leaf beside a leaf on the right, ONE for none; only where leaves are told apart


def reachable(
    num_nodes: int, head: np.ndarray, left: np.ndarray, right: np.ndarray, operands: np.ndarray
) -> np.ndarray:
    """The nodes that some operands are or depend on."""
    by_head = stable_order(head, num_nodes)
    counts = np.bincount(head, minlength=num_nodes)
    starts = counts.cumsum() - counts
    found = np.zeros(num_nodes, bool)
    frontier = distinct(operands[operands >= 0], num_nodes)
    while len(frontier):
        found[frontier] = True
        used = by_head[ranges(starts[frontier], counts[frontier])]
        operands = np.concatenate([left[used], right[used]])
        frontier = distinct(operands[operands >= 0], num_nodes)
        frontier = frontier[~found[frontier]]
    return found


def negate_by_nodes(
    derivations: Derivations, outputs: np.ndarray, used: np.ndarray, needed: np.ndarray
) -> tuple[Graph, np.ndarray]:
    """The needed derivations and the outputs over dense node ids, with a complement node for each negated operand."""
    left, right = derivations.left[used], derivations.right[used]
    left_negated, right_negated = derivations.left_negated[used], derivations.right_negated[used]
    negated = np.sort(np.concatenate([left[left_negated], right[right_negated]]))
    negated = negated[run_starts(negated)]
    left = np.where(left_negated, derivations.num_nodes + np.searchsorted(negated, left), left)
    right = np.where(right_negated, derivations.num_nodes + np.searchsorted(negated, right), right)
    head = np.concatenate([derivations.head[used], derivations.num_nodes + np.arange(len(negated))])
    left = np.concatenate([left, negated])
    right = np.concatenate([right, np.full(len(negated), ONE)])
    complement = np.concatenate([np.zeros(derivations.num_nodes, bool), np.ones(len(negated), bool)])
    keep = np.concatenate([needed, np.ones(len(negated), bool)])
    return _compact(Graph(len(keep), head, left, right, complement), keep, outputs)


def _compact(graph: Graph, keep: np.ndarray, outputs: np.ndarray) -> tuple[Graph, np.ndarray]:
    """The graph with only the nodes of `keep`, renumbered in order; derivations of others are dropped."""
    new_id = keep.cumsum() - 1
    kept = keep[graph.head]

    def renumber(operands: np.ndarray) -> np.ndarray:
        return np.where(operands >= 0, new_id[np.maximum(operands, 0)], operands) if len(new_id) else operands

    graph = Graph(
        int(keep.sum()),
        new_id[graph.head[kept]],
        renumber(graph.left[kept]),
        renumber(graph.right[kept]),
        graph.complement[keep],
        None if graph.third is None else graph.third[kept],
    )
    return graph, renumber(outputs)


def resolve_aliases(graph: Graph, outputs: np.ndarray) -> tuple[Graph, np.ndarray]:
    """Replaces every node that is one operand, or nothing, by that operand or ZERO.

    A chain of aliases that closes on itself derives nothing.
    """
    if not graph.num_nodes:
        return graph, outputs
    absent = (graph.left == ZERO) | (graph.right == ZERO)
    absent &= ~graph.complement[graph.head]
    graph = Graph(graph.num_nodes, graph.head[~absent], graph.left[~absent], graph.right[~absent], graph.complement)
    fan_in = np.bincount(graph.head, minlength=graph.num_nodes)
    target = np.arange(graph.num_nodes)
    target[fan_in == 0] = ZERO
    single = (fan_in[graph.head] == 1) & ~graph.complement[graph.head]
    from_left = single & (graph.right == ONE)
    from_right = single & (graph.left == ONE) & ~from_left
    target[graph.head[from_left]] = graph.left[from_left]
    target[graph.head[from_right]] = graph.right[from_right]
    is_alias = target != np.arange(graph.num_nodes)
    for _ in range(graph.num_nodes.bit_length() + 1):
        inner = (is_alias & (target >= 0)).nonzero()[0]
        further = target[target[inner]]
        if np.array_equal(further, target[inner]):
            break
        target[inner] = further
    # An operand that still points at an alias is on a cycle of aliases.
    target[(target >= 0) & is_alias[np.maximum(target, 0)]] = ZERO

    def resolve(operands: np.ndarray) -> np.ndarray:
        return np.where(operands >= 0, target[np.maximum(operands, 0)], operands)

    resolved = Graph(graph.num_nodes, graph.head, resolve(graph.left), resolve(graph.right), graph.complement)
    return _compact(resolved, ~is_alias, resolve(outputs))


def spread_complements(graph: Graph, outputs: np.ndarray, most: int) -> tuple[Graph, np.ndarray]:
    """A complement of a sum of two to `most` literals has all of these as derivations, and is one minus them.

    The sum may be nearly one: rounded on its own, it would leave nothing but its error. Nodes that nothing uses any
    more are dropped.
    """
    counts = np.bincount(graph.head, minlength=graph.num_nodes)
    spread = (counts > 1) & (counts <= most) & ~graph.complement
    spread[graph.head[(graph.left >= 0) | (graph.right != ONE)]] = False
    whole = graph.complement[graph.head] & (graph.left >= 0)
    whole[whole] = spread[graph.left[whole]]
    if not whole.any():
        return graph, outputs
    sums = graph.left[whole]
    by_head = stable_order(graph.head, graph.num_nodes)
    members = by_head[ranges((counts.cumsum() - counts)[sums], counts[sums])]
    head = np.concatenate([graph.head[~whole], graph.head[whole].repeat(counts[sums])])
    left = np.concatenate([graph.left[~whole], graph.left[members]])
    right = np.concatenate([graph.right[~whole], graph.right[members]])
    graph = Graph(graph.num_nodes, head, left, right, graph.complement)
    return _compact(graph, reachable(graph.num_nodes, head, left, right, outputs), outputs)


def negate_literals(graph: Graph, outputs: np.ndarray, num_literals: int) -> tuple[Graph, np.ndarray]:
    """Complements of literals become leaves: the operands of literal ids from `num_literals` on."""
    first, last = literal_operand(0), literal_operand(2 * num_literals - 1)
    while True:
        is_leaf = graph.complement[graph.head] & (graph.left <= first)
        if not is_leaf.any():
            return graph, outputs
        # The complement of a complement is the literal.
        opposite = literal_operand((operand_literal(graph.left[is_leaf]) + num_literals) % (2 * num_literals))
        assert (opposite >= last).all()
        graph.left[is_leaf] = opposite
        graph.complement[graph.head[is_leaf]] = False
        graph, outputs = resolve_aliases(graph, outputs)


def inline_pairs(graph: Graph, single: np.ndarray, outputs: np.ndarray) -> tuple[Graph, np.ndarray]:
    """Conjunctions of two leaves are written out where they stand beside another operand, as `right` and `third`.

    `single` are the `single_nodes`. Operands are swapped so that what is simpler stands on the right. Nodes that
    nothing uses any more are dropped.
    """
    own = np.zeros(graph.num_nodes, np.int64)
    own[graph.head] = np.arange(len(graph.head))
    is_pair = single & (graph.left[own] < 0) & (graph.right[own] < 0) if len(own) else single
    # Leaves and ONE are at most -1: all read the last entry.
    rank = np.append(np.where(is_pair, 1, 2), 0)
    of_left, of_right = rank[np.maximum(graph.left, -1)], rank[np.maximum(graph.right, -1)]
    swap = of_right > of_left
    left, right = np.where(swap, graph.right, graph.left), np.where(swap, graph.left, graph.right)
    of_right = np.minimum(of_left, of_right)
    general = np.zeros(graph.num_nodes, bool)
    general[graph.head[of_right == 2]] = True
    written = (of_right == 1) & ~general[graph.head]
    third = np.full(len(right), ONE)
    pair = own[right[written]]
    third[written], right[written] = graph.right[pair], graph.left[pair]
    graph = Graph(graph.num_nodes, graph.head, left, right, graph.complement, third)
    return _compact(graph, reachable(graph.num_nodes, graph.head, left, right, outputs), outputs)


def chain_singles(graph: Graph) -> tuple[Graph, np.ndarray]:
    """A single node of more than two leaves beside another node is conjoined part by part: x (l r) = (x l) r.

    And the `single_nodes` of the result. A part adds a leaf, or two, whose weight in a proof is known; weights of
    conjunctions of two nodes are counted.
    """
    for _ in range(_MAX_PARTS):
        single, own = single_nodes(graph), np.zeros(graph.num_nodes, np.int64)
        own[graph.head] = np.arange(len(graph.head))
        if not single.any():
            return graph, single
        is_pair = single & (graph.left[own] < 0) & (graph.right[own] < 0)
        is_long = np.append(single & ~is_pair, False)
        simple = np.append(is_pair, True)
        # Leaves and ONE are at most -1: all read the last entry.
        left, right = np.maximum(graph.left, -1), np.maximum(graph.right, -1)
        swap = is_long[left] & ~is_long[right]
        x, part = np.where(swap, graph.right, graph.left), np.where(swap, graph.left, graph.right)
        cut = is_long[np.maximum(part, -1)] & ~simple[np.maximum(x, -1)] & ~graph.complement[graph.head]
        if not cut.any():
            return graph, single
        inner = own[part[cut]]
        # Simpler nodes are added last.
        first, last = graph.left[inner], graph.right[inner]
        flip = simple[np.maximum(first, -1)] & ~simple[np.maximum(last, -1)]
        first, last = np.where(flip, last, first), np.where(flip, first, last)
        pairs = RowTable(2)
        node = pairs.insert([x[cut], first], len(first))
        rest_left, rest_right = graph.left.copy(), graph.right.copy()
        rest_left[cut], rest_right[cut] = graph.num_nodes + node, last
        graph = Graph(
            graph.num_nodes + pairs.size,
            np.concatenate([graph.head, graph.num_nodes + np.arange(pairs.size)]),
            np.concatenate([rest_left, pairs.columns[0]]),
            np.concatenate([rest_right, pairs.columns[1]]),
            np.concatenate([graph.complement, np.zeros(pairs.size, bool)]),
        )
    return graph, single_nodes(graph)


def single_nodes(graph: Graph) -> np.ndarray:
    """The nodes that have one derivation, of leaves and such nodes: they have at most one proof."""
    single = (np.bincount(graph.head, minlength=graph.num_nodes) == 1) & ~graph.complement
    operands = np.concatenate([graph.left, graph.right])
    heads = np.concatenate([graph.head, graph.head])[operands >= 0]
    operands = operands[operands >= 0]
    waiting = np.bincount(heads, minlength=graph.num_nodes)
    by_operand = stable_order(operands, graph.num_nodes)
    counts = np.bincount(operands, minlength=graph.num_nodes)
    starts = counts.cumsum() - counts
    frontier = (single & (waiting == 0)).nonzero()[0]
    found = np.zeros(graph.num_nodes, bool)
    while len(frontier):
        found[frontier] = True
        users = heads[by_operand[ranges(starts[frontier], counts[frontier])]]
        np.subtract.at(waiting, users, 1)
        frontier = distinct(users[single[users] & (waiting[users] == 0)], graph.num_nodes)
    return found


def split_fan_in(graph: Graph) -> Graph:
    """Nodes with many derivations become trees of nodes with at most `_MAX_FAN_IN`."""
    while True:
        order = stable_order(graph.head, graph.num_nodes)
        head = graph.head[order]
        fan_in = np.bincount(head, minlength=graph.num_nodes)
        wide = fan_in[head] > _MAX_FAN_IN
        if not wide.any():
            return graph
        # One new node for each chunk of derivations of a wide head.
        chunk = run_ids(head[wide], ranks(head[wide]) // _MAX_FAN_IN)
        parts = graph.num_nodes + chunk
        first = run_starts(chunk)
        new_head = head.copy()
        new_head[wide] = parts
        num_parts = len(first)
        graph = Graph(
            graph.num_nodes + num_parts,
            np.concatenate([new_head, head[wide][first]]),
            np.concatenate([graph.left[order], parts[first]]),
            np.concatenate([graph.right[order], np.full(num_parts, ONE)]),
            np.concatenate([graph.complement, np.zeros(num_parts, bool)]),
            None if graph.third is None else np.concatenate([graph.third[order], np.full(num_parts, ONE)]),
        )


def leaf_ids(graph: Graph, outputs: np.ndarray, num_literals: int) -> np.ndarray:
    """The literal ids of all operands that are leaves, ascending; that of a complement is larger by their number."""
    operands = np.concatenate([graph.left, graph.right, outputs])
    if graph.third is not None:
        operands = np.concatenate([operands, graph.third])
    return distinct(operand_literal(operands[operands <= literal_operand(0)]), 2 * num_literals)
