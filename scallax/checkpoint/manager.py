"""The checkpoints of a training run."""

import math
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, final

import numpy as np

from scallax.checkpoint.artifact import Artifact, canonical, pack, read_metrics
from scallax.checkpoint.durable import as_path, located, remove_directory, write_directory
from scallax.checkpoint.extras import import_flax_state
from scallax.checkpoint.orbax_form import read_header_item, step_numbers, write_orbax
from scallax.checkpoint.store import make_artifact, read
from scallax.errors import CheckpointError, Diagnostic, InputError, checks_calls, warn


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
        artifact = replace(make_artifact(model, optimizer, extra, ground), metrics=self._check_metrics(metrics))
        header, arrays = pack(artifact)
        if self._executor is None:
            self._write(step, header, arrays)
        else:
            self._pending = self._executor.submit(self._write, step, header, arrays)

    def steps(self) -> list[int]:
        """The steps that are on the disk, in ascending order."""
        with located(self._folder):
            if not self._folder.is_dir():
                return []
            return sorted(step_numbers(self._folder))

    def latest(self) -> int | None:
        """The newest step on the disk; None if there is none."""
        return max(self.steps(), default=None)

    def best(self) -> int | None:
        """The step whose `best_metric` is best, the newest of equal ones; None if no step has the metric."""
        if self._best_metric is None:
            hint = 'give the name of a metric: Manager(folder, best_metric="accuracy")'
            raise InputError(Diagnostic("this manager has no `best_metric`", hint=hint))
        ranked = self._rank(self.steps())
        return ranked[0] if ranked else None

    def metrics(self, step: int) -> dict[str, float]:
        """The metrics that a step was saved with."""
        path = self._path(step)
        with located(path):
            return read_metrics(canonical(read_header_item(path)))

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
        with located(self._folder):
            import_flax_state().restore(artifact, model, optimizer)
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
            message = f"the metrics lack `{self._best_metric}`, by which the best checkpoint is chosen"
            raise InputError(Diagnostic(message, hint=f'give it to `save`: metrics={{"{self._best_metric}": …}}'))
        return found

    def _write(self, step: int, header: str, arrays: dict[str, np.ndarray]) -> None:
        with located(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        write_directory(self._folder / str(step), partial(write_orbax, header=header, arrays=arrays), overwrite=False)
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
