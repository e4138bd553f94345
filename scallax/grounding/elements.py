"""The tuples that an aggregate takes and the results that it gives, as columns."""

from dataclasses import dataclass, field

import numpy as np

from scallax import ir
from scallax.errors import Diagnostic, GroundingError
from scallax.grounding.conjunction import DerivationBuilder
from scallax.grounding.symbols import Symbols

# A group whose result can take more values than this is refused.
_MOST_VALUES = 1 << 16


@dataclass(frozen=True, slots=True)
class Elements:
    """The tuples to aggregate, by group and in value order, of the columns `arguments` and `values`.

    `positions` are counted from 0 in each group. `ranks` number the values of each column in their order. `operands`
    say in which worlds the tuples hold, in all if `!` takes them so; `tags` say it whether or not.
    """

    groups: np.ndarray
    positions: np.ndarray
    arguments: list[np.ndarray]
    values: list[np.ndarray]
    ranks: list[np.ndarray]
    value_ranks: list[np.ndarray]
    operands: np.ndarray
    tags: np.ndarray
    num_groups: int

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, rows: np.ndarray) -> "Elements":
        groups = self.groups[rows]
        return Elements(
            groups,
            number_in_groups(groups, self.num_groups),
            [column[rows] for column in self.arguments],
            [column[rows] for column in self.values],
            [column[rows] for column in self.ranks],
            [column[rows] for column in self.value_ranks],
            self.operands[rows],
            self.tags[rows],
            self.num_groups,
        )


@dataclass(frozen=True, slots=True)
class Results:
    """Groups, columns of result codes, and the operands that are conjoined for each row."""

    groups: np.ndarray
    columns: list[np.ndarray]
    factors: list[np.ndarray] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reducer:
    """One aggregate at work."""

    reduce: ir.Reduce
    symbols: Symbols
    builder: DerivationBuilder
    rule: int
    uses_tags: bool


def number_values(keys: np.ndarray) -> np.ndarray:
    """The number of each value in the order of all; equal values have one."""
    return np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)


def number_in_groups(groups: np.ndarray, num_groups: int) -> np.ndarray:
    """The place of each row in its group; the rows are sorted by group."""
    counts = np.bincount(groups, minlength=num_groups)
    return np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts)


def check_size(reducer: Reducer, groups: np.ndarray) -> None:
    """GroundingError if the results of one group are too many; `groups` int64 `[results]`."""
    largest = int(np.bincount(groups).max(initial=0))
    if largest > _MOST_VALUES:
        reduce = reducer.reduce
        raise GroundingError(
            Diagnostic(
                f"`{reduce.op}` can take more than {_MOST_VALUES:,} values in one group",
                reduce.span,
                f"group it by more variables, aggregate fewer uncertain tuples, or take all with `{reduce.op}!`",
            )
        )
