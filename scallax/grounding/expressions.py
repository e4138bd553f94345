"""Values of expressions over the columns of a table."""

from collections.abc import Mapping
from typing import assert_never

import numpy as np

from scallax.errors import Diagnostic, GroundingError, Span
from scallax.grounding.arithmetic import saturating, truncated_quotient, truncated_remainder
from scallax.grounding.calls import call, combine_tensors, combine_times
from scallax.grounding.casts import cast
from scallax.grounding.foreign_calls import ForeignCalls
from scallax.grounding.known_terms import KnownTerms
from scallax.grounding.limits import raise_limit
from scallax.grounding.symbols import Symbols, by_content, decode, encode, encode_values, native_dtype, sort_keys
from scallax.language import ir
from scallax.language.ir import print_expression
from scallax.language.values import ValueType
from scallax.planner.samples import SAMPLE

_COMPARISONS = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
_CONNECTIVES = {"&&": np.logical_and, "||": np.logical_or, "^": np.logical_xor}


class Evaluation:
    """Evaluates expressions over the rows of a table and remembers the rows that have no value.

    `columns` are codes by variable name. `missing` bool `[rows]`, or None while every row has a value: a cast
    or a float division of the row failed. `rule` is the span to blame for a division by zero. `calls` are those of
    Python functions so far; without them there are only the built-in ones. `known` are told which terms are made, by
    the samples of the rows.
    """

    __slots__ = ("_calls", "_columns", "_known", "_rule", "_symbols", "missing", "num_rows")

    def __init__(
        self,
        columns: Mapping[str, np.ndarray],
        num_rows: int,
        symbols: Symbols,
        rule: Span | None,
        calls: ForeignCalls | None = None,
        known: KnownTerms | None = None,
    ):
        self._calls = calls or ForeignCalls()
        self._known = known
        self._columns = columns
        self._symbols = symbols
        self._rule = rule
        self.num_rows = num_rows
        self.missing: np.ndarray | None = None

    def native(self, expression: ir.Expression, outside: list[np.ndarray] | None = None) -> np.ndarray:
        """The values `[rows]` in the native dtype of the expression's type.

        `outside`, if given, collects masks of the rows in which an integer leaves its type in the computation. The
        arguments of functions, constructors and conditions are values, which saturate and are not collected.
        """
        match expression:
            case ir.Variable(name=name, type=type):
                return decode(self._columns[name], type, self._symbols)
            case ir.Constant(value=value, type=type):
                constant = decode(encode_values([value], type, self._symbols), type, self._symbols)
                return constant.repeat(self.num_rows)
            case ir.Unary():
                return self._unary(expression, outside)
            case ir.Binary(op=op, left=left, right=right):
                if op in _COMPARISONS:
                    return self._compare(op, left, right)
                if op in _CONNECTIVES:
                    return _CONNECTIVES[op](self.native(left), self.native(right))
                return self._arithmetic(expression, outside)
            case ir.Conditional():
                return self._choose(expression, outside)
            case ir.Cast(operand=operand, type=type):
                values, exists = cast(self.native(operand, outside), operand.type, type, self._symbols)
                if exists is not None:
                    self._drop(~exists)
                return values
            case ir.New(constructor=constructor, arguments=arguments):
                columns = [encode(self.native(part), part.type, self._symbols) for part in arguments]
                if self.missing is None:
                    return self._made(self._symbols.terms.intern(constructor, columns, self.num_rows))
                # A term of an argument without a value is not made.
                codes = np.zeros(self.num_rows, np.int64)
                rows = (~self.missing).nonzero()[0]
                codes[rows] = self._symbols.terms.intern(constructor, [column[rows] for column in columns], len(rows))
                return self._made(codes)
            case ir.Call(function=function, arguments=arguments, type=type):
                types = [argument.type for argument in arguments]
                natives = [self.native(argument) for argument in arguments]
                span = expression.span or self._rule
                values, exists = call(
                    function, natives, types, type, self.num_rows, self._symbols, self._calls, self.missing, span
                )
                if exists is not None:
                    self._drop(~exists)
                return self._made(values) if type is ValueType.ENTITY else values
            case _:
                assert_never(expression)

    def codes(self, expression: ir.Expression) -> np.ndarray:
        """The codes int64 `[rows]` of the values."""
        if isinstance(expression, ir.Variable):
            return self._columns[expression.name]
        return encode(self.native(expression), expression.type, self._symbols)

    def _made(self, codes: np.ndarray) -> np.ndarray:
        """The codes of terms that the rows made, which their samples know; -1 is none."""
        if self._known is not None:
            self._known.add(self._columns[SAMPLE], codes if self.missing is None else np.where(self.missing, -1, codes))
        return codes

    def exact(self, expression: ir.Expression) -> tuple[np.ndarray, np.ndarray | None]:
        """The values `[rows]`, and the rows in which an integer leaves its type on the way (None: in none)."""
        outside: list[np.ndarray] = []
        values = self.native(expression, outside)
        found = [rows for rows in outside if np.any(rows)]
        return values, np.logical_or.reduce(found) if found else None

    def matches(self, equation: ir.Binary) -> np.ndarray:
        """Where the sides of an `==` are the same number, or those of a `!=` are not.

        A side that is no number of its type is not the same as anything.
        """
        left, left_outside = self.exact(equation.left)
        right, right_outside = self.exact(equation.right)
        holds = _COMPARISONS[equation.op](left, right).astype(np.bool_, copy=False)
        for outside in (left_outside, right_outside):
            if outside is not None:
                holds = holds & ~outside if equation.op == "==" else holds | outside
        return holds

    def _drop(self, rows: np.ndarray) -> None:
        if np.any(rows):
            self.missing = rows if self.missing is None else self.missing | rows

    def _unary(self, expression: ir.Unary, outside: list[np.ndarray] | None) -> np.ndarray:
        values = self.native(expression.operand, outside)
        if expression.op == "!":
            return ~values
        if expression.type.is_float:
            return -values
        return saturating("-", np.zeros_like(values), values, expression.type, outside)

    def _compare(self, op: str, left: ir.Expression, right: ir.Expression) -> np.ndarray:
        values = self.native(left), self.native(right)
        if (left.type.is_numbered or left.type is ValueType.ENTITY) and op not in ("==", "!="):
            codes = by_content(np.concatenate(values), left.type, self._symbols)
            ranks = sort_keys(codes, left.type, self._symbols)
            values = ranks[: self.num_rows], ranks[self.num_rows :]
        return _COMPARISONS[op](*values).astype(np.bool_, copy=False)

    def _arithmetic(self, expression: ir.Binary, outside: list[np.ndarray] | None) -> np.ndarray:
        left, right = self.native(expression.left, outside), self.native(expression.right, outside)
        if expression.type is ValueType.STRING:
            return self._concatenate(expression, left, right)
        if expression.type is ValueType.TENSOR:
            return combine_tensors(expression, left, right, self._symbols, self.missing)
        if expression.left.type.is_time:
            if expression.op == "/":
                self._check_divisor(expression, right)
            values, exists = combine_times(expression, left, right, self._symbols)
            if exists is not None:
                self._drop(~exists)
            return values
        if expression.type.is_float:
            return self._float_arithmetic(expression.op, left, right)
        if expression.op in "+-*":
            return saturating(expression.op, left, right, expression.type, outside)
        self._check_divisor(expression, right)
        divisor = np.where(right == 0, right.dtype.type(1) if right.dtype.kind != "O" else 1, right)
        if expression.op == "/":
            return truncated_quotient(left, divisor, expression.type, outside)
        return truncated_remainder(left, divisor, expression.type)

    def _check_divisor(self, expression: ir.Binary, divisor: np.ndarray) -> None:
        zero = (divisor == 0).astype(np.bool_, copy=False)
        if self.missing is not None:
            zero &= ~self.missing
        if np.any(zero):
            raise GroundingError(
                Diagnostic(
                    f"division by zero in `{print_expression(expression)}`",
                    expression.span or self._rule,
                    "choose the divisor with `if ... then ... else`, or give the rule a constraint that it is not 0",
                )
            )

    def _float_arithmetic(self, op: str, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            match op:
                case "+":
                    return left + right
                case "-":
                    return left - right
                case "*":
                    return left * right
                case "/":
                    values = left / right
                case _:
                    values = np.fmod(left, right)
        self._drop(np.isnan(values))
        return values

    def _concatenate(self, expression: ir.Binary, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        pairs, inverse = np.unique(np.stack([left, right], axis=1), axis=0, return_inverse=True)
        first, second = self._symbols.values(pairs[:, 0]), self._symbols.values(pairs[:, 1])
        if sum(map(len, first)) + sum(map(len, second)) > self._symbols.max_characters:
            raise GroundingError(
                Diagnostic(
                    f"the texts `{print_expression(expression)}` pass the limit of"
                    f" {self._symbols.max_characters:,} characters",
                    expression.span or self._rule,
                    "if the recursion does not end, bound it with a constraint, or give `iter_limit`; if it does,"
                    f" {raise_limit('characters')}",
                )
            )
        return self._symbols.intern([a + b for a, b in zip(first, second, strict=True)])[inverse.reshape(-1)]

    def _choose(self, expression: ir.Conditional, outside: list[np.ndarray] | None) -> np.ndarray:
        """Evaluates either branch only on the rows that take it: the other may divide by zero there."""
        taken = self.native(expression.condition)
        values = np.zeros(self.num_rows, native_dtype(expression.type))
        for rows, branch in ((taken, expression.then), (~taken, expression.otherwise)):
            positions = rows.nonzero()[0]
            columns = {name: column[positions] for name, column in self._columns.items()}
            inner = Evaluation(columns, len(positions), self._symbols, self._rule, self._calls, self._known)
            inner.missing = None if self.missing is None else self.missing[positions]
            inner_outside: list[np.ndarray] = []
            values[positions] = inner.native(branch, None if outside is None else inner_outside)
            if outside is not None:
                for mask in inner_outside:
                    outside.append(np.zeros(self.num_rows, np.bool_))
                    outside[-1][positions] = mask
            if inner.missing is not None:
                missing = np.zeros(self.num_rows, np.bool_)
                missing[positions] = inner.missing
                self._drop(missing)
        return values
