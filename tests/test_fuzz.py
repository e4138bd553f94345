"""Whatever the text, an error is a `ScallaxError` with something to say, and comes in time."""

import json
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scallax.engine import analyse_program, ground_program
from scallax.errors import ScallaxError
from scallax.grounding.fixpoint import Limits
from scallax.source import Source
from tests.texts import ProgramWriter, mutate

TESTS = Path(__file__).parent
LIMITS = Limits(tuples=2_000, derivations=5_000, rounds=50, characters=10_000, seconds=2.0)
# Far above what a text takes on a busy machine; a hang takes for ever.
DEADLINE_MS = 20_000

RANDOMS = st.randoms(use_true_random=True)
# Seeds tell failing texts, which are printed; they do not shrink.
FUZZING = {
    "deadline": DEADLINE_MS,
    "database": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


class Tagged:
    """Reads every tag, so that the tagged parts of grounding run."""

    uses_tags = True
    respects_groups = True

    def prior(self, tag: float | bool) -> float:
        return float(tag)


def run(text: str) -> None:
    """Parsing, analysis, planning and grounding of every relation."""
    try:
        program = analyse_program([Source(text)])
        outputs = [relation.name for relation in program.relations]
        ground_program(program, Tagged(), [], outputs, limits=LIMITS)
    except ScallaxError as error:
        if not str(error).strip():
            pytest.fail("the error says nothing")


def written_texts() -> list[str]:
    texts = [path.read_text() for path in sorted((TESTS / "fixtures").rglob("*.scl"))]
    for path in sorted((TESTS / "conformance").rglob("*.json")):
        texts += [case["program"] for case in json.loads(path.read_text())]
    return texts


TEXTS = written_texts()


@settings(max_examples=1_000, derandomize=True, **FUZZING)
@given(RANDOMS)
def test_written_programs_raise_nothing_else(random: Random):
    run(ProgramWriter(random).program())


@settings(max_examples=1_000, derandomize=True, **FUZZING)
@given(RANDOMS)
def test_mutated_programs_raise_nothing_else(random: Random):
    run(mutate(TEXTS, random))


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
@settings(max_examples=100_000, **FUZZING)
@given(RANDOMS)
def test_many_written_programs_raise_nothing_else(random: Random):
    run(ProgramWriter(random).program())


@pytest.mark.nightly
@pytest.mark.timeout(3_600)
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


@pytest.mark.parametrize(
    "text",
    ["rel p(" + "(" * 5_000, "rel p(x) = " + "not " * 5_000 + "q(x)", "rel p(" + "-" * 5_000 + "1)"],
    ids=["parentheses", "negations", "signs"],
)
def test_deep_nesting_is_an_error_or_a_program(text: str):
    run(text)
