"""Scallop programs as torch modules, which are saved and loaded like others; also the reference's names."""

from scallax import Any as Any
from scallax import BatchedFacts as BatchedFacts
from scallax import BatchedTuples as BatchedTuples
from scallax import DateTime as DateTime
from scallax import Duration as Duration
from scallax import Entity as Entity
from scallax import Facts as Facts
from scallax import Float as Float
from scallax import Generic as Generic
from scallax import GenericTypeParameter as GenericTypeParameter
from scallax import InputMapping as InputMapping
from scallax import Integer as Integer
from scallax import Number as Number
from scallax import SignedInteger as SignedInteger
from scallax import String as String
from scallax import Symbol as Symbol
from scallax import Tensor as Tensor
from scallax import UnsignedInteger as UnsignedInteger
from scallax import __version__ as __version__
from scallax import bool as bool
from scallax import char as char
from scallax import f32 as f32
from scallax import f64 as f64
from scallax import foreign_aggregate as foreign_aggregate
from scallax import foreign_attribute as foreign_attribute
from scallax import foreign_function as foreign_function
from scallax import foreign_predicate as foreign_predicate
from scallax import i8 as i8
from scallax import i16 as i16
from scallax import i32 as i32
from scallax import i64 as i64
from scallax import i128 as i128
from scallax import isize as isize
from scallax import u8 as u8
from scallax import u16 as u16
from scallax import u32 as u32
from scallax import u64 as u64
from scallax import u128 as u128
from scallax import usize as usize
from scallax.analysis import AbstractAction as AbstractAction
from scallax.analysis import ErrorAction as ErrorAction
from scallax.analysis import MultipleActions as MultipleActions
from scallax.analysis import NoAction as NoAction
from scallax.analysis import RegisterForeignFunctionAction as RegisterForeignFunctionAction
from scallax.analysis import RegisterForeignPredicateAction as RegisterForeignPredicateAction
from scallax.analysis import RemoveItemAction as RemoveItemAction
from scallax.errors import ScallaxError as ScallaxError
from scallax.language import ForeignAttribute as ForeignAttribute
from scallax.language import ForeignFunction as ForeignFunction
from scallax.language import ForeignPredicate as ForeignPredicate
from torch_bridge import io as io
from torch_bridge import weights as weights
from torch_bridge.checkpoint import convert as convert
from torch_bridge.checkpoint import load as load
from torch_bridge.checkpoint import load_state_dict as load_state_dict
from torch_bridge.checkpoint import save as save
from torch_bridge.context import ScallopContext as ScallopContext
from torch_bridge.forward import ScallopForwardFunction as ScallopForwardFunction
from torch_bridge.module import Module as Module
from torch_bridge.plugins import Plugin as Plugin
from torch_bridge.plugins import PluginRegistry as PluginRegistry
from torch_bridge.provenance import ScallopProvenance as ScallopProvenance
from torch_bridge.reference import boolean as boolean
from torch_bridge.reference import diff_prob as diff_prob
from torch_bridge.reference import exclusion as exclusion
from torch_bridge.reference import exclusive_diff_prob as exclusive_diff_prob
from torch_bridge.reference import exclusive_prob as exclusive_prob
from torch_bridge.reference import natural as natural
from torch_bridge.reference import none as none
from torch_bridge.reference import prob as prob
from torch_bridge.reference import torch_tensor_enabled as torch_tensor_enabled

# Short names that the reference has.
Context = ScallopContext
Provenance = ScallopProvenance
ForwardFunction = ScallopForwardFunction
Map = InputMapping
ForeignAttributeProcessor = ForeignAttribute
AttributeAction = AbstractAction
ff = foreign_function
fp = foreign_predicate

# The public names. `bool` is left out, so that `from torch_bridge import *` leaves Python's own alone.
__all__ = [
    "AbstractAction",
    "Any",
    "AttributeAction",
    "BatchedFacts",
    "BatchedTuples",
    "Context",
    "DateTime",
    "Duration",
    "Entity",
    "ErrorAction",
    "Facts",
    "Float",
    "ForeignAttribute",
    "ForeignAttributeProcessor",
    "ForeignFunction",
    "ForeignPredicate",
    "ForwardFunction",
    "Generic",
    "GenericTypeParameter",
    "InputMapping",
    "Integer",
    "Map",
    "Module",
    "MultipleActions",
    "NoAction",
    "Number",
    "Plugin",
    "PluginRegistry",
    "Provenance",
    "RegisterForeignFunctionAction",
    "RegisterForeignPredicateAction",
    "RemoveItemAction",
    "ScallaxError",
    "ScallopContext",
    "ScallopForwardFunction",
    "ScallopProvenance",
    "SignedInteger",
    "String",
    "Symbol",
    "Tensor",
    "UnsignedInteger",
    "__version__",
    "boolean",
    "char",
    "convert",
    "diff_prob",
    "exclusion",
    "exclusive_diff_prob",
    "exclusive_prob",
    "f32",
    "f64",
    "ff",
    "foreign_aggregate",
    "foreign_attribute",
    "foreign_function",
    "foreign_predicate",
    "fp",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "io",
    "isize",
    "load",
    "load_state_dict",
    "natural",
    "none",
    "prob",
    "save",
    "torch_tensor_enabled",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "usize",
    "weights",
]
