"""Foreign predicates over tables: the tuples that each row of inputs matches."""

from collections.abc import Callable, Sequence

import numpy as np

from scallax.errors import Diagnostic, GroundingError, Span
from scallax.grounding.calls import distinct_rows
from scallax.grounding.conjunction import DerivationBuilder
from scallax.grounding.foreign_calls import ForeignCalls
from scallax.grounding.limits import raise_limit
from scallax.grounding.symbols import Symbols, decode, decode_values, encode, encode_values
from scallax.kernels.row_sets import expand_ranges
from scallax.language.foreign import ForeignPredicate
from scallax.language.predicates import PREDICATES
from scallax.language.tensors import Comparison
from scallax.language.values import ValueType


def generate_rows(
    name: str,
    inputs: Sequence[np.ndarray],
    types: Sequence[ValueType],
    num_rows: int,
    symbols: Symbols,
    max_rows: int,
    span: Span | None,
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray | list[float | Comparison] | None]:
    """The row of each match, ascending, the columns of outputs as codes, and the probabilities if it has any.

    Some of these may be what they will be computed of. `inputs` are codes; `types` are those of all arguments.
    Predicates over single values are called once for every distinct row. GroundingError beyond `max_rows`.
    """
    predicate = PREDICATES[name]
    if predicate.weight is not None:
        rows, weights = _weigh(predicate.weight, inputs, types, num_rows, symbols)
        return rows, [], weights
    if predicate.values is not None:
        rows, outputs = _expand_values(name, inputs, types, num_rows, symbols)
        return rows, outputs, None
    natives = [decode(column, type, symbols) for column, type in zip(inputs, types, strict=False)]
    if predicate.probability is not None:
        # Infinite differences are certain or impossible, and NaN is left out below.
        with np.errstate(all="ignore"):
            probability = np.broadcast_to(predicate.probability(*natives), num_rows)
        rows = np.flatnonzero(~np.isnan(probability))
        # Tags are f32 numbers in the language.
        return rows, [], probability[rows].astype(np.float32).astype(np.float64)
    assert predicate.columns is not None
    if predicate.count is not None and predicate.count(*natives).sum() > max_rows:
        message = f"`{name.rstrip('=')}` in this rule gives over {max_rows:,} rows"
        hint = f"narrow its bounds, or {raise_limit('derivations')}"
        raise GroundingError(Diagnostic(message, span, hint))
    with np.errstate(invalid="ignore"):
        matches = predicate.columns(*natives)
    output_types = types[len(inputs) :]
    return (
        matches.rows,
        [encode(column, type, symbols) for column, type in zip(matches.outputs, output_types, strict=True)],
        None,
    )


def generate_foreign(
    predicate: ForeignPredicate,
    inputs: Sequence[np.ndarray],
    types: Sequence[ValueType],
    num_rows: int,
    symbols: Symbols,
    calls: ForeignCalls,
    builder: DerivationBuilder | None,
    max_rows: int,
    span: Span | None,
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray | None]:
    """The result of `generate_rows` for a foreign predicate, with operands for probabilities; None if all are ONE."""
    distinct, inverse = distinct_rows(inputs, num_rows)
    count = len(distinct[0]) if distinct else min(1, num_rows)
    found = calls.matches(predicate, distinct, count, types, symbols, builder, span)
    counts = np.array([len(image.outputs) for image in found], np.int64)
    if counts[inverse].sum() > max_rows:
        message = f"`{predicate.signature.name}` in this rule gives over {max_rows:,} rows"
        hint = f"narrow its inputs, or {raise_limit('derivations')}"
        raise GroundingError(Diagnostic(message, span, hint))
    starts = np.cumsum(counts) - counts
    rows, positions = expand_ranges(starts[inverse], counts[inverse])
    tuples = [codes for image in found for codes in image.outputs]
    outputs = [np.array([codes[i] for codes in tuples], np.int64)[positions] for i in range(len(types) - len(inputs))]
    if predicate.tags == "none" or builder is None:
        return rows, outputs, None
    return rows, outputs, np.concatenate([np.zeros(0, np.int64), *(image.operands for image in found)])[positions]


def _weigh(
    weight: Callable[..., float | Comparison | None],
    inputs: Sequence[np.ndarray],
    types: Sequence[ValueType],
    num_rows: int,
    symbols: Symbols,
) -> tuple[np.ndarray, list[float | Comparison]]:
    """The rows that have a probability, and these."""
    distinct, inverse = distinct_rows(inputs, num_rows)
    columns = [decode_values(column, type, symbols) for column, type in zip(distinct, types, strict=False)]
    images = [weight(*values) for values in zip(*columns, strict=True)]
    # NaN is none.
    found = [None if image != image else image for image in images]
    weights = [(row, found[place]) for row, place in enumerate(inverse.tolist())]
    rows = [row for row, image in weights if image is not None]
    return np.array(rows, np.int64), [image for _, image in weights if image is not None]


def _expand_values(
    name: str, inputs: Sequence[np.ndarray], types: Sequence[ValueType], num_rows: int, symbols: Symbols
) -> tuple[np.ndarray, list[np.ndarray]]:
    function = PREDICATES[name].values
    assert function is not None
    distinct, inverse = distinct_rows(inputs, num_rows)
    columns = [decode_values(column, type, symbols) for column, type in zip(distinct, types, strict=False)]
    images = [list(function(*values)) for values in zip(*columns, strict=True)]
    counts = np.array([len(image) for image in images], np.int64)
    starts = np.cumsum(counts) - counts
    rows, positions = expand_ranges(starts[inverse], counts[inverse])
    outputs = []
    for i, type in enumerate(types[len(inputs) :]):
        values = [match[i] for image in images for match in image]
        outputs.append(encode_values(values, type, symbols)[positions])
    return rows, outputs
