"""Functions, predicates, aggregates and attributes of the language that are written in Python."""

import traceback
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Literal

from scallax.language.records import record
from scallax.language.signatures import BOOL, Parameter, Signature, show_generics, show_parameter
from scallax.language.values import Scalar

# The effect of Python code that raises, or returns no value of its type: an error, or the tuple is dropped.
OnError = Literal["raise", "drop"]
# The kind of tags that a predicate yields: none, truth values or probabilities, or these in exclusive groups.
Tags = Literal["none", "probability", "exclusive"]


@record
class ForeignFunction:
    """The function `$name(…)` of a program, written in Python. Made by `scallax.foreign_function`.

    Args:
        signature: Name and types.
        function: The Python function, called for every distinct tuple of arguments; a result of None drops the tuple.
        on_error: `"raise"` or `"drop"`: the effect of an exception.

    Example:
        >>> import scallax
        >>> half = scallax.foreign_function(lambda x: x // 2, name="half", arg_types=[int], ret_type=scallax.i32)
        >>> print(half, half(7))
        function $half(Integer) -> i32 3
    """

    signature: Signature
    function: Callable = field(compare=False)
    on_error: OnError = "raise"

    def __call__(self, *arguments):
        """Calls the Python function."""
        return self.function(*arguments)

    def __str__(self) -> str:
        return f"function ${self.signature.text}"


@record
class Batches:
    """Marks a predicate whose function takes lists of input tuples, of at most `size` if that is not None."""

    size: int | None = None


@record
class ForeignPredicate:
    """The predicate `name(inputs, outputs)` of a program, written in Python. Made by `scallax.foreign_predicate`.

    Args:
        signature: Name and types, those of the inputs before those of the outputs.
        num_inputs: The number of inputs.
        tags: The kind of tags that the function yields: `"none"`, `"probability"` or `"exclusive"`.
        function: The Python function, which yields the output tuples of each distinct tuple of inputs.
        on_error: `"raise"` or `"drop"`: the effect of an exception.
        batches: If given, the function takes many input tuples at once and returns the facts of each.

    Example:
        >>> import scallax
        >>> @scallax.foreign_predicate
        ... def below(n: int) -> scallax.Facts[None, tuple[int]]:
        ...     yield from ((i,) for i in range(n))
        >>> print(below)
        predicate below(i32, i32) of 1 input
        >>> list(below(2))
        [(0,), (1,)]
    """

    signature: Signature
    num_inputs: int
    tags: Tags
    function: Callable = field(compare=False)
    on_error: OnError = "raise"
    batches: Batches | None = field(default=None, compare=False)

    def __call__(self, *arguments):
        """Calls the Python function."""
        return self.function(*arguments)

    @property
    def num_outputs(self) -> int:
        """The number of values in each tuple that the function yields."""
        return len(self.signature.parameters) - self.num_inputs

    def __str__(self) -> str:
        tags = {"none": "", "probability": " tagged", "exclusive": " tagged in exclusive groups"}[self.tags]
        inputs = f" of {self.num_inputs} input{'' if self.num_inputs == 1 else 's'}"
        return f"predicate {self.signature.text}{inputs}{tags}"


@record
class Fold:
    """A fold over a group's tuples: `initial` is the first state, `finish` turns the last one into the result."""

    initial: object
    finish: Callable | None


@record
class ForeignAggregate:
    """The aggregate `name<options>(bindings: …)` of a program, written in Python. Made by `scallax.foreign_aggregate`.

    A tuple of one value is passed to the function as that value.

    Args:
        signature: Name and types of the bindings.
        results: Types of the result's values.
        options: The parameters in angle brackets with their defaults.
        function: The Python function. Without a fold, it takes the list of the tuples that hold.
        fold: The fold, if the aggregate is one.
        on_error: `"raise"` or `"drop"`: the effect of an exception.
    """

    signature: Signature
    results: tuple[Parameter, ...]
    options: tuple[tuple[str, Scalar], ...]
    function: Callable = field(compare=False)
    fold: Fold | None = field(default=None, compare=False)
    on_error: OnError = "raise"

    def __call__(self, *arguments, **options):
        """Calls the Python function."""
        return self.function(*arguments, **options)

    def __str__(self) -> str:
        options = "".join(f"; {name} = {value!r}" for name, value in self.options)
        return f"{'fold' if self.fold is not None else 'aggregate'} {self.signature.text}{options}"


@record
class ForeignAttribute:
    """The attribute `@name(…)` before an item of a program, written in Python. Made by `scallax.foreign_attribute`.

    Args:
        name: The name in programs, without the `@`.
        function: The Python function, called with the item and the attribute's arguments when the program is compiled.

    Example:
        >>> import scallax
        >>> @scallax.foreign_attribute
        ... def quiet(item):
        ...     return None
        >>> quiet.name
        'quiet'
    """

    name: str
    function: Callable = field(compare=False)

    def __call__(self, *arguments, **keywords):
        """Calls the Python function."""
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
    """A signature with its text: a predicate's without `result`, an aggregate's with the types in `results`."""
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
    """The values of an aggregate's options: those that the program gives, otherwise the defaults."""
    return dict(aggregate.options) | dict(given)


def traceback_of(error: BaseException) -> str:
    """The traceback of an exception in a Python function, without the frames that called the function."""
    frames = error.__traceback__
    while frames is not None and frames.tb_next is not None:
        if not str(frames.tb_frame.f_globals.get("__name__")).startswith(("scallax.", "torch_bridge.")):
            break
        frames = frames.tb_next
    return "".join(traceback.format_exception(type(error), error, frames))
