"""Nodes that hold whatever the literals: their derivations go, and operands that name them become ONE."""

from dataclasses import replace

import numpy as np

from scallax.grounding.conjunction import Pair, Rows
from scallax.grounding.derivations import ONE
from scallax.kernels.rows import expand_ranges, group


def propagate_certainty(rows: Rows, certain: np.ndarray, first_node: int) -> tuple[Rows, np.ndarray]:
    """Closes a set of certain nodes under derivation, in time linear in the derivations.

    `certain` bool `[nodes]` says of the nodes from `first_node` on which are known to be certain; returned
    are the rows without the certain heads and operands, and the closed set.
    """
    certain = certain.copy()
    operands = np.stack([rows.pair.left, rows.pair.right])
    negated = np.stack([rows.pair.left_negated, rows.pair.right_negated])
    waiting = np.count_nonzero((operands != ONE) | negated, axis=0)
    # Only a node of this range that is not negated can still become certain.
    sides, places = np.nonzero((operands >= first_node) & ~negated)
    starts, order = group(operands[sides, places] - first_node, len(certain))
    users = places[order]
    frontier = np.flatnonzero(certain)
    while len(frontier):
        _, positions = expand_ranges(starts[frontier], starts[frontier + 1] - starts[frontier])
        touched = users[positions]
        # A derivation may name one node twice, or two nodes of the frontier.
        np.subtract.at(waiting, touched, 1)
        heads = rows.head[touched[waiting[touched] == 0]] - first_node
        frontier = np.unique(heads[~certain[heads]])
        certain[frontier] = True
    return _simplify(rows, certain, first_node), certain


def _simplify(rows: Rows, certain: np.ndarray, first_node: int) -> Rows:
    rows = rows[~certain[rows.head - first_node]]
    pair = rows.pair
    left_held = _holds(pair.left, pair.left_negated, certain, first_node)
    right_held = _holds(pair.right, pair.right_negated, certain, first_node)
    right = np.where(right_held, ONE, pair.right)
    simple = Pair(
        np.where(left_held, right, pair.left),
        np.where(left_held, ONE, right),
        np.where(left_held, pair.right_negated, pair.left_negated),
        np.where(left_held, False, pair.right_negated),
    )
    return replace(rows, pair=simple, repeatable=rows.repeatable | left_held | right_held)


def _holds(operands: np.ndarray, negated: np.ndarray, certain: np.ndarray, first_node: int) -> np.ndarray:
    inner = (operands >= first_node) & ~negated
    return inner & certain[np.where(inner, operands - first_node, 0)]
