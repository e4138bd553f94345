"""Constant tensors as values of tuples: equal if their dtypes, shapes and elements are."""

import base64
import binascii
from functools import total_ordering
from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class SupportsArray(Protocol):
    """What NumPy reads as an array: arrays of NumPy and JAX, tensors of torch."""

    def __array__(self) -> np.ndarray: ...


@total_ordering
class TensorValue:
    """A tensor in a tuple. `array` is a NumPy array of numbers or bools that cannot be written to.

    Ordered by shape, then dtype, then elements in row-major order; NaN equals NaN, and 0.0 equals -0.0.
    """

    __slots__ = ("_key", "array")

    def __init__(self, array: SupportsArray):
        """Copies the array. TypeError if its elements are no numbers."""
        # Adding 0 gives zeros one sign.
        found = np.array(np.asarray(array))
        if found.dtype.kind not in "biuf":
            raise TypeError(f"a tensor holds numbers or bools, not elements of dtype {found.dtype}")
        if found.dtype.kind == "f":
            found = np.where(np.isnan(found), found.dtype.type(np.nan), found + found.dtype.type(0))
        # The same bytes on every machine.
        found = np.ascontiguousarray(found, found.dtype.newbyteorder("<")).reshape(found.shape)
        found.setflags(write=False)
        self.array = found
        self._key = (found.shape, found.dtype.str, found.tobytes())

    @classmethod
    def of_data(cls, data: object) -> "TensorValue":
        """The tensor of `data()`; ValueError if it is none."""
        match data:
            case {"dtype": str() as dtype, "shape": list() as shape, "data": str() as text, **rest} if not rest:
                try:
                    array = np.frombuffer(base64.b64decode(text, validate=True), np.dtype(dtype)).reshape(shape)
                    return cls(array)
                except (TypeError, ValueError, binascii.Error) as error:  # damaged or crafted data
                    raise ValueError(f"no tensor: {error}") from None
            case _:
                raise ValueError("a tensor has a dtype, a shape and data")

    def data(self) -> dict:
        """JSON values that say the same."""
        shape, dtype, content = self._key
        return {"dtype": dtype, "shape": list(shape), "data": base64.b64encode(content).decode()}

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.array, dtype) if dtype is not None or copy else self.array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorValue) and self._key == other._key

    def __lt__(self, other: "TensorValue") -> bool:
        (shape, dtype, _), (other_shape, other_dtype, _) = self._key, other._key
        if (shape, dtype) != (other_shape, other_dtype):
            return (shape, dtype) < (other_shape, other_dtype)
        return self.array.ravel().tolist() < other.array.ravel().tolist()

    def __hash__(self) -> int:
        return hash(self._key)

    def __reduce__(self):
        return TensorValue, (self.array,)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        shown = np.array2string(self.array, separator=", ", threshold=8, edgeitems=2).replace("\n", "")
        return f"tensor({shown}, {self.array.dtype.name})"


def cosine_similarity(left: np.ndarray, right: np.ndarray) -> float | None:
    """The cosine of the angle between two tensors of one shape, 0 if one of them is 0; None for other shapes."""
    if left.shape != right.shape:
        return None
    first, second = (array.astype(np.float64).ravel() for array in (left, right))
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / norm) if norm > 0 else 0.0
