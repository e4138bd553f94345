"""A context: built step by step, run, changed, run again; under every provenance, as functions, and with bad input."""

import gc
import itertools
import math
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax import Context, InputError, Limits, Reasoner, ScallaxError
from scallax.context.collection import Collection
from scallax.provenance.traits import provenance_names
from tests.compilations import counted_compilations

EDGES = [(0, 1), (1, 2), (0, 2), (2, 3)]
PATH = "path(a, c) = edge(a, c) or path(a, b) and edge(b, c)"


def reachable(provenance: str = "unit", tags=None, **options) -> Context:
    context = Context(provenance, **options)
    context.add_relation("edge", (int, int))
    context.add_facts("edge", EDGES if tags is None else list(zip(tags, EDGES, strict=True)))
    context.add_rule(PATH)
    return context


def closure(edges) -> list[tuple[int, int]]:
    pairs = set(edges)
    while True:
        more = pairs | {(a, d) for a, b in pairs for c, d in pairs if b == c}
        if more == pairs:
            return sorted(pairs)
        pairs = more


def probability_of(tags, holds) -> float:
    """The sum over all worlds in which `holds` of the edges that exist in them."""
    total = 0.0
    for world in itertools.product([True, False], repeat=len(EDGES)):
        if holds(closure(edge for edge, exists in zip(EDGES, world, strict=True) if exists)):
            total += math.prod(p if exists else 1 - p for p, exists in zip(tags, world, strict=True))
    return total


def test_relations_are_computed_by_run():
    context = reachable()
    context.run()
    assert list(context.relation("path")) == closure(EDGES)
    assert list(context.relation("edge")) == sorted(EDGES)


def test_new_facts_and_rules_count_from_the_next_run():
    context = reachable()
    context.run()
    before = context.relation("edge")
    context.add_facts("edge", [(3, 4)])
    assert list(context.relation("path")) == closure(EDGES)
    context.add_rule("end(b) = path(0, b)")
    context.run()
    assert list(context.relation("path")) == closure([*EDGES, (3, 4)])
    assert list(context.relation("end")) == [(1,), (2,), (3,), (4,)]
    assert len(before) == 4


def num_calls(action: Callable[[], object]) -> int:
    """How many functions an action calls, those of C among them."""
    count = 0

    def tell(frame, event: str, argument) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    gc.disable()
    sys.setprofile(tell)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


def test_what_is_added_does_not_look_at_the_facts_that_there_are():
    def calls(num_batches: int, num_facts: int) -> tuple[int, int]:
        context = Context("minmaxprob")
        context.add_relation("edge", (int, str))
        for batch in range(num_batches):
            context.add_facts("edge", [(0.5, (batch, f"node {fact}")) for fact in range(num_facts)])
        rule = num_calls(lambda: context.add_rule("path(a, c) = edge(a, c)"))
        return rule, num_calls(lambda: context.add_facts("edge", [(0.5, (0, "node"))]))

    calls(1, 1)  # what is kept from now on is read and imported
    assert calls(1, 2) == calls(1, 500) == calls(200, 2)


def test_facts_of_a_clone_are_its_own():
    context = reachable()
    clones = [context.clone() for _ in range(2)]
    for number, clone in enumerate(clones):
        clone.add_facts("edge", [(7, number)])
    context.add_facts("edge", [(8, 8)])
    for number, clone in enumerate(clones):
        clone.run()
        assert list(clone.relation("edge")) == sorted([*EDGES, (7, number)])
    context.run()
    assert list(context.relation("edge")) == sorted([*EDGES, (8, 8)])


def test_facts_may_fill_a_relation_after_the_rule_that_reads_it():
    for value, others in [(1, (2.5, 3)), ("a", ("b",))]:
        context = Context()
        context.add_rule("a(x) = r(x)")
        context.add_facts("r", [value])
        context.run()
        assert list(context.relation("a")) == [(value,)]
        for other in others:
            context.add_facts("r", [other])
        context.run()
        assert list(context.relation("a")) == [(each,) for each in (value, *others)]


def test_what_nothing_new_reaches_is_not_computed_again():
    context = reachable()
    context.add_relation("other", int)
    context.run()
    path, other = context.relation("path"), context.relation("other")
    context.add_facts("other", [1])
    context.run()
    assert context.relation("path") is path
    assert context.relation("other") is not other
    context.set_iter_limit(0)
    context.run()
    assert list(context.relation("path")) == sorted(EDGES)


def test_facts_of_the_program_can_be_extended_after_a_run():
    context = Context()
    context.add_program("rel edge = {(0, 1)}\nrel path(a, c) = edge(a, c) or path(a, b) and edge(b, c)")
    context.run()
    context.add_facts("edge", [(1, 2)])
    context.run()
    assert list(context.relation("path")) == [(0, 1), (0, 2), (1, 2)]


def test_a_context_without_probabilities_does_not_load_jax():
    code = (
        "import sys, scallax\n"
        "context = scallax.Context()\n"
        "context.add_relation('a', int)\ncontext.add_facts('a', [1])\ncontext.run()\n"
        "assert list(context.relation('a')) == [(1,)]\nassert 'jax' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("provenance", ["topkproofs", "difftopkproofs"])
def test_tags_are_probabilities_of_possible_worlds(provenance):
    tags = [0.5, 0.4, 0.3, 0.9]
    context = reachable(provenance, tags)
    context.run()
    for tag, (a, b) in context.relation("path"):
        expected = probability_of(tags, lambda pairs, pair=(a, b): pair in pairs)
        assert float(tag) == pytest.approx(expected, rel=1e-5)


def test_the_tag_of_a_rule_counts_once():
    context = Context("topkproofs")
    context.add_relation("p", int)
    context.add_facts("p", [(None, 1), (None, 2)])
    context.add_rule("q(x) = p(x)", tag=0.5)
    context.add_rule("both() = q(1) and q(2)")
    context.run()
    assert list(context.relation("both")) == [(0.5, ())]
    assert context.relations() == ["both", "p", "q"]


# Every provenance is a compilation of its own; those that are not tried at once are tried at night.
QUICK = ("unit", "bool", "minmaxprob", "topkproofs")


@pytest.mark.parametrize(
    "provenance",
    [
        pytest.param(name, marks=() if name in QUICK else pytest.mark.nightly)
        for name in provenance_names()
        if name != "custom"
    ],
)
def test_rules_take_tags_under_every_provenance(provenance):
    context = Context(provenance)
    context.add_relation("p", int)
    context.add_facts("p", [1] if not context.requires_tag() else [(None, 1)])
    tag = 2 if provenance in ("natural", "tropical") else 0.25
    context.add_rule("q(x) = p(x) or r(x)", tag=(tag, None))
    context.add_relation("r", int)
    context.run()
    (found,) = context.relation("q")
    if provenance in ("unit", "proofs"):
        assert found == (1,)
    elif provenance == "bool":
        assert found == (True, (1,))
    else:
        assert (found[0][0] if provenance == "difftopkproofsdebug" else found[0]) == tag


@pytest.mark.parametrize("source", [name for name in provenance_names() if name != "custom"])
def test_clones_take_other_provenances(source):
    context = reachable(source, [None] * 4) if Context(source).requires_tag() else reachable(source)
    for target in ("unit", "bool"):
        clone = context.clone(provenance=target)
        clone.add_facts("edge", [(3, 4)] if target == "unit" else [(True, (3, 4))])
        clone.run()
        assert clone.relation("path").tuples == closure([*EDGES, (3, 4)])
    back = clone.clone(provenance=source)
    assert (back.provenance, back.relations()) == (source, ["edge", "path"])


@pytest.mark.parametrize("target", ["minmaxprob", "topkproofs"])
def test_clones_keep_tags_and_facts_without_tags_are_certain(target):
    context = reachable()
    clone = context.clone(provenance=target)
    clone.add_facts("edge", [(0.5, (3, 4))])
    clone.run()
    found = {values: tag for tag, values in clone.relation("path")}
    assert found == {pair: 0.5 if pair[1] == 4 else 1.0 for pair in closure([*EDGES, (3, 4)])}
    context.run()
    assert list(context.relation("path")) == closure(EDGES)


def test_disjunctions_exclude_each_other():
    context = Context("topkproofs", wmc_with_disjunctions=True)
    context.add_relation("digit", int)
    context.add_facts("digit", [(0.3, 0), (0.7, 1)], disjunctions=[[0, 1]])
    context.add_rule("both() = digit(0) and digit(1)")
    context.add_rule("any() = digit(_)")
    context.run()
    assert [tag for tag, _ in context.relation("both")] == [0.0]
    assert context.relation("any")[0][0] == pytest.approx(1.0, abs=1e-6)


def test_jax_scalars_have_gradients():
    def probability(tags):
        context = reachable("difftopkproofs", tags)
        context.run()
        return {values: tag for tag, values in context.relation("path")}[0, 3]

    tags = jnp.array([0.5, 0.4, 0.3, 0.9])
    gradient = jax.grad(probability)(tags)
    for i in range(4):
        # A probability is linear in each tag.
        on, off = (probability_of(tags.at[i].set(value).tolist(), lambda pairs: (0, 3) in pairs) for value in (1, 0))
        assert gradient[i] == pytest.approx(on - off, rel=1e-5)


def test_runs_of_equal_sizes_share_a_compilation():
    reachable("difftopkproofs", [0.5, 0.4, 0.3, 0.9]).run()
    with counted_compilations() as compiled:
        reachable("difftopkproofs", [0.1, 0.2, 0.3, 0.4]).run()
    assert compiled == []


def run_one_by_one(context: Context, facts: dict[str, list], relation: str) -> list[Collection]:
    """The answers that `run_batch` must give."""
    found = []
    for sample in range(len(next(iter(facts.values())))):
        twin = context.clone()
        for name, samples in facts.items():
            twin.add_facts(name, samples[sample])
        twin.run()
        found.append(twin.relation(relation))
    return found


@pytest.mark.parametrize("provenance", ["unit", "bool", "realtropical"])
def test_samples_of_a_batch_are_runs(provenance):
    context = Context(provenance)
    context.add_program("type edge(i32, i32), shut(i32)\nrel edge = {(0, 1)}")
    context.add_rule("path(b) = b == 0 or path(a) and edge(a, b) and not shut(b)")
    pairs, shut = [[(0, 2), (0, 2), (2, 0)], [(1, 2), (2, 3)]], [[], [2]]
    if context.requires_tag():
        pairs, shut = ([list(zip([0.5, 0.25, None], each, strict=False)) for each in given] for given in (pairs, shut))
    facts = {"edge": pairs, "shut": shut}
    assert context.run_batch(facts, "path") == run_one_by_one(context, facts, "path")


def test_samples_of_a_batch_hold_with_their_own_probabilities():
    context = Context("topkproofs", k=8)
    context.add_relation("edge", (int, int))
    context.add_facts("edge", [(0.5, (2, 3))])
    context.add_rule(PATH)
    samples = [
        [(0.5, (0, 1)), (0.5, (1, 2)), (0.25, (0, 2))],
        [(None, (0, 2))],
        [],
        ([(0.25, (0, 2)), (0.5, (1, 3))], [[0, 1]]),
    ]
    found = context.run_batch({"edge": samples}, ["path", "path", "edge", "path"])
    expected = [
        # 0 reaches 2 by the edge or by way of 1, and 3 from there.
        {(0, 1): 0.5, (0, 2): 0.4375, (0, 3): 0.21875, (1, 2): 0.5, (1, 3): 0.25, (2, 3): 0.5},
        {(0, 2): 1, (0, 3): 0.5, (2, 3): 0.5},
        {(2, 3): 0.5},
        {(0, 2): 0.25, (0, 3): 0.125, (1, 3): 0.5, (2, 3): 0.5},
    ]
    assert [each.name for each in found] == ["path", "path", "edge", "path"]
    for each, tags in zip(found, expected, strict=True):
        assert {values: tag for tag, values in each} == pytest.approx(tags)


def test_samples_of_later_batches_are_not_compiled_anew():
    context = Context("minmaxprob")
    context.add_relation("edge", (int, int))
    context.add_rule(PATH)

    def batch(*lengths: int) -> list[list]:
        return [[(1 / (i + 2), (i, i + 1)) for i in range(length)] for length in lengths]

    with counted_compilations() as compiled:
        context.run_batch({"edge": batch(4, 1, 3, 2, 4)}, "path")
        assert len(compiled) <= 2
        compiled.clear()
        found = context.run_batch({"edge": batch(1, 2, 4, 3, 2, 1)}, "path")
    assert compiled == []
    assert [len(each) for each in found] == [1, 3, 10, 6, 3, 1]
    assert found[1].tags == [1 / 2, pytest.approx(1 / 3), pytest.approx(1 / 3)]


def test_gradients_reach_the_tags_of_samples_and_of_the_context():
    def total(tags):
        context = Context("diffaddmultprob")
        context.add_relation("a", int)
        context.add_facts("a", [(tags[0], 0)])
        context.add_rule("b(x + y) = a(x) and a(y) and x < y")
        found = context.run_batch({"a": [[(tags[1], 1)], [(tags[2], 1), (None, 2)], []]}, "b")
        return sum((place + 1) * sum(tag for tag, _ in each) for place, each in enumerate(found))

    # 0 and 1; then 0 and 1, 0 and 2, 1 and 2, twice.
    value, gradient = jax.value_and_grad(total)(jnp.array([0.5, 0.25, 0.5]))
    assert float(value) == pytest.approx(0.5 * 0.25 + 2 * (0.5 * 0.5 + 0.5 + 0.5))
    np.testing.assert_allclose(gradient, [0.25 + 2 * 0.5 + 2, 0.5, 2 * 0.5 + 2], rtol=1e-6)


def test_types_follow_from_the_facts_of_all_samples():
    context = Context("minmaxprob")
    context.add_rule("a(x) = r(x)")
    found = context.run_batch({"r": [[(0.5, 1)], [(0.25, 1.5)]]}, "a")
    assert [list(each) for each in found] == [[(0.5, (1.0,))], [(0.25, (1.5,))]]
    with pytest.raises(InputError, match='"x" is no i32'):
        context.run_batch({"r": [[(0.5, 1)], [(0.25, "x")]]}, "a")
    found = context.run_batch({"r": [[(0.5, "x")], []]}, "a")
    assert [list(each) for each in found] == [[(0.5, ("x",))], []]


def test_limits_hold_for_each_sample():
    context = Context("minmaxprob", limits=Limits(tuples=20))
    context.add_relation("edge", (int, int))
    context.add_rule(PATH)
    edges = [(0.5, (0, 1)), (0.5, (1, 2))]
    found = context.run_batch({"edge": [edges] * 6}, "path")
    assert [len(each) for each in found] == [3] * 6
    with pytest.raises(ScallaxError, match="limit of 20 tuples"):
        context.run_batch({"edge": [edges, [(0.5, (i, i + 1)) for i in range(9)]]}, "path")


def test_a_reasoner_takes_the_tags_of_facts_that_are_arrays():
    context = reachable("difftopkproofs", jnp.array([0.5, 0.4, 0.3, 0.9]))
    context.add_relation("start", int)
    context.add_facts("start", [(0.5, 0)])
    context.add_rule("end(b) = start(a) and path(a, b)", tag=0.5)
    context.run()
    reasoner = context.reasoner("end")
    assert isinstance(reasoner, Reasoner)
    tuples, values = reasoner(edge=jnp.array([[0.5, 0.4, 0.3, 0.9], [0.0, 0.0, 0.0, 0.0]]))
    assert tuples == context.relation("end").tuples
    np.testing.assert_array_equal(values[0], np.array(context.relation("end").tags))
    np.testing.assert_array_equal(values[1], np.zeros(3))


def test_a_reasoner_keeps_sets_of_exclusive_facts():
    context = Context("topkproofs", wmc_with_disjunctions=True)
    context.add_relation("digit", (int, str))
    context.add_facts("digit", [(1e-5, (0, 'a"')), (0.7, (1, "b")), (0.5, (2, "c"))], disjunctions=[[0, 1]])
    context.add_rule("any() = digit(_, _)")
    context.run()
    assert context.reasoner("any", ())() == pytest.approx(context.relation("any")[0][0])


def test_input_mappings_are_those_of_the_reasoner():
    context = Context("difftopkproofs")
    context.add_relation("digit", int, input_mapping=range(3), retain_topk=2)
    context.add_rule("even(x) = digit(x) and x % 2 == 0")
    np.testing.assert_array_equal(
        context.reasoner("even", [0, 2])(digit=np.array([[0.5, 0.1, 0.3]], np.float32)),
        np.array([[0.5, 0.3]], np.float32),
    )


def test_tuples_are_explained_by_their_proofs():
    context = reachable("difftopkproofs", jnp.array([0.5, 0.5, 0.2, 0.5]))
    context.set_input_mapping("edge", EDGES)
    explanation = context.explain("path", (0, 2), k=1)
    assert explanation.value == pytest.approx(1 - (1 - 0.25) * (1 - 0.2))
    (proof,) = explanation.proofs
    assert (proof.weight, [fact.values for fact in proof.facts]) == (0.25, [(0, 1), (1, 2)])


@pytest.mark.parametrize("types", [(int, float), ("i32", "f32"), ["a: i32", "b: f32"]])
def test_columns_are_declared_in_several_ways(types):
    context = Context()
    context.add_relation("r", types)
    context.add_facts("r", [(1, 0.5)])
    context.run()
    assert list(context.relation("r")) == [(1, 0.5)]
    assert context.relation_field_names("r") == (["a", "b"] if types[0] == "a: i32" else [None, None])


def test_a_pickled_context_runs_again(tmp_path: Path):
    (tmp_path / "lib.scl").write_text("rel far(x) = path(0, x), x > 1")
    context = reachable("minmaxprob", [0.5, 0.25, 0.5, None])
    context.import_file(tmp_path / "lib.scl")
    context.set_iter_limit(5)
    context.set_non_probabilistic("edge")
    context.run()
    (tmp_path / "lib.scl").unlink()
    restored = pickle.loads(pickle.dumps(context))
    assert not restored.relation_is_computed("path")
    restored.add_facts("edge", [(7, 8)])
    restored.run()
    assert [t for t in restored.relation("far") if t[1] != (8,)] == list(context.relation("far"))


def test_what_a_context_tells_of_itself():
    context = reachable("minmaxprob", [0.5] * 4)
    context.add_program("@hidden rel inner(x) = edge(x, _)\nrel n(m) = m := count(x: inner(x))")
    assert context.add_item("query path(0, x)") == ["path(0, x)"]
    context.run()
    assert context.relations() == ["edge", "n", "path"]
    assert context.num_relations() == 3
    assert context.num_relations(include_hidden=True) > 3
    assert [t for _, t in context.relation("path(0, x)")] == [(0, 1), (0, 2), (0, 3)]
    assert (context.has_relation("edge"), context.has_relation("no")) == (True, False)
    assert (context.requires_tag(), context.is_probabilistic(), context.supports_disjunctions()) == (True, True, False)
    assert context.get_front_ir().splitlines()[0] == "type edge(i32, i32)"
