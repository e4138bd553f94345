"""Patterns: terms in rules become cases of one constructor each; also the checks of constructors."""

from collections.abc import Iterable, Iterator

from scallax.analysis.names import Names
from scallax.errors import Diagnostic, NameResolutionError, Problem, Span, TypeInferenceError, counted, near_name
from scallax.language.records import record
from scallax.syntax import ast


@record
class BodyCase:
    """`case subject is constructor(arguments)`; the arguments are expressions or wildcards, not patterns."""

    subject: ast.Expression
    constructor: str
    arguments: tuple[ast.Expression, ...]
    span: Span


def check_constructors(expression: ast.Expression, names: Names) -> list[Problem]:
    """The problems of the constructors in an expression: unknown ones, and wrong numbers of arguments."""
    found = []
    for node in ast.walk(expression):
        match node:
            case ast.Application(name=name) | ast.New(constructor=name):
                problem = _check_constructor(name, len(node.arguments), node.span, names)
                if problem is not None:
                    found.append(problem)
    return found


def _check_constructor(name: str, num_arguments: int, span: Span, names: Names) -> Problem | None:
    """The problem of one constructor with this number of arguments, and the kind of error; None if it is right."""
    variant = names.variants.get(name)
    if variant is None:
        hint = near_name(name, names.variants) or "declare it: `type T = A(i32) | B()`"
        return NameResolutionError, Diagnostic(f"unknown constructor `{name}`", span, hint)
    if len(variant.columns) != num_arguments:
        message = f"`{name}` takes {counted(len(variant.columns), 'argument')}, found {num_arguments}"
        hint = f"it is declared at {variant.span.place}"
        return TypeInferenceError, Diagnostic(message, span, hint)
    return None


def is_ground(expression: ast.Expression, names: Names) -> bool:
    """Whether a constructor's application holds constants only."""
    match expression:
        case ast.Application(name=name, arguments=arguments):
            return name in names.variants and all(is_ground(argument, names) for argument in arguments)
        case ast.Name(name=name):
            return name in names.constants
        case _:
            return isinstance(expression, ast.Constant)


def constructors(expression: ast.Expression) -> Iterator[ast.Application | ast.New]:
    """The applications of constructors in an expression."""
    for node in ast.walk(expression):
        if isinstance(node, ast.Application | ast.New):
            yield node


def read_pattern(subject: ast.Expression, pattern: ast.Application, fresh: Iterable[str]) -> Iterator[BodyCase]:
    """The cases, outermost first, that a subject must pass to match a pattern; `fresh` makes names of variables."""
    names = iter(fresh)
    pending: list[tuple[ast.Expression, ast.Application]] = [(subject, pattern)]
    while pending:
        subject, pattern = pending.pop(0)
        arguments: list[ast.Expression] = []
        for argument in pattern.arguments:
            if isinstance(argument, ast.Application):
                name = ast.Name(next(names), argument.span)
                pending.append((name, argument))
                argument = name
            arguments.append(argument)
        yield BodyCase(subject, pattern.name, tuple(arguments), pattern.span)
