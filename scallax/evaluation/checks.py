"""Checks of the arrays that calls are given."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from scallax.errors import Diagnostic, InputError
from scallax.evaluation.batch import ArrayLike
from scallax.evaluation.jax_values import canonical_dtype, is_array, is_concrete, is_float, is_integer, is_on_host
from scallax.facts.arguments import unknown_name
from scallax.facts.mappings import InputMapping, show_tuple
from scallax.facts.parameters import Parameter
from scallax.language import ir
from scallax.language.tag_domains import Domain
from scallax.provenance.traits import Traits

T = TypeVar("T")


def check_kind(relation: str, array: Any, of_sample: tuple[int, ...], traits: Traits) -> None:
    """InputError for an input that is no array of a dtype that its reasoner reads."""
    if not is_array(array):
        raise InputError(f"`{relation}` is a {type(array).__name__}; give an array of shape {show_shape(of_sample)}")
    if traits.domain is Domain.NATURAL and is_integer(array.dtype):
        return
    if array.dtype == np.bool_:
        if traits.keeps_number_tags:
            raise InputError(
                Diagnostic(
                    f"`{relation}` is of dtype bool; only the provenances `bool`, which reads bool inputs, and "
                    "`unit`, which ignores the values of its inputs, take them",
                    hint="convert it to float32 first",
                )
            )
    elif not is_float(array.dtype):
        raise InputError(
            Diagnostic(
                f"`{relation}` is of dtype {array.dtype}; probabilities are floats",
                hint="convert it to float32 first",
            )
        )


def check_logits(
    parameters: Sequence[Parameter], logits: Sequence[ArrayLike], batch: int | None = None, on_device: bool = False
) -> None:
    """InputError, with every problem, if logits are no finite floats of the parameters' shapes.

    They may have an axis for the batch in front if that is given. Values on an accelerator are looked at only if
    `on_device`.
    """
    problems = []
    for parameter, array in zip(parameters, logits, strict=True):
        name, shape = parameter.name, parameter.initial.shape
        if not (is_array(array) or isinstance(array, np.generic)):
            problems.append(f"the parameter `{name}` is a {type(array).__name__}; give an array of shape {shape}")
        elif array.shape != shape and array.shape != (batch, *shape):
            problems.append(f"the parameter `{name}` has shape {array.shape}; its logits have shape {shape}")
        elif not is_float(array.dtype):
            problems.append(f"the parameter `{name}` is of dtype {array.dtype}; logits are floats")
        elif is_concrete(array) and (on_device or is_on_host(array)) and not are_finite(np.asarray(array)).all():
            problems.append(f"the parameter `{name}` has a logit that is not finite")
    if problems:
        raise InputError(*problems)


def are_finite(values: np.ndarray) -> np.ndarray:
    """Whether numbers are finite in the dtype that they are computed in: 1e300 is not, where that is float32."""
    with np.errstate(over="ignore"):
        return np.isfinite(values.astype(canonical_dtype(values.dtype), copy=False))


def check_shapes(expected: Mapping[str, tuple[int, ...]], shapes: Sequence[tuple[int, ...]]) -> None:
    """InputError if shapes are not those of one batch of inputs, whose samples have the shapes `expected`."""
    for (relation, of_sample), shape in zip(expected.items(), shapes, strict=True):
        if not shape or tuple(shape[1:]) != of_sample:
            raise InputError(
                f"`{relation}` has shape {tuple(shape)}; its input mapping asks for {show_shape(of_sample)}"
            )
    if len({shape[0] for shape in shapes}) > 1:
        sizes = {relation: shape[0] for relation, shape in zip(expected, shapes, strict=True)}
        shown = ", ".join(f"`{relation}` has {size}" for relation, size in sizes.items())
        raise InputError(f"the inputs differ in batch size: {shown}")


def order_inputs(
    mappings: Mapping[str, InputMapping], inputs: Mapping[str, T], relations: Callable[[], Sequence[ir.Relation]]
) -> tuple[T, ...]:
    """The inputs in the order of the mappings. InputError if one is missing or is no input relation.

    `relations` are those of the program, which is analysed again for them if it was loaded.
    """
    for relation, value in inputs.items():
        if relation not in mappings:
            if any(known.name == relation for known in relations()):
                raise not_mapped(relation, value)
            raise unknown_name(f"`{relation}` is no input relation", relation, mappings)
    check_given(mappings, inputs)
    return tuple(inputs[relation] for relation in mappings)


def check_given(mappings: Mapping[str, InputMapping], given: Collection[str]) -> None:
    """InputError with all mapped relations that are not given."""
    missing = [relation for relation in mappings if relation not in given]
    if missing:
        raise InputError(
            *(f"no input for `{r}`: give an array of shape {show_shape(mappings[r].shape)}" for r in missing)
        )


def not_mapped(relation: str, value: object) -> InputError:
    """The error of an array for a relation that has no input mapping."""
    return InputError(
        Diagnostic(
            f"`{relation}` is a {type(value).__name__}, but has no input mapping",
            hint="give a list of facts for each sample, or an input mapping when the reasoner is made",
        )
    )


def show_shape(of_sample: tuple[int, ...]) -> str:
    """The shape of a batch of samples."""
    sizes = list(map(str, of_sample))
    return f"(batch, {', '.join(sizes)})" if sizes else "(batch,)"


def check_mapped(relation: str, shape: tuple[int, ...], num_samples: int, of_sample: tuple[int, ...]) -> None:
    """InputError if the array of a mapped relation does not fit the batch of facts beside it."""
    if shape != (num_samples, *of_sample):
        raise InputError(
            f"`{relation}` has shape {shape}; the batch has {num_samples} samples, and its input mapping asks for"
            f" {show_shape(of_sample)}"
        )


def locate(mapping: InputMapping, relation: str, values: np.ndarray, wrong: np.ndarray) -> str:
    """The first value that is wrong, with its sample and tuple."""
    index = tuple(np.argwhere(wrong)[0])
    entry = np.ravel_multi_index(index[1:], values.shape[1:]) if index[1:] else 0
    values_of_tuple = show_tuple(mapping.tuples[entry])
    return f"is {float(values[index])} in sample {index[0]} for the tuple `{relation}{values_of_tuple}`"
