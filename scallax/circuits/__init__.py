"""Circuits: from derivations to arrays that are evaluated many times.

Given the derivations of a grounding, it prunes, orders and lays them out as index arrays, compiles knowledge for exact
inference, and hands on a circuit. `compile.py` is the table of contents from source to circuit.
"""

from typing import TYPE_CHECKING

from scallax.kernels.lazy_names import lazy_names

if TYPE_CHECKING:
    from scallax.circuits.serialized import SerializedProgram as SerializedProgram

# The public face of the room: where each name lives, imported at its first use.
__getattr__ = lazy_names(
    __name__,
    {
        "SerializedProgram": "serialized",
    },
)
