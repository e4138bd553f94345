"""For any text, an error is a `ScallaxError` with something to say, and nothing hangs."""

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scallax.circuits.compile import analyse_program, ground_program
from scallax.context.checked_programs import file_facts
from scallax.errors import ScallaxError, Source
from scallax.grounding.limits import Limits
from scallax.provenance.traits import Traits
from scallax.syntax.imports import read_imports
from tests.texts import ProgramWriter, mutate

TESTS = Path(__file__).parent
LIMITS = Limits(tuples=2_000, derivations=5_000, rounds=50, characters=10_000, seconds=2.0)

RANDOMS = st.randoms(use_true_random=True)
# Seeds tell failing texts, which are printed; they do not shrink.
FUZZING = {
    # A hang takes for ever, which ends the run: how long a text takes depends on how busy the machine is.
    "deadline": None,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


# Reads every tag, so that the tagged parts of grounding run.
TAGGED = Traits("tagged", keeps_bool_tags=True, uses_exclusion=True, is_order_sensitive=False, is_distributive=True)


def run(text: str) -> None:
    """Imports, parsing, analysis, files, planning and grounding of every relation."""
    try:
        source = Source(text)
        program = analyse_program([*read_imports([source]), source])
        outputs = [relation.name for relation in program.relations]
        ground_program(program, TAGGED, file_facts(program), outputs, limits=LIMITS)
    except ScallaxError as error:
        if not str(error).strip():
            pytest.fail("the error says nothing")


def written_texts() -> list[str]:
    texts = [path.read_text() for path in sorted((TESTS / "fixtures").rglob("*.scl"))]
    for path in sorted((TESTS / "conformance").rglob("*.json")):
        texts += [case["program"] for case in json.loads(path.read_text())]
    return texts


TEXTS = written_texts()


@settings(max_examples=500, derandomize=True, **FUZZING)
@given(RANDOMS)
def test_written_programs_raise_nothing_else(random: Random):
    run(ProgramWriter(random).program())


@settings(max_examples=1_000, derandomize=True, **FUZZING)
@given(RANDOMS)
def test_mutated_programs_raise_nothing_else(random: Random):
    run(mutate(TEXTS, random))


@pytest.mark.nightly
@settings(max_examples=100_000, **FUZZING)
@given(RANDOMS)
def test_many_written_programs_raise_nothing_else(random: Random):
    run(ProgramWriter(random).program())


@pytest.mark.nightly
@settings(max_examples=100_000, **FUZZING)
@given(RANDOMS)
def test_many_mutated_programs_raise_nothing_else(random: Random):
    run(mutate(TEXTS, random))


def test_most_written_programs_are_accepted():
    accepted = 0
    for seed in range(200):
        try:
            analyse_program([Source(ProgramWriter(Random(seed)).program())])
        except ScallaxError:
            continue
        accepted += 1
    assert accepted >= 20, f"{accepted} of 200"


NESTED = {
    "parentheses": ("rel q(1) rel p(x) = q(x), x == ", "(", "x", ")", ""),
    "negations": ("rel q(1) rel p(x) = q(x), ", "not ", "q(x)", "", ""),
    "signs": ("rel p(", "-", "1", "", ")"),
    "sums": ("rel q(1) rel p(x", " + x", "", "", ") = q(x)"),
    "equalities": ("rel q(1) rel p(x) = q(y), y == x", " + 1", "", "", ""),
    "conditionals": ("rel q(1) rel p(", "if x == 1 then 1 else ", "x", "", ") = q(x)"),
    "casts": ("rel q(1) rel p(x", " as i64 as i32", "", "", ") = q(x)"),
    "conjunctions": ("rel q(1) rel p(x) = ", "(q(x) and ", "q(x)", ")", ""),
    "aggregates": ("rel q(1) rel p(x) = ", "x := count(x: ", "q(x)", ")", ""),
    "functions": ("rel q(1) rel p(", "$abs(", "x", ")", ") = q(x)"),
    "constructors": ("rel q(1) rel p(", "f(", "x", ")", ") = q(x)"),
    "lists": ("@a(", "[", "", "]", ") rel q(1)"),
}


@pytest.mark.parametrize("depth", [30, 90, 150, 190, 5_000])
@pytest.mark.parametrize("name", NESTED)
def test_deep_nesting_is_an_error_or_a_program(name: str, depth: int):
    start, opening, middle, closing, end = NESTED[name]
    run(start + opening * depth + middle + closing * depth + end)


@pytest.mark.parametrize("depth", [50, 180])
def test_long_sums_are_computed(depth: int):
    text = f"rel q(1) rel p(x{' + x' * (depth - 1)}) = q(x)"
    assert ground_program(analyse_program([Source(text)]), TAGGED, [], ["p"]).tuples("p") == [(depth,)]
