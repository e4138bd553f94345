"""Exact inference: a ground program compiled to a circuit that sum and product evaluate exactly."""

import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count

import numpy as np

from scallax.circuits import Circuit
from scallax.diagrams import CompilationLimits, Compiler, LimitError, Shape, Variable
from scallax.errors import Diagnostic, UnsupportedError
from scallax.grounding.dependencies import needed_derivations
from scallax.grounding.derivations import ONE, ZERO, Derivations, Literals, literal_operand, operand_literal

_DEFAULT_LIMITS = CompilationLimits()
# Elements of the first attempt, and how many times more each next one has.
_FEWEST_ELEMENTS = 1 << 13
_GROWTH = 8
# Microseconds of an evaluation that are good enough.
_SMALL_COST = 1000.0
# The library descends a line of variables by recursion.
_LONGEST_LINE = 1000


def compile_circuit(
    derivations: Derivations, literals: Literals, outputs: np.ndarray, limits: CompilationLimits = _DEFAULT_LIMITS
) -> tuple[Derivations, np.ndarray]:
    """Derivations of a circuit, and the operands of `outputs` (int64 operand codes) in it.

    Folded with sum and product, and `1 - p` for a negated operand, they give each output's exact probability: facts are
    independent, those of one group exclude each other, and none of a group has what its members leave of 1. A cycle is
    the least fixpoint of its diagrams.

    Outputs that share no fact are compiled apart. How large diagrams are depends on their variable tree: several are
    tried with few elements, with more if that is too little for all of them, and so on; of those that fit, the first
    that is small, or the one whose circuit is evaluated fastest, is taken.

    Raises `UnsupportedError` without the library, and over the limits.
    """
    deadline = time.monotonic() + limits.seconds
    operands = outputs.copy()
    circuits, num_nodes = [], 0
    for part in _parts(derivations, outputs):
        circuit, roots = _compile_part(part, literals, limits, deadline)
        operands[part.places] = np.where(roots >= 0, roots + num_nodes, roots)
        circuits.append(circuit)
        num_nodes += circuit.num_nodes
    return _concatenate(circuits), operands


@dataclass(frozen=True, slots=True)
class _Part:
    """Outputs that share facts, and what they need.

    `program` is sorted by head, its nodes are numbered from 0; `places` int64 are those of the operands `outputs` among
    all outputs.
    """

    program: Derivations
    outputs: np.ndarray
    places: np.ndarray


def _parts(derivations: Derivations, outputs: np.ndarray) -> Iterator[_Part]:
    """The needed derivations by what nodes and facts connect; outputs that are facts or constants are in none."""
    # SciPy takes half a second to import.
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    used, _ = needed_derivations(derivations, outputs)
    heads = np.concatenate([derivations.head[used]] * 2)
    operands = np.concatenate([derivations.left[used], derivations.right[used]])
    heads, operands = heads[(operands != ONE) & (operands != ZERO)], operands[(operands != ONE) & (operands != ZERO)]
    # Facts are numbered after nodes.
    ends = np.where(operands >= 0, operands, derivations.num_nodes + operand_literal(operands))
    size = max(derivations.num_nodes, 1 + int(ends.max(initial=0)))
    graph = coo_array((np.ones(len(ends), np.int8), (heads, ends)), shape=(size, size))
    label = connected_components(graph, directed=False)[1]
    places = np.flatnonzero(outputs >= 0)
    for rows, own in zip(*_split(label[derivations.head[used]], used, label[outputs[places]], places), strict=True):
        yield _number_nodes(derivations, rows, outputs, own)


def _split(
    row_labels: np.ndarray, rows: np.ndarray, place_labels: np.ndarray, places: np.ndarray
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Rows and places by label, in the order of the labels that places have."""
    labels = np.unique(place_labels)

    def by_label(of: np.ndarray, values: np.ndarray) -> list[np.ndarray]:
        order = np.argsort(of, kind="stable")
        starts, ends = (np.searchsorted(of[order], labels, side) for side in ("left", "right"))
        return [values[order[start:end]] for start, end in zip(starts, ends, strict=True)]

    return by_label(row_labels, rows), by_label(place_labels, places)


def _number_nodes(derivations: Derivations, rows: np.ndarray, outputs: np.ndarray, places: np.ndarray) -> _Part:
    head, left, right, own = derivations.head[rows], derivations.left[rows], derivations.right[rows], outputs[places]
    nodes = np.unique(np.concatenate([head, left[left >= 0], right[right >= 0], own]))

    def renumber(operands: np.ndarray) -> np.ndarray:
        return np.where(operands >= 0, np.searchsorted(nodes, operands), operands)

    negated = derivations.left_negated[rows], derivations.right_negated[rows]
    program = Derivations(len(nodes), renumber(head), renumber(left), renumber(right), *negated)
    return _Part(program, renumber(own), places)


def _compile_part(
    part: _Part, literals: Literals, limits: CompilationLimits, deadline: float
) -> tuple[Derivations, np.ndarray]:
    """The best circuit of a part, and the operands of its outputs."""
    elements = min(_FEWEST_ELEMENTS, limits.elements)
    while True:
        found, refusals, most = [], [], elements
        for variables, shape in _candidates(part, literals):
            allowed = replace(limits, elements=most, seconds=deadline - time.monotonic())
            compiler = Compiler(variables, shape, allowed)
            try:
                roots = compiler.compile(part.program, part.outputs)
            except LimitError as refusal:
                refusals.append(refusal)
            else:
                circuit = Circuit(compiler.manager, variables)
                found.append((circuit, np.array([circuit.output(root) for root in roots], np.int64)))
                if circuit.cost <= _SMALL_COST:
                    break
                # What needs more elements on its way is hardly better.
                most = min(most, max(compiler.most_elements, _FEWEST_ELEMENTS))
        if found:
            circuit, operands = min(found, key=lambda pair: pair[0].cost)
            return circuit.derivations(), operands
        is_late = time.monotonic() > deadline
        if elements == limits.elements or is_late:
            raise _refuse(max(refusals, key=lambda refusal: refusal.num_done), limits, is_late)
        elements = min(_GROWTH * elements, limits.elements)


def _concatenate(circuits: Sequence[Derivations]) -> Derivations:
    """All circuits, nodes of each numbered after those of the ones before."""
    starts = np.cumsum([0, *(circuit.num_nodes for circuit in circuits)]).tolist()
    columns = [
        (
            circuit.head + start,
            np.where(circuit.left >= 0, circuit.left + start, circuit.left),
            np.where(circuit.right >= 0, circuit.right + start, circuit.right),
            circuit.left_negated,
            circuit.right_negated,
        )
        for circuit, start in zip(circuits, starts, strict=False)
    ]
    if not columns:
        none, no = np.zeros(0, np.int64), np.zeros(0, bool)
        return Derivations(0, none, none, none, no, no)
    return Derivations(starts[-1], *(np.concatenate(column) for column in zip(*columns, strict=True)))


def _refuse(furthest: LimitError, limits: CompilationLimits, is_late: bool) -> UnsupportedError:
    what = f"{limits.seconds:g} seconds" if is_late else f"{limits.elements:,} elements of decision diagrams"
    return UnsupportedError(
        Diagnostic(
            f"the provenance `exact` takes more than {what} to compile this program: "
            f"{furthest.num_done:,} of {furthest.num_nodes:,} nodes were done",
            hint="use `topkproofs`, which keeps the k most probable proofs, or ask for fewer outputs",
        )
    )


def _candidates(part: _Part, literals: Literals) -> Iterator[tuple[list[Variable], Shape]]:
    """Orders of variables, and the shapes of trees over them."""
    orders = [_variables(_search(part, depth_first), literals) for depth_first in (True, False)]
    for variables in orders[: 1 if orders[0] == orders[1] else 2]:
        for shape in Shape:
            if shape is Shape.BALANCED or len(variables) <= _LONGEST_LINE:
                yield variables, shape


def _variables(order: Iterable[int], literals: Literals) -> list[Variable]:
    """The variables of literals, which may repeat, in their order; at least one, as a diagram needs."""
    members: dict[int, list[int]] = {}
    for literal in dict.fromkeys(order):
        # Groups by their number, independent literals by one of their own.
        group = int(literals.group[literal])
        members.setdefault(group if group >= 0 else -1 - literal, []).append(literal)
    bits = count(1)
    return [
        Variable(tuple(found), tuple(next(bits) for _ in range(max(1, len(found).bit_length()))))
        for found in (members or {0: []}).values()
    ]


def _search(part: _Part, depth_first: bool) -> Iterator[int]:
    """Literals as a search from the outputs meets them, depth first or breadth first."""
    program = part.program
    first = np.searchsorted(program.head, np.arange(program.num_nodes + 1)).tolist()
    left, right = program.left.tolist(), program.right.tolist()
    seen: set[int] = set()
    waiting = deque(part.outputs.tolist())
    while waiting:
        operand = waiting.popleft()
        if operand <= literal_operand(0):
            yield operand_literal(operand)
        elif operand >= 0 and operand not in seen:
            seen.add(operand)
            rows = range(first[operand], first[operand + 1])
            operands = [code for row in rows for code in (left[row], right[row])]
            if depth_first:
                waiting.extendleft(reversed(operands))
            else:
                waiting.extend(operands)
