"""Calls of built-in functions and arithmetic of times over whole columns; a row without a value is dropped."""

from collections.abc import Callable, Sequence

import numpy as np

from scallax.errors import Diagnostic, GroundingError, Span
from scallax.grounding.foreign_calls import ForeignCalls
from scallax.grounding.symbols import Symbols, decode, decode_values, encode, encode_values
from scallax.language import ir
from scallax.language.foreign import ForeignFunction
from scallax.language.functions import Image
from scallax.language.tensors import TensorValue, combine
from scallax.language.times import NO_DURATION, Duration, divide, parse_duration, scale, shift, show_datetime
from scallax.language.values import Value, ValueType

_NO_TENSOR = TensorValue(np.zeros(()))
# The placeholder for a row without a value, where it is not 0.
_FILLS: dict[ValueType, Value] = {
    ValueType.CHAR: " ",
    ValueType.STRING: "",
    ValueType.SYMBOL: "",
    ValueType.ENTITY: "",
    ValueType.DURATION: str(NO_DURATION),
    ValueType.DATETIME: show_datetime(0),
    ValueType.TENSOR: _NO_TENSOR,
}


def call(
    function: str,
    arguments: Sequence[np.ndarray],
    types: Sequence[ValueType],
    result: ValueType,
    num_rows: int,
    symbols: Symbols,
    calls: ForeignCalls,
    missing: np.ndarray | None,
    span: Span | None,
) -> Image:
    """The values `[rows]` of a function over native columns, and a mask of the rows that have one (None: all).

    A function over columns is called once, another one once for every distinct row. A foreign function is not called
    for rows that are `missing` already.
    """
    found = calls.library.functions[function]
    if isinstance(found, ForeignFunction):
        return _call_foreign(found, arguments, types, result, num_rows, symbols, calls, missing, span)
    if found.columns is not None:
        # Overflow gives infinity; an undefined result is NaN or dropped, as the function says.
        with np.errstate(all="ignore"):
            return found.columns(result, *arguments)
    codes = [encode(column, type, symbols) for column, type in zip(arguments, types, strict=True)]
    rows, inverse = distinct_rows(codes, num_rows)
    columns = [decode_values(column, type, symbols) for column, type in zip(rows, types, strict=True)]
    tuples = zip(*columns, strict=True) if columns else [()] * int(num_rows > 0)
    if found.typed is not None:
        images = [found.typed(types, values) for values in tuples]
    else:
        assert found.values is not None
        images = [found.values(*values) for values in tuples]
    return spread(images, inverse, result, symbols)


def _call_foreign(
    function: ForeignFunction,
    arguments: Sequence[np.ndarray],
    types: Sequence[ValueType],
    result: ValueType,
    num_rows: int,
    symbols: Symbols,
    calls: ForeignCalls,
    missing: np.ndarray | None,
    span: Span | None,
) -> Image:
    present = np.arange(num_rows) if missing is None else np.flatnonzero(~missing)
    codes = [encode(column, type, symbols)[present] for column, type in zip(arguments, types, strict=True)]
    rows, inverse = distinct_rows(codes, len(present))
    count = len(rows[0]) if rows else min(1, len(present))
    images = calls.images(function, rows, count, types, result, symbols, span)
    exists = np.zeros(num_rows, np.bool_)
    values = np.repeat(_fill(result, symbols), num_rows)
    if count:
        there = np.array([image is not None for image in images], np.bool_)
        found = np.array([0 if image is None else image for image in images], np.int64)
        exists[present] = there[inverse]
        native = decode(found[there], result, symbols)
        spread_values = np.repeat(_fill(result, symbols), len(images))
        spread_values[there] = native
        values[present] = spread_values[inverse]
    return values, exists


def _fill(type: ValueType, symbols: Symbols) -> np.ndarray:
    """A native value `[1]` for a row that has none."""
    return decode(encode_values([_FILLS.get(type, 0)], type, symbols), type, symbols)


def distinct_rows(columns: Sequence[np.ndarray], num_rows: int) -> tuple[list[np.ndarray], np.ndarray]:
    """The distinct rows as columns, and the number of each row's own among them."""
    if not columns:
        return [], np.zeros(num_rows, np.int64)
    if len(columns) == 1:
        distinct, inverse = np.unique(columns[0], return_inverse=True)
        return [distinct], inverse.reshape(-1)
    distinct, inverse = np.unique(np.stack(columns, axis=1), axis=0, return_inverse=True)
    return [np.ascontiguousarray(column) for column in distinct.T], inverse.reshape(-1)


def spread(images: Sequence[Value | None], inverse: np.ndarray, type: ValueType, symbols: Symbols) -> Image:
    """Values of distinct rows as native values of all rows; None is no value."""
    exists = np.array([image is not None for image in images], np.bool_)
    fill = _FILLS.get(type, 0)
    values = [fill if image is None else image for image in images]
    native = decode(encode_values(values, type, symbols), type, symbols)
    if type is ValueType.ENTITY:
        exists &= native >= 0
    return native[inverse], exists[inverse]


def combine_times(expression: ir.Binary, left: np.ndarray, right: np.ndarray, symbols: Symbols) -> Image:
    """`+ - * /` with a date or a duration on the left; a date outside the years 1 to 9999 does not exist."""
    op, left_type, right_type = expression.op, expression.left.type, expression.right.type
    if right_type is ValueType.DATETIME and left_type is ValueType.DURATION:
        left, right, left_type, right_type = right, left, right_type, left_type
    if left_type is right_type is ValueType.DATETIME:
        # Differences of int64 microseconds are exact: dates span less than 2^59 of them.
        distinct, inverse = np.unique(left - right, return_inverse=True)
        texts = [str(Duration(0, 1000 * difference)) for difference in distinct.tolist()]
        return symbols.intern(texts)[inverse.reshape(-1)], None
    rows, inverse = distinct_rows([left, right], len(left))
    first, second = (
        [parse_duration(text) for text in symbols.values(column)] if type is ValueType.DURATION else column.tolist()
        for column, type in zip(rows, (left_type, right_type), strict=True)
    )
    images = list(map(_OPERATIONS[left_type, op], first, second))
    if expression.type is ValueType.DURATION:
        return symbols.intern(list(map(str, images)))[inverse], None
    exists = np.array([image is not None for image in images], np.bool_)
    values = np.array([0 if image is None else image for image in images], np.int64)
    return values[inverse], exists[inverse]


_OPERATIONS: dict[tuple[ValueType, str], Callable] = {
    (ValueType.DATETIME, "+"): shift,
    (ValueType.DATETIME, "-"): lambda instant, duration: shift(instant, scale(duration, -1)),
    (ValueType.DURATION, "+"): lambda a, b: Duration(a.months + b.months, a.nanoseconds + b.nanoseconds),
    (ValueType.DURATION, "-"): lambda a, b: Duration(a.months - b.months, a.nanoseconds - b.nanoseconds),
    (ValueType.DURATION, "*"): scale,
    # A row whose divisor is 0 was dropped before for another reason, or is an error.
    (ValueType.DURATION, "/"): lambda duration, divisor: divide(duration, divisor or 1),
}


def combine_tensors(
    expression: ir.Binary, left: np.ndarray, right: np.ndarray, symbols: Symbols, missing: np.ndarray | None
) -> np.ndarray:
    """`+ - *` of tensors of one shape, or of a tensor and a number. GroundingError for other shapes."""
    is_number = expression.right.type is not ValueType.TENSOR
    rows, inverse = distinct_rows([left, right.view(np.int64) if is_number else right], len(left))
    # A result in a row without a value is never read.
    seen = np.zeros(len(rows[0]), np.bool_)
    seen[inverse if missing is None else inverse[~missing]] = True
    others = rows[1].view(np.float64).tolist() if is_number else symbols.values(rows[1])
    images = []
    for first, operand, counts in zip(symbols.values(rows[0]), others, seen.tolist(), strict=True):
        if not counts:
            images.append(_NO_TENSOR)
            continue
        if not is_number and first.shape != operand.shape:
            shapes = f"{first.shape} and {operand.shape}"
            message = f"`{ir.print_expression(expression)}` is of tensors of the shapes {shapes}"
            raise GroundingError(Diagnostic(message, expression.span, "give tensors of one shape"))
        images.append(combine(expression.op, first, operand))
    return symbols.intern(images)[inverse]
