"""Reasoner: the public function of probabilities, `scallax.Reasoner`.

Given a specification and inputs, it hands back outputs by name, Jacobians, and proofs of tuples for people.
"""

from typing import TYPE_CHECKING

from scallax.kernels.lazy_names import lazy_names

if TYPE_CHECKING:
    from scallax.reasoner.host_questions import HostQuestions as HostQuestions
    from scallax.reasoner.jacobian import Derivatives as Derivatives
    from scallax.reasoner.jacobian import check_differentiable as check_differentiable
    from scallax.reasoner.jacobian import derive as derive
    from scallax.reasoner.program_arguments import Default as Default
    from scallax.reasoner.program_arguments import ProgramArguments as ProgramArguments
    from scallax.reasoner.program_arguments import takes_keywords as takes_keywords
    from scallax.reasoner.proofs import Explanation as Explanation

# The public face of the room: where each name lives, imported at its first use.
__getattr__ = lazy_names(
    __name__,
    {
        "Default": "program_arguments",
        "Derivatives": "jacobian",
        "Explanation": "proofs",
        "HostQuestions": "host_questions",
        "ProgramArguments": "program_arguments",
        "Reasoner": "reasoner",  # in pickles of version 0.1
        "_restore": "reasoner",  # in pickles of version 0.1
        "check_differentiable": "jacobian",
        "derive": "jacobian",
        "takes_keywords": "program_arguments",
    },
)
