"""Environments: which members of exclusive groups the derivations of each node commit to.

An environment is a set of members, at most one of a group, that some derivation of a node needs. The minimal ones of
a node are its label; a node without any can hold in no world. This is assumption-based truth maintenance: de Kleer, "An
assumption-based TMS" (1986), where a node without environments is out. Labels name only the groups that some derivation
finds on both of its sides, the contested ones: parts that share no group cannot exclude each other.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from scallax.grounding.conjunction import DerivationBuilder, Factor
from scallax.grounding.derivations import ONE, Derivations, literal_operand, operand_literal
from scallax.kernels.row_sets import Buffer, expand_ranges, group
from scallax.kernels.runs import ranks, run_starts

# An environment of contested groups: a mask of their fields, and the members in them.
Environment = tuple[int, int]
Label = frozenset[Environment]

# States: a derivation that needs no choice, and no derivation that can hold.
FREE, NEVER = 0, 1
_NO_CHOICE: Environment = (0, 0)
_ANY: Label = frozenset([_NO_CHOICE])
# For each environment that a label may have: how many pairs of environments are joined for one label at most, and how
# many steps all takes in a sample. A step is about 0.2 microseconds: a pair joined or compared, a derivation followed.
_PAIRS, _STEPS = 16, 2000
# The steps that a label takes to be found, beside those of its environments.
_LABEL = 64


class _Result(NamedTuple):
    """The state of a pair of states, the groups that both of these name, and whether the label would be too large."""

    state: int
    shared: int
    is_cut: bool


def number_by_sample(groups: np.ndarray, samples: np.ndarray) -> np.ndarray:
    """Numbers of groups, int64 `[groups]`, that those of different samples may share: no derivation has both.

    `groups` are those of literals, -1 for none, `samples` the samples of these, -1 for literals that all samples share.
    """
    sample_of = np.full(int(groups.max(initial=-1)) + 1, -1)
    sample_of[groups[groups >= 0]] = samples[groups >= 0]
    order = np.argsort(sample_of, kind="stable")
    numbers = np.empty(len(order), np.int64)
    numbers[order] = ranks(sample_of[order])
    numbers[sample_of >= 0] += np.count_nonzero(sample_of < 0)
    return numbers


class Environments:
    """The labels of nodes while their derivations grow.

    `below` are derivations that the builder goes on from. Groups are contested where derivations of nodes from
    `first_node` on say so: a derivation below that no choice allows shows once it is used twice. `numbers` are those of
    the groups that there are, see `number_by_sample`; `num_samples` is how many samples have groups. A label has at
    most `limit` environments: a node that would have more is taken to need no choice, so that too few derivations are
    found to be impossible, and never too many. `is_over` says that it happened to a node from `first_node` on, or that
    the search for labels took too many steps in proportion to the limit: then nothing is known.
    """

    def __init__(
        self,
        builder: DerivationBuilder,
        below: Derivations | None,
        first_node: int,
        numbers: np.ndarray | None,
        limit: int,
        num_samples: int,
    ):
        self.is_over = False
        self._builder = builder
        self._first_node = first_node
        self._limit = limit
        self._numbers = np.zeros(0, np.int64) if numbers is None else numbers
        # States by number: the groups that the derivations name, as a bit set, and the label.
        self._states: list[tuple[int, Label]] = []
        self._number_of: dict[tuple[int, Label], int] = {}
        self._steps_left = _STEPS * limit * num_samples
        self._state(0, _ANY)
        self._state(0, frozenset())
        # Results by pairs of states.
        self._conjoined: dict[int, _Result] = {}
        self._united: dict[int, _Result] = {}
        # The numbers of contested groups, and of those that turn out to be, as bit sets; the former's fields in
        # environments, as the place of the lowest bit and their number.
        self._contested = self._found = 0
        self._fields: dict[int, tuple[int, int]] = {}
        self._num_bits = 0
        # Members as the number of their group and their place in it, by code; codes by literal, -1 without a group.
        self._members: list[tuple[int, int]] = []
        self._code_of: dict[tuple[int, int], int] = {}
        self._most_places: dict[int, int] = {}
        self._codes = Buffer()
        self._member_states = np.zeros(0, np.int64)
        self._node_states = Buffer()
        # Derivations, those from `num_followed` on not yet followed, and the positions of those that use each node.
        self._head, self._left, self._right = Buffer(), Buffer(), Buffer()
        self._num_parts = self._num_followed = 0
        self._users: tuple[np.ndarray, np.ndarray] | None = None
        if below is not None:
            self._add_rows(below.head, below.left, below.right, below.left_negated, below.right_negated)

    def update(self, certain: np.ndarray, num_parts: int | None = None) -> None:
        """Follows the derivations made since the last call, up to a number of the builder's parts, or all.

        The nodes `certain` hold in every world by now.
        """
        rows = self._builder.rows(self._num_parts, num_parts)
        self._num_parts = self._builder.num_parts if num_parts is None else num_parts
        pair = rows.pair
        self._add_rows(rows.head, pair.left, pair.right, pair.left_negated, pair.right_negated)
        self._read_literals()
        known = self._node_states.size
        self._node_states.resize(self._builder.num_nodes)
        self._node_states.values[known:] = NEVER
        late = certain[self._node_states.values[certain] != FREE]
        self._node_states.values[late] = FREE
        fresh = np.arange(self._num_followed, self._head.size)
        self._num_followed = self._head.size
        self._propagate(np.concatenate([fresh, self._rows_using(late)]))

    def allow(self, factors: Sequence[Factor], num_rows: int) -> np.ndarray:
        """A mask `[rows]` of the conjunctions that can hold by the derivations followed so far."""
        self._read_literals()
        is_own = np.ones(num_rows, np.bool_)
        while True:
            states = np.full(num_rows, FREE)
            for factor in factors:
                if not factor.negated:
                    states = self._conjoin(states, self._operand_states(factor.operands), is_own)
            if not self._found or self.is_over:
                return (states != NEVER) | self.is_over
            self._propagate(self._contest())

    def are_free(self, operands: np.ndarray) -> bool:
        """Whether all operands have a derivation that names no group."""
        return not np.any(self._operand_states(operands) != FREE)

    def _add_rows(
        self,
        head: np.ndarray,
        left: np.ndarray,
        right: np.ndarray,
        left_negated: np.ndarray,
        right_negated: np.ndarray,
    ) -> None:
        self._head.append(head)
        # A complement needs no choice that is known here.
        self._left.append(np.where(left_negated, ONE, left))
        self._right.append(np.where(right_negated, ONE, right))
        self._users = None

    def _read_literals(self) -> None:
        """Gives codes to the literals made since the last call; the members of a group are made together."""
        groups = self._builder.groups
        known = self._codes.size
        if len(groups) == known:
            return
        self._codes.append(np.full(len(groups) - known, -1))
        members = known + (groups[known:] >= 0).nonzero()[0]
        members = members[np.argsort(groups[members], kind="stable")]
        numbers, places = self._number(groups[members]), ranks(groups[members])
        width = int(places.max(initial=0)) + 1
        keys, inverse = np.unique(numbers * width + places, return_inverse=True)
        codes = [self._code(divmod(key, width)) for key in keys.tolist()]
        self._codes.values[members] = np.array(codes, np.int64)[inverse]
        added = [self._member_state(code) for code in range(len(self._member_states), len(self._members))]
        self._member_states = np.concatenate([self._member_states, np.array(added, np.int64)])

    def _number(self, groups: np.ndarray) -> np.ndarray:
        """The numbers of groups; those that are made later have numbers of their own."""
        given = len(self._numbers)
        numbers = groups - given + int(self._numbers.max(initial=-1)) + 1
        numbers[groups < given] = self._numbers[groups[groups < given]]
        return numbers

    def _code(self, member: tuple[int, int]) -> int:
        if member not in self._code_of:
            self._code_of[member] = len(self._members)
            self._members.append(member)
            number, place = member
            self._most_places[number] = max(self._most_places.get(number, 0), place)
        return self._code_of[member]

    def _member_state(self, code: int) -> int:
        number, place = self._members[code]
        environment = _NO_CHOICE
        if number in self._fields:
            lowest, width = self._fields[number]
            environment = (((1 << width) - 1) << lowest, place << lowest)
        return self._state(1 << number, frozenset([environment]))

    def _state(self, groups: int, label: Label) -> int:
        state = (groups, label)
        if state not in self._number_of:
            self._number_of[state] = len(self._states)
            self._states.append(state)
        return self._number_of[state]

    def _operand_states(self, operands: np.ndarray) -> np.ndarray:
        states = np.full(len(operands), FREE)
        nodes = (operands >= 0).nonzero()[0]
        states[nodes] = self._node_states.values[operands[nodes]]
        literals = (operands <= literal_operand(0)).nonzero()[0]
        codes = self._codes.values[operand_literal(operands[literals])]
        literals, codes = literals[codes >= 0], codes[codes >= 0]
        states[literals] = self._member_states[codes]
        return states

    def _propagate(self, rows: np.ndarray) -> None:
        """Follows derivations, by position, and those that use what changes, until nothing does."""
        while len(rows) and not self.is_over:
            self._take_steps(len(rows))
            heads = self._head.values[rows]
            left = self._operand_states(self._left.values[rows])
            right = self._operand_states(self._right.values[rows])
            states = self._conjoin(left, right, heads >= self._first_node)
            rows = np.union1d(rows, self._contest()) if self._found else self._rows_using(self._unite(heads, states))

    def _conjoin(self, left: np.ndarray, right: np.ndarray, is_own: np.ndarray) -> np.ndarray:
        """The states of conjunctions, from `first_node` on where `is_own`."""
        states = np.where(left == FREE, right, np.where(right == FREE, left, NEVER))
        both = ((left > NEVER) & (right > NEVER)).nonzero()[0]
        if len(both):
            left, right, is_own = left[both], right[both], is_own[both]
            states[both] = self._look_up(self._conjoined, self._find_conjunction, left, right, is_own)
        return states

    def _unite(self, heads: np.ndarray, states: np.ndarray) -> np.ndarray:
        """Adds derivations of these states to nodes, and returns the nodes that they change."""
        known = self._node_states.values
        news = ((states != NEVER) & (known[heads] != FREE) & (known[heads] != states)).nonzero()[0]
        news = news[np.lexsort((states[news], heads[news]))]
        heads, states = heads[news], states[news]
        changed = [np.zeros(0, np.int64)]
        # One derivation of each node at a time.
        while len(heads):
            first = run_starts(heads)
            nodes, before = heads[first], known[heads[first]]
            after = np.where(before == NEVER, states[first], np.where(states[first] == FREE, FREE, before))
            both = ((before > NEVER) & (states[first] > NEVER)).nonzero()[0]
            after[both] = self._look_up(
                self._united, self._find_union, before[both], states[first][both], nodes[both] >= self._first_node
            )
            known[nodes] = after
            changed.append(nodes[after != before])
            rest = np.ones(len(heads), np.bool_)
            rest[first] = False
            heads, states = heads[rest], states[rest]
        return np.unique(np.concatenate(changed))

    def _look_up(
        self,
        results: dict[int, _Result],
        find: Callable[[int, int], _Result],
        left: np.ndarray,
        right: np.ndarray,
        is_own: np.ndarray,
    ) -> np.ndarray:
        """The states of the results for pairs of states, each distinct pair found once."""
        keys, inverse = np.unique((left << 32) + right, return_inverse=True)
        own = np.zeros(len(keys), np.bool_)
        own[inverse[is_own]] = True
        states = np.empty(len(keys), np.int64)
        for place, (key, counts) in enumerate(zip(keys.tolist(), own.tolist(), strict=True)):
            result = results.get(key)
            if result is None:
                self._take_steps(_LABEL)
                result = results[key] = find(key >> 32, key & ((1 << 32) - 1))
            states[place] = result.state
            if counts:
                self._found |= result.shared & ~self._contested
                self.is_over |= result.is_cut
        return states[inverse]

    def _find_conjunction(self, left: int, right: int) -> _Result:
        (left_groups, left_label), (right_groups, right_label) = self._states[left], self._states[right]
        joined = self._join(left_label, right_label)
        return self._result(left_groups | right_groups, joined, left_groups & right_groups)

    def _find_union(self, left: int, right: int) -> _Result:
        (left_groups, left_label), (right_groups, right_label) = self._states[left], self._states[right]
        return self._result(left_groups | right_groups, left_label | right_label, 0)

    def _result(self, groups: int, environments: Collection[Environment] | None, shared: int) -> _Result:
        """The state of a node with these environments, None for too many."""
        label = None if environments is None or self.is_over else self._minimal(environments)
        if label is None or len(label) > self._limit:
            return _Result(self._state(groups, _ANY), shared, True)
        return _Result(self._state(groups, label) if label else NEVER, shared, False)

    def _join(self, left: Label, right: Label) -> set[Environment] | None:
        """The unions of an environment of each side that agree; None for too many."""
        joined: set[Environment] = set()
        num_pairs = 0
        rights = _by_mask(right)
        for left_mask, lefts in _by_mask(left).items():
            for right_mask, others in rights.items():
                mask, common = left_mask | right_mask, left_mask & right_mask
                agreeing: dict[int, list[int]] = {}
                for other in others:
                    agreeing.setdefault(other & common, []).append(other)
                for members in lefts:
                    found = agreeing.get(members & common, ())
                    num_pairs += 1 + len(found)
                    if num_pairs > _PAIRS * self._limit:
                        return None
                    joined.update([(mask, members | other) for other in found])
        self._take_steps(num_pairs)
        return joined

    def _minimal(self, environments: Collection[Environment]) -> Label:
        """The environments that contain no other."""
        if _NO_CHOICE in environments:
            return _ANY
        found = _by_mask(environments)
        if len(found) == 1:
            return frozenset(environments)
        self._take_steps(len(found) * (len(found) + 1) // 2 + len(environments))
        kept: dict[int, set[int]] = {}
        for mask in sorted(found, key=int.bit_count):
            smaller = [(other, known) for other, known in kept.items() if other & mask == other]
            kept[mask] = {m for m in found[mask] if not any(m & other in known for other, known in smaller)}
        return frozenset((mask, members) for mask, chosen in kept.items() for members in chosen)

    def _take_steps(self, count: int) -> None:
        self._steps_left -= count
        self.is_over |= self._steps_left < 0

    def _contest(self) -> np.ndarray:
        """Has labels name the groups that were found to be contested; the rows that must be followed again."""
        found, self._found = self._found, 0
        self._contested |= found
        self._take_steps(len(self._states) + len(self._members))
        for code, (number, _) in enumerate(self._members):
            if found >> number & 1:
                if number not in self._fields:
                    width = self._most_places[number].bit_length()
                    self._fields[number] = (self._num_bits, width)
                    self._num_bits += width
                self._member_states[code] = self._member_state(code)
        is_touched = np.array([groups & found != 0 for groups, _ in self._states])
        touched = is_touched[self._node_states.values]
        self._node_states.values[touched] = NEVER
        return touched[self._head.values].nonzero()[0]

    def _rows_using(self, nodes: np.ndarray) -> np.ndarray:
        """The rows with an operand among nodes, ascending."""
        if not len(nodes):
            return np.zeros(0, np.int64)
        if self._users is None:
            operands = np.concatenate([self._left.values, self._right.values])
            inner = (operands >= 0).nonzero()[0]
            starts, order = group(operands[inner], self._node_states.size)
            self._users = starts, inner[order] % self._head.size
        starts, rows = self._users
        return np.unique(rows[expand_ranges(starts[nodes], starts[nodes + 1] - starts[nodes])[1]])


def _by_mask(environments: Iterable[Environment]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for mask, members in environments:
        found.setdefault(mask, []).append(members)
    return found
