"""Analysis: from syntax tree to core form.

Given syntax trees, it resolves names, infers types, checks that variables are bound, and hands on a program of typed
relations, rules, facts and queries (`language.ir`), or every problem at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scallax.analysis.attribute_items import AbstractAction as AbstractAction
    from scallax.analysis.attribute_items import ErrorAction as ErrorAction
    from scallax.analysis.attribute_items import MultipleActions as MultipleActions
    from scallax.analysis.attribute_items import NoAction as NoAction
    from scallax.analysis.attribute_items import RegisterForeignFunctionAction as RegisterForeignFunctionAction
    from scallax.analysis.attribute_items import RegisterForeignPredicateAction as RegisterForeignPredicateAction
    from scallax.analysis.attribute_items import RemoveItemAction as RemoveItemAction

# The public face of the room: where each name lives, imported at its first use.
_HOMES = {
    "AbstractAction": "attribute_items",
    "ErrorAction": "attribute_items",
    "MultipleActions": "attribute_items",
    "NoAction": "attribute_items",
    "RegisterForeignFunctionAction": "attribute_items",
    "RegisterForeignPredicateAction": "attribute_items",
    "RemoveItemAction": "attribute_items",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
