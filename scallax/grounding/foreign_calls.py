"""Calls of Python functions: once for every distinct tuple of arguments of a grounding, with values of the language."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import islice
from numbers import Real
from typing import Any

import numpy as np

from scallax.errors import Diagnostic, ForeignError, Span
from scallax.grounding.conjunction import DerivationBuilder
from scallax.grounding.derivations import ONE
from scallax.grounding.symbols import Symbols, decode_values, encode_values
from scallax.language.foreign import ForeignAggregate, ForeignFunction, ForeignPredicate, OnError, traceback_of
from scallax.language.ir import print_value
from scallax.language.library import BUILT_IN, Library
from scallax.language.records import record
from scallax.language.tensors import SupportsArray, Tensor, TensorInputs, TensorTerm, TensorValue, TensorVariable
from scallax.language.values import Scalar, Value, ValueType, canonical_time, plain_value

# A predicate that yields more tuples for one row of inputs is refused: it may never end.
MOST_TUPLES = 1_000_000

_DROP_HINT = 'declared with `on_error="drop"`, it would drop the tuple instead'

Codes = tuple[int, ...]


@record
class Found:
    """The tuples of a predicate for one row of inputs: codes of the outputs, and an operand for each."""

    outputs: tuple[Codes, ...]
    operands: np.ndarray


@dataclass(slots=True)
class ForeignCalls:
    """The library of a program, and what its foreign functions gave so far, by codes of arguments."""

    library: Library = BUILT_IN
    _images: dict[tuple, dict[Codes, int | None]] = field(default_factory=dict)
    _matches: dict[tuple, dict[Codes, Found]] = field(default_factory=dict)

    def images(
        self,
        function: ForeignFunction,
        rows: Sequence[np.ndarray],
        num_rows: int,
        types: Sequence[ValueType],
        result: ValueType,
        symbols: Symbols,
        span: Span | None,
    ) -> list[int | None]:
        """The code of the value for each of distinct rows, columns of codes; None for no value. ForeignError."""
        known = self._images.setdefault((function.signature.name, *types, result), {})
        keys = _row_keys(rows, num_rows)
        unknown = [i for i, key in enumerate(keys) if key not in known]
        arguments = self._arguments(rows, unknown, types, symbols)
        caller = _Caller(f"${function.signature.name}", function.on_error, span, symbols)
        values = [_call_function(function, caller, row, result) for row in arguments]
        codes = iter(encode_values([value for value in values if value is not None], result, symbols).tolist())
        for i, value in zip(unknown, values, strict=True):
            known[keys[i]] = None if value is None else next(codes)
        return [known[key] for key in keys]

    def matches(
        self,
        predicate: ForeignPredicate,
        rows: Sequence[np.ndarray],
        num_rows: int,
        types: Sequence[ValueType],
        symbols: Symbols,
        builder: DerivationBuilder | None,
        span: Span | None,
    ) -> list[Found]:
        """The tuples for each of distinct rows of inputs. Without a builder tags do not count. ForeignError.

        Their literals are made with the first use of a row, in the order in which the tuples were yielded.
        """
        known = self._matches.setdefault((predicate.signature.name, *types), {})
        keys = _row_keys(rows, num_rows)
        unknown = [i for i, key in enumerate(keys) if key not in known]
        arguments = self._arguments(rows, unknown, types, symbols)
        caller = _Caller(predicate.signature.name, predicate.on_error, span, symbols)
        output_types = types[predicate.num_inputs :]
        for i, tuples in zip(unknown, _call_predicate(predicate, caller, arguments, output_types), strict=True):
            columns = zip(*(t.outputs for t in tuples), strict=True)
            codes = [encode_values(c, type, symbols).tolist() for c, type in zip(columns, output_types, strict=False)]
            outputs = tuple(zip(*codes, strict=True)) if codes else ((),) * len(tuples)
            known[keys[i]] = Found(outputs, _operands(tuples, builder))
        return [known[key] for key in keys]

    def aggregated(
        self,
        aggregate: ForeignAggregate,
        function: Callable,
        arguments: Sequence[object],
        types: Sequence[ValueType],
        symbols: Symbols,
        span: Span | None,
    ) -> Codes | None:
        """The codes of an aggregate's results, from a call of `function`; None for no result. ForeignError."""
        caller = _Caller(aggregate.signature.name, aggregate.on_error, span, symbols)
        returned = caller.call(function, (), *arguments)
        if returned is None:
            return None
        parts = returned if isinstance(returned, tuple) and len(types) != 1 else (returned,)
        if len(types) == 1 and isinstance(returned, tuple) and len(returned) == 1:
            parts = returned
        if len(parts) != len(types):
            caller.fail(f"`{aggregate.signature.name}` returned {_short(returned)}, not {_values(len(types))}")
            return None
        found = [caller.read(part, type, (), "returned") for part, type in zip(parts, types, strict=True)]
        values = [value for value in found if value is not None]
        if len(values) < len(found):
            return None
        return tuple(int(encode_values([v], type, symbols)[0]) for v, type in zip(values, types, strict=True))

    def stepped(
        self,
        aggregate: ForeignAggregate,
        arguments: Sequence[object],
        options: dict[str, Scalar],
        symbols: Symbols,
        span: Span | None,
    ) -> object:
        """The state after one step of a fold. ForeignError, also for a state that is not hashable."""
        caller = _Caller(aggregate.signature.name, "raise", span, symbols)

        def step(*arguments):
            state = aggregate.function(*arguments, **options)
            hash(state)
            return state

        return caller.call(step, (), *arguments)

    def given(self, values: Sequence[Value]) -> list[object]:
        """Values as functions of Python are given them."""
        return list(map(_given, values))

    def _arguments(
        self, rows: Sequence[np.ndarray], chosen: Sequence[int], types: Sequence[ValueType], symbols: Symbols
    ) -> list[tuple[Value, ...]]:
        places = np.array(chosen, np.int64)
        columns = [decode_values(column[places], type, symbols) for column, type in zip(rows, types, strict=False)]
        return list(zip(*columns, strict=True)) if columns else [()] * len(chosen)


def _given(value: Value) -> object:
    match value:
        case TensorValue(array=array):
            return array
        case TensorVariable() | TensorTerm():
            return value.inputs.given(value)
        case _:
            return value


def _row_keys(rows: Sequence[np.ndarray], num_rows: int) -> list[Codes]:
    return list(zip(*(column.tolist() for column in rows), strict=True)) if rows else [()] * num_rows


@dataclass(slots=True)
class _Caller:
    """Calls Python code and says what is wrong with it; `has_failed`: something was, and is to be dropped."""

    name: str
    on_error: OnError
    span: Span | None
    symbols: Symbols
    has_failed: bool = False

    def call(self, function: Callable, values: Sequence[Value], *arguments: object) -> object:
        """The result of the Python function; None if it raises and `on_error` is to drop."""
        try:
            return function(*arguments)
        except Exception as error:  # the user's code may raise anything
            self._raised(error, values)
            return None

    def iterate(self, function: Callable, values: Sequence[Value], *arguments: object) -> Iterator[object]:
        """The tuples that the Python function yields, up to an exception if `on_error` is to drop."""
        returned = self.call(function, values, *arguments)
        if not self.has_failed:
            yield from self.elements(returned, values, "it must yield tuples")

    def elements(self, returned: object, values: Sequence[Value], expected: str) -> Iterator[object]:
        """The elements of what was returned, up to where it raises if it may drop."""
        if not isinstance(returned, Iterable) or isinstance(returned, str):
            self.fail(f"`{self.shown(values)}` returned {returned!r}; {expected}")
            return
        try:
            yield from returned
        except Exception as error:  # the user's code may raise anything
            self._raised(error, values)

    def read(self, value: object, type: ValueType, arguments: Sequence[Value], verb: str) -> Value | None:
        """A value that Python gave, as one of the type; None if it is none, and is to be dropped."""
        found = read_value(value, type, self.symbols.tensors)
        if found is not None and (type is not ValueType.ENTITY or self.symbols.intern_terms([str(found)])[0] >= 0):
            return found
        shown = f"`{self.shown(arguments)}`" if arguments or self.name.startswith("$") else f"`{self.name}`"
        hint = None
        if type is ValueType.TENSOR and isinstance(value, SupportsArray):
            hint = "what is made for all calls is a constant of numbers on the host: detach it, and move it to the CPU"
        self.fail(f"{shown} {verb} {_short(value)}, which is no `{type}`", hint)
        return None

    def fail(self, message: str, hint: str | None = None) -> None:
        """Raises a ForeignError, or remembers that something is to be dropped."""
        if self.on_error == "raise":
            raise ForeignError(Diagnostic(message, self.span, hint or _DROP_HINT))
        self.has_failed = True

    def shown(self, values: Sequence[Value]) -> str:
        """The call as errors show it."""
        return f"{self.name}({', '.join(map(_short, values))})"

    def _raised(self, error: Exception, values: Sequence[Value]) -> None:
        if self.on_error == "drop":
            self.has_failed = True
            return
        shown = self.shown(values) if values or self.name.startswith("$") else self.name
        message = f"`{shown}` raised {type(error).__name__}: {error}"
        raise ForeignError(Diagnostic(message, self.span, _DROP_HINT, traceback_of(error))) from error


def read_value(value: object, type: ValueType, tensors: TensorInputs | None = None) -> Value | None:
    """A value of Python as one of the type, integers in range; None if it is none.

    `tensors` are those in facts, if some may be variables: so may what is computed of them.
    """
    if type is ValueType.TENSOR:
        if isinstance(value, Tensor):
            return value
        if not isinstance(value, SupportsArray):
            return None
        try:
            return TensorValue(value) if tensors is None else tensors.made(value)
        except (TypeError, ValueError, RuntimeError):  # no numbers, or a tensor that waits for its gradient
            return None
    if isinstance(value, SupportsArray) and not isinstance(value, str):
        try:
            array = np.asarray(value)
        except (TypeError, ValueError, RuntimeError):  # no array of numbers
            return None
        value = array.item() if array.shape == () else None
    if isinstance(value, date | timedelta):
        value = plain_value(value)
    if type.is_float and isinstance(value, float):
        return value
    if not type.admits(value):
        return None
    if type.is_time:
        return canonical_time(str(value), type)
    return float(value) if type.is_float else value  # pyright: ignore[reportArgumentType, reportReturnType]


def _values(count: int) -> str:
    return f"{count} value{'' if count == 1 else 's'}"


def _short(value: object) -> str:
    match value:
        case bool() | int() | float():
            return print_value(value, ValueType.I32)
        case str():
            text = print_value(value, ValueType.STRING)
        case _:
            text = str(value) if isinstance(value, Tensor) else repr(value)
    return text if len(text) <= 60 else f"{text[:50]}...{text[-7:]}"


@record
class _Tagged:
    """A tuple with its probability, None if it is certain, and its exclusive group."""

    outputs: tuple[Value, ...]
    tag: float | None
    group: int | None


def _call_function(
    function: ForeignFunction, caller: _Caller, values: tuple[Value, ...], result: ValueType
) -> Value | None:
    returned = caller.call(function, values, *map(_given, values))
    return None if returned is None else caller.read(returned, result, values, "returned")


def _call_predicate(
    predicate: ForeignPredicate, caller: _Caller, rows: Sequence[tuple[Value, ...]], types: Sequence[ValueType]
) -> Iterator[list[_Tagged]]:
    """The tuples that a predicate yields for each row; equal tuples without a tag come once.

    There are none if the function raises and `on_error` is to drop.
    """
    if predicate.batches is None:
        for row in rows:
            yield _read_tuples(predicate, caller, row, caller.iterate(predicate, row, *map(_given, row)), types)
        return
    size = predicate.batches.size or max(len(rows), 1)
    for start in range(0, len(rows), size):
        yield from _call_batch(predicate, caller, rows[start : start + size], types)


def _call_batch(
    predicate: ForeignPredicate, caller: _Caller, rows: Sequence[tuple[Value, ...]], types: Sequence[ValueType]
) -> list[list[_Tagged]]:
    caller.has_failed = False
    returned = caller.call(predicate, (), [tuple(map(_given, row)) for row in rows])
    found: list[object] = []
    if not caller.has_failed:
        expected = "it must return a list with the facts of each tuple of inputs"
        # The user's code may go on for ever.
        found = list(islice(caller.elements(returned, (), expected), len(rows) + 1))
    if not caller.has_failed and len(found) != len(rows):
        number = f"over {len(rows)}" if len(found) > len(rows) else len(found)
        message = f"`{caller.name}` returned the facts of {number} tuples of inputs for a batch of {len(rows)}"
        caller.fail(message, "return a list of facts for each, an empty one where there are none")
    if caller.has_failed:
        return [[] for _ in rows]
    expected = "its facts must be a list of tuples"
    return [
        _read_tuples(predicate, caller, row, caller.elements(facts, row, expected), types)
        for row, facts in zip(rows, found, strict=True)
    ]


def _read_tuples(
    predicate: ForeignPredicate,
    caller: _Caller,
    values: tuple[Value, ...],
    yielded: Iterator[object],
    types: Sequence[ValueType],
) -> list[_Tagged]:
    """The tuples that were yielded for one row, none if that fails and they may be dropped."""
    caller.has_failed = False
    elements = list(islice(yielded, MOST_TUPLES + 1))
    if caller.has_failed:
        return []
    if len(elements) > MOST_TUPLES:
        message = f"`{caller.shown(values)}` yielded over {MOST_TUPLES:,} tuples"
        raise ForeignError(Diagnostic(message, caller.span, "end it, or take a bound as another input"))
    found: dict[object, _Tagged] = {}
    for number, element in enumerate(elements):
        tagged = _read_element(predicate, caller, values, element, types)
        if tagged is not None:
            found.setdefault(tagged.outputs if tagged.tag is None and tagged.group is None else number, tagged)
    return list(found.values())


def _read_element(
    predicate: ForeignPredicate,
    caller: _Caller,
    values: tuple[Value, ...],
    element: object,
    types: Sequence[ValueType],
) -> _Tagged | None:
    """A tuple that a predicate yielded; None if it is false, or is to be dropped."""
    tag, outputs = None, element
    match element:
        case (tag, tuple() as outputs) if isinstance(element, tuple):
            if predicate.tags == "none" and tag is not None:
                hint = "annotate it with `scallax.Facts[float, ...]`"
                caller.fail(f"`{caller.shown(values)}` yielded a tag, {_short(tag)}, but declares none", hint)
                return None
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    if len(outputs) != len(types):
        caller.fail(f"`{caller.shown(values)}` yielded {_short(element)}, not {_values(len(types))}")
        return None
    read = _read_tag(predicate, caller, values, tag)
    if read is None:
        return None
    found = [caller.read(value, type, values, "yielded") for value, type in zip(outputs, types, strict=True)]
    known = tuple(value for value in found if value is not None)
    return _Tagged(known, *read) if len(known) == len(found) else None


def _read_tag(
    predicate: ForeignPredicate, caller: _Caller, values: tuple[Value, ...], tag: Any
) -> tuple[float | None, int | None] | None:
    """The probability of a tuple, None if it is certain, and its group; None if it is false, or is to be dropped."""
    group = None
    if predicate.tags == "exclusive" and isinstance(tag, tuple):
        if len(tag) != 2 or not isinstance(tag[1], int | np.integer):
            caller.fail(f"`{caller.shown(values)}` yielded the tag {_short(tag)}, no probability and group")
            return None
        tag, group = tag[0], int(tag[1])
    if tag is None or isinstance(tag, bool | np.bool_):
        return None if tag is not None and not tag else (None, group)
    if isinstance(tag, np.ndarray) and tag.shape == ():
        tag = tag.item()
    if isinstance(tag, Real) and 0 <= float(tag) <= 1:
        return float(tag), group
    is_array = isinstance(tag, SupportsArray)
    kind = f"a {type(tag).__name__}" if is_array else _short(tag)
    hint = "a tag is a number in [0, 1]"
    if is_array:
        # Facts are found once; what is learnt enters as an input.
        hint += ": no gradient passes through it; give probabilities that are learnt through an input mapping"
    caller.fail(f"`{caller.shown(values)}` yielded the tag {kind}", hint)
    return None


def _operands(tuples: Sequence[_Tagged], builder: DerivationBuilder | None) -> np.ndarray:
    """Operands of tuples: ONE for those without a tag, else literals."""
    operands = np.full(len(tuples), ONE)
    if builder is not None:
        # Tags are f32 numbers in the language.
        tags = np.array([np.nan if t.tag is None else t.tag for t in tuples], np.float32).astype(np.float64)
        groups = [t.group for t in tuples]
        alone = np.array([t.tag is not None and t.group is None for t in tuples], np.bool_)
        operands[alone] = builder.add_literals(tags[alone])
        if any(group is not None for group in groups):
            grouped = np.array([group is not None for group in groups], np.bool_)
            numbers = {group: i for i, group in enumerate(dict.fromkeys(g for g in groups if g is not None))}
            sets = np.array([numbers[group] for group in groups if group is not None], np.int64)
            # A certain member of a group still excludes the others.
            priors = np.nan_to_num(tags[grouped], nan=1.0)
            operands[grouped] = builder.add_exclusive(priors, sets)
    return operands
