"""Derivatives in both modes and of second order, against finite differences and polynomials of JAX alone."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from scallax import Reasoner, UnsupportedError
from tests.nightly import with_rest_at_night

CYCLE = """
type edge(x: i32, y: i32), c(x: i32)
rel path(x, y) = edge(x, y)
rel path(x, z) = path(x, y), edge(y, z)
rel out(x) = path(0, x), not c(x)
"""
OPTIONS: dict[str, Any] = {
    "input_mappings": {"edge": [(0, 1), (1, 2), (0, 2), (2, 0)], "c": [1, 2]},
    "output_mapping": ("out", [1, 2]),
    "k": 4,
}
PROVENANCES = with_rest_at_night(
    [
        "exact",
        "diffaddmultprob",
        "difftopkproofs",
        "diffminmaxprob",
        "diffmaxmultprob",
        "diffnandmultprob",
        "difftopbottomkclauses",
    ],
    ["exact"],
)


@pytest.fixture(autouse=True)
def float64():
    with jax.enable_x64(True):
        yield


def inputs() -> tuple[np.ndarray, np.ndarray]:
    # Small, so that no sum is clamped; different, so that no two derivations weigh the same.
    rng = np.random.default_rng(0)
    return rng.uniform(0.05, 0.3, (2, 4)), rng.uniform(0.1, 0.9, (2, 2))


@pytest.mark.parametrize("provenance", PROVENANCES)
def test_derivatives_of_both_orders_and_modes_are_finite_differences(provenance: str):
    reasoner = Reasoner(CYCLE, provenance=provenance, **OPTIONS)

    def call(edge, c):
        return reasoner(edge=edge, c=c)

    # Central differences of steps of 1e-4 err by 1e-8 of third derivatives, and by 1e-12 of rounding.
    options: dict[str, Any] = {"eps": 1e-4, "atol": 1e-6, "rtol": 1e-6}
    check_grads(jax.jit(call), inputs(), order=2, modes=("fwd", "rev"), **options)


def test_hessians_by_each_mode_are_those_of_the_polynomial():
    reasoner = Reasoner(
        "rel out() = a(x), b(x)",
        provenance="exact",
        input_mappings={"a": [0, 1], "b": [0, 1]},
        output_mapping=("out", ()),
    )

    def call(a, b):
        return reasoner(a=a, b=b)

    def polynomial(a, b):
        return 1 - ((1 - a * b).prod(-1))

    a, b = jnp.array([[0.2, 0.6], [0.0, 1.0]]), jnp.array([[0.5, 0.9], [1.0, 0.0]])

    def loss(function):
        return lambda a, b: (function(a, b) ** 3).sum()

    expected = jax.hessian(loss(polynomial), argnums=(0, 1))(a, b)
    for outer, inner in [(jax.jacfwd, jax.jacrev), (jax.jacrev, jax.jacrev)]:
        found = outer(inner(loss(call), argnums=(0, 1)), argnums=(0, 1))(a, b)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14), found, expected)
    values, push = jax.linearize(call, a, b)
    np.testing.assert_allclose(values, polynomial(a, b), rtol=1e-14)
    tangent = jax.jvp(polynomial, (a, b), (b, a))[1]
    np.testing.assert_allclose(push(b, a), tangent, rtol=1e-12)
    mapped = jax.vmap(jax.hessian(lambda a, b: call(a[None], b[None])[0], argnums=(0, 1)))(a, b)
    alone = jax.vmap(jax.hessian(polynomial, argnums=(0, 1)))(a, b)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12, atol=1e-14), mapped, alone)


def test_facts_per_sample_have_both_modes_and_orders():
    reasoner = Reasoner("type e(i32) rel out() = e(x), not e(x + 1)", provenance="exact", output_mapping=("out", [()]))

    def call(p):
        return reasoner(e=[[(p[0], (0,)), (p[1], (1,))], [(p[2], (5,)), (0.5, (6,))]])[:, 0]

    def polynomial(p):
        # Some fact without its successor: the second of the two, or the first alone.
        return jnp.stack([p[1] + p[0] * (1 - p[1]), 0.5 + p[2] * 0.5])

    p, direction = jnp.array([0.3, 0.6, 0.2]), jnp.array([1.0, -2.0, 0.5])
    found = jax.jvp(call, (p,), (direction,)), jax.hessian(lambda p: (call(p) ** 3).sum())(p)
    expected = jax.jvp(polynomial, (p,), (direction,)), jax.hessian(lambda p: (polynomial(p) ** 3).sum())(p)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-12), found, expected)


def test_a_saturated_sum_has_the_same_derivative_in_both_modes():
    reasoner = Reasoner(
        "rel out() = a(x)", provenance="diffaddmultprob", input_mappings={"a": range(3)}, output_mapping=("out", ())
    )
    a = np.array([[0.8, 0.7, 0.6]])
    np.testing.assert_array_equal(jax.jacrev(lambda a: reasoner(a=a))(a), jax.jacfwd(lambda a: reasoner(a=a))(a))
    # It passes straight through the clamp.
    np.testing.assert_array_equal(jax.jacfwd(lambda a: reasoner(a=a))(a).reshape(-1), [1, 1, 1])


def test_a_third_derivative_is_one_error():
    reasoner = Reasoner(
        "rel out() = a(x), b(x)", provenance="exact", input_mappings={"a": [0], "b": [0]}, output_mapping=("out", ())
    )

    def call(a):
        return reasoner(a=a[None], b=a[None]).sum()

    with pytest.raises(UnsupportedError, match=r"and third derivatives are not available\nhint: stop the gradient"):
        jax.jacfwd(jax.hessian(call))(jnp.array([0.5]))
