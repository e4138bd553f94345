"""Values and gradients of whole programs against possible worlds and finite differences."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax.circuits.compile import analyse_program
from scallax.errors import Source
from scallax.reasoner.reasoner import Reasoner
from tests.nightly import with_rest_at_night
from tests.oracles import naive_datalog

# The input relation is `f`, the output relation `out`. Few enough proofs for k = 10, which inclusion-exclusion counts
# (more are counted by decisions), few enough facts for all worlds.
PROGRAMS = {
    "disjunction": ("rel out(x) = f(x, y)", [(0, 1), (0, 2), (1, 2)]),
    "conjunction": ("rel out(x, z) = f(x, y), f(y, z)", [(0, 1), (1, 2), (0, 2), (2, 2)]),
    "shared": ("rel p(x) = f(x, _)\nrel out() = p(0), p(1)\nrel out() = f(0, 2), f(2, 1)", [(0, 2), (1, 1), (2, 1)]),
    "negation": ("rel g = {0, 1, 2}\nrel out(x) = g(x), not f(x, _)", [(0, 1), (0, 2), (1, 2)]),
    "double_negation": ("rel p(x) = f(x, 1), not f(1, x)\nrel out() = f(2, 2), not p(_)", [(0, 1), (1, 0), (2, 2)]),
    "path": (
        "rel out(x, y) = f(x, y)\nrel out(x, z) = out(x, y), f(y, z)",
        [(0, 1), (1, 2), (2, 0), (1, 0)],
    ),
    "arithmetic": ("rel out(x + y) = f(0, x), f(1, y), x < 3", [(0, 1), (0, 2), (1, 1), (1, 0), (0, 3)]),
    "mutual": (
        "rel even(0) = f(0, 0)\nrel odd(y) = even(x), f(x, y)\nrel even(y) = odd(x), f(x, y)\nrel out(x) = even(x)",
        [(0, 0), (0, 1), (1, 2), (2, 0), (1, 0)],
    ),
}
# The other differentiable provenances are those of `tests/provenance/test_laws.py`.
DIFFERENTIABLE = ["diffminmaxprob", "diffaddmultprob", "difftopkproofs"]


def reasoner(name: str, **options) -> Reasoner:
    program, facts = PROGRAMS[name]
    return Reasoner(program, input_mappings={"f": facts}, output_mapping=("out", None), **options)


def by_worlds(name: str, outputs: list[tuple], p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The probability of each output, and its derivatives `[outputs, facts]`, by adding up all worlds."""
    text, facts = PROGRAMS[name]
    program = analyse_program([Source(text)], {"f": facts})
    given: dict[str, set[tuple]] = {}
    for fact in program.facts:
        given.setdefault(fact.relation, set()).add(fact.values)
    values, gradient = np.zeros(len(outputs)), np.zeros((len(outputs), len(facts)))
    for world in itertools.product([False, True], repeat=len(facts)):
        chosen = {fact for fact, holds in zip(facts, world, strict=True) if holds}
        holds = naive_datalog(program, {**given, "f": chosen})["out"]
        true = np.array([output in holds for output in outputs])
        factors = np.where(world, p, 1 - p)
        values += true * np.prod(factors)
        for i, present in enumerate(world):
            gradient[:, i] += true * (1 if present else -1) * np.prod(np.delete(factors, i))
    return values, gradient


@pytest.mark.parametrize("k", [10, 11])
@pytest.mark.parametrize("kind", ["inside", "extreme"])
@pytest.mark.parametrize("name", with_rest_at_night(PROGRAMS, ["shared", "double_negation", "path"]))
def test_enough_proofs_give_values_and_gradients_of_the_worlds(name: str, kind: str, k: int):
    with jax.enable_x64(True):
        adder = reasoner(name, provenance="difftopkproofs", k=k)
        size = len(PROGRAMS[name][1])
        p = np.random.default_rng(0).uniform(size=size) if kind == "inside" else np.arange(size) % 2.0
        outputs = list(adder.compiled_program.outputs[0].tuples)
        values, pull_back = jax.vjp(lambda p: adder(f=p[None])[1][0], jnp.asarray(p))
        gradient = jax.vmap(pull_back)(jnp.eye(len(outputs)))[0]
        expected, expected_gradient = by_worlds(name, outputs, p)
        np.testing.assert_allclose(values, expected, atol=1e-12)
        np.testing.assert_allclose(gradient, expected_gradient, atol=1e-12)


@pytest.mark.parametrize("grouped", [False, True])
def test_decisions_count_proofs_of_hundreds_of_facts(grouped: bool):
    numbers = range(400)
    program = f"rel out() = {', '.join(f'f({i})' for i in numbers)}\nrel out() = f(0), f(400)"
    chain = Reasoner(
        program,
        k=11,
        wmc_with_disjunctions=grouped,
        input_mappings={"f": [*numbers, 400]},
        output_mapping=("out", ()),
    )
    p = np.random.default_rng(0).uniform(0.99, 1, 401).astype(np.float32)
    whole, last = np.prod(p[1:400], dtype=np.float64), p[400]
    value, gradient = jax.value_and_grad(lambda p: chain(f=p[None])[0])(p)
    np.testing.assert_allclose(value, p[0] * (1 - (1 - whole) * (1 - last)), rtol=1e-5)
    np.testing.assert_allclose(gradient[0], 1 - (1 - whole) * (1 - last), rtol=1e-5)
    np.testing.assert_allclose(gradient[1:400], p[0] * (1 - last) * whole / p[1:400], rtol=1e-4)
    np.testing.assert_allclose(gradient[400], p[0] * (1 - whole), rtol=1e-4)


@pytest.mark.parametrize("provenance", DIFFERENTIABLE)
@pytest.mark.parametrize("name", with_rest_at_night(PROGRAMS, ["shared", "double_negation", "mutual"]))
def test_gradients_are_finite_differences(name: str, provenance: str):
    with jax.enable_x64(True):
        function = reasoner(name, provenance=provenance, k=3)
        # Small and far from each other: sums do not reach 1, and neither minimum nor proofs change within a step.
        p = 0.05 + 0.06 * np.random.default_rng(1).permutation(len(PROGRAMS[name][1]))
        weights = np.random.default_rng(2).normal(size=len(function.compiled_program.outputs[0].tuples))

        def functional(p) -> float:
            return float((np.asarray(function(f=p[None])[1][0]) * weights).sum())

        gradient = jax.grad(lambda p: (function(f=p[None])[1][0] * jnp.asarray(weights)).sum())(jnp.asarray(p))
        step = 1e-6
        differences = [
            (functional(p + step * unit) - functional(p - step * unit)) / (2 * step) for unit in np.eye(len(p))
        ]
        # Rounding of a difference quotient with this step, and the tolerance of fixpoints.
        np.testing.assert_allclose(gradient, differences, atol=1e-6)


@pytest.mark.parametrize("p", [0.0, 1.0])
@pytest.mark.parametrize("provenance", DIFFERENTIABLE)
@pytest.mark.parametrize("name", with_rest_at_night(PROGRAMS, ["shared", "negation", "path"]))
def test_gradients_are_finite_at_0_and_1(name: str, provenance: str, p: float):
    function = reasoner(name, provenance=provenance, k=3)
    inputs = jnp.full(len(PROGRAMS[name][1]), p, jnp.float32)
    values, gradient = jax.value_and_grad(lambda p: function(f=p[None])[1].sum())(inputs)
    assert np.isfinite(values)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("rule", with_rest_at_night(["a(x), b(y)", "a(x), b(y), a(y)"], ["a(x), b(y), a(y)"]))
def test_large_batches_have_the_gradients_of_their_parts(rule: str):
    # Large batches have gradients of their own code, for independent proofs and for those that share facts.
    mappings = {"a": range(4), "b": range(4)}
    program = Reasoner(
        f"rel out(x + y) = {rule}",
        input_mappings=mappings,
        output_mapping=("out", range(7)),
        provenance="difftopkproofs",
    )
    generator = np.random.default_rng(0)
    a, b = (generator.random((512, 4), np.float32) for _ in mappings)
    a[::3, 1], b[::5, 2] = 0, 1e-30
    weights = jnp.asarray(generator.random((512, 7), np.float32))

    def gradients(part: slice):
        def total(a, b):
            return (program(a=a, b=b) * weights[part]).sum()

        return jax.grad(total, (0, 1))(a[part], b[part])

    whole = gradients(slice(None))
    parts = [gradients(slice(start, start + 16)) for start in range(0, 512, 16)]
    for one, each in zip(whole, zip(*parts, strict=True), strict=True):
        # The same sums, in another order where code differs.
        np.testing.assert_allclose(one, np.concatenate(each), rtol=1e-5, atol=1e-7)
