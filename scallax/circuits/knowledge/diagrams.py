"""Diagrams of formulas: binary decision diagrams, reduced and ordered, with complement edges, which OxiDD builds.

An exclusive group is one variable of several outcomes, written as the bits of the outcome's number, which follow each
other in the order.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache, reduce
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from scallax.circuits.knowledge.arithmetic_circuit import ArithmeticCircuit
from scallax.circuits.knowledge.budget import Deadline
from scallax.circuits.knowledge.cycles import LinearEquations, is_linear
from scallax.circuits.knowledge.decisions import FALSE, TRUE, Decisions, Variable
from scallax.circuits.knowledge.parts import Formula, LocalRow
from scallax.errors import Diagnostic, UnsupportedError
from scallax.grounding.derivations import ONE, ZERO, operand_literal
from scallax.grounding.reachability import component_depths
from scallax.language.records import record

if TYPE_CHECKING:  # an extra, and not loaded for other provenances
    from oxidd.bcdd import BCDDFunction

# Decisions that the library may set apart for a thread.
_SLACK = 1 << 16
# Decisions that are read between two checks.
_CHECKED = 1024


class NoRoomError(Exception):
    """Diagrams have more decisions than there is room for."""


class Workshop:
    """Where diagrams are built, with room for so many decisions at a time.

    The number of decisions in use alone decides what fits. The library's own count of those that it has place
    for differs a little from run to run, as does when it lets go of those out of use: so it has place for twice as
    many, and only an operation whose result is too large by itself ever fails for want of it.
    """

    def __init__(self, most_decisions: int):
        try:
            from oxidd.bcdd import BCDDManager
            from oxidd.util import DDMemoryError
        except ImportError as error:  # an extra that is not installed
            raise UnsupportedError(
                Diagnostic(
                    "the provenance `exact` needs OxiDD, which is not installed", hint="pip install scallax[exact]"
                )
            ) from error
        self._no_room = DDMemoryError
        self.room = self._most = most_decisions
        # At least as many as are in use.
        self._bound = 0
        # Room for decisions and for results of operations, and the number of threads.
        self._manager = BCDDManager(2 * most_decisions + _SLACK, most_decisions, 1)
        self.true, self.false = self._manager.true(), self._manager.false()

    def literals(self, bit: int) -> "tuple[BCDDFunction, BCDDFunction]":
        """The literals of a bit at this place in the order: that it is not set, and that it is."""
        if bit >= self._manager.num_vars():
            self._manager.add_vars(bit + 1 - self._manager.num_vars())
        return self.make(self._manager.not_var, bit), self.make(self._manager.var, bit)

    def limit(self, num_decisions: int) -> None:
        """From now on, operations have room for so many decisions besides those in use."""
        self._bound = self.num_decisions()
        self._most = min(self.room, self._bound + num_decisions)

    def make(self, operation: "Callable[..., BCDDFunction]", *operands: object) -> "BCDDFunction":
        """The result of an operation. `NoRoomError` if there is no room for it."""
        try:
            result = operation(*operands)
        except self._no_room:
            raise NoRoomError from None
        self._bound += result.node_count()
        if self._bound > self._most:
            self._bound = self.num_decisions()
            if self._bound > self._most:
                raise NoRoomError
        return result

    def num_decisions(self) -> int:
        """How many are in use."""
        self._manager.gc()
        return self._manager.num_inner_nodes()


@record
class Stratum:
    """Nodes whose operands have their diagrams, or that are on cycles with each other."""

    nodes: list[int]
    is_cyclic: bool


def find_strata(formula: Formula) -> tuple[list[Stratum], np.ndarray]:
    """The nodes of a formula from the lowest up, and the depth of each."""
    head, left, right = np.array([row[:3] for row in formula.rows], np.int64).reshape(-1, 3).T
    depth, cyclic = component_depths(formula.num_nodes, head, left, right)
    order = np.lexsort((cyclic, depth))
    runs = np.flatnonzero(np.diff(depth[order] * 2 + cyclic[order], prepend=-1))
    strata = [Stratum(nodes.tolist(), bool(cyclic[nodes[0]])) for nodes in np.split(order, runs[1:])]
    return strata, depth


@record
class Diagrams:
    """The diagrams of a formula's roots over its variables, and how many decisions they have."""

    variables: list[Variable]
    roots: "list[BCDDFunction]"
    num_decisions: int


class Builder:
    """Builds the diagrams of a formula, from the lowest nodes up, and tells how many nodes have theirs."""

    def __init__(
        self,
        formula: Formula,
        strata: Sequence[Stratum],
        workshop: Workshop,
        deadline: Deadline,
        tell: Callable[[int], None],
    ):
        self._tell = tell
        self._formula = formula
        self._strata = strata
        self._workshop = workshop
        self._deadline = deadline
        self._rows: list[list[LocalRow]] = [[] for _ in range(formula.num_nodes)]
        for row in formula.rows:
            self._rows[row[0]].append(row)
        self._nodes: dict[int, BCDDFunction] = {}
        self._leaves: list[BCDDFunction] = []

    @property
    def room(self) -> int:
        """For how many decisions there is room in all."""
        return self._workshop.room

    def build(self, variables: list[Variable], most_decisions: int) -> Diagrams:
        """The diagrams over variables in an order. `NoRoomError`, and `LimitError` for the time."""
        num_done = 0
        self._nodes, self._leaves = {}, []
        others = self._workshop.num_decisions()
        self._workshop.limit(most_decisions)
        self._leaves = self._read_leaves(variables)
        # A diagram is let go after its last use.
        uses = [0] * self._formula.num_nodes
        for operand in [*(o for row in self._formula.rows for o in row[1:3]), *self._formula.roots]:
            if operand >= 0:
                uses[operand] += 1
        for stratum in self._strata:
            rows = [row for node in stratum.nodes for row in self._rows[node]]
            if stratum.is_cyclic:
                if is_linear(stratum.nodes, rows):
                    self._eliminate(stratum.nodes, rows, uses)
                else:
                    self._iterate(stratum.nodes, rows)
            else:
                for node in stratum.nodes:
                    self._nodes[node] = self._any([self._conjunction(row) for row in self._rows[node]])
            num_done += len(stratum.nodes)
            self._tell(num_done)
            for operand in (operand for row in rows for operand in row[1:3] if operand >= 0):
                uses[operand] -= 1
                if not uses[operand]:
                    self._nodes.pop(operand, None)
        roots = [self._read(root, False) for root in self._formula.roots]
        self._nodes, self._leaves = {}, []
        return Diagrams(variables, roots, self._workshop.num_decisions() - others)

    def read(self, diagrams: Diagrams, asked: Sequence[tuple[int, bool]]) -> ArithmeticCircuit:
        """The circuit of the roots that are asked for: the place of each, and whether it or its complement is meant."""
        check = self._deadline.check
        reader = _Reader(diagrams.variables, self._workshop, check)
        roots = [diagrams.roots[root] if happens else ~diagrams.roots[root] for root, happens in asked]
        return reader.decisions.circuit([reader.read(root) for root in roots], check)

    def _read_leaves(self, variables: Sequence[Variable]) -> "list[BCDDFunction]":
        leaves: dict[int, BCDDFunction] = {}
        for variable, first in zip(variables, _first_bits(variables), strict=False):
            bits = [self._workshop.literals(first + place) for place in range(_num_bits(variable))]
            for outcome, leaf in enumerate(variable.leaves):
                leaves[leaf] = reduce(self._conjoin, [pair[outcome >> place & 1] for place, pair in enumerate(bits)])
        return [leaves[leaf] for leaf in range(len(leaves))]

    def _eliminate(self, heads: Sequence[int], rows: Sequence[LocalRow], uses: Sequence[int]) -> None:
        """The least fixpoint of the nodes of cycles whose rows have one of them at most, as far as others use it."""
        equations = LinearEquations(heads, self._conjoin, self._disjoin, self._workshop.false)
        inner = set(heads)
        used = list(uses)
        for row in rows:
            head, left, right, left_negated, right_negated = row
            for operand in (left, right):
                if operand >= 0:
                    used[operand] -= 1
            if left in inner:
                equations.add(head, left, self._read(right, right_negated))
            elif right in inner:
                equations.add(head, right, self._read(left, left_negated))
            else:
                equations.add(head, None, self._conjunction(row))
        self._nodes |= equations.solve([node for node in heads if used[node]])

    def _iterate(self, heads: Sequence[int], rows: Sequence[LocalRow]) -> None:
        """The least fixpoint of the nodes of cycles: what changed is joined to what uses it until nothing does."""
        nodes = self._nodes
        nodes.update(dict.fromkeys(heads, self._workshop.false))
        uses: dict[int, list[LocalRow]] = {}
        changed = dict.fromkeys(heads)
        for row in rows:
            for operand in row[1:3]:
                if operand in changed:
                    uses.setdefault(operand, []).append(row)
        for row in rows:
            nodes[row[0]] = self._any([nodes[row[0]], self._conjunction(row)])
        while changed:
            node = next(iter(changed))
            del changed[node]
            for row in uses.get(node, ()):
                joined = self._any([nodes[row[0]], self._conjunction(row)])
                if joined != nodes[row[0]]:
                    nodes[row[0]] = joined
                    changed[row[0]] = None

    def _read(self, operand: int, negated: bool) -> "BCDDFunction":
        if operand >= 0:
            diagram = self._nodes[operand]
        elif operand in (ONE, ZERO):
            diagram = self._workshop.true if operand == ONE else self._workshop.false
        else:
            diagram = self._leaves[operand_literal(operand)]
        return ~diagram if negated else diagram

    def _conjunction(self, row: LocalRow) -> "BCDDFunction":
        _, left, right, left_negated, right_negated = row
        return self._conjoin(self._read(left, left_negated), self._read(right, right_negated))

    def _any(self, diagrams: "list[BCDDFunction]") -> "BCDDFunction":
        """The disjunction, of pairs first: what is joined stays small for long."""
        while len(diagrams) > 1:
            rest = diagrams[len(diagrams) & ~1 :]
            diagrams = [self._disjoin(a, b) for a, b in zip(diagrams[::2], diagrams[1::2], strict=False)] + rest
        return diagrams[0] if diagrams else self._workshop.false

    def _conjoin(self, one: "BCDDFunction", other: "BCDDFunction") -> "BCDDFunction":
        self._deadline.check()
        return self._workshop.make(one.__and__, other)

    def _disjoin(self, one: "BCDDFunction", other: "BCDDFunction") -> "BCDDFunction":
        self._deadline.check()
        return self._workshop.make(one.__or__, other)


class _Reader:
    """Decisions of diagrams: one of a variable for those of its bits."""

    def __init__(self, variables: Sequence[Variable], workshop: Workshop, check: Callable[[], None]):
        self.decisions = Decisions(variables)
        self._check = check
        # To look a diagram up takes longer than all else: each has a number, and by it a decision and where it goes to.
        self._numbers = {workshop.false: FALSE, workshop.true: TRUE}
        self._diagrams = [workshop.false, workshop.true]
        self._found: list[int | None] = [FALSE, TRUE]
        self._first_bits = list(_first_bits(variables))
        # For each bit the place of its variable.
        self._places = [place for place, variable in enumerate(variables) for _ in range(_num_bits(variable))]

    def read(self, root: "BCDDFunction") -> int:
        start = self._number(root)
        waiting = [start]
        opened: dict[int, tuple[int, list[tuple[int, int]]]] = {}
        found = self._found
        while waiting:
            top = waiting[-1]
            if found[top] is not None:
                waiting.pop()
                continue
            if top not in opened:
                opened[top] = self._open(top)
                waiting += [target for _, target in opened[top][1] if found[target] is None]
                continue
            if not top % _CHECKED:
                self._check()
            place, branches = opened.pop(top)
            # All of them are found.
            found[top] = self.decisions.decide(place, [(outcomes, found[target] or 0) for outcomes, target in branches])
            waiting.pop()
        return found[start] or 0

    def _number(self, diagram: "BCDDFunction") -> int:
        number = self._numbers.setdefault(diagram, len(self._diagrams))
        if number == len(self._diagrams):
            self._diagrams.append(diagram)
            self._found.append(None)
        return number

    def _open(self, number: int) -> tuple[int, list[tuple[int, int]]]:
        """The place of a diagram's first variable, and the numbers of the diagrams that it goes to."""
        diagram = self._diagrams[number]
        bit = diagram.node_var()
        assert bit is not None
        place = self._places[bit]
        return place, [(outcomes, self._number(target)) for outcomes, target in self._branches(diagram, place)]

    def _branches(self, top: "BCDDFunction", place: int) -> "list[tuple[int, BCDDFunction]]":
        """Where a diagram goes from sets of outcomes of the variable in a place."""
        variable, first = self.decisions.variables[place], self._first_bits[place]
        num_bits = _num_bits(variable)
        if num_bits == 1:
            return list(zip((1 << variable.none, 1), _cofactors(top), strict=True))
        # With all numbers that the bits may be.
        waiting = [(top, (1 << (1 << num_bits)) - 1)]
        found = []
        while waiting:
            diagram, numbers = waiting.pop()
            bit = diagram.node_var()
            if bit is None or self._places[bit] != place:
                outcomes = numbers & (variable.everything >> 1)
                found.append((outcomes | (1 << variable.none if numbers >> variable.none else 0), diagram))
                continue
            is_set = _numbers_with(bit - first, num_bits)
            one, other = _cofactors(diagram)
            waiting += [(one, numbers & is_set), (other, numbers & ~is_set)]
        return found


def _cofactors(diagram: "BCDDFunction") -> "tuple[BCDDFunction, BCDDFunction]":
    """Where a diagram goes if its first bit is set, and if not."""
    cofactors = diagram.cofactors()
    assert cofactors is not None
    return cofactors


def _num_bits(variable: Variable) -> int:
    return max(1, len(variable.leaves).bit_length())


def _first_bits(variables: Sequence[Variable]) -> Iterator[int]:
    return accumulate((_num_bits(variable) for variable in variables), initial=0)


@cache
def _numbers_with(place: int, num_bits: int) -> int:
    """The numbers of so many bits in which the bit of a place is set, as a set."""
    block = ((1 << (1 << place)) - 1) << (1 << place)
    return reduce(lambda numbers, start: numbers | block << start, range(0, 1 << num_bits, 2 << place), 0)
