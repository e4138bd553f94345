"""Constant folding: numbers and truth values written as expressions, such as the tags of exclusive facts."""

import math
import operator
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from scallax.errors import Span
from scallax.language.records import record
from scallax.language.values import ValueType
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind

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


@record
class Folding:
    """Computes expressions of constants.

    `value_of` gives the value of a name and `type_of` its type; `report` takes a problem, its place, and a hint.
    """

    value_of: Callable[[str], ast.Constant | None]
    type_of: Callable[[ast.TypeName], ValueType]
    report: Callable[[str, Span, str | None], None]

    def fold(self, expression: ast.Expression) -> ast.Constant | None:
        """The value of an expression of numbers and bools; None if it has no value, or contains anything else.

        A number takes its type from the numbers it is computed from. If they have one, integers saturate and floats are
        rounded, as everywhere in the language. Numbers without a type are computed exactly, and two integers give an
        integer. Numbers of two different types are reported.
        """
        match expression:
            case ast.Constant(value=value):
                return expression if isinstance(value, int | float) else None
            case ast.Name(name=name):
                return self.value_of(name)
            case ast.Unary(op=op, operand=operand, span=span):
                return _unary(op, self.fold(operand), span)
            case ast.Binary(op=op, left=left, right=right, span=span):
                return self._binary(op, self.fold(left), self.fold(right), span)
            case ast.Conditional(condition=condition, then=then, otherwise=otherwise, span=span):
                holds = self.fold(condition)
                if holds is None or not isinstance(holds.value, bool):
                    return None
                taken, other = (then, otherwise) if holds.value else (otherwise, then)
                found, unused = self.fold(taken), self.fold(other)
                if found is None or unused is None or _is_bool(found) or _is_bool(unused):
                    return found
                pair = self._alike(found, unused, span)
                return None if pair is None else pair[0]
            case ast.Cast(operand=operand, type=type, span=span):
                return _cast(self.fold(operand), self.type_of(type), span)
            case _:
                return None

    def _binary(
        self, op: str, left: ast.Constant | None, right: ast.Constant | None, span: Span
    ) -> ast.Constant | None:
        if left is None or right is None or _is_bool(left) != _is_bool(right):
            return None
        if isinstance(left.value, bool) and isinstance(right.value, bool):
            function = _COMPARISONS.get(op) or _LOGIC.get(op)
            return None if function is None else _literal(function(left.value, right.value), None, span)
        pair = self._alike(left, right, span)
        if pair is None:
            return None
        type = pair[0].type
        first, second = _number(pair[0]), _number(pair[1])
        if op in _COMPARISONS:
            return _literal(_COMPARISONS[op](first, second), None, span)
        if op in _ARITHMETIC:
            return _literal(_ARITHMETIC[op](first, second), type, span)
        if op not in ("/", "%") or second == 0:
            return None
        if isinstance(first, int) and isinstance(second, int):
            quotient = abs(first) // abs(second) * (1 if (first < 0) == (second < 0) else -1)
            return _literal(quotient if op == "/" else first - quotient * second, type, span)
        return _literal(first / second if op == "/" else math.fmod(first, second), type, span)

    def _alike(self, left: ast.Constant, right: ast.Constant, span: Span) -> tuple[ast.Constant, ast.Constant] | None:
        """Two numbers with one type, or with none. Two types, or a number that does not fit, are reported."""
        type = left.type or right.type
        if type is None:
            return left, right
        for literal in (left, right):
            if literal.type not in (None, type):
                hint = f"convert one of the two with `as`, to `{type}` or to `{literal.type}`"
                self.report(f"constants of the types `{type}` and `{literal.type}` are combined", span, hint)
                return None
            if literal.type is None and not literal_fits(literal, type):
                hint = f"write another number, or convert the constant of type `{type}` with `as`"
                self.report(f"{literal.value} does not fit `{type}`, the type of the constant beside it", span, hint)
                return None
        return typed(left, type), typed(right, type)


def typed(literal: ast.Constant, type: ValueType) -> ast.Constant:
    """A literal as a value of a type, which it fits."""
    if type.is_float and literal.kind is ConstantKind.INTEGER:
        literal = replace(literal, value=float(literal.value), kind=ConstantKind.FLOAT)
    return replace(literal, type=type)


def literal_fits(literal: ast.Constant, type: ValueType) -> bool:
    """Whether a literal can stand in a column of a type: numbers must fit by kind and range, others by kind."""
    match literal.kind:
        case ConstantKind.INTEGER if type.is_float:
            return literal.value >= 0  # pyright: ignore[reportOperatorIssue]  # an integer literal holds an int
        case ConstantKind.INTEGER | ConstantKind.BOOL:
            return type.admits(literal.value)
        case ConstantKind.FLOAT:
            return type.is_float
        case ConstantKind.CHAR:
            return type is ValueType.CHAR
        case ConstantKind.STRING:
            return type is ValueType.STRING
        case ConstantKind.SYMBOL:
            return type is ValueType.SYMBOL
        case ConstantKind.DATETIME:
            return type is ValueType.DATETIME
        case ConstantKind.DURATION:
            return type is ValueType.DURATION


def _is_bool(literal: ast.Constant) -> bool:
    return literal.kind is ConstantKind.BOOL


def _number(literal: ast.Constant) -> int | float:
    assert isinstance(literal.value, int | float)
    return literal.value


def _literal(value: float | bool, type: ValueType | None, span: Span) -> ast.Constant:
    """A computed value as a literal of its type."""
    if isinstance(value, bool):
        return ast.Constant(value, ConstantKind.BOOL, span)
    if type is not None and type.is_integer:
        low, high = type.bounds
        value = min(max(int(value), low), high)
    elif type is ValueType.F32:
        with np.errstate(over="ignore"):
            value = float(np.float32(value))
    return ast.Constant(value, ConstantKind.FLOAT if isinstance(value, float) else ConstantKind.INTEGER, span, type)


def _unary(op: str, operand: ast.Constant | None, span: Span) -> ast.Constant | None:
    if operand is None or _is_bool(operand) != (op == "!"):
        return None
    if op == "!":
        return _literal(not operand.value, None, span)
    return _literal(-_number(operand) if op == "-" else _number(operand), operand.type, span)


def _cast(operand: ast.Constant | None, type: ValueType, span: Span) -> ast.Constant | None:
    """A number as a value of another type: integers wrap; floats are truncated, and saturate."""
    if operand is None or _is_bool(operand) or not type.is_number:
        return None
    value = _number(operand)
    if type.is_integer and isinstance(value, int):
        low, high = type.bounds
        value = (value - low) % (high - low + 1) + low
    elif type.is_integer:
        if not math.isfinite(value):
            return None
        value = int(value)
    return _literal(float(value) if type.is_float else value, type, span)
