"""Arithmetic over columns as the language defines it: integers saturate, division truncates.

`outside`, where it is given, takes a mask of the rows whose exact result is outside the type.
"""

import operator

import numpy as np

from scallax.grounding.symbols import as_objects, native_dtype
from scallax.language.values import ValueType

_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}


def saturating(
    op: str, left: np.ndarray, right: np.ndarray, type: ValueType, outside: list[np.ndarray] | None = None
) -> np.ndarray:
    """`+`, `-` or `*` of two integer columns, cut to the bounds of their type."""
    operation = _OPERATIONS[op]
    low, high = type.bounds
    dtype = native_dtype(type)
    if dtype.kind == "O":
        whole = operation(left, right)
        cut = np.minimum(np.maximum(whole, low), high)
        if outside is not None:
            outside.append((whole != cut).astype(np.bool_))
        return cut
    exact = operation(left, right)
    # The product of two f64 images is within a factor 1 ± 2^-50: below 2^62 the integers cannot have wrapped.
    size = np.abs(operation(left.astype(np.float64), right.astype(np.float64)))
    if dtype == np.uint64 and op == "-":
        is_outside = left < right
        exact[is_outside] = 0
        if outside is not None:
            outside.append(is_outside)
        return exact
    wide = np.flatnonzero(size >= 2.0**62)
    cut = np.clip(exact, low, high) if (high - low).bit_length() < 64 else exact
    if outside is not None:
        outside.append(cut != exact)
    if len(wide):
        whole = operation(left[wide].astype(object), right[wide].astype(object))
        nearest = np.minimum(np.maximum(whole, low), high)
        cut[wide] = nearest.astype(dtype)
        if outside is not None:
            outside[-1][wide] = whole != nearest
    return cut


def truncated_quotient(
    left: np.ndarray, right: np.ndarray, type: ValueType, outside: list[np.ndarray] | None = None
) -> np.ndarray:
    """Integer division toward zero; `right` has no zero. The one quotient beyond the bounds saturates."""
    low, high = type.bounds
    if outside is not None and type.is_signed:
        outside.append(((left == low) & (right == -1)).astype(np.bool_))
    if native_dtype(type).kind == "O":
        quotients = [
            abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)
            for a, b in zip(left.tolist(), right.tolist(), strict=True)
        ]
        return np.minimum(as_objects(quotients), high)
    if not type.is_signed:
        return left // right
    overflow = (left == low) & (right == -1)
    left = np.where(overflow, -high, left)
    return (left - np.fmod(left, right)) // right


def truncated_remainder(left: np.ndarray, right: np.ndarray, type: ValueType) -> np.ndarray:
    """The remainder of `truncated_quotient`, with the sign of the dividend."""
    if native_dtype(type).kind == "O":
        remainders = [
            abs(a) % abs(b) * (-1 if a < 0 else 1) for a, b in zip(left.tolist(), right.tolist(), strict=True)
        ]
        return as_objects(remainders)
    if not type.is_signed:
        return left % right
    # The smallest integer modulo -1 traps in hardware on some machines.
    return np.fmod(left, np.where(right == -1, 1, right))
