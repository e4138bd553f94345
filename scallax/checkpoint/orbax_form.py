"""Checkpoints as directories that Orbax reads: an item of arrays, and one of the header."""

import json
import os
import re
from pathlib import Path

import jax
import numpy as np

from scallax.checkpoint.artifact import HEADER_NAME, Artifact, canonical, read_artifact
from scallax.checkpoint.durable import located, read_directory
from scallax.checkpoint.extras import import_extra
from scallax.errors import CheckpointError, Diagnostic

# The items of an Orbax checkpoint, and the file that holds the second.
_ARRAYS = "arrays"
_HEADER = "scallax"
HEADER_FILE = Path(_HEADER, "metadata")


def check_replaceable(path: Path) -> None:
    """CheckpointError if the directory holds something that is not a checkpoint: such a directory is never replaced."""

    def check(directory: Path) -> None:
        try:
            names = os.listdir(directory)
        except (FileNotFoundError, NotADirectoryError):  # nothing is there, or a file, which is not replaced either
            return
        if names and not (directory / HEADER_FILE).exists():
            hint = "remove it first, or choose another name"
            raise CheckpointError(Diagnostic("this directory is no checkpoint of scallax; it is kept", hint=hint))

    with located(path):
        read_directory(path, check)


def write_orbax(directory: Path, header: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes the arrays and the header into an empty directory. CheckpointError or OSError if that fails."""
    ocp = import_extra("orbax.checkpoint")
    # Orbax refuses arrays without elements, and a checkpoint without arrays: the header tells of the former, and is
    # stored as an array as well.
    stored = {name: array for name, array in arrays.items() if array.size}
    stored[HEADER_NAME] = np.frombuffer(header.encode(), np.uint8)
    items = {_ARRAYS: ocp.args.StandardSave(stored), _HEADER: ocp.args.JsonSave(json.loads(header))}
    if jax.process_index():
        # Orbax would leave out all arrays without a word.
        hint = "call this where jax.process_index() == 0, or save a safetensors file"
        raise CheckpointError(Diagnostic("Orbax writes in the first process of a distributed run only", hint=hint))
    # For this process alone: Orbax would else wait for the others.
    options = ocp.options.MultiprocessingOptions(active_processes={0}, barrier_sync_key_prefix="scallax")
    handlers = {
        _ARRAYS: ocp.StandardCheckpointHandler(multiprocessing_options=options),
        _HEADER: ocp.JsonCheckpointHandler(multiprocessing_options=options),
    }
    handler = ocp.CompositeCheckpointHandler(
        composite_options=ocp.CompositeOptions(multiprocessing_options=options), **handlers
    )
    try:
        with ocp.Checkpointer(handler, multiprocessing_options=options) as checkpointer:
            checkpointer.save(directory, args=ocp.args.Composite(**items))
    except OSError:
        raise
    except Exception as error:  # Orbax and TensorStore raise any kind, for a full disk too
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code is None:
            raise CheckpointError(f"Orbax cannot write the checkpoint: {error}") from error
        raise OSError(int(code[1]), os.strerror(int(code[1]))) from error


def read_orbax(directory: Path) -> Artifact:
    """Reads and verifies the directory. CheckpointError if it is no checkpoint, or damaged."""
    if not (directory / _ARRAYS).is_dir():
        raise _no_checkpoint(directory)
    arrays = _read_arrays(directory / _ARRAYS)
    stored_header = arrays.pop(HEADER_NAME, None)
    if stored_header is None:
        raise CheckpointError("this is no checkpoint of scallax, or it is damaged: it has no header")
    header = stored_header.tobytes().decode(errors="replace")
    artifact = read_artifact(header, arrays)
    if canonical(read_header_item(directory)) != header:
        raise CheckpointError(f"the item `{_HEADER}` is not the header among the arrays: one was changed")
    return artifact


def _read_arrays(directory: Path) -> dict[str, np.ndarray]:
    """All arrays of an Orbax item by name.

    They are read by TensorStore, on which Orbax is built: on any devices, in any process of a distributed run, and
    without the tasks that Orbax leaves running when a file is damaged.
    """
    tensorstore = import_extra("tensorstore")
    store = {"driver": "ocdbt", "base": {"driver": "file", "path": f"{directory}/"}}
    try:
        keys = tensorstore.KvStore.open(store).result().list().result()
        names = [key.decode().rpartition("/")[0] for key in keys if key.endswith((b"/.zarray", b"/zarr.json"))]
        opened = {
            name: tensorstore.open({"driver": "auto", "kvstore": {**store, "path": f"{name}/"}}, read=True)
            for name in names
        }
        arrays = {name: array.result().read() for name, array in opened.items()}
        return {name: np.asarray(array.result()) for name, array in arrays.items()}
    except Exception as error:  # TensorStore raises many kinds for damaged files
        reason = "".join(str(error).splitlines()[:1])
        raise CheckpointError(f"the arrays cannot be read: {type(error).__name__}: {reason}") from error


def read_header_item(directory: Path) -> object:
    """Reads the header alone. CheckpointError if it is missing or damaged."""
    try:
        return json.loads((directory / HEADER_FILE).read_bytes())
    except (OSError, ValueError, RecursionError) as error:  # missing or damaged
        raise CheckpointError(f"the item `{_HEADER}` cannot be read: {error}") from None


def _no_checkpoint(directory: Path) -> CheckpointError:
    if not directory.exists():
        return CheckpointError("there is no such file or directory")
    if step_numbers(directory):
        hint = "scallax.checkpoint.Manager(folder).read() reads its newest step"
        return CheckpointError(Diagnostic("this is a folder of checkpoints", hint=hint))
    return CheckpointError("this directory is no checkpoint")


def step_numbers(folder: Path) -> list[int]:
    """The steps that are saved in a run's folder: its subfolders whose names are numbers."""
    return [int(path.name) for path in folder.iterdir() if re.fullmatch(r"0|[1-9]\d*", path.name) and path.is_dir()]
