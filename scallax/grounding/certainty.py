"""Nodes that hold whatever the literals: derivations of certain ones go, and operands that name them become ONE.

Where one joined with something is not one, such nodes keep their derivations, and it is only known that they hold.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from scallax.grounding.conjunction import DerivationBuilder, Pair, Rows
from scallax.grounding.derivations import CERTAIN_PRIOR, ONE, literal_operand, operand_literal
from scallax.grounding.selected_literals import SelectionSet
from scallax.kernels.row_sets import RowTable, expand_ranges, group

# From constant tags, float64 `[facts]`, to a mask of the facts that hold in every world; NaN is no constant tag.
CannotFail = Callable[[np.ndarray], np.ndarray]


def propagate_certainty(rows: Rows, certain: np.ndarray, first_node: int) -> tuple[Rows, np.ndarray]:
    """Closes a set of certain nodes under derivation, in time linear in the derivations.

    `certain` bool `[nodes]` says of the nodes from `first_node` on which are known to be certain; returned
    are the rows without the certain heads and operands, and the closed set.
    """
    certain = _close(rows, certain, first_node)
    return _simplify(rows, certain, first_node), certain


@dataclass(slots=True)
class Unfailing:
    """The operands that hold in every world and are not ONE, as their tags count: nodes and literals.

    `is_certain` says which facts with constant tags do, beside untagged ones. `nodes` and `literals` are masks, by id;
    what they do not reach is not known to hold. `one_nodes` and `one_literals` are those among them that weigh as much
    as ONE: untagged facts, and what has one derivation, from these. `selection_sets` are selections that the builder
    does not know.
    """

    is_certain: CannotFail | None = None
    nodes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.bool_))
    one_nodes: np.ndarray = field(default_factory=lambda: np.zeros(0, np.bool_))
    selection_sets: Sequence[SelectionSet] = ()
    literals: np.ndarray = field(default_factory=lambda: np.zeros(0, np.bool_))
    one_literals: np.ndarray = field(default_factory=lambda: np.zeros(0, np.bool_))

    def holds(self, operands: np.ndarray) -> np.ndarray:
        """A mask of the operands that hold in every world, ONE among them."""
        return _among(operands, self.nodes, self.literals)

    def are_one(self, operands: np.ndarray) -> np.ndarray:
        """A mask of the operands that are known to weigh as much as ONE."""
        return _among(operands, self.one_nodes, self.one_literals)

    def extend(self, builder: DerivationBuilder, first_node: int, first_part: int) -> None:
        """Finds those among the nodes from `first_node` on, whose derivations are the parts from `first_part` on."""
        self.find_literals(builder)
        rows = builder.rows(first_part)
        self.nodes = _grow(self.nodes, rows, self.holds, first_node, builder.num_nodes)
        heads = rows.head - first_node
        rows = rows[(np.bincount(heads)[heads] == 1).nonzero()[0]]
        self.one_nodes = _grow(self.one_nodes, rows, self.are_one, first_node, builder.num_nodes)

    def find_literals(self, builder: DerivationBuilder) -> None:
        """Finds those among the literals."""
        literals = builder.literals()
        # One fact of a group may hold without the others, unless the algebra ignores groups.
        untagged = (literals.prior == CERTAIN_PRIOR) & (literals.group < 0)
        held = untagged if self.is_certain is None else untagged | self.is_certain(literals.prior)
        is_constant = (literals.source < 0) & (literals.parameter < 0)
        for selections in (*self.selection_sets, *builder.selection_sets):
            is_constant[selections.literals] = False
        self.one_literals, self.literals = untagged & is_constant, held & is_constant


def _among(operands: np.ndarray, nodes: np.ndarray, literals: np.ndarray) -> np.ndarray:
    """A mask of the operands that are ONE, or that are in one of two masks by id."""
    found = operands == ONE
    is_node = (operands >= 0) & (operands < len(nodes))
    found[is_node] = nodes[operands[is_node]]
    is_literal = (operands <= literal_operand(0)) & (operands > literal_operand(len(literals)))
    found[is_literal] = literals[operand_literal(operands[is_literal])]
    return found


def _grow(
    nodes: np.ndarray, rows: Rows, are_known: Callable[[np.ndarray], np.ndarray], first_node: int, num_nodes: int
) -> np.ndarray:
    """The mask `nodes` of all nodes, with those from `first_node` on that follow by `rows` from what is known."""
    left = are_known(rows.pair.left) & ~rows.pair.left_negated
    right = are_known(rows.pair.right) & ~rows.pair.right_negated
    grown = np.zeros(num_nodes, np.bool_)
    grown[: len(nodes)] = nodes
    known = np.zeros(num_nodes - first_node, np.bool_)
    known[rows.head[left & right] - first_node] = True
    if known.any():
        pair = replace(rows.pair, left=np.where(left, ONE, rows.pair.left), right=np.where(right, ONE, rows.pair.right))
        grown[first_node:] = _close(replace(rows, pair=pair), known, first_node)
    return grown


def _close(rows: Rows, certain: np.ndarray, first_node: int) -> np.ndarray:
    """The nodes of `certain` and those that follow from them."""
    certain = certain.copy()
    operands = np.stack([rows.pair.left, rows.pair.right])
    negated = np.stack([rows.pair.left_negated, rows.pair.right_negated])
    waiting = np.count_nonzero((operands != ONE) | negated, axis=0)
    # Only a node of this range that is not negated can still become certain.
    sides, places = np.nonzero((operands >= first_node) & ~negated)
    starts, order = group(operands[sides, places] - first_node, len(certain))
    users = places[order]
    frontier = certain.nonzero()[0]
    while len(frontier):
        _, positions = expand_ranges(starts[frontier], starts[frontier + 1] - starts[frontier])
        touched = users[positions]
        # A derivation may name one node twice, or two nodes of the frontier.
        np.subtract.at(waiting, touched, 1)
        heads = rows.head[touched[waiting[touched] == 0]] - first_node
        frontier = np.unique(heads[~certain[heads]])
        certain[frontier] = True
    return certain


def share_conjunctions(rows: Rows, conjunctions: np.ndarray) -> Rows:
    """The rows in which each conjunction of operands is one node again, after some of the operands went.

    `conjunctions` are the nodes that are nothing but a conjunction, as ids. One that has a single operand left is
    replaced by it, one of the same operands as another by that. Then equal derivations are equal rows.
    """
    is_conjunction = np.isin(rows.head, conjunctions)
    while True:
        places = is_conjunction.nonzero()[0]
        made = rows[places]
        flags = made.pair.left_negated + 2 * made.pair.right_negated.astype(np.int64)
        same = made.head[_first_equal([made.pair.left, made.pair.right, flags], len(made))]
        is_alias = made.pair.right == ONE
        target = np.where(is_alias, made.pair.left, same)
        negated = is_alias & made.pair.left_negated
        gone = is_alias | (same != made.head)
        # An operand whose replacement is itself replaced waits for that.
        gone &= ~np.isin(target, made.head[gone])
        if not gone.any():
            return rows
        order = made.head[gone].argsort()
        replaced = made.head[gone][order]
        left, left_negated, left_changed = _replace(
            rows.pair.left, rows.pair.left_negated, replaced, target[gone][order], negated[gone][order]
        )
        right, right_negated, right_changed = _replace(
            rows.pair.right, rows.pair.right_negated, replaced, target[gone][order], negated[gone][order]
        )
        repeatable = rows.repeatable | left_changed | right_changed
        kept = np.ones(len(rows), np.bool_)
        kept[places[gone]] = False
        rows = replace(rows, pair=Pair(left, right, left_negated, right_negated), repeatable=repeatable)[kept]
        is_conjunction = is_conjunction[kept]


def _first_equal(columns: list[np.ndarray], num_rows: int) -> np.ndarray:
    """For each row the position of the first one that is equal."""
    ids = RowTable(len(columns)).insert(columns, num_rows)
    first = np.zeros(int(ids.max(initial=-1)) + 1, np.int64)
    first[ids[::-1]] = np.arange(num_rows)[::-1]
    return first[ids]


def _replace(
    operands: np.ndarray, negated: np.ndarray, replaced: np.ndarray, targets: np.ndarray, flips: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The operands with those among `replaced`, ascending, replaced; which are complements; and which have changed."""
    place = np.minimum(np.searchsorted(replaced, operands), len(replaced) - 1)
    changed = replaced[place] == operands
    return (
        np.where(changed, targets[place], operands),
        np.where(changed, negated ^ flips[place], negated),
        changed,
    )


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
