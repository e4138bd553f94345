"""Size classes: what the lengths of a program's arrays are padded to."""

from collections.abc import Mapping


class Sizes:
    """What the lengths of a program's arrays are padded to: each to its size class, or to what `least` says.

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


def padded(count: int) -> int:
    """The size class of a count: 8, 12, 16, 24, 32, ... (two an octave)."""
    size = max(8, 1 << (max(count, 1) - 1).bit_length())
    return size * 3 // 4 if size > 8 and count <= size * 3 // 4 else size
