"""A batch of facts per sample as a torch autograd function."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import jax
import numpy as np
import torch
from jaxtyping import PyTree

from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.evaluation.batch_grounding import BatchGrounding
from scallax.evaluation.grounding_cache import BatchFacts
from scallax.facts.fact_checks import tag_message
from scallax.facts.fact_table import FactTable
from scallax.reasoner.reasoner import Reasoner
from torch_bridge.autograd import Positional, is_plain
from torch_bridge.dlpack import common_device, from_numpy, precision_and_place, to_jax, to_torch
from torch_bridge.facts import TagTensors, find_tags
from torch_bridge.sparse import unpack_sparse


@dataclass(frozen=True, slots=True)
class _Call:
    """The arguments of an evaluation beside its tensors, which are those that hold tags, then mapped ones, then logits.

    If it `is_sparse`, results are `[entries]`: those that samples can derive, by sample and output.
    """

    reasoner: Reasoner
    grounding: BatchGrounding
    batch: BatchFacts | None
    tags: TagTensors
    device: torch.device
    dtype: torch.dtype
    is_sparse: bool

    def split(self, tensors: Sequence[torch.Tensor]) -> tuple[Sequence, Sequence, Sequence]:
        num_tags, num_mapped = len(self.tags.tensors), len(self.grounding.mapped)
        return tensors[:num_tags], tensors[num_tags : num_tags + num_mapped], tensors[num_tags + num_mapped :]


@dataclass(frozen=True, slots=True)
class _Residuals:
    """The data for the backward pass, opaque to torch: JAX's residuals, None if they were not kept, and the tags."""

    value: PyTree
    tags: np.ndarray | jax.Array


def read_tensors(
    reasoner: Reasoner, batch: BatchFacts, logits: tuple[torch.Tensor, ...]
) -> tuple[TagTensors, torch.device]:
    """The tensors that hold the tags, and the device of all tensors. InputError for what is none, or elsewhere."""
    for relation, tensor in batch.arrays.items():
        if not isinstance(tensor, torch.Tensor):
            raise InputError(f"`{relation}` is a {type(tensor).__name__}; give a tensor")
    tags = find_tags(batch.facts)
    named = {f"tags of {batch.facts[0].relation}": tensor for tensor in tags.tensors} if batch.facts else {}
    devices = sorted({str(tensor.device) for tensor in tags.tensors})
    if len(devices) > 1:
        message = f"the tags are on different devices: {', '.join(devices)}"
        raise InputError(Diagnostic(message, hint="move them to one device first: `tensor.to(device)`"))
    named |= batch.arrays | dict(zip(reasoner.parameter_names, logits, strict=True))
    if batch.tensors is not None:
        named |= {f"{tensor} in facts": tensor for tensor in batch.tensors.tensors}
    return tags, common_device(named)


def ground_batch(reasoner: Reasoner, batch: BatchFacts, tags: TagTensors) -> tuple[BatchGrounding, TagTensors]:
    """The grounding of a batch, and all its tags: those of its facts and those computed of tensors in them.

    InputError for tensors that have no cosine.
    """
    grounding = reasoner.batches.ground(batch)
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
    if not isinstance(tensor, torch.Tensor):
        raise InputError(f"`{relation}` is a {type(tensor).__name__}; give a tensor")
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() and tensor.itemsize < 4 else tensor).numpy()


def apply_batch(
    reasoner: Reasoner, batch: BatchFacts, logits: tuple[torch.Tensor, ...], *, is_sparse: bool = False
) -> Any:
    """The outputs for facts per sample, differentiable in their tags, in the arrays of mapped inputs and in the logits.

    A second derivative, forward mode and `torch.func.vmap` raise.
    """
    tags, device = read_tensors(reasoner, batch, logits)
    grounding, tags = ground_batch(reasoner, batch, tags)
    mapped = tuple(batch.arrays.values())
    values = apply_grounding(reasoner, grounding, batch, tags, mapped, logits, device, is_sparse=is_sparse)
    if not reasoner.returns_proofs:
        return values
    tensors = (*tags.tensors, *mapped, *logits)
    with precision_and_place(tensors):
        call = _Call(reasoner, grounding, batch, tags, device, torch.float32, is_sparse)
        return reasoner.batches.with_proofs(values, grounding, batch, *_to_arrays(call, tensors))


def interpret_batch(reasoner: Reasoner, batch: BatchFacts) -> Any:
    """The outputs for facts per sample, under a provenance of Python objects.

    The provenance gets tags as they are, and scalar tensors for mapped relations. Gradients are torch's.
    """
    entries = []
    for relation, tensor in batch.arrays.items():
        if not isinstance(tensor, torch.Tensor):
            raise InputError(f"`{relation}` is a {type(tensor).__name__}; give a tensor")
        entries.append([list(sample.reshape(-1)) for sample in tensor])
    device = common_device(batch.arrays)
    on_host = replace(batch, arrays={relation: to_jax(tensor) for relation, tensor in batch.arrays.items()})
    grounding = reasoner.batches.ground(batch)
    values = reasoner.batches.interpret(grounding, on_host, entries)
    packed = values if values.dtype == object else from_numpy(values).to(device)
    return reasoner.batches.unpack(grounding, packed, batch)


def apply_grounding(
    reasoner: Reasoner,
    grounding: BatchGrounding,
    batch: BatchFacts | None,
    tags: TagTensors,
    mapped: tuple[torch.Tensor, ...],
    logits: tuple[torch.Tensor, ...],
    device: torch.device,
    *,
    is_sparse: bool = False,
) -> Any:
    """The outputs of a grounded batch."""
    tensors = (*tags.tensors, *mapped, *logits)
    dtypes = {tensor.dtype for tensor in tensors if tensor.dtype.is_floating_point}
    dtype = dtypes.pop() if len(dtypes) == 1 else torch.float64 if torch.float64 in dtypes else torch.float32
    call = _Call(reasoner, grounding, batch, tags, device, dtype, is_sparse)
    keep = torch.is_grad_enabled() and not reasoner.is_discrete and any(tensor.requires_grad for tensor in tensors)
    values = _EvaluateBatch.apply(call, keep, *tensors)[0]
    if not is_sparse:
        return reasoner.batches.unpack(grounding, values, batch)
    outputs, keyed = reasoner.batches.outputs(grounding, batch), reasoner.specification.keyed
    return unpack_sparse(outputs, keyed, values, grounding.derived[1:], grounding.num_samples)


def apply_tags(
    reasoner: Reasoner,
    grounding: BatchGrounding,
    tags: Mapping[str, torch.Tensor] | torch.Tensor,
    logits: tuple[torch.Tensor, ...],
    *,
    is_sparse: bool = False,
) -> Any:
    """The outputs of a grounded batch for its tags `[facts]`, by relation or as one tensor if there is one."""
    by_relation = reasoner.batches.name_tags(grounding, tags)
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
    device = common_device({**by_relation, **dict(zip(reasoner.parameter_names, logits, strict=True))})
    mapped = tuple(by_relation[relation] for relation in grounding.mapped)
    return apply_grounding(reasoner, grounding, None, found, mapped, logits, device, is_sparse=is_sparse)


class _EvaluateBatch(torch.autograd.Function):
    @staticmethod
    def forward(call: _Call, keep: bool, *tensors: torch.Tensor):
        reasoner, grounding = call.reasoner, call.grounding
        tags, arrays, logits = _to_arrays(call, tensors)
        check_batch_tags(reasoner, None if call.batch is None else call.batch.facts, tags)
        with precision_and_place(tensors):
            values, residuals = reasoner.batches.forward(grounding, tags, arrays, logits, keep)
            values, residuals = jax.block_until_ready((values, residuals))
            derived = to_torch(values, call.device)
        sources = grounding.derived[0] if call.is_sparse else grounding.sources[:, : grounding.num_outputs]
        results = _take(derived, sources, reasoner.absent)
        kept = _Residuals(residuals, tags)
        return results if reasoner.is_discrete else results.to(call.dtype), kept

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.call, _, *tensors = inputs
        values, ctx.residuals = output
        # Saved tensors let torch notice an input that is changed in place before the backward pass.
        ctx.save_for_backward(*tensors)
        if ctx.call.reasoner.is_discrete:
            ctx.mark_non_differentiable(values)

    @staticmethod
    def backward(ctx, *cotangents):
        pull_back = _PullBackBatch.forward if is_plain() else _PullBackBatch.apply
        return None, None, *pull_back(ctx.call, ctx.residuals, cotangents[0], *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx, *tangents):
        raise UnsupportedError(
            Diagnostic(
                "forward-mode derivatives of a reasoner are not supported", hint="use reverse mode: torch.func.jacrev"
            )
        )


_EvaluateBatch.forward.__signature__ = Positional()  # pyright: ignore[reportFunctionMemberAccess]


class _PullBackBatch(torch.autograd.Function):
    """The gradients of the tensors; a function of its own so that a derivative of it can be refused."""

    @staticmethod
    def forward(call: _Call, residuals: _Residuals, cotangent: torch.Tensor, *tensors: torch.Tensor):
        grounding = call.grounding
        _, mapped, trained = call.split(tensors)
        arrays, logits = tuple(map(to_jax, mapped)), tuple(map(to_jax, trained))
        places = grounding.places
        missing = grounding.num_columns - grounding.num_outputs
        if call.is_sparse:
            places = np.full_like(places, len(cotangent))
            places[grounding.derived[0]] = np.arange(len(cotangent))
        elif missing:
            cotangent = torch.nn.functional.pad(cotangent, (0, missing))
        double = torch.float64 in {tensor.dtype for tensor in tensors}
        derived = _take(cotangent.reshape(-1).to(torch.float64 if double else torch.float32), places, 0.0)
        with precision_and_place(tensors):
            pulled = call.reasoner.batches.pull_back(
                grounding, residuals.tags, arrays, residuals.value, to_jax(derived), logits
            )
            jax.block_until_ready(pulled)
            of_tags = call.tags.scatter(pulled[0], call.split(tensors)[0], call.device)
            rest = [None if g is None else to_torch(g, call.device) for g in (*pulled[1], *pulled[2])]
        return (*of_tags, *rest)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *cotangents):
        raise UnsupportedError("second derivatives of a reasoner are not supported")

    @staticmethod
    def jvp(ctx, *tangents):
        raise UnsupportedError("second derivatives of a reasoner are not supported")


_PullBackBatch.forward.__signature__ = Positional()  # pyright: ignore[reportFunctionMemberAccess]


def _to_arrays(call: _Call, tensors: Sequence[torch.Tensor]) -> tuple[Any, tuple, tuple]:
    tags, mapped, logits = call.split(tensors)
    vector = call.tags.gather(tags, call.grounding.padded_tags)
    return vector, tuple(map(to_jax, mapped)), tuple(map(to_jax, logits))


def check_batch_tags(reasoner: Reasoner, facts: Sequence[FactTable] | None, tags: Any) -> None:
    """InputError for a tag on the CPU that is not finite, a warning for one outside [0, 1]."""
    if not isinstance(tags, np.ndarray):
        return
    finite = np.isfinite(tags)
    if not finite.all():
        place = int(np.flatnonzero(~finite)[0])
        if facts is None:
            raise InputError(f"tag {place} of the batch is {tags[place]}; a tag is a finite number")
        raise InputError(tag_message(facts, place, f"has the tag {tags[place]}; a tag is a finite number"))
    if facts is not None:
        reasoner.check_tags(facts, tags)


def _take(values: torch.Tensor, places: np.ndarray, absent: float) -> torch.Tensor:
    """The values at some places, `absent` for a place behind their end."""
    if values.device.type == "cpu":
        host = values.detach().numpy()
        # NumPy gathers several times as fast as torch.
        return torch.from_numpy(np.append(host, np.full(1, absent, host.dtype)).take(places, mode="clip"))
    return torch.cat([values, values.new_full((1,), absent)])[torch.from_numpy(places).to(values.device)]
