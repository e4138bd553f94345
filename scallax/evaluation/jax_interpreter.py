"""The interpreter of a circuit that computes with arrays by functions that JAX compiles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, final

import jax

from scallax.circuits.circuit import Circuit
from scallax.circuits.literals import read_proofs
from scallax.evaluation.batch import AnyCircuit, Arguments, ArrayLike, Signature
from scallax.evaluation.cache import Holder
from scallax.evaluation.interpreters import FoundProofs, refuse_traced_proofs
from scallax.evaluation.jax_batch import evaluate_batch, forward_batch, pull_back_batch

if TYPE_CHECKING:
    from jaxtyping import Array, PyTree


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
