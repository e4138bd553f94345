"""Facts with tensors as tags, in a module that is made from a context."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from scallax import FactList
from scallax.context import Draft
from scallax.facts import Tuples
from torch_bridge.dlpack import common_device, computing_dtype


def stack_tags(tags: Sequence[Any]) -> torch.Tensor:
    """Tags, numbers and tensors of one or several, as one vector `[tags]`; float64 if a tensor is, else float32."""
    tensors = [tag for tag in tags if isinstance(tag, torch.Tensor)]
    device = common_device({f"tag {i}": tensor for i, tensor in enumerate(tensors)})
    dtype = computing_dtype(tensors)
    return torch.cat([torch.as_tensor(tag, dtype=dtype, device=device).reshape(-1) for tag in tags])


def join_tags(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Joins vectors into one; float64 if one of them is, on the device of the last."""
    return torch.cat([part.to(parts[-1].device, computing_dtype(parts)) for part in parts])


def bound_tags(draft: Draft) -> dict[str, torch.Tensor]:
    """The tags of the batches of facts that have tensors as tags, by relation; None counts as 1."""
    tags: dict[str, list[Any]] = {}
    for batch in draft.batches:
        if batch.has_tag(lambda tag: isinstance(tag, torch.Tensor)):
            tags.setdefault(batch.relation, []).extend(1.0 if tag is None else tag for tag in batch.tags)
    return {relation: stack_tags(given) for relation, given in tags.items()}


def with_bound(
    inputs: Mapping[str, Any], bound: Mapping[str, torch.Tensor], tuples: Mapping[str, Tuples]
) -> dict[str, Any]:
    """The inputs of a call, with the facts of the context in every sample.

    A tensor in a call replaces the tags of the facts; `tuples` are the tuples of the facts.
    """
    each = [part for given in inputs.values() for part in (given.values() if isinstance(given, Mapping) else (given,))]
    size = next((len(given.tuples if isinstance(given, FactList) else given) for given in each), 1)
    found = dict(inputs)
    for relation, tags in bound.items():
        given = inputs.get(relation)
        if given is None:
            found[relation] = tags.expand(size, -1)
        elif isinstance(given, list | tuple):
            own = list(zip(tags.unbind(), tuples[relation], strict=True))
            found[relation] = [[*sample, *own] if isinstance(sample, list | tuple) else sample for sample in given]
    return found
