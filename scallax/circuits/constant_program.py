"""A small circuit as a constant of the code that is compiled for it."""

from collections.abc import Collection
from typing import final

import numpy as np

from scallax.circuits.circuit import Circuit, Forward, leaves
from scallax.kernels.schedule import LINEAR, LITERALS, Tile

# Bytes of index arrays up to which a program is worth code of its own; twice as many without loops and conjunctions of
# nodes, which may be folded by layers.
_MAX_BYTES = 1 << 14


@final
class EmbeddedProgram:
    """A ground program that compiled code may depend on; equal ones have equal arrays, and share a compilation."""

    __slots__ = ("digest", "program")

    def __init__(self, program: Circuit):
        self.program = program
        # OpenSSL is not loaded before a program is compiled.
        from hashlib import sha256

        content = sha256()
        for form, value in leaves(program):
            array = np.asarray(form.empty(0) if value is None else value)
            content.update(f"{form.name}{value is None}{array.dtype}{array.shape}".encode())
            content.update(array.tobytes())
        self.digest = content.digest()

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, EmbeddedProgram) and self.digest == other.digest)

    def __hash__(self) -> int:
        return hash(self.digest)


def embed(program: Circuit) -> EmbeddedProgram | None:
    """The program as a constant, if it is small, and nothing in it depends on draws or on other programs."""
    if program.stages:
        return None
    size = sum(np.asarray(value).nbytes for _, value in leaves(program) if value is not None)
    is_small = size <= _MAX_BYTES
    if _MAX_BYTES < size <= 2 * _MAX_BYTES and isinstance(program.forward.left, np.ndarray):
        is_small = list_tiles(program.forward, (LITERALS, LINEAR)) is not None
    return EmbeddedProgram(program) if is_small else None


def list_tiles(forward: Forward, kinds: Collection[int]) -> list[Tile] | None:
    """All tiles of a fold of NumPy arrays; None if some are in loops, or of a kind that is not among `kinds`."""
    schedule = forward.tiles
    branches = schedule.branch[: schedule.count].tolist()
    if schedule.cyclic.any() or not {forward.branches[branch][0] for branch in branches} <= set(kinds):
        return None
    tiles: list[Tile] = []
    first = 0
    for step in np.flatnonzero(schedule.ends[: schedule.count]):
        parts = [_operands(forward, each) for each in range(first, step + 1)]
        tiles.append(Tile(int(schedule.target[step]), np.concatenate(parts, 1)))
        first = step + 1
    return tiles


def _operands(forward: Forward, step: int) -> np.ndarray:
    """The operands `[3, rows, width]` of a step."""
    assert forward.third is not None
    offset, count = int(forward.tiles.offset[step]), forward.branches[forward.tiles.branch[step]][1]
    places = slice(offset, offset + count * forward.width)
    return np.stack([part[places].reshape(count, -1) for part in (forward.left, forward.right, forward.third)])
