"""Facts that were given numbers, under the provenance that returns proofs: proofs name them so."""

import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import scallax
import torch_bridge as scallopy
from scallax.circuits.literals import Literal
from scallax.errors import InputError, UnsupportedError
from scallax.reasoner.reasoner import Reasoner

DIGITS = "type digit_a(a: i32), digit_b(b: i32)\nrel sum_2(a + b) = digit_a(a) and digit_b(b)"


def near(*probabilities: float) -> Any:
    return pytest.approx(list(probabilities), abs=1e-6)


def test_tuples_of_a_context_have_their_proofs():
    tags = torch.tensor([0.1, 0.9, 0.9, 0.1], requires_grad=True)
    ctx = scallopy.ScallopContext(provenance="difftopkproofsdebug", k=3)
    ctx.add_relation("digit_a", int)
    ctx.add_relation("digit_b", int)
    ctx.add_rule("sum_2(a + b) = digit_a(a) and digit_b(b)")
    ctx.add_facts("digit_a", [((tags[0], 1), (1,)), ((tags[1], 2), (2,))])
    ctx.add_facts("digit_b", [((tags[2], 3), (1,)), ((tags[3], 4), (2,)), (None, (7,))])
    ctx.run()
    found = list(ctx.relation("sum_2"))
    assert [values for _, values in found] == [(2,), (3,), (4,), (8,), (9,)]
    # Two proofs of independent facts: 1 - (1 - 0.81)(1 - 0.01).
    assert [tag.item() for (tag, _), _ in found] == near(0.09, 0.8119, 0.09, 0.1, 0.9)
    assert [proofs for (_, proofs), _ in found] == [
        [[(True, 1), (True, 3)]],
        [[(True, 2), (True, 3)], [(True, 1), (True, 4)]],
        [[(True, 2), (True, 4)]],
        [[(True, 1)]],
        [[(True, 2)]],
    ]
    ((tag, _), _) = ctx.relation("sum_2")[1]
    tag.backward()
    # The derivatives of 1 - (1 - b c)(1 - a d): d (1 - b c), c (1 - a d), b (1 - a d), a (1 - b c).
    assert tags.grad.tolist() == near(0.019, 0.891, 0.891, 0.019)
    assert "0.8119  3" in str(ctx.relation("sum_2"))
    restored = pickle.loads(pickle.dumps(ctx))
    restored.run()
    assert [proofs for (_, proofs), _ in restored.relation("sum_2")] == [proofs for (_, proofs), _ in found]


def test_rules_negations_and_groups_are_named():
    ctx = scallax.Context("difftopkproofsdebug")
    ctx.add_program("type a(x: i32)\nrel a = {0.25::3}\nrel none() = not a(1)\nrel both() = a(1), a(2)")
    ctx.add_facts("a", [((0.1, 1), 1), ((0.2, 2), 2)], disjunctions=[[0, 1]])
    ctx.add_rule("b(x) = a(x)", tag=(0.5, 9))
    ctx.run()
    assert [proofs for (_, proofs), _ in ctx.relation("b")] == [
        [[(True, 1), (True, 9)]],
        [[(True, 2), (True, 9)]],
        [[(True, 9), Literal(True, "a", (3,))]],
    ]
    assert ctx.relation("none")[0] == ((pytest.approx(0.9), [[(False, 1)]]), ())
    assert ctx.relation("both")[0] == ((0.0, []), ())


def test_gradients_of_jax_pass_but_proofs_are_no_arrays():
    def tag_of(p):
        ctx = scallax.Context("difftopkproofsdebug")
        ctx.add_relation("a", int)
        ctx.add_facts("a", [((p, 1), 3)])
        ctx.run()
        return ctx.relation("a")[0][0][0]

    assert tag_of(jnp.float32(0.5)) == 0.5
    with pytest.raises(UnsupportedError, match="which a transformed function cannot return"):
        jax.grad(tag_of)(jnp.float32(0.5))


SAMPLES: dict[str, Any] = {
    "digit_a": [[((0.1, 1), 1), ((0.9, 2), 2)], [((0.5, 1), 1)], []],
    "digit_b": [[((0.9, 3), 1), ((0.1, 4), 2)], [(None, 2), (0.25, 3)], [((0.5, 1), 1)]],
}
PROOFS = [
    [[[(True, 1), (True, 3)]], [[(True, 2), (True, 3)], [(True, 1), (True, 4)]], [[(True, 2), (True, 4)]]],
    [[], [[(True, 1)]], [[(True, 1), Literal(True, "digit_b", (3,))]]],
    [[], [], []],
]
VALUES = [[0.09, 0.8119, 0.09], [0, 0.5, 0.125], [0, 0, 0]]


# With more than 10 proofs literals are not numbered by component.
@pytest.mark.parametrize(("door", "k"), [("torch", 3), ("jax", 12)])
def test_samples_have_their_own_proofs(door: str, k: int):
    make = Reasoner if door == "jax" else scallopy.Module
    function = make(DIGITS, provenance="difftopkproofsdebug", k=k, output_relation="sum_2")
    tuples, values, proofs = function(**SAMPLES)
    assert tuples == [(2,), (3,), (4,)]
    np.testing.assert_allclose(values, VALUES, atol=1e-6)
    assert proofs == PROOFS


def test_every_form_of_output_has_proofs_and_gradients():
    tags = torch.tensor([0.1, 0.9, 0.9, 0.1], requires_grad=True)
    module = scallopy.Module(
        DIGITS, provenance="difftopkproofsdebug", output_mappings={"sum_2": [3, 4], "digit_a": (1,), "digit_b": None}
    )
    found = module(
        digit_a=[[((tags[0], 1), (1,)), ((tags[1], 2), (2,))]], digit_b=[[((tags[2], 3), (1,)), ((tags[3], 4), (2,))]]
    )
    values, proofs = found["sum_2"]
    assert proofs == [PROOFS[0][1:]]
    values[:, 0].sum().backward()
    assert tags.grad.tolist() == near(0.019, 0.891, 0.891, 0.019)
    values, proofs = found["digit_a"]
    assert (values.tolist(), proofs) == (near(0.1), [[[(True, 1)]]])
    tuples, _, proofs = found["digit_b"]
    assert (tuples, proofs) == ([(1,), (2,)], [[[[(True, 3)]], [[(True, 4)]]]])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"digit_a": [[((0.5, 0), 1)]]}, "fact 0 of sample 0 has the number 0; facts are numbered by integers from 1"),
        ({"digit_a": [[((0.5, True), 1)]]}, "fact 0 of sample 0 has the number True"),
        ({"digit_a": [[(0.5, 1)], [((0.5, 1, 2), 1)]]}, "fact 0 of sample 1 has the tag (0.5, 1, 2); it is a pair"),
        (
            {"digit_a": [[], [((0.5, 1), 1)]], "digit_b": [[], [((0.5, 1), 4)]]},
            "sample 1: `digit_a(1)` and `digit_b(4)` both have the number 1",
        ),
        ({"digit_a": [[(("x", 1), 1)]]}, "has the tag 'x'; a tag is a number"),
    ],
)
@pytest.mark.parametrize("door", ["jax", "torch"])
def test_wrong_numbers_are_one_error(inputs: dict[str, Any], message: str, door: str):
    make = Reasoner if door == "jax" else scallopy.Module
    with pytest.raises(InputError) as caught:
        make(DIGITS, provenance="difftopkproofsdebug", output_relation="sum_2")(**inputs)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ([((0.5, 0), 1)], "has the number 0; facts are numbered by integers from 1"),
        ([((0.5, 7), 1), ((0.5, 7), 2)], r"`a\(1\)` and `a\(2\)` both have the number 7"),
        ([((0.5, 1, 2), 1)], "it is a pair of a tag and a number(.|\n)*`disjunctions`"),
    ],
)
def test_wrong_numbers_leave_a_context_as_it_was(facts: list, message: str):
    ctx = scallax.Context("difftopkproofsdebug")
    ctx.add_relation("a", int)
    before = pickle.dumps(ctx)
    with pytest.raises(InputError, match=message):
        ctx.add_facts("a", facts)
    assert pickle.dumps(ctx) == before


def test_proofs_over_choices_by_weight_have_numbers():
    ctx = scallax.Context("difftopkproofsdebug")
    ctx.add_program("type a(i32)\nrel o(x) = x := top<1>(x: a(x))")
    ctx.add_facts("a", [((0.5, 1), 0), ((0.75, 2), 1)])
    ctx.run()
    (found,) = [(float(tag), proofs) for (tag, proofs), values in ctx.relation("o") if values == (1,)]
    assert found[0] == 0.75
    assert found[1][0][0] == (True, 2)


def test_samples_that_choose_their_outputs_get_no_proofs():
    module = scallopy.Module(DIGITS, provenance="difftopkproofsdebug", output_relation="sum_2")
    with pytest.raises(UnsupportedError, match="samples cannot differ in their outputs"):
        module(**SAMPLES, output_relations=["sum_2", "digit_a", "digit_b"])
