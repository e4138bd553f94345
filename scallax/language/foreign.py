"""Functions, predicates, aggregates and attributes that are written in Python."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from scallax.language.signatures import BOOL, Parameter, Signature, show_generics, show_parameter
from scallax.language.values import Scalar

# What becomes of a tuple for which the Python code raises, or gives no value of its type: an error, or nothing.
OnError = Literal["raise", "drop"]
# What the tags are that a predicate yields: none, truth values or probabilities, or such in exclusive groups.
Tags = Literal["none", "probability", "exclusive"]


@dataclass(frozen=True, slots=True)
class ForeignFunction:
    """`$name(…)`, which calls `function` for every distinct tuple of arguments; None is no value."""

    signature: Signature
    function: Callable = field(compare=False)
    on_error: OnError = "raise"

    def __call__(self, *arguments):
        """What the Python function returns."""
        return self.function(*arguments)

    def __str__(self) -> str:
        return f"function ${self.signature.text}"


@dataclass(frozen=True, slots=True)
class Batches:
    """That a function is given lists of tuples, of at most `size` if that is not None."""

    size: int | None = None


@dataclass(frozen=True, slots=True)
class ForeignPredicate:
    """`name(inputs, outputs)`, whose tuples `function` yields for every distinct tuple of inputs.

    With `batches` it is called for many tuples of inputs at once, and returns what it would yield for each.
    """

    signature: Signature
    num_inputs: int
    tags: Tags
    function: Callable = field(compare=False)
    on_error: OnError = "raise"
    batches: Batches | None = field(default=None, compare=False)

    def __call__(self, *arguments):
        """What the Python function returns."""
        return self.function(*arguments)

    @property
    def num_outputs(self) -> int:
        return len(self.signature.parameters) - self.num_inputs

    def __str__(self) -> str:
        tags = {"none": "", "probability": " tagged", "exclusive": " tagged in exclusive groups"}[self.tags]
        inputs = f" of {self.num_inputs} input{'' if self.num_inputs == 1 else 's'}"
        return f"predicate {self.signature.text}{inputs}{tags}"


@dataclass(frozen=True, slots=True)
class Fold:
    """A state that takes in the tuples of a group one by one; `finish` gives the result, by default the state."""

    initial: object
    finish: Callable | None


@dataclass(frozen=True, slots=True)
class ForeignAggregate:
    """`name<options>(bindings: …)`. Without a fold, `function` takes the list of the tuples that hold.

    The parameters of the signature are the bindings'; `results` are the types of the result's values. `options` are
    parameters in angle brackets with their defaults. A tuple of one value is given as that value.
    """

    signature: Signature
    results: tuple[Parameter, ...]
    options: tuple[tuple[str, Scalar], ...]
    function: Callable = field(compare=False)
    fold: Fold | None = field(default=None, compare=False)
    on_error: OnError = "raise"

    def __call__(self, *arguments, **options):
        """What the Python function returns."""
        return self.function(*arguments, **options)

    def __str__(self) -> str:
        options = "".join(f"; {name} = {value!r}" for name, value in self.options)
        return f"{'fold' if self.fold is not None else 'aggregate'} {self.signature.text}{options}"


@dataclass(frozen=True, slots=True)
class ForeignAttribute:
    """`@name(…)` before an item: `function` is called for it when the program is compiled."""

    name: str
    function: Callable = field(compare=False)

    def __call__(self, *arguments, **keywords):
        """What the Python function returns."""
        return self.function(*arguments, **keywords)

    def __str__(self) -> str:
        return f"attribute @{self.name}"


ForeignItem = ForeignFunction | ForeignPredicate | ForeignAggregate | ForeignAttribute


def signature_of(
    name: str,
    generics: tuple,
    parameters: tuple[Parameter, ...],
    num_optional: int = 0,
    is_variadic: bool = False,
    result: Parameter | None = None,
    results: tuple[Parameter, ...] | None = None,
) -> Signature:
    """A signature with the text that shows it; without `result` that of a predicate, `results` are an aggregate's."""
    words = [show_parameter(parameter) for parameter in parameters]
    first = len(words) - num_optional - is_variadic
    words = [word + "?" if first <= i < first + num_optional else word for i, word in enumerate(words)]
    if is_variadic:
        words[-1] += "..."
    text = f"{name}{show_generics(generics)}({', '.join(words)})"
    if result is not None:
        text += f" -> {show_parameter(result)}"
    elif results is not None:
        text += f" -> ({', '.join(map(show_parameter, results))})"
    return Signature(text, name, generics, parameters, num_optional, is_variadic, BOOL if result is None else result)


def options_of(aggregate: ForeignAggregate, given: Mapping[str, Scalar]) -> dict[str, Scalar]:
    """The values of an aggregate's options: those that a program gives, else the defaults."""
    return dict(aggregate.options) | dict(given)


def traceback_of(error: BaseException) -> str:
    """The traceback of what a Python function raised, without the frames that call it."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        if not str(frames.tb_frame.f_globals.get("__name__")).startswith(("scallax.", "torch_bridge.")):
            break
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))
