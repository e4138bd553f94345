"""Tensors as values in tuples: constants, variables that gradients pass through, and terms over variables.

A constant is identified by its elements. A variable is a tensor of a framework, identified by the object itself; a term
is computed from variables. The tuples of a program do not depend on the elements of variables. So grounding does not
read these elements, and they may be traced.
"""

import base64
import binascii
import weakref
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import total_ordering
from typing import Any, Protocol, TypeGuard, runtime_checkable

import numpy as np

from scallax.errors import InputError
from scallax.language.records import record


@runtime_checkable
class SupportsArray(Protocol):
    """An object that NumPy reads as an array: an array of NumPy or JAX, or a tensor of torch."""

    def __array__(self) -> np.ndarray: ...


@total_ordering
class TensorValue:
    """A constant tensor in a tuple. `array` is a read-only NumPy array of numbers or bools.

    Tensors are ordered by shape, then dtype, then elements in row-major order; NaN equals NaN, and 0.0 equals -0.0.
    """

    __slots__ = ("_key", "array")

    def __init__(self, array: SupportsArray):
        """Copies the array. TypeError if its elements are not numbers."""
        # Adding 0 gives zeros one sign.
        found = np.array(np.asarray(array))
        if found.dtype.kind not in "biuf":
            raise TypeError(f"a tensor holds numbers or bools, not elements of dtype {found.dtype}")
        if found.dtype.kind == "f":
            found = np.where(np.isnan(found), found.dtype.type(np.nan), found + found.dtype.type(0))
        # The same bytes on every machine.
        found = np.ascontiguousarray(found, found.dtype.newbyteorder("<")).reshape(found.shape)
        found.setflags(write=False)
        self.array = found
        self._key = (found.shape, found.dtype.str, found.tobytes())

    @property
    def shape(self) -> tuple[int, ...]:
        """The lengths of the axes."""
        return self.array.shape

    def content(self) -> "TensorValue":
        """The tensor itself."""
        return self

    @classmethod
    def of_data(cls, data: object) -> "TensorValue":
        """The inverse of `data()`; ValueError if the data are no tensor."""
        match data:
            case {"dtype": str() as dtype, "shape": list() as shape, "data": str() as text, **rest} if not rest:
                try:
                    array = np.frombuffer(base64.b64decode(text, validate=True), np.dtype(dtype)).reshape(shape)
                    return cls(array)
                except (TypeError, ValueError, binascii.Error) as error:  # damaged or crafted data
                    raise ValueError(f"no tensor: {error}") from None
            case _:
                raise ValueError("a tensor has a dtype, a shape and data")

    def data(self) -> dict:
        """The tensor as JSON values."""
        shape, dtype, content = self._key
        return {"dtype": dtype, "shape": list(shape), "data": base64.b64encode(content).decode()}

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.array(self.array, dtype) if dtype is not None or copy else self.array

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TensorValue) and self._key == other._key

    def __lt__(self, other: "Tensor") -> bool:
        return order_key(self) < order_key(other)

    def __hash__(self) -> int:
        return hash(self._key)

    def __reduce__(self):
        return TensorValue, (self.array,)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        shown = np.array2string(self.array, separator=", ", threshold=8, edgeitems=2).replace("\n", "")
        return f"tensor({shown}, {self.array.dtype.name})"


@dataclass(frozen=True, slots=True, repr=False)
class TensorVariable:
    """A framework's tensor in a tuple: the one with this `number` in a batch or a context."""

    number: int
    shape: tuple[int, ...]
    # A weak reference to its collection: a cached batch must not keep its tensors alive.
    source: "weakref.ref[TensorInputs] | None" = field(default=None, compare=False)

    def content(self) -> TensorValue:
        """The elements, as a constant. InputError if they are not known (any more)."""
        return self.inputs.content(self)

    @property
    def inputs(self) -> "TensorInputs":
        """The collection of tensors to which it belongs. InputError if that no longer exists."""
        found = None if self.source is None else self.source()
        if found is None:
            raise InputError(f"the elements of {self} are no longer known")
        return found

    def __lt__(self, other: "Tensor") -> bool:
        return order_key(self) < order_key(other)

    def __reduce__(self):
        return TensorVariable, (self.number, self.shape)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"tensor {self.number} of shape {self.shape}"


@dataclass(frozen=True, slots=True, repr=False)
class TensorTerm:
    """`left op right` of tensors of one shape, or of a tensor and a number; the `dot` of two vectors has no axes."""

    op: str
    left: "Tensor"
    right: "Tensor | float"
    shape: tuple[int, ...]

    def content(self) -> TensorValue:
        """The elements, as a constant. InputError if they are not known (any more)."""
        return self.inputs.content(self)

    @property
    def inputs(self) -> "TensorInputs":
        """The collection of tensors to which its variables belong. InputError if that no longer exists."""
        return next(side.inputs for side in (self.left, self.right) if isinstance(side, TensorVariable | TensorTerm))

    def __lt__(self, other: "Tensor") -> bool:
        return order_key(self) < order_key(other)

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        return f"dot({self.left}, {self.right})" if self.op == "dot" else f"({self.left} {self.op} {self.right})"


Tensor = TensorValue | TensorVariable | TensorTerm


def is_variable(value: object) -> TypeGuard[TensorVariable | TensorTerm]:
    """Whether a value is a tensor that gradients pass through, a variable or a term."""
    return isinstance(value, TensorVariable | TensorTerm)


def order_key(tensor: Tensor | float) -> tuple:
    """The sort key of a tensor: constants come first, by their elements, then variables by number, then terms."""
    match tensor:
        case TensorValue(array=array):
            return 0, array.shape, array.dtype.str, array.ravel().tolist()
        case TensorVariable(number=number):
            return 1, number
        case TensorTerm(op=op, left=left, right=right):
            return 2, op, order_key(left), order_key(right)
        case _:
            return -1, tensor


def combine(op: str, left: Tensor, right: Tensor | float) -> Tensor:
    """`left op right`: `+ - *` of one shape, `dot` of two vectors of one length; `right` may be a number."""
    if isinstance(left, TensorValue) and isinstance(right, TensorValue | float):
        operand = right.array if isinstance(right, TensorValue) else right
        # Integers wrap, and floats overflow to infinity, as elements of arrays do.
        with np.errstate(all="ignore"):
            return TensorValue(OPERATIONS[op](left.array, operand))
    return TensorTerm(op, left, right, () if op == "dot" else left.shape)


OPERATIONS = {"+": np.add, "-": np.subtract, "*": np.multiply, "dot": np.dot}


@record
class Comparison:
    """A `soft_eq`, or `soft_neq` if negated, of two tensors of one shape, at least one of them a variable or a term."""

    is_negated: bool
    left: Tensor
    right: Tensor


class TensorFramework(Protocol):
    """The operations that tensors need from their framework, such as JAX or torch."""

    def is_variable(self, value: Any) -> bool:
        """Whether gradients should pass through an array."""
        ...

    def key(self, value: Any) -> Hashable:
        """A key that is equal for arrays with the same elements of the same variable."""
        ...

    def host(self, value: Any) -> np.ndarray:
        """The elements of an array on the host; TypeError, ValueError or RuntimeError if they are not known."""
        ...

    def combine(self, op: str, left: Any, right: Any) -> Any:
        """The function `combine` for an array of the framework and another array, a NumPy array or a number."""
        ...

    def compare(self, pairs: Sequence[tuple[Any, Any]], negated: np.ndarray) -> Any:
        """The similarity `(cos + 1) / 2` of each pair, `[pairs]`, or 1 minus it where `negated`.

        It is 1/2, without a gradient, where one of the two tensors is 0. The two of a pair are arrays of one shape, of
        the framework or of NumPy.
        """
        ...


class TensorInputs:
    """The tensors in the facts of a batch, or of a context.

    `tensors` are the variables by number. `was_read` is True once grounding has depended on elements of them.
    """

    def __init__(self, framework: TensorFramework, has_variables: bool = True):
        """Without `variables`, every tensor is a constant."""
        self.framework = framework
        self.tensors: list[Any] = []
        self.was_read = False
        self._has_variables = has_variables
        self._numbers: dict[Hashable, int] = {}

    def read(self, value: Any) -> Tensor:
        """The value for an array in tuples; TypeError, ValueError or RuntimeError if it cannot be in a tuple."""
        if not self._has_variables or not self.framework.is_variable(value):
            return TensorValue(self.framework.host(value))
        number = self._numbers.setdefault(self.framework.key(value), len(self.tensors))
        if number == len(self.tensors):
            self.tensors.append(value)
        return TensorVariable(number, tuple(value.shape), weakref.ref(self))

    def made(self, value: Any) -> Tensor:
        """The value for an array that foreign code has made during grounding; raises the same errors as `read`."""
        found = self.read(value)
        self.was_read |= is_variable(found)
        return found

    def given(self, tensor: TensorVariable | TensorTerm) -> Any:
        """The array of the framework, for foreign code that is called during grounding."""
        self.was_read = True
        return self.resolve([tensor])[0]

    def content(self, tensor: TensorVariable | TensorTerm) -> TensorValue:
        """The elements of a tensor, as a constant. InputError if they are not known."""
        try:
            return TensorValue(self.framework.host(self.given(tensor)))
        except (TypeError, ValueError, RuntimeError) as error:  # traced
            raise InputError(f"the elements of {tensor} are asked for, and not known: {error}") from None

    def resolve(self, tensors: Iterable[Tensor], variables: Sequence[Any] | None = None) -> list[Any]:
        """The arrays for some values; NumPy arrays for constants. `variables`, by number, may replace its own."""
        own = self.tensors if variables is None else variables
        known: dict[Tensor, Any] = {}
        return [self._resolve(tensor, own, known) for tensor in tensors]

    def _resolve(self, tensor: Tensor, variables: Sequence[Any], known: dict[Tensor, Any]) -> Any:
        match tensor:
            case TensorValue(array=array):
                return array
            case TensorVariable(number=number):
                return variables[number]
            case TensorTerm(op=op, left=left, right=right):
                if tensor not in known:
                    operand = right if isinstance(right, int | float) else self._resolve(right, variables, known)
                    known[tensor] = self.framework.combine(op, self._resolve(left, variables, known), operand)
                return known[tensor]

    def compare(self, comparisons: Sequence[Comparison], variables: Sequence[Any] | None = None) -> Any:
        """The probabilities of comparisons, an array `[comparisons]` of the framework; `variables` as in `resolve`."""
        sides = self.resolve((side for pair in comparisons for side in (pair.left, pair.right)), variables)
        pairs = list(zip(sides[::2], sides[1::2], strict=True))
        return self.framework.compare(pairs, np.array([pair.is_negated for pair in comparisons], np.bool_))


def cosine_similarity(left: np.ndarray, right: np.ndarray) -> float:
    """The cosine of the angle between two tensors of one shape, 0 if one of them is 0."""
    first, second = (array.astype(np.float64).ravel() for array in (left, right))
    norm = np.linalg.norm(first) * np.linalg.norm(second)
    return float(first @ second / norm) if norm > 0 else 0.0
