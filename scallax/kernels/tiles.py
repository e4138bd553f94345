"""Folding rows into tiles, as one loop over a traced schedule."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Int, PyTree

from scallax.kernels.schedule import Schedule

Tags = PyTree[Array]

# A component that has not settled by then is left as it is: the caller's algebra converges or is bounded.
_MAX_ROUNDS = 10_000


def fold_tiles(
    rows: Tags,
    width: int,
    schedule: Schedule,
    initial: Tags | None,
    branches: Sequence[Callable[[Tags, Tags, Int[Array, ""], Bool[Array, ""]], Tags]],
    finish: Callable[[Tags, Int[Array, ""]], Tags],
    differs: Callable[[Tags, Tags], Bool[Array, ""]],
) -> Tags:
    """Arrays `[rows, ..., batch]` after all steps.

    A step sets its tile's rows to `branches[b](rows, total, offset, cyclic)`, where `total` is what they were, or on a
    tile's first step `initial` `[width, ..., batch]` if there is one; after a tile's last step, to `finish(total, step)`. A
    loop is repeated until no row of its tiles differs from the round before.
    """

    def step(state):
        index, rounds, changed, before, rows = state
        target = schedule.target[index]
        old = jax.tree.map(lambda leaf: lax.dynamic_slice_in_dim(leaf, target, width), rows)
        begins, ends = schedule.begins[index], schedule.ends[index]
        before = _where(begins, old, before)
        total = old if initial is None else _where(begins, initial, old)
        offset, cyclic = schedule.offset[index], schedule.cyclic[index]
        total = lax.switch(schedule.branch[index], branches, rows, total, offset, cyclic)
        total = _where(ends, finish(total, index), total)
        changed = changed | (cyclic & ends & differs(before, total))
        # The rows are read above and written here, in place.
        rows = jax.tree.map(lambda leaf, new: lax.dynamic_update_slice_in_dim(leaf, new, target, 0), rows, total)
        loop = schedule.loop[index]
        again = (loop >= 0) & changed & (rounds < _MAX_ROUNDS)
        rounds = jnp.where(again, rounds + 1, jnp.where(loop >= 0, 0, rounds))
        return jnp.where(again, loop, index + 1), rounds, changed & cyclic & (loop < 0), before, rows

    before = jax.tree.map(lambda leaf: leaf[:width], rows)
    start = (jnp.int32(0), jnp.int32(0), jnp.bool_(False), before, rows)
    return lax.while_loop(lambda state: state[0] < schedule.count, step, start)[-1]


def take_block(
    rows: Tags, operands: Int[Array, " operands"], offset: Int[Array, ""], width: int, count: int
) -> list[Tags]:
    """`count` times `[width, ..., batch]`: the rows that the block's operands name."""
    return [
        jax.tree.map(
            lambda leaf, place=lax.dynamic_slice_in_dim(operands, offset + row * width, width): leaf.at[place].get(
                mode="promise_in_bounds"
            ),
            rows,
        )
        for row in range(count)
    ]


def _where(condition: Bool[Array, ""], a: Tags, b: Tags) -> Tags:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)
