"""Batches of mapped relations are padded to size classes, and nobody can tell but by what is compiled."""

import contextlib
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from scallax import InputError, InputMapping, Reasoner, UnsupportedError, jacobian
from scallax.circuits.literals import Literal
from scallax.circuits.size_classes import class_of_batch
from scallax.evaluation import tag_rows
from scallax.evaluation.batch import Arguments, Signature
from scallax.evaluation.jax_batch_sizes import SizedBatch
from tests.compilations import counted_compilations
from torch_bridge import Module

PATHS = "rel path(x, y) = edge(x, z), edge(z, y)"
EDGES = [(0, 1), (1, 2), (2, 0), (1, 0)]
TWO = "rel both(x) = a(x), b(x)\nrel either(x) = a(x) or b(x)"


def two(provenance: str = "diffminmaxprob", **options: Any) -> Reasoner:
    mappings = {"input_mappings": {"a": range(2), "b": range(2)}, "output_mappings": {"both": range(2), "either": None}}
    return Reasoner(TWO, provenance=provenance, **{**mappings, **options})


def probabilities(size: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(0.1, 0.9, (size, *shape)).astype(np.float32)


def arrays_of(results: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(results) if hasattr(leaf, "dtype")]


def assert_rows(few: Any, many: Any, size: int) -> None:
    """The arrays of the one are the first rows of the other's, bit for bit."""
    few, many = arrays_of(few), arrays_of(many)
    assert few
    assert all(np.array_equal(part, whole[:size]) for part, whole in zip(few, many, strict=True))


def test_classes_are_two_an_octave():
    assert [class_of_batch(size) for size in range(10)] == [0, 1, 2, 3, 4, 6, 6, 8, 8, 12]
    assert {class_of_batch(size) for size in range(33, 65)} == {48, 64}
    assert all(size <= class_of_batch(size) < 1.5 * size for size in range(1, 2000))


@pytest.mark.parametrize("make", [np.array, jnp.array, jnp.bfloat16], ids=["numpy", "jax", "bfloat16"])
def test_sizes_of_one_class_share_compiled_functions(make: Callable):
    reasoner = two()
    a, b = probabilities(16, 2), probabilities(16, 2)[:, ::-1]
    many = reasoner(a=make(a), b=make(b))
    given = {size: {"a": make(a[:size]), "b": make(b[:size])} for size in (16, 15, 14, 13)}
    with counted_compilations() as compiled:
        for size, inputs in given.items():
            found = reasoner(**inputs)
            assert all(isinstance(part, jax.Array) for part in (found["both"], found["either"][1]))
            assert_rows(found, many, size)
    assert not compiled


@pytest.mark.parametrize("options", [{}, {"trainable": ["fact"]}], ids=["derivatives", "residuals"])
def test_a_module_compiles_once_a_class(options: dict):
    program = "rel fact = {0.5::(0), 0.25::(1)}\nrel out(x) = a(x), fact(x)"
    mappings = {"input_mappings": {"a": range(2)}, "output_mapping": ("out", range(2))}
    module = Module(program=program, provenance="diffaddmultprob", **mappings, **options)
    p = torch.from_numpy(probabilities(8, 2))

    def step(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        given = p[:size].clone().requires_grad_()
        values = module(a=given)
        values.square().sum().backward()
        # Neither shares memory with rows that were added.
        values = values.detach()
        assert len(values) * values.shape[1] == len(values.untyped_storage()) // 4
        values.mul_(1)
        with torch.no_grad():
            assert torch.equal(module(a=given), values)
        assert given.grad is not None
        return values, given.grad

    many = step(8)
    with counted_compilations() as compiled:
        assert_rows(step(7), many, 7)
    assert not compiled


@pytest.mark.parametrize(
    ("provenance", "mapping"),
    [
        ("diffmaxmultprob", {"retain_k": 2}),
        ("diffsamplekproofs", {}),
        ("minmaxprob", {"retain_k": 2, "sample_strategy": "categorical"}),
        ("addmultprob", {"retain_threshold": 0.3}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_samples_of_a_padded_batch_are_those_of_any(provenance: str, mapping: dict):
    options = {"input_mappings": {"edge": InputMapping(EDGES, **mapping)}, "output_relation": "path"}
    reasoner = Reasoner(PATHS, provenance=provenance, seed=2, **options)
    p = probabilities(6, 4)
    many, few = reasoner(edge=p), reasoner(edge=p[:5])
    assert_rows(few, many, 5)


BESIDE = "type a(x: i32), b(x: i32), c(x: i32)\nrel both(x) = a(x), b(x), c(x)"
GIVEN = {"input_mappings": {"b": range(2), "c": range(2)}, "output_mapping": ("both", range(2))}


def facts_of(size: int) -> list[list[tuple[float, int]]]:
    return [[(float(p), x) for x, p in enumerate(sample)] for sample in probabilities(size, 2)[:, ::-1]]


@pytest.mark.parametrize("make", [np.array, jnp.array], ids=["numpy", "jax"])
def test_arrays_beside_facts_share_compiled_functions(make: Callable):
    reasoner = Reasoner(BESIDE, provenance="diffaddmultprob", **GIVEN)
    facts, p = facts_of(16), probabilities(16, 2)
    given = {size: {"a": facts[:size], "b": make(p[:size]), "c": make(p[::-1][:size])} for size in (16, 15, 14, 13)}
    reasoner(**given[16])
    with counted_compilations() as compiled:
        for size, inputs in given.items():
            found = reasoner(**inputs)
            np.testing.assert_allclose(found, (p[:, ::-1] * p * p[::-1])[:size], rtol=1e-6)
    assert not compiled
    with pytest.raises(InputError, match="12"):
        reasoner(a=facts[:13], b=make(p[:12]), c=make(p[:13]))


def test_gradients_of_arrays_beside_facts():
    module = Module(program=BESIDE, provenance="diffaddmultprob", **GIVEN)
    p = probabilities(8, 2)

    def step(size: int) -> list[np.ndarray]:
        tags, b, c = (torch.tensor(array[:size].copy(), requires_grad=True) for array in (p[:, ::-1], p, p[::-1]))
        module(a=[[(tag, x) for x, tag in enumerate(sample)] for sample in tags], b=b, c=c).sum().backward()
        assert all(tensor.grad is not None for tensor in (tags, b, c))
        return [tensor.grad.numpy() for tensor in (tags, b, c) if tensor.grad is not None]

    step(8)
    with counted_compilations() as compiled:
        found = step(7)
    assert not compiled
    expected = (p * p[::-1], p[:, ::-1] * p[::-1], p * p[:, ::-1])
    for gradient, whole in zip(found, expected, strict=True):
        np.testing.assert_allclose(gradient, whole[:7], rtol=1e-6)
    reasoner = Reasoner(BESIDE, provenance="diffaddmultprob", **GIVEN)
    of_b = jax.grad(lambda b: reasoner(a=facts_of(5), b=b, c=p[:5]).sum())(p[:5])
    np.testing.assert_allclose(of_b, p[:5] * probabilities(5, 2)[:, ::-1], rtol=1e-6)
    given = {"a": facts_of(5), "b": p[:5], "c": p[:5]}
    of_c = jacobian(reasoner, given)["c"].todense()
    np.testing.assert_allclose(np.einsum("soo->so", of_c), of_b, rtol=1e-6)


def test_arrays_beside_facts_are_read_without_jax():
    p = probabilities(5, 2)
    found = Reasoner(BESIDE, provenance="diffaddmultprob", executor="numpy", **GIVEN)(a=facts_of(5), b=p, c=p[::-1])
    np.testing.assert_allclose(found, probabilities(5, 2)[:, ::-1] * p * p[::-1], rtol=1e-6)
    # Costs of Python objects, which add up.
    found = Reasoner(BESIDE, provenance="realtropicalproofs", **GIVEN)(a=facts_of(5), b=p, c=p[::-1])
    np.testing.assert_allclose(found, probabilities(5, 2)[:, ::-1] + p + p[::-1], rtol=1e-6)


def test_draws_beside_facts_are_those_of_any_batch():
    mapping = InputMapping(range(3), retain_k=1, sample_strategy="categorical")
    program = "type a(x: i32), b(x: i32)\nrel both(x) = a(x), b(x)"
    options = {"input_mappings": {"b": mapping}, "output_mapping": ("both", range(3)), "seed": 4}
    facts, p = [[(1.0, x) for x in range(3)]] * 6, probabilities(6, 3)
    by_numpy = Reasoner(program, provenance="minmaxprob", executor="numpy", **options)(a=facts[:5], b=p[:5])
    reasoner = Reasoner(program, provenance="minmaxprob", **options)
    many, few = reasoner(a=facts, b=p), reasoner(a=facts[:5], b=p[:5])
    assert_rows(few, many, 5)
    np.testing.assert_array_equal(few, by_numpy)
    assert (np.asarray(few) > 0).sum() == 5


@pytest.mark.parametrize("is_first", [True, False], ids=["forward", "backward"])
def test_one_of_two_passes_is_on_a_mesh(is_first: bool):
    evaluator = two("diffmaxmultprob").evaluator
    a, b = probabilities(5, 2), probabilities(5, 2)[:, ::-1].copy()

    def on_mesh(is_there: bool):
        return jax.set_mesh(jax.make_mesh((1,), ("batch",))) if is_there else contextlib.nullcontext()

    with on_mesh(is_first):
        values, residuals = evaluator.forward((a, b))
    with on_mesh(not is_first):
        (of_a, of_b), _ = evaluator.pull_back((a, b), residuals, np.ones(values.shape, np.float32))
    np.testing.assert_allclose(np.asarray(of_a), b + (a > b), rtol=1e-6)
    np.testing.assert_allclose(np.asarray(of_b), a + (b > a), rtol=1e-6)


def test_gradients_of_logits_are_those_of_the_samples_alone():
    program = "rel fact = {0.5::(0), 0.25::(1)}\nrel out(x) = a(x), fact(x)"
    mappings = {"input_mappings": {"a": range(2)}, "output_mapping": ("out", range(2))}
    evaluator = Reasoner(program, provenance="diffaddmultprob", trainable=["fact"], **mappings).evaluator
    p, cotangent = probabilities(5, 2), probabilities(5, 2)[::-1].copy()
    shared = evaluator.logits
    each = tuple(np.tile(logits, (5, 1)) for logits in shared)
    for logits in (shared, each):
        values, residuals = evaluator.forward((p,), logits)
        (of_p,), (of_logits,) = evaluator.pull_back((p,), residuals, jnp.asarray(cotangent), logits)
        fact = 1 / (1 + np.exp(-np.asarray(shared[0])))
        np.testing.assert_allclose(values, p * fact, rtol=1e-6)
        assert of_p is not None
        np.testing.assert_allclose(of_p, cotangent * fact, rtol=1e-6)
        by_sample = cotangent * p * fact * (1 - fact)
        np.testing.assert_allclose(of_logits, by_sample.sum(0) if logits is shared else by_sample, rtol=1e-6)


def test_jacobians_and_proofs_have_the_samples_of_the_batch():
    outputs = {"output_mappings": {"both": range(2)}}
    a, b = probabilities(5, 2), probabilities(5, 2)[:, ::-1]
    found = jacobian(two("diffaddmultprob", **outputs), {"a": a, "b": b})["both"]["a"]
    np.testing.assert_allclose(found.todense(), b[:, :, None] * np.eye(2), rtol=1e-6)
    kept = two("topkproofs", k=1, **outputs).kept_proofs(a=a, b=b)["both"]
    proof = (Literal(True, "a", (0,)), Literal(True, "b", (0,)))
    assert [sample[0] for sample in kept] == [[proof]] * 5


def test_samples_ask_for_outputs_of_their_own():
    a, b = probabilities(5, 2), probabilities(5, 2)
    names = ["both", "either", "both", "both", "either"]
    found = two(output_mappings={})(a=a, b=b, output_relations=names, output_mappings=[0, 1])
    best = {"both": np.minimum(a, b), "either": np.maximum(a, b)}
    assert_rows(found, np.stack([best[name][i] for i, name in enumerate(names)]), 5)


def test_errors_and_warnings_are_of_the_samples_given():
    reasoner = two()
    p = probabilities(5, 2)
    broken, outside = p.copy(), p.copy()
    broken[4, 1], outside[4, 1] = np.nan, 2
    with pytest.raises(InputError, match=r"`b` is nan in sample 4 for the tuple `b\(1\)`"):
        reasoner(a=p, b=broken)
    with pytest.raises(InputError, match="the inputs differ in batch size: `a` has 5, `b` has 6"):
        reasoner(a=p, b=probabilities(6, 2))
    with pytest.warns(UserWarning, match=r"`a` is 2.0 in sample 4 for the tuple `a\(1\)`, outside") as caught:
        reasoner(a=outside, b=p)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert reasoner(a=p[:0], b=p[:0])["both"].shape == (0, 2)


def test_batches_keep_their_size_where_the_caller_compiles():
    signature = Signature(two().evaluator.provenance, (None,), (), 2)  # pyright: ignore[reportArgumentType]
    p = probabilities(5, 2)
    sizes = []

    def note(*_: Any) -> jax.Array:
        sizes.append(SizedBatch.of(signature, Arguments((p,))).num_rows)
        return jnp.zeros(())

    jax.jit(note)()
    jax.grad(note)(0.0)
    jax.vmap(note)(np.zeros(1))
    jax.export.export(jax.jit(note))()
    with jax.set_mesh(jax.make_mesh((1,), ("batch",))):
        note()
    assert set(sizes) == {5}
    note()
    assert sizes[-1] == 6
    # An array that is there already is not copied.
    whole = probabilities(6, 2)
    assert SizedBatch.of(signature, Arguments((whole,))).arguments.arrays[0] is whole


def test_results_stay_on_the_device_that_inputs_are_bound_to():
    device = jax.devices()[0]
    p = jax.device_put(probabilities(5, 2), device)
    found = two()(a=p, b=p)["both"]
    assert found.committed
    assert found.devices() == {device}


def test_a_batch_that_fits_as_it_is_given_is_not_refused_for_its_padding(monkeypatch):
    reasoner = Reasoner(
        "type a(x: i32)\nrel q() = a(x), a(x + 11)",
        provenance="diffaddmultprob",
        input_mappings={"a": range(13)},
        output_mapping=("q", ()),
    )
    circuit, arrays = reasoner.evaluator.layout.circuit, [np.full((5, 13), 0.5, np.float32)]
    # One float32 for each row and sample.
    monkeypatch.setattr(tag_rows, "MAX_TAG_BYTES", 4 * 5 * (circuit.forward.num_heads + circuit.num_leaves))
    values, residuals = reasoner.evaluator.forward(arrays)
    np.testing.assert_allclose(values, np.full((5, 1), 0.5))
    (gradient,), _ = reasoner.evaluator.pull_back(arrays, residuals, np.ones((5, 1), np.float32))
    expected = np.zeros((5, 13))
    expected[:, [0, 1, 11, 12]] = 0.5
    np.testing.assert_allclose(np.asarray(gradient), expected)
    with pytest.raises(UnsupportedError, match="7 samples"):
        reasoner(a=np.full((7, 13), 0.5, np.float32))
