"""Differentiating a fold over tiles step by step, in reverse, from the rows that it made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from scallax.evaluation.jax_namespace import JAX
from scallax.kernels.batches import varying_constant
from scallax.kernels.schedule import Schedule
from scallax.kernels.tiles import Tags, take_block

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int, PyTree

# The floats among the leaves of tags, or their cotangents.
Floats: TypeAlias = "list[Array]"


def float_leaves(tags: Tags) -> Floats:
    """The leaves of tags that can be differentiated."""
    return [leaf for leaf in jax.tree.leaves(tags) if jnp.issubdtype(leaf.dtype, jnp.floating)]


def with_float_leaves(tags: Tags, floats: Floats) -> Tags:
    """The tags with others for their floats."""
    given = iter(floats)
    return jax.tree.map(lambda leaf: next(given) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tags)


class Fold(NamedTuple):
    """The function of a tile of `count` rows of derivations: `function(left, right, cyclic)` gives its tags."""

    count: int
    function: Callable[[Sequence[Tags], Sequence[Tags], Bool[Array, ""]], Tags]


class Operands(NamedTuple):
    """The rows that the derivations name, as in a ground program."""

    left: Int[Array, " operands"]
    right: Int[Array, " operands"]


def pull_back_tiles(
    rows: Tags,
    cotangents: Floats,
    width: int,
    schedule: Schedule,
    operands: Operands,
    folds: Sequence[Fold],
    max_rounds: Int[Array, ""],
) -> Floats:
    """Cotangents `[rows, ..., batch]` of all rows, from those that outputs gave them.

    Every tile must be one step. On a cycle the cotangents are those of the equations that its rows solve: they go round
    until they no longer change, but at most `max_rounds` times, so that they are finite where the equations have no
    solution.
    """
    if not folds:
        return cotangents
    schedule = jax.tree.map(jnp.asarray, schedule)
    # Where a loop begins, the index of its last step.
    steps = jnp.arange(schedule.loop.shape[0], dtype=jnp.int32)
    nowhere = jnp.full_like(schedule.loop, -1)
    last = nowhere.at[jnp.where(schedule.loop >= 0, schedule.loop, steps.shape[0])].set(steps, mode="drop")

    def add_step(index, source: Floats, target: Floats) -> Floats:
        shares = _step_shares(index, rows, source, width, schedule, operands, folds)
        counts = jnp.asarray([fold.count for fold in folds], jnp.int32)
        return _scatter(target, shares, operands, schedule.offset[index], counts[schedule.branch[index]], width)

    def acyclic(state):
        index, found = state
        return index - 1, add_step(index, found, found)

    def is_acyclic(state):
        index, _ = state
        return (index >= 0) & ~schedule.cyclic[jnp.maximum(index, 0)]

    def cyclic(state):
        index, rounds, active, base, source, target = state
        target = add_step(index, source, target)
        opens = last[index] >= 0
        again = opens & _differ(source, target) & (rounds < max_rounds)
        source, target = (
            _where(again, target, source),
            _where(again, base, target),
        )
        index = jnp.where(again, last[index], index - 1)
        return index, rounds + again.astype(jnp.int32), active & (again | ~opens), base, source, target

    def segment(state):
        index, found = lax.while_loop(is_acyclic, acyclic, state)
        start = varying_constant(jax.tree.leaves(rows)[0], 0)
        state = index, start, index >= 0, found, found, found
        index, *_, found = lax.while_loop(lambda state: state[2], cyclic, state)
        return index, found

    return lax.while_loop(lambda state: state[0] >= 0, segment, (schedule.count - 1 + 0 * last[0], cotangents))[1]


def _step_shares(index, rows, source, width, schedule, operands, folds) -> tuple[Floats, Floats]:
    """The cotangents of a step's left and right operands, `[most rows, width, ..., batch]`."""
    most = max(fold.count for fold in folds)
    cotangent = [lax.dynamic_slice_in_dim(leaf, schedule.target[index], width) for leaf in source]

    def branch(fold: Fold):
        def pull(offset, cyclic, cotangent):
            left = take_block(JAX, rows, operands.left, offset, width, fold.count)
            right = take_block(JAX, rows, operands.right, offset, width, fold.count)

            def apply(floats):
                given = [
                    [with_float_leaves(tags, part) for tags, part in zip(side, parts, strict=True)]
                    for side, parts in zip((left, right), floats, strict=True)
                ]
                return float_leaves(fold.function(given[0], given[1], cyclic))

            _, pull_back = jax.vjp(apply, tuple([float_leaves(tags) for tags in side] for side in (left, right)))
            return tuple(_stack(side, most) for side in pull_back(cotangent)[0])

        return pull

    branches = [branch(fold) for fold in folds]
    return lax.switch(schedule.branch[index], branches, schedule.offset[index], schedule.cyclic[index], cotangent)


def _stack(parts: Sequence[Floats], most: int) -> Floats:
    """Rows of cotangents as arrays `[most, width, ..., batch]`, zero where there is no row."""
    stacked = [jnp.stack(leaves) for leaves in zip(*parts, strict=True)]
    return [jnp.pad(leaf, [(0, most - len(parts))] + [(0, 0)] * (leaf.ndim - 1)) for leaf in stacked]


def _scatter(target: Floats, shares: tuple[Floats, Floats], operands: Operands, offset, count, width: int) -> Floats:
    def add_row(row, target):
        for side, parts in zip(operands, shares, strict=True):
            places = lax.dynamic_slice_in_dim(side, offset + row * width, width)
            target = [leaf.at[places].add(part[row]) for leaf, part in zip(target, parts, strict=True)]
        return target

    return lax.fori_loop(jnp.zeros_like(count), count, add_row, target)


def _differ(old: Floats, new: Floats) -> Bool[Array, ""]:
    """Whether some cotangent moved by more than rounding."""
    moved = [
        (jnp.abs(b - a) > 8 * jnp.finfo(a.dtype).eps * jnp.maximum(1, jnp.abs(a))).any()
        for a, b in zip(old, new, strict=True)
    ]
    return jnp.stack(moved).any()


def _where(condition: Bool[Array, ""], a: Floats, b: Floats) -> Floats:
    return [jnp.where(condition, x, y) for x, y in zip(a, b, strict=True)]


def row_cotangents(rows: Tags, places: Int[Array, " outputs"], parts: PyTree[Float[Array, " ..."]]) -> Floats:
    """Zero cotangents of all rows, with those of some places added."""
    zeros = [jnp.zeros_like(leaf) for leaf in float_leaves(rows)]
    return [leaf.at[places].add(part) for leaf, part in zip(zeros, parts, strict=True)]
