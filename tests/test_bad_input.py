"""Every kind of bad input: one clear error, and the reasoner is usable afterwards."""

import random
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import scallax
import torch_bridge
from scallax import (
    InputError,
    InputMapping,
    Reasoner,
    ScallaxError,
    StratificationError,
    TypeInferenceError,
    UnboundVariableError,
    UnsupportedError,
)

SUM_2 = "rel sum_2(a + b) = digit_a(a) and digit_b(b)"
DIGITS = {"digit_a": range(10), "digit_b": range(10)}


def sum_2(program=SUM_2, **options) -> Reasoner:
    defaults = {"provenance": "diffaddmultprob", "input_mappings": DIGITS, "output_mapping": ("sum_2", range(19))}
    return Reasoner(program, **{**defaults, **options})


@pytest.fixture(scope="module")
def adder() -> Reasoner:
    return sum_2()


def digits(batch: int = 2) -> np.ndarray:
    return np.full((batch, 10), 0.1, np.float32)


def with_value(value: float) -> np.ndarray:
    values = digits()
    values[1, 3] = value
    return values


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"digit_a": digits()}, InputError, "no input for `digit_b`: give an array of shape (batch, 10)"),
        (
            {"digit_a": digits(), "digit_b": digits(), "digitc": digits()},
            InputError,
            "`digitc` is no input relation\nhint: did you mean `digit_b`?",
        ),
        (
            {"digit_a": digits(), "digit_b": digits(), "sum_2": digits()},
            InputError,
            "`sum_2` is a ndarray, but has no input mapping\nhint: give a list of facts for each sample, or an input "
            "mapping when the reasoner is made",
        ),
        (
            {"digit_a": digits(), "digit_b": [[(0.5, (1,))], [(0.5, ("x",))]]},
            InputError,
            '`digit_b`: fact 0 of sample 1, ("x"), does not fit: "x" is no i32 (column 1)',
        ),
        (
            {"digit_a": digits(), "digit_b": np.ones((2, 9), np.float32)},
            InputError,
            "`digit_b` has shape (2, 9); its input mapping asks for (batch, 10)",
        ),
        (
            {"digit_a": digits(), "digit_b": np.ones(10, np.float32)},
            InputError,
            "`digit_b` has shape (10,); its input mapping asks for (batch, 10)",
        ),
        (
            {"digit_a": digits(), "digit_b": digits(3)},
            InputError,
            "the inputs differ in batch size: `digit_a` has 2, `digit_b` has 3",
        ),
        (
            {"digit_a": digits(), "digit_b": np.ones((2, 10), np.int64)},
            InputError,
            "`digit_b` is of dtype int64; probabilities are floats\nhint: convert it to float32 first",
        ),
        (
            {"digit_a": digits(), "digit_b": np.ones((2, 10), bool)},
            InputError,
            "`digit_b` is of dtype bool; only the provenances `bool`, which reads bool inputs, and `unit`, which "
            "ignores the values of its inputs, take them\nhint: convert it to float32 first",
        ),
        (
            {"digit_a": digits(), "digit_b": "digits"},
            InputError,
            "`digit_b` is a str; give an array of shape (batch, 10)",
        ),
        (
            {"digit_a": digits(), "digit_b": with_value(np.nan)},
            InputError,
            "`digit_b` is nan in sample 1 for the tuple `digit_b(3)`; a probability is a finite number",
        ),
        (
            {"digit_a": jnp.asarray(with_value(np.inf)), "digit_b": digits()},
            InputError,
            "`digit_a` is inf in sample 1 for the tuple `digit_a(3)`; a probability is a finite number",
        ),
    ],
)
def test_bad_arguments_of_a_call(inputs, error, message, adder):
    before = adder(digit_a=digits(), digit_b=digits())
    with pytest.raises(error) as caught:
        adder(**inputs)
    assert str(caught.value) == message
    np.testing.assert_array_equal(adder(digit_a=digits(), digit_b=digits()), before)


def test_a_number_outside_0_and_1_is_computed_with_one_warning():
    reasoner = sum_2()
    message = r"^`digit_a` is 2\.0 in sample 1 for the tuple `digit_a\(3\)`, outside \[0, 1\]; it is computed as it is$"
    with pytest.warns(UserWarning, match=message):
        values = reasoner(digit_a=with_value(2.0), digit_b=digits())
    np.testing.assert_allclose(values[1, 3], 0.03 + 0.2, rtol=1e-5)
    reasoner(digit_a=with_value(-1.5), digit_b=digits())


def test_rounding_of_a_softmax_is_no_warning(adder):
    adder(digit_a=with_value(1 + 1e-7), digit_b=with_value(-1e-8))


def test_values_are_not_checked_under_tracing(adder):
    values = jax.jit(lambda a: adder(digit_a=a, digit_b=digits()))(with_value(np.nan))
    assert np.isnan(values[1, 3])
    assert np.isfinite(values[0]).all()


@pytest.mark.gpu
def test_every_input_of_the_first_call_is_checked_on_an_accelerator():
    reasoner = sum_2()
    good, bad = jax.device_put(digits()), jax.device_put(with_value(np.nan))
    with pytest.raises(InputError, match="`digit_b` is nan in sample 1"):
        reasoner(digit_a=good, digit_b=bad)
    with pytest.raises(InputError, match="`digit_b` is nan in sample 1"):
        reasoner(digit_a=good, digit_b=bad)
    reasoner(digit_a=good, digit_b=good)
    # From then on a check would wait for the accelerator.
    assert np.isnan(reasoner(digit_a=good, digit_b=bad)[1, 3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"provenance": "difftopkproof"},
            "there is no provenance `difftopkproof`\nhint: did you mean `difftopkproofs`? the provenances are ",
        ),
        (
            {"input_mappings": {"digit_a": range(10), "digitb": range(10)}},
            "input mapping of `digitb`: the program has no relation `digitb`\nhint: did you mean `digit_b`?",
        ),
        (
            {"output_mapping": ("sum2", range(19))},
            "output mapping of `sum2`: the program has no relation `sum2`\nhint: did you mean `sum_2`?",
        ),
        (
            {"facts": {"digitc": [(0.5, 1)]}},
            "facts of `digitc`: the program has no relation `digitc`\nhint: did you mean `digit_b`?",
        ),
        (
            {"non_probabilistic": ["nothing"]},
            "`non_probabilistic`: the program has no relation `nothing`",
        ),
        (
            {"retain_topk": {"sum_2": 3}},
            "`retain_topk` names `sum_2`, which has no input mapping",
        ),
        (
            {"input_mappings": {**DIGITS, "digit_b": [*range(9), 3]}},
            "input mapping of `digit_b`: entry 9, (3), is a duplicate of entry 3",
        ),
        (
            {"output_mapping": ("sum_2", [0, 1, 0])},
            "output mapping of `sum_2`: entry 2, (0), is a duplicate of entry 0",
        ),
        (
            {"program": f"type digit_a(i32)\n{SUM_2}", "input_mappings": {**DIGITS, "digit_a": [0, 1.5]}},
            "input mapping of `digit_a`: entry 1, (1.5), does not fit: 1.5 is no i32 (column 1)",
        ),
        (
            {"program": f"type digit_a(u8)\n{SUM_2}", "input_mappings": {**DIGITS, "digit_a": [0, 300]}},
            "input mapping of `digit_a`: entry 1, (300), does not fit: 300 is no u8 (column 1)",
        ),
        (
            {"output_mapping": ("sum_2", ["a"])},
            'output mapping of `sum_2`: entry 0, ("a"), does not fit: "a" is no i32 (column 1)',
        ),
        (
            {"output_mapping": ("sum_2", [(1, 2)])},
            "output mapping of `sum_2`: entry 0, (1, 2), has 2 values, but the relation has 1 columns",
        ),
        (
            {"output_mapping": ("sum_2", 3)},
            "output mapping of `sum_2`: give a range, a list of values or tuples, one tuple, "
            "or None for every possible tuple",
        ),
        (
            {"output_mapping": range(19)},
            (
                "`output_mapping` does not say which relation it is for\n"
                'hint: write `output_mapping=("relation", mapping)`, or give `output_relation` as well'
            ),
        ),
        (
            {"output_mapping": None},
            'no output is named\nhint: give `output_mapping=("relation", mapping)`, or a query in the program',
        ),
        (
            {"output_mappings": {"sum_2": None}},
            "give `output_mappings` or `output_relation` and `output_mapping`, not both",
        ),
        (
            {"output_mapping": None, "output_mappings": ["sum_2"]},
            "`output_mappings` must be a dictionary from relations to mappings",
        ),
        ({"k": 0}, "`k` is 0; it must be an integer of at least 1"),
        ({"train_k": 1.5}, "`train_k` is 1.5; it must be an integer of at least 1"),
        ({"iter_limit": -1}, "`iter_limit` is -1; it must be an integer of at least 0"),
        ({"early_discard": "yes"}, "`early_discard` is 'yes'; it must be True, False or None"),
        ({"rules": "p(x) = q(x)"}, "`rules` must be a list of strings"),
        (
            {"relations": [("edge", (int, "no type"))]},
            "relation `edge`: 'no type' is no column type; write a type's name",
        ),
        (
            {"relations": ["edge(i32)"]},
            "`relations` holds 'edge(i32)'; every item must be a pair of a name and column types",
        ),
        ({"file": "nowhere.scl"}, "the program file `nowhere.scl` cannot be read: "),
        (
            {"facts": {"digit_a": [(0.5, (1,)), 3]}},
            "facts of `digit_a`: fact 1, 3, has no tag\nhint: write `(probability, tuple)`, or `(None, tuple)`",
        ),
        (
            {"relations": [("edge", (int, int))], "facts": {"edge": [(1, 0)]}},
            "facts of `edge`: entry 0, (0), has 1 values, but the relation has 2 columns\n"
            "hint: the first of a pair is its tag: if `(1, 0)` is the tuple, write `(None, (1, 0))`",
        ),
        (
            {"facts": {"digit_a": [(float("nan"), (1,))]}},
            "facts of `digit_a`: fact 0, (nan, (1,)), has the tag nan; it must be a finite number, a bool or None",
        ),
        (
            {"non_probabilistic": ["digit_a"]},
            "`digit_a` is non-probabilistic, but its input mapping takes probabilities; leave it out of one of the two",
        ),
    ],
)
def test_bad_arguments_of_the_constructor(options, message):
    with pytest.raises(InputError) as caught:
        sum_2(**options)
    assert str(caught.value).startswith(message)


def test_a_list_as_a_mapping_of_a_string_relation_is_no_pair():
    with pytest.raises(InputError, match="`output_mapping` does not say which relation it is for"):
        sum_2(output_mapping=["sum_2", range(19)])


def test_a_mapping_of_another_type_than_the_facts_is_told_by_its_entry():
    with pytest.raises(InputError) as caught:
        sum_2(f'{SUM_2}\nrel digit_a("one")')
    assert str(caught.value) == "input mapping of `digit_a`: entry 0, (0), does not fit: 0 is no String (column 1)"


def test_an_output_that_no_rule_derives_is_one_warning():
    message = r"^no rule can derive `sum_2\(-1\)`, `sum_2\(19\)`: always 0 in the output$"
    with pytest.warns(UserWarning, match=message) as caught:
        reasoner = sum_2(output_mapping=("sum_2", range(-1, 20)))
    assert len(caught) == 1
    values = reasoner(digit_a=digits(), digit_b=digits())
    assert values.shape == (2, 21)
    assert values[:, [0, 20]].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize(
    ("program", "error", "place"),
    [
        ("rel sum_2(a + c) = digit_a(a) and digit_b(b)", UnboundVariableError, "<program>:1:"),
        (f"{SUM_2}\nrel even(a) = digit_a(a) and not even(a)", StratificationError, "<program>:2:"),
        (f"{SUM_2}\nrel digit_a(1, 2)", TypeInferenceError, "<program>:2:"),
    ],
)
def test_a_wrong_program_is_an_error_with_its_place(program, error, place):
    outputs = {"even": None} if "even" in program else {"sum_2": None}
    with pytest.raises(error) as caught:
        sum_2(program, output_mapping=None, output_mappings=outputs)
    assert place in str(caught.value)


def test_errors_of_every_kind_are_scallax_errors():
    with pytest.raises(ScallaxError):
        sum_2("rel = ")
    with pytest.raises(ValueError, match="there is no provenance"):
        sum_2(provenance="proofs of concept")


# 28 proofs of 10 facts out of 60 each: more decisions than are made.
_BITS = random.Random(0)
_PROOFS = [_BITS.sample(range(60), 10) for _ in range(28)]
TANGLE = "\n".join(["rel bit_0() = bit(0)", *(f"rel hit(7) = {', '.join(f'bit({b})' for b in p)}" for p in _PROOFS)])
TANGLE_OPTIONS = {
    "provenance": "difftopkproofs",
    "k": 28,
    "input_mappings": {"bit": InputMapping(range(60), retain_threshold=0.5)},
    "output_mappings": {"bit_0": (), "hit": [7]},
}


def tangled_bits() -> np.ndarray:
    """In the first sample one proof holds; in the others all do."""
    bits = np.full((3, 60), 0.9, np.float32)
    bits[0] = 0
    bits[0, _PROOFS[3]] = 0.9
    return bits


def test_proofs_too_many_to_count_are_one_error_with_the_tuple_and_the_sample(capfd):
    reasoner, module = Reasoner(TANGLE, **TANGLE_OPTIONS), torch_bridge.Module(TANGLE, **TANGLE_OPTIONS)
    bits = tangled_bits()
    message = (
        "`hit(7)` in sample 1: counting its proofs takes more than 50,000 decisions\n"
        "hint: lower `k`; up to 10 proofs are counted without a limit"
    )
    with pytest.raises(UnsupportedError) as caught:
        reasoner(bit=bits)
    assert str(caught.value) == message
    with pytest.raises(UnsupportedError) as caught:
        module(bit=torch.tensor(bits, requires_grad=True))
    assert str(caught.value) == message
    np.testing.assert_allclose(reasoner(bit=bits[:1])["hit"], [[0.9**10]], rtol=1e-6)
    tensor = torch.tensor(bits[:1], requires_grad=True)
    module(bit=tensor)["hit"].sum().backward()
    np.testing.assert_allclose(tensor.grad[0, _PROOFS[3]], [0.9**9] * 10, rtol=1e-6)
    assert capfd.readouterr() == ("", "")


def test_proofs_too_many_to_count_are_nan_under_a_transformation(capfd):
    reasoner, bits = Reasoner(TANGLE, **TANGLE_OPTIONS), tangled_bits()

    def hit(bits):
        return reasoner(bit=bits)["hit"]

    values, pull = jax.vjp(jax.jit(hit), bits)
    np.testing.assert_allclose(values, [[0.9**10], [np.nan], [np.nan]], rtol=1e-6)
    (gradient,) = pull(jnp.ones_like(values))
    np.testing.assert_allclose(gradient[0, _PROOFS[3]], [0.9**9] * 10, rtol=1e-6)
    assert np.isnan(gradient[1:, sorted({bit for proof in _PROOFS for bit in proof})]).all()
    assert capfd.readouterr() == ("", "")


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


def test_unknown_queries_are_told_and_have_no_rows():
    reasoner = Reasoner("query b\nquery c(1)", provenance="unit")
    with pytest.warns(UserWarning, match=r"unknown relation `b`: it has no rows\n[^`]*unknown relation `c`"):
        answers = reasoner()
    assert [tuples for tuples, _ in answers.values()] == [[], []]


@pytest.mark.parametrize("type", ["String", "Symbol", "char", "Entity", "DateTime"])
def test_lone_surrogates_are_no_text(type: str):
    program = f"type T = A() | B(String)\ntype a({type})\nrel b(x) = a(x)"
    with pytest.raises(InputError) as caught:
        Reasoner(program, provenance="unit", facts={"a": [("\ud800",)]}, output_mapping=("b", None))
    str(caught.value).encode()
    with pytest.raises(ScallaxError, match="half of a surrogate pair is no character") as caught:
        Reasoner(f'{program}\nrel c("\udfff")', provenance="unit", output_mapping=("b", None))
    str(caught.value).encode()
