"""Interpreters of a circuit: one computes with arrays, by compiled functions; the other with Python objects.

Both take a circuit, and inputs in the order of the circuit's, and give the outputs. An `AbstractLayout` says how inputs
and outputs are those of a call.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, final

import jax

from scallax.circuits.circuit import Circuit
from scallax.circuits.literals import read_proofs
from scallax.errors import UnsupportedError
from scallax.evaluation.batch import (
    AnyCircuit,
    Arguments,
    ArrayLike,
    Signature,
    evaluate_batch,
    forward_batch,
    pull_back_batch,
)
from scallax.evaluation.cache import Holder
from scallax.evaluation.checks import is_concrete
from scallax.evaluation.interpretation import ABSENT, interpret
from scallax.provenance.semirings import ObjectProvenance

if TYPE_CHECKING:
    from jaxtyping import Array, PyTree

# For each sample and output its proofs: rows of literals, and whether each is true.
FoundProofs = list[list[list[list[tuple[int, bool]]]]]


@final
@dataclass(frozen=True, slots=True)
class ArrayInterpreter:
    """Computes with arrays, by functions that are compiled once and held by `holder`."""

    signature: Signature
    holder: Holder

    def evaluate(self, circuit: AnyCircuit, arguments: Arguments) -> Array:
        """The values of the outputs, `[batch, outputs]`, or `[outputs]` of samples side by side."""
        return evaluate_batch(self.holder, self.signature, circuit, arguments)

    def forward(self, circuit: AnyCircuit, arguments: Arguments) -> tuple[Array, PyTree[Array]]:
        """The values of the outputs, and what `pull_back` needs beside the arguments."""
        return forward_batch(self.holder, self.signature, circuit, arguments)

    def pull_back(
        self,
        circuit: AnyCircuit,
        arguments: Arguments,
        residuals: PyTree[Array],
        cotangent: ArrayLike,
    ) -> tuple[tuple[Array | None, ...], tuple[Array, ...]]:
        """Gradients of the arrays (None for bool arrays) and of the logits for a cotangent of the values."""
        return pull_back_batch(self.holder, self.signature, circuit, arguments, residuals, cotangent)

    def proofs(self, circuit: AnyCircuit, arguments: Arguments, on_host: Circuit) -> FoundProofs:
        """The proofs that the provenance keeps; `on_host` is the circuit as NumPy arrays. Nothing may be traced."""
        _, residuals = self.forward(circuit, arguments)
        refuse_traced_proofs(jax.tree.leaves(residuals))
        return [] if residuals is None else read_proofs(self.signature.provenance.proof_sets(residuals.tags), on_host)


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
