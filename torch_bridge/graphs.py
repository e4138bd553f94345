"""Modules inside the graphs of `torch.compile`, `torch.export` and `torch.jit.trace`.

The first call of a module that makes such a graph imports this file: it loads torch's compiler, which takes a second.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from scallax.errors import UnsupportedError
from scallax.facts import evidence_of
from torch_bridge.operator import find_reasoner, is_saved, portable_name


def apply_operator(
    name: str, inputs: Mapping[str, Any], logits: Sequence[torch.Tensor], call: Callable[[Mapping[str, Any]], Any]
) -> Any:
    """The result of the module of a reasoner, computed by one operator. Torch traces this function once for each name.

    `call` is the module's function outside of graphs, which takes more than one tensor for each input relation.
    """
    relations, results = _interface(name)
    given = dict(inputs)
    if isinstance(given.get("evidence"), dict):
        # Observations are among the arrays by names of its own.
        given |= {evidence_of(relation): tensor for relation, tensor in given.pop("evidence").items()}
    fits = len(relations) == len(given) and all(isinstance(given.get(r), torch.Tensor) for r in relations)
    if not fits or not results or not (relations or logits):
        return call_outside(name, inputs, call)
    # A saved graph is evaluated in other processes, where no module has registered the reasoner.
    reasoner = _portable_name(name) if is_saved() else name
    values = torch.ops.scallax.evaluate(reasoner, [*(given[relation] for relation in relations), *logits])
    unpacked = [_unpack(result, values) for result in results]
    if results[0].key is None:
        return unpacked[0]
    return {result.key: value for result, value in zip(results, unpacked, strict=True)}


# In a graph the name is constant, and so is everything that follows from it: torch need not trace it.
_portable_name = torch.compiler.assume_constant_result(portable_name)


class _Result(NamedTuple):
    """One output relation among the values `[batch, outputs]`.

    `key` is its name if outputs are returned by name; `tuples`, if given, are returned with the values.
    """

    key: str | None
    start: int
    stop: int
    is_single: bool
    tuples: tuple | None


@torch.compiler.assume_constant_result
def _interface(name: str) -> tuple[tuple[str, ...], tuple[_Result, ...]]:
    """The input relations in order, and the results; no results if a graph cannot hold the reasoner.

    A graph cannot hold a reasoner that draws by a seed, which may differ in each call, or returns proofs or Python
    objects.
    """
    reasoner = find_reasoner(name)
    evaluator = reasoner.evaluator
    relations = tuple(evaluator.layout.mappings)
    if evaluator.draws or evaluator.is_interpreted or evaluator.provenance.traits.returns_proofs:
        return relations, ()
    results = tuple(
        _Result(
            output.relation if evaluator.layout.keyed else None,
            output.start,
            output.start + len(output.tuples),
            output.is_single,
            tuple(output.tuples) if output.is_listed else None,
        )
        for output in evaluator.layout.outputs
    )
    return relations, results


@torch.compiler.disable(
    reason="in a graph a reasoner takes one tensor for each input relation, draws nothing and returns dense tensors"
)
def call_outside(name: str, inputs: Mapping[str, Any], call: Callable[..., Any], options: Sequence[Any] = ()) -> Any:
    """The result of the module with its further arguments, computed outside of the graph."""
    if is_saved():
        find_reasoner(name).evaluator.layout.order(inputs)
        raise UnsupportedError(
            "a saved graph holds a reasoner that takes tensors, one or more, draws nothing and returns dense tensors"
        )
    return call(inputs, *options)


def _unpack(result: _Result, values: torch.Tensor) -> Any:
    if result.is_single:
        return values[:, result.start]
    part = values[:, result.start : result.stop]
    return part if result.tuples is None else (list(result.tuples), part)
