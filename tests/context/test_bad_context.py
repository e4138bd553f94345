"""Wrong options, facts and rules of a context: one error or warning each, and nothing has changed."""

import pickle

import jax.numpy as jnp
import numpy as np
import pytest

from scallax import Context, InputError, ScallaxError
from tests.context.test_context import reachable

BAD = [
    (lambda c: c.add_program("rel b(x) = "), "the item ends too early"),
    (lambda c: c.add_program(7), "it must be a text"),
    (lambda c: c.add_program("rel b(x) = edge(x, y, z)"), "edge"),
    (lambda c: c.add_rule("b(x) = edge(x, _), not b(x)"), "depends on its own negation"),
    (lambda c: c.add_rule("b(1)"), "is not one rule"),
    (lambda c: c.add_rule("b(x) = edge(x, _)", tag="often"), "the tag 'often'"),
    (lambda c: c.add_rule("b = count(x: edge(x, _))", tag=0.5), "takes no tag"),
    (lambda c: c.add_rule("b(x) = edge(x, _)", demand="bbb"), "letters"),
    (lambda c: c.add_facts("edg", [(0.5, (0, 1))]), "did you mean `edge`"),
    (lambda c: c.add_facts("edge", [(0, 1, 2)]), "has no tag"),
    (lambda c: c.add_facts("edge", [(0.5, (0, "x"))]), '"x" is no i32'),
    (lambda c: c.add_facts("edge", [(0.5, (0, 1)), (0.5, (1,))]), "has 1 values, but the relation has 2"),
    (lambda c: c.add_facts("edge", [(1, 0)]), r"if `\(1, 0\)` is the tuple, write `\(None, \(1, 0\)\)`"),
    (lambda c: c.add_facts("edge", [("x", (0, 1))]), "the tag 'x'"),
    (lambda c: c.add_facts("edge", [("x", "y")]), r"the tag 'x'(.|\n)*write `\(None, tuple\)`"),
    (lambda c: c.add_facts("edge", [(float("nan"), (0, 1))]), "must be finite"),
    (lambda c: c.add_facts("edge", [(jnp.ones(2), (0, 1))]), "an array of shape"),
    (lambda c: c.add_facts("edge", [(0.5, (0, 1))], disjunctions=[[1]]), "there is no fact 1; the list has 1 facts"),
    (lambda c: c.add_facts("edge", [(0.5, (0, 1))], disjunctions=[[0], [0]]), "fact 0 is in two exclusive groups"),
    (lambda c: c.add_facts("edge", 5), "give a list of facts"),
    (lambda c: c.add_relation("edge", int), "declared twice"),
    (lambda c: c.add_relation("fresh", complex), "is no column type"),
    (lambda c: c.add_relation("fresh", "no such type!"), "is no column type"),
    (lambda c: c.add_relation("fresh thing", int), "is no name"),
    (lambda c: c.add_relation("fresh", int, input_mapping=["x"]), "does not fit"),
    (lambda c: c.add_relation("fresh", int, load_csv="none.csv"), "cannot be read"),
    (lambda c: c.add_relation("fresh", int, retain_topk=3), "has no input mapping"),
    (lambda c: c.set_input_mapping("edge", [1, 2]), "has 1 values, but the relation has 2"),
    (lambda c: c.set_non_probabilistic(["edge", "no"]), "there is no relation `no`"),
    (lambda c: c.set_non_probabilistic(5), "is no name of a relation"),
    (lambda c: c.add_facts("edge", [(0.5, (0, 1))], disjunctions=5), "a list of lists of indices"),
    (lambda c: c.import_file("none.scl"), "cannot be read"),
    (lambda c: c.import_file(5), "it must be a path"),
    (lambda c: c.add_program('import "none.scl"'), "cannot be read"),
    (lambda c: c.clone(provenance="topkproof"), "did you mean `topkproofs`"),
    (lambda c: c.clone(k=0), "it counts proofs"),
    (lambda c: c.set_iter_limit(-1), "at least 0"),
    (lambda c: c.relation("no"), "there is no relation `no`"),
    (lambda c: c.reasoner("no"), "no relation `no`"),
    (lambda c: c.reasoner(), "no output is named"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_bad_input_is_one_error_and_changes_nothing(change, message):
    context = reachable("topkproofs", [0.5] * 4)
    before = pickle.dumps(context)
    with pytest.raises(ScallaxError, match=message):
        change(context)
    assert pickle.dumps(context) == before


def test_a_context_is_made_of_known_options():
    for options, message in [
        ({"provenance": "topkproof"}, "did you mean `topkproofs`"),
        ({"provenance": "topkproofs", "k": 0}, "it counts proofs"),
        ({"wmc_with_disjunctions": 1}, "must be True or False"),
        ({"iter_limit": "x"}, "at least 0"),
        ({"limits": 5}, "`limits` is 5"),
        ({"foreign": 5}, "must be a list of foreign functions"),
    ]:
        with pytest.raises(InputError, match=message):
            Context(**options)


def test_relations_without_tags_refuse_them():
    context = reachable()
    with pytest.raises(InputError, match="under `unit` facts have no tags"):
        context.add_facts("edge", [(0.5, (0, 1))])
    context = reachable("topkproofs", [0.5] * 4)
    context.set_non_probabilistic("edge")
    context.add_facts("edge", [(7, 8)])
    with pytest.raises(InputError, match="`edge` is non-probabilistic"):
        context.add_facts("edge", [(0.5, (0, 1))])


def test_a_run_that_fails_keeps_the_results_before():
    context = Context()
    context.add_program("rel n(1)\nrel q(x / y) = n(x), m(y)\ntype m(i32)")
    context.run()
    context.add_facts("m", [0])
    with pytest.raises(ScallaxError, match="division by zero"):
        context.run()
    assert list(context.relation("q")) == []


def test_relations_are_read_after_a_run():
    with pytest.raises(InputError, match=r"not computed yet\nhint: call `run\(\)` first"):
        reachable().relation("path")


def test_bool_keeps_what_is_not_false():
    context = Context("bool")
    context.add_relation("p", int)
    context.add_facts("p", [(False, 0), (True, 1), (0.0, 2), (None, 3)], disjunctions=[[0, 1, 2]])
    context.run()
    assert list(context.relation("p")) == [(True, (1,)), (True, (2,)), (True, (3,))]


@pytest.mark.parametrize("provenance", ["natural", "tropical"])
def test_tags_that_are_integers_are_those_of_python(provenance: str):
    context = Context(provenance)
    context.add_program("rel a = {16777216::0}\nrel b = {5::0}\nrel c() = a(x), b(x)")
    context.run()
    ((tag, _),) = context.relation("c")
    assert (tag, type(tag)) == ({"natural": 5 << 24, "tropical": 16_777_221}[provenance], int)


def test_tags_outside_of_probabilities_are_warned_of_once():
    context = Context("minmaxprob")
    context.add_relation("p", int)
    context.add_facts("p", [(1.5, 0)])
    with pytest.warns(UserWarning, match=r"facts of `p`: the tag 1.5 of \(0\) is outside"):
        context.run()
    context.add_facts("p", [(0.5, 1)])
    context.run()
    assert context.relation("p").tags == [1.5, 0.5]
    context.add_program("rel 0.5::q(1)\nrel 2.5::p(3)")
    with pytest.warns(UserWarning, match="the tag 2.5 of"):
        context.run()
    for number in (1, 2):
        context.add_rule(f"r{number}(x) = p(x)", tag=1.5)
        with pytest.warns(UserWarning, match=f"facts of `tag_of_rule_{number}`: the tag 1.5"):
            context.run()


def test_what_nothing_fills_is_warned_of():
    context = Context()
    context.add_rule("a(x) = nothing(x)")
    with pytest.warns(UserWarning, match="`nothing` is empty"):
        context.run()


@pytest.mark.parametrize("tag", [0.5, np.float32(0.5)])
def test_answers_are_written_by_a_run(tmp_path, tag):
    path = tmp_path / "answers.csv"
    context = Context("diffaddmultprob")
    context.add_program(f'type a(x: i32)\n@file("{path}", has_probability=true)\nquery a')
    context.add_facts("a", [(tag, (1,))])
    context.run()
    assert path.read_text() == "0.5,1\n"
    context.add_facts("a", [(None, (2,))])
    context.run()
    assert path.read_text() == "0.5,1\n1.0,2\n"


def test_truth_values_are_written_as_programs_read_them(tmp_path):
    path = tmp_path / "answers.csv"
    context = Context("bool")
    context.add_program(f'rel a = {{1; 2}}\n@file("{path}", has_probability=true)\nquery a')
    context.run()
    assert path.read_text() == "true,1\ntrue,2\n"
