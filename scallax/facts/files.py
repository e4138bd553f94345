"""Facts from CSV files, as `@file` says of a relation."""

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from scallax.errors import Diagnostic, InputError, counted
from scallax.facts.fact_table import FactTable
from scallax.language import ir
from scallax.language.columns import Column
from scallax.language.values import Value, ValueType

# Problems of one file that are told; there may be one in every line.
MOST_PROBLEMS = 10
_TRUTHS = {"true": True, "false": False}


def read_files(program: ir.Program) -> list[FactTable]:
    """The facts of all files of a program, in order. Raises `InputError` with the problems of every file."""
    relations = {relation.name: relation for relation in program.relations}
    found: list[FactTable] = []
    problems: list[Diagnostic] = []
    for file in program.files:
        try:
            found.append(read_facts(file, relations[file.relation]))
        except InputError as error:  # what is wrong with one file says nothing about the others
            problems += error.diagnostics
    if problems:
        raise InputError(*problems)
    return found


def read_facts(file: ir.FactsFile, relation: ir.Relation) -> FactTable:
    """The facts of a file with their tags, in its order; None is the tag of a file without probabilities.

    The path is relative to the program's file, or to the working directory. With `keys`, each row gives a fact for
    each other column: the keys, the column's name, the value. Raises `InputError` with file, line and column of what
    does not fit.
    """
    assert file.span is not None
    name = file.span.source.name
    path = (Path() if name.startswith("<") else Path(name).parent) / file.path
    table = _Table(path, file, [], [], [])
    table.read()
    tags: list[float | bool | None] = [None] * len(table.lines)
    header, columns = table.header, table.columns
    if file.has_probability and columns:
        tags = table.parsed(0, "a probability", read_tag)
        header, columns = header[1:], columns[1:]
    offset = int(file.has_probability)
    places = {column: i for i, column in enumerate(header)}
    if file.keys:
        facts = _melt(table, places, offset, relation, tags)
    else:
        chosen = list(range(len(columns)))
        if file.fields:
            chosen = [table.place(places, field) for field in file.fields]
        table.raise_problems()
        if table.lines and len(chosen) != len(relation.columns):
            message = f"`{path}` gives {len(chosen)} columns, but `{relation.name}` has {len(relation.columns)}"
            raise InputError(Diagnostic(message, file.span, "name the columns to read: `fields=[…]`"))
        parsed = [
            table.parsed(place + offset, f"a value of `{type}`", text_reader(type))
            for place, type in zip(chosen, relation.columns, strict=False)
        ]
        facts = FactTable(relation.name, tuple(map(Column.of, parsed)), (len(tags),), (Column.of(tags),))
    table.raise_problems()
    return facts


def _melt(
    table: "_Table",
    places: dict[str, int],
    offset: int,
    relation: ir.Relation,
    tags: Sequence[float | bool | None],
) -> FactTable:
    file = table.file
    keys = [table.place(places, key) for key in file.keys]
    fields = file.fields or tuple(name for name in places if name not in file.keys)
    chosen = [table.place(places, field) for field in fields]
    table.raise_problems()
    types = relation.columns
    if len(types) != len(keys) + 2 or str(types[len(keys)]) not in ("Symbol", "String"):
        shown = ", ".join([*file.keys, "field: Symbol", "value: String"])
        message = f"`{relation.name}` does not fit a file with `keys`"
        raise InputError(Diagnostic(message, file.span, f"its columns have to be ({shown})"))
    key_values = [
        table.parsed(place + offset, f"a value of `{type}`", text_reader(type))
        for place, type in zip(keys, types, strict=False)
    ]
    values = [table.parsed(place + offset, f"a value of `{types[-1]}`", text_reader(types[-1])) for place in chosen]
    table.raise_problems()
    tuples = [
        (*(column[row] for column in key_values), field, column[row])
        for row in range(len(tags))
        for field, column in zip(fields, values, strict=True)
    ]
    return FactTable.of(relation.name, tuples, [tag for tag in tags for _ in fields])


@dataclass(slots=True)
class _Table:
    """The text of a file: columns by place, and the line of every row."""

    path: Path
    file: ir.FactsFile
    header: list[str]
    lines: list[int]
    problems: list[Diagnostic]
    columns: Sequence[Sequence[str]] = ()

    def read(self) -> None:
        rows = []
        try:
            with self.path.open(encoding="utf-8", newline="") as text:
                reader = csv.reader(text, delimiter=self.file.delimiter, strict=True)
                for row in reader:
                    if row:
                        rows.append(row)
                        self.lines.append(reader.line_num)
        except (OSError, UnicodeDecodeError, csv.Error) as error:  # no such file, not text, quotes that do not close
            reason = error.strerror if isinstance(error, OSError) else error
            hint = f"the path is relative to the program's file, or to the working directory: `{self.path.resolve()}`"
            raise InputError(
                Diagnostic(f"the file `{self.file.path}` cannot be read: {reason}", self.file.span, hint)
            ) from None
        width = len(rows[0]) if rows else 0
        for row, line in zip(rows, self.lines, strict=True):
            if len(row) != width:
                has = counted(len(row), "column")
                self.report(line, min(len(row), width) + 1, f"the row has {has}, the first has {width}")
        self.raise_problems()
        if self.file.has_header and rows:
            self.header = rows.pop(0)
            self.lines.pop(0)
        self.columns = list(zip(*rows, strict=True)) if rows else [()] * width

    def place(self, places: dict[str, int], name: str) -> int:
        """The place of a named column; 0, with an error reported, if there is none."""
        if name not in places:
            known = ", ".join(f"`{column}`" for column in places)
            message = f"`{self.path}` has no column `{name}`"
            self.problems.append(Diagnostic(message, self.file.span, f"its columns are: {known or 'none'}"))
        return places.get(name, 0)

    def parsed(self, place: int, what: str, read: Callable[[str], Value | None]) -> list:
        """The values of a column; a text that has none is reported."""
        texts = self.columns[place]
        values = list(map(read, texts))
        if None in values:
            for text, value, line in zip(texts, values, self.lines, strict=True):
                if value is None:
                    self.report(line, place + 1, f"`{text}` is not {what}")
        return values

    def report(self, line: int, column: int, message: str) -> None:
        self.problems.append(Diagnostic(f"{self.path}, line {line}, column {column}: {message}", self.file.span))

    def raise_problems(self) -> None:
        if self.problems:
            more = len(self.problems) - MOST_PROBLEMS
            shown = self.problems[:MOST_PROBLEMS]
            raise InputError(*shown, *([f"and {more} more problems in `{self.path}`"] if more > 0 else []))


def text_reader(type: ValueType) -> Callable[[str], Value | None]:
    """Reads a text as a value of a type, None if it is none."""
    if type.is_integer:
        low, high = type.bounds

        def read_integer(text: str) -> int | None:
            # Text that is no number has no value; the caller says where.
            try:
                number = int(text) if _is_plain(text) else None
            except ValueError:
                return None
            return number if number is not None and low <= number <= high else None

        return read_integer
    if type.is_float:
        return _float
    match type:
        case ValueType.BOOL:
            return lambda text: _TRUTHS.get(text.strip())
        case ValueType.CHAR:
            return lambda text: text if len(text) == 1 else None
        case _:
            return lambda text: text


def _is_plain(text: str) -> bool:
    """Python's numbers may be written `1_000`, or in the digits of any script."""
    return text.isascii() and "_" not in text


def _float(text: str) -> float | None:
    # Text that is no number has no value; the caller says where.
    try:
        number = float(text) if _is_plain(text) else math.nan
    except ValueError:
        return None
    return None if number != number else number


def read_tag(text: str) -> float | bool | None:
    """A text as a tag, None if it is none."""
    found = _TRUTHS.get(text.strip())
    return _float(text) if found is None else found
