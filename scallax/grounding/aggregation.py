"""Aggregates as derivations: certain tuples are reduced as numbers, uncertain ones one by one into shared nodes.

The value of an aggregate in a world is that over the tuples which hold there. Worlds are not enumerated: tuples are
taken in value order, and what different choices have in common (a sum reached so far, "none of the better ones") is
one node.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np

from scallax.errors import Diagnostic, UnsupportedError
from scallax.grounding.arithmetic import truncated_quotient
from scallax.grounding.certainty import Unfailing
from scallax.grounding.choosing_aggregates import (
    choose_heaviest,
    draw,
    enumerate_values,
    exclude,
    rank,
    share_weights,
    sort_values,
)
from scallax.grounding.conjunction import DerivationBuilder, Factor
from scallax.grounding.derivations import ONE
from scallax.grounding.folds import (
    Elements,
    Fold,
    Reducer,
    Results,
    States,
    check_size,
    conjoin_groups,
    conjunctions,
    positions_in_groups,
    reach,
    repeated,
)
from scallax.grounding.foreign_aggregates import reduce_foreign
from scallax.grounding.foreign_calls import ForeignCalls
from scallax.grounding.relation import GroundRelation
from scallax.grounding.symbols import Symbols, by_content, decode, encode, native_dtype, sort_keys
from scallax.kernels.row_sets import RowTable, expand_ranges, group
from scallax.kernels.runs import dense_ranks, row_order
from scallax.language import ir
from scallax.language.records import record
from scallax.language.values import ValueType


@record
class Reduced:
    """Results of an aggregate: a row for each way in which a group can have one, columns of codes by variable."""

    num_rows: int
    columns: dict[str, np.ndarray]
    factors: list[Factor]


def reduce_groups(
    reduce: ir.Reduce,
    body: GroundRelation,
    domain: GroundRelation | None,
    symbols: Symbols,
    builder: DerivationBuilder,
    rule: int,
    uses_tags: bool,
    calls: ForeignCalls,
    unfailing: Unfailing,
) -> Reduced:
    """The results of an aggregate for every group, with the operands under which they hold.

    Raises `GroundingError` for a group with too many possible values, and `UnsupportedError` where weights would become
    values that depend on the batch.
    """
    reducer = Reducer(reduce, symbols, builder, rule, uses_tags, calls)
    num_keys = len(reduce.keys)
    keys = body.columns[:num_keys]
    table = RowTable(num_keys)
    if domain is None:
        groups = table.insert(keys, body.size)
        of_domain = None
    else:
        places = {variable.name: i for i, variable in enumerate(reduce.groups)}
        of_domain = table.insert([domain.columns[places[key.name]] for key in reduce.keys], domain.size)
        groups = table.find(keys, body.size)
    # Without a key there is one group, which may be empty.
    num_groups = table.size if num_keys else 1
    if _is_plain(reducer, body):
        results = _fold_plain(reducer, body, groups, num_groups)
    else:
        elements = _elements(reducer, body, groups, num_groups, table.columns, unfailing)
        if reducer.foreign is not None:
            results = reduce_foreign(reducer, reducer.foreign, elements)
        else:
            results = _OPERATORS[reduce.op](reducer, elements)
    factors = [Factor(operands) for operands in results.factors]
    if domain is None or of_domain is None:
        columns = [column[results.groups] for column in table.columns]
        columns += results.columns
    else:
        starts, order = group(results.groups, num_groups)
        first = starts[of_domain] if domain.size else of_domain
        count = starts[of_domain + 1] - first if domain.size else of_domain
        tuples, rows = expand_ranges(first, count)
        rows = order[rows]
        columns = [column[tuples] for column in domain.columns]
        columns += [column[rows] for column in results.columns]
        factors = [Factor(factor.operands[rows]) for factor in factors]
        if not domain.certain:
            factors.insert(0, Factor(domain.operands[tuples]))
    names = [variable.name for variable in (*reduce.groups, *reduce.results)]
    num_rows = len(columns[0]) if columns else len(results.groups)
    return Reduced(num_rows, dict(zip(names, columns, strict=True)), factors)


# Aggregates whose results follow from the order of values.
_EXTREMES = ("min", "max", "argmin", "argmax")


def _ranks(reducer: Reducer, codes: np.ndarray, type: ValueType) -> np.ndarray:
    """The places of codes in value order; of tensors what they hold is asked for only where it decides the result."""
    if reducer.foreign is not None or reducer.reduce.op in _EXTREMES:
        codes = by_content(codes, type, reducer.symbols)
    return dense_ranks(sort_keys(decode(codes, type, reducer.symbols), type, reducer.symbols))


def _elements(
    reducer: Reducer,
    body: GroundRelation,
    groups: np.ndarray,
    num_groups: int,
    keys: Sequence[np.ndarray],
    unfailing: Unfailing,
) -> Elements:
    reduce = reducer.reduce
    variables = (*reduce.arguments, *reduce.values)
    columns = body.columns[len(reduce.keys) :]
    ranks = [_ranks(reducer, codes, variable.type) for codes, variable in zip(columns, variables, strict=True)]
    rows = row_order([groups, *ranks])
    rows = rows[groups[rows] >= 0]
    operands = np.full(len(rows), ONE) if reduce.is_discrete else body.operands[rows]
    end = len(reduce.arguments)
    return Elements(
        groups[rows],
        positions_in_groups(groups[rows], num_groups),
        [column[rows] for column in columns[:end]],
        [column[rows] for column in columns[end:]],
        [rank[rows] for rank in ranks],
        [rank[rows] for rank in ranks[end:]],
        operands,
        body.operands[rows],
        unfailing.holds(operands),
        unfailing.are_one(operands),
        num_groups,
        keys,
    )


# Folds ----------------------------------------------------------------------------------------------------------------


def _fold(reducer: Reducer, elements: Elements) -> Results:
    """The states that each group can reach, and the nodes that say it does.

    Certain tuples are added first, all at once; where their order matters (`is_order_sensitive`), only those of groups
    without any other.
    """
    # For a count of several columns, any of them will do.
    native = decode(elements.values[0], reducer.reduce.values[0].type, reducer.symbols)
    fold = _FOLDS[reducer.reduce.op](reducer, native)
    return _finish(
        reducer, fold, reach(reducer, fold, elements, native, is_order_sensitive=reducer.reduce.op == "string_join")
    )


def _is_plain(reducer: Reducer, body: GroundRelation) -> bool:
    """Whether all tuples hold in all worlds, and their order does not matter: floats are added in value order."""
    reduce = reducer.reduce
    if reducer.foreign is not None or not (reduce.is_discrete or body.certain):
        return False
    return reduce.op == "count" or (reduce.op in ("sum", "prod", "avg") and not reduce.values[0].type.is_float)


def _fold_plain(reducer: Reducer, body: GroundRelation, groups: np.ndarray, num_groups: int) -> Results:
    """The one state of each group, all of whose tuples are added at once."""
    reduce = reducer.reduce
    values = body.columns[len(reduce.keys) + len(reduce.arguments)]
    if (groups < 0).any():
        values, groups = values[groups >= 0], groups[groups >= 0]
    native = decode(values, reduce.values[0].type, reducer.symbols)
    fold = _FOLDS[reduce.op](reducer, native)
    start = [repeated(value, type, num_groups) for value, type in zip(fold.start, fold.types, strict=True)]
    return _finish(
        reducer, fold, States(np.arange(num_groups), fold.bulk(start, native, groups), np.full(num_groups, ONE))
    )


def _finish(reducer: Reducer, fold: Fold, states: States) -> Results:
    results, there = fold.finish(states.columns)
    codes = encode(results, reducer.reduce.results[0].type, reducer.symbols)
    if there is None:
        return Results(states.groups, [codes], [states.operands])
    return Results(states.groups[there], [codes[there]], [states.operands[there]])


def _count(reducer: Reducer, _: np.ndarray) -> Fold:
    one = np.uint64(1)

    def bulk(state: list[np.ndarray], _: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
        return [state[0] + np.bincount(groups, minlength=len(state[0])).astype(np.uint64)]

    return Fold((ValueType.USIZE,), (0,), bulk, lambda state, _: [state[0] + one], lambda state: (state[0], None))


def _sum(reducer: Reducer, native: np.ndarray) -> Fold:
    return _arithmetic(reducer, native, np.add, 0)


def _product(reducer: Reducer, native: np.ndarray) -> Fold:
    return _arithmetic(reducer, native, np.multiply, 1)


def _arithmetic(reducer: Reducer, native: np.ndarray, operation: np.ufunc, start: int) -> Fold:
    """The sum or product of all; of integers it is exact, and cut to the bounds of the type at the end."""
    type = reducer.reduce.values[0].type
    state_type = _exact_type(native, type, operation)
    dtype = native_dtype(state_type)
    if dtype.kind == "O" and operation is np.multiply:
        operation = _LIMITED_PRODUCT

    def bulk(state: list[np.ndarray], values: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
        total = state[0].copy()
        with np.errstate(all="ignore"):  # infinite floats
            operation.at(total, groups, values.astype(dtype))
        return [total]

    def add(state: list[np.ndarray], values: np.ndarray) -> list[np.ndarray]:
        with np.errstate(all="ignore"):
            return [operation(state[0], values.astype(dtype))]

    def finish(state: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        return (_cut(state[0], state_type, type) if type.is_integer else state[0]), None

    return Fold((state_type,), (start,), bulk, add, finish)


def _cut(values: np.ndarray, exact: ValueType, type: ValueType) -> np.ndarray:
    low, high = max(exact.bounds[0], type.bounds[0]), min(exact.bounds[1], type.bounds[1])
    if exact is ValueType.I128:  # Python's integers, of any size
        low, high = type.bounds
    return np.minimum(np.maximum(values, low), high).astype(native_dtype(type))


def _exact_type(native: np.ndarray, type: ValueType, operation: np.ufunc) -> ValueType:
    """A type whose native values hold what the operation can give for any of the integers."""
    if not type.is_integer:
        return type
    sizes = np.abs(native.astype(np.float64))
    bits = np.log2(np.maximum(sizes, 1)).sum() if operation is np.multiply else np.log2(max(sizes.sum(), 1))
    return ValueType.I64 if bits < _EXACT_BITS else ValueType.I128


# Below, 64 bits are enough for sums of rounded sizes.
_EXACT_BITS = 62
# A product this far out of the bounds of every type stays out of them, with its sign, unless a factor is 0.
_PRODUCT_LIMIT = 1 << 129
_LIMITED_PRODUCT = np.frompyfunc(lambda a, b: min(max(a * b, -_PRODUCT_LIMIT), _PRODUCT_LIMIT), 2, 1)


def _average(reducer: Reducer, native: np.ndarray) -> Fold:
    """No tuple has no average."""
    type = reducer.reduce.values[0].type
    total = _sum(reducer, native)

    def bulk(state: list[np.ndarray], values: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
        return [*total.bulk(state[:1], values, groups), state[1] + np.bincount(groups, minlength=len(state[1]))]

    def add(state: list[np.ndarray], values: np.ndarray) -> list[np.ndarray]:
        return [*total.add(state[:1], values), state[1] + 1]

    def finish(state: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        there = state[1] > 0
        number = np.where(there, state[1], 1).astype(state[0].dtype)
        if type.is_float:
            return state[0] / number, there
        # An average is within the bounds of its type, whatever the sum.
        exact = type if native_dtype(type).kind == "O" else total.types[0]
        return truncated_quotient(state[0], number, exact).astype(native_dtype(type)), there

    return Fold((*total.types, ValueType.I64), (0, 0), bulk, add, finish)


def _join_strings(reducer: Reducer, _: np.ndarray) -> Fold:
    """Texts with the separator between them; whether there is a first one is part of the state."""
    symbols = reducer.symbols
    separator = str(dict(reducer.reduce.parameters).get("separator", ""))
    (empty,) = symbols.intern([""])

    def bulk(state: list[np.ndarray], values: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
        starts, order = group(groups, len(state[0]))
        texts = symbols.values(values[order])
        joined = [separator.join(texts[first:end]) for first, end in pairwise(starts.tolist())]
        return [symbols.intern(joined), np.diff(starts) > 0]

    def add(state: list[np.ndarray], values: np.ndarray) -> list[np.ndarray]:
        before, texts = symbols.values(state[0]), symbols.values(values)
        joined = [
            f"{left}{separator}{right}" if started else right
            for left, right, started in zip(before, texts, state[1].tolist(), strict=True)
        ]
        return [symbols.intern(joined), np.ones(len(joined), np.bool_)]

    return Fold((ValueType.STRING, ValueType.BOOL), (int(empty), False), bulk, add, lambda state: (state[0], None))


def _string_join(reducer: Reducer, elements: Elements) -> Results:
    """One text for each world; with `all`, one for each choice of a tuple for every argument, or of all without any."""
    if not dict(reducer.reduce.parameters).get("all", False):
        return _fold(reducer, elements)
    fold = _join_strings(reducer, elements.values[0])
    slots = elements.positions
    if elements.arguments:
        columns = (elements.groups, *elements.ranks[: len(elements.arguments)])
        changes = np.ones(len(elements), np.bool_)
        changes[1:] = np.any([column[1:] != column[:-1] for column in columns], axis=0)
        # The place of each argument among those of its group.
        slots = np.cumsum(changes) - 1
        first = np.zeros(elements.num_groups, np.int64)
        first[elements.groups[::-1]] = slots[::-1]
        slots = slots - first[elements.groups]
    (texts,) = elements.values
    state = [repeated(value, type, elements.num_groups) for value, type in zip(fold.start, fold.types, strict=True)]
    states = States(np.arange(elements.num_groups), state, np.full(elements.num_groups, ONE))
    for slot in range(int(slots.max(initial=-1)) + 1):
        rows = np.flatnonzero(slots == slot)
        counts = np.bincount(elements.groups[rows], minlength=elements.num_groups)
        offsets = np.cumsum(counts) - counts
        done = states[counts[states.groups] == 0]
        states = states[counts[states.groups] > 0]
        sources, places = expand_ranges(offsets[states.groups], counts[states.groups])
        states, chosen = states[sources], rows[places]
        factors = [Factor(states.operands), Factor(elements.operands[chosen])]
        operands = conjunctions(reducer, factors)
        columns = fold.add(states.columns, texts[chosen])
        states = States(
            np.concatenate([states.groups, done.groups]),
            [np.concatenate(pair) for pair in zip(columns, done.columns, strict=True)],
            np.concatenate([operands, done.operands]),
        )
        check_size(reducer, states.groups)
    return Results(states.groups, [states.columns[0]], [states.operands])


_FOLDS = {
    "count": _count,
    "sum": _sum,
    "prod": _product,
    "avg": _average,
    "string_join": _join_strings,
}


def _weighted(reducer: Reducer, elements: Elements) -> Results:
    """The weighted sum, or average, of each world; the weights are numbers before any world is chosen."""
    weights = np.ones(len(elements))
    uncertain = elements.tags != ONE
    if reducer.uses_tags and np.any(uncertain):
        weights[uncertain] = _known_weights(reducer, elements.tags[uncertain])
    type = reducer.reduce.values[0].type
    native = decode(elements.values[0], type, reducer.symbols).astype(np.float64)
    is_sum = reducer.reduce.op == "weighted_sum"
    # A column of products, and for an average one of weights.
    values = (native * weights)[:, None] if is_sum else np.stack([native * weights, weights], 1)

    def bulk(state: list[np.ndarray], values: np.ndarray, groups: np.ndarray) -> list[np.ndarray]:
        return [old + np.bincount(groups, column, len(old)) for old, column in zip(state, values.T, strict=True)]

    def add(state: list[np.ndarray], values: np.ndarray) -> list[np.ndarray]:
        return [old + column for old, column in zip(state, values.T, strict=True)]

    def finish(state: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray | None]:
        if is_sum:
            return state[0].astype(native_dtype(type)), None
        there = state[1] != 0
        return (state[0] / np.where(there, state[1], 1)).astype(native_dtype(type)), there

    width = values.shape[1]
    fold = Fold((ValueType.F64,) * width, (0.0,) * width, bulk, add, finish)
    return _finish(reducer, fold, reach(reducer, fold, elements, values, is_order_sensitive=False))


def _known_weights(reducer: Reducer, operands: np.ndarray) -> np.ndarray:
    weights = reducer.builder.weights(operands)
    if weights is None:
        op = reducer.reduce.op
        plain = op.removeprefix("weighted_")
        raise UnsupportedError(
            Diagnostic(
                f"`{op}` over tuples whose probabilities are inputs: they would become values, and so the tuples that "
                "are possible would depend on the batch",
                reducer.reduce.span,
                f"give these tuples constant tags, or use `{plain}` and weigh its results by their probabilities",
            )
        )
    return weights


# Truth ----------------------------------------------------------------------------------------------------------------


def _exists(reducer: Reducer, elements: Elements) -> Results:
    """True with each tuple, false where none holds."""
    holds = np.zeros(elements.num_groups, np.bool_)
    holds[elements.groups[elements.held]] = True
    certain = np.zeros(elements.num_groups, np.bool_)
    certain[elements.groups[elements.operands == ONE]] = True
    open_elements = elements[~certain[elements.groups]]
    held = np.flatnonzero(certain)
    none = np.full(elements.num_groups, ONE)
    conjoin_groups(reducer, open_elements[~holds[open_elements.groups]], none, negated=True)
    empty = np.flatnonzero(~holds)
    value = reducer.reduce.op == "exists"
    groups = np.concatenate([held, open_elements.groups, empty])
    truth = np.repeat([value, value, not value], [len(held), len(open_elements), len(empty)])
    operands = np.concatenate([np.full(len(held), ONE), open_elements.operands, none[empty]])
    return Results(groups, [truth.astype(np.int64)], [operands])


# The best tuples ------------------------------------------------------------------------------------------------------


def _best(reducer: Reducer, elements: Elements) -> Results:
    """Each tuple with "none of the better ones"; tuples of one value do not exclude each other.

    A tuple that is worse than one that holds in all worlds is never the best.
    """
    sign = -1 if reducer.reduce.op in ("max", "argmax") else 1
    ranks = [sign * rank for rank in elements.value_ranks]
    elements = elements[np.lexsort((*ranks[::-1], elements.groups))]
    changes = np.ones(len(elements), np.bool_)
    same = np.ones(max(len(elements) - 1, 0), np.bool_)
    for column in (elements.groups, *elements.value_ranks):
        same &= column[1:] == column[:-1]
    changes[1:] = ~same
    strata = np.cumsum(changes)
    # The stratum of each group's first tuple that holds in all worlds.
    last = np.full(elements.num_groups, len(elements) + 1)
    held = np.flatnonzero(elements.held)[::-1]
    last[elements.groups[held]] = strata[held]
    kept = strata <= last[elements.groups]
    elements, strata = elements[kept], strata[kept]
    changes = np.diff(strata, prepend=0) != 0
    starts = np.flatnonzero(changes)[np.cumsum(changes) - 1]
    uncertain = np.where(elements.held, ONE, elements.operands)
    before = _prefixes(reducer, elements.groups, uncertain, elements.num_groups, negated=True)[starts]
    columns = elements.arguments
    if reducer.reduce.op in ("min", "max"):
        columns = elements.arguments + elements.values
    return Results(elements.groups, columns, [before, elements.operands])


def _prefixes(reducer: Reducer, groups: np.ndarray, operands: np.ndarray, num_groups: int, negated: bool) -> np.ndarray:
    """For each row, the conjunction of the rows before it in its group, or of their complements.

    Pairs are joined first, then single rows: this takes at most two nodes for each row, at a depth of twice the
    logarithm.
    """
    result = np.full(len(groups), ONE)
    right = np.flatnonzero(positions_in_groups(groups, num_groups) % 2 == 1)
    if not len(right):
        return result
    left = np.flatnonzero(positions_in_groups(groups, num_groups) % 2 == 0)
    pairs = np.full(len(groups), ONE)
    # Nothing comes after a group's last pair.
    inner = right[:-1][groups[right[:-1]] == groups[np.minimum(right[:-1] + 1, len(groups) - 1)]]
    if right[-1] + 1 < len(groups) and groups[right[-1]] == groups[right[-1] + 1]:
        inner = np.append(inner, right[-1])
    pairs[inner - 1] = conjunctions(reducer, [Factor(operands[inner - 1], negated), Factor(operands[inner], negated)])
    result[left] = _prefixes(reducer, groups[left], pairs[left], num_groups, negated=False)
    result[right] = conjunctions(reducer, [Factor(result[right - 1]), Factor(operands[right - 1], negated)])
    return result


_OPERATORS: dict[str, Callable[[Reducer, Elements], Results]] = {
    "count": _fold,
    "sum": _fold,
    "prod": _fold,
    "avg": _fold,
    "string_join": _string_join,
    "weighted_sum": _weighted,
    "weighted_avg": _weighted,
    "exists": _exists,
    "forall": _exists,
    "min": _best,
    "max": _best,
    "argmin": _best,
    "argmax": _best,
    "sort": sort_values,
    "argsort": sort_values,
    "enumerate": enumerate_values,
    "rank": rank,
    "unique": choose_heaviest,
    "top": choose_heaviest,
    "uniform": draw,
    "categorical": draw,
    "normalize": share_weights,
    "softmax": share_weights,
    "disjunct": exclude,
}
