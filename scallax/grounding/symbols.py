"""Columns of values as int64 codes and back: equal values have equal codes."""

import sys
from collections.abc import Iterable, Sequence

import numpy as np

from scallax.grounding.terms import Terms
from scallax.language import ir
from scallax.language.columns import Column
from scallax.language.tensors import TensorInputs
from scallax.language.times import NO_DURATION, parse_datetime, parse_duration, show_datetime
from scallax.language.values import Value, ValueType

_WIDE_INTEGERS = (ValueType.I128, ValueType.U128)
_UNSIGNED_64 = (ValueType.U64, ValueType.USIZE)


class Symbols:
    """Numbers for the values that do not fit 64 bits: texts, tensors, 128-bit integers, and terms of the `variants`.

    `num_characters` are those of all texts so far; who makes texts makes at most `max_characters` at once. `tensors`
    are those in facts, if some may be variables.
    """

    __slots__ = ("_ids", "_values", "max_characters", "num_characters", "tensors", "terms")

    def __init__(self, variants: Sequence[ir.Variant] = (), max_characters: int = sys.maxsize):
        self.terms = Terms(variants)
        self.max_characters = max_characters
        self.num_characters = 0
        self.tensors: TensorInputs | None = None
        self._ids: dict[Value, int] = {}
        self._values: list[Value] = []

    def copy(self) -> "Symbols":
        """Symbols with the same numbers, which grow apart from these."""
        symbols = Symbols.__new__(Symbols)
        symbols.terms = self.terms.copy()
        symbols.max_characters, symbols.num_characters = self.max_characters, self.num_characters
        symbols.tensors = self.tensors
        symbols._ids, symbols._values = dict(self._ids), list(self._values)
        return symbols

    def intern(self, values: Sequence[Value]) -> np.ndarray:
        """Ids int64 `[values]`; a value met for the first time gets the next one."""
        ids = self._ids
        fresh = [value for value in dict.fromkeys(values) if value not in ids]
        if fresh:
            ids.update(zip(fresh, range(len(ids), len(ids) + len(fresh)), strict=True))
            self._values += fresh
            self.num_characters += sum(len(value) for value in fresh if isinstance(value, str))
        return np.fromiter(map(ids.__getitem__, values), np.int64, len(values))

    def find(self, values: Iterable[Value]) -> np.ndarray:
        """Ids int64 `[values]`, -1 for values never interned."""
        return np.array([self._ids.get(value, -1) for value in values], np.int64)

    def intern_terms(self, texts: Sequence[str]) -> np.ndarray:
        """Codes int64 `[texts]` of terms, which are known from now on; -1 for a text that writes none."""

        def encode(values: list[Value], type: ValueType) -> tuple[np.ndarray, np.ndarray]:
            return encode_values(values, type, self), np.ones(len(values), np.bool_)

        return self.terms.codes(texts, encode, self.terms.intern)

    def find_terms(self, texts: Sequence[str]) -> np.ndarray:
        """Codes int64 `[texts]`, -1 for texts that write no known term."""
        return self.terms.codes(texts, lambda values, type: find_values(values, type, self), self.terms.find)

    def term_texts(self, codes: np.ndarray) -> list[str]:
        """The texts of terms."""
        return self.terms.texts(codes, lambda codes, type: decode_values(codes, type, self))

    @property
    def all_values(self) -> Sequence[Value]:
        """The values by id; more may come."""
        return self._values

    def values(self, ids: np.ndarray) -> list:
        """The values of ids."""
        return [self._values[number] for number in ids.tolist()]


def native_dtype(type: ValueType) -> np.dtype:
    """The dtype in which values of a type are computed: texts and durations as symbol ids, dates as microseconds."""
    match type:
        case ValueType.F32:
            return np.dtype(np.float32)
        case ValueType.F64:
            return np.dtype(np.float64)
        case ValueType.BOOL:
            return np.dtype(np.bool_)
        case _ if type in _WIDE_INTEGERS:
            return np.dtype(object)
        case _ if type in _UNSIGNED_64:
            return np.dtype(np.uint64)
        case _:
            return np.dtype(np.int64)


def encode(native: np.ndarray, type: ValueType, symbols: Symbols) -> np.ndarray:
    """Codes int64 of an array of the type's native dtype; -0.0 has the code of 0.0, and all NaN one code."""
    if type.is_float:
        wide = native.astype(np.float64) + 0.0
        return np.where(np.isnan(wide), np.nan, wide).view(np.int64)
    if type in _WIDE_INTEGERS:
        return symbols.intern(native.tolist())
    if type in _UNSIGNED_64:
        return np.ascontiguousarray(native).view(np.int64)
    return native.astype(np.int64, copy=False)


def decode(codes: np.ndarray, type: ValueType, symbols: Symbols) -> np.ndarray:
    """The native values of codes; a view where the bits are the same."""
    match type:
        case ValueType.F32:
            return codes.view(np.float64).astype(np.float32)
        case ValueType.F64:
            return codes.view(np.float64)
        case ValueType.BOOL:
            return codes != 0
        case _ if type in _WIDE_INTEGERS:
            return as_objects(symbols.values(codes))
        case _ if type in _UNSIGNED_64:
            return codes.view(np.uint64)
        case _:
            return codes


def encode_values(values: Sequence[Value], type: ValueType, symbols: Symbols) -> np.ndarray:
    """Codes int64 `[values]` of Python values that the type admits; f32 values are rounded."""
    if isinstance(values, Column):
        if values.distinct is None:
            with np.errstate(over="ignore"):  # a number beyond float32 is infinite
                return encode(values.array.astype(native_dtype(type), copy=False), type, symbols)
        values = values.compact()
        return encode_values(values.distinct or (), type, symbols)[values.array]
    if type is ValueType.ENTITY:
        return symbols.intern_terms([str(value) for value in values])
    return encode(_native(values, type, symbols.intern), type, symbols)


def find_values(values: Sequence[Value], type: ValueType, symbols: Symbols) -> tuple[np.ndarray, np.ndarray]:
    """The codes of Python values, and which of them could be in a column: others have no meaningful code."""
    admitted = np.array([type.admits(value) for value in values], np.bool_)
    codes = np.zeros(len(values), np.int64)
    present = [value for value, fits in zip(values, admitted, strict=True) if fits]
    if type is ValueType.ENTITY:
        codes[admitted] = symbols.find_terms([str(value) for value in present])
    elif type in _WIDE_INTEGERS:
        codes[admitted] = symbols.find(present)
    else:
        codes[admitted] = encode(_native(present, type, symbols.find), type, symbols)
    if type.is_numbered or type is ValueType.ENTITY or type in _WIDE_INTEGERS:
        admitted &= codes >= 0
    return codes, admitted


def decode_values(codes: np.ndarray, type: ValueType, symbols: Symbols) -> list[Value]:
    """Python values of codes."""
    if type.is_numbered:
        return symbols.values(codes)
    if type is ValueType.ENTITY:
        return list(symbols.term_texts(codes))
    if type is ValueType.DATETIME:
        return [show_datetime(code) for code in codes.tolist()]
    if type is ValueType.CHAR:
        return [chr(code) for code in codes.tolist()]
    return decode(codes, type, symbols).tolist()


def decode_column(codes: np.ndarray, type: ValueType, symbols: Symbols) -> Column:
    """The Python values of codes, as a column."""
    if type.is_numbered or type in _WIDE_INTEGERS:
        return Column(codes, symbols.all_values).compact()
    if type is ValueType.ENTITY or type in (ValueType.DATETIME, ValueType.CHAR):
        distinct, numbers = np.unique(codes, return_inverse=True)
        return Column(numbers.reshape(-1), decode_values(distinct, type, symbols))
    return Column(decode(codes, type, symbols))


def sort_keys(native: np.ndarray, type: ValueType, symbols: Symbols) -> np.ndarray:
    """Keys that order like the values: texts and terms by code point, the rest by value."""
    if not (type.is_numbered or type is ValueType.ENTITY) and type not in _WIDE_INTEGERS:
        return native
    distinct, inverse = np.unique(native, return_inverse=True)
    values = distinct.tolist() if type in _WIDE_INTEGERS else decode_values(distinct, type, symbols)
    if type is ValueType.DURATION:
        values = [parse_duration(str(value)) or NO_DURATION for value in values]
    ranks = np.empty(len(values), np.int64)
    ranks[sorted(range(len(values)), key=values.__getitem__)] = np.arange(len(values))
    return ranks[inverse.reshape(-1)]


def by_content(codes: np.ndarray, type: ValueType, symbols: Symbols) -> np.ndarray:
    """The codes, of tensors those of constants with the same elements."""
    if type is not ValueType.TENSOR:
        return codes
    distinct, inverse = np.unique(codes, return_inverse=True)
    contents = [tensor.content() for tensor in symbols.values(distinct)]
    return symbols.intern(contents)[inverse.reshape(-1)]


def as_objects(values: Sequence[object]) -> np.ndarray:
    """An object array `[values]`, whatever the values are."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _native(values: Sequence[Value], type: ValueType, number) -> np.ndarray:
    if type.is_numbered:
        return number(values)
    if type is ValueType.DATETIME:
        return np.array([parse_datetime(str(value)) for value in values], np.int64)
    if type is ValueType.CHAR:
        return np.array(values, "U1").view(np.uint32).astype(np.int64)
    if type in _WIDE_INTEGERS:
        return as_objects(values)
    if type is ValueType.F32:
        # A number beyond the range of f32 rounds to infinity, as in the language.
        with np.errstate(over="ignore"):
            return np.array(values, np.float64).astype(np.float32)
    return np.array(values, native_dtype(type))
