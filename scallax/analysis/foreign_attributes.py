"""Foreign attributes: calls them for the items before which they stand, and applies their actions."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scallax.analysis.attribute_items import (
    AbstractAction,
    ErrorAction,
    Item,
    MultipleActions,
    NoAction,
    RegisterForeignFunctionAction,
    RegisterForeignPredicateAction,
    RemoveItemAction,
    actions_of,
)
from scallax.errors import Diagnostic, ForeignError, InputError
from scallax.language.foreign import ForeignAttribute, traceback_of
from scallax.language.library import Library
from scallax.language.values import ValueType
from scallax.syntax import ast


def apply_attributes(items: Sequence[ast.Item], library: Library) -> tuple[list[ast.Item], Library]:
    """The items that foreign attributes leave, without these attributes, and the library with everything they register.

    Raises one `ForeignError` that names every attribute that refuses its item or fails.
    """
    if not library.attributes:
        return list(items), library
    types = _declared_types(items)
    kept: list[ast.Item] = []
    problems: list[Diagnostic] = []
    for item in items:
        is_kept = True
        for attribute in item.attributes:
            foreign = library.attributes.get(attribute.name)
            if foreign is None:
                continue
            try:
                actions = _call(foreign, attribute, Item(item.declaration, types))
                for action in actions:
                    library, stays = _act(action, library)
                    is_kept &= stays
            except ForeignError as error:
                problems += error.diagnostics
            except InputError as error:  # a name that is taken, or a message of the attribute's own
                problems += (replace(d, span=d.span or attribute.span) for d in error.diagnostics)
        if is_kept:
            built_in = tuple(part for part in item.attributes if part.name not in library.attributes)
            kept.append(replace(item, attributes=built_in))
    if problems:
        raise ForeignError(*problems)
    return kept, library


def _call(foreign: ForeignAttribute, attribute: ast.Attribute, item: Item) -> list[AbstractAction]:
    positional = [_value(part.value) for part in attribute.arguments if part.keyword is None]
    keywords = {part.keyword: _value(part.value) for part in attribute.arguments if part.keyword is not None}
    try:
        return list(actions_of(foreign(item, *positional, **keywords)))
    except Exception as error:  # the user's code may raise anything
        message = f"`@{foreign.name}` raised {type(error).__name__}: {error}"
        raise ForeignError(Diagnostic(message, attribute.span, None, traceback_of(error))) from error


def _act(action: AbstractAction, library: Library) -> tuple[Library, bool]:
    """The library after an action, and whether the item stays in the program."""
    match action:
        case RegisterForeignFunctionAction(function=item) | RegisterForeignPredicateAction(predicate=item):
            return library.with_items([item]), True
        case RemoveItemAction():
            return library, False
        case ErrorAction(message=message):
            raise InputError(message)
        case NoAction() | MultipleActions():
            return library, True
        case _:
            raise InputError(f"{action!r} is no action of `scallax.analysis.attribute_items`")


def _value(value: "ast.Constant | tuple") -> object:
    return value.value if isinstance(value, ast.Constant) else [_value(part) for part in value]


def _declared_types(items: Sequence[ast.Item]) -> Mapping[str, ValueType]:
    """The types of declared names, as far as they are known."""
    types = {type.value: type for type in ValueType} | {"&str": ValueType.STRING}
    aliases: dict[str, str] = {}
    for item in items:
        match item.declaration:
            case ast.TypeAlias(name=name, type=type):
                aliases[name] = type.name
            case ast.EnumType(name=name):
                types[name] = ValueType.USIZE
            case ast.DataType(name=name):
                types[name] = ValueType.ENTITY
    # An alias of an alias is known once the other alias is.
    for _ in aliases:
        types |= {name: types[target] for name, target in aliases.items() if target in types and name not in types}
    return types
