"""Provenances without numbers: which tuples hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import COMPLEMENT
from scallax.provenance.base import AbstractProvenance, LiteralTable
from scallax.provenance.traits import Traits

if TYPE_CHECKING:
    from jaxtyping import Bool

    from scallax.kernels.array_namespace import Array


@dataclass(frozen=True)
class Boolean(AbstractProvenance):
    """Truth values: or, and, not. `unit` ignores tags of facts, `bool` reads boolean ones and takes others for true."""

    traits: Traits

    def leaf_tags(self, literals: LiteralTable) -> Bool[Array, "leaves batch"]:
        holds = (literals.probabilities != 0) & literals.present
        return literals.xp.concatenate([batch_constant(holds, (1,), False), batch_constant(holds, (1,), True), holds])

    def step(self, kind, total, left, right, cyclic, literals):
        if kind == COMPLEMENT:
            return ~left[0]
        for a, b in zip(left, right, strict=True):
            total = total | (a & b)
        return total

    def differs(self, old, new) -> Bool[Array, ""]:
        return (old != new).any()

    def recover(self, tags, literals):
        return tags
