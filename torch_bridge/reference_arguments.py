"""Arguments of modules that only the reference has, or that it reads in another way."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, NamedTuple

import torch

from scallax import InputMapping
from scallax.errors import Diagnostic, InputError, UnsupportedError, calling_frame
from scallax.reasoner import Default, ProgramArguments

DISPATCHES = ("parallel", "serial", "single")


class ModuleArguments(ProgramArguments, total=False):
    """The keywords of a torch module.

    Args:
        jit: How the reference compiles; it is taken and changes nothing, as `jit_name`, `jit_recompile` and `dispatch`.
        jit_name: See `jit`.
        jit_recompile: See `jit`.
        dispatch: `"parallel"`, `"serial"` or `"single"`; see `jit`.
        sparse_jacobian: Whether `jacobian` gives tensors of the layout `torch.sparse_coo`.
        monitors: None is supported: UnsupportedError if there is one.
        sparse_output: Whether outputs are of the layout `torch.sparse_coo`, with an entry for each tuple that the
            sample can derive.
    """

    jit: Annotated[bool, Default(False)]
    jit_name: Annotated[str, Default("")]
    jit_recompile: Annotated[bool, Default(False)]
    dispatch: Annotated[str, Default("parallel")]
    sparse_jacobian: Annotated[bool, Default(False)]
    monitors: Annotated[Sequence[str], Default(())]
    sparse_output: Annotated[bool, Default(False)]


OWN_ARGUMENTS = sorted(ModuleArguments.__annotations__.keys() - ProgramArguments.__annotations__.keys())


class NamedOutputs(NamedTuple):
    """The arguments of `scallax.Reasoner` that name its outputs."""

    output_relation: str | None
    output_mapping: object
    output_mappings: Any


def name_outputs(relation: str | None, mapping: object, mappings: object) -> NamedOutputs:
    """Reads the outputs as the reference does.

    A dictionary of one relation names one output; without names, each call names its outputs.
    """
    if relation is None and mapping is None:
        if isinstance(mappings, Mapping) and len(mappings) == 1:
            ((name, entry),) = mappings.items()
            return NamedOutputs(name, entry, None)
        return NamedOutputs(None, None, {} if mappings is None else mappings)
    return NamedOutputs(relation, mapping, mappings)


def check_dispatch(dispatch: object) -> None:
    """InputError for a `dispatch` that the reference does not know; the known ones all have the same effect."""
    if dispatch not in DISPATCHES:
        known = ", ".join(f"`{name}`" for name in DISPATCHES)
        raise InputError(f"`dispatch` is {dispatch!r}; there are {known}")


def refuse_monitors(monitors: Sequence[str] | None) -> None:
    """UnsupportedError if there are monitors."""
    if monitors:
        hint = "`scallax plan` and `scallax.explain_plan` show what is computed"
        raise UnsupportedError(Diagnostic("monitors are not supported", hint=hint))


def declared(mapping: Any) -> InputMapping:
    """A mapping whose entries are independent unless stated otherwise, as in the reference."""
    read = InputMapping(mapping)
    return read if read.is_declared or read.kind is None else InputMapping(read, disjunctive=False)


def declared_mappings(mappings: Any) -> Any:
    """Applies `declared` to each mapping; anything but a dictionary is returned, and refused elsewhere."""
    if not isinstance(mappings, Mapping):
        return mappings
    return {relation: declared(mapping) for relation, mapping in mappings.items()}


def is_called_as_reference() -> bool:
    """Whether the calling code has imported this package under the reference's name."""
    frame, _ = calling_frame()
    named = (scope.get("scallopy") for scope in (frame.f_locals, frame.f_globals))
    return any(getattr(package, "__name__", None) == "torch_bridge" for package in named)


def read_constant_tags(facts: Any) -> Any:
    """The facts of a module, with numbers in the place of tensors without a gradient.

    InputError for a tensor with a gradient: the tags of a module's own facts are constants.
    """
    if not isinstance(facts, Mapping):
        return facts
    return {relation: _read_facts(relation, given) for relation, given in facts.items()}


def _read_facts(relation: str, given: Any) -> Any:
    if not isinstance(given, list | tuple) or not any(map(_has_tensor, given)):
        return given
    return [(_number(relation, *fact), fact[1]) if _has_tensor(fact) else fact for fact in given]


def _has_tensor(fact: object) -> bool:
    return isinstance(fact, tuple) and len(fact) == 2 and isinstance(fact[0], torch.Tensor)


def _number(relation: str, tag: torch.Tensor, values: object) -> float:
    what = f"the fact `{relation}` of {values!r}"
    if tag.numel() != 1:
        raise InputError(f"{what} has a tag of shape {tuple(tag.shape)}; a tag is a scalar")
    if tag.requires_grad:
        hint = "give these facts in calls, or name the relation in `trainable`"
        raise InputError(
            Diagnostic(f"{what} has a tag with a gradient, and the facts of a module are constants", hint=hint)
        )
    return tag.item()
