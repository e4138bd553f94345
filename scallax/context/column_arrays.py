"""Columns of a relation as arrays of NumPy, and as those of tables: no Python object is made for a row."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from scallax.grounding.symbols import as_objects
from scallax.language.columns import Column
from scallax.language.times import parse_datetime
from scallax.language.values import ValueType

_DTYPES = {
    ValueType.BOOL: np.bool_,
    ValueType.I8: np.int8,
    ValueType.I16: np.int16,
    ValueType.I32: np.int32,
    ValueType.I64: np.int64,
    ValueType.ISIZE: np.int64,
    ValueType.U8: np.uint8,
    ValueType.U16: np.uint16,
    ValueType.U32: np.uint32,
    ValueType.U64: np.uint64,
    ValueType.USIZE: np.uint64,
    ValueType.F32: np.float32,
    ValueType.F64: np.float64,
}

# Integers that NumPy does not have.
_WIDE = (ValueType.I128, ValueType.U128)


def column_array(column: Column, type: ValueType) -> np.ndarray:
    """The values of a column as an array of their type `[tuples]`.

    Dates are datetime64[us], in UTC; other values that are no numbers are objects, of which equal ones are one.
    """
    if type is ValueType.DATETIME:
        instants = [parse_datetime(str(text)) for text in column.distinct or ()]
        return np.array(instants, np.int64)[column.array].view("datetime64[us]")
    if not type.is_number and type is not ValueType.BOOL:
        assert column.distinct is not None, "values that are no numbers have distinct ones"
        return as_objects(list(column.distinct))[column.array]
    if type in _WIDE:
        return as_objects(column.tolist())
    dtype = _DTYPES[type]
    return np.asarray(column.array, dtype) if column.distinct is None else np.array(column.tolist(), dtype)


def is_coded(type: ValueType) -> bool:
    """Whether tables have a column of a type by a dictionary: texts, which recur."""
    return type.is_text or type in (ValueType.ENTITY, ValueType.CHAR)


def sorted_codes(column: Column) -> tuple[np.ndarray, Sequence[Any]]:
    """A column of texts as numbers int32 `[tuples]` among its distinct texts, which are sorted."""
    column = column.compact()
    assert column.distinct is not None
    distinct = sorted(column.distinct)
    place = {text: number for number, text in enumerate(distinct)}
    numbers = np.array([place[text] for text in column.distinct], np.int32)
    return numbers[column.array], distinct
