"""Prints syntax trees as text that parses to the same tree."""

import math
from collections.abc import Callable, Iterable
from itertools import repeat
from typing import assert_never

from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind

_ESCAPED = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r", "\0": "\\0"}


def print_program(program: ast.Program) -> str:
    """The text of a program, one line for each item."""
    return "".join(f"{_item(item)}\n" for item in program.items)


def print_expression(expression: ast.Expression) -> str:
    """The text of an expression; subexpressions with an operator are in parentheses."""
    match expression:
        case ast.Unary(op=op, operand=ast.Constant() as operand) if not _literal(operand).startswith("-"):
            # Without its parentheses the number would be a literal with a sign.
            return f"({op}({_literal(operand)}))"
        case ast.Conditional():
            return f"({print_parts(expression, print_expression)})"
        case ast.Application(name=name, arguments=arguments, parameters=parameters):
            return f"{name}{_parameters(parameters)}({_expressions(arguments)})"
        case _:
            return print_parts(expression, print_expression)


def print_parts(expression: ast.Expression, show: Callable[[ast.Expression], str]) -> str:
    """The text of an expression whose subexpressions `show` writes; the least that tells what it is."""
    match expression:
        case ast.Constant():
            return _literal(expression)
        case ast.Name(name=name):
            return name
        case ast.Wildcard():
            return "_"
        case ast.Unary(op=op, operand=operand):
            return f"({op}{show(operand)})"
        case ast.Binary(op=op, left=left, right=right):
            return f"({show(left)} {op} {show(right)})"
        case ast.Conditional(condition=condition, then=then, otherwise=otherwise):
            return f"if {show(condition)} then {show(then)} else {show(otherwise)}"
        case ast.Cast(operand=operand, type=type):
            return f"({show(operand)} as {type.name})"
        case ast.Call(function=function, arguments=arguments):
            return f"${function}({', '.join(map(show, arguments))})"
        case ast.New(constructor=name, arguments=arguments):
            return f"new {name}({', '.join(map(show, arguments))})"
        case ast.Application(name=name, arguments=arguments):
            return f"{name}({', '.join(map(show, arguments))})"
        case _:
            assert_never(expression)


def _expressions(expressions: Iterable[ast.Expression]) -> str:
    return ", ".join(map(print_expression, expressions))


def _literal(literal: ast.Constant) -> str:
    match literal.kind:
        case ConstantKind.BOOL:
            return "true" if literal.value else "false"
        case ConstantKind.INTEGER:
            return str(literal.value)
        case ConstantKind.FLOAT:
            return _float(float(literal.value))
        case ConstantKind.CHAR:
            return "'" + ("\\'" if literal.value == "'" else _escape(str(literal.value), quote=False)) + "'"
        case ConstantKind.STRING:
            return _quoted(str(literal.value))
        case ConstantKind.SYMBOL:
            return "s" + _quoted(str(literal.value))
        case ConstantKind.DATETIME:
            return "t" + _quoted(str(literal.value))
        case ConstantKind.DURATION:
            return "d" + _quoted(str(literal.value))
        case _:
            assert_never(literal.kind)


def _float(value: float) -> str:
    if math.isinf(value):
        return "1.0e999" if value > 0 else "-1.0e999"
    mantissa, _, exponent = repr(value).partition("e")
    mantissa = mantissa if "." in mantissa else f"{mantissa}.0"
    return f"{mantissa}e{int(exponent)}" if exponent else mantissa


def _quoted(text: str) -> str:
    return f'"{_escape(text)}"'


def _escape(text: str, quote: bool = True) -> str:
    return "".join(_ESCAPED.get(c, c) if quote or c != '"' else c for c in text)


def _parameters(parameters: tuple[ast.Parameter, ...]) -> str:
    return f"<{', '.join(map(_parameter, parameters))}>" if parameters else ""


def _parameter(parameter: ast.Parameter) -> str:
    value = parameter.value.name if isinstance(parameter.value, ast.TypeName) else print_expression(parameter.value)
    return value if parameter.keyword is None else f"{parameter.keyword} = {value}"


def print_formula(formula: ast.Formula) -> str:
    """A formula as program text."""
    match formula:
        case ast.And(operands=operands):
            return " and ".join(map(_operand, operands))
        case ast.Or(operands=operands):
            return " or ".join(map(_operand, operands))
        case ast.Not(operand=operand):
            return f"not {_operand(operand)}"
        case ast.Implies(condition=condition, conclusion=conclusion):
            return f"{_operand(condition)} implies {_operand(conclusion)}"
        case ast.Reduce(results=results, aggregate=aggregate):
            names = ", ".join("_" if name is None else name for name in results)
            return f"{names if len(results) == 1 else f'({names})'} := {_aggregate(aggregate)}"
        case ast.Quantified(aggregate=aggregate):
            return _aggregate(aggregate)
        case ast.RangeOver(name=name, start=start, stop=stop, is_inclusive=is_inclusive):
            dots = "..=" if is_inclusive else ".."
            return f"{name} in {print_expression(start)}{dots}{print_expression(stop)}"
        case ast.Case(name=name, pattern=pattern):
            return f"case {name} is {print_expression(pattern)}"
        case _:
            return print_expression(formula)


def _operand(formula: ast.Formula) -> str:
    text = print_formula(formula)
    return f"({text})" if isinstance(formula, ast.And | ast.Or | ast.Implies) else text


def _aggregate(aggregate: ast.Aggregate) -> str:
    bang = "!" if aggregate.is_discrete else ""
    arguments = f"[{', '.join(aggregate.arguments)}]" if aggregate.arguments else ""
    bindings = f"{_bindings(aggregate.bindings)}: " if aggregate.bindings else ""
    where = ""
    if aggregate.grouping is not None:
        where = f" where {_bindings(aggregate.grouping.bindings)}: {print_formula(aggregate.grouping.body)}"
    return (
        f"{aggregate.op}{bang}{_parameters(aggregate.parameters)}{arguments}"
        f"({bindings}{print_formula(aggregate.body)}{where})"
    )


def _bindings(bindings: tuple[ast.Binding, ...]) -> str:
    return ", ".join(b.name if b.type is None else f"({b.name}: {b.type.name})" for b in bindings)


def _item(item: ast.Item) -> str:
    return "".join(f"{_attribute(attribute)} " for attribute in item.attributes) + _declaration(item.declaration)


def _attribute(attribute: ast.Attribute) -> str:
    if not attribute.arguments:
        return f"@{attribute.name}"
    arguments = (
        ("" if argument.keyword is None else f"{argument.keyword}=") + _attribute_value(argument.value)
        for argument in attribute.arguments
    )
    return f"@{attribute.name}({', '.join(arguments)})"


def _attribute_value(value: ast.Constant | tuple) -> str:
    return _literal(value) if isinstance(value, ast.Constant) else f"[{', '.join(map(_attribute_value, value))}]"


def _declaration(declaration: ast.Declaration) -> str:
    match declaration:
        case ast.Import(path=path):
            return f"import {_quoted(path)}"
        case ast.TypeAlias(name=name, type=type, is_subtype=is_subtype):
            return f"type {name} {'<:' if is_subtype else '='} {type.name}"
        case ast.EnumType(name=name, members=members):
            return f"type {name} = {' | '.join(map(_member, members))}"
        case ast.DataType(name=name, variants=variants):
            alternatives = (f"{v.name}({', '.join(column.name for column in v.columns)})" for v in variants)
            return f"type {name} = {' | '.join(alternatives)}"
        case ast.RelationTypes(relations=relations, is_extern=is_extern):
            types = (f"{relation.name}({_columns(relation.columns)})" for relation in relations)
            return f"{'extern ' if is_extern else ''}type {', '.join(types)}"
        case ast.FunctionType(name=name, parameters=parameters, result=result):
            return f"type ${name}({_columns(parameters)}) -> {result.name}"
        case ast.ConstantDeclarations(declarations=declarations):
            return f"const {', '.join(map(_constant, declarations))}"
        case ast.Query(target=target):
            return f"query {print_expression(target)}"
        case ast.Evidence(formula=formula):
            return f"evidence {print_formula(formula)}"
        case _:
            return f"rel {_relation(declaration)}"


def _member(member: ast.EnumMember) -> str:
    return member.name if member.number is None else f"{member.name} = {_literal(member.number)}"


def _columns(columns: tuple[ast.Column, ...]) -> str:
    return ", ".join(
        " ".join(filter(None, (c.adornment, None if c.name is None else f"{c.name}:", c.type.name))) for c in columns
    )


def _constant(constant: ast.ConstantDeclaration) -> str:
    type = "" if constant.type is None else f": {constant.type.name}"
    return f"{constant.name}{type} = {print_expression(constant.value)}"


def _relation(declaration: ast.FactSet | ast.Fact | ast.Rule | ast.ReduceRule) -> str:
    match declaration:
        case ast.FactSet(relation=relation, elements=elements, is_exclusive=is_exclusive):
            tuples = (f"{_tag(element.tag)}({_expressions(element.values)})" for element in elements)
            return f"{relation} = {{{('; ' if is_exclusive else ', ').join(tuples)}}}"
        case ast.Fact(atom=atom, tag=tag):
            return f"{_tag(tag)}{print_expression(atom)}"
        case ast.Rule(heads=heads, body=body, tag=tag, is_disjunctive=is_disjunctive, probabilities=probabilities):
            tags = map(_tag, probabilities or repeat(None))
            names = [f"{own}{print_expression(head)}" for own, head in zip(tags, heads, strict=False)]
            head = f"{{{'; '.join(names)}}}" if is_disjunctive else " and ".join(names)
            is_fact = isinstance(body, ast.And) and not body.operands
            return f"{_tag(tag)}{head}" + ("" if is_fact else f" = {print_formula(body)}")
        case ast.ReduceRule(relation=relation, aggregate=aggregate):
            return f"{relation} = {_aggregate(aggregate)}"
        case _:
            assert_never(declaration)


def _tag(tag: ast.Expression | None) -> str:
    return "" if tag is None else f"{print_expression(tag)}::"
