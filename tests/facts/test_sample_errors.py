"""Calls with facts per sample that cannot be answered: one error each, and the module answers as it did before."""

import math
from typing import Any

import numpy as np
import pytest
import torch

import scallax
import torch_bridge as scallopy
from scallax.errors import ForeignError, InputError, ScallaxError


@scallopy.foreign_function
def inverse(x: scallopy.i32) -> scallopy.f32:
    return 1 / x


@scallopy.foreign_function(on_error="drop")
def inverse_or_none(x: scallopy.i32) -> scallopy.f32:
    return 1 / x


@scallopy.foreign_predicate
def endless(x: scallopy.i32) -> scallopy.Facts[None, tuple[scallopy.i32]]:
    while True:
        x += 1
        yield (x,)


PROGRAM = """
    type a(x: i32), c(x: i32)
    rel inv($inverse(x)) = a(x)
    rel some($inverse_or_none(x)) = a(x)
    rel after(y) = c(x), endless(x, y)
"""


@pytest.fixture(scope="module")
def module() -> scallopy.Module:
    foreign = [inverse, inverse_or_none, endless]
    return scallopy.Module(PROGRAM, foreign=foreign, output_mappings={"inv": [0.5, 1.0], "some": [0.5, 1.0]})


META = torch.device("meta")
VECTOR = torch.tensor([0.5, 0.25, 0.125])
ONE = [[(0.5, 1)]]

BAD = [
    ({"a": [[(0.5, "x")]]}, 'fact 0 of sample 0, ("x"), does not fit: "x" is no i32 (column 1)'),
    ({"a": [[], [(0.5, 1.5)]]}, "fact 0 of sample 1, (1.5), does not fit: 1.5 is no i32"),
    ({"a": [[(0.5, None)]]}, "None is no value"),
    ({"a": [[(0.5, (1, 2))]]}, "it has 2 values, but the relation has 1 columns"),
    ({"a": [[(0.5, 1, 2)]]}, "fact 0 of sample 0, (0.5, 1, 2), has no tag"),
    ({"a": [[(0.5, 1)], None]}, "sample 1 is a NoneType; give a list of facts for each sample"),
    ({"a": [(0.5, (1,))]}, "fact 0 of sample 0, 0.5, has no tag"),
    ({"a": "ab"}, "`a` is a str, but has no input mapping"),
    ({"a": 3}, "`a` is a int, but has no input mapping"),
    ({"a": VECTOR}, "`a` is a Tensor, but has no input mapping"),
    ({"b": ONE}, "the program has no relation `b` to give facts of"),
    ({"a": ONE, "c": [[], []]}, "differ in batch size: `a` has 1, `c` has 2"),
    ({"a": [[(VECTOR, 1)]]}, "has a tag of shape (3,); a tag is a scalar"),
    ({"a": [[(VECTOR[:1], 1)]]}, "has a tag of shape (1,); a tag is a scalar"),
    ({"a": [[(torch.tensor(1), 1)]]}, "has a tag of dtype torch.int64; probabilities are floats"),
    ({"a": [[(1j, 1)]]}, "has the tag 1j; a tag is a number or a scalar tensor"),
    ({"a": [[(math.nan, 1)]]}, "fact 0 of sample 0, (1), has the tag nan; a tag is a finite number"),
    ({"a": [[(VECTOR[0], 1), (torch.tensor(math.inf), 2)]]}, "fact 1 of sample 0, (2), has the tag inf"),
    ({"a": [[(VECTOR[0], 1), (torch.tensor(0.5, device=META), 2)]]}, "the tags are on different devices: cpu, meta"),
    ({"a": [[(torch.tensor(0.5, device=META), 1)]]}, "on the device meta has no array of values"),
    ({"a": scallax.FactList([[1]], [0.5, 0.5])}, "the tags of the `FactList` have shape (2,), but it has 1 facts"),
    ({"a": scallax.FactList(3, [0.5])}, "the tuples of a `FactList` are a int"),  # pyright: ignore[reportArgumentType]
    ({"a": scallax.FactList([[1]], 3)}, "the tags of the `FactList` are 3; give one array"),
    ({"a": [scallax.FactList([1], "x")]}, "the tags of the `FactList` of sample 0 are 'x'; give one array"),
    ({"a": ONE, "disjunctions": {"a": [[[0, 1]]]}}, "there is no fact 1; the sample has 1 facts, counted from 0"),
    ({"a": ONE, "disjunctions": {"a": [[[-1]]]}}, "there is no fact -1"),
    ({"a": ONE, "disjunctions": {"a": [[[0.0]]]}}, "0.0 is no index of a fact"),
    ({"a": ONE, "disjunctions": {"a": "x"}}, "disjunctions for a str; give a list of lists of indices"),
    ({"a": ONE, "disjunctions": 3}, "`disjunctions` is 3; it is a dictionary from relations to lists"),
    ({"a": ONE, "disjunctions": {"c": [[]]}}, "`disjunctions` names `c`, of which no facts are given"),
    ({"a": ONE, "output_relations": 3}, "`output_relations` is 3; give the name of a relation"),
    ({"a": ONE, "output_relations": "b"}, "the program has no relation `b`"),
    ({"a": ONE, "output_relations": ["a", "c"]}, "names the relations of 2 samples; the batch has 1"),
    ({"a": ONE, "output_relations": []}, "`output_relations` is empty"),
    ({"a": ONE, "output_relations": [["a"], []]}, "ask for different numbers of relations"),
    ({"a": ONE, "output_mappings": [1]}, "`output_mappings` does not say which relation it is for"),
    ({"a": ONE, "output_mappings": {"a": 1}}, "output mapping of `a`: give a range, a list"),
    ({"a": ONE, "output_mappings": {"a": ["x"]}}, 'entry 0, ("x"), does not fit: "x" is no i32'),
    ({"a": ONE, "output_mappings": {"b": None, "c": None}}, "the program has no relation `b`"),
]


@pytest.mark.parametrize(("inputs", "message"), BAD)
def test_bad_facts_are_one_error_and_change_nothing(inputs: dict[str, Any], message: str, module):
    with pytest.raises(InputError) as caught:
        module(**inputs)
    assert message in str(caught.value)
    assert_unchanged(module)


def assert_unchanged(module: scallopy.Module) -> None:
    found = module(a=[[(0.5, 1), (0.25, 2)], []])
    assert {name: values.tolist() for name, values in found.items()} == {
        "inv": [[0.25, 0.5], [0, 0]],
        "some": [[0.25, 0.5], [0, 0]],
    }


def test_a_function_that_raises_is_one_error_unless_it_drops_the_tuple(module):
    with pytest.raises(ForeignError) as caught:
        module(a=[[(0.5, 1)], [(0.5, 0)]])
    shown = str(caught.value)
    assert "`$inverse(0)` raised ZeroDivisionError: division by zero" in shown
    assert "return 1 / x" in shown
    assert 'declared with `on_error="drop"`, it would drop the tuple' in shown
    assert_unchanged(module)
    assert module(a=[[(0.5, 1)], [(0.5, 0)]], output_mappings={"some": None})[1].tolist() == [[0.5], [0]]


def test_a_predicate_that_never_ends_is_one_error(module):
    with pytest.raises(ForeignError, match=r"`endless\(1\)` yielded over 1,000,000 tuples"):
        module(c=[[(0.5, 1)]], output_mappings={"after": None})
    assert_unchanged(module)


def test_a_recursion_that_never_ends_is_one_error():
    program = "type start(x: i64)\nrel n(x) = start(x) or n(y) and x == y + 1"
    module = scallopy.Module(program, output_relation="n", limits=scallax.Limits(tuples=1000))
    with pytest.raises(ScallaxError, match="1,000"):
        module(start=[[(0.5, 0)], []])
    assert module(start=[[], []])[1].shape == (2, 0)


def test_inputs_on_other_devices_than_tags_are_one_error():
    module = scallopy.Module(
        "rel c(x) = a(x), b(x)\ntype b(x: i32)", input_mappings={"a": range(2)}, output_relation="c"
    )
    given = torch.zeros(1, 2, device=META)
    with pytest.raises(InputError, match="on different devices: `tags of b` is on cpu, `a` is on meta"):
        module(a=given, b=[[(VECTOR[0], 1)]])
    values = module(a=torch.full((1, 2), 0.5), b=[[(VECTOR[0], 1)]])[1]
    assert values.tolist() == [[0.25]]


def test_a_missing_database_is_one_error(tmp_path):
    program = "type a(x: i32)\nrel b(x) = a(x)"
    for source, message in [
        (scallax.Table(tmp_path / "none.db", table="a"), "there is no database file"),
        (scallax.Table(tmp_path / "none.csv"), "cannot be read: No such file"),
    ]:
        with pytest.raises(InputError, match=message):
            scallopy.Module(program, facts={"a": source}, output_relation="b")
    ctx = scallopy.ScallopContext(provenance="difftopkproofs")
    ctx.add_program(program)
    with pytest.raises(InputError, match="there is no database file"):
        ctx.load("a", str(tmp_path / "none.db"), table="a")
    ctx.run()
    assert len(ctx.relation("b")) == 0


def test_tags_that_come_later_are_finite_numbers_of_the_batch():
    reasoner = scallax.Reasoner("type a(x: i32)\nrel b(x) = a(x)", output_relation="b")
    grounding = reasoner.ground({"a": [[1, 2]]})
    for tags, message in [
        (np.ones(3, np.float32), r"have shape \(3,\); the batch has 2 facts"),
        ({"b": np.ones(2, np.float32)}, "no tags for `a`"),
    ]:
        with pytest.raises(InputError, match=message):
            reasoner.evaluate_grounded(grounding, tags)
    module = scallopy.Module.from_reasoner(reasoner)
    with pytest.raises(InputError, match="tag 1 of the batch is nan"):
        module.evaluate_grounded(grounding, torch.tensor([0.5, math.nan]))


def test_logits_that_are_no_parameters_beside_facts():
    options: dict[str, Any] = {"trainable": ["b"], "output_mapping": ("b", range(2))}
    reasoner = scallax.Reasoner("type a(x: i32) rel 0.6::b(x) = a(x)", **options)
    facts = [[(0.5, 0)], [(0.5, 1)]]
    for logit, problem in (
        (np.zeros(2, np.float32), r"has shape \(2,\); its logits have shape \(\)"),
        (np.float32("nan"), "has a logit that is not finite"),
        (0.5, r"is a float; give an array of shape \(\)"),
    ):
        with pytest.raises(InputError, match=rf"the parameter `b\.rules\.0` {problem}"):
            reasoner.apply({"b.rules.0": logit}, a=facts)  # pyright: ignore[reportArgumentType]
    module = scallopy.Module.from_reasoner(reasoner)
    with torch.no_grad():
        next(module.parameters()).fill_(float("nan"))
    with pytest.raises(InputError, match=r"the parameter `b\.rules\.0` has a logit that is not finite"):
        module(a=facts)
