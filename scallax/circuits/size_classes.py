"""Size classes: padded lengths of a circuit's arrays, with which circuits of like size share compiled code."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import final

import numpy as np

# Counts of literals with columns in proofs, by the polarities that they occur in: both, positive, negated.
COLUMN_COUNTS = ("literals of both polarities", "positive literals", "negated literals")
# The same where proofs are lists, and all components have columns of their own.
LISTED_COUNTS = ("listed literals of both polarities", "listed positive literals", "listed negated literals")
# The most literals of a proof.
LONGEST = "longest proof"
# How much larger than a program its class may be.
_MOST_ROOM = 4


class Sizes:
    """The lengths to which a circuit's arrays are padded: each to its size class, or to what `least` says.

    `counts` are the true lengths, by name, of the layout that used it. Layouts with one `least` that none of them
    exceeds have equal shapes: `width` is that of `least` if it has one, and with `least` all branches are there.
    """

    __slots__ = ("counts", "least")

    def __init__(self, least: Mapping[str, int] | None = None):
        self.least = least
        self.counts: dict[str, int] = {}

    def pad(self, name: str, count: int) -> int:
        """The length of an array that needs `count` places."""
        self.counts[name] = count
        return max(padded(count), 0 if self.least is None else self.least.get(name, 0))

    def at_least(self, name: str, count: int) -> int:
        """The count, or the `least` if that is more; 0 stays 0 unless some program of the class has more."""
        if count:
            self.counts[name] = count
        return max(count, 0 if self.least is None else self.least.get(name, 0))

    def pad_some(self, name: str, count: int) -> int:
        """As `pad`, of an array that is empty if nothing is in it."""
        count = self.at_least(name, count)
        return padded(count) if count else 0


def padded(count: int, least: int = 8) -> int:
    """The size class of a count: 8, 12, 16, 24, 32, ... (two an octave). `least`, a power of 2, is the smallest."""
    size = max(least, 1 << (max(count, 1) - 1).bit_length())
    return size * 3 // 4 if size > least and count <= size * 3 // 4 else size


def class_of_batch(size: int) -> int:
    """The rows that a batch of a size is computed with: 0, 1, 2, 3, 4, 6, 8, 12, 16, 24, … (two an octave)."""
    return padded(size, least=1) if size else 0


def padded_with(values: np.ndarray, length: int, fill: int | bool) -> np.ndarray:
    """The values, int32 or bool as `fill` is, with `fill` behind them."""
    dtype = np.bool_ if isinstance(fill, bool) else np.int32
    return np.concatenate([values.astype(dtype), np.full(length - len(values), fill, dtype)])


def filled_at(length: int, place: np.ndarray, values: np.ndarray, fill: int) -> np.ndarray:
    """The values at their places in an array int32 `[length]`, `fill` elsewhere."""
    array = np.full(length, fill, np.int32)
    array[place] = values
    return array


@dataclass(slots=True)
class SizeClass:
    """Programs of at most `size` derivations, and what their arrays are padded to."""

    size: int
    least: dict[str, int] = field(default_factory=dict)


@final
class SizeClasses:
    """The classes of a series of programs, so few that an epoch of varied batches compiles about once an octave.

    The first program has a class of its own size, so that batches of one size waste nothing. Others get room for twice
    their size, in all their arrays.
    """

    __slots__ = ("_classes",)

    def __init__(self):
        self._classes: list[SizeClass] = []

    def find(self, size: int) -> SizeClass | None:
        """The smallest class that may hold a program of `size` derivations."""
        fitting = [known for known in self._classes if size <= known.size <= _MOST_ROOM * size]
        return min(fitting, key=lambda known: known.size, default=None)

    def make_room(self, size: int, counts: Mapping[str, int], found: SizeClass | None) -> None:
        """Makes a class for a program of these true lengths, or enlarges the one that did not hold it."""
        room = 2.0 if self._classes else 1.0
        if found is None:
            found = SizeClass(int(room * size))
            self._classes.append(found)
        else:
            # A class that proved too small in one array is likely so in others.
            for name in found.least.keys() - _NOT_LENGTHS:
                found.least[name] = padded(found.least[name] * 5 // 4)
            found.size = max(found.size, 2 * size)
            room = found.size / size
        for name, count in counts.items():
            if name in _NOT_LENGTHS:
                length = found.least.get(name, count) if name == "width" else count
            elif name in COLUMN_COUNTS:
                # A sample of a larger batch need not be larger.
                length = padded(int(min(room, 1.5) * count))
            else:
                length = padded(int(room * count))
            found.least[name] = max(length, found.least.get(name, 0))


_NOT_LENGTHS = {"width", "groups", "negation", LONGEST}
