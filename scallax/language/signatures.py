"""Signatures of functions and predicates, and the families of types in them."""

import re
from collections.abc import Sequence

from scallax.language.records import record
from scallax.language.values import ValueType

Family = frozenset[ValueType]
# A parameter or a result: one type of a family, or the type parameter with this number.
Parameter = Family | int

ANY = Family(ValueType)
INTEGERS = Family(type for type in ValueType if type.is_integer)
SIGNED = Family(type for type in INTEGERS if type.is_signed)
FLOATS = Family({ValueType.F32, ValueType.F64})
NUMBERS = INTEGERS | FLOATS
BOOL = Family({ValueType.BOOL})
_FAMILIES = {
    "Any": ANY,
    "Number": NUMBERS,
    "Integer": INTEGERS,
    "SignedInteger": SIGNED,
    "UnsignedInteger": INTEGERS - SIGNED,
    "Float": FLOATS,
}
_FAMILIES |= {type.value: Family({type}) for type in ValueType}
_FAMILY_NAMES = {family: name for name, family in _FAMILIES.items()}
_GENERIC_NAMES = "TUVWXYZABCDEFGHIJKLMNOPQRS"

_TEXT = re.compile(r"(\w+)(?:<T: (\w+)>|(<\w+>))?\((.*?)\)(?: -> (\w+))?")


@record
class Signature:
    """The signature `name<T: Family>(parameters) -> result`.

    `generics` are the families of the type parameters. The last `num_optional` parameters (before a variadic one) may
    be left out. If it `is_variadic`, the last parameter may be given any number of times, or not at all. A predicate
    has the result bool. `text` is the signature as errors show it.
    """

    text: str
    name: str
    generics: tuple[Family, ...]
    parameters: tuple[Parameter, ...]
    num_optional: int
    is_variadic: bool
    result: Parameter

    @classmethod
    def read(cls, text: str) -> "Signature":
        """Reads a signature with at most one type parameter `T` from its text, which it keeps."""
        found = _TEXT.fullmatch(text)
        assert found is not None, text
        name, generic, types, parameters, result = found.groups()
        words = parameters.split(", ") if parameters else []
        return cls(
            text,
            name + (types or ""),
            () if generic is None else (_FAMILIES[generic],),
            tuple(_parameter(word.rstrip("?.")) for word in words),
            sum(word.endswith("?") for word in words),
            text.count("...") == 1,
            _parameter(result or "bool"),
        )

    @property
    def is_generic(self) -> bool:
        return bool(self.generics)

    def parameters_of(self, count: int) -> tuple[Parameter, ...] | None:
        """The parameters for a call with `count` arguments; None if that number is not allowed."""
        single = self.parameters[:-1] if self.is_variadic else self.parameters
        rest = count - len(single)
        if rest + self.num_optional < 0 or (rest > 0 and not self.is_variadic):
            return None
        return single[:count] + self.parameters[-1:] * max(0, rest)


def show_parameter(parameter: Parameter) -> str:
    """A parameter as signatures show it: the name of its family, or its type parameter."""
    if isinstance(parameter, int):
        return _GENERIC_NAMES[parameter]
    return _FAMILY_NAMES.get(parameter) or " | ".join(sorted(map(str, parameter)))


def show_generics(generics: Sequence[Family]) -> str:
    """The type parameters as signatures show them; empty if there are none."""
    shown = ", ".join(f"{_GENERIC_NAMES[i]}: {show_parameter(family)}" for i, family in enumerate(generics))
    return f"<{shown}>" if shown else ""


def _parameter(word: str) -> Parameter:
    return 0 if word == "T" else _FAMILIES[word]
