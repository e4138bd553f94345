"""The fold by both executors: NumPy at once keeps the proofs and draws the numbers that code compiled by JAX does."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax import Context, InputMapping, Reasoner
from scallax.evaluation import numpy_executor
from scallax.evaluation.differentiation import forward
from scallax.evaluation.numpy_executor import evaluate, evaluate_tags, fits, work
from scallax.kernels import threefry
from scallax.kernels.selection_values import open_selections
from scallax.kernels.selections import CATEGORICAL, HEAVIEST, LIGHTEST, RANGE, SOFTMAX, UNIFORM, Selections
from scallax.provenance.base import AbstractProvenance
from scallax.provenance.traits import provenance_names
from tests.nightly import with_rest_at_night

# Values differ by the order of sums, and by multiplications and additions that are one instruction.
MAX_ULP = 8

# Proofs of equal rank: of one length, and of one fact beside two that weigh as much together. Cycles and negations.
TIES = """
rel path(x, y) = e(x, y)
rel path(x, z) = path(x, y), e(y, z)
rel apart(x, y) = e(x, y), not path(y, x)
rel one(x) = c(x), not apart(0, x)
"""
EDGES = [(x, y) for x in range(4) for y in range(4) if x != y and (x, y) != (3, 0)]
OUTPUTS = {"path": [(0, 3), (1, 2), (2, 0)], "apart": EDGES[:4], "one": range(3)}
WEIGHTS = np.array([[0.5], [0.25], [0.7], [1.0], [0.0]]) * np.ones(len(EDGES))
WEIGHTS[1, ::3] = 0.5

# Python objects, what has no negation, and what is JAX's alone.
OTHERS = ("proofs", "realtropicalproofs", "probproofs", "custom")
PROVENANCES = [name for name in provenance_names() if name not in OTHERS]
BY_DAY = ("minmaxprob", "diffnandmultprob", "topkproofs", "topbottomkclauses")


def ties(provenance: str, **options) -> Reasoner:
    mappings = {"e": InputMapping(EDGES), "c": InputMapping(range(3), disjunctive=True)}
    return Reasoner(TIES, provenance=provenance, input_mappings=mappings, output_mappings=OUTPUTS, **options)


def assert_same(reasoner: Reasoner, batch: np.ndarray) -> None:
    """The values and proofs of both executors for a batch of all inputs."""
    circuit, provenance = reasoner.evaluator.layout.circuit, reasoner.evaluator.provenance
    assert isinstance(provenance, AbstractProvenance)
    inputs = np.ascontiguousarray(batch.T)
    present = inputs != 0.25
    expected, residuals = jax.jit(partial(forward, provenance))(circuit, inputs, present)
    found = evaluate(provenance, circuit, inputs, present)
    assert found.dtype == expected.dtype
    if found.dtype == np.float32:
        np.testing.assert_array_max_ulp(found, np.asarray(expected), MAX_ULP)
    else:
        np.testing.assert_array_equal(found, expected)
    if provenance.traits.num_proofs:
        tags = provenance.proof_sets(evaluate_tags(provenance, circuit, inputs, present))
        for own, compiled in zip(tags[:2], provenance.proof_sets(residuals.tags)[:2], strict=True):
            np.testing.assert_array_equal(own, compiled)


@pytest.mark.filterwarnings("ignore:no rule can derive", "ignore:.*stands for itself")
@pytest.mark.parametrize("provenance", with_rest_at_night(PROVENANCES, BY_DAY))
def test_both_executors_keep_the_same_proofs_where_many_are_equal(provenance: str):
    scale = 10 if provenance in ("natural", "tropical") else 1
    weights = np.concatenate([WEIGHTS, WEIGHTS[:, :3] / 2], 1)
    assert_same(ties(provenance), (weights * scale).astype(np.float32))


@pytest.mark.nightly
@pytest.mark.parametrize("options", [{"k": 12}, {"k": 3, "wmc_with_disjunctions": True}, {"k": 2, "absorb": False}])
@pytest.mark.parametrize("provenance", ["topkproofs", "topbottomkclauses", "samplekproofs"])
def test_both_executors_keep_the_same_proofs_by_every_option(provenance: str, options: dict):
    weights = np.random.default_rng(0).choice([0.125, 0.25, 0.5, 0.75], (6, len(EDGES) + 3))
    assert_same(ties(provenance, **options), weights.astype(np.float32))


def test_numbers_are_drawn_as_jax_draws_them():
    # The known answer of Random123, for a key and a counter of zeros.
    words = threefry._hash(np.zeros(2, np.uint32), np.zeros(1, np.uint32), np.zeros(1, np.uint32))
    assert [np.asarray(word).item() for word in words] == [0x6B200159, 0x99BA4EFE]
    for seed in (0, 7, 2**32 - 1):
        key = jax.random.fold_in(jax.random.key(seed), 12345)
        own = threefry.fold_in(threefry.key(seed), 12345)
        np.testing.assert_array_equal(own, jax.random.key_data(key))
        np.testing.assert_array_equal(threefry.uniform(own, (5, 3)), jax.random.uniform(key, (5, 3)))
    with jax.enable_x64(True):
        np.testing.assert_array_equal(
            threefry.uniform(own, (7,), np.float64), jax.random.uniform(key, (7,), jnp.float64)
        )
    logits = np.log(np.array([[0.1, 0.2, 0.7], [0.4, 0.4, 0.2]], np.float32))
    np.testing.assert_array_equal(
        threefry.categorical(own, logits, (9,)), jax.random.categorical(key, logits, -1, (9, 2))
    )


@pytest.mark.parametrize("size", [3, pytest.param(300, marks=pytest.mark.nightly)])
def test_selections_are_the_same_by_both_executors(size: int):
    """Groups of each order, ties and members that are not there among them; large ones are sorted."""
    orders = np.repeat([HEAVIEST, LIGHTEST, UNIFORM, CATEGORICAL], size).astype(np.int32)
    place = np.arange(len(orders), dtype=np.int32)
    groups = place // size
    kinds = np.where(place % 3 == 2, SOFTMAX, RANGE).astype(np.int32)
    selections = Selections(groups, groups * size, orders, place, place, kinds, 0 * place, 0 * place + 1)
    weights = np.random.default_rng(0).choice([0.0, 0.25, 0.5, 0.75], (len(orders), 8)).astype(np.float32)
    seed = np.uint32(5)
    with np.errstate(all="ignore"):
        values, opened = open_selections(selections, weights, seed)
    expected, expected_opened = jax.jit(open_selections)(selections, weights, seed)
    np.testing.assert_array_equal(opened, expected_opened)
    np.testing.assert_array_max_ulp(values, np.asarray(expected), MAX_ULP)
    assert values.dtype == np.float32


def test_work_grows_with_the_circuit_and_the_proofs_that_it_keeps(monkeypatch):
    program = "rel p(x, y) = e(x, y)\nrel p(x, z) = p(x, y), e(y, z)\nquery p"

    def of(size: int, provenance: str, k: int = 3) -> tuple[float, bool]:
        edges = [(x, x + 1) for x in range(size)]
        reasoner = Reasoner(program, provenance=provenance, k=k, input_mappings={"e": edges})
        circuit, algebra = reasoner.evaluator.layout.circuit, reasoner.evaluator.provenance
        return work(circuit, algebra), fits(circuit, algebra)

    small, large, proofs = of(4, "minmaxprob"), of(40, "minmaxprob"), of(40, "topkproofs")
    assert small[0] < large[0] < proofs[0] < of(40, "topkproofs", k=8)[0]
    assert proofs[1]
    monkeypatch.setattr(numpy_executor, "MOST_WORK", large[0])
    assert of(40, "minmaxprob")[1]
    assert not of(40, "topkproofs")[1]


@pytest.mark.parametrize(("provenance", "value"), [("realtropical", np.inf), ("natural", 2**31 - 1)])
def test_numbers_beyond_their_dtype_are_infinite_or_saturate_without_a_warning_of_numpy(provenance: str, value: float):
    mappings, outputs = {"e": range(1), "f": range(1)}, ("p", [()])
    program = "rel p() = e(x), e(y), f(x)"
    of_arrays = Reasoner(
        program, provenance=provenance, input_mappings=mappings, output_mapping=outputs, executor="numpy"
    )
    e = np.full((1, 1), 60_000, np.float16)
    assert of_arrays(e=e, f=e).tolist() == [[value]]


def test_a_cost_beyond_float32_is_infinite_in_a_context():
    context = Context("realtropical")
    context.add_program("type e(i32)\nrel p() = e(x)")
    context.add_facts("e", [(1e300, (0,))])
    context.run()
    assert list(context.relation("p")) == [(np.inf, ())]
