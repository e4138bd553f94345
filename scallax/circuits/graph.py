"""The part of the derivations that outputs depend on, as a graph that is rewritten before it is laid out."""

from dataclasses import dataclass

import numpy as np

from scallax.grounding.derivations import ONE, ZERO, Derivations, literal_operand, operand_literal
from scallax.grounding.reachability import needed_derivations
from scallax.kernels.row_sets import RowTable, group
from scallax.kernels.runs import distinct, ranges, ranks, run_ids, run_starts, stable_order

# More derivations of one node are split into trees of this width.
_MAX_FAN_IN = 32
# Parts in which a single node is conjoined with another node.
_MAX_PARTS = 8


@dataclass(slots=True)
class Graph:
    """The part of the derivations that outputs depend on, by head; node ids are dense, operands are codes."""

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
    return needed_derivations(num_nodes, head, left, right, operands)[1]


def relabel(of_nodes: np.ndarray, *columns: np.ndarray) -> list[np.ndarray]:
    """Columns of operands with what `of_nodes` says in the place of nodes; other codes stay."""
    lowest = min([int(operands.min(initial=0)) for operands in columns])
    # A negative code is a place from the end of the table.
    table = np.concatenate([of_nodes, np.arange(lowest, 0)])
    return [table[operands] for operands in columns]


def build_graph(derivations: Derivations, outputs: np.ndarray) -> tuple[Graph, np.ndarray]:
    """The derivations that outputs depend on, without aliases, and with a complement node for each negated operand."""
    graph, outputs, is_alias = _resolve_aliases(_negate_by_nodes(derivations), outputs)
    rows, needed = needed_derivations(graph.num_nodes, graph.head, graph.left, graph.right, outputs)
    graph.head, graph.left, graph.right = graph.head[rows], graph.left[rows], graph.right[rows]
    return _renumber(graph, needed & ~is_alias, outputs)


def _negate_by_nodes(derivations: Derivations) -> Graph:
    """All derivations, and behind them those of complement nodes for the operands that are negated."""
    count, head, left, right = derivations.num_nodes, derivations.head, derivations.left, derivations.right
    left_negated, right_negated = derivations.left_negated, derivations.right_negated
    if not (left_negated.any() or right_negated.any()):
        return Graph(count, head, left, right, np.zeros(count, bool))
    negated = np.sort(np.concatenate([left[left_negated], right[right_negated]]))
    negated = negated[run_starts(negated)]
    left = np.where(left_negated, count + np.searchsorted(negated, left), left)
    right = np.where(right_negated, count + np.searchsorted(negated, right), right)
    is_complement = np.arange(count + len(negated)) >= count
    return Graph(
        len(is_complement),
        np.concatenate([head, is_complement.nonzero()[0]]),
        np.concatenate([left, negated]),
        np.concatenate([right, np.full(len(negated), ONE)]),
        is_complement,
    )


def _renumber(graph: Graph, keep: np.ndarray, outputs: np.ndarray) -> tuple[Graph, np.ndarray]:
    """The graph with only the nodes of `keep`, numbered in their order; the others have no derivations."""
    new_id = keep.cumsum() - 1
    left, right, outputs = relabel(new_id, graph.left, graph.right, outputs)
    return Graph(int(keep.sum()), new_id[graph.head], left, right, graph.complement[keep], graph.third), outputs


def _compact(graph: Graph, keep: np.ndarray, outputs: np.ndarray) -> tuple[Graph, np.ndarray]:
    """The graph with only the nodes of `keep`, renumbered in order; derivations of others are dropped."""
    if keep.all():
        return graph, outputs
    rows = keep[graph.head].nonzero()[0]
    third = None if graph.third is None else graph.third[rows]
    kept = Graph(graph.num_nodes, graph.head[rows], graph.left[rows], graph.right[rows], graph.complement, third)
    return _renumber(kept, keep, outputs)


def _resolve_aliases(graph: Graph, outputs: np.ndarray) -> tuple[Graph, np.ndarray, np.ndarray]:
    """Replaces every node that is one operand, or nothing, by that operand or ZERO; the mask of these aliases.

    They have no derivations any more. A chain of aliases that closes on itself derives nothing.
    """
    head, left, right, complement = graph.head, graph.left, graph.right, graph.complement
    is_absent = (left == ZERO) | (right == ZERO)
    if is_absent.any():
        rows = (~is_absent | complement[head]).nonzero()[0]
        head, left, right = head[rows], left[rows], right[rows]
    fan_in = np.bincount(head, minlength=graph.num_nodes)
    is_alias = fan_in == 0
    target = np.full(graph.num_nodes, ZERO)
    lone = ((fan_in == 1) & ~complement)[head] & ((right == ONE) | (left == ONE))
    rows = lone.nonzero()[0]
    of_lone = head[rows]
    is_alias[of_lone] = True
    target[of_lone] = np.where(right[rows] == ONE, left[rows], right[rows])
    inner = of_lone[target[of_lone] >= 0]
    inner = inner[is_alias[target[inner]]]
    for _ in range(graph.num_nodes.bit_length() + 1):
        if not len(inner):
            break
        target[inner] = target[target[inner]]
        inner = inner[target[inner] >= 0]
        inner = inner[is_alias[target[inner]]]
    # Nodes that still point at an alias are on a cycle of aliases.
    target[inner] = ZERO
    others = (~is_alias).nonzero()[0]
    target[others] = others
    rows = (~lone).nonzero()[0]
    left, right, outputs = relabel(target, left[rows], right[rows], outputs)
    return Graph(graph.num_nodes, head[rows], left, right, complement), outputs, is_alias


def resolve_aliases(graph: Graph, outputs: np.ndarray) -> tuple[Graph, np.ndarray]:
    """The graph without nodes that are one operand, or nothing."""
    graph, outputs, is_alias = _resolve_aliases(graph, outputs)
    return _renumber(graph, ~is_alias, outputs)


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
    order = stable_order(head, graph.num_nodes)
    graph = Graph(graph.num_nodes, head[order], left[order], right[order], graph.complement)
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
    written = ((of_right == 1) & ~general[graph.head]).nonzero()[0]
    third = np.full(len(right), ONE)
    pair = own[right[written]]
    third[written], right[written] = graph.right[pair], graph.left[pair]
    return _drop_unused(Graph(graph.num_nodes, graph.head, left, right, graph.complement, third), outputs)


def _drop_unused(graph: Graph, outputs: np.ndarray) -> tuple[Graph, np.ndarray]:
    """The graph without nodes that nothing uses any more; none of these is on a cycle."""
    while True:
        # A leaf or ONE, at most -1, is the last entry.
        used = np.zeros(graph.num_nodes + 1, bool)
        for operands in (graph.left, graph.right, outputs):
            used[np.maximum(operands, -1)] = True
        if used[:-1].all():
            return graph, outputs
        graph, outputs = _compact(graph, used[:-1], outputs)


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
    found = np.zeros(graph.num_nodes + 1, bool)
    may_be = np.append((np.bincount(graph.head, minlength=graph.num_nodes) == 1) & ~graph.complement, True)
    rows = may_be[graph.head].nonzero()[0]
    # Leaves and ONE are at most -1: all read the last entry.
    head, left, right = graph.head[rows], np.maximum(graph.left[rows], -1), np.maximum(graph.right[rows], -1)
    rows = (may_be[left] & may_be[right]).nonzero()[0]
    head, left, right = head[rows], left[rows], right[rows]
    of_leaves = (left < 0) & (right < 0)
    found[head[of_leaves]] = True
    inner = (~of_leaves).nonzero()[0]
    if not len(inner):
        return found[:-1]
    operands, users = np.concatenate([left[inner], right[inner]]), np.concatenate([head[inner], head[inner]])
    of_node = (operands >= 0).nonzero()[0]
    operands, users = operands[of_node], users[of_node]
    waiting = np.bincount(users, minlength=graph.num_nodes)
    starts, order = group(operands, graph.num_nodes)
    users = users[order]
    frontier = found[:-1].nonzero()[0]
    while len(frontier):
        reached = users[ranges(starts[frontier], starts[frontier + 1] - starts[frontier])]
        np.subtract.at(waiting, reached, 1)
        frontier = distinct(reached[waiting[reached] == 0], graph.num_nodes)
        found[frontier] = True
    return found[:-1]


def split_fan_in(graph: Graph) -> Graph:
    """Nodes with many derivations become trees of nodes with at most `_MAX_FAN_IN`; these are not in order of heads."""
    while True:
        fan_in = np.bincount(graph.head, minlength=graph.num_nodes)
        if fan_in.max(initial=0) <= _MAX_FAN_IN:
            return graph
        order = stable_order(graph.head, graph.num_nodes)
        head = graph.head[order]
        wide = fan_in[head] > _MAX_FAN_IN
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
    # A negative code is a place from the end: that of ONE, as which nodes are read, is the last, then comes ZERO's.
    occurs = np.zeros(2 + 2 * num_literals, bool)
    for operands in (graph.left, graph.right, outputs):
        occurs[np.minimum(operands, -1)] = True
    if graph.third is not None:
        occurs[graph.third] = True
    return occurs[::-1][2:].nonzero()[0]
