"""Least fixpoints of nodes on cycles, each of whose derivations has one operand of its cycle at most.

The nodes are unknowns of linear equations, x = b ∨ a₁ ∧ y ∨ a₂ ∧ z ∨ ..., whose coefficients are diagrams. They need no
rounds: the least solution of x = b ∨ a ∧ x is b, so that an unknown may be replaced by its equation without itself, and
one after the other is eliminated (Tarjan, Journal of the ACM 28, 1981).
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from scallax.circuits.knowledge.parts import LocalRow

if TYPE_CHECKING:  # an extra, and not loaded for other provenances
    from oxidd.bcdd import BCDDFunction

# The place of the coefficient that has no unknown.
_CONSTANT = -1


def is_linear(heads: Iterable[int], rows: Iterable[LocalRow]) -> bool:
    """Whether no row has two operands among the heads."""
    inner = set(heads)
    return not any(left in inner and right in inner for _, left, right, _, _ in rows)


class LinearEquations:
    """Equations of unknowns, and their solution.

    Unknowns are eliminated from the last variables up. Their coefficients are diagrams of the last variables then, and
    an operation changes the first decisions of its result alone. The other way round the coefficients are of the first
    variables, and each operation makes all of their decisions again: on an undirected grid of 5 x 5, six times as many.
    """

    def __init__(
        self,
        unknowns: Iterable[int],
        conjoin: "Callable[[BCDDFunction, BCDDFunction], BCDDFunction]",
        disjoin: "Callable[[BCDDFunction, BCDDFunction], BCDDFunction]",
        false: "BCDDFunction",
    ):
        self._conjoin = conjoin
        self._disjoin = disjoin
        self._false = false
        # For each unknown its coefficients, by unknown; and the unknowns whose equations have it.
        self._equations: dict[int, dict[int, BCDDFunction]] = {unknown: {} for unknown in unknowns}
        self._users: dict[int, dict[int, None]] = {unknown: {} for unknown in self._equations}
        # The first and the last variable by which the coefficients with an unknown begin.
        self._places: dict[int, tuple[int, int]] = {}

    def add(self, head: int, unknown: int | None, coefficient: "BCDDFunction") -> None:
        """Adds to a head's equation a coefficient, and the unknown that it is conjoined with if there is one."""
        first = coefficient.node_var()
        for node in (head, unknown):
            if node is not None and first is not None:
                low, high = self._places.get(node, (first, first))
                self._places[node] = min(low, first), max(high, first)
        self._join(head, _CONSTANT if unknown is None else unknown, coefficient)

    def solve(self, wanted: Iterable[int]) -> "dict[int, BCDDFunction]":
        """The diagrams of the unknowns that are wanted."""
        order = sorted(self._equations, key=lambda node: self._places.get(node, (0, 0)), reverse=True)
        for node in order:
            self._eliminate(node)
        needed = set(wanted)
        for node in order:
            if node in needed:
                needed.update(self._equations[node])
        found: dict[int, BCDDFunction] = {}
        for node in reversed(order):
            if node in needed:
                value = self._equations[node].pop(_CONSTANT, self._false)
                for unknown, coefficient in self._equations[node].items():
                    value = self._disjoin(value, self._conjoin(coefficient, found[unknown]))
                found[node] = value
        return {node: found[node] for node in wanted}

    def _join(self, head: int, unknown: int, coefficient: "BCDDFunction") -> None:
        if unknown == head or coefficient == self._false:
            return
        equation = self._equations[head]
        before = equation.get(unknown)
        equation[unknown] = coefficient if before is None else self._disjoin(before, coefficient)
        if unknown != _CONSTANT:
            self._users[unknown][head] = None

    def _eliminate(self, node: int) -> None:
        """Replaces an unknown by its equation in those that have it."""
        equation = self._equations[node]
        for unknown in equation:
            if unknown != _CONSTANT:
                del self._users[unknown][node]
        for user in self._users.pop(node):
            factor = self._equations[user].pop(node)
            for unknown, coefficient in equation.items():
                if unknown != user:
                    self._join(user, unknown, self._conjoin(factor, coefficient))
