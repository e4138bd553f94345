"""Imports of optional packages (Flax, Orbax, safetensors), where they are used: they are slow to import."""

from importlib import import_module
from typing import Any

from scallax.errors import Diagnostic, UnsupportedError

# Modules that need an extra of this package, with what the extra installs and its name.
_EXTRAS = {
    "orbax.checkpoint": ("Orbax", "orbax"),
    "tensorstore": ("Orbax", "orbax"),
    "safetensors": ("safetensors", "safetensors"),
    "safetensors.numpy": ("safetensors", "safetensors"),
    "scallax.nn": ("Flax", "flax"),
    "scallax.checkpoint.flax_state": ("Flax", "flax"),
}


def import_extra(module: str) -> Any:
    """The module of that name. UnsupportedError if its extra is not installed."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:  # the extra is not installed
        name, extra = _EXTRAS[module]
        raise UnsupportedError(Diagnostic(f"{name} is not installed", hint=f"pip install scallax[{extra}]")) from error


def import_flax_state() -> Any:
    """The module `scallax.checkpoint.flax_state`."""
    return import_extra("scallax.checkpoint.flax_state")
