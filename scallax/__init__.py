"""Scallop, a probabilistic and differentiable Datalog, compiled to JAX."""

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

if TYPE_CHECKING:
    from scallax.compiled import CompiledInfo as CompiledInfo
    from scallax.compiled import compiled_info as compiled_info
    from scallax.compiled import limit_compiled as limit_compiled
    from scallax.context import Context as Context
    from scallax.declaring import foreign_aggregate as foreign_aggregate
    from scallax.declaring import foreign_attribute as foreign_attribute
    from scallax.declaring import foreign_function as foreign_function
    from scallax.declaring import foreign_predicate as foreign_predicate
    from scallax.derivatives import jacobian as jacobian
    from scallax.explanation import explain_plan as explain_plan
    from scallax.grounding.limits import Limits as Limits
    from scallax.literals import Literal as Literal
    from scallax.mappings import InputMapping as InputMapping
    from scallax.provenance import Provenance as Provenance
    from scallax.reasoner import Reasoner as Reasoner
    from scallax.sample_facts import FactList as FactList
    from scallax.specification import Specification as Specification
    from scallax.tables import CsvFile as CsvFile
    from scallax.tables import Table as Table
    from scallax.types import Any as Any
    from scallax.types import BatchedFacts as BatchedFacts
    from scallax.types import BatchedTuples as BatchedTuples
    from scallax.types import DateTime as DateTime
    from scallax.types import Duration as Duration
    from scallax.types import Entity as Entity
    from scallax.types import Facts as Facts
    from scallax.types import Float as Float
    from scallax.types import Generic as Generic
    from scallax.types import GenericTypeParameter as GenericTypeParameter
    from scallax.types import Integer as Integer
    from scallax.types import Number as Number
    from scallax.types import SignedInteger as SignedInteger
    from scallax.types import String as String
    from scallax.types import Symbol as Symbol
    from scallax.types import Tensor as Tensor
    from scallax.types import UnsignedInteger as UnsignedInteger
    from scallax.types import bool as bool
    from scallax.types import char as char
    from scallax.types import f32 as f32
    from scallax.types import f64 as f64
    from scallax.types import i8 as i8
    from scallax.types import i16 as i16
    from scallax.types import i32 as i32
    from scallax.types import i64 as i64
    from scallax.types import i128 as i128
    from scallax.types import isize as isize
    from scallax.types import u8 as u8
    from scallax.types import u16 as u16
    from scallax.types import u32 as u32
    from scallax.types import u64 as u64
    from scallax.types import u128 as u128
    from scallax.types import usize as usize
    from scallax.union import BatchGrounding as BatchGrounding

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
    "BatchGrounding": "scallax.union",
    "BatchedFacts": "scallax.types",
    "BatchedTuples": "scallax.types",
    "CompiledInfo": "scallax.compiled",
    "Context": "scallax.context",
    "CsvFile": "scallax.tables",
    "FactList": "scallax.sample_facts",
    "Facts": "scallax.types",
    "GenericTypeParameter": "scallax.types",
    "InputMapping": "scallax.mappings",
    "Limits": "scallax.grounding.limits",
    "Literal": "scallax.literals",
    "Provenance": "scallax.provenance",
    "Reasoner": "scallax.reasoner",
    "Specification": "scallax.specification",
    "Table": "scallax.tables",
    "compiled_info": "scallax.compiled",
    "explain_plan": "scallax.explanation",
    "foreign_aggregate": "scallax.declaring",
    "foreign_attribute": "scallax.declaring",
    "foreign_function": "scallax.declaring",
    "foreign_predicate": "scallax.declaring",
    "jacobian": "scallax.derivatives",
    "limit_compiled": "scallax.compiled",
}
# The value types of the language and families of them, by the names that they have here.
_TYPES = (
    *("i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128", "usize", "f32", "f64"),
    *("bool", "char", "String", "Symbol", "DateTime", "Duration", "Entity", "Tensor"),
    *("Any", "Number", "Integer", "SignedInteger", "UnsignedInteger", "Float", "Generic"),
)


def __getattr__(name: str):
    if name not in _HOMES and name not in _TYPES:
        raise AttributeError(f"module 'scallax' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES.get(name, "scallax.types")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_TYPES})
