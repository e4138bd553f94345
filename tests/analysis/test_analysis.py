"""The analysis: golden pairs of a program and its core form, and of a wrong program and its whole error report."""

from pathlib import Path

import numpy as np
import pytest

from scallax.circuits.compile import analyse_program
from scallax.errors import ScallaxError, Source, TypeInferenceError, UnsupportedError
from scallax.language.values import ValueType
from scallax.planner.strata import stratify

FIXTURES = Path(__file__).parents[1] / "fixtures"


def _programs(stage: str) -> list[Path]:
    return sorted((FIXTURES / stage).glob("*.scl"))


@pytest.mark.parametrize("path", _programs("analysis"), ids=lambda path: path.stem)
def test_core_forms_are_as_written(path: Path):
    assert f"{analyse_program([Source(path.read_text(), path.name)])}\n" == path.with_suffix(".txt").read_text()


@pytest.mark.parametrize("path", _programs("errors"), ids=lambda path: path.stem)
def test_errors_are_as_written(path: Path):
    with pytest.raises(ScallaxError) as caught:
        analyse_program([Source(path.read_text(), path.name)])
    assert f"{type(caught.value).__name__}\n{caught.value}\n" == path.with_suffix(".txt").read_text()


def columns(program: str, given: dict[str, list[tuple]] | None = None) -> dict[str, tuple[ValueType, ...]]:
    return {relation.name: relation.columns for relation in analyse_program([Source(program)], given).relations}


@pytest.mark.parametrize("path", _programs("reports"), ids=lambda path: path.stem)
def test_problems_of_all_stages_are_one_report_in_the_order_of_the_text(path: Path):
    with pytest.raises(ScallaxError) as caught:
        analyse_program([Source(path.read_text(), path.name)])
    assert f"{type(caught.value).__name__}\n{caught.value}\n" == path.with_suffix(".txt").read_text()
    places = [diagnostic.span.start for diagnostic in caught.value.diagnostics if diagnostic.span is not None]
    assert places == sorted(places)
    assert len(places) >= 3


SOUND = """
    type p(i32), q(String), r(bound x: i32, y: i32)
    type T = A(i32) | B(T, T)
    const ONE = 1
    rel r(x, x + ONE) = x > 0
    rel s(x, n) = p(x), n := count(y: t(x, y))
    rel t(x, y) = p(x), q(y)
"""
# Each has the problems of its own name, or number.
MISTAKES = [
    "type m0(Strin)",
    "rel m1(x as i33) = p(x)",
    "const M2 = N2",
    "rel m3(x, z) = p(x)",
    "rel m4(x) = q(x), x > 1",
    "rel m5(x, z) = q(x), x + 5 == 2",
    "rel m6(x) = p(x), not m6(x)",
    "rel m7(A(x)) = case x is A(_, 7)",
    "rel m8(x) = p(x), q(y, 8)",
    "rel m9(n) = n := cuont9(x: p(x))",
    "rel m10(n) = n := sum(x: q(x))",
    "rel m11(n) = n := top<true>(x: p(x)), n > 11",
    "rel m12(n) = n := count(x: m13(x)), n > 12 rel m13(x as i32) = m12(x)",
    "query range",
    "@hiden rel m15(1)",
    "rel m16 = {(1, 2), (1, 2, 16)}",
    "rel m17(x) = p(x), $abz17(x) > 2",
    "rel 'c'::m18(1)",
    "rel m19 = {300 as u8} type m20(u8) rel m20 = {301}",
    "rel m21(x) = range<i32>(0, m21, x)",
    "rel m22(x) = p(x), x == 3000000022",
    "rel m23(_) = p(23)",
]


def reports(lines: list[str]) -> list[str]:
    """The problems of lines after the program, in order. Its own mistake has the cycles among them reported as well."""
    text = "\n".join([f"{SOUND}rel first(x) = p(y)", *lines])
    with pytest.raises(ScallaxError) as caught:
        analyse_program([Source(text)])
    first, *others = map(str, caught.value.diagnostics)
    assert "`first`" in first
    return others


def test_a_sound_program_has_no_problem():
    stratify(analyse_program([Source(SOUND)]))


@pytest.mark.parametrize("seed", range(20))
def test_problems_are_reported_as_if_each_was_the_only_one(seed: int):
    chosen = np.random.default_rng(seed).permutation(MISTAKES)[:6].tolist()
    # Alone in its own line.
    alone = [reports([""] * line + [mistake]) for line, mistake in enumerate(chosen)]
    assert all(alone)
    assert reports(chosen) == [report for found in alone for report in found]


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
    assert len(analyse_program(sources).rules) == 1
    with pytest.raises(ScallaxError) as caught:
        analyse_program([Source("rel a(", "first.scl"), Source("rel b = {", "second.scl")])
    assert "first.scl:1:6" in str(caught.value)
    assert "second.scl:1:9" in str(caught.value)


def test_a_body_of_too_many_alternatives_is_refused():
    body = ", ".join(f"(a({i}) or b({i}))" for i in range(13))
    with pytest.raises(UnsupportedError, match="8192 alternatives"):
        analyse_program([Source(f"rel r() = {body}")])


def test_a_long_conjunction_and_a_deep_chain_of_constants_are_analysed():
    body = " and ".join(f"a({i})" for i in range(2000))
    assert len(analyse_program([Source(f"rel r() = {body}")]).rules[0].body) == 2000
