"""Evidence as tensors: what a call observed, and the logarithm of its probability."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, final

import torch

from scallax import Reasoner
from scallax.evaluation import Evaluator, MappedLayout, ObservedArrays, check_conditional, has_facts
from scallax.facts import read_by_relation
from torch_bridge.autograd import apply, evaluate_tensors
from torch_bridge.dlpack import check_tensor, common_device
from torch_bridge.operator import is_saved
from torch_bridge.sample_calls import apply_batch, on_host, to_host
from torch_bridge.tensor_layouts import MappedTensors
from torch_bridge.variables import TorchTensors


@final
class _ObservedTensors(ObservedArrays):
    """The observations of a call as tensors on the device of its other inputs."""

    def array(self, value: Any, like: Sequence[Any]) -> Any:
        if isinstance(value, torch.Tensor):
            return value
        return torch.as_tensor(super().array(value, like), **_form(like))

    def unseen(self, shape: tuple[int, ...], like: Sequence[Any]) -> torch.Tensor:
        return torch.full(shape, torch.nan, **_form(like))


OBSERVED = _ObservedTensors()


def _form(like: Sequence[Any]) -> dict[str, Any]:
    """The dtype and the device of the first tensor among the other inputs."""
    tensors = [value for value in like if isinstance(value, torch.Tensor) and value.is_floating_point()]
    return {"dtype": tensors[0].dtype, "device": tensors[0].device} if tensors else {"dtype": torch.float32}


def order_tensors(
    evaluator: Evaluator[MappedLayout], inputs: Mapping[str, Any], logits: tuple[torch.Tensor, ...]
) -> tuple[MappedTensors, tuple[torch.Tensor, ...]]:
    """The layout of a call, and its tensors in order. InputError for inputs that are no tensors."""
    tensors = evaluator.layout.order(inputs, OBSERVED)
    named = inputs
    if evaluator.layout.num_observed:
        named = dict(zip(evaluator.layout.mappings, tensors, strict=True))
    for relation, value in named.items():
        if not isinstance(value, torch.Tensor):
            check_tensor(relation, value)
    if logits:
        named = {**named, **dict(zip(evaluator.layout.compiled.parameter_names, logits, strict=True))}
    return MappedTensors(evaluator, common_device(named)), (*tensors, *logits)


def log_evidence(
    reasoner: Reasoner,
    inputs: Mapping[str, Any],
    disjunctions: Mapping[str, Sequence] | None,
    logits: tuple[torch.Tensor, ...],
) -> torch.Tensor:
    """The logarithms `[batch]` of the probabilities of what a call observed."""
    evaluator = reasoner.evaluator
    check_conditional(evaluator.layout)
    if has_facts(inputs, disjunctions):
        batch = evaluator.layout.read(inputs, disjunctions, framework=TorchTensors(), arrays=OBSERVED)
        return _log_probability(apply_batch(reasoner, batch, logits, asks_evidence=True))
    layout, given = order_tensors(evaluator, inputs, logits)
    packed = apply(layout, given) if given else evaluate_tensors(layout, False, ())[0]
    return _log_probability(packed[:, -1])


def call_apart(name: str, inputs: Mapping[str, Any], call: Callable[[Mapping[str, Any]], Any]) -> Any:
    """The result of `call` for a call's inputs; outside of a graph of the reasoner of that name, if one is made."""
    if torch.compiler.is_compiling() or is_saved():
        # Loads torch's compiler, which others need not wait for.
        from torch_bridge.graphs import call_outside

        return call_outside(name, inputs, call)
    return call(inputs)


def _log_probability(probabilities: torch.Tensor) -> torch.Tensor:
    """The logarithms of probabilities of evidence; minus infinity, with the gradient 0, where one is 0."""
    none = probabilities < torch.finfo(torch.float32).tiny
    logarithm = torch.where(none, 1.0, probabilities).log()
    return torch.where(none, -torch.inf, logarithm)


def host_call(
    layout: MappedLayout, inputs: Mapping[str, Any] | None, disjunctions: Mapping[str, Sequence] | None
) -> Any:
    """The inputs of a call, mapped or facts per sample, with arrays of NumPy for tensors, as a reasoner takes them."""
    given: Any = read_by_relation(inputs, "`inputs`")
    if has_facts(given, disjunctions):
        return on_host(layout.read(given, disjunctions, framework=TorchTensors(), arrays=OBSERVED))
    return _host_inputs(layout, given)


def _host_inputs(layout: MappedLayout, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of a call as arrays of NumPy, those of what it observed among them."""
    found: dict[str, Any] = {}
    for name, value in inputs.items():
        if name == "evidence" and layout.num_observed and isinstance(value, Mapping):
            tensors = value.items()
            found[name] = {key: to_host(key, part) if isinstance(part, torch.Tensor) else part for key, part in tensors}
        else:
            found[name] = to_host(name, value)
    return found
