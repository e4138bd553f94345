"""The prompt: a program entered item by item, with answers to its queries."""

import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, final

from scallax.circuits.compile import analyse_program
from scallax.context.answer_files import write_answer_files
from scallax.context.answers import TAGS_LEFT_ASIDE, answer, default_outputs, has_number_tags
from scallax.context.draft import Draft
from scallax.context.explain_plan import explain
from scallax.context.listing import print_table
from scallax.context.options import Options
from scallax.context.status_line import shown_work
from scallax.errors import Diagnostic, InputError, ScallaxError, Source
from scallax.language import ir
from scallax.planner.plan import plan
from scallax.syntax import ast
from scallax.syntax.grammar import grammar
from scallax.syntax.imports import read_imports, read_source
from scallax.syntax.parser import is_unfinished, parse

if TYPE_CHECKING:  # the extra `cli`, and needed at a terminal alone
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import History

_COMMANDS = {
    ":explain": "the likeliest proofs of a tuple: `:explain path(0, 2)`",
    ":help": "this list",
    ":load": "enters what a file holds: `:load graph.scl`",
    ":plan": "how the relations are computed, with row counts; `:plan r` that of `r` alone",
    ":quit": "leaves, as does Ctrl-D",
    ":relations": "the relations so far, with the types of their columns",
    ":save": "writes the program so far to a new file, queries aside: `:save graph.scl`",
    ":undo": "forgets the last entry",
}
_HELP = """An entry is one or more items: `rel edge(1, 2)`, `rel path(x, y) = edge(x, y)`, `query path`.
It goes on over lines until its last item is complete; an empty line ends it all the same."""


# ANSI colours follow the terminal's own theme, so that they can be read on black and on white.
_COLOURS = {
    "keyword": "ansimagenta",
    "keyword.type": "ansicyan",
    "literal": "ansigreen",
    "comment": "ansibrightblack italic",
    "operator.word": "ansimagenta",
    "error": "ansired",
}


def interact(options: Options, report: Callable[[ScallaxError], None], *, tells_of_tags: bool = False) -> None:
    """Reads entries until the end of the input or `:quit`; an error is reported and its entry forgotten.

    Without a terminal, entries are read from the standard input, and nothing but answers is printed. With
    `tells_of_tags` a warning says once that tags are left aside, if the program has some.
    """
    session = Session(options, tells_of_tags=tells_of_tags)
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

    def __init__(self, options: Options, *, tells_of_tags: bool = False):
        self.program = ir.Program((), (), (), ())
        self._options = options
        self._tells_of_tags = tells_of_tags
        self._sources: list[Source] = []
        self._num_entries = 0

    def enter(self, text: str) -> bool:
        """Adds an entry to the program and prints the answers to its queries; False if the session is to end.

        Raises `ScallaxError` and leaves the program as it was.
        """
        if text.lstrip().startswith(":"):
            return self._command(*text.strip().partition(" ")[::2])
        if text.strip():
            self._num_entries += 1
            self._add(Source(text, f"<entry {self._num_entries}>"))
        return True

    def _add(self, source: Source) -> None:
        items = parse(source).items
        program = self._analyse([*self._sources, source])
        queries = [query.name for query in program.queries]
        plan(program, queries)
        for warning in program.warnings:
            if warning.span is not None and warning.span.source == source:
                print(f"warning: {warning}", file=sys.stderr)
        if self._tells_of_tags and has_number_tags(program):
            self._tells_of_tags = False
            print(f"warning: {TAGS_LEFT_ASIDE}", file=sys.stderr)
        if queries:
            with shown_work(sys.stderr):
                answers = answer(program, queries, self._options)
            print_table(write_answer_files(program, answers))
        # Queries are answered once: they are blanked, so that the rest of the entry keeps its place.
        kept = source.text
        for item in items:
            if isinstance(item.declaration, ast.Query):
                span = item.declaration.span
                kept = f"{kept[: span.start]}{' ' * (span.end - span.start)}{kept[span.end :]}"
        self._sources.append(Source(kept, source.name))
        self.program = program

    def _analyse(self, sources: Sequence[Source]) -> ir.Program:
        return analyse_program([*read_imports(sources), *sources])

    def relations(self) -> list[ir.Relation]:
        """The relations that the user wrote, by name."""
        written = [relation for relation in self.program.relations if relation.name.isidentifier()]
        return sorted(written, key=lambda relation: relation.name)

    def _command(self, name: str, argument: str) -> bool:
        argument = argument.strip()
        match name:
            case ":quit":
                return False
            case ":help":
                print(_HELP)
                print("\n".join(f"{name:12}{meaning}" for name, meaning in _COMMANDS.items()))
            case ":relations":
                print("".join(f"{relation}\n" for relation in self.relations()), end="")
            case ":plan":
                program = self._analyse(self._sources)
                with shown_work(sys.stderr):
                    text = explain(program, argument.split() or default_outputs(program), self._options)
                print(text)
            case ":explain":
                print(self._explain(argument))
            case ":load":
                self._add(read_source(self._path(name, argument)))
            case ":save":
                text = "".join(f"{source.text.strip()}\n" for source in self._sources if source.text.strip())
                _write_new(self._path(name, argument), text)
            case ":undo":
                if not self._sources:
                    raise InputError("there is no entry to undo")
                self._sources.pop()
                self.program = self._analyse(self._sources)
            case _:
                hint = f"the commands are {', '.join(_COMMANDS)}"
                raise InputError(Diagnostic(f"there is no command `{name}`", hint=hint))
        return True

    def _path(self, command: str, argument: str) -> str:
        if not argument:
            raise InputError(Diagnostic(f"`{command}` needs the name of a file", hint=f"`{command} graph.scl`"))
        return argument

    def _explain(self, text: str) -> object:
        """The explanation of the tuple that a text such as `path(0, 2)` names."""
        # JAX takes a second to import, and the other commands do without.
        from scallax.context.to_reasoner import CallOptions, draft_reasoner

        hint = "write a relation and its constants: `:explain path(0, 2)`"
        found = re.match(r"(\w+)\s*(\(.*\))$", text, re.DOTALL)
        if found is None:
            raise InputError(Diagnostic(f"`:explain {text}` names no tuple", hint=hint))
        draft = Draft().with_sources(*self._sources)
        relation = draft.relation(found[1])
        # The constants are read as a fact of another relation with the same columns: they have these types, and the
        # program is as it was.
        name = f"tuple_of_{relation.name}"
        columns = ", ".join(type.value for type in relation.columns)
        asked = self._analyse([*self._sources, Source(f"type {name}({columns})\nrel {name}{found[2]}", "<tuple>")])
        facts = [fact.values for fact in asked.facts if fact.relation == name]
        if len(facts) != 1:
            raise InputError(Diagnostic(f"`{text}` is not one tuple of constants", hint=hint))
        reasoner = draft_reasoner(draft, self._options, CallOptions(), lambda tag: False, relation.name, None, None)
        with shown_work(sys.stderr):
            return reasoner.explain(relation.name, facts[0])


def _write_new(path: str, text: str) -> None:
    """Writes a file that is not there yet. InputError for one that is, or that the system refuses."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise InputError(Diagnostic(f"`{path}` exists", hint="save under another name")) from None
    except OSError as error:  # no such folder, no permission, a full disk
        raise InputError(f"`{path}` cannot be written: {error.strerror}") from None


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
    """Entries typed at a terminal: with history, completion and colours where `prompt_toolkit` is installed."""
    try:
        read = _prompt(session).prompt
    except ImportError:  # the extra `cli` is not installed
        print("a plain prompt: `pip install 'scallax[cli]'` brings history, completion and colours", file=sys.stderr)
        read = _read_plainly
    while True:
        try:
            yield read()
        except KeyboardInterrupt:  # Ctrl-C drops the entry
            continue
        except EOFError:  # Ctrl-D
            return


def _read_plainly() -> str:
    """An entry typed line by line."""
    entry = f"{input('scallax> ')}\n"
    while not _is_complete(entry):
        entry += f"{input('.' * len('scallax>') + ' ')}\n"
    return entry


def _prompt(session: Session) -> "PromptSession[str]":
    from prompt_toolkit import PromptSession
    from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
    from prompt_toolkit.lexers import PygmentsLexer
    from prompt_toolkit.styles import style_from_pygments_dict
    from pygments.token import string_to_tokentype

    from scallax.syntax.highlighting import ScallopLexer

    keys = KeyBindings()

    @keys.add("enter")
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if _is_complete(f"{buffer.text}\n"):
            buffer.validate_and_handle()
        else:
            buffer.insert_text("\n")

    has_colours = not os.environ.get("NO_COLOR")
    colours = {string_to_tokentype(name.title()): colour for name, colour in _COLOURS.items()} if has_colours else {}
    return PromptSession(
        "scallax> ",
        multiline=True,
        prompt_continuation=lambda width, number, wrapped: "." * (width - 1) + " ",
        history=_history(),
        lexer=PygmentsLexer(ScallopLexer),
        style=style_from_pygments_dict(colours),
        include_default_pygments_style=False,
        completer=completer(session),
        complete_while_typing=False,
        key_bindings=keys,
    )


def completer(session: Session) -> "WordCompleter":
    """Completes relations, keywords and, at the start of an entry, commands."""
    from prompt_toolkit.completion import WordCompleter

    def words() -> list[str]:
        return [*_COMMANDS, *(relation.name for relation in session.relations()), *grammar().keywords()]

    # The pattern is matched from the cursor to the left: a colon belongs to the first word alone.
    return WordCompleter(words, pattern=re.compile(r"^(\w+(:(?=$))?|:(?=$))"))


def _history() -> "History":
    """Earlier entries, kept in a file of the user's data directory where one can be written."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    root = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_DATA_HOME")
    folder = (Path(root) if root else Path.home() / ".local" / "share") / "scallax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "history").open("ab").close()
    except OSError as error:  # a home that is read only
        print(f"entries are not kept for the next time: `{folder}` {error.strerror}", file=sys.stderr)
        return InMemoryHistory()
    return FileHistory(str(folder / "history"))


def _is_complete(entry: str) -> bool:
    """Whether an entry, a whole number of lines, is to be read: an empty line ends whatever it is."""
    if entry.lstrip().startswith(":"):
        return True
    return entry.endswith("\n\n") or entry == "\n" or not is_unfinished(Source(entry))
