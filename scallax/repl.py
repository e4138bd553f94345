"""The prompt: a program entered item by item, with answers to its queries."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import final

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.lexers import PygmentsLexer

from scallax import ir
from scallax.answer_files import write_answer_files
from scallax.answers import Options, answer, default_outputs
from scallax.engine import analyse_program
from scallax.errors import Diagnostic, InputError, ScallaxError
from scallax.explanation import explain
from scallax.highlighting import ScallopLexer
from scallax.imports import read_imports
from scallax.listing import print_table
from scallax.planner.plan import plan
from scallax.source import Source
from scallax.syntax import ast
from scallax.syntax.parser import is_unfinished, keywords, parse

_COMMANDS = {
    ":help": "this list",
    ":plan": "how the relations are computed, with row counts; `:plan r` that of `r` alone",
    ":quit": "leaves, as does Ctrl-D",
    ":relations": "the relations so far, with the types of their columns",
}
_HELP = """An entry is one or more items: `rel edge(1, 2)`, `rel path(x, y) = edge(x, y)`, `query path`.
It goes on over lines until its last item is complete; an empty line ends it all the same."""


def interact(options: Options, report: Callable[[ScallaxError], None]) -> None:
    """Reads entries until the end of the input or `:quit`; an error is reported and its entry forgotten.

    Without a terminal, entries are read from the standard input, and nothing but answers is printed.
    """
    session = Session(options)
    is_prompted = sys.stdin.isatty()
    for text in _prompted(session) if is_prompted else _piped():
        try:
            if not session.enter(text):
                return
        except ScallaxError as error:
            report(error)
        except KeyboardInterrupt:  # at the prompt, Ctrl-C ends a long computation and not the session
            if not is_prompted:
                raise
            print(file=sys.stderr)


@final
class Session:
    """The program so far."""

    def __init__(self, options: Options):
        self.program = ir.Program((), (), (), ())
        self._options = options
        self._sources: list[Source] = []
        self._num_entries = 0

    def enter(self, text: str) -> bool:
        """Adds an entry to the program and prints the answers to its queries; False if the session is to end.

        Raises `ScallaxError` and leaves the program as it was.
        """
        if text.lstrip().startswith(":"):
            return self._command(text.split())
        if not text.strip():
            return True
        self._num_entries += 1
        source = Source(text, f"<entry {self._num_entries}>")
        items = parse(source).items
        program = self._analyse([*self._sources, source])
        queries = [query.name for query in program.queries]
        plan(program, queries)
        for warning in program.warnings:
            if warning.span is not None and warning.span.source == source:
                print(f"warning: {warning}", file=sys.stderr)
        if queries:
            print_table(write_answer_files(program, answer(program, queries, self._options)))
        # Queries are answered once: they are blanked, so that what stays has its place.
        kept = text
        for item in items:
            if isinstance(item.declaration, ast.Query):
                span = item.declaration.span
                kept = f"{kept[: span.start]}{' ' * (span.end - span.start)}{kept[span.end :]}"
        self._sources.append(Source(kept, source.name))
        self.program = program
        return True

    def _analyse(self, sources: Sequence[Source]) -> ir.Program:
        return analyse_program([*read_imports(sources), *sources])

    def relations(self) -> list[ir.Relation]:
        """The relations that the user wrote, by name."""
        written = [relation for relation in self.program.relations if relation.name.isidentifier()]
        return sorted(written, key=lambda relation: relation.name)

    def _command(self, words: Sequence[str]) -> bool:
        match words:
            case [":quit"]:
                return False
            case [":help"]:
                print(_HELP)
                print("\n".join(f"{name:12}{meaning}" for name, meaning in _COMMANDS.items()))
            case [":relations"]:
                print("".join(f"{relation}\n" for relation in self.relations()), end="")
            case [":plan", *names]:
                program = self._analyse(self._sources)
                print(explain(program, names or default_outputs(program), self._options))
            case _:
                hint = f"the commands are {', '.join(_COMMANDS)}"
                raise InputError(Diagnostic(f"there is no command `{' '.join(words)}`", hint=hint))
        return True


def _piped() -> Iterator[str]:
    """Entries of the standard input: lines, joined while their last item is not complete."""
    entry = ""
    for line in sys.stdin:
        entry += line
        if _is_complete(entry):
            yield entry
            entry = ""
    if entry:
        yield entry


def _prompted(session: Session) -> Iterator[str]:
    """Entries typed at the prompt, with history, completion and colours."""
    prompt: PromptSession[str] = PromptSession(
        "scallax> ",
        multiline=True,
        prompt_continuation=lambda width, number, wrapped: "." * (width - 1) + " ",
        history=FileHistory(str(_history_file())),
        lexer=PygmentsLexer(ScallopLexer),
        completer=EntryCompleter(session),
        complete_while_typing=False,
        key_bindings=_keys(),
    )
    while True:
        try:
            yield prompt.prompt()
        except KeyboardInterrupt:  # Ctrl-C drops the entry
            continue
        except EOFError:  # Ctrl-D
            return


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if _is_complete(f"{buffer.text}\n"):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    return keys


def _is_complete(entry: str) -> bool:
    """Whether an entry, a whole number of lines, is to be read: an empty line ends whatever it is."""
    if entry.lstrip().startswith(":"):
        return True
    return entry.endswith("\n\n") or entry == "\n" or not is_unfinished(Source(entry))


@final
class EntryCompleter(Completer):
    """Completes relations, keywords and commands."""

    def __init__(self, session: Session):
        self._session = session

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterable[Completion]:
        if document.text.startswith(":") and " " not in document.text:
            words, start = [*_COMMANDS], document.text_before_cursor
        else:
            start = document.get_word_before_cursor()
            words = [*(relation.name for relation in self._session.relations()), *keywords()]
        if start:
            yield from (Completion(word, -len(start)) for word in words if word.startswith(start))


def _history_file() -> Path:
    """In the user's data directory, which is made."""
    root = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_DATA_HOME")
    folder = (Path(root) if root else Path.home() / ".local" / "share") / "scallax"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / "history"
