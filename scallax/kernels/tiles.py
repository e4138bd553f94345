"""Folding rows into tiles, as one loop over a traced schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from scallax.kernels.batches import varying_constant
from scallax.kernels.schedule import Schedule

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Int, PyTree

Tags: TypeAlias = "PyTree[Array]"

# A component that has not settled by then is left as it is: the caller's algebra converges or is bounded.
MAX_ROUNDS = 10_000


def fold_tiles(
    rows: Tags,
    width: int,
    schedule: Schedule,
    initial: Tags | None,
    branches: Sequence[Callable[[Tags, Tags, Int[Array, ""], Bool[Array, ""]], Tags]],
    finish: Callable[[Tags, Int[Array, ""]], Tags],
    differs: Callable[[Tags, Tags], Bool[Array, ""]],
) -> tuple[Tags, Int[Array, ""]]:
    """Arrays `[rows, ..., batch]` after all steps, and how many times the loop that took the longest was repeated.

    A step makes `branches[b](rows, total, offset, cyclic)` of its tile's total, which begins as what the rows are, or
    as `initial` `[width, ..., batch]` if there is one. After a tile's last step its rows become `finish(total, step)`;
    until then, all see them as they were. A loop is repeated until no row of its tiles differs from the round before.
    """
    schedule = jax.tree.map(jnp.asarray, schedule)
    reference = jax.tree.leaves(rows)[0]
    false, start = varying_constant(reference, False), varying_constant(reference, 0)

    def step(state):
        index, rounds, most, changed, total, rows = state
        target = schedule.target[index]
        ends, cyclic = schedule.ends[index], schedule.cyclic[index]

        def read(rows):
            return jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, target, width), rows)

        total = _where(schedule.begins[index], read(rows) if initial is None else initial, total)
        total = lax.switch(schedule.branch[index], branches, rows, total, schedule.offset[index], cyclic)

        def settle(rows, total):
            settled = finish(total, index)
            return settled, differs(read(rows), settled)

        # Rows are read only in branches whose result is written. XLA does not know that the reading comes before the
        # writing, and would otherwise copy the rows to write in place.
        written, differ = lax.switch(
            jnp.where(ends, jnp.where(cyclic, 2, 1), 0),
            [
                lambda rows, _: (read(rows), false),
                lambda _, total: (finish(total, index), false),
                settle,
            ],
            rows,
            total,
        )
        rows = jax.tree.map(lambda leaf, new: lax.dynamic_update_slice_in_dim(leaf, new, target, 0), rows, written)
        changed = changed | differ
        loop = schedule.loop[index]
        again = (loop >= 0) & changed & (rounds < MAX_ROUNDS)
        rounds = jnp.where(again, rounds + 1, jnp.where(loop >= 0, 0, rounds))
        most = jnp.maximum(most, rounds)
        return jnp.where(again, loop, index + 1), rounds, most, changed & cyclic & (loop < 0), total, rows

    total = jax.tree.map(lambda leaf: leaf[:width], rows)
    state = (start, start, start, false, total, rows)
    _, _, most, _, _, rows = lax.while_loop(lambda state: state[0] < schedule.count, step, state)
    return rows, most


def take_block(
    rows: Tags, operands: Int[Array | np.ndarray, " operands"], offset: Int[Array, ""], width: int, count: int
) -> list[Tags]:
    """`count` times `[width, ..., batch]`: the rows that the block's operands name."""
    return [
        jax.tree.map(lambda leaf, place=place: leaf.at[place].get(mode="promise_in_bounds"), rows)
        for place in block_places(operands, offset, width, count)
    ]


def block_places(
    operands: Int[Array | np.ndarray, " operands"], offset: Int[Array, ""], width: int, count: int
) -> list[Int[Array | np.ndarray, " width"]]:
    """The rows that a block's operands name, `count` times `[width]`."""
    return [lax.dynamic_slice_in_dim(operands, offset + row * width, width) for row in range(count)]


def _where(condition: Bool[Array, ""], a: Tags, b: Tags) -> Tags:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
