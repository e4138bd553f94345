"""Facts from tables with named columns: CSV, JSON lines, Parquet and databases, loaded by contexts and reasoners."""

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from scallax import Context, CsvFile, InputError, Reasoner, Table


def loaded(source, types=("from: i32", "to: String"), provenance="minmaxprob", **options) -> list:
    context = Context(provenance)
    context.add_relation("r", types)
    context.load("r", source, **options)
    context.run()
    return list(context.relation("r"))


ROWS = [(0.5, (1, "a")), (1.0, (2, "b"))]
CSV = "p,to,from\n0.5,a,1\n,b,2\n".replace("\n,", "\n1.0,")


def test_facts_are_loaded_by_the_names_of_columns(tmp_path: Path):
    (tmp_path / "r.csv").write_text(CSV)
    (tmp_path / "r.tsv").write_text(CSV.replace(",", "\t"))
    (tmp_path / "r.jsonl").write_text('{"from": 1, "to": "a", "p": 0.5}\n\n{"to": "b", "p": null, "from": 2}\n')
    for name in ("r.csv", "r.tsv", "r.jsonl"):
        assert loaded(tmp_path / name, tag="p") == ROWS
    assert loaded(tmp_path / "r.csv", (int, str), "unit", columns=["from", "to"]) == [(1, "a"), (2, "b")]


def test_facts_are_loaded_from_databases(tmp_path: Path):
    path = tmp_path / "facts.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute('CREATE TABLE r ("from" INTEGER, "to" TEXT, p REAL)')
        connection.executemany("INSERT INTO r VALUES (?, ?, ?)", [(1, "a", 0.5), (2, "b", None)])
        connection.execute('CREATE TABLE "odd name" (flag INTEGER, moment TEXT)')
        connection.execute("INSERT INTO \"odd name\" VALUES (1, '2020-01-01')")
        connection.commit()
        assert loaded(connection, tag="p") == ROWS
        flags = loaded(connection, ("bool", "DateTime"), "unit", table="odd name")
        assert flags == [(True, "2020-01-01 00:00:00 UTC")]
    assert loaded(path, tag="p") == ROWS
    assert loaded(f"sqlite:///{path}", tag="p") == ROWS


def test_parquet_needs_its_package_or_is_read(tmp_path: Path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"p": [0.5, 1.0], "from": [1, 2], "to": ["a", "b"]})
    parquet.write_table(table, tmp_path / "r.parquet")
    assert loaded(tmp_path / "r.parquet", tag="p") == ROWS


def test_urls_of_databases_need_their_package_or_are_read(tmp_path: Path):
    pytest.importorskip("sqlalchemy")
    with closing(sqlite3.connect(tmp_path / "facts.db")) as connection:
        connection.execute('CREATE TABLE r ("from" INTEGER, "to" TEXT)')
        connection.execute("INSERT INTO r VALUES (1, 'a')")
        connection.commit()
    assert loaded(f"sqlite+pysqlite:///{tmp_path}/facts.db", provenance="unit") == [(1, "a")]


def test_tables_are_facts_of_reasoners(tmp_path: Path):
    (tmp_path / "edges.csv").write_text("a,b,p\n0,1,0.5\n1,2,0.25\n")
    reasoner = Reasoner(
        "type edge(i32, i32)\nrel path(a, c) = edge(a, c) or path(a, b) and edge(b, c)\nquery path",
        facts={"edge": Table(tmp_path / "edges.csv", columns=["a", "b"], tag="p")},
    )
    tuples, values = reasoner()
    assert tuples == [(0, 1), (0, 2), (1, 2)]
    np.testing.assert_allclose(values, np.array([[0.5, 0.125, 0.25]]), rtol=1e-6)


def test_csv_files_by_position(tmp_path: Path):
    (tmp_path / "r.csv").write_text("0.5;1;a\n1.0;2;b\n")
    context = Context("minmaxprob")
    context.add_relation("r", (int, str), load_csv=CsvFile(tmp_path / "r.csv", ";", has_probability=True))
    context.run()
    assert list(context.relation("r")) == ROWS


def test_options_of_csv_files_that_are_none():
    with pytest.raises(InputError, match="the delimiter is ';;'; it must be one character"):
        CsvFile("r.csv", ";;")
    with pytest.raises(InputError, match=r"`fields` is \[1\]; it must be a column's name or a list of names"):
        CsvFile("r.csv", fields=[1])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("from,to\nx,a\n1,b\ny,c\n", {}, r"r.csv`, line 2, column `from`: 'x' is no value of `i32`(.|\n)*line 4"),
        ("from,to\n1\n", {}, "line 2: the row has 1 columns, the header has 2"),
        ("from,to\n1,a\n", {"tag": "p"}, r"has no column `p`\nhint: its columns are: `from`, `to`"),
        ("from,to\n1,a\n", {"columns": ["from"]}, "gives 1 columns .`from`., but `r` has 2"),
        ("from,to,p\n1,a,often\n", {"tag": "p"}, "line 2, column `p`: 'often' is no tag"),
        ("", {}, "has no header"),
        ("from,to\n" + "x,a\n" * 15, {}, "and 5 more problems"),
    ],
)
def test_wrong_tables_are_one_error(tmp_path: Path, text, options, message):
    (tmp_path / "r.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        loaded(tmp_path / "r.csv", **options)


def test_what_is_no_table_is_one_error(tmp_path: Path):
    (tmp_path / "r.jsonl").write_text('{"from": 1}\nno\n[]\n')
    (tmp_path / "bad.db").write_text("this is no database at all, but it is long enough to be taken for one" * 20)
    with closing(sqlite3.connect(tmp_path / "facts.db")) as connection:
        connection.execute('CREATE TABLE r ("from" INTEGER, "to" TEXT)')
        connection.execute("INSERT INTO r VALUES (1, NULL)")
        connection.commit()
    for source, options, message in [
        ("none.csv", {}, "the file `none.csv` cannot be read: No such file"),
        ("none.db", {}, "there is no database file `none.db`"),
        (tmp_path / "bad.db", {}, "the table `r` cannot be read from the database .*: file is not a database"),
        (tmp_path / "facts.db", {"table": "s"}, "the table `s` cannot be read from .*: no such table: s"),
        (tmp_path / "facts.db", {}, "row 1, column `to`: there is no value"),
        (tmp_path / "r.jsonl", {}, "line 2: it is no JSON"),
        ("facts.xls", {}, "the kind of the file is told by its ending"),
        (5, {}, "facts cannot be read from a int"),
    ]:
        with pytest.raises(InputError, match=message):
            loaded(source, **options)
