"""Modules of derivations: nodes whose facts nothing else uses, so that each is a random variable of its own."""

import numpy as np

from scallax.grounding.derivations import ONE, ZERO, Derivations, Literals, literal_operand, operand_literal
from scallax.grounding.reachability import strong_components
from scallax.kernels.runs import stable_order
from scallax.language.records import record

Row = tuple[int, int, bool, bool]


@record
class Graph:
    """The derivations that outputs need: for each node its rows, without the head.

    `uses` counts for each node the operands and outputs that name it; `modules` are nodes, each after those below it.
    """

    rows: list[list[Row]]
    outputs: list[int]
    groups: list[int]
    uses: list[int]
    modules: list[int]

    def variable(self, literal: int) -> int:
        """The random variable of a literal, as the operand code of one that stands for its exclusive group."""
        group = self.groups[literal]
        return int(literal_operand(literal if group < 0 else len(self.groups) + group))


def read_graph(derivations: Derivations, literals: Literals, used: np.ndarray, outputs: np.ndarray) -> Graph:
    """The graph of the derivations `used` (int64, sorted by head), and its modules."""
    head, left, right = derivations.head[used], derivations.left[used], derivations.right[used]
    rows: list[list[Row]] = [[] for _ in range(derivations.num_nodes)]
    columns = left, right, derivations.left_negated[used], derivations.right_negated[used]
    for node, *row in zip(head.tolist(), *(column.tolist() for column in columns), strict=True):
        rows[node].append(tuple(row))
    named = np.concatenate([left, right, outputs])
    uses = np.bincount(named[named >= 0], minlength=derivations.num_nodes)
    modules = _find_modules(derivations.num_nodes, head, left, right, literals.group, outputs)
    return Graph(rows, outputs.tolist(), literals.group.tolist(), uses.tolist(), modules)


def _find_modules(
    num_nodes: int, head: np.ndarray, left: np.ndarray, right: np.ndarray, groups: np.ndarray, outputs: np.ndarray
) -> list[int]:
    """The nodes that all derivations reach what is below them through, each after those below it.

    A search depth first gives each item the dates at which it is first met, left, and last met. Below a module all is
    met between the first two dates of the module only (Dutuit and Rauzy, IEEE Transactions on Reliability 45, 1996).
    Items are nodes, then the strong components of cycles, then random variables; the nodes of a cycle have its
    component below them, and that has what its nodes use. An output below another is not met a second time for itself.
    """
    operands, heads = np.concatenate([left, right]), np.concatenate([head, head])
    heads, operands = heads[(operands != ONE) & (operands != ZERO)], operands[(operands != ONE) & (operands != ZERO)]
    inner = operands >= 0
    component, depth, cyclic = strong_components(num_nodes, operands[inner], heads[inner])
    depth, cyclic = depth[component], cyclic[component]
    literal = np.where(inner, 0, operand_literal(operands))
    # Strong components are numbered after nodes, literals after those, groups after those.
    group = groups[literal] if len(groups) else literal
    variable = 2 * num_nodes + np.where(group >= 0, len(groups) + group, literal)
    ends = np.where(inner, operands, variable)
    starts = np.where(cyclic[heads], num_nodes + component[heads], heads)
    within = (
        inner & cyclic[heads] & (component[np.where(inner, operands, 0)] == component[heads]) if num_nodes else inner
    )
    ports = np.flatnonzero(cyclic)
    starts = np.concatenate([starts[~within], ports])
    ends = np.concatenate([ends[~within], num_nodes + component[ports]])
    num_items = 2 * num_nodes + len(groups) + 1 + int(groups.max(initial=-1))
    roots = outputs[outputs >= 0]
    roots = roots[np.argsort(-depth[roots], kind="stable")]
    marks = np.where(cyclic[roots], num_nodes + component[roots], roots)
    search = _search(starts, ends, num_items, list(zip(roots.tolist(), marks.tolist(), strict=True)))
    first, last, left_at, order, below = search
    earliest, latest = [0] * num_items, [0] * num_items
    modules = []
    for item in order:
        low, high = left_at[item], 0
        for other in below(item):
            low = min(low, first[other], earliest[other])
            high = max(high, last[other], latest[other])
        earliest[item], latest[item] = low, high
        if item < num_nodes and first[item] < low and high < left_at[item]:
            modules.append(item)
    return modules


def _search(starts: np.ndarray, ends: np.ndarray, num_items: int, roots: list[tuple[int, int]]):
    """The dates of items first met, last met and left, from 1; items in the order of leaving; what is below an item.

    Each root comes with the item that has been met if the root is below others.
    """
    by_start = stable_order(starts, num_items)
    targets = ends[by_start].tolist()
    offsets = np.concatenate([[0], np.bincount(starts, minlength=num_items).cumsum()]).tolist()
    first, last, left_at = [0] * num_items, [0] * num_items, [0] * num_items
    position = offsets[:-1]
    order: list[int] = []
    date = 0
    for root, mark in roots:
        if first[mark]:
            continue
        date += 1
        first[root] = last[root] = date
        path = [root]
        while path:
            item = path[-1]
            date += 1
            if position[item] == offsets[item + 1]:
                left_at[item] = last[item] = date
                order.append(path.pop())
                continue
            other = targets[position[item]]
            position[item] += 1
            last[other] = date
            if not first[other]:
                first[other] = date
                path.append(other)
    return first, last, left_at, order, lambda item: targets[offsets[item] : offsets[item + 1]]
