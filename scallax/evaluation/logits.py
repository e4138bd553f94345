"""The logits of trainable tags by the names of their parameters: their order, what may replace them, what they mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from scallax.errors import InputError
from scallax.evaluation.checks import check_logits
from scallax.evaluation.jax_values import is_array
from scallax.facts.arguments import unknown_name
from scallax.facts.parameters import Parameter
from scallax.kernels.array_namespace import NUMPY

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

    from scallax.evaluation.batch import ArrayLike

T = TypeVar("T")


def order_logits(parameters: Sequence[Parameter], given: Mapping[str, T]) -> tuple[T, ...]:
    """The values in the order of the parameters. InputError with all names that are missing or unknown."""
    _check_dictionary(given)
    known = [parameter.name for parameter in parameters]
    problems = [f"no logits for the parameter `{name}`" for name in known if name not in given]
    unknown = [name for name in given if name not in known]
    problems += [str(unknown_name(f"`{name}` is no parameter", name, known)) for name in unknown]
    if problems:
        raise InputError(*problems)
    return tuple(given[name] for name in known)


def _check_dictionary(given: object) -> None:
    if not isinstance(given, Mapping):
        raise InputError(f"the parameters are a {type(given).__name__}; give a dictionary from their names to logits")


def replace_logits(parameters: Sequence[Parameter], given: Mapping[str, ArrayLike]) -> tuple[ArrayLike, ...]:
    """Logits that may stand for those of the parameters, in order.

    InputError, with every problem, for names, shapes and dtypes other than theirs.
    """
    _check_dictionary(given)
    shapes = {parameter.name: parameter.initial.shape for parameter in parameters}
    wrong = [
        f"the parameter `{name}` has shape {array.shape}; its logits have shape {shapes[name]}"
        for name, array in given.items()
        if name in shapes and is_array(array) and array.shape != shapes[name]
    ]
    try:
        logits = order_logits(parameters, given)
    except InputError as error:  # names differ: the shapes of the others are told with them
        raise InputError(*error.diagnostics, *wrong) from None
    check_logits(parameters, logits)
    return logits


def host_probabilities(
    logits: Float[np.ndarray, "logits batch"], groups: Int[np.ndarray, " logits"]
) -> Float[np.ndarray, "logits batch"]:
    """The sigmoid of independent logits (group -1), the softmax over the logits of each group, by NumPy."""
    # Beyond the range of floats the limits are right.
    with np.errstate(over="ignore"):
        found = 1 / (1 + np.exp(-logits))
    is_member = groups >= 0
    members, segments = logits[is_member], groups[is_member]
    count = int(segments.max(initial=-1)) + 1
    shares = np.exp(members - NUMPY.segment_max(members, segments, count)[segments])
    found[is_member] = shares / NUMPY.segment_sum(shares, segments, count)[segments]
    return found


def host_log_probabilities(
    logits: Float[np.ndarray, "logits batch"], groups: Int[np.ndarray, " logits"]
) -> Float[np.ndarray, "logits batch"]:
    """The logarithms of `host_probabilities`, which do not leave the logarithm."""
    found = -np.logaddexp(0, -logits)
    is_member = groups >= 0
    members, segments = logits[is_member], groups[is_member]
    count = int(segments.max(initial=-1)) + 1
    less = members - NUMPY.segment_max(members, segments, count)[segments]
    found[is_member] = less - np.log(NUMPY.segment_sum(np.exp(less), segments, count))[segments]
    return found


def logit_probabilities(
    parameters: Sequence[Parameter], groups: np.ndarray, logits: Sequence[ArrayLike]
) -> dict[str, Array]:
    """The probabilities by the names of the parameters, without residuals; `groups` are those of all logits."""
    check_logits(parameters, logits)
    if not logits:
        return {}
    sizes = tuple(parameter.num_facts for parameter in parameters)
    from scallax.evaluation import jax_batch  # there are logits, which may be traced

    found = jax_batch.find_probabilities(sizes, tuple(logits), groups)
    return {parameter.name: part for parameter, part in zip(parameters, found, strict=True)}
