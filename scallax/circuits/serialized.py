"""Circuits and listed tuples as data and back: a checkpoint that holds them answers without grounding."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scallax.circuits.circuit import Circuit, Forward, flatten, forms, leaves, nest, to_tuples
from scallax.errors import CheckpointError
from scallax.facts.mappings import Tuples
from scallax.kernels.runs import ranges
from scallax.kernels.schedule import LINEAR, LITERALS
from scallax.kernels.selections import Selections, Stage
from scallax.language.tensors import TensorValue
from scallax.language.values import Value, ValueType

_STAGES = "stages"
_STORED = tuple(form for form in forms() if form.is_stored)
_ARRAYS = {form.name: form for form in _STORED if not form.is_static}
_NUMBERS = {form.name: form for form in _STORED if form.is_static}
_MAY_LACK = {form.name for form in _STORED if form.may_lack}
_DAMAGED = "the stored grounding is damaged or of another version; load the checkpoint without it"


@dataclass(frozen=True, slots=True, eq=False)
class SerializedProgram:
    """One grounding: values as those of `Artifact.extra`, and index arrays by name."""

    data: dict
    arrays: Mapping[str, np.ndarray]


def program_data(program: Circuit) -> tuple[dict, dict[str, np.ndarray]]:
    """The numbers of a program, as JSON values, and its arrays by name."""
    values = flatten(program)
    lacking = {form.name for form in _STORED if form.may_lack and form.is_empty(values[form.name])}
    data: dict = {name: np.asarray(values[name]).tolist() for name in _NUMBERS if name not in lacking}
    arrays = {name: np.asarray(values[name]) for name in _ARRAYS if name not in lacking}
    for number, stage in enumerate(program.stages):
        numbers, parts = program_data(stage.program)
        data.setdefault(_STAGES, []).append(numbers)
        arrays |= {f"{_STAGES}.{number}.{name}": array for name, array in parts.items()}
        arrays |= {f"{_STAGES}.{number}.gates.{part}": values for part, values in stage.selections._asdict().items()}
    return data, arrays


def read_program(data: Mapping, arrays: Mapping[str, np.ndarray]) -> Circuit:
    """The program of `program_data`. CheckpointError if it is none, or if an index points outside the program."""
    stages = data.get(_STAGES, [])
    _require(isinstance(stages, list))
    compiled = tuple(_read_stage(stage, number, arrays) for number, stage in enumerate(stages))
    arrays = {name: array for name, array in arrays.items() if not name.startswith(f"{_STAGES}.")}
    _require(set(data) - {_STAGES} | _MAY_LACK >= set(_NUMBERS) and set(arrays) | _MAY_LACK >= set(_ARRAYS))
    _require(set(data) <= {*_NUMBERS, _STAGES} and set(arrays) <= set(_ARRAYS))
    for name, array in arrays.items():
        _require(array.dtype == _ARRAYS[name].dtype and array.ndim == len(_ARRAYS[name].axes.split()))
    numbers = {name: data[name] for name in _NUMBERS if name in data}
    _require(all(_is_numbers(value, _NUMBERS[name].axes.split()) for name, value in numbers.items()))
    _require(numbers["width"] > 0)
    values = {**arrays, **{name: to_tuples(value) for name, value in numbers.items()}}
    program = nest(values, compiled)
    empty = ((form, form.empty(program.num_literals)) for form, value in leaves(program) if value is None)
    _require(all(np.array_equal(values.get(form.name, expected), expected) for form, expected in empty))
    _check_indices(program)
    return program


def _read_stage(data: object, number: int, arrays: Mapping[str, np.ndarray]) -> Stage:
    _require(isinstance(data, dict))
    assert isinstance(data, dict)
    _require(_STAGES not in data)
    prefix = f"{_STAGES}.{number}."
    parts = {name[len(prefix) :]: array for name, array in arrays.items() if name.startswith(prefix)}
    selections = Selections(*(parts.pop(f"gates.{part}") for part in Selections._fields))
    _require(all(values.dtype == np.int32 and values.ndim == 1 for values in selections))
    program = read_program(data, parts)
    num_members, num_selections = len(program.outputs), len(selections.members)
    _require(all(len(values) == num_members for values in selections[:4]))
    _require(all(len(values) == num_selections for values in selections[4:]))
    for values in (selections.groups, selections.starts, selections.members):
        _require(bool(np.all((values >= 0) & (values < num_members))))
    _require(bool(np.all(np.diff(selections.groups) >= 0)))
    return Stage(program, selections)


def columns_data(tuples: Sequence[tuple[Value, ...]], types: Sequence[ValueType]) -> tuple[dict, dict[str, np.ndarray]]:
    """A table of tuples: its length as data, and for each column an array, or two for texts, tensors, wide integers."""
    arrays: dict[str, np.ndarray] = {}
    for number, type in enumerate(types):
        values = [row[number] for row in tuples]
        match type:
            case ValueType.BOOL:
                arrays[f"{number}"] = np.array(values, np.bool_)
            case _ if type.is_float:
                arrays[f"{number}"] = np.array(values, np.float64)
            case ValueType.U64 | ValueType.USIZE:
                arrays[f"{number}"] = np.array(values, np.uint64)
            case _ if type.is_integer and type not in (ValueType.I128, ValueType.U128):
                arrays[f"{number}"] = np.array(values, np.int64)
            case _:
                texts = [_text(value).encode() for value in values]
                arrays[f"{number}"] = np.frombuffer(b"".join(texts), np.uint8)
                arrays[f"{number}.ends"] = np.cumsum([len(text) for text in texts], dtype=np.int64)
    return {"num_tuples": len(tuples)}, arrays


def read_columns(data: Mapping, arrays: Mapping[str, np.ndarray], types: Sequence[ValueType]) -> Tuples:
    """The tuples of `columns_data`. CheckpointError if they are none."""
    _require(set(data) == {"num_tuples"} and _is_count(data["num_tuples"]))
    count = data["num_tuples"]
    if not types:
        return ((),) * count
    columns = []
    for number, type in enumerate(types):
        array, ends = arrays.get(f"{number}"), arrays.get(f"{number}.ends")
        _require(array is not None)
        assert array is not None
        values: list = array.tolist()
        if ends is not None:
            _require(array.dtype == np.uint8 and ends.dtype == np.int64 and bool((np.diff(ends, prepend=0) >= 0).all()))
            text = array.tobytes()
            try:
                values = [text[a:b].decode() for a, b in zip([0, *ends.tolist()], ends.tolist(), strict=False)]
                values = [int(value) for value in values] if type.is_integer else values
                if type is ValueType.TENSOR:
                    values = [TensorValue.of_data(json.loads(value)) for value in values]
            except ValueError:  # damaged text
                raise CheckpointError(_DAMAGED) from None
        _require(len(values) == count)
        columns.append(values)
    return tuple(zip(*columns, strict=True))


def _text(value: Value) -> str:
    return json.dumps(value.data()) if isinstance(value, TensorValue) else str(value)


def _check_indices(program: Circuit) -> None:
    """Nothing outside an array is read, and every loop goes back."""
    num_before = program.num_inputs
    for stage in program.stages[::-1]:
        # The inputs of a stage, and its selections, are the inputs of the next one.
        num_before -= len(stage.selections.members)
        _require(stage.program.num_inputs == num_before)
    stored = [(form, value) for form, value in leaves(program) if form.name in _ARRAYS and value is not None]
    lengths = _lengths(program)
    for form, value in stored:
        for axis, length in zip(form.axes.split(), np.shape(value), strict=True):
            expected = int(axis) if axis.isdigit() else lengths.setdefault(axis, length)
            _require(length == expected)
    for form, value in stored:
        if form.indexes:
            _require(bool(np.all((value >= form.lowest) & (value < lengths[form.indexes] + form.beyond))))
    if program.proofs is not None:
        positive, both, negated, *in_use = program.proofs.words
        _require(len(program.proofs.columns) == 32 * (positive + negated))
        _require(both <= min(positive, max(negated, both)))
        _require(in_use[0] <= 32 * positive and in_use[1] <= 32 * negated)
        _require(len(program.proofs.groups) in (0, len(program.proofs.columns)))
    if program.transpose is not None:
        _require(len(program.transpose.row) in (0, lengths["buffer"]))
    _check_leaves(program.forward, program.num_leaves)


def _lengths(program: Circuit) -> dict[str, int]:
    """The lengths that fields may index beside the axes of other fields."""
    forward, transpose = program.forward, program.transpose
    # The branches of padding are 0, where there are none.
    lengths = {"rows": program.num_rows, "leaves": program.num_leaves, "branch": max(1, len(forward.branches))}
    lengths["tile of rows"] = program.num_rows - forward.width + 1
    if transpose is not None:
        lengths["buffer"] = 1 + len(program.outputs) + transpose.num_sums
        lengths["tile of buffer"] = lengths["buffer"] - forward.width + 1
        lengths["use branch"] = max(1, len(transpose.use_rows))
    return lengths


def _check_leaves(forward: Forward, num_leaves: int) -> None:
    """Where operands on the right are taken for leaves, they are."""
    count = int(forward.tiles.count)
    for branch, (kind, rows) in enumerate(forward.branches):
        if kind in (LITERALS, LINEAR):
            _require(forward.third is not None)
            offset = forward.tiles.offset[:count][forward.tiles.branch[:count] == branch].astype(np.int64)
            places = ranges(offset, np.full(len(offset), rows * forward.width))
            _require(bool(np.all((places >= 0) & (places < len(forward.right)))))
            _require(bool(np.all(forward.right[places] < num_leaves)))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_numbers(value: object, axes: Sequence[str]) -> bool:
    """Whether the value is a count, or nested lists of counts with these axes."""
    if not axes:
        return _is_count(value)
    if not isinstance(value, list) or (axes[0].isdigit() and len(value) != int(axes[0])):
        return False
    return all(_is_numbers(item, axes[1:]) for item in value)


def _require(condition: bool) -> None:
    if not condition:
        raise CheckpointError(_DAMAGED)
