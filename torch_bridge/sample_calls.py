"""Batches of facts per sample, whose tags are elements of tensors."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from scallax import BatchGrounding, Reasoner
from scallax.errors import InputError
from scallax.evaluation import BatchFacts, SampleLayout
from torch_bridge.autograd import apply
from torch_bridge.dlpack import check_tensor, common_device, from_numpy, precision_and_place
from torch_bridge.facts import TagTensors, find_tags
from torch_bridge.sparse import unpack_sparse
from torch_bridge.tensor_layouts import SampleTensors


def read_tensors(
    reasoner: Reasoner, batch: BatchFacts, logits: tuple[torch.Tensor, ...]
) -> tuple[TagTensors, torch.device]:
    """The tensors that hold the tags, and the device of all tensors. InputError for what is none, or elsewhere."""
    for relation, tensor in batch.arrays.items():
        check_tensor(relation, tensor)
    tags = find_tags(batch.facts)
    named = {f"tags of {batch.facts[0].relation}": tensor for tensor in tags.tensors} if batch.facts else {}
    devices = sorted({str(tensor.device) for tensor in tags.tensors})
    if len(devices) > 1:
        raise InputError(f"the tags are on different devices: {', '.join(devices)}")
    named |= batch.arrays | dict(zip(reasoner.compiled_program.parameter_names, logits, strict=True))
    if batch.tensors is not None:
        named |= {f"{tensor} in facts": tensor for tensor in batch.tensors.tensors}
    return tags, common_device(named)


def ground_batch(reasoner: Reasoner, batch: BatchFacts, tags: TagTensors) -> tuple[BatchGrounding, TagTensors]:
    """The grounding of a batch, and all its tags: those of its facts and those computed of tensors in them.

    InputError for tensors that have no cosine.
    """
    grounding = reasoner.evaluator.layout.ground(batch)
    if not grounding.comparisons:
        return grounding, tags
    assert batch.tensors is not None, "tensors that are compared are in facts"
    computed = batch.tensors.compare(grounding.comparisons)
    if computed.device.type == "cpu" and not computed.isfinite().all():
        place = int((~computed.detach().isfinite()).nonzero()[0])
        pair = grounding.comparisons[place]
        raise InputError(
            f"{pair.left} and {pair.right} in facts have no cosine: an element is not finite, or too large"
        )
    return grounding, tags.with_computed(computed)


def on_host(batch: BatchFacts) -> BatchFacts:
    """The batch with arrays of NumPy for tensors, and for the tags of each relation that has some."""
    tags = find_tags(batch.facts)
    length = sum(part.num_facts for part in batch.facts if part.certain is not None)
    vector = np.asarray(tags.gather([tensor.detach().cpu() for tensor in tags.tensors], length))
    facts, start = [], 0
    for part in batch.facts:
        if part.certain is not None:
            part = replace(part, tag_parts=(vector[start : start + part.num_facts],))
            start += part.num_facts
        facts.append(part)
    return replace(batch, facts=tuple(facts), arrays={name: to_host(name, a) for name, a in batch.arrays.items()})


def to_host(relation: str, tensor: object) -> np.ndarray:
    """The array of a tensor, in float32 if it is of fewer digits. InputError for what is no tensor."""
    tensor = check_tensor(relation, tensor).detach().cpu()
    return (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()


def apply_batch(
    reasoner: Reasoner,
    batch: BatchFacts,
    logits: tuple[torch.Tensor, ...],
    *,
    is_sparse: bool = False,
    asks_evidence: bool = False,
) -> Any:
    """The outputs for facts per sample, differentiable in their tags, in the arrays of mapped inputs and in the logits.

    With `asks_evidence` it is the probability `[samples]` of what was observed instead. `torch.func.vmap`, forward mode
    over gradients and third derivatives raise.
    """
    tags, device = read_tensors(reasoner, batch, logits)
    grounding, tags = ground_batch(reasoner, batch, tags)
    layout = _layout(reasoner, grounding, batch, tags, device, is_sparse=is_sparse)
    tensors = (*tags.tensors, *batch.arrays.values(), *logits)
    if asks_evidence:
        return apply(replace(layout, asks_evidence=True), tensors)[:, 0]
    results = _evaluate(layout, tensors)
    if not layout.evaluator.provenance.traits.returns_proofs:
        return results
    with precision_and_place(tensors):
        return layout.evaluator.with_proofs(results, *layout.to_arrays(tensors, None))


def interpret_batch(reasoner: Reasoner, batch: BatchFacts) -> Any:
    """The outputs for facts per sample, under a provenance of Python objects.

    The provenance gets tags as they are, and scalar tensors for mapped relations. Gradients are torch's.
    """
    entries = list_entries(batch.arrays)
    device = common_device(batch.arrays)
    on_host = replace(batch, arrays={relation: to_host(relation, tensor) for relation, tensor in batch.arrays.items()})
    program = reasoner.evaluator.layout
    evaluator = reasoner.evaluator.with_layout(SampleLayout(program, program.ground(batch), on_host))
    values = evaluator.interpret(evaluator.layout.arrays(), entries)
    return evaluator.unpack(values if values.dtype == object else from_numpy(values).to(device))


def list_entries(tensors: Mapping[str, Any]) -> list[list[list[torch.Tensor]]]:
    """For each relation and sample the scalar tensors of a tensor. InputError for what is none."""
    return [[list(sample.reshape(-1)) for sample in check_tensor(name, tensor)] for name, tensor in tensors.items()]


def apply_tags(
    reasoner: Reasoner,
    grounding: BatchGrounding,
    tags: Mapping[str, torch.Tensor] | torch.Tensor,
    logits: tuple[torch.Tensor, ...],
    *,
    is_sparse: bool = False,
) -> Any:
    """The outputs of a grounded batch for its tags `[facts]`, by relation or as one tensor if there is one."""
    by_relation = SampleLayout(reasoner.evaluator.layout, grounding).name_tags(tags)
    for relation, tensor in by_relation.items():
        if not isinstance(tensor, torch.Tensor):
            raise InputError(f"the tags of `{relation}` are a {type(tensor).__name__}; give a tensor")
    vectors = [by_relation[relation] for relation, _ in grounding.tag_relations]
    ends = np.cumsum([0, *map(len, vectors)]).tolist()
    found = TagTensors(
        tuple(vectors),
        tuple(np.arange(len(vector)) for vector in vectors),
        tuple(np.arange(first, end) for first, end in pairwise(ends)),
        np.zeros(ends[-1]),
    )
    named = dict(zip(reasoner.compiled_program.parameter_names, logits, strict=True))
    device = common_device({**by_relation, **named})
    layout = _layout(reasoner, grounding, None, found, device, is_sparse=is_sparse)
    return _evaluate(layout, (*vectors, *(by_relation[relation] for relation in grounding.mapped), *logits))


def _layout(
    reasoner: Reasoner,
    grounding: BatchGrounding,
    batch: BatchFacts | None,
    tags: TagTensors,
    device: torch.device,
    *,
    is_sparse: bool,
) -> SampleTensors:
    evaluator = reasoner.evaluator
    evaluator = evaluator.with_layout(SampleLayout(evaluator.layout, grounding, batch))
    return SampleTensors(evaluator, tags, device, is_sparse)


def _evaluate(layout: SampleTensors, tensors: Sequence[torch.Tensor]) -> Any:
    """The outputs of a grounded batch."""
    values = apply(layout, tensors)
    if not layout.is_sparse:
        return layout.evaluator.unpack(values)
    samples = layout.evaluator.layout
    return unpack_sparse(
        samples.outputs, samples.keyed, values, layout.grounding.derived[1:], layout.grounding.num_samples
    )
