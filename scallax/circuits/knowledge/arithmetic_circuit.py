"""Arithmetic circuits: derivations whose sums are disjoint and whose products are independent.

The sum of products of such a circuit is the probability of what it stands for, whatever those of the facts are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from scallax.grounding.derivations import ONE, ZERO, literal_operand, operand_literal

# A code, and whether the complement is meant.
Operand = tuple[int, bool]
# Estimated microseconds of an evaluation for each level and each product.
LEVEL_COST = 20.0
PRODUCT_COST = 0.25


def event(leaf: int, happens: bool) -> Operand:
    """The operand of a circuit that is the probability of a leaf, or of its complement."""
    return int(literal_operand(2 * leaf + (not happens))), False


@dataclass(slots=True)
class ArithmeticCircuit:
    """Sums of products over the probabilities of leaves and their complements, each sum after those that it uses.

    `rows` are the products: head, operands, and whether their complements are meant. `outputs` are what the circuit is
    for, in the order in which it was asked for.
    """

    rows: list[tuple[int, int, int, bool, bool]] = field(default_factory=list)
    outputs: list[Operand] = field(default_factory=list)
    _depths: list[int] = field(default_factory=list)
    _events: list[tuple[int, bool]] | None = None

    @property
    def num_sums(self) -> int:
        return len(self._depths)

    @property
    def depth(self) -> int:
        return max(self._depths, default=0)

    @property
    def cost(self) -> float:
        """Estimated microseconds of an evaluation."""
        return LEVEL_COST * self.depth + PRODUCT_COST * len(self.rows)

    @property
    def events(self) -> list[tuple[int, bool]]:
        """The leaves whose probabilities it uses, and whether those that they happen."""
        if self._events is None:
            self._events = self._find_events()
        return self._events

    def _find_events(self) -> list[tuple[int, bool]]:
        codes = {code for row in self.rows for code in row[1:3]} | {code for code, _ in self.outputs}
        return [(code >> 1, not code & 1) for code in sorted(operand_literal(code) for code in codes if code < ZERO)]

    def add(self, products: Sequence[tuple[Operand, Operand]]) -> Operand:
        """The sum of products."""
        node, depths = len(self._depths), self._depths
        below = 0
        for (left, a), (right, b) in products:
            below = max(below, depths[left] if left >= 0 else 0, depths[right] if right >= 0 else 0)
            self.rows.append((node, left, right, a, b))
        depths.append(1 + below)
        return node, False


def disjunction(num_events: int, happens: Sequence[bool]) -> ArithmeticCircuit:
    """The circuit of a disjunction of independent leaves, and of its complement, as asked for.

    Halves are joined, `P(a ∨ b) = P(a) + P(¬a) P(b)`: no small probability is lost in a difference.
    """
    circuit = ArithmeticCircuit()
    found: dict[tuple[int, int, bool], Operand] = {}

    def join(start: int, end: int, some: bool) -> Operand:
        if end - start == 1:
            return event(start, some)
        key = start, end, some
        if key not in found:
            middle = (start + end) // 2
            none, last = join(start, middle, False), join(middle, end, some)
            found[key] = circuit.add(
                [(join(start, middle, True), (ONE, False)), (none, last)] if some else [(none, last)]
            )
        return found[key]

    circuit.outputs += [join(0, num_events, some) for some in happens]
    return circuit
