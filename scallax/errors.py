"""Errors that say what is wrong, where, and what to do."""

import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from scallax.source import Source, Span


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem: a sentence, the place in the program it is about, and what to do.

    `detail` is a text of several lines for the end, such as the traceback of a function that raised.
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
            # A caret stands under its character only if tabs are repeated, not counted.
            indent = "".join("\t" if c == "\t" else " " for c in text[: column - 1])
            lines = [
                f"{self.span.source.name}:{line}:{column}: {self.message}",
                f"  {text}",
                f"  {indent}{'^' * width}",
            ]
        if self.hint is not None:
            lines.append(f"hint: {self.hint}")
        if self.detail is not None:
            lines.append(self.detail.rstrip())
        # Whatever is wrong with the text, its report can be written.
        return "\n".join(lines).encode(errors="replace").decode()


class LateText:
    """A text that is written when it is shown: how errors call one fact of many, of which few are wrong."""

    __slots__ = ("template", "values")

    def __init__(self, template: str, *values: object):
        self.template = template
        self.values = values

    def __str__(self) -> str:
        return self.template.format(*self.values)


def near_name(name: str, known: Iterable[str], prefix: str = "") -> str | None:
    """A hint at the nearest of the known names, if one is near; `prefix` is what programs write before it."""
    near = get_close_matches(name, known, 1)
    return f"did you mean `{prefix}{near[0]}`?" if near else None


# Packages between a caller's line and ours: torch calls a module's `forward`, JAX a function that it traces.
_PASSED_ON = frozenset({"scallax", "torch_bridge", "torch", "jax", "flax", "jaxtyping", "beartype", "contextlib"})


def warn(text: str) -> None:
    """Warns of something at the line of the user's code that called scallax."""
    # `skip_file_prefixes` of `warnings.warn` would do, from Python 3.12 on.
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED_ON:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, UserWarning, stacklevel=level)


class ScallaxError(Exception):
    """Base of every error that scallax raises for its user; `str` is the whole report."""

    def __init__(self, *diagnostics: Diagnostic | str):
        self.diagnostics = tuple(d if isinstance(d, Diagnostic) else Diagnostic(d) for d in diagnostics)
        super().__init__("\n\n".join(map(str, self.diagnostics)))

    def __reduce__(self):
        return type(self), self.diagnostics


# A problem and the kind of error that it is.
Problem = tuple[type[ScallaxError], Diagnostic]


def raise_together(problems: Sequence[Problem], sources: Sequence[Source]) -> None:
    """Raises problems of any kinds in the order of the sources, those without a place last; nothing for none.

    The error is of the kind of the first one given.
    """
    if problems:
        kind = problems[0][0]
        raise kind(*sorted(dict.fromkeys(problem for _, problem in problems), key=lambda p: _place_in(p, sources)))


def _place_in(problem: Diagnostic, sources: Sequence[Source]) -> tuple[int, int]:
    if problem.span is None:
        return len(sources), 0
    return sources.index(problem.span.source), problem.span.start


class ParseError(ScallaxError):
    """The text is not a program."""


class NameResolutionError(ScallaxError):
    """A name is not declared, or is declared twice."""


class TypeInferenceError(ScallaxError):
    """Types or arities of columns, variables or operands conflict."""


class UnboundVariableError(ScallaxError):
    """A variable is used that no positive atom or equality binds."""


class StratificationError(ScallaxError):
    """A relation depends on its own negation or aggregate."""


class UnsupportedError(ScallaxError):
    """A construct of the language, or a combination, that this version does not evaluate."""


class GroundingError(ScallaxError):
    """Grounding met a value it cannot compute, or passed a limit."""


class ForeignError(ScallaxError):
    """A function of Python that a program uses raised, or gave what does not fit its declaration."""


class InputError(ScallaxError, ValueError):
    """A value handed to the Python interface does not fit: a fact, a mapping, a tensor, an option."""


class CheckpointError(ScallaxError):
    """Saved data is damaged, of another format, or belongs to another program."""
