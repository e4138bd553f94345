"""Constants with a batch axis, sharded over devices as the batch of another array is.

In a `shard_map`, what a loop or a branch returns must vary over the same mesh axes as what it was given; under explicit
sharding, arrays that are put together must be sharded alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from scallax.kernels.array_namespace import array_namespace

if TYPE_CHECKING:
    from jaxtyping import Shaped
    from numpy.typing import ArrayLike, DTypeLike

    from scallax.kernels.array_namespace import Array


def batch_constant(
    like: Shaped[Array, "... batch"], shape: Sequence[int], value: ArrayLike, dtype: DTypeLike | None = None
) -> Shaped[Array, "... batch"]:
    """`value` in an array `[*shape, batch]`, of the dtype of `like` if none is given; `like` has at least one row."""
    xp = array_namespace(like)
    row = xp.full_like(like[(0,) * (like.ndim - 1)], value, dtype=dtype)
    return xp.broadcast_to(row, (*shape, like.shape[-1]))


def varying_constant(like: Array, value: bool | int) -> Shaped[Array, ""]:
    """A bool or int32 scalar that varies over the mesh axes over which `like` does."""
    xp = array_namespace(like)
    return xp.full_like(like, value, dtype=xp.bool_ if isinstance(value, bool) else xp.int32, shape=())
