"""Sets of rows of int64 columns: numbering, membership, grouping and joins, vectorised."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scallax.kernels.runs import number_rows, run_starts, sort_with_places, stable_order

Columns = Sequence[np.ndarray]

_SMALLEST_CAPACITY = 64
# How many times its rows a grid of keys may have.
_MOST_EMPTY = 4
# Rows inserted at a time while the table is smaller, so that a batch of many repeats does not grow it far too large.
_SMALLEST_CHUNK = 1 << 16
# Cells of a grid for each row of a table: hashes and slots of a row take as much memory.
_MOST_CELLS = 8
# In smaller tables most rows are found at their first slot.
_FEWEST_ON_GRID = 1 << 12
# Slots that fit into a cache of a core.
_FEW_SLOTS = 1 << 15
_LARGEST_SIZE = (1 << 31) - 1
_HALF = np.uint64(32)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


class Buffer:
    """An int64 array that grows at its end in amortised constant time; `capacity`: the size that is expected."""

    __slots__ = ("_array", "size")

    def __init__(self, capacity: int = 0):
        self._array = np.empty(max(capacity, _SMALLEST_CAPACITY), np.int64)
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
        start = self.size
        end = start + len(values)
        if end > len(self._array):
            self.resize(end)
        self._array[start:end] = values
        self.size = end

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
    batch costs time in its own size, whatever the table holds. Rows are told apart by 64 bits of hash, and what was
    found is compared at the end: should two rows ever share them all, the table is made again with other hashes.
    A large table whose rows fill a part of the grid around them has a slot for each cell of the grid instead, until a
    row outside comes: to find a row is to read its slot.
    The rows of a large first batch are told apart by sorting, and hashed or laid out when others are looked for.
    A table of no columns holds at most the one empty row. `capacity` is the number of rows that are expected.
    """

    __slots__ = ("_buffers", "_grid", "_hashes", "_seed", "_slots")

    def __init__(self, num_columns: int, capacity: int = 0):
        self._buffers = tuple([Buffer(capacity) for _ in range(num_columns)])
        self._hashes = Buffer(capacity)
        self._slots = np.full(max(_num_slots(capacity), _SMALLEST_CAPACITY), -1, np.int32)
        self._seed = 0
        self._grid: DenseKeys | None = None

    @property
    def size(self) -> int:
        """The number of rows."""
        return self._buffers[0].size if self._buffers else self._hashes.size

    def copy(self) -> "RowTable":
        """The same rows and numbers, on their own."""
        table = RowTable(0)
        table._buffers = tuple(buffer.copy() for buffer in self._buffers)
        table._hashes, table._slots, table._seed = self._hashes.copy(), self._slots.copy(), self._seed
        table._grid = self._grid
        return table

    @property
    def columns(self) -> tuple[np.ndarray, ...]:
        """Views `[size]` of the stored rows, by row id."""
        size = self.size
        return tuple([buffer._array[:size] for buffer in self._buffers])

    def expect(self, num_rows: int) -> None:
        """Makes room for about so many rows more."""
        if self._grid is None and (self.size or num_rows <= _SMALLEST_CHUNK):
            self._reserve(self.size + num_rows)

    def find(self, columns: Columns, num_rows: int) -> np.ndarray:
        """Row ids int64 `[rows]`, -1 for rows that are not stored."""
        if self.size == 0:
            return np.full(num_rows, -1, np.int64)
        self._open()
        if self._grid is not None:
            cells = self._grid.find(columns, num_rows)
            return np.where(cells < 0, -1, self._slots.take(cells, mode="clip").astype(np.int64))
        ids = self._look_up(hash_rows(columns, num_rows, self._seed)).astype(np.int64)
        for buffer, column in zip(self._buffers, columns, strict=True):
            # A row that is stored is there in all columns; another of the same hash is not.
            differs = buffer.values.take(ids, mode="clip") != column
            if differs.any():
                ids[differs] = -1
        return ids

    def insert(self, columns: Columns, num_rows: int) -> np.ndarray:
        """Row ids int64 `[rows]`; rows not yet stored are added, in order of first appearance."""
        if num_rows <= _SMALLEST_CHUNK:
            return self._insert(columns, num_rows)
        if not self.size and columns:
            ids = self._insert_first(columns, num_rows)
            if ids is not None:
                return ids
        ids = np.empty(num_rows, np.int64)
        start = 0
        while start < num_rows:
            stop = min(num_rows, start + max(_SMALLEST_CHUNK, self.size))
            ids[start:stop] = self._insert([column[start:stop] for column in columns], stop - start)
            start = stop
        return ids

    def _insert(self, columns: Columns, num_rows: int) -> np.ndarray:
        self._open()
        if self._grid is None and num_rows and _num_slots(self.size + num_rows) > len(self._slots):
            self._lay_grid(columns, num_rows)
        if self._grid is not None:
            cells = self._grid.find(columns, num_rows)
            if not (cells < 0).any():
                return self._insert_at(cells, columns)
            self._leave_grid()
        while True:
            known = self.size
            hashes = hash_rows(columns, num_rows, self._seed)
            if not known:
                ids = self._add(columns, hashes)
                is_right = self.size == num_rows or self._holds(ids, columns)
            else:
                ids = self._look_up(hashes).astype(np.int64)
                is_absent = ids < 0
                absent = is_absent.nonzero()[0]
                if len(absent) < num_rows:
                    found = (~is_absent).nonzero()[0]
                    is_right = self._holds(ids[found], [column[found] for column in columns])
                    columns_of_absent, hashes = [column[absent] for column in columns], hashes[absent]
                else:
                    is_right, columns_of_absent = True, columns
                if len(absent):
                    added = ids[absent] = self._add(columns_of_absent, hashes)
                    # Where all are new, each is its own row.
                    is_new = self.size - known == len(absent)
                    is_right = is_right and (is_new or self._holds(added, columns_of_absent))
            if is_right:
                return ids
            self._seed += 1
            for buffer in (*self._buffers, self._hashes):
                buffer.resize(known)
            self._hashes.values[:] = hash_rows(self.columns, known, self._seed).view(np.int64)
            self._rebuild(len(self._slots))

    def _insert_first(self, columns: Columns, num_rows: int) -> np.ndarray | None:
        """Inserts the rows of a first batch, told apart by their order or on a grid; None where neither can tell."""
        if any((column[1:] > column[:-1]).all() for column in columns):
            return self._append(columns, num_rows)
        self._lay_grid(columns, num_rows)
        if self._grid is not None:
            return self._insert_at(self._grid.find(columns, num_rows), columns)
        numbered = number_rows(columns)
        if numbered is None:
            return None
        if (numbered[0][1:] > numbered[0][:-1]).all():
            return self._append(columns, num_rows)
        packed = sort_with_places(*numbered)
        if packed is None:
            return None
        numbers, places = packed
        starts = run_starts(numbers)
        if len(starts) == num_rows:
            return self._append(columns, num_rows)
        is_first = np.zeros(num_rows, np.bool_)
        is_first[places[starts]] = True
        ids = is_first.cumsum() - 1
        ids[places] = ids[places[starts]].repeat(np.diff(starts, append=num_rows))
        self._append([column[is_first] for column in columns], num_rows)
        return ids

    def _append(self, columns: Columns, num_rows: int) -> np.ndarray:
        """Stores rows that are distinct and new, without slots."""
        for buffer, column in zip(self._buffers, columns, strict=True):
            buffer.append(column)
        return np.arange(num_rows)

    def _open(self) -> None:
        """Gives slots to the rows of a first batch."""
        if self._grid is None and self._hashes.size < self.size:
            self._lay_grid(self.columns, 0)
            if self._grid is None:
                self._leave_grid()

    def _lay_grid(self, columns: Columns, num_rows: int) -> None:
        """Goes over to slots by cell, if the rows here and these are many, and their grid is not far larger."""
        size = self.size + num_rows
        if size < _FEWEST_ON_GRID or not columns:
            return
        parts = [columns, self.columns] if self.size else [columns]
        lows = [min(int(part[i].min()) for part in parts) for i in range(len(columns))]
        highs = [max(int(part[i].max()) for part in parts) for i in range(len(columns))]
        grid = DenseKeys(tuple(lows), tuple(high - low + 1 for low, high in zip(lows, highs, strict=True)))
        if grid.size > min(_MOST_CELLS * size, _LARGEST_SIZE):
            return
        self._slots = np.full(grid.size, -1, np.int32)
        if self.size:
            self._slots[grid.find(self.columns, self.size)] = np.arange(self.size)
        self._grid, self._hashes = grid, Buffer()

    def _leave_grid(self) -> None:
        """Goes back to hashes: of rows outside the next may be farther still."""
        self._grid = None
        self._hashes.append(hash_rows(self.columns, self.size, self._seed).view(np.int64))
        self._rebuild(_num_slots(2 * self.size))

    def _insert_at(self, cells: np.ndarray, columns: Columns) -> np.ndarray:
        """Inserts rows by the cells that they have in the grid."""
        base, slots = self.size, self._slots
        ids = slots.take(cells).astype(np.int64)
        absent = (ids < 0).nonzero()[0]
        if not len(absent):
            return ids
        assert base + len(absent) <= _LARGEST_SIZE
        are_all = len(absent) == len(ids)
        places = cells if are_all else cells[absent]
        numbers = np.arange(base, base + len(absent), dtype=np.int32)
        # NumPy keeps the last of repeated writes: reversed, the first row to appear wins.
        slots[places[::-1]] = numbers[::-1]
        kept = (slots.take(places) == numbers).nonzero()[0]
        if len(kept) < len(absent):
            slots[places[kept]] = numbers[: len(kept)]
            added = slots.take(places)
            absent = absent[kept]
            are_all = False
        else:
            added = numbers
        if are_all:
            ids = added.astype(np.int64)
        else:
            ids[ids < 0] = added
        for buffer, column in zip(self._buffers, columns, strict=True):
            buffer.append(column if are_all else column[absent])
        return ids

    def _holds(self, ids: np.ndarray, columns: Columns) -> bool:
        """Whether these rows are stored as these ids."""
        for buffer, column in zip(self._buffers, columns, strict=True):
            if (buffer.values.take(ids) != column).any():
                return False
        return True

    def _look_up(self, hashes: np.ndarray) -> np.ndarray:
        """The rows of these hashes, int32, -1 for none."""
        slots, known, mask = self._slots, self._hashes.values, len(self._slots) - 1
        wanted = hashes.view(np.int64)
        places = wanted & mask
        ids = slots.take(places)
        pending = ((ids >= 0) & (known.take(ids, mode="clip") != wanted)).nonzero()[0]
        places, wanted = places[pending], wanted[pending]
        step = 0
        while len(pending):
            step += 1
            places = (places + step) & mask
            found = slots.take(places)
            ids[pending] = found
            rest = ((found >= 0) & (known.take(found, mode="clip") != wanted)).nonzero()[0]
            pending, places, wanted = pending[rest], places[rest], wanted[rest]
        return ids

    def _add(self, columns: Columns, hashes: np.ndarray) -> np.ndarray:
        """Inserts rows none of which is stored; those of one hash share an id."""
        base, num_rows = self.size, len(hashes)
        self._reserve(base + num_rows)
        slots, mask = self._slots, len(self._slots) - 1
        wanted = hashes.view(np.int64)
        # All hashes are stored first, so that a slot's occupant can be compared; repeats are squeezed out below.
        self._hashes.append(wanted)
        known = self._hashes.values
        places = wanted & mask
        own = np.arange(base, base + num_rows)
        ids, homes, pending, step = own, places, own, 0
        while True:
            # NumPy keeps the last of repeated writes: reversed, the first row to appear wins.
            vacant = (slots.take(places) < 0).nonzero()[0][::-1]
            slots[places[vacant]] = pending[vacant]
            occupants = slots.take(places)
            rest = (known.take(occupants) != wanted).nonzero()[0]
            if step == 0:
                ids = occupants.astype(np.int64)
            else:
                ids[pending - base] = occupants
            if not len(rest):
                break
            pending, wanted = pending[rest], wanted[rest]
            step += 1
            places = (places[rest] + step) & mask
            homes = homes.copy() if step == 1 else homes
            homes[pending - base] = places
        first = ids == own
        kept = first.nonzero()[0]
        if len(kept) < num_rows:
            numbers = base - 1 + first.cumsum()
            slots[homes[kept]] = numbers[kept]
            ids = numbers[ids - base]
            known[base : base + len(kept)] = known[base:][kept]
            self._hashes.resize(base + len(kept))
            columns = [column[kept] for column in columns]
        for buffer, column in zip(self._buffers, columns, strict=True):
            buffer.append(column)
        return ids

    def _reserve(self, size: int) -> None:
        """Makes the hash table large enough for so many rows."""
        assert size <= _LARGEST_SIZE
        if _num_slots(size) > len(self._slots):
            self._rebuild(_num_slots(size))

    def _rebuild(self, capacity: int) -> None:
        """The slots of all rows, anew."""
        self._slots = slots = np.full(capacity, -1, np.int32)
        places = self._hashes.values & (capacity - 1)
        pending, step = np.arange(self.size), 0
        while len(pending):
            vacant = slots.take(places) < 0
            slots[places[vacant]] = pending[vacant]
            lost = (slots.take(places) != pending).nonzero()[0]
            pending, step = pending[lost], step + 1
            places = (places[lost] + step) & (capacity - 1)


def _num_slots(size: int) -> int:
    """A power of two of which so many rows take at most a third; in small tables, where each probe tells, a 16th."""
    return 1 << max(3 * size - 1, min(16 * size, _FEW_SLOTS) - 1, 0).bit_length()


def hash_rows(columns: Columns, num_rows: int, seed: int = 0) -> np.ndarray:
    """A uint64 `[rows]` whose low bits depend on every bit of every column."""
    if not len(columns):
        return np.full(num_rows, seed, np.uint64)
    hashes = columns[0].view(np.uint64) ^ np.uint64(seed)
    high = np.empty_like(hashes)
    for column in columns[1:]:
        _mix(hashes, high)
        hashes ^= column.view(np.uint64)
    _mix(hashes, high)
    np.right_shift(hashes, _HALF, out=high)
    hashes ^= high
    return hashes


def _mix(hashes: np.ndarray, high: np.ndarray) -> None:
    """Multiplies hashes in place; `high` is overwritten."""
    # Codes of floats such as 3.0 differ in their highest bits only, which a product does not bring down.
    np.right_shift(hashes, _HALF, out=high)
    hashes ^= high
    hashes *= _MULTIPLIER


@dataclass(frozen=True, slots=True)
class DenseKeys:
    """The keys of a grid, numbered row by row: in column i the integers from `lows[i]`, `extents[i]` of them."""

    lows: tuple[int, ...]
    extents: tuple[int, ...]

    @staticmethod
    def around(columns: Columns, num_rows: int) -> "DenseKeys | None":
        """The grid that holds some rows; None if most of it would be empty."""
        if not columns or not num_rows:
            return None
        lows = tuple([int(column.min()) for column in columns])
        extents = tuple([int(column.max()) - low + 1 for column, low in zip(columns, lows, strict=True)])
        keys = DenseKeys(lows, extents)
        return keys if keys.size <= max(_MOST_EMPTY * num_rows, _SMALLEST_CAPACITY) else None

    @property
    def size(self) -> int:
        """The number of keys of the grid."""
        return math.prod(self.extents)

    def find(self, columns: Columns, num_rows: int) -> np.ndarray:
        """The numbers of keys int64 `[rows]`, -1 for keys outside."""
        # A difference that wraps around is outside as well: the grid is far smaller than the range of integers.
        numbers = columns[0] - self.lows[0]
        inside = numbers.view(np.uint64) < self.extents[0]
        for column, low, extent in zip(columns[1:], self.lows[1:], self.extents[1:], strict=True):
            place = column - low
            inside &= place.view(np.uint64) < extent
            numbers *= extent
            numbers += place
        if not inside.all():
            numbers[~inside] = -1
        return numbers


@dataclass(frozen=True, slots=True)
class RowIndex:
    """The rows of some key columns, grouped by equal keys: the build side of a join.

    `keys` numbers the groups; the rows of group g are `rows[starts[g]:starts[g + 1]]`, ascending.
    """

    keys: RowTable | DenseKeys
    starts: np.ndarray
    rows: np.ndarray

    @staticmethod
    def build(columns: Columns, num_rows: int, first: int = 0) -> "RowIndex":
        """Indexes the given rows, the first of which has number `first`."""
        keys = DenseKeys.around(columns, num_rows)
        if keys is not None:
            labels = keys.find(columns, num_rows)
        else:
            keys = RowTable(len(columns))
            labels = keys.insert(columns, num_rows)
        starts, rows = group(labels, keys.size)
        return RowIndex(keys, starts, rows + first)

    def count(self, columns: Columns, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
        """The group of each probing row (-1: none), and how many rows match it."""
        groups = self.keys.find(columns, num_rows)
        counts = self.starts[groups + 1] - self.starts[groups]
        counts[groups < 0] = 0
        return groups, counts

    def expand(self, groups: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The pairs (probing row, matching row) of a `count`, ordered by probing row."""
        probes, positions = expand_ranges(self.starts[groups], counts)
        return probes, self.rows[positions]


def group(labels: np.ndarray, num_groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions by label: `starts` `[groups + 1]` and `positions` `[rows]`, ascending within each group."""
    starts = np.zeros(num_groups + 1, np.int64)
    np.cumsum(np.bincount(labels, minlength=num_groups), out=starts[1:])
    return starts, stable_order(labels, num_groups)


def expand_ranges(starts: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For ranges `starts[i] .. starts[i] + counts[i]`, one row per element: i, and the element."""
    owners = np.arange(len(counts)).repeat(counts)
    before = counts.cumsum() - counts
    return owners, np.arange(len(owners)) + (starts - before)[owners]


def unique_rows(columns: Columns, num_rows: int) -> np.ndarray:
    """Positions, ascending, of the first appearance of every distinct row."""
    ids = RowTable(len(columns)).insert(columns, num_rows)
    return (np.diff(np.maximum.accumulate(ids), prepend=-1) > 0).nonzero()[0]
