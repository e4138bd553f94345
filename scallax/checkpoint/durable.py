"""Writes files and directories whole or not at all: a reader, or a crash, meets either the old one or the new one."""

import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, TypeVar

from scallax.errors import CheckpointError, Diagnostic, InputError

T = TypeVar("T")

# All that is unfinished lies in a hidden directory beside its target, `.name.0123456789abcdef.scallax-saving`: the new
# file or directory while it is written, and the previous directory while the new one takes its place. Its writer holds
# a lock on a file in it, which ends with the writer: what is not locked was left by a crash.
_STAGING = re.compile(r"\.(.+)\.[0-9a-f]{16}\.scallax-saving")
_LOCK = "lock"
_NEW = "new"
_PREVIOUS = "previous"
_REMOVED = "removed"

_CHECKS = 5
_MAX_CHECKS = 100
_PAUSE = 0.02

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def as_path(path: object) -> Path:
    """The path of a checkpoint. InputError if the argument is not a path."""
    if isinstance(path, str | os.PathLike):
        return Path(path)
    raise InputError(Diagnostic(f"{type(path).__name__} is no path", hint="give the path first: `save(path, model)`"))


def write_file(path: str | Path, write: Callable[[BinaryIO], None], *, overwrite: bool) -> None:
    """Lets `write` fill a file, open for reading and writing, that then appears at `path`.

    When it returns, the file is on the disk. CheckpointError, with nothing changed, if there is something at `path`
    (with `overwrite`: something that is not a file), or the system refuses, for example because the disk is full.
    """
    target = _resolve(path)
    with _reported(path):
        _check_free(path, target, overwrite=overwrite, is_right_kind=stat.S_ISREG, kind="file")
        with _staging(target) as staging:
            with (staging / _NEW).open("x+b") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            if overwrite:
                (staging / _NEW).replace(target)
            else:
                _link(staging / _NEW, target, path)
            _sync(target.parent)
    _remove_leftovers(target.parent)


def write_directory(path: str | Path, write: Callable[[Path], None], *, overwrite: bool) -> None:
    """Lets `write` make a directory, at the path it is given, that then appears at `path`.

    It works like `write_file`, but a directory cannot be replaced in one step. If a crash comes between the two steps,
    `recover` finds the previous directory; `read_directory` sees one of the two at any time.
    """
    target = _resolve(path)
    with _reported(path):
        _check_free(path, target, overwrite=overwrite, is_right_kind=stat.S_ISDIR, kind="directory")
        with _staging(target) as staging:
            write(staging / _NEW)
            _sync_tree(staging / _NEW)
            _sync(staging)
            _sync(target.parent)
            _swap_in(staging, target, path, overwrite=overwrite)
            _sync(target.parent)
    _remove_leftovers(target.parent)


def remove_directory(path: Path) -> None:
    """Removes a directory in one step, as a reader sees it; does nothing if it is not there."""
    with _reported(path, "removed"), _staging(path) as staging, suppress(FileNotFoundError):
        path.rename(staging / _REMOVED)


def recover(path: str | Path) -> Path:
    """The path itself, or, after a crash in the middle of a replacement, the place of the previous directory."""
    target = _resolve(path)
    for _ in range(_MAX_CHECKS):
        if target.exists():
            break
        stagings = _stagings(target.parent, target.name)
        found = {}
        for staging in stagings:
            with suppress(FileNotFoundError):  # it was not interrupted there, or has finished just now
                found[staging / _PREVIOUS] = (staging / _PREVIOUS).stat().st_mtime_ns
        if found:
            return max(found, key=found.__getitem__)
        # Other writers may have moved it between the two checks.
        if not stagings and not target.exists():
            break
    return target


def read_directory(path: str | Path, read: Callable[[Path], T]) -> T:
    """The result of `read` for the directory; if another one takes its place meanwhile, for that one.

    `read` must raise CheckpointError or OSError for a directory whose files are partly missing or replaced.
    """
    while True:
        place = recover(path)
        before = _identity(place)
        try:
            return read(place)
        except (CheckpointError, OSError):
            now = recover(path)
            if (place, before) == (now, _identity(now)):
                raise


def _resolve(path: str | Path) -> Path:
    # A link is followed, so that its target is replaced.
    return Path(os.path.realpath(path))


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:  # it is not there
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns


@contextmanager
def _reported(path: str | Path, done: str = "saved") -> Iterator[None]:
    """Turns errors of the system into CheckpointErrors that say what to do."""
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:  # disk full, no permission, no such directory, a name too long, ...
        refusal = _refusal(error)
        if refusal is None:
            raise
        if refusal.errno in _FULL:
            hint = "free space on the disk, or choose a place on another one"
        elif refusal.errno in _FORBIDDEN:
            hint = "choose a directory in which this process may write"
        elif refusal.errno == errno.ENAMETOOLONG:
            hint = "choose a shorter name"
        else:
            hint = "choose another place"
        message = f"`{path}` was not {done}: {refusal.strerror or refusal}"
        raise CheckpointError(Diagnostic(message, hint=hint)) from error


def _refusal(error: BaseException | None) -> OSError | None:
    """The system's error behind this one: the error itself, or a full disk, which torch hides behind its own error."""
    if isinstance(error, OSError):
        return error
    while error is not None:
        error = error.__context__
        if isinstance(error, OSError) and error.errno in _FULL:
            return error
    return None


def _check_free(
    path: str | Path, target: Path, *, overwrite: bool, is_right_kind: Callable[[int], bool], kind: str
) -> None:
    if not target.parent.is_dir():
        message = f"`{path}` was not saved: there is no directory `{target.parent}`"
        raise CheckpointError(Diagnostic(message, hint="create it first"))
    try:
        mode = recover(target).stat().st_mode
    except FileNotFoundError:  # it is free
        return
    if not overwrite:
        raise _exists(path)
    if not is_right_kind(mode):
        message = f"`{path}` was not saved: it exists and is no {kind}"
        raise CheckpointError(Diagnostic(message, hint="remove it first, or choose another name"))


def _exists(path: str | Path) -> CheckpointError:
    return CheckpointError(f"`{path}` exists; give overwrite=True to replace it")


@contextmanager
def _staging(target: Path) -> Iterator[Path]:
    """A locked directory beside the target; it is removed at the end.

    If the block fails after it has moved the target to `previous`, the target is put back.
    """
    staging, lock = _claim(target)
    with lock:
        try:
            yield staging
        except BaseException:
            _put_back(staging / _PREVIOUS, target)
            _remove_for_good(staging)
            raise
        shutil.rmtree(staging, ignore_errors=True)


def _remove_for_good(staging: Path) -> None:
    """Removes a directory until it stays removed: threads of a failed writer, as in Orbax, may go on for a while."""
    checks = 0
    for _ in range(_MAX_CHECKS):
        shutil.rmtree(staging, ignore_errors=True)
        checks = 0 if staging.exists() else checks + 1
        if checks == _CHECKS:
            return
        time.sleep(_PAUSE)


def _claim(target: Path) -> tuple[Path, BinaryIO]:
    while True:
        staging = target.with_name(f".{target.name}.{secrets.token_hex(8)}.scallax-saving")
        staging.mkdir()
        try:
            lock = (staging / _LOCK).open("xb")
        except (FileExistsError, FileNotFoundError):  # another process took it for a leftover before it was locked
            continue
        except OSError:  # disk full
            shutil.rmtree(staging, ignore_errors=True)
            raise
        if _lock(lock) and os.fstat(lock.fileno()).st_nlink:
            return staging, lock
        lock.close()


def _lock(file: BinaryIO) -> bool:
    """Locks the file; False if another process holds the lock. On file systems without locks it is always True."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:  # it has
        return False
    except OSError:  # no locks: what a crash leaves stays there
        return True
    return True


def _link(source: Path, target: Path, path: str | Path) -> None:
    """Gives the file a second name. Unlike renaming, this never replaces anything."""
    try:
        os.link(source, target)
    except FileExistsError:  # another writer was quicker
        raise _exists(path) from None


def _swap_in(staging: Path, target: Path, path: str | Path, *, overwrite: bool) -> None:
    while True:
        try:
            (staging / _NEW).rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            break
        if not overwrite:
            raise _exists(path)
        # Another writer may have put a directory there since this one moved the previous one away, which is then
        # obsolete.
        _discard_previous(staging)
        with suppress(FileNotFoundError):  # another writer has moved it away
            target.rename(staging / _PREVIOUS)
    _discard_previous(staging)


def _discard_previous(staging: Path) -> None:
    # In one step: `recover` must not find half of it.
    with suppress(FileNotFoundError):
        (staging / _PREVIOUS).rename(staging / f"{_REMOVED}{secrets.token_hex(4)}")


def _put_back(previous: Path, target: Path) -> None:
    try:
        previous.rename(target)
    except FileNotFoundError:  # it was not moved away
        pass
    except OSError as error:
        # Another writer's directory is in its place.
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise


def _stagings(directory: Path, name: str | None = None) -> list[Path]:
    """The hidden directories of writers, for the target of that name or for any."""
    found = []
    with suppress(OSError), os.scandir(directory) as entries:  # the directory is not there, or unreadable
        for entry in entries:
            match = _STAGING.fullmatch(entry.name)
            if match is not None and (name is None or match[1] == name):
                found.append(Path(entry.path))
    return found


def _remove_leftovers(directory: Path) -> None:
    """Removes the directories of crashed writers, except one that holds the only copy of a target."""
    for staging in _stagings(directory):
        # Another process was quicker, or must not be disturbed: its writer is alive, or belongs to another user.
        with suppress(OSError), (staging / _LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            match = _STAGING.fullmatch(staging.name)
            assert match is not None
            if (directory / match[1]).exists() or not (staging / _PREVIOUS).exists():
                shutil.rmtree(staging)


def _sync_tree(directory: Path) -> None:
    for parent, _, names in os.walk(directory):
        for name in names:
            _sync(Path(parent, name))
        _sync(Path(parent))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def located(path: str | Path) -> Iterator[None]:
    """Names the path in every problem, and turns errors of the operating system into CheckpointErrors."""
    try:
        yield
    except OSError as error:  # missing, no permission, a disk that fails
        raise CheckpointError(f"`{path}` cannot be read: {error.strerror or error}") from error
    except CheckpointError as error:
        named = [replace(d, message=f"`{path}`: {d.message}") for d in error.diagnostics]
        raise CheckpointError(*named) from error.__cause__
