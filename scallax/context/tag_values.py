"""The tags of a relation's tuples, in one array: scalars of them are made where they are looked at."""

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any, final, overload

import numpy as np

from scallax.kernels.shortest_numbers import shortest_numbers


@final
class NumberTags(Sequence):
    """Numbers in an array of NumPy `[tuples]`, as numbers of Python: of float32 ones the shortest that are equal."""

    __slots__ = ("_values",)

    def __init__(self, values: np.ndarray) -> None:
        self._values = values

    @property
    def array(self) -> np.ndarray:
        """The tags as one array `[tuples]`, a copy."""
        return self._values.copy()

    @property
    def numbers(self) -> np.ndarray:
        """The numbers that looking at the tags gives, as one array `[tuples]`."""
        return shortest_numbers(self._values) if self._values.dtype.kind == "f" else self._values

    def __len__(self) -> int:
        return len(self._values)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "NumberTags": ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return NumberTags(self._values[index])
        return NumberTags(self._values[index][None]).numbers[0].item()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.numbers.tolist())


@final
class Scalars:
    """An array of a framework `[outputs]`, and its scalars, which are made at once when one of them is looked at.

    Of a relation that version 0.1 pickled there is no array, but a list of scalars.
    """

    def __init__(self, values: Any, split: Callable[[Any], list[Any]]) -> None:
        self.values, self._split = values, split

    @cached_property
    def all(self) -> list[Any]:
        """The scalars of the array."""
        return self._split(self.values)


@final
class ArrayTags(Sequence):
    """Scalars of a framework's array, those at some `places`: gradients pass through them, and through the array."""

    __slots__ = ("_places", "_scalars")

    def __init__(self, scalars: Scalars, places: Sequence[int]) -> None:
        self._scalars, self._places = scalars, places

    @property
    def array(self) -> Any:
        """The tags as one array of the framework `[tuples]`."""
        values, places = self._scalars.values, self._places
        if isinstance(values, list):
            return self.numbers
        if isinstance(places, range):
            return values[places.start : places.stop]
        return values[np.asarray(places, np.int64)]

    @property
    def numbers(self) -> np.ndarray:
        """The tags as numbers, in an array of NumPy `[tuples]`."""
        return np.array([tag.item() for tag in self], np.float64)

    def __reduce__(self) -> tuple:
        # The scalars of any framework's array are those that going through it gives.
        return array_tags, (self.array,)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> "ArrayTags": ...
    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return ArrayTags(self._scalars, self._places[index])
        return self._scalars.all[self._places[index]]

    def __iter__(self) -> Iterator[Any]:
        return map(self._scalars.all.__getitem__, self._places)


def array_tags(values: Any) -> ArrayTags:
    """The tags of an array, or of a list of scalars."""
    return ArrayTags(Scalars(values, list), range(len(values)))
