"""Steps of a fold at once: tiles that do not depend on each other are folded together, in few calls of NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from scallax.kernels.schedule import Schedule

if TYPE_CHECKING:
    from jaxtyping import Int


class Step(NamedTuple):
    """A fold of `places` `[rows, width]`, one array for each operand, into the `width` heads from `target` on.

    The first `finished` of the heads are complete after it; the others go on in the next step. `lanes` are the first
    operand of each head. On the last step of a loop, `loop` is the number of its first, elsewhere -1.
    """

    kind: int
    target: int
    width: int
    finished: int
    places: tuple[Int[np.ndarray, "rows width"], ...]
    lanes: Int[np.ndarray, " width"]
    begins: bool
    cyclic: bool
    loop: int


class _Tiles(NamedTuple):
    """For each tile: its kind and target, its first step and their number.

    `is_last`: it is the last one of a loop. `reads` is the largest row before its own that it reads.
    """

    kind: list[int]
    target: list[int]
    cyclic: list[bool]
    is_last: list[bool]
    first: np.ndarray
    count: np.ndarray
    reads: list[int]


def wide_steps(
    schedule: Schedule,
    width: int,
    branches: Sequence[tuple[int, int]],
    operands: Sequence[Int[np.ndarray, " operands"]],
    padding: Sequence[int],
    most: dict[int, int],
) -> list[Step]:
    """The steps of a schedule, wide ones where tiles are of one kind and none reads another.

    On a cycle a tile may read rows of later ones, which are those of the round before in either way. `padding` are the
    places of operands that add nothing; `most` says for each kind up to how many operands a step should have.
    """
    if not int(schedule.count):
        return []
    steps = _without_padding(schedule)
    rows = np.array([count for _, count in branches])[steps.branch]
    rows = _used_rows(operands[0], width, steps.offset // width, rows)
    tiles = _describe(steps, width, branches, operands)
    size = width * rows[tiles.first]
    found: list[Step] = []
    first_of: dict[int, int] = {}
    for start, end in _groups(tiles, width, size.tolist(), most):
        first_of[int(tiles.first[start])] = len(found)
        found += _steps_of(tiles, start, end, steps, rows, width, operands, padding)
    return [step._replace(loop=first_of[step.loop]) if step.loop >= 0 else step for step in found]


def count_steps(
    schedule: Schedule,
    width: int,
    branches: Sequence[tuple[int, int]],
    operands: Sequence[Int[np.ndarray, " operands"]],
) -> tuple[int, int]:
    """How many wide steps a schedule has, of any size: those that are taken once, and those on cycles."""
    if not int(schedule.count):
        return 0, 0
    tiles = _describe(_without_padding(schedule), width, branches, operands)
    counts = {False: 0, True: 0}
    for start, end in _groups(tiles, width, [0] * len(tiles.kind), dict.fromkeys(tiles.kind, 0)):
        counts[tiles.cyclic[start]] += int(tiles.count[end - 1])
    return counts[False], counts[True]


def _without_padding(schedule: Schedule) -> Schedule:
    return Schedule(*(np.asarray(part)[: int(schedule.count)] for part in schedule[:-1]), count=schedule.count)


def _used_rows(left: np.ndarray, width: int, first: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """How many rows of each block are more than padding; at least one."""
    is_used = left[: len(left) // width * width].reshape(-1, width).any(1)
    last = np.maximum.accumulate(np.where(is_used, np.arange(len(left) // width), -1))
    return np.maximum(last[np.minimum(first + rows, len(left) // width) - 1] - first + 1, 1)


def _describe(
    steps: Schedule, width: int, branches: Sequence[tuple[int, int]], operands: Sequence[np.ndarray]
) -> _Tiles:
    first = np.flatnonzero(steps.begins)
    count = np.diff(np.append(first, len(steps.begins)))
    kinds = np.array([kind for kind, _ in branches])[steps.branch[first]]
    rows, target, offset = np.array([rows for _, rows in branches])[steps.branch], steps.target[first], steps.offset
    # The operands of a tile stand side by side.
    ends = np.append(offset[first[1:]], offset[-1] + rows[-1] * width)
    own = target.repeat(ends - offset[first])
    start, end = int(offset[0]), int(ends[-1])
    earlier = [np.where(each[start:end] < own, each[start:end], 0) for each in operands]
    reads = np.max([np.maximum.reduceat(each, offset[first] - start) for each in earlier], 0)
    is_last = steps.loop[first + count - 1] >= 0
    return _Tiles(
        kinds.tolist(), target.tolist(), steps.cyclic[first].tolist(), is_last.tolist(), first, count, reads.tolist()
    )


def _groups(tiles: _Tiles, width: int, size: Sequence[int], most: dict[int, int]) -> list[tuple[int, int]]:
    """The first tile of each group that is folded together, and the one after it."""
    groups, start, total, counts = [], 0, 0, tiles.count.tolist()
    for tile in range(1, len(tiles.kind) + 1):
        total += size[tile - 1]
        if (
            tile == len(tiles.kind)
            or tiles.kind[tile] != tiles.kind[start]
            or tiles.cyclic[tile] != tiles.cyclic[start]
            or tiles.is_last[tile - 1]
            or tiles.reads[tile] >= tiles.target[start]
            or tiles.target[tile] != tiles.target[tile - 1] + width
            or counts[tile] < counts[tile - 1]
            or total + size[tile] > most[tiles.kind[start]]
        ):
            groups.append((start, tile))
            start, total = tile, 0
    return groups


def _steps_of(
    tiles: _Tiles,
    start: int,
    end: int,
    steps: Schedule,
    rows: np.ndarray,
    width: int,
    operands: Sequence[np.ndarray],
    padding: Sequence[int],
) -> list[Step]:
    """The steps of a group of tiles: each folds one block of every tile that has so many."""
    found = []
    counts, lane = tiles.count[start:end], np.arange(width)
    for number in range(int(counts[-1])):
        # Those with few blocks come first.
        begin = start + int(np.searchsorted(counts, number, "right"))
        after = start + int(np.searchsorted(counts, number + 1, "right"))
        of_step = tiles.first[begin:end] + number
        lanes = (steps.offset[of_step][:, None] + lane).reshape(-1)
        row = np.arange(int(rows[of_step].max()))[:, None]
        places = lanes + row * width
        is_there = row < np.repeat(rows[of_step], width)
        taken = tuple(
            each[places] if is_there.all() else np.where(is_there, each[np.minimum(places, len(each) - 1)], none)
            for each, none in zip(operands, padding, strict=True)
        )
        found.append(
            Step(
                tiles.kind[start],
                tiles.target[begin],
                (end - begin) * width,
                (after - begin) * width,
                taken,
                lanes,
                number == 0,
                tiles.cyclic[start],
                int(steps.loop[of_step[-1]]) if tiles.cyclic[start] else -1,
            )
        )
    return found
