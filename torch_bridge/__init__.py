"""Scallop programs as torch modules, saved and loaded as those are; and the names of the reference's package."""

from scallax.errors import ScallaxError as ScallaxError
from scallax.mappings import InputMapping as InputMapping
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

# The short names of the reference.
Context = ScallopContext
ForwardFunction = ScallopForwardFunction
Map = InputMapping
