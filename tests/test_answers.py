"""Small programs with their right answers, as tables that a person can read: `tests/answers/*.toml`.

Each table is a list of `[[case]]` with these keys:

- `name`, and `why`: a sentence that says why the answer is right.
- `program`: the text of the program. `facts`, optional: for each relation, facts that are added after it.
- `provenance`: a list of names; the case is one test for each. `k`, optional.
- `answers`: for each relation its rows, in any order: tuples under `unit`, pairs `[tag, tuple]` elsewhere. A number
  matches to `tolerance` (default 1e-6, float32's rounding of a few operations on numbers up to 1); dates, durations
  and terms are written as text. Under `unit` in a list with other provenances, tags are left aside.
- `error`, in place of `answers`: words that the error's text must contain.
- `warns`, optional: words that a warning's text must contain. A warning that is not listed fails the test.
"""

import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from scallax import Context
from scallax.errors import ScallaxError

TABLES = sorted((Path(__file__).parent / "answers").glob("*.toml"))
TAGLESS = ("unit", "proofs")


def _read_cases() -> Iterator:
    for table in TABLES:
        for case in tomllib.loads(table.read_text())["case"]:
            for provenance in case["provenance"]:
                yield pytest.param(case, provenance, id=f"{table.stem}-{case['name']}-{provenance}")


def _run(case: dict, provenance: str) -> Context:
    context = Context(provenance, **({"k": case["k"]} if "k" in case else {}))
    context.add_program(case["program"])
    for relation, facts in case.get("facts", {}).items():
        context.add_facts(relation, [_read_fact(fact, provenance) for fact in facts])
    context.run()
    return context


def _read_fact(fact: list, provenance: str) -> tuple:
    tag, values = fact
    return tuple(values) if provenance in TAGLESS else (tag, tuple(values))


def _readable(value: object) -> object:
    return value if isinstance(value, int | float | str | bool) else str(value)


def _answers(context: Context, relation: str, provenance: str) -> dict[tuple, float | bool | None]:
    rows = {}
    for row in context.relation(relation):
        tag, values = (None, row) if provenance in TAGLESS else row
        rows[tuple(map(_readable, values))] = tag if tag is None or isinstance(tag, bool) else float(tag)
    return rows


@pytest.mark.parametrize(("case", "provenance"), list(_read_cases()))
def test_answer(case: dict, provenance: str):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if "error" in case:
            with pytest.raises(ScallaxError) as raised:
                _run(case, provenance)
            assert case["error"] in str(raised.value)
            return
        context = _run(case, provenance)
        for relation, rows in case["answers"].items():
            if rows and isinstance(rows[0][-1], list):
                wanted = {tuple(values): None if provenance in TAGLESS else tag for tag, values in rows}
            else:
                wanted = {tuple(row): None for row in rows}
            actual = _answers(context, relation, provenance)
            # A tuple whose tag is 0 may be listed or not.
            actual = {values: tag for values, tag in actual.items() if tag != 0 or values in wanted}
            assert actual.keys() == wanted.keys(), case["why"]
            tolerance = case.get("tolerance", 1e-6)
            for values, tag in wanted.items():
                close = tag if tag is None else pytest.approx(tag, rel=tolerance, abs=tolerance)
                assert actual[values] == close, (values, case["why"])
    texts = [str(warning.message) for warning in caught]
    assert any(case["warns"] in text for text in texts) if "warns" in case else not texts
