"""Bounds of proofs: how many literals the proofs of a circuit have at most, found without any proof."""

from itertools import pairwise

import numpy as np

from scallax.circuits.graph import Graph
from scallax.grounding.derivations import ONE, ZERO
from scallax.kernels.runs import run_starts, stable_order
from scallax.provenance.traits import MAX_INCLUSION_EXCLUSION, Traits

# The shortest lists of columns that proofs are.
_LEAST_LENGTH = 4

# Words of a bit set that take as long as one place of a list: joins and comparisons of words are one operation each,
# and lists are merged.
WORDS_OF_PLACE = 4


def longest_proof(graph: Graph, depth: np.ndarray, cyclic: np.ndarray, k: int, most: int) -> int:
    """The most literals that a proof of some node has, if tags are the `k` best proofs; `most` where nothing is known.

    `depth` and `cyclic` are those of the nodes, as `component_depths` gives them; `most` is how many literals a proof
    can have at all. A conjunction has the literals of its operands, and a proof of a complement falsifies each of at
    most `k` proofs by one literal. Proofs of nodes on a cycle may grow with every round. Linear in the derivations.
    """
    if graph.third is None and graph.complement.any():
        # Formulas are kept as they came: a disjunction of negations is as long as all of them.
        return most
    found = np.where(cyclic, most, np.where(graph.complement, min(k, most), 0))
    by_head = stable_order(graph.head, graph.num_nodes)
    order = by_head[stable_order(depth[graph.head[by_head]], int(depth.max(initial=0)) + 1)]
    order = order[~(cyclic | graph.complement)[graph.head[order]]]
    head = graph.head[order]
    sides = [graph.left[order], graph.right[order], *([] if graph.third is None else [graph.third[order]])]
    leaves = np.sum([(side < 0) & (side != ONE) & (side != ZERO) for side in sides], axis=0)
    starts = run_starts(depth[head])
    for first, last in pairwise([*starts.tolist(), len(head)]):
        length = leaves[first:last].copy()
        for side in sides[:2]:
            operand = side[first:last]
            length += np.where(operand >= 0, found[np.maximum(operand, 0)], 0)
        heads = run_starts(head[first:last])
        found[head[first:last][heads]] = np.minimum(np.maximum.reduceat(length, heads), most)
    return max(int(found.max(initial=0)), min(1, most))


def list_length(longest: int) -> int:
    """The length of lists for proofs of so many literals: 4, 8, 16, 32, ..."""
    return max(_LEAST_LENGTH, 1 << (max(longest, 1) - 1).bit_length())


def may_take_lists(traits: Traits, *, counts_groups: bool) -> bool:
    """Whether proofs of a circuit may be lists: where groups are single variables, decisions need those of all."""
    return traits.num_proofs > 0 and not (counts_groups and traits.num_proofs > MAX_INCLUSION_EXCLUSION)


def takes_lists(length: int, words: int) -> bool:
    """Whether lists of this length take less time than bit sets of so many words."""
    return WORDS_OF_PLACE * length < words
