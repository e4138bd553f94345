"""Columns of values, and the tuples that stand in them: a Python object is made where one is looked at."""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, final, overload

import numpy as np

# Rows that are made at once where all of them are gone through.
_ROWS_AT_ONCE = 1 << 12


@final
class Column(Sequence):
    """Values of Python in an array, unequal ones under different numbers if they are not numbers themselves.

    Without `distinct`, `array` holds the values: bool, int64, uint64, float32 or float64 `[values]`. With it the values
    are `distinct[array]`, which may have entries that are not in use, and equal ones; of texts it has no equal ones.
    Where `missing` bool `[values]` is true, the value is None, whatever the array holds; None: no value is.

    Looking at a value, or going through all, makes Python objects. Equal to any sequence of the same values.
    """

    __slots__ = ("array", "distinct", "missing")

    array: np.ndarray
    distinct: Sequence[Any] | None
    missing: np.ndarray | None

    def __init__(
        self, array: np.ndarray, distinct: Sequence[Any] | None = None, missing: np.ndarray | None = None
    ) -> None:
        self.array, self.distinct, self.missing = array, distinct, missing

    @staticmethod
    def of(values: Sequence[Any]) -> "Column":
        """The column of Python values of any kinds: of one kind in an array or by number, of several as objects."""
        if isinstance(values, Column):
            return values
        kinds = set(map(type, values))
        missing = None
        if kinds == {type(None)}:
            return Column(np.zeros(len(values)), None, np.ones(len(values), np.bool_))
        if type(None) in kinds:
            kinds.discard(type(None))
            missing = np.fromiter((value is None for value in values), np.bool_, len(values))
            fill: Any = next((value for value in values if value is not None), None)
            values = [fill if value is None else value for value in values]
        if len(kinds) == 1:
            (kind,) = kinds
            if kind in _DTYPES:
                try:
                    return Column(np.array(values, _DTYPES[kind]), None, missing)
                except OverflowError:  # an integer of more than 64 bits
                    pass
            if kind is str:
                distinct = dict.fromkeys(values)
                numbers = dict(zip(distinct, range(len(distinct)), strict=True))
                return Column(
                    np.fromiter(map(numbers.__getitem__, values), np.int64, len(values)), tuple(distinct), missing
                )
        return Column(np.arange(len(values)), tuple(values), missing)

    @staticmethod
    def repeated(value: Any, count: int) -> "Column":
        """The column of one value, so many times."""
        return Column(np.zeros(count, np.int64), (value,))

    @staticmethod
    def join(columns: Sequence["Column"]) -> "Column":
        """The values of several columns, at least one, one after the other."""
        if len(columns) == 1:
            return columns[0]
        masks = [column.missing for column in columns]
        missing = None
        if any(mask is not None for mask in masks):
            missing = np.concatenate([column.is_missing for column in columns])
        dtypes = {column.array.dtype for column in columns}
        if len(dtypes) == 1 and all(column.distinct is None for column in columns):
            return Column(np.concatenate([column.array for column in columns]), None, missing)
        if all(column.holds_texts for column in columns):
            return _join_texts(columns, missing)
        return Column.of(list(chain.from_iterable(column.tolist() for column in columns)))

    @property
    def is_missing(self) -> np.ndarray:
        """True for values that are None, bool `[values]`."""
        return np.zeros(len(self.array), np.bool_) if self.missing is None else self.missing

    @property
    def holds_texts(self) -> bool:
        """Whether all values are texts."""
        return self.distinct is not None and set(map(type, self.distinct)) == {str}

    @property
    def kinds(self) -> list[Any]:
        """A value of each class that there is."""
        if self.distinct is not None:
            values = self.tolist() if self.missing is not None else self.distinct
            return list({type(value): value for value in values}.values())
        present = self.array if self.missing is None else self.array[~self.missing]
        nothing = [] if len(present) == len(self) else [None]
        return [*present[:1].tolist(), *nothing]

    def tolist(self) -> list[Any]:
        """All values."""
        values = self.array.tolist()
        if self.distinct is not None:
            values = list(map(self.distinct.__getitem__, values))
        if self.missing is not None:
            for place in np.flatnonzero(self.missing).tolist():
                values[place] = None
        return values

    def take(self, places: np.ndarray | slice) -> "Column":
        """The values at some places, in this order; of a slice a view."""
        return Column(self.array[places], self.distinct, None if self.missing is None else self.missing[places])

    def find(self, is_meant: Callable[[Any], bool]) -> int | None:
        """The place of the first value that is meant, of a column with distinct ones; each of these is looked at."""
        assert self.distinct is not None
        meant = np.fromiter(map(is_meant, self.distinct), np.bool_, len(self.distinct))
        places = np.flatnonzero(meant[self.array])
        return int(places[0]) if len(places) else None

    def numbers(self) -> np.ndarray:
        """The values as floats, float32 or float64 `[values]`, where all of them are numbers."""
        if self.distinct is not None:
            return np.array(self.distinct, np.float64)[self.array]
        return self.array if self.array.dtype.kind == "f" else self.array.astype(np.float64)

    def compact(self) -> "Column":
        """The same values, of which all distinct ones are in use, in their order."""
        if self.distinct is None:
            return self
        is_used = np.zeros(len(self.distinct), np.bool_)
        is_used[self.array] = True
        if is_used.all():
            return self
        places = np.flatnonzero(is_used)
        numbers = np.cumsum(is_used) - 1
        return Column(numbers[self.array], list(map(self.distinct.__getitem__, places.tolist())), self.missing)

    @property
    def nbytes(self) -> int:
        """The bytes of the arrays."""
        return self.array.nbytes + (0 if self.missing is None else self.missing.nbytes)

    def __len__(self) -> int:
        return len(self.array)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "Column": ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.take(index)
        if self.missing is not None and self.missing[index]:
            return None
        found = self.array[index].item()
        return found if self.distinct is None else self.distinct[found]

    def __iter__(self) -> Iterator[Any]:
        return chain.from_iterable(self.take(part).tolist() for part in _parts(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and self.tolist() == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self.tolist()))

    def __repr__(self) -> str:
        return f"Column({self.tolist()!r})"


# The arrays of values of one kind.
_DTYPES: dict[type, type[np.generic]] = {bool: np.bool_, int: np.int64, float: np.float64}


def _join_texts(columns: Sequence[Column], missing: np.ndarray | None) -> Column:
    numbers: dict[str, int] = {}
    parts = []
    for column in columns:
        assert column.distinct is not None
        of_column = [numbers.setdefault(text, len(numbers)) for text in column.distinct]
        parts.append(np.array(of_column, np.int64)[column.array])
    return Column(np.concatenate(parts), tuple(numbers), missing)


def _parts(count: int) -> Iterator[slice]:
    return (slice(start, start + _ROWS_AT_ONCE) for start in range(0, count, _ROWS_AT_ONCE))


@final
class Rows(Sequence):
    """Tuples in columns, made one by one where they are looked at. Equal to any sequence of the same tuples."""

    __slots__ = ("_count", "columns")

    def __init__(self, columns: Sequence[Column], count: int) -> None:
        self.columns, self._count = tuple(columns), count

    @staticmethod
    def of(rows: Sequence[tuple]) -> "Rows":
        """Tuples of one length, as rows."""
        if isinstance(rows, Rows):
            return rows
        return Rows([Column.of(column) for column in in_columns(rows)], len(rows))

    def take(self, places: np.ndarray | slice) -> "Rows":
        """The rows at some places, in this order."""
        count = len(range(self._count)[places]) if isinstance(places, slice) else len(places)
        return Rows([column.take(places) for column in self.columns], count)

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> tuple: ...
    @overload
    def __getitem__(self, index: slice) -> "Rows": ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return self.take(index)
        if not -self._count <= index < self._count:
            raise IndexError(f"there are {self._count} tuples")
        return tuple(column[index] for column in self.columns)

    def __iter__(self) -> Iterator[tuple]:
        if not self.columns:
            return iter(((),) * self._count)
        return chain.from_iterable(
            zip(*(column.take(part).tolist() for column in self.columns), strict=True) for part in _parts(self._count)
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and list(self) == list(other)

    def __hash__(self) -> int:
        return hash(tuple(self))

    def __repr__(self) -> str:
        return f"Rows({list(self)!r})"


def in_columns(tuples: Sequence[tuple]) -> list[Sequence[Any]]:
    """The columns of tuples of one length; none of no tuples."""
    if isinstance(tuples, Rows):
        return list(tuples.columns) if tuples else []
    # `zip(*tuples)` makes an iterator for each tuple, and the collector of garbage looks at them all.
    return [tuple(row[place] for row in tuples) for place in range(len(tuples[0]))] if len(tuples) else []
