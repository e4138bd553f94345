"""Packages that are not needed by all: they are imported where they are."""

from importlib import import_module
from typing import Any

from scallax.errors import Diagnostic, InputError


def optional_package(name: str) -> Any:
    """A package of the extra `tables`. InputError if it is not installed."""
    try:
        return import_module(name)
    except ImportError:  # it is not installed
        raise InputError(
            Diagnostic(f"this needs the package `{name.partition('.')[0]}`", hint="pip install 'scallax[tables]'")
        ) from None
