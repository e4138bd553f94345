"""Facts from tables with named columns: CSV and JSON lines, Parquet, databases."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from scallax.errors import Diagnostic, InputError, checks_calls
from scallax.facts.fact_table import FactTable
from scallax.facts.files import MOST_PROBLEMS, read_tag, text_reader
from scallax.facts.given_columns import are_columns, check_given_tags, named_columns, read_columns
from scallax.facts.packages import optional_package
from scallax.language import ir
from scallax.language.columns import Column
from scallax.language.records import record
from scallax.language.values import Value, ValueType, plain_value

_URL = re.compile(r"[A-Za-z][\w+]*://")
_SQLITE_URL = "sqlite:///"
_SQLITE_FILES = (".db", ".sqlite", ".sqlite3")
_PLAIN_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*\Z")


@runtime_checkable
class Connection(Protocol):
    """A connection as PEP 249 defines it."""

    def cursor(self) -> Any: ...


@checks_calls
@record
class CsvFile:
    """A CSV file of facts, as `@file` says of a relation in a program.

    Args:
        path: The file's path, relative to the working directory.
        delimiter: The character between two columns.
        has_header: Whether the first row has the columns' names; `keys` and `fields` imply it.
        has_probability: Whether the first column has the tags.
        keys: One name or a list of names: each row gives a fact for each other column, made of the values of the keys,
            the column's name and its value.
        fields: One name or a list of names: the columns to read, in this order.

    Raises:
        InputError: Something that is no name is given for one, or a delimiter that is not one character.

    Example:
        >>> from scallax import CsvFile
        >>> CsvFile("edges.csv", fields=["from", "to"]).has_header
        True
    """

    path: str | Path
    delimiter: str = ","
    has_header: bool = False
    has_probability: bool = False
    keys: str | Sequence[str] = ()
    fields: str | Sequence[str] = ()

    def __post_init__(self):
        for option in ("keys", "fields"):
            object.__setattr__(self, option, _read_names(option, getattr(self, option)))
        object.__setattr__(self, "has_header", bool(self.has_header or self.keys or self.fields))
        _check_delimiter(self.delimiter)


@checks_calls
@record
class Table:
    """A table whose rows are facts of a relation.

    Args:
        source: A file (`.csv` and `.tsv` with a header, `.jsonl` and `.ndjson` with an object in each line, `.parquet`,
            a SQLite file `.db`, `.sqlite` or `.sqlite3`), a connection of any PEP 249 driver, or a URL of SQLAlchemy
            (`sqlite:///` needs no package). Or columns: a table of pandas, or one of pyarrow, polars and others that
            give Arrow's streams, an array of NumPy, a dictionary of columns.
        columns: The table's columns for the relation's columns, in this order. By default they have the names of the
            relation's columns; if these have no names, they are all columns but the tag's, in the table's order.
        tag: The column of tags: numbers or bools, empty for a fact without a tag.
        table: The table of a database, by default the one with the relation's name.
        delimiter: The character between two columns of a text file, by default the one that its ending tells.

    Raises:
        InputError: The delimiter is not one character. A file that cannot be read raises when the table is read.

    Example:
        >>> import sqlite3
        >>> from scallax import Context, Table
        >>> database = sqlite3.connect(":memory:")
        >>> _ = database.execute("CREATE TABLE edge (start INTEGER, stop INTEGER)")
        >>> _ = database.execute("INSERT INTO edge VALUES (0, 1)")
        >>> context = Context()
        >>> context.add_relation("edge", (int, int))
        >>> context.load("edge", Table(database))
        >>> context.run()
        >>> list(context.relation("edge"))
        [(0, 1)]
    """

    source: object
    columns: str | Sequence[str] | None = None
    tag: str | None = None
    table: str | None = None
    delimiter: str | None = None

    def __post_init__(self):
        if self.delimiter is not None:
            _check_delimiter(self.delimiter)


def read_table(table: Table, relation: ir.Relation) -> FactTable:
    """The facts of a table in its order, with values of the relation's column types.

    InputError, with file, row and column of each of the first problems: what cannot be read, a column that is not
    there, a value that is missing or is not of the column's type.
    """
    if are_columns(table.source):
        return _read_given_columns(table, relation)
    rows = _load(table, relation.name)
    names = _chosen(table, relation, rows.header)
    columns = [rows.place(name) for name in names]
    tag = None if table.tag is None else rows.place(table.tag)
    rows.raise_problems()
    if len(columns) != len(relation.columns):
        shown = ", ".join(f"`{name}`" for name in names) or "none"
        message = f"{rows.name} gives {len(columns)} columns ({shown}), but `{relation.name}` has"
        raise InputError(
            Diagnostic(f"{message} {len(relation.columns)}", hint="name the columns to read: `columns=[…]`")
        )
    values = [
        rows.parsed(place, f"no value of `{type}`", lambda value, type=type: _read_value(value, type, rows.is_text))
        for place, type in zip(columns, relation.columns, strict=True)
    ]
    tags = [None] * len(rows.rows)
    if tag is not None:
        is_text = rows.is_text
        tags = rows.parsed(tag, "no tag", lambda value: _read_number(value, is_text), may_lack=not is_text)
    rows.raise_problems()
    return FactTable(relation.name, tuple(map(Column.of, values)), (len(tags),), (Column.of(tags),))


def _read_given_columns(table: Table, relation: ir.Relation) -> FactTable:
    """The facts of a table of columns."""
    what = f"facts of `{relation.name}`"
    named = named_columns(table.source, what)
    chosen = _chosen(table, relation, list(named))
    for name in (*chosen, *(() if table.tag is None else (table.tag,))):
        if name not in named:
            known = ", ".join(f"`{column}`" for column in named) or "none"
            raise InputError(Diagnostic(f"{what}: the table has no column `{name}`", hint=f"its columns are: {known}"))
    tag = {} if table.tag is None else {table.tag: named[table.tag]}
    # By position: their names need not be those of the relation's columns.
    source = {**{place: named[name] for place, name in enumerate(chosen)}, **tag}
    rows, tags = read_columns(source, relation, table.tag)
    return FactTable.unfitted(relation.name, rows, None if tags is None else check_given_tags(tags, rows, what))


def _read_names(option: str, names: object) -> tuple[str, ...]:
    """One name or several; InputError for anything else."""
    listed = (names,) if isinstance(names, str) else names
    if not isinstance(listed, Iterable):
        raise InputError(f"`{option}` is {names!r}; it must be a column's name or a list of names")
    found = tuple(listed)
    if not all(isinstance(name, str) for name in found):
        raise InputError(f"`{option}` is {list(found)!r}; it must be a column's name or a list of names")
    return found


def _check_delimiter(delimiter: object) -> None:
    if not isinstance(delimiter, str) or len(delimiter) != 1 or delimiter in ir.NO_DELIMITERS:
        raise InputError(f"the delimiter is {delimiter!r}; it must be one character, no quote and no line break")


@dataclass(slots=True)
class _Rows:
    """Rows as they were read: `lines` are their numbers in the source, `row` is what it calls them."""

    name: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    lines: Sequence[int]
    row: str
    is_text: bool
    problems: list[Diagnostic] = field(default_factory=list)

    def place(self, column: str) -> int:
        """The place of a named column; 0, with an error reported, if there is none."""
        if column in self.header:
            return list(self.header).index(column)
        known = ", ".join(f"`{name}`" for name in self.header) or "none"
        self.problems.append(Diagnostic(f"{self.name} has no column `{column}`", hint=f"its columns are: {known}"))
        return 0

    def parsed(
        self, place: int, what: str, read: Callable[[object], Value | None], may_lack: bool = False
    ) -> list[Any]:
        """The values of a column; what is none is reported, unless it is None and the column `may_lack` values."""
        values = [read(row[place]) for row in self.rows]
        if None not in values:
            return values
        for line, row, value in zip(self.lines, self.rows, values, strict=True):
            given = row[place]
            if value is not None or (given is None and may_lack):
                continue
            message = f"{given!r} is {what}"
            if given is None:
                message = "there is no value"
            where = f"{self.name}, {self.row} {line}, column `{self.header[place]}`"
            self.problems.append(Diagnostic(f"{where}: {message}"))
        return values

    def raise_problems(self) -> None:
        if self.problems:
            more = len(self.problems) - MOST_PROBLEMS
            raise InputError(
                *self.problems[:MOST_PROBLEMS], *([f"and {more} more problems in {self.name}"] if more > 0 else [])
            )


def _chosen(table: Table, relation: ir.Relation, header: Sequence[str]) -> list[str]:
    if table.columns is not None:
        return list(_read_names("columns", table.columns))
    if relation.names and None not in relation.names:
        return [name for name in relation.names if name is not None]
    return [name for name in header if name != table.tag]


def _load(table: Table, relation: str) -> _Rows:
    source = table.source
    match source:
        case str() if source.startswith(_SQLITE_URL):
            return _read_sqlite(Path(source.removeprefix(_SQLITE_URL)), table, relation)
        case str() if _URL.match(source):
            return _read_url(source, table, relation)
        case str() | Path():
            return _read_file(Path(source), table, relation)
        case Connection():
            return _read_database(source, table.table or relation, "the database")
        case _:
            hint = "give a path, a connection to a database, or a URL such as `sqlite:///facts.db`"
            raise InputError(Diagnostic(f"facts cannot be read from a {type(source).__name__}", hint=hint))


def _read_file(path: Path, table: Table, relation: str) -> _Rows:
    suffix = path.suffix.lower()
    match suffix:
        case ".csv" | ".tsv":
            return _read_csv(path, table.delimiter or ("\t" if suffix == ".tsv" else ","))
        case ".jsonl" | ".ndjson":
            return _read_json_lines(path)
        case ".parquet":
            return _read_parquet(path)
        case _ if suffix in _SQLITE_FILES:
            return _read_sqlite(path, table, relation)
        case _:
            hint = "known are .csv, .tsv, .jsonl, .ndjson, .parquet, .db, .sqlite and .sqlite3"
            raise InputError(Diagnostic(f"`{path}`: the kind of the file is told by its ending", hint=hint))


def _read_csv(path: Path, delimiter: str) -> _Rows:
    rows, lines = [], []
    try:
        with path.open(encoding="utf-8", newline="") as text:
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            for row in reader:
                if row:
                    rows.append(row)
                    lines.append(reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error, TypeError) as error:  # no such file, not text, open quotes, "ab"
        raise _unreadable(path, error) from None
    if not rows:
        raise InputError(f"`{path}` has no header")
    loaded = _Rows(f"`{path}`", rows[0], rows[1:], lines[1:], "line", True)
    for row, line in zip(loaded.rows, loaded.lines, strict=True):
        if len(row) != len(loaded.header):
            message = f"the row has {len(row)} columns, the header has {len(loaded.header)}"
            loaded.problems.append(Diagnostic(f"{loaded.name}, line {line}: {message}"))
    loaded.raise_problems()
    return loaded


def _read_json_lines(path: Path) -> _Rows:
    objects: list[dict] = []
    lines: list[int] = []
    problems = []
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:  # no such file, not text
        raise _unreadable(path, error) from None
    for line, text in enumerate(texts, start=1):
        if not text.strip():
            continue
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as error:  # a line that is no JSON
            problems.append(Diagnostic(f"`{path}`, line {line}: it is no JSON: {error}"))
            continue
        if not isinstance(found, dict):
            problems.append(Diagnostic(f"`{path}`, line {line}: it is no JSON object"))
            continue
        objects.append(found)
        lines.append(line)
    header = list(dict.fromkeys(name for found in objects for name in found))
    rows = [[found.get(name) for name in header] for found in objects]
    loaded = _Rows(f"`{path}`", header, rows, lines, "line", False, problems)
    loaded.raise_problems()
    return loaded


def _read_parquet(path: Path) -> _Rows:
    pyarrow = optional_package("pyarrow")
    parquet = optional_package("pyarrow.parquet")
    try:
        loaded = parquet.read_table(path)
    except (OSError, pyarrow.ArrowException) as error:  # no such file, no Parquet
        raise _unreadable(path, error) from None
    columns = [column.to_pylist() for column in loaded.columns]
    rows = list(zip(*columns, strict=True))
    return _Rows(f"`{path}`", loaded.column_names, rows, range(1, len(rows) + 1), "row", False)


def _read_sqlite(path: Path, table: Table, relation: str) -> _Rows:
    import sqlite3

    if not path.is_file():
        raise InputError(f"there is no database file `{path}`")
    with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as connection:
        return _read_database(connection, table.table or relation, f"the database `{path}`")


def _read_url(url: str, table: Table, relation: str) -> _Rows:
    sqlalchemy = optional_package("sqlalchemy")
    try:
        engine = sqlalchemy.create_engine(url)
        name = f"the database `{engine.url.render_as_string(hide_password=True)}`"
        connection = engine.raw_connection()
    except (sqlalchemy.exc.SQLAlchemyError, ImportError, OSError) as error:  # a wrong URL, no driver, no server
        raise InputError(f"the database cannot be opened: {_one_line(error)}") from None
    with closing(connection):
        found = _read_database(connection, table.table or relation, name)
    engine.dispose()
    return found


def _read_database(connection: Connection, table: str, name: str) -> _Rows:
    quoted = table if _PLAIN_NAME.match(table) else '"' + table.replace('"', '""') + '"'
    try:
        with closing(connection.cursor()) as cursor:
            cursor.execute(f"SELECT * FROM {quoted}")
            header = [column[0] for column in cursor.description]
            rows = cursor.fetchall()
    except Exception as error:  # no such table, no database, no rights: the errors of drivers have no common class
        message = f"the table `{table}` cannot be read from {name}: {_one_line(error)}"
        raise InputError(Diagnostic(message, hint="name a table of the database: `table=…`")) from None
    return _Rows(f"the table `{table}` of {name}", header, rows, range(1, len(rows) + 1), "row", False)


def _unreadable(path: Path, error: Exception) -> InputError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else _one_line(error)
    return InputError(Diagnostic(f"the file `{path}` cannot be read: {reason}", hint=f"it is `{path.resolve()}`"))


def _one_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


def _read_value(value: object, type: ValueType, is_text: bool) -> Value | None:
    """A cell as a value of a type, None if it is none."""
    if is_text:
        found = text_reader(type)(str(value))
        return found if found is not None and type.admits(found) else None
    plain = _plain(value, type.is_integer)
    # Databases keep bools as numbers.
    if type is ValueType.BOOL and isinstance(plain, int) and plain in (0, 1):
        return bool(plain)
    return plain if plain is not None and type.admits(plain) else None


def _read_number(value: object, is_text: bool) -> float | bool | None:
    if is_text:
        return read_tag(str(value))
    number = _plain(value, False)
    return number if isinstance(number, int | float) and number == number else None


def _plain(value: object, is_integer: bool) -> Value | None:
    match value:
        case bool() | int() | float() | str():
            return value
        case Decimal() if value.is_finite():
            return int(value) if is_integer and value == int(value) else float(value)
        case date() | timedelta():
            return plain_value(value)
        case _:
            return None
