"""Answers as text on the standard output: tables for people, JSON and CSV for programs."""

import csv
import json
import math
import sys
from collections.abc import Sequence

from scallax.answers import Answer
from scallax.errors import Diagnostic, InputError
from scallax.tensors import TensorValue
from scallax.values import Value


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
            table.add_row(*(Text(_show(value)) for value in row))
        console.print(table)


def print_json(answers: Sequence[Answer]) -> None:
    """One object: by relation its tuples, and their tags in the same order if they are numbers.

    JSON has no numbers for infinities and NaN: they are the texts `inf`, `-inf` and `nan`.
    """
    data = {}
    for answer in answers:
        data[answer.relation.name] = {"tuples": [list(map(_plain, values)) for values in answer.tuples]}
        if answer.tags is not None:
            data[answer.relation.name]["tags"] = [_plain(tag) for tag in answer.tags]
    json.dump(data, sys.stdout, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")


def print_csv(answers: Sequence[Answer]) -> None:
    """A line for each tuple: the relation, the tag if it is a number, the values."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    for answer in answers:
        for row in _rows(answer):
            writer.writerow([answer.relation.name, *map(_show, row)])


def _rows(answer: Answer) -> list[tuple[Value, ...]]:
    if answer.tags is None:
        return list(answer.tuples)
    return [(tag, *values) for tag, values in zip(answer.tags, answer.tuples, strict=True)]


def _show(value: Value) -> str:
    """A value as in a program, texts without their quotes."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(value: Value) -> object:
    if isinstance(value, TensorValue):
        return value.array.tolist()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
