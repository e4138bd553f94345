"""What foreign attributes are given and give: the item they stand before, and actions on it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from scallax.errors import Diagnostic, InputError
from scallax.language.foreign import ForeignFunction, ForeignPredicate
from scallax.language.types import TypeNode
from scallax.language.values import ValueType
from scallax.syntax import ast


@final
class Identifier(str):
    """A name, which is its own `name`, as programs for the reference ask for it."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return str(self)


@final
class Adornment(str):
    """`bound` or `free`."""

    __slots__ = ()

    def is_bound(self) -> bool:
        return self == "bound"

    def is_free(self) -> bool:
        return self == "free"


@dataclass(frozen=True, slots=True)
class ArgBinding:
    """A column of a declared relation, or a parameter of a function."""

    name: Identifier | None
    type: TypeNode
    adornment: Adornment | None

    @property
    def ty(self) -> TypeNode:
        """`type`, by the reference's name."""
        return self.type


@dataclass(frozen=True, slots=True)
class RelationDecl:
    """A relation type."""

    name: Identifier
    arg_bindings: tuple[ArgBinding, ...]


class Item:
    """The item of a program that an attribute stands before; `text` is its text."""

    __slots__ = ("_declaration", "_types")

    def __init__(self, declaration: ast.Declaration, types: Mapping[str, ValueType]):
        self._declaration = declaration
        self._types = types

    @property
    def text(self) -> str:
        span = self._declaration.span
        return span.source.text[span.start : span.end]

    def is_relation_decl(self) -> bool:
        """Whether it declares the types of relations."""
        return isinstance(self._declaration, ast.RelationTypes)

    def relation_decls(self) -> list[RelationDecl]:
        """The relations whose types it declares; none if it is another item."""
        if not isinstance(self._declaration, ast.RelationTypes):
            return []
        return [
            RelationDecl(Identifier(relation.name), tuple(map(self._binding, relation.columns)))
            for relation in self._declaration.relations
        ]

    def relation_decl(self, index: int = 0) -> RelationDecl:
        """One of `relation_decls()`. InputError if there is none."""
        found = self.relation_decls()
        if not -len(found) <= index < len(found):
            raise InputError(f"the item declares {len(found)} relations; there is no number {index}")
        return found[index]

    def is_function_decl(self) -> bool:
        """Whether it declares the type of a function."""
        return isinstance(self._declaration, ast.FunctionType)

    def function_decl_name(self) -> str:
        """The name of the function that it declares. InputError if it is another item, as for the following."""
        return self._function().name

    def function_decl_args(self) -> list[ArgBinding]:
        """The parameters of the function."""
        return [self._binding(column) for column in self._function().parameters]

    def function_decl_arg_types(self) -> list[TypeNode]:
        """The types of the function's parameters."""
        return [binding.type for binding in self.function_decl_args()]

    def function_decl_ret_type(self) -> TypeNode:
        """The type of the function's result."""
        return self._type(self._function().result)

    def _function(self) -> ast.FunctionType:
        if not isinstance(self._declaration, ast.FunctionType):
            raise InputError(Diagnostic("the item declares no function", hint="write `type $name(x: i32) -> i32`"))
        return self._declaration

    def _binding(self, column: ast.Column) -> ArgBinding:
        name = None if column.name is None else Identifier(column.name)
        adornment = None if column.adornment is None else Adornment(column.adornment)
        return ArgBinding(name, self._type(column.type), adornment)

    def _type(self, name: ast.TypeName) -> TypeNode:
        return TypeNode(name.name, self._types.get(name.name))


class AbstractAction:
    """What a foreign attribute asks for."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class NoAction(AbstractAction):
    """The item stays as it is."""


@dataclass(frozen=True, slots=True)
class RemoveItemAction(AbstractAction):
    """The item is no part of the program."""


@dataclass(frozen=True, slots=True)
class ErrorAction(AbstractAction):
    """The program is refused with this message, at the attribute."""

    message: str


@dataclass(frozen=True, slots=True)
class RegisterForeignFunctionAction(AbstractAction):
    """The program has a function more; the item stays."""

    function: ForeignFunction


@dataclass(frozen=True, slots=True)
class RegisterForeignPredicateAction(AbstractAction):
    """The program has a predicate more; the item stays."""

    predicate: ForeignPredicate


@dataclass(frozen=True, slots=True)
class MultipleActions(AbstractAction):
    """All of the actions, in order."""

    actions: Sequence[AbstractAction]


def actions_of(returned: object) -> Iterator[AbstractAction]:
    """The single actions that a foreign attribute returned. TypeError for what is none."""
    match returned:
        case None:
            pass
        case ForeignFunction():
            yield RegisterForeignFunctionAction(returned)
            yield RemoveItemAction()
        case ForeignPredicate():
            yield RegisterForeignPredicateAction(returned)
            yield RemoveItemAction()
        case MultipleActions(actions=parts) | (list() | tuple() as parts):
            for part in parts:
                yield from actions_of(part)
        case AbstractAction():
            yield returned
        case _:
            raise TypeError(f"it returned {returned!r}, which is no action, function or predicate")
