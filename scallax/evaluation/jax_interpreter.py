"""The interpreter of a circuit that computes with arrays by functions that JAX compiles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, final

import jax
import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.literals import read_proofs
from scallax.evaluation.batch import AnyCircuit, Arguments, ArrayLike, Signature, is_empty
from scallax.evaluation.cache import Holder
from scallax.evaluation.fold import Residuals
from scallax.evaluation.interpreters import FoundProofs, refuse_traced_proofs
from scallax.evaluation.jax_batch import (
    Step,
    evaluate_batch,
    forward_batch,
    pull_back_batch,
    recover_batch,
    transform_batch,
)
from scallax.evaluation.jax_batch_sizes import SizedBatch, SizedResiduals, run_sized
from scallax.evaluation.numpy_interpreter import NumpyInterpreter

if TYPE_CHECKING:
    from jaxtyping import Array, PyTree


@final
@dataclass(frozen=True, slots=True)
class ArrayInterpreter:
    """Computes with arrays, by functions that are compiled once for a size class and held by `holder`."""

    signature: Signature
    holder: Holder

    def evaluate(self, circuit: AnyCircuit, arguments: Arguments, on_host: Circuit | None = None) -> ArrayLike:
        """The values of the outputs, `[batch, outputs]`, or `[outputs]` of samples side by side.

        With a circuit of NumPy arrays `on_host` NumPy finds their proofs at once.
        """
        if on_host is not None:
            return self.forward(circuit, arguments, on_host)[0]
        run = partial(evaluate_batch, self.holder, self.signature, circuit)
        batch, values = run_sized(self.signature, arguments, run)
        return batch.cut(values)

    def forward(
        self, circuit: AnyCircuit, arguments: Arguments, on_host: Circuit | None = None
    ) -> tuple[ArrayLike, SizedResiduals]:
        """The values of the outputs, and what `pull_back` needs beside the arguments, of all rows of the size class.

        `on_host` as in `evaluate`.
        """
        run = partial(forward_batch, self.holder, self.signature, circuit)
        if on_host is not None:
            run = partial(self._count_proofs, circuit, on_host)
        batch, (values, residuals) = run_sized(self.signature, arguments, run)
        return batch.cut(values), SizedResiduals(residuals, batch.num_rows)

    def _count_proofs(self, circuit: AnyCircuit, on_host: Circuit, arguments: Arguments) -> tuple[Array, PyTree[Array]]:
        if is_empty(self.signature, arguments):
            return forward_batch(self.holder, self.signature, circuit, arguments)
        proofs = NumpyInterpreter(self.signature).output_proofs(on_host, arguments)
        return recover_batch(self.holder, self.signature, circuit, arguments, proofs), Residuals(proofs)

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

    def transform(
        self, circuit: AnyCircuit, steps: tuple[Step, ...], arrays: tuple[ArrayLike, ...], num_arrays: int
    ) -> tuple[ArrayLike, ...]:
        """Derivatives of the values, of first or second order, as `transform_batch` describes them."""
        return transform_batch(self.holder, self.signature, steps, circuit, arrays, num_arrays)

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
