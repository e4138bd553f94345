"""Facts from CSV files: every option of `@file`, and errors with file, line and column."""

from pathlib import Path

import pytest

from scallax.errors import InputError
from scallax.reasoner import Reasoner


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
    ],
)
def test_facts_are_those_of_the_file(tmp_path: Path, attribute: str, columns: str, text: str, tuples: list):
    (output,) = answers(tmp_path, attribute, columns, text).outputs
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
