"""Tiles: nodes side by side, in an order in which each is computed after those that it uses.

Given: the graph of derivations, with the kind of each node. Handed on: the row of each node, the place of each
derivation among the operands, and the schedule of steps that a compiled loop reads.
"""

from collections.abc import Callable, Mapping

import numpy as np

from scallax.circuits.graph import Graph
from scallax.circuits.size_classes import Sizes, padded_with
from scallax.grounding.derivations import ONE
from scallax.grounding.reachability import component_depths
from scallax.kernels.runs import ranks, run_ids, run_starts, stable_order
from scallax.kernels.schedule import COMPLEMENT, Schedule
from scallax.language.records import record

# More than any block has.
_MOST_BLOCK_ROWS = 64
_NUM_KINDS = COMPLEMENT + 1
_TILE_WIDTHS = (8, 16, 32, 64, 128, 256)


@record
class Tiling:
    """The tiles of a graph, `width` nodes each.

    `row` int64 `[nodes]` are the rows of the nodes in the array of tags, `place` int64 `[derivations]` the places of
    the derivations among the `num_operands` operands of all steps; `depth` and `cyclic` are those of the nodes, as
    `component_depths` gives them.
    """

    width: int
    num_tiles: int
    branches: tuple[tuple[int, int], ...]
    steps: Schedule
    row: np.ndarray
    place: np.ndarray
    num_operands: int
    depth: np.ndarray
    cyclic: np.ndarray


def tile_nodes(
    graph: Graph,
    kind: np.ndarray,
    first_row: int,
    block_rows: Mapping[int, tuple[int, ...]],
    derivation_cost: float,
    sizes: Sizes,
    num_whole: int,
) -> Tiling:
    """The tiles of a graph whose nodes have these kinds; their rows begin at `first_row`.

    From the node `num_whole` on, nodes are parts of others that have too many derivations. The other arguments are
    those of `lay_out`.
    """
    # Nodes in order of their depth, so that each comes after those that it uses; in a depth those on cycles, which are
    # repeated, stand apart, then the kinds; nodes of like numbers of derivations share a tile, which has as many rows
    # as the largest of them.
    depth, cyclic = component_depths(graph.num_nodes, graph.head, graph.left, graph.right)
    fan_in = np.bincount(graph.head, minlength=graph.num_nodes)
    inner = _inner_depths(graph, depth, cyclic, fan_in, num_whole)
    widest, deepest, innermost = (int(each.max(initial=0)) + 1 for each in (fan_in, depth, inner))
    order_code = (((2 * depth + cyclic) * innermost + inner) * _NUM_KINDS + kind) * widest + fan_in
    order = stable_order(order_code, 2 * deepest * innermost * _NUM_KINDS * widest)
    segment = run_ids(depth[order], cyclic[order], inner[order], kind[order])
    width = _choose_width(segment, fan_in[order], derivation_cost, sizes)
    tile, lane = _tiles(segment, width)
    num_tiles = int(tile[-1]) + 1 if len(tile) else 0
    row = np.empty(graph.num_nodes, np.int64)
    row[order] = first_row + tile * width + lane

    # The rows of a tile are cut into blocks of a few sizes, each folded by one step.
    starts = run_starts(tile)
    first_nodes = order[starts]
    # The last node of a tile has the most derivations.
    rows_of_tile = fan_in[order[np.append(starts[1:], len(order)) - 1]] if len(order) else np.zeros(0, np.int64)
    all_branches = None if sizes.least is None else _all_branches(block_rows, graph, sizes)
    blocks = cut_into_blocks(rows_of_tile, kind[first_nodes], block_rows, all_branches)
    tile_cyclic, tile_loop = _loops(depth[first_nodes], cyclic[first_nodes])
    steps, tile_offset, num_operands = schedule(
        blocks,
        first_row + np.arange(num_tiles) * width,
        tile_cyclic,
        tile_loop,
        kind[first_nodes] == COMPLEMENT,
        width,
        lambda count: sizes.pad("steps", count),
    )

    # A derivation's place: its rank among those of its head gives the row of the tile, its head the lane.
    by_head = stable_order(graph.head, graph.num_nodes)
    rank = np.empty(len(by_head), np.int64)
    rank[by_head] = np.arange(len(by_head)) - (fan_in.cumsum() - fan_in).repeat(fan_in)
    head_row = row[graph.head] - first_row
    place = tile_offset[head_row // width] + rank * width + head_row % width
    return Tiling(width, num_tiles, blocks.branches, steps, row, place, num_operands, depth, cyclic)


def _inner_depths(
    graph: Graph, depth: np.ndarray, cyclic: np.ndarray, fan_in: np.ndarray, num_whole: int
) -> np.ndarray:
    """The depth of each node on a cycle where its cycles are cut behind disjunctions; 0 for others.

    In this order a round passes on at once what conjunctions, and parts of disjunctions, make of what they read.
    """
    inner = np.zeros(graph.num_nodes, np.int64)
    rows = cyclic[graph.head].nonzero()[0]
    if not len(rows):
        return inner
    head = graph.head[rows]
    passes = cyclic & ((fan_in == 1) | (np.arange(graph.num_nodes) >= num_whole))
    sides = [np.maximum(side[rows], -1) for side in (graph.left, graph.right)]
    sides = [np.where((side >= 0) & passes[side] & (depth[side] == depth[head]), side, ONE) for side in sides]
    found, _ = component_depths(graph.num_nodes, head, *sides)
    return np.where(cyclic, found, 0)


def _choose_width(segment: np.ndarray, fan_in: np.ndarray, derivation_cost: float, sizes: Sizes) -> int:
    width = (sizes.least or {}).get("width") or _tile_width(segment, fan_in, derivation_cost)
    sizes.counts["width"] = width
    return width


def _all_branches(block_rows: Mapping[int, tuple[int, ...]], graph: Graph, sizes: Sizes) -> tuple[tuple[int, int], ...]:
    """Every branch that a program of this class may need."""
    assert sizes.least is not None
    sizes.counts["negation"] = int(graph.complement.any())
    negates = sizes.counts["negation"] or sizes.least.get("negation", 0)
    kinds = [kind for kind in block_rows if kind != COMPLEMENT or negates]
    return tuple((kind, rows) for kind in sorted(kinds) for rows in block_rows[kind])


def _tile_width(segment: np.ndarray, fan_in: np.ndarray, derivation_cost: float) -> int:
    """The width with the least estimated time: microseconds for a tile, a row of it, and a derivation at batch 64."""
    if not len(segment):
        return _TILE_WIDTHS[0]

    def cost(width: int) -> float:
        # In a segment nodes stand in the order of their numbers of derivations: the last of a tile has the most.
        ends = np.append(run_starts(_tiles(segment, width)[0])[1:], len(segment)) - 1
        rows = fan_in[ends]
        return len(rows) * 20.0 + float(rows.sum()) * (2.0 + width * derivation_cost)

    return min(_TILE_WIDTHS, key=cost)


def _tiles(segment: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Tile and lane of each node, given nodes in order of their segments: a tile never crosses segments."""
    rank = ranks(segment)
    return run_ids(segment, rank // width), rank % width


def _loops(depth: np.ndarray, cyclic: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For tiles in order: on a cycle, and on the last tile of a depth's cycles the index of their first (else -1)."""
    loop = np.full(len(depth), -1, np.int64)
    starts = run_starts(run_ids(depth, cyclic))
    ends = np.concatenate([starts[1:], [len(depth)]]) - 1
    loop[ends[cyclic[starts]]] = starts[cyclic[starts]]
    return cyclic, loop


@record
class Blocks:
    """The blocks of rows of all tiles, in order; `branch` indexes `branches`, pairs of kind and number of rows."""

    branches: tuple[tuple[int, int], ...]
    tile: np.ndarray
    branch: np.ndarray


def cut_into_blocks(
    rows: np.ndarray,
    kind: np.ndarray,
    block_rows: Mapping[int, tuple[int, ...]],
    all_branches: tuple[tuple[int, int], ...] | None = None,
) -> Blocks:
    """As many blocks of the largest size as fit, and one of the smallest that holds the rest.

    The branches are those in use, or `all_branches`, sorted.
    """
    tiles, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for each, counts in block_rows.items():
        of_kind = (kind == each).nonzero()[0]
        full, rest = rows[of_kind] // counts[-1], rows[of_kind] % counts[-1]
        tiles += [of_kind.repeat(full), of_kind[rest > 0]]
        sizes += [np.full(int(full.sum()), counts[-1]), np.array(counts)[np.searchsorted(counts, rest[rest > 0])]]
    tile, size = np.concatenate(tiles), np.concatenate(sizes)
    order = stable_order(_MOST_BLOCK_ROWS * tile + _MOST_BLOCK_ROWS - size, _MOST_BLOCK_ROWS * (len(rows) + 1))
    tile, size = tile[order], size[order]
    code = kind[tile] * _MOST_BLOCK_ROWS + size
    if all_branches is None:
        codes, branch = np.unique(code, return_inverse=True)
        all_branches = tuple(divmod(pair, _MOST_BLOCK_ROWS) for pair in codes.tolist())
        return Blocks(all_branches, tile, branch)
    codes = [k * _MOST_BLOCK_ROWS + n for k, n in all_branches]
    return Blocks(all_branches, tile, np.searchsorted(codes, code))


def schedule(
    blocks: Blocks,
    target: np.ndarray,
    cyclic: np.ndarray,
    loop: np.ndarray,
    complement: np.ndarray,
    width: int,
    pad: Callable[[int], int],
) -> tuple[Schedule, np.ndarray, int]:
    """The steps of tiles (`loop`: on a loop's last tile its first), each tile's first operand, the operands' number."""
    tile = blocks.tile
    rows = np.array([count for _, count in blocks.branches], np.int64)[blocks.branch]
    offset = np.cumsum(rows * width) - rows * width
    starts = run_starts(tile)
    begins = np.zeros(len(tile), bool)
    begins[starts] = True
    ends = np.roll(begins, -1)
    last = ends.nonzero()[0]
    step_loop = np.full(len(tile), -1, np.int64)
    step_loop[last] = np.where(loop >= 0, starts[np.maximum(loop, 0)], -1) if len(starts) else loop
    capacity = pad(len(tile))
    steps = Schedule(
        branch=padded_with(blocks.branch, capacity, 0),
        offset=padded_with(offset, capacity, 0),
        target=padded_with(target[tile], capacity, 0),
        begins=padded_with(begins, capacity, False),
        ends=padded_with(ends, capacity, False),
        cyclic=padded_with(cyclic[tile], capacity, False),
        loop=padded_with(step_loop, capacity, -1),
        complement=padded_with(complement[tile], capacity, False),
        count=np.int32(len(tile)),
    )
    return steps, offset[starts], int((rows * width).sum())
