"""Sets of rows of int64 columns: numbering, membership, grouping and joins, vectorised."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Columns = Sequence[np.ndarray]

_SMALLEST_CAPACITY = 64
# Rows inserted at a time while the table is smaller, so that a batch of many repeats does not grow it far too large.
_SMALLEST_CHUNK = 1 << 16
_LARGEST_SIZE = (1 << 31) - 1


class Buffer:
    """An int64 array that grows at its end in amortised constant time."""

    __slots__ = ("_array", "size")

    def __init__(self):
        self._array = np.empty(_SMALLEST_CAPACITY, np.int64)
        self.size = 0

    @property
    def values(self) -> np.ndarray:
        """A view `[size]`; writes go through. Growing the buffer detaches it."""
        return self._array[: self.size]

    def copy(self) -> "Buffer":
        """The same values, on their own."""
        buffer = Buffer()
        buffer._array, buffer.size = self._array.copy(), self.size
        return buffer

    def append(self, values: np.ndarray) -> None:
        """Adds `values` `[rows]` at the end."""
        self.resize(self.size + len(values))
        self._array[self.size - len(values) : self.size] = values

    def resize(self, size: int) -> None:
        """Cuts the array, or extends it by undefined values."""
        if size > len(self._array):
            grown = np.empty(max(size, 2 * len(self._array)), np.int64)
            grown[: self.size] = self._array[: self.size]
            self._array = grown
        self.size = size


class RowTable:
    """Distinct rows, numbered 0, 1, 2, ... in the order in which they first appeared.

    An open-addressing hash table, probed at triangular distances (which visit every slot of a power of two): a
    batch costs time in its own size, whatever the table holds.
    A table of no columns holds at most the one empty row.
    """

    __slots__ = ("_buffers", "_slots", "size")

    def __init__(self, num_columns: int):
        self._buffers = tuple(Buffer() for _ in range(num_columns))
        self._slots = np.full(_SMALLEST_CAPACITY, -1, np.int32)
        self.size = 0

    def copy(self) -> "RowTable":
        """The same rows and numbers, on their own."""
        table = RowTable(0)
        table._buffers = tuple(buffer.copy() for buffer in self._buffers)
        table._slots, table.size = self._slots.copy(), self.size
        return table

    @property
    def columns(self) -> tuple[np.ndarray, ...]:
        """Views `[size]` of the stored rows, by row id."""
        return tuple(buffer.values for buffer in self._buffers)

    def find(self, columns: Columns, num_rows: int) -> np.ndarray:
        """Row ids int64 `[rows]`, -1 for rows that are not stored."""
        if self.size == 0:
            return np.full(num_rows, -1, np.int64)
        slots = self._first_slots(columns, num_rows)
        ids, settled = self._compare(columns, slots)
        pending = np.flatnonzero(~settled)
        slots = slots[pending]
        step = 0
        while len(pending):
            step += 1
            slots = (slots + step) & (len(self._slots) - 1)
            found, settled = self._compare([column[pending] for column in columns], slots)
            ids[pending] = found
            pending, slots = pending[~settled], slots[~settled]
        return ids

    def insert(self, columns: Columns, num_rows: int) -> np.ndarray:
        """Row ids int64 `[rows]`; rows not yet stored are added, in order of first appearance."""
        ids = np.empty(num_rows, np.int64)
        start = 0
        while start < num_rows:
            stop = min(num_rows, start + max(_SMALLEST_CHUNK, self.size))
            chunk = [column[start:stop] for column in columns]
            found = self.find(chunk, stop - start)
            absent = np.flatnonzero(found < 0)
            if len(absent):
                found[absent] = self._add([column[absent] for column in chunk], len(absent))
            ids[start:stop] = found
            start = stop
        return ids

    def _first_slots(self, columns: Columns, num_rows: int) -> np.ndarray:
        hashes = hash_rows(columns, num_rows)
        return (hashes & np.uint64(len(self._slots) - 1)).view(np.int64)

    def _compare(self, columns: Columns, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ids of the rows in `slots` where equal to `columns`, else -1; and where a search ends."""
        ids = self._slots.take(slots)
        vacant = ids < 0
        equal = ~vacant
        for buffer, column in zip(self._buffers, columns, strict=True):
            equal &= buffer.values.take(ids, mode="clip") == column
        return np.where(equal, ids, -1).astype(np.int64), equal | vacant

    def _add(self, columns: Columns, num_rows: int) -> np.ndarray:
        """Inserts rows none of which is stored; repeats among them share an id."""
        self._reserve(self.size + num_rows)
        base = self.size
        # All rows are stored first, so that a slot's occupant can be compared; repeats are squeezed out below.
        for buffer, column in zip(self._buffers, columns, strict=True):
            buffer.append(column)
        ids = np.empty(num_rows, np.int64)
        slots = self._first_slots(columns, num_rows)
        home = np.empty(num_rows, np.int64)
        pending = np.arange(num_rows)
        step = 0
        while len(pending):
            here = slots[pending]
            vacant = self._slots.take(here) < 0
            # NumPy keeps the last of repeated writes: reversed, the first row to appear wins.
            self._slots[here[vacant][::-1]] = (base + pending[vacant])[::-1]
            occupant = self._slots.take(here).astype(np.int64)
            equal = np.ones(len(pending), np.bool_)
            for buffer, column in zip(self._buffers, columns, strict=True):
                equal &= buffer.values.take(occupant) == column[pending]
            ids[pending[equal]] = occupant[equal]
            home[pending[equal]] = here[equal]
            pending = pending[~equal]
            step += 1
            slots[pending] = (slots[pending] + step) & (len(self._slots) - 1)
        first = ids == base + np.arange(num_rows)
        self._squeeze(base, first)
        numbers = base + np.cumsum(first) - 1
        self._slots[home[first]] = numbers[first]
        return numbers[ids - base]

    def _squeeze(self, base: int, kept: np.ndarray) -> None:
        """Drops the rows from `base` on that are not `kept`."""
        self.size = base + int(np.count_nonzero(kept))
        for buffer in self._buffers:
            if self.size < buffer.size:
                buffer.values[base : self.size] = buffer.values[base:][kept]
                buffer.resize(self.size)

    def _reserve(self, size: int) -> None:
        """Makes the hash table large enough to stay at most half full."""
        assert size <= _LARGEST_SIZE
        if 2 * size <= len(self._slots):
            return
        self._slots = np.full(1 << (2 * size - 1).bit_length(), -1, np.int32)
        slots = self._first_slots(self.columns, self.size)
        pending = np.arange(self.size)
        step = 0
        while len(pending):
            here = slots[pending]
            vacant = self._slots.take(here) < 0
            self._slots[here[vacant]] = pending[vacant]
            lost = self._slots.take(here) != pending
            pending = pending[lost]
            step += 1
            slots[pending] = (slots[pending] + step) & (len(self._slots) - 1)


def hash_rows(columns: Columns, num_rows: int) -> np.ndarray:
    """A uint64 `[rows]` whose low bits depend on every bit of every column."""
    hashes = np.zeros(num_rows, np.uint64)
    for column in columns:
        hashes ^= column.view(np.uint64)
        hashes *= np.uint64(0x9E3779B97F4A7C15)
        hashes ^= hashes >> np.uint64(32)
    return hashes


@dataclass(frozen=True, slots=True)
class RowIndex:
    """The rows of some key columns, grouped by equal keys: the build side of a hash join.

    `keys` numbers the groups; the rows of group g are `rows[starts[g]:starts[g + 1]]`, ascending.
    """

    keys: RowTable
    starts: np.ndarray
    rows: np.ndarray

    @staticmethod
    def build(columns: Columns, num_rows: int, first: int = 0) -> "RowIndex":
        """Indexes the given rows, the first of which has number `first`."""
        keys = RowTable(len(columns))
        starts, rows = group(keys.insert(columns, num_rows), keys.size)
        return RowIndex(keys, starts, rows + first)

    def count(self, columns: Columns, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The group of each probing row (-1: none), and how many rows match it."""
        groups = self.keys.find(columns, num_rows)
        sizes = np.diff(self.starts, append=self.starts[-1])
        return groups, np.where(groups >= 0, sizes[groups], 0)

    def expand(self, groups: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs (probing row, matching row) of a `count`, ordered by probing row."""
        probes, positions = expand_ranges(self.starts[groups], counts)
        return probes, self.rows[positions]


def group(labels: np.ndarray, num_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions by label: `starts` `[groups + 1]` and `positions` `[rows]`, ascending within each group."""
    starts = np.zeros(num_groups + 1, np.int64)
    np.cumsum(np.bincount(labels, minlength=num_groups), out=starts[1:])
    return starts, np.argsort(labels, kind="stable")


def expand_ranges(starts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For ranges `starts[i] .. starts[i] + counts[i]`, one row per element: i, and the element."""
    owners = np.repeat(np.arange(len(counts)), counts)
    before = np.cumsum(counts) - counts
    return owners, np.arange(len(owners)) + (starts - before)[owners]


def unique_rows(columns: Columns, num_rows: int) -> np.ndarray:
    """Positions, ascending, of the first appearance of every distinct row."""
    ids = RowTable(len(columns)).insert(columns, num_rows)
    return np.flatnonzero(np.diff(np.maximum.accumulate(ids), prepend=-1) > 0)
