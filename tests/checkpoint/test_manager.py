"""A manager keeps the checkpoints of a training run: the last and the best, whole, whoever fails or dies."""

import dataclasses
import math
import warnings
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest

from scallax import checkpoint
from scallax.errors import InputError
from tests.artifacts import assert_same, assert_same_values, number_of, numbered
from tests.checkpoint.test_checkpoint import message_of, run, run_python
from tests.writers import BACKGROUND_RUN, RUN, Kind, Options, Writer, kill_at_random, leftovers


@pytest.fixture(params=[RUN, BACKGROUND_RUN], ids=lambda kind: kind.name)
def run_kind(request) -> Kind:
    return request.param


def save_steps(folder: Path, values: dict[int, float], **options) -> checkpoint.Manager:
    """Saves one step for each value of the metric `loss`."""
    with checkpoint.Manager(folder, **options) as manager:
        for step, value in values.items():
            manager.save(step, numbered(step), metrics={"loss": value})
    return manager


def test_a_run_is_read_as_it_was_saved(tmp_path):
    manager = checkpoint.Manager(tmp_path / "a" / "run")
    assert manager.steps() == []
    assert manager.latest() is None
    manager.save(3, numbered(3), metrics={"loss": 0.5, "accuracy": 0.25})
    manager.save(10, dataclasses.replace(numbered(10), extra=None), extra={"epoch": jnp.arange(2)})
    assert manager.steps() == [3, 10]
    assert manager.latest() == 10
    assert number_of(dataclasses.replace(manager.read(3), metrics={})) == 3
    assert_same_values(manager.read().extra, {"epoch": np.arange(2, dtype=np.int32)})
    assert manager.metrics(3) == {"loss": 0.5, "accuracy": 0.25}
    assert manager.metrics(10) == {}
    assert_same(checkpoint.read(tmp_path / "a" / "run" / "3"), manager.read(3))


@pytest.mark.parametrize("step", [10, 3, 0])
def test_an_existing_or_earlier_step_is_refused(step, tmp_path):
    manager = save_steps(tmp_path, {10: 0.1})
    message = message_of(manager.save, step, numbered(step), metrics={"loss": 1})
    assert message == (
        f"step {step} was not saved: `{tmp_path}` has step 10\nhint: save a later step, or remove that one first"
    )
    assert manager.steps() == [10]


def kept(values: dict[int, float], keep_last: int | None, keep_best: int | None, sign: int) -> list[int]:
    """The steps that are kept, chosen anew after each save."""
    steps: list[int] = []
    for step in values:
        steps.append(step)
        if keep_last is None and keep_best is None:
            continue
        ranks = [(-math.inf if math.isnan(values[s]) else sign * values[s], s) for s in steps]
        best = [s for _, s in sorted(ranks)[::-1][: keep_best or 0]]
        steps = [s for s in steps if s in best or s in steps[-(keep_last or 1) :]]
    return steps


@pytest.mark.parametrize(
    ("keep_last", "keep_best", "best_mode"),
    [(None, None, "max"), (2, None, "max"), (None, 2, "max"), (None, 2, "min"), (2, 1, "max"), (1, 2, "min")],
)
def test_the_last_and_the_best_are_kept(keep_last, keep_best, best_mode, tmp_path):
    values = {1: 0.5, 2: math.nan, 5: 0.9, 6: 0.1, 8: 0.9, 9: 0.3, 12: 0.4}
    options = {"keep_last": keep_last, "keep_best": keep_best, "best_metric": "loss", "best_mode": best_mode}
    manager = save_steps(tmp_path, values, **options)
    sign = 1 if best_mode == "max" else -1
    assert manager.steps() == kept(values, keep_last, keep_best, sign)
    assert leftovers(tmp_path) == []
    known = [step for step in manager.steps() if not math.isnan(values[step])]
    assert manager.best() == max(known, key=lambda step: (sign * values[step], step))
    assert number_of(dataclasses.replace(manager.read(manager.best()), metrics={})) == manager.best()


def test_a_step_without_the_metric_is_kept(tmp_path):
    save_steps(tmp_path, {1: 0.5, 2: 0.1})
    with checkpoint.Manager(tmp_path, keep_best=1, best_metric="accuracy") as manager:
        assert manager.best() is None
        with pytest.raises(InputError, match="the metrics lack `accuracy`"):
            manager.save(3, numbered(3))
        manager.save(3, numbered(3), metrics={"accuracy": 0.5})
        manager.save(4, numbered(4), metrics={"accuracy": 0.9})
        assert manager.steps() == [1, 2, 4]


@pytest.mark.parametrize(
    "options",
    [
        {"keep_last": 0},
        {"keep_last": True},
        {"keep_best": -1, "best_metric": "loss"},
        {"keep_best": 1},
        {"best_mode": "most"},
    ],
)
def test_options_are_checked(options, tmp_path):
    with pytest.raises(InputError, match=r"keep_last|keep_best|best_mode"):
        checkpoint.Manager(tmp_path, **options)


def test_steps_and_names_are_checked(tmp_path):
    manager = save_steps(tmp_path, {3: 0.5})
    for step in (-1, True, 1.0):
        with pytest.raises(InputError, match="a step is a number from 0 on"):
            manager.save(step, numbered(1))  # pyright: ignore[reportArgumentType] (wrong on purpose)
    assert message_of(manager.read, 4) == f"`{tmp_path}` has no step 4; it has 3"
    assert message_of(manager.metrics, 4) == f"`{tmp_path}` has no step 4; it has 3"
    with pytest.raises(InputError, match="has no `best_metric`"):
        manager.best()
    for name in ("04", "x", "5.orbax-checkpoint-tmp"):
        (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")
    assert manager.steps() == [3]
    (tmp_path / "file").write_text("a file")
    assert checkpoint.Manager(tmp_path / "file").steps() == []
    assert "cannot be read: File exists" in message_of(checkpoint.Manager(tmp_path / "file").save, 1, numbered(1))
    assert message_of(checkpoint.Manager(tmp_path / "none").read) == (
        f"`{tmp_path / 'none'}` holds no undamaged checkpoint"
    )


def test_a_damaged_step_is_passed_over_with_a_warning_or_refused(tmp_path):
    manager = save_steps(tmp_path, {1: 0.5, 2: 0.4, 3: 0.3}, keep_best=1, keep_last=3, best_metric="loss")
    (tmp_path / "3" / "arrays" / "manifest.ocdbt").unlink()
    (tmp_path / "2" / "scallax" / "metadata").unlink()
    with pytest.warns(UserWarning, match="step 1 is read, since newer ones are damaged:\n") as caught:
        assert number_of(dataclasses.replace(manager.read(), metrics={})) == 1
    assert f"`{tmp_path}/3`: " in str(caught[0].message)
    assert f"`{tmp_path}/2`: " in str(caught[0].message)
    message_of(manager.read, 3)
    message_of(manager.metrics, 2)
    assert manager.best() == 1
    (tmp_path / "1" / "arrays" / "manifest.ocdbt").write_text("")
    message = message_of(manager.read)
    assert message.startswith(f"`{tmp_path}` holds no undamaged checkpoint\n\n`{tmp_path}/3`: ")


def test_a_run_is_read_while_it_is_saved(tmp_path):
    RUN.open(tmp_path, False)(0)
    writer = Writer(RUN, tmp_path, Options(first=1))
    found = [0]
    # However slow either of the two is, the writer goes on until enough is read.
    while len(set(found)) < 10 and writer.is_alive:
        found.append(number_of(checkpoint.Manager(tmp_path).read()))
    writer.kill()
    assert writer.errors == {}
    assert found == sorted(found)
    assert len(set(found)) == 10
    assert writer.confirmed <= RUN.read(tmp_path) <= writer.begun


def test_orbax_reads_a_run(tmp_path):
    save_steps(tmp_path, {1: 0.5, 20: 0.4})
    with ocp.CheckpointManager(tmp_path) as manager:
        assert manager.all_steps() == [1, 20]
        header = manager.restore(20, args=ocp.args.Composite(scallax=ocp.args.JsonRestore()))["scallax"]
    assert header["metrics"] == {"dict": [["loss", 0.4]]}


def test_a_save_in_the_background_copies_what_it_saves(tmp_path):
    with checkpoint.Manager(tmp_path, asynchronous=True) as manager:
        for step in range(3):
            artifact = numbered(step)
            manager.save(step, artifact)
            for array in artifact.tensors.values():
                array[...] = -1
        manager.wait()
        assert [number_of(manager.read(step)) for step in manager.steps()] == [0, 1, 2]


def test_a_failure_in_the_background_is_raised_once(tmp_path):
    manager = checkpoint.Manager(tmp_path / "run", asynchronous=True)
    for call in (manager.wait, lambda: manager.save(2, numbered(2)), manager.read, manager.close):
        (tmp_path / "run").write_text("in the way")
        manager.save(1, numbered(1))
        assert "cannot be read: File exists" in message_of(call)
        (tmp_path / "run").unlink()
        manager.wait()
    assert manager.steps() == []


BACKGROUND = """
import sys
from scallax import checkpoint
from tests.artifacts import numbered
manager = checkpoint.Manager(sys.argv[1], asynchronous=True)
manager.save(1, numbered(1))
"""


def test_a_program_that_ends_waits_for_its_save(tmp_path):
    assert "the last save failed" not in run_python(BACKGROUND, tmp_path / "run")
    assert number_of(checkpoint.Manager(tmp_path / "run").read(1)) == 1


def test_a_program_that_ends_tells_of_a_failed_save(tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert "UserWarning: the last save failed: `" in run_python(BACKGROUND, tmp_path / "file")


def test_a_run_is_saved_and_read_without_a_warning(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        manager = save_steps(tmp_path, {1: 0.5, 2: 0.4}, keep_last=1, asynchronous=True)
        manager.read()


# Whoever fails, dies or interferes.


def test_a_run_on_a_full_disk_goes_on_when_there_is_space(run_kind, tmp_path):
    path = tmp_path / "run"
    RUN.open(path, False)(1)
    writer = run(run_kind, path, first=2, count=2, max_bytes=5_000)
    message = "was not saved: File too large\nhint: free space on the disk, or choose a place on another one"
    # In the background a failure is told by the next save.
    failed = 3 if run_kind is BACKGROUND_RUN else 2
    assert writer.errors[failed] == f"`{path}/2` {message}"
    assert RUN.read(path) == 1
    assert leftovers(path) == []
    RUN.open(path, False)(4)
    assert RUN.read(path) == 4


def test_kills_at_random_moments_of_a_run(run_kind, tmp_path):
    kill_at_random(run_kind, tmp_path / run_kind.name, 8)
    assert leftovers(tmp_path / run_kind.name) == []


@pytest.mark.nightly
def test_many_kills_at_random_moments_of_a_run(run_kind, tmp_path):
    kill_at_random(run_kind, tmp_path / run_kind.name, 100)


def test_of_two_writers_of_a_step_one_succeeds(tmp_path):
    path = tmp_path / "run"
    writers = [Writer(RUN, path, Options(first=1, count=10)) for _ in range(2)]
    for writer in writers:
        writer.join()
        for error in writer.errors.values():
            assert "exists; give overwrite=True" in error or "was not saved: `" in error
    for step in range(1, 11):
        assert sum(step not in writer.errors for writer in writers) <= 1
    assert RUN.read(path) == 10
    assert leftovers(path) == []
