"""Small programs that are constants of the code compiled for them answer as those that are its arguments."""

import jax
import numpy as np
import pytest

from scallax import Reasoner
from scallax.circuits import constant_program
from scallax.circuits.constant_program import list_tiles
from scallax.kernels.schedule import Tile
from scallax.provenance.proofs import top_k
from scallax.provenance.proofs.bit_sets import BitSets
from scallax.provenance.proofs.clauses import Dependence, dependence, leaf_bits, list_proofs
from scallax.provenance.proofs.layers import fold_layers, list_layers
from scallax.provenance.proofs.ranks import NO_PROOF
from tests.compilations import counted_compilations
from tests.nightly import with_rest_at_night

POINTS = [(x,) for x in range(4)]
DECLARED = "type a(x: i32)\ntype b(x: i32)\ntype c(x: i32)\n"
MAPPINGS = {"a": POINTS, "b": POINTS, "c": POINTS}

# Programs of one head or many; literals that repeat, contradict or exclude each other, and proofs that others contain.
PROGRAMS = {
    "pairs": "rel q(x + y) = a(x), b(y)",
    "absorbed": "rel q(0) = a(0)\nrel q(0) = a(0), b(1)\nrel q(0) = a(2), b(1)\nrel q(0) = b(1), a(2), a(3)",
    "repeated": "rel q(x) = a(x), a(x), b(y), a(y)",
    "exclusive": "rel q(x) = c(x), c(y), b(y)\nrel q(x) = a(x), c(x + 1)",
    "negated": "rel q(x) = a(x), not b(x)\nrel q(x) = a(x), not a(y), b(y)",
    "in turn": "rel p(x, y) = a(x), b(y)\nrel q(x) = p(x, y), c(y)\nrel q(9) = p(x, y), a(y), c(x)",
    "shared by none": "rel q(0) = a(0), b(1), not c(2)\nrel q(0) = not a(1)\nrel q(1) = a(2)\nrel q(2) = c(x), x > 5",
    "tagged": "rel 0.3::q(x) = a(x), b(y)\nrel 0.8::q(0) = c(2)",
    "counted": "rel q(n) = n := count(x: a(x))",
    "two leaves at once": "rel p(x, y) = a(x), b(y)\nrel r(x) = c(x), a(y)\nrel q(x) = r(x), p(x, y)",
    "of nodes": "rel p(x) = a(x), b(y), x < y\nrel r(x) = b(x), c(y)\nrel q(x) = p(x), r(y)",
}


def reasoner_of(text: str, **options) -> Reasoner:
    return Reasoner(
        DECLARED + text, provenance="difftopkproofs", input_mappings=MAPPINGS, output_relation="q", **options
    )


def answers(reasoner: Reasoner, arrays: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The ranks and bit sets of proofs, then values and gradients."""
    values, residuals = reasoner.evaluator.forward(arrays)
    cotangent = np.random.default_rng(1).uniform(0.5, 1.5, values.shape).astype(np.float32)
    gradients = reasoner.evaluator.pull_back(arrays, residuals, cotangent)
    # Listed proofs have weights too, which steps compute where they are counted.
    proofs = residuals.arrays.tags[:2]
    return [np.asarray(leaf) for leaf in proofs], [np.asarray(leaf) for leaf in jax.tree.leaves((values, gradients))]


def assert_equal(found: tuple, expected: tuple) -> None:
    """Equal proofs, but for places for proofs that no output has; and values and gradients of these."""
    for actual, wanted in zip(found[0], expected[0], strict=True):
        unused = wanted[:, actual.shape[1] :]
        assert np.all(unused == NO_PROOF) or not unused.any()
        np.testing.assert_array_equal(actual, wanted[:, : actual.shape[1]])
    # A compiler that puts a product and a sum into one operation rounds once: it does so where both are in one loop.
    for actual, wanted in zip(found[1], expected[1], strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=3e-7, atol=1e-8)


KEPT = {"retain_topk": {"a": 2}}


def inputs() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    arrays = [rng.uniform(0, 0.25, (4, 4)).astype(np.float32) for _ in MAPPINGS]
    # Equal weights, and none.
    arrays[1][1:3] = 0.125
    arrays[0][2, 1:] = 0
    return arrays


@pytest.mark.parametrize(
    ("name", "k", "options"),
    with_rest_at_night(
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
        [
            *((name, 3, {}) for name in ("pairs", "shared by none", "in turn")),
            ("absorbed", 1, {}),
            ("negated", 3, KEPT),
        ],
    ),
)
def test_values_proofs_and_gradients_are_the_same(name: str, k: int, options: dict, monkeypatch):
    arrays = inputs()
    found = answers(reasoner_of(PROGRAMS[name], k=k, **options), arrays)
    monkeypatch.setattr(constant_program, "_MAX_BYTES", 0)
    assert_equal(found, answers(reasoner_of(PROGRAMS[name], k=k, **options), arrays))


@pytest.mark.parametrize(
    ("name", "k", "options"),
    [
        # No other test has this `k`: programs share compiled functions.
        ("negated", 4, {}),
        ("in turn", 2, KEPT),
        ("absorbed", 6, {"absorb": False}),
        *(
            pytest.param(name, 4, {}, marks=pytest.mark.nightly)
            for name in (
                "pairs",
                "repeated",
                "absorbed",
                "shared by none",
                "two leaves at once",
                "in turn",
                "exclusive",
            )
        ),
        *(pytest.param(*case, marks=pytest.mark.nightly) for case in (("in turn", 1, {}), ("pairs", 6, KEPT))),
    ],
)
def test_layers_find_what_steps_find(name: str, k: int, options: dict, monkeypatch):
    arrays, layers = inputs(), []

    def count(*given):
        layers.append(len(given[0]))
        return fold_layers(*given)

    monkeypatch.setattr(top_k, "list_proofs", lambda *given: None)
    monkeypatch.setattr(top_k, "fold_layers", count)
    found = answers(reasoner_of(PROGRAMS[name], k=k, **options), arrays)
    assert layers
    monkeypatch.setattr(constant_program, "_MAX_BYTES", 0)
    assert_equal(found, answers(reasoner_of(PROGRAMS[name], k=k, **options), arrays))


def test_a_program_of_many_layers_is_folded_by_steps():
    rules = "".join(f"rel p{n}(x) = p{n - 1}(x), b(y), c(x) rel p{n}(x) = a(x), b(x), c(y)\n" for n in range(1, 6))
    reasoner = reasoner_of(f"rel p0(x) = a(x), b(y)\n{rules}rel q(x) = p5(x)", k=3)
    tiles = list_tiles(reasoner.evaluator.layout.circuit.forward, (0, 1))
    assert tiles is not None
    assert list_layers(tiles, 2 + 3 * 4, 3) is None


@pytest.mark.parametrize(
    ("name", "k", "options"),
    [
        ("exclusive", 3, {}),
        ("negated", 3, KEPT),
        ("tagged", 3, {}),
        ("pairs", 1, {}),
        ("shared by none", 4, {}),
        ("counted", 2, KEPT),
        *(
            pytest.param(*case, marks=pytest.mark.nightly)
            for case in (
                ("repeated", 3, {}),
                ("of nodes", 3, {}),
                ("tagged", 5, {}),
                ("pairs", 5, KEPT),
                ("counted", 2, {}),
            )
        ),
    ],
)
def test_derivatives_are_those_of_the_backward_pass(name: str, k: int, options: dict, monkeypatch):
    if name == "of nodes":
        monkeypatch.setattr(constant_program, "_MAX_BYTES", 0)
    arrays, reasoner = inputs(), reasoner_of(PROGRAMS[name], k=k, **options)
    values, residuals = reasoner.evaluator.forward(arrays)
    linear = reasoner.evaluator.linearize(arrays)
    assert linear is not None
    # Exclusive proofs are added up, without the products of two that are 0.
    np.testing.assert_allclose(linear[:, 0], values, rtol=1e-6)
    derivatives = np.asarray(linear[:, 1:]).reshape(4, len(arrays), 4, values.shape[1])
    for output in range(values.shape[1]):
        cotangent = np.zeros(values.shape, np.float32)
        cotangent[:, output] = 1
        gradients, _ = reasoner.evaluator.pull_back(arrays, residuals, cotangent)
        # The literals of a block are added up in another order.
        np.testing.assert_allclose(
            np.stack(list(map(np.asarray, gradients))), derivatives[..., output].swapaxes(0, 1), rtol=1e-6, atol=1e-7
        )


# Each fact is a column; rows are zero, one, the facts a to f and the complement of a.
_A, _B, _C, _D, _E, _F, _NOT_A = range(2, 9)
_HEAD = 16


@pytest.mark.parametrize(
    ("second", "k", "num_proofs"),
    [
        # Joined with what the proofs of the first head do not have: the best k are among those of the best.
        ([(_HEAD, _E, 1), (_HEAD, _F, 1)], 2, 8),
        # With what some have, or contradict, only if no proof was left out.
        ([(_HEAD, _A, 1)], 4, 1),
        ([(_HEAD, _A, 1)], 3, None),
        ([(_HEAD, _NOT_A, 1)], 4, 3),
        ([(_HEAD, _NOT_A, 1)], 3, None),
        # Proofs that contain one of another derivation.
        ([(_HEAD, _E, 1), (_E, _F, 1), (_E, 1, 1)], 4, 1),
        ([(_HEAD, _E, 1), (_E, 1, 1)], 3, None),
        ([(_HEAD, 0, 1)], 4, 0),
    ],
)
def test_proofs_are_listed_only_if_steps_would_find_the_best(second: list, k: int, num_proofs: int | None):
    columns = np.array([[0, 1, 2, 3, 4, 5], [32, -1, -1, -1, -1, -1]], np.int32)
    sets = BitSets(positive=1, both=1, negated=1, columns=(6, 1), has_groups=False)
    leaves = leaf_bits(columns, np.array([0]), np.zeros((6, 0), np.uint32), sets)
    first = np.array([(_A, 1, 1), (_B, 1, 1), (_C, 1, 1), (_D, 1, 1)], np.int32)
    tiles = [Tile(_HEAD + place, np.array(rows, np.int32).T[..., None]) for place, rows in enumerate((first, second))]
    found = list_proofs(tiles, np.array([_HEAD + 1]), leaves, sets, k, absorb=True)
    assert (None if found is None else int((found.operands[0] > 0).sum())) == num_proofs


@pytest.mark.parametrize(
    ("tiles", "expected"),
    [
        ([(_A, _B, 1), (_C, _D, 1)], Dependence.INDEPENDENT),
        ([(_A, _B, 1), (_NOT_A, _D, 1)], Dependence.EXCLUSIVE),
        ([(_A, _B, 1), (_A, _D, 1)], Dependence.MIXED),
        # It depends on which two are kept.
        ([(_A, _B, 1), (_NOT_A, _D, 1), (_C, _F, 1)], Dependence.UNKNOWN),
        ([(_A, _B, 1)], Dependence.INDEPENDENT),
    ],
)
def test_what_is_known_of_the_dependence_of_proofs(tiles: list, expected: Dependence):
    columns = np.array([[0, 1, 2, 3, 4, 5], [32, -1, -1, -1, -1, -1]], np.int32)
    sets = BitSets(positive=1, both=1, negated=1, columns=(6, 1), has_groups=False)
    leaves = leaf_bits(columns, np.array([0]), np.zeros((6, 0), np.uint32), sets)
    rows = [Tile(_HEAD, np.array(tiles, np.int32).T[..., None])]
    found = list_proofs(rows, np.array([_HEAD, 0]), leaves, sets, 2, absorb=True)
    assert found is not None
    assert dependence(found, sets, 2, all_present=True) is expected
    # For the tuples that exist, or for a single one, it may be otherwise.
    rest = Dependence.UNKNOWN if expected is Dependence.MIXED else expected
    assert dependence(found, sets, 2, all_present=False) is rest
    assert dependence(found, sets, 1, all_present=True) is rest


def test_derivatives_of_large_batches_are_left_to_the_backward_pass(monkeypatch):
    monkeypatch.setattr("scallax.evaluation.evaluator._MAX_DERIVATIVES", 4 * 7 * 12)
    reasoner = reasoner_of(PROGRAMS["pairs"])
    assert reasoner.evaluator.linearize(inputs()) is not None
    assert reasoner.evaluator.linearize([np.concatenate([array, array]) for array in inputs()]) is None
    assert reasoner.evaluator.linearize([array[:0] for array in inputs()]) is None


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("tagged", {"trainable": ["q"]}),
        ("pairs", {"provenance": "exact"}),
        ("pairs", {"k": 11}),
        ("exclusive", {"wmc_with_disjunctions": True}),
    ],
)
def test_some_derivatives_are_left_to_the_backward_pass(name: str, options: dict):
    options = {"provenance": "difftopkproofs", **options}
    reasoner = Reasoner(DECLARED + PROGRAMS[name], input_mappings=MAPPINGS, output_relation="q", **options)
    assert reasoner.evaluator.linearize(inputs()) is None


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
    grounded = program.evaluator.layout.circuit
    assert (constant_program.embed(grounded) is not None) == is_small
