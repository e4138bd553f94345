"""A reasoner as a torch autograd function."""

import inspect
from collections.abc import Sequence

import jax
import torch
from jaxtyping import PyTree

from scallax.errors import Diagnostic, UnsupportedError
from scallax.reasoner import Reasoner
from torch_bridge.tensors import precision_and_place, to_jax, to_torch


class _Residuals:
    """What JAX keeps for the backward pass; opaque to torch. `value` is None if nothing was kept."""

    __slots__ = ("value",)

    def __init__(self, value: PyTree):
        self.value = value


def apply(reasoner: Reasoner, tensors: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The reasoner's values `[batch, outputs]` for tensors in the order of its inputs, differentiable in every tensor.

    Values are ready when it returns. Works under `torch.func.grad`, `vjp`, `jacrev` and `vmap`; a second derivative and
    forward mode raise UnsupportedError. Without a need for gradients nothing is kept.
    """
    keep = torch.is_grad_enabled() and not reasoner.is_discrete and any(tensor.requires_grad for tensor in tensors)
    return _Evaluate.apply(reasoner, keep, *tensors)[0]


class _Evaluate(torch.autograd.Function):
    @staticmethod
    def forward(reasoner: Reasoner, keep: bool, *tensors: torch.Tensor):
        device = tensors[0].device if tensors else torch.device("cpu")
        with precision_and_place(tensors):
            arrays = [to_jax(tensor) for tensor in tensors]
            results = reasoner.forward(arrays) if keep else (reasoner.evaluate(arrays), None)
            # A computation still in flight would read inputs that the caller may change.
            values, residuals = jax.block_until_ready(results)
            return to_torch(values, device), _Residuals(residuals)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.reasoner, _, *tensors = inputs
        values, ctx.residuals = output
        # Saved tensors let torch notice an input that is changed in place before the backward pass.
        ctx.save_for_backward(*tensors)
        if ctx.reasoner.is_discrete:
            ctx.mark_non_differentiable(values)

    @staticmethod
    def backward(ctx, *cotangents):
        return None, None, *_PullBack.apply(ctx.reasoner, ctx.residuals, cotangents[0], *ctx.saved_tensors)

    @staticmethod
    def jvp(ctx, *tangents):
        raise UnsupportedError(
            Diagnostic(
                "forward-mode derivatives of a reasoner are not supported", hint="use reverse mode: torch.func.jacrev"
            )
        )

    @staticmethod
    def vmap(info, in_dims, *arguments):
        reasoner, keep, *tensors = arguments
        folded = _fold(reasoner, info.batch_size, in_dims[2:], tensors)
        values, residuals = _Evaluate.apply(reasoner, keep, *folded)
        return (_unfold(values, info.batch_size), residuals), (0, None)


# Torch binds the arguments of every call to this signature, and would inspect the function for it each time.
_Evaluate.forward.__signature__ = inspect.signature(_Evaluate.forward)  # pyright: ignore[reportFunctionMemberAccess]


class _PullBack(torch.autograd.Function):
    """The gradients of the inputs; a function of its own so that a derivative of it can be refused."""

    @staticmethod
    def forward(reasoner: Reasoner, residuals: _Residuals, cotangent: torch.Tensor, *tensors: torch.Tensor):
        with precision_and_place(tensors):
            arrays = [to_jax(tensor) for tensor in tensors]
            kept = residuals.value
            if kept is None:
                _, kept = reasoner.forward(arrays)
            gradients = jax.block_until_ready(reasoner.pull_back(arrays, kept, to_jax(cotangent)))
            return tuple(None if g is None else to_torch(g, cotangent.device) for g in gradients)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, *cotangents):
        raise UnsupportedError("second derivatives of a reasoner are not supported")

    @staticmethod
    def jvp(ctx, *tangents):
        raise UnsupportedError("second derivatives of a reasoner are not supported")

    @staticmethod
    def vmap(info, in_dims, *arguments):
        reasoner, _, cotangent, *tensors = arguments
        # The residuals may be those of fewer samples than the cotangents: the forward pass is run again.
        folded = _fold(reasoner, info.batch_size, in_dims[3:], tensors)
        cotangent = _fold_one(cotangent, in_dims[2], info.batch_size)
        gradients = _PullBack.apply(reasoner, _Residuals(None), cotangent, *folded)
        return tuple(None if g is None else _unfold(g, info.batch_size) for g in gradients), tuple(
            None if g is None else 0 for g in gradients
        )


_PullBack.forward.__signature__ = inspect.signature(_PullBack.forward)  # pyright: ignore[reportFunctionMemberAccess]


def _fold(reasoner: Reasoner, size: int, dims: tuple, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Tensors with the mapped axis folded into the batch: samples are independent."""
    stacked = [_to_front(tensor, dim, size) for tensor, dim in zip(tensors, dims, strict=True)]
    reasoner.check_shapes([tuple(tensor.shape[1:]) for tensor in stacked])
    return [tensor.flatten(0, 1) for tensor in stacked]


def _fold_one(tensor: torch.Tensor, dim: int | None, size: int) -> torch.Tensor:
    return _to_front(tensor, dim, size).flatten(0, 1)


def _to_front(tensor: torch.Tensor, dim: int | None, size: int) -> torch.Tensor:
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _unfold(tensor: torch.Tensor, size: int) -> torch.Tensor:
    return tensor.reshape(size, tensor.shape[0] // max(size, 1), *tensor.shape[1:])
