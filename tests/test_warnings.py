"""Relations that nothing fills, and numbers that mean no probability: one warning each, at the line that caused it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import scallax
import torch_bridge
from scallax import (
    InputMapping,
    Reasoner,
)

ONE_INPUT = {"input_mappings": {"a": [0]}, "output_mapping": ("b", [(0,)]), "provenance": "minmaxprob"}


def test_a_relation_that_nothing_fills_is_one_warning():
    reasoner = Reasoner(
        "rel edge = {(1, 2)}\nrel end(y) = egde(x, y) and not closed(y)\nrel path(x, y) = edge(x, y) or egde(x, y)",
        provenance="unit",
        output_relation="end",
    )
    # Until the first call, facts of each sample may fill them.
    with pytest.warns(UserWarning, match="is empty") as caught:
        reasoner()
    reasoner()
    assert [str(warning.message) for warning in caught] == [
        "<program>:2:14: `egde` is empty: no declaration, fact or rule of it, and no facts or input mapping from "
        "Python\n"
        "  rel end(y) = egde(x, y) and not closed(y)\n"
        "               ^^^^^^^^^^\n"
        "hint: did you mean `edge`?\n\n"
        "<program>:2:33: `closed` is empty: no declaration, fact or rule of it, and no facts or input mapping from "
        "Python\n"
        "  rel end(y) = egde(x, y) and not closed(y)\n"
        "                                  ^^^^^^^^^\n"
        "hint: if it is meant to be empty, declare it: `type closed(…)`"
    ]
    assert caught[0].filename == __file__
    # Who loads a program did not write it just now.
    loaded = Reasoner.from_json(reasoner.specification.to_json())
    assert loaded == reasoner
    loaded()


def test_a_relation_that_a_call_fills_is_not_said_to_be_empty():
    program = "rel end(y) = edge(x, y) and not closed(y)"
    facts = {"edge": [[(1, 2)], []], "closed": [[], []]}
    tuples, holds = Reasoner(program, provenance="unit", output_relation="end")(**facts)
    assert (tuples, holds.tolist()) == ([(2,)], [[True], [False]])
    torch_bridge.Module(program=program, provenance="unit", output_relation="end")(**facts)
    module = torch_bridge.Module(program=program, provenance="unit", output_relation="end")
    with pytest.warns(UserWarning, match="`closed` is empty") as caught:
        module(edge=facts["edge"])
    assert "`edge` is empty" not in str(caught[0].message)


@pytest.mark.parametrize(
    ("build", "call"),
    [
        (lambda: None, lambda _: Reasoner("rel b = {1}", output_mapping=("b", [(2,)]))),
        (lambda: Reasoner("rel b(x) = a(x)", **ONE_INPUT), lambda built: built(a=jnp.full((1, 1), 1.5))),
        (
            lambda: jax.jit(Reasoner("rel b(x) = a(x), nothing(x)", **ONE_INPUT)),
            lambda built: built(a=jnp.full((1, 1), 0.5)),
        ),
        (lambda: torch_bridge.Module("rel b(x) = a(x)", **ONE_INPUT), lambda built: built(a=torch.full((1, 1), 1.5))),
        (
            lambda: torch_bridge.Module("rel b(x) = a(x)", output_mapping=("b", [(0,)]), provenance="minmaxprob"),
            lambda built: built(a=[[(1.5, (0,))]]),
        ),
        (lambda: typo_context(), lambda built: built.run()),
    ],
)
def test_warnings_point_at_the_line_that_caused_them(build, call):
    built = build()
    with pytest.warns(UserWarning, match="outside|always|empty") as caught:
        call(built)
    assert [(warning.filename, warning.lineno) for warning in caught] == [(__file__, call.__code__.co_firstlineno)]


def typo_context() -> scallax.Context:
    context = scallax.Context("minmaxprob")
    context.add_program("rel b(x) = nothing(x)")
    return context


@pytest.mark.parametrize(
    "options",
    [
        {"program": "type b(i32)\nrel a(x) = b(x)"},
        {"program": "rel a(x) = b(x)", "relations": [("b", "i32")]},
        {"program": "rel a(x) = b(x)", "facts": {"b": []}},
        {"program": "rel a(x) = b(x)", "facts": {"b": [1]}},
        {"program": "rel a(x) = b(x)", "input_mappings": {"b": [1]}},
        {"program": "rel a(x) = b(x)", "rules": ["b(1)"]},
        {"program": "rel a(x) = b(x)\nrel b(x) = a(x)"},
    ],
)
def test_a_relation_that_is_declared_or_filled_is_no_warning(options):
    Reasoner(**options, provenance="unit", output_relation="a")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"program": "rel a = {0.5::1, 1.5::2, -1.0::3}\nrel 1.000001::b(x) = a(x)"},
            "<program>:1:18: the tag 1.5 of `a(2)` is outside [0, 1]; there is 1 more\n"
            "  rel a = {0.5::1, 1.5::2, -1.0::3}\n"
            "                   ^^^^^^\n"
            "hint: a tag is a probability",
        ),
        (
            {"program": "rel b = {1}\nrel 2::a(x) = b(x) or b(x)"},
            "<program>:2:5: the tag 2 of this rule for `a` is outside [0, 1]\n"
            "  rel 2::a(x) = b(x) or b(x)\n"
            "      ^\n"
            "hint: a tag is a probability",
        ),
        (
            {"program": "type a(i32)", "facts": {"a": [(1.0, 1), (-0.5, 2)]}},
            "facts of `a`: the tag -0.5 of (2) is outside [0, 1]\nhint: a tag is a probability",
        ),
        (
            {
                "program": "rel b = {0.3::1; 0.7::2}\nrel a = {0.6::1; 0.7::2}\nrel a = {1; 2}",
                "wmc_with_disjunctions": True,
            },
            "<program>:2:10: exclusive facts of `a` add up to 1.3, more than 1; there is 1 more\n"
            "  rel a = {0.6::1; 0.7::2}\n"
            "           ^^^^^^^^^^^^^^\n"
            "hint: what is left of 1 is the probability of none of them; here it is negative",
        ),
    ],
)
def test_written_numbers_that_are_no_probabilities_are_one_warning(options, message):
    with pytest.warns(UserWarning, match="outside|more than 1") as caught:
        reasoner = Reasoner(**options, output_relation="a")
    assert [str(warning.message) for warning in caught] == [message]
    Reasoner.from_json(reasoner.specification.to_json())


@pytest.mark.parametrize(
    "options",
    [
        {"program": "rel a = {2::1}", "provenance": "bool"},
        {"program": "rel a = {2::1}", "provenance": "unit"},
        {"program": "rel a = {true::1, 1::2, 0::3}"},
        {"program": "rel a = {0.6::1; 0.7::2}"},
        {"program": "rel a = {0.6::1; 0.7::2}", "provenance": "diffminmaxprob", "wmc_with_disjunctions": True},
        {"program": "rel a = {0.6::1; 0.4::2}", "wmc_with_disjunctions": True},
    ],
)
def test_numbers_that_mean_no_probability_or_are_one_are_no_warning(options):
    Reasoner(**options, output_relation="a")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (
            InputMapping(range(3), disjunctive=True),
            "`a` adds up to 1.5, more than 1, in sample 1 over the exclusive tuples `a(0)`, `a(1)`, `a(2)`; "
            "it is computed as it is",
        ),
        (
            InputMapping({0: range(2), 1: range(3)}, disjunctive_dim=1),
            "`a` adds up to 1.5, more than 1, in sample 1 over the exclusive tuples `a(1, 0)`, `a(1, 1)`, `a(1, 2)`; "
            "it is computed as it is",
        ),
    ],
)
def test_exclusive_entries_over_1_are_computed_with_one_warning(mapping, message):
    program = f"type a({', '.join(['i32'] * len(mapping.shape))})"
    values = np.full((2, *mapping.shape), 1 / 3, np.float32)
    values.reshape(2, -1)[1, -3:] = 0.5
    options = {"input_mappings": {"a": mapping}, "output_relation": "a"}
    reasoner = Reasoner(program, wmc_with_disjunctions=True, **options)
    reasoner(a=values[:1])
    with pytest.warns(UserWarning, match="more than 1") as caught:
        reasoner(a=values)
    assert [str(warning.message) for warning in caught] == [message]
    assert caught[0].filename == __file__
    reasoner(a=values)
    Reasoner(program, **options)(a=values)


@pytest.mark.parametrize("first", [0.8, None])
def test_exclusive_facts_per_sample_over_1_are_computed_with_one_warning(first):
    total = 1.5 if first else 1.7
    facts, disjunctions = [[(0.1, 5)], [(0.9, 4), (first, 0), (0.7, 1)]], [[], [[1, 2]]]
    options: dict[str, Any] = {"provenance": "exact", "output_mapping": ("any", ())}
    message = (
        f"`a` adds up to {total}, more than 1, in sample 1 over the exclusive tuples `a(0)`, `a(1)`; "
        "it is computed as it is"
    )
    program = "type a(i32)\nrel any() = a(_), not a(4)"
    for reasoner in (Reasoner(program, **options), torch_bridge.Module(program=program, **options)):
        with pytest.warns(UserWarning, match="more than 1") as caught:
            values = reasoner(a=facts, disjunctions={"a": disjunctions})
        assert [str(warning.message) for warning in caught] == [message]
        np.testing.assert_allclose(values, [0.1, 0.1 * total], rtol=1e-6)
        reasoner(a=facts, disjunctions={"a": disjunctions})
    options["provenance"] = "topkproofs"
    Reasoner(program, **options)(a=facts, disjunctions={"a": disjunctions})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rounding_of_narrow_exclusive_facts_is_no_warning(dtype):
    rows = torch.softmax(torch.randn(8, 20, generator=torch.Generator().manual_seed(0)), 1).to(dtype)
    assert (rows.double().sum(1) > 1 + 1e-5).any()
    options = {"provenance": "difftopkproofs", "wmc_with_disjunctions": True}
    program = "type a(i32)\nrel any() = a(_)"
    module = torch_bridge.Module(program=program, output_mapping=("any", ()), **options)
    facts = [list(zip(row, range(20), strict=True)) for row in rows]
    module(a=facts, disjunctions={"a": [[list(range(20))]] * len(rows)})
    context = torch_bridge.ScallopContext(**options)
    context.add_program(program)
    for row in facts:
        context.add_facts("a", row, [list(range(20))])
    context.run()


def test_exclusive_facts_of_a_context_over_1_are_computed_with_one_warning():
    context = scallax.Context(provenance="topkproofs", wmc_with_disjunctions=True)
    context.add_program("rel a = {0.8::0; 0.7::1}\nrel any() = a(_)")
    with pytest.warns(UserWarning, match="exclusive facts of `a` add up to 1.5, more than 1") as caught:
        context.run()
    assert len(caught) == 1
    assert list(context.relation("any")) == [(pytest.approx(1.5), ())]
    context.add_facts("a", [(jnp.float32(0.4), (2,)), (0.3, (3,)), (0.6, (4,))], disjunctions=[[0, 1]])
    context.run()
    context.add_facts("a", [(jnp.float32(0.8), (5,)), (0.3, (6,))], disjunctions=[[0, 1]])
    with pytest.warns(UserWarning, match=r"exclusive facts `a\(5\)`, `a\(6\)` add up to 1.1, more than 1") as caught:
        context.run()
    assert len(caught) == 1
    context.run()


def test_a_bool_of_a_context_counts_among_exclusive_facts_as_its_provenance_reads_it():
    facts = [(False, 0), (0.6, 1)]
    context = scallax.Context(provenance="diffexact")
    context.add_program("rel any() = a(_)\ntype a(i32)")
    context.add_facts("a", facts, disjunctions=[[0, 1]])
    context.run()
    certain = scallax.Context(provenance="exact")
    certain.add_program("rel any() = a(_)\ntype a(i32)")
    certain.add_facts("a", facts, disjunctions=[[0, 1]])
    with pytest.warns(UserWarning, match=r"exclusive facts `a\(0\)`, `a\(1\)` add up to 1.6, more than 1"):
        certain.run()


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_rounding_of_narrow_exclusive_entries_is_no_warning(dtype):
    mapping = InputMapping(range(100), disjunctive=True)
    reasoner = Reasoner(
        "type a(i32)", wmc_with_disjunctions=True, input_mappings={"a": mapping}, output_mapping=("a", [0])
    )
    reasoner(a=jax.nn.softmax(jax.random.normal(jax.random.key(0), (8, 100)).astype(dtype)))
