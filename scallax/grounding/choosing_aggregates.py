"""Aggregators that order, choose or retag tuples: by their values, by their weights or by chance.

Weights are known in evaluation only: every tuple that may be chosen is a result, and a literal of its own, a selection,
says where it is.
"""

import numpy as np

from scallax.errors import Diagnostic, GroundingError
from scallax.grounding.derivations import ONE
from scallax.grounding.folds import Elements, Reducer, Results
from scallax.grounding.symbols import decode, sort_keys
from scallax.kernels.row_sets import RowTable, expand_ranges, hash_rows
from scallax.kernels.selections import CATEGORICAL, HEAVIEST, LIGHTEST, NORMALIZE, SOFTMAX, UNIFORM
from scallax.planner.samples import SAMPLE

# Uncertain tuples that `rank` numbers in one group: results grow with the square.
_MOST_RANKED = 1024


def sort_values(reducer: Reducer, elements: Elements) -> Results:
    """Every tuple with its place among all possible ones: the largest value first, unless `asc` is given."""
    parameters = dict(reducer.reduce.parameters)
    ascending = parameters.get("asc", not parameters.get("desc", True))
    sign = 1 if ascending else -1
    ranks = [sign * rank for rank in elements.value_ranks]
    elements = elements[np.lexsort((*ranks[::-1], elements.groups))]
    columns = elements.arguments + (elements.values if reducer.reduce.op == "sort" else [])
    return Results(elements.groups, [elements.positions, *columns], [elements.operands])


def enumerate_values(reducer: Reducer, elements: Elements) -> Results:
    """Every tuple with its place among all possible ones, in value order."""
    return Results(elements.groups, [elements.positions, *elements.values], [elements.operands])


def rank(reducer: Reducer, elements: Elements) -> Results:
    """Each tuple with its place by weight, the largest first, or the smallest with `asc`; ties are in value order.

    A tuple that evaluation has to weigh may come at any place. Certain tuples weigh the same.
    """
    parameters = dict(reducer.reduce.parameters)
    ascending = parameters.get("asc", not parameters.get("desc", True))
    settled, open_elements = _split(reducer, elements)
    fixed = enumerate_values(reducer, settled)
    _check_places(reducer, open_elements)
    counts = np.bincount(open_elements.groups, minlength=elements.num_groups)
    places, numbers = expand_ranges(np.zeros(len(open_elements), np.int64), counts[open_elements.groups])
    selections = _selections(reducer, open_elements, LIGHTEST if ascending else HEAVIEST, places, numbers, numbers + 1)
    return _join_results(
        fixed,
        Results(
            open_elements.groups[places],
            [numbers, *(column[places] for column in open_elements.values)],
            [open_elements.operands[places], selections],
        ),
    )


def _check_places(reducer: Reducer, elements: Elements) -> None:
    largest = int(np.bincount(elements.groups).max(initial=0))
    if largest > _MOST_RANKED:
        raise GroundingError(
            Diagnostic(
                f"`rank` has {largest:,} tuples in one group, and each may come at any place: the limit for uncertain "
                f"tuples is {_MOST_RANKED:,}",
                reducer.reduce.span,
                "group it by more variables, or take the first ones with `top`",
            )
        )


def choose_heaviest(reducer: Reducer, elements: Elements) -> Results:
    """The tuples of the largest weights."""
    k = 1 if reducer.reduce.op == "unique" else int(dict(reducer.reduce.parameters).get("k", 1))
    settled, open_elements = _split(reducer, elements)
    settled = settled[settled.positions < k]
    return _join_results(_kept(settled), _chosen(reducer, open_elements, HEAVIEST, k))


def draw(reducer: Reducer, elements: Elements) -> Results:
    """As many tuples of each group as asked for, the same ones in every run and every batch.

    With `uniform` all are equally likely; with `categorical` a tuple is drawn by its weight from those that are left.
    """
    k = int(dict(reducer.reduce.parameters)["k"])
    settled, open_elements = _split(reducer, elements)
    drawn = np.lexsort((_hashes(reducer, settled), settled.groups))
    settled = settled[np.sort(drawn[settled.positions < k])]
    order = UNIFORM if reducer.reduce.op == "uniform" else CATEGORICAL
    return _join_results(_kept(settled), _chosen(reducer, open_elements, order, k))


def share_weights(reducer: Reducer, elements: Elements) -> Results:
    """`normalize` and `softmax`: new variables that exclude each other, as likely as their share of the weights."""
    if not reducer.uses_tags:
        return _kept(elements)
    settled, open_elements = _split(reducer, elements)
    counts = np.bincount(settled.groups, minlength=elements.num_groups)
    literals = reducer.builder.add_exclusive(1.0 / counts[settled.groups], settled.groups)
    fixed = Results(settled.groups, settled.values, [literals])
    if not len(open_elements):
        return fixed
    kind = NORMALIZE if reducer.reduce.op == "normalize" else SOFTMAX
    shares = reducer.builder.add_shares(open_elements.operands, _renumber(open_elements.groups), kind)
    return _join_results(fixed, Results(open_elements.groups, open_elements.values, [shares]))


def _split(reducer: Reducer, elements: Elements) -> tuple[Elements, Elements]:
    """The tuples of groups whose tuples all weigh the same, and those that evaluation has to weigh."""
    if not reducer.uses_tags:
        return elements, elements[np.zeros(0, np.int64)]
    is_open = np.zeros(elements.num_groups, np.bool_)
    is_open[elements.groups[~elements.ones]] = True
    of_open = is_open[elements.groups]
    return elements[(~of_open).nonzero()[0]], elements[of_open.nonzero()[0]]


def _chosen(reducer: Reducer, elements: Elements, order: int, k: int) -> Results:
    """Each tuple where it is one of the first k of its group; in groups of at most k always."""
    counts = np.bincount(elements.groups, minlength=elements.num_groups)
    kept = _kept(elements[(counts[elements.groups] <= k).nonzero()[0]])
    elements = elements[(counts[elements.groups] > k).nonzero()[0]]
    places = np.arange(len(elements))
    selections = _selections(
        reducer, elements, order, places, np.zeros(len(elements), np.int64), np.full(len(elements), k)
    )
    return _join_results(kept, Results(elements.groups, elements.values, [elements.operands, selections]))


def _selections(
    reducer: Reducer, elements: Elements, order: int, places: np.ndarray, first: np.ndarray, end: np.ndarray
) -> np.ndarray:
    if not len(places):
        return np.zeros(0, np.int64)
    names = (_hashes(reducer, elements) >> np.uint64(33)).astype(np.int64)
    groups = _renumber(elements.groups)
    return reducer.builder.add_selections(elements.operands, groups, order, names, places, first, end)


def _hashes(reducer: Reducer, elements: Elements) -> np.ndarray:
    """Hashes on which draws of the tuples depend, uint64; they do not depend on other groups, relations or samples."""
    rule = np.full(len(elements), reducer.rule, np.int64)
    groups = _numbers_in_samples(reducer, elements)[elements.groups]
    return hash_rows([rule, groups, elements.positions], len(elements))


def _numbers_in_samples(reducer: Reducer, elements: Elements) -> np.ndarray:
    """The number of each group in the value order of the groups that have tuples, of its own sample if there are more.

    Groups without tuples have none.
    """
    variables = reducer.reduce.keys
    codes, samples = elements.keys, np.zeros(elements.num_groups, np.int64)
    if variables and variables[0].name == SAMPLE:
        variables, samples, codes = variables[1:], codes[0], codes[1:]
    groups = np.unique(elements.groups)
    keys = [
        sort_keys(decode(column[groups], variable.type, reducer.symbols), variable.type, reducer.symbols)
        for column, variable in zip(codes, variables, strict=True)
    ]
    order = groups[np.lexsort((*keys[::-1], samples[groups]))]
    counts = np.bincount(samples[order])
    numbers = np.zeros(elements.num_groups, np.int64)
    numbers[order] = np.arange(len(order)) - np.repeat(counts.cumsum() - counts, counts)
    return numbers


def _renumber(groups: np.ndarray) -> np.ndarray:
    return np.unique(groups, return_inverse=True)[1].reshape(-1)


def _kept(elements: Elements) -> Results:
    return Results(elements.groups, elements.values, [elements.operands])


def _join_results(*results: Results) -> Results:
    """The rows of all; where one has fewer factors than another, it has ONE for them."""
    num_factors = max(len(each.factors) for each in results)
    factors = [
        [*each.factors, *[np.full(len(each.groups), ONE)] * (num_factors - len(each.factors))] for each in results
    ]
    return Results(
        np.concatenate([each.groups for each in results]),
        [np.concatenate(columns) for columns in zip(*(each.columns for each in results), strict=True)],
        [np.concatenate(operands) for operands in zip(*factors, strict=True)],
    )


def exclude(reducer: Reducer, elements: Elements) -> Results:
    """`disjunct`: tuples keep their tags, and those of equal arguments exclude each other."""
    columns = elements.arguments + elements.values
    if not reducer.uses_tags:
        return Results(elements.groups, columns, [elements.operands])
    table = RowTable(1 + len(elements.arguments))
    sets = table.insert([elements.groups, *elements.arguments], len(elements))
    literals = reducer.builder.add_exclusive(np.ones(len(elements)), sets)
    return Results(elements.groups, columns, [elements.operands, literals])
