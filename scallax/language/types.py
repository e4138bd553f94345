"""Value types of the language and families of them, for annotations and arguments in Python."""

import builtins
import typing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated, Protocol, TypeVar, TypeVarTuple

from scallax.errors import Diagnostic, InputError
from scallax.language import signatures
from scallax.language.records import record
from scallax.language.signatures import Family, Parameter
from scallax.language.tensors import SupportsArray
from scallax.language.values import ValueType

# Annotations for type checkers; their metadata is the type of the language.
i8 = Annotated[int, ValueType.I8]
i16 = Annotated[int, ValueType.I16]
i32 = Annotated[int, ValueType.I32]
i64 = Annotated[int, ValueType.I64]
i128 = Annotated[int, ValueType.I128]
isize = Annotated[int, ValueType.ISIZE]
u8 = Annotated[int, ValueType.U8]
u16 = Annotated[int, ValueType.U16]
u32 = Annotated[int, ValueType.U32]
u64 = Annotated[int, ValueType.U64]
u128 = Annotated[int, ValueType.U128]
usize = Annotated[int, ValueType.USIZE]
f32 = Annotated[float, ValueType.F32]
f64 = Annotated[float, ValueType.F64]
bool = Annotated[builtins.bool, ValueType.BOOL]
char = Annotated[str, ValueType.CHAR]
String = Annotated[str, ValueType.STRING]
Symbol = Annotated[str, ValueType.SYMBOL]
DateTime = Annotated[str, ValueType.DATETIME]
Duration = Annotated[str, ValueType.DURATION]
Entity = Annotated[str, ValueType.ENTITY]
Tensor = Annotated[SupportsArray, ValueType.TENSOR]

Any = Annotated[typing.Any, signatures.ANY]
Number = Annotated[float, signatures.NUMBERS]
Integer = Annotated[int, signatures.INTEGERS]
SignedInteger = Annotated[int, signatures.SIGNED]
UnsignedInteger = Annotated[int, signatures.INTEGERS - signatures.SIGNED]
Float = Annotated[float, signatures.FLOATS]

# The meaning of Python's own types as annotations: for parameters, and in places that need a single type.
_PYTHON_FAMILIES = {int: signatures.INTEGERS, float: signatures.FLOATS, typing.Any: signatures.ANY}
_PYTHON_TYPES = {int: ValueType.I32, float: ValueType.F32, builtins.bool: ValueType.BOOL, str: ValueType.STRING}
_TENSOR_CLASSES = {("numpy", "ndarray"), ("jax", "Array"), ("torch", "Tensor")}


class GenericTypeParameter:
    """A type parameter: all annotations with the same one stand for the same type, any type of the `family`.

    Where type checkers read the annotations, `typing.TypeVar("T", bound=scallax.Number)` says the same.

    Args:
        family: The types that it ranges over, such as `scallax.Number`, or one value type. Default: all types.

    Raises:
        InputError: `family` is neither a family nor a value type.

    Example:
        >>> import scallax
        >>> T = scallax.Generic(scallax.Number)
        >>> @scallax.foreign_function
        ... def twice(x: T) -> T:
        ...     return x + x
        >>> print(twice)
        function $twice<T: Number>(T) -> T
    """

    __slots__ = ("family",)

    def __init__(self, family: object = Any):
        """Takes the family; see the class."""
        found = _known(family)
        if found is None:
            raise InputError(f"{family!r} is no family of types; there are {', '.join(_FAMILY_NAMES)}")
        self.family = found

    def __repr__(self) -> str:
        return f"Generic({signatures.show_parameter(self.family)})"


# The reference has two names for it.
Generic = GenericTypeParameter

_FAMILY_NAMES = ("Any", "Number", "Integer", "SignedInteger", "UnsignedInteger", "Float")

Tag = TypeVar("Tag", covariant=True)
Outputs = TypeVar("Outputs", covariant=True)
Inputs = TypeVarTuple("Inputs")


class Facts(Protocol[Tag, Outputs]):
    """The tuples that a foreign predicate yields, as the annotation of its result.

    - `Facts[None, tuple[...]]`: tuples, which are certain.
    - `Facts[float, tuple[...]]`: pairs `(probability, tuple)`.
    - `Facts[bool, tuple[...]]`: pairs `(truth, tuple)`; True is certain, and tuples with False are left out.
    - `Facts[tuple[float, int], tuple[...]]`: pairs `((probability, group), tuple)`. Tuples that one call yields with
      the same group number exclude each other.
    """

    def __iter__(self) -> Iterator[Outputs | tuple[Tag | builtins.bool | None, Outputs]]: ...


class BatchedTuples(list[tuple[*Inputs]], typing.Generic[*Inputs]):
    """The annotation of a batched predicate's argument: `BatchedTuples[scallax.i32, str]`, a list of input tuples.

    Args:
        iterable: The tuples; calls of the function get them in a plain list.

    Example:
        >>> import scallax
        >>> @scallax.foreign_predicate(batched=True)
        ... def size(words: scallax.BatchedTuples[str]) -> scallax.BatchedFacts[None, tuple[int]]:
        ...     return [[(len(word),)] for (word,) in words]
        >>> size([("ab",), ("abc",)])
        [[(2,)], [(3,)]]
    """


class BatchedFacts(Protocol[Tag, Outputs]):
    """The annotation of a batched predicate's result: `Facts` of the same parameters for each input tuple."""

    def __iter__(self) -> Iterator[Iterable[Outputs | tuple[Tag | builtins.bool | None, Outputs]]]: ...


@dataclass(slots=True)
class TypeReader:
    """Reads annotations as types of the language.

    Args:
        what: The declaration that is read, as errors call it.
        parameters: The type parameters met so far, in order; a type parameter is referred to by its place here.
        generics: The family that each of them ranges over.
    """

    what: str
    # The type parameters, and the family that each ranges over.
    parameters: list[GenericTypeParameter | TypeVar] = field(default_factory=list)
    generics: list[Family] = field(default_factory=list)

    def parameter(self, annotation: object, where: str) -> Parameter:
        """The family that an annotation stands for, or the number of a type parameter. InputError if it is neither."""
        if isinstance(annotation, GenericTypeParameter | TypeVar):
            if annotation not in self.parameters:
                self.generics.append(self._family(annotation, where))
                self.parameters.append(annotation)
            return self.parameters.index(annotation)
        found = _known(annotation)
        if found is None:
            raise self.unknown(annotation, where)
        return found

    def result(self, annotation: object, where: str) -> Parameter:
        """One type, or the number of a type parameter that was met before.

        A family is an InputError: no value says which of its types is meant.
        """
        if isinstance(annotation, GenericTypeParameter | TypeVar):
            if annotation not in self.parameters:
                message = f"{self.what}: {where} is of a type parameter that no parameter has"
                raise InputError(Diagnostic(message, hint="annotate a parameter with it, or name one type"))
            return self.parameters.index(annotation)
        found = _known(annotation)
        if found is None:
            raise self.unknown(annotation, where)
        if len(found) > 1:
            message = f"{self.what}: {where} is of the family `{signatures.show_parameter(found)}`"
            example = "f64" if found <= signatures.FLOATS else "i32"
            hint = f"say which type: `scallax.{example}`, or a type parameter, `scallax.Generic(...)`"
            raise InputError(Diagnostic(message, hint=hint))
        return found

    def column(self, annotation: object, where: str) -> Family:
        """One type; Python's own types stand for one type each. InputError if the annotation is not a type."""
        found = value_type(annotation)
        if found is None:
            raise self.unknown(annotation, where)
        return Family({found})

    def _family(self, parameter: GenericTypeParameter | TypeVar, where: str) -> Family:
        """The types that a type parameter ranges over; for a `TypeVar` its constraints, its bound, or all types."""
        if isinstance(parameter, GenericTypeParameter):
            return parameter.family
        parts = parameter.__constraints__ or (() if parameter.__bound__ is None else (parameter.__bound__,))
        families = [_known(part) for part in parts]
        if None in families:
            raise self.unknown(parameter, where)
        return Family().union(*(family for family in families if family is not None)) if parts else signatures.ANY

    def unknown(self, annotation: object, where: str) -> InputError:
        """The error for an annotation that is not a type."""
        hint = "use a type such as `scallax.i32` or `scallax.String`, or int, float, bool or str"
        return InputError(Diagnostic(f"{self.what}: {where} has the annotation {annotation!r}, no type", hint=hint))


@record
class TypeNode:
    """A type as the program writes it.

    Args:
        name: The name in the program.
        value_type: The type that the name stands for; None if the name is not declared.
    """

    name: str
    value_type: ValueType | None

    def __getattr__(self, name: str) -> Callable[[], builtins.bool]:
        """Methods such as `is_i32()`, which say whether it is that type."""
        wanted = next((type for type in ValueType if name == f"is_{type.value.lower()}"), None)
        if wanted is None:
            raise AttributeError(f"a type has no {name!r}; there are `is_i32` and the like for the other types")
        return lambda: self.value_type is wanted


def value_type(annotation: object) -> ValueType | None:
    """The single type that an annotation such as `scallax.i32` or `int` stands for; None if there is none."""
    if isinstance(annotation, type) and annotation in _PYTHON_TYPES:
        return _PYTHON_TYPES[annotation]
    found = _known(annotation)
    return next(iter(found)) if found is not None and len(found) == 1 else None


def _known(annotation: object) -> Family | None:
    match annotation:
        case TypeNode(value_type=ValueType() as known):
            return Family({known})
        case ValueType():
            return Family({annotation})
        case frozenset() if annotation and all(isinstance(part, ValueType) for part in annotation):
            return annotation
        case str():
            return next((Family({type}) for type in ValueType if type.value == annotation), None)
        case type() if annotation in _PYTHON_FAMILIES:
            return _PYTHON_FAMILIES[annotation]
        case type() if annotation in _PYTHON_TYPES:
            return Family({_PYTHON_TYPES[annotation]})
        case type() if (annotation.__module__.split(".")[0], annotation.__name__) in _TENSOR_CLASSES:
            return Family({ValueType.TENSOR})
        case typing.Any:
            return signatures.ANY
    if typing.get_origin(annotation) is Annotated:
        return next((found for found in map(_known, typing.get_args(annotation)[1:]) if found is not None), None)
    return None
