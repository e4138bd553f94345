"""The names of queries, under which their answers are found."""

from scallax.language.functions import display
from scallax.language.values import ValueType
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind
from scallax.syntax.printer import print_parts

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
        case _:
            return print_parts(expression, name_query)
