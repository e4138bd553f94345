"""`Reasoner`: values, result forms, transformations, dtypes, compilations."""

import copy
import itertools
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax import InputMapping, Reasoner
from tests.compilations import counted_compilations

SUM_2 = "rel sum_2(a + b) = digit_a(a) and digit_b(b)"
DIGITS = {"digit_a": range(10), "digit_b": range(10)}


def sum_2(provenance="diffaddmultprob", **options: Any) -> Reasoner:
    options = {"input_mappings": DIGITS, "output_mapping": ("sum_2", range(19)), **options}
    return Reasoner(SUM_2, provenance=provenance, **options)


def probabilities(*shape: int, seed: int = 0, dtype: type = np.float32) -> np.ndarray:
    values = np.random.default_rng(seed).random(shape)
    return (values / values.sum(-1, keepdims=True)).astype(dtype)


@pytest.fixture(scope="module")
def adder() -> Reasoner:
    return sum_2()


@pytest.fixture(scope="module")
def digits() -> dict[str, np.ndarray]:
    return {"digit_a": probabilities(4, 10), "digit_b": probabilities(4, 10, seed=1)}


def convolved(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([np.convolve(x, y) for x, y in zip(a, b, strict=True)])


def test_the_sum_of_products_is_a_convolution(adder, digits):
    np.testing.assert_allclose(adder(**digits), convolved(*digits.values()), rtol=1e-5)


def test_ten_proofs_are_all_the_proofs(digits):
    pairs = list(itertools.product(range(10), repeat=2))
    expected = np.ones((4, 19))
    for i, j in pairs:
        expected[:, i + j] *= 1 - digits["digit_a"][:, i] * digits["digit_b"][:, j]
    actual = sum_2("difftopkproofs", k=10)(**digits)
    # Proofs of one sum share no literal, so they are independent.
    np.testing.assert_allclose(actual, 1 - expected, atol=2e-6)


def test_jit_and_eager_agree(adder, digits):
    np.testing.assert_allclose(jax.jit(adder)(**digits), adder(**digits), rtol=1e-6)


def test_vmap_is_a_loop(adder, digits):
    a, b = jnp.asarray(digits["digit_a"]), jnp.asarray(digits["digit_b"])

    def one(x, y):
        return adder(digit_a=x[None], digit_b=y[None])[0]

    np.testing.assert_allclose(jax.vmap(one)(a, b), adder(**digits), rtol=1e-6)
    shared = jax.vmap(lambda x: adder(digit_a=x[None], digit_b=b[:1])[0])(a)
    loop = [adder(digit_a=x[None], digit_b=b[:1])[0] for x in a]
    np.testing.assert_allclose(shared, np.stack(loop), rtol=1e-6)


def test_gradients_equal_those_of_the_formula(adder, digits):
    weights = np.random.default_rng(2).random((4, 19)).astype(np.float32)
    a, b = digits.values()
    actual = jax.grad(lambda a, b: (adder(digit_a=a, digit_b=b) * weights).sum(), argnums=(0, 1))(a, b)
    expected_a = [[w[i : i + 10] @ y for i in range(10)] for w, y in zip(weights, b, strict=True)]
    expected_b = [[w[i : i + 10] @ x for i in range(10)] for w, x in zip(weights, a, strict=True)]
    np.testing.assert_allclose(actual[0], expected_a, rtol=1e-5)
    np.testing.assert_allclose(actual[1], expected_b, rtol=1e-5)


def test_forward_and_pull_back_are_the_gradient(adder, digits):
    arrays = adder.evaluator.layout.order(digits)
    cotangent = np.random.default_rng(3).random((4, 19)).astype(np.float32)
    values, pull = jax.vjp(lambda *arrays: adder.evaluator.evaluate(arrays), *map(jnp.asarray, arrays))
    packed, residuals = adder.evaluator.forward(arrays)
    np.testing.assert_array_equal(packed, values)
    gradients, _ = adder.evaluator.pull_back(arrays, residuals, cotangent)
    for ours, theirs in zip(gradients, pull(jnp.asarray(cotangent)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_no_index_array_is_a_residual(adder, digits):
    _, residuals = adder.evaluator.forward(adder.evaluator.layout.order(digits))
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(residuals))


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ({"output_mapping": ("sum_2", range(19))}, np.s_[:]),
        ({"output_relation": "sum_2", "output_mapping": range(19)}, np.s_[:]),
        ({"output_relation": "sum_2", "output_mapping": [(3,), (0,)]}, np.s_[:, [3, 0]]),
        ({"output_relation": "sum_2", "output_mapping": (3,)}, np.s_[:, 3]),
        ({"output_mapping": ("sum_2", (3,))}, np.s_[:, 3]),
    ],
)
def test_output_mappings(output, expected, digits):
    reasoner = sum_2(**{"output_mapping": None, **output})
    np.testing.assert_allclose(reasoner(**digits), convolved(*digits.values())[expected], rtol=1e-5)


def test_without_an_output_mapping_every_possible_tuple_is_listed(digits):
    reasoner = sum_2(output_mapping=None, output_relation="sum_2")
    tuples, values = reasoner(**digits)
    assert tuples == [(n,) for n in range(19)]
    np.testing.assert_allclose(values, convolved(*digits.values()), rtol=1e-5)


def test_several_outputs_are_a_dictionary(digits):
    program = f"{SUM_2}\nrel less() = digit_a(a) and digit_b(b) and a < b"
    reasoner = Reasoner(
        program,
        provenance="diffaddmultprob",
        input_mappings=DIGITS,
        output_mappings={"less": (), "sum_2": [0, 1], "digit_a": None},
    )
    outputs = reasoner(**digits)
    a, b = digits.values()
    assert list(outputs) == ["less", "sum_2", "digit_a"]
    np.testing.assert_allclose(
        outputs["less"], [np.triu(np.outer(x, y), 1).sum() for x, y in zip(a, b, strict=True)], rtol=1e-5
    )
    np.testing.assert_allclose(outputs["sum_2"], convolved(a, b)[:, :2], rtol=1e-5)
    tuples, values = outputs["digit_a"]
    assert tuples == [(n,) for n in range(10)]
    np.testing.assert_allclose(values, a, rtol=1e-6)


def test_one_output_mapping_in_a_dictionary_stays_a_dictionary(digits):
    outputs = sum_2(output_mapping=None, output_mappings={"sum_2": range(19)})(**digits)
    assert list(outputs) == ["sum_2"]


def test_a_pair_is_a_tuple_where_the_relation_is_named():
    reasoner = Reasoner(
        'rel pair = {("ann", "bob"), ("bob", "cy")}\nrel likes(a, b) = pair(a, b) and name(a)',
        provenance="diffminmaxprob",
        input_mappings={"name": ["ann", "bob"]},
        output_relation="likes",
        output_mapping=("ann", "bob"),
    )
    np.testing.assert_allclose(reasoner(name=np.array([[0.25, 0.5]], np.float32)), [0.25])


def test_queries_are_the_outputs_where_none_are_named(digits):
    reasoner = Reasoner(f"{SUM_2}\nquery sum_2", provenance="diffaddmultprob", input_mappings=DIGITS)
    tuples, values = reasoner(**digits)
    assert len(tuples) == 19
    np.testing.assert_allclose(values, convolved(*digits.values()), rtol=1e-5)


def test_a_listed_nan_has_its_value():
    program = "rel f = {0.5::1.0, 2.0}\nrel q(x / 0.0 - x / 0.0) = f(x) and x < 2.0\nquery q"
    (tuples, values) = Reasoner(program, provenance="difftopkproofs")()
    assert np.isnan(tuples).tolist() == [[True]]
    np.testing.assert_allclose(values, [[0.5]])


def test_a_hidden_relation_can_be_asked_for_and_given():
    program = "@hidden rel edge = {0.5::(0, 1)}\n@hidden type start(i32)\n@hidden rel end(y) = start(x) and edge(x, y)"
    tuples, values = Reasoner("@hidden rel a = {0.5::1}\nquery a")()
    assert tuples == [(1,)]
    np.testing.assert_allclose(values, [[0.5]])
    reasoner = Reasoner(
        program, facts={"edge": [(0.25, (1, 1))]}, input_mappings={"start": [0, 1]}, output_mapping=("end", [1])
    )
    np.testing.assert_allclose(reasoner(start=np.array([[1, 0], [0, 1]], np.float32)), [[0.5], [0.25]])


def test_facts_rules_relations_and_a_file_are_parts_of_the_program(tmp_path):
    file = tmp_path / "reach.scl"
    file.write_text("rel path(a, b) = edge(a, b)")
    reasoner = Reasoner(
        file=file,
        provenance="diffaddmultprob",
        relations=[("edge", (int, int)), ("start", "i32")],
        rules=["path(a, c) = path(a, b) and edge(b, c)", "end(b) = start(a) and path(a, b)"],
        facts={"edge": [(0.5, (0, 1)), (0.25, (1, 2))], "start": [(None, 0)]},
        output_mapping=("end", [1, 2]),
    )
    np.testing.assert_allclose(reasoner(), [[0.5, 0.125]])


def test_facts_of_non_probabilistic_relations_have_no_tags():
    reasoner = Reasoner(
        "rel path(a, b) = edge(a, b) and open(b)",
        provenance="diffaddmultprob",
        facts={"edge": [(0, 1), (1, 2)]},
        non_probabilistic=["edge"],
        input_mappings={"open": [1, 2]},
        output_mapping=("path", [(0, 1), (1, 2)]),
    )
    np.testing.assert_allclose(reasoner(open=np.array([[0.5, 0.25]], np.float32)), [[0.5, 0.25]])


@pytest.mark.parametrize(
    ("mapping", "shape"),
    [
        ({0: range(2), 1: range(3)}, (2, 3)),
        ([[(i, j) for j in range(3)] for i in range(2)], (2, 3)),
        ([(i, j) for i in range(2) for j in range(3)], (6,)),
    ],
)
def test_axes_of_an_input_follow_its_mapping(mapping, shape):
    reasoner = Reasoner(
        "rel row(i) = cell(i, j)",
        provenance="diffaddmultprob",
        input_mappings={"cell": mapping},
        output_mapping=("row", range(2)),
    )
    cell = np.random.default_rng(0).random((5, 2, 3)).astype(np.float32) / 6
    np.testing.assert_allclose(reasoner(cell=cell.reshape(5, *shape)), cell.sum(2), rtol=1e-6)


def test_a_mapping_of_one_tuple_takes_one_number_a_sample():
    reasoner = Reasoner(
        "rel both() = left(1, 2) and right(3)",
        provenance="diffaddmultprob",
        input_mappings={"left": (1, 2), "right": 3},
        output_mapping=("both", ()),
    )
    left, right = np.array([0.5, 1.0], np.float32), np.array([0.5, 0.25], np.float32)
    np.testing.assert_allclose(reasoner(left=left, right=right), [0.25, 0.25])


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({"retain_threshold": 0.3}, [[1, 0, 1], [0, 1, 0]]),
        ({"retain_k": 2}, [[1, 0, 0], [0, 1, 0]]),
        ({"retain_k": 1, "sample_dim": 1}, [[1, 0, 0], [0, 1, 0]]),
        ({"retain_k": 1, "sample_dim": 0}, [[1, 0, 1], [0, 1, 0]]),
        ({"retain_k": 9}, [[1, 1, 1], [1, 1, 1]]),
        ({"retain_k": 2, "retain_threshold": 0.7}, [[1, 0, 0], [0, 0, 0]]),
    ],
)
def test_entries_that_are_not_retained_do_not_exist(options, kept):
    cell = np.array([[[0.8, 0.1, 0.3], [0.2, 0.6, 0.05]]], np.float32)
    reasoner = Reasoner(
        "rel same(i, j) = cell(i, j)",
        provenance="diffaddmultprob",
        input_mappings={"cell": InputMapping({0: range(2), 1: range(3)}, **options)},
        output_mapping=("same", list(itertools.product(range(2), range(3)))),
    )
    kept = np.array(kept, np.float32).reshape(1, 6)
    np.testing.assert_allclose(reasoner(cell=cell), cell.reshape(1, 6) * kept)
    gradient = jax.grad(lambda cell: reasoner(cell=cell).sum())(cell)
    np.testing.assert_allclose(gradient.reshape(1, 6), kept)


def test_retain_topk_keeps_the_largest_and_of_equal_ones_the_first():
    reasoner = sum_2(retain_topk={"digit_a": 2})
    a = np.array([[0.3, 0.1, 0.3, 0.3, 0, 0, 0, 0, 0, 0]], np.float32)
    b = np.eye(10, dtype=np.float32)[:1]
    np.testing.assert_allclose(reasoner(digit_a=a, digit_b=b)[0, :4], [0.3, 0, 0.3, 0])


def test_retain_topk_keeps_the_other_options_of_a_mapping():
    mapping = InputMapping(
        {0: range(2), 1: range(3)}, disjunctive_dim=1, retain_threshold=0.1, retain_k=2, sample_dim=1
    )
    reasoner = Reasoner(
        "rel row(i) = cell(i, j)",
        input_mappings={"cell": mapping},
        output_mapping=("row", range(2)),
        retain_topk={"cell": 1},
    )
    ((_, found),) = reasoner.specification.input_mappings
    assert found.options == {**mapping.options, "retain_k": 1}
    # The largest of each row, not of both.
    cell = np.array([[[0.2, 0.5, 0.3], [0.2, 0.05, 0.1]]], np.float32)
    np.testing.assert_allclose(reasoner(cell=cell), [[0.5, 0.2]], rtol=1e-6)


def test_exclusive_entries_are_never_true_together():
    program = "rel twice() = digit(0) and digit(1)"
    exclusive = InputMapping(range(2), disjunctive=True)
    value = np.array([[0.5, 0.5]], np.float32)
    outputs = {"provenance": "difftopkproofs", "output_mapping": ("twice", ())}
    apart = Reasoner(program, input_mappings={"digit": exclusive}, **outputs)(digit=value)
    free = Reasoner(program, input_mappings={"digit": range(2)}, **outputs)(digit=value)
    np.testing.assert_allclose(apart, [0.0])
    np.testing.assert_allclose(free, [0.25], rtol=1e-6)


def test_exclusive_mappings_of_two_relations_do_not_collide():
    mappings = {name: InputMapping(range(10), disjunctive=True) for name in DIGITS}
    a, b = probabilities(2, 10), probabilities(2, 10, seed=1)
    free = sum_2("difftopkproofs")(digit_a=a, digit_b=b)
    np.testing.assert_allclose(sum_2("difftopkproofs", input_mappings=mappings)(digit_a=a, digit_b=b), free, rtol=1e-6)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_narrow_floats_are_computed_in_float32_and_cast_back(dtype, adder, digits):
    narrow = {name: jnp.asarray(values).astype(dtype) for name, values in digits.items()}
    wide = {name: values.astype(jnp.float32) for name, values in narrow.items()}
    assert adder(**narrow).dtype == dtype
    np.testing.assert_array_equal(adder(**narrow), adder(**wide).astype(dtype))
    gradient = jax.grad(lambda a: adder(digit_a=a, digit_b=narrow["digit_b"])[:, 3].sum().astype(jnp.float32))
    assert gradient(narrow["digit_a"]).dtype == dtype


def test_float64_is_computed_in_float64(adder):
    a, b = probabilities(3, 10, dtype=np.float64), probabilities(3, 10, seed=1, dtype=np.float64)
    with jax.enable_x64(True):
        values = adder(digit_a=a, digit_b=b)
        assert values.dtype == jnp.float64
        np.testing.assert_allclose(values, convolved(a, b), rtol=1e-14)


def test_mixed_floats_give_the_wider_one(adder, digits):
    half = jnp.asarray(digits["digit_a"]).astype(jnp.float16)
    assert adder(digit_a=half, digit_b=digits["digit_b"]).dtype == jnp.float32


def test_outputs_of_bool_are_bool():
    reasoner = sum_2("bool", output_mapping=("sum_2", range(19)))
    a, b = np.zeros((1, 10), bool), np.zeros((1, 10), bool)
    a[0, 3] = b[0, [4, 5]] = True
    values = reasoner(digit_a=a, digit_b=b)
    assert values.dtype == jnp.bool_
    assert np.flatnonzero(values[0]).tolist() == [7, 8]


@pytest.mark.parametrize("batch", [0, 1, 3])
def test_every_batch_size(batch, adder):
    a, b = probabilities(batch, 10), probabilities(batch, 10, seed=1)
    assert adder(digit_a=a, digit_b=b).shape == (batch, 19)
    gradient = jax.grad(lambda a: adder(digit_a=a, digit_b=b).sum())(a)
    assert gradient.shape == (batch, 10)


def test_without_inputs_the_batch_is_one():
    reasoner = Reasoner(
        "rel p = {0.5::1, 0.25::2}\nrel q(x) = p(x)", provenance="diffaddmultprob", output_mapping=("q", [1, 2])
    )
    np.testing.assert_allclose(reasoner(), [[0.5, 0.25]])


def test_a_second_call_compiles_nothing(digits):
    reasoner = sum_2()

    def loss(a):
        return reasoner(digit_a=a, digit_b=digits["digit_b"]).sum()

    reasoner(**digits)
    jax.grad(loss)(digits["digit_a"])
    with counted_compilations() as compiled:
        reasoner(**digits)
        jax.grad(loss)(digits["digit_a"])
    assert compiled == []


def test_equal_reasoners_share_a_compilation(digits):
    sum_2("diffminmaxprob")(**digits)
    with counted_compilations() as compiled:
        sum_2("diffminmaxprob")(**digits)
        Reasoner(
            "rel total(x + y) = right(x) and left(y)",
            provenance="diffminmaxprob",
            input_mappings={"left": range(10), "right": range(10)},
            output_mapping=("total", range(19)),
        )(left=digits["digit_a"], right=digits["digit_b"])
    assert compiled == []


def test_k_is_chosen_without_grounding_again(digits):
    reasoner = sum_2("difftopkproofs", k=3, train_k=1, test_k=10)
    one, three, ten = (sum_2("difftopkproofs", k=k)(**digits) for k in (1, 3, 10))
    np.testing.assert_array_equal(reasoner(**digits), three)
    np.testing.assert_array_equal(reasoner.in_mode(True)(**digits), one)
    np.testing.assert_array_equal(reasoner.in_mode(False)(**digits), ten)
    np.testing.assert_array_equal(reasoner.with_k(10)(**digits), ten)
    assert reasoner.with_k(5).specification.k == 5
    assert sum_2("difftopkproofs").in_mode(True)(**digits).tolist() == three.tolist()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, copy.copy, lambda reasoner: pickle.loads(pickle.dumps(reasoner))])
def test_a_copy_is_equal_bit_for_bit(duplicate, adder, digits):
    twin = duplicate(adder)
    assert twin.specification == adder.specification
    assert twin.specification.digest == adder.specification.digest
    np.testing.assert_array_equal(twin(**digits), adder(**digits))


def test_the_order_of_dictionaries_does_not_matter():
    swapped = sum_2(input_mappings=dict(reversed(DIGITS.items())))
    assert swapped.specification == sum_2().specification


def test_index_arrays_are_placed_once(adder, digits):
    adder(**digits)
    on_device = {name: jax.device_put(values) for name, values in digits.items()}
    with jax.transfer_guard_host_to_device("disallow_explicit"):
        adder(**on_device)
