"""Calls that do not fit: other keywords, positions and kinds of values; each is one error of scallax."""

import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest

import scallax
import torch_bridge
from scallax import InputError, Reasoner, ScallaxError, checkpoint, nn
from scallax.reasoner.program_arguments import ProgramArguments

SUM_2 = "rel sum_2(a + b) = digit_a(a) and digit_b(b)"


def sum_2() -> Reasoner:
    mappings = {"digit_a": range(2), "digit_b": range(2)}
    return Reasoner(SUM_2, provenance="addmultprob", input_mappings=mappings, output_mapping=("sum_2", range(3)))


CALLS: list[tuple[Callable, tuple, dict, str]] = [
    (Reasoner, (SUM_2, "unit"), {}, "`Reasoner` takes 1 argument by position, not 2\nhint: give others by name: `prov"),
    (torch_bridge.Module, (), {"provenence": ""}, "`Module` takes no argument `provenence`\nhint: did you mean `prove"),
    (nn.LinenReasoner, (), {"provenence": ""}, "`LinenReasoner` takes no argument `provenence`"),
    (nn.Reasoner, (SUM_2,), {"program": SUM_2}, "`Reasoner` is given `program` twice"),
    (scallax.Context().add_facts, ("r",), {}, "`Context.add_facts` needs the argument `elems`"),
    (scallax.Limits, (), {"tuple": 1}, "`Limits` takes no argument `tuple`\nhint: did you mean `tuples`"),
    (Reasoner.from_json, (), {}, "`Reasoner.from_json` needs the argument `text`"),
    (torch_bridge.save, ("a.pt",), {}, "`save` needs the argument `obj`"),
    (scallax.foreign_function, (), {"nam": "f"}, "`foreign_function` takes no argument `nam`"),
]


@pytest.mark.parametrize(("function", "arguments", "keywords", "message"), CALLS)
def test_calls_that_do_not_fit_are_errors_of_both_kinds(function, arguments, keywords, message: str):
    with pytest.raises(scallax.ArgumentError, match=message) as caught:
        function(*arguments, **keywords)
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    "cls", [Reasoner, nn.Reasoner, nn.LinenReasoner, torch_bridge.Module, torch_bridge.ForwardFunction]
)
def test_signatures_name_and_describe_every_argument(cls: type):
    # The metaclass of NNX hides the signature of a class.
    parameters = inspect.signature(cls.__init__).parameters
    assert parameters.keys() >= ProgramArguments.__annotations__.keys()
    assert parameters["k"].default == 3
    assert parameters["limits"].default is None
    described = {line.split(":")[0] for line in (cls.__init__.__doc__ or "").splitlines()}
    assert {f"    {name}" for name in parameters if name not in ("self", "program")} <= described


# Public calls, each of which is given a value of a wrong kind.
PLAIN: dict[str, Any] = {"program": "rel a = {1}", "provenance": "unit", "output_relation": "a"}
TAKERS: list[Callable] = [
    *(lambda value, name=name: Reasoner(**PLAIN, **{name: value}) for name in ("facts", "relations", "retain_topk")),
    lambda value: Reasoner(**PLAIN, input_mappings=value),
    lambda value: Reasoner.from_json(value),
    lambda value: sum_2().ground(value),
    lambda value: sum_2().explain("sum_2", (1,), value),
    lambda value: sum_2().explain(value, (1,)),
    lambda value: scallax.explain_plan(value),
    lambda value: scallax.explain_plan("rel a = {1}", value),
    lambda value: scallax.Context().add_item(value),
    lambda value: scallax.Context().import_file(value),
    lambda value: scallax.Context().relation(value),
    lambda value: scallax.Context().clone(value),
    lambda value: scallax.Context().run_batch(value, "a"),
    lambda value: torch_bridge.Context(fork_from=value),
    lambda value: torch_bridge.Module.from_reasoner(value),
    lambda value: torch_bridge.load_state_dict(value, {}),
    lambda value: sum_2().evaluate_grounded(value, {}),
    lambda value: sum_2().apply(value),
    lambda value: sum_2().with_parameters(value),
]


@pytest.mark.parametrize("take", TAKERS)
def test_values_of_another_kind_are_an_error_wherever_they_are_given(take: Callable):
    for value in (3, [1], {1: 2}, object()):
        with pytest.raises(ScallaxError):
            take(value)


def test_what_is_no_name_names_nothing():
    context = scallax.Context()
    for name in (3, [1], None):
        assert not context.has_relation(name)  # pyright: ignore[reportArgumentType]
        assert not context.has_input_mapping(name)  # pyright: ignore[reportArgumentType]
        assert not context.relation_is_computed(name)  # pyright: ignore[reportArgumentType]


def test_inputs_by_position_are_one_error():
    adder, digits = sum_2(), np.ones((1, 2), np.float32)
    module = torch_bridge.Module.from_reasoner(adder)
    functions: list[Callable] = [adder, jax.jit(adder), module]
    for function in functions:
        with pytest.raises(scallax.ArgumentError, match="takes no arguments by position, not 1\nhint: give each input"):
            function(digits)


def test_a_type_error_within_a_call_passes_through():
    class Odd:
        def __iter__(self):
            raise TypeError("odd")

    context = scallax.Context()
    context.add_relation("r", int)
    with pytest.raises(TypeError) as caught:
        context.add_facts("r", Odd())
    assert caught.type is TypeError


def test_a_class_is_no_custom_provenance_and_a_model_no_path():
    class Best:
        zero = one = add = mult = max

    with pytest.raises(InputError, match=r"is a class\nhint: give an object of it: `custom_provenance=Best\(\)`"):
        Reasoner(SUM_2, custom_provenance=Best)
    for save in (checkpoint.save, torch_bridge.save):
        with pytest.raises(InputError, match="int is no path"):
            save(1, "name")  # pyright: ignore[reportArgumentType]
