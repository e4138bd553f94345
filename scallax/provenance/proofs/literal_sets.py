"""The sets of literals that proofs are, as arrays: one interface for the forms in which they may be written."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

import numpy as np

from scallax.kernels.array_namespace import Namespace, array_namespace
from scallax.provenance.base import LiteralTable

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, Shaped, UInt32

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
    def oppose(self, a: Members, b: Members) -> Bool[Array, "... batch"]:
        """Whether a set has the complement of a literal of the other."""

    def fit(self, members: Members) -> Members:
        """Sets with as many places as compiled code has for them; NumPy at once has as many as some set needs."""
        return members

    @abstractmethod
    def covers(self, part: Members, whole: Members, absorb: bool) -> Bool[Array, "... batch"]:
        """Whether a set is contained in another, or, where sets do not absorb, equals it."""

    @abstractmethod
    def outlines(self, members: Members) -> Shaped[np.ndarray, "... batch"]:
        """Few bits of each set: those of a set that contains another are more, or the same. At once alone."""

    @abstractmethod
    def ranks(
        self,
        members: Members,
        literals: LiteralTable,
        *,
        grouped: bool,
        samples: Int[np.ndarray, " batch"] | None = None,
    ) -> Int[Array, "... batch"]:
        """The ranks of sets that do not contradict themselves, from their literals.

        The members of an exclusive group are independent, or (`grouped`) the outcomes of one variable. The last axis of
        the sets is the batch, or of each set one of its `samples`.
        """

    @abstractmethod
    def sizes(self, members: Members) -> Int[Array, "... batch"]:
        """How many columns sets have."""

    @abstractmethod
    def complements(self, members: Members, literals: LiteralTable) -> Members:
        """Sets of one literal as those of its complement, where all literals have both polarities."""

    @abstractmethod
    def digests(self, members: Members, seed: UInt32[Array, ""]) -> UInt32[Array, "... batch"]:
        """Random numbers of sets: `digest_words` of their bit sets, in whatever form they are."""

    @abstractmethod
    def fold_complements(
        self,
        step: Callable[[State, Int[Array, ...], Members], State],
        state: State,
        clause: Members,
        literals: LiteralTable,
    ) -> State:
        """The state after `step(state, ranks, members)` for the complements of a clause's literals, some at a time.

        Each has a rank `[..., complements, batch]`, `NO_PROOF` for none, and is a set by itself.
        """


def digest_words(numbers: Int[Array, ...], words: UInt32[Array, "*shape"], seed: UInt32[Array, ""]) -> Array:
    """Random numbers of the words of a bit set, 0 of empty ones; their sum is that of the set."""
    xp = array_namespace(words)
    keys = mix(seed + xp.asarray(numbers).astype(xp.uint32) * np.uint32(0x9E3779B9))
    return xp.where(words != 0, mix(words ^ keys), xp.uint32(0))


def mix(x: UInt32[Array, "*shape"]) -> UInt32[Array, "*shape"]:
    """A bijection of 32 bits that depends on every bit (Mueller's multiply and xor-shift)."""
    for _ in range(2):
        x = (x ^ (x >> 16)) * np.uint32(0x45D9F3B)
    return x ^ (x >> 16)
