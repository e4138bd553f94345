"""Imports of optional packages (Flax, Orbax, safetensors), where they are used: they are slow to import."""

from typing import Any

from scallax.errors import Diagnostic, UnsupportedError


def import_orbax() -> Any:
    """The module `orbax.checkpoint`. UnsupportedError if it is not installed."""
    try:
        import orbax.checkpoint
    except ModuleNotFoundError as error:  # the extra is not installed
        raise _missing("Orbax", "orbax") from error
    return orbax.checkpoint


def import_tensorstore() -> Any:
    """The module `tensorstore`, which Orbax brings. UnsupportedError if it is not installed."""
    try:
        import tensorstore
    except ModuleNotFoundError as error:  # the extra, which brings it, is not installed
        raise _missing("Orbax", "orbax") from error
    return tensorstore


def import_safetensors() -> Any:
    """The module `safetensors`. UnsupportedError if it is not installed."""
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:  # the extra is not installed
        raise _missing("safetensors", "safetensors") from error
    return safetensors


def import_nn() -> Any:
    """The module `scallax.nn`, which needs Flax. UnsupportedError if it is not installed."""
    try:
        import scallax.nn
    except ModuleNotFoundError as error:  # the extra is not installed
        raise _missing("Flax", "flax") from error
    return scallax.nn


def import_flax_state() -> Any:
    """The module `scallax.checkpoint.flax_state`, which needs Flax. UnsupportedError if it is not installed."""
    try:
        from scallax.checkpoint import flax_state
    except ModuleNotFoundError as error:  # the extra is not installed
        raise _missing("Flax", "flax") from error
    return flax_state


def _missing(name: str, extra: str) -> UnsupportedError:
    return UnsupportedError(Diagnostic(f"{name} is not installed", hint=f"pip install scallax[{extra}]"))
