"""A small ground program as a constant of the code that is compiled for it."""

import hashlib
from dataclasses import fields
from typing import final

import numpy as np

from scallax.grounding.layout import ONE_ROW, ZERO_ROW, GroundProgram

# Cells of some tiles up to which they are one however much of it is padding.
_FEW_CELLS = 512

# Steps up to which code is written out: longer straight code is slower than a loop, since XLA makes threads share it.
_FEW_STEPS = 3

# Bytes of index arrays up to which a program is worth code of its own.
_MAX_BYTES = 1 << 14


@final
class EmbeddedProgram:
    """A ground program that compiled code may depend on; equal ones have equal arrays, and share a compilation."""

    __slots__ = ("_digest", "program")

    def __init__(self, program: GroundProgram):
        self.program = program
        content = hashlib.sha256()
        for field in fields(program):
            for part in _parts(getattr(program, field.name)):
                content.update(f"{getattr(part, 'dtype', '')}{np.shape(part)}".encode())
                content.update(np.asarray(part).tobytes())
        self._digest = content.digest()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, EmbeddedProgram) and self._digest == other._digest)

    def __hash__(self) -> int:
        return hash(self._digest)


def embed(program: GroundProgram) -> EmbeddedProgram | None:
    """The program as a constant, if it is small, and nothing in it depends on draws or on other programs."""
    if program.stages:
        return None
    size = sum(np.asarray(part).nbytes for field in fields(program) for part in _parts(getattr(program, field.name)))
    return EmbeddedProgram(program) if size <= _MAX_BYTES else None


def merge_if_short(program: GroundProgram, kind: int) -> dict[int, tuple[int, np.ndarray]] | None:
    """By their first step the tiles of a kind that are one, if then few things are to be done, and in no loop.

    For each the step after them, and int32 `[3, rows, width]`: the operands of the derivations of all heads, `ZERO_ROW`
    and twice `ONE_ROW` where a head has no more.
    """
    if program.tiles.cyclic.any():
        return None
    merged: dict[int, tuple[int, np.ndarray]] = {}
    index, num_things = 0, 0
    while index < program.tiles.count:
        num_things += 1
        if num_things > _FEW_STEPS:
            return None
        if program.branches[program.tiles.branch[index]][0] == kind:
            merged[index] = _merge_tiles(program, index, kind)
            index = merged[index][0]
        else:
            index += 1
    return merged


def _merge_tiles(program: GroundProgram, index: int, kind: int) -> tuple[int, np.ndarray]:
    """The tiles of a kind from step `index` on that see nothing of each other."""
    schedule, width, first = program.tiles, program.width, int(program.tiles.target[index])
    found: list[np.ndarray] = []
    cells = 0
    while index < schedule.count and program.branches[schedule.branch[index]][0] == kind:
        end = index + int(np.argmax(schedule.ends[index:])) + 1
        tile = np.concatenate([_operands(program, step) for step in range(index, end)], 1)
        cells += tile[0].size
        most = max(part.shape[1] for part in [*found, tile])
        if found and ((tile[0] >= first).any() or most * width * (len(found) + 1) > max(_FEW_CELLS, 2 * cells)):
            break
        found.append(tile)
        index = end
    most = max(part.shape[1] for part in found)
    filler = np.array([ZERO_ROW, ONE_ROW, ONE_ROW], np.int32)[:, None, None]
    padded = [np.concatenate([part, np.tile(filler, (1, most - part.shape[1], width))], 1) for part in found]
    return index, np.concatenate(padded, 2)


def _operands(program: GroundProgram, step: int) -> np.ndarray:
    """The operands `[3, rows, width]` of a step."""
    offset, count = int(program.tiles.offset[step]), program.branches[program.tiles.branch[step]][1]
    places = slice(offset, offset + count * program.width)
    return np.stack([part[places].reshape(count, -1) for part in (program.left, program.right, program.third)])


def _parts(value: object) -> tuple:
    return value if isinstance(value, tuple) else (value,)
