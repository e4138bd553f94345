"""Outputs in torch's sparse layout: those that can be derived."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from scallax import Reasoner
from scallax.errors import Diagnostic, UnsupportedError
from scallax.evaluation import Output


def check_sparse(reasoner: Reasoner) -> None:
    """UnsupportedError for a reasoner whose outputs have no sparse layout: all that is left out of it is 0."""
    name = reasoner.specification.provenance
    if reasoner.evaluator.is_interpreted or reasoner.evaluator.provenance.traits.returns_proofs:
        raise UnsupportedError(
            Diagnostic(f"outputs of `{name}` are not numbers alone", hint="leave out `sparse_output`")
        )
    if reasoner.evaluator.provenance.absent:
        message = f"what does not hold is not 0 under `{name}`, and what a sparse tensor leaves out is"
        raise UnsupportedError(Diagnostic(message, hint="leave out `sparse_output`"))


def to_sparse(reasoner: Reasoner, values: torch.Tensor) -> Any:
    """The outputs of a call, sparse, from their values `[batch, outputs]`: the columns of what can be derived."""
    num_samples, num_outputs = values.shape
    layout = reasoner.evaluator.layout
    columns = layout.derivable
    if len(columns) < num_outputs:
        values = values[:, torch.from_numpy(columns).to(values.device)]
    samples = np.arange(num_samples).repeat(len(columns))
    entries = samples, np.tile(columns, num_samples)
    return unpack_sparse(layout.outputs, layout.keyed, values.reshape(-1), entries, num_samples)


def unpack_sparse(
    outputs: Sequence[Output],
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


@dataclass(frozen=True, slots=True)
class _Row:
    """One sample's outputs: values `[entries]` at some columns of `shape`, ascending; one number without a shape."""

    columns: np.ndarray
    values: torch.Tensor
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Rows:
    """A sparse output `[samples, ...]` by sample."""

    indices: np.ndarray
    values: torch.Tensor
    shape: tuple[int, ...]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, sample: int) -> _Row:
        first, end = np.searchsorted(self.indices[0], [sample, sample + 1]).tolist()
        columns = self.indices[1, first:end] if len(self.shape) > 1 else np.zeros(end - first, np.int64)
        return _Row(columns, self.values[first:end], self.shape[1:])


def in_rows(results: Mapping[str, Any]) -> dict[str, Any]:
    """Sparse outputs by relation as `scallax.facts.outputs.choose` takes them."""
    return {
        name: (part[0], _by_row(part[1])) if isinstance(part, tuple) else _by_row(part)
        for name, part in results.items()
    }


def take_places(row: _Row, places: Sequence[int]) -> _Row:
    """The outputs at some places, none at -1."""
    wanted = np.array(places, np.int64)
    place_of = np.full(row.shape[0], -1)
    place_of[wanted[wanted >= 0]] = np.flatnonzero(wanted >= 0)
    columns = place_of[row.columns]
    order = np.argsort(columns)
    return _Row(columns[order], row.values[torch.from_numpy(order).to(row.values.device)], (len(places),))


def stack_rows(rows: Sequence[_Row]) -> torch.Tensor:
    """The outputs `[samples, ...]` of some samples, sparse."""
    samples = np.arange(len(rows)).repeat([len(row.columns) for row in rows])
    axes = [samples, np.concatenate([row.columns for row in rows])][: 1 + len(rows[0].shape)]
    return make_sparse(np.stack(axes), torch.cat([row.values for row in rows]), (len(rows), *rows[0].shape))


def _by_row(tensor: torch.Tensor) -> _Rows:
    return _Rows(tensor.indices().cpu().numpy(), tensor.values(), tuple(tensor.shape))


def make_sparse(indices: np.ndarray, values: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
    """A tensor of the layout `torch.sparse_coo` of sorted, distinct indices `[axes, entries]`."""
    places = torch.from_numpy(np.ascontiguousarray(indices)).to(values.device)
    return torch.sparse_coo_tensor(places, values, shape, is_coalesced=True, check_invariants=False)
