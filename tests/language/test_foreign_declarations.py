"""Objects that cannot be declared or passed as a function, predicate or aggregate of Python are refused."""

from collections.abc import Callable
from typing import Any, TypeVar

import pytest

import scallax
from scallax import InputError

T = TypeVar("T", bound=scallax.Number)


@scallax.foreign_function
def wide(x: scallax.i32) -> scallax.u8:
    return x * 100


def no_annotation(x):
    return x


def no_result(x: int):
    return x


def of_family(x: int) -> int:
    return x


def lone_generic(x: scallax.i32) -> T:  # pyright: ignore[reportInvalidTypeVarUse]
    return x  # pyright: ignore[reportReturnType]


def with_options(x: list[scallax.i32], **options: int) -> scallax.i32:
    return 0


def with_untyped_option(x: list[scallax.i32], *, y=None) -> scallax.i32:
    return 0


def with_default(x: scallax.i32 = 1) -> scallax.Facts[None, tuple[scallax.i32]]:
    yield (x,)


def two_lists(x: list[scallax.i32], y: list[scallax.i32]) -> scallax.i32:
    return 0


def folded(state: list, x: scallax.i32) -> scallax.i32:
    return 0


def generic_output(x: T) -> scallax.Facts[None, tuple[T]]:
    yield (x,)


def with_keyword(x: scallax.i32, *, y: scallax.i32) -> scallax.i32:
    return x


def takes_list(x: list) -> scallax.i32:
    return 0


def unresolved(x: "nowhere") -> scallax.i32:  # noqa: F821
    return 0


def batched_by_two(x: list[tuple[int]], y: int) -> scallax.BatchedFacts[None, tuple[int]]:
    return []


def batched_by_value(x: list[int]) -> scallax.BatchedFacts[None, tuple[int]]:
    return []


def batched_unlike(x: scallax.BatchedTuples[int]) -> scallax.Facts[None, tuple[int]]:
    return []  # pyright: ignore[reportReturnType]


def good(x: scallax.i32) -> scallax.i32:
    return x


@pytest.mark.parametrize(
    ("declare", "message"),
    [
        (lambda: scallax.foreign_function(no_annotation), r"`x` has no annotation\nhint: annotate it"),
        (
            lambda: scallax.foreign_predicate(batched=True)(batched_by_two),
            r"it is batched, and takes 2 arguments\nhint",
        ),
        (
            lambda: scallax.foreign_predicate(batched=True)(batched_by_value),
            r"no list of tuples\nhint: .*BatchedTuples",
        ),
        (
            lambda: scallax.foreign_predicate(batched=True)(batched_unlike),
            r"is not annotated as facts\nhint: .*BatchedF",
        ),
        (
            lambda: scallax.foreign_predicate(batched=True, batch_size=0)(batched_by_value),
            r"`batch_size` is 0; it must",
        ),
        (
            lambda: scallax.foreign_predicate(batch_size=2)(with_default),
            r"it has a `batch_size`\nhint: give `batched=T",
        ),
        (lambda: scallax.foreign_function(no_result), r"its result has no annotation\nhint: annotate it with `->`"),
        (lambda: scallax.foreign_function(of_family), r"the result is of the family `Integer`\nhint: say which type"),
        (lambda: scallax.foreign_function(lone_generic), "of a type parameter that no parameter has"),
        (lambda: scallax.foreign_function(with_keyword), "`y` is a keyword, which programs cannot give"),
        (lambda: scallax.foreign_function(takes_list), r"`x` has the annotation .*list.*, no type"),
        (
            lambda: scallax.foreign_function(unresolved),
            "its annotations cannot be read: name 'nowhere' is not defined",
        ),
        (lambda: scallax.foreign_function(lambda x: x), r"'<lambda>' is no name of a foreign function"),
        (lambda: scallax.foreign_function(name="2x")(good), "'2x' is no name"),
        (lambda: scallax.foreign_function(3), "made from a Python function, not from 3"),  # pyright: ignore
        (lambda: scallax.foreign_function(arg_types=["i32", "i32"], ret_type="i32")(good), "2 arguments are declared"),
        (lambda: scallax.foreign_function(arg_types=["i33"], ret_type="i32")(good), "argument 1 has the annotation"),
        (lambda: scallax.foreign_function(on_error="ignore")(good), r'must be "raise" or "drop"'),  # pyright: ignore
        (lambda: scallax.foreign_function(suppress_warning=1)(good), "must be True or False"),  # pyright: ignore
        (lambda: scallax.foreign_predicate(good), r"its result is not annotated as facts\nhint: annotate it with"),
        (
            lambda: scallax.foreign_predicate(output_arg_types=["i32"], tag_type=str)(good),
            r"is no type of tags\nhint: tags are None",
        ),
        (
            lambda: scallax.foreign_predicate(output_arg_types=["i32"], type_params=[scallax.Any])(good),
            "`type_params` are value types",
        ),
        (lambda: scallax.foreign_aggregate(good), r"`x` is no list\nhint: annotate it as `list"),
        (lambda: scallax.foreign_aggregate(initial=[])(with_keyword), "a fold takes a state and the values"),
        (
            lambda: scallax.foreign_aggregate(arg_types=["i32"], ret_type="i32")(with_options),
            r"`\*\*options` has no names that programs could give",
        ),
        (
            lambda: scallax.foreign_aggregate(with_untyped_option),
            r"the option `y` has no type\nhint: give it a default",
        ),
        (lambda: scallax.foreign_aggregate(two_lists), r"takes one argument, the list of values\nhint: with `initial`"),
        (lambda: scallax.foreign_aggregate(initial=[])(folded), r"states must be hashable: .*\nhint: use a number"),
        (lambda: scallax.foreign_predicate(with_default), r"`x` is no such input\nhint: the inputs of a predicate are"),
        (
            lambda: scallax.foreign_predicate(type_params=[scallax.i32])(generic_output),
            "`type_params`, and type parameters in its annotations; use one of the two",
        ),
        (lambda: scallax.foreign_function(type), r"Python does not tell its parameters\nhint: give the types"),
        (lambda: scallax.foreign_aggregate(finish=len)(good), "`finish` needs a fold"),
        (lambda: scallax.Generic("number"), "is no family of types"),
    ],
)
def test_what_cannot_be_declared_is_refused(declare: Callable[[], object], message: str):
    with pytest.raises(InputError, match=message):
        declare()


@pytest.mark.parametrize(
    ("foreign", "message"),
    [
        ([wide, wide], r"`foreign` has the function `\$wide` twice"),
        (
            [scallax.foreign_function(name="abs")(good)],
            r"the function `\$abs` is built in\nhint: give the foreign one",
        ),
        ([scallax.foreign_predicate(name="range", output_arg_types=[])(good)], "the predicate `range` is built in"),
        ([scallax.foreign_aggregate(name="sum", initial=0, arg_types=["i32"], ret_type="i32")(max)], "built in"),
        ([scallax.foreign_attribute(name="hidden")(good)], "the attribute `@hidden` is built in"),
        ([good], r"which is no foreign function.*\nhint: decorate it with"),
        (wide, "`foreign` must be a list"),
    ],
)
def test_what_is_passed_is_checked(foreign: Any, message: str):
    with pytest.raises(InputError, match=message):
        scallax.Reasoner("rel a(1)  query a", foreign=foreign)
