"""Imports: a program in several files is the program of all of them, and is saved with them."""

from pathlib import Path

import pytest

from scallax.errors import InputError, NameResolutionError, ParseError
from scallax.reasoner.reasoner import Reasoner


def write(directory: Path, **texts: str) -> None:
    for name, text in texts.items():
        path = directory / f"{name.replace('__', '/')}.scl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def answers(**arguments) -> list[tuple]:
    (output,) = Reasoner(provenance="unit", **arguments).compiled_program.outputs
    return list(output.tuples)


def test_paths_are_relative_to_the_importing_file(tmp_path: Path):
    write(
        tmp_path,
        main='import "lib/paths.scl"\nrel edge = {(0, 1), (1, 2)}\nquery path(0, x)',
        lib__paths='import "types.scl"\nrel path(x, y) = edge(x, y) or path(x, z) and edge(z, y)',
        lib__types="type edge(Node, Node)\ntype Node = usize",
    )
    assert answers(file=tmp_path / "main.scl") == [(0, 1), (0, 2)]


def test_a_text_imports_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write(tmp_path, facts="rel a = {1, 2}")
    monkeypatch.chdir(tmp_path)
    assert answers(program='import "facts.scl"\nquery a') == [(1,), (2,)]


def test_a_file_is_read_once_in_diamonds_and_circles(tmp_path: Path):
    write(
        tmp_path,
        main='import "left.scl"\nimport "right.scl"\nquery b',
        left='import "base.scl"\nimport "main.scl"\nrel b(x) = a(x)',
        right='import "base.scl"\nimport "right.scl"\nrel b(x + 1) = a(x)',
        base="type a(i32)\nrel a = {1}",
    )
    assert answers(file=tmp_path / "main.scl") == [(1,), (2,)]


def test_a_specification_holds_what_it_imports(tmp_path: Path):
    write(tmp_path, main='import "facts.scl"\nquery a', facts="rel a = {0.5::1}")
    reasoner = Reasoner(file=tmp_path / "main.scl", provenance="minmaxprob")
    text = reasoner.specification.to_json()
    (tmp_path / "facts.scl").unlink()
    restored = Reasoner.from_json(text)
    assert restored.specification == reasoner.specification
    assert restored()[1].tolist() == [[0.5]]


def test_missing_files_are_all_named(tmp_path: Path):
    write(tmp_path, main='import "no.scl"\nimport "lib.scl"', lib='rel a(1)\nimport "neither.scl"')
    with pytest.raises(InputError) as caught:
        Reasoner(file=tmp_path / "main.scl")
    report = str(caught.value).replace(f"{tmp_path}/", "").replace(str(tmp_path), "HERE")
    assert report == (
        "main.scl:1:1: the imported file `no.scl` cannot be read: No such file or directory\n"
        '  import "no.scl"\n'
        "  ^^^^^^^^^^^^^^^\n"
        "hint: the path is relative to the importing file: `HERE`\n"
        "\n"
        "lib.scl:2:1: the imported file `neither.scl` cannot be read: No such file or directory\n"
        '  import "neither.scl"\n'
        "  ^^^^^^^^^^^^^^^^^^^^\n"
        "hint: the path is relative to the importing file: `HERE`"
    )


def test_a_path_with_a_null_character_is_an_error():
    with pytest.raises(InputError, match="holds a null character"):
        Reasoner(r'import "a\0b.scl"')


def test_errors_name_the_imported_file(tmp_path: Path):
    write(tmp_path, main='import "lib.scl"\ntype T = i32', lib="type T = u8")
    with pytest.raises(NameResolutionError, match=r"main\.scl:2:1: type `T` is declared twice[\s\S]*lib\.scl:1:1"):
        Reasoner(file=tmp_path / "main.scl")
    write(tmp_path, lib="rel a(")
    with pytest.raises(ParseError, match=r"lib\.scl:1:6: the `\(` is never closed"):
        Reasoner(file=tmp_path / "main.scl")
