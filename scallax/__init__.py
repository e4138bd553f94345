"""Scallop, a probabilistic and differentiable Datalog, compiled to JAX."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

from scallax.errors import ArgumentError as ArgumentError
from scallax.errors import CheckpointError as CheckpointError
from scallax.errors import ForeignError as ForeignError
from scallax.errors import GroundingError as GroundingError
from scallax.errors import InputError as InputError
from scallax.errors import NameResolutionError as NameResolutionError
from scallax.errors import ParseError as ParseError
from scallax.errors import ScallaxError as ScallaxError
from scallax.errors import StratificationError as StratificationError
from scallax.errors import TypeInferenceError as TypeInferenceError
from scallax.errors import UnboundVariableError as UnboundVariableError
from scallax.errors import UnsupportedError as UnsupportedError
from scallax.kernels.lazy_names import lazy_names

if TYPE_CHECKING:
    from scallax.circuits.literals import Literal as Literal
    from scallax.context.context import Context as Context
    from scallax.context.explain_plan import explain_plan as explain_plan
    from scallax.evaluation.batch_grounding import BatchGrounding as BatchGrounding
    from scallax.evaluation.cache import CompiledInfo as CompiledInfo
    from scallax.evaluation.cache import compiled_info as compiled_info
    from scallax.evaluation.cache import limit_compiled as limit_compiled
    from scallax.evaluation.cache_folder import cache_compiled as cache_compiled
    from scallax.facts.mappings import InputMapping as InputMapping
    from scallax.facts.sample_facts import FactList as FactList
    from scallax.facts.specification import Specification as Specification
    from scallax.facts.tables import CsvFile as CsvFile
    from scallax.facts.tables import Table as Table
    from scallax.grounding.limits import Limits as Limits
    from scallax.language.decorators import foreign_aggregate as foreign_aggregate
    from scallax.language.decorators import foreign_attribute as foreign_attribute
    from scallax.language.decorators import foreign_function as foreign_function
    from scallax.language.decorators import foreign_predicate as foreign_predicate
    from scallax.language.types import Any as Any
    from scallax.language.types import BatchedFacts as BatchedFacts
    from scallax.language.types import BatchedTuples as BatchedTuples
    from scallax.language.types import DateTime as DateTime
    from scallax.language.types import Duration as Duration
    from scallax.language.types import Entity as Entity
    from scallax.language.types import Facts as Facts
    from scallax.language.types import Float as Float
    from scallax.language.types import Generic as Generic
    from scallax.language.types import GenericTypeParameter as GenericTypeParameter
    from scallax.language.types import Integer as Integer
    from scallax.language.types import Number as Number
    from scallax.language.types import SignedInteger as SignedInteger
    from scallax.language.types import String as String
    from scallax.language.types import Symbol as Symbol
    from scallax.language.types import Tensor as Tensor
    from scallax.language.types import UnsignedInteger as UnsignedInteger
    from scallax.language.types import bool as bool
    from scallax.language.types import char as char
    from scallax.language.types import f32 as f32
    from scallax.language.types import f64 as f64
    from scallax.language.types import i8 as i8
    from scallax.language.types import i16 as i16
    from scallax.language.types import i32 as i32
    from scallax.language.types import i64 as i64
    from scallax.language.types import i128 as i128
    from scallax.language.types import isize as isize
    from scallax.language.types import u8 as u8
    from scallax.language.types import u16 as u16
    from scallax.language.types import u32 as u32
    from scallax.language.types import u64 as u64
    from scallax.language.types import u128 as u128
    from scallax.language.types import usize as usize
    from scallax.provenance.custom import Provenance as Provenance
    from scallax.reasoner.jacobian import jacobian as jacobian
    from scallax.reasoner.reasoner import Reasoner as Reasoner

# Here and not in the package's metadata, which a clone that is not installed does not have.
__version__ = "0.1.0"

# The public names. `bool` is left out, so that `from scallax import *` leaves Python's own alone.
__all__ = [
    "Any",
    "ArgumentError",
    "BatchGrounding",
    "BatchedFacts",
    "BatchedTuples",
    "CheckpointError",
    "CompiledInfo",
    "Context",
    "CsvFile",
    "DateTime",
    "Duration",
    "Entity",
    "FactList",
    "Facts",
    "Float",
    "ForeignError",
    "Generic",
    "GenericTypeParameter",
    "GroundingError",
    "InputError",
    "InputMapping",
    "Integer",
    "Limits",
    "Literal",
    "NameResolutionError",
    "Number",
    "ParseError",
    "Provenance",
    "Reasoner",
    "ScallaxError",
    "SignedInteger",
    "Specification",
    "StratificationError",
    "String",
    "Symbol",
    "Table",
    "Tensor",
    "TypeInferenceError",
    "UnboundVariableError",
    "UnsignedInteger",
    "UnsupportedError",
    "__version__",
    "cache_compiled",
    "char",
    "compiled_info",
    "explain_plan",
    "f32",
    "f64",
    "foreign_aggregate",
    "foreign_attribute",
    "foreign_function",
    "foreign_predicate",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "isize",
    "jacobian",
    "limit_compiled",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "usize",
]

# Where the names live that need NumPy or JAX: imported at their first use.
_HOMES = {
    "BatchGrounding": "evaluation.batch_grounding",
    "BatchedFacts": "language.types",
    "BatchedTuples": "language.types",
    "CompiledInfo": "evaluation.cache",
    "Context": "context.context",
    "CsvFile": "facts.tables",
    "FactList": "facts.sample_facts",
    "Facts": "language.types",
    "GenericTypeParameter": "language.types",
    "InputMapping": "facts.mappings",
    "Limits": "grounding.limits",
    "Literal": "circuits.literals",
    "Provenance": "provenance.custom",
    "Reasoner": "reasoner.reasoner",
    "Specification": "facts.specification",
    "Table": "facts.tables",
    "cache_compiled": "evaluation.cache_folder",
    "compiled_info": "evaluation.cache",
    "explain_plan": "context.explain_plan",
    "foreign_aggregate": "language.decorators",
    "foreign_attribute": "language.decorators",
    "foreign_function": "language.decorators",
    "foreign_predicate": "language.decorators",
    "jacobian": "reasoner.jacobian",
    "limit_compiled": "evaluation.cache",
}
# The value types of the language and families of them, by the names that they have here.
_HOMES |= dict.fromkeys(
    (
        *("i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize", "f32", "f64"),
        *("bool", "char", "String", "Symbol", "DateTime", "Duration", "Entity", "Tensor"),
        *("Any", "Number", "Integer", "SignedInteger", "UnsignedInteger", "Float", "Generic"),
    ),
    "language.types",
)


# Where the classes are that pickles of version 0.1 name by the paths of their modules then.
_FORMER_PATHS = {
    "scallax.answers": "scallax.context.answers",
    "scallax.artifact": "scallax.checkpoint.artifact",
    "scallax.attributes": "scallax.analysis.attribute_items",
    "scallax.collection": "scallax.context.collection",
    "scallax.declaring": "scallax.language.decorators",
    "scallax.domains": "scallax.language.tag_domains",
    "scallax.draft": "scallax.context.draft",
    "scallax.foreign": "scallax.language.foreign",
    "scallax.grounding.layout": "scallax.circuits.circuit",
    "scallax.highlighting": "scallax.syntax.highlighting",
    "scallax.ir": "scallax.language.ir",
    "scallax.kernels.gates": "scallax.kernels.selections",
    "scallax.library": "scallax.language.library",
    "scallax.literals": "scallax.circuits.literals",
    "scallax.mappings": "scallax.facts.mappings",
    "scallax.parameters": "scallax.facts.parameters",
    "scallax.proofs": "scallax.reasoner.proofs",
    "scallax.references": "scallax.context.pickling",
    "scallax.sample_facts": "scallax.facts.sample_facts",
    "scallax.signatures": "scallax.language.signatures",
    "scallax.source": "scallax.errors",
    "scallax.specification": "scallax.facts.specification",
    "scallax.tables": "scallax.facts.tables",
    "scallax.tensor_facts": "scallax.facts.tensor_facts",
    "scallax.tensors": "scallax.language.tensors",
    "scallax.times": "scallax.language.times",
    "scallax.types": "scallax.language.types",
    "scallax.union": "scallax.evaluation.batch_grounding",
    "scallax.values": "scallax.language.values",
}
_FORMER_NAMES = {
    "FactBatch": "FactTable",
    "Gates": "Selections",
    "GroundProgram": "Circuit",
    "StoredGround": "SerializedProgram",
}


class _FormerModules:
    """Imports modules by the paths that they had: `pickle` looks for classes there."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        """A spec for a path of version 0.1, None for any other."""
        return ModuleSpec(name, _FormerModules) if name in _FORMER_PATHS else None  # pyright: ignore[reportArgumentType]

    @staticmethod
    def create_module(spec: ModuleSpec) -> ModuleType:
        """A module whose attributes are those of the module that took its place."""
        from importlib import import_module

        module = ModuleType(spec.name)
        path = _FORMER_PATHS[spec.name]
        module.__getattr__ = lambda name: getattr(import_module(path), _FORMER_NAMES.get(name, name))
        return module

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        """Nothing: attributes are looked up when they are asked for."""


sys.meta_path.append(_FormerModules)  # pyright: ignore[reportArgumentType]


__getattr__ = lazy_names("scallax", _HOMES)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
