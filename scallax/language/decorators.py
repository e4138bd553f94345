"""Decorators that turn Python functions into functions, predicates, aggregates and attributes of the language."""

import inspect
import re
import typing
from collections.abc import Callable, Sequence
from typing import TypeVar, overload

from scallax.errors import Diagnostic, InputError, checks_call
from scallax.language.foreign import (
    Batches,
    Fold,
    ForeignAggregate,
    ForeignAttribute,
    ForeignFunction,
    ForeignPredicate,
    OnError,
    Tags,
    signature_of,
)
from scallax.language.signatures import Parameter
from scallax.language.types import BatchedFacts, BatchedTuples, Facts, GenericTypeParameter, TypeReader, value_type

_NAME = re.compile(r"[A-Za-z][A-Za-z_0-9]*\Z")
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_OPTION_TYPES = (bool, int, float, str)
# Marks that `initial` was not given: None is a valid first state.
_NO_FOLD = object()


@overload
def foreign_function(function: Callable, /) -> ForeignFunction: ...
@overload
def foreign_function(
    *,
    name: str | None = None,
    arg_types: Sequence[object] | None = None,
    opt_arg_types: Sequence[object] | None = None,
    var_arg_type: object = None,
    ret_type: object = None,
    on_error: OnError = "raise",
    suppress_warning: bool = False,
) -> Callable[[Callable], ForeignFunction]: ...
@checks_call
def foreign_function(
    function: Callable | None = None,
    /,
    *,
    name: str | None = None,
    arg_types: Sequence[object] | None = None,
    opt_arg_types: Sequence[object] | None = None,
    var_arg_type: object = None,
    ret_type: object = None,
    on_error: OnError = "raise",
    suppress_warning: bool = False,
) -> ForeignFunction | Callable[[Callable], ForeignFunction]:
    """Makes the function `$name(…)` of the language from a Python function.

    A program gets it through the argument `foreign=[…]`. The types are read from the annotations: value types such as
    `scallax.i32`, families such as `scallax.Number`, type parameters (`scallax.Generic(family)` or `typing.TypeVar`),
    or Python's `int` (any integer type), `float` (`f32`, `f64`), `bool` and `str` (`String`). Arrays are of type
    `Tensor`. A parameter with a default is optional, and `*args` is variadic.

    The Python function receives and returns int, float, bool and str. Dates, durations and terms are passed as their
    texts, and tensors as read-only NumPy arrays. The function must be pure: each grounding calls it once for every
    distinct tuple of arguments. A result of None means that there is no value, and drops the tuple.

    If the function raises, or returns a value that its type cannot hold, the run of the program ends
    with a `ForeignError`.

    Args:
        function: The Python function. Leave it out to give options: `@foreign_function(name="f")`.
        name: The name in programs, without the `$`. Default: the name of the Python function.
        arg_types: Types of the required parameters, in the place of annotations.
        opt_arg_types: Types of the optional parameters, in the place of annotations.
        var_arg_type: Type of the variadic parameter, in the place of an annotation.
        ret_type: Type of the result, in the place of an annotation: one type, or a type parameter that an argument has.
        on_error: `"raise"` ends the program if the function raises; `"drop"` drops the tuple.
        suppress_warning: True is the same as `on_error="drop"`; the reference's name for it.

    Returns:
        The foreign function, which can still be called from Python; with options alone, a decorator that makes one.

    Raises:
        InputError: The function cannot be declared: an annotation is missing, an argument is keyword-only, or the
            result is a family of types.

    Example:
        >>> import scallax
        >>> @scallax.foreign_function
        ... def double(x: scallax.i32) -> scallax.i32:
        ...     return 2 * x
        >>> context = scallax.Context(foreign=[double])
        >>> context.add_program("rel number = {1, 2}  rel doubled($double(x)) = number(x)")
        >>> context.run()
        >>> list(context.relation("doubled"))
        [(2,), (4,)]
    """

    def declare(function: Callable) -> ForeignFunction:
        what, named = _check(function, name, "function")
        reader = TypeReader(what)
        annotations = _Annotations(function, what)
        if arg_types is None and opt_arg_types is None and var_arg_type is None:
            required, optional, variadic = annotations.parameters(reader)
        else:
            required = [reader.parameter(type, f"argument {i + 1}") for i, type in enumerate(arg_types or ())]
            optional = [
                reader.parameter(type, f"optional argument {i + 1}") for i, type in enumerate(opt_arg_types or ())
            ]
            variadic = [] if var_arg_type is None else [reader.parameter(var_arg_type, "`var_arg_type`")]
            annotations.check_count(len(required), len(optional), bool(variadic))
        result = reader.result(annotations.result() if ret_type is None else ret_type, "the result")
        signature = signature_of(
            named,
            tuple(reader.generics),
            (*required, *optional, *variadic),
            len(optional),
            bool(variadic),
            result,
        )
        return ForeignFunction(signature, function, _on_error(what, on_error, suppress_warning))

    return declare if function is None else declare(function)


@overload
def foreign_predicate(function: Callable, /) -> ForeignPredicate: ...
@overload
def foreign_predicate(
    *,
    name: str | None = None,
    type_params: Sequence[object] | None = None,
    input_arg_types: Sequence[object] | None = None,
    output_arg_types: Sequence[object] | None = None,
    tag_type: object = None,
    batched: bool = False,
    batch_size: int | None = None,
    on_error: OnError = "raise",
    suppress_warning: bool = False,
) -> Callable[[Callable], ForeignPredicate]: ...
@checks_call
def foreign_predicate(
    function: Callable | None = None,
    /,
    *,
    name: str | None = None,
    type_params: Sequence[object] | None = None,
    input_arg_types: Sequence[object] | None = None,
    output_arg_types: Sequence[object] | None = None,
    tag_type: object = None,
    batched: bool = False,
    batch_size: int | None = None,
    on_error: OnError = "raise",
    suppress_warning: bool = False,
) -> ForeignPredicate | Callable[[Callable], ForeignPredicate]:
    """Makes the predicate `name(inputs, outputs)` of the language from a Python generator function.

    A program gets it through the argument `foreign=[…]`. The arguments of the Python function are the inputs, which the
    body of a rule must bind. The function yields tuples of the outputs. Annotate its result as `scallax.Facts[tag type,
    tuple[output types]]`; in these annotations `int` means `i32` and `float` means `f32`.

    The function must be pure: each grounding calls it once for every distinct tuple of inputs. Tags are constants:
    numbers in [0, 1], True or None for certain tuples, or pairs of a number and the number of an exclusive group. A
    tagged tuple is one random variable wherever it is used. Errors are treated as by `foreign_function`. One call may
    yield up to a million tuples.

    Args:
        function: The Python function. Leave it out to give options: `@foreign_predicate(name="p")`.
        name: The name in programs. Default: the name of the Python function.
        type_params: Value types in angle brackets: with `[scallax.Tensor]`, programs write `name<Tensor>(…)`.
        input_arg_types: Types of the inputs, in the place of annotations.
        output_arg_types: Types of the outputs, in the place of the annotation of the result; then `tag_type` counts
            too.
        tag_type: Type of the tags: None, `bool`, `float`, or `tuple[float, int]` for exclusive groups.
        batched: True: the function takes one list of input tuples, `scallax.BatchedTuples[input types]`, and returns a
            list with the facts of each, `scallax.BatchedFacts[tag type, tuple[output types]]`.
        batch_size: The largest number of input tuples in one batched call. Default: no bound.
        on_error: `"raise"` ends the program if the function raises; `"drop"` drops the tuples of that call.
        suppress_warning: True is the same as `on_error="drop"`; the reference's name for it.

    Returns:
        The foreign predicate, which can still be called from Python; with options alone, a decorator that makes one.

    Raises:
        InputError: The function cannot be declared, for example because its result is not annotated as facts.

    Example:
        >>> import scallax
        >>> @scallax.foreign_predicate
        ... def near(x: int) -> scallax.Facts[float, tuple[int]]:
        ...     yield 0.5, (x - 1,)
        ...     yield 0.5, (x + 1,)
        >>> context = scallax.Context("minmaxprob", foreign=[near])
        >>> context.add_program("rel start = {3}  rel reached(y) = start(x) and near(x, y)")
        >>> context.run()
        >>> list(context.relation("reached"))
        [(0.5, (2,)), (0.5, (4,))]
    """

    def declare(function: Callable) -> ForeignPredicate:
        what, named = _check(function, name, "predicate")
        reader = TypeReader(what)
        annotations = _Annotations(function, what)
        batches = _read_batches(what, batched, batch_size)
        tag, outputs = tag_type, output_arg_types
        if outputs is None:
            tag, outputs = annotations.facts(BatchedFacts if batches is not None else Facts)
        if input_arg_types is None:
            inputs = annotations.inputs(reader) if batches is None else annotations.batched_inputs(reader)
        else:
            inputs = [_column(reader, type, f"input {i + 1}") for i, type in enumerate(input_arg_types)]
            annotations.check_count(len(inputs) if batches is None else 1, 0, False)
        columns = []
        for i, type in enumerate(outputs):
            where = f"output {i + 1}"
            is_generic = isinstance(type, GenericTypeParameter | TypeVar)
            columns.append(reader.result(type, where) if is_generic else reader.column(type, where))
        types = [value_type(type) for type in type_params or ()]
        if None in types:
            raise InputError(f"{what}: `type_params` are value types such as `scallax.i32`, not {type_params!r}")
        if types and reader.generics:
            raise InputError(
                f"{what}: it has `type_params`, and type parameters in its annotations; use one of the two"
            )
        full = f"{named}<{', '.join(map(str, types))}>" if types else named
        signature = signature_of(full, tuple(reader.generics), (*inputs, *columns))
        tags = _read_tags(what, tag)
        on_raise = _on_error(what, on_error, suppress_warning)
        return ForeignPredicate(signature, len(inputs), tags, function, on_raise, batches)

    return declare if function is None else declare(function)


@overload
def foreign_aggregate(function: Callable, /) -> ForeignAggregate: ...
@overload
def foreign_aggregate(
    *,
    name: str | None = None,
    arg_types: Sequence[object] | None = None,
    ret_type: object = None,
    initial: object = _NO_FOLD,
    finish: Callable | None = None,
    on_error: OnError = "raise",
    suppress_warning: bool = False,
) -> Callable[[Callable], ForeignAggregate]: ...
@checks_call
def foreign_aggregate(
    function: Callable | None = None,
    /,
    *,
    name: str | None = None,
    arg_types: Sequence[object] | None = None,
    ret_type: object = None,
    initial: object = _NO_FOLD,
    finish: Callable | None = None,
    on_error: OnError = "raise",
    suppress_warning: bool = False,
) -> ForeignAggregate | Callable[[Callable], ForeignAggregate]:
    """Makes the aggregate `name(x: …)` of the language from a Python function.

    A program gets it through the argument `foreign=[…]`. The Python function takes the list of a group's tuples in
    value order: `list[T]` for one binding, `list[tuple[A, B]]` for several. It returns a value or a tuple of values;
    None means that the group has no result.

    The function is called for every set of tuples that may hold: 2^n times for a group with n uncertain tuples, of
    which there may be at most 16. `name!(…)` takes all tuples at once.

    With `initial` the aggregate is a fold: `function(state, x)` takes in one tuple after the other in value order, and
    `finish` turns the last state into the result. A fold needs as many calls as there are different states, which is
    often far fewer than 2^n.

    Keyword-only arguments with defaults are options that programs give in angle brackets: `name<0.25>(x: …)`. Types and
    errors are treated as by `foreign_function`.

    Args:
        function: The Python function. Leave it out to give options: `@foreign_aggregate(initial=0)`.
        name: The name in programs. Default: the name of the Python function.
        arg_types: Types of the bindings, in the place of annotations.
        ret_type: Type of the result, or a tuple of types, in the place of an annotation.
        initial: The state of a fold before any tuple; it must be hashable, as must all later states.
        finish: Function from the last state of a fold to the result. Default: the result is the last state.
        on_error: `"raise"` ends the program if the function raises; `"drop"` gives the group no result.
        suppress_warning: True is the same as `on_error="drop"`; the reference's name for it.

    Returns:
        The foreign aggregate, which can still be called from Python; with options alone, a decorator that makes one.

    Raises:
        InputError: The function cannot be declared, a state is not hashable, or `finish` is given without `initial`.

    Example:
        >>> import scallax
        >>> @scallax.foreign_aggregate
        ... def spread(values: list[scallax.i32]) -> scallax.i32:
        ...     return max(values) - min(values)
        >>> context = scallax.Context(foreign=[spread])
        >>> context.add_program("rel size = {3, 8, 5}  rel width(d) = d := spread(s: size(s))")
        >>> context.run()
        >>> list(context.relation("width"))
        [(5,)]
    """

    def declare(function: Callable) -> ForeignAggregate:
        what, named = _check(function, name, "aggregate")
        reader = TypeReader(what)
        annotations = _Annotations(function, what)
        is_fold = initial is not _NO_FOLD
        if finish is not None and not is_fold:
            raise InputError(f"{what}: `finish` needs a fold; give `initial`, the state of no tuple")
        if arg_types is not None:
            values = [reader.parameter(type, f"value {i + 1}") for i, type in enumerate(arg_types)]
            if is_fold:
                annotations.check_count(1 + len(values), 0, False)
        else:
            values = annotations.folded(reader) if is_fold else annotations.listed(reader)
        if is_fold:
            _check_hashable(what, initial)
        given = ret_type
        if given is None:
            given = annotations.result() if finish is None else _Annotations(finish, f"`finish` of {what}").result()
        parts = typing.get_args(given) if typing.get_origin(given) is tuple else (given,)
        results = tuple(reader.result(part, "the result") for part in parts)
        generics = tuple(reader.generics)
        signature = signature_of(named, generics, tuple(values), results=results)
        fold = Fold(initial, finish) if is_fold else None
        options = annotations.options()
        return ForeignAggregate(
            signature, results, options, function, fold, _on_error(what, on_error, suppress_warning)
        )

    return declare if function is None else declare(function)


@overload
def foreign_attribute(function: Callable, /) -> ForeignAttribute: ...
@overload
def foreign_attribute(*, name: str | None = None) -> Callable[[Callable], ForeignAttribute]: ...
@checks_call
def foreign_attribute(
    function: Callable | None = None, /, *, name: str | None = None
) -> ForeignAttribute | Callable[[Callable], ForeignAttribute]:
    """Makes the attribute `@name(…)` of the language from a Python function.

    A program gets it through the argument `foreign=[…]`. The function is called once for each item that the attribute
    stands before, when the program is compiled. Its first argument is that item (a
    `scallax.analysis.attribute_items.Item`), and the attribute's own arguments follow. It returns one of these:

    - None: the item stays as it is.
    - A foreign function or predicate: the program has it from then on, in the place of the item.
    - An action of `scallax.analysis.attribute_items`.
    - A list of these.

    Args:
        function: The Python function. Leave it out to give a name: `@foreign_attribute(name="a")`.
        name: The name in programs, without the `@`. Default: the name of the Python function.

    Returns:
        The foreign attribute; with a name alone, a decorator that makes one.

    Raises:
        InputError: The object is not callable, or the name is not a name of the language.

    Example:
        >>> import scallax
        >>> @scallax.foreign_attribute
        ... def constant(item, value):
        ...     return scallax.foreign_function(lambda: value, name=item.function_decl_name(), ret_type=scallax.i32)
        >>> context = scallax.Context(foreign=[constant])
        >>> context.add_program("@constant(7) type $seven() -> i32  rel answer($seven())")
        >>> context.run()
        >>> list(context.relation("answer"))
        [(7,)]
    """

    def declare(function: Callable) -> ForeignAttribute:
        _, named = _check(function, name, "attribute")
        return ForeignAttribute(named, function)

    return declare if function is None else declare(function)


class _Annotations:
    """The types that a Python function's annotations give for its parameters and its result."""

    def __init__(self, function: Callable, what: str):
        self._what = what
        try:
            self._signature = inspect.signature(function)
        except (TypeError, ValueError):  # some functions written in C have no signature
            self._signature = None
        try:
            self._hints = typing.get_type_hints(function, include_extras=True)
        except (NameError, TypeError, AttributeError, SyntaxError) as error:  # an annotation names something unknown
            hint = "define what annotations name before the function, or give the types as arguments of the decorator"
            raise InputError(Diagnostic(f"{what}: its annotations cannot be read: {error}", hint=hint)) from None

    def parameters(self, reader: TypeReader) -> tuple[list[Parameter], list[Parameter], list[Parameter]]:
        """The required, optional and variadic parameters."""
        required, optional, variadic = [], [], []
        for parameter in self._parameters():
            kinds = required if parameter.default is parameter.empty else optional
            match parameter.kind:
                case inspect.Parameter.VAR_POSITIONAL:
                    kinds = variadic
                case inspect.Parameter.KEYWORD_ONLY | inspect.Parameter.VAR_KEYWORD:
                    raise InputError(f"{self._what}: `{parameter.name}` is a keyword, which programs cannot give")
            kinds.append(reader.parameter(self._annotation(parameter), f"`{parameter.name}`"))
        return required, optional, variadic

    def inputs(self, reader: TypeReader) -> list[Parameter]:
        """The types of a predicate's parameters, all of which are required."""
        found = []
        for parameter in self._parameters():
            if parameter.kind not in _POSITIONAL or parameter.default is not parameter.empty:
                hint = "the inputs of a predicate are arguments without defaults"
                raise InputError(Diagnostic(f"{self._what}: `{parameter.name}` is no such input", hint=hint))
            found.append(_column(reader, self._annotation(parameter), f"`{parameter.name}`"))
        return found

    def batched_inputs(self, reader: TypeReader) -> list[Parameter]:
        """The inputs of a predicate that takes a list of tuples."""
        parameters = self._parameters()
        if len(parameters) != 1 or parameters[0].kind not in _POSITIONAL:
            hint = "its one argument is a list of tuples of inputs"
            raise InputError(
                Diagnostic(f"{self._what}: it is batched, and takes {len(parameters)} arguments", hint=hint)
            )
        annotation = self._annotation(parameters[0])
        parts = typing.get_args(annotation)
        if typing.get_origin(annotation) is list and len(parts) == 1 and typing.get_origin(parts[0]) is tuple:
            parts = typing.get_args(parts[0])
        elif typing.get_origin(annotation) is not BatchedTuples:
            hint = "annotate it as `scallax.BatchedTuples[scallax.i32, str]`, or give `input_arg_types`"
            raise InputError(Diagnostic(f"{self._what}: `{parameters[0].name}` is no list of tuples", hint=hint))
        return [_column(reader, part, f"input {i + 1}") for i, part in enumerate(parts)]

    def listed(self, reader: TypeReader) -> list[Parameter]:
        """The types of the tuples in the list, an aggregate's one argument."""
        parameters = [p for p in self._parameters() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        if len(parameters) != 1 or parameters[0].kind not in _POSITIONAL:
            message = f"{self._what}: an aggregate takes one argument, the list of values"
            raise InputError(Diagnostic(message, hint="with `initial` it is a fold of a state and values"))
        annotation = self._annotation(parameters[0])
        if typing.get_origin(annotation) is not list:
            hint = "annotate it as `list[scallax.f64]`, or as `list[tuple[...]]` for several bindings"
            raise InputError(Diagnostic(f"{self._what}: `{parameters[0].name}` is no list", hint=hint))
        (element,) = typing.get_args(annotation)
        parts = typing.get_args(element) if typing.get_origin(element) is tuple else (element,)
        return [reader.parameter(part, f"`{parameters[0].name}`") for part in parts]

    def folded(self, reader: TypeReader) -> list[Parameter]:
        """The types of a fold's values, the parameters after the state."""
        positional = [p for p in self._parameters() if p.kind is not inspect.Parameter.KEYWORD_ONLY]
        if len(positional) < 2 or any(parameter.kind not in _POSITIONAL for parameter in positional):
            raise InputError(f"{self._what}: a fold takes a state and the values of the bindings")
        return [reader.parameter(self._annotation(p), f"`{p.name}`") for p in positional[1:]]

    def options(self) -> tuple[tuple[str, bool | int | float | str], ...]:
        """The keyword-only parameters with their defaults."""
        found = []
        if self._signature is None:
            return ()
        for parameter in self._parameters():
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                raise InputError(f"{self._what}: `**{parameter.name}` has no names that programs could give")
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                if type(parameter.default) not in _OPTION_TYPES:
                    hint = "give it a default that is a bool, an int, a float or a str"
                    raise InputError(Diagnostic(f"{self._what}: the option `{parameter.name}` has no type", hint=hint))
                found.append((parameter.name, parameter.default))
        return tuple(found)

    def result(self) -> object:
        """The annotation of the result."""
        if "return" not in self._hints:
            hint = "annotate it with `->`, or give `ret_type`"
            raise InputError(Diagnostic(f"{self._what}: its result has no annotation", hint=hint))
        return self._hints["return"]

    def facts(self, form: type) -> tuple[object, Sequence[object]]:
        """The types of the tag and of the outputs in `Facts[…]` or `BatchedFacts[…]`; `form` says which is expected."""
        annotation = self._hints.get("return")
        if typing.get_origin(annotation) is form:
            tag, outputs = typing.get_args(annotation)
            tag = None if tag is type(None) else tag
            if typing.get_origin(outputs) is tuple:
                return tag, typing.get_args(outputs)
            if isinstance(outputs, tuple):
                return tag, outputs
            # A single type belongs to a predicate with one output.
            return tag, () if outputs is tuple else (outputs,)
        name = form.__name__
        hint = f"annotate it with `-> scallax.{name}[None, tuple[scallax.i32]]`, or give `output_arg_types`"
        raise InputError(Diagnostic(f"{self._what}: its result is not annotated as facts", hint=hint))

    def check_count(self, num_required: int, num_optional: int, is_variadic: bool) -> None:
        """InputError if the function cannot be called with the declared number of arguments."""
        if self._signature is None:
            return
        arguments = [None] * (num_required + num_optional + is_variadic)
        try:
            self._signature.bind(*arguments)
            self._signature.bind(*arguments[:num_required])
        except TypeError as error:  # the function takes another number of arguments
            declared = f"{num_required} to {len(arguments)}" if len(arguments) > num_required else str(num_required)
            raise InputError(f"{self._what}: {declared} arguments are declared: {error}") from None

    def _parameters(self) -> list[inspect.Parameter]:
        if self._signature is None:
            hint = "give the types as arguments of the decorator"
            raise InputError(Diagnostic(f"{self._what}: Python does not tell its parameters", hint=hint))
        return list(self._signature.parameters.values())

    def _annotation(self, parameter: inspect.Parameter) -> object:
        if parameter.name not in self._hints:
            hint = "annotate it, as in `x: scallax.i32`, or give the types as arguments of the decorator"
            raise InputError(Diagnostic(f"{self._what}: `{parameter.name}` has no annotation", hint=hint))
        return self._hints[parameter.name]


def _check(function: object, name: object, kind: str) -> tuple[str, str]:
    """The words for the declared item in errors, and its name. InputError if one of them is not valid."""
    if not callable(function):
        raise InputError(f"a foreign {kind} is made from a Python function, not from {function!r}")
    named = getattr(function, "__name__", None) if name is None else name
    if not isinstance(named, str) or not _NAME.match(named):
        hint = "give `name=`: a letter, then letters, digits and `_`"
        raise InputError(Diagnostic(f"{named!r} is no name of a foreign {kind}", hint=hint))
    return f"foreign {kind} `{'$' if kind == 'function' else '@' if kind == 'attribute' else ''}{named}`", named


def _column(reader: TypeReader, annotation: object, where: str) -> Parameter:
    """The type of a predicate's input; `int` and `float` stand for one type each here."""
    if value_type(annotation) is not None:
        return reader.column(annotation, where)
    return reader.parameter(annotation, where)


def _read_batches(what: str, batched: object, batch_size: object) -> Batches | None:
    if not isinstance(batched, bool):
        raise InputError(f"{what}: `batched` is {batched!r}; it must be True or False")
    if batch_size is None:
        return Batches() if batched else None
    if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
        raise InputError(f"{what}: `batch_size` is {batch_size!r}; it must be a positive integer")
    if not batched:
        raise InputError(Diagnostic(f"{what}: it has a `batch_size`", hint="give `batched=True` as well"))
    return Batches(batch_size)


def _read_tags(what: str, tag: object) -> Tags:
    if tag is None or tag is type(None):
        return "none"
    if tag is bool or (value_type(tag) is not None and value_type(tag).is_float):  # pyright: ignore[reportOptionalMemberAccess]
        return "probability"
    if typing.get_origin(tag) is tuple and len(typing.get_args(tag)) == 2:
        return "exclusive"
    hint = "tags are None, `bool`, `float`, or `tuple[float, int]`: a probability and an exclusive group"
    raise InputError(Diagnostic(f"{what}: {tag!r} is no type of tags", hint=hint))


def _on_error(what: str, on_error: object, suppress_warning: object) -> OnError:
    if not isinstance(suppress_warning, bool):
        raise InputError(f"{what}: `suppress_warning` is {suppress_warning!r}; it must be True or False")
    match on_error:
        case "raise":
            return "drop" if suppress_warning else "raise"
        case "drop":
            return "drop"
        case _:
            raise InputError(f'{what}: `on_error` is {on_error!r}; it must be "raise" or "drop"')


def _check_hashable(what: str, initial: object) -> None:
    try:
        hash(initial)
    except TypeError as error:  # a list, a dictionary
        hint = "use a number, a text or a tuple"
        raise InputError(Diagnostic(f"{what}: states must be hashable: {error}", hint=hint)) from None
