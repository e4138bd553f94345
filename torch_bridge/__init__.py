"""Scallop programs as torch modules, saved and loaded as torch modules are."""

from scallax.errors import ScallaxError as ScallaxError
from scallax.mappings import InputMapping as InputMapping
from torch_bridge import weights as weights
from torch_bridge.checkpoint import convert as convert
from torch_bridge.checkpoint import load as load
from torch_bridge.checkpoint import load_state_dict as load_state_dict
from torch_bridge.checkpoint import save as save
from torch_bridge.module import Module as Module
