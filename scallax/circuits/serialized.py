"""Ground programs and listed tuples as data and back: a checkpoint that holds them is ready without grounding."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from scallax.circuits.layout import Circuit
from scallax.errors import CheckpointError
from scallax.facts.mappings import Tuples
from scallax.kernels.runs import ranges
from scallax.kernels.schedule import LINEAR, LITERALS, Schedule
from scallax.kernels.selections import Selections, Stage
from scallax.language.tensors import TensorValue
from scallax.language.values import Value, ValueType

_SCHEDULES = ("tiles", "transpose")
_STATIC = ("width", "branches", "use_rows", "words", "num_heads", "num_sums")
_STAGES = "stages"
# Given with each call, and made by grounding.
_NOT_STORED = ("seed", "literal_ids")
# What programs of many components have; stored ones are of one.
_LOCAL = {"local_literals": (0, 0), "local_columns": (2, 0), "place_components": (0,), "output_components": (0,)}
_APART = (*_SCHEDULES, *_STATIC, *_NOT_STORED, *_LOCAL, _STAGES)
_ARRAYS = tuple(f.name for f in fields(Circuit) if f.name not in _APART)
_DTYPES = {"literal_prior": np.float32, "exclusions": np.uint32, "group_end": np.bool_}
_FLAGS = ("begins", "ends", "cyclic", "complement")
_DIMENSIONS = {"literal_prior": 2, "exclusions": 2, "column_of": 2}
_DAMAGED = "the stored grounding is damaged or of another version; load the checkpoint without it"


@dataclass(frozen=True, slots=True, eq=False)
class SerializedProgram:
    """One grounding: values as those of `Artifact.extra`, and index arrays by name."""

    data: dict
    arrays: Mapping[str, np.ndarray]


def program_data(program: Circuit) -> tuple[dict, dict[str, np.ndarray]]:
    """The numbers of a program, as JSON values, and its arrays by name."""
    data: dict = {
        "width": program.width,
        "branches": [list(pair) for pair in program.branches],
        "use_rows": list(program.use_rows),
        "words": list(program.words),
        "num_heads": program.num_heads,
        "num_sums": program.num_sums,
    }
    arrays = {name: np.asarray(getattr(program, name)) for name in _ARRAYS}
    for name in _SCHEDULES:
        schedule = getattr(program, name)
        arrays |= {f"{name}.{part}": np.asarray(values) for part, values in schedule._asdict().items()}
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
    schedules = {f"{name}.{part}" for name in _SCHEDULES for part in Schedule._fields}
    _require(set(data) - {_STAGES} == set(_STATIC) and set(arrays) == {*_ARRAYS, *schedules})
    for name, array in arrays.items():
        part = name.rpartition(".")[2]
        dtype = np.bool_ if name in schedules and part in _FLAGS else _DTYPES.get(name, np.int32)
        dimensions = 0 if part == "count" else _DIMENSIONS.get(name, 1)
        _require(array.dtype == dtype and array.ndim == dimensions)
    _require(all(_is_count(data[name]) for name in ("width", "num_heads", "num_sums")) and data["width"] > 0)
    _require(isinstance(data["branches"], list) and all(_is_pair(pair) for pair in data["branches"]))
    _require(isinstance(data["use_rows"], list) and all(map(_is_count, data["use_rows"])))
    _require(isinstance(data["words"], list) and len(data["words"]) == 5 and all(map(_is_count, data["words"])))
    positive, both, negated, *columns = data["words"]
    program = Circuit(
        words=(positive, both, negated, columns[0], columns[1]),
        width=data["width"],
        branches=tuple((kind, rows) for kind, rows in data["branches"]),
        use_rows=tuple(data["use_rows"]),
        num_heads=data["num_heads"],
        num_sums=data["num_sums"],
        tiles=Schedule(*(arrays[f"tiles.{part}"] for part in Schedule._fields)),
        transpose=Schedule(*(arrays[f"transpose.{part}"] for part in Schedule._fields)),
        stages=compiled,
        **{name: arrays[name] for name in _ARRAYS},
        **{name: np.zeros(shape, np.int32) for name, shape in _LOCAL.items()},
    )
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


def columns_data(tuples: Tuples, types: Sequence[ValueType]) -> tuple[dict, dict[str, np.ndarray]]:
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
    num_before = len(program.input_literal)
    for stage in program.stages[::-1]:
        # The inputs of a stage, and its selections, are the inputs of the next one.
        num_before -= len(stage.selections.members)
        _require(len(stage.program.input_literal) == num_before)
    num_literals = program.num_literals
    num_rows = program.num_leaves + program.num_heads
    positive, both, negated, *columns = program.words
    num_buffer = 1 + len(program.outputs) + program.num_sums
    num_inputs = len(program.input_literal)
    for values, limit in (
        (program.left, num_rows),
        (program.right, num_rows),
        (program.outputs, num_rows),
        (program.others, num_rows),
        (program.uses, num_buffer),
        (program.literal_row, num_buffer),
        (program.input_literal, num_literals + 1),
        (program.negated, max(1, num_literals)),
        (program.columns + 1, num_literals + 1),
        (program.column_of + 1, len(program.columns) + 1),
        (program.third, program.num_leaves),
        (program.slots, len(program.logit_groups)),
        (program.heads, num_rows - program.width + 1),
        (program.tiles.branch, max(1, len(program.branches))),
        (program.transpose.branch, max(1, len(program.use_rows))),
    ):
        _require(bool(np.all((values >= 0) & (values < limit))))
    _require(bool(np.all((program.literal_source >= -1) & (program.literal_source < num_inputs))))
    _require(bool(np.all((program.logit_groups >= -1) & (program.logit_groups < len(program.logit_groups)))))
    _require(program.literal_prior.shape == (2, num_literals) and len(program.exclusions) == num_literals)
    _require(len(program.group_end) == num_literals)
    _require(len(program.columns) == 32 * (positive + negated) and both <= min(positive, max(negated, both)))
    _require(columns[0] <= 32 * positive and columns[1] <= 32 * negated)
    _require(program.column_of.shape == (2, num_literals))
    _require(len(program.third) in (0, len(program.left)))
    _check_leaves(program)
    for schedule, size in ((program.tiles, num_rows), (program.transpose, num_buffer)):
        steps = np.arange(len(schedule.branch))
        _require(all(len(values) == len(steps) for values in schedule[:-1]))
        _require(0 <= int(schedule.count) <= len(steps))
        _require(bool(np.all((schedule.loop >= -1) & (schedule.loop <= steps))))
        used = schedule.target[: int(schedule.count)]
        _require(bool(np.all((used >= 0) & (used + program.width <= size))))


def _check_leaves(program: Circuit) -> None:
    """Where operands on the right are taken for leaves, they are."""
    count = int(program.tiles.count)
    for branch, (kind, rows) in enumerate(program.branches):
        if kind in (LITERALS, LINEAR):
            _require(len(program.third) == len(program.right))
            offset = program.tiles.offset[:count][program.tiles.branch[:count] == branch].astype(np.int64)
            places = ranges(offset, np.full(len(offset), rows * program.width))
            _require(bool(np.all((places >= 0) & (places < len(program.right)))))
            _require(bool(np.all(program.right[places] < program.num_leaves)))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_pair(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_count, value))


def _require(condition: bool) -> None:
    if not condition:
        raise CheckpointError(_DAMAGED)
