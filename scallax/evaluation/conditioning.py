"""Probabilities given evidence: the quotients at the end of an evaluation."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scallax.kernels.array_namespace import array_namespace

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int

    from scallax.kernels.array_namespace import Array


def given_evidence(
    values: Float[Array, "outputs batch"], evidence: Int[Array, " outputs"], is_log: bool = False
) -> Float[Array, "outputs batch"]:
    """The values, each divided by the one that stands at its place `evidence`: 0 where that `is_impossible`.

    Values that are logarithms (`is_log`) are subtracted, and minus infinity stands for 0.

    A value stays as it is where that place is -1, or its own. A quotient is at most 1: what rounding, or the loss of
    proofs, puts above it has the gradient of the quotient.
    """
    xp = array_namespace(values)
    places = xp.arange(evidence.shape[0], dtype=xp.int32)
    is_divided = ((evidence >= 0) & (evidence != places))[:, None]
    whole = xp.take_clipped(values, xp.maximum(evidence, 0))
    none, one = is_impossible(whole, is_log), xp.ones_like(whole)
    if is_log:
        quotient = values - xp.where(none, xp.zeros_like(whole), whole)
        quotient = xp.where(quotient > 0, quotient - xp.stop_gradient(quotient), quotient)
        quotient = xp.where(none, xp.full_like(quotient, -float("inf")), quotient)
        return xp.where(is_divided, quotient, values)
    # Both are of the size of 1 before they are divided: the square of a small number would be 0 in the derivative.
    scale = xp.stop_gradient(xp.where(none, one, whole))
    quotient = (values / scale) / xp.where(none, one, whole / scale)
    quotient = quotient + xp.stop_gradient(xp.minimum(quotient, 1) - quotient)
    return xp.where(is_divided, xp.where(none, xp.zeros_like(quotient), quotient), values)


def is_impossible(probabilities: Float[Array, ...], is_log: bool = False) -> Bool[Array, ...]:
    """Whether probabilities of evidence are 0, or so small that quotients by them would be infinite.

    With `is_log`, whether logarithms are those of 0.
    """
    xp = array_namespace(probabilities)
    if is_log:
        return probabilities == -float("inf")
    return probabilities < xp.finfo(probabilities.dtype).tiny


def log_probability(probabilities: Float[Array, ...]) -> Float[Array, ...]:
    """The logarithms of probabilities of evidence; minus infinity, with the gradient 0, where one `is_impossible`."""
    xp = array_namespace(probabilities)
    none = is_impossible(probabilities)
    logarithm = xp.log(xp.where(none, xp.ones_like(probabilities), probabilities))
    return xp.where(none, xp.full_like(probabilities, -float("inf")), logarithm)


def observed_cases(
    values: Float[Array, "batch entries"],
) -> tuple[Float[Array, "batch cases"], Bool[Array, "batch cases"]]:
    """Observations as weights of the literals of `circuits.conditioning`, three an entry, and those that exist.

    An entry is the probability with which a tuple was seen to hold, or NaN if it was not looked at.
    """
    xp = array_namespace(values)
    is_unseen = xp.isnan(values)
    holds = xp.where(is_unseen, xp.zeros_like(values), values)
    fails = xp.where(is_unseen, xp.zeros_like(values), 1 - holds)
    weights = xp.stack([holds, fails, is_unseen.astype(values.dtype)], -1)
    exist = xp.stack([~is_unseen, ~is_unseen, is_unseen], -1)
    return weights.reshape(values.shape[0], -1), exist.reshape(values.shape[0], -1)
