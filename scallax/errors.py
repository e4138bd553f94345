"""Errors: each says what is wrong, where in which source, and what to do."""

import functools
import inspect
import sys
import warnings
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from types import FrameType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)

# The number of keyword arguments that an error lists at most.
_MOST_SHOWN = 5

# Keywords of earlier versions of the reference, each with its hint.
_FORMER = {
    "retain_graph": "leave it out: nothing is freed before its time; for a second pass, `backward(retain_graph=True)`",
}


@dataclass(frozen=True)
class Source:
    """A program text; `name` is the path of its file, or a label such as `<program>`."""

    text: str = field(repr=False)
    name: str = "<program>"

    @cached_property
    def _line_starts(self) -> list[int]:
        return [0, *(i + 1 for i, c in enumerate(self.text) if c == "\n")]

    def position(self, offset: int) -> tuple[int, int]:
        """The 1-based line and column of a character offset."""
        line = bisect_right(self._line_starts, offset)
        return line, offset - self._line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        """The text of a 1-based line, without its line break."""
        start = self._line_starts[number - 1]
        end = self.text.find("\n", start)
        return self.text[start : end if end >= 0 else len(self.text)].rstrip("\r")


@dataclass(frozen=True, slots=True)
class Span:
    """The characters from `start` to `end` (exclusive) of a source."""

    source: Source
    start: int
    end: int

    @property
    def text(self) -> str:
        """The characters themselves."""
        return self.source.text[self.start : self.end]

    @property
    def place(self) -> str:
        """The name of the source, with the line and the column of the start."""
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"

    def to(self, other: "Span") -> "Span":
        """The span from the start of this one to the end of `other`."""
        return Span(self.source, self.start, other.end)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem: a sentence, the place in the program, and a hint what to do.

    `detail` is a text of several lines that is shown last, such as the traceback of a foreign function.
    """

    message: str
    span: Span | None = None
    hint: str | None = None
    detail: str | None = None

    def __str__(self) -> str:
        lines = [self.message]
        if self.span is not None:
            line, column = self.span.source.position(self.span.start)
            text = self.span.source.line(line)
            width = max(1, min(self.span.end - self.span.start, len(text) - column + 1))
            # Tabs are repeated, so that the caret stands under its character.
            indent = "".join("\t" if c == "\t" else " " for c in text[: column - 1])
            lines = [
                f"{self.span.place}: {self.message}",
                f"  {text}",
                f"  {indent}{'^' * width}",
            ]
        if self.hint is not None:
            lines.append(f"hint: {self.hint}")
        if self.detail is not None:
            lines.append(self.detail.rstrip())
        # The text may hold characters that cannot be encoded; its report must still be printable.
        return "\n".join(lines).encode(errors="replace").decode()


class LateText:
    """A text that is written only when it is shown: few of many facts are wrong, and only these need a description."""

    __slots__ = ("template", "values")

    def __init__(self, template: str, *values: object):
        self.template = template
        self.values = values

    def __str__(self) -> str:
        return self.template.format(*self.values)


def near_name(name: object, known: Iterable[str], prefix: str = "") -> str | None:
    """A hint at the nearest known name, if one is near; `prefix` stands before it in programs."""
    # A caller may give any object for a name.
    near = get_close_matches(str(name), [other for other in known if isinstance(other, str)], 1)
    return f"did you mean `{prefix}{near[0]}`?" if near else None


def counted(count: int, noun: str) -> str:
    """A number of things, as text; `noun` names one of them."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


# Packages between a caller's line and ours: torch calls a module's `forward`, JAX a function that it traces. What torch
# compiles has no name.
_PASSED_ON = frozenset({"", "scallax", "torch_bridge", "torch", "jax", "flax", "jaxtyping", "beartype", "contextlib"})


def warn(text: str) -> None:
    """Issues a warning at the line of the user's code that called scallax."""
    # `skip_file_prefixes` of `warnings.warn` would do, from Python 3.12 on.
    _, level = calling_frame()
    warnings.warn(text, UserWarning, stacklevel=level)


def calling_frame() -> tuple[FrameType, int]:
    """The frame of the user's code that called scallax, and its level in the stack of this function's caller."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED_ON:
        frame, level = frame.f_back, level + 1
    return frame, level


class ScallaxError(Exception):
    """Base class of all errors that scallax raises for its user; `str(error)` is the whole report.

    `diagnostics` holds the single problems, each with its place in the program and a hint if there is one.
    """

    def __init__(self, *diagnostics: Diagnostic | str):
        self.diagnostics = tuple(d if isinstance(d, Diagnostic) else Diagnostic(d) for d in diagnostics)
        super().__init__("\n\n".join(map(str, self.diagnostics)))

    def __reduce__(self):
        return type(self), self.diagnostics


# A kind of error, and the problem itself.
Problem = tuple[type[ScallaxError], Diagnostic]


def raise_together(problems: Sequence[Problem], sources: Sequence[Source]) -> None:
    """Raises one error with all problems, in the order of the sources; without problems it does nothing.

    Problems without a place come last. The error is of the kind of the first given problem.
    """
    if problems:
        kind = problems[0][0]
        raise kind(*sorted(dict.fromkeys(problem for _, problem in problems), key=lambda p: _place_in(p, sources)))


def _place_in(problem: Diagnostic, sources: Sequence[Source]) -> tuple[int, int]:
    if problem.span is None:
        return len(sources), 0
    return sources.index(problem.span.source), problem.span.start


class ParseError(ScallaxError):
    """The text is not a program of the language."""


class NameResolutionError(ScallaxError):
    """A name is not declared, or is declared twice."""


class TypeInferenceError(ScallaxError):
    """The types or the numbers of columns, variables or operands conflict."""


class UnboundVariableError(ScallaxError):
    """A variable is used, and no positive atom or equality binds it."""


class StratificationError(ScallaxError):
    """A relation depends on its own negation or aggregate."""


class UnsupportedError(ScallaxError):
    """This version cannot evaluate the construct, or the combination of constructs or options."""


class GroundingError(ScallaxError):
    """Grounding met a value that it cannot compute, or passed a limit."""


class ForeignError(ScallaxError):
    """A Python function of the program raised, or returned a value that does not fit its declaration."""


class InputError(ScallaxError, ValueError):
    """A value given through the Python interface does not fit: a fact, a mapping, a tensor, an option."""


class ArgumentError(InputError, TypeError):
    """A call has an unknown keyword, too many arguments by position, or lacks an argument."""


class CheckpointError(ScallaxError):
    """A checkpoint is damaged, has another format, or belongs to another program."""


def checks_call(function: Callable[P, R]) -> Callable[P, R]:
    """The function with a check: a call that does not fit its parameters is an ArgumentError with a hint."""

    @functools.wraps(function)
    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            return function(*arguments, **keywords)
        except TypeError:
            if _fits(function, arguments, keywords):
                raise
        raise misfit(function, arguments, keywords)

    return call


def _fits(function: Callable, arguments: Sequence[object], keywords: Mapping[str, object]) -> bool:
    try:
        inspect.signature(function).bind(*arguments, **keywords)
    except TypeError:
        return False
    return True


def checks_calls(cls: C) -> C:
    """The class with `checks_call` around its constructor, its `__call__` and its public methods.

    Methods with a variadic parameter are left out: they check their arguments themselves.
    """
    for name, member in list(vars(cls).items()):
        is_public = name in ("__init__", "__call__") or not name.startswith("_")
        if is_public and isinstance(member, classmethod):
            setattr(cls, name, classmethod(checks_call(member.__func__)))
        if is_public and inspect.isfunction(member) and not member.__code__.co_flags & inspect.CO_VARARGS:
            setattr(cls, name, checks_call(member))
    return cls


def misfit(function: Callable, arguments: Sequence[object], keywords: Mapping[str, object]) -> ArgumentError:
    """The error of a call whose arguments do not fit a function, or a method with its object before them."""
    parameters: list[Any] = list(inspect.signature(function).parameters.values())
    name = function.__name__
    if arguments and parameters and parameters[0].name in ("self", "cls"):
        owner = getattr(arguments[0], "__name__", type(arguments[0]).__name__)
        name = owner if name in ("__init__", "__call__", "forward") else f"{owner}.{name}"
        parameters, arguments = parameters[1:], arguments[1:]
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    takes_inputs = any(p.kind is p.VAR_KEYWORD for p in parameters)
    by_position = positional[: len(arguments)]
    found = []
    if len(arguments) > len(positional):
        most = f"{len(positional) or 'no'} argument{'s' * (len(positional) != 1)}"
        message = f"`{name}` takes {most} by position, not {len(arguments)}"
        hint = "give each input by its name: `relation=…`"
        if not takes_inputs:
            hint = _by_name([other for other in named if other not in by_position])
        found.append(Diagnostic(message, hint=hint))
    found += [_unknown_keyword(name, word, named) for word in keywords if word not in named and not takes_inputs]
    found += [Diagnostic(f"`{name}` is given `{word}` twice") for word in by_position if word in keywords]
    given = {*by_position, *keywords}
    found += [
        Diagnostic(f"`{name}` needs the argument `{p.name}`")
        for p in parameters
        if p.name in (*positional, *named) and p.default is p.empty and p.name not in given
    ]
    return ArgumentError(*found)


def _by_name(others: Sequence[str]) -> str | None:
    """Says which arguments may be given by name; None for none."""
    shown = ", ".join(f"`{other}=`" for other in others[:_MOST_SHOWN])
    return f"give others by name: {shown}{', …' if len(others) > _MOST_SHOWN else ''}" if others else None


def _unknown_keyword(name: str, keyword: str, known: Sequence[str]) -> Diagnostic:
    hint = _FORMER.get(keyword) or near_name(keyword, known)
    if hint is None:
        hint = f"it takes {', '.join(f'`{other}`' for other in known)}" if known else None
    return Diagnostic(f"`{name}` takes no argument `{keyword}`", hint=hint)
