"""The tags of all rows: those of leaves, and those of heads as they are computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.errors import Diagnostic, UnsupportedError
from scallax.kernels.tiles import Tags
from scallax.provenance.base import AbstractProvenance, LiteralTable

if TYPE_CHECKING:
    from jaxtyping import Array, Int

# Bytes of the tags of all rows that are kept.
MAX_TAG_BYTES = 1 << 32

# Bytes of the tags of all leaves beyond which each is made where it is read, if the provenance can do that.
_MAX_LEAF_BYTES = 1 << 26


class Rows(NamedTuple):
    """How the rows of a program are read.

    `table` are the tags that are kept, in which heads begin at `base`: `initial` before any is computed. `read` gives
    the tags of the rows at some places, `read_first` what of them stands in the first place of their second axis,
    `read_leaf` the tags of leaves as `leaf_tags` gives them. `zero` is one row.
    """

    table: Tags
    base: int
    read: Callable[[Tags, Int[Array | np.ndarray, " rows"]], Tags]
    read_first: Callable[[Tags, Int[Array | np.ndarray, " rows"]], Tags]
    read_leaf: Callable[[Int[Array | np.ndarray, " rows"]], Tags]
    zero: Tags

    def repeated(self, count: int) -> Tags:
        """`count` rows of the tag of zero."""
        return _repeated(self.zero, count)


def make_rows(provenance: AbstractProvenance, program: Circuit, literals: LiteralTable) -> Rows:
    """The rows of a program before any head is computed. UnsupportedError if they would take more than `MAX_TAG_BYTES`.

    Leaves are kept as tags, or, where those are large, made anew wherever they are read.
    """
    shapes = jax.eval_shape(lambda: provenance.widen(provenance.leaf_tags(literals)))
    row = sum(math.prod(leaf.shape[1:]) * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    compact = provenance.compact_leaves(literals) if program.num_leaves * row > _MAX_LEAF_BYTES else None
    _check_size(provenance, program, row, literals.probabilities.shape[1], keeps_leaves=compact is None)
    if compact is None:
        return _with_leaves(provenance, program, literals)
    return _without_leaves(provenance, program, literals, compact)


def _with_leaves(provenance: AbstractProvenance, program: Circuit, literals: LiteralTable) -> Rows:
    leaves = provenance.leaf_tags(literals)
    wide = provenance.widen(leaves)
    zero = jax.tree.map(lambda leaf: leaf[:1], wide)
    heads = _repeated(zero, program.forward.num_heads)
    return Rows(
        jax.tree.map(lambda leaf, none: jnp.concatenate([leaf, none]), wide, heads),
        0,
        _at_places,
        lambda table, places: jax.tree.map(
            lambda leaf: leaf.at[places, 0].get(mode="promise_in_bounds")[:, None], table
        ),
        lambda places: _at_places(leaves, places),
        zero,
    )


def _without_leaves(provenance: AbstractProvenance, program: Circuit, literals: LiteralTable, compact: Any) -> Rows:
    base = program.num_leaves

    def read_leaf(places):
        return provenance.read_leaves(compact, jnp.minimum(places, base - 1), literals)

    def choose(places, leaves, heads):
        def pick(leaf, head):
            return jnp.where((places < base).reshape(-1, *(1,) * (leaf.ndim - 1)), leaf, head)

        return jax.tree.map(pick, leaves, heads)

    def read(table, places):
        heads = _at_places(table, jnp.maximum(places - base, 0))
        return choose(places, provenance.widen(read_leaf(places)), heads)

    def read_first(table, places):
        at = jnp.maximum(places - base, 0)
        heads = jax.tree.map(lambda leaf: leaf.at[at, 0].get(mode="promise_in_bounds")[:, None], table)
        return choose(places, read_leaf(places), heads)

    zero = provenance.widen(read_leaf(jnp.zeros(1, jnp.int32)))
    return Rows(_repeated(zero, program.forward.num_heads), base, read, read_first, read_leaf, zero)


def _at_places(tags: Tags, places: Int[Array | np.ndarray, " rows"]) -> Tags:
    return jax.tree.map(lambda leaf: leaf.at[places].get(mode="promise_in_bounds"), tags)


def _repeated(zero: Tags, count: int) -> Tags:
    return jax.tree.map(lambda none: jnp.broadcast_to(none, (count, *none.shape[1:])), zero)


def _check_size(provenance: AbstractProvenance, program: Circuit, row: int, batch: int, *, keeps_leaves: bool) -> None:
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
