"""The interpreter of a circuit that computes with arrays of NumPy at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, final

import numpy as np

from scallax.circuits.circuit import Circuit
from scallax.circuits.literals import read_proofs
from scallax.evaluation.batch import Arguments, Signature, batch_size, is_empty, output_dtype
from scallax.evaluation.conditioning import given_evidence, observed_cases
from scallax.evaluation.interpreters import FoundProofs
from scallax.evaluation.jax_values import canonical_dtype
from scallax.evaluation.log_numbers import as_computed
from scallax.evaluation.logits import host_log_probabilities, host_probabilities
from scallax.evaluation.moves import computing_dtype, pad_rows
from scallax.evaluation.numpy_executor import evaluate, evaluate_tags, output_proofs
from scallax.evaluation.retention import retained_entries
from scallax.provenance.proofs.dnf import ProofSets

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Shaped


@final
@dataclass(frozen=True, slots=True)
class NumpyInterpreter:
    """Computes with arrays of NumPy, at once; arguments of JAX are read. Nothing may be traced."""

    signature: Signature

    def evaluate(self, circuit: Circuit | None, arguments: Arguments) -> Shaped[np.ndarray, "*batch outputs"]:
        """The values of the outputs, `[batch, outputs]`, or `[outputs]` of samples side by side.

        `circuit` is None if it has no outputs.
        """
        signature = self.signature
        dtype = canonical_dtype(output_dtype(signature, arguments))
        if circuit is None or is_empty(signature, arguments):
            shape = () if signature.is_union else (batch_size(signature, arguments),)
            return np.zeros((*shape, signature.num_outputs), dtype)
        values = evaluate(signature.provenance, *self._inputs(circuit, arguments))
        # A number that is too large for the outputs' dtype is infinite, as in JAX.
        with np.errstate(all="ignore"):
            if circuit.evidence is not None:
                values = given_evidence(values, circuit.evidence, signature.provenance.traits.is_log)
            values = values[: signature.num_outputs].T.astype(dtype)
        return values[0] if signature.is_union else values

    def proofs(self, circuit: Circuit | None, arguments: Arguments) -> FoundProofs:
        """The proofs that the provenance keeps."""
        if circuit is None or is_empty(self.signature, arguments):
            return []
        provenance = self.signature.provenance
        tags = evaluate_tags(provenance, *self._inputs(circuit, arguments))
        return read_proofs(provenance.proof_sets(tags), circuit)

    def output_proofs(self, circuit: Circuit, arguments: Arguments) -> ProofSets:
        """The tags of the outputs as compiled code has them."""
        return output_proofs(self.signature.provenance, *self._inputs(circuit, arguments))

    def _inputs(
        self, circuit: Circuit, arguments: Arguments
    ) -> tuple[Circuit, Float[np.ndarray, "inputs batch"], Bool[np.ndarray, "inputs batch"]]:
        """The circuit with its seed on the host, all inputs, and which of them exist."""
        seed = np.asarray(circuit.seed)
        return replace(circuit, seed=seed), *self._columns(circuit, arguments, int(seed))

    def _columns(
        self, circuit: Circuit, arguments: Arguments, seed: int
    ) -> tuple[Float[np.ndarray, "inputs batch"], Bool[np.ndarray, "inputs batch"]]:
        """All inputs and which of them exist, one row for each entry of each mapping, then one for each trained one."""
        dtype = canonical_dtype(computing_dtype((*arguments.arrays, *arguments.logits)))
        signature, batch = self.signature, batch_size(self.signature, arguments)
        values, masks = [], []
        for number, (array, retention) in enumerate(zip(arguments.arrays, signature.retentions, strict=True)):
            value = np.asarray(array).astype(dtype)
            mask = np.ones(value.shape, bool)
            if retention is not None:
                mask = retained_entries(retention, value, seed, number)
            if number and signature.num_rows is not None:
                value, mask = (pad_rows(rows, signature.num_rows) for rows in (value, mask))
            # In a union, samples follow each other in one column.
            value, mask = value.reshape(batch, -1), mask.reshape(batch, -1)
            if signature.is_observed(number):
                value, mask = observed_cases(value)
            with np.errstate(all="ignore"):
                value = as_computed(signature, number, value)
            values.append(value.T)
            masks.append(mask.T)
        if arguments.logits:
            values.append(self._trained_columns(circuit, arguments, batch, dtype))
            masks.append(np.ones(values[-1].shape, bool))
        if not values:
            return np.zeros((0, batch), dtype), np.zeros((0, batch), bool)
        return np.concatenate(values), np.concatenate(masks)

    def _trained_columns(
        self, circuit: Circuit, arguments: Arguments, batch: int, dtype: np.dtype
    ) -> Float[np.ndarray, "trained batch"]:
        """The trained inputs, as the provenance computes with them; logits may be for all samples, or for each."""
        assert circuit.trained is not None
        rows = []
        for array, shape in zip(arguments.logits, self.signature.logit_shapes, strict=True):
            each = np.asarray(array).astype(dtype)
            each = each.reshape(*each.shape[: each.ndim - len(shape)], -1)
            rows.append(np.broadcast_to(each, (batch, each.shape[-1])).T)
        find = host_log_probabilities if self.signature.provenance.traits.is_log else host_probabilities
        return find(np.concatenate(rows), circuit.trained.logit_groups)[circuit.trained.slots]
