"""Aggregates of Python over the groups of a relation."""

from functools import partial

import numpy as np

from scallax.grounding.folds import Elements, Fold, Reducer, Results, reach
from scallax.grounding.symbols import decode_values
from scallax.language.foreign import ForeignAggregate, options_of
from scallax.language.values import ValueType


def reduce_foreign(reducer: Reducer, aggregate: ForeignAggregate, elements: Elements) -> Results:
    """A state for each set of tuples that may hold; of a fold, for each state that is reached in value order."""
    reduce, symbols = reducer.reduce, reducer.symbols
    options = options_of(aggregate, dict(reduce.parameters))
    columns = [
        reducer.calls.given(decode_values(codes, variable.type, symbols))
        for codes, variable in zip(elements.values, reduce.values, strict=True)
    ]
    rows = list(zip(*columns, strict=True))
    # States in the order in which they are met.
    initial = () if aggregate.fold is None else aggregate.fold.initial
    states: list = [initial]
    numbers = {initial: 0}
    steps: dict[tuple[int, int], int] = {}

    def step(state: int, row: int) -> int:
        if (state, row) not in steps:
            if aggregate.fold is None:
                reached = (*states[state], row)
            else:
                reached = reducer.calls.stepped(aggregate, (states[state], *rows[row]), options, symbols, reduce.span)
            number = numbers.setdefault(reached, len(states))
            if number == len(states):
                states.append(reached)
            steps[state, row] = number
        return steps[state, row]

    def bulk(state: list[np.ndarray], added: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
        total = state[0].copy()
        for place, row in zip(groups.tolist(), added.tolist(), strict=True):
            total[place] = step(int(total[place]), row)
        return [total]

    def add(state: list[np.ndarray], added: np.ndarray) -> list[np.ndarray]:
        pairs = zip(state[0].tolist(), added.tolist(), strict=True)
        return [np.array([step(before, row) for before, row in pairs], np.int64)]

    types = [variable.type for variable in reduce.results]

    def finish(state: int) -> tuple[int, ...] | None:
        reached = states[state]
        if aggregate.fold is None:
            values = [rows[row][0] if len(rows[row]) == 1 else rows[row] for row in reached]
            call, argument = partial(aggregate.function, **options), values
        else:
            call, argument = aggregate.fold.finish or _same, reached
        return reducer.calls.aggregated(aggregate, call, (argument,), types, symbols, reduce.span)

    fold = Fold((ValueType.I64,), (0,), bulk, add, lambda state: (state[0], None))
    found = reach(reducer, fold, elements, np.arange(len(elements)), is_order_sensitive=True)
    distinct, inverse = np.unique(found.columns[0], return_inverse=True)
    images = [finish(state) for state in distinct.tolist()]
    there = np.array([image is not None for image in images], np.bool_)[inverse]
    codes = [
        np.array([0 if image is None else image[i] for image in images], np.int64)[inverse][there]
        for i in range(len(types))
    ]
    return Results(found.groups[there], codes, [found.operands[there]])


def _same(state: object) -> object:
    return state
