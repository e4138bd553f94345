"""Evaluation: a provenance folded over a circuit, with its reverse.

Given a circuit and the tags of a batch's facts, it computes the tags of all outputs, by NumPy at once or by compiled
functions of one bounded cache, and their gradients, and hands on arrays.
"""

from typing import TYPE_CHECKING

from scallax.kernels.array_namespace import Namespace, register
from scallax.kernels.lazy_names import lazy_names

if TYPE_CHECKING:
    from scallax.evaluation.derived_program import Output as Output
    from scallax.evaluation.evaluator import Evaluator as Evaluator
    from scallax.evaluation.evaluator import check_conditional as check_conditional
    from scallax.evaluation.grounding_cache import BatchFacts as BatchFacts
    from scallax.evaluation.grounding_cache import has_facts as has_facts
    from scallax.evaluation.mapped_layout import MappedLayout as MappedLayout
    from scallax.evaluation.mapped_layout import ObservedArrays as ObservedArrays
    from scallax.evaluation.sample_layout import SampleLayout as SampleLayout

# The public face of the room: where each name lives, imported at its first use.
__getattr__ = lazy_names(
    __name__,
    {
        "BatchFacts": "grounding_cache",
        "Evaluator": "evaluator",
        "MappedLayout": "mapped_layout",
        "ObservedArrays": "mapped_layout",
        "Output": "derived_program",
        "SampleLayout": "sample_layout",
        "check_conditional": "evaluator",
        "has_facts": "grounding_cache",
    },
)


def _make_namespace() -> Namespace:
    # JAX takes half a second to import, which answers of NumPy do not wait for.
    from scallax.evaluation.jax_namespace import JAX

    return JAX


register(_make_namespace)
