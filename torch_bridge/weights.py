"""The weights of a whole model, its neural layers and its reasoners, from torch to Flax NNX and back, bit for bit.

The two models have the same shape: the same attributes lead to the same layers, and what is at place 2 of a
`torch.nn.Sequential` is at place 2 of an `nnx.Sequential`. The layers, and their names in a state dict and in Flax:

    Linear              weight [out, in], bias                      Linear: kernel [in, out], bias
    Conv1d, 2d, 3d      weight [out, in / groups, *window], bias    Conv: kernel [*window, in / groups, out], bias
    Embedding           weight                                      Embed: embedding
    LayerNorm           weight, bias                                LayerNorm: scale, bias
    BatchNorm1d, 2d, 3d weight, bias, running_mean, running_var     BatchNorm: scale, bias, mean, var
    torch_bridge.Module its parameters, _extra_state                scallax.nn.Reasoner: its parameters, its program

Weights are not all of a model. These are for the caller to see to:

- Dtypes are not converted. A torch model in float64 needs `jax.config.update("jax_enable_x64", True)`, then layers with
  `param_dtype=jnp.float64`. Flax makes the statistics of BatchNorm float32 whatever `param_dtype` is; before the first
  call, cast them as the model is built:
  `nnx.update(model, jax.tree.map(lambda x: x.astype(jnp.float64), nnx.state(model, nnx.BatchStat)))`.
- Torch's LayerNorm is `nnx.LayerNorm(n, epsilon=1e-5)`, not Flax's default of 1e-6.
- Torch's BatchNorm of momentum 0.1 is `nnx.BatchNorm(n, momentum=0.9)`: Flax counts the share that stays, and its
  default is 0.99. In training, torch's running variance takes in that of a batch times n / (n - 1), Flax's does not.
- Both norms compute a variance in Flax as a difference of means, which loses digits where the mean is large;
  `use_fast_variance=False` computes it as torch does.
- Torch's Conv has `padding=0`, Flax's "SAME" (`padding="VALID"` is torch's). Strides, dilation and groups
  (`feature_group_count`) are arguments on both sides. Flax's images are `[batch, height, width, channels]`.
- What torch's `Flatten` makes of the output of a convolution is, in Flax, `x.transpose(0, 3, 1, 2).reshape(len(x), -1)`
  (of one axis, `x.transpose(0, 2, 1)`): without it, the next Linear has its inputs in another order.
- `torch.nn.GELU()` is `nnx.gelu(x, approximate=False)`.
- A state dict has names, no classes: one of a GroupNorm is taken for one of a LayerNorm. Give the module itself, and
  the classes are compared too.
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any, final

import jax
import numpy as np
import torch

from scallax import Specification
from scallax.checkpoint import import_flax_state
from scallax.errors import CheckpointError, Diagnostic, InputError, checks_call
from torch_bridge.digits import read_specification
from torch_bridge.dlpack import from_numpy, to_numpy
from torch_bridge.module import EXTRA_STATE, Module

if TYPE_CHECKING:
    from flax import nnx

    from scallax.checkpoint.flax_state import Layer

Source = torch.nn.Module | Mapping[str, torch.Tensor]

# BatchNorm's counter is used only with a momentum of None, which Flax does not have.
_COUNTER = "num_batches_tracked"

_DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of layer: its classes in torch, and torch's names of its variables by Flax's names."""

    classes: tuple[type[torch.nn.Module], ...]
    names: Mapping[str, str]


_NORM = {"scale": "weight", "bias": "bias"}
_STATISTICS = {"mean": "running_mean", "var": "running_var"}
_BATCH_NORMS = (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d, torch.nn.BatchNorm3d, torch.nn.SyncBatchNorm)
_KINDS = {
    "linear": _Kind((torch.nn.Linear,), {"kernel": "weight", "bias": "bias"}),
    "conv": _Kind((torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d), {"kernel": "weight", "bias": "bias"}),
    "embed": _Kind((torch.nn.Embedding,), {"embedding": "weight"}),
    "layer_norm": _Kind((torch.nn.LayerNorm,), _NORM),
    "batch_norm": _Kind(_BATCH_NORMS, _NORM | _STATISTICS),
}


@checks_call
def to_flax(source: Source, model: "nnx.Module") -> None:
    """Gives a Flax NNX model the weights of a torch model, in place and bit for bit.

    Flax's other variables, such as the random state of dropout, stay as they are.

    Args:
        source: A torch module, or its state dict.
        model: A Flax NNX model of the same shape; see the module's docstring.

    Raises:
        CheckpointError: A name, a shape, a dtype or a program differs, or a layer is unknown. Every difference is
            listed, and the model is unchanged.
    """
    state = import_flax_state()
    pairing = _Pairing(source, state.layers(model))
    values = [_to_flax_order(pair, to_numpy(pair.tensor)) for pair in pairing.pairs]
    problems = pairing.problems
    for torch_name, flax_name, torch_program, flax_program in pairing.programs:
        what = f"the program of torch {_quote(torch_name)} for Flax {_quote(flax_name)}"
        problems += _program_differences(what, torch_program, flax_program)
    for one, other in _contradictions(pairing.pairs, values, lambda pair: id(pair.variable)):
        names = f"Flax `{one.flax_name}` and `{other.flax_name}` are one variable"
        problems.append(f"{names}, but torch `{one.torch_name}` and `{other.torch_name}` are not equal")
    if problems:
        raise CheckpointError(*problems)
    state.assign([(pair.variable, value) for pair, value in zip(pairing.pairs, values, strict=True)])


@checks_call
def to_torch(model: "nnx.Module", template: Source) -> dict[str, torch.Tensor]:
    """The weights of a Flax NNX model as a state dict, for `load_state_dict` of a torch module of the same shape.

    All tensors are copies.

    Args:
        model: A Flax NNX model.
        template: The torch module, or a state dict of it. It gives names and devices, and the values that Flax does not
            have: the number of batches that a BatchNorm has seen.

    Returns:
        The state dict.

    Raises:
        CheckpointError: As in `to_flax`.
    """
    pairing = _Pairing(template, import_flax_state().layers(model))
    values = [_to_torch_order(pair, np.asarray(pair.variable[...])) for pair in pairing.pairs]
    problems = pairing.problems
    for torch_name, flax_name, torch_program, flax_program in pairing.programs:
        what = f"the program of Flax {_quote(flax_name)} for torch {_quote(torch_name)}"
        problems += _program_differences(what, flax_program, torch_program)
    for one, other in _contradictions(pairing.pairs, values, lambda pair: _place(pair.tensor)):
        names = f"torch `{one.torch_name}` and `{other.torch_name}` are one tensor"
        problems.append(f"{names}, but Flax `{one.flax_name}` and `{other.flax_name}` are not equal")
    if problems:
        raise CheckpointError(*problems)
    converted = {
        pair.torch_name: from_numpy(value).to(pair.tensor.device)
        for pair, value in zip(pairing.pairs, values, strict=True)
    }
    return {
        name: converted[name] if name in converted else tensor.detach().clone()
        for name, tensor in pairing.tensors.items()
    }


@dataclass(frozen=True, slots=True, eq=False)
class _Pair:
    """A tensor of a state dict and the variable that has the same values."""

    torch_name: str
    flax_name: str
    tensor: torch.Tensor
    variable: Any
    is_kernel: bool


@final
class _Pairing:
    """Pairs each tensor of a state dict with a variable, and collects everything that has no partner."""

    def __init__(self, source: Source, layers: Sequence["Layer"]):
        self.pairs: list[_Pair] = []
        self.programs: list[tuple[str, str, Specification, Specification]] = []
        self.problems: list[Diagnostic | str] = []
        self._unusable: set[str] = set()
        self.tensors, self.classes = self._read(source)
        self._left = dict(self.tensors)
        self._has_cut_float64 = self._has_float32_statistics = False
        for layer in layers:
            if layer.kind is None:
                self._note_unknown(layer)
            elif self._is_of_class(layer):
                self._pair(layer)
        known = {layer.name: layer for layer in layers}
        self.problems += [self._left_over(name, known) for name in self._left]
        self._advise()

    def _read(self, source: Source) -> tuple[dict[str, torch.Tensor], dict[str, type[torch.nn.Module]]]:
        """The tensors by name, and, for a module, the classes of all its parts by path."""
        classes = {}
        if isinstance(source, torch.nn.Module):
            classes = {path: type(module) for path, module in source.named_modules(remove_duplicate=False)}
            source = source.state_dict()
        if not isinstance(source, Mapping):
            hint = "give the module or its state dict"
            raise InputError(Diagnostic(f"a {type(source).__name__} is no torch model", hint=hint))
        tensors = {}
        for name, value in source.items():
            problem = _unusable(value)
            if problem is None:
                tensors[name] = value
            else:
                self.problems.append(f"torch `{name}` {problem}")
                self._unusable.add(name)
        return tensors, classes

    def _note_unknown(self, layer: "Layer") -> None:
        variables = ", ".join(f"`{name}` {_show(value)}" for name, value in layer.variables.items())
        found = self._take_all(layer)
        tensors = ", ".join(f"`{name}` {_show(value)}" for name, value in found.items()) or "nothing of that name"
        kinds = "its class or its variables are not known here"
        self.problems.append(
            f"Flax {_quote(layer.path)}, a {layer.class_name} with {variables}: {kinds}; torch has {tensors}"
        )

    def _is_of_class(self, layer: "Layer") -> bool:
        """Whether the torch module with the layer's name has one of its classes; True if that cannot be seen."""
        found = self.classes.get(layer.name)
        expected = (Module,) if layer.kind == "reasoner" else _KINDS[str(layer.kind)].classes
        if found is None or issubclass(found, expected):
            return True
        self._take_all(layer)
        self.problems.append(
            f"torch {_quote(layer.name)} is a {found.__name__}, Flax {_quote(layer.path)} is a {layer.class_name}"
        )
        return False

    def _take_all(self, layer: "Layer") -> dict[str, torch.Tensor]:
        """Takes the layer's own tensors, without those of its parts."""
        names = [name for name in self._left if name.rpartition(".")[0] == layer.name]
        return {name: self._left.pop(name) for name in names}

    def _pair(self, layer: "Layer") -> None:
        if layer.kind == "reasoner":
            self._pair_programs(layer)
            names = {name: name for name in layer.variables}
        else:
            names = _KINDS[str(layer.kind)].names
        if layer.kind == "batch_norm":
            self._left.pop(_join(layer.name, _COUNTER), None)
        for name, variable in layer.variables.items():
            torch_name, flax_name = _join(layer.name, names[name]), _join(layer.path, name)
            tensor = self._left.pop(torch_name, None)
            is_kernel = name == "kernel"
            shape = _to_torch_shape(variable.shape) if is_kernel else tuple(variable.shape)
            if torch_name in self._unusable:
                continue
            if tensor is None:
                self.problems.append(f"torch `{torch_name}`: none; Flax `{flax_name}`: {_show(variable)}")
            elif tensor.dtype not in _DTYPES:
                carried = ", ".join(str(dtype).removeprefix("torch.") for dtype in _DTYPES)
                self.problems.append(
                    f"torch `{torch_name}`: {_show(tensor)}; Flax `{flax_name}`: only {carried} are carried"
                )
            elif tuple(tensor.shape) != shape or _dtype(tensor) != str(variable.dtype):
                as_torch = f", in torch's order {list(shape)}" if is_kernel else ""
                self.problems.append(
                    f"torch `{torch_name}`: {_show(tensor)}; Flax `{flax_name}`: {_show(variable)}{as_torch}"
                )
                self._note_reason(tensor, variable, layer, name)
            else:
                self.pairs.append(_Pair(torch_name, flax_name, tensor, variable, is_kernel))

    def _pair_programs(self, layer: "Layer") -> None:
        name = _join(layer.name, EXTRA_STATE)
        state = self._left.pop(name, None)
        assert layer.specification is not None
        if name in self._unusable:
            return
        if state is None:
            self.problems.append(f"torch `{name}`: none; Flax {_quote(layer.path)}: a program")
            return
        try:
            program = read_specification(state)
        except CheckpointError as error:  # damaged data
            self.problems.append(f"torch `{name}`: {error}")
            return
        self.programs.append((layer.name, layer.path, program, layer.specification))

    def _note_reason(self, tensor: torch.Tensor, variable: Any, layer: "Layer", name: str) -> None:
        is_off = not jax.config.read("jax_enable_x64")
        self._has_cut_float64 |= is_off and (_dtype(tensor), str(variable.dtype)) == ("float64", "float32")
        is_statistic = layer.kind == "batch_norm" and name in _STATISTICS
        self._has_float32_statistics |= is_statistic and _dtype(tensor) != str(variable.dtype)

    def _left_over(self, name: str, layers: Mapping[str, "Layer"]) -> str:
        """The problem of a tensor that has no variable."""
        path, _, last = name.rpartition(".")
        owner = f" of a {self.classes[path].__name__}" if path in self.classes else ""
        layer, flax = layers.get(path), ""
        if layer is not None and layer.kind in _KINDS:
            names = {theirs: ours for ours, theirs in _KINDS[layer.kind].names.items()}
            flax = f" `{_join(layer.path, names[last])}`" if last in names else f" {_quote(layer.path)}"
        return f"torch `{name}`{owner}: {_show(self._left[name])}; Flax{flax}: none"

    def _advise(self) -> None:
        """Adds a hint about dtypes, once."""
        if self._has_cut_float64:
            hint = 'call `jax.config.update("jax_enable_x64", True)`, then build the model with param_dtype=jnp.float64'
            self.problems.append(Diagnostic("this JAX has float64 off, and makes float32 of it", hint=hint))
        if self._has_float32_statistics:
            cast = "jax.tree.map(lambda x: x.astype(dtype), nnx.state(model, nnx.BatchStat))"
            message = "Flax makes the statistics of BatchNorm float32, whatever its param_dtype is"
            self.problems.append(Diagnostic(message, hint=f"cast them: nnx.update(model, {cast})"))


def _program_differences(what: str, source: Specification, target: Specification) -> list[Diagnostic]:
    """The differences between the target's program and that of the weights, with a hint if there is one."""
    lines = [f"{what}: {line}" for line in source.differences(target)]
    return [Diagnostic(line, hint=source.advice(target) if line is lines[-1] else None) for line in lines]


def _unusable(value: object) -> str | None:
    """The reason why an entry of a state dict is not a tensor of values; None if it is."""
    if not isinstance(value, torch.Tensor):
        return f"is of type {type(value).__name__}, no tensor"
    if torch.nn.parameter.is_lazy(value) or value.device.type == "meta":
        return "has no values yet"
    return None if value.layout is torch.strided else f"is of layout {value.layout}; only dense tensors are carried"


def _contradictions(
    pairs: Sequence[_Pair], values: Sequence[np.ndarray], place: Callable[[_Pair], Hashable]
) -> list[tuple[_Pair, _Pair]]:
    """Pairs that would give one place different values."""
    groups: dict[Hashable, list[int]] = {}
    for i, pair in enumerate(pairs):
        groups.setdefault(place(pair), []).append(i)
    return [
        (pairs[i], pairs[j])
        for group in groups.values()
        for i, j in combinations(group, 2)
        if values[i].tobytes() != values[j].tobytes()
    ]


def _place(tensor: torch.Tensor) -> Hashable:
    """A key that is equal for tensors in the same memory."""
    start = tensor.untyped_storage().data_ptr()
    return tensor.device, start, tensor.storage_offset(), tuple(tensor.shape), tensor.stride()


def _to_flax_order(pair: _Pair, array: np.ndarray) -> np.ndarray:
    """A kernel `[out, in, *window]` as `[*window, in, out]`."""
    return array.transpose(*range(2, array.ndim), 1, 0) if pair.is_kernel else array


def _to_torch_order(pair: _Pair, array: np.ndarray) -> np.ndarray:
    return array.transpose(-1, -2, *range(array.ndim - 2)) if pair.is_kernel else array


def _to_torch_shape(shape: Sequence[int]) -> tuple[int, ...]:
    return (shape[-1], shape[-2], *shape[:-2])


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _quote(path: str) -> str:
    return f"`{path}`" if path else "(the model)"


def _dtype(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _show(value: Any) -> str:
    """The dtype and shape of a tensor or a variable, as text."""
    return f"{_dtype(value) if isinstance(value, torch.Tensor) else value.dtype} {list(value.shape)}"
