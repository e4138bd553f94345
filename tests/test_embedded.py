"""Small programs that are constants of the code compiled for them answer as those that are its arguments."""

import jax
import numpy as np
import pytest

from scallax import Reasoner
from scallax.grounding import embedded
from tests.compilations import counted_compilations

POINTS = [(x,) for x in range(4)]
DECLARED = "type a(x: i32)\ntype b(x: i32)\ntype c(x: i32)\n"
MAPPINGS = {"a": POINTS, "b": POINTS, "c": POINTS}

# Of one head or many; literals that repeat, contradict or exclude each other, and proofs that others contain.
PROGRAMS = {
    "pairs": "rel q(x + y) = a(x), b(y)",
    "absorbed": "rel q(0) = a(0)\nrel q(0) = a(0), b(1)\nrel q(0) = a(2), b(1)\nrel q(0) = b(1), a(2), a(3)",
    "repeated": "rel q(x) = a(x), a(x), b(y), a(y)",
    "exclusive": "rel q(x) = c(x), c(y), b(y)\nrel q(x) = a(x), c(x + 1)",
    "negated": "rel q(x) = a(x), not b(x)\nrel q(x) = a(x), not a(y), b(y)",
    "in turn": "rel p(x, y) = a(x), b(y)\nrel q(x) = p(x, y), c(y)\nrel q(9) = p(x, y), a(y), c(x)",
    "tagged": "rel 0.3::q(x) = a(x), b(y)\nrel 0.8::q(0) = c(2)",
    "of nodes": "rel p(x) = a(x), b(y), x < y\nrel r(x) = b(x), c(y)\nrel q(x) = p(x), r(y)",
}


def reasoner_of(text: str, **options) -> Reasoner:
    return Reasoner(
        DECLARED + text, provenance="difftopkproofs", input_mappings=MAPPINGS, output_relation="q", **options
    )


def answers(reasoner: Reasoner, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Values, then proofs and gradients."""
    values, residuals = reasoner.forward(arrays)
    cotangent = np.random.default_rng(1).uniform(0.5, 1.5, values.shape).astype(np.float32)
    gradients = reasoner.pull_back(arrays, residuals, cotangent)
    return [np.asarray(leaf) for leaf in jax.tree.leaves((values, residuals, gradients))]


KEPT = {"retain_topk": {"a": 2}}


@pytest.mark.parametrize(
    ("name", "k", "options"),
    [
        *((name, 3, {}) for name in PROGRAMS),
        ("absorbed", 1, {}),
        ("absorbed", 5, {"absorb": False}),
        ("repeated", 2, {"absorb": False}),
        ("pairs", 5, KEPT),
        ("negated", 3, KEPT),
        ("exclusive", 3, {"wmc_with_disjunctions": True}),
        ("negated", 3, {"wmc_with_disjunctions": True}),
    ],
)
def test_values_proofs_and_gradients_are_the_same(name: str, k: int, options: dict, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0, 0.25, (4, 4)).astype(np.float32) for _ in MAPPINGS]
    # Equal weights, and none.
    arrays[1][1:3] = 0.125
    arrays[0][2, 1:] = 0
    found = answers(reasoner_of(PROGRAMS[name], k=k, **options), arrays)
    monkeypatch.setattr(embedded, "_MAX_BYTES", 0)
    for actual, wanted in zip(found, answers(reasoner_of(PROGRAMS[name], k=k, **options), arrays), strict=True):
        np.testing.assert_array_equal(actual, wanted)


def test_equal_programs_share_a_compilation():
    arrays = [np.full((2, 4), 0.5, np.float32) for _ in MAPPINGS]
    answers(reasoner_of(PROGRAMS["pairs"]), arrays)
    with counted_compilations() as compiled:
        answers(reasoner_of(PROGRAMS["pairs"]), arrays)
    assert not compiled


@pytest.mark.parametrize(("count", "is_small"), [(4, True), (40, False)])
def test_only_small_programs_are_constants(count: int, is_small: bool):
    program = Reasoner(
        "type a(x: i32)\nrel q(x + y) = a(x), a(y)",
        input_mappings={"a": list(range(count))},
        output_relation="q",
        output_mapping=[(2,)] if is_small else [(x,) for x in range(2 * count - 1)],
    )
    grounded = program._grounded.program(program._provenance)
    assert (embedded.embed(grounded) is not None) == is_small
