"""Interpreters of a circuit: one computes with arrays, by compiled functions; the other with Python objects.

Both take a circuit, and inputs in the order of the circuit's, and give the outputs. An `AbstractLayout` says how inputs
and outputs are those of a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

from scallax.circuits.circuit import Circuit
from scallax.errors import UnsupportedError
from scallax.evaluation.interpretation import ABSENT, interpret
from scallax.evaluation.jax_values import is_concrete
from scallax.provenance.semirings import ObjectProvenance

if TYPE_CHECKING:
    from jaxtyping import Array

# For each sample and output its proofs: rows of literals, and whether each is true.
FoundProofs = list[list[list[list[tuple[int, bool]]]]]


@final
@dataclass(frozen=True, slots=True)
class ObjectInterpreter:
    """Computes with Python objects, one operation of a semiring after the other, on the host."""

    provenance: ObjectProvenance

    def evaluate(self, circuit: Circuit, inputs: Sequence[Sequence[Any]], seed: int | Array) -> list[list[Any]]:
        """The tags of the outputs for the inputs of each sample; ABSENT for what does not hold."""
        circuit = replace(circuit, seed=seed)
        return [interpret(self.provenance.semiring, circuit, values) for values in inputs]

    def recover(self, tag: Any) -> Any:
        """The value that a tag stands for."""
        semiring = self.provenance.semiring
        return semiring.recover(semiring.zero() if tag is ABSENT else tag)

    def proofs(self, circuit: Circuit, inputs: Sequence[Sequence[Any]], seed: int | Array) -> FoundProofs:
        """The proofs that the tags of the outputs keep."""
        semiring = self.provenance.semiring
        return [
            [
                [
                    sorted((literal, True) for literal, _ in proof)
                    for proof in semiring.proofs(semiring.zero() if tag is ABSENT else tag)
                ]
                for tag in tags
            ]
            for tags in self.evaluate(circuit, inputs, seed)
        ]


def refuse_traced_proofs(arrays: Sequence[Any]) -> None:
    """UnsupportedError if an array is traced: proofs are read from values."""
    if not all(map(is_concrete, arrays)):
        raise UnsupportedError("proofs are Python objects, which a transformed function cannot return")
