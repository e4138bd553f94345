"""Proof sets: absorption, negation without repeats, counting with few and with many proofs, their memory."""

import functools
import itertools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.workloads import first_sum, reference_rows
from scallax import InputMapping, Reasoner
from scallax.circuits import constant_program
from scallax.errors import UnsupportedError
from scallax.evaluation import tag_rows
from scallax.provenance.proofs import decision_diagrams, ranks
from tests.compilations import forget_compiled
from tests.nightly import with_rest_at_night

# Edges 0→1, 1→2, 0→2 and 2→0: going round the cycle gives proofs of (0, 2) that contain others.
CYCLE = "rel path(x, y) = edge(x, y)\nrel path(x, z) = path(x, y), edge(y, z)"
EDGES = [(0, 1), (1, 2), (0, 2), (2, 0)]


def by_worlds(p: np.ndarray, holds: Callable[[set[int]], bool]) -> float:
    """The probability of the worlds, sets of true facts, in which something holds."""
    total = 0.0
    for world in itertools.product((False, True), repeat=len(p)):
        if holds({fact for fact, is_true in enumerate(world) if is_true}):
            total += float(np.prod(np.where(world, p, 1 - p)))
    return total


@pytest.mark.parametrize(("k", "absorb", "expected"), [(2, True, 0.836), (2, False, 0.8), (3, False, 0.836)])
def test_a_proof_that_contains_another_takes_a_place_only_where_asked_for(k: int, absorb: bool, expected: float):
    path = Reasoner(CYCLE, k=k, absorb=absorb, input_mappings={"edge": EDGES}, output_mapping=("path", (0, 2)))
    assert path(edge=np.array([[0.9, 0.2, 0.8, 0.6]], np.float32))[0] == pytest.approx(expected, rel=1e-6)


# One conjunction, joined in each order.
JOINS = (
    "rel ab(x) = a(x), b(x)\nrel q() = ab(x), c(x)",
    "rel bc(x) = b(x), c(x)\nrel q() = a(x), bc(x)",
    "rel ac(x) = a(x), c(x)\nrel q() = ac(x), b(x)",
)


@pytest.mark.parametrize("is_known", [True, False])
def test_the_proofs_kept_of_equal_weight_do_not_depend_on_the_order_of_joins(is_known: bool, monkeypatch):
    if not is_known:
        # Steps join the proofs, instead of code that has them all.
        monkeypatch.setattr(constant_program, "_MAX_BYTES", 0)
    weights = np.array(list(itertools.permutations([0.1, 0.3, 0.7])), np.float32)
    # In float32 the products of the same three numbers differ by their order.
    assert len({float(a * b * c) for a, b, c in weights}) > 1
    for text in JOINS:
        mappings = {name: range(len(weights)) for name in "abc"}
        q = Reasoner(text, provenance="difftopkproofsdebug", k=2, input_mappings=mappings, output_mapping=("q", [()]))
        a, b, c = weights.T[:, None]
        _, proofs = q(a=a, b=b, c=c)
        # The literals of the first facts come first.
        kept = [[str(literal) for literal in proof] for proof in proofs[0][0]]
        assert kept == [["a(0)", "b(0)", "c(0)"], ["a(1)", "b(1)", "c(1)"]]


def host_rank(weight: np.floating) -> int:
    """The rank of a literal's weight, in Python's integers alone."""
    bits = int(abs(np.float32(weight)).view(np.int32))
    if bits < 1 << 23:
        return -(1 << 28)
    if bits >= 255 << 23:
        return 1 << 28
    place, rest = bits >> 15 & 255, bits & 32767
    low, high = (round(2**17 * math.log2(1 + (place + offset) / 256)) for offset in (0, 1))
    logarithm = ((bits >> 23) - 127 << 17) + low + ((high - low) * rest + 16384 >> 15)
    return 2 * logarithm + int(weight < 0)


def test_ranks_are_the_same_integers_on_the_host_and_in_the_order_of_products():
    generator = np.random.default_rng(0)
    special = [0.0, 1.0, 1 - 2**-24, 1e-30, 2e-38, 1.2e-38, 1e-39, 1e-45, 0.5, 2.5, 3e38]
    weights = np.concatenate([generator.random(200), special]).astype(np.float32)
    weights = np.sort(np.concatenate([-weights, weights]))
    found = jax.jit(ranks.rank_weights)(weights)
    assert found.tolist() == [host_rank(weight) for weight in weights]
    strange = np.array([np.inf, -np.inf, np.nan, -np.nan], np.float32)
    assert jax.jit(ranks.rank_weights)(strange).tolist() == [host_rank(weight) for weight in strange] == 4 * [1 << 28]
    # In float32 the last but two is 1, and the last but one is zero.
    doubles = np.concatenate([generator.random(50), [1 - 1e-9, 1e-60, 0.1]])
    with jax.enable_x64(True):
        assert jax.jit(ranks.rank_weights)(doubles).tolist() == [host_rank(weight) for weight in doubles]
    assert (np.diff(ranks.keys_of(found)) >= 0).all()
    assert (ranks.keys_of(ranks.keys_of(found)) == found).all()
    # Products of a negative number with others are in the order of their sizes too, unless one rounds to zero.
    is_exact = (weights == 0) | (np.abs(weights) >= np.finfo(np.float32).tiny)
    weights, found = weights[is_exact], found[is_exact]
    pairs = np.asarray(ranks.keys_of(ranks.add_ranks(found[:, None], found[None])))
    products = weights[:, None].astype(np.float64) * weights[None]
    order = np.argsort(products, axis=None)
    far = np.diff(products.reshape(-1)[order]) > 1e-4 * np.abs(products.reshape(-1)[order][1:])
    assert (np.diff(pairs.reshape(-1)[order].astype(np.int64))[far] >= 0).all()
    # Products that are zero: those with fewer zeros come first, then those with larger other weights.
    zero, half = (host_rank(np.float32(weight)) for weight in (0, 0.5))
    in_order = [[zero], [zero, half], [zero, half, half], [zero, zero], [zero, zero, half], 3 * [zero]]
    sums = [functools.reduce(ranks.add_ranks, map(np.int32, each)) for each in in_order]
    assert sums == sorted(sums, reverse=True) == [sum(each) for each in in_order]


def test_proofs_of_a_negation_are_distinct_and_minimal():
    # The negation of two proofs that share a fact: not f(0), or not f(1) and not f(2). Every other choice contains one.
    program = "rel g() = f(0), f(1)\nrel g() = f(0), f(2)\nrel out() = f(3) and not g()"
    out = Reasoner(program, k=2, input_mappings={"f": range(4)}, output_mapping=("out", ()))
    p = np.array([0.5, 0.4, 0.3, 0.9], np.float32)
    expected = by_worlds(p.astype(float), lambda world: 3 in world and not (0 in world and world & {1, 2}))
    assert out(f=p[None])[0] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("provenance", ["topkproofs", "topbottomkclauses"])
def test_exclusive_facts_in_negations_are_one_variable(provenance: str):
    program = """
        type a(x: i32)
        rel b(x) = a(x), not a(x + 1)
        rel c() = a(0) or a(1)
        rel d(0) = a(2), not c()
        rel d(1) = not b(2), not c()
    """
    entries = InputMapping(range(4), disjunctive=True)
    outputs = {"b": range(4), "d": range(2)}
    reasoner = Reasoner(
        program,
        provenance=provenance,
        k=30,
        wmc_with_disjunctions=True,
        input_mappings={"a": entries},
        output_mappings=outputs,
    )
    found = reasoner(a=np.array([[0.1, 0.2, 0.3, 0.15]], np.float32))
    # One of the four holds, or, with a probability of 0.25, none.
    np.testing.assert_allclose(found["b"][0], [0.1, 0.2, 0.3, 0.15], rtol=1e-6)
    np.testing.assert_allclose(found["d"][0], [0.3, 0.15 + 0.25], rtol=1e-6)


@pytest.mark.parametrize("k", with_rest_at_night([3, 16, 64], [3, 64]))
def test_proofs_without_a_common_fact_are_counted_with_gradients(k: int):
    # The k likeliest of the 2k alternatives are kept; facts of probability 0 and 1 are among them.
    program = "rel out() = f(x, 0), f(x, 1)"
    entries = [(x, side) for x in range(2 * k) for side in (0, 1)]
    out = Reasoner(program, k=k, input_mappings={"f": entries}, output_mapping=("out", ()))
    p = np.random.default_rng(0).uniform(0.01, 0.2, (2 * k, 2)).astype(np.float32)
    p[0, 0], p[1, 0] = 1, 0
    value, gradient = jax.value_and_grad(lambda p: out(f=p.reshape(1, -1))[0])(jnp.asarray(p))
    weights = p.prod(1).astype(float)
    kept = np.argsort(-weights, kind="stable")[:k]
    expected = 1 - np.prod(1 - weights[kept])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    others = (1 - expected) / (1 - weights[kept])
    np.testing.assert_allclose(np.asarray(gradient)[kept], others[:, None] * p[kept][:, ::-1], rtol=1e-4, atol=1e-7)


def test_conjunctions_of_single_nodes_count_a_shared_fact_once():
    # Both sides of the last join are conjunctions that share f(0), and its complement occurs as well.
    program = """
rel left(x) = f(0), f(x), not f(5), x != 0
rel right(x) = f(0), f(x), not f(6), x != 0
rel chain(x) = left(x)
rel chain(y) = chain(x), right(y), y == x + 1
"""
    chain = Reasoner(program, k=10, input_mappings={"f": range(7)}, output_mapping=("chain", [2, 3]))
    p = np.random.default_rng(1).uniform(0.2, 0.9, 7).astype(np.float32)

    def holds(world: set[int], y: int) -> bool:
        right = {x for x in world - {0} if 0 in world and 6 not in world}
        reached = {x for x in world - {0} if 0 in world and 5 not in world}
        for x in range(1, 6):
            if x in reached and x + 1 in right:
                reached.add(x + 1)
        return y in reached

    expected = [by_worlds(p.astype(float), lambda world, y=y: holds(world, y)) for y in (2, 3)]
    np.testing.assert_allclose(chain(f=p[None])[0], expected, rtol=1e-5)


def test_an_absent_fact_has_a_complement_that_takes_no_place():
    program = "rel out(x) = f(x), not g(x)"
    mappings = {"f": range(2), "g": range(2)}
    out = Reasoner(program, k=1, input_mappings=mappings, retain_topk={"g": 1}, output_mapping=("out", range(2)))
    f, g = np.array([[0.5, 0.5]], np.float32), np.array([[0.6, 0.2]], np.float32)
    np.testing.assert_allclose(out(f=f, g=g), [[0.5 * 0.4, 0.5]], rtol=1e-6)


PAIRS = "rel r() = a(x), b(x)\nrel s() = a(x), not b(x)\nrel t() = r(), not s()"


# Without a cycle there is no way from 0 to 0.
@pytest.mark.filterwarnings("ignore:no rule can derive")
@pytest.mark.parametrize(
    ("provenance", "cycle"),
    with_rest_at_night(
        [
            ("difftopkproofs", ""),
            *((name, CYCLE) for name in ("difftopkproofs", "diffsamplekproofs", "difftopbottomkclauses")),
        ],
        [("difftopkproofs", "")],
    ),
)
def test_leaves_that_are_made_where_they_are_read_are_those_that_are_kept(provenance: str, cycle: str, monkeypatch):
    program = f"{PAIRS}\nrel u(x) = path(0, x), not path(x, 0)\n{cycle or 'rel path(x, y) = edge(x, y)'}"
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0, 0.2, (3, n)).astype(np.float32) for n in (5, 4, 4)]

    def values_and_gradients():
        forget_compiled()
        reasoner = Reasoner(
            program,
            provenance=provenance,
            wmc_with_disjunctions=True,
            input_mappings={
                "a": InputMapping(range(5), disjunctive=True, retain_k=4),
                "b": range(3, 7),
                "edge": EDGES,
            },
            output_mappings={"t": [()], "u": range(3)},
        )
        values, residuals = reasoner.evaluator.forward(arrays)
        gradients = reasoner.evaluator.pull_back(arrays, residuals, np.ones(values.shape, np.float32))[0]
        return jax.tree.map(np.asarray, [values, *gradients])

    kept = values_and_gradients()
    monkeypatch.setattr(tag_rows, "_MAX_LEAF_BYTES", 0)
    made = values_and_gradients()
    monkeypatch.undo()
    forget_compiled()
    assert (kept[0] > 0).any()
    for a, b in zip(kept, made, strict=True):
        np.testing.assert_array_equal(a, b)


def code_size(num_facts: int, k: int = 3) -> int:
    """Lines of the code of values and gradients."""
    mappings = {"a": range(num_facts), "b": range(num_facts)}
    reasoner = Reasoner(PAIRS, k=k, input_mappings=mappings, output_mapping=("t", ()))
    p = np.full((2, num_facts), 0.5, np.float32)
    return jax.jit(jax.grad(lambda a, b: reasoner(a=a, b=b).sum())).lower(p, p).as_text().count("\n")


def test_code_does_not_grow_with_literals():
    assert code_size(8000) == code_size(4000)


@pytest.mark.parametrize(("some", "more"), [(6, 9), (11, 64)])
def test_code_does_not_grow_with_proofs(some: int, more: int):
    # Up to 5 proofs, loops over them are written out; up to 10, sums over sets of them take 3 at once, and the rest.
    assert code_size(20, some) == code_size(20, more)


def test_samples_that_keep_the_same_proofs_in_another_order_share_a_diagram(monkeypatch):
    built = []
    build = decision_diagrams._Diagram.build
    monkeypatch.setattr(decision_diagrams._Diagram, "build", lambda *given: built.append(given) or build(*given))
    edges = [(0, 1), (1, 2), (1, 3), (3, 2)]
    path = Reasoner(CYCLE, k=16, input_mappings={"edge": edges}, output_mapping=("path", (0, 2)))
    p = np.random.default_rng(0).uniform(0.1, 0.9, (8, 4)).astype(np.float32)
    first, direct, *detour = p.T.astype(np.float64)
    around = np.prod(detour, 0)
    assert len(set((direct > around).tolist())) == 2
    np.testing.assert_allclose(path(edge=p), first * (direct + around - direct * around), rtol=1e-6)
    formulas = [formula for _, formula in built if formula]
    assert len(formulas) == 1


def test_many_literals_of_one_tuple():
    n, k = 3000, 3
    reasoner = Reasoner(PAIRS, k=k, input_mappings={"a": range(n), "b": range(n)}, output_mapping=("r", ()))
    a, b = np.random.default_rng(0).uniform(size=(2, 2, n)).astype(np.float32)
    best = np.sort(a.astype(float) * b, 1)[:, -k:]
    np.testing.assert_allclose(reasoner(a=a, b=b), 1 - np.prod(1 - best, 1), rtol=1e-6)


def test_tags_that_need_too_much_memory_are_one_error_with_the_figures():
    edges = [(x, x + 1) for x in range(300)]
    path = Reasoner(CYCLE, k=64, input_mappings={"edge": edges}, output_mapping=("path", [(0, y) for y in (1, 300)]))
    with pytest.raises(UnsupportedError, match=r"would hold [0-9.]+ GiB.*4,000 samples") as caught:
        path(edge=np.full((4000, 300), 0.5, np.float32))
    assert "smaller batches" in str(caught.value)


# The other tasks are compared by `python -m benchmarks.workloads --sums`.
@pytest.mark.filterwarnings("ignore:no rule can derive")
@pytest.mark.parametrize("task", ["sum2", "less", "not3or4", "count5"])
def test_sums_of_outputs_are_those_recorded_of_the_reference(task: str):
    # Recorded to four places from float64, summed here in float32.
    assert first_sum(task) == pytest.approx(reference_rows()[task]["output_sum"], abs=2e-4)
