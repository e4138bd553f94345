"""Folding rows into tiles, as one loop over a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias, final

import numpy as np

from scallax.kernels.array_namespace import Namespace
from scallax.kernels.batches import varying_constant
from scallax.kernels.schedule import Schedule
from scallax.kernels.wide_steps import Step

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, PyTree

    from scallax.kernels.array_namespace import Array

Tags: TypeAlias = "PyTree[Array]"

# A component that has not settled by then is left as it is: the caller's algebra converges or is bounded.
MAX_ROUNDS = 10_000


def fold_tiles(
    xp: Namespace,
    rows: Tags,
    width: int,
    schedule: Schedule,
    initial: PyTree[Array] | None,
    branches: Sequence[Callable[[Tags, Tags, Int[Array, ""] | int, Int[Array, ""] | int, Bool[Array, ""]], Tags]],
    finish: Callable[[Tags, Int[Array, ""] | int], Tags],
    differs: Callable[[Tags, Tags], Bool[Array, ""]],
) -> tuple[Tags, Int[Array, ""] | int]:
    """Arrays `[rows, ..., batch]` after all steps, and how many times the loop that took the longest was repeated.

    A step makes `branches[b](rows, total, target, offset, cyclic)` of its tile's total, which begins as what the rows
    are, or as `initial` `[width, ..., batch]` if there is one. After a tile's last step its rows become `finish(total,
    step)`; until then, all see them as they were. A loop is repeated until no row of its tiles differs from the round
    before.
    """
    schedule = xp.map(xp.asarray, schedule)
    reference = xp.leaves(rows)[0]
    false, start = varying_constant(reference, False), varying_constant(reference, 0)

    def step(state):
        index, rounds, most, changed, total, rows = state
        target = schedule.target[index]
        ends, cyclic = schedule.ends[index], schedule.cyclic[index]

        def read(rows):
            return xp.map(lambda leaf: xp.slice_rows(leaf, target, width), rows)

        total = _where(xp, schedule.begins[index], read(rows) if initial is None else initial, total)
        total = xp.switch(schedule.branch[index], branches, rows, total, target, schedule.offset[index], cyclic)

        def settle(rows, total):
            settled = finish(total, index)
            return settled, differs(read(rows), settled)

        # Rows are read only in branches whose result is written. XLA does not know that the reading comes before the
        # writing, and would otherwise copy the rows to write in place.
        written, differ = xp.switch(
            xp.where(ends, xp.where(cyclic, 2, 1), 0),
            [
                lambda rows, _: (read(rows), false),
                lambda _, total: (finish(total, index), false),
                settle,
            ],
            rows,
            total,
        )
        rows = xp.map(lambda leaf, new: xp.write_slice(leaf, new, target, 0), rows, written)
        changed = changed | differ
        loop = schedule.loop[index]
        again = (loop >= 0) & changed & (rounds < MAX_ROUNDS)
        rounds = xp.where(again, rounds + 1, xp.where(loop >= 0, 0, rounds))
        most = xp.maximum(most, rounds)
        return xp.where(again, loop, index + 1), rounds, most, changed & cyclic & (loop < 0), total, rows

    total = xp.map(lambda leaf: leaf[:width], rows)
    state = (start, start, start, false, total, rows)
    _, _, most, _, _, rows = xp.while_loop(lambda state: state[0] < schedule.count, step, state)
    return rows, most


def fold_at_once(
    xp: Namespace,
    rows: Tags,
    steps: Sequence[Step],
    initial: Callable[[int], Tags] | None,
    fold_step: Callable[[Tags, Tags, Step], Tags],
    alike: Callable[[Tags, Tags], tuple[Tags, Tags]],
    differs: Callable[[Tags, Tags], Bool[Array, ""]],
    base: int = 0,
) -> tuple[Tags, int]:
    """`fold_tiles` as a loop of Python over wide steps, which computes nothing that is thrown away.

    The targets of steps are rows; their places are too, of the table where `base` others come before these.

    A step makes `fold_step(rows, total, step)` of its total. Tags of a step may have axes that are longer or shorter
    than those of the rows; `alike` makes both equal. Rows are written to where they are, while they are long enough.
    A round of a loop computes the heads alone that may have other tags than in the round before.
    """
    most, loop = 0, []
    for group in _by_head(steps):
        fold = _GroupFold(xp, group, initial, fold_step, alike, differs)
        if not group[0].cyclic:
            rows, _ = fold(rows, np.arange(group[0].width))
            continue
        loop.append(fold)
        if group[-1].loop >= 0:
            rows, rounds = _settle(xp, rows, loop, base, skips=initial is None)
            most, loop = max(most, rounds), []
    return rows, most


def _by_head(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """The steps of the same heads, together."""
    starts = [number for number, step in enumerate(steps) if step.begins]
    for start, end in pairwise([*starts, len(steps)]):
        yield list(steps[start:end])


def _settle(xp: Namespace, rows: Tags, loop: Sequence[_GroupFold], base: int, *, skips: bool) -> tuple[Tags, int]:
    """The rows after a loop, and how many times it was repeated.

    With `skips` a head is computed anew only if its own tag, or one that it reads, changed since: else it would not
    change, as it is a function of these alone. Otherwise all heads are computed in each round.
    """
    # When a place changed, and when a row was computed: as a number of groups that were folded by then.
    changed = np.zeros(base + len(xp.leaves(rows)[0]), np.int64)
    computed = np.zeros_like(changed[base:])
    clock = 0
    for rounds in range(MAX_ROUNDS + 1):
        goes_on = False
        for fold in loop:
            clock += 1
            lanes = np.arange(fold.heads.stop - fold.heads.start)
            if skips:
                lanes = np.flatnonzero(fold.last_change(changed, base) >= computed[fold.heads])
                if not len(lanes):
                    continue
            old = xp.map(lambda leaf, at=fold.heads.start + lanes: leaf[at], rows)
            rows, differ = fold(rows, lanes)
            if skips:
                new = xp.map(lambda leaf, at=fold.heads.start + lanes: leaf[at], rows)
                changed[base + fold.heads.start + lanes[_differing(xp, *fold.alike(old, new))]] = clock
                computed[fold.heads.start + lanes] = clock
            goes_on = goes_on or differ
        if not goes_on:
            return rows, rounds
    return rows, MAX_ROUNDS


def _differing(xp: Namespace, old: Tags, new: Tags) -> Bool[np.ndarray, " rows"]:
    """The rows that differ in any bit."""
    found = None
    for a, b in zip(xp.leaves(old), xp.leaves(new), strict=True):
        differ = (a != b).reshape(len(a), -1).any(1)
        found = differ if found is None else found | differ
    assert found is not None
    return found


@final
@dataclass(frozen=True, slots=True)
class _GroupFold:
    """The steps of the same heads; a call folds them for some of these."""

    xp: Namespace
    steps: list[Step]
    initial: Callable[[int], Tags] | None
    fold_step: Callable[[Tags, Tags, Step], Tags]
    alike: Callable[[Tags, Tags], tuple[Tags, Tags]]
    differs: Callable[[Tags, Tags], Bool[Array, ""]]

    @property
    def heads(self) -> slice:
        """The rows of all heads."""
        return slice(self.steps[0].target, self.steps[0].target + self.steps[0].width)

    def last_change(self, changed: Int[np.ndarray, " places"], base: int) -> Int[np.ndarray, " heads"]:
        """When what a head has or reads changed for the last time."""
        found = changed[base:][self.heads].copy()
        for step in self.steps:
            start = step.target - self.heads.start
            for places in step.places:
                np.maximum(found[start:], changed[places].max(0), out=found[start:])
        return found

    def __call__(self, rows: Tags, lanes: Int[np.ndarray, " lanes"]) -> tuple[Tags, bool]:
        """The rows with the heads at some lanes folded, and whether one of these differs from before."""
        xp, differ = self.xp, False
        at = self._rows_of(lanes)
        total = xp.map(lambda leaf: leaf[at], rows) if self.initial is None else self.initial(len(lanes))
        for step in self.steps:
            start = step.target - self.heads.start
            lanes = lanes[len(lanes) - xp.leaves(total)[0].shape[0] :]
            total = self.fold_step(rows, total, _narrowed(step, lanes - start))
            count = int(np.searchsorted(lanes, start + step.finished))
            if count:
                at = self._rows_of(lanes[:count])
                rows, settled = self.alike(rows, xp.map(lambda leaf, count=count: leaf[:count], total))
                if step.cyclic and not differ:
                    differ = bool(self.differs(xp.map(lambda leaf, at=at: leaf[at], rows), settled))
                for leaf, new in zip(xp.leaves(rows), xp.leaves(settled), strict=True):
                    leaf[at] = new
                total = xp.map(lambda leaf, count=count: leaf[count:], total)
            if count == len(lanes):
                break
        return rows, differ

    def _rows_of(self, lanes: Int[np.ndarray, " lanes"]) -> np.ndarray | slice:
        """The rows of some heads: a slice of neighbours."""
        first = self.heads.start + int(lanes[0])
        if int(lanes[-1]) - int(lanes[0]) == len(lanes) - 1:
            return slice(first, first + len(lanes))
        return self.heads.start + lanes


def _narrowed(step: Step, lanes: Int[np.ndarray, " lanes"]) -> Step:
    """A step of some of its heads alone."""
    if len(lanes) == step.width:
        return step
    places = tuple(np.ascontiguousarray(each[:, lanes]) for each in step.places)
    return step._replace(width=len(lanes), places=places, lanes=step.lanes[lanes])


def take_block(
    xp: Namespace,
    rows: Tags,
    operands: Int[Array, " operands"],
    offset: Int[Array, ""] | int,
    width: int,
    count: int,
) -> list[Tags]:
    """`count` times `[width, ..., batch]`: the rows that the block's operands name."""
    places = [xp.slice_rows(operands, offset + row * width, width) for row in range(count)]
    return [xp.map(lambda leaf, place=place: xp.take(leaf, place), rows) for place in places]


def _where(xp: Namespace, condition: Bool[Array, ""], a: Tags, b: Tags) -> Tags:
    return xp.map(lambda x, y: xp.where(condition, x, y), a, b)


@final
class OperandRows(Sequence):
    """The rows of operands of a block, `[width, ..., batch]` each: read one by one, or all at once.

    `places` int32 `[rows * width]` are their rows in the table; of several, the rows take turns. `read` gives the tags
    at some places, and `arrange` what stands for tags `[width, ...]` here. `table` are the tags that `read` takes rows
    of, where it does nothing else.
    """

    def __init__(
        self,
        xp: Namespace,
        width: int,
        places: Sequence[Array],
        read: Callable[[Array], Tags],
        arrange: Callable[[Tags], Tags],
        table: Tags | None = None,
    ):
        self.table = table
        self._xp = xp
        self._width = width
        self._places = places
        self._read = read
        self._arrange = arrange

    def __len__(self) -> int:
        return len(self._places) * (len(self._places[0]) // self._width)

    def __getitem__(self, index):
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != len(self._places) or start >= step or stop < len(self):
                return [self[number] for number in range(start, stop, step)]
            # All rows of one operand.
            return OperandRows(self._xp, self._width, [self._places[start]], self._read, self._arrange)
        row, turn = divmod(range(len(self))[index], len(self._places))
        return self._arrange(self._read(self._places[turn][row * self._width : (row + 1) * self._width]))

    @property
    def by_head(self) -> Int[Array, "width rows"]:
        """The places of all rows of one operand."""
        (places,) = self._places
        return places.reshape(-1, self._width).T

    def stacked(self) -> Tags:
        """The tags `[width, rows, ...]` of all rows of one operand."""
        by_head = self.by_head
        found = self._read(by_head.reshape(-1))
        return self._arrange(self._xp.map(lambda leaf: leaf.reshape(*by_head.shape, *leaf.shape[1:]), found))


def stack_rows(xp: Namespace, rows: Sequence[Tags]) -> Tags:
    """Tags `[width, rows, ...]` of rows of tags `[width, ...]`."""
    if isinstance(rows, OperandRows):
        return rows.stacked()
    return xp.map(lambda *leaves: xp.stack(leaves, 1), *rows)
