"""Checkpoints: models as data in Orbax directories and safetensors files.

Given reasoners and models that hold them, it writes one artifact (specifications, tensors, groundings) whole or not at
all, and hands back the same model, bit for bit.
"""

from scallax.checkpoint.manager import Manager as Manager
from scallax.checkpoint.store import Form as Form
from scallax.checkpoint.store import load as load
from scallax.checkpoint.store import read as read
from scallax.checkpoint.store import reasoner_of as reasoner_of
from scallax.checkpoint.store import restore as restore
from scallax.checkpoint.store import save as save
