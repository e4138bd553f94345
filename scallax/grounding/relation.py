"""The tuples of a relation while it grows: versions, operands and join indexes."""

from collections.abc import Iterator, Sequence

import numpy as np

from scallax.grounding.derivations import ONE
from scallax.kernels.row_sets import Buffer, Columns, RowIndex, RowTable
from scallax.language import ir
from scallax.planner.algebra import Version


class GroundRelation:
    """Distinct tuples as columns of codes, in the order in which they were found.

    Tuples below `old` were there before the last round, those from `old` to `visible` came in it (the delta), and
    those from `visible` on are of the round in work. `operands` are by tuple id; a relation whose tuples all
    hold whatever the literals is `certain`. `capacity` is the number of tuples that are expected.
    """

    __slots__ = ("_indexes", "_operands", "_table", "certain", "old", "schema", "visible")

    def __init__(self, schema: ir.Relation, capacity: int = 0):
        self.schema = schema
        self.clear(capacity)

    def clear(self, capacity: int = 0) -> None:
        """Forgets all tuples."""
        self.old = 0
        self.visible = 0
        self.certain = True
        self._table = RowTable(len(self.schema.columns), capacity)
        self._operands = Buffer(capacity)
        self._indexes: dict[tuple[int, ...], list[_Segment]] = {}

    @property
    def size(self) -> int:
        return self._table.size

    @property
    def columns(self) -> tuple[np.ndarray, ...]:
        """Views `[size]` of the tuples' codes, by tuple id."""
        return self._table.columns

    @property
    def operands(self) -> np.ndarray:
        """A view `[size]` of the tuples' operand codes; writes go through."""
        return self._operands.values

    def insert(self, columns: Columns, num_rows: int) -> np.ndarray:
        """Tuple ids; tuples not met before are added with the operand ONE."""
        ids = self._table.insert(columns, num_rows)
        self._operands.append(np.full(self.size - self._operands.size, ONE))
        return ids

    def expect(self, num_rows: int) -> None:
        """Makes room for about so many tuples more."""
        self._table.expect(num_rows)

    def find(self, columns: Columns, num_rows: int) -> np.ndarray:
        """Tuple ids, -1 for tuples that are not in the relation."""
        return self._table.find(columns, num_rows)

    def advance(self) -> int:
        """Ends a round: what it found becomes the delta, whose size is returned."""
        self.old, self.visible = self.visible, self.size
        return self.visible - self.old

    def bounds(self, version: Version) -> tuple[int, int]:
        """The first tuple id of a version and the one after its last."""
        match version:
            case Version.TOTAL:
                return 0, self.visible
            case Version.OLD:
                return 0, self.old
            case Version.DELTA:
                return self.old, self.visible

    def drop_indexes(self) -> None:
        """Frees the join indexes; they are made again when needed."""
        self._indexes.clear()

    def indexes(self, version: Version, key: tuple[int, ...]) -> Iterator[RowIndex]:
        """Indexes on some columns that together hold the version's tuples, each tuple in one of them."""
        first, end = self.bounds(version)
        for segment in self._segments(key):
            if first <= segment.start and segment.stop <= end:
                if segment.index is None:
                    columns = [self.columns[column][segment.start : segment.stop] for column in key]
                    segment.index = RowIndex.build(columns, segment.stop - segment.start, segment.start)
                yield segment.index

    def _segments(self, key: tuple[int, ...]) -> "Sequence[_Segment]":
        """Segments that end at `old` and at `visible`.

        Old neighbours of like size are merged: there are logarithmically many, and a tuple is indexed as often.
        """
        segments = self._indexes.setdefault(key, [])
        covered = segments[-1].stop if segments else 0
        if covered < self.old:
            segments.append(_Segment(covered, self.old))
            covered = self.old
        if covered == self.old:
            while len(segments) > 1 and segments[-2].size < 2 * segments[-1].size:
                last = segments.pop()
                segments[-1] = _Segment(segments[-1].start, last.stop)
            if self.old < self.visible:
                segments.append(_Segment(self.old, self.visible))
        return segments


class _Segment:
    """The tuples `start` to `stop`, and their index once it is needed."""

    __slots__ = ("index", "start", "stop")

    def __init__(self, start: int, stop: int):
        self.start = start
        self.stop = stop
        self.index: RowIndex | None = None

    @property
    def size(self) -> int:
        return self.stop - self.start
