"""Small programs with their right answers, as tables that a person can read: `tests/answers/*.toml`.

Each table is a list of `[[case]]` with these keys:

- `name`, and `why`: a sentence that says why the answer is right.
- `program`: the text of the program. `facts`, optional: for each relation, facts that are added after it.
- `samples`, optional: a list of tables with `facts` and `answers` of their own. Each is answered alone by a context,
  and all together by one call with facts per sample.
- `iter_limit`, optional.
- `provenance`: a list of names; the case is one test for each. `k`, optional.
- `answers`: for each relation its rows, in any order: tuples under `unit`, pairs `[tag, tuple]` elsewhere. A number
  matches to `tolerance` (default 1e-6, float32's rounding of a few operations on numbers up to 1); dates, durations
  and terms are written as text. Under `unit` in a list with other provenances, tags are left aside.
- `error`, in place of `answers`: words that the error's text must contain.
- `warns`, optional: words that a warning's text must contain. A warning that is not listed fails the test.
"""

import tomllib
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from scallax import Context, Reasoner
from scallax.errors import ScallaxError

TABLES = sorted((Path(__file__).parent / "answers").glob("*.toml"))
TAGLESS = ("unit", "proofs")

Rows = dict[tuple, float | bool | None]


def _read_cases() -> Iterator:
    for table in TABLES:
        for case in tomllib.loads(table.read_text())["case"]:
            for provenance in case["provenance"]:
                yield pytest.param(case, provenance, id=f"{table.stem}-{case['name']}-{provenance}")


def _run(case: dict, provenance: str, facts: Mapping[str, list]) -> Context:
    context = Context(provenance, **({"k": case["k"]} if "k" in case else {}))
    context.add_program(case["program"])
    for relation, rows in facts.items():
        context.add_facts(relation, [_read_fact(row, provenance) for row in rows])
    context.set_iter_limit(case.get("iter_limit"))
    context.run()
    return context


def _read_fact(fact: list, provenance: str) -> tuple:
    tag, values = fact
    return tuple(values) if provenance in TAGLESS else (tag, tuple(values))


def _readable(value: object) -> object:
    return value if isinstance(value, int | float | str | bool) else str(value)


def _answers(context: Context, relation: str, provenance: str) -> Rows:
    rows = {}
    for row in context.relation(relation):
        tag, values = (None, row) if provenance in TAGLESS else row
        rows[tuple(map(_readable, values))] = tag if tag is None or isinstance(tag, bool) else float(tag)
    return rows


def _sample_answers(case: dict, provenance: str) -> Iterator[dict[str, Rows]]:
    """The answers of each sample, all of them from one call."""
    samples = case["samples"]
    asked = dict.fromkeys(relation for sample in samples for relation in sample["answers"])
    options = {"k": case["k"]} if "k" in case else {}
    reasoner = Reasoner(
        case["program"],
        provenance=provenance,
        output_mappings=asked,
        iter_limit=case.get("iter_limit"),
        **options,
    )
    names = dict.fromkeys(relation for sample in samples for relation in sample["facts"])
    given: dict[str, Any] = {
        name: [[_read_fact(row, provenance) for row in sample["facts"].get(name, [])] for sample in samples]
        for name in names
    }
    found = reasoner(**given)
    for number in range(len(samples)):
        answers = {}
        for relation, (tuples, values) in found.items():
            tags = zip(tuples, values[number].tolist(), strict=True)
            # A tuple of other samples is 0 in a sample that does not derive it.
            rows = {values: None if provenance in TAGLESS else tag for values, tag in tags if tag}
            answers[relation] = rows
        yield answers


def _check(case: dict, provenance: str, relation: str, rows: list, actual: Rows) -> None:
    if rows and isinstance(rows[0][-1], list):
        wanted = {tuple(values): None if provenance in TAGLESS else tag for tag, values in rows}
    else:
        wanted = {tuple(row): None for row in rows}
    # A tuple whose tag is 0 may be listed or not.
    actual = {values: tag for values, tag in actual.items() if tag != 0 or values in wanted}
    assert actual.keys() == wanted.keys(), (relation, case["why"])
    tolerance = case.get("tolerance", 1e-6)
    for values, tag in wanted.items():
        close = tag if tag is None else pytest.approx(tag, rel=tolerance, abs=tolerance)
        assert actual[values] == close, (values, case["why"])


@pytest.mark.parametrize(("case", "provenance"), list(_read_cases()))
def test_answer(case: dict, provenance: str):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if "error" in case:
            with pytest.raises(ScallaxError) as raised:
                _run(case, provenance, case.get("facts", {}))
            assert case["error"] in str(raised.value)
            return
        for sample in case.get("samples", [case]):
            context = _run(case, provenance, sample.get("facts", {}))
            for relation, rows in sample["answers"].items():
                _check(case, provenance, relation, rows, _answers(context, relation, provenance))
        if "samples" in case:
            for sample, answers in zip(case["samples"], _sample_answers(case, provenance), strict=True):
                for relation, rows in sample["answers"].items():
                    _check(case, provenance, relation, rows, answers[relation])
    texts = [str(warning.message) for warning in caught]
    assert any(case["warns"] in text for text in texts) if "warns" in case else not texts
