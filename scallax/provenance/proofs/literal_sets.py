"""The sets of literals that proofs are, as arrays: one interface for the forms in which they may be written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np

from scallax.kernels.array_namespace import Namespace
from scallax.provenance.base import LiteralTable

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Shaped

    from scallax.kernels.array_namespace import Array

# The members of sets: bits, or numbers of columns.
Members: TypeAlias = "Shaped[Array, '... places batch']"
State = TypeVar("State")


class Unions(NamedTuple):
    """Unions of two sets each: their members, whether no world makes all of one true, whether the two share a column.

    `contradict` is None where no sets of the program contradict each other.
    """

    members: Members
    contradict: Bool[Array, "... batch"] | None
    share: Bool[Array, "... batch"]


class AbstractLiteralSets(ABC):
    """A form of sets of columns, literals in one polarity each: arrays with the axes `places, batch` at the end.

    A final class is a frozen dataclass of numbers, on which compiled code may depend: of words of positive and negated
    literals, in the first `both` of which equal columns are one literal in its two polarities.
    """

    positive: int
    both: int
    negated: int
    has_groups: bool

    @property
    @abstractmethod
    def fill(self) -> np.generic:
        """The value at all places of the empty set."""

    @property
    @abstractmethod
    def largest(self) -> np.generic:
        """A value that is at no place of a set, or above all others."""

    @abstractmethod
    def of_columns(self, xp: Namespace, columns: Int[Array, " sets"], exclusions: Array) -> Shaped[Array, "sets ..."]:
        """The sets `[sets, places]` of one column each, with the members of a group that it excludes; -1 is none."""

    @abstractmethod
    def ordering(self, places: int) -> Sequence[int]:
        """Those of so many places by which sets are told apart and ordered, the one that counts most first."""

    @abstractmethod
    def join(self, a: Members, b: Members, literals: LiteralTable) -> Unions:
        """The unions of sets."""

    @abstractmethod
    def covers(self, part: Members, whole: Members, absorb: bool) -> Bool[Array, "... batch"]:
        """Whether a set is contained in another, or, where sets do not absorb, equals it."""

    @abstractmethod
    def ranks(self, members: Members, literals: LiteralTable, *, grouped: bool) -> Int[Array, "... batch"]:
        """The ranks of sets that do not contradict themselves, from their literals."""

    @abstractmethod
    def fold_complements(
        self,
        step: Callable[[State, Int[Array, ...], Members], State],
        state: State,
        clause: Members,
        literals: LiteralTable,
    ) -> State:
        """The state after `step(state, ranks, members)` for the complements of a clause's literals, some at a time.

        Of each the rank `[..., complements, batch]`, `NO_PROOF` for none, and the set that it is alone.
        """
