"""Checkpoints: models as data in Orbax directories and safetensors files.

Given reasoners and models that hold them, it writes one artifact (specifications, tensors, groundings) whole or not at
all, and hands back the same model, bit for bit.
"""

from typing import TYPE_CHECKING

from scallax.checkpoint.manager import Manager as Manager
from scallax.checkpoint.store import Form as Form
from scallax.checkpoint.store import load as load
from scallax.checkpoint.store import read as read
from scallax.checkpoint.store import reasoner_of as reasoner_of
from scallax.checkpoint.store import restore as restore
from scallax.checkpoint.store import save as save
from scallax.kernels.lazy_names import lazy_names

if TYPE_CHECKING:
    from scallax.checkpoint.artifact import OPTIMIZER as OPTIMIZER
    from scallax.checkpoint.artifact import Artifact as Artifact
    from scallax.checkpoint.durable import as_path as as_path
    from scallax.checkpoint.durable import located as located
    from scallax.checkpoint.durable import write_file as write_file
    from scallax.checkpoint.extras import import_flax_state as import_flax_state
    from scallax.checkpoint.safetensors_form import SAFETENSORS_SUFFIX as SAFETENSORS_SUFFIX
    from scallax.checkpoint.store import TORCH_SUFFIXES as TORCH_SUFFIXES

# Names for bridges to other frameworks: where each one lives, imported at its first use.
_FILES = {
    "artifact": ("OPTIMIZER", "Artifact"),
    "durable": ("as_path", "located", "write_file"),
    "extras": ("import_flax_state",),
    "safetensors_form": ("SAFETENSORS_SUFFIX",),
    "store": ("TORCH_SUFFIXES",),
}
__getattr__ = lazy_names(__name__, {name: file for file, names in _FILES.items() for name in names})
