"""Derivatives of an evaluator as torch functions: forward mode, and second derivatives by either mode.

`autograd` has values and gradients, in functions of their own that keep what JAX made on the way. All else that torch
may ask is a transformation of the values that JAX makes and compiles (`Evaluator.transform`): a list of steps, to which
each derivative adds one, and `torch.func.vmap` another.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import torch

from scallax.errors import Diagnostic, UnsupportedError
from torch_bridge.dlpack import precision_and_place, to_jax, to_torch
from torch_bridge.tensor_layouts import AbstractTensorLayout, MappedTensors

Steps: TypeAlias = "tuple[tuple[str, Any], ...]"


def push(layout: AbstractTensorLayout, tensors: Sequence[torch.Tensor], tangents: Sequence[Any]) -> torch.Tensor:
    """The tangents of the results of a call for those of its tensors, None for zero."""
    given = [torch.zeros_like(x) if t is None else t for x, t in zip(tensors, tangents, strict=True)]
    arrays = layout.to_differentiable(tensors)
    moved = _tangents(arrays, layout.to_differentiable(given, are_tangents=True))
    (tangent,) = _extend(layout, (), "push", arrays, moved)
    return layout.from_differentiable(tangent, tensors, are_tangents=True)


def push_gradients(
    layout: AbstractTensorLayout, arguments: Sequence[torch.Tensor], tangents: Sequence[Any]
) -> tuple[torch.Tensor, ...]:
    """The tangents of the gradients for those of the tensors and of the cotangent behind them."""
    if not isinstance(layout, MappedTensors):
        hint = "use reverse mode: torch.autograd.grad with `create_graph=True`"
        raise UnsupportedError(
            Diagnostic("forward mode over gradients of facts per sample is not supported", hint=hint)
        )
    return _extend(layout, _pulled(len(arguments) - 1), "push", arguments, _tangents(arguments, tangents))


def pull_gradients(
    layout: AbstractTensorLayout, arguments: Sequence[torch.Tensor], cotangents: Sequence[torch.Tensor | None]
) -> list[torch.Tensor | None]:
    """The gradients by the tensors and the cotangent behind them for cotangents of the gradients, in turn."""
    tensors = arguments[:-1]
    floats = [place for place, tensor in enumerate(tensors) if tensor.is_floating_point()]
    given = [torch.zeros_like(tensors[place]) if (c := cotangents[place]) is None else c for place in floats]
    if isinstance(layout, MappedTensors):
        found = iter(_extend(layout, _pulled(len(tensors)), "pull", arguments, given))
        return [next(found) if argument.is_floating_point() else None for argument in arguments]
    # Operations of torch stand around the evaluator.
    with torch.enable_grad():
        own = [tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in arguments]
        arrays = layout.to_differentiable(own[:-1])
        (values,) = _Transform.apply(layout, (), *arrays)
        results = layout.from_differentiable(values, own[:-1])
        wanted = [own[place] for place in floats]
        gradients = torch.autograd.grad(results, wanted, own[-1], create_graph=True, allow_unused=True)
        known = [(g, c) for g, c in zip(gradients, given, strict=True) if g is not None and g.requires_grad]
        inputs = [tensor for tensor in own if tensor.requires_grad]
        pulled = iter(_pull(known, inputs))
    return [next(pulled) if tensor.requires_grad else None for tensor in own]


def _pull(known: Sequence[tuple[torch.Tensor, torch.Tensor]], inputs: Sequence[torch.Tensor]) -> Sequence[Any]:
    if not known:
        return [None] * len(inputs)
    gradients, cotangents = zip(*known, strict=True)
    return torch.autograd.grad(gradients, inputs, cotangents, allow_unused=True)


def _pulled(size: int) -> Steps:
    """The steps of the gradients of a function of so many tensors."""
    return (("pull", size),)


def _tangents(tensors: Sequence[torch.Tensor], tangents: Sequence[Any]) -> list[torch.Tensor]:
    """The tangents of the tensors of floats, zeros for None."""
    pairs = zip(tensors, tangents, strict=True)
    return [torch.zeros_like(x) if t is None else t for x, t in pairs if x.is_floating_point()]


def _extend(
    layout: AbstractTensorLayout,
    steps: Steps,
    kind: str,
    arguments: Sequence[torch.Tensor],
    others: Sequence[torch.Tensor],
) -> tuple[torch.Tensor, ...]:
    """The results of a derivative of the function of some steps, by its arguments and their tangents or cotangents."""
    if sum(step[0] != "map" for step in steps) > 1:
        raise UnsupportedError(
            Diagnostic("third derivatives of a reasoner are not supported", hint="detach what is differentiated again")
        )
    return _Transform.apply(layout, (*steps, (kind, len(arguments))), *arguments, *others)


class _Transform(torch.autograd.Function):
    """The results of the evaluator's transformation by some steps, for tensors of its arrays and logits, and more."""

    @staticmethod
    def forward(layout: AbstractTensorLayout, steps: Steps, *tensors: torch.Tensor):
        with precision_and_place(tensors):
            arrays = tuple(map(to_jax, tensors))
            found = layout.evaluator.transform(steps, arrays, layout.num_arrays)
            # A computation still in flight would read inputs that the caller may change.
            jax.block_until_ready(found)
            return tuple(to_torch(array, layout.device) for array in found)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.layout, ctx.steps, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        found = iter(_extend(ctx.layout, ctx.steps, "pull", tensors, cotangents))
        return None, None, *(next(found) if tensor.is_floating_point() else None for tensor in tensors)

    @staticmethod
    def jvp(ctx, *tangents):
        tensors = ctx.saved_tensors
        return _extend(ctx.layout, ctx.steps, "push", tensors, _tangents(tensors, tangents[2:]))

    @staticmethod
    def vmap(info, in_dims, layout, steps, *tensors):
        found = _Transform.apply(layout, (*steps, ("map", tuple(in_dims[2:]))), *tensors)
        return found, (0,) * len(found)
