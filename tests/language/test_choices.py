"""Alternatives: heads of which one holds, heads that share an event, and exclusive elements that are computed."""

import pytest

from scallax.reasoner.reasoner import Reasoner


def values(program: str, provenance: str = "topkproofs", **options) -> dict[str, dict[tuple, float]]:
    reasoner = Reasoner(program, provenance=provenance, k=20, **options)
    results = reasoner()
    results = results if isinstance(results, dict) else {reasoner.compiled_program.outputs[0].relation: results}
    return {name: dict(zip(tuples, found.tolist()[0], strict=True)) for name, (tuples, found) in results.items()}


CHOICE = """
    rel 0.5::v(1)
    rel {on(x); off(x); open(x)} = v(x)
    rel both(x) = on(x), off(x)
    rel either(x) = on(x) or off(x)
    query on query off query both query either
"""


def test_alternatives_of_different_relations_exclude_each_other():
    found = values(CHOICE)
    assert found["on"] == {(1,): pytest.approx(0.5)}
    assert found["off"] == {(1,): pytest.approx(0.5)}
    assert found["both"].get((1,), 0.0) == 0.0


def test_alternatives_are_uniform_where_groups_are_counted():
    found = values(CHOICE, wmc_with_disjunctions=True)
    assert found["on"] == {(1,): pytest.approx(0.5 / 3)}
    assert found["either"] == {(1,): pytest.approx(0.5 * 2 / 3)}


def test_each_binding_chooses_for_itself():
    program = """
        rel v = {1, 2}
        rel {c(x, 0); c(x, 1)} = v(x)
        rel same() = c(1, a), c(2, a)
        rel differ() = c(1, a), c(2, b), a != b
        query same query differ
    """
    found = values(program, wmc_with_disjunctions=True)
    assert found == {"same": {(): pytest.approx(0.5)}, "differ": {(): pytest.approx(0.5)}}


def test_alternatives_in_a_recursion():
    program = """
        rel start(0)
        rel at(x) = start(x)
        rel {at(x + 1); stop(x)} = at(x), x < 3
        query at query stop
    """
    found = values(program, wmc_with_disjunctions=True)
    assert found["at"] == {(n,): pytest.approx(0.5**n) for n in range(4)}
    assert found["stop"] == {(n,): pytest.approx(0.5 ** (n + 1)) for n in range(3)}


@pytest.mark.parametrize("head", ["{a(x), b(x)}", "a(x) and b(x)"])
def test_heads_of_a_tagged_rule_share_its_event(head: str):
    program = (
        f"rel v = {{1, 2}}\nrel 0.3::{head} = v(x)\nrel c(x) = a(x), b(x)\nrel d(x) = a(x), not b(x)\nquery c query d"
    )
    found = values(program)
    assert found["c"] == {(1,): pytest.approx(0.3), (2,): pytest.approx(0.3)}
    assert all(value == pytest.approx(0) for value in found["d"].values())


def test_a_tagged_disjunction():
    program = "rel v = {1}\nrel 0.4::{a(x); b(x)} = v(x)\nquery a query b"
    assert values(program) == {"a": {(1,): pytest.approx(0.4)}, "b": {(1,): pytest.approx(0.4)}}
    counted = values(program, wmc_with_disjunctions=True)
    assert counted == {"a": {(1,): pytest.approx(0.2)}, "b": {(1,): pytest.approx(0.2)}}


def test_exclusive_elements_that_are_computed():
    program = """
        const K = 3
        rel c = {0.3::(K + 1); 0.6::K}
        rel both() = c(3), c(4)
        query c query both
    """
    found = values(program, wmc_with_disjunctions=True)
    assert found["c"] == {(3,): pytest.approx(0.6), (4,): pytest.approx(0.3)}
    assert found["both"].get((), 0.0) == 0.0


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (("0.5 * 0.5", "0.1 + 0.1"), (0.25, 0.2)),
        (("P", "1.0 - P"), (0.25, 0.75)),
        (("1 / 4.0", "(if P < 0.5 then 0.5 else 0.1)"), (0.25, 0.5)),
        (("7 / 2 - 3", "-7 % 4 + 3"), (0.0, 0.0)),
        (("(1 as f32) / 8.0", "!(P < 0.1) && true"), (0.125, 1.0)),
    ],
)
def test_tags_of_alternatives_are_computed(tags: tuple[str, str], expected: tuple[float, float]):
    program = f"const P = 0.25\nrel c = {{{tags[0]}::1; {tags[1]}::(1 + 1)}}\nquery c"
    assert values(program, "minmaxprob") == {"c": {(1,): pytest.approx(expected[0]), (2,): pytest.approx(expected[1])}}
