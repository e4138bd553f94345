"""A reasoner as a torch autograd function."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import jax
import numpy as np
import torch
from jaxtyping import PyTree

from scallax.errors import Diagnostic, UnsupportedError
from scallax.reasoner.reasoner import Reasoner
from torch_bridge.dlpack import precision_and_place, to_jax, to_torch

T = TypeVar("T")


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


class _Residuals:
    """The data that JAX keeps for the backward pass; opaque to torch.

    `value` is the argument of `Reasoner.pull_back`; `derivatives` `[batch, entries, outputs]` are those of
    `Reasoner.linearize`, or None if they were not kept.
    """

    __slots__ = ("_linear", "_values", "derivatives", "value")

    def __init__(self, value: PyTree = None, linear: jax.Array | None = None, values: np.ndarray | None = None):
        """`linear`, which may not be computed yet, is what `Reasoner.linearize` gave; `finish` writes to `values`."""
        self.value = value
        self.derivatives: np.ndarray | None = None
        self._linear = linear
        self._values = values

    def finish(self) -> None:
        """Waits for values and derivatives that are still computed."""
        if self._linear is None or self._values is None:
            return
        found = np.asarray(self._linear)
        self._values[...] = found[:, 0]
        self.derivatives = found[:, 1:]
        self._linear = self._values = None


def is_plain() -> bool:
    """Whether nothing differentiates the gradient that is computed: no graph of it is asked for."""
    return not torch.is_grad_enabled() and not torch._C._are_functorch_transforms_active()


def apply(reasoner: Reasoner, tensors: tuple[torch.Tensor, ...], logits: tuple[torch.Tensor, ...] = ()) -> torch.Tensor:
    """The reasoner's values `[batch, outputs]`, differentiable in every tensor.

    `tensors` are in the order of its inputs, `logits` in that of its parameters.

    Values are ready when it returns. Works under `torch.func.grad`, `vjp`, `jacrev` and `vmap`; a second derivative and
    forward mode raise UnsupportedError. Without a need for gradients nothing is kept.
    """
    tensors = (*tensors, *logits)
    keep = torch.is_grad_enabled() and not reasoner.is_discrete and any(tensor.requires_grad for tensor in tensors)
    values, residuals = _Evaluate.apply(reasoner, keep, *tensors)
    residuals.finish()
    return values


class _Evaluate(torch.autograd.Function):
    @staticmethod
    def forward(reasoner: Reasoner, keep: bool, *tensors: torch.Tensor):
        device = tensors[0].device if tensors else torch.device("cpu")
        with precision_and_place(tensors):
            arrays = _split(reasoner, [to_jax(tensor) for tensor in tensors])
            residuals = None
            linear = reasoner.linearize(arrays[0]) if keep and device.type == "cpu" else None
            if linear is not None:
                host = np.empty((linear.shape[0], linear.shape[2]), linear.dtype)
                values, residuals = torch.from_numpy(host), _Residuals(linear=linear, values=host)
                dtype = _dtype_of_outputs(tensors)
                if dtype is values.dtype:
                    # Torch makes a node of the values while they are computed.
                    return values, residuals
                residuals.finish()
                return values.to(dtype), residuals
            if keep:
                values, residuals = reasoner.forward(*arrays)
            else:
                values = reasoner.evaluate(*arrays)
            # A computation still in flight would read inputs that the caller may change; it ends for all its results.
            values.block_until_ready()
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
        plain = is_plain()
        if plain and ctx.residuals.derivatives is not None:
            return None, None, *_multiply(ctx.residuals.derivatives, cotangents[0], ctx.saved_tensors)
        pull_back = _PullBack.forward if plain else _PullBack.apply
        return None, None, *pull_back(ctx.reasoner, ctx.residuals, cotangents[0], *ctx.saved_tensors)

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
        residuals.finish()
        return (_unfold(values, info.batch_size), residuals), (0, None)


# Torch binds the arguments of every call to this signature, and would inspect the function for it each time.
_Evaluate.forward.__signature__ = Positional()  # pyright: ignore[reportFunctionMemberAccess]


class _PullBack(torch.autograd.Function):
    """The gradients of the inputs; a function of its own so that a derivative of it can be refused."""

    @staticmethod
    def forward(reasoner: Reasoner, residuals: _Residuals, cotangent: torch.Tensor, *tensors: torch.Tensor):
        with precision_and_place(tensors):
            arrays, logits = _split(reasoner, [to_jax(tensor) for tensor in tensors])
            kept = residuals.value
            if kept is None:
                _, kept = reasoner.forward(arrays, logits)
            pulled = reasoner.pull_back(arrays, kept, to_jax(cotangent), logits)
            gradients = (*pulled[0], *pulled[1])
            jax.block_until_ready(next((g for g in gradients if g is not None), None))
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
        folded = _fold(reasoner, info.batch_size, in_dims[3:], tensors, each_logit=True)
        cotangent = _to_front(cotangent, in_dims[2], info.batch_size).flatten(0, 1)
        gradients = _PullBack.apply(reasoner, _Residuals(), cotangent, *folded)
        parts = [None if g is None else _unfold(g, info.batch_size) for g in gradients]
        for place, shape in enumerate(_logit_shapes(reasoner), start=len(reasoner.input_relations)):
            # An input that was given once for all samples has one gradient for all of them.
            part = parts[place]
            if part is not None and tensors[place].ndim - (in_dims[3:][place] is not None) == len(shape):
                parts[place] = part.sum(1)
        return tuple(parts), tuple(None if g is None else 0 for g in gradients)


def _dtype_of_outputs(tensors: Sequence[torch.Tensor]) -> torch.dtype:
    """The dtype of all tensors, or the wider of float32 and float64 if they differ; see `output_dtype` of `batch`."""
    first, *others = (tensor.dtype for tensor in tensors)
    if all(dtype is first for dtype in others):
        return first
    return torch.float64 if torch.float64 in (first, *others) else torch.float32


def _multiply(
    derivatives: np.ndarray, cotangent: torch.Tensor, tensors: Sequence[torch.Tensor]
) -> list[torch.Tensor | None]:
    """The gradients of the inputs for a cotangent `[batch, outputs]`."""
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


_PullBack.forward.__signature__ = Positional()  # pyright: ignore[reportFunctionMemberAccess]


def _split(reasoner: Reasoner, arrays: Sequence[T]) -> tuple[Sequence[T], Sequence[T]]:
    """Inputs and logits."""
    num_inputs = len(reasoner.input_relations)
    return arrays[:num_inputs], arrays[num_inputs:]


def _logit_shapes(reasoner: Reasoner) -> list[tuple[int, ...]]:
    return [logits.shape for logits in reasoner.parameters.values()]


def _fold(
    reasoner: Reasoner, size: int, dims: tuple, tensors: Sequence[torch.Tensor], each_logit: bool = False
) -> list[torch.Tensor]:
    """Tensors with the mapped axis folded into the batch: samples are independent.

    Logits that are mapped (with `each_logit`, all) become logits for each sample.
    """
    (inputs, logits), (input_dims, logit_dims) = _split(reasoner, tensors), _split(reasoner, dims)
    stacked = [_to_front(tensor, dim, size) for tensor, dim in zip(inputs, input_dims, strict=True)]
    reasoner.check_shapes([tuple(tensor.shape[1:]) for tensor in stacked])
    batch = stacked[0].shape[1] if stacked else 1
    folded = [tensor.flatten(0, 1) for tensor in stacked]
    for tensor, dim, shape in zip(logits, logit_dims, _logit_shapes(reasoner), strict=True):
        if dim is None and tensor.ndim == len(shape) and not each_logit:
            folded.append(tensor)
            continue
        mapped = _to_front(tensor, dim, size)
        each = mapped if mapped.ndim > 1 + len(shape) else mapped.unsqueeze(1).expand(size, batch, *shape)
        folded.append(each.flatten(0, 1))
    return folded


def _to_front(tensor: torch.Tensor, dim: int | None, size: int) -> torch.Tensor:
    return tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0)


def _unfold(tensor: torch.Tensor, size: int) -> torch.Tensor:
    return tensor.reshape(size, tensor.shape[0] // max(size, 1), *tensor.shape[1:])
