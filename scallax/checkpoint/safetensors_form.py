"""Checkpoints as safetensors files: the header is the text of their metadata."""

import json
import re
from typing import BinaryIO

import numpy as np

from scallax.checkpoint.artifact import DTYPES, Artifact, read_artifact
from scallax.checkpoint.extras import import_extra
from scallax.errors import CheckpointError, Diagnostic

# The end of names of safetensors files.
SAFETENSORS_SUFFIX = ".safetensors"

# In a safetensors file's metadata, whose length its readers limit.
_HEADER_KEY = "scallax"
_MAX_HEADER_LENGTH = 90_000_000

_TYPES = {name[0].upper() + re.sub(r"\D", "", name): dtype for name, dtype in DTYPES.items() if name[0] in "iuf"}
_TYPES |= {"BOOL": DTYPES["bool"], "BF16": DTYPES["bfloat16"]}


def write_safetensors(file: BinaryIO, header: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes the arrays and the header into an open file. CheckpointError for a header that is too long."""
    if len(header) > _MAX_HEADER_LENGTH:
        message = "the specifications are too long for a safetensors file"
        raise CheckpointError(Diagnostic(message, hint=f"choose a name that does not end in {SAFETENSORS_SUFFIX}"))
    file.write(import_extra("safetensors.numpy").save(arrays, metadata={_HEADER_KEY: header}))


def read_safetensors(data: bytes) -> Artifact:
    """Reads and verifies the bytes of a file. CheckpointError if they are damaged, or not ours."""
    safetensors = import_extra("safetensors")
    try:
        entries = safetensors.deserialize(data)
        length = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + length]).get("__metadata__", {}).get(_HEADER_KEY)
    except (safetensors.SafetensorError, ValueError, RecursionError) as error:  # damaged, cut off, or another kind
        raise CheckpointError(f"this is no safetensors file, or it is damaged: {error}") from None
    if header is None:
        raise CheckpointError("this safetensors file was not written by scallax: its metadata has no header")
    unknown = [
        f"the tensor `{name}` has the unknown type {e['dtype']}" for name, e in entries if e["dtype"] not in _TYPES
    ]
    if unknown:
        raise CheckpointError(*unknown)
    arrays = {name: np.frombuffer(e["data"], _TYPES[e["dtype"]]).reshape(e["shape"]) for name, e in entries}
    return read_artifact(header, arrays)
