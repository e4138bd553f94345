"""Calls of built-in functions and arithmetic of times over whole columns; a row without a value is dropped."""

from collections.abc import Callable, Sequence

import numpy as np

from scallax import ir
from scallax.functions import FUNCTIONS, Image
from scallax.grounding.symbols import Symbols, decode, decode_values, encode, encode_values
from scallax.times import Duration, divide, parse_duration, scale, shift
from scallax.values import Value, ValueType

# What stands in a row that has no value, by kind of type.
_TEXT_FILL, _NUMBER_FILL = "", 0


def call(
    function: str,
    arguments: Sequence[np.ndarray],
    types: Sequence[ValueType],
    result: ValueType,
    num_rows: int,
    symbols: Symbols,
) -> Image:
    """The values `[rows]` of a function of native columns, and which of them exist (None: all).

    Functions over columns are called once, others once for every distinct row.
    """
    found = FUNCTIONS[function]
    if found.columns is not None:
        # What overflows is infinite, and what is undefined NaN or dropped, as the function says.
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
    fill = " " if type is ValueType.CHAR else _TEXT_FILL if type.is_text or type is ValueType.ENTITY else _NUMBER_FILL
    values = [fill if image is None else image for image in images]
    native = decode(encode_values(values, type, symbols), type, symbols)
    if type is ValueType.ENTITY:
        exists &= native >= 0
    return native[inverse], exists[inverse]


def combine_times(expression: ir.Binary, left: np.ndarray, right: np.ndarray, symbols: Symbols) -> Image:
    """`+ - * /` with a date or a duration on the left; a date outside the years 1 to 9999 does not exist."""
    op, left_type, right_type = expression.op, expression.left.type, expression.right.type
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
        return symbols.intern(map(str, images))[inverse], None
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
