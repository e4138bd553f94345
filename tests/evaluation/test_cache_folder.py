"""The folder of compiled functions: what one process leaves to the next, and what happens to a folder that is bad."""

import os
import subprocess
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import scallax
from scallax.errors import InputError
from scallax.evaluation.cache import call
from scallax.evaluation.cache_folder import Folder
from scallax.evaluation.jax_batch import probabilities
from tests.compilations import forget_compiled

LOGITS = np.array([0.5, -1.0, 2.0], np.float32)
GROUPS = np.array([-1, 0, 0], np.int32)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    forget_compiled()
    scallax.cache_compiled(tmp_path)
    yield tmp_path
    scallax.cache_compiled(bytes=0)
    forget_compiled()


def reopen(folder: Path, **options: int) -> None:
    """As in a new process."""
    scallax.cache_compiled(bytes=0)
    scallax.cache_compiled(folder, **options)
    forget_compiled()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*/*") if path.name != "checked")


def posing_as(function: Callable) -> Callable:
    """A function that the folder takes for another one, and that cannot be traced."""

    def pose(*_):
        raise AssertionError("it is traced")

    pose.__module__, pose.__name__, pose.__qualname__ = function.__module__, function.__name__, function.__qualname__
    return pose


def test_what_is_in_the_folder_is_not_traced_again(folder):
    found = call(None, probabilities, (), LOGITS, GROUPS)
    np.testing.assert_allclose(found, [0.62245935, 0.04742587, 0.95257413], rtol=1e-6)
    assert [path.name.split("-")[0] for path in files(folder)] == ["probabilities"]
    reopen(folder)
    pose = posing_as(probabilities)
    np.testing.assert_array_equal(call(None, pose, (), LOGITS, GROUPS), found)
    # A function of its own for other shapes and dtypes, under other options, with other static arguments.
    for arrays in ((LOGITS[:2], GROUPS[:2]), (LOGITS.astype(np.float16), GROUPS)):
        with pytest.raises(AssertionError, match="it is traced"):
            call(None, pose, (), *arrays)
    with pytest.raises(AssertionError, match="it is traced"):
        call(None, pose, (LOGITS.tobytes(),), GROUPS)
    forget_compiled()
    with jax.default_matmul_precision("highest"), pytest.raises(AssertionError, match="it is traced"):
        call(None, pose, (), LOGITS, GROUPS)
    assert len(files(folder)) == 1


def test_what_is_traced_and_what_is_not_of_scallax_is_not_stored(folder):
    def weigh(logits):
        return call(None, probabilities, (), logits, GROUPS)[0]

    slope = 0.62245935 * (1 - 0.62245935)
    np.testing.assert_allclose(jax.grad(weigh)(jnp.asarray(LOGITS)), [slope, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(weigh)(np.stack([LOGITS, LOGITS])), [0.62245935] * 2, rtol=1e-6)
    assert call(None, twice, (), LOGITS).tolist() == [1, -2, 4]
    assert files(folder) == []
    # Called with arrays, the function is stored; traced, it is its own again.
    weigh(LOGITS)
    assert len(files(folder)) == 1
    np.testing.assert_allclose(jax.grad(weigh)(jnp.asarray(LOGITS)), [slope, 0, 0], rtol=1e-6)


def twice(array: jax.Array) -> jax.Array:
    return array * 2


@pytest.mark.parametrize(
    ("damage", "stray_content"),
    [
        (lambda content: content[:-5], b"\x78\x9c half"),
        (lambda content: b"", b""),
        (lambda content: content + b"x", b"neither of zlib nor of zstd"),
    ],
)
def test_a_damaged_file_is_made_again_with_one_warning(folder, damage, stray_content):
    found = call(None, probabilities, (), LOGITS, GROUPS)
    (path,) = files(folder)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    # JAX's own files are damaged if they cannot be decompressed.
    stray = path.with_name("jit_function-00-cache")
    stray.write_bytes(stray_content)
    reopen(folder)
    with pytest.warns(UserWarning, match="damaged file") as warned:
        again = call(None, probabilities, (), LOGITS, GROUPS)
    assert len(warned) == 1
    np.testing.assert_array_equal(again, found)
    assert [path.read_bytes() for path in files(folder)] == [whole]


class FakeError(Exception):
    pass


def test_files_are_checked_by_the_compressor_of_the_process(tmp_path, monkeypatch):
    def decompress(content: bytes) -> bytes:
        if not content.endswith(b"whole"):
            raise FakeError
        return content

    by_zlib = Folder(tmp_path, 1 << 30).path
    compressor = types.ModuleType("zstandard")
    vars(compressor).update(decompress=decompress, ZstdError=FakeError)
    # Python's own would go before it.
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "zstandard", compressor)
    path = Folder(tmp_path, 1 << 30).path
    # Files that this process could not read lie elsewhere.
    assert path != by_zlib
    (path / "jit_a-00-cache").write_bytes(b"\x28\xb5\x2f\xfd half")
    (path / "jit_b-00-cache").write_bytes(b"\x28\xb5\x2f\xfd whole")
    (problem,) = Folder(tmp_path, 1 << 30).problems
    assert problem.endswith("were removed: jit_a-00-cache")
    assert [file.name for file in files(tmp_path)] == ["jit_b-00-cache"]


def test_a_file_that_is_damaged_while_the_folder_is_open(folder):
    call(None, probabilities, (), LOGITS, GROUPS)
    (path,) = files(folder)
    path.write_bytes(path.read_bytes()[:40])
    forget_compiled()
    with pytest.warns(UserWarning, match="a damaged file in the cache folder was removed"):
        call(None, probabilities, (), LOGITS, GROUPS)
    assert len(files(folder)) == 1


def test_a_folder_that_cannot_be_made_is_left_out_with_one_warning(folder):
    (folder / "file").write_text("")
    reopen(folder / "file")
    with pytest.warns(UserWarning, match="cannot be written") as warned:
        call(None, probabilities, (), LOGITS, GROUPS)
    assert len(warned) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        call(None, probabilities, (), LOGITS[:2], GROUPS[:2])


def test_each_version_has_a_folder_of_its_own(folder, monkeypatch):
    call(None, probabilities, (), LOGITS, GROUPS)
    monkeypatch.setenv("XLA_FLAGS", os.environ["XLA_FLAGS"] + " --xla_force_host_platform_device_count=1")
    reopen(folder)
    with pytest.raises(AssertionError, match="it is traced"):
        call(None, posing_as(probabilities), (), LOGITS, GROUPS)
    call(None, probabilities, (), LOGITS, GROUPS)
    first, second = files(folder)
    assert first.parent != second.parent
    assert first.name == second.name


def test_the_folder_is_bounded(folder):
    for size in (3, 2, 1):
        call(None, probabilities, (), LOGITS[:size], GROUPS[:size])
    by_age = sorted(files(folder), key=lambda path: path.stat().st_mtime_ns)
    for age, path in enumerate(by_age):
        os.utime(path, ns=(10**18 + age, 10**18 + age))
    reopen(folder, bytes=by_age[-1].stat().st_size)
    call(None, posing_as(probabilities), (), LOGITS[:1], GROUPS[:1])
    assert files(folder) == by_age[-1:]
    with pytest.raises(InputError, match="`bytes` is -1"):
        scallax.cache_compiled(folder, bytes=-1)
    with pytest.raises(InputError, match="`folder` is 5"):
        scallax.cache_compiled(5)  # pyright: ignore[reportArgumentType]


def test_a_relative_folder_stays_where_it_was(folder, monkeypatch):
    monkeypatch.chdir(folder)
    reopen(Path("here"))
    (folder / "other").mkdir()
    monkeypatch.chdir(folder / "other")
    call(None, probabilities, (), LOGITS, GROUPS)
    assert len(files(folder / "here")) == 1


PROCESS = """
import collections, sys
import jax, numpy as np, scallax
assert "SCALLAX_CACHE" in __import__("os").environ
counts = collections.Counter()
jax.monitoring.register_event_listener(lambda event, **_: counts.update([event.split("/")[-1]]))
program = "type a(i32)\\ntype b(i32)\\nrel total(x + y) = a(x), b(y)"
reasoner = scallax.Reasoner(
    program, provenance="difftopkproofs", k=2, input_mappings={"a": range(3), "b": range(3)}, output_relation="total",
    output_mapping=range(5))
p = np.linspace(0.1, 0.9, 6, dtype=np.float32).reshape(2, 3)
values = np.asarray(reasoner(a=p, b=p))
found, pull = jax.vjp(lambda a: reasoner(a=a, b=p), p)
print(values.tobytes().hex(), np.asarray(pull(np.ones_like(found))[0]).tobytes().hex())
print(counts["compile_requests_use_cache"], counts["cache_hits"])
"""


def start(folder: Path) -> subprocess.Popen:
    environment = {**os.environ, "SCALLAX_CACHE": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", PROCESS], stdout=subprocess.PIPE, text=True, env=environment
    )


def read(process: subprocess.Popen) -> tuple[str, list[int]]:
    output, _ = process.communicate()
    assert process.returncode == 0
    values, counts = output.splitlines()
    return values, [int(count) for count in counts.split()]


def test_a_second_process_compiles_nothing(tmp_path):
    values, (requests, hits) = read(start(tmp_path))
    assert hits == 0
    again, (requests_again, hits) = read(start(tmp_path))
    assert again == values
    assert hits == requests_again == requests > 0


@pytest.mark.nightly
def test_processes_that_write_at_once(tmp_path):
    processes = [start(tmp_path) for _ in range(4)]
    first, *others = [read(process)[0] for process in processes]
    assert others == [first] * 3
    values, (requests, hits) = read(start(tmp_path))
    assert values == first
    assert hits == requests
