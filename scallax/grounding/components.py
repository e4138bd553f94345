"""Components of a ground program: parts that have no literal in common, and the numbers of their literals."""

from collections.abc import Mapping

import numpy as np

from scallax.grounding.derivations import Literals, literal_operand, operand_literal
from scallax.grounding.sizes import Sizes


def find_components(
    num_nodes: int,
    head: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    literals: Literals,
    num_shared: int,
) -> tuple[np.ndarray, np.ndarray]:
    """The component of each node and of each literal, from 0; -1 for the literals that are shared.

    Nodes and literals are in one component if they depend on a common literal that is not shared, or their literals
    are of one group. A node that depends on shared literals only does not connect those that use it.
    """
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import connected_components

    num_literals = len(literals)
    heads = np.concatenate([head, head])
    tails = np.concatenate([left, right])
    there = (tails >= 0) | (tails <= literal_operand(num_shared))
    heads, tails = heads[there], tails[there]
    if num_shared:
        open_nodes = np.zeros(num_nodes, np.bool_)
        open_nodes[heads[tails < 0]] = True
        inner = tails >= 0
        while True:
            grown = heads[inner][open_nodes[tails[inner]]]
            if open_nodes[grown].all():
                break
            open_nodes[grown] = True
        there = ~inner | open_nodes[np.where(inner, tails, 0)]
        heads, tails = heads[there], tails[there]
    tails = np.where(tails >= 0, tails, num_nodes + operand_literal(tails))
    own = np.arange(num_shared, num_literals)
    grouped = own[literals.group[own] >= 0]
    _, first = np.unique(literals.group[grouped], return_inverse=True)
    leader = np.empty(len(grouped), np.int64)
    leader[first[::-1]] = grouped[::-1]
    heads = np.concatenate([heads, num_nodes + leader[first]])
    tails = np.concatenate([tails, num_nodes + grouped])
    size = num_nodes + num_literals
    matrix = csr_array((np.ones(len(tails), np.int8), (tails, heads)), shape=(size, size))
    _, component = connected_components(matrix, directed=False)
    of_literal = component[num_nodes:].astype(np.int64)
    of_literal[:num_shared] = -1
    return component[:num_nodes].astype(np.int64), of_literal


def local_arrays(
    order: np.ndarray, component: np.ndarray, num_components: int, num_literals: int, sizes: Sizes
) -> tuple[dict, np.ndarray]:
    """The numbers of the literals in their components, and the place of each component in the table of these.

    `order` are the literals in use, those that are shared first; components without a literal of their own are the
    first of the table.
    """
    of_literal = component[order]
    num_shared = int(np.searchsorted(of_literal, 0))
    own = of_literal[num_shared:]
    number = np.cumsum(np.diff(own, prepend=own[:1]) != 0)
    count = int(number[-1]) + 1 if len(number) else 1
    bit = np.concatenate([np.arange(num_shared), num_shared + np.arange(len(own)) - np.searchsorted(own, own)])
    table = np.full(
        (sizes.pad("components", count), 32 * sizes.words(int(bit.max(initial=-1)) + 1)), num_literals, np.int32
    )
    table[:, :num_shared] = np.arange(num_shared)
    table[number, bit[num_shared:]] = num_shared + np.arange(len(own))
    place = np.zeros(num_components, np.int64)
    place[own] = number
    return {"literal_bit": np.pad(bit, (0, num_literals - len(bit))).astype(np.int32), "bit_literals": table}, place


def not_local() -> dict:
    """The arrays of a program whose literals are numbered all together."""
    empty = np.zeros(0, np.int32)
    return {
        "literal_bit": empty,
        "bit_literals": np.zeros((0, 0), np.int32),
        "place_components": empty,
        "output_components": empty,
    }


def find_exclusions(group: np.ndarray, num_literals: int, local: Mapping[str, np.ndarray], sizes: Sizes) -> np.ndarray:
    """For each literal the bit set of the others of its group, uint32 `[literals, words]`."""
    members = np.flatnonzero(group >= 0)
    has_groups = len(members) > 0 and int(np.bincount(group[members]).max()) > 1
    sizes.counts["groups"] = int(has_groups)
    num_words = -(-num_literals // 32)
    bit_of = members
    if len(local["bit_literals"]):
        num_words = local["bit_literals"].shape[1] // 32
        bit_of = local["literal_bit"][members]
    if not has_groups:
        has_words = sizes.least is not None and sizes.least.get("groups", 0)
        return np.zeros((num_literals, num_words if has_words else 0), np.uint32)
    groups, inverse = np.unique(group[members], return_inverse=True)
    bits = np.uint32(1) << (bit_of % 32).astype(np.uint32)
    whole = np.zeros((len(groups), num_words), np.uint32)
    np.bitwise_or.at(whole, (inverse, bit_of // 32), bits)
    exclusions = np.zeros((num_literals, num_words), np.uint32)
    exclusions[members] = whole[inverse]
    exclusions[members, bit_of // 32] &= ~bits
    return exclusions
