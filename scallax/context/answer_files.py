"""Answers as CSV files, as `@file` says of a query."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from scallax.context.answers import Answer
from scallax.errors import Diagnostic, InputError
from scallax.language import ir
from scallax.language.functions import display


def write_answer_files(program: ir.Program, answers: Sequence[Answer]) -> list[Answer]:
    """Writes the answers to queries that are preceded by `@file`, and returns the others.

    A file is replaced as a whole or left as it is. Its path is relative to the program's file, or to the working
    directory. Values are written as `@file` reads them: texts without quotes of their own. With `has_probability` the
    first column is the tag, `true` under a provenance without numbers. Raises `InputError` for what cannot be written.
    """
    by_name = {answer.relation.name: answer for answer in answers}
    for file in program.answer_files:
        if file.query in by_name:
            _write(file, by_name[file.query])
    written = {file.query for file in program.answer_files}
    return [answer for answer in answers if answer.relation.name not in written]


def _write(file: ir.AnswerFile, answer: Answer) -> None:
    assert file.span is not None
    name = file.span.source.name
    path = (Path() if name.startswith("<") else Path(name).parent) / file.path
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        try:
            with temporary.open("w", encoding="utf-8", newline="") as stream:
                _write_rows(csv.writer(stream, delimiter=file.delimiter, lineterminator="\n"), file, answer)
            temporary.replace(path)
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:  # no such directory, a full disk, a null character in the path
        reason = error.strerror if isinstance(error, OSError) else error
        hint = f"the path is relative to the program's file, or to the working directory: `{path.absolute()}`"
        raise InputError(Diagnostic(f"the file `{file.path}` cannot be written: {reason}", file.span, hint)) from None


def _write_rows(writer, file: ir.AnswerFile, answer: Answer) -> None:
    relation = answer.relation
    if file.has_header:
        names = [name or str(i) for i, name in enumerate(relation.names)]
        writer.writerow(["probability", *names] if file.has_probability else names)
    tags = ["true"] * len(answer.tuples) if answer.tags is None else map(_show_tag, answer.tags)
    for tag, values in zip(tags, answer.tuples, strict=True):
        texts = list(map(display, values, relation.columns))
        writer.writerow([tag, *texts] if file.has_probability else texts)


def _show_tag(tag: object) -> str:
    return str(tag).lower() if isinstance(tag, bool) else str(tag)
