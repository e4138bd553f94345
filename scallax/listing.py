"""Answers as text on the standard output: tables for people, JSON and CSV for programs."""

import csv
import json
import math
import sys
from collections.abc import Sequence

import numpy as np

from scallax.answers import Answer
from scallax.errors import Diagnostic, InputError
from scallax.functions import display
from scallax.tensors import TensorValue
from scallax.values import Value, ValueType


def print_table(answers: Sequence[Answer]) -> None:
    """A table for each relation; the columns are named as declared, or numbered."""
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:  # the extra `cli` is not installed
        hint = "pip install 'scallax[cli]', or choose `--format json` or `--format csv`"
        raise InputError(Diagnostic("tables need the package `rich`", hint=hint)) from None
    # Whoever reads a pipe wants whole lines.
    console = Console(width=None if sys.stdout.isatty() else 1 << 16, highlight=False)
    for answer in answers:
        tags = [] if answer.tags is None else ["tag"]
        names = [name or str(i) for i, name in enumerate(answer.relation.names)]
        count = len(answer.tuples)
        title = f"{answer.relation.name}: {count:,} tuple{'' if count == 1 else 's'}"
        console.print(Text(title, style="bold"), soft_wrap=True)
        if not count or not (tags or names):
            continue
        table = Table()
        for name in [*tags, *names]:
            table.add_column(Text(name), overflow="fold")
        for row in _rows(answer):
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
