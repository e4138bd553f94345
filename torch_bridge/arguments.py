"""The reference's arguments of modules."""

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch

from scallax.errors import Diagnostic, InputError, UnsupportedError
from scallax.mappings import InputMapping

P = ParamSpec("P")
T = TypeVar("T")

# Keywords of earlier versions of the reference, with what to do about them.
_FORMER = {
    "retain_graph": "leave it out: nothing is freed before its time; for a second pass, `backward(retain_graph=True)`",
}

DISPATCHES = ("parallel", "serial", "single")


class NamedOutputs(NamedTuple):
    """The arguments of `scallax.Reasoner` that name its outputs."""

    relation: str | None
    mapping: object
    mappings: Any


def checks_keywords(function: Callable[P, T]) -> Callable[P, T]:
    """The function, where a keyword that it does not have is an InputError with a hint."""
    known = inspect.signature(function).parameters
    name = function.__qualname__.removesuffix(".__init__")

    @functools.wraps(function)
    def call(*arguments: P.args, **keywords: P.kwargs) -> T:
        unknown = [keyword for keyword in keywords if keyword not in known]
        if unknown:
            raise InputError(*(_unknown_keyword(name, keyword, known) for keyword in unknown))
        return function(*arguments, **keywords)

    return call


def _unknown_keyword(name: str, keyword: str, known: Mapping[str, object]) -> Diagnostic:
    hint = _FORMER.get(keyword)
    near = difflib.get_close_matches(keyword, known, n=1)
    if hint is None:
        others = ", ".join(f"`{other}`" for other in known if other != "self")
        hint = f"did you mean `{near[0]}`?" if near else f"it takes {others}"
    return Diagnostic(f"`{name}` takes no argument `{keyword}`", hint=hint)


def name_outputs(relation: str | None, mapping: object, mappings: object) -> NamedOutputs:
    """As the reference reads them: a dictionary of one relation names one output, and nothing those of the calls."""
    if relation is None and mapping is None:
        if isinstance(mappings, Mapping) and len(mappings) == 1:
            ((name, entry),) = mappings.items()
            return NamedOutputs(name, entry, None)
        return NamedOutputs(None, None, {} if mappings is None else mappings)
    return NamedOutputs(relation, mapping, mappings)


def check_dispatch(dispatch: object) -> None:
    """InputError for what the reference does not know; what it knows makes no difference."""
    if dispatch not in DISPATCHES:
        known = ", ".join(f"`{name}`" for name in DISPATCHES)
        raise InputError(f"`dispatch` is {dispatch!r}; there are {known}")


def refuse_monitors(monitors: Sequence[str] | None) -> None:
    """UnsupportedError if there are monitors."""
    if monitors:
        hint = "`scallax plan` and `scallax.explain_plan` show what is computed"
        raise UnsupportedError(Diagnostic("monitors are not supported", hint=hint))


def declared(mapping: Any) -> InputMapping:
    """A mapping whose entries, as the reference reads it, are independent unless it is said that they are not."""
    read = InputMapping(mapping)
    return read if read.is_declared or read.kind is None else InputMapping(read, disjunctive=False)


def read_constant_tags(facts: Any) -> Any:
    """The facts of a module with numbers for tags that are tensors without a gradient.

    InputError for a tensor with one: a module's own facts are constants.
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
