"""An evaluator as a torch autograd function, for whatever layout its tensors have."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import torch
from jaxtyping import PyTree

from scallax.errors import Diagnostic, UnsupportedError
from torch_bridge.dlpack import common_dtype, precision_and_place, to_jax
from torch_bridge.second_derivatives import pull_gradients, push, push_gradients
from torch_bridge.tensor_layouts import AbstractTensorLayout, to_front


class _Bound:
    """Arguments that were given by position, all of them."""

    __slots__ = ("args",)

    kwargs: Mapping = {}

    def __init__(self, args: tuple):
        self.args = args

    def apply_defaults(self) -> None:
        """Nothing: no argument was left out."""


class Positional(inspect.Signature):
    """The signature of a function of positional arguments, which binds what it is given without a look."""

    def bind(self, *args, **kwargs) -> _Bound:  # pyright: ignore[reportIncompatibleMethodOverride]
        assert not kwargs
        return _Bound(args)


class Residuals:
    """The data that JAX keeps for the backward pass; opaque to torch.

    `value` is what `Evaluator.pull_back` needs, `arrays` what the layout keeps, `derivatives` `[batch, entries,
    outputs]` are those of `Evaluator.linearize`; None if it was not kept.
    """

    __slots__ = ("_linear", "_values", "arrays", "derivatives", "value")

    def __init__(
        self,
        value: PyTree = None,
        arrays: Any = None,
        linear: jax.Array | None = None,
        values: np.ndarray | None = None,
    ):
        """`linear`, which may not be computed yet, is what `Evaluator.linearize` gave; `finish` writes to `values`."""
        self.value = value
        self.arrays = arrays
        self.derivatives: np.ndarray | None = None
        self._linear = linear
        self._values = values

    def finish(self) -> None:
        """Waits for values and derivatives that are still computed."""
        if self._linear is None or self._values is None:
            return
        found = np.asarray(self._linear)[: len(self._values)]
        self._values[...] = found[:, 0]
        self.derivatives = found[:, 1:]
        self._linear = self._values = None


def is_plain() -> bool:
    """Whether nothing differentiates the gradient that is computed: no graph of it is asked for."""
    return not torch.is_grad_enabled() and not torch._C._are_functorch_transforms_active()


def apply(layout: AbstractTensorLayout, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """The results of a call with tensors of a layout, differentiable in every one.

    Values are ready when it returns. Works under `torch.func.grad`, `vjp`, `jacrev` and, where samples are alike,
    `vmap`, and in forward mode, twice; a third derivative raises UnsupportedError. Without a need for gradients nothing
    is kept.
    """
    is_discrete = layout.evaluator.provenance.traits.is_discrete
    keep = torch.is_grad_enabled() and not is_discrete and any(tensor.requires_grad for tensor in tensors)
    results, residuals = _Evaluate.apply(layout, keep, *tensors)
    residuals.finish()
    return results


def evaluate_tensors(
    layout: AbstractTensorLayout, keep: bool, tensors: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, Residuals]:
    """The results of a call, and what is kept for their gradients, if it is to be kept."""
    evaluator = layout.evaluator
    with precision_and_place(tensors):
        arrays, logits = layout.to_arrays(tensors, None)
        linear = evaluator.linearize(arrays) if keep and layout.device.type == "cpu" else None
        if linear is not None:
            return _start_linear(linear, tensors)
        if keep:
            values, residuals = evaluator.forward(arrays, logits)
        else:
            values, residuals = evaluator.evaluate(arrays, logits), None
        # A computation still in flight would read inputs that the caller may change; it ends for all its results.
        jax.block_until_ready(values)
        return layout.to_results(values, tensors), Residuals(residuals, layout.keep(arrays) if keep else None)


def _start_linear(linear: jax.Array, tensors: Sequence[torch.Tensor]) -> tuple[torch.Tensor, Residuals]:
    """The values of `Evaluator.linearize`, which may still be computed, and the derivatives as residuals."""
    host = np.empty((tensors[0].shape[0], linear.shape[2]), linear.dtype)
    values, residuals = torch.from_numpy(host), Residuals(linear=linear, values=host)
    dtype = common_dtype(tensors)
    if dtype is values.dtype:
        # Torch makes a node of the values while they are computed.
        return values, residuals
    residuals.finish()
    return values.to(dtype), residuals


def pull_back_tensors(
    layout: AbstractTensorLayout, residuals: Residuals, cotangent: torch.Tensor, tensors: Sequence[torch.Tensor]
) -> tuple[torch.Tensor | None, ...]:
    """The gradients of the tensors for a cotangent of the results; evaluates again if nothing was kept."""
    evaluator = layout.evaluator
    with precision_and_place(tensors or (cotangent,)):
        arrays, logits = layout.to_arrays(tensors, residuals.arrays)
        kept = residuals.value
        if kept is None:
            _, kept = evaluator.forward(arrays, logits)
        pulled = evaluator.pull_back(arrays, kept, layout.to_cotangent(cotangent, tensors), logits)
        jax.block_until_ready(next((g for part in pulled for g in part if g is not None), None))
        return layout.to_gradients(pulled, tensors)


def _multiply(
    derivatives: np.ndarray, cotangent: torch.Tensor, tensors: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    """The gradients of the inputs for a cotangent `[batch, outputs]`, by the derivatives that were kept."""
    rows = to_jax(cotangent).astype(derivatives.dtype, copy=False)
    by_entry = np.matmul(derivatives, rows[:, :, None])
    gradients, start = [], 0
    for tensor in tensors:
        shape = tensor.shape
        size = math.prod(shape[1:])
        part = torch.from_numpy(by_entry[:, start : start + size].reshape(shape))
        gradients.append(part.to(tensor.dtype))
        start += size
    return gradients


class _Evaluate(torch.autograd.Function):
    """The results of a call."""

    @staticmethod
    def forward(layout: AbstractTensorLayout, keep: bool, *tensors: torch.Tensor):
        return evaluate_tensors(layout, keep, tensors)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.layout, _, *tensors = inputs
        values, ctx.residuals = output
        if not ctx.layout.is_repeatable:
            # Saved tensors let torch notice an input that is changed in place before the backward pass.
            ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)
        if ctx.layout.evaluator.provenance.traits.is_discrete:
            ctx.mark_non_differentiable(values)

    @staticmethod
    def backward(ctx, *cotangents):
        plain = is_plain()
        # Torch refuses to be asked for them, be they none, in a second backward pass.
        tensors = () if ctx.layout.is_repeatable else ctx.saved_tensors
        if plain and ctx.residuals.derivatives is not None:
            return None, None, *_multiply(ctx.residuals.derivatives, cotangents[0], tensors)
        pull_back = _PullBack.forward if plain else _PullBack.apply
        return None, None, *pull_back(ctx.layout, ctx.residuals, cotangents[0], *tensors)

    @staticmethod
    def jvp(ctx, *tangents):
        return push(ctx.layout, ctx.saved_tensors, tangents[2:]), None

    @staticmethod
    def vmap(info, in_dims, *arguments):
        layout, keep, *tensors = arguments
        folded = layout.fold(info.batch_size, in_dims[2:], tensors)
        values, residuals = _Evaluate.apply(layout, keep, *folded)
        residuals.finish()
        return (_unfold(values, info.batch_size), residuals), (0, None)


class _PullBack(torch.autograd.Function):
    """The gradients of the tensors; a function of its own so that it is differentiated in turn."""

    @staticmethod
    def forward(layout: AbstractTensorLayout, residuals: Residuals, cotangent: torch.Tensor, *tensors: torch.Tensor):
        return pull_back_tensors(layout, residuals, cotangent, tensors)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.layout, _, *arguments = inputs
        ctx.save_for_backward(*arguments)
        ctx.save_for_forward(*arguments)

    @staticmethod
    def backward(ctx, *cotangents):
        cotangent, *tensors = ctx.saved_tensors
        if ctx.layout.is_repeatable:
            raise UnsupportedError(
                Diagnostic("second derivatives of a context's tags are not supported", hint="use a torch_bridge.Module")
            )
        *found, of_cotangent = pull_gradients(ctx.layout, (*tensors, cotangent), cotangents)
        return None, None, of_cotangent, *found

    @staticmethod
    def jvp(ctx, *tangents):
        cotangent, *tensors = ctx.saved_tensors
        _, _, of_cotangent, *of_tensors = tangents
        found = iter(push_gradients(ctx.layout, (*tensors, cotangent), (*of_tensors, of_cotangent)))
        return tuple(next(found) if tensor.is_floating_point() else None for tensor in tensors)

    @staticmethod
    def vmap(info, in_dims, *arguments):
        layout, _, cotangent, *tensors = arguments
        # The residuals may be those of fewer samples than the cotangents: the forward pass is run again.
        folded = layout.fold(info.batch_size, in_dims[3:], tensors, each_logit=True)
        cotangent = to_front(cotangent, in_dims[2], info.batch_size).flatten(0, 1)
        gradients = _PullBack.apply(layout, Residuals(), cotangent, *folded)
        parts = [None if g is None else _unfold(g, info.batch_size) for g in gradients]
        logits = layout.evaluator.logits
        for place, own in enumerate(logits, start=len(tensors) - len(logits)):
            # An input that was given once for all samples has one gradient for all of them.
            part = parts[place]
            if part is not None and tensors[place].ndim - (in_dims[3:][place] is not None) == own.ndim:
                parts[place] = part.sum(1)
        return tuple(parts), tuple(None if g is None else 0 for g in gradients)


# Torch binds the arguments of every call to this signature, and would inspect the function for it each time.
_Evaluate.forward.__signature__ = Positional()  # pyright: ignore[reportFunctionMemberAccess]
_PullBack.forward.__signature__ = Positional()  # pyright: ignore[reportFunctionMemberAccess]


def _unfold(tensor: torch.Tensor, size: int) -> torch.Tensor:
    return tensor.reshape(size, tensor.shape[0] // max(size, 1), *tensor.shape[1:])
