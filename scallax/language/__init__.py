"""Language: what a program is made of, apart from its text.

The core form of programs, values and their types, built-in and foreign functions and predicates, and the decorators by
which Python declares them. Every later stage speaks in these terms.
"""

from typing import TYPE_CHECKING

from scallax.kernels.lazy_names import lazy_names

if TYPE_CHECKING:
    from scallax.language.foreign import ForeignAggregate as ForeignAggregate
    from scallax.language.foreign import ForeignAttribute as ForeignAttribute
    from scallax.language.foreign import ForeignFunction as ForeignFunction
    from scallax.language.foreign import ForeignItem as ForeignItem
    from scallax.language.foreign import ForeignPredicate as ForeignPredicate
    from scallax.language.tensors import TensorValue as TensorValue
    from scallax.language.values import ValueType as ValueType

# The public face of the room: where each name lives, imported at its first use.
__getattr__ = lazy_names(
    __name__,
    {
        "ForeignAggregate": "foreign",
        "ForeignAttribute": "foreign",
        "ForeignFunction": "foreign",
        "ForeignItem": "foreign",
        "ForeignPredicate": "foreign",
        "TensorValue": "tensors",
        "ValueType": "values",
    },
)
