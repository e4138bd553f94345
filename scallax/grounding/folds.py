"""Aggregates that take in tuples one by one: the states that each group can reach, and the nodes that say it does."""

from collections.abc import Callable, Sequence
from dataclasses import field
from itertools import pairwise

import numpy as np

from scallax.errors import Diagnostic, GroundingError
from scallax.grounding.conjunction import DerivationBuilder, Factor, conjoin
from scallax.grounding.derivations import ONE
from scallax.grounding.foreign_calls import ForeignCalls
from scallax.grounding.symbols import Symbols, as_objects, encode, native_dtype
from scallax.kernels.row_sets import RowTable, group
from scallax.language import ir
from scallax.language.foreign import ForeignAggregate
from scallax.language.records import record
from scallax.language.values import ValueType

# A group whose result can take more values than this is refused.
_MOST_VALUES = 1 << 16


@record
class Elements:
    """The tuples to aggregate, by group and in value order, of the columns `arguments` and `values`.

    `positions` are counted from 0 in each group. `ranks` number the values of each column in their order. `operands`
    say in which worlds the tuples hold, in all if `!` takes them so; `tags` say it whether or not. `held` are those
    that hold in all, also where their operands are not ONE since their tags count, and `ones` those among them that
    are known to weigh as much as ONE. `keys` are columns of codes by group: what the groups are told apart by.
    """

    groups: np.ndarray
    positions: np.ndarray
    arguments: list[np.ndarray]
    values: list[np.ndarray]
    ranks: list[np.ndarray]
    value_ranks: list[np.ndarray]
    operands: np.ndarray
    tags: np.ndarray
    held: np.ndarray
    ones: np.ndarray
    num_groups: int
    keys: Sequence[np.ndarray]

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, rows: np.ndarray) -> "Elements":
        groups = self.groups[rows]
        return Elements(
            groups,
            positions_in_groups(groups, self.num_groups),
            [column[rows] for column in self.arguments],
            [column[rows] for column in self.values],
            [column[rows] for column in self.ranks],
            [column[rows] for column in self.value_ranks],
            self.operands[rows],
            self.tags[rows],
            self.held[rows],
            self.ones[rows],
            self.num_groups,
            self.keys,
        )


@record
class Results:
    """Groups, columns of result codes, and the operands that are conjoined for each row."""

    groups: np.ndarray
    columns: list[np.ndarray]
    factors: list[np.ndarray] = field(default_factory=list)


@record
class Reducer:
    """One aggregate at work."""

    reduce: ir.Reduce
    symbols: Symbols
    builder: DerivationBuilder
    rule: int
    uses_tags: bool
    calls: ForeignCalls

    @property
    def foreign(self) -> ForeignAggregate | None:
        """The foreign aggregate; None for a built-in one."""
        return self.calls.library.aggregates.get(self.reduce.op)


def positions_in_groups(groups: np.ndarray, num_groups: int) -> np.ndarray:
    """The place of each row in its group; the rows are sorted by group."""
    counts = np.bincount(groups, minlength=num_groups)
    return np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)


@record
class Fold:
    """A value that grows tuple by tuple; `state` are columns of native values of the given types.

    `start` are those of no tuple. `bulk` adds, to the states of all groups, tuples with the groups they are of; `add`
    one tuple to each state. `finish` gives results, and where there are any.
    """

    types: tuple[ValueType, ...]
    start: tuple[object, ...]
    bulk: Callable[[list[np.ndarray], np.ndarray, np.ndarray], list[np.ndarray]]
    add: Callable[[list[np.ndarray], np.ndarray], list[np.ndarray]]
    finish: Callable[[list[np.ndarray]], tuple[np.ndarray, np.ndarray | None]]


@record
class States:
    groups: np.ndarray
    columns: list[np.ndarray]
    operands: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> "States":
        return States(self.groups[rows], [column[rows] for column in self.columns], self.operands[rows])


def reach(reducer: Reducer, fold: Fold, elements: Elements, native: np.ndarray, *, is_order_sensitive: bool) -> States:
    """The states of all groups once all their tuples are added, `native` being what is added of each.

    Tuples that hold in all worlds are in every state: what they count is conjoined once.
    """
    start = np.full(elements.num_groups, ONE)
    conjoin_groups(reducer, elements[elements.held & (elements.operands != ONE)], start, negated=False)
    first = elements.held
    if is_order_sensitive:
        first = ~np.isin(elements.groups, elements.groups[~first])
    state = [repeated(value, type, elements.num_groups) for value, type in zip(fold.start, fold.types, strict=True)]
    state = fold.bulk(state, native[first], elements.groups[first])
    states = States(np.arange(elements.num_groups), state, start)
    operands = np.where(elements.held, ONE, elements.operands)
    groups, operands, native = elements.groups[~first], operands[~first], native[~first]
    positions = positions_in_groups(groups, elements.num_groups)
    # Tuples in turn, those of one turn side by side.
    starts, order = group(positions, int(positions.max(initial=-1)) + 1)
    for first, end in pairwise(starts.tolist()):
        rows = order[first:end]
        chosen = np.full(elements.num_groups, -1)
        chosen[groups[rows]] = rows
        states = _add_in_turn(reducer, fold, states, chosen[states.groups], native, operands)
    return states


def _add_in_turn(
    reducer: Reducer,
    fold: Fold,
    states: States,
    tuples: np.ndarray,
    native: np.ndarray,
    operands: np.ndarray,
) -> States:
    """The states after one more tuple of each group: `tuples` int64 `[states]`, -1 for none."""
    builder = reducer.builder
    taken = np.flatnonzero(tuples >= 0)
    rows = tuples[taken]
    grown = fold.add([column[taken] for column in states.columns], native[rows])
    uncertain = operands[rows] != ONE
    if not np.any(uncertain):
        columns = [column.copy() for column in states.columns]
        for column, values in zip(columns, grown, strict=True):
            column[taken] = values
        return States(states.groups, columns, states.operands)
    # With the tuple, without it, and where the group has no more tuples.
    left_out = taken[uncertain]
    kept = np.flatnonzero(tuples < 0)
    sources = np.concatenate([taken, left_out, kept])
    groups = states.groups[sources]
    columns = [
        np.concatenate([values, column[left_out], column[kept]])
        for column, values in zip(states.columns, grown, strict=True)
    ]
    codes = [encode(column, type, reducer.symbols) for column, type in zip(columns, fold.types, strict=True)]
    table = RowTable(1 + len(codes))
    ids = table.insert([groups, *codes], len(groups))
    first = np.empty(table.size, np.int64)
    first[ids[::-1]] = np.arange(len(ids))[::-1]
    check_size(reducer, groups[first])
    merged = States(groups[first], [column[first] for column in columns], np.empty(table.size, np.int64))
    # Certain steps and finished groups keep their operands: nothing else leads to their states.
    same = np.concatenate([~uncertain, np.zeros(len(left_out), np.bool_), np.ones(len(kept), np.bool_)])
    lone = np.bincount(ids, minlength=table.size) == 1
    plain = same & lone[ids]
    merged.operands[ids[plain]] = states.operands[sources[plain]]
    opened = np.ones(table.size, np.bool_)
    opened[ids[plain]] = False
    merged.operands[opened] = builder.add_nodes(int(np.count_nonzero(opened)))
    with_tuple = np.flatnonzero(~plain[: len(taken)])
    without = np.arange(len(taken), len(taken) + len(left_out))
    others = np.flatnonzero(~plain[len(taken) + len(left_out) :]) + len(taken) + len(left_out)
    tuple_operands = operands[rows]
    for places, factor in (
        (with_tuple, Factor(tuple_operands[with_tuple])),
        (without, Factor(tuple_operands[uncertain], negated=True)),
        (others, Factor(np.full(len(others), ONE))),
    ):
        if len(places):
            pair = conjoin(builder, [Factor(states.operands[sources[places]]), factor], len(places), reducer.rule)
            builder.add(merged.operands[ids[places]], pair, np.zeros(len(places), np.bool_), reducer.rule)
    return merged


def conjunctions(reducer: Reducer, factors: Sequence[Factor]) -> np.ndarray:
    """Operands that hold where all factors do: a node only where no single operand says it."""
    pair = conjoin(reducer.builder, factors, len(factors[0].operands), reducer.rule)
    operands = pair.left.copy()
    rows = np.flatnonzero((pair.right != ONE) | pair.left_negated)
    operands[rows] = reducer.builder.conjunction(pair[rows], reducer.rule)
    return operands


def conjoin_groups(reducer: Reducer, elements: Elements, nodes: np.ndarray, *, negated: bool) -> None:
    """Puts "all of its tuples", or "none", in the place of each group that has any, as a balanced tree."""
    groups, operands = elements.groups, elements.operands
    while len(groups):
        positions = positions_in_groups(groups, elements.num_groups)
        left = np.flatnonzero(positions % 2 == 0)
        right = np.full(len(left), ONE)
        places = np.cumsum(positions % 2 == 0) - 1
        odd = np.flatnonzero(positions % 2 == 1)
        right[places[odd]] = operands[odd]
        operands = conjunctions(reducer, [Factor(operands[left], negated), Factor(right, negated)])
        groups, negated = groups[left], False
        if not len(odd):
            break
    nodes[groups] = operands


def check_size(reducer: Reducer, groups: np.ndarray) -> None:
    """Raises GroundingError if a group has too many values, `groups` being those of all values."""
    largest = int(np.bincount(groups).max(initial=0))
    if largest > _MOST_VALUES:
        reduce = reducer.reduce
        raise GroundingError(
            Diagnostic(
                f"`{reduce.op}` can take more than {_MOST_VALUES:,} values in one group",
                reduce.span,
                f"group it by more variables, aggregate fewer uncertain tuples, or take all with `{reduce.op}!`",
            )
        )


def repeated(value: object, type: ValueType, count: int) -> np.ndarray:
    """One native value, many times."""
    if native_dtype(type) == np.dtype(object):
        return as_objects([value] * count)
    return np.full(count, value, native_dtype(type))
