"""Saves and loads torch models: files are written whole or not at all, and verified before they are used."""

import copy
import hashlib
import json
import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch

from scallax import Reasoner, checkpoint
from scallax.checkpoint import OPTIMIZER, SAFETENSORS_SUFFIX, TORCH_SUFFIXES, Artifact, as_path, located, write_file
from scallax.errors import CheckpointError, Diagnostic, InputError, checks_call
from scallax.language import ForeignItem
from torch_bridge.digits import pack_specification, read_specification
from torch_bridge.dlpack import from_numpy, to_numpy
from torch_bridge.module import EXTRA_STATE, NAMED_AS_IN_FLAX, Module
from torch_bridge.torch_values import as_torch

FORMAT = 1

# Last parts of the names of Flax's arrays, which do not occur in torch's layers.
_FLAX_NAMES = ("kernel", "scale", "embedding")

Form = Literal["torch", "safetensors", "orbax"]

_MANIFEST = "scallax.json"

# Errors for a damaged archive: Python's reader checks little of the structure.
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError)


@checks_call
def save(path: str | Path, obj: object, *, overwrite: bool = False) -> None:
    """Saves an object like `torch.save(obj, path)`, with a SHA-256 of every record of the file.

    `torch.load` reads the file too. The file gets its name when it is complete and on the disk, so a reader, or a
    crash, meets either the old file or the new one. If the name ends in `.safetensors`, it is a safetensors file, which
    every framework reads.

    Args:
        path: The file to write.
        obj: Any object that `torch.save` takes; for a safetensors file, a module or a state dict.
        overwrite: True replaces a file that is at `path`.

    Raises:
        CheckpointError: There is something at `path` and not `overwrite`, or the file cannot be written.
        InputError: A safetensors file cannot hold the object.

    Example:
        >>> import os, tempfile
        >>> import torch, torch_bridge
        >>> module = torch_bridge.Module("rel both(x) = a(x), b(x)", provenance="difftopkproofs",
        ...     input_mappings={"a": range(2), "b": range(2)}, output_mapping=("both", range(2)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "module.pt")
        ...     torch_bridge.save(path, module)
        ...     print(torch_bridge.load(path)(a=torch.tensor([[0.5, 1.0]]), b=torch.tensor([[0.5, 0.5]])))
        tensor([[0.2500, 0.5000]])
    """
    path = as_path(path)
    if path.suffix.lower() == SAFETENSORS_SUFFIX:
        checkpoint.save(path, artifact_of(obj), overwrite=overwrite)
    else:
        write_file(path, partial(_write_torch, obj), overwrite=overwrite)


@checks_call
def load(
    path: str | Path, map_location=None, *, foreign: Sequence[ForeignItem] = (), custom_provenance: object = None
) -> Any:
    """Loads a checkpoint of any framework, and verifies it. Nothing from the file is executed.

    Files of `save`, Orbax directories and safetensors files have a SHA-256 of everything. Files of plain `torch.save`
    have the checksums of a zip file. If a file of torch holds a class of your own, allow it first:
    `torch.serialization.add_safe_globals([YourClass])`.

    Args:
        path: A file or directory that `save`, `torch.save` or `scallax.checkpoint.save` wrote.
        map_location: The device of the tensors. For a file of torch, everything that `torch.load` takes here.
        foreign: The foreign functions, predicates, aggregates and attributes that the programs use; no file holds them.
        custom_provenance: The provenance that the module was made with, if it was one of your own. Files of torch hold
            no module with one.

    Returns:
        For a file of torch, the object in it. For an Orbax directory or a safetensors file, a `torch_bridge.Module`, or
        the state dict of a larger model.

    Raises:
        CheckpointError: Something is damaged, or `foreign` lacks an item or has it with another signature; every
            problem is listed.

    Example:
        >>> import os, tempfile
        >>> import scallax, torch_bridge
        >>> from scallax import checkpoint
        >>> edges = scallax.Reasoner("rel edge = {0.5::(0, 1)}", provenance="diffminmaxprob", trainable=["edge"],
        ...     output_mapping=("edge", [(0, 1)]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "edges.safetensors")
        ...     checkpoint.save(path, edges)
        ...     print(torch_bridge.load(path)().tolist())
        [[0.5]]
    """
    path = as_path(path)
    if _is_torch_file(path):
        _verify(path)
        return _with_foreign(_load_torch(path, map_location), path, foreign)
    artifact = checkpoint.read(path)
    if set(artifact.specifications) == {""}:
        module = Module.from_reasoner(_reasoner_of(artifact, path, foreign, custom_provenance))
        return module if map_location is None else module.to(_device(map_location))
    return _state_dict(artifact, map_location)


@checks_call
def load_state_dict(
    model: torch.nn.Module, state_dict: Mapping[str, Any], *, strict: bool = True, assign: bool = False
) -> Any:
    """Loads a state dict into a model all or nothing: `model.load_state_dict(...)` that changes no tensor if it fails.

    Torch itself loads one part of a model after the other, and leaves the first parts changed if a later one is
    refused. This needs memory for a copy of the model.

    Args:
        model: A torch module, which may hold `torch_bridge.Module`s.
        state_dict: Tensors by name, such as `model.state_dict()` of a model of the same kind.
        strict: As in torch: False allows missing and unexpected names.
        assign: As in torch: True puts the given tensors in the place of the model's.

    Returns:
        The result of torch's own method: the missing and unexpected names.

    Raises:
        CheckpointError: The state dict is refused; the text is torch's report. No tensor has changed.
        InputError: `model` is not a torch module.

    Example:
        >>> import torch, torch_bridge
        >>> model = torch.nn.Linear(2, 2)
        >>> torch_bridge.load_state_dict(model, {"weight": torch.zeros(2, 2), "bias": torch.ones(2)})
        <All keys matched successfully>
    """
    if not isinstance(model, torch.nn.Module):
        raise InputError(f"a {type(model).__name__} takes no state dict; give a torch module")
    try:
        copy.deepcopy(model).load_state_dict(state_dict, strict=strict, assign=assign)
    except RuntimeError as error:  # torch's report
        raise CheckpointError(str(error)) from None
    return model.load_state_dict(state_dict, strict=strict, assign=assign)


@checks_call
def convert(
    source: str | Path,
    target: str | Path,
    *,
    form: Form | None = None,
    overwrite: bool = False,
    foreign: Sequence[ForeignItem] = (),
) -> None:
    """Writes a checkpoint once more in another form, with the same tensors and specifications.

    Args:
        source: A checkpoint of any form. A file of torch must hold a module or a state dict.
        target: The file or directory to write. A file of torch holds the module, or the state dict of a larger model.
        form: `"torch"`, `"safetensors"` or `"orbax"`. Default: by the name of `target`, "safetensors" for
            `.safetensors`, "torch" for `.pt`, `.pth`, `.bin`, `.ckpt` or `.tar`, otherwise "orbax".
        overwrite: True replaces a checkpoint that is at `target`.
        foreign: The foreign items that the program of a module uses; needed for a file of torch.

    Raises:
        CheckpointError: The source is damaged, or has something that a file of torch has no place for.

    Example:
        >>> import os, tempfile
        >>> import torch_bridge
        >>> module = torch_bridge.Module("rel both(x) = a(x), b(x)", provenance="difftopkproofs",
        ...     input_mappings={"a": range(2), "b": range(2)}, output_mapping=("both", range(2)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = [os.path.join(folder, name) for name in ("module.pt", "module.safetensors")]
        ...     torch_bridge.save(paths[0], module)
        ...     torch_bridge.convert(*paths)
        ...     print(sorted(os.listdir(folder)))
        ['module.pt', 'module.safetensors']
    """
    source, target = as_path(source), as_path(target)
    artifact = _read(source)
    if form is None:
        suffix = target.suffix.lower()
        form = "safetensors" if suffix == SAFETENSORS_SUFFIX else "torch" if suffix in TORCH_SUFFIXES else "orbax"
    if form == "torch":
        save_torch = partial(_write_torch, _torch_object(artifact, source, foreign))
        write_file(target, save_torch, overwrite=overwrite)
    else:
        checkpoint.save(target, artifact, form=form, overwrite=overwrite)


def artifact_of(obj: object) -> Artifact:
    """A module or a state dict as data; all tensors are copied. InputError for anything else."""
    if isinstance(obj, torch.nn.Module):
        obj = obj.state_dict()
    if not isinstance(obj, Mapping):
        hint = "give a module or its state dict"
        raise InputError(Diagnostic(f"a {type(obj).__name__} is no model", hint=hint))
    specifications, tensors = {}, {}
    for name, value in obj.items():
        if not isinstance(value, torch.Tensor):
            hint = "a state dict maps names to tensors: give that of the model alone"
            raise InputError(Diagnostic(f"`{name}` is a {type(value).__name__}, no tensor", hint=hint))
        if name.split(".")[-1] == EXTRA_STATE:
            specifications[name.removesuffix(EXTRA_STATE).removesuffix(".")] = read_specification(value)
        else:
            tensors[name] = to_numpy(value)
    return Artifact(specifications, tensors, door="torch")


def _read(path: Path) -> Artifact:
    if not _is_torch_file(path):
        return checkpoint.read(path)
    _verify(path)
    try:
        return artifact_of(_load_torch(path, "cpu"))
    except InputError as error:
        raise CheckpointError(*(replace(d, message=f"`{path}`: {d.message}") for d in error.diagnostics)) from None


def _torch_object(artifact: Artifact, source: str | Path, foreign: Sequence[ForeignItem]) -> object:
    """The content of a file of torch for an artifact: the module, or a state dict."""
    lost = [name for name in ("extra", "grounds", "metrics") if getattr(artifact, name)]
    lost += ["an optimizer"] if any(name.startswith(OPTIMIZER) for name in artifact.tensors) else []
    if lost:
        hint = f"read them with scallax.checkpoint.read; a converted file has no place for `{'`, `'.join(lost)}`"
        raise CheckpointError(Diagnostic(f"`{source}` has {', '.join(lost)} beside the model", hint=hint))
    if set(artifact.specifications) == {""}:
        return Module.from_reasoner(_reasoner_of(artifact, source, foreign))
    return _state_dict(artifact, None)


def _with_foreign(obj: object, path: Path, foreign: Sequence[ForeignItem]) -> object:
    """The content of a file of torch, whose modules get the foreign items that they use."""
    if isinstance(obj, torch.nn.Module):
        for module in obj.modules():
            if isinstance(module, Module) and module.specification.foreign:
                with located(path):
                    module.reasoner = module.reasoner.with_foreign(as_torch(foreign))
    return obj


def _reasoner_of(
    artifact: Artifact, path: str | Path, foreign: Sequence[ForeignItem], custom_provenance: object = None
) -> Reasoner:
    with located(path):
        return checkpoint.reasoner_of(artifact, as_torch(foreign), custom_provenance=custom_provenance)


def _device(map_location: object) -> torch.device:
    if isinstance(map_location, str | torch.device):
        return torch.device(map_location)
    hint = "the forms of torch.load with a dictionary or a function are for files of torch"
    raise InputError(Diagnostic(f"`map_location` is {map_location!r}; give a device", hint=hint))


def _state_dict(artifact: Artifact, map_location) -> dict[str, torch.Tensor]:
    states = {
        f"{path}.{EXTRA_STATE}" if path else EXTRA_STATE: pack_specification(specification)
        for path, specification in artifact.specifications.items()
    }
    states |= {name: from_numpy(array) for name, array in artifact.tensors.items()}
    if map_location is not None:
        states = {name: tensor.to(_device(map_location)) for name, tensor in states.items()}
    if artifact.door != "flax" or not any(name.rpartition(".")[2] in _FLAX_NAMES for name in artifact.tensors):
        return states
    # Torch passes the metadata of a part to its `_load_from_state_dict`, which then gives a hint.
    marked = OrderedDict(states)
    metadata = {path: {NAMED_AS_IN_FLAX: True} for path in artifact.specifications}
    marked._metadata = metadata  # pyright: ignore[reportAttributeAccessIssue]  # torch's own attribute
    return marked


def _is_torch_file(path: Path) -> bool:
    """Whether the path is a file that may be a zip file, as files of torch are."""
    if path.is_dir() or path.suffix.lower() == SAFETENSORS_SUFFIX:
        return False
    try:
        with path.open("rb") as file:
            begin = file.read(9)
    except OSError as error:  # missing, no permission
        raise CheckpointError(f"`{path}` cannot be read: {error.strerror or error}") from error
    # A safetensors file under another name begins with a length, then JSON.
    return begin[8:9] != b"{"


def _load_torch(path: Path, map_location) -> Any:
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    except (
        RuntimeError,
        EOFError,
        UnicodeDecodeError,
    ) as error:  # the archive is damaged where zip files have no checks
        raise CheckpointError(f"`{path}` is damaged: {str(error).splitlines()[0]}") from None
    except pickle.UnpicklingError as error:  # a class that is not allowed, or no data
        names = torch.serialization.get_unsafe_globals_in_checkpoint(path)
        if not names:
            raise CheckpointError(f"`{path}` is damaged: {error}") from None
        shown = ", ".join(f"`{name}`" for name in names)
        hint = "if you trust its source, allow them first: torch.serialization.add_safe_globals([...])"
        own = next((name for name in names if name.startswith("__main__.")), None)
        if own is not None:
            # A class of a script has another module in a script that imports it.
            short = own.removeprefix("__main__.")
            hint += f'; a class of the script that saved it goes by its name there: [({short}, "{own}"), ...]'
        raise CheckpointError(Diagnostic(f"`{path}` holds what torch does not load: {shown}", hint=hint)) from None


def _write_torch(obj: object, file: BinaryIO) -> None:
    torch.save(obj, file)
    file.flush()
    with zipfile.ZipFile(file, "a") as archive:
        names = archive.namelist()
        digests = {name: _sha256(archive, name) for name in names}
        directory = names[0].split("/")[0]
        text = json.dumps({"format": FORMAT, "sha256": digests}, sort_keys=True)
        archive.writestr(f"{directory}/{_MANIFEST}", text)


def _verify(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            digests = _read_manifest(path, archive)
            if digests is None:
                # A file of plain torch.save: the archive's own checksums are all there is.
                damaged = archive.testzip()
                if damaged is not None:
                    raise CheckpointError(f"`{path}` is damaged: the record `{damaged}` does not match its checksum")
                return
            names = {name for name in archive.namelist() if not name.endswith(f"/{_MANIFEST}")}
            problems = [f"`{path}` lacks the record `{name}`" for name in sorted(set(digests) - names)]
            problems += [f"`{path}` has the unknown record `{name}`" for name in sorted(names - set(digests))]
            for name in sorted(names & set(digests)):
                if not _matches(archive, name, digests[name]):
                    problems.append(f"`{path}` is damaged: the record `{name}` does not match its SHA-256")
    except _DAMAGE as error:  # cut off, or another kind of file
        raise CheckpointError(f"`{path}` is no checkpoint file, or is damaged: {error}") from None
    if problems:
        raise CheckpointError(*problems)


def _read_manifest(path: Path, archive: zipfile.ZipFile) -> dict[str, str] | None:
    """The SHA-256 of every record by name; None for a file without checksums."""
    names = [name for name in archive.namelist() if name.endswith(f"/{_MANIFEST}")]
    if not names:
        return None
    if len(names) > 1:
        raise CheckpointError(f"`{path}` is damaged: it has checksums twice")
    try:
        manifest = json.loads(archive.read(names[0]))
    except _DAMAGE:  # damaged text
        raise CheckpointError(f"`{path}` is damaged: its checksums are unreadable") from None
    if (
        not isinstance(manifest, dict)
        or manifest.get("format") != FORMAT
        or not isinstance(manifest.get("sha256"), dict)
    ):
        version = manifest.get("format") if isinstance(manifest, dict) else None
        raise CheckpointError(f"`{path}` has checksums of format version {version!r}; this version reads {FORMAT}")
    return manifest["sha256"]


def _matches(archive: zipfile.ZipFile, name: str, digest: str) -> bool:
    try:
        return _sha256(archive, name) == digest
    except _DAMAGE:  # the archive's own check of the record fails
        return False


def _sha256(archive: zipfile.ZipFile, name: str) -> str:
    with archive.open(name) as record:
        return hashlib.file_digest(record, "sha256").hexdigest()  # pyright: ignore[reportArgumentType] (reads bytes)
