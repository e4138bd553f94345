"""The analysis: golden pairs of a program and its core form, and of a wrong program and its whole error report."""

from pathlib import Path

import pytest

from scallax.analysis.lower import analyse
from scallax.errors import ScallaxError, TypeInferenceError, UnsupportedError
from scallax.source import Source
from scallax.values import ValueType

FIXTURES = Path(__file__).parent / "fixtures"


def _programs(stage: str) -> list[Path]:
    return sorted((FIXTURES / stage).glob("*.scl"))


@pytest.mark.parametrize("path", _programs("analysis"), ids=lambda path: path.stem)
def test_core_forms_are_as_written(path: Path):
    assert f"{analyse([Source(path.read_text(), path.name)])}\n" == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", _programs("errors"), ids=lambda path: path.stem)
def test_errors_are_as_written(path: Path):
    with pytest.raises(ScallaxError) as caught:
        analyse([Source(path.read_text(), path.name)])
    assert f"{type(caught.value).__name__}\n{caught.value}\n" == path.with_suffix(".txt").read_text()


def columns(program: str, given: dict[str, list[tuple]] | None = None) -> dict[str, tuple[ValueType, ...]]:
    return {relation.name: relation.columns for relation in analyse([Source(program)], given).relations}


def test_given_facts_count_in_inference():
    program = "rel r(x, y) = a(x), b(y)"
    assert columns(program, {"a": [("x",)], "b": [(1,), (1.5,)]}) == {
        "a": (ValueType.STRING,),
        "b": (ValueType.F32,),
        "r": (ValueType.STRING, ValueType.F32),
    }
    assert columns(f"type a(char)\n{program}", {"a": [("x",)], "b": [(True,)]})["b"] == (ValueType.BOOL,)
    assert columns(program, {"a": [(-1,)], "nowhere": [(1,)]})["a"] == (ValueType.I32,)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"a": [("x",)]}, "column 1 of `a` is `u8`, but a given fact has 'x'"),
        ({"a": [(-1,)]}, "column 1 of `a` is `u8`, but a given fact has -1"),
        ({"a": [(1, 2)]}, "`a` has 1 column, but a given fact has 2: (1, 2)"),
    ],
)
def test_given_facts_of_another_type_are_an_error(given, message):
    with pytest.raises(TypeInferenceError) as caught:
        columns("type a(u8)\nrel r(x) = a(x)", given)
    assert str(caught.value).startswith(message)


def test_sources_are_one_program_and_their_errors_one_report():
    sources = [Source("rel a(x) = b(x)", "first.scl"), Source("rel b = {1}", "second.scl")]
    assert len(analyse(sources).rules) == 1
    with pytest.raises(ScallaxError) as caught:
        analyse([Source("rel a(", "first.scl"), Source("rel b = {", "second.scl")])
    assert "first.scl:1:6" in str(caught.value)
    assert "second.scl:1:9" in str(caught.value)


def test_a_body_of_too_many_alternatives_is_refused():
    body = ", ".join(f"(a({i}) or b({i}))" for i in range(13))
    with pytest.raises(UnsupportedError, match="8192 alternatives"):
        analyse([Source(f"rel r() = {body}")])


def test_a_long_conjunction_and_a_deep_chain_of_constants_are_analysed():
    body = " and ".join(f"a({i})" for i in range(2000))
    assert len(analyse([Source(f"rel r() = {body}")]).rules[0].body) == 2000
