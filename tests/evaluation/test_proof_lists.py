"""Proofs as lists of columns: whole programs have the values, gradients and proofs that they have with bit sets."""

from typing import Any

import jax
import numpy as np
import pytest

from scallax import InputMapping, Reasoner
from scallax.circuits import proof_lengths
from scallax.evaluation import numpy_executor
from tests.compilations import counted_compilations
from tests.nightly import with_rest_at_night

# Recursion, negation of what has several proofs, and facts that exclude each other.
PROGRAM = """
    rel path(x, y) = edge(x, y)
    rel path(x, z) = path(x, y), edge(y, z)
    rel pair(x) = path(0, x), kind(x)
    rel out(x) = kind(x), not path(x, 3)
    rel out(x) = path(0, x + 1), not pair(x), not kind(x - 1)
"""
EDGES = [(0, 1), (1, 2), (0, 2), (2, 3), (1, 3)]
CYCLE = [*EDGES, (3, 0)]
PROVENANCES = ["difftopkproofs", "difftopbottomkclauses", "diffsamplekproofs"]


def set_form(monkeypatch, form: str) -> None:
    """Has circuits that are laid out from now on take one form of proofs, whatever is cheaper."""
    monkeypatch.setattr(proof_lengths, "WORDS_OF_PLACE", 0 if form == "lists" else 1e9)


def probabilities(edges: list) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    # Certain and impossible facts are among them.
    edge = np.clip(generator.uniform(-0.2, 1.2, (3, len(edges))), 0, 1).astype(np.float32)
    return {"edge": edge, "kind": generator.dirichlet(np.ones(4), 3).astype(np.float32)}


def reasoner(edges: list, executor: str, provenance: str, **options: Any) -> Reasoner:
    mappings = {"edge": edges, "kind": InputMapping(range(4), disjunctive=True)}
    outputs = ("out", [(x,) for x in range(4)])
    options = {"k": 2, "input_mappings": mappings, "output_mapping": outputs, **options}
    return Reasoner(PROGRAM, provenance=provenance, executor=executor, **options)


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("edges", [EDGES, CYCLE], ids=["paths", "cycle"])
@pytest.mark.parametrize("provenance", PROVENANCES)
def test_lists_and_bit_sets_have_the_same_values_at_once(provenance: str, edges: list, grouped: bool, monkeypatch):
    found = []
    for form in ("bits", "lists"):
        set_form(monkeypatch, form)
        program = reasoner(edges, "numpy", provenance, wmc_with_disjunctions=grouped)
        found.append(program(**probabilities(edges)))
    np.testing.assert_array_equal(*found)


CASES = [("difftopkproofs", False), ("difftopkproofs", True), ("difftopbottomkclauses", False)]


@pytest.mark.parametrize(("provenance", "grouped"), with_rest_at_night(CASES, CASES[:1]))
def test_lists_and_bit_sets_have_the_same_gradients(provenance: str, grouped: bool, monkeypatch):
    inputs, found = probabilities(EDGES), []
    for form in ("bits", "lists"):
        set_form(monkeypatch, form)
        program = reasoner(EDGES, "jax", provenance, wmc_with_disjunctions=grouped)
        found.append(jax.value_and_grad(lambda inputs, run=program: (run(**inputs) ** 2).sum())(inputs))
    (value, gradient), (expected, expected_gradient) = found[1], found[0]
    assert value == pytest.approx(float(expected), rel=1e-6)
    for name in inputs:
        np.testing.assert_allclose(gradient[name], expected_gradient[name], rtol=1e-5, atol=1e-6)
        assert np.isfinite(gradient[name]).all()


def test_lists_are_read_as_bit_sets_are(monkeypatch):
    found = []
    for form in ("bits", "lists"):
        set_form(monkeypatch, form)
        _, proofs = reasoner(EDGES, "numpy", "difftopkproofsdebug")(**probabilities(EDGES))
        found.append([[[[str(part) for part in proof] for proof in tuples] for tuples in each] for each in proofs])
    assert found[0] == found[1]
    assert any(any(proof) for sample in found[0] for tuples in sample for proof in tuples)


def test_proofs_on_cycles_are_lists_at_once(monkeypatch):
    expected = reasoner(CYCLE, "numpy", "difftopkproofs")(**probabilities(CYCLE))
    monkeypatch.setattr(numpy_executor, "_MANY_WORDS", 1)
    found = reasoner(CYCLE, "numpy", "difftopkproofs")(**probabilities(CYCLE))
    np.testing.assert_array_equal(found, expected)


WALKS = """
    rel path(x, y) = edge(x, y)
    rel path(x, z) = path(x, y), path(y, z), kind(z)
"""


# A graph of many cycles: tuples have several derivations each, and stand in several tiles.
NODES = range(9)
STREETS = [(x, y) for x in NODES for y in NODES if (y - x) % 9 in (1, 4) or (x * y) % 7 == 3]


def walks(executor: str) -> Reasoner:
    return Reasoner(
        WALKS,
        provenance="difftopkproofsdebug",
        executor=executor,
        input_mappings={"edge": STREETS, "kind": NODES},
        output_mapping=("path", [(x, y) for x in NODES for y in NODES]),
    )


def test_rounds_that_compute_what_changed_find_the_proofs_of_whole_rounds(monkeypatch):
    # Few different weights: many proofs weigh the same, and walks round a cycle as much as their parts.
    generator = np.random.default_rng(3)
    shapes = {"edge": len(STREETS), "kind": len(NODES)}
    inputs: dict[str, Any] = {
        name: generator.choice([0.25, 0.5, 1], (2, count)).astype(np.float32) for name, count in shapes.items()
    }
    values, proofs = walks("jax")(**inputs)
    listed = [[[[str(part) for part in proof] for proof in tuples] for tuples in each] for each in proofs]
    for words in (1, 10_000):
        monkeypatch.setattr(numpy_executor, "_MANY_WORDS", words)
        found, kept = walks("numpy")(**inputs)
        np.testing.assert_allclose(found, values, rtol=1e-6)
        assert [[[[str(part) for part in proof] for proof in tuples] for tuples in each] for each in kept] == listed


def test_proofs_that_are_found_at_once_have_the_gradients_of_compiled_ones(monkeypatch):
    inputs, found = probabilities(CYCLE), []
    cotangent = np.random.default_rng(1).random((3, 4), np.float32)
    for words in (10_000, 1):
        monkeypatch.setattr(numpy_executor, "_MANY_WORDS", words)
        evaluator = reasoner(CYCLE, "jax", "difftopkproofs").evaluator
        arrays = [inputs[name] for name in ("edge", "kind")]
        values, residuals = evaluator.forward(arrays)
        found.append([values, *evaluator.pull_back(arrays, residuals, cotangent)[0]])
    for compiled, at_once in zip(*found, strict=True):
        np.testing.assert_array_equal(at_once, compiled)


def test_a_proof_that_others_kept_out_comes_back_where_they_are_absorbed():
    # Two proofs with `a` are the best of the first block of derivations; in the second `a` alone takes their places.
    program = """
        rel n(0) = a()
        rel n(1) = a()
        rel n(x) = f(x)
        rel m() = a() or z()
        rel l() = d() or z()
        rel t() = n(x), c(x)
        rel t() = m()
        rel t() = l()
    """
    mappings = {"f": range(8), "c": range(8), "a": [()], "d": [()], "z": [()]}
    t = Reasoner(program, k=2, executor="numpy", input_mappings=mappings, output_mapping=("t", ()))
    few = np.full((1, 8), 0.01, np.float32)
    likely = np.where(np.arange(8) < 2, np.float32(0.9), few)
    a, d, z = (np.array([[p]], np.float32) for p in (0.9, 0.1, 0.001))
    assert t(f=few, c=likely, a=a, d=d, z=z)[0] == pytest.approx(1 - (1 - 0.9) * (1 - 0.1), rel=1e-6)


STORY = """
    type edge(a: i32, b: i32, r: i32)
    rel kin(a, b, r) = edge(a, b, r)
    rel kin(a, c, t) = kin(a, b, r), kin(b, c, s), composition(r, s, t)
    rel answer(r) = kin(0, 3, r)
"""


def test_facts_of_samples_have_lists_with_gradients_and_compile_once(monkeypatch):
    kinds, generator = range(3), np.random.default_rng(0)
    mapping = [(r, s, t) for r in kinds for s in kinds for t in kinds]
    weights = generator.dirichlet(np.ones(3), (2, 9)).astype(np.float32).reshape(2, -1)

    def run(form: str, batches: list) -> list:
        set_form(monkeypatch, form)
        story = Reasoner(
            STORY,
            provenance="difftopkproofs",
            executor="jax",
            non_probabilistic=["edge"],
            input_mappings={"composition": mapping},
            output_mapping=("answer", [(r,) for r in kinds]),
        )
        found = []
        for batch in batches:
            values, pull = jax.vjp(lambda w, b=batch: story(edge=b, composition=w), weights)
            found += [values, pull(np.ones_like(values))[0]]
        return found

    chain = [(0, 1), (1, 2), (2, 3)]
    batches = [[[(a, b, int(generator.integers(3))) for a, b in chain] for _ in range(2)] for _ in range(3)]
    lists = run("lists", batches[:1])
    with counted_compilations() as compiled:
        others = run("lists", batches[1:])
    assert not compiled
    for found, expected in zip([*lists, *others], run("bits", batches), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
