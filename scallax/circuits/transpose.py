"""The transposed index of a circuit: for each row of tags the places that use it, in tiles of sums.

Given: the operands of a fold and its tiles. Handed on: the index by which a backward pass sums the cotangent of each
row, `d row = sum over its uses of d use * other operand`, without scattering.
"""

import numpy as np

from scallax.circuits.circuit import FIRST_LITERAL_ROW, ONE_ROW, ZERO_ROW, Transpose
from scallax.circuits.graph import Graph
from scallax.circuits.size_classes import Sizes, filled_at, padded_with
from scallax.circuits.tiling import Tiling, cut_into_blocks, schedule
from scallax.kernels.runs import ranks, run_ids, run_starts, stable_order
from scallax.kernels.schedule import NODES
from scallax.language.records import record

# More uses of one row are split into trees of this width.
_MAX_USES = 32
# Rows of uses that a backward step sums at once.
_USE_ROWS = (1, 2, 4, 8)


def transpose_fold(
    graph: Graph,
    tiling: Tiling,
    left: np.ndarray,
    right: np.ndarray,
    outputs: np.ndarray,
    num_literals: int,
    sizes: Sizes,
    *,
    is_log: bool = False,
) -> Transpose:
    """The transposed index of the fold with the operands `left` and `right` and the rows `outputs`.

    For provenances without leaves that are complements: the rows of the nodes come right after those of the literals.
    `is_log`: with the row of tags of each row of the buffer.
    """
    # Each node and literal is summed in a group of its tile, in reverse order: what uses a row is summed before it.
    uses = _find_uses(graph, tiling, left, right, outputs)
    base, width, num_tiles = FIRST_LITERAL_ROW + num_literals, tiling.width, tiling.num_tiles
    num_groups = num_tiles + -(-num_literals // width)
    is_head = uses.row >= base
    of_literal = num_tiles + (uses.row - FIRST_LITERAL_ROW) // width
    group = np.where(is_head, num_tiles - 1 - (uses.row - base) // width, of_literal)
    lane = np.where(is_head, uses.row - base, uses.row - FIRST_LITERAL_ROW) % width
    places, final = _sum_in_tiles(group, lane, num_groups, width)
    del group, lane, of_literal, is_head

    # Rows of the buffer: zero, the outputs, then one tile of sums after the other.
    sums = 1 + len(outputs)
    head = np.maximum(uses.reader - base, 0)
    of_reader = sums + final[num_tiles - 1 - head // width] * width + head % width
    of_reader = np.where(uses.reader < 0, -uses.reader, of_reader)
    is_use, source = places.source >= 0, np.maximum(places.source, 0)
    row_in_buffer = np.where(is_use, of_reader[source], sums - 1 - places.source)
    other = np.where(is_use, uses.other[source], np.int32(ONE_ROW))
    del uses, head, of_reader, source

    num_sum_tiles = int(final[-1]) + 1
    rows = np.ones(num_sum_tiles, np.int64)
    np.maximum.at(rows, places.tile, places.rank + 1)
    all_branches = None if sizes.least is None else tuple((NODES, count) for count in _USE_ROWS)
    blocks = cut_into_blocks(rows, np.full(num_sum_tiles, NODES), {NODES: _USE_ROWS}, all_branches)
    group_of_tile = np.searchsorted(final, np.arange(num_sum_tiles))
    forward_tile = np.where(group_of_tile < num_tiles, num_tiles - 1 - group_of_tile, -1)
    is_final = np.zeros(num_sum_tiles, bool)
    is_final[final] = True
    cyclic, complement, loop = _reverse(tiling, forward_tile, final)
    target = sums + np.arange(num_sum_tiles) * width
    steps, tile_offset, size = schedule(
        blocks, target, cyclic, loop, complement & is_final, width, lambda count: sizes.pad("sum steps", count)
    )
    capacity = sizes.pad("uses", size)
    place = tile_offset[places.tile] + places.rank * width + places.lane
    heads = np.where((forward_tile >= 0) & is_final, base + forward_tile * width, 0)[blocks.tile]
    literal = np.arange(num_literals)
    num_sums = sizes.pad("sums", num_sum_tiles) * width
    row = np.zeros(0, np.int32)
    if is_log:
        first = np.where(forward_tile >= 0, base + forward_tile * width, 0)
        first = np.where(forward_tile < 0, FIRST_LITERAL_ROW + (group_of_tile - num_tiles) * width, first)
        of_sums = np.minimum(first[:, None] + np.arange(width), base + num_tiles * width - 1).reshape(-1)
        row = padded_with(np.concatenate([[ZERO_ROW], outputs, of_sums]), sums + num_sums, ZERO_ROW)
    return Transpose(
        num_sums=num_sums,
        use_rows=tuple(count for _, count in blocks.branches),
        tiles=steps,
        uses=filled_at(capacity, place, row_in_buffer, 0),
        others=filled_at(capacity, place, other, ZERO_ROW),
        heads=padded_with(heads, len(steps.branch), 0),
        literal_row=(sums + final[num_tiles + literal // width] * width + literal % width).astype(np.int32),
        row=row,
    )


def _reverse(tiling: Tiling, forward_tile: np.ndarray, final: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each tile of sums whether it is on a cycle and whether it negates; on a loop's last tile its first, else -1.

    `forward_tile` is the tile of the fold whose rows are summed there, -1 for literals; `final` the last tile of each
    group. A loop of the fold becomes one in reverse, which begins with its last tile.
    """
    steps, num_tiles = tiling.steps, tiling.num_tiles
    last_steps = steps.ends[: int(steps.count)].nonzero()[0]
    tile_of_step = np.searchsorted(last_steps, np.arange(len(steps.loop)))
    is_head = forward_tile >= 0
    loop = np.full(len(forward_tile), -1, np.int64)
    if not num_tiles:
        return is_head, is_head, loop
    for last in (steps.loop[last_steps] >= 0).nonzero()[0]:
        first = int(tile_of_step[steps.loop[last_steps][last]])
        opening, closing = num_tiles - 1 - int(last), num_tiles - 1 - first
        loop[final[closing]] = final[opening - 1] + 1 if opening else 0
    cyclic, complement = (flags[last_steps][forward_tile] & is_head for flags in (steps.cyclic, steps.complement))
    return cyclic, complement, loop


@record
class _Uses:
    """The places that use a row of the array of tags; int32.

    `reader` is the row of the head that they contribute to, or -1 - output; `other` the row of the operand beside.
    """

    row: np.ndarray
    reader: np.ndarray
    other: np.ndarray


def _find_uses(graph: Graph, tiling: Tiling, left: np.ndarray, right: np.ndarray, outputs: np.ndarray) -> _Uses:
    heads, complement = tiling.row[graph.head].astype(np.int32), graph.complement[graph.head]
    left, right = (operands[tiling.place].astype(np.int32) for operands in (left, right))
    zero, one = np.int32(ZERO_ROW), np.int32(ONE_ROW)
    # The right operand of a complement is a filler: its left operand stands alone.
    row = np.concatenate([outputs.astype(np.int32), left, np.where(complement, zero, right)])
    reader = np.concatenate([-1 - np.arange(len(outputs), dtype=np.int32), heads, heads])
    other = np.concatenate([np.full(len(outputs), one), np.where(complement, one, right), left])
    wanted = row >= FIRST_LITERAL_ROW
    return _Uses(row[wanted], reader[wanted], other[wanted])


@record
class _Places:
    """The summands in rows of tiles of sums: a use `source`, or a partial sum `-1 - source` (tile * width + lane)."""

    tile: np.ndarray
    lane: np.ndarray
    rank: np.ndarray
    source: np.ndarray


def _sum_in_tiles(group: np.ndarray, lane: np.ndarray, num_groups: int, width: int) -> tuple[_Places, np.ndarray]:
    """Sums of the uses of each group and lane, as trees of tiles with at most `_MAX_USES` rows.

    The second result is each group's final tile. Tiles are numbered group by group, partial sums before what they are
    summed in.
    """
    levels = []
    source = stable_order(group * width + lane, num_groups * width)
    group, lane = group[source], lane[source]
    while True:
        rank = ranks(group * width + lane)
        if not len(rank) or rank.max() < _MAX_USES:
            break
        chunk = run_ids(group, lane, rank // _MAX_USES)
        starts = run_starts(chunk)
        # Chunks of a group fill tiles of their own, lane by lane.
        part = ranks(group[starts])
        levels.append((group, part[chunk], rank % _MAX_USES, source, group[starts], part))
        group, lane, source = group[starts], lane[starts], -1 - np.arange(len(starts))
    counts = np.zeros((len(levels) + 1, num_groups), np.int64)
    for level, (*_, owner, part) in enumerate(levels):
        np.maximum.at(counts[level], owner, part // width + 1)
    counts[-1] = 1
    ends = np.cumsum(counts.sum(0))
    start = ends - counts.sum(0)
    before = counts.cumsum(0) - counts
    pieces, names = [], None
    for level, (owner_of, part_of, rank_of, source_of, owner, part) in enumerate(levels):
        tile = start[owner_of] + before[level][owner_of] + part_of // width
        pieces.append((tile, part_of % width, rank_of, _name_parts(source_of, names)))
        names = (start[owner] + before[level][owner] + part // width) * width + part % width
    pieces.append((ends[group] - 1, lane, rank, _name_parts(source, names)))
    return _Places(*(np.concatenate(column) for column in zip(*pieces, strict=True))), ends - 1


def _name_parts(source: np.ndarray, names: np.ndarray | None) -> np.ndarray:
    """Sources with the partial sums of the level before (`-1 - index`) named by tile and lane."""
    return source if names is None else np.where(source < 0, -1 - names[np.maximum(-1 - source, 0)], source)
