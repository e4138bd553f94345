"""Sets of types: those that a value, an operation or a cast may have, and how errors name them."""

from collections.abc import Sequence
from functools import cache

from scallax.language.signatures import ANY, BOOL, FLOATS, INTEGERS, NUMBERS, SIGNED
from scallax.language.values import Value, ValueType
from scallax.syntax import ast
from scallax.syntax.ast import ConstantKind

TypeSet = frozenset[ValueType]

STRING = TypeSet({ValueType.STRING})
CHAR = TypeSet({ValueType.CHAR})
ENTITY = TypeSet({ValueType.ENTITY})
SYMBOL = TypeSet({ValueType.SYMBOL})
USIZE = TypeSet({ValueType.USIZE})
I32 = TypeSet({ValueType.I32})
DATETIME = TypeSet({ValueType.DATETIME})
DURATION = TypeSet({ValueType.DURATION})
TENSOR = TypeSet({ValueType.TENSOR})
F64 = TypeSet({ValueType.F64})
# In arithmetic with these types, the operands may have different types.
MIXED = DATETIME | DURATION | TENSOR
# The types of the operands and of the result.
_TENSOR_OPERATIONS = [(TENSOR, TENSOR, TENSOR), (TENSOR, F64, TENSOR)]
MIXED_OPERATIONS = {
    "+": [
        (DURATION, DURATION, DURATION),
        (DATETIME, DURATION, DATETIME),
        (DURATION, DATETIME, DATETIME),
        *_TENSOR_OPERATIONS,
    ],
    "-": [
        (DATETIME, DURATION, DATETIME),
        (DATETIME, DATETIME, DURATION),
        (DURATION, DURATION, DURATION),
        *_TENSOR_OPERATIONS,
    ],
    "*": [(DURATION, I32, DURATION), *_TENSOR_OPERATIONS],
    "/": [(DURATION, I32, DURATION)],
}
ADDABLE = NUMBERS | STRING
TAGS = NUMBERS | BOOL

# Where several types remain, the first of these is taken.
_DEFAULTS = (ValueType.I32, ValueType.U32, ValueType.F32, ValueType.STRING, ValueType.BOOL)

# The kinds of values that an aggregator may require.
AGGREGATED = {"any": ANY, "number": NUMBERS, "float": FLOATS, "String": STRING}

# The types of literals, but for integers: a negative one has a signed type.
_LITERALS = {
    ConstantKind.FLOAT: FLOATS,
    ConstantKind.BOOL: BOOL,
    ConstantKind.CHAR: CHAR,
    ConstantKind.STRING: STRING,
    ConstantKind.SYMBOL: SYMBOL,
    ConstantKind.DATETIME: DATETIME,
    ConstantKind.DURATION: DURATION,
}

_SET_NAMES = {
    INTEGERS: "an integer",
    SIGNED: "a negative number",
    FLOATS: "a float",
    NUMBERS: "a number",
    ADDABLE: "a number or a String",
    TAGS: "a number or a bool",
    STRING | CHAR: "a String or a char",
    STRING | ENTITY: "a String or a term",
    STRING | CHAR | ENTITY: "a String, a char or a term",
}


@cache
def choose_type(types: TypeSet) -> ValueType:
    """The type of an expression that may have any of `types`: a usual one if possible, else the first of the enum."""
    for type in _DEFAULTS:
        if type in types:
            return type
    return next(type for type in ValueType if type in types)


def literal_types(literal: ast.Constant) -> TypeSet:
    """The types that a literal of a program may have."""
    if literal.type is not None:
        return TypeSet({literal.type})
    if literal.kind is ConstantKind.INTEGER:
        return NUMBERS if int(literal.value) >= 0 else SIGNED
    return _LITERALS[literal.kind]


def admitting(types: TypeSet, value: Value) -> TypeSet:
    """The types that a value may have by its kind; the bounds of integer types are checked elsewhere."""
    match value:
        case bool():
            return types & BOOL
        case int():
            return types & (NUMBERS if value >= 0 else SIGNED)
        case float():
            return types & FLOATS
        case _:
            return TypeSet(type for type in types if type.admits(value))


def cast_hint(source: ValueType, target: ValueType) -> str:
    """The way to another value where a cast is impossible, for errors."""
    match source, target:
        case ValueType.BOOL, _ if target.is_number:
            return "choose a number: `if b then 1 else 0`"
        case _, ValueType.BOOL:
            return 'compare it, as in `x != 0` or `s == "true"`'
        case ValueType.STRING, ValueType.CHAR:
            return "take one of its characters: `$string_char_at(s, 0)`"
        case _:
            targets = [type for type in ValueType if type is not source and can_cast(source, type)]
            return f"values of `{source}` convert to {_listed(targets)}"


def _listed(types: Sequence[ValueType]) -> str:
    """Types in words; all numeric types together are one word."""
    words = ["numbers"] if any(type.is_integer for type in types) else []
    words += [f"`{type}`" for type in types if not type.is_integer and not (type.is_float and words)]
    return " and ".join(words)


def can_cast(source: ValueType, target: ValueType) -> bool:
    """Whether a cast between two types exists; a single value may still fail, such as a text that is no number."""
    if target is ValueType.STRING or source is target:
        return True
    return target.is_number and (source.is_number or source in (ValueType.CHAR, ValueType.STRING))


def describe_types(types: TypeSet) -> str:
    """A set of types in words, for errors."""
    if len(types) == 1:
        return f"`{next(iter(types))}`"
    return _SET_NAMES.get(types) or " or ".join(f"`{type}`" for type in ValueType if type in types)
