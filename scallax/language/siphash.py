"""SipHash-1-3 with the key (0, 0), the hash function behind `$hash`."""

from collections.abc import Sequence
from struct import pack

from scallax.language.values import Value, ValueType

_MASK = (1 << 64) - 1
_FLOAT_FORMATS = {ValueType.F32: "<f", ValueType.F64: "<d"}


def hash_values(types: Sequence[ValueType], values: Sequence[Value]) -> int:
    """The hash of the number of values and of each value.

    Numbers contribute their bytes, the lowest first; texts their UTF-8 bytes and then the byte 255; tensors their
    dtype, their shape and the bytes of their elements.
    """
    message = len(values).to_bytes(8, "little") + b"".join(map(_bytes, types, values))
    return _siphash(message)


def _bytes(type: ValueType, value: Value) -> bytes:
    match value:
        case bool():
            return bytes([value])
        case int() if type.is_integer:
            return value.to_bytes((type.bounds[1] - type.bounds[0]).bit_length() // 8, "little", signed=type.is_signed)
        case int() | float():
            return pack(_FLOAT_FORMATS[type], value)
        case str() if type is ValueType.CHAR:
            return ord(value).to_bytes(4, "little")
        case str():
            return value.encode() + b"\xff"
        case _:
            array = value.content().array
            return f"{array.dtype.str}{array.shape}".encode() + b"\xff" + array.tobytes()


def _siphash(message: bytes) -> int:
    """SipHash (Aumasson and Bernstein, 2012) with one round for each word and three at the end."""
    state = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
    padded = message + bytes(7 - len(message) % 8) + bytes([len(message) & 0xFF])
    for start in range(0, len(padded), 8):
        word = int.from_bytes(padded[start : start + 8], "little")
        v0, v1, v2, v3 = state
        v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
        state = (v0 ^ word, v1, v2, v3)
    v0, v1, v2, v3 = state
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & _MASK
    v1 = _rotate(v1, 13) ^ v0
    v0 = _rotate(v0, 32)
    v2 = (v2 + v3) & _MASK
    v3 = _rotate(v3, 16) ^ v2
    v0 = (v0 + v3) & _MASK
    v3 = _rotate(v3, 21) ^ v0
    v2 = (v2 + v1) & _MASK
    v1 = _rotate(v1, 17) ^ v2
    return v0, v1, _rotate(v2, 32), v3


def _rotate(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _MASK
