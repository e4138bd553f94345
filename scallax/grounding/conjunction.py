"""Derivations under construction: nodes, conjunctions shared by their operands, and literals of tagged rules."""

from collections.abc import Callable, Sequence

import numpy as np

from scallax.grounding.derivations import (
    CERTAIN_PRIOR,
    ONE,
    Derivations,
    Literals,
    literal_operand,
    mark_outcomes,
    operand_literal,
)
from scallax.grounding.selected_literals import SelectionSet
from scallax.kernels.row_sets import Buffer, RowTable, unique_rows
from scallax.kernels.selections import HEAVIEST, RANGE
from scallax.language.records import record
from scallax.language.tensors import Comparison

# The rule number of derivations that no rule makes: facts and projections of negated relations.
NO_RULE = -1


# The weights of operand codes, float64 `[operands]`; None if they depend on what is not known before evaluation.
Weigh = Callable[[Derivations, Literals, Sequence[SelectionSet], np.ndarray], np.ndarray | None]


@record
class Factor:
    """One operand per row of a conjunction; `negated` says that the complements are meant.

    `may_be_one`: some operand may be ONE.
    """

    operands: np.ndarray
    negated: bool = False
    may_be_one: bool = True

    def __getitem__(self, rows: np.ndarray) -> "Factor":
        return Factor(self.operands[rows], self.negated, self.may_be_one)


@record
class Pair:
    """The two operands of each row's derivation."""

    left: np.ndarray
    right: np.ndarray
    left_negated: np.ndarray
    right_negated: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "Pair":
        return Pair(self.left[rows], self.right[rows], self.left_negated[rows], self.right_negated[rows])


@record
class Rows:
    """Derivations as they are collected. `repeatable`: the same row may have been found from other tuples."""

    head: np.ndarray
    pair: Pair
    repeatable: np.ndarray
    rule: np.ndarray

    def __len__(self) -> int:
        return len(self.head)

    def __getitem__(self, rows: np.ndarray) -> "Rows":
        return Rows(self.head[rows], self.pair[rows], self.repeatable[rows], self.rule[rows])


class DerivationBuilder:
    """Collects derivations, and numbers the nodes and literals that they need.

    `capacity` is the number of conjunctions that are expected. `comparisons` are what inputs are computed of, those
    behind the first `num_inputs`.
    """

    def __init__(
        self,
        literals: Literals,
        num_nodes: int = 0,
        weigh: Weigh | None = None,
        capacity: int = 0,
        num_inputs: int = 0,
    ):
        self.num_nodes = num_nodes
        self.num_inputs = num_inputs
        self.comparisons: list[Comparison] = []
        self.num_derivations = 0
        self.selection_sets: list[SelectionSet] = []
        self._literals = literals
        self._weigh = weigh
        self._tags: list[np.ndarray] = []
        self._parameters: list[np.ndarray] = []
        self._sources: list[np.ndarray] = []
        self._outcomes: list[np.ndarray] = []
        self._groups = Buffer(len(literals))
        self._groups.append(literals.group)
        self._num_groups = int(literals.group.max(initial=-1)) + 1
        self._parts: list[Rows] = []
        self._conjunctions = RowTable(3, capacity)
        self._conjunction_nodes = Buffer(capacity)

    @property
    def groups(self) -> np.ndarray:
        """The exclusive group of each literal so far, int64 `[literals]`, -1 for none; a view."""
        return self._groups.values

    @property
    def num_conjunctions(self) -> int:
        """The number of conjunctions that have nodes."""
        return self._conjunctions.size

    def add_nodes(self, count: int) -> np.ndarray:
        """Fresh node ids."""
        self.num_nodes += count
        return np.arange(self.num_nodes - count, self.num_nodes)

    def add_literals(self, prior: np.ndarray, parameter: int = -1) -> np.ndarray:
        """Operand codes of fresh independent literals with the given constant tags, or with one parameter for all."""
        self._tags.append(prior if parameter < 0 else np.full(len(prior), np.nan))
        self._parameters.append(np.full(len(prior), parameter, np.int64))
        self._sources.append(np.full(len(prior), -1, np.int64))
        self._groups.append(np.full(len(prior), -1))
        return np.asarray(literal_operand(np.arange(self._groups.size - len(prior), self._groups.size)))

    def add_compared(self, comparisons: Sequence[float | Comparison]) -> np.ndarray:
        """Operand codes of fresh literals with constant tags, or with the next inputs, which are computed for them."""
        is_input = np.array([isinstance(item, Comparison) for item in comparisons], np.bool_)
        # Tags are f32 numbers in the language.
        prior = np.array([np.nan if isinstance(item, Comparison) else item for item in comparisons], np.float32)
        operands = self.add_literals(prior.astype(np.float64))
        first = self.num_inputs + len(self.comparisons)
        self.comparisons += [item for item in comparisons if isinstance(item, Comparison)]
        self._sources[-1][is_input] = np.arange(first, self.num_inputs + len(self.comparisons))
        return operands

    def add_choices(self, prior: np.ndarray, *, is_exclusive: bool, is_random: bool, parameter: int) -> np.ndarray:
        """The operand code of the first of the literals in each of fresh groups; the others follow it.

        `prior` float64 `[groups, alternatives]`; if a `parameter` is given, it is that of the first alternative. Of
        groups that are `is_random` each counts as one variable.
        """
        num_groups, count = prior.shape
        operands = self.add_literals(prior.reshape(-1))
        if parameter >= 0:
            self._tags[-1] = np.full(prior.size, np.nan)
            self._parameters[-1] = np.tile(np.arange(parameter, parameter + count), num_groups)
        if is_exclusive:
            numbers = np.arange(self._num_groups, self._num_groups + num_groups)
            self._groups.values[len(self.groups) - prior.size :] = np.repeat(numbers, count)
            self._num_groups += num_groups
            if is_random:
                self._outcomes.append(operand_literal(operands))
        return operands[::count]

    def add_exclusive(self, prior: np.ndarray, sets: np.ndarray) -> np.ndarray:
        """Operand codes of fresh literals with the given tags; those of one number in `sets` exclude each other."""
        operands = self.add_literals(prior)
        self._groups.values[len(self.groups) - len(sets) :] = self._num_groups + sets
        self._num_groups += int(sets.max(initial=-1)) + 1
        return operands

    def add_selections(
        self,
        members: np.ndarray,
        groups: np.ndarray,
        order: int,
        names: np.ndarray,
        places: np.ndarray,
        first: np.ndarray,
        end: np.ndarray,
    ) -> np.ndarray:
        """Operand codes of selections that are true where a member's number in its group's order is in their range.

        `places` `[selections]` are those among `members`; the arguments otherwise as in `SelectionSet`.
        """
        operands = self.add_literals(np.full(len(places), CERTAIN_PRIOR))
        ids = operand_literal(operands)
        self.selection_sets.append(SelectionSet(members, groups, order, names, ids, places, RANGE, first, end))
        return operands

    def add_shares(self, members: np.ndarray, groups: np.ndarray, kind: int) -> np.ndarray:
        """Operand codes of a literal for each member, with its share of the weights; those of a group are exclusive."""
        operands = self.add_exclusive(np.full(len(members), np.nan), groups)
        none = np.zeros(len(members), np.int64)
        ids, places = operand_literal(operands), np.arange(len(members))
        self.selection_sets.append(SelectionSet(members, groups, HEAVIEST, none, ids, places, kind, none, none))
        return operands

    def add(self, head: np.ndarray, pair: Pair, repeatable: np.ndarray, rule: int) -> None:
        """Derivations `head <- left, right`."""
        self._parts.append(Rows(head, pair, repeatable, np.full(len(head), rule, np.int32)))
        self.num_derivations += len(head)

    def add_single(self, head: np.ndarray, operands: np.ndarray) -> None:
        """Derivations `head <- operand` that no rule makes, such as facts."""
        self.add(head, conjoin(self, [Factor(operands)], len(head), NO_RULE), np.zeros(len(head), np.bool_), NO_RULE)

    def conjunction(self, pair: Pair, rule: int) -> np.ndarray:
        """The nodes of conjunctions, one for each distinct pair of operands over the whole grounding."""
        flags = pair.left_negated.astype(np.int64) + 2 * pair.right_negated
        known = self._conjunctions.size
        ids = self._conjunctions.insert([pair.left, pair.right, flags], len(flags))
        count = self._conjunctions.size - known
        if count:
            nodes = self.add_nodes(count)
            self._conjunction_nodes.append(nodes)
            left, right, flags = (column[known:].copy() for column in self._conjunctions.columns)
            pair = Pair(left, right, (flags & 1).astype(np.bool_), (flags & 2).astype(np.bool_))
            self.add(nodes, pair, np.zeros(count, np.bool_), rule)
        return self._conjunction_nodes.values[ids]

    def conjunctions(self) -> np.ndarray:
        """The nodes that `conjunction` made."""
        return self._conjunction_nodes.values

    def take(self, first: int) -> Rows:
        """Removes and returns the parts from number `first` on, as one."""
        parts, self._parts = self._parts[first:], self._parts[:first]
        rows = _concatenate(parts)
        self.num_derivations -= len(rows)
        return rows

    def rows(self, first: int, end: int | None = None) -> Rows:
        """The parts from number `first` on, up to `end`, as one."""
        return _concatenate(self._parts[first:end])

    def put(self, rows: Rows) -> None:
        """Adds back what `take` returned, perhaps changed."""
        self._parts.append(rows)
        self.num_derivations += len(rows)

    @property
    def num_parts(self) -> int:
        return len(self._parts)

    def literals(self) -> Literals:
        """The given literals and those of tagged rules."""
        prior = np.concatenate([self._literals.prior, *self._tags])
        outcomes = [self._literals.outcomes.nonzero()[0], *self._outcomes]
        return Literals(
            prior,
            np.concatenate([self._literals.source, *self._sources]),
            self.groups.copy(),
            np.concatenate([self._literals.parameter, *self._parameters]),
            mark_outcomes(np.concatenate(outcomes), len(prior)),
        )

    def weights(self, operands: np.ndarray) -> np.ndarray | None:
        """The weights of operands, whose derivations are complete; None if they are not known before evaluation."""
        if self._weigh is None:
            return None
        derivations, _ = self.derivations()
        return self._weigh(derivations, self.literals(), self.selection_sets, operands)

    def derivations(self) -> tuple[Derivations, np.ndarray]:
        """All derivations, each once, and the numbers of their rules, int32."""
        rows = _without_repeats(_concatenate(self._parts))
        pair = rows.pair
        derivations = Derivations(
            self.num_nodes, rows.head, pair.left, pair.right, pair.left_negated, pair.right_negated
        )
        return derivations, rows.rule


def conjoin(builder: DerivationBuilder, factors: Sequence[Factor], num_rows: int, rule: int) -> Pair:
    """The conjunction of each row's operands as a pair, left to right; ONE is left out, at most two stay."""
    first_place = next((place for place, factor in enumerate(factors) if factor.may_be_one), len(factors))
    pair = _conjoin_all(builder, factors[:first_place], num_rows, rule)
    if first_place == len(factors):
        return pair
    left, right = pair.left.copy(), pair.right.copy()
    left_negated, right_negated = pair.left_negated.copy(), pair.right_negated.copy()
    for factor in factors[first_place:]:
        present = factor.operands != ONE
        full = (present & (right != ONE)).nonzero()[0]
        if len(full):
            left[full] = builder.conjunction(Pair(left, right, left_negated, right_negated)[full], rule)
            left_negated[full] = False
            right[full] = ONE
        second = present & (left != ONE)
        first = present & ~second
        left[first] = factor.operands[first]
        right[second] = factor.operands[second]
        left_negated |= first & factor.negated
        right_negated = (right_negated & ~second) | (second & factor.negated)
    return Pair(left, right, left_negated, right_negated)


def _conjoin_all(builder: DerivationBuilder, factors: Sequence[Factor], num_rows: int, rule: int) -> Pair:
    """As `conjoin`, of operands that are not ONE."""
    plain = np.zeros(num_rows, np.bool_)
    if not factors:
        return Pair(np.full(num_rows, ONE), np.full(num_rows, ONE), plain, plain)
    negated = np.ones(num_rows, np.bool_) if any(factor.negated for factor in factors) else plain
    flags = [negated if factor.negated else plain for factor in factors]
    if len(factors) == 1:
        return Pair(factors[0].operands, np.full(num_rows, ONE), flags[0], plain)
    pair = Pair(factors[0].operands, factors[1].operands, flags[0], flags[1])
    for factor, flag in zip(factors[2:], flags[2:], strict=True):
        pair = Pair(builder.conjunction(pair, rule), factor.operands, plain, flag)
    return pair


def _without_repeats(rows: Rows) -> Rows:
    """Keeps the first of equal derivations by one rule among those that may repeat."""
    candidates = rows.repeatable.nonzero()[0]
    if len(candidates) == 0:
        return rows
    some = rows[candidates]
    flags = some.rule.astype(np.int64) * 4 + 2 * some.pair.left_negated + some.pair.right_negated
    first = unique_rows([some.head, some.pair.left, some.pair.right, flags], len(some))
    kept = ~rows.repeatable
    kept[candidates[first]] = True
    return rows[kept]


def _concatenate(parts: Sequence[Rows]) -> Rows:
    integers = np.zeros(0, np.int64)
    flags = np.zeros(0, np.bool_)
    return Rows(
        np.concatenate([integers, *(part.head for part in parts)]),
        Pair(
            np.concatenate([integers, *(part.pair.left for part in parts)]),
            np.concatenate([integers, *(part.pair.right for part in parts)]),
            np.concatenate([flags, *(part.pair.left_negated for part in parts)]),
            np.concatenate([flags, *(part.pair.right_negated for part in parts)]),
        ),
        np.concatenate([flags, *(part.repeatable for part in parts)]),
        np.concatenate([np.zeros(0, np.int32), *(part.rule for part in parts)]),
    )
