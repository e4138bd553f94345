"""Folding rows into tiles, as one loop over a schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias, final

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
    branches: Sequence[Callable[[Tags, Tags, Int[Array, ""] | int, Bool[Array, ""]], Tags]],
    finish: Callable[[Tags, Int[Array, ""] | int], Tags],
    differs: Callable[[Tags, Tags], Bool[Array, ""]],
) -> tuple[Tags, Int[Array, ""] | int]:
    """Arrays `[rows, ..., batch]` after all steps, and how many times the loop that took the longest was repeated.

    A step makes `branches[b](rows, total, offset, cyclic)` of its tile's total, which begins as what the rows are, or
    as `initial` `[width, ..., batch]` if there is one. After a tile's last step its rows become `finish(total, step)`;
    until then, all see them as they were. A loop is repeated until no row of its tiles differs from the round before.
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
        total = xp.switch(schedule.branch[index], branches, rows, total, schedule.offset[index], cyclic)

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
) -> tuple[Tags, int]:
    """`fold_tiles` as a loop of Python over wide steps, which computes nothing that is thrown away.

    A step makes `fold_step(rows, total, step)` of its total. Tags of a step may have axes that are longer or shorter
    than those of the rows; `alike` makes both equal. Rows are written to where they are, while they are long enough.
    """
    index = rounds = most = 0
    changed, total = False, None
    while index < len(steps):
        step = steps[index]
        if step.begins:
            heads = slice(step.target, step.target + step.width)
            total = xp.map(lambda leaf, at=heads: leaf[at], rows) if initial is None else initial(step.width)
        total = fold_step(rows, total, step)
        if step.finished:
            heads = slice(step.target, step.target + step.finished)
            rows, settled = alike(rows, xp.map(lambda leaf, count=step.finished: leaf[:count], total))
            if step.cyclic and not changed:
                changed = bool(differs(xp.map(lambda leaf, at=heads: leaf[at], rows), settled))
            for leaf, new in zip(xp.leaves(rows), xp.leaves(settled), strict=True):
                leaf[heads] = new
            total = xp.map(lambda leaf, count=step.finished: leaf[count:], total)
        if step.loop >= 0 and changed and rounds < MAX_ROUNDS:
            index, rounds = step.loop, rounds + 1
            most = max(most, rounds)
        else:
            index, rounds = index + 1, 0 if step.loop >= 0 else rounds
        changed = changed and step.cyclic and step.loop < 0
    return rows, most


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
    at some places, and `arrange` what stands for tags `[width, ...]` here.
    """

    def __init__(
        self,
        xp: Namespace,
        width: int,
        places: Sequence[Array],
        read: Callable[[Array], Tags],
        arrange: Callable[[Tags], Tags],
    ):
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

    def stacked(self) -> Tags:
        """The tags `[width, rows, ...]` of all rows of one operand."""
        (places,) = self._places
        by_head = places.reshape(-1, self._width).T
        found = self._read(by_head.reshape(-1))
        return self._arrange(self._xp.map(lambda leaf: leaf.reshape(*by_head.shape, *leaf.shape[1:]), found))


def stack_rows(xp: Namespace, rows: Sequence[Tags]) -> Tags:
    """Tags `[width, rows, ...]` of rows of tags `[width, ...]`."""
    if isinstance(rows, OperandRows):
        return rows.stacked()
    return xp.map(lambda *leaves: xp.stack(leaves, 1), *rows)
