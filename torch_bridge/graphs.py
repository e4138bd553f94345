"""What a module does inside the graphs of `torch.compile`, `torch.export` and `torch.jit.trace`.

Imported by the first call of a module that makes such a graph: it loads torch's compiler, which takes a second.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch

from scallax.errors import Diagnostic, InputError, ScallaxError, UnsupportedError
from torch_bridge.operator import find_reasoner


def apply_operator(digest: str, inputs: Mapping[str, Any], logits: Sequence[torch.Tensor]) -> Any:
    """What the module of the reasoner returns, by one operator. Torch traces this function, once for each digest."""
    names, results = _interface(digest)
    if len(names) != len(inputs) or any(name not in inputs for name in names):
        raise InputError(_problem(digest, tuple(inputs)))
    for name in names:
        if not isinstance(inputs[name], torch.Tensor):
            raise InputError(f"`{name}` is a {type(inputs[name]).__name__}; give a tensor")
    tensors = [*(inputs[name] for name in names), *logits]
    if not tensors:
        raise UnsupportedError(
            Diagnostic(
                "a program without inputs and parameters is a constant, which graphs do not evaluate",
                hint="call the module outside, and give its result to what is compiled",
            )
        )
    # What is saved is evaluated in other processes, where no module has registered the reasoner.
    is_saved = torch.compiler.is_exporting() or torch.jit.is_tracing()
    reasoner = _portable_name(digest) if is_saved else digest
    values = torch.ops.scallax.evaluate(reasoner, tensors)
    unpacked = [_unpack(result, values) for result in results]
    if results[0].key is None:
        return unpacked[0]
    return {result.key: value for result, value in zip(results, unpacked, strict=True)}


class _Result(NamedTuple):
    """One output relation among the values `[batch, outputs]`.

    `key` is its name if outputs are returned by name; `tuples` are returned with the values if they are given.
    """

    key: str | None
    start: int
    stop: int
    is_single: bool
    tuples: tuple | None


# In a graph the digest is constant, and so is what follows from it: torch need not trace how.
@torch.compiler.assume_constant_result
def _interface(digest: str) -> tuple[tuple[str, ...], tuple[_Result, ...]]:
    """The input relations in order, and the results."""
    reasoner = find_reasoner(digest)
    results = tuple(
        _Result(
            output.relation if reasoner.specification.keyed else None,
            output.start,
            output.start + len(output.tuples),
            output.is_single,
            tuple(output.tuples) if output.is_listed else None,
        )
        for output in reasoner.outputs
    )
    return reasoner.input_relations, results


@torch.compiler.assume_constant_result
def _portable_name(digest: str) -> str:
    """The specification as JSON."""
    return find_reasoner(digest).specification.to_json()


@torch.compiler.assume_constant_result
def _problem(digest: str, names: tuple[str, ...]) -> str:
    """What is wrong with the names of inputs."""
    try:
        find_reasoner(digest).order(dict.fromkeys(names))
    except ScallaxError as error:  # told by whoever asks
        return str(error)
    raise AssertionError(f"{names} are the inputs")


def _unpack(result: _Result, values: torch.Tensor) -> Any:
    if result.is_single:
        return values[:, result.start]
    part = values[:, result.start : result.stop]
    return part if result.tuples is None else (list(result.tuples), part)
