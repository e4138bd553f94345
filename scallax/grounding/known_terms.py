"""The terms that each sample of a batch knows: those that all share, those of its facts, and those that it makes."""

from collections.abc import Collection, Sequence

import numpy as np

from scallax.grounding.terms import Terms
from scallax.kernels.row_sets import Columns, RowTable
from scallax.language.values import ValueType


class KnownTerms:
    """The terms, as codes of one table for the whole batch, that each sample knows; with a term it knows its parts.

    `num_shared` is, for each constructor, the number of terms that all samples share; these have the lowest codes.
    `listed` are the constructors whose terms the program lists.
    """

    __slots__ = ("_num_shared", "_tables", "_terms")

    def __init__(self, terms: Terms, num_shared: tuple[int, ...], num_samples: int, listed: Collection[str]):
        self._terms = terms
        self._num_shared = np.array(num_shared, np.int64)
        # Pairs of a sample and a code, for each constructor; shared terms stand there if they are asked for.
        self._tables = [RowTable(2) for _ in terms.variants]
        for number, variant in enumerate(terms.variants):
            if variant.name in listed:
                shared = np.arange(num_shared[number]) * len(self._tables) + number
                samples = np.repeat(np.arange(num_samples), len(shared))
                self._tables[number].insert([samples, np.tile(shared, num_samples)], len(samples))

    def add(self, samples: np.ndarray, codes: np.ndarray) -> None:
        """Each sample int64 `[terms]` knows the term of the code beside it; -1 is none."""
        count = len(self._tables)
        pending = [(samples, codes)]
        while pending:
            samples, codes = pending.pop()
            number = codes % count
            own = (codes >= 0) & (codes // count >= self._num_shared[number])
            for constructor in np.unique(number[own]).tolist():
                chosen = own & (number == constructor)
                table, before = self._tables[constructor], self._tables[constructor].size
                table.insert([samples[chosen], codes[chosen]], int(np.count_nonzero(chosen)))
                if table.size == before:
                    continue
                of_term, fresh = (column[before:].copy() for column in table.columns)
                variant = self._terms.variants[constructor]
                arguments = self._terms.arguments(fresh, variant.name)
                pending += [
                    (of_term, column)
                    for column, type in zip(arguments, variant.columns, strict=True)
                    if type is ValueType.ENTITY
                ]

    def add_columns(self, samples: np.ndarray, columns: Columns, types: Sequence[ValueType]) -> None:
        """Each sample knows the terms in columns of codes."""
        for column, type in zip(columns, types, strict=True):
            if type is ValueType.ENTITY:
                self.add(samples, column)

    def listed(self, constructor: str, start: int) -> tuple[list[np.ndarray], int]:
        """Samples, codes and arguments of the constructor's known terms from the row `start` on; how many there are."""
        table = self._tables[self._terms.number(constructor)]
        samples, codes = (column[start:].copy() for column in table.columns)
        return [samples, codes, *self._terms.arguments(codes, constructor)], table.size - start
