"""Docstrings of the public API: each has the sections that it needs, and each example runs."""

import ast
import doctest
import inspect
import textwrap
from collections.abc import Iterator
from functools import cached_property
from importlib import import_module

import pytest


def public_names(module: str) -> list[str]:
    """The names that a module exports: `__all__`, or the public names of its own and of its submodules."""
    imported = import_module(module)
    if hasattr(imported, "__all__"):
        return list(imported.__all__)
    return [
        name
        for name, value in vars(imported).items()
        if not name.startswith("_") and getattr(value, "__module__", "").startswith(module)
    ]


def public_objects() -> dict[str, object]:
    """The classes and functions of the public API by their dotted names; each once."""
    found: dict[str, object] = {}
    for module in ("scallax", "scallax.nn", "scallax.checkpoint", "torch_bridge"):
        for name in public_names(module):
            value = getattr(import_module(module), name)
            documented = inspect.isfunction(value) or (inspect.isclass(value) and hasattr(value, "__module__"))
            if documented and _is_ours(value) and not any(value is other for other in found.values()):
                found[f"{module}.{name}"] = value
    return found


def _is_ours(value: object) -> bool:
    return getattr(value, "__module__", "").partition(".")[0] in ("scallax", "torch_bridge")


OBJECTS = public_objects()


def members(name: str, value: object) -> Iterator[tuple[str, object]]:
    """The public methods and properties of a class by dotted name; those of a framework's base class are left out."""
    classes = [base for base in value.__mro__ if _is_ours(base)] if inspect.isclass(value) else []
    for key in dict.fromkeys(key for base in classes for key in vars(base) if not key.startswith("_")):
        member = inspect.getattr_static(value, key)
        function = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        if inspect.isfunction(function) or isinstance(function, property | cached_property):
            yield f"{name}.{key}", getattr(value, key)


def num_arguments(value: object) -> int:
    try:
        parameters = inspect.signature(value).parameters  # pyright: ignore[reportArgumentType]
    except ValueError:  # a constructor in C
        return 0
    return len(parameters.keys() - {"self"})


def returns_something(function: object) -> bool:
    annotation = inspect.get_annotations(function).get("return")  # pyright: ignore[reportArgumentType]
    return annotation not in (None, "None")


def raises(function: object) -> bool:
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))  # pyright: ignore[reportArgumentType]
    return any(isinstance(node, ast.Raise) for node in ast.walk(tree))


def needed_sections(value: object) -> set[str]:
    """The sections that the docstring of a class or of a function needs."""
    if inspect.isclass(value):
        is_made = (
            not issubclass(value, Exception) and num_arguments(value) and not getattr(value, "_is_protocol", False)
        )
        return {"Args:", "Example:"} if is_made else set()
    sections = {
        "Args:": num_arguments(value) > 0,
        "Returns:": returns_something(value),
        "Raises:": raises(value),
        "Example:": True,
    }
    return {section for section, is_needed in sections.items() if is_needed}


def needed_sections_of_member(value: object) -> set[str]:
    """The sections of a class's member: the summary of one that takes at most one argument says everything."""
    if not callable(value) or num_arguments(value) < 2:
        return set()
    return needed_sections(value) - {"Example:"}


@pytest.mark.parametrize("name", OBJECTS)
def test_a_public_name_is_documented(name: str):
    value = OBJECTS[name]
    lacking = []
    for path, part in [(name, value), *members(name, value)]:
        text = inspect.getdoc(part) or ""
        needed = needed_sections(part) if part is value else needed_sections_of_member(part)
        missing = sorted(needed - set(text.splitlines()))
        if missing or not text:
            lacking.append(f"{path}: {', '.join(missing) or 'no docstring'}")
    assert not lacking, "\n".join(lacking)


EXAMPLES = [name for name, value in OBJECTS.items() if ">>>" in (inspect.getdoc(value) or "")]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_example_of_a_public_name_runs(name: str):
    text = inspect.getdoc(OBJECTS[name]) or ""
    options = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    # The example imports whatever it uses.
    test = doctest.DocTestParser().get_doctest(text, {}, name, None, 0)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=options).run(test, out=report.append)
    assert not report, "".join(report)
