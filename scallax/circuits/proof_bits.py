"""Columns of proofs: the bits that stand for literals in the polarities in which these may occur."""

import numpy as np

from scallax.circuits.circuit import ProofColumns
from scallax.circuits.components import Components
from scallax.circuits.graph import Graph, leaf_ids, reachable
from scallax.circuits.size_classes import COLUMN_COUNTS, Sizes, padded
from scallax.grounding.derivations import Literals

# In which polarities a literal may occur in a proof.
_BOTH, _POSITIVE, _NEGATED = range(3)


def column_arrays(
    graph: Graph,
    outputs: np.ndarray,
    literals: Literals,
    order: np.ndarray,
    num_literals: int,
    components: Components | None,
    sizes: Sizes,
) -> tuple[ProofColumns, tuple[np.ndarray, np.ndarray] | None]:
    """The columns that the proofs of a circuit have, and the exclusions as sets of columns.

    Without complements of literals as leaves, all literals have a column in every polarity that the program has.
    `order` are the literals in use, padded to `num_literals`. With components, columns are numbered in each of them:
    the second result is then the literal at each place of a component, and the columns of places, as in `LocalColumns`.
    """
    group = literals.group[order]
    members = group[group >= 0]
    has_groups = len(members) > 0 and int(np.bincount(members).max()) > 1
    sizes.counts["groups"] = int(has_groups)
    has_exclusions = has_groups or bool((sizes.least or {}).get("groups", 0))
    by_place = None
    if graph.third is None:
        positive, negated = np.ones(len(order), bool), np.full(len(order), bool(graph.complement.any()))
    else:
        positive, negated = (occurs[order] for occurs in _polarities(graph, outputs, len(literals)))
    kind = np.where(positive & negated, _BOTH, np.where(negated, _NEGATED, _POSITIVE))
    if components is not None and has_groups and negated.any():
        # Members of a group stand side by side in each component: all are of one kind.
        kind[:] = _BOTH
    of_literal = np.full(len(order), -1) if components is None else components.of_literal[order]
    number, counts = _number(kind, of_literal)
    both, *only = (sizes.at_least(name, count) for name, count in zip(COLUMN_COUNTS, counts, strict=True))
    num_both = _num_words(both)
    used = [padded(32 * num_both + count) if count else padded(both) if both else 0 for count in only]
    words = [max(1, -(-used[0] // 32)), -(-used[1] // 32)]
    place = np.where(kind == _BOTH, number, 32 * num_both + number)
    column_of = np.full((2, num_literals), -1, np.int32)
    for polarity, other in enumerate((_NEGATED, _POSITIVE)):
        column_of[polarity, : len(order)] = np.where(kind == other, -1, 32 * words[0] * polarity + place)
    literal_of_place = np.arange(len(order))
    if components is not None:
        first = np.array([0, both, both + only[0]])
        literal_of_place = first[kind] + number
        by_place = _local_arrays(components, of_literal, literal_of_place, both + sum(only), column_of, sizes)
    columns = np.full(32 * sum(words), -1, np.int32)
    for column in column_of[:, : len(order)]:
        columns[column[column >= 0]] = literal_of_place[column >= 0]
    exclusions = np.zeros((num_literals, words[0] if has_exclusions else 0), np.uint32)
    if has_groups:
        _exclude(exclusions, group, column_of[0])
    return ProofColumns((words[0], num_both, words[1], used[0], used[1]), columns, column_of, exclusions), by_place


def _number(kind: np.ndarray, component: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Numbers of literals among those of their kind and component, behind the shared ones; how many of each kind.

    Literals are in order of their components, the shared ones (-1) first.
    """
    number, counts = np.zeros(len(kind), np.int64), []
    for each in (_BOTH, _POSITIVE, _NEGATED):
        of_kind = (kind == each).nonzero()[0]
        own = component[of_kind]
        num_shared = int(np.searchsorted(own, 0))
        behind = np.where(own >= 0, num_shared, 0)
        number[of_kind] = behind + np.arange(len(own)) - np.searchsorted(own, own)
        counts.append(int(number[of_kind].max(initial=-1)) + 1)
    return number, counts


def _local_arrays(
    components: Components,
    of_literal: np.ndarray,
    place: np.ndarray,
    num_places: int,
    column_of: np.ndarray,
    sizes: Sizes,
) -> tuple[np.ndarray, np.ndarray]:
    """The literal at each place of a component, and the columns of places."""
    num_literals = column_of.shape[1]
    shared = (of_literal < 0).nonzero()[0]
    own = (of_literal >= 0).nonzero()[0]
    table = np.full((sizes.pad("components", components.count), max(num_places, 1)), num_literals, np.int32)
    table[:, place[shared]] = shared
    table[of_literal[own], place[own]] = own
    columns = np.full((2, table.shape[1]), -1, np.int32)
    columns[:, place] = column_of[:, : len(place)]
    return table, columns


def _polarities(graph: Graph, outputs: np.ndarray, num_literals: int) -> tuple[np.ndarray, np.ndarray]:
    """In which polarities each literal may occur in a proof: below a complement of a node, in both."""
    leaves = leaf_ids(graph, outputs, num_literals)
    occurs = np.zeros(2 * num_literals, bool)
    occurs[leaves] = True
    if not graph.complement.any():
        return occurs[:num_literals], occurs[num_literals:]
    below = reachable(graph.num_nodes, graph.head, graph.left, graph.right, graph.left[graph.complement[graph.head]])
    assert graph.third is not None
    used = below[graph.head]
    inside = leaf_ids(
        Graph(0, graph.head[used], graph.left[used], graph.right[used], graph.complement, graph.third[used]),
        outputs[:0],
        num_literals,
    )
    occurs[inside] = True
    occurs[(inside + num_literals) % (2 * num_literals) if num_literals else inside] = True
    return occurs[:num_literals], occurs[num_literals:]


def _num_words(count: int) -> int:
    return -(-padded(count) // 32) if count else 0


def _exclude(exclusions: np.ndarray, group: np.ndarray, column: np.ndarray) -> None:
    """Writes for each literal the bit set of the columns of the others of its group."""
    members = ((group >= 0) & (column[: len(group)] >= 0)).nonzero()[0]
    place = column[members]
    bits = np.uint32(1) << (place % 32).astype(np.uint32)
    whole = np.zeros((int(group.max()) + 1, exclusions.shape[1]), np.uint32)
    np.bitwise_or.at(whole, (group[members], place // 32), bits)
    exclusions[members] = whole[group[members]]
    exclusions[members, place // 32] &= ~bits
