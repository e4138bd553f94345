"""The built-in functions `$f(…)`: one table of their signatures and their implementations."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from scallax.language.records import record
from scallax.language.signatures import Signature
from scallax.language.siphash import hash_values
from scallax.language.tensors import Tensor, TensorTerm, TensorVariable, combine
from scallax.language.values import Value, ValueType

# Values `[rows]`, and which of them exist (None: all).
Image = tuple[np.ndarray, np.ndarray | None]


@record
class Function:
    """The implementation of a function, over columns or over single values; one of the three is given.

    Args:
        columns: Takes the result's type and the arguments, as columns of their native dtypes.
        values: Takes the arguments of one distinct row; returns None if there is no value.
        typed: Takes the types of the arguments, then their values, of one distinct row.
    """

    signature: Signature
    columns: Callable[..., Image] | None = None
    values: Callable[..., Any] | None = None
    typed: Callable[[Sequence[ValueType], Sequence[Value]], Any] | None = None


def display(value: Value, type: ValueType) -> str:
    """The text that casts and `$format` write for a value."""
    match value:
        case bool():
            return "true" if value else "false"
        case float() if np.isnan(value):
            return "NaN"
        case float() if np.isinf(value):
            return "inf" if value > 0 else "-inf"
        case float():
            # An f32 has fewer digits than an f64.
            exact = np.float32(value) if type is ValueType.F32 else np.float64(value)
            return np.format_float_positional(exact, unique=True, trim="-")
        case TensorVariable() | TensorTerm():
            return str(value.content())
        case _:
            return str(value)


def num_placeholders(template: str) -> int:
    """The number of values that the template of a `$format` takes."""
    return template.count("{}")


def _elementwise(compute: Callable[..., np.ndarray]) -> Callable[..., Image]:
    return lambda type, *columns: (compute(*columns), None)


def _within(compute: Callable, exists: Callable[..., np.ndarray]) -> Callable[..., Image]:
    """A function of one float column that has a value on a part of the numbers only."""

    def columns(type: ValueType, values: np.ndarray) -> Image:
        defined = exists(values)
        return compute(np.where(defined, values, values.dtype.type(1))), defined

    return columns


def _abs(type: ValueType, values: np.ndarray) -> Image:
    if not type.is_signed:
        return np.abs(values), None
    low, high = type.bounds
    return np.abs(np.where(values == low, -high, values)), None


def _rounding(compute: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Image]:
    return lambda type, values: (compute(values) if type.is_float else values, None)


def _round(values: np.ndarray) -> np.ndarray:
    """Rounds to the nearest integer, halves away from zero."""
    whole = np.trunc(values)
    return whole + np.where(np.abs(values - whole) >= 0.5, np.sign(values), values.dtype.type(0))


def _extreme(compute: np.ufunc) -> Callable[..., Image]:
    def columns(type: ValueType, first: np.ndarray, *others: np.ndarray) -> Image:
        for other in others:
            first = compute(first, other)
        return first, None

    return columns


def _sign(type: ValueType, values: np.ndarray) -> Image:
    return ((values > 0).astype(values.dtype) - (values < 0).astype(values.dtype)), None


def _mod(type: ValueType, dividend: np.ndarray, divisor: np.ndarray) -> Image:
    exists = (divisor != 0).astype(np.bool_)
    safe = np.where(exists, divisor, np.ones(1, divisor.dtype))
    # The smallest integer modulo -1 traps in hardware on some machines.
    safe = np.where(safe == -1, np.ones(1, divisor.dtype), safe) if type.is_signed else safe
    return np.mod(dividend, safe), exists


def _pow(types: Sequence[ValueType], values: Sequence[Value]) -> int:
    """The power, clamped to the bounds of the type like sums and products."""
    base, exponent = (int(value) for value in values if isinstance(value, int))
    low, high = types[0].bounds
    # Further powers of such a base are out of bounds as well, with the same sign.
    exponent = min(exponent, 128 + exponent % 2) if abs(base) > 1 else exponent
    return min(max(base**exponent, low), high)


def _char_at(text: str, index: int) -> str | None:
    return text[index] if index < len(text) else None


def _substring(text: str, first: int, end: int | None = None) -> str | None:
    """The bytes from `first` to `end`; None if they do not exist or would cut a character in two."""
    encoded = text.encode()
    end = len(encoded) if end is None else end
    # The bytes of a character after its first are 10xxxxxx.
    cuts = any(encoded[place : place + 1] and encoded[place] & 0xC0 == 0x80 for place in (first, end))
    return encoded[first:end].decode() if first <= end <= len(encoded) and not cuts else None


def _index_of(text: str, part: str) -> int | None:
    place = text.encode().find(part.encode())
    return place if place >= 0 else None


def _format(types: Sequence[ValueType], values: Sequence[Value]) -> str | None:
    template = str(values[0])
    if num_placeholders(template) != len(values) - 1:
        return None
    parts = template.split("{}")
    shown = map(display, values[1:], types[1:])
    return "".join([parts[0], *(text + part for text, part in zip(shown, parts[1:], strict=True))])


def _dates(unit: str) -> Callable[[np.ndarray], np.ndarray]:
    return lambda instants: instants.astype("datetime64[us]").astype(f"datetime64[{unit}]")


def year_of(instants: np.ndarray) -> np.ndarray:
    """The years of instants in microseconds since 1970."""
    return _dates("Y")(instants).astype(np.int64) + 1970


def month_of(instants: np.ndarray) -> np.ndarray:
    """The months of instants, 1 to 12."""
    return _dates("M")(instants).astype(np.int64) % 12 + 1


def day_of(instants: np.ndarray) -> np.ndarray:
    """The days of the month of instants, from 1."""
    days = _dates("D")(instants)
    return (days - days.astype("datetime64[M]")).astype(np.int64) + 1


def _dot(left: Tensor, right: Tensor) -> Tensor | None:
    """The inner product of two vectors of equal length, as a tensor without axes."""
    return combine("dot", left, right) if len(left.shape) == 1 and left.shape == right.shape else None


def _has_unit_size(values: np.ndarray) -> np.ndarray:
    return np.abs(values) <= 1


def _is_not_below(values: np.ndarray) -> np.ndarray:
    return ~(values < 0)


def _is_not_below_or_zero(values: np.ndarray) -> np.ndarray:
    return ~(values <= 0)


def _columns(text: str, columns: Callable[..., Image]) -> Function:
    return Function(Signature.read(text), columns=columns)


def _values(text: str, values: Callable[..., Any]) -> Function:
    return Function(Signature.read(text), values=values)


def _typed(text: str, typed: Callable[[Sequence[ValueType], Sequence[Value]], Any]) -> Function:
    return Function(Signature.read(text), typed=typed)


FUNCTIONS = {
    function.signature.name: function
    for function in (
        _columns("abs<T: Number>(T) -> T", _abs),
        _columns("floor<T: Number>(T) -> T", _rounding(np.floor)),
        _columns("ceil<T: Number>(T) -> T", _rounding(np.ceil)),
        _columns("round<T: Number>(T) -> T", _rounding(_round)),
        _columns("sign<T: Number>(T) -> T", _sign),
        _columns("max<T: Number>(T, T...) -> T", _extreme(np.maximum)),
        _columns("min<T: Number>(T, T...) -> T", _extreme(np.minimum)),
        _columns("mod<T: Number>(T, T) -> T", _mod),
        _typed("pow<T: Integer>(T, u32) -> T", _pow),
        _columns("powf<T: Float>(T, T) -> T", _elementwise(np.power)),
        _columns("sqrt<T: Float>(T) -> T", _within(np.sqrt, _is_not_below)),
        _columns("exp<T: Float>(T) -> T", _elementwise(np.exp)),
        _columns("exp2<T: Float>(T) -> T", _elementwise(np.exp2)),
        _columns("log<T: Float>(T) -> T", _within(np.log, _is_not_below_or_zero)),
        _columns("log2<T: Float>(T) -> T", _within(np.log2, _is_not_below_or_zero)),
        _columns("sin<T: Float>(T) -> T", _elementwise(np.sin)),
        _columns("cos<T: Float>(T) -> T", _elementwise(np.cos)),
        _columns("tan<T: Float>(T) -> T", _elementwise(np.tan)),
        _columns("asin<T: Float>(T) -> T", _within(np.arcsin, _has_unit_size)),
        _columns("acos<T: Float>(T) -> T", _within(np.arccos, _has_unit_size)),
        _columns("atan<T: Float>(T) -> T", _elementwise(np.arctan)),
        _columns("atan2<T: Float>(T, T) -> T", _elementwise(np.arctan2)),
        _values("string_concat(String...) -> String", lambda *texts: "".join(texts)),
        _values("string_length(String) -> usize", lambda text: len(text.encode())),
        _values("string_char_at(String, usize) -> char", _char_at),
        _values("substring(String, usize, usize?) -> String", _substring),
        _typed("format(String, Any...) -> String", _format),
        # It changes ASCII letters only, as in the reference.
        _values("string_upper(String) -> String", lambda text: text.encode().upper().decode()),
        _values("string_lower(String) -> String", lambda text: text.encode().lower().decode()),
        _values("string_index_of(String, String) -> usize", _index_of),
        _values("string_replace(String, String, String) -> String", str.replace),
        _values("string_trim(String) -> String", str.strip),
        _columns("datetime_year(DateTime) -> i32", _elementwise(year_of)),
        _columns("datetime_month(DateTime) -> u32", _elementwise(month_of)),
        _columns("datetime_month0(DateTime) -> u32", _elementwise(lambda instants: month_of(instants) - 1)),
        _columns("datetime_day(DateTime) -> u32", _elementwise(day_of)),
        # Texts of terms are parsed when they are numbered; a text that is no term has no value.
        _values("parse_entity(String) -> Entity", lambda text: text),
        _values("dim(Tensor) -> usize", lambda tensor: len(tensor.shape)),
        _values("dot(Tensor, Tensor) -> Tensor", _dot),
        _typed("hash(Any...) -> u64", hash_values),
    )
}
