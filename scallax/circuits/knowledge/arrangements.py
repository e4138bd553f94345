"""Arrangements of a formula's nodes and variables in a line, of which few at a time have to do with later ones.

A decision diagram over variables in such an order distinguishes what the few say of the rest: it is small where the
boundary between what was placed and what comes later is.
"""

from collections.abc import Collection, Sequence

from scallax.circuits.knowledge.parts import Formula
from scallax.grounding.derivations import ONE, ZERO, operand_literal

# Looks at what may be placed next: until no more beginnings are tried, and in all.
_MOST_LOOKS_BEFORE_START = 1 << 16
_MOST_LOOKS = 1 << 20


def arrange(formula: Formula) -> list[int] | None:
    """The variables' first leaves in the order in which a line of few at a time needs them; None if it takes too long.

    Nodes and the variables of several rows are placed one after the other, each so that the boundary grows least: those
    that were placed and have neighbours, of the same row, that were not. Many beginnings are tried, those with few
    neighbours first; the line is kept whose boundaries have the least sum of 2^size, a bound on states of theirs.
    Outputs that no row uses are left out: each has a boundary of its own.
    """
    rows = _read_rows(formula)
    neighbours = _neighbours(rows, formula.num_nodes)
    best: list[int] | None = None
    least, looks = float("inf"), 0
    for start in sorted(neighbours, key=lambda item: len(neighbours[item])):
        if looks > _MOST_LOOKS_BEFORE_START:
            break
        line = _Line(neighbours, start, least, _MOST_LOOKS - looks)
        looks += line.looks
        if line.is_whole:
            best, least = line.items, line.sum
    if best is None:
        return None
    # A variable of one row is needed with the last of its nodes.
    place = {item: place for place, item in enumerate(best)}
    needed: dict[int, int] = {}
    for row in rows:
        last = max((place[item] for item in row if item in place), default=len(place))
        for item in row:
            if item >= formula.num_nodes:
                needed[item] = place.get(item, last)
    return [item - formula.num_nodes for item in sorted(needed, key=needed.__getitem__)]


def _read_rows(formula: Formula) -> list[tuple[int, ...]]:
    """The nodes and variables of each row; the latter are numbered after the nodes, by their first leaves."""
    used = {operand for row in formula.rows for operand in row[1:3]}
    left_out = {root for root in formula.roots if root not in used} if len(formula.roots) > 1 else ()
    return [
        tuple(
            operand if operand >= 0 else formula.num_nodes + formula.groups[operand_literal(operand)]
            for operand in dict.fromkeys(row[:3])
            if operand not in (ONE, ZERO)
        )
        for row in formula.rows
        if row[0] not in left_out
    ]


def _neighbours(rows: Sequence[tuple[int, ...]], num_nodes: int) -> dict[int, Collection[int]]:
    """The nodes and variables that share a row, for each node and each variable of several rows."""
    uses: dict[int, int] = {}
    for row in rows:
        for item in dict.fromkeys(row):
            uses[item] = uses.get(item, 0) + 1
    found: dict[int, dict[int, None]] = {}
    for row in rows:
        items = dict.fromkeys(item for item in row if item < num_nodes or uses[item] > 1)
        for item in items:
            found.setdefault(item, {}).update(items)
    for item, others in found.items():
        del others[item]
    return dict(found)


class _Line:
    """Items placed one after the other, from a start, unless the boundaries' sum of 2^size is not below another's."""

    def __init__(self, neighbours: dict[int, Collection[int]], start: int, bound: float, most_looks: int):
        self.items: list[int] = []
        self.sum = 0.0
        self.looks = 0
        self._neighbours = neighbours
        self._placed: set[int] = set()
        self._missing = {item: len(others) for item, others in neighbours.items()}
        # Candidates for the next place, and when a neighbour was placed first.
        self._met = {start: 0}
        self._next = {start: None}
        self.is_whole = self._place_all(bound, most_looks)

    def _place_all(self, bound: float, most_looks: int) -> bool:
        rest = dict.fromkeys(self._neighbours)
        size = 0
        while rest:
            if not self._next:
                item = next(iter(rest))
                self._next[item] = None
                self._met[item] = len(self.items)
            self.looks += len(self._next)
            growth, _, item = min((self._growth(item), self._met[item], item) for item in self._next)
            size += growth
            self.sum += 2.0**size if size < 1000 else float("inf")
            if self.sum >= bound or self.looks > most_looks:
                return False
            del rest[item], self._next[item]
            self._place(item)
        return True

    def _growth(self, item: int) -> int:
        """How much larger the boundary is with the item."""
        closed = sum(other in self._placed and self._missing[other] == 1 for other in self._neighbours[item])
        return (self._missing[item] > 0) - closed

    def _place(self, item: int) -> None:
        self.items.append(item)
        self._placed.add(item)
        for other in self._neighbours[item]:
            self._missing[other] -= 1
            if other not in self._placed:
                self._next[other] = None
                self._met.setdefault(other, len(self.items))
