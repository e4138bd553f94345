"""The derivatives of a module's outputs by its inputs and parameters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.evaluation.grounding_cache import has_facts
from scallax.reasoner.jacobian import Derivatives, check_differentiable, derive, derive_batch
from scallax.reasoner.reasoner import Reasoner
from torch_bridge.dlpack import common_device, precision_and_place, to_jax
from torch_bridge.operator import is_saved
from torch_bridge.sample_autograd import check_batch_tags, ground_batch, read_tensors
from torch_bridge.sparse import make_sparse
from torch_bridge.variables import TorchTensors


def find_jacobian(
    reasoner: Reasoner,
    inputs: Mapping[str, Any],
    disjunctions: Mapping[str, Sequence] | None,
    logits: tuple[torch.Tensor, ...],
    *,
    is_sparse: bool,
) -> Any:
    """The derivatives of the outputs by inputs and logits; see `scallax.jacobian`.

    UnsupportedError inside of graphs and of torch's transformations.
    """
    if torch.compiler.is_compiling() or is_saved() or torch._C._are_functorch_transforms_active():
        hint = "call it outside, or use `torch.func.jacrev` of the module"
        raise UnsupportedError(Diagnostic("a graph, or a transformed function, cannot hold `jacobian`", hint=hint))
    check_differentiable(reasoner)
    named = dict(zip(reasoner.parameter_names, logits, strict=True))
    if has_facts(inputs, disjunctions):
        batch = reasoner.batches.read(inputs, disjunctions, framework=TorchTensors())
        tags, device = read_tensors(reasoner, batch, logits)
        grounding, tags = ground_batch(reasoner, batch, tags)
        tensors = (*tags.tensors, *batch.arrays.values(), *logits)
        with precision_and_place(tensors):
            vector = tags.gather(tags.tensors, grounding.padded_tags)
            check_batch_tags(reasoner, batch.facts, vector)
            arrays = tuple(map(to_jax, batch.arrays.values()))
            trained = tuple(map(to_jax, logits))
            return derive_batch(reasoner, grounding, batch, vector, arrays, trained, _maker(tensors, device, is_sparse))
    tensors = reasoner.order(inputs)
    for relation, tensor in inputs.items():
        if not isinstance(tensor, torch.Tensor):
            raise InputError(f"`{relation}` is a {type(tensor).__name__}; give a tensor")
    device = common_device({**inputs, **named})
    with precision_and_place((*tensors, *logits)):
        make = _maker((*tensors, *logits), device, is_sparse)
        return derive(reasoner, tuple(map(to_jax, tensors)), tuple(map(to_jax, logits)), make)


def _maker(
    tensors: Sequence[torch.Tensor], device: torch.device, is_sparse: bool
) -> Callable[[Derivatives], torch.Tensor]:
    """Makes tensors of derivatives, of the dtype of all `tensors`, or the wider of float32 and float64."""
    dtypes = {tensor.dtype for tensor in tensors if tensor.dtype.is_floating_point}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float64 if torch.float64 in dtypes else torch.float32

    def make(found: Derivatives) -> torch.Tensor:
        values = torch.from_numpy(np.asarray(found.values, np.float64 if dtype is torch.float64 else np.float32))
        values = values.to(device, dtype)
        if is_sparse:
            return make_sparse(found.indices.T, values, found.shape)
        dense = torch.zeros(found.shape, dtype=dtype, device=device)
        dense[tuple(torch.from_numpy(axis).to(device) for axis in found.indices.T)] = values
        return dense

    return make
