"""Checkpoints in and out of torch: our files are written whole or not at all, and checked before they are used."""

import copy
import hashlib
import json
import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

import torch

from scallax import checkpoint
from scallax.checkpoint.artifact import OPTIMIZER, Artifact
from scallax.checkpoint.durable import as_path, write_file
from scallax.errors import CheckpointError, Diagnostic, InputError, checks_call
from scallax.language.foreign import ForeignItem
from scallax.reasoner.reasoner import Reasoner
from torch_bridge.digits import pack_specification, read_specification
from torch_bridge.foreign import as_torch
from torch_bridge.module import EXTRA_STATE, NAMED_AS_IN_FLAX, Module
from torch_bridge.tensors import from_numpy, to_numpy

FORMAT = 1

# The last parts of names of arrays in Flax's layers that torch's layers do not have.
_FLAX_NAMES = ("kernel", "scale", "embedding")

Form = Literal["torch", "safetensors", "orbax"]

_MANIFEST = "scallax.json"
_SAFETENSORS = ".safetensors"
_TORCH = (".pt", ".pth", ".bin", ".ckpt", ".tar")


# What reading a damaged archive raises: Python's reader checks little of the structure.
_DAMAGE = (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError, RuntimeError)


@checks_call
def save(path: str | Path, obj: object, *, overwrite: bool = False) -> None:
    """Writes what `torch.save(obj, path)` would, with a SHA-256 of every record of the file.

    `torch.load` reads the file as well. The file appears under its name when it is complete and on the disk: a reader,
    or a crash, sees the old file or the new one. CheckpointError if there is something at `path` and not `overwrite`,
    or the file cannot be written. With a name that ends in `.safetensors`, `obj` is a module or a state dict, and the
    file is one of safetensors, for every framework.
    """
    path = as_path(path)
    if path.suffix.lower() == _SAFETENSORS:
        checkpoint.save(path, artifact_of(obj), overwrite=overwrite)
    else:
        write_file(path, partial(_write_torch, obj), overwrite=overwrite)


@checks_call
def load(
    path: str | Path, map_location=None, *, foreign: Sequence[ForeignItem] = (), custom_provenance: object = None
) -> Any:
    """What was saved at `path`, by whatever framework; executes nothing from the file.

    From a file of torch, what it holds. From an Orbax directory or a safetensors file, the module; of a model around
    the reasoner, its state dict. `map_location` is that of `torch.load`. A user's provenance, `custom_provenance`, must
    be given again; files of torch hold no module with one.

    `foreign` are the functions of Python and the like that its programs use, which no file holds. CheckpointError if
    one is missing, or of another signature.

    CheckpointError, with every problem, if something is damaged: files of `save`, Orbax directories and safetensors
    files have a SHA-256 of everything; those of plain `torch.save` have the checksums of a zip file. A class of your
    own in a file of torch must be allowed first: `torch.serialization.add_safe_globals`.
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
    """`model.load_state_dict(...)`, all or nothing, for a model around a `Module`; needs room for a copy of the model.

    CheckpointError, with all that torch says, if the state dict is refused: then no tensor has changed. (Torch itself
    loads one part of a model after the other.)
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
    """Writes the checkpoint `source` once more as `target`, in another form: the same tensors and specifications.

    The form of `target` follows from its name: a safetensors file for `.safetensors`, a file of torch for `.pt`,
    `.pth`, `.bin`, `.ckpt` or `.tar`, else an Orbax directory. A file of torch must hold a module or a state dict; one
    that is written holds the module, of a larger model the state dict. CheckpointError if it would lose something that
    a file of torch has no place for. A file of torch of a module needs the functions of Python that its program uses.
    """
    source, target = as_path(source), as_path(target)
    artifact = _read(source)
    if form is None:
        suffix = target.suffix.lower()
        form = "safetensors" if suffix == _SAFETENSORS else "torch" if suffix in _TORCH else "orbax"
    if form == "torch":
        save_torch = partial(_write_torch, _torch_object(artifact, source, foreign))
        write_file(target, save_torch, overwrite=overwrite)
    else:
        checkpoint.save(target, artifact, form=form, overwrite=overwrite)


def artifact_of(obj: object) -> Artifact:
    """A module, or a state dict, as data; copies. InputError for what is neither, or has values that are no tensors."""
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
    """What a file of torch holds for an artifact: the module, or a state dict."""
    lost = [name for name in ("extra", "grounds", "metrics") if getattr(artifact, name)]
    lost += ["an optimizer"] if any(name.startswith(OPTIMIZER) for name in artifact.tensors) else []
    if lost:
        hint = f"read them with scallax.checkpoint.read; a converted file has no place for `{'`, `'.join(lost)}`"
        raise CheckpointError(Diagnostic(f"`{source}` has {', '.join(lost)} beside the model", hint=hint))
    if set(artifact.specifications) == {""}:
        return Module.from_reasoner(_reasoner_of(artifact, source, foreign))
    return _state_dict(artifact, None)


def _with_foreign(obj: object, path: Path, foreign: Sequence[ForeignItem]) -> object:
    """What a file of torch held, its modules with the functions of Python that they use."""
    if isinstance(obj, torch.nn.Module):
        for module in obj.modules():
            if isinstance(module, Module) and module.specification.foreign:
                with _located(path):
                    module.reasoner = module.reasoner.with_foreign(as_torch(foreign))
    return obj


def _reasoner_of(
    artifact: Artifact, path: str | Path, foreign: Sequence[ForeignItem], custom_provenance: object = None
) -> Reasoner:
    with _located(path):
        return checkpoint.reasoner_of(artifact, as_torch(foreign), custom_provenance=custom_provenance)


@contextmanager
def _located(path: str | Path) -> Iterator[None]:
    """Names the path in every problem."""
    try:
        yield
    except CheckpointError as error:
        located = [replace(d, message=f"`{path}`: {d.message}") for d in error.diagnostics]
        raise CheckpointError(*located) from None


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
    # Torch passes a part's metadata to its `_load_from_state_dict`, which then says what to do.
    marked = OrderedDict(states)
    metadata = {path: {NAMED_AS_IN_FLAX: True} for path in artifact.specifications}
    marked._metadata = metadata  # pyright: ignore[reportAttributeAccessIssue]  # torch's own attribute
    return marked


def _is_torch_file(path: Path) -> bool:
    """Whether the file is a zip file, as those of torch are; a damaged one may not be."""
    if path.is_dir() or path.suffix.lower() == _SAFETENSORS:
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
            # The class of a script, which another script defines or imports under its own name.
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
    """The SHA-256 of every record by name; None in a file that has none."""
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
    digest = hashlib.sha256()
    with archive.open(name) as record:
        while chunk := record.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
