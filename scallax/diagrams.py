"""Diagrams of the nodes of a ground program: sentential decision diagrams over its facts, built by PySDD.

A decision is a disjunction of elements `prime ∧ sub` over a split of the variables in a tree (Darwiche, IJCAI 2011).
An exclusive group is one variable of several outcomes, written as the bits of the outcome's number, which have a
subtree of the variable tree to themselves.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import numpy as np

from scallax.errors import Diagnostic, UnsupportedError
from scallax.grounding.dependencies import component_depths
from scallax.grounding.derivations import ONE, ZERO, Derivations, literal_operand, operand_literal

if TYPE_CHECKING:  # an extra, and not loaded for other provenances
    from pysdd.sdd import SddManager, SddNode, Vtree


@dataclass(frozen=True, slots=True)
class CompilationLimits:
    """What a compilation may take: elements of diagrams alive at a time (about 200 bytes each), and seconds.

    A call of the library cannot be interrupted. One that may take more than `steps`, the product of its operands'
    elements, is cut into calls on the elements.
    """

    elements: int = 2_000_000
    seconds: float = 120.0
    steps: int = 1 << 28


@dataclass(frozen=True, slots=True)
class Variable:
    """An independent literal, or the used members of an exclusive group, with its bits as the library counts them.

    Outcome i, the bits of the number i, is that member i holds; every other number is that none does.
    """

    literals: tuple[int, ...]
    bits: tuple[int, ...]

    @property
    def none(self) -> int:
        """The outcome that no member holds."""
        return len(self.literals)


class Shape(Enum):
    """Of a variable tree: counts and other results of many facts are small over a balanced one, paths over a line."""

    LINE = auto()
    BALANCED = auto()


class LimitError(Exception):
    """A compilation passed its limits, after `num_done` of `num_nodes` nodes."""

    def __init__(self, num_done: int, num_nodes: int):
        super().__init__(num_done, num_nodes)
        self.num_done = num_done
        self.num_nodes = num_nodes


def _new_manager(variables: Sequence[Variable], shape: Shape) -> "SddManager":
    """A manager over a tree of the variables, each with a subtree for its bits."""
    try:
        from pysdd.sdd import SddManager, Vtree
    except ImportError as error:  # an extra that is not installed
        raise UnsupportedError(
            Diagnostic("the provenance `exact` needs PySDD, which is not installed", hint="pip install scallax[exact]")
        ) from error
    lines: list[str] = []

    def add(line: str) -> int:
        lines.append(f"{line[0]} {len(lines)}{line[1:]}")
        return len(lines) - 1

    def balance(parts: list[int]) -> int:
        if len(parts) == 1:
            return parts[0]
        middle = len(parts) // 2
        return add(f"I {balance(parts[:middle])} {balance(parts[middle:])}")

    parts = [balance([add(f"L {bit}") for bit in variable.bits]) for variable in variables]
    match shape:
        case Shape.BALANCED:
            balance(parts)
        case Shape.LINE:
            reduce(lambda rest, part: add(f"I {part} {rest}"), reversed(parts))
        case _:
            assert_never(shape)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "variables.vtree"
        path.write_text("\n".join([f"vtree {len(lines)}", *lines, ""]))
        return SddManager.from_vtree(Vtree.from_file(str(path)))


class Compiler:
    """Diagrams of nodes, from the lowest up."""

    def __init__(self, variables: Sequence[Variable], shape: Shape, limits: CompilationLimits):
        self.manager = _new_manager(variables, shape)
        self._limits = limits
        self._deadline = time.monotonic() + limits.seconds
        self.most_elements = 0
        self._sizes: dict[int, int] = {}
        self._num_done = self._num_nodes = 0
        self._constants = {ONE: self.manager.true(), ZERO: self.manager.false()}
        self._literals = {
            literal: self._outcome(variable, outcome)
            for variable in variables
            for outcome, literal in enumerate(variable.literals)
        }

    def _outcome(self, variable: Variable, outcome: int) -> "SddNode":
        bits = [self.manager.literal(bit if outcome >> place & 1 else -bit) for place, bit in enumerate(variable.bits)]
        return reduce(self.manager.conjoin, bits)

    def compile(self, program: Derivations, outputs: np.ndarray) -> list["SddNode"]:
        """The diagrams of the outputs. `program` is sorted by head."""
        depth, cyclic = component_depths(program.num_nodes, program.head, program.left, program.right)
        heads = np.unique(program.head)
        order = heads[np.lexsort((heads, cyclic[heads], depth[heads]))]
        first = np.searchsorted(program.head, np.arange(program.num_nodes + 1)).tolist()
        rows = list(
            zip(
                *(program.head.tolist(), program.left.tolist(), program.right.tolist()),
                *(program.left_negated.tolist(), program.right_negated.tolist()),
                strict=True,
            )
        )
        # A diagram is let go after its last use.
        uses = np.bincount(
            np.concatenate([o[o >= 0] for o in (program.left, program.right, outputs)]), minlength=program.num_nodes
        ).tolist()
        nodes: dict[int, SddNode] = {}
        self._num_nodes, self._num_done = len(order), 0
        runs = np.flatnonzero(np.diff(depth[order] * 2 + cyclic[order], prepend=-1))
        for run in np.split(order, runs[1:]):
            if cyclic[run[0]]:
                self._iterate(run.tolist(), [row for node in run for row in rows[first[node] : first[node + 1]]], nodes)
            for node in run.tolist():
                derivations = rows[first[node] : first[node + 1]]
                if node not in nodes:
                    nodes[node] = self._any([self._conjunction(row, nodes) for row in derivations])
                self._num_done += 1
            for _, *operands, _, _ in (row for node in run.tolist() for row in rows[first[node] : first[node + 1]]):
                for operand in operands:
                    if operand >= 0:
                        uses[operand] -= 1
                        if not uses[operand]:
                            nodes.pop(operand, None)
        return [self._read(operand, False, nodes) for operand in outputs.tolist()]

    def _iterate(self, heads: list[int], rows: list[tuple], nodes: dict[int, "SddNode"]) -> None:
        """The least fixpoint of the nodes of cycles: what changed is joined to what uses it until nothing does."""
        false = self.manager.false()
        nodes.update(dict.fromkeys(heads, false))
        uses: dict[int, list[tuple]] = {}
        changed = dict.fromkeys(heads)
        for row in rows:
            for operand in row[1:3]:
                if operand in changed:
                    uses.setdefault(operand, []).append(row)
        for row in rows:
            nodes[row[0]] = self._any([nodes[row[0]], self._conjunction(row, nodes)])
        while changed:
            node = next(iter(changed))
            del changed[node]
            for row in uses.get(node, ()):
                joined = self._any([nodes[row[0]], self._conjunction(row, nodes)])
                if joined != nodes[row[0]]:
                    nodes[row[0]] = joined
                    changed[row[0]] = None

    def _read(self, operand: int, negated: bool, nodes: dict[int, "SddNode"]) -> "SddNode":
        if operand >= 0:
            # A node of no derivation is false.
            node = nodes.get(operand, self._constants[ZERO])
        elif operand <= literal_operand(0):
            node = self._literals[operand_literal(operand)]
        else:
            node = self._constants[operand]
        return self.manager.negate(node) if negated else node

    def _conjunction(self, row: tuple, nodes: dict[int, "SddNode"]) -> "SddNode":
        _, left, right, left_negated, right_negated = row
        return self._conjoin(self._read(left, left_negated, nodes), self._read(right, right_negated, nodes))

    def _any(self, diagrams: list["SddNode"]) -> "SddNode":
        return self._fold(diagrams, self._disjoin)

    def _fold(self, diagrams: list["SddNode"], join: Callable[["SddNode", "SddNode"], "SddNode"]) -> "SddNode":
        """The disjunction, of pairs first: what is joined stays small for long."""
        while len(diagrams) > 1:
            self._check()
            rest = diagrams[len(diagrams) & ~1 :]
            diagrams = [join(a, b) for a, b in zip(diagrams[::2], diagrams[1::2], strict=False)] + rest
        return diagrams[0] if diagrams else self._constants[ZERO]

    def _disjoin(self, a: "SddNode", b: "SddNode") -> "SddNode":
        negate = self.manager.negate
        return negate(self._conjoin(negate(a), negate(b)))

    def _conjoin(self, a: "SddNode", b: "SddNode") -> "SddNode":
        """The conjunction. One call of the library cannot be interrupted: what may be long is cut into elements."""
        elements, most = self._check(), self._limits.steps
        if elements * elements <= most or self._size(a) * self._size(b) <= most:
            return self.manager.conjoin(a, b)
        upper, lower = a.vtree(), b.vtree()
        if upper == lower:
            pairs = [(p, s, q, r) for p, s in a.elements() for q, r in b.elements()]
            parts = [(self._conjoin(p, q), s, r) for p, s, q, r in pairs]
            return self._join([(p, self._conjoin(s, r)) for p, s, r in parts if not p.is_false()])
        if _is_below(upper, lower):
            a, b, upper, lower = b, a, lower, upper
        if not _is_below(lower, upper):
            # Of different variables.
            return self.manager.conjoin(a, b)
        if _is_below(lower, upper.left()):
            return self._join([(self._conjoin(prime, b), sub) for prime, sub in a.elements()])
        return self._join([(prime, self._conjoin(sub, b)) for prime, sub in a.elements()])

    def _join(self, elements: list[tuple["SddNode", "SddNode"]]) -> "SddNode":
        """The decision of elements whose primes exclude each other."""
        products = [self.manager.conjoin(prime, sub) for prime, sub in elements]
        return self._fold(products, self.manager.disjoin)

    def _size(self, diagram: "SddNode") -> int:
        if diagram.id not in self._sizes:
            self._sizes[diagram.id] = diagram.size()
        return self._sizes[diagram.id]

    def _check(self) -> int:
        """How many elements are alive. `LimitError` over the limits."""
        elements = self.manager.live_size()
        if elements + self.manager.dead_size() > 2 * self._limits.elements:
            self.manager.garbage_collect()
            self._sizes.clear()
            elements = self.manager.live_size()
        self.most_elements = max(self.most_elements, elements)
        if elements > self._limits.elements or time.monotonic() > self._deadline:
            raise LimitError(self._num_done, self._num_nodes)
        return elements


def _is_below(lower: "Vtree", upper: "Vtree") -> bool:
    return type(lower).is_sub(lower, upper)
