"""The meaning of each built-in function and predicate, in plain Python over single values; None is no value."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from scallax.language.values import ValueType


def call(function: str, values: tuple, types: tuple[ValueType, ...], result: ValueType) -> Any:
    """The value of a call, an f32 rounded to it, an integer cut to the bounds of its type."""
    found = _MATHEMATICS[function](*values) if function in _MATHEMATICS else _TEXTS[function](*values)
    if found is None or isinstance(found, str):
        return found
    if result.is_integer:
        low, high = result.bounds
        return min(max(int(found), low), high)
    with np.errstate(over="ignore"):
        return float(np.float32(found)) if result is ValueType.F32 else float(found)


def _power(base: float, exponent: float) -> float:
    with np.errstate(all="ignore"):
        return float(np.float64(base) ** np.float64(exponent))


def _exponential(value: float, base: float = math.e) -> float:
    return _power(base, value)


def _whole(compute: Callable[[float], int]) -> Callable:
    return lambda value: compute(value) if math.isfinite(value) else value


def _round(value: float) -> float:
    if isinstance(value, int):
        return value
    return math.copysign(math.floor(abs(value) + 0.5), value) if math.isfinite(value) else value


def _trigonometry(compute: Callable[[float], float]) -> Callable:
    return lambda value: compute(value) if math.isfinite(value) else math.nan


_MATHEMATICS: dict[str, Callable] = {
    "abs": abs,
    "floor": _whole(math.floor),
    "ceil": _whole(math.ceil),
    "round": _round,
    "sign": lambda value: (value > 0) - (value < 0),
    "max": lambda *values: sorted(values)[-1],
    "min": lambda *values: sorted(values)[0],
    "mod": lambda a, b: a % b if b else None,
    "pow": lambda base, exponent: base**exponent,
    "powf": _power,
    "sqrt": lambda value: math.sqrt(value) if value >= 0 else None,
    "exp": _exponential,
    "exp2": lambda value: _exponential(value, 2.0),
    "log": lambda value: math.log(value) if value > 0 else None,
    "log2": lambda value: math.log2(value) if value > 0 else None,
    "sin": _trigonometry(math.sin),
    "cos": _trigonometry(math.cos),
    "tan": _trigonometry(math.tan),
    "asin": lambda value: math.asin(value) if abs(value) <= 1 else None,
    "acos": lambda value: math.acos(value) if abs(value) <= 1 else None,
    "atan": math.atan,
    "atan2": math.atan2,
}


def _slice(text: str, first: int, end: int | None = None) -> str | None:
    """The characters whose bytes lie between two places, if those are places between characters."""
    places = [len(text[:i].encode()) for i in range(len(text) + 1)]
    end = places[-1] if end is None else end
    if first > end or first not in places or end not in places:
        return None
    return text[places.index(first) : places.index(end)]


def _ascii(text: str, change: Callable[[str], str]) -> str:
    return "".join(change(character) if character.isascii() else character for character in text)


_TEXTS: dict[str, Callable] = {
    # Without constructors no text writes a term.
    "parse_entity": lambda text: None,
    "string_concat": lambda *texts: "".join(texts),
    "string_length": lambda text: sum(len(character.encode()) for character in text),
    "string_char_at": lambda text, index: dict(enumerate(text)).get(index),
    "substring": _slice,
    "string_upper": lambda text: _ascii(text, str.upper),
    "string_lower": lambda text: _ascii(text, str.lower),
    "string_index_of": lambda text, part: len(text[: text.index(part)].encode()) if part in text else None,
    "string_replace": lambda text, old, new: text.replace(old, new),
    "string_trim": lambda text: text.strip(),
    "datetime_year": lambda date: int(date[:4]),
    "datetime_month": lambda date: int(date[5:7]),
    "datetime_month0": lambda date: int(date[5:7]) - 1,
    "datetime_day": lambda date: int(date[8:10]),
}


def _find(text: str, pattern: str) -> Iterable[tuple[int, int]]:
    place = text.find(pattern)
    while place >= 0:
        start = len(text[:place].encode())
        yield start, start + len(pattern)
        place = text.find(pattern, place + max(1, len(pattern)))


PREDICATES: dict[str, Callable[..., Iterable[tuple]]] = {
    "range": lambda first, end: [(i,) for i in range(first, end)],
    "range=": lambda first, end: [(i,) for i in range(first, end + 1)],
    "float_eq": lambda x, y: [()] if abs(x - y) < 0.001 else [],
    "string_chars": enumerate,
    "string_index": lambda text: [(i,) for i in range(len(text.encode()))],
    "string_find": _find,
    "string_split": lambda text, pattern: [(part,) for part in text.split(pattern)],
    "datetime_ymd": lambda date: [(int(date[:4]), int(date[5:7]), int(date[8:10]))],
}
