"""The numbers of calls and programs as logarithms of probabilities, where a provenance computes with these."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from scallax.kernels.array_namespace import array_namespace
from scallax.language.tag_domains import ROUNDING

if TYPE_CHECKING:
    from jaxtyping import Float

    from scallax.evaluation.batch import Signature
    from scallax.kernels.array_namespace import Array


def log_probabilities(p: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """The logarithms of probabilities; NaN for what is none.

    Minus infinity, without a gradient, for what is below the least normal number, which array libraries take for 0.
    """
    xp = array_namespace(p)
    none, is_outside = p < xp.finfo(p.dtype).tiny, (p < -ROUNDING) | (p > 1 + ROUNDING)
    logs = xp.log(xp.where(none | is_outside, xp.ones_like(p), p))
    logs = xp.where(none, xp.full_like(logs, -math.inf), logs)
    return xp.where(is_outside, xp.full_like(logs, math.nan), logs)


def as_computed(signature: Signature, number: int, values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Numbers of the array `number` of a call as the provenance computes with them: logarithms or probabilities."""
    is_log = signature.provenance.traits.is_log
    if is_log is (number in signature.given_logs):
        return values
    return log_probabilities(values) if is_log else array_namespace(values).exp(values)


def is_converted(signature: Signature, number: int) -> bool:
    """Whether `as_computed` changes the numbers of an array."""
    return signature.provenance.traits.is_log is not (number in signature.given_logs)
