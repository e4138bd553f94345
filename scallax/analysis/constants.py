"""Numbers and truth values that are written as expressions of constants, such as the tags of exclusive facts."""

import math
import operator
from collections.abc import Callable

from scallax.syntax import ast

_COMPARISONS: dict[str, Callable[[float, float], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_LOGIC: dict[str, Callable[[bool, bool], bool]] = {"&&": operator.and_, "||": operator.or_, "^": operator.xor}
_ARITHMETIC: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
}


ValueOf = Callable[[str], float | bool | None]


def fold(expression: ast.Expression, value_of: ValueOf) -> float | bool | None:
    """The value of an expression of numbers and bools; None if it has none, or holds anything else.

    `value_of` gives the values of names. Two integers give an integer; `/` and `%` of them truncate, as everywhere
    in the language.
    """
    match expression:
        case ast.Literal(value=value):
            return value if isinstance(value, int | float) else None
        case ast.Name(name=name):
            return value_of(name)
        case ast.Unary(op=op, operand=operand):
            return _unary(op, fold(operand, value_of))
        case ast.Binary(op=op, left=left, right=right):
            return _binary(op, fold(left, value_of), fold(right, value_of))
        case ast.Conditional(condition=condition, then=then, otherwise=otherwise):
            holds = fold(condition, value_of)
            return fold(then if holds else otherwise, value_of) if isinstance(holds, bool) else None
        case ast.Cast(operand=operand, type=type) if type.name in ("f32", "f64"):
            value = fold(operand, value_of)
            return None if value is None or isinstance(value, bool) else float(value)
        case _:
            return None


def _unary(op: str, value: float | bool | None) -> float | bool | None:
    if op == "!":
        return not value if isinstance(value, bool) else None
    if value is None or isinstance(value, bool):
        return None
    return -value if op == "-" else value


def _binary(op: str, left: float | bool | None, right: float | bool | None) -> float | bool | None:
    if left is None or right is None or isinstance(left, bool) != isinstance(right, bool):
        return None
    if op in _COMPARISONS:
        return _COMPARISONS[op](left, right)
    if isinstance(left, bool) and isinstance(right, bool):
        return _LOGIC[op](left, right) if op in _LOGIC else None
    if op in _ARITHMETIC:
        return _ARITHMETIC[op](left, right)
    if op not in ("/", "%") or right == 0:
        return None
    if isinstance(left, int) and isinstance(right, int):
        quotient = abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)
        return quotient if op == "/" else left - quotient * right
    return left / right if op == "/" else math.fmod(left, right)
