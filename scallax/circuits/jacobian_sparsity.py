"""Sparsity of the Jacobian: the inputs and parameters that each output of a circuit depends on."""

from itertools import pairwise

import numpy as np

from scallax.circuits.circuit import FIRST_LITERAL_ROW, Circuit, Trained
from scallax.grounding.reachability import strong_components
from scallax.kernels.runs import ranges, run_starts
from scallax.kernels.selections import RANGE, Stage

_Edges = list[tuple[np.ndarray, np.ndarray]]


def find_dependence(program: Circuit, num_outputs: int) -> tuple[np.ndarray, np.ndarray]:
    """Output and column, int64, of all pairs whose derivative need not be 0, by output, then by column.

    Columns are the given inputs, flattened, then the logits. Members of an exclusive group depend on each other; what
    is chosen by weight has no derivative.
    """
    parts = [*(stage.program for stage in program.stages), program]
    num_selections = sum(len(stage.selections.members) for stage in program.stages)
    num_given = program.num_inputs - program.num_trained - num_selections
    # Nodes: the columns, trained inputs and selections, then for each program in turn its rows and its groups.
    num_columns = num_given + (0 if program.trained is None else len(program.trained.logit_groups))
    node_of_input = np.arange(program.num_inputs)
    node_of_input[num_given:] += num_columns - num_given
    sizes = [part.num_rows + part.num_literals for part in parts]
    starts = np.cumsum([num_columns + program.num_trained + num_selections, *sizes]).tolist()
    edges = [_logits_of(program.trained, num_columns, num_given)]
    selection = num_columns + program.num_trained
    for part, start in zip(parts, starts[:-1], strict=True):
        edges += _edges_of(part, start, node_of_input)
    for stage, start in zip(program.stages, starts[:-2], strict=True):
        edges.append(_members_of(stage, start, selection))
        selection += len(stage.selections.members)
    tails, heads = (np.concatenate(ends) for ends in zip(*edges, strict=True))
    return _search(starts[-2] + np.asarray(program.outputs[:num_outputs]), tails, heads, starts[-1], num_columns)


def _logits_of(trained: Trained | None, num_columns: int, num_given: int) -> tuple[np.ndarray, np.ndarray]:
    """From each trained input to its logit, and to those that are normalised with it."""
    if trained is None:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    slots, groups = np.asarray(trained.slots, np.int64), np.asarray(trained.logit_groups, np.int64)
    nodes = np.arange(len(slots))
    is_shared = groups[slots] >= 0
    by_group, counts = np.argsort(groups, kind="stable"), np.bincount(groups + 1)
    group = groups[slots[is_shared]] + 1
    tails = np.concatenate([nodes, nodes[is_shared].repeat(counts[group])])
    logits = by_group[ranges((counts.cumsum() - counts)[group], counts[group])]
    return num_columns + tails, num_given + np.concatenate([slots, logits])


def _edges_of(program: Circuit, start: int, node_of_input: np.ndarray) -> _Edges:
    """From each row to the rows that it is made of; from literals over their groups to inputs."""
    forward, literals = program.forward, program.literals
    tiles = forward.tiles
    count = int(tiles.count)
    rows = np.array([rows for _, rows in forward.branches], np.int64)[np.asarray(tiles.branch[:count])]
    sizes = rows * forward.width
    offset = np.asarray(tiles.offset[:count], np.int64)
    place = ranges(offset, sizes)
    head = (place - offset.repeat(sizes)) % forward.width + np.asarray(tiles.target[:count]).repeat(sizes)
    edges: _Edges = []
    for operands in (forward.left, forward.right, forward.third):
        if operands is None:
            continue
        operand = operands[place]
        is_row = operand >= FIRST_LITERAL_ROW
        edges.append((start + head[is_row], start + operand[is_row]))
    group_end = np.asarray(literals.group_end)
    group = start + program.num_rows + np.cumsum(group_end) - group_end
    literal = np.concatenate([np.arange(program.num_literals), literals.negated])
    source = np.asarray(literals.source)
    is_given = source >= 0
    edges.append((start + FIRST_LITERAL_ROW + np.arange(len(literal)), group[literal]))
    edges.append((group[is_given], node_of_input[source[is_given]]))
    return edges


def _members_of(stage: Stage, start: int, first_selection: int) -> tuple[np.ndarray, np.ndarray]:
    """From each selection that is a share to the weights of all members of its group."""
    selections = stage.selections
    shares = (np.asarray(selections.kinds) != RANGE).nonzero()[0]
    member = np.asarray(selections.members)[shares]
    counts = np.bincount(selections.groups)[np.asarray(selections.groups)[member]]
    members = ranges(np.asarray(selections.starts, np.int64)[member], counts)
    return first_selection + shares.repeat(counts), start + np.asarray(stage.program.outputs, np.int64)[members]


def _search(
    roots: np.ndarray, tails: np.ndarray, heads: np.ndarray, num_nodes: int, num_columns: int
) -> tuple[np.ndarray, np.ndarray]:
    """The root, by number, and the node of all nodes below `num_columns` that roots reach.

    From the columns up, each node once, and a cycle as one node.
    """
    label, depth, _ = strong_components(num_nodes, heads, tails)
    tails, heads = label[tails], label[heads]
    columns, starts, counts = np.arange(num_columns), np.zeros(len(depth), np.int64), np.zeros(len(depth), np.int64)
    starts[label[:num_columns]], counts[label[:num_columns]] = np.arange(num_columns), 1
    end = num_columns
    by_depth = np.argsort(depth[tails], kind="stable")
    bounds = np.searchsorted(depth[tails[by_depth]], np.arange(1, depth.max(initial=0) + 2))
    for first, last in pairwise(bounds.tolist()):
        tail, head = tails[by_depth[first:last]], heads[by_depth[first:last]]
        code = (tail * num_columns).repeat(counts[head]) + columns[ranges(starts[head], counts[head])]
        owner, column = np.divmod(np.unique(code), max(num_columns, 1))
        begins = run_starts(owner)
        starts[owner[begins]] = end + begins
        counts[owner[begins]] = np.diff(begins, append=len(owner))
        if end + len(column) > len(columns):
            columns = np.concatenate([columns, np.empty(len(columns) + len(column), np.int64)])
        columns[end : end + len(column)] = column
        end += len(column)
    label = label[roots]
    return np.arange(len(roots)).repeat(counts[label]), columns[ranges(starts[label], counts[label])]
