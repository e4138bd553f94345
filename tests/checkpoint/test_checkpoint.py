"""Checkpoints come back to the bit or are refused with a reason, whatever happens to them or to who writes them.

`tests/golden` holds a checkpoint of each form and format version, which every later version of scallax must load:
`v1.safetensors` and `v1_orbax`. `python -m tests.checkpoint.test_checkpoint` writes those of the current version,
unless they are there. They are never written again once a version is released.
"""

import dataclasses
import hashlib
import json
import os
import pickle
import random
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import safetensors.numpy
import tensorstore

import scallax
from scallax import checkpoint
from scallax.checkpoint.artifact import Artifact, pack
from scallax.errors import CheckpointError, InputError, UnsupportedError
from tests.artifacts import assert_same, assert_same_values, every_kind, number_of, numbered
from tests.checkpoint.test_artifact import SMALL, resealed
from tests.writers import (
    ORBAX,
    RUN,
    SAFETENSORS,
    TORCH,
    Kind,
    Options,
    Writer,
    kill_at_random,
    leftovers,
)

GOLDEN = Path(__file__).parents[1] / "golden"
FILES = {"safetensors": "model.safetensors", "orbax": "model"}


def seed_reasoner() -> scallax.Reasoner:
    """The seed page's: it has no tensors at all."""
    return scallax.Reasoner(
        "rel sum_2(a + b) = digit_a(a) and digit_b(b)",
        input_mappings={"digit_a": range(10), "digit_b": range(10)},
        output_mapping=("sum_2", range(19)),
    )


def trainable_reasoner() -> scallax.Reasoner:
    program = "rel edge = {0.5::(0, 1), 0.25::(1, 2)}\nrel 0.9::path(a, b) = edge(a, b)\nquery path"
    return scallax.Reasoner(program, trainable=["edge", "path"])


def message_of(function: Callable, *arguments, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def files_of(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())


def run(kind: Kind, path: Path, **options) -> Writer:
    writer = Writer(kind, path, Options(**options))
    writer.join()
    return writer


@pytest.fixture(params=list(FILES))
def path(request, tmp_path) -> Path:
    return tmp_path / FILES[request.param]


@pytest.fixture(params=[SAFETENSORS, ORBAX, TORCH], ids=lambda kind: kind.name)
def kind(request) -> Kind:
    return request.param


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A directory that other users may enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


# Saved models come back.


def test_an_artifact_of_every_kind_comes_back(path):
    checkpoint.save(path, every_kind())
    assert_same(checkpoint.read(path), every_kind())


def test_the_seed_pages_reasoner_comes_back(path):
    reasoner = seed_reasoner()
    assert reasoner.parameters == {}
    checkpoint.save(path, reasoner)
    loaded = checkpoint.load(path)
    assert loaded.specification == reasoner.specification
    rows = np.random.default_rng(0).dirichlet(np.ones(10), (2, 4)).astype(np.float32)
    inputs = {"digit_a": rows[0], "digit_b": rows[1]}
    assert np.array_equal(loaded(**inputs), reasoner(**inputs))


def test_parameters_come_back(path):
    reasoner = trainable_reasoner()
    trained = reasoner.with_parameters({name: jnp.asarray(p) + 0.1 for name, p in reasoner.parameters.items()})
    checkpoint.save(path, trained, extra={"epoch": 3})
    loaded = checkpoint.load(path)
    assert loaded.specification == trained.specification
    expected = {name: np.asarray(value) for name, value in trained.parameters.items()}
    assert_same_values({name: np.asarray(value) for name, value in loaded.parameters.items()}, expected)
    assert checkpoint.read(path).extra == {"epoch": 3}


def test_extra_takes_arrays_of_jax(path):
    extra = {"state": (jnp.arange(3), [jnp.ones((), jnp.bfloat16)])}
    checkpoint.save(path, SMALL_WITHOUT_EXTRA, extra=extra)
    expected = {"state": [np.arange(3, dtype=np.int32), [np.ones((), jnp.bfloat16)]]}
    assert_same_values(checkpoint.read(path).extra, expected)


SMALL_WITHOUT_EXTRA = dataclasses.replace(SMALL, extra=None)


def test_a_checkpoint_is_replaced_only_on_request(path):
    checkpoint.save(path, numbered(1))
    assert message_of(checkpoint.save, path, numbered(2)) == f"`{path}` exists; give overwrite=True to replace it"
    assert number_of(checkpoint.read(path)) == 1
    checkpoint.save(path, numbered(2), overwrite=True)
    assert number_of(checkpoint.read(path)) == 2
    assert os.listdir(path.parent) == [path.name]


def test_a_file_moves_and_a_directory_moves(path):
    checkpoint.save(path, numbered(1))
    path.rename(path.with_name("moved"))
    assert number_of(checkpoint.read(path.with_name("moved"))) == 1


def test_a_relative_name_is_taken(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    checkpoint.save(path.name, numbered(1))
    assert number_of(checkpoint.read(path.name)) == number_of(checkpoint.read(path)) == 1


def test_orbax_and_safetensors_read_the_tensors(tmp_path):
    artifact = dataclasses.replace(every_kind(), extra=None, grounds={})
    expected = {name: array for name, array in artifact.tensors.items() if array.size}
    checkpoint.save(tmp_path / "model", artifact)
    targets: dict[str, np.ndarray] = {name: np.zeros_like(array) for name, array in expected.items()}
    targets["scallax/header"] = np.zeros(len(pack(artifact)[0]), np.uint8)
    with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as checkpointer:
        items = ocp.args.Composite(arrays=ocp.args.StandardRestore(targets), scallax=ocp.args.JsonRestore())
        restored = checkpointer.restore(tmp_path / "model", args=items)
    assert json.loads(bytes(restored["arrays"].pop("scallax/header"))) == restored["scallax"]
    for name, array in expected.items():
        assert_same_values(restored["arrays"][name], array)
    checkpoint.save(tmp_path / "model.safetensors", artifact)
    with safetensors.safe_open(tmp_path / "model.safetensors", framework="np") as file:
        assert set(file.keys()) == set(artifact.tensors)


def golden_artifact() -> Artifact:
    tensors = {"edge.facts": np.array([0.5, -1.25], np.float32), "path.rules.0": np.array(2.0, np.float32)}
    every = every_kind()
    extra = {"tensors": {name: every.tensors[name] for name in sorted(every.tensors)}, "values": every.extra}
    return Artifact({"": trainable_reasoner().specification}, tensors, extra=extra, metrics={"loss": 0.125})


def write_golden() -> None:
    for name in ("v1.safetensors", "v1_orbax"):
        checkpoint.save(GOLDEN / name, golden_artifact())


@pytest.mark.parametrize("name", ["v1.safetensors", "v1_orbax"])
def test_the_checkpoints_of_every_version_load(name):
    artifact = checkpoint.read(GOLDEN / name)
    expected = golden_artifact()
    assert_same_values(artifact.extra, expected.extra)
    assert_same_values(artifact.metrics, expected.metrics)
    loaded = checkpoint.load(GOLDEN / name)
    assert_same_values({name: np.asarray(value) for name, value in loaded.parameters.items()}, expected.tensors)
    tuples, values = loaded()
    assert tuples == [(0, 1), (1, 2)]
    facts, rule = expected.tensors.values()
    np.testing.assert_allclose(np.asarray(values)[0], 1 / (1 + np.exp(-facts)) / (1 + np.exp(-rule)), rtol=1e-6)


def test_a_reader_written_from_the_documentation_reads_the_tensors():
    data = (GOLDEN / "v1.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    entries = json.loads(data[8:start])
    header = json.loads(entries["__metadata__"]["scallax"])
    base = {"driver": "file", "path": f"{GOLDEN}/v1_orbax/arrays/"}
    for tensor in header["tensors"]:
        first, last = entries[tensor["name"]]["data_offsets"]
        stored = data[start + first : start + last]
        assert hashlib.sha256(stored).hexdigest() == tensor["sha256"]
        store = {"driver": "ocdbt", "base": base, "path": f"{tensor['name']}/"}
        array = tensorstore.open({"driver": "auto", "kvstore": store}).result().read().result()
        assert array.tobytes() == stored
        assert [array.dtype.name, list(array.shape)] == [tensor["dtype"], tensor["shape"]]
    body = {name: value for name, value in header.items() if name != "digest"}
    text = json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    assert hashlib.sha256(text.encode()).hexdigest() == header["digest"]
    item = json.loads((GOLDEN / "v1_orbax" / "scallax" / "metadata").read_text())
    assert json.dumps(item, sort_keys=True) == json.dumps(header, sort_keys=True)


# Objects that cannot be saved and files that are no checkpoints are refused.


def test_what_is_no_model_is_refused(path):
    with pytest.raises(InputError, match="a int cannot be saved"):
        checkpoint.save(path, 5)
    with pytest.raises(InputError, match="`extra` is given twice"):
        checkpoint.save(path, SMALL, extra=1)
    with pytest.raises(InputError, match=r'extra\["a"\]\[0\] is of type set'):
        checkpoint.save(path, SMALL_WITHOUT_EXTRA, extra={"a": [{1}]})
    with pytest.raises(InputError, match=r'extra\["key"\] is of type '):
        checkpoint.save(path, SMALL_WITHOUT_EXTRA, extra={"key": jax.random.key(0)})
    assert os.listdir(path.parent) == []


def test_a_larger_model_is_no_reasoner(path):
    checkpoint.save(path, every_kind())
    message = message_of(checkpoint.load, path)
    assert message.startswith(f"`{path}`: this is a flax model with reasoners at ``, `adder`, not one reasoner\nhint: ")


def test_parameters_of_another_program_are_refused(path):
    reasoner = trainable_reasoner()
    checkpoint.save(path, Artifact({"": reasoner.specification}, {"edge.facts": np.zeros(2, np.float32)}))
    assert message_of(checkpoint.load, path) == f"`{path}`: no logits for the parameter `path.rules.0`"


@pytest.mark.parametrize("name", ["model.pt", "model.PTH", "pytorch_model.bin"])
def test_names_of_torch_files_are_refused(name, tmp_path):
    message = message_of(checkpoint.save, tmp_path / name, SMALL)
    assert message.startswith(f"`{tmp_path / name}` has the name of a torch file\nhint: torch_bridge.save ")


def test_a_directory_of_other_things_is_never_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter").write_text("1")
    for overwrite in (False, True):
        message = message_of(checkpoint.save, tmp_path / "thesis", SMALL, overwrite=overwrite)
        assert message.startswith(f"`{tmp_path / 'thesis'}`: this directory is no checkpoint of scallax; it is kept")
    assert (tmp_path / "thesis" / "chapter").read_text() == "1"


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_what_is_no_checkpoint_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("torch.pt", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        Path(f"pickle{protocol}").write_bytes(pickle.dumps(Bomb(), protocol))
    Path("empty").write_bytes(b"")
    Path("text").write_text("hello there")
    Path("folder").mkdir()
    Path("plain.safetensors").write_bytes(safetensors.numpy.save({"a": np.zeros(2)}))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "plain", {"a": np.zeros(2)})
    with checkpoint.Manager("run") as manager:
        manager.save(1, SMALL)
    expected = {
        "none": "`none`: there is no such file or directory",
        "none/none": "`none/none`: there is no such file or directory",
        "empty/none": "`empty/none`: there is no such file or directory",
        "torch.pt": "`torch.pt`: this is a file of torch\nhint: torch_bridge.load reads it, and torch_bridge.convert",
        "pickle0": "`pickle0`: this file is no checkpoint, or is damaged",
        "pickle1": "`pickle1`: this file is no checkpoint, or is damaged",
        "pickle2": "`pickle2`: this is a pickle, which may run any code: it is not read\nhint: ",
        "pickle5": "`pickle5`: this is a pickle, which may run any code: it is not read\nhint: ",
        "empty": "`empty`: this file is no checkpoint, or is damaged",
        "text": "`text`: this file is no checkpoint, or is damaged",
        "folder": "`folder`: this directory is no checkpoint",
        "plain.safetensors": "`plain.safetensors`: this safetensors file was not written by scallax: ",
        "plain": "`plain`: this directory is no checkpoint",
        "run": "`run`: this is a folder of checkpoints\nhint: scallax.checkpoint.Manager(folder).read() ",
    }
    for name, message in expected.items():
        assert message_of(checkpoint.read, name).startswith(message)
    assert not Path("exploded").exists()


def test_an_extra_that_is_not_installed_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "orbax.checkpoint", None)
    with pytest.raises(UnsupportedError, match=r"^Orbax is not installed\nhint: pip install scallax\[orbax\]$"):
        checkpoint.save(tmp_path / "model", SMALL)
    monkeypatch.setitem(sys.modules, "safetensors.numpy", None)
    with pytest.raises(UnsupportedError, match=r"^safetensors is not installed\nhint: pip install scallax\[safetens"):
        checkpoint.save(tmp_path / "model.safetensors", SMALL)
    assert os.listdir(tmp_path) == []


# Changed files are refused.


def read_or_refuse(path: Path, expected: Artifact) -> bool:
    """Whether the checkpoint is refused; if not, it must be what it was."""
    try:
        artifact = checkpoint.read(path)
    except CheckpointError:
        return True
    assert_same(artifact, expected)
    return False


def flip_bits(path: Path, num_flips: int) -> None:
    """Flips random bits of each file, one at a time."""
    expected = every_kind()
    checkpoint.save(path, expected)
    num_refused = 0
    for file in files_of(path):
        data = file.read_bytes()
        for _ in range(num_flips):
            changed = bytearray(data)
            changed[random.randrange(len(data))] ^= 1 << random.randrange(8)
            file.write_bytes(changed)
            num_refused += read_or_refuse(path, expected)
        file.write_bytes(data)
    assert num_refused >= num_flips
    assert not read_or_refuse(path, expected)


def test_flipped_bits(path):
    flip_bits(path, 8 if path.suffix == "" else 400)


@pytest.mark.nightly
def test_many_flipped_bits(path):
    flip_bits(path, 500 if path.suffix == "" else 20_000)


def test_every_flipped_bit_of_a_tensor_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    checkpoint.save(path, SMALL)
    data = bytearray(path.read_bytes())
    start = data.index(SMALL.tensors["weights"].tobytes())
    for bit in range(8 * SMALL.tensors["weights"].nbytes):
        data[start + bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        data[start + bit // 8] ^= 1 << bit % 8
        assert message_of(checkpoint.read, path) == (
            f"`{path}`: the tensor `weights` does not match its SHA-256: it was changed after it was saved"
        )


def test_files_that_are_cut_off_or_missing(path):
    expected = every_kind()
    checkpoint.save(path, expected)
    num_refused = 0
    for file in files_of(path):
        data = file.read_bytes()
        for length in {0, 1, len(data) // 2, len(data) - 1}:
            file.write_bytes(data[:length])
            num_refused += read_or_refuse(path, expected)
        file.unlink()
        num_refused += read_or_refuse(path, expected)
        file.write_bytes(data)
    assert num_refused >= 5
    assert not read_or_refuse(path, expected)


def stored(path: Path) -> tuple[dict, dict[str, np.ndarray]]:
    header, arrays = pack(SMALL)
    checkpoint.save(path, SMALL)
    return json.loads(header), arrays


def rewrite(path: Path, header: str, arrays: dict[str, np.ndarray]) -> None:
    """Writes a safetensors file as our writer does, but of any header and arrays."""
    path.write_bytes(safetensors.numpy.save(arrays, metadata={"scallax": header}))


def test_a_newer_version_is_refused(tmp_path):
    path = tmp_path / "model.safetensors"
    header, arrays = stored(path)
    rewrite(path, resealed(header), arrays)
    assert_same(checkpoint.read(path), SMALL)
    rewrite(path, resealed({**header, "format": 2}), arrays)
    assert message_of(checkpoint.read, path) == (
        f"`{path}`: the checkpoint has format version 2; this version of scallax reads version 1\n"
        "hint: it was saved by a newer version: update scallax"
    )


def test_other_names_shapes_and_types_are_told_together(tmp_path):
    path = tmp_path / "model.safetensors"
    header, arrays = stored(path)
    arrays["bias"] = arrays.pop("weights")
    arrays["scallax/0"] = arrays["scallax/0"].astype(np.float32)
    rewrite(path, json.dumps(header), arrays)
    assert message_of(checkpoint.read, path).split("\n\n") == [
        f"`{path}`: the header does not match its SHA-256: it was changed after it was saved",
        f"`{path}`: the tensor `weights` is missing",
        f"`{path}`: the array `bias` is not in the header",
        f"`{path}`: the array `scallax/0` is float32 [2], but the header says int64 [2]",
    ]


def test_a_type_that_we_do_not_write_is_told(tmp_path):
    path = tmp_path / "model.safetensors"
    header, arrays = stored(path)
    arrays["weights"] = arrays["weights"].astype(np.complex64)
    rewrite(path, resealed(header), arrays)
    assert message_of(checkpoint.read, path) == f"`{path}`: the tensor `weights` has the unknown type C64"


def test_the_header_beside_the_arrays_is_checked(tmp_path):
    path = tmp_path / "model"
    header, _ = stored(path)
    header["metrics"] = {"dict": [["loss", 0.1]]}
    (path / "scallax" / "metadata").write_text(resealed(header))
    assert message_of(checkpoint.read, path) == (
        f"`{path}`: the item `scallax` is not the header among the arrays: one was changed"
    )


# Whoever fails, dies or interferes.


@pytest.mark.parametrize("max_bytes", [10, 5_000])
def test_a_full_disk_is_told_and_changes_nothing(max_bytes, kind, tmp_path):
    path = tmp_path / kind.name
    kind.open(path, False)(1)
    writer = run(kind, path, first=2, count=1, max_bytes=max_bytes)
    assert writer.errors == {
        2: f"`{path}` was not saved: File too large\nhint: free space on the disk, or choose a place on another one"
    }
    assert kind.read(path) == 1
    assert os.listdir(tmp_path) == [kind.name]


def test_a_directory_without_rights_is_told_and_changes_nothing(kind, public_folder):
    path = public_folder / kind.name
    kind.open(path, False)(1)
    os.chmod(public_folder, 0o555)
    writer = run(kind, path, first=2, count=1, as_nobody=os.getuid() == 0)
    os.chmod(public_folder, 0o755)
    hint = "choose a directory in which this process may write"
    assert writer.errors == {2: f"`{path}` was not saved: Permission denied\nhint: {hint}"}
    assert kind.read(path) == 1
    assert os.listdir(public_folder) == [kind.name]


def test_kills_at_random_moments(kind, tmp_path):
    kill_at_random(kind, tmp_path / kind.name, 8)


@pytest.mark.nightly
def test_many_kills_at_random_moments(kind, tmp_path):
    kill_at_random(kind, tmp_path / kind.name, 100)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", [SAFETENSORS, ORBAX, TORCH, RUN], ids=lambda kind: kind.name)
def test_a_crash_at_any_moment_leaves_the_old_or_the_new(kind, tmp_path):
    path = tmp_path / kind.name
    kind.open(path, False)(0)
    last = 0
    for operation in range(10_000):
        writer = run(kind, path, first=last + 1, count=1, kill_at=operation)
        found = kind.read(path)
        assert found in (last, last + 1)
        last = found
        if not writer.was_killed:
            break
    assert operation > 10
    assert leftovers(path.parent) == []


def test_two_writers_and_a_reader(kind, tmp_path):
    path = tmp_path / kind.name
    kind.open(path, False)(0)
    writers = [Writer(kind, path, Options(first=1000 * n, count=20)) for n in (1, 2)]
    found = {kind.read(path)}
    while any(writer.is_alive for writer in writers):
        found.add(kind.read(path))
    for writer in writers:
        writer.join()
        assert writer.errors == {}
        assert writer.confirmed == writer.options.first + 19
    # However seldom the reader was given a turn, it saw whole checkpoints.
    assert found <= {0, *range(1000, 1020), *range(2000, 2020)}
    assert kind.read(path) in (1019, 2019)
    assert os.listdir(tmp_path) == [kind.name]


def test_of_two_writers_of_a_new_name_one_succeeds(kind, tmp_path):
    for attempt in range(3):
        path = tmp_path / f"{attempt}{kind.name}"
        writers = [Writer(kind, path, Options(first=n, count=1, overwrite=False)) for n in (1, 2)]
        for writer in writers:
            writer.join()
        (winner,) = [writer for writer in writers if not writer.errors]
        (loser,) = [writer for writer in writers if writer.errors]
        assert list(loser.errors.values()) == [f"`{path}` exists; give overwrite=True to replace it"]
        assert kind.read(path) == winner.options.first
    assert leftovers(tmp_path) == []


# Other machines.

EIGHT_DEVICES = """
import sys, jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from scallax import checkpoint
from tests.checkpoint.test_checkpoint import trainable_reasoner
assert len(jax.devices()) == 8
mesh = Mesh(np.array(jax.devices()), "batch")
sharded = jax.device_put(jnp.arange(16.0), NamedSharding(mesh, PartitionSpec("batch")))
whole = NamedSharding(mesh, PartitionSpec())
reasoner = trainable_reasoner()
moved = {name: jax.device_put(jnp.asarray(p) + 1, whole) for name, p in reasoner.parameters.items()}
for name in ("model", "model.safetensors"):
    checkpoint.save(f"{sys.argv[1]}/{name}", reasoner.with_parameters(moved), extra=[sharded])
    assert checkpoint.load(f"{sys.argv[1]}/{name}").specification == reasoner.specification
"""


def run_python(code: str, *arguments: object, **environment: str) -> str:
    """The text that a new process writes to its error stream."""
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


DISTRIBUTED = """
import sys, jax
address, folder, process = sys.argv[1], sys.argv[2], int(sys.argv[3])
jax.distributed.initialize(address, 2, process)
from scallax import CheckpointError, checkpoint
from tests.artifacts import numbered
assert jax.process_count() == 2
try:
    checkpoint.save(f"{folder}/process{process}", numbered(process))
except CheckpointError as error:
    print(error, file=sys.stderr)
checkpoint.save(f"{folder}/process{process}.safetensors", numbered(process))
"""


def test_a_distributed_run_saves_in_its_first_process_without_the_others(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with ThreadPoolExecutor(2) as executor:
        runs = [executor.submit(run_python, DISTRIBUTED, address, tmp_path, process) for process in (0, 1)]
        messages = [done.result() for done in runs]
    assert "Orbax writes in the first process of a distributed run only" in messages[1]
    assert sorted(os.listdir(tmp_path)) == ["process0", "process0.safetensors", "process1.safetensors"]
    assert number_of(checkpoint.read(tmp_path / "process0")) == 0
    assert number_of(checkpoint.read(tmp_path / "process1.safetensors")) == 1


def test_a_checkpoint_of_eight_devices_loads_on_one(tmp_path):
    run_python(EIGHT_DEVICES, tmp_path, XLA_FLAGS="--xla_force_host_platform_device_count=8", JAX_PLATFORMS="cpu")
    reasoner = trainable_reasoner()
    for name in FILES.values():
        loaded = checkpoint.load(tmp_path / name)
        assert loaded.specification == reasoner.specification
        for parameter, value in reasoner.parameters.items():
            assert np.array_equal(loaded.parameters[parameter], np.asarray(value) + 1)
        assert_same_values(checkpoint.read(tmp_path / name).extra, [np.arange(16, dtype=np.float32)])


if __name__ == "__main__":
    write_golden()
