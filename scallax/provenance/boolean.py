"""Provenances without numbers: which tuples hold."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool

from scallax.kernels.batches import batch_constant
from scallax.kernels.schedule import COMPLEMENT, NODES
from scallax.provenance.base import AbstractProvenance, Gradient, LiteralTable


@dataclass(frozen=True)
class Boolean(AbstractProvenance):
    """Truth values: or, and, not. `unit` ignores tags of facts, `bool` reads boolean ones and takes others for true."""

    name: str
    uses_tags: bool

    @property
    def uses_exclusion(self) -> bool:
        return False

    @property
    def gradient(self) -> Gradient:
        return Gradient.NONE

    @property
    def is_order_sensitive(self) -> bool:
        return False

    @property
    def is_distributive(self) -> bool:
        return True

    @property
    def is_idempotent(self) -> bool:
        return True

    def prior(self, tag: float | bool) -> float | None:
        return float(tag) if isinstance(tag, bool) else None

    def leaf_tags(self, literals: LiteralTable) -> Bool[Array, "leaves batch"]:
        holds = (literals.probabilities != 0) & literals.present
        return jnp.concatenate([batch_constant(holds, (1,), False), batch_constant(holds, (1,), True), holds])

    @property
    def block_rows(self):
        return {NODES: (1, 2, 4, 8), COMPLEMENT: (1,)}

    @property
    def derivation_cost(self) -> float:
        return 0.25

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
