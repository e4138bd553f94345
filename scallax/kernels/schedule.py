"""The order of work on tiles: what a compiled loop reads step by step. NumPy or JAX arrays alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Int

# The computation of a tile, by the operands of its derivations. A leaf is a literal or the complement of one; a node is
# single if it has one derivation, of leaves and single nodes: it has one proof at most.
# a leaf or a single node, and up to two leaves;
LITERALS = 0
# any node, and up to two leaves;
LINEAR = 1
# any operands;
NODES = 2
# the negation of one operand.
COMPLEMENT = 3


class Schedule(NamedTuple):
    """Steps in order, all arrays `[steps]` but the true `count` (int32 scalar); the rest is padding.

    A step folds a block of operand rows, as many as its `branch` says, from `offset` on, into the `width` rows of the
    tile at `target`. `begins` and `ends` mark a tile's first and last step. The steps of a loop are `cyclic`; on its
    last step `loop` is the index of its first, elsewhere -1. `complement`: the tile negates.
    """

    branch: Any
    offset: Any
    target: Any
    begins: Any
    ends: Any
    cyclic: Any
    loop: Any
    complement: Any
    count: Any


class Tile(NamedTuple):
    """All derivations of some heads, from the row `target` on: int32 `[3, derivations, width]`.

    A derivation joins three rows, of which the last two are leaves; rows that are no head's begin with the row zero.
    """

    target: int
    operands: Int[np.ndarray, "3 derivations width"]
