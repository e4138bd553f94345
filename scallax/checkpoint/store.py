"""Saves models to Orbax directories and safetensors files, and loads them."""

import json
import math
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal, final

import jax
import jax.numpy as jnp
import numpy as np

from scallax.checkpoint.artifact import (
    DTYPES,
    HEADER_NAME,
    MAX_DEPTH,
    OPTIMIZER,
    Artifact,
    canonical,
    pack,
    read_artifact,
    read_metrics,
)
from scallax.checkpoint.durable import as_path, read_directory, recover, remove_directory, write_directory, write_file
from scallax.errors import CheckpointError, Diagnostic, InputError, UnsupportedError, checks_call, checks_calls, warn
from scallax.grounding.limits import Limits
from scallax.language.foreign import ForeignItem
from scallax.reasoner.reasoner import Reasoner

Form = Literal["safetensors", "orbax"]

_SAFETENSORS = ".safetensors"
_TORCH = (".pt", ".pth", ".bin", ".ckpt", ".tar")

# The items of an Orbax checkpoint, and the file that holds the second.
_ARRAYS = "arrays"
_HEADER = "scallax"
_HEADER_FILE = Path(_HEADER, "metadata")

# In a safetensors file's metadata, whose length its readers limit.
_HEADER_KEY = "scallax"
_MAX_HEADER_LENGTH = 90_000_000

_TYPES = {name[0].upper() + re.sub(r"\D", "", name): dtype for name, dtype in DTYPES.items() if name[0] in "iuf"}
_TYPES |= {"BOOL": DTYPES["bool"], "BF16": DTYPES["bfloat16"]}


@checks_call
def save(
    path: str | Path,
    model: Any,
    *,
    optimizer: Any = None,
    extra: object = None,
    ground: bool = False,
    form: Form | None = None,
    overwrite: bool = False,
) -> None:
    """Saves a model with its program, its tensors and values of your own.

    The model goes into one safetensors file if the name of `path` ends in `.safetensors`, otherwise into a directory
    that Orbax reads too. Whatever is at `path` stays whole until the new checkpoint is completely on the disk. In a run
    of several processes, call this in the first one.

    Args:
        path: The file or directory to write.
        model: A `scallax.Reasoner`, a Flax NNX module that is or holds `scallax.nn.Reasoner`s, or an `Artifact`.
        optimizer: The `nnx.Optimizer` of a Flax module.
        extra: Values of your own: None, booleans, numbers, strings, arrays, and lists and dictionaries of these.
        ground: True stores the groundings as well, so that loading does not ground the programs again.
        form: `"safetensors"` or `"orbax"`. Default: by the name of `path`.
        overwrite: True replaces a checkpoint that is at `path`.

    Raises:
        CheckpointError: There is something at `path` and not `overwrite`, or it cannot be written.
        InputError: The model, or a value in `extra`, cannot be saved.

    Example:
        >>> import os, tempfile
        >>> import scallax
        >>> from scallax import checkpoint
        >>> edges = scallax.Reasoner("rel edge = {0.5::(0, 1)}", provenance="minmaxprob", trainable=["edge"],
        ...     output_mapping=("edge", [(0, 1)]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "edges.safetensors")
        ...     checkpoint.save(path, edges, extra={"epoch": 3})
        ...     print(checkpoint.read(path).extra, checkpoint.load(path)())
        {'epoch': 3} [[0.5]]
    """
    path = as_path(path)
    suffix = path.suffix.lower()
    if form is None and suffix in _TORCH:
        hint = "torch_bridge.save writes files for torch; torch_bridge.convert turns any form into any other"
        raise CheckpointError(Diagnostic(f"`{path}` has the name of a torch file", hint=hint))
    header, arrays = pack(_artifact_of(model, optimizer, extra, ground))
    if (form or ("safetensors" if suffix == _SAFETENSORS else "orbax")) == "safetensors":
        write_file(path, partial(_write_safetensors, header=header, arrays=arrays), overwrite=overwrite)
    else:
        _check_replaceable(path)
        write_directory(path, partial(_write_orbax, header=header, arrays=arrays), overwrite=overwrite)


@checks_call
def read(path: str | Path) -> Artifact:
    """Reads everything that was saved, and verifies it. Nothing from the file is executed.

    Args:
        path: A file or directory that `save` wrote; its form is recognized from its content.

    Returns:
        The saved `Artifact`: specifications, tensors (NumPy arrays by dotted name), `extra`, metrics and groundings.

    Raises:
        CheckpointError: Something is missing, was changed, or is unknown; every problem is listed.

    Example:
        >>> import os, tempfile
        >>> import scallax
        >>> from scallax import checkpoint
        >>> edges = scallax.Reasoner("rel edge = {0.5::(0, 1)}", provenance="minmaxprob", trainable=["edge"],
        ...     output_mapping=("edge", [(0, 1)]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "edges.safetensors")
        ...     checkpoint.save(path, edges)
        ...     print(checkpoint.read(path).tensors)
        {'edge.facts': array([0.], dtype=float32)}
    """
    path = as_path(path)
    with _located(path):
        if recover(path).is_file():
            return _read_file(path.read_bytes())
        return read_directory(path, _read_orbax)


@checks_call
def load(path: str | Path, *, foreign: Sequence[ForeignItem] = (), custom_provenance: object = None) -> Any:
    """Loads a reasoner with its parameters. The path is enough, unless the program uses objects of Python.

    Args:
        path: A file or directory that `save` or `torch_bridge.save` wrote.
        foreign: The foreign functions, predicates, aggregates and attributes that the program uses. With a stored
            grounding, none of them is called.
        custom_provenance: The `scallax.Provenance` that the reasoner was made with, if it was one of your own.

    Returns:
        A `scallax.Reasoner` if one was saved; a `scallax.nn.Reasoner` if a module of Flax or torch was saved.

    Raises:
        CheckpointError: The checkpoint is damaged, holds a larger model than one reasoner, or `foreign` lacks an item
            or has it with another signature.

    Example:
        >>> import os, tempfile
        >>> import scallax
        >>> from scallax import checkpoint
        >>> edges = scallax.Reasoner("rel edge = {0.5::(0, 1)}", provenance="minmaxprob", trainable=["edge"],
        ...     output_mapping=("edge", [(0, 1)]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "edges.safetensors")
        ...     checkpoint.save(path, edges)
        ...     print(checkpoint.load(path)())
        [[0.5]]
    """
    artifact = read(path)
    with _located(path):
        reasoner = reasoner_of(artifact, foreign, custom_provenance=custom_provenance)
    return reasoner if artifact.door == "reasoner" else _import_nn().Reasoner(reasoner)


@checks_call
def restore(path: str | Path, model: Any, *, optimizer: Any = None) -> Artifact:
    """Gives a Flax NNX model, and its optimizer, the saved values in place.

    Args:
        path: A file or directory that `save` wrote.
        model: A Flax NNX module with the same programs and the same tensors as the saved one.
        optimizer: An `nnx.Optimizer` for the saved optimizer state.

    Returns:
        Everything that was saved, an `Artifact`.

    Raises:
        CheckpointError: The checkpoint is damaged, or programs, names, shapes or dtypes differ. Every difference is
            listed, and the model is unchanged.

    Example:
        >>> import os, tempfile
        >>> import scallax.nn
        >>> from flax import nnx
        >>> from scallax import checkpoint
        >>> edges = scallax.nn.Reasoner("rel edge = {0.5::(0, 1)}", provenance="minmaxprob", trainable=["edge"],
        ...     output_mapping=("edge", [(0, 1)]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "edges.safetensors")
        ...     checkpoint.save(path, edges)
        ...     artifact = checkpoint.restore(path, edges)
        >>> list(artifact.tensors)
        ['edge.facts']
    """
    artifact = read(path)
    with _located(path):
        _import_flax_state().restore(artifact, model, optimizer)
    return artifact


def reasoner_of(
    artifact: Artifact,
    foreign: Sequence[ForeignItem] = (),
    *,
    limits: Limits | None = None,
    custom_provenance: object = None,
) -> Reasoner:
    """Makes the reasoner of an artifact, with its parameters.

    It is not grounded again if its grounding is stored.

    Args:
        artifact: The result of `read`, for a model that is one reasoner.
        foreign: The foreign functions, predicates, aggregates and attributes that the program uses.
        limits: Limits of grounding the program again.
        custom_provenance: The `scallax.Provenance` that the reasoner was made with, if it was one of your own.

    Returns:
        A `scallax.Reasoner`.

    Raises:
        CheckpointError: The artifact is a larger model than one reasoner, its parameters are not those of its program,
            or `foreign` lacks an item.

    Example:
        >>> import os, tempfile
        >>> import scallax
        >>> from scallax import checkpoint
        >>> edges = scallax.Reasoner("rel edge = {0.5::(0, 1)}", provenance="minmaxprob", trainable=["edge"],
        ...     output_mapping=("edge", [(0, 1)]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "edges.safetensors")
        ...     checkpoint.save(path, edges, ground=True)
        ...     print(checkpoint.reasoner_of(checkpoint.read(path))())
        [[0.5]]
    """
    if set(artifact.specifications) != {""}:
        hint = "scallax.checkpoint.restore gives a model its values, scallax.checkpoint.read shows them"
        raise CheckpointError(Diagnostic(f"this is {_show_model(artifact)}, not one reasoner", hint=hint))
    specification = artifact.specifications[""]
    if "" in artifact.grounds:
        reasoner = Reasoner.from_stored(specification, artifact.grounds[""], foreign, custom_provenance)
    else:
        text = specification.to_json()
        reasoner = Reasoner.from_json(text, foreign, limits=limits, custom_provenance=custom_provenance)
    tensors = {n: a for n, a in artifact.tensors.items() if not n.startswith(OPTIMIZER)}
    try:
        return reasoner.with_parameters(tensors)
    except InputError as error:  # names, shapes or kinds of values are not those of the program
        raise CheckpointError(*error.diagnostics) from None


@checks_calls
@final
class Manager:
    """The checkpoints of a training run: a folder of Orbax directories, one for each saved step.

    The first save makes the folder. The newest checkpoint is always kept. With `keep_last` and `keep_best` the manager
    removes checkpoints that belong to neither set; one whose metric is unknown is kept. Without both, all are kept.

    Several managers may read a folder while one writes to it. Use a manager from one thread at a time.

    Args:
        folder: The folder of the run.
        keep_last: The number of newest checkpoints to keep.
        keep_best: The number of best checkpoints, by `best_metric`, to keep.
        best_metric: The name of the metric that says which checkpoints are best.
        best_mode: `"max"` if greater metrics are better, `"min"` if smaller ones are.
        asynchronous: True: `save` returns once it has copied the model, and writes in the background. A failure is then
            raised by the next call of `save`, `read`, `wait` or `close`; at the end of the program, which waits for the
            last save, it is a warning.

    Raises:
        InputError: An argument does not fit, for example `keep_best` without `best_metric`.

    Example:
        >>> import os, tempfile
        >>> import scallax
        >>> from scallax import checkpoint
        >>> edges = scallax.Reasoner("rel edge = {0.5::(0, 1)}", provenance="minmaxprob", trainable=["edge"],
        ...     output_mapping=("edge", [(0, 1)]))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with checkpoint.Manager(os.path.join(folder, "run"), keep_last=2) as manager:
        ...         manager.save(1, edges, metrics={"accuracy": 0.75})
        ...         manager.save(2, edges, metrics={"accuracy": 0.5})
        ...         print(manager.steps(), manager.latest(), manager.metrics(1))
        [1, 2] 2 {'accuracy': 0.75}
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep_last: int | None = None,
        keep_best: int | None = None,
        best_metric: str | None = None,
        best_mode: Literal["max", "min"] = "max",
        asynchronous: bool = False,
    ):
        for name, number in (("keep_last", keep_last), ("keep_best", keep_best)):
            if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 1):
                raise InputError(f"`{name}` must be a positive number or None, not {number!r}")
        if keep_best is not None and best_metric is None:
            raise InputError(Diagnostic("`keep_best` needs a metric", hint='give its name: best_metric="accuracy"'))
        if best_mode not in ("max", "min"):
            raise InputError(f'`best_mode` must be "max" or "min", not {best_mode!r}')
        self._folder = as_path(folder)
        self._keep_last = keep_last
        self._keep_best = keep_best
        self._best_metric = best_metric
        self._sign = 1 if best_mode == "max" else -1
        self._pending: Future[None] | None = None
        self._executor = ThreadPoolExecutor(1, "scallax-checkpoint") if asynchronous else None
        if asynchronous:
            # `atexit` is too late: by then no thread may start another, as Orbax's must.
            threading._register_atexit(self._wait_at_exit)  # pyright: ignore[reportAttributeAccessIssue] (not public)

    def save(
        self,
        step: int,
        model: Any,
        *,
        optimizer: Any = None,
        metrics: Mapping[str, float] | None = None,
        extra: object = None,
        ground: bool = False,
    ) -> None:
        """Saves the model as the newest step of the folder, then removes the checkpoints that are not to be kept.

        Args:
            step: The number of the step, greater than that of every step in the folder.
            model: As in the function `save`.
            optimizer: As in the function `save`.
            metrics: Numbers by name, such as an accuracy.
            extra: As in the function `save`.
            ground: As in the function `save`.

        Raises:
            CheckpointError: The folder has this step or a later one, or it cannot be written.
            InputError: An argument does not fit, or `metrics` lacks `best_metric`.
        """
        self.wait()
        self._check_step(step)
        artifact = replace(_artifact_of(model, optimizer, extra, ground), metrics=self._check_metrics(metrics))
        header, arrays = pack(artifact)
        if self._executor is None:
            self._write(step, header, arrays)
        else:
            self._pending = self._executor.submit(self._write, step, header, arrays)

    def steps(self) -> list[int]:
        """The steps that are on the disk, in ascending order."""
        with _located(self._folder):
            if not self._folder.is_dir():
                return []
            return sorted(_step_numbers(self._folder))

    def latest(self) -> int | None:
        """The newest step on the disk; None if there is none."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """The step whose `best_metric` is best, the newest of equal ones; None if no step has the metric."""
        if self._best_metric is None:
            raise InputError("this manager has no `best_metric`")
        ranked = self._rank(self.steps())
        return ranked[0] if ranked else None

    def metrics(self, step: int) -> dict[str, float]:
        """The metrics that a step was saved with."""
        path = self._path(step)
        with _located(path):
            return read_metrics(canonical(_read_header_item(path)))

    def read(self, step: int | None = None) -> Artifact:
        """Reads a step; without a number the newest that is undamaged, with a warning about damaged newer ones."""
        self.wait()
        if step is not None:
            return read(self._path(step))
        damaged: dict[int, CheckpointError] = {}
        while candidates := [candidate for candidate in self.steps() if candidate not in damaged]:
            newest = candidates[-1]
            try:
                artifact = read(self._folder / str(newest))
            except CheckpointError as error:  # damaged, unless another manager has removed it a moment ago
                if newest in self.steps():
                    damaged[newest] = error
                continue
            if damaged:
                reasons = "\n".join(map(str, damaged.values()))
                warn(f"step {newest} is read, since newer ones are damaged:\n{reasons}")
            return artifact
        problems = [diagnostic for error in damaged.values() for diagnostic in error.diagnostics]
        raise CheckpointError(f"`{self._folder}` holds no undamaged checkpoint", *problems)

    def restore(self, model: Any, *, optimizer: Any = None, step: int | None = None) -> Artifact:
        """Gives a Flax NNX model, and its optimizer, the values of a step in place, as the function `restore` does.

        Args:
            model: A Flax NNX module with the same programs and the same tensors as the saved one.
            optimizer: An `nnx.Optimizer` for the saved optimizer state.
            step: The step to read. Default: the newest that is undamaged.

        Returns:
            Everything that was saved at that step, an `Artifact`.
        """
        artifact = self.read(step)
        with _located(self._folder):
            _import_flax_state().restore(artifact, model, optimizer)
        return artifact

    def wait(self) -> None:
        """Waits until the last save is on the disk. Raises the CheckpointError of a save that failed, once."""
        if self._pending is not None:
            pending, self._pending = self._pending, None
            pending.result()

    def close(self) -> None:
        """Waits for the last save, and ends the background thread."""
        try:
            self.wait()
        finally:
            if self._executor is not None:
                self._executor.shutdown()

    def __enter__(self) -> "Manager":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait_at_exit(self) -> None:
        try:
            self.close()
        except CheckpointError as error:  # nobody is left to catch it
            warn(f"the last save failed: {error}")

    def _path(self, step: int) -> Path:
        path = self._folder / str(step)
        if step not in self.steps():
            shown = ", ".join(map(str, self.steps())) or "none"
            raise CheckpointError(f"`{self._folder}` has no step {step}; it has {shown}")
        return path

    def _check_step(self, step: int) -> None:
        if not isinstance(step, int) or isinstance(step, bool) or step < 0:
            raise InputError(f"a step is a number from 0 on, not {step!r}")
        latest = self.latest()
        if latest is not None and step <= latest:
            message = f"step {step} was not saved: `{self._folder}` has step {latest}"
            raise CheckpointError(Diagnostic(message, hint="save a later step, or remove that one first"))

    def _check_metrics(self, metrics: Mapping[str, float] | None) -> dict[str, float]:
        found = {name: float(value) for name, value in (metrics or {}).items()}
        if self._best_metric is not None and self._best_metric not in found:
            raise InputError(f"the metrics lack `{self._best_metric}`, by which the best checkpoint is chosen")
        return found

    def _write(self, step: int, header: str, arrays: dict[str, np.ndarray]) -> None:
        with _located(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        write_directory(self._folder / str(step), partial(_write_orbax, header=header, arrays=arrays), overwrite=False)
        for old in self._steps_to_remove():
            remove_directory(self._folder / str(old))

    def _steps_to_remove(self) -> list[int]:
        steps = self.steps()
        if self._keep_last is None and self._keep_best is None:
            return []
        kept = set(steps[-(self._keep_last or 1) :])
        if self._keep_best is not None:
            ranked = self._rank(steps)
            kept |= set(ranked[: self._keep_best]) | (set(steps) - set(ranked))
        return [step for step in steps if step not in kept]

    def _rank(self, steps: list[int]) -> list[int]:
        """The steps with the metric, the best first."""
        values = {}
        for step in steps:
            try:
                metrics = self.metrics(step)
            except CheckpointError:  # damaged, or removed by another manager a moment ago
                continue
            if self._best_metric in metrics:
                value = self._sign * metrics[self._best_metric]
                values[step] = -math.inf if math.isnan(value) else value
        return sorted(values, key=lambda step: (values[step], step), reverse=True)


def _artifact_of(model: Any, optimizer: Any, extra: object, ground: bool) -> Artifact:
    match model:
        case Artifact() | Reasoner() if optimizer is not None:
            hint = "store the leaves of an optimizer's state in `extra`: jax.tree.leaves(state)"
            raise InputError(Diagnostic("an optimizer is saved with a Flax module only", hint=hint))
        case Artifact():
            artifact = model
        case Reasoner():
            tensors = {name: np.asarray(value) for name, value in model.parameters.items()}
            grounds = {"": model.stored_ground()} if ground else {}
            artifact = Artifact({"": model.specification}, tensors, grounds=grounds)
        # A Flax module is recognized without importing Flax, which is an extra of the package.
        case _ if any(kind.__module__.startswith("flax.nnx.") for kind in type(model).__mro__):
            artifact = _import_flax_state().artifact_of(model, optimizer, ground=ground)
        case _:
            raise InputError(f"a {type(model).__name__} cannot be saved: give a reasoner or a Flax NNX module")
    if extra is None:
        return artifact
    if artifact.extra is not None:
        raise InputError("`extra` is given twice: in the artifact and as an argument")
    return replace(artifact, extra=_on_host(extra))


def _on_host(value: object, depth: int = 0) -> object:
    """A copy of the value in which JAX arrays are NumPy arrays."""
    match value:
        case jax.Array() if not jnp.issubdtype(value.dtype, jax.dtypes.extended):
            return np.asarray(value)
        case dict() if depth <= MAX_DEPTH:
            return {key: _on_host(item, depth + 1) for key, item in value.items()}
        case list() | tuple() if depth <= MAX_DEPTH:
            return [_on_host(item, depth + 1) for item in value]
        case _:
            return value


def _show_model(artifact: Artifact) -> str:
    paths = ", ".join(f"`{path}`" for path in artifact.specifications)
    return f"a {artifact.door} model with reasoners at {paths}" if paths else f"a {artifact.door} model without one"


@contextmanager
def _located(path: str | Path) -> Iterator[None]:
    """Names the path in every problem, and turns errors of the operating system into CheckpointErrors."""
    try:
        yield
    except OSError as error:  # missing, no permission, a disk that fails
        raise CheckpointError(f"`{path}` cannot be read: {error.strerror or error}") from error
    except CheckpointError as error:
        located = [replace(d, message=f"`{path}`: {d.message}") for d in error.diagnostics]
        raise CheckpointError(*located) from error.__cause__


# Orbax, safetensors and Flax are extras of the package, and slow to import: they are imported where they are used.


def _import_orbax() -> Any:
    try:
        import orbax.checkpoint
    except ModuleNotFoundError as error:  # the extra is not installed
        raise _missing("Orbax", "orbax") from error
    return orbax.checkpoint


def _import_tensorstore() -> Any:
    try:
        import tensorstore
    except ModuleNotFoundError as error:  # the extra, which brings it, is not installed
        raise _missing("Orbax", "orbax") from error
    return tensorstore


def _import_safetensors() -> Any:
    try:
        import safetensors.numpy
    except ModuleNotFoundError as error:  # the extra is not installed
        raise _missing("safetensors", "safetensors") from error
    return safetensors


def _import_nn() -> Any:
    try:
        import scallax.nn
    except ModuleNotFoundError as error:  # the extra is not installed
        raise _missing("Flax", "flax") from error
    return scallax.nn


def _import_flax_state() -> Any:
    try:
        from scallax.checkpoint import flax_state
    except ModuleNotFoundError as error:  # the extra is not installed
        raise _missing("Flax", "flax") from error
    return flax_state


def _missing(name: str, extra: str) -> UnsupportedError:
    return UnsupportedError(Diagnostic(f"{name} is not installed", hint=f"pip install scallax[{extra}]"))


def _check_replaceable(path: Path) -> None:
    """CheckpointError if the directory holds something that is not a checkpoint: such a directory is never replaced."""

    def check(directory: Path) -> None:
        try:
            names = os.listdir(directory)
        except (FileNotFoundError, NotADirectoryError):  # nothing is there, or a file, which is not replaced either
            return
        if names and not (directory / _HEADER_FILE).exists():
            hint = "remove it first, or choose another name"
            raise CheckpointError(Diagnostic("this directory is no checkpoint of scallax; it is kept", hint=hint))

    with _located(path):
        read_directory(path, check)


def _write_orbax(directory: Path, header: str, arrays: dict[str, np.ndarray]) -> None:
    ocp = _import_orbax()
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


def _read_orbax(directory: Path) -> Artifact:
    if not (directory / _ARRAYS).is_dir():
        raise _no_checkpoint(directory)
    arrays = _read_arrays(directory / _ARRAYS)
    stored_header = arrays.pop(HEADER_NAME, None)
    if stored_header is None:
        raise CheckpointError("this is no checkpoint of scallax, or it is damaged: it has no header")
    header = stored_header.tobytes().decode(errors="replace")
    artifact = read_artifact(header, arrays)
    if canonical(_read_header_item(directory)) != header:
        raise CheckpointError(f"the item `{_HEADER}` is not the header among the arrays: one was changed")
    return artifact


def _read_arrays(directory: Path) -> dict[str, np.ndarray]:
    """All arrays of an Orbax item by name.

    They are read by TensorStore, on which Orbax is built: on any devices, in any process of a distributed run, and
    without the tasks that Orbax leaves running when a file is damaged.
    """
    tensorstore = _import_tensorstore()
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


def _read_header_item(directory: Path) -> object:
    try:
        return json.loads((directory / _HEADER_FILE).read_bytes())
    except (OSError, ValueError, RecursionError) as error:  # missing or damaged
        raise CheckpointError(f"the item `{_HEADER}` cannot be read: {error}") from None


def _no_checkpoint(directory: Path) -> CheckpointError:
    if not directory.exists():
        return CheckpointError("there is no such file or directory")
    if _step_numbers(directory):
        hint = "scallax.checkpoint.Manager(folder).read() reads its newest step"
        return CheckpointError(Diagnostic("this is a folder of checkpoints", hint=hint))
    return CheckpointError("this directory is no checkpoint")


def _step_numbers(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir() if re.fullmatch(r"0|[1-9]\d*", path.name) and path.is_dir()]


def _write_safetensors(file: BinaryIO, header: str, arrays: dict[str, np.ndarray]) -> None:
    if len(header) > _MAX_HEADER_LENGTH:
        message = "the specifications are too long for a safetensors file"
        raise CheckpointError(Diagnostic(message, hint=f"choose a name that does not end in {_SAFETENSORS}"))
    file.write(_import_safetensors().numpy.save(arrays, metadata={_HEADER_KEY: header}))


def _read_file(data: bytes) -> Artifact:
    # A safetensors file begins with the length of a JSON object, eight bytes that may be anything.
    if data[8:9] == b"{":
        return _read_safetensors(data)
    if data.startswith(b"PK"):
        hint = "torch_bridge.load reads it, and torch_bridge.convert(source, target) turns it into a form for JAX"
        raise CheckpointError(Diagnostic("this is a file of torch", hint=hint))
    if data[:1] == b"\x80" and data[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        hint = "if you trust it, load it with what wrote it, and save it in another form"
        raise CheckpointError(Diagnostic("this is a pickle, which may run any code: it is not read", hint=hint))
    raise CheckpointError("this file is no checkpoint, or is damaged")


def _read_safetensors(data: bytes) -> Artifact:
    safetensors = _import_safetensors()
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
