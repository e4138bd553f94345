"""The state of Flax NNX models that hold reasoners: to an artifact and back, and layer by layer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, TypeGuard

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer

from scallax.checkpoint.artifact import OPTIMIZER, Artifact, differences
from scallax.errors import CheckpointError, Diagnostic, InputError
from scallax.facts.specification import Specification
from scallax.nn import Reasoner
from scallax.reasoner.reasoner import Reasoner as _Reasoner

if TYPE_CHECKING:
    from jaxtyping import Array


def artifact_of(model: nnx.Module, optimizer: nnx.Optimizer | None = None, *, ground: bool = False) -> Artifact:
    """The state of a model as data: the specifications of its reasoners, and all its variables by dotted path.

    Random keys are stored as their data. Values are copied to the host. With `ground`, the groundings are included.
    """
    tensors = {name: _to_numpy(value) for name, value in _values(model).items()}
    if optimizer is not None:
        tensors |= {OPTIMIZER + name: _to_numpy(value) for name, value in _values(optimizer).items()}
    reasoners = _reasoners(model)
    specifications = {path: reasoner.specification for path, reasoner in reasoners.items()}
    grounds = {path: reasoner.compiled_program.serialized() for path, reasoner in reasoners.items()} if ground else {}
    return Artifact(specifications, tensors, door="flax", grounds=grounds)


def restore(artifact: Artifact, model: nnx.Module, optimizer: nnx.Optimizer | None = None) -> None:
    """Gives the model, and the optimizer, the values of an artifact, in place and on their present devices.

    CheckpointError, with every difference and before anything is changed, if programs, names, shapes or dtypes differ.
    The saved values of an optimizer are ignored if no optimizer is given.
    """
    if not isinstance(model, nnx.Module):
        raise InputError(f"a {type(model).__name__} cannot be restored: give a Flax NNX module")
    tensors = {n: a for n, a in artifact.tensors.items() if optimizer is not None or not n.startswith(OPTIMIZER)}
    found = dataclasses.replace(artifact, tensors=tensors)
    expected = artifact_of(model, optimizer)
    problems = differences(expected, found)
    if problems:
        raise CheckpointError(*problems, *_advice(expected, found))
    targets: list[tuple[str, nnx.Module | nnx.Optimizer]] = [("", model)]
    if optimizer is not None:
        targets.append((OPTIMIZER, optimizer))
    states = [_state_like(target, tensors, prefix) for prefix, target in targets]
    for (_, target), state in zip(targets, states, strict=True):
        nnx.update(target, state)


def _advice(expected: Artifact, found: Artifact) -> list[Diagnostic]:
    """Hints about reasoners that keep another number of proofs than the saved ones, and about layers of torch."""
    lines = []
    if found.door == "torch" and found.tensors.keys() != expected.tensors.keys():
        hint = "load it into the torch model, and then `torch_bridge.weights.to_flax(torch_model, flax_model)`"
        lines.append(Diagnostic("it is of a torch model, whose layers have other names and shapes", hint=hint))
    for path, was in found.specifications.items():
        advice = was.advice(expected.specifications[path]) if path in expected.specifications else None
        if advice is not None:
            name = f"reasoner `{path}`" if path else "the reasoner"
            lines.append(Diagnostic(f"{name} differs in the number of proofs alone", hint=advice))
    return lines


def _state_like(target: nnx.Module | nnx.Optimizer, tensors: Mapping[str, np.ndarray], prefix: str) -> nnx.State:
    """The state of the target with new values, for variables and for arrays that are attributes."""
    leaves = []
    for path, leaf in nnx.to_flat_state(nnx.state(target)):
        array = tensors[prefix + ".".join(map(str, path))]
        is_variable = isinstance(leaf, nnx.Variable)
        leaves.append((path, leaf.replace(_like(leaf[...], array)) if is_variable else _like(leaf, array)))
    return nnx.from_flat_state(leaves)


def _values(target: nnx.Module | nnx.Optimizer) -> dict[str, Array]:
    """The values of variables, and arrays that are attributes, by dotted path."""
    flat = nnx.to_flat_state(nnx.state(target))
    return {".".join(map(str, path)): leaf[...] if isinstance(leaf, nnx.Variable) else leaf for path, leaf in flat}


def _reasoners(model: nnx.Module) -> dict[str, _Reasoner]:
    return {
        ".".join(map(str, path)): module.reasoner
        for path, module in nnx.iter_modules(model)
        if isinstance(module, Reasoner)
    }


def _variables(model: nnx.Module | nnx.Optimizer) -> dict[str, nnx.Variable]:
    return {".".join(map(str, path)): variable for path, variable in nnx.to_flat_state(nnx.state(model))}


def _is_key(value: Array) -> bool:
    return jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _to_numpy(value: Array) -> np.ndarray:
    return np.array(jax.random.key_data(value) if _is_key(value) else value)


def _like(value: Array, array: np.ndarray) -> Array:
    """The array as a value of the same kind, in the same place."""
    if _is_key(value):
        return jax.device_put(
            jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(value)), value.sharding
        )
    return jax.device_put(array, value.sharding)


LayerKind = Literal["linear", "conv", "embed", "layer_norm", "batch_norm", "reasoner"]

_NO_WEIGHTS = (nnx.RngState, nnx.Cache, nnx.Intermediate, nnx.metrics.MetricState)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A part of a model with variables of its own, or a reasoner.

    `path` leads to it by attributes and places in lists; `name` does too, but without the `layers` of each
    `nnx.Sequential`. `kind` is None if the class is unknown, or the variables are not those of the kind. `variables`
    are by attribute; those of a reasoner are by the names of its parameters.
    """

    path: str
    name: str
    kind: LayerKind | None
    class_name: str
    variables: Mapping[str, nnx.Variable]
    specification: Specification | None = None


def layers(model: nnx.Module) -> list[Layer]:
    """All parts of a model that have variables, in the order of their paths.

    A shared part comes under each of its paths. Variables that are no weights (random streams, metrics, caches,
    intermediate values) are left out. InputError if variables have no values, as within `nnx.eval_shape` and `nnx.jit`.
    """
    if not isinstance(model, nnx.Module):
        raise InputError(Diagnostic(f"a {type(model).__name__} is no NNX module", hint="give a flax.nnx.Module"))
    found = list(_walk(model, (), (), frozenset()))
    if not all(_has_value(variable) for layer in found for variable in layer.variables.values()):
        hint = "build it outside of nnx.eval_shape, and leave nnx.jit first"
        raise InputError(Diagnostic("the variables of the Flax model have no values", hint=hint))
    return found


def assign(values: Iterable[tuple[nnx.Variable, np.ndarray]]) -> None:
    """Gives variables values of their shapes and dtypes, bit for bit, on their present devices: all of them or none."""
    # A float64 variable may have been made while JAX allowed them.
    with jax.enable_x64(True):
        placed = [(variable, _like(jnp.asarray(variable[...]), array)) for variable, array in values]
        for variable, value in placed:
            variable.set_value(value)


def _walk(node: object, path: tuple[str, ...], name: tuple[str, ...], above: frozenset[int]) -> Iterator[Layer]:
    if id(node) in above:
        return
    children = _children(node)
    places = (".".join(path), ".".join(name))
    if isinstance(node, Reasoner):
        yield Layer(*places, "reasoner", type(node).__name__, _variables(node), node.specification)
        return
    variables = {key: child for key, child in children if _is_weight(child)}
    if variables:
        yield Layer(*places, _kind(node, variables), type(node).__name__, variables)
    for key, child in children:
        if not isinstance(child, nnx.Variable):
            is_unnamed = isinstance(node, nnx.Sequential) and key == "layers"
            yield from _walk(child, (*path, key), name if is_unnamed else (*name, key), above | {id(node)})


def _children(node: object) -> list[tuple[str, object]]:
    """The parts of a module or a container by key; none for a leaf."""
    children, _ = jax.tree_util.tree_flatten_with_path(
        node, is_leaf=lambda path, _: len(path) == 1, is_leaf_takes_path=True
    )
    return [(jax.tree_util.keystr(path, simple=True), child) for path, child in children if path]


def _is_weight(node: object) -> TypeGuard[nnx.Variable]:
    return isinstance(node, nnx.Variable) and not isinstance(node, _NO_WEIGHTS)


def _has_value(variable: nnx.Variable) -> bool:
    value = variable.get_value()
    return isinstance(value, jax.Array | np.ndarray) and not isinstance(value, Tracer)


def _kind(module: object, variables: Mapping[str, nnx.Variable]) -> LayerKind | None:
    match module:
        case nnx.Linear():
            kind, num_axes = "linear", {"kernel": 2, "bias": 1}
        case nnx.Conv():
            kind, num_axes = "conv", {"kernel": len(module.kernel_size) + 2, "bias": 1}
        case nnx.Embed():
            kind, num_axes = "embed", {"embedding": 2}
        case nnx.LayerNorm():
            kind, num_axes = "layer_norm", {"scale": 1, "bias": 1}
        case nnx.BatchNorm():
            kind, num_axes = "batch_norm", {"scale": 1, "bias": 1, "mean": 1, "var": 1}
        case _:
            return None
    # Other variables belong to a subclass; further axes hold several layers in one, as `nnx.vmap` makes them.
    return kind if all(num_axes.get(name) == variable.ndim for name, variable in variables.items()) else None
