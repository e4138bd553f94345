"""Value types of the language, and the Python values that they take."""

import enum
import math
import re
import sys
from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from scallax.language.columns import Column
from scallax.language.tensors import Tensor, TensorTerm, TensorValue, TensorVariable
from scallax.language.times import parse_datetime, parse_duration, show_datetime, show_time


class ValueType(enum.Enum):
    """The type of a column; the member's value is the name of the type in programs."""

    I8 = "i8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    I128 = "i128"
    ISIZE = "isize"
    U8 = "u8"
    U16 = "u16"
    U32 = "u32"
    U64 = "u64"
    U128 = "u128"
    USIZE = "usize"
    F32 = "f32"
    F64 = "f64"
    BOOL = "bool"
    CHAR = "char"
    STRING = "String"
    SYMBOL = "Symbol"
    DATETIME = "DateTime"
    DURATION = "Duration"
    ENTITY = "Entity"
    TENSOR = "Tensor"

    def __str__(self) -> str:
        return self.value

    @property
    def is_integer(self) -> bool:
        return self in _INTEGER_BITS

    @property
    def is_signed(self) -> bool:
        return self.is_integer and self.value.startswith("i")

    @property
    def is_float(self) -> bool:
        return self in (ValueType.F32, ValueType.F64)

    @property
    def is_number(self) -> bool:
        return self.is_integer or self.is_float

    @property
    def is_time(self) -> bool:
        return self in (ValueType.DATETIME, ValueType.DURATION)

    @property
    def is_text(self) -> bool:
        """Whether the values are texts, which grounding numbers; durations are kept as their canonical texts."""
        return self in (ValueType.STRING, ValueType.SYMBOL, ValueType.DURATION)

    @property
    def is_numbered(self) -> bool:
        """Whether grounding numbers the values: texts and tensors."""
        return self.is_text or self is ValueType.TENSOR

    @property
    def bounds(self) -> tuple[int, int]:
        """Smallest and largest value of an integer type, both inclusive."""
        bits = _INTEGER_BITS[self]
        return (-(1 << bits - 1), (1 << bits - 1) - 1) if self.is_signed else (0, (1 << bits) - 1)

    def admits(self, value: object) -> bool:
        """Whether a Python value can stand in a column of this type as it is."""
        match value:
            case bool():
                return self is ValueType.BOOL
            case int():
                if self.is_integer:
                    low, high = self.bounds
                    return low <= value <= high
                return self.is_float and -LARGEST_FLOAT <= value <= LARGEST_FLOAT
            case float():
                return self.is_float and not math.isnan(value)
            case str() if not value.isascii() and _SURROGATE.search(value):
                return False
            case str() if self.is_time:
                return canonical_time(value, self) is not None
            case str():
                return self.is_text or self is ValueType.ENTITY or (self is ValueType.CHAR and len(value) == 1)
            case TensorValue() | TensorVariable() | TensorTerm():
                return self is ValueType.TENSOR
            case _:
                return False

    def find_unfit(self, values: Sequence[object]) -> int | None:
        """The place of the first value that this type does not admit, None if it admits all."""
        if isinstance(values, Column) and values.distinct is None:
            return _first(self._unfit_numbers(values.array))
        if all(map(self.admits, _telling(values, self in _ANY_TEXT))):
            return None
        return next((place for place, value in enumerate(values) if not self.admits(value)), None)

    def _unfit_numbers(self, numbers: np.ndarray) -> np.ndarray:
        """True for numbers or bools of an array that this type does not admit."""
        match numbers.dtype.kind:
            case "f" if self.is_float:
                return np.isnan(numbers)
            case "i" | "u" if self.is_float:
                return np.zeros(len(numbers), np.bool_)
            case "i" | "u" if self.is_integer:
                low, high = self.bounds
                return (numbers < low) | (numbers > high)
            case "b" if self is ValueType.BOOL:
                return np.zeros(len(numbers), np.bool_)
            case _:
                return np.ones(len(numbers), np.bool_)


def _first(are_meant: np.ndarray) -> int | None:
    places = np.flatnonzero(are_meant)
    return int(places[0]) if len(places) else None


def _telling(values: Sequence[object], is_any_text: bool) -> Sequence[object]:
    """Few of the values, such that a type admits all if it admits these.

    `is_any_text`: the type is one of texts of whatever form.
    """
    kinds = set(map(type, values))
    if kinds == {int}:
        return min(values), max(values)  # pyright: ignore[reportArgumentType]  # integers
    if kinds == {float}:
        return values[0], *(value for value in values if value != value)
    if kinds == {bool}:
        return values[:1]
    if kinds == {str} and is_any_text:
        return values[0], *(value for value in values if not value.isascii())  # pyright: ignore[reportAttributeAccessIssue]
    return values


_INTEGER_BITS = {
    ValueType.I8: 8,
    ValueType.I16: 16,
    ValueType.I32: 32,
    ValueType.I64: 64,
    ValueType.I128: 128,
    ValueType.ISIZE: 64,
    ValueType.U8: 8,
    ValueType.U16: 16,
    ValueType.U32: 32,
    ValueType.U64: 64,
    ValueType.U128: 128,
    ValueType.USIZE: 64,
}

# The types whose values are arbitrary texts.
_ANY_TEXT = (ValueType.STRING, ValueType.SYMBOL, ValueType.ENTITY)

# An integer beyond it is no float.
LARGEST_FLOAT = sys.float_info.max

# Half of a UTF-16 pair: Python's texts may hold it, UTF-8 may not.
_SURROGATE = re.compile("[\ud800-\udfff]")

# The names of Python's classes of values in errors and in programs. Dates and durations are canonical texts.
Scalar = bool | int | float | str
Value = Scalar | Tensor


def canonical_time(text: str, type: ValueType) -> str | None:
    """The canonical text of a date or a duration, None for a text that is none."""
    if type is ValueType.DURATION:
        duration = parse_duration(text)
        return None if duration is None else str(duration)
    instant = parse_datetime(text)
    return None if instant is None else show_datetime(instant)


def plain_value(value: Value | date | timedelta) -> Value:
    """A value, with Python's own dates and durations as canonical texts."""
    return show_time(value) if isinstance(value, date | timedelta) else value
