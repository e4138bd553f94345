"""Promises of single provenances: numbers they take, proofs they keep, draws, users' algebras and objects."""

import itertools
import math
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import torch_bridge
from scallax import (
    CheckpointError,
    Context,
    InputError,
    InputMapping,
    Literal,
    Provenance,
    Reasoner,
    UnsupportedError,
    checkpoint,
)
from scallax.circuits.compile import analyse_program
from scallax.context.answers import answer
from scallax.context.options import Options
from scallax.errors import Source
from scallax.provenance.traits import provenance_names

EDGES = [(0, 1), (1, 2), (0, 2)]
PATH = "rel path(x, y) = e(x, y)\nrel path(x, z) = path(x, y), e(y, z)"
INPUT: dict[str, Any] = {"input_mappings": {"e": EDGES}}


@dataclass(frozen=True)
class Best(Provenance):
    """The most probable derivation."""

    def zero(self):
        return 0.0

    def one(self):
        return 1.0

    def tag(self, probability):
        return probability

    def add(self, a, b):
        return jnp.maximum(a, b)

    def mult(self, a, b):
        return a * b


class NoisyOr:
    """The reference's form of a user's semiring, with nothing that can be left out."""

    def zero(self):
        return 0.0

    def one(self):
        return 1.0

    def add(self, a, b):
        return a + b - a * b

    def mult(self, a, b):
        return a * b


def run(program: str, relation: str, provenance: str | Provenance, **options):
    """The only sample of a program without inputs, by tuple."""
    tuples, values = Reasoner(program, provenance=provenance, output_mapping=(relation, None), **options)()
    return dict(zip(tuples, np.asarray(values)[0].tolist(), strict=True))


def test_counts_and_costs_saturate_instead_of_wrapping():
    large = "rel 16777216::a(0)\nrel b() = a(0), a(0)\nrel c() = b(), a(0)\nrel d() = b() or c()"
    assert run(large, "d", "natural") == {(): 2**31 - 1}
    chain = " and ".join(["a(0)"] * 200)
    assert run(f"rel 16777216::a(0)\nrel d() = {chain}", "d", "tropical") == {(): 2**31 - 2}


@pytest.mark.parametrize("provenance", ["natural", "tropical"])
def test_what_is_no_natural_number_is_refused(provenance: str):
    for program in ("rel 0.5::a(1)", "rel -1::a(1)", "rel 16777217::a(1)", "rel b = {1}\nrel 1.5::a(x) = b(x)"):
        with pytest.raises(InputError, match="not a natural number"):
            Reasoner(program, provenance=provenance, output_mapping=("a", None))
    with pytest.raises(InputError, match=r"fact 0.*natural number"):
        Reasoner("type a(i32)", provenance=provenance, facts={"a": [(0.5, (1,))]}, output_mapping=("a", None))
    reasoner = Reasoner(PATH, provenance=provenance, **INPUT, output_mapping=("path", [(0, 2)]))
    with pytest.raises(InputError, match="natural number"):
        reasoner(e=np.array([[1, 2, 0.5]], np.float32))
    with pytest.raises(InputError, match="natural number"):
        reasoner(e=np.array([[1, 2, -1]]))
    assert reasoner(e=np.array([[2, 3, 4]])).tolist() == [[10 if provenance == "natural" else 4]]


def test_the_second_form_of_sum_product_stops_below_1_and_does_not_learn_there():
    found = []
    for provenance in ("diffaddmultprob", "diffaddmultprob2"):
        reasoner = Reasoner(
            "rel r() = f(_)", provenance=provenance, input_mappings={"f": [0, 1]}, output_mapping=("r", ())
        )
        value, gradient = jax.value_and_grad(lambda p, r=reasoner: r(f=p)[0])(jnp.array([[0.75, 0.5]]))
        found.append((value.item(), gradient.tolist()))
    assert found == [(1.0, [[1.0, 1.0]]), (pytest.approx(0.9999), [[0.0, 0.0]])]


def test_the_second_form_of_sum_product_learns_from_every_fact_below_its_ceiling():
    reasoner = Reasoner(
        "rel r() = f(_)", provenance="diffaddmultprob2", input_mappings={"f": range(5)}, output_mapping=("r", ())
    )
    gradient = jax.grad(lambda p: reasoner(f=p)[0])(jnp.full((1, 5), 0.125))
    assert gradient.tolist() == [[1.0] * 5]


def test_the_command_line_answers_by_numbers_and_by_objects():
    def answers(program: str, provenance: str):
        (found,) = answer(analyse_program([Source(program)]), ["r"], Options(provenance))
        return list(found.tuples), None if found.tags is None else list(found.tags)

    costs = "rel f = {3::(1), 1::(2)}\nrel r(x) = f(x), f(y), y == x + 1"
    assert answers(costs, "tropical") == ([(1,)], [4])
    choice = "rel f = {0.5::0; 0.5::1}\nrel r(x) = f(x)\nrel r(2) = f(0), f(1)"
    assert answers(choice, "proofs") == ([(0,), (1,)], None)
    assert answers(choice, "probproofs") == ([(0,), (1,), (2,)], [0.5, 0.5, 0])
    with pytest.raises(InputError, match="natural number"):
        answers(choice, "natural")


def test_negation_of_counts_and_costs_is_set_difference():
    program = "rel a = {1, 2, 3}\nrel 4::b(2)\nrel 0::b(3)\nrel r(x) = a(x), not b(x)"
    assert run(program, "r", "natural") == {(1,): 1, (2,): 0, (3,): 1}
    # A cost of nothing is one of what holds.
    assert run(program, "r", "tropical") == {(1,): 0, (2,): 2**31 - 1, (3,): 2**31 - 1}
    assert run(program, "r", "realtropical") == {(1,): 0, (2,): np.inf, (3,): np.inf}


def test_a_cycle_of_negative_cost_has_no_least_cost():
    program = "rel e = {-1.0::(0, 1), 0.5::(1, 0), 2.0::(1, 2)}\n" + PATH
    assert run(program, "path", "realtropical")[0, 2] == -np.inf


def test_a_cycle_does_not_count_what_cannot_go_round_it():
    counts = run("rel e = {1::(0, 1), 1::(1, 0), 0::(2, 0), 1::(1, 3)}\n" + PATH, "path", "natural")
    assert counts[2, 0] == counts[2, 3] == 0
    assert counts[0, 3] == 2**31 - 1


@pytest.mark.filterwarnings("ignore:no rule can derive")
def test_proofs_are_all_sets_of_facts_that_entail_a_tuple():
    reasoner = Reasoner(PATH, provenance="proofs", **INPUT, output_mapping=("path", [(0, 2), (1, 0)]))
    p = np.ones((2, 3), np.float32)
    assert reasoner(e=p).tolist() == [[True, False]] * 2
    direct = (Literal(True, "e", (0, 2)),)
    detour = (Literal(True, "e", (0, 1)), Literal(True, "e", (1, 2)))
    assert reasoner.kept_proofs(e=p) == [[[direct, detour], []]] * 2


def test_proofs_of_a_negation_name_what_must_not_hold():
    reasoner = Reasoner(
        "rel r(x) = f(x), not g(x)",
        provenance="difftopkproofs",
        input_mappings={"f": [0], "g": [0]},
        output_mapping=("r", (0,)),
    )
    one = np.full((1, 1), 0.5, np.float32)
    assert [[[str(part) for part in proof] for proof in proofs] for proofs in reasoner.kept_proofs(f=one, g=one)] == [
        [["f(0)", "not g(0)"]]
    ]


@pytest.mark.parametrize("provenance", ["proofs", "probproofs"])
def test_all_proofs_refuse_negation(provenance: str):
    with pytest.raises(UnsupportedError, match="no negation"):
        run("rel 0.5::a(1)\nrel 0.5::b(1)\nrel r(x) = a(x), not b(x)", "r", provenance)


def test_all_proofs_are_counted_exactly():
    reasoner = Reasoner(PATH, provenance="probproofs", **INPUT, output_mapping=("path", (0, 2)))
    p = np.array([0.3, 0.6, 0.2], np.float32)
    value, gradient = jax.value_and_grad(lambda q: reasoner(e=q[None])[0])(p)
    expected = sum(
        np.prod(np.where(world, p, 1 - p))
        for world in itertools.product([True, False], repeat=3)
        if world[2] or (world[0] and world[1])
    )
    assert value == pytest.approx(expected, abs=1e-6)
    # Given the others: 0.6 · (1 - 0.2), 0.3 · (1 - 0.2), 1 - 0.3 · 0.6.
    np.testing.assert_allclose(gradient, [0.48, 0.24, 0.82], rtol=1e-5)


def test_a_call_for_debugging_returns_proofs_beside_the_values():
    module = torch_bridge.Module(PATH, provenance="difftopkproofsdebug", **INPUT, output_mapping=("path", [(0, 2)]))
    p = torch.tensor([[0.5, 0.5, 0.25]], requires_grad=True)
    values, proofs = module(e=p)
    assert values.item() == pytest.approx(0.4375)
    values.sum().backward()
    torch.testing.assert_close(p.grad, torch.tensor([[0.375, 0.375, 0.75]]))
    assert [str(part) for part in proofs[0][0][0]] == ["e(0, 1)", "e(1, 2)"]
    with pytest.raises(UnsupportedError, match="transformed"):
        jax.jit(lambda q: module.reasoner(e=q))(np.ones((1, 3), np.float32))


def test_proofs_are_drawn_in_proportion_to_their_probabilities():
    reasoner = Reasoner(
        "rel r() = f(_)", provenance="diffsamplekproofs", k=1, input_mappings={"f": [0, 1]}, output_mapping=("r", ())
    )
    p = jnp.array([[0.6, 0.2]], jnp.float32)
    draw = jax.jit(lambda key: reasoner(f=p, key=key)[0])
    drawn = np.array([draw(key) for key in jax.random.split(jax.random.key(0), 400)])
    assert set(np.round(drawn, 6).tolist()) == {np.float32(0.6).round(6).item(), np.float32(0.2).round(6).item()}
    # Three standard deviations of a frequency of 3/4 in 400 draws.
    assert np.isclose(drawn, 0.6).mean() == pytest.approx(0.75, abs=0.065)
    assert reasoner(f=p) == reasoner(f=p)


def test_a_module_draws_in_training_and_is_fixed_in_evaluation():
    module = torch_bridge.Module(
        "rel r() = f(_)", provenance="diffsamplekproofs", k=1, input_mappings={"f": range(8)}, output_mapping=("r", ())
    )
    p = torch.linspace(0.1, 0.8, 8)[None]
    drawn = [module(f=p).item() for _ in range(8)]
    assert len(set(drawn)) > 1
    torch.manual_seed(0)
    assert [module(f=p).item() for _ in range(8)] == drawn
    module.eval()
    assert len({module(f=p).item() for _ in range(4)}) == 1


def test_a_user_algebra_has_the_values_and_gradients_of_its_twin():
    outputs: dict[str, Any] = {"output_mapping": ("path", [(0, 1), (0, 2)])}
    p = jnp.array([[0.9, 0.8, 0.3]], jnp.float32)
    results = []
    for provenance in (Best(), "diffmaxmultprob"):
        reasoner = Reasoner(PATH, provenance=provenance, **INPUT, **outputs)
        results.append(jax.value_and_grad(lambda q, r=reasoner: r(e=q)[0, 1])(p))
    for own, builtin in zip(*results, strict=True):
        np.testing.assert_allclose(own, builtin)


def test_what_a_user_algebra_lacks_is_one_error():
    class Wrong(Best):
        def mult(self, a, b):
            return (a * b).sum(0)

    class Unhashable(Best):
        __hash__ = None  # pyright: ignore[reportAssignmentType]

    with pytest.raises(InputError, match=r"Wrong\.mult` gives \["):
        Reasoner(PATH, provenance=Wrong(), **INPUT, output_mapping=("path", (0, 2)))(e=np.ones((1, 3), np.float32))
    with pytest.raises(UnsupportedError, match="`Best` has no negation"):
        run("rel 0.5::a(1)\nrel 0.5::b(1)\nrel r(x) = a(x), not b(x)", "r", Best())
    with pytest.raises(InputError, match="cannot be hashed"):
        Reasoner(PATH, provenance=Unhashable(), **INPUT, output_mapping=("path", (0, 2)))
    with pytest.raises(InputError, match="no method `zero`, `one`, `add`, `mult`"):
        Reasoner(PATH, custom_provenance=object(), **INPUT, output_mapping=("path", (0, 2)))
    with pytest.raises(InputError, match="is no provenance"):
        Reasoner(PATH, provenance=3, **INPUT, output_mapping=("path", (0, 2)))  # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match="of the user's"):
        Reasoner(PATH, provenance="custom", **INPUT, output_mapping=("path", (0, 2)))


def test_a_saved_user_provenance_must_be_given_again(tmp_path):
    reasoner = Reasoner(PATH, provenance=Best(), **INPUT, output_mapping=("path", [(0, 2)]))
    p = np.array([[0.9, 0.8, 0.3]], np.float32)
    expected = reasoner(e=p)
    checkpoint.save(tmp_path / "saved", reasoner)
    assert checkpoint.load(tmp_path / "saved", custom_provenance=Best())(e=p) == expected
    text = reasoner.specification.to_json()
    assert Reasoner.from_json(text, custom_provenance=Best())(e=p) == expected
    assert pickle.loads(pickle.dumps(reasoner))(e=p) == expected
    with pytest.raises(CheckpointError, match=r"test_provenances\.Best`; it was not given"):
        checkpoint.load(tmp_path / "saved")
    with pytest.raises(CheckpointError, match=r"NoisyOr` was given"):
        Reasoner.from_json(text, custom_provenance=NoisyOr())
    module = torch_bridge.Module(PATH, provenance=Best(), **INPUT, output_mapping=("path", [(0, 2)]))
    torch_bridge.Module(PATH, provenance=Best(), **INPUT, output_mapping=("path", [(0, 2)])).load_state_dict(
        module.state_dict()
    )
    torch.save(module, tmp_path / "module.pt")
    with pytest.raises(CheckpointError, match="custom provenance"):
        torch.load(tmp_path / "module.pt")


def test_objects_are_evaluated_on_the_host_with_gradients_of_their_own():
    class Collated(NoisyOr):
        def tagging_fn(self, tag):
            return tag

        def saturated(self, old, new):
            return abs(float(old.detach()) - float(new.detach())) < 1e-7

        def collate(self, batch):
            return torch.stack([torch.stack(tags) for tags in batch])

    cyclic = [(0, 1), (1, 0), (1, 2)]
    arguments: dict[str, Any] = {"input_mappings": {"e": cyclic}, "output_mapping": ("path", [(0, 1), (0, 2)])}
    p = torch.tensor([[0.5, 0.25, 0.5], [0.1, 0.2, 0.3]], dtype=torch.float64, requires_grad=True)
    module = torch_bridge.Module(PATH, custom_provenance=Collated(), **arguments)
    twin = torch_bridge.Module(PATH, provenance="diffnandmultprob", **arguments)
    weights = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
    found = module(e=p)
    (gradient,) = torch.autograd.grad((found * weights).sum(), p)
    expected = twin(e=p)
    (expected_gradient,) = torch.autograd.grad((expected * weights).sum(), p)
    # The tags of the objects settle to 1e-7.
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(gradient, expected_gradient, rtol=0, atol=1e-5)


def test_objects_get_numbers_and_give_lists():
    reasoner = Reasoner(PATH, custom_provenance=NoisyOr(), **INPUT, output_mappings={"path": None, "e": (0, 1)})
    results = reasoner(e=np.array([[0.5, 0.5, 0.5]], np.float32))
    assert results == {"path": ([(0, 1), (0, 2), (1, 2)], [[0.5, 0.625, 0.5]]), "e": [0.5]}
    gradient = jax.grad(lambda q: reasoner(e=q)["path"][1][0][1])(jnp.full((1, 3), 0.5))
    np.testing.assert_allclose(gradient, [[0.25, 0.25, 0.75]])


def test_a_cycle_of_objects_that_never_settles_is_one_error():
    class Counting(NoisyOr):
        def add(self, a, b):
            return a + b

    program = "rel r() = f(0)\nrel r() = r(), f(1)"
    reasoner = Reasoner(program, custom_provenance=Counting(), input_mappings={"f": [0, 1]}, output_mapping=("r", ()))
    with pytest.raises(UnsupportedError, match="still change after"):
        reasoner(f=np.ones((1, 2), np.float32))


def test_a_retained_input_is_the_only_one_that_objects_see():
    reasoner = Reasoner(
        "rel r(x) = f(x)",
        custom_provenance=NoisyOr(),
        input_mappings={"f": InputMapping(range(3), retain_k=1)},
        output_mapping=("r", range(3)),
    )
    assert reasoner(f=np.array([[0.25, 0.75, 0.5]], np.float32)) == [[0.0, 0.75, 0.0]]


def test_the_table_has_every_name_of_the_page():
    page = (Path(__file__).parents[2] / "docs" / "provenances.md").read_text()
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in row.replace("`", "").replace(" ", "").split(",")}
    assert set(provenance_names()) <= named


def test_of_equal_derivations_the_first_has_the_gradient():
    mapping = {"input_mappings": {"f": range(8)}, "output_mapping": ("r", [()])}
    reasoner = Reasoner("rel r() = f(x)", provenance="diffmaxmultprob", **mapping)
    ties = [[1, 2], [2, 3, 7], [3, 4]]
    inputs = jnp.stack([jnp.full(8, 0.25).at[jnp.asarray(places)].set(0.5) for places in ties])
    value, gradient = jax.value_and_grad(lambda inputs: reasoner(f=inputs).sum())(inputs)
    assert value == 1.5
    assert np.argwhere(gradient).tolist() == [[sample, places[0]] for sample, places in enumerate(ties)]


@pytest.mark.parametrize(
    ("provenance", "tags"),
    [
        ("proofs", None),
        ("unit", [None, None]),
        ("topkproofs", [0.0, 0.0]),
        ("probproofs", [0.0, 0.0]),
        ("exact", [0.0, 0.0]),
        ("addmultprob", [0.125, 0.125]),
    ],
)
def test_tuples_without_a_proof_are_listed_where_tags_are_numbers(provenance: str, tags: list | None):
    context = Context(provenance)
    context.add_program("rel a = {0.5::1; 0.25::2}\nrel b(x, y) = a(x), a(y), x != y")
    context.run()
    rows = [(None, row) if provenance in ("unit", "proofs") else row for row in context.relation("b")]
    assert rows == ([] if tags is None else list(zip(tags, [(1, 2), (2, 1)], strict=True)))


def test_costs_of_what_does_not_hold_are_listed():
    context = Context("realtropicalproofs")
    context.add_program("rel a = {0.5::1, 0.0::2}\nrel 0.0::b(1)\nrel c(x) = a(x), not b(x)")
    context.run()
    assert list(context.relation("c")) == [(math.inf, (1,)), (0.0, (2,))]
