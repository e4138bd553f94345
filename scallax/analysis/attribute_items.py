"""The item of a program as a foreign attribute sees it, and the actions that an attribute may return."""

from collections.abc import Iterator, Mapping, Sequence
from typing import final

from scallax.errors import Diagnostic, InputError
from scallax.language.foreign import ForeignFunction, ForeignPredicate
from scallax.language.records import record
from scallax.language.types import TypeNode
from scallax.language.values import ValueType
from scallax.syntax import ast


@final
class Identifier(str):
    """A name of the program: a text whose attribute `name`, which the reference has, is the text itself."""

    __slots__ = ()

    @property
    def name(self) -> str:
        return str(self)


@final
class Adornment(str):
    """The word before a column's type, `bound` or `free`."""

    __slots__ = ()

    def is_bound(self) -> bool:
        return self == "bound"

    def is_free(self) -> bool:
        return self == "free"


@record
class ArgBinding:
    """A column of a declared relation, or a parameter of a declared function."""

    name: Identifier | None
    type: TypeNode
    adornment: Adornment | None

    @property
    def ty(self) -> TypeNode:
        """The same as `type`; the reference's name for it."""
        return self.type


@record
class RelationDecl:
    """The declaration of a relation's column types."""

    name: Identifier
    arg_bindings: tuple[ArgBinding, ...]


class Item:
    """The item of a program before which an attribute stands; `text` is its text."""

    __slots__ = ("_declaration", "_types")

    def __init__(self, declaration: ast.Declaration, types: Mapping[str, ValueType]):
        self._declaration = declaration
        self._types = types

    @property
    def text(self) -> str:
        span = self._declaration.span
        return span.text

    def is_relation_decl(self) -> bool:
        """Whether the item declares the types of relations."""
        return isinstance(self._declaration, ast.RelationTypes)

    def relation_decls(self) -> list[RelationDecl]:
        """The relations whose types the item declares; none if it is another item."""
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
        """Whether the item declares the type of a function."""
        return isinstance(self._declaration, ast.FunctionType)

    def function_decl_name(self) -> str:
        """The name of the declared function. InputError if the item declares none, as in the methods that follow."""
        return self._function().name

    def function_decl_args(self) -> list[ArgBinding]:
        """The parameters of the declared function."""
        return [self._binding(column) for column in self._function().parameters]

    def function_decl_arg_types(self) -> list[TypeNode]:
        """The types of the declared function's parameters."""
        return [binding.type for binding in self.function_decl_args()]

    def function_decl_ret_type(self) -> TypeNode:
        """The type of the declared function's result."""
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
    """Base class of the actions that a foreign attribute may return."""

    __slots__ = ()


@record
class NoAction(AbstractAction):
    """Leaves the item as it is."""


@record
class RemoveItemAction(AbstractAction):
    """Removes the item from the program."""


@record
class ErrorAction(AbstractAction):
    """Refuses the program, with an error at the attribute.

    Args:
        message: The text of the error.

    Example:
        >>> import torch_bridge
        >>> @torch_bridge.foreign_attribute
        ... def only_functions(item):
        ...     return None if item.is_function_decl() else torch_bridge.ErrorAction("this is no function")
    """

    message: str


@record
class RegisterForeignFunctionAction(AbstractAction):
    """Adds a function to the program; the item stays.

    Args:
        function: The foreign function.

    Example:
        >>> import torch_bridge
        >>> zero = torch_bridge.foreign_function(lambda: 0, name="zero", ret_type=torch_bridge.i32)
        >>> @torch_bridge.foreign_attribute
        ... def with_zero(item):
        ...     return torch_bridge.RegisterForeignFunctionAction(zero)
    """

    function: ForeignFunction


@record
class RegisterForeignPredicateAction(AbstractAction):
    """Adds a predicate to the program; the item stays.

    Args:
        predicate: The foreign predicate.

    Example:
        >>> import torch_bridge
        >>> @torch_bridge.foreign_predicate
        ... def now() -> torch_bridge.Facts[None, tuple[int]]:
        ...     yield (2026,)
        >>> @torch_bridge.foreign_attribute
        ... def with_now(item):
        ...     return torch_bridge.RegisterForeignPredicateAction(now)
    """

    predicate: ForeignPredicate


@record
class MultipleActions(AbstractAction):
    """Takes several actions, one after the other.

    Args:
        actions: The actions, in order.

    Example:
        >>> import torch_bridge
        >>> zero = torch_bridge.foreign_function(lambda: 0, name="zero", ret_type=torch_bridge.i32)
        >>> @torch_bridge.foreign_attribute
        ... def replaced_by_zero(item):
        ...     add = torch_bridge.RegisterForeignFunctionAction(zero)
        ...     return torch_bridge.MultipleActions([add, torch_bridge.RemoveItemAction()])
    """

    actions: Sequence[AbstractAction]


def actions_of(returned: object) -> Iterator[AbstractAction]:
    """The single actions in the result of a foreign attribute. TypeError if the result is none."""
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
