"""The derivatives of a module's outputs by its inputs and parameters."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from scallax import Reasoner
from scallax.errors import Diagnostic, UnsupportedError
from scallax.evaluation import SampleLayout, has_facts
from scallax.reasoner import Derivatives, check_differentiable, derive
from torch_bridge.dlpack import check_tensor, common_device, common_dtype, precision_and_place
from torch_bridge.observations import OBSERVED
from torch_bridge.operator import is_saved
from torch_bridge.sample_calls import ground_batch, read_tensors
from torch_bridge.sparse import make_sparse
from torch_bridge.tensor_layouts import MappedTensors, SampleTensors
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
    evaluator, program = reasoner.evaluator, reasoner.evaluator.layout
    if has_facts(inputs, disjunctions):
        batch = program.read(inputs, disjunctions, framework=TorchTensors(), arrays=OBSERVED)
        tags, device = read_tensors(reasoner, batch, logits)
        grounding, tags = ground_batch(reasoner, batch, tags)
        tensors = (*tags.tensors, *batch.arrays.values(), *logits)
        of_batch = evaluator.with_layout(SampleLayout(program, grounding, batch))
        with precision_and_place(tensors):
            given = SampleTensors(of_batch, tags, device, is_sparse).to_arrays(tensors, None)
            return derive(of_batch, *given, _maker(tensors, device, is_sparse))
    given = dict(zip(program.mappings, program.order(inputs, OBSERVED), strict=True))
    for relation, tensor in given.items():
        check_tensor(relation, tensor)
    tensors = (*given.values(), *logits)
    named = dict(zip(reasoner.compiled_program.parameter_names, logits, strict=True))
    device = common_device({**given, **named})
    with precision_and_place(tensors):
        given = MappedTensors(evaluator, device).to_arrays(tensors, None)
        return derive(evaluator, *given, _maker(tensors, device, is_sparse))


def _maker(
    tensors: Sequence[torch.Tensor], device: torch.device, is_sparse: bool
) -> Callable[[Derivatives], torch.Tensor]:
    """Makes tensors of derivatives, of the dtype of all `tensors`, or the wider of float32 and float64."""
    dtype = common_dtype(tensors)

    def make(found: Derivatives) -> torch.Tensor:
        values = torch.from_numpy(np.asarray(found.values, np.float64 if dtype is torch.float64 else np.float32))
        values = values.to(device, dtype)
        if is_sparse:
            return make_sparse(found.indices.T, values, found.shape)
        dense = torch.zeros(found.shape, dtype=dtype, device=device)
        dense[tuple(torch.from_numpy(axis).to(device) for axis in found.indices.T)] = values
        return dense

    return make
