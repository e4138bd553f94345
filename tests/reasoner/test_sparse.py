"""Outputs and Jacobians with an entry for what is there alone."""

import pickle
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import scallax
import torch_bridge
from scallax import InputError, Reasoner, UnsupportedError
from scallax.evaluation.evaluator import Evaluator

CLOSURE = """
type edge(x: i32, y: i32)
rel path(x, y) = edge(x, y) or (path(x, z) and edge(z, y))
"""
EDGES = [(0, 1), (1, 2), (2, 0), (2, 3)]
PAIRS = [(x, y) for x in range(4) for y in range(4)]

# Programs, their outputs and the arguments of the reasoner beside them; the input `a` or `edge`.
PROGRAMS: dict[str, dict[str, Any]] = {
    "cycle": {"program": CLOSURE, "input_mappings": {"edge": EDGES}, "output_mapping": ("path", PAIRS)},
    "negation": {
        "program": "type a(x: i32) rel b(x) = a(x), not a(x + 1) rel b(7) = a(0) or (a(1), not a(3))",
        "input_mappings": {"a": range(4)},
        "output_mapping": ("b", [0, 1, 2, 3, 7]),
    },
    "exclusive": {
        "program": "type a(x: i32) rel b(x) = a(x), not a(x + 1) rel c(0) = a(0) or a(1)",
        "input_mappings": {"a": scallax.InputMapping(range(4), disjunctive=True)},
        "output_mappings": {"b": [0, 1, 2, 3], "c": [0]},
        "wmc_with_disjunctions": True,
    },
    "counts": {
        "program": "type a(x: i32) rel n(k) = k := count(x: a(x)) rel m(k) = k := max(x: a(x))",
        "input_mappings": {"a": range(4)},
        "output_mappings": {"n": range(5), "m": range(4)},
    },
    "shares": {
        "program": "type a(x: i32) rel s(x) = x := normalize(y: a(y)) rel t(x) = x := softmax(y: a(y))",
        "input_mappings": {"a": range(4)},
        "output_mappings": {"s": range(4), "t": range(4)},
    },
    "trained": {
        "program": "type a(x: i32) rel 0.6::b(x) = a(x), w(x)"
        " rel w = {0.2::(0), 0.25::(3)} rel w = {0.3::(1); 0.4::(2)}",
        "input_mappings": {"a": range(4)},
        "output_mapping": ("b", range(4)),
        "trainable": ["w", "b"],
    },
    "retained": {
        "program": "type a(x: i32, y: i32) rel b(x) = a(x, y)",
        "input_mappings": {"a": scallax.InputMapping([(x, y) for x in range(2) for y in range(2)], retain_k=2)},
        "output_mapping": ("b", range(2)),
    },
    "single": {
        "program": "type a(x: i32) rel b(x) = a(x), a(x + 1)",
        "input_mappings": {"a": range(4)},
        "output_mapping": ("b", [1]),
    },
    "two axes": {
        "program": "type a(x: i32, y: i32) rel b(x) = a(x, y)",
        "input_mappings": {"a": {0: range(2), 1: range(3)}},
        "output_mapping": ("b", range(2)),
    },
}


QUICK = [
    *((name, "difftopkproofs") for name in ("exclusive", "retained")),
    *(("cycle", "diffaddmultprob"), ("shares", "exact"), ("negation", "exact")),
]


def inputs_of(reasoner: Reasoner, batch: int = 3, dtype: Any = np.float32) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = {name: mapping.shape for name, mapping in reasoner.specification.input_mappings}
    return {name: rng.uniform(0.1, 0.24, (batch, *shape)).astype(dtype) for name, shape in shapes.items()}


def dense_jacobian(reasoner: Reasoner, inputs: dict[str, Any], parameters: dict[str, Any]) -> Any:
    """By `jax.jacrev`: for each output, the derivatives by inputs of the same sample and by parameters."""
    found = jax.jacrev(lambda given, logits: reasoner.apply(logits, **given), argnums=(0, 1))(inputs, parameters)

    def join(of_inputs, of_parameters):
        own = {}
        for name, array in of_inputs.items():
            second = array.ndim - inputs[name].ndim
            own[name] = jnp.moveaxis(jnp.diagonal(array, axis1=0, axis2=second), -1, 0)
        return {**own, **of_parameters}

    if not reasoner.specification.keyed:
        return join(*found)
    return {output: join(*parts) for output, parts in found.items()}


@pytest.mark.filterwarnings("ignore:no rule can derive")
@pytest.mark.parametrize(
    ("name", "provenance"),
    [
        *QUICK,
        *(
            pytest.param(name, provenance, marks=pytest.mark.nightly)
            for name in PROGRAMS
            for provenance in ("difftopkproofs", "diffaddmultprob", "exact", "difftopbottomkclauses")
            if (name, provenance) not in QUICK
        ),
    ],
)
def test_a_jacobian_has_the_derivatives_of_the_dense_one(name, provenance):
    reasoner = Reasoner(**PROGRAMS[name], provenance=provenance, k=8)
    inputs = inputs_of(reasoner)
    parameters = {name: np.asarray(logits) for name, logits in reasoner.parameters.items()}
    actual = scallax.jacobian(reasoner, inputs, parameters=parameters)
    expected = dense_jacobian(reasoner, inputs, parameters)
    # Sums in another order.
    dense = jax.tree.map(lambda array: array.todense(), actual, is_leaf=lambda part: hasattr(part, "todense"))
    jax.tree.map(partial(np.testing.assert_allclose, rtol=2e-6, atol=1e-7), dense, expected)


@pytest.mark.filterwarnings("ignore:no rule can derive")
def test_there_is_an_entry_for_each_input_that_an_output_depends_on():
    reasoner = Reasoner(
        "type a(x: i32) rel b(x) = a(x), a(x + 1) rel b(9) = a(0)",
        input_mappings={"a": range(4)},
        output_mapping=("b", [0, 1, 2, 5, 9]),
    )
    found = scallax.jacobian(reasoner, {"a": np.zeros((2, 4), np.float32)})["a"]
    sample = [[0, 0], [0, 1], [1, 1], [1, 2], [2, 2], [2, 3], [4, 0]]
    assert found.indices.tolist() == [[number, *place] for number in range(2) for place in sample]
    assert found.data.tolist() == 2 * [0, 0, 0, 0, 0, 0, 1]


@contextmanager
def recorded_calls(owner: type, name: str) -> Iterator[list]:
    """The arguments of each call of a method."""
    calls, method = [], getattr(owner, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, lambda *given: calls.append(given) or method(*given))
        yield calls


def test_outputs_without_an_input_in_common_share_a_backward_pass():
    reasoner = Reasoner(
        "type a(x: i32) rel b(x) = a(x), a(x + 1)", input_mappings={"a": range(101)}, output_mapping=("b", range(100))
    )
    inputs = np.linspace(0, 1, 202, dtype=np.float32).reshape(2, 101)
    with recorded_calls(Evaluator, "pull_back") as passes:
        found = scallax.jacobian(reasoner, {"a": inputs})["a"]
    assert (len(passes), found.nse) == (2, 400)
    places = np.arange(100)
    dense = np.asarray(found.todense())
    np.testing.assert_allclose(dense[:, places, places], inputs[:, 1:], rtol=1e-6)
    np.testing.assert_allclose(dense[:, places, places + 1], inputs[:, :-1], rtol=1e-6)


SAMPLES: list[list] = [
    [(0.5, (0, 1)), (None, (1, 2)), (0.25, (2, 0))],
    [],
    [(0.75, (5, 6))],
]


def closure(**options: Any) -> torch_bridge.Module:
    program = CLOSURE + "type goal(x: i32) rel 0.5::sure(1) rel won(x) = path(x, y), goal(y), sure(1)"
    options = {"output_mappings": {"path": None, "won": range(4)}, "k": 9} | options
    return torch_bridge.Module(program, input_mappings={"goal": range(3)}, trainable=["sure"], **options)


def tagged(tags: torch.Tensor) -> list[list]:
    """The samples with three of `tags`."""
    first, second, third = (tags[i] for i in range(3))
    return [[(first, (0, 1)), (None, (1, 2)), (second, (2, 0))], [], [(third, (5, 6))]]


def test_the_jacobian_of_facts_per_sample():
    tags = torch.tensor([0.5, 0.25, 0.75], dtype=torch.float64)
    goal = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6], [0.7, 0.8, 0.9]], dtype=torch.float64)
    module = closure(sparse_jacobian=True)
    logits = dict(module.named_parameters())["sure.facts"]
    found = module.jacobian({"edge": tagged(tags), "goal": goal})
    tuples, by_input = found["path"]
    _, values = module(edge=tagged(tags.requires_grad_()), goal=goal.requires_grad_())["path"]
    assert (len(tuples), values.shape) == (10, (3, 10))
    assert by_input["edge"].shape == (3, 10, 3)
    assert by_input["edge"].layout is torch.sparse_coo
    assert by_input["edge"].is_coalesced()
    # The number, in its sample, of each tag's fact.
    facts = [(0, 0), (0, 2), (2, 0)]
    outputs = module(edge=tagged(tags), goal=goal)
    for relation, values in (("path", outputs["path"][1]), ("won", outputs["won"])):
        by_input = found["path"][1] if relation == "path" else found["won"]
        expected = {name: torch.zeros_like(part).to_dense() for name, part in by_input.items()}
        for sample in range(values.shape[0]):
            for place in range(values.shape[1]):
                of_tags, of_goal, of_logits = torch.autograd.grad(
                    values[sample, place], (tags, goal, logits), retain_graph=True
                )
                for tag, (owner, number) in enumerate(facts):
                    if owner == sample:
                        expected["edge"][sample, place, number] = of_tags[tag]
                expected["goal"][sample, place] = of_goal[sample]
                expected["sure.facts"][sample, place] = of_logits
        for name, part in by_input.items():
            assert part.dtype == torch.float64
            torch.testing.assert_close(
                part.to_dense(), expected[name], rtol=1e-6, atol=1e-12, msg=f"{relation}, {name}"
            )
    # The path from 1 to 2 is certain, that from 1 to 0 needs one uncertain fact, the others on the cycle both.
    assert found["path"][1]["edge"].values().shape == (7 * 2 + 1 + 1,)
    dense = closure().jacobian({"edge": tagged(tags), "goal": goal})
    torch.testing.assert_close(dense["won"]["goal"], found["won"]["goal"].to_dense(), rtol=0, atol=0)


def test_the_jacobian_of_a_context_and_of_few_samples():
    context = torch_bridge.Context("difftopkproofs")
    context.add_relation("a", int, input_mapping=range(2))
    context.add_rule("b(x) = a(x)")
    forward = context.forward_function("b", range(2), sparse_jacobian=True)
    assert forward.jacobian({"a": torch.zeros(0, 2)})["a"].shape == (0, 2, 2)
    found = forward.jacobian({"a": torch.tensor([[0.5, 0.5]], dtype=torch.bfloat16)})["a"]
    assert (found.layout, found.dtype) == (torch.sparse_coo, torch.bfloat16)
    assert found.to_dense().tolist() == [[[1, 0], [0, 1]]]


def test_the_jacobian_of_parameters_alone():
    reasoner = Reasoner("rel a = {0.4::(0), 0.3::(1)} rel b(x) = a(x)", trainable=["a"], output_mapping=("b", range(2)))
    found = scallax.jacobian(reasoner)["a.facts"]
    np.testing.assert_allclose(found.todense(), [[[0.24, 0], [0, 0.21]]], rtol=1e-6)
    again = torch_bridge.Module.from_reasoner(reasoner, sparse_jacobian=True).jacobian()["a.facts"]
    assert again.to_dense().tolist() == found.todense().tolist()


def test_the_jacobian_of_a_large_batch_is_found_by_component():
    program = "type edge(x: i32, y: i32) rel path(x, y) = edge(x, y) or (path(x, z) and edge(z, y))"
    reasoner = Reasoner(program, provenance="diffaddmultprob", output_mappings={"path": None})
    facts = [[(0.5, (n, n + 1)) for n in range(12)]] * 256
    with recorded_calls(Evaluator, "pull_back") as calls:
        _, found = scallax.jacobian(reasoner, {"edge": facts})["path"]
    # 42 paths depend on an edge in the middle of the chain.
    assert (found["edge"].nse, len(calls)) == (256 * 364, 42)


@pytest.mark.filterwarnings("ignore:`torch.jit.* is deprecated:DeprecationWarning")
def test_what_has_no_jacobian():
    options: dict[str, Any] = {"input_mappings": {"a": range(2)}, "output_mapping": ("b", range(2))}
    reasoner = Reasoner("type a(x: i32) rel b(x) = a(x)", **options)
    with pytest.raises(
        UnsupportedError, match=r"traced\nhint: call it outside of the transformation, or use `jax.jacrev`"
    ):
        jax.jit(lambda a: scallax.jacobian(reasoner, {"a": a})["a"].data)(np.zeros((1, 2), np.float32))
    with pytest.raises(InputError, match="`a` has shape"):
        scallax.jacobian(reasoner, {"a": np.zeros((1, 3), np.float32)})
    module: Any = torch_bridge.Module.from_reasoner(reasoner)
    wrongs: list[Any] = [{"a": np.float32(0.3)}, {"a": 0.3}, np.zeros((1, 2), np.float32)]
    for wrong in wrongs:
        with pytest.raises(InputError):
            scallax.jacobian(reasoner, wrong)
    with pytest.raises(InputError, match=r"the reasoner is a Module; give a `scallax\.Reasoner`"):
        scallax.jacobian(module, {"a": np.zeros((1, 2), np.float32)})
    with pytest.raises(InputError, match=r"fact 0 of sample 0, \(0\), has the tag nan"):
        module.jacobian({"a": [[(torch.tensor(float("nan")), 0)]]})
    with pytest.raises(UnsupportedError, match="a transformed function, cannot hold `jacobian`"):
        torch.func.vmap(lambda a: module.jacobian({"a": a[None]})["a"])(torch.rand(3, 2))
    with pytest.raises(UnsupportedError, match="a transformed function, cannot hold `jacobian`"):
        torch.jit.trace(lambda a: module.jacobian({"a": a})["a"], torch.rand(1, 2))
    with pytest.raises(InputError, match="`a` is a ndarray; give a tensor"):
        torch_bridge.Module.from_reasoner(reasoner).jacobian({"a": np.zeros((1, 2), np.float32)})
    for provenance in ("bool", "difftopkproofsdebug"):
        other = Reasoner("type a(x: i32) rel b(x) = a(x)", **options, provenance=provenance)
        if provenance == "bool":
            with pytest.raises(UnsupportedError, match="outputs of `bool` have no derivatives"):
                scallax.jacobian(other, {"a": np.zeros((1, 2), np.float32)})
        else:
            assert scallax.jacobian(other, {"a": np.zeros((1, 2), np.float32)})["a"].nse == 2


def test_sparse_outputs_are_the_dense_ones():
    tags = torch.tensor([0.5, 0.25, 0.75], requires_grad=True)
    goal = torch.rand(3, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    sparse, dense = closure(sparse_output=True), closure()
    actual, expected = sparse(edge=tagged(tags), goal=goal), dense(edge=tagged(tags), goal=goal)
    (tuples, path), (listed, values) = actual["path"], expected["path"]
    assert tuples == listed
    assert (path.layout, path.is_coalesced(), path.shape) == (torch.sparse_coo, True, (3, 10))
    assert path.indices().tolist() == [[0] * 9 + [2], [*range(9), 9]]
    torch.testing.assert_close(path.to_dense(), values, rtol=0, atol=0)
    torch.testing.assert_close(actual["won"].to_dense(), expected["won"], rtol=0, atol=0)
    assert actual["won"].indices().tolist() == [[0, 0, 0], [0, 1, 2]]
    losses = [(path.values() ** 2).sum() + actual["won"].values().sum(), (values**2).sum() + expected["won"].sum()]
    gradients = [
        torch.autograd.grad(loss, (tags, goal, *module.parameters()))
        for module, loss in zip((sparse, dense), losses, strict=True)
    ]
    torch.testing.assert_close(*gradients)
    # CompiledProgram beforehand.
    facts = [[(0.0, (0, 1)), (None, (1, 2)), (0.0, (2, 0))], [], [(0.0, (5, 6))]]
    grounding = pickle.loads(pickle.dumps(sparse.ground({"edge": facts, "goal": np.zeros((3, 3))})))
    vector = torch.tensor([0.5, 0.0, 0.25, 0.75])
    again = sparse.evaluate_grounded(grounding, {"edge": vector, "goal": goal})
    torch.testing.assert_close(again["path"][1], path, rtol=0, atol=0)


def test_sparse_outputs_of_inputs_with_mappings():
    program = "type a(x: i32) rel b(x) = a(x) rel c() = a(0)"
    inputs = {"a": torch.tensor([[0.0, 0.5], [0.25, 1.0]], requires_grad=True)}
    with pytest.warns(UserWarning, match="no rule can derive"):
        module = torch_bridge.Module(
            program,
            input_mappings={"a": range(2)},
            output_mappings={"b": [0, 7, 1], "c": ()},
            sparse_output=True,
        )
    found = module(**inputs)
    assert found["b"].indices().tolist() == [[0, 0, 1, 1], [0, 2, 0, 2]]
    assert found["b"].values().tolist() == [0.0, 0.5, 0.25, 1.0]
    assert (found["c"].shape, found["c"].to_dense().tolist()) == ((2,), [0.0, 0.25])
    torch.sparse.sum(found["b"] * 2.0).backward()
    assert inputs["a"].grad is not None
    assert inputs["a"].grad.tolist() == [[2.0, 2.0], [2.0, 2.0]]
    twin = pickle.loads(pickle.dumps(module))
    assert twin.sparse_output
    assert twin(**inputs)["b"].indices().tolist() == found["b"].indices().tolist()
    assert module(a=torch.zeros(0, 2))["b"].shape == (0, 3)


@pytest.mark.filterwarnings("ignore:no rule can derive")
def test_samples_that_ask_for_a_relation_each():
    program = "type a(x: i32) rel b(x) = a(x) rel c(x) = a(x), a(x + 1) rel b(-1) = a(0), a(1)"
    outputs = {"b": range(4), "c": range(4)}
    mapped = torch_bridge.Module(program, sparse_output=True, input_mappings={"a": range(3)}, output_mappings=outputs)
    listed = torch_bridge.Module(program, sparse_output=True, output_mappings={"b": None})
    a = torch.tensor([[0.0, 0.5, 0.25], [0.5, 0.0, 1.0]], requires_grad=True)
    found = mapped(a=a, output_relations=["b", "c"], output_mappings=range(4))
    assert (found.indices().tolist(), found.values().tolist()) == (
        [[0, 0, 0, 1, 1], [0, 1, 2, 0, 1]],
        [0, 0.5, 0.25, 0, 0],
    )
    assert torch.autograd.grad(torch.sparse.sum(found), a)[0].tolist() == [[1, 1, 1], [0, 1.5, 0]]
    facts = [[(tag, x) for x, tag in enumerate(row)] for row in a]
    tuples, found = listed(a=facts, output_relations=["c", "b"])
    assert tuples == [(-1,), (0,), (1,), (2,)]
    assert found.indices().tolist() == [[0, 0, 1, 1, 1, 1], [1, 2, 0, 1, 2, 3]]
    assert torch.autograd.grad(torch.sparse.sum(found), a)[0].tolist() == [[0.5, 0.25, 0.5], [1, 1.5, 1]]
    (first, second) = listed(a=facts, output_relations=[["c", "b"], ["b", "c"]])
    assert (first[1].values().shape, second[1].values().shape) == ((6,), (6,))


def test_no_dense_results_are_made_of_facts_per_sample():
    pairs = [(x, y) for x in range(400) for y in range(400)]
    module = torch_bridge.Module(CLOSURE, output_mapping=("path", pairs), sparse_output=True, sparse_jacobian=True)
    facts = [[(0.5, (n, n + 1)), (0.5, (n + 1, n + 2))] for n in range(64)]
    dense_bytes = 4 * len(facts) * len(pairs)
    grounding = module.ground({"edge": facts})

    def step():
        values = module.evaluate_grounded(grounding, torch.full((128,), 0.5, requires_grad=True))
        torch.sparse.sum(values).backward()
        return values, module.jacobian({"edge": facts})["edge"]

    step()
    tracemalloc.start()
    values, jacobian = step()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (values.shape, values.values().shape, jacobian.values().shape) == ((64, 160000), (192,), (64 * 4,))
    # Arrays of NumPy are traced; what is read and compiled once is not part of it.
    assert peak < dense_bytes / 20


class LogAddition(scallax.Provenance):
    """Logarithms of sums of products; of nothing -100."""

    def zero(self):
        return -100.0

    def one(self):
        return 0.0

    def tag(self, p):
        return jnp.log(p)

    def add(self, a, b):
        return jnp.logaddexp(a, b)

    def mult(self, a, b):
        return jnp.maximum(a + b, -100.0)


@pytest.mark.filterwarnings("ignore:no rule can derive")
def test_what_does_not_hold_under_a_users_algebra_is_its_zero():
    program, a = "type a(x: i32) rel b(x) = a(x)", np.array([[0.5]], np.float32)
    mapped = Reasoner(program, provenance=LogAddition(), input_mappings={"a": [0]}, output_mapping=("b", range(2)))
    assert mapped(a=a).tolist() == [[np.log(a).item(), -100.0]]
    assert mapped(a=[[(0.5, 0)], [(0.5, 1)]])[:, 1].tolist() == [-100.0, np.log(a).item()]


@pytest.mark.filterwarnings("ignore:no rule can derive")
def test_what_has_no_sparse_layout():
    options: dict[str, Any] = {"input_mappings": {"a": range(2)}, "output_mapping": ("b", range(2))}
    program = "type a(x: i32) rel b(x) = a(x)"
    for provenance, problem in (
        ("tropical", "what does not hold is not 0 under `tropical`"),
        (LogAddition(), "what does not hold is not 0 under"),
        ("difftopkproofsdebug", "outputs of `difftopkproofsdebug` are not numbers alone"),
    ):
        with pytest.raises(UnsupportedError, match=problem):
            torch_bridge.Module(program, **options, provenance=provenance, sparse_output=True)
    module = torch_bridge.Module(program, **options, sparse_output=True)
    with pytest.raises(UnsupportedError, match="a saved graph holds a reasoner"):
        torch.export.export(module, (), {"a": torch.rand(2, 2)}, strict=False)
    assert torch.compile(module, backend="eager")(a=torch.tensor([[0.5, 0.25]])).values().tolist() == [0.5, 0.25]
