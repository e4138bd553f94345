"""Logarithms of probabilities against possible worlds, and against the logarithms of linear values in float64."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_bridge
from scallax import Context, nn
from scallax.errors import InputError, UnsupportedError
from scallax.facts.mappings import InputMapping
from scallax.reasoner.reasoner import Reasoner
from tests.evaluation.test_gradients import PROGRAMS, by_worlds, reasoner
from tests.nightly import with_rest_at_night

# Those that are exact for the programs of the test of gradients, and the other ones; with a `diff` form each.
EXACT = ["exact", "diffexact", "topkproofs", "difftopkproofs"]
OTHERS = ["minmaxprob", "addmultprob", "diffminmaxprob", "diffaddmultprob", "diffaddmultprob2"]
ALL = [*EXACT, *OTHERS]
SIXTY = "rel all() = " + ", ".join(f"a({i})" for i in range(60))


def batch_of(count: int, largest: float = -0.05) -> np.ndarray:
    """Two samples of probabilities of all sizes, and one each of zeros, of ones, of both in turn, and of 1e-30."""
    sizes = 10 ** np.random.default_rng(3).uniform([[-9], [-2]], largest, (2, count))
    return np.stack([*sizes, np.zeros(count), np.ones(count), np.arange(count) % 2, np.full(count, 1e-30)]).astype("f")


def check_against(name: str, provenance: str, expected: np.ndarray, p: np.ndarray, right: np.ndarray) -> None:
    """Both executors' values of a batch against `expected`, and the gradients of the first two samples.

    `right` are those of the sums of their values, each times its place. The others' gradients are finite.
    """
    function = reasoner(name, provenance=provenance, k=10, log=True)
    values, pull = jax.vjp(lambda p: function(f=p)[1], jnp.asarray(p))
    for found in (values, reasoner(name, provenance=provenance, k=10, log=True, executor="numpy")(f=p)[1]):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    places = np.broadcast_to(np.arange(expected.shape[1], dtype=np.float32), expected.shape)
    (gradient,) = pull(jnp.asarray(places))
    # A logarithm of float32 knows a number such as 1e-9 to 1e-6 of it.
    np.testing.assert_allclose(gradient[:2], right, rtol=1e-4, atol=1e-5)
    assert np.isfinite(gradient).all()
    if name == "path":
        # By itself, a sample whose numbers float32 holds has them in the place of logarithms.
        _, pull = jax.vjp(lambda p: function(f=p)[1], jnp.asarray(p[1:2]))
        np.testing.assert_allclose(pull(jnp.asarray(places[1:2]))[0], right[1:2], rtol=1e-4, atol=1e-5)
    # Nothing passes a gradient to what is impossible.
    assert not np.asarray(gradient)[p == 0].any()


@pytest.mark.parametrize("executor", ["jax", "numpy"])
@pytest.mark.parametrize("provenance", with_rest_at_night(ALL, ["exact", "topkproofs"]))
def test_many_small_factors_do_not_vanish(provenance: str, executor: str):
    options: dict[str, Any] = {"input_mappings": {"a": range(60)}, "output_mapping": ("all", ()), "log": True}
    function = Reasoner(SIXTY, provenance=provenance, executor=executor, **options)
    # The minimum of sixty, or their product.
    right = math.log(0.1) * (1 if "minmax" in provenance else 60)
    found = function(a=np.full((1, 60), 0.1, np.float32))
    np.testing.assert_allclose(found, [right], rtol=1e-6)
    gradient = np.asarray(jax.grad(lambda a: function(a=a).sum())(jnp.full((1, 60), 1e-30)))
    np.testing.assert_allclose(gradient.sum(), (1 if "minmax" in provenance else 60) * 1e30, rtol=1e-4)


@pytest.mark.parametrize("provenance", with_rest_at_night(EXACT, ["exact", "topkproofs"]))
@pytest.mark.parametrize("name", with_rest_at_night(PROGRAMS, ["double_negation", "path"]))
def test_logarithms_are_those_of_possible_worlds(name: str, provenance: str):
    p = batch_of(len(PROGRAMS[name][1]))
    outputs = list(reasoner(name, provenance="exact", executor="numpy")(f=p)[0])
    found = [by_worlds(name, outputs, row) for row in p.astype(np.float64)]
    places = np.arange(len(outputs))
    right = [(places / values) @ derivatives for values, derivatives in found[:2]]
    with np.errstate(divide="ignore"):
        check_against(name, provenance, np.log([values for values, _ in found]), p, np.array(right))


@pytest.mark.parametrize("provenance", with_rest_at_night(OTHERS, ["minmaxprob", "diffaddmultprob2"]))
@pytest.mark.parametrize("name", with_rest_at_night(PROGRAMS, ["double_negation", "path"]))
def test_logarithms_are_those_of_linear_values(name: str, provenance: str):
    # Small enough that no sum reaches 1, where a gradient passes straight through and differences do not.
    p = batch_of(len(PROGRAMS[name][1]), -0.8)
    linear = reasoner(name, provenance=provenance, executor="numpy")

    def logarithms(p: np.ndarray) -> np.ndarray:
        with jax.enable_x64(True), np.errstate(divide="ignore"):
            return np.log(linear(f=p.astype(np.float64))[1])

    steps = 1e-5 * np.eye(p.shape[1])
    around = [[logarithms(row * (1 + sign * steps)) for sign in (1, -1)] for row in p[:2].astype(np.float64)]
    places = np.arange(around[0][0].shape[1])
    right = [(up - down) @ places / (2e-5 * row) for (up, down), row in zip(around, p, strict=False)]
    check_against(name, provenance, logarithms(p), p, np.array(right))


def test_transformations_and_other_modules_agree():
    program, options = "rel q(x) = a(x), not b(x)", {"provenance": "exact", "log": True}
    maps: dict[str, Any] = {"input_mappings": {"a": range(3), "b": range(3)}, "output_mapping": ("q", range(3))}
    rng = np.random.default_rng(1)
    a, b = (rng.random((4, 3)).astype(np.float32) for _ in range(2))
    function = Reasoner(program, **options, **maps)
    expected = np.log(a) + np.log1p(-b)
    np.testing.assert_allclose(jax.jit(lambda a, b: function(a=a, b=b))(a, b), expected, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(lambda a, b: function(a=a[None], b=b[None])[0])(a, b), expected, rtol=1e-5)
    second = jax.hessian(lambda a: function(a=a[None], b=b[:1]).sum())(jnp.asarray(a[0]))
    np.testing.assert_allclose(second, np.diag(-1 / a[0] ** 2), rtol=1e-4)
    linen: Any = nn.LinenReasoner(program, **options, **maps)
    np.testing.assert_allclose(linen.apply({}, a=a, b=b), expected, rtol=1e-5)
    module = torch_bridge.Module(program, **options, **maps)
    tensors = [torch.from_numpy(each).requires_grad_() for each in (a, b)]
    found = module(a=tensors[0], b=tensors[1])
    np.testing.assert_allclose(found.detach(), expected, rtol=1e-5)
    found.sum().backward()
    gradients = [each.grad for each in tensors]
    assert gradients[0] is not None
    assert gradients[1] is not None
    np.testing.assert_allclose(gradients[0], 1 / a, rtol=1e-4)
    np.testing.assert_allclose(gradients[1], -1 / (1 - b), rtol=1e-4)


@pytest.mark.parametrize("log", [True, False])
def test_inputs_may_be_logarithms(log: bool):
    program = "rel sum(x + y) = a(x), b(y)"
    options: dict[str, Any] = {"output_mapping": ("sum", range(5)), "provenance": "exact", "log": log}
    mapping = InputMapping(range(3), disjunctive=True)
    given = Reasoner(program, input_mappings={"a": mapping, "b": mapping}, **options)
    mixed = Reasoner(program, input_mappings={"a": InputMapping(mapping, log=True), "b": mapping}, **options)
    rng = np.random.default_rng(0)
    logits, b = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32), jnp.asarray(rng.dirichlet([1, 1, 1], 4), jnp.float32)

    def by_logarithms(logits):
        return mixed(a=jax.nn.log_softmax(logits), b=b)

    def by_probabilities(logits):
        return given(a=jax.nn.softmax(logits), b=b)

    np.testing.assert_allclose(by_logarithms(logits), by_probabilities(logits), rtol=1e-5, atol=1e-6)
    pulled = [jax.vjp(function, logits)[1](jnp.ones((4, 5)))[0] for function in (by_logarithms, by_probabilities)]
    np.testing.assert_allclose(*pulled, rtol=1e-4, atol=1e-5)
    restored = Reasoner.from_json(mixed.specification.to_json())
    np.testing.assert_array_equal(restored(a=jax.nn.log_softmax(logits), b=b), by_logarithms(logits))
    # People read probabilities.
    inputs = {"a": np.log([[0.5, 0.2, 0.3]]), "b": np.array([[0.5, 0.25, 0.25]])}
    assert mixed.explain("sum", 0, inputs).value == pytest.approx(0.25)
    assert mixed.most_probable(inputs)[0].log_probability == pytest.approx(math.log(0.25))
    with pytest.raises(InputError, match=r"`a` is 0.5 in sample 0 .* at most 0"):
        mixed(a=np.full((1, 3), 0.5, np.float32), b=b[:1])


def test_facts_parameters_selections_and_evidence_are_in_logarithms():
    options: dict[str, Any] = {"provenance": "exact", "output_mapping": ("q", ()), "log": True}
    at_once = {**options, "executor": "numpy"}
    facts = Reasoner("type a(i32) rel q() = a(1), not a(2)", **at_once)
    found = facts(a=[[(0.2, (1,)), (0.5, (2,))], [(0.3, (1,))], []])
    np.testing.assert_allclose(found, [math.log(0.1), math.log(0.3), -math.inf], rtol=1e-6)
    trained = Reasoner(
        "rel a = {0.2::1; 0.3::2} rel b = {0.25::1} rel q() = a(1), b(1)", trainable=["a", "b"], **options
    )
    found, gradient = jax.value_and_grad(lambda p: trained.apply(p)[0])(trained.parameters)
    np.testing.assert_allclose(found, math.log(0.05), rtol=1e-5)
    np.testing.assert_allclose(gradient["a.facts"], [0.8, -0.3, -0.5], atol=1e-5)
    np.testing.assert_allclose(gradient["b.facts"], [0.75], atol=1e-5)
    chosen = Reasoner("rel a = {0.2::1, 0.3::2} rel q() = x := top<1>(x: a(x)), x == 2", **at_once)
    np.testing.assert_allclose(chosen(), [math.log(0.3)], rtol=1e-6)
    wet = Reasoner("rel 1.0e-30::a() rel 0.5::b() rel q() = a() rel c() = a(), b() evidence c()", **at_once)
    np.testing.assert_allclose(wet(), [0], atol=1e-5)
    np.testing.assert_allclose(wet.log_evidence(), [math.log(5e-31)], rtol=1e-6)
    seen = Reasoner("rel 0.2::a() rel 0.5::b() rel q() = a() rel c() = a() or b()", evidence={"c": None}, **options)
    np.testing.assert_allclose(seen(evidence={"c": [1.0, 0.0]}), [math.log(0.2 / 0.6), -math.inf], rtol=1e-5)
    gradient = jax.grad(lambda e: seen(evidence={"c": e})[0])(jnp.array([0.75]))
    # P(q and e) = 0.2 e and P(e) = 0.6 e + 0.4 (1 - e): here 0.15 and 0.55.
    np.testing.assert_allclose(gradient, [1 / 0.75 - 0.2 / 0.55], rtol=1e-5)


def test_only_probabilities_have_logarithms():
    options: dict[str, Any] = {"input_mappings": {"a": [0]}, "output_mapping": ("q", (0,)), "log": True}
    with pytest.raises(UnsupportedError, match="`natural` does not compute with logarithms"):
        Reasoner("rel q(x) = a(x)", provenance="natural", **options)
    with pytest.raises(InputError, match=r"the tag 1.5 of `b\(1\)` is outside"):
        Reasoner("rel b = {1.5::1} rel q(x) = a(x), b(1)", provenance="exact", **options)
    function = Reasoner("rel q(x) = a(x)", provenance="exact", **options)
    with pytest.raises(InputError, match=r"`a` is 1.5 in sample 0 .* no logarithm"):
        function(a=np.full((1, 1), 1.5, np.float32))
    assert np.isnan(jax.jit(lambda a: function(a=a))(jnp.full((1, 1), 1.5))).all()
    with pytest.raises(InputError, match="categorical"):
        InputMapping([0], retain_k=1, sample_strategy="categorical", log=True)


def test_contexts_have_logarithms():
    for make in (Context, torch_bridge.ScallopContext):
        context: Any = make("exact", log=True)
        context.add_relation("a", (int,))
        context.add_facts("a", [(0.1, (place,)) for place in range(60)])
        context.add_rule("all() = " + ", ".join(f"a({place})" for place in range(60)))
        context.add_rule("none() = not a(1)")
        context.run()
        (tag, values), *_ = context.relation("all")
        assert (float(tag), values) == (pytest.approx(60 * math.log(0.1), rel=1e-6), ())
        (tag, _), *_ = context.relation("none")
        assert float(tag) == pytest.approx(math.log(0.9), rel=1e-6)
        assert context.clone().state.options.log
    function = context.forward_function("all", output_mapping=())
    assert float(function()) == pytest.approx(60 * math.log(0.1), rel=1e-6)
    with pytest.raises(UnsupportedError, match="`unit` does not compute with logarithms"):
        Context(log=True)


SUMS = "rel sum(x + y) = a(x), b(y)"
ODD = "rel sum(x) = a(x), not b(x)\nrel sum(x + 1) = a(x), b(x), not a(x + 1)"
PROOFS = [(SUMS, False), (SUMS, True), (ODD, False), (ODD, True)]


@pytest.mark.parametrize(("program", "grouped"), with_rest_at_night(PROOFS, PROOFS[1:3]))
def test_proofs_in_torch_have_the_gradients_of_linear_ones(program: str, grouped: bool):
    mapping = InputMapping(range(4), disjunctive=True)
    options: dict[str, Any] = {"input_mappings": {"a": mapping, "b": mapping}, "output_mapping": ("sum", range(5))}
    options |= {"provenance": "difftopkproofs", "k": 3, "wmc_with_disjunctions": grouped}
    rng = np.random.default_rng(0)
    given = [rng.dirichlet([0.2] * 4, 8).astype(np.float32) * np.float32(0.9) + np.float32(1e-4) for _ in range(2)]
    results = []
    for log, dtype in ((True, torch.float32), (False, torch.float64)):
        module = torch_bridge.Module(program, log=log, **options)
        a, b = (torch.tensor(each, dtype=dtype, requires_grad=True) for each in given)
        values = module(a=a, b=b)
        is_possible = values.detach() > (-math.inf if log else 0)
        values = torch.where(is_possible, values, 0 if log else 1)
        values = values if log else values.log()
        (values * torch.arange(1, 6, dtype=dtype)).sum().backward()
        assert a.grad is not None
        assert b.grad is not None
        results.append((is_possible, values.detach(), a.grad, b.grad))
    # Float32 beside float64: sums of a dozen terms of both signs, each known to some 1e-6.
    for found, right in zip(*results, strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-6)
