"""Signatures of built-in functions and predicates, and the families of types that they range over."""

import re
from dataclasses import dataclass

from scallax.values import ValueType

Family = frozenset[ValueType]

INTEGERS = Family(type for type in ValueType if type.is_integer)
FLOATS = Family({ValueType.F32, ValueType.F64})
_FAMILIES = {"Any": Family(ValueType), "Integer": INTEGERS, "Float": FLOATS, "Number": INTEGERS | FLOATS}
_FAMILIES |= {type.value: Family({type}) for type in ValueType}

_TEXT = re.compile(r"(\w+)(?:<T: (\w+)>)?\((.*?)\)(?: -> (\w+))?")


@dataclass(frozen=True, slots=True)
class Signature:
    """`name<T: Family>(parameters) -> result`, read from that text.

    A parameter or result that is None is of the generic type, one of `generic`. The last `num_optional` parameters may
    be left out; `is_variadic`: the last may be given any number of times, none included.
    """

    text: str
    name: str
    generic: Family
    parameters: tuple[Family | None, ...]
    num_optional: int
    is_variadic: bool
    result: Family | None

    @classmethod
    def read(cls, text: str) -> "Signature":
        found = _TEXT.fullmatch(text)
        assert found is not None, text
        name, generic, parameters, result = found.groups()
        words = parameters.split(", ") if parameters else []
        return cls(
            text,
            name,
            _FAMILIES[generic or "Any"],
            tuple(_family(word.rstrip("?.")) for word in words),
            sum(word.endswith("?") for word in words),
            text.count("...") == 1,
            _family(result or "bool"),
        )

    @property
    def is_generic(self) -> bool:
        return None in (*self.parameters, self.result)

    def parameters_of(self, count: int) -> tuple[Family | None, ...] | None:
        """The parameters that `count` arguments are for; None if no call has so many."""
        if self.is_variadic:
            first = self.parameters[:-1]
            rest = count - len(first)
            return None if rest < 0 else first + self.parameters[-1:] * rest
        if not len(self.parameters) - self.num_optional <= count <= len(self.parameters):
            return None
        return self.parameters[:count]


def _family(word: str) -> Family | None:
    return None if word == "T" else _FAMILIES[word]
