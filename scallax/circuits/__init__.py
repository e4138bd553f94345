"""Circuits: from derivations to arrays that are evaluated many times.

Given the derivations of a grounding, it prunes, orders and lays them out as index arrays, compiles knowledge for exact
inference, and hands on a circuit. `compile.py` is the table of contents from source to circuit.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scallax.circuits.serialized import SerializedProgram as SerializedProgram

# The public face of the room: where each name lives, imported at its first use.
_HOMES = {
    "SerializedProgram": "serialized",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
