"""Every kind of bad input: one clear error, and the reasoner is usable afterwards."""

import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

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
        (
            {"digit_a": np.full((2, 10), 1e300), "digit_b": digits()},
            InputError,
            "`digit_a` is 1e+300 in sample 0 for the tuple `digit_a(0)`; a probability is a finite number",
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
    """In the first sample one proof holds; in the other one all do."""
    bits = np.full((2, 60), 0.9, np.float32)
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
    # Batches of one size share their compilations.
    few = bits[[0, 0]]
    np.testing.assert_allclose(reasoner(bit=few)["hit"], [[0.9**10]] * 2, rtol=1e-6)
    tensor = torch.tensor(few, requires_grad=True)
    module(bit=tensor)["hit"].sum().backward()
    np.testing.assert_allclose(tensor.grad[0, _PROOFS[3]], [0.9**9] * 10, rtol=1e-6)
    assert capfd.readouterr() == ("", "")


def test_proofs_too_many_to_count_are_nan_under_a_transformation(capfd):
    reasoner, bits = Reasoner(TANGLE, **TANGLE_OPTIONS), tangled_bits()

    def hit(bits):
        return reasoner(bit=bits)["hit"]

    values, pull = jax.vjp(jax.jit(hit), bits)
    np.testing.assert_allclose(values, [[0.9**10], [np.nan]], rtol=1e-6)
    (gradient,) = pull(jnp.ones_like(values))
    np.testing.assert_allclose(gradient[0, _PROOFS[3]], [0.9**9] * 10, rtol=1e-6)
    assert np.isnan(gradient[1:, sorted({bit for proof in _PROOFS for bit in proof})]).all()
    assert capfd.readouterr() == ("", "")


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
    with pytest.raises(ScallaxError, match="the text has half of a surrogate pair, which is no character") as caught:
        Reasoner(f'{program}\nrel c("\udfff")', provenance="unit", output_mapping=("b", None))
    str(caught.value).encode()
