"""Reads the files of a program: the one that is named, and those that `import` items name, each once."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from scallax.errors import Diagnostic, InputError, ParseError, Source
from scallax.syntax import ast
from scallax.syntax.parser import parse


def read_imports(sources: Sequence[Source], known: Sequence[Source] = ()) -> list[Source]:
    """The sources that `sources` import, directly or indirectly, each before the sources that import it.

    A path is relative to the importing file, or to the working directory if the source is no file (its name is then
    `<…>`). A file that is imported twice, or in a circle, is read once. The files in `sources` and in `known`, whose
    imports have been read before, are not read again. Errors in the text of a source are left to the analysis.
    InputError names every file that cannot be read.
    """
    met = (source.name for source in (*sources, *known) if not source.name.startswith("<"))
    reader = _Reader({_resolved(Path(name)) for name in met})
    for source in sources:
        reader.follow(source)
    if reader.problems:
        raise InputError(*reader.problems)
    return reader.found


def read_source(file: str) -> Source:
    """A program in a file, or for `-` on the standard input. InputError for a file that is no UTF-8 text."""
    try:
        if file == "-":
            return Source(sys.stdin.buffer.read().decode(), "<stdin>")
        with open(file, encoding="utf-8") as stream:
            return Source(stream.read(), file)
    except OSError as error:  # no such file, no permission
        raise InputError(f"`{file}` cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:  # not a text
        raise InputError(
            f"`{file}` is not UTF-8 text: byte {error.start} is {error.object[error.start]:#04x}"
        ) from None


class _Reader:
    """The sources that were found so far, and the files that were met, by their full paths."""

    def __init__(self, met: set[str]):
        self.met = met
        self.found: list[Source] = []
        self.problems: list[Diagnostic] = []

    def follow(self, source: Source) -> None:
        """Reads the imports of a source. It keeps an explicit stack, because chains of imports may be long."""
        pending = [(source, self.imports(source))]
        while pending:
            importer, items = pending[-1]
            if not items:
                pending.pop()
                if importer is not source:
                    self.found.append(importer)
                continue
            imported = self.read(importer, items.pop(0))
            if imported is not None:
                pending.append((imported, self.imports(imported)))

    def imports(self, source: Source) -> list[ast.Import]:
        if "import" not in source.text:
            return []
        try:
            items = parse(source).items
        except ParseError:  # the analysis reports it, together with the errors of the other sources
            return []
        return [item.declaration for item in items if isinstance(item.declaration, ast.Import)]

    def read(self, importer: Source, item: ast.Import) -> Source | None:
        directory = Path() if importer.name.startswith("<") else Path(importer.name).parent
        path = directory / item.path
        if "\0" in item.path:
            self.problems.append(Diagnostic("the path of the imported file holds a null character", item.span))
            return None
        if _resolved(path) in self.met:
            return None
        self.met.add(_resolved(path))
        try:
            return Source(path.read_text(encoding="utf-8"), os.path.normpath(path))
        except (OSError, UnicodeDecodeError) as error:  # no such file, no permission, not text
            reason = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
            where = "the importing file" if directory != Path() else "the working directory"
            hint = f"the path is relative to {where}: `{path.resolve().parent}`"
            self.problems.append(
                Diagnostic(f"the imported file `{item.path}` cannot be read: {reason}", item.span, hint)
            )
            return None


def _resolved(path: Path) -> str:
    return str(path.resolve())
