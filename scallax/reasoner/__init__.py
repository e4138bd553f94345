"""Reasoner: the public function of probabilities, `scallax.Reasoner`.

Given a specification and inputs, it hands back outputs by name, Jacobians, and proofs of tuples for people.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scallax.reasoner.jacobian import Derivatives as Derivatives
    from scallax.reasoner.jacobian import check_differentiable as check_differentiable
    from scallax.reasoner.jacobian import derive as derive
    from scallax.reasoner.program_arguments import Default as Default
    from scallax.reasoner.program_arguments import ProgramArguments as ProgramArguments
    from scallax.reasoner.program_arguments import takes_keywords as takes_keywords
    from scallax.reasoner.proofs import Explanation as Explanation

# The public face of the room: where each name lives, imported at its first use.
_HOMES = {
    "Default": "program_arguments",
    "Derivatives": "jacobian",
    "Explanation": "proofs",
    "ProgramArguments": "program_arguments",
    "Reasoner": "reasoner",  # in pickles of version 0.1
    "_restore": "reasoner",  # in pickles of version 0.1
    "check_differentiable": "jacobian",
    "derive": "jacobian",
    "takes_keywords": "program_arguments",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
