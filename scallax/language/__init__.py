"""Language: what a program is made of, apart from its text.

The core form of programs, values and their types, built-in and foreign functions and predicates, and the decorators by
which Python declares them. Every later stage speaks in these terms.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scallax.language.foreign import ForeignAggregate as ForeignAggregate
    from scallax.language.foreign import ForeignAttribute as ForeignAttribute
    from scallax.language.foreign import ForeignFunction as ForeignFunction
    from scallax.language.foreign import ForeignItem as ForeignItem
    from scallax.language.foreign import ForeignPredicate as ForeignPredicate
    from scallax.language.tensors import TensorValue as TensorValue
    from scallax.language.values import ValueType as ValueType

# The public face of the room: where each name lives, imported at its first use.
_HOMES = {
    "ForeignAggregate": "foreign",
    "ForeignAttribute": "foreign",
    "ForeignFunction": "foreign",
    "ForeignItem": "foreign",
    "ForeignPredicate": "foreign",
    "TensorValue": "tensors",
    "ValueType": "values",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
