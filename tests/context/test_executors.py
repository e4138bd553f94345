"""Who evaluates: NumPy at once, without JAX, or JAX by compiled code; the choice, its storage, and equal answers."""

import json
import logging
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from scallax import Context, InputError, InputMapping, Provenance, Reasoner, UnsupportedError, nn
from scallax.evaluation import numpy_executor
from scallax.facts.specification import from_json
from scallax.provenance.traits import provenance_names
from tests.nightly import with_rest_at_night
from torch_bridge import Module, ScallopContext

# Over the facts a(0) of tag 0.5 and b(0) of tag 0.25, or of tags 2 and 3 where tags are natural numbers.
PROGRAM = "rel both(x) = a(x) and b(x)\nrel either(x) = a(x) or b(x)"

# The tags of both(0) and either(0) by the rule of each algebra; what is not listed counts proofs: 1/8 and 5/8.
COUNTED = [0.125, 0.625]
TAGS = {
    "unit": None,
    "proofs": None,
    "bool": [True, True],
    "natural": [6, 5],
    "tropical": [5, 2],
    "realtropical": [0.75, 0.25],
    "realtropicalproofs": [0.75, 0.25],
    "minmaxprob": [0.25, 0.5],
    "diffminmaxprob": [0.25, 0.5],
    "addmultprob": [0.125, 0.75],
    "diffaddmultprob": [0.125, 0.75],
    "diffaddmultprob2": [0.125, 0.75],
    "diffmaxmultprob": [0.125, 0.5],
    "diffmaxmultprob2": [0.125, 0.5],
    "diffnandminprob": [0.25, 0.625],
}

# Answers by every provenance, an explanation, draws, samples, the command line and the prompt, in its own process.
SCRIPT = """
import io, json, sys
blocked = sys.argv[1] == "blocked"

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("jax", "jaxlib", "jaxtyping", "flax"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

if blocked:
    sys.meta_path.insert(0, Blocker())
import numpy as np
import scallax
from scallax.__main__ import main

program, names, path = json.loads(sys.argv[2])
answers = {}
for name in names:
    tags = (2, 3) if name in ("natural", "tropical") else (0.5, 0.25)
    context = scallax.Context(name)
    context.add_relation("a", int)
    context.add_relation("b", int)
    for relation, tag in zip("ab", tags):
        context.add_facts(relation, [(0,) if name in ("unit", "proofs") else (tag, (0,))])
    context.add_program(program)
    context.run()
    context.add_rule("again(x) = either(x)")
    context.run()
    found = [context.relation(relation).tags for relation in ("both", "either", "again")]
    if name == "difftopkproofsdebug":
        found = [[tag for tag, _ in tags] for tags in found]
    answers[name] = None if found[0] is None else [tags[0] if name == "bool" else float(tags[0]) for tags in found]
    assert blocked or "jax" not in sys.modules, name
context = scallax.Context("topkproofs")
context.add_program("rel 0.5::rain(0)\\nrel wet(x) = rain(x)\\nrel one = {0.5::1, 0.5::2}\\n"
    "rel picked(x) = x := categorical<1>(y: one(y))\\nrel count(n) = n := count(x: one(x))")
context.run()
answers["explained"] = context.explain("wet", 0).proofs[0].weight
context.add_relation("dry", int)
context.add_rule("wet(x) = dry(x)")
batch = context.run_batch({"dry": [[(0.25, 1)], [(0.75, 2)]]}, "wet")
answers["batch"] = [list(each) for each in batch]
answers["code"] = main(["run", "-p", "topkproofs", path])
sys.stdin = io.StringIO("rel 0.5::rainy(0)\\n:explain rainy(0)\\n")
answers["prompt"] = main(["repl", "-p", "topkproofs"])
reasoner = scallax.Reasoner("rel b(x) = a(x)", executor="numpy", input_mappings={"a": range(2)}, output_relation="b")
answers["reasoner"] = reasoner(a=np.array([[0.5, 0.25]], np.float32))[1].tolist()
assert "jax" not in sys.modules
print(json.dumps(answers), file=sys.stderr)
"""


@pytest.mark.parametrize("jax_is", ["blocked", "there"])
def test_contexts_and_the_command_line_answer_without_jax(jax_is: str, tmp_path: Path):
    program = tmp_path / "alarm.scl"
    program.write_text("rel 0.5::alarm(0)\nrel 0.5::calls(x) = alarm(x)\nquery calls")
    names = [name for name in provenance_names() if name != "custom"]
    call = [sys.executable, "-c", SCRIPT, jax_is, json.dumps([PROGRAM, names, str(program)])]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stderr.splitlines()[-1])
    for name in names:
        both, either = TAGS.get(name, COUNTED) or (None, None)
        wanted = None if both is None else [both, either, either]
        assert answers[name] == (wanted if wanted is None else pytest.approx(wanted, abs=1e-6)), name
    assert answers["explained"] == 0.5
    assert answers["batch"] == [[[0.5, [0]], [0.25, [1]]], [[0.5, [0]], [0.75, [2]]]]
    assert answers["reasoner"] == [[0.5, 0.25]]
    assert (answers["code"], answers["prompt"]) == (0, 0)
    assert "0.25" in done.stdout
    assert "proof of weight 0.5" in done.stdout


REACH: dict[str, Any] = {
    "program": "rel path(x, z) = edge(x, z)\nrel path(x, z) = edge(x, y) and path(y, z)\nrel end(z) = path(0, z)",
    "input_mappings": {"edge": [(0, 1), (1, 2), (2, 0), (0, 2)]},
    "output_mapping": ("end", range(3)),
}
EDGES = np.array([[0.5, 0.25, 0.75, 0.5], [0.125, 1.0, 0.0, 0.75]], np.float32)


def chain(provenance: str, executor: str | None = None, **options) -> Context:
    context = Context(provenance, executor=executor, **options)
    context.add_relation("edge", (int, int))
    context.add_facts("edge", [(0.5, (0, 1)), (0.25, (1, 2))])
    context.add_rule("path(x, z) = edge(x, z) or path(x, y) and edge(y, z)")
    return context


def test_a_context_moves_to_jax_beyond_a_size_and_says_so(monkeypatch, caplog):
    wanted = [(0.5, (0, 1)), (0.125, (0, 2)), (0.25, (1, 2))]
    caplog.set_level(logging.INFO, "scallax")
    for limit, executor, is_told in [(None, None, False), (0, None, True), (0, "numpy", False), (None, "jax", False)]:
        caplog.clear()
        with monkeypatch.context() as script:
            if limit is not None:
                script.setattr(numpy_executor, "MOST_WORK", limit)
            context = chain("addmultprob", executor)
            context.run()
        assert list(context.relation("path")) == wanted
        told = [record.message for record in caplog.records if "JAX compiles" in record.message]
        assert bool(told) == is_told, (limit, executor)


@pytest.mark.parametrize(
    "options",
    with_rest_at_night(
        [
            {"provenance": "diffminmaxprob"},
            {"provenance": "difftopkproofs"},
            {"provenance": "diffaddmultprob"},
            {"provenance": "diffnandmultprob"},
            {"provenance": "difftopbottomkclauses"},
            {"provenance": "diffsamplekproofs", "seed": 7},
            {"provenance": "difftopkproofs", "k": 12},
            {"provenance": "diffexact"},
            {"provenance": "unit"},
        ],
        [{"provenance": "diffminmaxprob"}, {"provenance": "difftopkproofs"}],
    ),
    ids=str,
)
def test_a_reasoner_gives_the_same_values_by_either_executor(options: dict):
    compiled, at_once = (Reasoner(**REACH, **options, executor=executor) for executor in ("jax", "numpy"))
    values = at_once(edge=EDGES)
    assert isinstance(values, np.ndarray)
    np.testing.assert_allclose(values, compiled(edge=EDGES), rtol=1e-6, atol=1e-6)
    assert values.dtype == compiled(edge=EDGES).dtype


def test_arrays_of_jax_are_answered_by_arrays_of_jax():
    reasoner = Reasoner(**REACH, provenance="diffminmaxprob", executor="numpy")
    values = reasoner(edge=jnp.asarray(EDGES))
    assert isinstance(values, jax.Array)
    np.testing.assert_array_equal(values, reasoner(edge=EDGES))
    gradient = jax.grad(lambda edges: reasoner(edge=edges)[0, 1])(jnp.asarray(EDGES))
    np.testing.assert_array_equal(gradient, np.array([[1, 0, 0, 0], [0, 0, 0, 0]], np.float32))
    np.testing.assert_allclose(jax.jit(lambda edges: reasoner(edge=edges))(EDGES), values, rtol=1e-6)


def test_a_provenance_of_a_user_is_computed_by_jax():
    class Cost(Provenance):
        def zero(self):
            return jnp.inf

        def one(self):
            return 0.0

        def tag(self, probability, /):
            return probability

        def add(self, a, b, /):
            return jnp.minimum(a, b)

        def mult(self, a, b, /):
            return a + b

    reasoner = Reasoner(**REACH, provenance=Cost(), executor="numpy")
    np.testing.assert_allclose(reasoner(edge=EDGES[:1]), [[1.25, 0.5, 0.5]])


def test_facts_per_sample_proofs_and_draws_by_numpy():
    options: dict[str, Any] = {"provenance": "difftopkproofs", "executor": "numpy"}
    reasoner = Reasoner("rel end(y) = edge(0, y)", **options, output_relation="end")
    tuples, values = reasoner(edge=[[(0.5, (0, 1)), (None, (0, 2))], [(0.25, (0, 2))]])
    assert tuples == [(1,), (2,)]
    assert isinstance(values, np.ndarray)
    np.testing.assert_array_equal(values, [[0.5, 1.0], [0.0, 0.25]])
    mapped = Reasoner(**REACH, **options)
    compiled = Reasoner(**REACH, provenance="difftopkproofs")
    assert mapped.kept_proofs(edge=EDGES) == compiled.kept_proofs(edge=EDGES)
    drawn: dict[str, Any] = {
        "edge": InputMapping([(0, 1), (1, 2), (2, 0), (0, 2)], retain_k=2, sample_strategy="categorical")
    }
    drawing: dict[str, Any] = {**REACH, "input_mappings": drawn}
    found = [
        Reasoner(**drawing, provenance="diffminmaxprob", seed=5, executor=executor) for executor in ("jax", "numpy")
    ]
    np.testing.assert_array_equal(found[1](edge=EDGES), found[0](edge=EDGES))
    # A key that is traced is JAX's, where the arrays are not.
    traced = jax.jit(lambda key: found[1](edge=EDGES, key=key))(jax.random.key(2))
    np.testing.assert_array_equal(traced, found[1](edge=EDGES, key=jax.random.key(2)))


def test_trained_tags_have_the_same_probabilities():
    program = "rel a = {0.25::0, 0.5::1}\nrel b = {0.5::0; 0.25::1}\nrel 0.5::c(x) = a(x), b(x), d(x)"
    options: dict[str, Any] = {
        "provenance": "diffaddmultprob",
        "trainable": ["a", "b", "c"],
        "input_mappings": {"d": range(2)},
    }
    compiled, at_once = (
        Reasoner(program, **options, output_mapping=("c", range(2)), executor=executor) for executor in ("jax", "numpy")
    )
    given = np.array([[1.0, 1.0], [0.5, 0.25]], np.float32)
    np.testing.assert_allclose(at_once(d=given), [[0.0625, 0.0625], [0.03125, 0.015625]], rtol=1e-6)
    each = {name: np.stack([logits, logits + 1]) for name, logits in at_once.parameters.items()}
    np.testing.assert_allclose(at_once.apply(each, d=given), compiled.apply(each, d=given), rtol=1e-6)


def test_the_choice_is_stored_where_it_is_not_jax():
    options = {**REACH, "provenance": "diffminmaxprob"}
    compiled, at_once = Reasoner(**options), Reasoner(**options, executor="numpy")
    assert "executor" not in json.loads(compiled.specification.to_json())
    assert json.loads(at_once.specification.to_json())["executor"] == "numpy"
    assert from_json(compiled.specification.to_json()).executor == "jax"
    assert not compiled.specification.differences(at_once.specification)
    for restored in (Reasoner.from_json(at_once.specification.to_json()), pickle.loads(pickle.dumps(at_once))):
        assert isinstance(restored(edge=EDGES), np.ndarray)
    assert isinstance(nn.Reasoner(**options, executor="numpy")(edge=EDGES), np.ndarray)
    # A batch that was ground for one serves the other.
    batch = compiled.ground({"edge": [[(0.5, (0, 1))]]})
    assert isinstance(at_once.evaluate_grounded(batch, np.array([0.5], np.float32)), np.ndarray)


def test_a_module_loads_what_the_other_executor_learnt():
    options = {**REACH, "provenance": "diffminmaxprob"}
    module, other = Module(**options, executor="numpy"), Module(**options)
    other.load_state_dict(module.state_dict())
    module.load_state_dict(other.state_dict())
    assert module.specification.executor == "numpy"
    edges = torch.tensor(EDGES, requires_grad=True)
    with torch.no_grad():
        values = module(edge=edges)
    assert torch.equal(values, other(edge=edges).detach())
    module(edge=edges)[0, 1].backward()
    assert edges.grad is not None
    assert edges.grad[0].tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize("executor", ["torch", 1, True, ["numpy"]])
def test_another_executor_is_refused(executor: Any):
    with pytest.raises(InputError, match="must be 'jax' or 'numpy'"):
        Reasoner(**REACH, executor=executor)
    for kind in (Context, ScallopContext):
        with pytest.raises(InputError, match="must be None or 'jax' or 'numpy'"):
            kind("minmaxprob", executor=executor)


def test_a_reasoner_that_leaves_the_choice_open_is_refused_with_a_hint():
    with pytest.raises(InputError, match="is None; it must be 'jax' or 'numpy'\nhint: leave it out for 'jax'"):
        Reasoner(**REACH, executor=None)  # pyright: ignore[reportArgumentType]


def test_more_proofs_than_memory_holds_are_refused_before_they_are_made():
    context = Context("topkproofs", k=2**40)
    context.add_program("rel edge = {0.5::(0, 1), 0.5::(1, 2)}  rel hop(x, z) = edge(x, y) and edge(y, z)")
    with pytest.raises(UnsupportedError, match=r"would hold [\d.]+ GiB, and the limit is 4.0"):
        context.run()


def test_functions_of_a_context_have_its_executor():
    for executor, wanted in [(None, "jax"), ("jax", "jax"), ("numpy", "numpy")]:
        context = pickle.loads(pickle.dumps(chain("difftopkproofs", executor)))
        assert context.clone().reasoner("path").specification.executor == wanted


def test_tags_of_torch_without_gradients_are_computed_at_once():
    context = ScallopContext("difftopkproofs")
    context.add_relation("a", int)
    context.add_facts("a", [(torch.tensor(0.5, dtype=torch.float64), (0,)), (0.25, (1,))])
    context.add_rule("b() = a(0) or a(1)")
    context.run()
    ((tag, _),) = context.relation("b")
    assert tag.dtype is torch.float64
    assert tag.item() == 0.625
