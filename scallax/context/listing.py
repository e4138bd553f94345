"""Answers as text on the standard output: tables for people, JSON and CSV for programs."""

import csv
import json
import math
import os
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import zip_longest

import numpy as np

from scallax.context.answers import Answer
from scallax.errors import counted
from scallax.language.functions import display
from scallax.language.tensors import TensorValue
from scallax.language.values import Value, ValueType


def print_table(answers: Sequence[Answer]) -> None:
    """Prints a framed table for each relation; columns are named or numbered, and fold on narrow terminals."""
    is_terminal = sys.stdout.isatty()
    # A pipe's reader wants whole lines.
    width = os.get_terminal_size(sys.stdout.fileno()).columns or None if is_terminal else None
    is_bold = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    for answer in answers:
        tags = [] if answer.tags is None else ["tag"]
        header = [*tags, *(name or str(i) for i, name in enumerate(answer.relation.names))]
        count = len(answer.tuples)
        title = f"{answer.relation.name}: {counted(count, 'tuple')}"
        print(f"\x1b[1m{title}\x1b[0m" if is_bold else title)
        if count and header:
            lines = frame(header, _rows(answer), width, is_bold, sys.stdout.encoding or "utf-8")
            sys.stdout.writelines(f"{line}\n" for line in lines)


# By the end of a line, the bar within it, and the joints: the line above the header, the header, the line below it, a
# row, the last line.
_FRAME = ("┏━┳┓", "┃ ┃┃", "┡━╇┩", "│ ││", "└─┴┘")
_PLAIN_FRAME = ("+-++", "| ||", "+-++", "| ||", "+-++")


def frame(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int | None, is_bold: bool, encoding: str
) -> Iterator[str]:
    """The lines of a table; none takes more than `width` cells of a terminal, however often its texts must fold."""
    texts = [[_printable(text) for text in row] for row in (header, *rows)]
    widths = [max(max(map(_cells, text.split("\n"))) for text in column) for column in zip(*texts, strict=True)]
    if width is not None:
        widths = [min(needed, max(width, 2)) for needed in widths]
        # A column of two cells holds any character.
        while sum(widths) + 3 * len(widths) + 1 > width and max(widths) > 2:
            widths[widths.index(max(widths))] -= 1
    top, head, below, body, bottom = _FRAME if _can_encode("".join(_FRAME), encoding) else _PLAIN_FRAME
    yield _rule(top, widths)
    for line in _fold(texts[0], widths):
        yield _line(head, [f"\x1b[1m{text}\x1b[0m" for text in line] if is_bold else line)
    yield _rule(below, widths)
    for row in texts[1:]:
        for line in _fold(row, widths):
            yield _line(body, line)
    yield _rule(bottom, widths)


def _rule(signs: str, widths: Sequence[int]) -> str:
    left, bar, joint, right = signs
    return left + joint.join(bar * (width + 2) for width in widths) + right


def _line(signs: str, texts: Sequence[str]) -> str:
    left, blank, joint, right = signs
    return left + joint.join(f"{blank}{text}{blank}" for text in texts) + right


def _fold(row: Sequence[str], widths: Sequence[int]) -> Iterator[list[str]]:
    """The lines of a row: its texts, cut and filled up to the widths."""
    parts = [_parts(text, width) for text, width in zip(row, widths, strict=True)]
    for texts in zip_longest(*parts, fillvalue=""):
        yield [text + " " * (width - _cells(text)) for text, width in zip(texts, widths, strict=True)]


def _parts(text: str, width: int) -> list[str]:
    parts = []
    for line in text.split("\n"):
        start, used = 0, 0
        for i, character in enumerate(line if _cells(line) > width else ""):
            used += _cells(character)
            if used > width:
                parts.append(line[start:i])
                start, used = i, _cells(character)
        parts.append(line[start:])
    return parts


def _printable(text: str) -> str:
    """A text without the characters that would move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(c if c == "\n" or unicodedata.category(c) != "Cc" else repr(c)[1:-1] for c in text)


def _cells(text: str) -> int:
    """The number of a terminal's cells that a text takes: two for each wide character, none for what combines."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF") for c in text)


def _can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


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
