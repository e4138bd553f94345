"""Tensors as values of tuples, against NumPy."""

import pickle
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import scallax
import torch_bridge
from scallax import InputError, ScallaxError
from scallax.circuits.compile import analyse_program, ground_program
from scallax.errors import Source
from scallax.facts.fact_table import FactTable
from scallax.language.tensors import TensorValue
from scallax.provenance.traits import traits_of

A = np.array([1.0, 2.0], np.float32)
B = np.array([2.0, -1.0], np.float32)
M = np.arange(6.0).reshape(2, 3)


def tuples(text: str, tensors: list[Any], relation: str = "out") -> list[tuple]:
    """The tuples of a relation, given `t(i, tensor)` for each tensor."""
    values = [(i, TensorValue(tensor)) for i, tensor in enumerate(tensors)]
    program = analyse_program([Source(f"type t(i32, Tensor)  {text}")], {"t": values})
    given = [FactTable.of("t", values)]
    return sorted(ground_program(program, traits_of("unit"), given, [relation]).tuples(relation))


def test_equal_contents_are_one_value():
    views = [A, A.copy(), jnp.array(A), torch.tensor(A), A.astype(">f4"), np.array([1, 0, 2], np.float32)[::2]]
    assert len({TensorValue(view) for view in views}) == 1
    others = [A.astype(np.float64), A.reshape(1, 2), B, np.array([1, 2], np.int32)]
    assert len({TensorValue(other) for other in [A, *others]}) == 5
    assert TensorValue(np.array([-0.0, np.nan])) == TensorValue(np.array([0.0, -np.nan]))
    assert tuples("rel out(i, j) = t(i, x), t(j, x)", [A, B, A.copy()]) == [(0, 0), (0, 2), (1, 1), (2, 0), (2, 2)]
    with pytest.raises(ValueError, match="read-only"):
        TensorValue(A).array[0] = 1


@pytest.mark.parametrize("op", ["+", "-", "*"])
def test_arithmetic_is_that_of_arrays(op: str):
    compute = {"+": np.add, "-": np.subtract, "*": np.multiply}[op]
    program = f"rel out(i, j, x {op} y) = t(i, x), t(j, y)  rel scaled(i, x {op} 0.5) = t(i, x)"
    expected = [(i, j, TensorValue(compute(x, y))) for i, x in enumerate([A, B]) for j, y in enumerate([A, B])]
    assert tuples(program, [A, B]) == expected
    scaled = [(i, TensorValue(compute(x, np.float32(0.5)))) for i, x in enumerate([A, B])]
    assert tuples(program, [A, B], "scaled") == scaled


def test_functions_and_predicates():
    assert tuples("rel out(i, $dim(x)) = t(i, x)", [A, M, np.float32(1)]) == [(0, 1), (1, 2), (2, 0)]
    assert tuples("rel out(d, n) = t(_, x), tensor_shape(x, d, n)", [M]) == [(0, 2), (1, 3)]
    dots = tuples("rel out(i, j, $dot(x, y)) = t(i, x), t(j, y)", [A, B, M])
    # Tensors that are no vectors of one length have no inner product.
    assert dots == [(i, j, TensorValue(np.dot(x, y))) for i, x in enumerate([A, B]) for j, y in enumerate([A, B])]
    assert tuples('rel out($format("{}", x)) = t(_, x)', [A]) == [("tensor([1., 2.], float32)",)]
    assert len(tuples("rel out($hash(x)) = t(_, x)", [A, B, M])) == 3


def test_tensors_of_other_shapes_do_not_add():
    with pytest.raises(scallax.GroundingError, match=r"`x \+ y` is of tensors of the shapes \(2,\) and \(2, 3\)"):
        tuples("rel out(x + y) = t(0, x), t(1, y)", [A, M])
    # A row that is left out is not computed.
    program = "rel out(x + y) = t(i, x), t(j, y), $dim(x) == $dim(y)"
    assert tuples(program, [A, M]) == [(TensorValue(A + A),), (TensorValue(M + M),)]


def test_closeness_is_the_cosine_between_0_and_1():
    program = "type t(i32, Tensor)  rel out(i, j) = t(i, x), t(j, y), NAME<Tensor>(x, y)"
    arrays = [A, B, -A, 3 * A, 0 * A]
    facts = {"t": [(None, (i, array)) for i, array in enumerate(arrays)]}
    norms = [max(float(np.linalg.norm(array)), 1e-30) for array in arrays]
    for name in ("soft_eq", "soft_neq"):
        reasoner = scallax.Reasoner(program.replace("NAME", name), facts=facts, output_relation="out")
        found, values = reasoner()
        for (i, j), value in zip(found, np.asarray(values)[0], strict=True):
            closeness = (float(arrays[i] @ arrays[j]) / (norms[i] * norms[j]) + 1) / 2
            assert value == pytest.approx(closeness if name == "soft_eq" else 1 - closeness, abs=1e-6)


def test_tensors_go_in_and_out_of_every_door(tmp_path):
    program = "type t(i32, Tensor)  rel out(i, x) = t(i, x), t(_, y), x != y"
    options: dict[str, Any] = {"input_mappings": {"t": [(0, A), (1, B)]}, "output_relation": "out"}
    reasoner = scallax.Reasoner(program, **options)
    p = np.array([[0.5, 0.25]], np.float32)
    found, values = reasoner(t=p)
    assert found == ((0, TensorValue(A)), (1, TensorValue(B))) or found == [(0, TensorValue(A)), (1, TensorValue(B))]
    np.testing.assert_array_equal(found[0][1], A)
    np.testing.assert_array_equal(values, [[0.125, 0.125]])
    again = [
        scallax.Reasoner.from_json(reasoner.specification.to_json()),
        scallax.Reasoner.from_stored(reasoner.specification, reasoner.compiled_program.serialized()),
        pickle.loads(pickle.dumps(reasoner)),
    ]
    assert again == [reasoner] * 3
    assert again[1].compiled_program.outputs == reasoner.compiled_program.outputs
    options["input_mappings"] = {"t": [(0, torch.tensor(A)), (1, torch.tensor(B))]}
    module = torch_bridge.Module(program, **options)
    assert module.specification == reasoner.specification
    torch_bridge.save(tmp_path / "model.pt", module)
    assert torch.load(tmp_path / "model.pt").specification == module.specification


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.array(["a"]), "a tensor holds numbers or bools"),
        (torch.ones(2, requires_grad=True), "no constant tensor on the host"),
        (A, r"does not fit: tensor\(\[1., 2.\], float32\) is no i32"),
    ],
)
def test_what_is_no_constant_tensor_is_refused(value: object, message: str):
    column = "i32" if value is A else "Tensor"
    with pytest.raises(InputError, match=message):
        scallax.Reasoner(f"type t({column})  query t", facts={"t": [(None, (value,))]})


def test_a_damaged_tensor_is_refused():
    data = TensorValue(M).data()
    assert TensorValue.of_data(data) == TensorValue(M)
    for damaged in ({**data, "data": "?"}, {**data, "shape": [7]}, {**data, "dtype": "O"}, {"shape": []}):
        with pytest.raises(ValueError, match="tensor"):
            TensorValue.of_data(damaged)


def test_types_of_tensors_are_checked():
    with pytest.raises(ScallaxError, match="`x` is `Tensor`, but"):
        tuples("rel out(x % x) = t(_, x)", [A])


PAIRS = "type x(i: i32, v: Tensor)  rel out(i, j) = x(i, a), x(j, b), i < j, soft_eq<Tensor>(a, b)"
X, Y = [1.0, 2.0, 3.0], [1.0, 0.0, 1.0]
# cos = 4 / sqrt(28); its derivative by x is y / (|x| |y|) - cos x / |x|^2, and half of that is asked for.
COSINE = 4 / 28**0.5
HALF_SLOPE = [(y / 28**0.5 - COSINE * x / 14) / 2 for x, y in zip(X, Y, strict=True)]


def close_in_module(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    module = torch_bridge.Module(PAIRS, provenance="minmaxprob", output_mapping=("out", (0, 1)))
    return module(x=[[(None, (0, x)), (None, (1, y))]])[0]


def close_in_context(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    context = torch_bridge.Context("minmaxprob")
    context.add_program(PAIRS)
    context.add_facts("x", [(None, (0, x)), (None, (1, y))])
    context.run()
    ((tag, _),) = context.relation("out")
    return tag


@pytest.mark.parametrize("close", [close_in_module, close_in_context])
def test_gradients_reach_tensors_in_facts(close: Callable):
    x = torch.tensor(X, requires_grad=True)
    value = close(x, torch.tensor(Y))
    assert value.item() == pytest.approx((COSINE + 1) / 2)
    value.backward()
    assert x.grad.tolist() == pytest.approx(HALF_SLOPE)
    # A vector without a direction is at a right angle to everything, and cannot learn.
    zero = torch.zeros(3, requires_grad=True)
    value = close(zero, torch.tensor(Y))
    value.backward()
    assert (value.item(), zero.grad.tolist()) == (0.5, [0, 0, 0])


def test_samples_of_a_context_have_gradients_by_tensors():
    context = torch_bridge.Context("minmaxprob")
    context.add_program(PAIRS)
    x = torch.tensor(X, requires_grad=True)
    samples = [[(None, (0, x)), (None, (1, torch.tensor(y)))] for y in (Y, X)]
    collections = context.run_batch({"x": samples}, "out")
    tags = [tag for collection in collections for tag, _ in collection]
    assert [tag.item() for tag in tags] == pytest.approx([(COSINE + 1) / 2, 1])
    tags[0].backward()
    assert x.grad.tolist() == pytest.approx(HALF_SLOPE)


def test_traced_arrays_in_facts_have_gradients():
    reasoner = scallax.Reasoner(PAIRS, provenance="minmaxprob", output_mapping=("out", (0, 1)))

    def close(x: jax.Array) -> jax.Array:
        return reasoner(x=[[(None, (0, x)), (None, (1, np.array(Y, np.float32)))]])[0]

    value, slope = jax.jit(jax.value_and_grad(close))(jnp.array(X))
    assert value == pytest.approx((COSINE + 1) / 2)
    assert slope.tolist() == pytest.approx(HALF_SLOPE)
    ordered = scallax.Reasoner(
        "type x(i: i32, v: Tensor)  rel less(i) = x(i, a), x(_, b), a < b",
        provenance="minmaxprob",
        output_relation="less",
    )
    with pytest.raises(InputError, match="are asked for, and not known"):
        jax.grad(lambda x: ordered(x=[[(None, (0, x)), (None, (1, 2 * x))]])[1].sum())(jnp.array(X))


def test_derivatives_of_what_is_computed_of_tensors_are_differences():
    program = """
        type x(i: i32, v: Tensor)
        rel out(i, j) = x(i, a), x(j, b), i < j, soft_eq<Tensor>(a + b * 2.0, b - a * a)
        rel far(i) = x(i, a), x(j, b), i != j, soft_neq<Tensor>(a, b), soft_eq<Tensor>($dot(a, b), $dot(b, b))
    """
    module = torch_bridge.Module(program, provenance="diffaddmultprob", output_mappings={"out": None, "far": None})
    table = torch.tensor(np.random.default_rng(0).normal(size=(3, 2)), requires_grad=True)
    tags = torch.tensor([0.5, 0.25, 0.75], dtype=torch.float64, requires_grad=True)

    def values(table: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
        samples = [[(tags[i], (i, table[i])) for i in range(3)], [(tags[i], (i, table[2 - i])) for i in (0, 1)]]
        found = module(x=samples)
        return torch.cat([found[name][1].reshape(-1) for name in ("out", "far")])

    assert torch.autograd.gradcheck(values, (table, tags))
    # The tuples do not depend on the elements: one grounding serves all.
    assert module.reasoner.cache_info().misses == 1


def test_variables_are_told_apart_by_which_tensor_they_are():
    module = torch_bridge.Module(
        "type a(v: Tensor), b(v: Tensor)  rel same() = a(v), b(v)  rel n(k) = k := count(v: a(v))",
        provenance="minmaxprob",
        output_mappings={"same": None, "n": None},
    )
    table = torch.ones(2, 2, requires_grad=True)
    twin = torch.ones(2, requires_grad=True)
    found = module(
        a=[[(None, (table[0],)), (None, (table[0],))], [(None, (twin,)), (None, (table[1],))]],
        b=[[(0.5, (table[0],))], [(0.25, (table[0],))]],
    )
    assert found["same"][1].tolist() == [[0.5], [0]]
    assert (found["n"][0], found["n"][1].tolist()) == ([(1,), (2,)], [[1, 0], [0, 1]])
    # Constants are what they hold.
    constant = table.detach()
    found = module(a=[[(None, (constant[0],))]], b=[[(0.25, (constant[1],))]])
    assert found["same"][1].tolist() == [[0.25]]


def test_tensors_come_out_with_their_gradients():
    program = "type x(i: i32, v: Tensor)  rel out(a + b) = x(0, a), x(1, b)  rel top(v) = v := max(v: x(_, v))"
    module = torch_bridge.Module(program, provenance="minmaxprob", output_mappings={"out": None, "top": None})
    first, second = torch.tensor([1.0, 2.0], requires_grad=True), torch.tensor([2.0, 0.0], requires_grad=True)
    found = module(x=[[(None, (0, first)), (None, (1, second))]])
    ((total,),), ((top,),) = found["out"][0], found["top"][0]
    total.sum().backward()
    assert (first.grad.tolist(), top) == ([1, 1], second)


def test_functions_of_python_pass_gradients():
    @scallax.foreign_function
    def twisted(v: scallax.Tensor) -> scallax.Tensor:
        return v * v + 1  # pyright: ignore[reportOperatorIssue]  # tensors of torch

    program = PAIRS.replace("(a, b)", "($twisted(a), b)")
    module = torch_bridge.Module(program, provenance="minmaxprob", output_mapping=("out", (0, 1)), foreign=[twisted])
    table = torch.tensor([[0.5, 1.0], [2.0, -1.0]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: module(x=[[(None, (0, t[0])), (None, (1, t[1]))]]), (table,))


def test_where_tensors_with_a_gradient_are_no_values():
    module = torch_bridge.Module(PAIRS, provenance="minmaxprob", output_relation="out")
    x = torch.ones(2, requires_grad=True)
    assert module(x=[[(None, (0, x)), (None, (1, torch.ones(3)))]])[0] == []
    with pytest.raises(InputError, match="have no cosine: an element is not finite"):
        module(x=[[(None, (0, x)), (None, (1, x * float("nan")))]])
    with pytest.raises(InputError, match="grounded ahead of a call has no gradients by tensors"):
        module.ground({"x": [[(0, x)]]})
    context = torch_bridge.Context("difftopkproofs")
    context.add_program(PAIRS)
    context.add_facts("x", [(0.5, (0, x))])
    with pytest.raises(scallax.UnsupportedError, match="hold a tensor with a gradient"):
        context.forward_function("out")
    (batch,) = pickle.loads(pickle.dumps(context)).state.draft.batches
    assert batch.tuples == [(0, TensorValue(np.ones(2, np.float32)))]
