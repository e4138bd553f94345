"""Circuits of diagrams: derivations whose sums are disjoint and whose products are independent.

The primes of a decision exclude each other, and prime and sub share no variable: the sum of the products of their
probabilities is the probability of the decision, whatever those of the facts are. A diagram over bits of one exclusive
group alone is a set of its outcomes, and its probability is a sum.
"""

from collections.abc import Sequence
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from scallax.diagrams import Variable
from scallax.grounding.derivations import ONE, ZERO, Derivations, literal_operand

if TYPE_CHECKING:  # an extra, and not loaded for other provenances
    from pysdd.sdd import SddManager, SddNode


class Circuit:
    """Decisions of diagrams as derivations, each once."""

    def __init__(self, manager: "SddManager", variables: Sequence[Variable]):
        self._rows: list[tuple[int, int, int, bool, bool]] = []
        self._depths: list[int] = []
        self._found: dict[int, tuple[int, bool]] = {}
        self._masks: dict[int, int] = {}
        self._sets: dict[tuple[Variable, int], tuple[int, bool]] = {}
        # By the place of a tree's node in order: the variable whose bits are below it.
        self._variables: dict[int, Variable] = {}
        self._bits: dict[int, tuple[Variable, int]] = {}
        for variable in variables:
            places = [manager.vtree_of_var(bit).position() for bit in variable.bits]
            self._variables |= dict.fromkeys(range(min(places), max(places) + 1), variable)
            self._bits |= {bit: (variable, place) for place, bit in enumerate(variable.bits)}

    def output(self, diagram: "SddNode") -> int:
        """The operand code of a diagram."""
        operand, negated = self._operand(diagram)
        return self._add([((operand, negated), (ONE, False))]) if negated else operand

    @property
    def cost(self) -> float:
        """Estimated microseconds of an evaluation: of its levels and of its derivations."""
        return 20.0 * max(self._depths, default=0) + 0.25 * len(self._rows)

    def derivations(self) -> Derivations:
        head, left, right, left_negated, right_negated = zip(*self._rows, strict=True) if self._rows else ((),) * 5
        return Derivations(
            len(self._depths),
            *(np.array(column, np.int64) for column in (head, left, right)),
            *(np.array(column, bool) for column in (left_negated, right_negated)),
        )

    def _add(self, products: Sequence[tuple[tuple[int, bool], tuple[int, bool]]]) -> int:
        node = len(self._depths)
        operands = [operand for pair in products for operand, _ in pair if operand >= 0]
        self._depths.append(1 + max((self._depths[operand] for operand in operands), default=0))
        self._rows += [(node, left, right, a, b) for (left, a), (right, b) in products]
        return node

    def _operand(self, diagram: "SddNode") -> tuple[int, bool]:
        """An operand code, and whether its complement is meant; of what is below first."""
        waiting = [diagram]
        while waiting:
            top = waiting[-1]
            if top.id in self._found:
                waiting.pop()
                continue
            variable = None if top.is_true() or top.is_false() else self._variables.get(top.vtree().position())
            if top.is_true() or top.is_false():
                self._found[top.id] = (ONE if top.is_true() else ZERO, False)
            elif variable is not None:
                self._found[top.id] = self._outcomes(variable, self._mask(variable, top))
            else:
                elements = [(prime, sub) for prime, sub in top.elements() if not sub.is_false()]
                missing = [part for pair in elements for part in pair if part.id not in self._found]
                if not missing:
                    products = [(self._found[prime.id], self._found[sub.id]) for prime, sub in elements]
                    self._found[top.id] = self._add(products), False
                waiting += missing
        return self._found[diagram.id]

    def _mask(self, variable: Variable, diagram: "SddNode") -> int:
        """The outcomes of a diagram over bits of one variable, as a bit set."""
        everything = (2 << variable.none) - 1
        if diagram.is_true() or diagram.is_false():
            return everything if diagram.is_true() else 0
        if diagram.id not in self._masks:
            if diagram.is_literal():
                _, place = self._bits[abs(diagram.literal)]
                mask = sum(1 << outcome for outcome in range(variable.none + 1) if outcome >> place & 1)
                self._masks[diagram.id] = mask if diagram.literal > 0 else everything & ~mask
            else:
                masks = [self._mask(variable, p) & self._mask(variable, s) for p, s in diagram.elements()]
                self._masks[diagram.id] = reduce(lambda a, b: a | b, masks)
        return self._masks[diagram.id]

    def _outcomes(self, variable: Variable, mask: int) -> tuple[int, bool]:
        """The probability of a set of outcomes: the sum of its members, or one minus that of the members left out."""
        negated = bool(mask >> variable.none & 1)
        members = [
            int(literal_operand(literal))
            for outcome, literal in enumerate(variable.literals)
            if bool(mask >> outcome & 1) != negated
        ]
        if not members:
            return ONE, False
        if len(members) == 1:
            return members[0], negated
        key = (variable, mask if not negated else ~mask)
        if key not in self._sets:
            self._sets[key] = self._add([((member, False), (ONE, False)) for member in members]), False
        return self._sets[key][0], negated
