"""References to code, which a pickle does not hold: functions and classes are found by name in their modules."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from scallax.errors import Diagnostic, InputError
from scallax.language.foreign import ForeignItem


@dataclass(frozen=True, slots=True)
class Reference:
    """The module and the name of a foreign item."""

    module: str
    name: str

    def item(self) -> Any:
        """The item. ImportError or AttributeError if it is not there."""
        found: Any = import_module(self.module)
        for part in self.name.split("."):
            found = getattr(found, part)
        return found


def reference_to(item: ForeignItem) -> Reference:
    """The reference to an item. InputError if it is not found under the name of its function."""
    return _checked(Reference(item.function.__module__, item.function.__qualname__), item)


def check_class(instance: object) -> None:
    """InputError for an object whose class is not found under its name, so that it cannot be pickled."""
    kind = type(instance)
    _checked(Reference(kind.__module__, kind.__qualname__), kind)


def _checked(reference: Reference, expected: object) -> Reference:
    try:
        is_found = reference.item() is expected
    except (ImportError, AttributeError):  # it was defined within a function
        is_found = False
    if not is_found:
        message = f"`{reference.name}` cannot be pickled: it is no attribute of the module `{reference.module}`"
        raise InputError(Diagnostic(message, hint="define it at the top of a module, under its own name"))
    return reference
