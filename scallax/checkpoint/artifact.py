"""A saved model as data: specifications, tensors and values of the caller, under one header that verifies them."""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, final

import ml_dtypes
import numpy as np

from scallax.circuits.serialized import SerializedProgram
from scallax.errors import CheckpointError, Diagnostic, InputError
from scallax.facts.specification import Specification, from_json

FORMAT = 1

# Stored arrays that are no tensors: the header itself, and the numbered arrays of `extra` and `grounds`.
HEADER_NAME = "scallax/header"
_RESERVED = "scallax/"

# Begins the names of an optimizer's tensors: no attribute of a model has such a name.
OPTIMIZER = "@optimizer."

# Plain JSON readers nest a few hundred levels; a value that contains itself has no end.
MAX_DEPTH = 100
# Python converts integers of up to 4300 digits from and to text.
_MAX_INTEGER_BITS = 14_000

DTYPES = {
    name: np.dtype(name)
    for name in (
        *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64"),
    )
} | {"bfloat16": np.dtype(ml_dtypes.bfloat16)}

_FIELDS = ("format", "door", "specifications", "tensors", "arrays", "extra", "grounds", "metrics", "digest")


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """Everything that one checkpoint holds, whichever framework saves or loads it.

    The order of tensors and of dictionaries is kept.

    Args:
        specifications: The specification of each reasoner by its dotted path in the model; "" for a reasoner alone.
        tensors: NumPy arrays by dotted name, of bool, integers, float16, bfloat16, float32 or float64.
        door: The kind of model that was saved: "reasoner", "flax" or "torch".
        extra: Values of the caller: None, booleans, numbers, strings, lists, dictionaries with string keys, and arrays.
            A tuple comes back as a list, a NumPy scalar as an array without axes.
        grounds: The stored groundings by the path of their reasoner.
        metrics: Numbers that a training run measured, by name.
    """

    specifications: Mapping[str, Specification]
    tensors: Mapping[str, np.ndarray]
    door: str = "reasoner"
    extra: object = None
    grounds: Mapping[str, SerializedProgram] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)


def pack(artifact: Artifact) -> tuple[str, dict[str, np.ndarray]]:
    """The header as canonical JSON text, and the arrays to store beside it, by name.

    The arrays are copies, little-endian and in C order; later changes to those of the artifact do not reach them.
    InputError names every value that cannot be stored.
    """
    packer = _Packer()
    tensors = [packer.tensor(name, value) for name, value in artifact.tensors.items()]
    header = {
        "format": FORMAT,
        "door": artifact.door,
        "specifications": {path: json.loads(s.to_json()) for path, s in artifact.specifications.items()},
        "tensors": tensors,
        "extra": packer.value(artifact.extra, "extra"),
        "grounds": packer.value(
            {path: {"data": ground.data, "arrays": dict(ground.arrays)} for path, ground in artifact.grounds.items()},
            "grounds",
        ),
        "metrics": packer.value({name: float(value) for name, value in artifact.metrics.items()}, "metrics"),
        "arrays": packer.arrays,
    }
    if packer.problems:
        raise InputError(*packer.problems)
    return canonical({**header, "digest": _digest(header)}), packer.stored


def read_artifact(header_text: str, arrays: Mapping[str, np.ndarray]) -> Artifact:
    """The artifact that `pack` took apart; the inverse of `pack`.

    Arrays without elements may be missing, because not every format stores them. CheckpointError lists every problem: a
    text that is not a header or is damaged, another format version, a damaged specification, and arrays that are
    missing, unknown, of another shape or dtype, or do not match their SHA-256.
    """
    reader = _Reader(header_text, arrays)
    artifact = reader.artifact()
    if reader.problems:
        raise CheckpointError(*reader.problems)
    return artifact


def read_metrics(header_text: str) -> dict[str, float]:
    """The metrics in a header. The header is verified; the arrays are not needed."""
    reader = _Reader(header_text, {})
    metrics = reader.metrics()
    if reader.problems:
        raise CheckpointError(*reader.problems)
    return metrics


def differences(expected: Artifact, found: Artifact) -> list[str]:
    """The differences between the saved model `found` and the model `expected`, one line each; empty if all fits.

    Compares the specifications, and the names, shapes and dtypes of tensors; values and everything else may differ.
    """
    lines = []
    for path in _names(found.specifications, expected.specifications):
        label = f"reasoner `{path}`: " if path else ""
        match found.specifications.get(path), expected.specifications.get(path):
            case None, _:
                lines.append(f"{label or 'reasoner: '}was none, is a program")
            case _, None:
                lines.append(f"{label or 'reasoner: '}was a program, is none")
            case was, now:
                assert was is not None
                assert now is not None
                lines.extend(label + line for line in was.differences(now))
    for name in _names(found.tensors, expected.tensors):
        was, now = (_show_array(artifact.tensors.get(name)) for artifact in (found, expected))
        if was != now:
            lines.append(f"tensor `{name}`: was {was}, is {now}")
    return lines


def canonical(data: object) -> str:
    """The JSON text that headers are stored and hashed in: sorted keys, ASCII, no spaces."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _names(*mappings: Mapping[str, object]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))


def _show_array(array: np.ndarray | None) -> str:
    return "none" if array is None else f"{array.dtype.name} {list(array.shape)}"


@final
class _Packer:
    """Numbers and describes arrays, and collects the values that cannot be stored."""

    def __init__(self):
        self.stored: dict[str, np.ndarray] = {}
        self.arrays: list[dict] = []
        self.problems: list[Diagnostic | str] = []

    def tensor(self, name: str, value: np.ndarray) -> dict:
        if not isinstance(name, str) or not _is_tensor_name(name):
            self.problems.append(f"{name!r} is no name for a tensor: it is empty, not printable, or reserved")
            return {}
        return {"name": name, **self.describe(name, value, f"tensors[{_quoted(name)}]")}

    def describe(self, stored_name: str, value: np.ndarray | np.generic, path: str) -> dict:
        array = np.array(value, order="C")
        if array.dtype.name not in DTYPES:
            hint = f"arrays of {', '.join(DTYPES)} can be"
            self.problems.append(Diagnostic(f"{path} has dtype {array.dtype}, which cannot be stored", hint=hint))
            return {}
        array = array.astype(DTYPES[array.dtype.name].newbyteorder("<"), copy=False)
        self.stored[stored_name] = array
        return {"dtype": array.dtype.name, "shape": list(array.shape), "sha256": _sha256(array)}

    def value(self, value: object, path: str, depth: int = 0) -> object:
        """The JSON form of a value. A JSON object has one key, which says what kind of value it is."""
        if depth > MAX_DEPTH:
            self.problems.append(f"{path} is nested deeper than {MAX_DEPTH} levels, or contains itself")
            return None
        match value:
            case np.ndarray() | np.generic():
                number = len(self.arrays)
                self.arrays.append({})
                self.arrays[number] = self.describe(_stored_name(number), value, path)
                return {"array": number}
            case None | bool() | str():
                return value
            case int() if value.bit_length() <= _MAX_INTEGER_BITS:
                return int(value)
            case float():
                return float(value) if math.isfinite(value) else {"float": str(float(value))}
            case list() | tuple():
                return [self.value(item, f"{path}[{i}]", depth + 1) for i, item in enumerate(value)]
            case dict():
                return {"dict": [self.item(key, item, path, depth) for key, item in value.items()]}
            case _:
                hint = "store None, booleans, numbers, strings, lists, dictionaries and NumPy arrays"
                self.problems.append(Diagnostic(f"{path} is {_show_kind(value)}, which cannot be stored", hint=hint))
                return None

    def item(self, key: object, value: object, path: str, depth: int) -> list:
        if not isinstance(key, str):
            self.problems.append(f"{path} has the key {key!r}, which cannot be stored: keys are strings")
            return []
        return [key, self.value(value, f"{path}[{_quoted(key)}]", depth + 1)]


def _show_kind(value: object) -> str:
    return "an integer of thousands of digits" if isinstance(value, int) else f"of type {type(value).__name__}"


@final
class _Reader:
    """Reads the fields of a header, takes the arrays that it names, and collects the problems of both."""

    def __init__(self, text: str, arrays: Mapping[str, np.ndarray]):
        self.header = header = _parse(text)
        self.given = arrays
        self.problems: list[Diagnostic | str] = []
        self.num_taken = 0
        body = {name: value for name, value in header.items() if name != "digest"}
        if canonical(header) != text or _digest(body) != header["digest"]:
            self.problems.append("the header does not match its SHA-256: it was changed after it was saved")

    def artifact(self) -> Artifact:
        header = self.header
        specifications = {path: self.specification(path, data) for path, data in header["specifications"].items()}
        tensors = {entry["name"]: self.array(entry["name"], entry, "tensor") for entry in header["tensors"]}
        known = {entry["name"] for entry in header["tensors"]}
        known |= {_stored_name(number) for number in range(len(header["arrays"]))}
        self.problems += [f"the array `{name}` is not in the header" for name in self.given if name not in known]
        extra = self.value(header["extra"])
        grounds = self.value(header["grounds"])
        metrics = self.metrics()
        if self.num_taken != len(header["arrays"]):
            self.problems.append("the header has arrays that nothing refers to")
        return Artifact(
            specifications={path: s for path, s in specifications.items() if s is not None},
            tensors=tensors,
            door=header["door"],
            extra=extra,
            grounds=self.grounds(grounds),
            metrics=metrics,
        )

    def specification(self, path: str, data: object) -> Specification | None:
        try:
            return from_json(canonical(data))
        except CheckpointError as error:  # damaged or forged, and the header's digest fits
            label = f"reasoner `{path}`: " if path else ""
            self.problems += [Diagnostic(label + d.message, d.span, d.hint) for d in error.diagnostics]
            return None

    def array(self, name: str, entry: dict, kind: str) -> np.ndarray:
        shape, dtype = tuple(entry["shape"]), DTYPES[entry["dtype"]]
        empty = np.zeros(shape if 0 in shape else (0,), dtype)
        label = f"the {kind} `{name}`"
        if name not in self.given:
            if 0 not in shape:
                self.problems.append(f"{label} is missing")
            return empty
        array = self.given[name]
        if array.shape != shape or array.dtype.name != entry["dtype"]:
            said = f"{entry['dtype']} {list(shape)}"
            self.problems.append(f"{label} is {_show_array(array)}, but the header says {said}")
        elif _sha256(array) != entry["sha256"]:
            self.problems.append(f"{label} does not match its SHA-256: it was changed after it was saved")
        return array

    def value(self, value: object, depth: int = 0) -> object:
        """The value of a JSON form."""
        if depth > MAX_DEPTH:
            self.problems.append(f"the header has values nested deeper than {MAX_DEPTH} levels")
            return None
        match value:
            case None | bool() | int() | float() | str():
                return value
            case list():
                return [self.value(item, depth + 1) for item in value]
            case dict() if len(value) == 1:
                ((kind, content),) = value.items()
                return self.marked(kind, content, depth)
            case _:
                return self.unknown(value)

    def marked(self, kind: str, content: object, depth: int) -> object:
        """The value of a JSON object, whose one key says what kind of value it is."""
        match kind, content:
            # They were numbered as they were met, so each is referred to once, in order.
            case "array", self.num_taken if self.num_taken < len(self.header["arrays"]):
                number = self.num_taken
                self.num_taken += 1
                return self.array(_stored_name(number), self.header["arrays"][number], "array")
            case "float", "nan" | "inf" | "-inf":
                return float(str(content))
            case "dict", [*items] if all(_is_item(item) for item in items):
                return {key: self.value(item, depth + 1) for key, item in items}
            case _:
                return self.unknown({kind: content})

    def unknown(self, value: object) -> None:
        self.problems.append(f"the header has a value of no known kind: {json.dumps(value)[:80]}")

    def grounds(self, value: object) -> dict[str, SerializedProgram]:
        grounds = {}
        for path, ground in value.items() if isinstance(value, dict) else ():
            match ground:
                case {"data": dict(data), "arrays": dict(arrays)}:
                    grounds[path] = SerializedProgram(data, arrays)
                case _:
                    self.problems.append(f"the header's grounding of `{path}` is no grounding")
        return grounds

    def metrics(self) -> dict[str, float]:
        value = self.value(self.header["metrics"])
        if not isinstance(value, dict) or not all(isinstance(number, int | float) for number in value.values()):
            self.problems.append("the header's metrics are no numbers by name")
            return {}
        return {name: float(number) for name, number in value.items()}


def _parse(text: str) -> dict:
    """The header's data, of the right types; what they say is not verified yet."""
    try:
        data = json.loads(text)
        canonical(data)
    except (ValueError, RecursionError) as error:  # damaged or crafted text
        raise CheckpointError(f"the header is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise CheckpointError("the header is no JSON object")
    version = data.get("format")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise CheckpointError(f"the header has format version {version!r}; a version is a number from 1")
    if version > FORMAT:
        message = f"the checkpoint has format version {version}; this version of scallax reads version {FORMAT}"
        raise CheckpointError(Diagnostic(message, hint="it was saved by a newer version: update scallax"))
    problems = [f"the header lacks `{name}`" for name in _FIELDS if name not in data]
    problems += [f"the header has the unknown field `{name}`" for name in data if name not in _FIELDS]
    if problems:
        raise CheckpointError(*problems)
    _check_types(data)
    return data


def _check_types(data: Mapping[str, Any]) -> None:
    """CheckpointError for a field of the header of another type than it must have."""
    if not isinstance(data["door"], str) or not isinstance(data["digest"], str):
        _wrong("door` and `digest", "strings")
    if not isinstance(data["specifications"], dict):
        _wrong("specifications", "an object")
    for name, keys in (("tensors", {"name", "dtype", "shape", "sha256"}), ("arrays", {"dtype", "shape", "sha256"})):
        if not isinstance(data[name], list) or not all(_is_entry(entry, keys) for entry in data[name]):
            _wrong(name, "a list of arrays with their dtypes, shapes and SHA-256")
    names = [entry["name"] for entry in data["tensors"]]
    if len(set(names)) < len(names) or not all(map(_is_tensor_name, names)):
        _wrong("tensors", "a list of different names")


def _wrong(name: str, expected: str) -> NoReturn:
    raise CheckpointError(f"the header's `{name}` must be {expected}")


def _is_entry(entry: object, keys: set[str]) -> bool:
    return (
        isinstance(entry, dict)
        and set(entry) == keys
        and isinstance(entry.get("name", ""), str)
        and isinstance(entry["sha256"], str)
        and isinstance(entry["dtype"], str)
        and entry["dtype"] in DTYPES
        and isinstance(entry["shape"], list)
        and _is_shape(entry["shape"])
    )


def _is_shape(shape: list) -> bool:
    # NumPy makes none with more axes, or with more elements, not counting the axes without.
    numbers = all(isinstance(n, int) and not isinstance(n, bool) and n >= 0 for n in shape)
    return numbers and len(shape) <= 64 and math.prod(n or 1 for n in shape) < 2**59


def _is_tensor_name(name: str) -> bool:
    # TensorStore takes `a/` for `a`.
    is_reserved = name.startswith(_RESERVED) or name.endswith("/") or name == "__metadata__"
    return bool(name) and name.isprintable() and not is_reserved


def _is_item(item: object) -> bool:
    return isinstance(item, list) and len(item) == 2 and isinstance(item[0], str)


def _stored_name(number: int) -> str:
    return f"{_RESERVED}{number}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _digest(header: dict) -> str:
    return hashlib.sha256(canonical(header).encode()).hexdigest()


def _sha256(array: np.ndarray) -> str:
    """SHA-256 of the elements' little-endian bytes in C order."""
    array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"), copy=False))
    return hashlib.sha256(array.reshape(-1).view(np.uint8).data).hexdigest()
