"""Casts between value types over whole columns; a value without an image is dropped."""

import re
from collections.abc import Callable

import numpy as np

from scallax.grounding.symbols import Symbols, as_objects, decode_values, encode, native_dtype
from scallax.language.functions import display
from scallax.language.values import ValueType

# The result of a cast: values, and a mask of those that exist (None: all).
Cast = tuple[np.ndarray, np.ndarray | None]

_INTEGER = re.compile(r"[+-]?[0-9]+")
_FLOAT = re.compile(r"[+-]?(inf|infinity|([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?)", re.IGNORECASE)


def cast(native: np.ndarray, source: ValueType, target: ValueType, symbols: Symbols) -> Cast:
    """Values of `source` as values of `target`.

    Integers wrap around to the target's width; floats are truncated and saturate, NaN giving 0; chars give
    their decimal digit; texts are parsed, and dropped where they are no literal of the target or exceed it.
    """
    if source is target:
        return native, None
    if source is ValueType.ENTITY:
        return symbols.intern(symbols.term_texts(native)), None
    if target is ValueType.STRING and source.is_text:
        return native, None
    if target is ValueType.STRING:
        distinct, inverse = np.unique(native, return_inverse=True)
        values = decode_values(encode(distinct, source, symbols), source, symbols)
        return symbols.intern([display(value, source) for value in values])[inverse.reshape(-1)], None
    if source is ValueType.STRING:
        texts = as_objects(symbols.values(native))
        return _by_distinct(texts, lambda text: _parse(text, target), target)
    if source is ValueType.CHAR:
        digits = native - ord("0")
        values, _ = cast(np.clip(digits, 0, 9), ValueType.I64, target, symbols)
        return values, (digits >= 0) & (digits <= 9)
    if target.is_float:
        with np.errstate(over="ignore"):
            return native.astype(native_dtype(target)), None
    if source.is_float:
        return _truncate(native, target), None
    return _wrap(native, target), None


def _wrap(native: np.ndarray, target: ValueType) -> np.ndarray:
    low, high = target.bounds
    if native.dtype.kind == "O" or native_dtype(target).kind == "O":
        span = high - low + 1
        wrapped = as_objects([(int(value) - low) % span + low for value in native.tolist()])
        return wrapped.astype(native_dtype(target))
    bits = (high - low).bit_length()
    # Between 64-bit and narrower integers NumPy's own conversions keep the low bits, as the language does.
    narrow = native.astype(np.dtype(f"{'i' if low else 'u'}{bits // 8}"))
    return narrow.astype(native_dtype(target))


def _truncate(native: np.ndarray, target: ValueType) -> np.ndarray:
    low, high = target.bounds
    wide = np.trunc(np.nan_to_num(native.astype(np.float64), nan=0.0, posinf=np.inf, neginf=-np.inf))
    small = np.abs(wide) < 2.0**53
    values = np.where(small, wide, 0.0).astype(np.int64)
    if np.all(small) and native_dtype(target).kind != "O":
        return np.clip(values, max(low, -(2**53)), min(high, 2**53)).astype(native_dtype(target))
    exact = [high if value >= high else low if value <= low else int(value) for value in wide.tolist()]
    return as_objects(exact).astype(native_dtype(target))


def _by_distinct(native: np.ndarray, convert: Callable, target: ValueType) -> Cast:
    """Converts every distinct value once; None is a value without an image."""
    distinct, inverse = np.unique(native, return_inverse=True)
    images = [convert(value) for value in distinct]
    exists = np.array([image is not None for image in images], np.bool_)
    values = as_objects([0 if image is None else image for image in images]).astype(native_dtype(target))
    inverse = inverse.reshape(-1)
    return values[inverse], exists[inverse]


def _parse(text: str, target: ValueType) -> int | float | None:
    if target.is_float:
        return float(text) if _FLOAT.fullmatch(text) else None
    if not _INTEGER.fullmatch(text) or (text.startswith("-") and not target.is_signed):
        return None
    # Longer texts exceed every type; Python refuses to convert very long ones.
    value = int(text) if len(text.lstrip("+-0")) <= 40 else None
    low, high = target.bounds
    return value if value is not None and low <= value <= high else None
