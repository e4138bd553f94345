"""Derivations laid out for evaluation: topologically ordered tiles of equal width, and the transposed index."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from scallax.circuits.canonical_order import order_by_content
from scallax.circuits.circuit import (
    FIRST_LITERAL_ROW,
    ONE_ROW,
    ZERO_ROW,
    Circuit,
    Forward,
    LiteralArrays,
    LocalColumns,
    Trained,
    Transpose,
)
from scallax.circuits.components import Components, find_components
from scallax.circuits.graph import (
    Graph,
    chain_singles,
    inline_pairs,
    leaf_ids,
    negate_by_nodes,
    negate_literals,
    resolve_aliases,
    single_nodes,
    split_fan_in,
    spread_complements,
)
from scallax.circuits.proof_bits import column_arrays
from scallax.circuits.size_classes import Sizes
from scallax.grounding.derivations import CERTAIN_PRIOR, ONE, Derivations, Literals, literal_operand, operand_literal
from scallax.grounding.reachability import component_depths, needed_derivations
from scallax.kernels.runs import distinct, ranks, run_ids, run_starts, stable_order
from scallax.kernels.schedule import COMPLEMENT, LINEAR, LITERALS, NODES, Schedule

# More uses of one row are split into trees of this width.
_MAX_USES = 32
# Rows of uses that a backward step sums at once.
_USE_ROWS = (1, 2, 4, 8)
# More than any block has.
_MOST_BLOCK_ROWS = 64
_NUM_KINDS = COMPLEMENT + 1
_TILE_WIDTHS = (8, 16, 32, 64, 128, 256)


def lay_out(
    derivations: Derivations,
    literals: Literals,
    outputs: np.ndarray,
    num_inputs: int,
    logit_groups: np.ndarray,
    *,
    block_rows: Mapping[int, tuple[int, ...]],
    derivation_cost: float,
    transposed: bool,
    has_columns: bool,
    by_content: bool = False,
    sizes: Sizes | None = None,
    component_of: np.ndarray | None = None,
) -> Circuit:
    """The program that computes the tags of `outputs` (int64 operand codes), and nothing that they do not depend on.

    `num_inputs` is the length of the flattened batch inputs; the trained inputs come after them.
    `block_rows` gives, for each kind of tile that the provenance tells apart, how many rows of derivations it folds at
    once, in ascending order; without `LITERALS` and `LINEAR` their derivations are `NODES`. `derivation_cost` are
    microseconds, from which the width of tiles is chosen. `transposed` adds the backward schedule, `has_columns` the
    columns of proofs and the exclusions: without `LITERALS`, all literals have one in every polarity that the program
    has. `by_content`: see `order_by_content`. With `component_of`, see `find_components`, literals are numbered by
    component. Cost is linear in the derivations but for sorting.
    """
    sizes = sizes or Sizes()
    graph, outputs = negate_by_nodes(derivations, outputs, *needed_derivations(derivations, outputs))
    graph, outputs = resolve_aliases(graph, outputs)
    graph, outputs = spread_complements(graph, outputs, block_rows.get(COMPLEMENT, (1,))[-1])
    if LITERALS in block_rows:
        graph, outputs = negate_literals(graph, outputs, len(literals))
        graph, outputs = inline_pairs(*chain_singles(graph), outputs)
    if by_content:
        graph, outputs = order_by_content(graph, outputs)
    graph = split_fan_in(graph)
    depth, cyclic = component_depths(graph.num_nodes, graph.head, graph.left, graph.right)
    components = None if component_of is None else find_components(graph, literals, component_of)
    order, negated = _order_literals(graph, literals, outputs, components)
    num_literals = sizes.pad("literals", len(order))
    literal_row_of = _leaf_rows(order, negated, 2 * len(literals), num_literals)
    negated = _pad(negated, sizes.pad_some("complements", len(negated)), 0)
    base = FIRST_LITERAL_ROW + num_literals + len(negated)
    kind = _kinds(graph) if LITERALS in block_rows else np.where(graph.complement, COMPLEMENT, NODES)
    fan_in = np.bincount(graph.head, minlength=graph.num_nodes)

    widest, deepest = int(fan_in.max(initial=0)) + 1, int(depth.max(initial=0)) + 1
    order_code = ((2 * depth + cyclic) * _NUM_KINDS + kind) * widest + fan_in
    node_order = stable_order(order_code, 2 * deepest * _NUM_KINDS * widest)
    segment = run_ids(depth[node_order], cyclic[node_order], kind[node_order])
    width = _choose_width(segment, fan_in[node_order], derivation_cost, sizes)
    tile, lane = _tiles(segment, width)
    num_tiles = int(tile[-1]) + 1 if len(tile) else 0
    node_row = np.empty(graph.num_nodes, np.int64)
    node_row[node_order] = base + tile * width + lane

    fan_in_of_tile = np.zeros(num_tiles, np.int64)
    np.maximum.at(fan_in_of_tile, tile, fan_in[node_order])
    first_nodes = node_order[run_starts(tile)]
    all_branches = None if sizes.least is None else _all_branches(block_rows, graph, sizes)
    blocks = _cut_into_blocks(fan_in_of_tile, kind[first_nodes], block_rows, all_branches)
    tile_cyclic, tile_loop = _loops(depth[first_nodes], cyclic[first_nodes])
    tiles, tile_offset, size = _schedule(
        blocks,
        base + np.arange(num_tiles) * width,
        tile_cyclic,
        tile_loop,
        kind[first_nodes] == COMPLEMENT,
        width,
        lambda count: sizes.pad("steps", count),
    )

    # A derivation's place: its rank among those of its head gives the row of the tile, its head the lane.
    by_head = stable_order(graph.head, graph.num_nodes)
    rank = np.empty(len(by_head), np.int64)
    rank[by_head] = ranks(graph.head[by_head])
    head_row = node_row[graph.head] - base
    place = tile_offset[head_row // width] + rank * width + head_row % width
    capacity = sizes.pad("operands", size)
    left = np.full(capacity, ZERO_ROW, np.int32)
    right = np.full(capacity, ZERO_ROW, np.int32)
    left[place] = _operand_rows(graph.left, node_row, literal_row_of)
    right[place] = _operand_rows(graph.right, node_row, literal_row_of)
    third = None
    if graph.third is not None:
        third = np.full(capacity, ONE_ROW, np.int32)
        third[place] = _operand_rows(graph.third, node_row, literal_row_of)
    output_rows = _operand_rows(outputs, node_row, literal_row_of)
    output_rows = _pad(output_rows, sizes.pad("outputs", len(outputs)), ZERO_ROW)
    proofs = None
    if has_columns:
        proofs, by_place = column_arrays(graph, outputs, literals, order, num_literals, components, sizes)
        if components is not None and by_place is not None:
            of_operand = _fill(capacity, place, components.of_operands(graph.head), 0)
            of_output = _pad(components.of_operands(outputs), len(output_rows), 0)
            proofs = replace(proofs, local=LocalColumns(*by_place, of_operand, of_output))
    transpose = None
    if transposed:
        uses = _Uses.of_program(left, right, place, node_row[graph.head], graph.complement[graph.head], output_rows)
        transpose = _transpose(uses, tiles, num_tiles, num_literals, width, len(output_rows), sizes)
    literal_arrays, slots = _literal_arrays(literals, order, negated, num_literals, num_inputs, sizes)
    return Circuit(
        Forward(width, blocks.branches, sizes.pad("tiles", num_tiles) * width, tiles, left, right, third),
        literal_arrays,
        proofs,
        transpose,
        Trained(logit_groups.astype(np.int32), slots) if len(logit_groups) else None,
        output_rows,
    )


def _order_literals(
    graph: Graph, literals: Literals, outputs: np.ndarray, components: Components | None
) -> tuple[np.ndarray, np.ndarray]:
    """The literals in use, by component if given, members of a group side by side; the places of those negated."""
    complements, used = np.divmod(leaf_ids(graph, outputs, len(literals)), max(len(literals), 1))
    negated = used[complements > 0]
    used = distinct(used, len(literals))
    group = literals.group[used]
    # Independent literals keep their order before all groups.
    num_groups = int(group.max(initial=-1)) + 2
    keys, num_keys = group + 1, num_groups
    if components is not None:
        keys = keys + num_groups * (components.of_literal[used] + 1)
        num_keys *= components.count + 1
    order = used[stable_order(keys, num_keys)]
    place = np.zeros(len(literals), np.int64)
    place[order] = np.arange(len(order))
    return order, place[negated]


def _leaf_rows(order: np.ndarray, negated: np.ndarray, num_leaves: int, num_literals: int) -> np.ndarray:
    """The row of every literal, then that of its complement; `negated` are places in `order`."""
    row = np.full(num_leaves, ZERO_ROW, np.int64)
    row[order] = FIRST_LITERAL_ROW + np.arange(len(order))
    row[num_leaves // 2 + order[negated]] = FIRST_LITERAL_ROW + num_literals + np.arange(len(negated))
    return row


def _operand_rows(operands: np.ndarray, node_row: np.ndarray, literal_row: np.ndarray) -> np.ndarray:
    rows = np.where(operands == ONE, ONE_ROW, ZERO_ROW)
    is_node, is_literal = operands >= 0, operands <= literal_operand(0)
    rows[is_node] = node_row[operands[is_node]]
    rows[is_literal] = literal_row[operand_literal(operands[is_literal])]
    return rows


def _kinds(graph: Graph) -> np.ndarray:
    """The kind of each node, by the most general of its derivations."""
    single = single_nodes(graph)
    of_one = (graph.left < 0) | (single[np.maximum(graph.left, 0)] if len(single) else False)
    kind = np.zeros(graph.num_nodes, np.int64)
    np.maximum.at(kind, graph.head, np.where(graph.right >= 0, NODES, np.where(of_one, LITERALS, LINEAR)))
    kind[graph.complement] = COMPLEMENT
    return kind


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
        tile, _ = _tiles(segment, width)
        rows = np.zeros(int(tile[-1]) + 1)
        np.maximum.at(rows, tile, fan_in)
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


@dataclass(frozen=True, slots=True)
class _Blocks:
    """The blocks of rows of all tiles, in order; `branch` indexes `branches`, pairs of kind and number of rows."""

    branches: tuple[tuple[int, int], ...]
    tile: np.ndarray
    branch: np.ndarray


def _cut_into_blocks(
    rows: np.ndarray,
    kind: np.ndarray,
    block_rows: Mapping[int, tuple[int, ...]],
    all_branches: tuple[tuple[int, int], ...] | None = None,
) -> _Blocks:
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
        return _Blocks(all_branches, tile, branch)
    codes = [k * _MOST_BLOCK_ROWS + n for k, n in all_branches]
    return _Blocks(all_branches, tile, np.searchsorted(codes, code))


def _schedule(
    blocks: _Blocks,
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
    schedule = Schedule(
        branch=_pad(blocks.branch, capacity, 0),
        offset=_pad(offset, capacity, 0),
        target=_pad(target[tile], capacity, 0),
        begins=_pad(begins, capacity, False),
        ends=_pad(ends, capacity, False),
        cyclic=_pad(cyclic[tile], capacity, False),
        loop=_pad(step_loop, capacity, -1),
        complement=_pad(complement[tile], capacity, False),
        count=np.int32(len(tile)),
    )
    return schedule, offset[starts], int((rows * width).sum())


@dataclass(frozen=True, slots=True)
class _Uses:
    """The places that use a row of the tag array.

    `reader` is the row of the head they contribute to, or -1 - output; `other` the row of the operand beside.
    """

    row: np.ndarray
    reader: np.ndarray
    other: np.ndarray

    @staticmethod
    def of_program(left, right, place, heads, complement, outputs) -> "_Uses":
        # The right operand of a complement is a filler, its other operand stands alone.
        left, right = left[place].astype(np.int64), right[place].astype(np.int64)
        row = np.concatenate([outputs.astype(np.int64), left, np.where(complement, ZERO_ROW, right)])
        reader = np.concatenate([-1 - np.arange(len(outputs)), heads, heads])
        other = np.concatenate([np.full(len(outputs), ONE_ROW), np.where(complement, ONE_ROW, right), left])
        wanted = row >= FIRST_LITERAL_ROW
        return _Uses(row[wanted], reader[wanted], other[wanted])


def _transpose(
    uses: _Uses, tiles: Schedule, num_tiles: int, num_literals: int, width: int, num_outputs: int, sizes: Sizes
) -> Transpose:
    """The backward schedule: tiles in reverse order, then the literals, each after the partial sums of their rows."""
    base = FIRST_LITERAL_ROW + num_literals
    num_groups = num_tiles + -(-num_literals // width)
    is_head = uses.row >= base
    of_literal = num_tiles + (uses.row - FIRST_LITERAL_ROW) // width
    group = np.where(is_head, num_tiles - 1 - (uses.row - base) // width, of_literal)
    lane = np.where(is_head, uses.row - base, uses.row - FIRST_LITERAL_ROW) % width
    places, final = _sum_in_tiles(group, lane, num_groups, width)
    # Buffer rows: zero, the outputs, then one tile of sums after the other.
    sums = 1 + num_outputs
    head = np.maximum(uses.reader - base, 0)
    of_head = sums + final[num_tiles - 1 - head // width] * width + head % width
    of_reader = np.where(uses.reader < 0, -uses.reader, of_head)
    row_in_buffer = np.where(places.source >= 0, of_reader[np.maximum(places.source, 0)], sums - 1 - places.source)
    other = np.where(places.source >= 0, uses.other[np.maximum(places.source, 0)], ONE_ROW)

    num_sum_tiles = int(final[-1]) + 1
    rows = np.ones(num_sum_tiles, np.int64)
    np.maximum.at(rows, places.tile, places.rank + 1)
    all_branches = None if sizes.least is None else tuple((NODES, count) for count in _USE_ROWS)
    blocks = _cut_into_blocks(rows, np.full(num_sum_tiles, NODES), {NODES: _USE_ROWS}, all_branches)
    group_of_tile = np.searchsorted(final, np.arange(num_sum_tiles))
    forward_tile = np.where(group_of_tile < num_tiles, num_tiles - 1 - group_of_tile, -1)
    tile_steps = tiles.ends[: int(tiles.count)].nonzero()[0]
    tile_of_step = np.searchsorted(tile_steps, np.arange(len(tiles.loop)))
    cyclic = np.where(forward_tile >= 0, tiles.cyclic[tile_steps][forward_tile] if num_tiles else False, False)
    is_final = np.zeros(num_sum_tiles, bool)
    is_final[final] = True
    complement = is_final & np.where(
        forward_tile >= 0, tiles.complement[tile_steps][forward_tile] if num_tiles else False, False
    )
    loop = np.full(num_sum_tiles, -1, np.int64)
    for last in (tiles.loop[tile_steps] >= 0).nonzero()[0]:
        first = int(tile_of_step[tiles.loop[tile_steps][last]])
        opening, closing = num_tiles - 1 - int(last), num_tiles - 1 - first
        loop[final[closing]] = final[opening - 1] + 1 if opening else 0
    target = sums + np.arange(num_sum_tiles) * width
    schedule, tile_offset, size = _schedule(
        blocks, target, cyclic, loop, complement, width, lambda count: sizes.pad("sum steps", count)
    )
    capacity = sizes.pad("uses", size)
    place = tile_offset[places.tile] + places.rank * width + places.lane
    step_tile = blocks.tile
    heads = np.where((forward_tile >= 0) & is_final, base + forward_tile * width, 0)[step_tile]
    literal = np.arange(num_literals)
    return Transpose(
        num_sums=sizes.pad("sums", num_sum_tiles) * width,
        use_rows=tuple(count for _, count in blocks.branches),
        tiles=schedule,
        uses=_fill(capacity, place, row_in_buffer, 0),
        others=_fill(capacity, place, other, ZERO_ROW),
        heads=_pad(heads, len(schedule.branch), 0),
        literal_row=(sums + final[num_tiles + literal // width] * width + literal % width).astype(np.int32),
    )


@dataclass(frozen=True, slots=True)
class _Places:
    """What a row of a tile of sums adds: the use `source`, or the partial sum `-1 - source` (tile * width + lane)."""

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


def _literal_arrays(
    literals: Literals, order: np.ndarray, negated: np.ndarray, num_literals: int, num_inputs: int, sizes: Sizes
) -> tuple[LiteralArrays, np.ndarray]:
    """The arrays of the literals in use, and the slots of the trained inputs."""
    parameter = literals.parameter[order]
    trained = parameter >= 0
    num_trained = int(np.count_nonzero(trained))
    num_slots = sizes.pad_some("slots", num_trained)
    source = np.where(trained, num_inputs + trained.cumsum() - 1, literals.source[order])
    # What is certain where it is there may have an input that says where.
    given = (source >= 0) & (literals.prior[order] != CERTAIN_PRIOR)
    prior = np.where(given, 0.0, literals.prior[order])
    high = prior.astype(np.float32)
    # CERTAIN_PRIOR is infinite in both parts: no number is.
    low = np.where(np.isfinite(high), prior - np.where(np.isfinite(high), high, 0.0), 0.0)
    low[prior == CERTAIN_PRIOR] = CERTAIN_PRIOR
    group = literals.group[order]
    of_input = np.full(num_inputs + num_slots, num_literals, np.int32)
    of_input[source[source >= 0]] = (source >= 0).nonzero()[0]
    is_end = np.ones(num_literals, bool)
    if len(group):
        is_end[: len(group) - 1] = (group[1:] != group[:-1]) | (group[:-1] < 0)
    return LiteralArrays(
        source=_pad(source, num_literals, -1),
        prior=np.stack([_pad_float(high, num_literals), _pad_float(low, num_literals)]),
        of_input=of_input,
        negated=negated,
        group_end=is_end,
        ids=_pad(order, num_literals, -1),
    ), _pad(parameter[trained], num_slots, 0)


def _pad(values: np.ndarray, length: int, fill: int | bool) -> np.ndarray:
    dtype = np.bool_ if isinstance(fill, bool) else np.int32
    return np.concatenate([values.astype(dtype), np.full(length - len(values), fill, dtype)])


def _fill(length: int, place: np.ndarray, values: np.ndarray, fill: int) -> np.ndarray:
    array = np.full(length, fill, np.int32)
    array[place] = values
    return array


def _pad_float(values: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([values.astype(np.float32), np.zeros(length - len(values), np.float32)])
