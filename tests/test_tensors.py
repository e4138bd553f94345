"""Tensors as values of tuples, against NumPy."""

import pickle
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch

import scallax
import torch_bridge
from scallax import InputError, ScallaxError
from scallax.engine import GivenFacts, analyse_program, ground_program
from scallax.provenance import resolve_provenance
from scallax.source import Source
from scallax.tensors import TensorValue

A = np.array([1.0, 2.0], np.float32)
B = np.array([2.0, -1.0], np.float32)
M = np.arange(6.0).reshape(2, 3)


def tuples(text: str, tensors: list[Any], relation: str = "out") -> list[tuple]:
    """The tuples of a relation, given `t(i, tensor)` for each tensor."""
    values = [(i, TensorValue(tensor)) for i, tensor in enumerate(tensors)]
    program = analyse_program([Source(f"type t(i32, Tensor)  {text}")], {"t": values})
    given = [GivenFacts("t", values)]
    return sorted(ground_program(program, resolve_provenance("unit"), given, [relation]).tuples(relation))


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
        scallax.Reasoner.from_stored(reasoner.specification, reasoner.stored_ground()),
        pickle.loads(pickle.dumps(reasoner)),
    ]
    assert again == [reasoner] * 3
    assert again[1].outputs == reasoner.outputs
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
