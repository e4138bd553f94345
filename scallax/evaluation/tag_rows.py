"""The tags of all rows: those of leaves, and those of heads as they are computed."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.errors import Diagnostic, UnsupportedError
from scallax.kernels.array_namespace import Namespace
from scallax.kernels.tiles import Tags
from scallax.provenance.base import AbstractProvenance, LiteralTable

if TYPE_CHECKING:
    from jaxtyping import Int

    from scallax.kernels.array_namespace import Array

# Bytes of the tags of all rows that are kept.
MAX_TAG_BYTES = 1 << 32

# Bytes of the tags of all leaves beyond which each is made where it is read, if the provenance can do that.
_MAX_LEAF_BYTES = 1 << 26


class Rows(NamedTuple):
    """How the rows of a program are read.

    `table` are the tags that are kept, in which heads begin at `base`: `initial` before any is computed. `read` gives
    the tags of the rows at some places, `read_first` what of them stands in the first place of their second axis,
    `read_leaf` the tags of leaves as `leaf_tags` gives them, `repeated` so many rows of the tag of zero.
    """

    table: Tags
    base: int
    read: Callable[[Tags, Int[Array | np.ndarray, " rows"]], Tags]
    read_first: Callable[[Tags, Int[Array | np.ndarray, " rows"]], Tags]
    read_leaf: Callable[[Int[Array | np.ndarray, " rows"]], Tags]
    repeated: Callable[[int], Tags]


def make_rows(provenance: AbstractProvenance, program: Circuit, literals: LiteralTable) -> Rows:
    """The rows of a program before any head is computed. UnsupportedError if they would take more than `MAX_TAG_BYTES`.

    Leaves are kept as tags, or, where those are large, made anew wherever they are read.
    """
    row = row_bytes(provenance, literals)
    compact = provenance.compact_leaves(literals) if program.num_leaves * row > _MAX_LEAF_BYTES else None
    check_size(provenance, program, row, literals.probabilities.shape[1], keeps_leaves=compact is None)
    if compact is None:
        return _with_leaves(provenance, program, literals)
    return _without_leaves(provenance, program, literals, compact)


def row_bytes(provenance: AbstractProvenance, literals: LiteralTable) -> int:
    """The bytes of the tag of one row of the table."""
    xp = literals.xp

    def first_leaf():
        # Where leaves are compact, all of them may be more than memory holds.
        compact = provenance.compact_leaves(literals)
        if compact is None:
            return xp.map(lambda leaf: leaf[:1], provenance.leaf_tags(literals))
        return provenance.read_leaves(compact, xp.zeros(1, xp.int32), literals)

    # NumPy makes the row to find its shape: not one that is refused.
    least = _bytes(xp, xp.shapes(first_leaf)) * max(1, provenance.traits.num_proofs)
    return least if least > MAX_TAG_BYTES else _bytes(xp, xp.shapes(lambda: provenance.widen(first_leaf(), literals)))


def _bytes(xp: Namespace, row: Tags) -> int:
    return sum(math.prod(leaf.shape[1:]) * leaf.dtype.itemsize for leaf in xp.leaves(row))


def _with_leaves(provenance: AbstractProvenance, program: Circuit, literals: LiteralTable) -> Rows:
    xp, leaves = literals.xp, provenance.leaf_tags(literals)
    wide = provenance.widen(leaves, literals)
    zero = xp.map(lambda leaf: leaf[:1], wide)
    heads = _repeated(xp, zero, program.forward.num_heads)
    return Rows(
        xp.map(lambda leaf, none: xp.concatenate([leaf, none]), wide, heads),
        0,
        lambda table, places: _at_places(xp, table, places),
        lambda table, places: _at_first(xp, table, places),
        lambda places: _at_places(xp, leaves, places),
        functools.partial(_repeated, xp, zero),
    )


def _without_leaves(provenance: AbstractProvenance, program: Circuit, literals: LiteralTable, compact: Any) -> Rows:
    xp, base = literals.xp, program.num_leaves

    def read_leaf(places):
        return provenance.read_leaves(compact, xp.minimum(places, base - 1), literals)

    def choose(places, leaves, heads):
        def pick(leaf, head):
            return xp.where((places < base).reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, head)

        return xp.map(pick, *provenance.alike(leaves, heads))

    def read(table, places):
        heads = _at_places(xp, table, xp.maximum(places - base, 0))
        return choose(places, provenance.widen(read_leaf(places), literals), heads)

    def read_first(table, places):
        heads = _at_first(xp, table, xp.maximum(places - base, 0))
        return choose(places, read_leaf(places), heads)

    repeated = functools.partial(_repeated, xp, provenance.widen(read_leaf(xp.zeros(1, xp.int32)), literals))
    # A table of NumPy is written to.
    table = xp.map(lambda leaf: leaf.copy() if xp.is_eager else leaf, repeated(program.forward.num_heads))
    return Rows(table, base, read, read_first, read_leaf, repeated)


def _at_places(xp: Namespace, tags: Tags, places: Int[Array | np.ndarray, " rows"]) -> Tags:
    return xp.map(lambda leaf: xp.take(leaf, places), tags)


def _at_first(xp: Namespace, tags: Tags, places: Int[Array | np.ndarray, " rows"]) -> Tags:
    return xp.map(lambda leaf: xp.read(leaf, (places, 0))[:, None], tags)


def _repeated(xp: Namespace, zero: Tags, count: int) -> Tags:
    return xp.map(lambda none: xp.broadcast_to(none, (count, *none.shape[1:])), zero)


def check_size(provenance: AbstractProvenance, program: Circuit, row: int, batch: int, *, keeps_leaves: bool) -> None:
    """UnsupportedError if the tags that are kept would take more than `MAX_TAG_BYTES`, with rows of so many bytes."""
    num_heads = program.forward.num_heads
    num_rows = num_heads + program.num_leaves * keeps_leaves
    if num_rows * row <= MAX_TAG_BYTES:
        return
    need, limit = num_rows * row / 2**30, MAX_TAG_BYTES / 2**30
    facts = f" and {program.num_literals:,} facts" if keeps_leaves else ""
    raise UnsupportedError(
        Diagnostic(
            f"evaluation under `{provenance.name}` would hold {need:.1f} GiB, and the limit is {limit:.1f}: "
            f"{row // batch:,} bytes for each of {num_heads:,} tuples{facts} and each of {batch:,} samples",
            hint="smaller batches, a smaller `k` or fewer outputs take less; "
            "`diffaddmultprob` and `diffminmaxprob` take one number for each tuple and sample",
        )
    )
