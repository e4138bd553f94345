"""Input and output mappings: which tuple each entry of a tensor stands for."""

import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np

from scallax.errors import Diagnostic, InputError, checks_calls
from scallax.facts.tensor_facts import Counter, GroupCounter, Retention, number_groups, sample_facts, split_samples
from scallax.grounding.symbols import Symbols
from scallax.grounding.terms import parse_term
from scallax.language.columns import Column, Rows, in_columns
from scallax.language.ir import Variant
from scallax.language.records import record, set_fields
from scallax.language.tensors import SupportsArray, Tensor, TensorInputs, TensorValue
from scallax.language.values import LARGEST_FLOAT, Value, ValueType, canonical_time, plain_value

Tuples = tuple[tuple[Value, ...], ...]

# The types of values that stand in tuples as they are.
PLAIN_KINDS = {bool, int, float, str}


@record
class Entries:
    """A mapping in normal form: the shape of the tensor it describes, and its tuples in row-major order."""

    shape: tuple[int, ...]
    tuples: Tuples

    def __str__(self) -> str:
        if self.shape == ():
            return show_tuple(self.tuples[0])
        shown = [show_tuple(t) if len(t) != 1 else show_value(t[0]) for t in self.tuples]
        if len(shown) > 6:
            shown = [*shown[:4], "...", shown[-1]]
        shape = "x".join(map(str, self.shape))
        return f"{shape} entries [{', '.join(shown)}]"


@checks_calls
@dataclass(frozen=True, slots=True, init=False)
class InputMapping:
    """The tuples that the entries of an input tensor `[batch, *shape]` stand for.

    The field `kind` says how the mapping was written: "list", "dict", "tuple" or "value", None for no mapping.
    `is_singleton` says whether it was written by values rather than by tuples, and `is_declared` whether it was said
    that the entries exclude each other, or that they do not.

    Args:
        mapping: A list or range of values or tuples (`shape` `(n,)`), lists of lists (one axis for each level), a
            dictionary `{0: values, 1: values, ...}` (the product, one axis for each key), one tuple or one value
            (`shape` `()`), or an InputMapping, whose options hold where none is given. None is no mapping: the relation
            takes lists of facts only.
        disjunctive: Whether all entries exclude each other, as those of a softmax do; None: they are independent.
        disjunctive_dim: The axis along which entries exclude each other, for every index of the other axes.
        retain_threshold: Entries below this number do not exist in their sample.
        retain_k: Only so many entries of a sample exist, the largest, at least 1.
        sample_dim: The axis along which `retain_k` counts, for every index of the other axes.
        sample_strategy: "top", or "categorical": the entries that exist are met in `retain_k` draws by probability,
            with replacement.
        supports_disjunctions: Whether `process_tensor` gives the numbers of exclusive groups.
        log: Whether the entries are logarithms of probabilities, as those of a `log_softmax`: at most 0, and minus
            infinity for what is impossible. `retain_threshold` is then such a number too.

    Raises:
        InputError: The mapping is none of these, or an option does not fit it.

    Example:
        >>> from scallax import InputMapping, Reasoner
        >>> digit = InputMapping(range(3), disjunctive=True)
        >>> digit.tuples
        ((0,), (1,), (2,))
        >>> InputMapping({0: range(2), 1: ["a", "b"]}).shape
        (2, 2)
    """

    entries: Entries
    disjunctive: bool
    disjunctive_dim: int | None
    retain_threshold: float | None
    retain_k: int | None
    sample_dim: int | None
    sample_strategy: str
    kind: str | None = field(compare=False, repr=False)
    is_singleton: bool = field(compare=False, repr=False)
    supports_disjunctions: bool = field(compare=False, repr=False)
    # Whether it was said that entries exclude each other, or that they do not.
    is_declared: bool = field(compare=False, repr=False)
    log: bool = False

    def __init__(
        self,
        mapping: object,
        disjunctive: bool | None = None,
        disjunctive_dim: int | None = None,
        retain_threshold: float | None = None,
        retain_k: int | None = None,
        sample_dim: int | None = None,
        sample_strategy: str = "top",
        supports_disjunctions: bool = False,
        log: bool | None = None,
    ):
        kind, is_singleton = _form(mapping)
        if isinstance(mapping, InputMapping):
            kind, is_singleton = mapping.kind, mapping.is_singleton
            if disjunctive is None and mapping.is_declared:
                disjunctive = mapping.disjunctive
            disjunctive_dim = mapping.disjunctive_dim if disjunctive_dim is None else disjunctive_dim
            retain_threshold = mapping.retain_threshold if retain_threshold is None else retain_threshold
            retain_k = mapping.retain_k if retain_k is None else retain_k
            sample_dim = mapping.sample_dim if sample_dim is None else sample_dim
            sample_strategy = mapping.sample_strategy if sample_strategy == "top" else sample_strategy
            log = mapping.log if log is None else log
            mapping = mapping.entries
        entries = mapping if isinstance(mapping, Entries) else _NONE
        if mapping is not None and not isinstance(mapping, Entries):
            entries = read_entries(mapping, "input mapping")
        if disjunctive is not None and not isinstance(disjunctive, bool):
            raise InputError(f"input mapping: `disjunctive` is {disjunctive!r}; it must be True or False")
        _check_dimension("disjunctive_dim", disjunctive_dim, entries.shape)
        _check_dimension("sample_dim", sample_dim, entries.shape)
        _check_retention(retain_threshold, retain_k, sample_strategy)
        if log is not None and not isinstance(log, bool):
            raise InputError(f"input mapping: `log` is {log!r}; it must be True or False")
        if log and sample_strategy == "categorical":
            raise InputError("input mapping: the sample strategy `categorical` draws by probabilities: leave `log` out")
        object.__setattr__(self, "entries", entries)
        object.__setattr__(self, "disjunctive", bool(disjunctive) or disjunctive_dim is not None)
        object.__setattr__(self, "is_declared", disjunctive is not None or disjunctive_dim is not None)
        object.__setattr__(self, "disjunctive_dim", disjunctive_dim)
        object.__setattr__(self, "retain_threshold", None if retain_threshold is None else float(retain_threshold))
        object.__setattr__(self, "retain_k", retain_k)
        object.__setattr__(self, "sample_dim", sample_dim)
        object.__setattr__(self, "sample_strategy", sample_strategy)
        object.__setattr__(self, "log", bool(log))
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "is_singleton", is_singleton)
        object.__setattr__(self, "supports_disjunctions", bool(supports_disjunctions))

    def __setstate__(self, values: Sequence[object]) -> None:
        set_fields(self, values)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one sample's tensor."""
        return self.entries.shape

    @property
    def dimension(self) -> int:
        """How many axes one sample's tensor has."""
        return len(self.shape)

    def __getitem__(self, index: int | tuple[int, ...]) -> tuple[Value, ...]:
        """The tuple of an entry. IndexError if there is none."""
        places = index if isinstance(index, tuple) else (index,)
        inside = all(-size <= place < size for place, size in zip(places, self.shape, strict=False))
        if len(places) != len(self.shape) or not inside:
            raise IndexError(f"a mapping of shape {self.shape} has no entry {index}")
        position = 0
        for place, size in zip(places, self.shape, strict=True):
            position = position * size + place % size
        return self.tuples[position]

    def all_tuples(self) -> list[tuple[Value, ...]]:
        """The tuples of the entries, in row-major order."""
        return list(self.tuples)

    def all_indices(self) -> list[tuple[int, ...]]:
        """The indices of the entries, in row-major order."""
        return list(itertools.product(*map(range, self.shape)))

    @property
    def tuples(self) -> Tuples:
        """The tuples of the entries, in row-major order."""
        return self.entries.tuples

    @property
    def retention(self) -> Retention | None:
        """The rule for the entries that exist in a sample; None: all."""
        if self.retain_threshold is None and self.retain_k is None:
            return None
        return Retention(self.retain_threshold, self.retain_k, self.sample_dim, self.sample_strategy == "categorical")

    @property
    def options(self) -> dict[str, Any]:
        """All but the entries that says what the mapping is, as the constructor takes it."""
        options = {name: getattr(self, name) for name in _OPTIONS}
        return options if self.is_declared else {**options, "disjunctive": None}

    @property
    def groups(self) -> np.ndarray | None:
        """int64 `[tuples]`: the exclusive group of each entry, numbered from 0; None if entries are independent."""
        if not self.disjunctive:
            return None
        if self.disjunctive_dim is None:
            return np.zeros(len(self.tuples), np.int64)
        others = [1 if axis == self.disjunctive_dim else size for axis, size in enumerate(self.shape)]
        groups = np.arange(math.prod(others), dtype=np.int64).reshape(others)
        return np.broadcast_to(groups, self.shape).reshape(-1)

    def process_tensor(
        self,
        tensor: Any,
        batched: bool = False,
        mutual_exclusion_counter: GroupCounter | None = None,
        *,
        seed: int = 0,
    ) -> list:
        """The facts that the entries of a tensor stand for, without those that the mapping does not retain.

        Args:
            tensor: `[*shape]`, or `[batch, *shape]`, of any framework whose tensors have `tolist`.
            batched: Whether the facts of a tensor `[*shape]` are in a list of samples as well.
            mutual_exclusion_counter: The counter that numbers exclusive groups, through all samples; by default from 0.
            seed: The seed of the strategy "categorical".

        Returns:
            Pairs of a scalar of the tensor and a tuple, in row-major order; for several samples a list of such lists.
            With `supports_disjunctions` the scalar is in a pair with the number of its exclusive group, None for none.

        Raises:
            InputError: The tensor has another shape, or the mapping is None.
        """
        if self.kind is None:
            raise InputError("a mapping of None says nothing of a tensor; give lists of facts")
        samples, is_list = split_samples(tensor, self.shape, batched)
        counter = Counter() if mutual_exclusion_counter is None else mutual_exclusion_counter
        random = np.random.default_rng(seed)
        facts = []
        for sample in samples:
            numbers = number_groups(self.groups, len(self.tuples), counter) if self.supports_disjunctions else None
            facts.append(sample_facts(sample, self.tuples, self.retention, numbers, random))
        return facts if is_list else facts[0]

    def __str__(self) -> str:
        given = [
            f"{name}={value}"
            for name, value in self.options.items()
            if value not in (None, False, "top") or (value == 0 and value is not False)
        ]
        return ", ".join([str(self.entries), *given])


# The fields in `options`; two mappings that are written differently may be equal.
_OPTIONS = ("disjunctive", "disjunctive_dim", "retain_threshold", "retain_k", "sample_dim", "sample_strategy", "log")

_NONE = Entries((0,), ())


def _form(mapping: object) -> tuple[str | None, bool]:
    """The kind of a mapping, and whether it is written by values."""
    match mapping:
        case None:
            return None, False
        case dict():
            return "dict", False
        case tuple() | Entries(shape=()):
            return "tuple", False
        case list() | range() | np.ndarray() | Entries():
            first: Any = mapping
            while isinstance(first, list | range | np.ndarray) and len(first):
                first = first[0]
            return "list", not isinstance(first, tuple | Entries)
        case _:
            return "value", True


def read_entries(mapping: object, what: str) -> Entries:
    """The normal form of any way to write a mapping; `what` names it in errors. InputError if it is none."""
    if isinstance(mapping, np.ndarray):
        mapping = mapping.tolist()
    match mapping:
        case dict():
            return _read_product(mapping, what)
        case list() | range():
            return _read_nested(mapping, what)
        case tuple() if any(isinstance(value, list | range) for value in mapping):
            hint = "the axes of a tensor are a dictionary: {0: range(5), 1: range(10)}"
            raise InputError(Diagnostic(f"{what}: a tuple is one fact, and has no lists or ranges in it", hint=hint))
        case tuple():
            return Entries((), (read_tuple(mapping, what),))
        case _ if is_value(mapping):
            return Entries((), ((_plain(mapping),),))
        case _:
            raise InputError(
                f"{what}: {type(mapping).__name__} is no mapping; give a range, a list of values or tuples, a tuple, "
                "a value or a dictionary of lists"
            )


# Says what to do about a fact whose tag is missing, or is a value of its tuple.
TAG_HINT = "a fact is `(tag, tuple)`: write `(None, tuple)` for a certain one"


def untagged_hint(tag: object, values: tuple, num_columns: int) -> str | None:
    """A hint where the first of two values was taken for a fact's tag; None if something else is wrong."""
    if len(values) != 1 or num_columns != 2 or isinstance(tag, bool) or not isinstance(tag, int | float | str):
        return None
    first = show_value(tag) if isinstance(tag, str) else f"{tag:g}"
    pair = f"({first}, {show_value(values[0]) if is_value(values[0]) else repr(values[0])})"
    return f"the first of a pair is its tag: if `{pair}` is the tuple, write `(None, {pair})`"


def fit_tuples(
    tuples: Iterable[tuple[Value, ...]],
    columns: Sequence[ValueType],
    what: str,
    variants: Sequence[Variant] = (),
    tags: Sequence[object] | None = None,
) -> Tuples:
    """The tuples as values of the column types: integers become floats in float columns, and `f32` values are rounded.

    Texts in columns of type Entity are terms of the `variants`, and become the one text of the term. InputError if a
    tuple has another length than `columns`, or a value that its column's type does not admit; `tags` are those that
    were given with the tuples.
    """
    rows = tuple(tuples)
    # A tuple of another length hides what comes after it.
    end = len(rows)
    if not {len(columns)}.issuperset(map(len, rows)):
        end = next(place for place, values in enumerate(rows) if len(values) != len(columns))
    given = in_columns(rows[:end]) or [()] * len(columns)
    unfit = _first_unfit(given, columns, variants) or ((end, 0) if end < len(rows) else None)
    if unfit is not None:
        raise _does_not_fit(rows, *unfit, columns, what, variants, tags)
    fitted = [_fit_column(values, type, variants) for values, type in zip(given, columns, strict=True)]
    # Most facts stand as they are.
    return rows if all(map(operator.is_, fitted, given)) else tuple(zip(*fitted, strict=True))


def fit_rows(
    rows: Rows,
    columns: Sequence[ValueType],
    what: str,
    variants: Sequence[Variant] = (),
    tags: Sequence[object] | None = None,
) -> list[Column]:
    """The columns of `fit_tuples`, of tuples that stand in columns: the same object for one that stands as it is."""
    given = rows.columns
    if not rows:
        return [Column.of(()) for _ in columns]
    unfit = (0, 0) if len(given) != len(columns) else _first_unfit(given, columns, variants)
    if unfit is not None:
        raise _does_not_fit(rows, *unfit, columns, what, variants, tags)
    fitted = [_fit_column(values, type, variants) for values, type in zip(given, columns, strict=True)]
    return [Column.of(column) for column in fitted]


def _first_unfit(
    given: Sequence[Sequence[Value]], columns: Sequence[ValueType], variants: Sequence[Variant]
) -> tuple[int, int] | None:
    """The row and the column of the first value that does not fit, of the first row with one; None if all fit."""
    unfit = [
        (place, number)
        for number, (values, type) in enumerate(zip(given, columns, strict=True))
        if (place := _find_unfit(values, type, variants)) is not None
    ]
    return min(unfit, default=None)


def _does_not_fit(
    rows: Sequence[tuple[Value, ...]],
    place: int,
    number: int,
    columns: Sequence[ValueType],
    what: str,
    variants: Sequence[Variant],
    tags: Sequence[object] | None,
) -> InputError:
    """The error of the value in a column `number` of a row, or of the row's length."""
    entry = f"{what}: entry {place}, {show_tuple(rows[place])},"
    hint = None if tags is None else untagged_hint(tags[place], rows[place], len(columns))
    return InputError(Diagnostic(f"{entry} {_problem(rows[place], number, columns, variants)}", hint=hint))


def _find_unfit(values: Sequence[Value], type: ValueType, variants: Sequence[Variant]) -> int | None:
    """The place of the first value that does not fit a column of a type."""
    if isinstance(values, Column) and values.distinct is not None:
        return values.find(lambda value: _find_unfit((value,), type, variants) is not None)
    place = type.find_unfit(values)
    if type is ValueType.ENTITY:
        terms = values if place is None else values[:place]
        wrong = (i for i, text in enumerate(terms) if isinstance(parse_term(str(text), variants), str))
        return next(wrong, place)
    return place


def _problem(values: tuple[Value, ...], number: int, columns: Sequence[ValueType], variants: Sequence[Variant]) -> str:
    """The problem of a tuple: its length, or the value in the column `number`."""
    if len(values) != len(columns):
        return f"has {len(values)} values, but the relation has {len(columns)} columns"
    value, type = values[number], columns[number]
    reason = parse_term(str(value), variants) if type.admits(value) else f"{show_value(value)} is no {type}"
    return f"does not fit: {reason} (column {number + 1})"


def _fit_column(values: Sequence[Value], type: ValueType, variants: Sequence[Variant]) -> Sequence[Value]:
    """Values that fit a column of a type as it holds them: the same object if that changes nothing."""
    if isinstance(values, Column) and type.is_float:
        # A number beyond the range of f32 rounds to infinity, as in the language.
        with np.errstate(over="ignore"):
            return Column(values.numbers().astype(np.float32 if type is ValueType.F32 else np.float64, copy=False))
    if isinstance(values, Column):
        if values.distinct is None:
            return values
        fitted = _fit_column(values.distinct, type, variants)
        return values if fitted is values.distinct else Column(values.array, fitted)
    match type:
        case ValueType.F32:
            # As above.
            with np.errstate(over="ignore"):
                return np.array(values, np.float64).astype(np.float32).tolist()
        case ValueType.F64:
            return np.array(values, np.float64).tolist()
        case ValueType.DATETIME | ValueType.DURATION:
            return [canonical_time(str(value), type) or str(value) for value in values]
        case ValueType.ENTITY:
            symbols = Symbols(variants)
            return symbols.term_texts(symbols.intern_terms([str(value) for value in values]))
        case _:
            return values


def fit_entries(entries: Entries, columns: Sequence[ValueType], what: str, variants: Sequence[Variant] = ()) -> Entries:
    """The entries with tuples that fit the columns; InputError if two are equal (`f32` values after rounding)."""
    tuples = fit_tuples(entries.tuples, columns, what, variants)
    first: dict[tuple[Value, ...], int] = {}
    for position, values in enumerate(tuples):
        if first.setdefault(values, position) != position:
            raise InputError(f"{what}: entry {position}, {show_tuple(values)}, is a duplicate of entry {first[values]}")
    return Entries(entries.shape, tuples)


def typical_tuples(tuples: Iterable[tuple[Value, ...]]) -> Tuples:
    """Few tuples that say as much about column types as all of them: one for each kind of value in each column."""
    met: set[tuple] = set()
    seen: set[tuple] = set()
    typical = []
    for values in tuples:
        kinds = tuple(map(_kind, values))
        if kinds in met:
            continue
        met.add(kinds)
        placed = {(len(kinds), column, kind) for column, kind in enumerate(kinds)} or {()}
        if not placed <= seen:
            seen |= placed
            typical.append(values)
    return tuple(typical)


def typical_rows(rows: Rows) -> Tuples:
    """The `typical_tuples` of tuples that stand in columns; most rows are not looked at."""
    if not rows.columns or len(rows) <= 1:
        return tuple(rows)[:1]
    # Rows with equal numbers have values of equal kinds.
    number = np.zeros(len(rows), np.int64)
    for column in rows.columns:
        kinds = _number_kinds(column)
        _, number = np.unique(number * (1 + kinds.max()) + kinds, return_inverse=True)
    first = np.full(1 + number.max(), len(rows))
    np.minimum.at(first, number, np.arange(len(rows)))
    return typical_tuples(rows.take(np.sort(first)))


def _number_kinds(column: Column) -> np.ndarray:
    """A number for the kind of each value, equal for values of one kind."""
    if column.distinct is None:
        return (column.array < 0 if column.array.dtype.kind == "i" else np.zeros(len(column))).astype(np.int64)
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(_kind(value), len(numbers)) for value in column.distinct])[column.array]


def show_tuple(values: tuple[Value, ...]) -> str:
    """A tuple as a program writes it: `(1, "a")`."""
    return f"({', '.join(map(show_value, values))})"


def show_value(value: Value) -> str:
    """A value as a program writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        case _:
            return repr(value)


def read_tuple(values: tuple, what: object, tensors: TensorInputs | None = None) -> tuple[Value, ...]:
    """The tuple with NumPy scalars as Python values; InputError if something in it is no value.

    The text of `what` names the tuple in errors. `tensors` are those in facts, if some may be variables.
    """
    if PLAIN_KINDS.issuperset(map(type, values)):
        return values
    for value in values:
        if isinstance(value, list | range):
            raise InputError(f"{what}: it is ragged: a list stands beside values")
        if not is_value(value) and not is_tensor(value):
            raise InputError(f"{what}: {value!r} is no value; a value is an integer, a float, a bool or a string")
    return tuple(_plain(value) if is_value(value) else _read_tensor(value, what, tensors) for value in values)


def is_tensor(value: object) -> bool:
    """Whether a Python object is an array, which a value of type Tensor may stand for."""
    return isinstance(value, SupportsArray) and not isinstance(value, TensorValue | np.generic | type)


def _read_tensor(value, what: object, tensors: TensorInputs | None) -> Tensor:
    try:
        return TensorValue(value) if tensors is None else tensors.read(value)
    except (TypeError, ValueError, RuntimeError) as error:  # no numbers, traced, on an accelerator, or with a gradient
        message = f"{what}: it has an array that is no constant tensor on the host: {error}"
        hint = (
            "a tensor that requires a gradient is a value of facts in a call, or of a context"
            if tensors is None
            else None
        )
        raise InputError(Diagnostic(message, hint=hint)) from None


def _read_product(mapping: dict, what: str) -> Entries:
    if not mapping or set(mapping) != set(range(len(mapping))):
        raise InputError(f"{what}: the keys of a dictionary are the axes 0, 1, ...; it has {list(mapping)}")
    axes = []
    for axis in range(len(mapping)):
        values = mapping[axis].tolist() if isinstance(mapping[axis], np.ndarray) else mapping[axis]
        if not isinstance(values, list | range) or not values or not all(map(is_value, values)):
            raise InputError(f"{what}: axis {axis} must be a non-empty list or range of values")
        axes.append([_plain(value) for value in values])
    return Entries(tuple(map(len, axes)), tuple(itertools.product(*axes)))


def _read_nested(mapping: list | range, what: str) -> Entries:
    elements: list = [mapping]
    shape: list[int] = []
    while isinstance(elements[0], list | range):
        lengths = {len(e) if isinstance(e, list | range) else -1 for e in elements}
        if 0 in lengths:
            raise InputError(f"{what}: it is empty" + (f" in dimension {len(shape)}" if shape else ""))
        if len(lengths) > 1:
            raise InputError(f"{what}: it is ragged: the lists of dimension {len(shape)} differ in length")
        shape.append(lengths.pop())
        elements = [inner for outer in elements for inner in outer]
    tuples = tuple(read_tuple(e if isinstance(e, tuple) else (e,), what) for e in elements)
    arities = {len(t) for t in tuples}
    if len(arities) > 1:
        raise InputError(f"{what}: its tuples differ in length: {', '.join(map(str, sorted(arities)))}")
    return Entries(tuple(shape), tuples)


def is_value(value: object) -> bool:
    """Whether a Python object can stand in a tuple."""
    return isinstance(value, bool | int | float | str | date | timedelta | np.bool_ | np.integer | np.floating | Tensor)


def _plain(value) -> Value:
    return value.item() if isinstance(value, np.generic) else plain_value(value)


def _kind(value: Value) -> object:
    """The part of a value that tells the types of the columns in which it may stand."""
    if isinstance(value, str):
        return str, len(value) == 1
    kind = type(value)
    return (int, value < 0) if isinstance(value, int) and kind is not bool else kind


def is_finite_number(value: object) -> bool:
    """Whether a Python object is a finite float, or an int that is not beyond all floats, and no bool."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return -LARGEST_FLOAT <= value <= LARGEST_FLOAT


def _check_retention(threshold: object, k: object, strategy: object) -> None:
    if threshold is not None and not is_finite_number(threshold):
        raise InputError(f"input mapping: `retain_threshold` is {threshold!r}; it must be a finite number")
    if k is not None and (isinstance(k, bool) or not isinstance(k, int) or k < 1):
        raise InputError(f"input mapping: `retain_k` is {k!r}; it must be a positive integer")
    if strategy not in ("top", "categorical"):
        raise InputError(f"input mapping: unknown sample strategy {strategy!r}; use `top` or `categorical`")
    if strategy == "categorical" and k is None:
        raise InputError("input mapping: the sample strategy `categorical` needs `retain_k`, the number of draws")


def _check_dimension(name: str, dimension: int | None, shape: tuple[int, ...]) -> None:
    if dimension is None:
        return
    if isinstance(dimension, bool) or not isinstance(dimension, int) or not 0 <= dimension < len(shape):
        raise InputError(
            f"input mapping: `{name}` is {dimension!r}, but the mapping has {len(shape)} dimensions, counted from 0"
        )
