"""The folder that keeps compiled functions from one process to the next: where it is, what may be read from it."""

import contextlib
import hashlib
import importlib
import importlib.metadata
import importlib.resources
import os
import platform
import sys
import tempfile
import threading
import types
import warnings
import zlib
from collections.abc import Iterator
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import final

from scallax import __version__
from scallax.errors import Diagnostic, InputError, checks_call

_BYTES = 1 << 30

# A file that was damaged, or half written when a process ended, does not have the digest that it begins with.
_DIGEST_SIZE = 32

# The end of the names of files that JAX wrote: compressed, without a digest.
_EXECUTABLE = "-cache"

# The file whose age says when the others were looked at last.
_CHECKED = "checked"

# The beginning of the names of files that are not yet complete.
_DRAFT = "draft-"


@checks_call
def cache_compiled(folder: str | os.PathLike | None = None, *, bytes: int = _BYTES) -> None:
    """Keeps compiled functions in a folder, so that a later process finds them there instead of compiling again.

    The environment variable `SCALLAX_CACHE=folder` does the same without a line of code; this call goes before it.
    Several processes may use a folder at once. Functions are kept apart by the versions of scallax, JAX and NumPy, by
    the features of the processor and by XLA's flags: another version finds nothing, and leaves what there is. A file
    that is damaged is removed, and a folder that cannot be written is only read, with one warning.

    Code is loaded from the folder and run: it must not be one that others can write to.

    It is JAX's persistent compilation cache that keeps the compiled code. It is turned on in this folder, for every
    function of this process, unless the process has chosen a folder for it (`jax_compilation_cache_dir`), which stays
    as it is. Functions of `Provenance` objects of your own, and what runs under a transformation of your own or on a
    mesh, are kept by JAX alone.

    Args:
        folder: Where; made if it does not exist. By default the user's folder for caches: `$XDG_CACHE_HOME/scallax` or
            `~/.cache/scallax`, `~/Library/Caches/scallax` on macOS, `%LOCALAPPDATA%/scallax/Cache` on Windows.
        bytes: The size beyond which the files used least recently are removed, when a process opens the folder; 0 turns
            the cache off for this process.

    Raises:
        InputError: `folder` is no path, or `bytes` no integer from 0.

    Example:
        >>> import tempfile, scallax
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     scallax.cache_compiled(folder)
    """
    if isinstance(bytes, bool) or not isinstance(bytes, int) or bytes < 0:
        raise InputError(Diagnostic(f"`bytes` is {bytes!r}, which is no size", hint="give an integer from 0"))
    if folder is not None and not isinstance(folder, str | os.PathLike):
        raise InputError(Diagnostic(f"`folder` is {folder!r}, which is no path", hint="give a string or a `Path`"))
    if not bytes:
        _CHOICE.choose(Path(), bytes)
    else:
        _CHOICE.choose(_user_folder() if folder is None else _absolute(folder), bytes)


@final
class Folder:
    """An open folder of files by their keys, of one version of everything that compiled code depends on.

    `exists` and `can_write` tell what it can be used for, `problems` what its opening met.
    """

    def __init__(self, path: Path, bytes: int):
        self.path = path / _environment()
        self.exists = self.can_write = False
        self.problems: list[str] = []
        self._has_warned = False
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.exists = True
            with tempfile.TemporaryFile(dir=self.path, prefix=_DRAFT):
                self.can_write = True
        except OSError as error:
            self.problems.append(f"compiled functions are not kept: {path} cannot be written: {error.strerror}")
            return
        damaged = _remove_damaged(self.path)
        if damaged:
            self.problems.append(f"damaged files in the cache folder {path} were removed: {', '.join(damaged)}")
        _remove_oldest(path, bytes)

    def read(self, key: str) -> bytes | None:
        """The content of a file; None without one, or if it is damaged."""
        path = self.path / key
        try:
            content = path.read_bytes()
        except OSError:  # there is none, or it cannot be read
            return None
        if not _is_whole(key, content):
            with contextlib.suppress(OSError):
                path.unlink()
            if not self._has_warned:
                self._has_warned = True
                _warn(f"a damaged file in the cache folder was removed: {path}")
            return None
        with contextlib.suppress(OSError):  # files used last stay longest
            os.utime(path)
        return content[_DIGEST_SIZE:]

    def write(self, key: str, content: bytes) -> None:
        """Writes a file, whole or not at all; says so once if it cannot."""
        if not self.can_write:
            return
        draft = None
        try:
            with tempfile.NamedTemporaryFile(dir=self.path, prefix=_DRAFT, delete=False) as file:
                draft = file.name
                file.write(hashlib.sha256(content).digest() + content)
            os.replace(draft, self.path / key)
        except OSError as error:
            self.can_write = False
            _warn(f"compiled functions are kept no more: {self.path} cannot be written: {error.strerror}")
            if draft is not None:
                with contextlib.suppress(OSError):
                    os.unlink(draft)


@final
class _Choice:
    """The folder of this process, opened at its first use."""

    def __init__(self):
        self._chosen: tuple[Path, int] | None = None
        self._folder: Folder | None = None
        self._is_open = False
        self.renew_lock()

    def renew_lock(self) -> None:
        """A lock that is free: in a process that was forked another thread may have had it."""
        self._lock = threading.Lock()

    def choose(self, path: Path, bytes: int) -> None:
        with self._lock:
            if (path, bytes) != self._chosen:
                self._chosen, self._folder, self._is_open = (path, bytes), None, False

    def open(self) -> Folder | None:
        if self._is_open:
            return self._folder
        with self._lock:
            asked = os.environ.get("SCALLAX_CACHE")
            if self._chosen is None and asked:
                self._chosen = _absolute(asked), _BYTES
            if not self._is_open and self._chosen is not None and self._chosen[1]:
                self._folder = Folder(*self._chosen)
            self._is_open = True
            folder = self._folder
            problems = [] if folder is None else folder.problems[:]
            if folder is not None:
                folder.problems.clear()
        for problem in problems:
            _warn(problem)
        return folder


_CHOICE = _Choice()
os.register_at_fork(after_in_child=_CHOICE.renew_lock)


def open_folder() -> Folder | None:
    """The folder that was chosen by a call or by the environment; None if neither."""
    return _CHOICE.open()


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=2)


def _absolute(folder: str | os.PathLike) -> Path:
    """The folder wherever the process goes later; `~` is the user's home."""
    return Path(folder).expanduser().absolute()


def _user_folder() -> Path:
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "scallax" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "scallax"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scallax"


def _environment() -> str:
    """A name for all that compiled code depends on beside its own content."""
    content = hashlib.sha256()
    for package in ("jax", "jaxlib", "numpy"):
        content.update(f"{package} {importlib.metadata.version(package)};".encode())
    content.update(f"{sys.version};{platform.machine()};{_processor()};{_compressor().__name__};".encode())
    for name in ("XLA_FLAGS", "LIBTPU_INIT_ARGS"):
        content.update(f"{name}={os.environ.get(name)};".encode())
    for name, text in _sources(importlib.resources.files("scallax"), ""):
        content.update(f"{name} {len(text)};".encode() + text)
    return f"scallax-{__version__}-{content.hexdigest()[:16]}"


def _sources(folder: Traversable, place: str) -> Iterator[tuple[str, bytes]]:
    """The modules of a package in order: a change of one of them may change what it compiles."""
    for item in sorted(folder.iterdir(), key=lambda item: item.name):
        if item.name.endswith(".py"):
            yield place + item.name, item.read_bytes()
        elif item.is_dir() and item.name != "__pycache__":
            yield from _sources(item, f"{place}{item.name}/")


def _processor() -> str:
    """The processor's name and features, as far as the system tells."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            first = file.read(1 << 14).partition("\n\n")[0]
    except OSError:  # not Linux
        return platform.processor()
    told = ("model name", "flags", "features", "cpu implementer", "cpu part", "isa")
    return "\n".join(line for line in first.splitlines() if line.lower().startswith(told))


def _remove_damaged(path: Path) -> list[str]:
    """Removes what was not written to its end, of the files since the last look; JAX would keep its own for ever."""
    stamp = path / _CHECKED
    try:
        since = stamp.stat().st_mtime_ns
    except OSError:  # the folder is new
        since = 0
    damaged = []
    with contextlib.suppress(OSError):  # another process removes files as well
        stamp.touch()
        for entry in os.scandir(path):
            if entry.is_file() and entry.stat().st_mtime_ns >= since and entry.name != _CHECKED:
                with open(entry.path, "rb") as file:
                    is_whole = _is_whole(entry.name, file.read())
                if not is_whole:
                    os.unlink(entry.path)
                    damaged.append(entry.name)
    return damaged


def _is_whole(name: str, content: bytes) -> bool:
    if name.startswith(_DRAFT):  # another process writes it at this moment
        return True
    if not name.endswith(_EXECUTABLE):
        return hashlib.sha256(content[_DIGEST_SIZE:]).digest() == content[:_DIGEST_SIZE]
    compressor = _compressor()
    try:
        compressor.decompress(content)
    except getattr(compressor, "ZstdError", zlib.error):
        return False
    return True


def _compressor() -> types.ModuleType:
    """The module by which JAX compresses its files in this process: one for zstd, where there is one."""
    for name in ("compression.zstd", "zstandard"):
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return zlib


def _remove_oldest(path: Path, bytes: int) -> None:
    """Removes the files used least recently, of any version, until the rest is not larger than that."""
    with contextlib.suppress(OSError):  # another process removes files as well
        files = []
        for folder in os.scandir(path):
            if folder.name.startswith("scallax-") and folder.is_dir(follow_symlinks=False):
                for entry in os.scandir(folder):
                    status = entry.stat(follow_symlinks=False)
                    files.append((max(status.st_atime_ns, status.st_mtime_ns), status.st_size, entry.path))
        excess = sum(size for _, size, _ in files) - bytes
        for _, size, name in sorted(files):
            if excess <= 0:
                break
            os.unlink(name)
            excess -= size
