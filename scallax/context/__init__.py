"""Context: a program that is built step by step, run, and run again; the prompt and the command line use it too.

It is given texts, facts and rules one after the other, and makes checked programs of them. It hands on relations with
their tags (`Collection`), their tables, plans and files, and a compiled function of the program (`Reasoner`).
"""

from typing import TYPE_CHECKING

from scallax.kernels.lazy_names import lazy_names

if TYPE_CHECKING:
    from scallax.context.abstract_context import AbstractContext as AbstractContext
    from scallax.context.building import ContextState as ContextState
    from scallax.context.computation import Computation as Computation
    from scallax.context.draft import Draft as Draft
    from scallax.context.options import read_options as read_options

# The public face of the room: where each name lives, imported at its first use.
__getattr__ = lazy_names(
    __name__,
    {
        "AbstractContext": "abstract_context",
        "Computation": "computation",
        "Context": "context",  # in pickles of version 0.1
        "ContextState": "building",
        "Draft": "draft",
        "read_options": "options",
    },
)
