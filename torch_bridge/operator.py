"""A reasoner as a torch operator, which `torch.compile`, `torch.export` and `torch.jit.trace` keep in their graphs."""

import functools
import secrets
import weakref
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import torch

from scallax import Reasoner
from scallax.errors import Diagnostic, UnsupportedError
from torch_bridge.autograd import Residuals, evaluate_tensors, pull_back_tensors
from torch_bridge.dlpack import common_device, common_dtype
from torch_bridge.tensor_layouts import MappedTensors

# Operators take plain arguments only. A reasoner has a name, and is here as long as a module holds it.
_REASONERS: weakref.WeakValueDictionary[str, Reasoner] = weakref.WeakValueDictionary()
_NAME_LENGTH = 64


class Registered(NamedTuple):
    """The name of a reasoner in graphs, and the reasoner of that name, which must be kept for as long as the name."""

    name: str
    reasoner: Reasoner


def register(reasoner: Reasoner) -> Registered:
    """The name of the reasoner: the digest of its specification.

    Among equal reasoners, the first that was registered stands for all. Foreign items and provenances of a user are not
    in a specification, so reasoners with any have names of their own.
    """
    is_defined = not reasoner.specification.foreign and reasoner.specification.custom is None
    name = reasoner.specification.digest if is_defined else secrets.token_hex(_NAME_LENGTH // 2)
    return Registered(name, _REASONERS.setdefault(name, reasoner))


def is_saved() -> bool:
    """Whether a graph is being made that is to be saved: by `torch.export` or `torch.jit.trace`."""
    return torch.compiler.is_exporting() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def find_reasoner(name: str) -> Reasoner:
    """The reasoner that was registered by that name, or is defined by the specification in a portable name."""
    registered, text = name[:_NAME_LENGTH], name[_NAME_LENGTH:]
    reasoner = _REASONERS.get(registered)
    if reasoner is not None:
        return reasoner
    if not text:
        raise UnsupportedError(
            Diagnostic(
                f"the module of this compiled graph is gone (its reasoner was {registered[:12]}...)",
                hint="keep the module as long as what was compiled from it, or save it by torch.export",
            )
        )
    return _read(text)


def portable_name(name: str) -> str:
    """A name by which the reasoner is found in any process: the specification, as JSON, after the name here."""
    specification = find_reasoner(name).specification
    code = specification.foreign or (() if specification.custom is None else (f"`{specification.custom}`",))
    if code:
        raise UnsupportedError(
            Diagnostic(
                f"a graph that is saved holds no code of Python, and the program uses {code[0]}",
                hint="save the module with torch_bridge.save",
            )
        )
    return name + specification.to_json()


# A graph that was saved has no module that keeps its reasoner: the last few are kept.
_read = functools.lru_cache(maxsize=16)(Reasoner.from_json)


# CUDA graphs would record nothing of what JAX does: torch leaves operators with the tag out of them.
@torch.library.custom_op("scallax::evaluate", mutates_args=(), tags=torch.Tag.cudagraph_unsafe)
def evaluate(reasoner: str, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    """Values `[batch, outputs]` for the inputs' tensors and the logits, in order."""
    known = find_reasoner(reasoner)
    names = (*known.evaluator.layout.mappings, *known.compiled_program.parameter_names)
    # Values and gradients of a graph are of one executor.
    evaluator = known.evaluator.with_executor("jax")
    layout = MappedTensors(evaluator, common_device(dict(zip(names, tensors, strict=True))))
    return evaluate_tensors(layout, False, tensors)[0]


@torch.library.custom_op("scallax::pull_back", mutates_args=(), tags=torch.Tag.cudagraph_unsafe)
def pull_back(reasoner: str, cotangent: torch.Tensor, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Gradients of the tensors; evaluates again, as a graph's operators pass nothing but tensors to each other."""
    layout = MappedTensors(find_reasoner(reasoner).evaluator, cotangent.device)
    gradients: Any = pull_back_tensors(layout, Residuals(), cotangent, tensors)
    return list(gradients)


@evaluate.register_fake
def _(reasoner: str, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    known = find_reasoner(reasoner)
    shapes = known.evaluator.layout.shapes
    inputs, logits = tensors[: len(shapes)], tensors[len(shapes) :]
    batch = inputs[0].shape[0] if inputs and inputs[0].ndim else 1
    for tensor, shape in zip(inputs, shapes, strict=True):
        # Sizes may be symbols, which must not be compared without need.
        if tensor.ndim != 1 + len(shape) or tuple(tensor.shape[1:]) != shape or tensor.shape[0] != batch:
            known.evaluator.layout.check_shapes([tuple(map(int, tensor.shape)) for tensor in inputs])
    dtype = known.evaluator.provenance.traits.output_dtype
    dtype = common_dtype(inputs or logits, *tensors) if dtype is None else getattr(torch, str(jnp.dtype(dtype)))
    return tensors[0].new_empty((batch, known.compiled_program.num_values), dtype=dtype)


@pull_back.register_fake
def _(reasoner: str, cotangent: torch.Tensor, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    return [torch.empty_like(tensor, memory_format=torch.contiguous_format) for tensor in tensors]


def _save(ctx, inputs, output) -> None:
    ctx.reasoner, tensors = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, cotangent):
    return None, torch.ops.scallax.pull_back(ctx.reasoner, cotangent, list(ctx.saved_tensors))


def _refuse_derivative(ctx, *cotangents):
    raise UnsupportedError("second derivatives of a reasoner are not supported")


def _refuse_vmap(info, in_dims, *arguments):
    raise UnsupportedError(
        Diagnostic(
            "torch.func.vmap of a reasoner is not supported inside torch.compile",
            hint="give the reasoner the whole batch, which it maps over itself, or use vmap outside torch.compile",
        )
    )


evaluate.register_autograd(_differentiate, setup_context=_save)
pull_back.register_autograd(_refuse_derivative)
evaluate.register_vmap(_refuse_vmap)
