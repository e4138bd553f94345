"""Provenances whose tags are logarithms of probabilities: the fold never leaves the logarithm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scallax.kernels.array_namespace import array_namespace
from scallax.kernels.batches import batch_constant
from scallax.kernels.logarithms import is_none, log1mexp, log_rest, log_sum
from scallax.kernels.schedule import COMPLEMENT
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.probability import DecidingLiteral, MinMax
from scallax.provenance.traits import Traits

if TYPE_CHECKING:
    from jaxtyping import Bool, Float

    from scallax.kernels.array_namespace import Array


@dataclass(frozen=True)
class LogSumProduct(AbstractProvenance):
    """`AddMult` and `Exact` in logarithms: a conjunction is a sum, a disjunction the logarithm of a sum.

    Sums are clamped to `ceiling`, a probability; None for those of a compiled circuit, which exclude each other. The
    gradient passes through the clamp as in `AddMult`.
    """

    traits: Traits
    ceiling: float | None = None
    masks_clamp: bool = False

    def leaf_tags(self, literals: LiteralTable) -> Float[Array, "leaves batch"]:
        return leaf_logarithms(literals)

    def step(self, kind, total, left, right, cyclic, literals):
        if kind == COMPLEMENT:
            return log_rest(left)
        xp, found = literals.xp, log_sum([total, *(a + b for a, b in zip(left, right, strict=True))])
        if self.ceiling is None:
            return found
        ceiling = math.log(self.ceiling)
        clamped = xp.minimum(found, ceiling)
        if self.masks_clamp or xp.is_eager:
            return clamped
        # The derivative of the sum, divided by the ceiling.
        beyond = found > ceiling
        passed = xp.where(beyond, xp.exp(xp.where(beyond, found - ceiling, xp.zeros_like(found))), found)
        return xp.straight_through(passed, clamped, cyclic)

    def head_cotangent(self, total, heads, complement, cyclic):
        xp = array_namespace(total)
        if self.ceiling is not None:
            saturated = (cyclic | self.masks_clamp) & (heads >= math.log(self.ceiling))
            total = xp.where(saturated & ~complement, xp.zeros_like(total), total)
        return xp.where(complement, -total, total)

    def differs(self, old, new) -> Bool[Array, ""]:
        # 8 epsilon of what is more than 1 in size; infinite and undefined numbers differ from others alone.
        xp = array_namespace(new)
        bound = 8 * xp.finfo(new.dtype).eps * xp.maximum(xp.abs(new), xp.ones_like(new))
        same = (old == new) | (xp.isnan(old) & xp.isnan(new)) | (xp.abs(new - old) <= bound)
        return (~same).any()

    def recover(self, tags, literals):
        return tags


@dataclass(frozen=True)
class LogMinMax(MinMax):
    """`MinMax` in logarithms."""

    def leaf_tags(self, literals: LiteralTable) -> DecidingLiteral:
        return DecidingLiteral(leaf_logarithms(literals), super().leaf_tags(literals).origin)

    def step(self, kind, total, left, right, cyclic, literals):
        if kind == COMPLEMENT:
            value, origin = left[0]
            return DecidingLiteral(log1mexp(value), -origin)
        return super().step(kind, total, left, right, cyclic, literals)

    def recover(self, tags, literals):
        xp, (value, origin) = literals.xp, tags
        literal = xp.maximum(xp.abs(origin) - 1, 0)
        logs = xp.take_along_axis(literals.probabilities, literal, 0)
        constant = xp.stop_gradient(value)
        decided = xp.where(origin > 0, logs, xp.where(origin < 0, log1mexp(logs), constant))
        return xp.where(is_none(value), constant, decided)


def leaf_logarithms(literals: LiteralTable) -> Float[Array, "leaves batch"]:
    """The logarithms of zero, one and the literals' probabilities; minus infinity where absent."""
    xp = literals.xp
    logs = xp.where(literals.present, literals.probabilities, -math.inf)
    return xp.concatenate([batch_constant(logs, (1,), -math.inf), batch_constant(logs, (1,), 0), logs])
