"""Answers as text on the standard output: tables for people, JSON and CSV for programs."""

import csv
import json
import math
import sys
from collections.abc import Sequence

import numpy as np

from scallax.context.answers import Answer
from scallax.language.functions import display
from scallax.language.tensors import TensorValue
from scallax.language.values import Value, ValueType


def print_table(answers: Sequence[Answer]) -> None:
    """Prints a table for each relation, framed where the package `rich` is installed; columns are named or numbered."""
    for answer in answers:
        tags = [] if answer.tags is None else ["tag"]
        header = [*tags, *(name or str(i) for i, name in enumerate(answer.relation.names))]
        count = len(answer.tuples)
        title = f"{answer.relation.name}: {count:,} tuple{'' if count == 1 else 's'}"
        _print_titled(title, header, _rows(answer) if header else [])


def _print_titled(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a title and, if there are rows, a table of them below it."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:  # the extra `cli` is not installed: columns of text, two spaces apart
        print(title)
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for row in [header, *rows] if rows else []:
            print("  ".join(map(str.ljust, row, widths)).rstrip())
        return
    # A pipe's reader wants whole lines.
    console = Console(width=None if sys.stdout.isatty() else 1 << 16, highlight=False)
    console.print(Text(title, style="bold"), soft_wrap=True)
    if rows:
        table = Table()
        for name in header:
            table.add_column(Text(name), overflow="fold")
        for row in rows:
            table.add_row(*map(Text, row))
        console.print(table)


def print_json(answers: Sequence[Answer]) -> None:
    """One object: by relation its tuples, and their tags in the same order if they are numbers.

    JSON has no numbers for infinities and NaN: they are the texts `inf`, `-inf` and `nan`.
    """
    data = {}
    for answer in answers:
        data[answer.relation.name] = {
            "tuples": [list(map(_plain, values, answer.relation.columns)) for values in answer.tuples]
        }
        if answer.tags is not None:
            data[answer.relation.name]["tags"] = [_plain(tag) for tag in answer.tags]
    json.dump(data, sys.stdout, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def print_csv(answers: Sequence[Answer]) -> None:
    """A line for each tuple: the relation, the tag if it is a number, the values."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for answer in answers:
        for row in _rows(answer):
            writer.writerow([answer.relation.name, *row])


def _rows(answer: Answer) -> list[list[str]]:
    """The texts of each tuple, as casts to `String` give them, after its tag."""
    types = answer.relation.columns
    rows = [list(map(display, values, types)) for values in answer.tuples]
    return rows if answer.tags is None else [[str(tag), *row] for tag, row in zip(answer.tags, rows, strict=True)]


def _plain(value: Value, type: ValueType = ValueType.F64) -> object:
    if isinstance(value, TensorValue):
        return value.array.tolist()
    if not isinstance(value, float):
        return value
    # The shortest number that is equal to an f32.
    return (float(str(np.float32(value))) if type is ValueType.F32 else value) if math.isfinite(value) else str(value)
