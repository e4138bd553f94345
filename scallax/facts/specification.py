"""Everything that defines a reasoner, as plain data with a canonical JSON text."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, NoReturn, TypeVar, get_args, get_origin

from scallax.errors import CheckpointError, Diagnostic, InputError
from scallax.facts.mappings import Entries, InputMapping, show_tuple
from scallax.language.records import record, set_fields
from scallax.language.tensors import TensorValue
from scallax.language.values import Value, ValueType

FORMAT = 1

# How many proofs are kept: what is learnt fits any number.
_PROOFS = ("k", "train_k", "test_k")

Tag = float | bool | None
# Who evaluates a program: JAX, by compiled code, or NumPy, at once.
EXECUTORS = ("jax", "numpy")
# The answers to evidence of probability 0.
ON_IMPOSSIBLE = ("error", "zero")

T = TypeVar("T")
U = TypeVar("U")


@record
class Specification:
    """The arguments of a reasoner in normal form: hashable, comparable, without file names.

    A reasoner gives it as `reasoner.specification`. The arguments that are not described here are those of
    `scallax.Reasoner`, checked, with relations sorted by name.

    Args:
        program: The program's text.
        file: The text of the program's file.
        relations: Names with the types of their columns.
        rules: The texts of rules that were given apart.
        facts: Relations with pairs of a tag, None for a certain fact, and a tuple.
        provenance: The provenance's name; `custom` for a user's own.
        k: The number of proofs that are kept.
        train_k: The number of proofs in training, if it differs.
        test_k: The number of proofs in evaluation, if it differs.
        wmc_with_disjunctions: Whether an exclusive group counts as one variable.
        non_probabilistic: Relations whose facts have no tags.
        trainable: Relations whose tags are parameters.
        input_mappings: Relations with their input mappings.
        outputs: Relations with the tuples to return of each; None: every possible one.
        keyed: Whether the outputs are returned as a dictionary.
        iter_limit: The most rounds of a recursion.
        early_discard: As it was given.
        column_types: The types of the columns of input and output relations, as inferred.
        imports: Names and texts of all files that the program imports.
        foreign: The signatures of the functions of Python and the like that the program uses.
        absorb: Whether a proof that contains another one is dropped.
        custom: The qualified name of the class of the user's provenance.
        seed: The seed of a provenance that samples.
        executor: Who evaluates it, `jax` or `numpy`.
        evidence: Relations with the mappings of what calls may observe.
        on_impossible: The answer to evidence of probability 0, `error` or `zero`.
        log: Whether outputs are logarithms of probabilities.

    Example:
        >>> from scallax import Reasoner
        >>> options = {"provenance": "minmaxprob", "input_mappings": {"a": range(2)}, "output_relation": "b"}
        >>> specification = Reasoner("rel b(x) = a(x)", **options).specification
        >>> specification.column_types
        (('a', ('i32',)), ('b', ('i32',)))
        >>> Reasoner.from_specification(specification).specification == specification
        True
    """

    program: str | None
    file: str | None
    relations: tuple[tuple[str, tuple[str, ...]], ...]
    rules: tuple[str, ...]
    facts: tuple[tuple[str, tuple[tuple[Tag, tuple[Value, ...]], ...]], ...]
    provenance: str
    k: int
    train_k: int | None
    test_k: int | None
    wmc_with_disjunctions: bool
    non_probabilistic: tuple[str, ...]
    trainable: tuple[str, ...]
    input_mappings: tuple[tuple[str, InputMapping], ...]
    outputs: tuple[tuple[str, Entries | None], ...]
    keyed: bool
    iter_limit: int | None
    early_discard: bool | None
    column_types: tuple[tuple[str, tuple[str, ...]], ...] = ()
    imports: tuple[tuple[str, str], ...] = ()
    foreign: tuple[str, ...] = ()
    absorb: bool = True
    custom: str | None = None
    seed: int = 0
    executor: str = "jax"
    evidence: tuple[tuple[str, InputMapping], ...] = ()
    on_impossible: str = "error"
    log: bool = False

    @property
    def call_mappings(self) -> dict[str, InputMapping]:
        """The mappings of all arrays of a call: those of input relations, then those of evidence by other names."""
        return {**dict(self.input_mappings), **{evidence_of(name): mapping for name, mapping in self.evidence}}

    def __setstate__(self, values: Sequence[object]) -> None:
        set_fields(self, values)

    def to_json(self) -> str:
        """Canonical JSON text: equal specifications give equal texts. It holds its own SHA-256 and the program's."""
        return _canonical({**self._data(), "digest": self.digest})

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical text, in hexadecimal."""
        return _sha256(_canonical(self._data()))

    def differences(self, other: "Specification") -> list[str]:
        """The differences from `other`, one line each, with the value here and the value there; empty if equal.

        Who evaluates a program is no part of what it is.
        """
        found = []
        for field in dataclasses.fields(self):
            ours, theirs = getattr(self, field.name), getattr(other, field.name)
            if ours == theirs:
                continue
            match field.name:
                case "keyed" if len(self.outputs) == 1:
                    # How one output is returned is no part of what it is.
                    continue
                case "executor":
                    continue
                case "program" | "file":
                    found.append(f"{field.name}: {_first_difference(ours, theirs)}")
                case "input_mappings" | "evidence" | "outputs" | "facts" | "relations" | "column_types" | "imports":
                    items = _item_differences(field.name, dict(ours), dict(theirs))
                    found.extend(items or [f"{field.name}: in another order"])
                case _:
                    found.append(_was_is(field.name, _show(ours), _show(theirs)))
        return found

    def advice(self, other: "Specification") -> str | None:
        """How `other` comes to what was saved as this one, if they differ in the number of proofs alone; else None."""
        changed = {name: getattr(self, name) for name in _PROOFS if getattr(self, name) != getattr(other, name)}
        same = dataclasses.replace(other, **changed, keyed=self.keyed, executor=self.executor)
        if not changed or same != self:
            return None
        saved = ", ".join(f"{name}={value}" for name, value in changed.items())
        wanted = other.test_k or other.k
        return (
            f"build the model with {saved}, as it was saved, and take `with_k({wanted})` after loading;"
            f" `test_k={wanted}`, given before training, is for evaluation alone"
        )

    def _data(self) -> dict:
        data = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        for name, default in _OPTIONAL.items():
            # Left out, so that a program that does without has the text that it had before there were any.
            if data[name] == default:
                del data[name]
        for name in data.keys() & {"input_mappings", "evidence"}:
            data[name] = [
                [relation, {**_options_data(mapping), "entries": _entries_data(mapping.entries)}]
                for relation, mapping in getattr(self, name)
            ]
        data["outputs"] = [[relation, None if e is None else _entries_data(e)] for relation, e in self.outputs]
        return {"format": FORMAT, "program_sha256": _program_sha256(self), **data}


def evidence_of(relation: str) -> str:
    """The name, among the inputs of a call, of what is observed of a relation; no relation has such a name."""
    return f"evidence of {relation}"


# Fields that texts may lack, because they came later, with what they mean then.
_OPTIONAL = {
    field.name: field.default
    for field in dataclasses.fields(Specification)
    if field.default is not dataclasses.MISSING and field.name != "column_types"
}


def from_json(text: str) -> Specification:
    """The specification that `to_json` wrote.

    CheckpointError names what is wrong: no JSON, another format version, missing or unknown fields, a value of the
    wrong type, a program or a text that does not match its SHA-256.
    """
    try:
        data = json.loads(text)
    except (ValueError, TypeError, RecursionError) as error:  # no text, damaged or crafted text
        raise CheckpointError(f"the saved specification is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise CheckpointError("the saved specification is no JSON object")
    if data.get("format") != FORMAT or isinstance(data["format"], bool):
        raise CheckpointError(
            f"the saved specification has format version {data.get('format')!r}; "
            f"this version of scallax reads version {FORMAT}"
        )
    names = {field.name for field in dataclasses.fields(Specification)} | {"format", "program_sha256", "digest"}
    for name, default in _OPTIONAL.items():
        data.setdefault(name, [] if default == () else default)
    wrong = [f"the saved specification lacks `{name}`" for name in sorted(names - set(data))]
    wrong += [f"the saved specification has the unknown field `{name}`" for name in sorted(set(data) - names)]
    if wrong:
        raise CheckpointError(*wrong)
    specification = _read(data)
    if data["program_sha256"] != _program_sha256(specification):
        raise CheckpointError("the saved program does not match its SHA-256: it was changed after it was saved")
    if data["digest"] != specification.digest:
        raise CheckpointError("the saved specification does not match its SHA-256: it was changed after it was saved")
    return specification


def _read(data: dict) -> Specification:
    fields = [(field.name, field.type) for field in dataclasses.fields(Specification)]
    readers = {name: _OF_FIELD.get(name) or _reader_of(kind) for name, kind in fields}
    return Specification(**{name: read(data[name], name) for name, read in readers.items()})


_Reader = Callable[[object, str], T]


def _reader_of(kind: Any) -> _Reader:
    """The reader of a field's type, by the parts of the type."""
    if kind in _OF_TYPE:
        return _OF_TYPE[kind]
    parts = get_args(kind)
    if get_origin(kind) is not tuple:
        return _optional(_reader_of(parts[0]))
    return _sequence(_reader_of(parts[0])) if parts[1] is ... else _pair(*map(_reader_of, parts))


def _wrong(where: str, expected: str, value: object) -> NoReturn:
    raise CheckpointError(f"the saved specification's `{where}` must be {expected}, not {_short(json.dumps(value))}")


def _plain(kind: type[T], expected: str) -> _Reader[T]:
    def read(value: object, where: str) -> T:
        # bool is a kind of int in Python, but not here.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            _wrong(where, expected, value)
        return value

    return read


def _optional(reader: _Reader[T]) -> _Reader[T | None]:
    return lambda value, where: None if value is None else reader(value, where)


def _sequence(reader: _Reader[T]) -> _Reader[tuple[T, ...]]:
    def read(value: object, where: str) -> tuple[T, ...]:
        if not isinstance(value, list):
            _wrong(where, "a list", value)
        return tuple(reader(item, where) for item in value)

    return read


def _pair(first: _Reader[T], second: _Reader[U]) -> _Reader[tuple[T, U]]:
    def read(value: object, where: str) -> tuple[T, U]:
        if not isinstance(value, list) or len(value) != 2:
            _wrong(where, "a list of pairs", value)
        return first(value[0], where), second(value[1], where)

    return read


def _value(value: object, where: str) -> Value:
    if isinstance(value, dict) and set(value) == {"tensor"}:
        try:
            return TensorValue.of_data(value["tensor"])
        except ValueError:  # damaged or crafted data
            _wrong(where, "made of tensors with a dtype, a shape and data", value)
    if not isinstance(value, bool | int | float | str):
        _wrong(where, "made of numbers, booleans and strings", value)
    return value


def _tag(value: object, where: str) -> Tag:
    if value is None or isinstance(value, bool):
        return value
    if not isinstance(value, int | float):
        _wrong(where, "facts with numbers for tags", value)
    return float(value)


def _executor(value: object, where: str) -> str:
    if value not in EXECUTORS:
        _wrong(where, "`jax` or `numpy`", value)
    return str(value)


def _on_impossible(value: object, where: str) -> str:
    if value not in ON_IMPOSSIBLE:
        _wrong(where, "`error` or `zero`", value)
    return str(value)


def _column_type(value: object, where: str) -> str:
    if value not in [kind.value for kind in ValueType]:
        _wrong(where, "made of value types", value)
    return str(value)


def _entries(value: object, where: str) -> Entries:
    if not isinstance(value, dict) or set(value) != {"shape", "tuples"}:
        _wrong(where, "mappings with a shape and tuples", value)
    shape = _sequence(_plain(int, "sizes"))(value["shape"], where)
    tuples = _sequence(_sequence(_value))(value["tuples"], where)
    size = 1
    for length in shape:
        size *= length
    if size != len(tuples) or not tuples:
        _wrong(where, "mappings of one tuple for each entry", value)
    return Entries(shape, tuples)


def _input_mapping(value: object, where: str) -> InputMapping:
    names = {"entries", "disjunctive", "disjunctive_dim", "retain_threshold", "retain_k", "sample_dim"}
    if not isinstance(value, dict) or set(value) - {"sample_strategy", "log"} != names:
        _wrong(where, "mappings with their options", value)
    try:
        return InputMapping(_entries(value["entries"], where), **{n: value[n] for n in set(value) - {"entries"}})
    except InputError as error:  # an option that no mapping can have
        raise CheckpointError(Diagnostic(f"the saved specification's `{where}` is wrong: {error}")) from None


# The readers of types, and of fields whose values are some of those of their type.
_OF_TYPE: dict[Any, _Reader] = {
    str: _plain(str, "a string"),
    int: _plain(int, "an integer"),
    bool: _plain(bool, "true or false"),
    Value: _value,
    Tag: _tag,
    Entries: _entries,
    InputMapping: _input_mapping,
}
_OF_FIELD: dict[str, _Reader] = {
    "column_types": _sequence(_pair(_OF_TYPE[str], _sequence(_column_type))),
    "executor": _executor,
    "on_impossible": _on_impossible,
}


def _options_data(mapping: InputMapping) -> dict:
    """The options without those that came later, where they say what there was before.

    Whether it was said that entries are independent is no part of what the mapping is.
    """
    options = {**mapping.options, "disjunctive": mapping.disjunctive}
    later = ("sample_strategy", "top"), ("log", False)
    return {name: value for name, value in options.items() if (name, value) not in later}


def _entries_data(entries: Entries) -> dict:
    return {"shape": entries.shape, "tuples": entries.tuples}


def _canonical(data: dict) -> str:
    return json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=_tensor_data)


def _tensor_data(value: object) -> dict:
    assert isinstance(value, TensorValue)
    return {"tensor": value.data()}


def _sha256(text: str) -> str:
    # Loads OpenSSL, which no program needs before it is saved.
    from hashlib import sha256

    return sha256(text.encode()).hexdigest()


def _program_sha256(specification: Specification) -> str:
    return _sha256("\n".join(text for text in (specification.file, specification.program) if text is not None))


def _first_difference(ours: str | None, theirs: str | None) -> str:
    if ours is None or theirs is None:
        return f"was {'none' if ours is None else 'given'}, is {'none' if theirs is None else 'given'}"
    lines = zip_longest(ours.splitlines(), theirs.splitlines(), fillvalue="nothing")
    for number, (old, new) in enumerate(lines, start=1):
        if old != new:
            return f"line {number} was `{_short(old)}`, is `{_short(new)}`"
    return "the line breaks differ"


def _item_differences(name: str, ours: dict, theirs: dict) -> list[str]:
    label = {
        "input_mappings": "input mapping of",
        "evidence": "mapping of evidence of",
        "outputs": "output mapping of",
        "facts": "facts of",
        "imports": "text of the import",
        "relations": "columns given for",
        "column_types": "column types of",
    }[name]
    found = []
    for relation in [*ours, *(r for r in theirs if r not in ours)]:
        old = _show_item(ours[relation]) if relation in ours else "none"
        new = _show_item(theirs[relation]) if relation in theirs else "none"
        if relation not in ours or relation not in theirs or ours[relation] != theirs[relation]:
            found.append(_was_is(f"{label} `{relation}`", old, new))
    return found


def _was_is(label: str, old: str, new: str) -> str:
    # Long values are shown in part, and may differ in the rest.
    return f"{label}: was {old}, is {new}{' (with other entries)' if old == new else ''}"


def _show_item(value: object) -> str:
    match value:
        case None:
            return "every possible tuple"
        case tuple() if value and all(isinstance(v, tuple) for v in value):
            return _short(", ".join(f"{tag}::{show_tuple(t)}" for tag, t in value))
        case _:
            return _show(value)


def _show(value: object) -> str:
    match value:
        case None:
            return "none"
        case tuple():
            return _short(f"({', '.join(map(str, value))})")
        case _:
            return _short(str(value))


def _short(text: str) -> str:
    return text if len(text) <= 120 else f"{text[:90]}...{text[-25:]}"
