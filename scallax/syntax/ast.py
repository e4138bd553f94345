"""The syntax tree: a program as it is written, with every construct of the language."""

import enum
from collections.abc import Iterator
from dataclasses import field, fields, is_dataclass, replace
from functools import cache
from typing import Any, TypeVar

from scallax.errors import Span
from scallax.language.records import record
from scallax.language.values import Scalar, ValueType


class ConstantKind(enum.Enum):
    """The notation of a constant; the member's value is the word for it in errors."""

    INTEGER = "integer"
    FLOAT = "float"
    BOOL = "bool"
    CHAR = "char"
    STRING = "string"
    SYMBOL = "symbol"
    DATETIME = "date"
    DURATION = "duration"


# Expressions ----------------------------------------------------------------------------------------------------------


@record
class Constant:
    """A constant as written; for a symbol, a date or a duration the text without its quotes.

    If it stands for a declared constant, `type` is that constant's type. Otherwise its use decides the type.
    """

    value: Scalar
    kind: ConstantKind
    span: Span = field(compare=False, repr=False)
    type: ValueType | None = None


@record
class Name:
    """A variable or a declared constant."""

    name: str
    span: Span = field(compare=False, repr=False)


@record
class Wildcard:
    span: Span = field(compare=False, repr=False)


@record
class Unary:
    """An operator, `+`, `-` or `!`, with its operand."""

    op: str
    operand: "Expression"
    span: Span = field(compare=False, repr=False)


@record
class Binary:
    """An operator, one of `+ - * / % == != < <= > >= && || ^`, with its operands."""

    op: str
    left: "Expression"
    right: "Expression"
    span: Span = field(compare=False, repr=False)


@record
class Conditional:
    condition: "Expression"
    then: "Expression"
    otherwise: "Expression"
    span: Span = field(compare=False, repr=False)


@record
class TypeName:
    name: str
    span: Span = field(compare=False, repr=False)


@record
class Cast:
    operand: "Expression"
    type: TypeName
    span: Span = field(compare=False, repr=False)


@record
class Call:
    """A function call `$function(arguments)`."""

    function: str
    arguments: tuple["Expression", ...]
    span: Span = field(compare=False, repr=False)


@record
class New:
    """A term `new Constructor(arguments)`."""

    constructor: str
    arguments: tuple["Expression", ...]
    span: Span = field(compare=False, repr=False)


@record
class Parameter:
    """A parameter in `<…>`: a literal, a name or a type, possibly with a keyword."""

    value: "Constant | Name | TypeName"
    keyword: str | None
    span: Span = field(compare=False, repr=False)


@record
class Application:
    """`name<parameters>(arguments)`: an atom in the place of a formula, a constructor in the place of an expression."""

    name: str
    arguments: tuple["Expression", ...]
    parameters: tuple[Parameter, ...]
    span: Span = field(compare=False, repr=False)


Expression = Constant | Name | Wildcard | Unary | Binary | Conditional | Cast | Call | New | Application

# Formulas -------------------------------------------------------------------------------------------------------------


@record
class And:
    operands: tuple["Formula", ...]
    span: Span = field(compare=False, repr=False)


@record
class Or:
    operands: tuple["Formula", ...]
    span: Span = field(compare=False, repr=False)


@record
class Not:
    operand: "Formula"
    span: Span = field(compare=False, repr=False)


@record
class Implies:
    condition: "Formula"
    conclusion: "Formula"
    span: Span = field(compare=False, repr=False)


@record
class Binding:
    """A variable that an aggregate binds, possibly with its type."""

    name: str
    type: TypeName | None
    span: Span = field(compare=False, repr=False)


@record
class Grouping:
    """The groups of an aggregate, `where bindings: body`."""

    bindings: tuple[Binding, ...]
    body: "Formula"
    span: Span = field(compare=False, repr=False)


@record
class Aggregate:
    """`op!<parameters>[arguments](bindings: body where grouping)`; `is_discrete` stands for the `!`."""

    op: str
    is_discrete: bool
    parameters: tuple[Parameter, ...]
    arguments: tuple[str, ...]
    bindings: tuple[Binding, ...]
    body: "Formula"
    grouping: Grouping | None
    span: Span = field(compare=False, repr=False)


@record
class Reduce:
    """`results := aggregate`; None among the results is a wildcard."""

    results: tuple[str | None, ...]
    aggregate: Aggregate
    span: Span = field(compare=False, repr=False)


@record
class Quantified:
    """`exists(…)` or `forall(…)`: the aggregate of that name."""

    aggregate: Aggregate
    span: Span = field(compare=False, repr=False)


@record
class RangeOver:
    """`name in start..stop`, or with `..=`, which includes the end."""

    name: str
    start: Expression
    stop: Expression
    is_inclusive: bool
    span: Span = field(compare=False, repr=False)


@record
class Case:
    """`case name is pattern`."""

    name: str
    pattern: Expression
    span: Span = field(compare=False, repr=False)


# An expression that is no application is a constraint: it must be true.
Formula = And | Or | Not | Implies | Reduce | Quantified | RangeOver | Case | Expression

# Items ----------------------------------------------------------------------------------------------------------------


@record
class AttributeArgument:
    """A literal or a list of literals, possibly with a keyword."""

    value: "Constant | tuple"
    keyword: str | None


@record
class Attribute:
    name: str
    arguments: tuple[AttributeArgument, ...]
    span: Span = field(compare=False, repr=False)


@record
class Import:
    path: str
    span: Span = field(compare=False, repr=False)


@record
class TypeAlias:
    """`type name = type`, or with `<:` a subtype."""

    name: str
    type: TypeName
    is_subtype: bool
    span: Span = field(compare=False, repr=False)


@record
class EnumMember:
    name: str
    number: Constant | None
    span: Span = field(compare=False, repr=False)


@record
class EnumType:
    name: str
    members: tuple[EnumMember, ...]
    span: Span = field(compare=False, repr=False)


@record
class Variant:
    name: str
    columns: tuple[TypeName, ...]
    span: Span = field(compare=False, repr=False)


@record
class DataType:
    """An algebraic data type."""

    name: str
    variants: tuple[Variant, ...]
    span: Span = field(compare=False, repr=False)


@record
class Column:
    """A column of a relation type; `adornment` is `bound`, `free` or None."""

    type: TypeName
    name: str | None
    adornment: str | None
    span: Span = field(compare=False, repr=False)


@record
class RelationType:
    name: str
    columns: tuple[Column, ...]
    span: Span = field(compare=False, repr=False)


@record
class RelationTypes:
    relations: tuple[RelationType, ...]
    is_extern: bool
    span: Span = field(compare=False, repr=False)


@record
class FunctionType:
    name: str
    parameters: tuple[Column, ...]
    result: TypeName
    span: Span = field(compare=False, repr=False)


@record
class ConstantDeclaration:
    name: str
    type: TypeName | None
    value: Expression
    span: Span = field(compare=False, repr=False)


@record
class ConstantDeclarations:
    declarations: tuple[ConstantDeclaration, ...]
    span: Span = field(compare=False, repr=False)


@record
class Element:
    """A tuple of a fact set, with its tag."""

    values: tuple[Expression, ...]
    tag: Expression | None
    span: Span = field(compare=False, repr=False)


@record
class FactSet:
    """`rel relation = {elements}`; elements that are separated by `;` exclude each other."""

    relation: str
    elements: tuple[Element, ...]
    is_exclusive: bool
    span: Span = field(compare=False, repr=False)


@record
class Fact:
    atom: Application
    tag: Expression | None
    span: Span = field(compare=False, repr=False)


@record
class Rule:
    """`tag :: heads = body`. All of several heads hold; one of them does if the rule `is_disjunctive`.

    `probabilities` are those of the alternatives, if they have any: then none of them may hold as well. A rule of facts
    has an empty body.
    """

    heads: tuple[Application, ...]
    body: Formula
    tag: Expression | None
    is_disjunctive: bool
    span: Span = field(compare=False, repr=False)
    probabilities: tuple[Expression, ...] = ()


@record
class ReduceRule:
    """`rel relation = aggregate`."""

    relation: str
    aggregate: Aggregate
    span: Span = field(compare=False, repr=False)


@record
class Query:
    """`query name`, or a query of an atom."""

    target: Name | Application
    span: Span = field(compare=False, repr=False)


@record
class Evidence:
    """`evidence formula`: it was observed that the formula holds."""

    formula: Formula
    span: Span = field(compare=False, repr=False)


Declaration = (
    Import
    | TypeAlias
    | EnumType
    | DataType
    | RelationTypes
    | FunctionType
    | ConstantDeclarations
    | FactSet
    | Fact
    | Rule
    | ReduceRule
    | Query
    | Evidence
)


@record
class Item:
    declaration: Declaration
    attributes: tuple[Attribute, ...]


@record
class Program:
    items: tuple[Item, ...]


def walk(node: object) -> Iterator[object]:
    """The node and all nodes below it, in the order of the text."""
    # An explicit stack: nested generators would cost time in proportion to the tree's depth.
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple):
            stack.extend(reversed(node))
        elif (names := _part_names(type(node))) is not None:
            yield node
            stack.extend([getattr(node, name) for name in names])


_Node = TypeVar("_Node")


def renew(node: _Node) -> _Node:
    """A copy of a tree made of new nodes. Passes that keep data for each node can then tell the two trees apart."""
    tree: Any = node
    if isinstance(tree, tuple):
        tree = tuple(map(renew, tree))
    elif (names := _part_names(type(tree))) is not None:
        tree = replace(tree, **{name: renew(getattr(tree, name)) for name in names})
    return tree


@cache
def _part_names(kind: type) -> tuple[str, ...] | None:
    """The fields of a node's class in reverse order, without the span; None for a class that is no node."""
    return tuple(part.name for part in reversed(fields(kind)) if part.name != "span") if is_dataclass(kind) else None
