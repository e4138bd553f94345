"""Sums of facts that are joined once: the same values and gradients as from every combination, of fewer derivations."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax import Reasoner
from scallax.circuits.compile import analyse_program
from scallax.errors import Source
from scallax.planner.plan import plan
from tests.nightly import with_rest_at_night

TYPES = "".join(f"type {name}(x: i32)\n" for name in "abcd")
RULES = {
    "sum": "rel out(x + y + z) = a(x), b(y), c(z)",
    "difference of products": "rel out(x * y - z * w) = a(x), b(y), c(z), d(w)",
    "in a condition": "rel out(z) = a(x), b(y), c(z), x + y > z, x != y",
    "twice": "rel out(x + y, (x + y) * z) = a(x), b(y), c(z)",
    "whole column": "rel out(x - 2 * y, z) = a(x), b(y), c(z), d(_)",
}


def _reasoner(rule: str, provenance: str, size: int = 4, **options) -> Reasoner:
    mappings = {name: range(size) for name in "abcd" if f"{name}(" in rule}
    return Reasoner(TYPES + rule, provenance=provenance, input_mappings=mappings, output_relation="out", **options)


def _inputs(reasoner: Reasoner, batch: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    shapes = {name: (batch, *mapping.shape) for name, mapping in reasoner.specification.input_mappings}
    return {name: rng.random(shape, np.float32) for name, shape in shapes.items()}


def _relations(program: str, **options) -> list[str]:
    planned = plan(analyse_program([Source(program)]), ["out"], **options)
    return [relation.name for relation in planned.relations]


@pytest.mark.parametrize(
    ("rule", "provenance"),
    [
        *with_rest_at_night(
            ((rule, "difftopkproofs") for rule in RULES.values()), [(RULES["twice"], "difftopkproofs")]
        ),
        *((RULES["twice"], provenance) for provenance in ("minmaxprob", "diffmaxmultprob", "bool")),
    ],
)
def test_values_and_gradients_are_those_of_every_combination(rule: str, provenance: str):
    reasoner = _reasoner(rule, provenance)
    # A limit of rounds keeps the rules as they are written.
    plain = _reasoner(rule, provenance, iter_limit=100)
    inputs = _inputs(reasoner)
    (tuples, values), (expected_tuples, expected) = reasoner(**inputs), plain(**inputs)
    assert tuples == expected_tuples
    # The same proofs, whose factors are multiplied in another order.
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    if provenance == "bool":
        return
    weights = np.linspace(0.5, 1.5, len(tuples), dtype=np.float32)

    def total(reasoner: Reasoner):
        return jax.grad(lambda inputs: (reasoner(**inputs)[1] @ weights).sum())(inputs)

    found, wanted = total(reasoner), total(plain)
    for name in inputs:
        np.testing.assert_allclose(found[name], wanted[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_values_are_those_of_the_possible_worlds(rule: str):
    # Two facts in each relation have at most 16 combinations, so no proof is left out.
    reasoner = _reasoner(rule, "topkproofs", size=2, k=16)
    inputs = _inputs(reasoner)
    tuples, values = reasoner(**inputs)
    expected = {derived: np.zeros(3) for derived in tuples}
    facts = np.stack(list(inputs.values())).astype(float)
    for bits in itertools.product((False, True), repeat=2 * len(inputs)):
        world = np.array(bits).reshape(len(inputs), 1, 2)
        weight = np.where(world, facts, 1 - facts).prod((0, 2))
        combinations = itertools.product(*(np.flatnonzero(row).tolist() for row in world))
        derived = {each for chosen in combinations for each in _derive(rule, dict(zip(inputs, chosen, strict=True)))}
        for each in derived:
            expected[each] += weight
    # Rounding: sums over 16 proofs.
    np.testing.assert_allclose(values, np.stack(list(expected.values()), 1), rtol=1e-5)


def test_the_sum_of_many_digits_needs_no_combinations():
    names = [f"d{i}" for i in range(8)]
    digits = [f"x{i}" for i in range(8)]
    program = "".join(f"type {name}(x: i32)\n" for name in names)
    program += f"rel out({' + '.join(digits)}) = {', '.join(map('{}({})'.format, names, digits))}"
    mappings = {name: range(10) for name in names}
    reasoner = Reasoner(program, provenance="minmaxprob", input_mappings=mappings, output_relation="out")
    inputs: dict[str, Any] = {
        name: np.random.default_rng(i).random((2, 10), np.float32) for i, name in enumerate(names)
    }
    expected = np.full((2, 1), np.inf, np.float32)
    for array in inputs.values():
        joined = np.full((2, expected.shape[1] + 9), -np.inf, np.float32)
        for digit in range(10):
            part = joined[:, digit : digit + expected.shape[1]]
            np.maximum(part, np.minimum(expected, array[:, digit : digit + 1]), out=part)
        expected = joined
    tuples, values = reasoner(**inputs)
    assert tuples == [(total,) for total in range(73)]
    np.testing.assert_array_equal(values, expected)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_gradients_are_finite_at_the_ends(value: float):
    reasoner = _reasoner(RULES["sum"], "difftopkproofs")
    inputs = {name: jnp.full((2, 4), value) for name in reasoner.evaluator.layout.mappings}
    gradient = jax.grad(lambda inputs: reasoner(**inputs)[1].sum())(inputs)
    assert all(bool(jnp.isfinite(part).all()) for part in gradient.values())


def test_facts_per_sample_are_summed_alike():
    mapped = _reasoner(RULES["sum"], "difftopkproofs")
    inputs = _inputs(mapped)
    free = Reasoner(TYPES + RULES["sum"], output_mapping=("out", list(range(10))))
    facts: dict[str, Any] = {
        name: [[(p, (x,)) for x, p in enumerate(row)] for row in array] for name, array in inputs.items()
    }
    np.testing.assert_allclose(free(**facts), mapped(**inputs)[1], rtol=1e-6)


def test_each_sum_is_a_relation():
    program = TYPES + "rel out(x + y + z + w) = a(x), b(y), c(z), d(w)"
    assert _relations(program, eliminate=True) == ["a", "b", "c", "d", "out", "out#0.0", "out#0.1"]
    assert _relations(program) == ["a", "b", "c", "d", "out"]


@pytest.mark.parametrize(
    "rule",
    [
        # Facts of one relation may be the same fact, and what rules derive may share facts.
        "rel out(x + y + z) = a(x), a(y), c(z)",
        "rel e(x) = a(x)\nrel out(x + y + z) = e(x), b(y), c(z)",
        # Every binding is a random variable of its own.
        "rel 0.5::out(x + y + z) = a(x), b(y), c(z)",
        # Both are needed, or not in every case.
        "rel out(x + y, x) = a(x), b(y), c(z)",
        "rel out(if z > 0 then x / y else z) = a(x), b(y), c(z)",
        "rel out(x + y) = a(x), b(y)",
        # An error must not be met before what keeps it away.
        "rel out(x / y + z) = a(x), b(y), c(z)",
        # A sum of floats depends on the order.
        "type f(x: f32), g(x: f32)\nrel out(x + y) = f(x), g(y), c(z)",
        "rel out(x + y + z) = a(x), b(y), c(z), not d(z)",
    ],
)
def test_other_rules_stay_as_they_are(rule: str):
    assert not [name for name in _relations(TYPES + rule, eliminate=True) if "#" in name]


def _derive(rule: str, values: dict[str, int]) -> list[tuple[int, ...]]:
    """The tuples that a rule of `RULES` derives from one fact of each relation."""
    x, y, z, w = (values.get(name, 0) for name in "abcd")
    match next(name for name, text in RULES.items() if text == rule):
        case "sum":
            return [(x + y + z,)]
        case "difference of products":
            return [(x * y - z * w,)]
        case "in a condition":
            return [(z,)] if x + y > z and x != y else []
        case "twice":
            return [(x + y, (x + y) * z)]
        case _:
            return [(x - 2 * y, z)]
