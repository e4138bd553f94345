"""Literals of disjunctive heads: an exclusive group for each binding of a body, with one for each alternative."""

from collections.abc import Sequence

import numpy as np

from scallax.grounding.canonical_literals import Bindings
from scallax.grounding.conjunction import DerivationBuilder
from scallax.grounding.derivations import operand_literal
from scallax.kernels.row_sets import Buffer, RowTable
from scallax.language import ir


class Choices:
    """The bindings of each disjunctive rule that were met, and their literals; `uniform` gives each the prior 1/n.

    Without `uniform` a literal has the prior 1: the alternatives exclude each other and take nothing from the tag of
    the body, which is how the language counts groups by default.
    """

    __slots__ = ("_choices", "_first_literals", "_tables", "_uniform")

    def __init__(self, uniform: bool):
        self._uniform = uniform
        self._choices: dict[int, ir.Choice] = {}
        self._tables: dict[int, RowTable] = {}
        self._first_literals: dict[int, Buffer] = {}

    def fresh(self) -> "Choices":
        """The same kind of choices, without any binding."""
        return Choices(self._uniform)

    def operands(
        self,
        builder: DerivationBuilder,
        choice: ir.Choice,
        bindings: Sequence[np.ndarray],
        num_rows: int,
    ) -> np.ndarray:
        """Operand codes int64 `[rows]` of an alternative's literal for each binding; equal bindings share a group."""
        self._choices[choice.number] = choice
        table = self._tables.setdefault(choice.number, RowTable(len(bindings)))
        first = self._first_literals.setdefault(choice.number, Buffer())
        known = table.size
        rows = table.insert(bindings, num_rows)
        if table.size > known:
            prior = 1 / choice.count if self._uniform else 1.0
            first.append(builder.add_choices(table.size - known, choice.count, prior))
        # Operand codes of literals count downwards.
        return first.values[rows] - choice.alternative

    def by_choice(self) -> list[Bindings]:
        """The literals of each choice, choices in order; those of one group are in that of the alternatives."""
        found = []
        for number, choice in sorted(self._choices.items()):
            rows = np.repeat(np.arange(self._tables[number].size), choice.count)
            literals = operand_literal(self._first_literals[number].values[rows])
            literals += np.tile(np.arange(choice.count), self._tables[number].size)
            columns = [column[rows] for column in self._tables[number].columns]
            found.append(Bindings(literals, columns, [part.type for part in choice.bindings]))
        return found
