"""Predicates of Python in programs: their tuples, tags, groups and batches."""

import itertools
import math
import re
from collections import Counter
from typing import Any, TypeVar

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import scallax
import scallax.nn
from scallax import ForeignError, GroundingError, Limits, ScallaxError
from scallax.circuits.compile import analyse_program, ground_program
from scallax.errors import Source
from scallax.language.foreign import ForeignItem
from scallax.language.library import read_foreign
from scallax.provenance.traits import traits_of
from tests.language.test_foreign import tuples

U = TypeVar("U")


def test_a_predicate_is_called_once_for_every_distinct_prefix():
    calls: Counter[int] = Counter()

    @scallax.foreign_predicate
    def divisor(x: scallax.i32) -> scallax.Facts[None, tuple[scallax.i32]]:
        calls[x] += 1
        for d in range(1, x + 1):
            if x % d == 0:
                yield (d,)
                yield (d,)

    program = """
    rel n = {12, 18}
    rel reach(x) = n(x) or (reach(y) and divisor(y, x))
    rel out(x) = n(a), n(b), a != b, divisor(a, x), divisor(b, x)
    rel odd(x) = reach(x), not divisor(x, 2)
    rel same(x) = reach(x), divisor(x, x)
    """
    assert tuples(program, [divisor]) == [(d,) for d in (1, 2, 3, 6)]
    assert set(calls.values()) == {1}
    assert tuples(program, [divisor], "odd") == [(1,), (3,), (9,)]
    assert tuples(program, [divisor], "same") == tuples(program, [divisor], "reach")


RULES = """
rel out(x, z) = a(x), near(x, y), near(y, z)
rel lone(x) = a(x), not near(x, 1)
rel none(x) = a(x), not near(x, _)
rel some(x) = near(x, 2), a(x)
"""


@pytest.mark.parametrize("provenance", ["diffaddmultprob", "diffminmaxprob", "difftopkproofs"])
def test_a_tagged_predicate_is_a_relation_of_tagged_facts(provenance: str):
    facts = {0: [(0.5, 1), (0.25, 2)], 1: [(0.75, 1), (None, 2)], 2: [(1.0, 0), (0.125, 1)]}

    @scallax.foreign_predicate
    def near(x: scallax.i32) -> scallax.Facts[float, tuple[scallax.i32]]:
        for tag, y in facts.get(x, []):
            yield (tag, (y,)) if tag is not None else (y,)

    written = ", ".join(
        f"({x}, {y})" if tag is None else f"{tag}::({x}, {y})" for x, found in facts.items() for tag, y in found
    )
    a = np.array([[0.5, 0.25, 0.75, 0.125]], np.float32)
    assert_same_answers(RULES, near, written, a, provenance=provenance, k=5)


def assert_same_answers(rules: str, predicate: ForeignItem, facts: str, a: np.ndarray, **options) -> None:
    """Equal tuples, tags and gradients with a predicate and, in its place, a relation of the facts."""
    name = str(predicate).split()[1].partition("(")[0]
    relations = re.findall(r"rel (\w+)\(", rules)
    renamed = re.sub(rf"\b({'|'.join([*relations, name])})\(", r"\1_2(", rules)
    reasoner = scallax.Reasoner(
        f"{rules}  {renamed}  rel {name}_2 = {{{facts}}}",
        foreign=[predicate],
        input_mappings={"a": range(a.shape[1])},
        output_mappings=dict.fromkeys([*relations, *(f"{relation}_2" for relation in relations)]),
        **options,
    )
    values, residuals = reasoner.evaluator.forward((a,))
    half = values.shape[1] // 2
    assert [output.tuples for output in reasoner.compiled_program.outputs[: len(relations)]] == [
        output.tuples for output in reasoner.compiled_program.outputs[len(relations) :]
    ]
    assert half >= len(relations)
    # The same numbers are multiplied and added in another order.
    np.testing.assert_allclose(values[:, :half], values[:, half:], rtol=1e-5, atol=1e-6)
    weights = np.arange(1, half + 1, dtype=np.float32)
    zeros = np.zeros(half, np.float32)
    (one,), _ = reasoner.evaluator.pull_back((a,), residuals, np.concatenate([weights, zeros])[None])
    (other,), _ = reasoner.evaluator.pull_back((a,), residuals, np.concatenate([zeros, weights])[None])
    assert np.any(np.asarray(one) != 0)
    np.testing.assert_allclose(np.asarray(one), np.asarray(other), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("has_multivalued_variables", [pytest.param(False, marks=pytest.mark.nightly), True])
def test_exclusive_tags_are_an_exclusive_set(has_multivalued_variables: bool):
    @scallax.foreign_predicate
    def color(x: scallax.i32) -> scallax.Facts[tuple[float, int], tuple[scallax.i32, scallax.String]]:
        yield (0.3, 0), (x, "red")
        yield (0.6, 0), (x, "green")
        yield (0.5, 7), (x, "blue")
        yield True, (x, "white")

    rules = """
    rel both(c, d) = a(x), color(x, _, c), color(x, _, d), c < d
    rel any() = a(x), (color(x, _, "red") or color(x, _, "green"))
    """
    facts = '0.3::(0, 0, "red"); 0.6::(0, 0, "green")'
    facts = f'{facts}}}  rel color_2 = {{0.5::(0, 0, "blue"), (0, 0, "white")'
    assert_same_answers(
        rules, color, facts, np.array([[0.5]], np.float32), k=3, wmc_with_disjunctions=has_multivalued_variables
    )


def test_certain_and_impossible_tags():
    @scallax.foreign_predicate
    def choice(x: scallax.i32) -> scallax.Facts[bool, tuple[scallax.i32]]:
        yield True, (x,)
        yield False, (x + 1,)
        yield None, (x + 2,)

    reasoner = scallax.Reasoner(
        "rel out(y) = choice(1, y)", foreign=[choice], output_relation="out", provenance="diffminmaxprob"
    )
    found, values = reasoner()
    assert found == [(1,), (3,)]
    np.testing.assert_array_equal(values, [[1, 1]])


def test_predicates_of_given_types():
    @scallax.foreign_predicate(name="parts", type_params=[scallax.String])
    def characters(text: str) -> scallax.Facts[None, tuple[scallax.char]]:
        yield from ((c,) for c in text)

    @scallax.foreign_predicate(name="parts", type_params=["u8"])
    def bits(x: scallax.u8) -> scallax.Facts[None, tuple[scallax.u8]]:
        yield from ((i,) for i in range(8) if x >> i & 1)

    @scallax.foreign_predicate
    def twice(x: U) -> scallax.Facts[None, tuple[U, U]]:
        yield (x, x)

    program = 'rel out(c) = parts<String>("ab", c)  rel b(i) = parts<u8>(5, i)  rel t(x, y) = twice<f32>(0.5, x, y)'
    assert tuples(program, [characters, bits, twice]) == [("a",), ("b",)]
    assert tuples(program, [characters, bits, twice], "b") == [(0,), (2,)]
    assert tuples(program, [characters, bits, twice], "t") == [(0.5, 0.5)]
    with pytest.raises(
        ScallaxError, match=r"`parts` needs its types\n.*\n.*\nhint: there is `parts<String>`, `parts<u8>`"
    ):
        tuples("rel out(i) = parts(5, i)", [characters, bits])
    with pytest.raises(ScallaxError, match=r"`parts` is not of these types"):
        tuples("rel out(i) = parts<i32>(5, i)", [characters, bits])


def test_batches_of_inputs_are_asked_once_for_each_tuple():
    batches = []

    @scallax.foreign_predicate(batched=True)
    def parent(rows: scallax.BatchedTuples[scallax.i32, str]) -> scallax.BatchedFacts[None, tuple[scallax.i32]]:
        batches.append(sorted(rows))
        return ([(x // 2,)] if x > 1 else [] for x, _ in rows)  # pyright: ignore[reportReturnType]

    program = 'rel a = {9, 10, 11}\nrel a(y) = a(x), parent(x, "s", y)\nrel out(x) = a(x), x < 9'
    assert tuples(program, [parent], "out") == [(1,), (2,), (4,), (5,)]
    assert batches == [[(9, "s"), (10, "s"), (11, "s")], [(4, "s"), (5, "s")], [(2, "s")], [(1, "s")]]


def fails_on_two(rows: list[tuple[int]]):
    return [[(1,)] if x != 2 else 1 // 0 for (x,) in rows]


@pytest.mark.parametrize(
    ("function", "message", "kept"),
    [
        (lambda rows: [[(1,)]], r"`p` returned the facts of 1 tuples of inputs for a batch of 3\n", []),
        (
            lambda rows: itertools.repeat([]),
            r"`p` returned the facts of over 3 tuples of inputs for a batch of 3\n",
            [],
        ),
        (lambda rows: 5, r"`p\(\)` returned 5; it must return a list with the facts of each tuple of inputs\n", []),
        (lambda rows: [[(1,)], 5, []], r"`p\(2\)` returned 5; its facts must be a list of tuples\n", [(1, 1)]),
        (lambda rows: [[(1,)], [("a",), (2,)], []], r'`p\(2\)` yielded "a", which is no `i32`\n', [(1, 1), (2, 2)]),
        (fails_on_two, r"`p` raised ZeroDivisionError", []),
    ],
)
def test_batches_that_fail_are_told_or_dropped(function, message, kept):
    options: dict[str, Any] = {"name": "p", "batched": True, "input_arg_types": [int], "output_arg_types": [int]}
    program = "rel a = {1, 2, 3}\nrel out(x, y) = a(x), p(x, y)"
    with pytest.raises(ForeignError, match=message):
        tuples(program, [scallax.foreign_predicate(**options)(function)])
    assert tuples(program, [scallax.foreign_predicate(**options, on_error="drop")(function)]) == kept


def test_a_predicate_of_too_many_rows_is_refused():
    @scallax.foreign_predicate
    def below(x: scallax.i32) -> scallax.Facts[None, tuple[scallax.i32]]:
        yield from range(x)  # pyright: ignore[reportReturnType]

    program = analyse_program([Source("rel a = {3, 4}\nrel b(y) = a(x), below(x, y)")], library=read_foreign([below]))
    with pytest.raises(GroundingError) as caught:
        ground_program(program, traits_of("unit"), [], ["b"], limits=Limits(derivations=6))
    assert str(caught.value) == (
        "<program>:2:18: `below` in this rule gives over 6 rows\n"
        "  rel b(y) = a(x), below(x, y)\n"
        "                   ^^^^^^^^^^^\n"
        "hint: narrow its inputs, or raise the limit: `limits=scallax.Limits(derivations=…)`, `--limit-derivations` on "
        "the command line"
    )


def test_a_predicate_that_never_ends_is_refused():
    @scallax.foreign_predicate
    def naturals() -> scallax.Facts[None, tuple[scallax.u64]]:
        yield from ((i,) for i in itertools.count())

    with pytest.raises(ForeignError, match=r"`naturals\(\)` yielded over 1,000,000 tuples"):
        tuples("rel out(i) = naturals(i), i < 3", [naturals])


@pytest.mark.parametrize("tag", [torch.tensor(0.5, requires_grad=True), jnp.float32(0.5), 1.5, math.nan, "0.5"])
def test_tags_are_constants(tag: object):
    @scallax.foreign_predicate
    def p() -> scallax.Facts[float, tuple[scallax.i32]]:
        yield tag, (1,)  # pyright: ignore[reportReturnType]

    with pytest.raises(ForeignError, match=r"`p\(\)` yielded the tag .*\n.*\n.*\nhint: a tag is a number in \[0, 1\]"):
        tuples("rel out(x) = p(x)", [p])
