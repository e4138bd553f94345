"""Aggregates that choose or share by weights, over uncertain tuples, against plain NumPy and enumerated worlds."""

import itertools
import json
import math
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax.circuits.compile import analyse_program
from scallax.circuits.serialized import program_data, read_program
from scallax.context.answers import answer
from scallax.context.context import Context
from scallax.context.options import Options
from scallax.errors import CheckpointError, GroundingError, Source, UnsupportedError
from scallax.evaluation.compiled_program import ground, provenance_of
from scallax.facts.mappings import InputMapping
from scallax.kernels.selection_values import open_selections
from scallax.kernels.selections import Selections
from scallax.reasoner.reasoner import Reasoner
from tests.nightly import with_rest_at_night

# Under all of these an input weighs its probability.
PROVENANCES = ["minmaxprob", "diffaddmultprob", "difftopkproofs", "diffexact"]
# Members of the groups of `f` in the order of its inputs; `g` has one uncertain group and one certain one.
MEMBERS = {1: [10, 11, 12, 13], 2: [10, 12]}
ENTRIES = [(group, member) for group, members in MEMBERS.items() for member in members]
PROGRAM = """
rel c = {(1, 12), (3, 20), (3, 21), (3, 22)}
rel top(x, y) = y := top<2>(y: f(x, y))
rel unique(x, y) = y := unique(y: f(x, y))
rel rank(x, i, y) = (i, y) := rank(y: f(x, y))
rel rank_asc(x, i, y) = (i, y) := rank<asc>(y: f(x, y))
rel normalize(x, y) = y := normalize(y: f(x, y))
rel softmax(x, y) = y := softmax(y: f(x, y))
rel beside_certain(x, y) = y := top<2>(y: f(x, y) or c(x, y))
"""
OUTPUTS = ["top", "unique", "rank", "rank_asc", "normalize", "softmax", "beside_certain"]
SAMPLES = np.array(
    [[0.1, 0.7, 0.3, 0.2, 0.4, 0.6], [0.5, 0.5, 0.1, 0.9, 0.2, 0.2], [0.0, 1.0, 0.8, 0.0, 0.0, 0.3]], np.float32
)


def reasoner(provenance: str, program: str = PROGRAM, outputs=OUTPUTS, mapping=ENTRIES, k: int = 1) -> Reasoner:
    """Most tuples here have one proof: a fact and a selection."""
    return Reasoner(
        program, provenance=provenance, k=k, input_mappings={"f": mapping}, output_mappings=dict.fromkeys(outputs)
    )


def expected_results(row: np.ndarray) -> dict[str, dict[tuple, float]]:
    """The tuples of tag other than 0 and their tags; those of weight 0 are not there, ties are in value order."""
    found: dict[str, dict[tuple, float]] = {name: {} for name in OUTPUTS}
    for group, members in MEMBERS.items():
        weights = {member: row[ENTRIES.index((group, member))] for member in members}
        weights = {member: float(weight) for member, weight in weights.items() if weight}
        best = sorted(weights, key=lambda member: -weights[member])
        worst = sorted(weights, key=lambda member: weights[member])
        found["top"] |= {(group, member): weights[member] for member in best[:2]}
        found["unique"] |= {(group, member): weights[member] for member in best[:1]}
        found["rank"] |= {(group, i, member): weights[member] for i, member in enumerate(best)}
        found["rank_asc"] |= {(group, i, member): weights[member] for i, member in enumerate(worst)}
        total = sum(weights.values())
        found["normalize"] |= {(group, member): weight / total for member, weight in weights.items()}
        total = sum(np.exp(weight) for weight in weights.values())
        found["softmax"] |= {(group, member): np.exp(weight) / total for member, weight in weights.items()}
        if group == 1:
            weights[12] = 1.0
        best = sorted(sorted(weights), key=lambda member: -weights[member])
        found["beside_certain"] |= {(group, member): weights[member] for member in best[:2]}
    found["beside_certain"] |= {(3, 20): 1.0, (3, 21): 1.0}
    return found


@pytest.mark.parametrize("provenance", ["natural", "realtropical", "proofs", "difftopkproofs"])
def test_untagged_tuples_are_chosen_without_being_weighed(provenance: str):
    text = "type a(i32)\nrel b(x + 1) = a(x)\nrel rank(i, x) = (i, x) := rank(x: b(x))"
    text += "\nrel top(x) = x := top<2>(x: b(x))\nrel unique(x) = x := unique(x: a(x))"
    context = Context(provenance)
    context.add_program(text)
    facts = [(i,) for i in range(2000)]
    context.add_facts("a", facts if provenance == "proofs" else [(None, fact) for fact in facts])
    context.run()
    found = {name: list(context.relation(name)) for name in ("rank", "top", "unique")}
    if provenance != "proofs":
        found = {name: [values for _, values in answers] for name, answers in found.items()}
    assert found == {"rank": [(i, i + 1) for i in range(2000)], "top": [(1,), (2,)], "unique": [(0,)]}


@pytest.mark.parametrize("provenance", ["natural", "realtropical"])
def test_what_holds_weighs_the_same_under_counts_and_costs(provenance: str):
    # `b(1)` has two derivations, and `f(0)` is there in one sample.
    text = "type f(i32)\nrel a = {1, 2}\nrel b(x) = a(x) or (a(y) and x == 3 - y)\nrel c(x) = b(x), f(y)"
    text += "\nrel t(x) = x := unique(x: b(x))\nrel u(x) = x := unique(x: c(x))"
    tag, zero = {"natural": (2, 0), "realtropical": (0, np.inf)}[provenance]
    found = Reasoner(text, provenance=provenance, output_mappings=dict.fromkeys("tu"))(f=[[(None, (0,))], []])
    chosen = {
        name: [[(t, v) for t, v in zip(tuples, row, strict=True) if v != zero] for row in np.asarray(values).tolist()]
        for name, (tuples, values) in found.items()
    }
    assert chosen == {"t": [[((1,), tag)], [((1,), tag)]], "u": [[((1,), tag)], []]}


@pytest.mark.parametrize(("provenance", "chosen"), [("natural", 1), ("realtropical", 2)])
def test_tags_that_are_given_are_weighed_where_costs_are(provenance: str, chosen: int):
    context = Context(provenance)
    context.add_program("rel a = {5::1, 3::2, 7::3}\nrel t(x) = x := unique(x: a(x))")
    context.run()
    absent = {"natural": 0, "realtropical": float("inf")}[provenance]
    assert [values for tag, values in context.relation("t") if tag != absent] == [(chosen,)]


@pytest.mark.parametrize("provenance", PROVENANCES)
def test_each_sample_has_its_own_choices(provenance: str):
    results = reasoner(provenance)(f=SAMPLES)
    for sample, row in enumerate(SAMPLES):
        for name, expected in expected_results(row).items():
            tuples, values = results[name]
            actual = {t: float(v) for t, v in zip(tuples, np.asarray(values)[sample], strict=True) if v != 0}
            assert actual.keys() == expected.keys(), (name, sample)
            np.testing.assert_allclose([actual[t] for t in expected], list(expected.values()), rtol=1e-6)


def test_what_holds_weighs_the_same_where_there_are_no_probabilities():
    for provenance in ("bool", "unit"):
        holds = np.array([[False, True, True, True, True, True]])
        results = reasoner(provenance)(f=holds)
        tuples, values = results["top"]
        chosen = {t for t, v in zip(tuples, np.asarray(values)[0], strict=True) if v}
        first = [(1, 11), (1, 12)] if provenance == "bool" else [(1, 10), (1, 11)]
        assert chosen == {*first, (2, 10), (2, 12)}


# Chosen tuples are used together with the facts that they come from.
CORRELATED = """
rel p(x) = f(0, x), f(1, x)
rel p(x) = f(2, x)
rel best(x) = x := top<1>(x: p(x))
rel both(x) = best(x), f(0, x)
rel other(x) = p(x), not best(x)
rel second(x) = x := top<1>(x: other(x))
"""


@pytest.mark.parametrize("provenance", ["difftopkproofs", "diffexact"])
def test_chosen_tuples_keep_their_proofs(provenance: str):
    entries = [(i, x) for i in range(3) for x in range(2)]
    samples = np.random.default_rng(3).uniform(0.1, 0.9, (4, 6)).astype(np.float32)
    function = reasoner(provenance, CORRELATED, ["best", "both", "second"], entries, k=2)
    results = function(f=samples)
    for sample, row in enumerate(samples.astype(np.float64)):
        expected = enumerated_worlds(dict(zip(entries, row, strict=True)))
        for name, (tuples, values) in results.items():
            actual = dict(zip([x for (x,) in tuples], np.asarray(values)[sample].tolist(), strict=True))
            assert actual == pytest.approx({x: expected[name].get(x, 0.0) for x in actual}, abs=1e-6)


def enumerated_worlds(probabilities: dict[tuple, float]) -> dict[str, dict[int, float]]:
    """Probabilities of `best`, `both` and `second` with the choices that follow from those of `p` and `other`."""

    def probability(holds) -> float:
        total = 0.0
        for world in itertools.product([False, True], repeat=len(probabilities)):
            true = {fact for fact, is_true in zip(probabilities, world, strict=True) if is_true}
            if holds(true):
                total += math.prod(p if fact in true else 1 - p for fact, p in probabilities.items())
        return total

    def is_p(true: set, x: int) -> bool:
        return {(0, x), (1, x)} <= true or (2, x) in true

    weights = [probability(lambda true, x=x: is_p(true, x)) for x in range(2)]
    best = int(np.argmax(weights))
    # The one that is chosen always holds where `p` does: `other` is only the other one.
    return {
        "best": {best: weights[best]},
        "both": {best: probability(lambda true: is_p(true, best) and (0, best) in true)},
        "second": {1 - best: weights[1 - best]},
    }


@pytest.mark.parametrize("provenance", ["minmaxprob", "difftopkproofs"])
def test_stages_build_on_each_other(provenance: str):
    program = """
    rel share(x) = x := softmax(x: f(1, x))
    rel best(x) = x := top<2>(x: share(x))
    rel again(x) = x := normalize(x: best(x))
    """
    function = reasoner(provenance, program, ["again"])
    tuples, values = function(f=SAMPLES[:2])["again"]
    for row, actual in zip(SAMPLES[:2, :4], np.asarray(values), strict=True):
        weights = np.exp(row) / np.exp(row).sum()
        kept = np.argsort(-weights, kind="stable")[:2]
        expected = np.zeros(4)
        expected[kept] = weights[kept] / weights[kept].sum()
        assert [x for (x,) in tuples] == MEMBERS[1]
        np.testing.assert_allclose(actual, expected, atol=1e-6)


def test_shares_exclude_each_other():
    program = "rel share(x) = x := normalize(x: f(1, x))\nrel two() = share(10), share(11)\nrel one(1) = share(_)"
    for provenance in ("topkproofs", "exact"):
        results = reasoner(provenance, program, ["two", "one"])(f=SAMPLES[:2])
        np.testing.assert_allclose(results["two"][1], 0, atol=1e-7)
    # With one variable, something is chosen.
    np.testing.assert_allclose(results["one"][1], 1, rtol=1e-6)


# Chosen tuples, shares, and shares of what was chosen.
SLOPES = """
rel top(x, y) = y := top<2>(y: f(x, y))
rel softmax(x, y) = y := softmax(y: f(x, y))
rel normalize(x, y) = y := normalize(y: top(x, y))
"""


@pytest.mark.parametrize("provenance", with_rest_at_night(PROVENANCES, ["difftopkproofs"]))
def test_gradients_are_finite_differences_and_finite_at_0_and_1(provenance: str):
    with jax.enable_x64(True):
        function = reasoner(provenance, SLOPES, ["top", "softmax", "normalize"])
        steps = 1e-6 * np.concatenate([np.eye(6), -np.eye(6)])
        samples = jnp.asarray(np.concatenate([SAMPLES[:1] + steps, np.zeros((1, 6)), np.ones((1, 6))]))
        values, residuals = function.evaluator.forward((samples,))
        weights = np.random.default_rng(0).normal(size=values.shape[1:])
        (gradient,), _ = function.evaluator.pull_back((samples,), residuals, np.broadcast_to(weights, values.shape))
        assert gradient is not None
        totals = np.asarray(values) @ weights
        # Second derivatives of shares are below 5, so that gradients differ by less than that times the step.
        np.testing.assert_allclose(gradient[0], (totals[:6] - totals[6:12]) / 2e-6, atol=1e-5)
        assert np.isfinite(values).all()
        assert np.isfinite(gradient).all()


def test_gradients_of_mapped_samples_are_those_of_a_batch():
    function = reasoner("diffaddmultprob", SLOPES, ["normalize"])
    values, residuals = function.evaluator.forward((SAMPLES,))
    weights = np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
    (pulled,), _ = function.evaluator.pull_back((SAMPLES,), residuals, weights)
    assert pulled is not None

    row_by_row = jax.vmap(
        jax.grad(lambda row, weights: (function.evaluator.evaluate((row[None],)) * weights[None]).sum())
    )
    np.testing.assert_allclose(row_by_row(SAMPLES, weights), pulled, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("provenance", ["minmaxprob", "difftopkproofs"])
def test_absent_facts_are_no_members(provenance: str):
    mapping = InputMapping([10, 11, 12, 13], retain_k=2)
    program = "rel best(x) = x := top<3>(x: f(x))\nrel share(x) = x := softmax(x: f(x))"
    results = reasoner(provenance, program, ["best", "share"], mapping)(f=SAMPLES[:1, :4])
    np.testing.assert_allclose(results["best"][1], [[0, 0.7, 0.3, 0]], rtol=1e-6)
    shares = np.exp([0.7, 0.3]) / np.exp([0.7, 0.3]).sum()
    np.testing.assert_allclose(results["share"][1], [[0, *shares, 0]], rtol=1e-6)


def test_draws_are_of_what_holds_and_the_same_for_all_samples():
    groups = ", ".join(map(str, range(500)))
    program = f"""
    rel g = {{{groups}}}
    rel m(k, x) = g(k), f(x)
    rel by_weight(k, x) = x := categorical<1>(x: m(k, x))
    rel equally(k, x) = x := uniform<2>(x: m(k, x))
    """
    function = reasoner("minmaxprob", program, ["by_weight", "equally"], [0, 1, 2, 3])
    row = np.array([0.1, 0.5, 0.0, 0.4], np.float32)
    results = function(f=np.stack([row, row]))
    drawn = {}
    for name, (tuples, values) in results.items():
        assert np.array_equal(values[0], values[1])
        drawn[name] = [t for t, v in zip(tuples, np.asarray(values)[0], strict=True) if v != 0]
    # Five standard deviations of a binomial distribution: it fails once in a million seeds, and the seed is fixed.
    counts = Counter(x for _, x in drawn["by_weight"])
    assert sum(counts.values()) == 500
    for x, p in enumerate(row.tolist()):
        assert abs(counts[x] - 500 * p) <= 5 * np.sqrt(500 * p * (1 - p))
    pairs = Counter(Counter(k for k, _ in drawn["equally"]).values())
    assert pairs == {2: 500}
    counts = Counter(x for _, x in drawn["equally"])
    for x in (0, 1, 3):
        assert abs(counts[x] - 500 * 2 / 3) <= 5 * np.sqrt(500 * 2 / 9)
    # In a batch of its own, and without the other output, a group draws the same.
    alone = reasoner("minmaxprob", program, ["by_weight"], [0, 1, 2, 3])(f=row[None])["by_weight"]
    np.testing.assert_array_equal(alone[1][0], results["by_weight"][1][0])


def test_costs_and_counts_are_weighed():
    program = "rel best(x) = x := top<2>(x: f(x))\nrel all(x) = x := uniform<1>(x: f(x))"
    results = reasoner("realtropical", program, ["best"], [1, 2, 3])(f=np.array([[3.0, 1.0, 2.0]], np.float32))
    np.testing.assert_allclose(results["best"][1], [[np.inf, 1, 2]])
    text = "rel a = {2::1, 3::2, 1::3}\nrel best(x) = x := top<2>(x: a(x))"
    (found,) = answer(analyse_program([Source(text)]), ["best"], Options("tropical"))
    # All weigh the same: the first ones are taken, and being chosen costs nothing.
    assert found.tags is not None
    assert dict(zip(found.tuples, found.tags, strict=True)).items() >= {(1,): 2.0, (2,): 3.0}.items()


@pytest.mark.parametrize(("provenance", "aggregate"), [("proofs", "top"), ("tropical", "softmax")])
def test_what_has_no_weights_is_refused(provenance: str, aggregate: str):
    text = f"rel a = {{1::1, 1::2}}\nrel out(x) = x := {aggregate}(x: a(x))"
    with pytest.raises(UnsupportedError, match="are none"):
        answer(analyse_program([Source(text)]), ["out"], Options(provenance))


def test_a_key_draws_anew():
    program = "rel m(k, x) = g(k), f(x)\nrel out(k, x) = x := categorical<1>(x: m(k, x))\n"
    program += f"rel g = {{{', '.join(map(str, range(64)))}}}"
    function = reasoner("minmaxprob", program, ["out"], [1, 2, 3, 4])
    assert function.evaluator.draws
    row = np.full((1, 4), 0.5, np.float32)
    drawn = [np.asarray(function(f=row, key=jax.random.key(seed))["out"][1]) for seed in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_stages_are_stored_and_checked():
    program = "rel best(x) = x := top<1>(x: f(1, x))\nrel share(x) = x := softmax(x: best(x) or f(2, x))"
    specification = reasoner("difftopkproofs", program, ["best", "share"]).specification
    compiled = ground(specification).program(provenance_of(specification))
    assert len(compiled.stages) == 2
    data, arrays = program_data(compiled)
    again = read_program(json.loads(json.dumps(data)), arrays)
    jax.tree.map(np.testing.assert_array_equal, program_data(again), (data, arrays))
    selections = np.array(arrays["stages.1.gates.members"])
    selections[0] = 1000
    with pytest.raises(CheckpointError, match="damaged"):
        read_program(data, arrays | {"stages.1.gates.members": selections})


def test_trained_probabilities_are_weighed():
    program = """
    rel a = {0.2::1, 0.6::2, 0.5::3}
    rel out(x) = x := top<2>(x: a(x))
    rel share(x) = x := normalize(x: out(x))
    """
    function = Reasoner(
        program, provenance="diffaddmultprob", trainable=["a"], output_mappings={"out": None, "share": None}
    )
    np.testing.assert_allclose(function()["out"][1], [[0, 0.6, 0.5]], rtol=1e-5)
    logits = {name: np.array([3.0, -1.0, 0.0], np.float32) for name in function.compiled_program.parameter_names}
    p = 1 / (1 + np.exp(-np.array([3.0, -1.0, 0.0])))
    np.testing.assert_allclose(function.apply(logits)["out"][1], [[p[0], 0, p[2]]], rtol=1e-5)
    ((_, gradient),) = jax.grad(lambda logits: function.apply(logits)["share"][1][0, 0])(logits).items()
    total = p[0] + p[2]
    slope = p * (1 - p)
    np.testing.assert_allclose(gradient, [p[2] / total**2 * slope[0], 0, -p[0] / total**2 * slope[2]], rtol=1e-4)


def test_an_explanation_agrees_with_the_choice():
    program = "rel out(x) = x := categorical<1>(x: f(1, x))"
    function = reasoner("diffaddmultprob", program, ["out"])
    tuples, values = function(f=SAMPLES)["out"]
    assert np.count_nonzero(values[1]) == 1
    for t, value in zip(tuples, np.asarray(values)[1], strict=True):
        proofs = function.explain("out", t, {"f": SAMPLES}, sample=1).proofs
        assert [proof.weight for proof in proofs] == pytest.approx([value] if value else [])


@pytest.mark.parametrize("provenance", ["addmultprob", "topkproofs", "exact"])
def test_weighted_sums_of_constant_probabilities(provenance: str):
    facts = [(0.2, 1.0), (0.6, 2.0), (0.5, 5.0)]
    text = f"""
    rel s = {{{", ".join(f"{p}::{x}" for p, x in facts)}, 7.0}}
    rel total(x) = x := weighted_sum(y: s(y))
    rel mean(x) = x := weighted_avg(y: s(y))
    rel all(x) = x := weighted_sum!(y: s(y))
    """
    program = analyse_program([Source(text)])
    # Every world has values of its own, and is their one proof.
    answers = answer(program, ["total", "mean", "all"], Options(provenance, k=1))
    expected: dict[str, dict[float, float]] = {"total": {}, "mean": {}}
    for world in itertools.product([False, True], repeat=3):
        chosen = [fact for fact, is_true in zip(facts, world, strict=True) if is_true]
        likelihood = math.prod(p if is_true else 1 - p for (p, _), is_true in zip(facts, world, strict=True))
        total = 7.0 + sum(p * x for p, x in chosen)
        expected["total"][total] = likelihood
        expected["mean"][total / (1 + sum(p for p, _ in chosen))] = likelihood
    for found, (name, wanted) in zip(answers, expected.items(), strict=False):
        assert found.relation.name == name
        assert found.tags is not None
        assert [x for (x,) in found.tuples] == pytest.approx(sorted(wanted), rel=1e-6)
        assert found.tags == pytest.approx([wanted[x] for x in sorted(wanted)], rel=1e-5)
    assert answers[2].tuples == [(pytest.approx(7.0 + sum(p * x for p, x in facts)),)]


def test_weighted_sums_of_what_was_chosen():
    text = "rel s = {0.2::1.0, 0.6::2.0}\nrel t(x) = x := top(x: s(x))\nrel out(x) = x := weighted_sum!(x: t(x))"
    (found,) = answer(analyse_program([Source(text)]), ["out"], Options("minmaxprob"))
    assert found.tuples == [(pytest.approx(1.2),)]


def test_weighted_sums_in_a_context():
    context = Context(provenance="topkproofs", k=3)
    context.add_relation("s", float)
    context.add_facts("s", [(0.25, (4.0,)), (0.5, (8.0,))])
    context.add_rule("out(x) = x := weighted_sum(y: s(y))")
    context.run()
    # 0.25 times 4 and 0.5 times 8, in each of four worlds.
    expected = {0.0: 0.75 * 0.5, 1.0: 0.25 * 0.5, 4.0: 0.75 * 0.5, 5.0: 0.25 * 0.5}
    assert {values[0]: tag for tag, values in context.relation("out")} == pytest.approx(expected)


def test_weighted_sums_of_inputs_are_refused():
    program = "type f(f32)\nrel out(x) = x := weighted_sum(y: f(y))"
    with pytest.raises(UnsupportedError, match="depend on the batch") as caught:
        reasoner("difftopkproofs", program, ["out"], [1.0, 2.0])
    assert caught.value.diagnostics[0].span is not None
    program = "rel a = {0.5::1.0}\nrel out(x) = x := weighted_avg(y: a(y))"
    with pytest.raises(UnsupportedError, match="depend on the batch"):
        Reasoner(program, trainable=["a"], output_relation="out")


def test_too_many_tuples_to_rank_are_refused():
    with pytest.raises(GroundingError, match="1,025 tuples") as caught:
        reasoner("minmaxprob", "rel out = rank(x: f(x))", ["out"], range(1025))
    assert caught.value.diagnostics[0].span is not None


def test_large_groups_are_numbered_as_small_ones_are():
    rng = np.random.default_rng(5)
    # Ties, absent members and a group of one, below and above the size from which groups are sorted.
    for sizes in ([1, 40, 7], [1, 400, 7]):
        groups = np.repeat(np.arange(len(sizes)), sizes)
        starts = np.repeat(np.cumsum(sizes) - sizes, sizes)
        weights = rng.choice(np.linspace(0, 1, 30), (len(groups), 3)).astype(np.float32)
        count = np.arange(len(groups))
        ranges = np.where(groups == 1, 5, 0)
        none = np.zeros_like(count)
        columns = (groups, starts, none, none, count, none, ranges, ranges + 3)
        _, opened = open_selections(
            Selections(*(np.asarray(column, np.int32) for column in columns)), jnp.asarray(weights), jnp.uint32(0)
        )
        expected = np.zeros(weights.shape, bool)
        for group in range(len(sizes)):
            members = np.flatnonzero(groups == group)
            for sample in range(3):
                there = [member for member in members if weights[member, sample] != 0]
                best = sorted(there, key=lambda member, sample=sample: -weights[member, sample])
                first = 5 if group == 1 else 0
                expected[best[first : first + 3], sample] = True
        np.testing.assert_array_equal(opened, expected)
