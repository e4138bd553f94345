"""The names of queries, under which their answers are found."""

from collections.abc import Iterable
from typing import assert_never

from scallax.language.functions import display
from scallax.language.values import ValueType
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind
from scallax.syntax.printer import print_expression

_QUOTES = {
    ConstantKind.CHAR: ("'", "'"),
    ConstantKind.STRING: ('"', '"'),
    ConstantKind.SYMBOL: ('s"', '"'),
    ConstantKind.DATETIME: ('t"', '"'),
    ConstantKind.DURATION: ('d"', '"'),
}


def name_query(expression: ast.Expression) -> str:
    """The name of a query, in Scallop's notation: operators in parentheses, `2.0` as `2`, texts as they are.

    The name need not be a program text that parses.
    """
    match expression:
        case ast.Constant(value=float() as value):
            return display(value, ValueType.F64)
        case ast.Constant(value=value, kind=kind) if kind in _QUOTES:
            opening, closing = _QUOTES[kind]
            return f"{opening}{value}{closing}"
        case ast.Constant() | ast.Name() | ast.Wildcard():
            return print_expression(expression)
        case ast.Unary(op=op, operand=operand):
            return f"({op}{name_query(operand)})"
        case ast.Binary(op=op, left=left, right=right):
            return f"({name_query(left)} {op} {name_query(right)})"
        case ast.Conditional(condition=condition, then=then, otherwise=otherwise):
            return f"if {name_query(condition)} then {name_query(then)} else {name_query(otherwise)}"
        case ast.Cast(operand=operand, type=type):
            return f"({name_query(operand)} as {type.name})"
        case ast.Call(function=function, arguments=arguments):
            return f"${function}({_list(arguments)})"
        case ast.New(constructor=constructor, arguments=arguments):
            return f"new {constructor}({_list(arguments)})"
        case ast.Application(name=name, arguments=arguments):
            return f"{name}({_list(arguments)})"
        case _:
            assert_never(expression)


def _list(expressions: Iterable[ast.Expression]) -> str:
    return ", ".join(map(name_query, expressions))
