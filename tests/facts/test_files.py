"""CSV files of facts and of answers: every option of `@file`, and errors with file, line and column."""

from pathlib import Path

import pytest

from scallax.circuits.compile import analyse_program
from scallax.context.answer_files import write_answer_files
from scallax.context.answers import answer, default_outputs
from scallax.context.options import Options
from scallax.errors import InputError, Source
from scallax.reasoner.reasoner import Reasoner


def answers(directory: Path, attribute: str, columns: str, text: str, provenance: str = "unit"):
    (directory / "data.csv").write_text(text)
    (directory / "main.scl").write_text(f"@file({attribute})\ntype r({columns})\nquery r")
    return Reasoner(file=directory / "main.scl", provenance=provenance)


@pytest.mark.parametrize(
    ("attribute", "columns", "text", "tuples"),
    [
        ('"data.csv"', "i32, String", '1,a\n-2,"b,c"\n', [(-2, "b,c"), (1, "a")]),
        ('"data.csv", header=true', "i32", "n\n1\n\n2\n", [(1,), (2,)]),
        ('"data.csv", deliminator="\t"', "f32, bool, char", "0.5\ttrue\tx\n", [(0.5, True, "x")]),
        ('"data.csv", fields=["c", "a"]', "String, u8", "a,b,c\n1,2,x\n", [("x", 1)]),
        ('"data.csv", keys="id"', "i32, String, String", "id,a,b\n7,x,y\n", [(7, "a", "x"), (7, "b", "y")]),
        ('"data.csv", keys=["id"], fields=["b"]', "i32, String, String", "id,a,b\n7,x,y\n", [(7, "b", "y")]),
        ('"data.csv"', "i32", "", []),
        ('"data.csv", has_probability=true', "i32", "", []),
    ],
)
def test_facts_are_those_of_the_file(tmp_path: Path, attribute: str, columns: str, text: str, tuples: list):
    (output,) = answers(tmp_path, attribute, columns, text).compiled_program.outputs
    assert list(output.tuples) == tuples


def test_probabilities_come_first_and_are_saved(tmp_path: Path):
    reasoner = answers(tmp_path, '"data.csv", has_probability=true', "i32", "0.25,1\ntrue,2\n", "minmaxprob")
    (tmp_path / "data.csv").unlink()
    for same in (reasoner, Reasoner.from_json(reasoner.specification.to_json())):
        tuples, values = same()
        assert tuples == [(1,), (2,)]
        assert values.tolist() == [[0.25, 1.0]]


@pytest.mark.parametrize(
    ("attribute", "columns", "text", "message"),
    [
        ('"data.csv"', "i32, u8", "1,2\n3,x\ny,300\n", r"line 3, column 1: `y` is not a value of `i32`"),
        ('"data.csv"', "i32, u8", "1,2\n3,x\ny,300\n", r"line 2, column 2: `x` is not a value of `u8`"),
        ('"data.csv"', "i32", "1\n2,3\n", "line 2, column 2: the row has 2 columns, the first has 1"),
        ('"data.csv"', "i32", "1,2\n", "gives 2 columns, but `r` has 1"),
        ('"data.csv", fields=["z"]', "i32", "a\n1\n", "has no column `z`[\\s\\S]*its columns are: `a`"),
        ('"data.csv", has_probability=true', "i32", "p,1\n", "line 1, column 1: `p` is not a probability"),
        ('"data.csv", keys="a"', "i32", "a\n1\n", "does not fit a file with `keys`"),
        ('"none.csv"', "i32", "", "`none.csv` cannot be read: No such file or directory"),
    ],
)
def test_what_does_not_fit_is_told_with_its_place(tmp_path, attribute, columns, text, message):
    with pytest.raises(InputError, match=message):
        answers(tmp_path, attribute, columns, text)


def write_answers(directory: Path, program: str, provenance: str = "unit") -> list[str]:
    """The names of the answers that are left to print."""
    path = directory / "main.scl"
    parsed = analyse_program([Source(program, str(path))])
    answers = answer(parsed, default_outputs(parsed), Options(provenance))
    return [answer.relation.name for answer in write_answer_files(parsed, answers)]


ANSWERS = 'type e(from: i32, w: f32, s: String)\nrel e = {0.5::(2, 0.1, "x,\\"y\\""), (1, 1.0, "é")}\nrel b(1)\n'


@pytest.mark.parametrize(
    ("attribute", "query", "text"),
    [
        ('"a.csv"', "e", '1,1,é\n2,0.1,"x,""y"""\n'),
        ('"a.csv", header=true', "e", 'from,w,s\n1,1,é\n2,0.1,"x,""y"""\n'),
        ('"a.csv", deliminator="\t"', "e(2, w, s)", '2\t0.1\t"x,""y"""\n'),
        ('"a.csv", has_probability=true', "b", "true,1\n"),
        ('"a.csv", has_probability=true, has_header=true', "b", "probability,0\ntrue,1\n"),
    ],
)
def test_answers_are_written_as_asked(tmp_path: Path, attribute: str, query: str, text: str):
    assert write_answers(tmp_path, f"{ANSWERS}@file({attribute}) query {query}\nquery b(x)") == ["b(x)"]
    assert (tmp_path / "a.csv").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


VALUES = """type T = Leaf(String) | Fork(T, T)
rel v = {0.25::("a\\nb", 'c', true, 0.1, t"2020-01-02", d"1M 3s", Fork(Leaf("x, y"), Leaf("")))}
"""
COLUMNS = "String, char, bool, f32, DateTime, Duration, Entity"


def test_what_was_written_is_read_back(tmp_path: Path):
    write_answers(tmp_path, f'{VALUES}@file("v.csv", has_probability=true) query v', "minmaxprob")
    reading = f'type T = Leaf(String) | Fork(T, T)\n@file("v.csv", has_probability=true)\ntype v({COLUMNS})\nquery v'
    written = Reasoner(f"{VALUES}query v", provenance="minmaxprob")
    (tmp_path / "read.scl").write_text(reading)
    read = Reasoner(file=tmp_path / "read.scl", provenance="minmaxprob")
    assert read.compiled_program.outputs[0].tuples == written.compiled_program.outputs[0].tuples
    assert read()[1].tolist() == written()[1].tolist() == [[0.25]]


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path):
    with pytest.raises(InputError, match=r"`none/a\.csv` cannot be written: No such file or directory"):
        write_answers(tmp_path, f'{ANSWERS}@file("none/a.csv") query e')
    (tmp_path / "a.csv").mkdir()
    with pytest.raises(InputError, match=r"`a\.csv` cannot be written: Is a directory"):
        write_answers(tmp_path, f'{ANSWERS}@file("a.csv") query e')
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]


def test_a_reasoner_writes_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tuples, _ = Reasoner(f'{ANSWERS}@file("a.csv") query b', provenance="unit")()
    assert tuples == [(1,)]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("text", ["1_0", "１", "", "0x1", "1.0"])
def test_numbers_are_written_in_plain_digits(tmp_path: Path, text: str):
    with pytest.raises(InputError, match="is not a value of `i32`"):
        answers(tmp_path, '"data.csv"', "i32, bool", f"{text},true\n")
