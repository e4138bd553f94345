"""Real processes that save numbered checkpoints, until they are done or killed.

The processes are forked from a server that has imported everything but has started nothing, so that one costs
milliseconds.
"""

import multiprocessing
import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

import torch_bridge
from scallax import checkpoint
from scallax.checkpoint.durable import read_directory, write_directory, write_file
from scallax.errors import CheckpointError
from tests.artifacts import number_of, numbered

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.writers", "orbax.checkpoint", "safetensors.numpy"])

_NOBODY = 65534

Save = Callable[[int], None]


@dataclass(frozen=True)
class Kind:
    """A way to save numbers under a name.

    `open` gives the function that saves in a process, with `overwrite` or without. `num_unconfirmed`: how many of the
    saves that have returned may not be on the disk yet.
    """

    name: str
    open: Callable[[Path, bool], Save]
    read: Callable[[Path], int]
    num_unconfirmed: int = 0


def _write_number(number: int, file: BinaryIO) -> None:
    for _ in range(20):
        file.write(number.to_bytes(8, "little") * 500)
        file.flush()


def _read_number(path: Path) -> int:
    data = path.read_bytes()
    if data != data[:8] * 10_000:
        raise CheckpointError(f"`{path}` is not whole")
    return int.from_bytes(data[:8], "little")


def _write_numbers(number: int, directory: Path) -> None:
    (directory / "inner").mkdir(parents=True)
    for name in ("a", "b", "inner/c"):
        with (directory / name).open("wb") as file:
            _write_number(number, file)


def _read_numbers(directory: Path) -> int:
    try:
        numbers = {_read_number(directory / name) for name in ("a", "b", "inner/c")}
    except OSError as error:  # taken away while it is read
        raise CheckpointError(str(error)) from None
    if len(numbers) > 1:
        raise CheckpointError(f"`{directory}` is mixed")
    return numbers.pop()


def _save_file(path: Path, overwrite: bool) -> Save:
    return lambda number: write_file(path, partial(_write_number, number), overwrite=overwrite)


def _save_directory(path: Path, overwrite: bool) -> Save:
    return lambda number: write_directory(path, partial(_write_numbers, number), overwrite=overwrite)


def _save_checkpoint(path: Path, overwrite: bool) -> Save:
    return lambda number: checkpoint.save(path, numbered(number), overwrite=overwrite)


def _read_checkpoint(path: Path) -> int:
    return number_of(checkpoint.read(path))


def _save_torch(path: Path, overwrite: bool) -> Save:
    def save(number: int) -> None:
        tensors = {name: torch.from_numpy(array.copy()) for name, array in numbered(number).tensors.items()}
        torch_bridge.save(path, tensors, overwrite=overwrite)

    return save


def _read_torch(path: Path) -> int:
    tensors = torch_bridge.load(path)
    number = int(tensors["small"])
    for name, array in numbered(number).tensors.items():
        assert np.array_equal(tensors[name].numpy(), array)
    return number


def _manage(asynchronous: bool, path: Path, _: bool) -> Save:
    manager = checkpoint.Manager(path, keep_last=2, asynchronous=asynchronous)
    return lambda number: manager.save(number, numbered(number))


def _read_run(path: Path) -> int:
    """The newest step; every step that is listed must be whole."""
    manager = checkpoint.Manager(path)
    assert [number_of(manager.read(step)) for step in manager.steps()] == manager.steps()
    return number_of(manager.read())


FILE = Kind("file", _save_file, _read_number)
DIRECTORY = Kind("directory", _save_directory, lambda path: read_directory(path, _read_numbers))
SAFETENSORS = Kind("a.safetensors", _save_checkpoint, _read_checkpoint)
ORBAX = Kind("orbax", _save_checkpoint, _read_checkpoint)
TORCH = Kind("a.pt", _save_torch, _read_torch)
RUN = Kind("run", partial(_manage, False), _read_run)
BACKGROUND_RUN = Kind("background", partial(_manage, True), _read_run, num_unconfirmed=1)

_KINDS = {kind.name: kind for kind in (FILE, DIRECTORY, SAFETENSORS, ORBAX, TORCH, RUN, BACKGROUND_RUN)}


@dataclass(frozen=True)
class Options:
    """How a process saves: `count` numbers from `first` on, without end if that is None.

    `max_bytes` limits every file, as a full disk does; `kill_at` kills the process before that operation on files;
    `as_nobody`: as a user without rights.
    """

    first: int = 0
    count: int | None = None
    overwrite: bool = True
    max_bytes: int | None = None
    kill_at: int | None = None
    as_nobody: bool = False


@dataclass
class Writer:
    """A running process, and what it has told: the last number begun, the last confirmed, the errors by number."""

    kind: Kind
    path: Path
    options: Options
    begun: int = -1
    confirmed: int = -1
    errors: dict[int, str] = field(default_factory=dict)

    def __post_init__(self):
        self._connection, other = _CONTEXT.Pipe(duplex=False)
        arguments = (self.kind.name, str(self.path), self.options, other)
        self._process = _CONTEXT.Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        other.close()

    @property
    def is_alive(self) -> bool:
        return self._process.is_alive()

    def listen(self) -> bool:
        """Takes the next message; False if none will come."""
        try:
            word, number, text = self._connection.recv()
        except (EOFError, ConnectionError):  # it has ended, perhaps in the middle of a message
            return False
        match word:
            case "begun":
                self.begun = number
            case "confirmed":
                self.confirmed = number
            case "error":
                self.errors[number] = text
        return True

    def kill(self) -> None:
        pid = self._process.pid
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        self.join()

    def join(self) -> None:
        while self.listen():
            pass
        self._process.join()
        self._connection.close()

    @property
    def was_killed(self) -> bool:
        return self._process.exitcode == -signal.SIGKILL


def _run(kind_name: str, path: str, options: Options, connection: Connection) -> None:
    kind = _KINDS[kind_name]
    if options.as_nobody:
        os.setuid(_NOBODY)
    save = kind.open(Path(path), options.overwrite)
    if options.max_bytes is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (options.max_bytes, options.max_bytes))
    if options.kill_at is not None:
        _kill_at(options.kill_at)
    number = options.first
    while options.count is None or number < options.first + options.count:
        connection.send(("begun", number, ""))
        try:
            save(number)
        except CheckpointError as error:
            connection.send(("error", number, str(error)))
        else:
            connection.send(("confirmed", number - kind.num_unconfirmed, ""))
        number += 1


def _kill_at(operation: int) -> None:
    """Python tells of each operation on files before it: the one of that number does not happen."""
    left = operation

    def hook(event: str, _: tuple) -> None:
        nonlocal left
        if event in ("open", "os.rename", "os.link", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree"):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def leftovers(directory: Path) -> list[str]:
    """The files of a directory that no one is to see."""
    with suppress(FileNotFoundError):
        return sorted(name for name in os.listdir(directory) if name.startswith("."))
    return []


def kill_at_random(kind: Kind, path: Path, kills: int) -> None:
    """After each kill at a random moment of endless saves, the last number confirmed or a later one that was begun."""
    at_once = RUN if kind is BACKGROUND_RUN else kind
    at_once.open(path, True)(0)
    last = 0
    for _ in range(kills):
        writer = Writer(kind, path, Options(first=last + 1))
        while writer.confirmed < 0:
            assert writer.listen()
        time.sleep(random.uniform(0, 0.1))
        writer.kill()
        assert writer.was_killed
        assert writer.errors == {}
        last = kind.read(path)
        assert writer.confirmed <= last <= writer.begun
    at_once.open(path, True)(last + 1)
    assert kind.read(path) == last + 1
    assert leftovers(path.parent) == []
