"""Evaluation: a provenance folded over a circuit, with its reverse.

Given a circuit and the tags of a batch's facts, it computes the tags of all outputs and their gradients by compiled
functions of one bounded cache, and hands on arrays.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from scallax.kernels.array_namespace import Namespace, register

if TYPE_CHECKING:
    from scallax.evaluation.derived_program import Output as Output
    from scallax.evaluation.evaluator import Evaluator as Evaluator
    from scallax.evaluation.grounding_cache import BatchFacts as BatchFacts
    from scallax.evaluation.grounding_cache import has_facts as has_facts
    from scallax.evaluation.mapped_layout import MappedLayout as MappedLayout
    from scallax.evaluation.sample_layout import SampleLayout as SampleLayout

# The public face of the room: where each name lives, imported at its first use.
_HOMES = {
    "BatchFacts": "grounding_cache",
    "Evaluator": "evaluator",
    "MappedLayout": "mapped_layout",
    "Output": "derived_program",
    "SampleLayout": "sample_layout",
    "has_facts": "grounding_cache",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def _make_namespace() -> Namespace:
    # JAX takes half a second to import, which answers of NumPy do not wait for.
    from scallax.evaluation.jax_namespace import JAX

    return JAX


register(_make_namespace)
