"""Scallop, a probabilistic and differentiable Datalog, compiled to JAX."""

from typing import TYPE_CHECKING

from scallax.errors import CheckpointError as CheckpointError
from scallax.errors import GroundingError as GroundingError
from scallax.errors import InputError as InputError
from scallax.errors import NameResolutionError as NameResolutionError
from scallax.errors import ParseError as ParseError
from scallax.errors import ScallaxError as ScallaxError
from scallax.errors import StratificationError as StratificationError
from scallax.errors import TypeInferenceError as TypeInferenceError
from scallax.errors import UnboundVariableError as UnboundVariableError
from scallax.errors import UnsupportedError as UnsupportedError

if TYPE_CHECKING:
    from scallax.explanation import explain_plan as explain_plan
    from scallax.grounding.limits import Limits as Limits
    from scallax.mappings import InputMapping as InputMapping
    from scallax.reasoner import Reasoner as Reasoner
    from scallax.sample_facts import FactList as FactList
    from scallax.specification import Specification as Specification
    from scallax.union import BatchGrounding as BatchGrounding

# Where the names live that need NumPy or JAX: imported at their first use.
_HOMES = {
    "BatchGrounding": "scallax.union",
    "FactList": "scallax.sample_facts",
    "InputMapping": "scallax.mappings",
    "Limits": "scallax.grounding.limits",
    "Reasoner": "scallax.reasoner",
    "Specification": "scallax.specification",
    "explain_plan": "scallax.explanation",
}


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'scallax' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
