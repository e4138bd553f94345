"""Analysis: from syntax tree to core form.

Given syntax trees, it resolves names, infers types, checks that variables are bound, and hands on a program of typed
relations, rules, facts and queries (`language.ir`), or every problem at once.
"""

from typing import TYPE_CHECKING

from scallax.kernels.lazy_names import lazy_names

if TYPE_CHECKING:
    from scallax.analysis.attribute_items import AbstractAction as AbstractAction
    from scallax.analysis.attribute_items import ErrorAction as ErrorAction
    from scallax.analysis.attribute_items import MultipleActions as MultipleActions
    from scallax.analysis.attribute_items import NoAction as NoAction
    from scallax.analysis.attribute_items import RegisterForeignFunctionAction as RegisterForeignFunctionAction
    from scallax.analysis.attribute_items import RegisterForeignPredicateAction as RegisterForeignPredicateAction
    from scallax.analysis.attribute_items import RemoveItemAction as RemoveItemAction

# The public face of the room: where each name lives, imported at its first use.
__getattr__ = lazy_names(
    __name__,
    {
        "AbstractAction": "attribute_items",
        "ErrorAction": "attribute_items",
        "MultipleActions": "attribute_items",
        "NoAction": "attribute_items",
        "RegisterForeignFunctionAction": "attribute_items",
        "RegisterForeignPredicateAction": "attribute_items",
        "RemoveItemAction": "attribute_items",
    },
)
