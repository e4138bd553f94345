"""Orders of a formula's random variables: diagrams over one may be small, and over another too large."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from scallax.circuits.knowledge.arrangements import arrange
from scallax.circuits.knowledge.decisions import Variable
from scallax.circuits.knowledge.parts import Formula
from scallax.grounding.derivations import literal_operand, operand_literal


def candidate_orders(formula: Formula, depths: np.ndarray, is_cyclic: bool) -> list[list[Variable]]:
    """Different orders of all variables, those first that are tried first. `depths` are those of the nodes.

    An order goes down the levels of the nodes: a diagram over the variables of the highest ones has those of others
    below it, which they are made of. On cycles, levels are also the rounds in which nodes are reached first. Or a
    search meets the variables: depth first, from the outputs in their order or from the highest ones, or breadth first.
    The last is the line of `arrange`, which is first for cycles: there is no up and down.
    """
    operands: list[list[int]] = [[] for _ in range(formula.num_nodes)]
    for head, left, right, _, _ in formula.rows:
        operands[head] += left, right
    levels = [depths.tolist()]
    if is_cyclic:
        levels.append(_rounds(formula))
    by_depth = sorted(formula.roots, key=lambda root: -int(depths[root]) if root >= 0 else 0)
    lines: list[Iterable[int]] = [
        *(_descend(level, operands) for level in levels),
        *(_search(roots, operands, True) for roots in (formula.roots, by_depth)),
        _search(by_depth, operands, False),
    ]
    line = arrange(formula)
    if line is not None:
        lines.insert(0 if is_cyclic else len(lines), line)
    found: dict[tuple[int, ...], None] = {}
    for leaves in lines:
        # Variables that roots do not need are at the end.
        met = dict.fromkeys(formula.groups[leaf] for leaf in (*leaves, *range(len(formula.leaves))))
        found[tuple(met)] = None
    members: dict[int, list[int]] = {}
    for leaf, first in enumerate(formula.groups):
        members.setdefault(first, []).append(leaf)
    return [[Variable(tuple(members[first])) for first in order] for order in found]


def _descend(levels: Sequence[int], operands: Sequence[Sequence[int]]) -> Iterator[int]:
    """The leaves that nodes use, of the highest ones first."""
    for node in sorted(range(len(levels)), key=lambda node: -levels[node]):
        for operand in operands[node]:
            if operand <= literal_operand(0):
                yield operand_literal(operand)


def _search(roots: Iterable[int], operands: Sequence[Sequence[int]], depth_first: bool) -> Iterator[int]:
    """Leaves as a search from the roots meets them."""
    seen: set[int] = set()
    waiting = deque(roots)
    while waiting:
        operand = waiting.popleft()
        if operand <= literal_operand(0):
            yield operand_literal(operand)
        elif operand >= 0 and operand not in seen:
            seen.add(operand)
            if depth_first:
                waiting.extendleft(reversed(operands[operand]))
            else:
                waiting.extend(operands[operand])


def _rounds(formula: Formula) -> list[int]:
    """The round in which each node has its first derivation if all leaves hold, and 0 if there is none."""
    users: list[list[int]] = [[] for _ in range(formula.num_nodes)]
    missing: list[int] = []
    for place, (_, left, right, _, _) in enumerate(formula.rows):
        inner = {operand for operand in (left, right) if operand >= 0}
        missing.append(len(inner))
        for operand in inner:
            users[operand].append(place)
    rounds = [0] * formula.num_nodes
    reached = [place for place, count in enumerate(missing) if not count]
    number = 0
    while reached:
        number += 1
        nodes = dict.fromkeys(formula.rows[place][0] for place in reached)
        reached = []
        for node in nodes:
            if not rounds[node]:
                rounds[node] = number
                for place in users[node]:
                    missing[place] -= 1
                    if not missing[place]:
                        reached.append(place)
    return rounds
