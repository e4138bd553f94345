"""Outputs in torch's sparse layout: those that can be derived."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from scallax.errors import Diagnostic, UnsupportedError
from scallax.grounding.layout import ZERO_ROW
from scallax.reasoner import Reasoner
from scallax.unpacking import PackedOutput


def check_sparse(reasoner: Reasoner) -> None:
    """UnsupportedError for a reasoner whose outputs have no sparse layout: all that is left out of it is 0."""
    name = reasoner.specification.provenance
    if reasoner.is_interpreted or reasoner.returns_proofs:
        raise UnsupportedError(
            Diagnostic(f"outputs of `{name}` are not numbers alone", hint="leave out `sparse_output`")
        )
    if reasoner.absent:
        message = f"what does not hold is not 0 under `{name}`, and what a sparse tensor leaves out is"
        raise UnsupportedError(Diagnostic(message, hint="leave out `sparse_output`"))


def to_sparse(reasoner: Reasoner, values: torch.Tensor) -> Any:
    """The outputs of a call, sparse, from their values `[batch, outputs]`: the columns of what can be derived."""
    num_samples, num_outputs = values.shape
    columns = np.flatnonzero(np.asarray(reasoner.ground_program.outputs)[:num_outputs] != ZERO_ROW)
    if len(columns) < num_outputs:
        values = values[:, torch.from_numpy(columns).to(values.device)]
    samples = np.arange(num_samples).repeat(len(columns))
    entries = samples, np.tile(columns, num_samples)
    return unpack_sparse(reasoner.outputs, reasoner.specification.keyed, values.reshape(-1), entries, num_samples)


def unpack_sparse(
    outputs: Sequence[PackedOutput],
    keyed: bool,
    values: torch.Tensor,
    entries: tuple[np.ndarray, np.ndarray],
    num_samples: int,
) -> Any:
    """The outputs of a call, sparse, from `values` `[entries]`; `entries` are the samples and columns, by these."""
    samples, columns = entries
    results = {}
    for output in outputs:
        size = len(output.tuples)
        chosen = np.flatnonzero((columns >= output.start) & (columns < output.start + size))
        part = values if len(chosen) == len(columns) else values[torch.from_numpy(chosen).to(values.device)]
        axes = [samples[chosen], columns[chosen] - output.start]
        indices, shape = (axes[:1], (num_samples,)) if output.is_single else (axes, (num_samples, size))
        tensor = make_sparse(np.stack(indices), part, shape)
        results[output.relation] = (list(output.tuples), tensor) if output.is_listed else tensor
    return results if keyed else results[outputs[0].relation]


def make_sparse(indices: np.ndarray, values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor of the layout `torch.sparse_coo` of sorted, distinct indices `[axes, entries]`."""
    places = torch.from_numpy(np.ascontiguousarray(indices)).to(values.device)
    return torch.sparse_coo_tensor(places, values, shape, is_coalesced=True, check_invariants=False)
