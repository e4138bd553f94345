"""Files and directories are written whole or not at all, whoever fails, dies or interferes."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from scallax.checkpoint.durable import read_directory, recover, remove_directory, write_directory, write_file
from scallax.errors import CheckpointError
from tests.writers import DIRECTORY, FILE, Kind, Options, Writer, kill_at_random, leftovers

STAGING = ".directory.0123456789abcdef.scallax-saving"


def save(kind: Kind, path: Path, number: int, *, overwrite: bool = False) -> None:
    kind.open(path, overwrite)(number)


def run(kind: Kind, path: Path, **options) -> Writer:
    writer = Writer(kind, path, Options(**options))
    writer.join()
    return writer


def message_of(function, *arguments, **options) -> str:
    with pytest.raises(CheckpointError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def never(_: object) -> None:
    raise AssertionError("nothing is to be written")


@pytest.fixture(params=[FILE, DIRECTORY], ids=lambda kind: kind.name)
def kind(request) -> Kind:
    return request.param


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A directory that other users may enter."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_it_is_written_and_replaced(kind, tmp_path):
    path = tmp_path / kind.name
    save(kind, path, 1)
    assert kind.read(path) == 1
    save(kind, path, 2, overwrite=True)
    assert kind.read(path) == 2
    assert os.listdir(tmp_path) == [kind.name]


@pytest.mark.parametrize("write", [write_file, write_directory])
def test_what_exists_is_refused_before_any_work(write, tmp_path):
    for path in (tmp_path / "file", tmp_path / "folder"):
        if path.name == "file":
            path.write_text("old")
        else:
            path.mkdir()
        message = message_of(write, path, never, overwrite=False)
        assert message == f"`{path}` exists; give overwrite=True to replace it"


def test_a_thing_of_another_kind_is_never_replaced(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "folder").mkdir()
    hint = "hint: remove it first, or choose another name"
    message = message_of(write_file, tmp_path / "folder", never, overwrite=True)
    assert message == f"`{tmp_path}/folder` was not saved: it exists and is no file\n{hint}"
    message = message_of(write_directory, tmp_path / "file", never, overwrite=True)
    assert message == f"`{tmp_path}/file` was not saved: it exists and is no directory\n{hint}"
    assert (tmp_path / "file").read_text() == "old"


@pytest.mark.parametrize("write", [write_file, write_directory])
def test_places_where_nothing_can_be(write, tmp_path):
    (tmp_path / "file").write_text("old")
    for parent in (tmp_path / "none", tmp_path / "file"):
        message = message_of(write, parent / "new", never, overwrite=True)
        assert message == f"`{parent}/new` was not saved: there is no directory `{parent}`\nhint: create it first"
    message = message_of(write, tmp_path / ("n" * 250), never, overwrite=True)
    assert message.endswith("was not saved: File name too long\nhint: choose a shorter name")


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_write_that_fails_changes_nothing(error, kind, tmp_path):
    path = tmp_path / kind.name
    save(kind, path, 1)

    def fail(target) -> None:
        if isinstance(target, Path):
            target.mkdir()
        raise error

    with pytest.raises(error):
        (write_file if kind is FILE else write_directory)(path, fail, overwrite=True)
    assert kind.read(path) == 1
    assert os.listdir(tmp_path) == [kind.name]


def test_a_full_disk_is_told_and_changes_nothing(kind, tmp_path):
    path = tmp_path / kind.name
    save(kind, path, 1)
    writer = run(kind, path, first=2, count=1, max_bytes=50_000)
    assert writer.errors == {
        2: f"`{path}` was not saved: File too large\nhint: free space on the disk, or choose a place on another one"
    }
    assert kind.read(path) == 1
    assert os.listdir(tmp_path) == [kind.name]


def test_a_directory_without_rights_is_told_and_changes_nothing(kind, public_folder):
    path = public_folder / kind.name
    save(kind, path, 1)
    os.chmod(public_folder, 0o555)
    writer = run(kind, path, first=2, count=1, as_nobody=os.getuid() == 0)
    os.chmod(public_folder, 0o755)
    hint = "choose a directory in which this process may write"
    assert writer.errors == {2: f"`{path}` was not saved: Permission denied\nhint: {hint}"}
    assert kind.read(path) == 1
    assert os.listdir(public_folder) == [kind.name]


def test_links_are_followed(kind, tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real" / kind.name)
    save(kind, link, 1)
    save(kind, link, 2, overwrite=True)
    assert link.is_symlink()
    assert kind.read(link) == kind.read(tmp_path / "real" / kind.name) == 2
    assert os.listdir(tmp_path / "real") == [kind.name]


def test_a_crash_at_any_moment_leaves_the_old_or_the_new(kind, tmp_path):
    path = tmp_path / kind.name
    save(kind, path, 0)
    found = []
    for operation in range(1000):
        writer = run(kind, path, first=operation + 1, count=1, kill_at=operation)
        found.append(kind.read(path))
        assert found[-1] in (found[-2] if operation else 0, operation + 1)
        if not writer.was_killed:
            break
        assert len(leftovers(tmp_path)) <= operation + 1
    assert found[0] == 0
    assert found[-1] == len(found)
    assert len(found) > 10
    assert os.listdir(tmp_path) == [kind.name]


def test_a_crash_at_any_moment_of_the_first_save_leaves_nothing_or_the_new(kind, tmp_path):
    path = tmp_path / kind.name
    for operation in range(1000):
        writer = run(kind, path, first=1, count=1, kill_at=operation)
        if recover(path).exists():
            assert kind.read(path) == 1
            break
        assert writer.was_killed
    assert operation > 3


def test_kills_at_random_moments(kind, tmp_path):
    kill_at_random(kind, tmp_path / kind.name, 8)


@pytest.mark.nightly
def test_many_kills_at_random_moments(kind, tmp_path):
    kill_at_random(kind, tmp_path / kind.name, 100)


def test_two_writers_and_a_reader(kind, tmp_path):
    path = tmp_path / kind.name
    save(kind, path, 0)
    writers = [Writer(kind, path, Options(first=1000 * n, count=100)) for n in (1, 2)]
    found = {kind.read(path)}
    while any(writer.is_alive for writer in writers):
        found.add(kind.read(path))
    for writer in writers:
        writer.join()
        assert writer.errors == {}
        assert writer.confirmed == writer.options.first + 99
    # However seldom the reader was given a turn, it saw whole files.
    assert found <= {0, *range(1000, 1100), *range(2000, 2100)}
    assert kind.read(path) in (1099, 2099)
    assert os.listdir(tmp_path) == [kind.name]


def test_of_two_writers_of_a_new_name_one_succeeds(kind, tmp_path):
    for attempt in range(10):
        path = tmp_path / f"{attempt}"
        writers = [Writer(kind, path, Options(first=n, count=1, overwrite=False)) for n in (1, 2)]
        for writer in writers:
            writer.join()
        (winner,) = [writer for writer in writers if not writer.errors]
        (loser,) = [writer for writer in writers if writer.errors]
        assert list(loser.errors.values()) == [f"`{path}` exists; give overwrite=True to replace it"]
        assert kind.read(path) == winner.options.first
    assert leftovers(tmp_path) == []


def crashed_between_the_renames(tmp_path: Path) -> Path:
    """The state of a directory, number 1, whose writer died when it had moved it away."""
    path = tmp_path / "directory"
    (tmp_path / STAGING).mkdir()
    (tmp_path / STAGING / "lock").touch()
    save(DIRECTORY, tmp_path / STAGING / "previous", 1)
    save(DIRECTORY, tmp_path / STAGING / "new", 2)
    return path


def test_a_directory_that_was_moved_away_is_found(tmp_path):
    path = crashed_between_the_renames(tmp_path)
    assert recover(path) == tmp_path / STAGING / "previous"
    assert DIRECTORY.read(path) == 1
    assert message_of(save, DIRECTORY, path, 3) == f"`{path}` exists; give overwrite=True to replace it"
    save(FILE, tmp_path / "other", 1)
    assert DIRECTORY.read(path) == 1
    save(DIRECTORY, path, 3, overwrite=True)
    assert DIRECTORY.read(path) == 3
    assert sorted(os.listdir(tmp_path)) == ["directory", "other"]


def test_of_several_that_were_moved_away_the_newest_is_found(tmp_path):
    path = crashed_between_the_renames(tmp_path)
    other = tmp_path / STAGING.replace("0", "f")
    other.mkdir()
    save(DIRECTORY, other / "previous", 5)
    os.utime(tmp_path / STAGING / "previous", (1, 1))
    assert DIRECTORY.read(path) == 5


def test_names_that_begin_alike_are_told_apart(tmp_path):
    crashed_between_the_renames(tmp_path)
    for name in ("direct", "directory.0", ".directory"):
        assert recover(tmp_path / name) == tmp_path / name


def test_the_leftovers_of_the_living_stay(tmp_path):
    def meddle(_: object) -> None:
        save(FILE, tmp_path / "other", 1)
        assert len(leftovers(tmp_path)) == 1

    write_file(tmp_path / "file", meddle, overwrite=False)
    assert leftovers(tmp_path) == []


def test_a_reader_that_is_overtaken_reads_again(tmp_path):
    path = tmp_path / "directory"
    save(DIRECTORY, path, 1)
    calls = []

    def read(place: Path) -> int:
        calls.append(place)
        if len(calls) < 3:
            save(DIRECTORY, path, len(calls) + 1, overwrite=True)
            raise CheckpointError("mixed")
        return DIRECTORY.read(place)

    assert read_directory(path, read) == 3

    def fail(_: Path) -> None:
        raise CheckpointError("damaged")

    assert message_of(read_directory, path, fail) == "damaged"
    assert message_of(read_directory, tmp_path / "none", fail) == "damaged"


def test_a_directory_is_removed(tmp_path):
    save(DIRECTORY, tmp_path / "directory", 1)
    for _ in range(2):
        remove_directory(tmp_path / "directory")
        assert os.listdir(tmp_path) == []
