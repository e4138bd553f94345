"""Literals of disjunctive heads: an exclusive group for each binding of a body, with one for each alternative."""

from collections.abc import Sequence

import numpy as np

from scallax.grounding.conjunction import DerivationBuilder
from scallax.kernels.rows import Buffer, RowTable


class Choices:
    """The bindings of each disjunctive rule that were met, and their literals; `uniform` gives each the prior 1/n.

    Without `uniform` a literal has the prior 1: the alternatives exclude each other and take nothing from the tag of
    the body, which is how the language counts groups by default.
    """

    __slots__ = ("_first_literals", "_tables", "_uniform")

    def __init__(self, uniform: bool):
        self._uniform = uniform
        self._tables: dict[int, RowTable] = {}
        self._first_literals: dict[int, Buffer] = {}

    def fresh(self) -> "Choices":
        """The same kind of choices, without any binding."""
        return Choices(self._uniform)

    def operands(
        self,
        builder: DerivationBuilder,
        choice: int,
        alternative: int,
        count: int,
        bindings: Sequence[np.ndarray],
        num_rows: int,
    ) -> np.ndarray:
        """Operand codes int64 `[rows]` of an alternative's literal for each binding; equal bindings share a group."""
        table = self._tables.setdefault(choice, RowTable(len(bindings)))
        first = self._first_literals.setdefault(choice, Buffer())
        known = table.size
        rows = table.insert(bindings, num_rows)
        if table.size > known:
            first.append(builder.add_choices(table.size - known, count, 1 / count if self._uniform else 1.0))
        # Operand codes of literals count downwards.
        return first.values[rows] - alternative
