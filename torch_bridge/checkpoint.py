"""Checkpoint files that are written whole or not at all, and checked before they are used."""

import hashlib
import json
import os
import secrets
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import torch

from scallax.errors import CheckpointError

FORMAT = 1

_MANIFEST = "scallax.json"


def save(path: str | Path, obj: object) -> None:
    """Writes what `torch.save(obj, path)` would, with a SHA-256 of every record of the file.

    `torch.load` reads the file as well. The file appears under its name when it is complete and on the disk: a reader,
    or a crash, sees the old file or the new one.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("x+b") as file:
            torch.save(obj, file)
            _append_manifest(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def load(path: str | Path, map_location=None) -> Any:
    """What `save` wrote; executes nothing from the file. CheckpointError if any byte of its records has changed.

    `map_location` is that of `torch.load`. A class of your own in it must be allowed first:
    `torch.serialization.add_safe_globals`.
    """
    _verify(Path(path))
    return torch.load(path, map_location=map_location, weights_only=True)


def _append_manifest(file: BinaryIO) -> None:
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
            names = {name for name in archive.namelist() if not name.endswith(f"/{_MANIFEST}")}
            problems = [f"`{path}` lacks the record `{name}`" for name in sorted(set(digests) - names)]
            problems += [f"`{path}` has the unknown record `{name}`" for name in sorted(names - set(digests))]
            for name in sorted(names & set(digests)):
                if not _matches(archive, name, digests[name]):
                    problems.append(f"`{path}` is damaged: the record `{name}` does not match its SHA-256")
    except zipfile.BadZipFile as error:  # cut off, or another kind of file
        raise CheckpointError(f"`{path}` is no checkpoint file, or is damaged: {error}") from None
    if problems:
        raise CheckpointError(*problems)


def _read_manifest(path: Path, archive: zipfile.ZipFile) -> dict[str, str]:
    names = [name for name in archive.namelist() if name.endswith(f"/{_MANIFEST}")]
    if len(names) != 1:
        raise CheckpointError(
            f"`{path}` has no checksums: it was not written by torch_bridge.save; torch.load reads it"
        )
    try:
        manifest = json.loads(archive.read(names[0]))
    except ValueError:  # damaged text
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
    except zipfile.BadZipFile:  # the archive's own check of the record fails
        return False


def _sha256(archive: zipfile.ZipFile, name: str) -> str:
    digest = hashlib.sha256()
    with archive.open(name) as record:
        while chunk := record.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
