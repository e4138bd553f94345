"""The interpreter of a circuit that computes with arrays by functions that JAX compiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import final

import jax
import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.literals import read_proofs
from scallax.evaluation.batch import AnyCircuit, Arguments, ArrayLike, Signature
from scallax.evaluation.cache import Holder
from scallax.evaluation.interpreters import FoundProofs, refuse_traced_proofs
from scallax.evaluation.jax_batch import evaluate_batch, forward_batch, pull_back_batch
from scallax.evaluation.jax_batch_sizes import SizedBatch, SizedResiduals, run_sized


@final
@dataclass(frozen=True, slots=True)
class ArrayInterpreter:
    """Computes with arrays, by functions that are compiled once for a size class and held by `holder`."""

    signature: Signature
    holder: Holder

    def evaluate(self, circuit: AnyCircuit, arguments: Arguments) -> ArrayLike:
        """The values of the outputs, `[batch, outputs]`, or `[outputs]` of samples side by side."""
        run = partial(evaluate_batch, self.holder, self.signature, circuit)
        batch, values = run_sized(self.signature, arguments, run)
        return batch.cut(values)

    def forward(self, circuit: AnyCircuit, arguments: Arguments) -> tuple[ArrayLike, SizedResiduals]:
        """The values of the outputs, and what `pull_back` needs beside the arguments, of all rows of the size class."""
        run = partial(forward_batch, self.holder, self.signature, circuit)
        batch, (values, residuals) = run_sized(self.signature, arguments, run)
        return batch.cut(values), SizedResiduals(residuals, batch.num_rows)

    def pull_back(
        self,
        circuit: AnyCircuit,
        arguments: Arguments,
        residuals: SizedResiduals,
        cotangent: ArrayLike,
    ) -> tuple[tuple[ArrayLike | None, ...], tuple[ArrayLike, ...]]:
        """Gradients of the arrays (None for bool arrays) and of the logits for a cotangent of the values."""
        # It may be called where other batches are padded than where `forward` was: on a mesh none are.
        batch = SizedBatch.of(self.signature, arguments, residuals.num_rows)
        cotangent = batch.pad_cotangent(cotangent)
        pulled = pull_back_batch(self.holder, self.signature, circuit, batch.arguments, residuals.arrays, cotangent)
        return batch.cut_gradients(*pulled)

    def proofs(self, circuit: AnyCircuit, arguments: Arguments, on_host: Circuit) -> FoundProofs:
        """The proofs that the provenance keeps; `on_host` is the circuit as NumPy arrays. Nothing may be traced."""
        values, sized = self.forward(circuit, arguments)
        residuals = sized.arrays
        refuse_traced_proofs(jax.tree.leaves(residuals))
        if residuals is None:
            return []
        num_samples = 1 if self.signature.is_union else len(values)
        ranks, bit_sets = map(np.asarray, self.signature.provenance.proof_sets(residuals.tags)[:2])
        return read_proofs((ranks[..., :num_samples], bit_sets[..., :num_samples]), on_host)
