"""The built-in predicates: relations that are computed from some of their arguments."""

import re
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from scallax.kernels.row_sets import expand_ranges
from scallax.language.functions import day_of, month_of, year_of
from scallax.language.records import record
from scallax.language.signatures import Signature
from scallax.language.tensors import Comparison, Tensor, TensorValue, cosine_similarity
from scallax.language.values import Value


@record
class Matches:
    """The tuples that a predicate gives for rows of inputs.

    Args:
        rows: The input row of each tuple, in ascending order.
        outputs: The output columns in native dtypes.
    """

    rows: np.ndarray
    outputs: tuple[np.ndarray, ...]


@record
class Predicate:
    """The implementation of a predicate whose first `num_inputs` arguments must be bound.

    Exactly one of the functions is given. `columns` takes the inputs as columns of native dtypes; `values` takes the
    inputs of one distinct row. `probability` gives, for each row, the probability of its one tuple, a random variable
    of its own every time; NaN means no tuple. `weight` gives such a probability for one distinct row, or the object
    from which it will be computed; None means no tuple. `count` tells the number of matches of each row, if it may be
    very large.
    """

    signature: Signature
    num_inputs: int
    columns: Callable[..., Matches] | None = None
    values: Callable[..., Iterable[tuple[Value, ...]]] | None = None
    probability: Callable[..., np.ndarray] | None = None
    weight: Callable[..., float | Comparison | None] | None = None
    count: Callable[..., np.ndarray] | None = None

    @property
    def has_literals(self) -> bool:
        """Whether each row gets a literal of its own."""
        return self.probability is not None or self.weight is not None


def _range_count(end_offset: int) -> Callable[..., np.ndarray]:
    return lambda first, end: np.maximum(end.astype(np.float64) - first.astype(np.float64) + end_offset, 0)


def _range(end_offset: int) -> Callable[..., Matches]:
    def columns(first: np.ndarray, end: np.ndarray) -> Matches:
        is_filled = (first < end) if end_offset == 0 else (first <= end)
        # Differences may wrap around where the range is empty, and are small elsewhere.
        counts = np.where(is_filled, end - first, 0).astype(np.int64) + end_offset * is_filled.astype(np.int64)
        rows, offsets = expand_ranges(np.zeros(len(counts), np.int64), counts)
        return Matches(rows, (first[rows] + offsets.astype(first.dtype),))

    return columns


def _nearly_equal(left: np.ndarray, right: np.ndarray) -> Matches:
    return Matches(np.flatnonzero(np.abs(left - right) < 0.001), ())


def _ymd(instants: np.ndarray) -> Matches:
    return Matches(np.arange(len(instants)), (year_of(instants), month_of(instants), day_of(instants)))


def _sigmoid(differences: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-differences.astype(np.float64)))


def _hyperbolic_secant(differences: np.ndarray) -> np.ndarray:
    return 1 / np.cosh(differences.astype(np.float64))


def _byte_indices(text: str) -> list[tuple[int]]:
    return [(index,) for index in range(len(text.encode()))]


def _find(text: str, pattern: str) -> list[tuple[int, int]]:
    """Matches that do not overlap: the byte offset where each begins, and that offset plus its number of characters."""
    places = (len(text[: found.start()].encode()) for found in re.finditer(re.escape(pattern), text))
    return [(place, place + len(pattern)) for place in places]


def _split(text: str, pattern: str) -> list[tuple[str]]:
    """The texts between matches; an empty pattern matches before and behind every character."""
    return [(part,) for part in (text.split(pattern) if pattern else ["", *text, ""])]


def _compare(is_negated: bool, left: Tensor, right: Tensor) -> float | Comparison | None:
    """The cosine of the angle between two tensors of one shape, mapped from [-1, 1] to [0, 1]; or 1 minus that."""
    if left.shape != right.shape:
        return None
    if not isinstance(left, TensorValue) or not isinstance(right, TensorValue):
        return Comparison(is_negated, left, right)
    closeness = min(max((cosine_similarity(left.array, right.array) + 1) / 2, 0.0), 1.0)
    return 1 - closeness if is_negated else closeness


def _axes(tensor: Tensor) -> Iterable[tuple[int, int]]:
    return enumerate(tensor.shape)


def _predicate(text: str, num_inputs: int, **functions: Callable) -> Predicate:
    return Predicate(Signature.read(text), num_inputs, **functions)


# The range with its end included, which programs write as `x in a..=b` only.
INCLUSIVE_RANGE = "range="

PREDICATES = {
    "range": _predicate("range<T: Integer>(T, T, T)", 2, columns=_range(0), count=_range_count(0)),
    INCLUSIVE_RANGE: _predicate("range<T: Integer>(T, T, T)", 2, columns=_range(1), count=_range_count(1)),
    "float_eq": _predicate("float_eq<T: Float>(T, T)", 2, columns=_nearly_equal),
    "soft_eq": _predicate("soft_eq<T: Float>(T, T)", 2, probability=lambda x, y: _hyperbolic_secant((x - y) / 2)),
    "soft_neq": _predicate("soft_neq<T: Float>(T, T)", 2, probability=lambda x, y: 1 - _hyperbolic_secant((x - y) / 2)),
    "soft_gt": _predicate("soft_gt<T: Float>(T, T)", 2, probability=lambda x, y: _sigmoid(x - y)),
    "soft_lt": _predicate("soft_lt<T: Float>(T, T)", 2, probability=lambda x, y: _sigmoid(y - x)),
    "soft_eq<Tensor>": _predicate("soft_eq<Tensor>(Tensor, Tensor)", 2, weight=partial(_compare, False)),
    "soft_neq<Tensor>": _predicate("soft_neq<Tensor>(Tensor, Tensor)", 2, weight=partial(_compare, True)),
    # Each row gets a random variable of its own with the tag 1; so it is certain where tags are probabilities.
    "new_tag_variable": _predicate("new_tag_variable()", 0, probability=lambda: np.ones(1)),
    "string_chars": _predicate("string_chars(String, usize, char)", 1, values=enumerate),
    "string_index": _predicate("string_index(String, usize)", 1, values=_byte_indices),
    "string_find": _predicate("string_find(String, String, usize, usize)", 2, values=_find),
    "string_split": _predicate("string_split(String, String, String)", 2, values=_split),
    "tensor_shape": _predicate("tensor_shape(Tensor, usize, i64)", 1, values=_axes),
    "datetime_ymd": _predicate("datetime_ymd(DateTime, i32, u32, u32)", 1, columns=_ymd),
}


def makes_literals(name: str) -> bool:
    """Whether each row of a predicate gets a literal of its own; the tuples of a foreign predicate share theirs."""
    return name in PREDICATES and PREDICATES[name].has_literals


def expected_matches(name: str, inputs: Sequence[Value | None], num_outputs: int) -> float:
    """An estimate of the number of tuples that match one row; None stands for an input that is not a constant."""
    count = PREDICATES[name].count if name in PREDICATES else None
    if count is None or any(value is None for value in inputs):
        return _TYPICAL_MATCHES if num_outputs else 1.0
    return float(count(*(np.array(value, object) for value in inputs)))


_TYPICAL_MATCHES = 10.0
