"""Artifacts: they come back as they were, or every problem is told; and how two differ."""

import dataclasses
import hashlib
import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from scallax.checkpoint.artifact import Artifact, canonical, differences, pack, read_artifact, read_metrics
from scallax.circuits.serialized import SerializedProgram
from scallax.errors import CheckpointError, InputError
from tests.artifacts import DTYPES, assert_same, assert_same_values, every_kind
from tests.facts.test_specification import EXAMPLE

SMALL = Artifact(
    {"": EXAMPLE}, {"weights": np.arange(3, dtype=np.float32)}, extra=[np.arange(2)], metrics={"loss": 0.5}
)

ARRAYS = st.sampled_from([dtype for dtype in DTYPES if dtype is not ml_dtypes.bfloat16]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
)
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | ARRAYS
VALUES = st.recursive(
    LEAVES,
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=5), values, max_size=4),
    max_leaves=12,
)


def resealed(header: dict) -> str:
    """An altered header with a digest that fits, as a careful forger would write it."""
    header = {name: value for name, value in header.items() if name != "digest"}
    return canonical({**header, "digest": hashlib.sha256(canonical(header).encode()).hexdigest()})


def header_of(artifact: Artifact) -> dict:
    return json.loads(pack(artifact)[0])


def problems_of(text: str, arrays: dict[str, np.ndarray] | None = None) -> list[str]:
    with pytest.raises(CheckpointError) as caught:
        read_artifact(text, pack(SMALL)[1] if arrays is None else arrays)
    return [diagnostic.message for diagnostic in caught.value.diagnostics]


def test_an_artifact_of_every_kind_comes_back():
    assert_same(read_artifact(*pack(every_kind())), every_kind())


@settings(max_examples=100, deadline=None)
@given(
    extra=VALUES,
    tensors=st.dictionaries(
        st.text("abc./ é", min_size=1).map(lambda name: name.rstrip("/") + "a"), ARRAYS, max_size=3
    ),
)
def test_any_values_come_back(extra, tensors):
    artifact = Artifact({}, tensors, extra=extra)
    text, arrays = pack(artifact)
    assert_same(read_artifact(text, arrays), artifact)
    assert pack(read_artifact(text, arrays))[0] == text


def test_the_header_is_canonical_and_tells_the_format():
    text, arrays = pack(SMALL)
    header = json.loads(text)
    assert canonical(header) == text == resealed(header)
    assert header["format"] == 1
    assert header["specifications"] == {"": json.loads(EXAMPLE.to_json())}
    weights = arrays["weights"]
    expected = {
        "name": "weights",
        "dtype": "float32",
        "shape": [3],
        "sha256": hashlib.sha256(weights.tobytes()).hexdigest(),
    }
    assert header["tensors"] == [expected]
    assert list(arrays) == ["weights", "scallax/0"]


def test_tuples_and_numpy_scalars_come_back_as_lists_and_arrays():
    extra = read_artifact(*pack(Artifact({}, {}, extra=(1, (np.float32(2), np.float64(3)))))).extra
    assert_same_values(extra, [1, [np.array(2, np.float32), np.array(3.0)]])


def test_other_layouts_of_memory_are_stored_alike():
    matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
    expected = pack(Artifact({}, {"a": matrix}))
    for other in (np.asfortranarray(matrix), matrix.astype(">f4"), np.repeat(matrix, 2, axis=1)[:, ::2]):
        text, arrays = pack(Artifact({}, {"a": other}))
        assert text == expected[0]
        assert arrays["a"].tobytes() == expected[1]["a"].tobytes()
        read_artifact(text, {"a": other})


def test_packing_copies():
    weights = np.zeros(3)
    text, arrays = pack(Artifact({}, {"a": weights}))
    weights += 1
    assert_same(read_artifact(text, arrays), Artifact({}, {"a": np.zeros(3)}))


def test_arrays_without_elements_need_not_be_stored():
    text, arrays = pack(every_kind())
    assert_same(read_artifact(text, {name: array for name, array in arrays.items() if array.size}), every_kind())


def test_metrics_are_read_alone():
    assert read_metrics(pack(SMALL)[0]) == {"loss": 0.5}
    with pytest.raises(CheckpointError, match="the header does not match its SHA-256"):
        read_metrics(pack(SMALL)[0].replace('"loss",0.5', '"loss",0.7'))


def test_every_value_that_cannot_be_stored_is_named():
    loop: list = []
    loop.append(loop)
    extra = {"a": [1, {2, 3}], "b": {1: 2}, "c": np.array(["x"]), "d": 10**5000, "e": 1j, "f": object}
    tensors = {"t": np.zeros(2, np.complex64), "scallax/0": np.zeros(2), "": np.zeros(2), "a\n": np.zeros(2)}
    with pytest.raises(InputError) as caught:
        pack(Artifact({}, tensors, extra=extra))
    assert [diagnostic.message for diagnostic in caught.value.diagnostics] == [
        'tensors["t"] has dtype complex64, which cannot be stored',
        "'scallax/0' is no name for a tensor: it is empty, not printable, or reserved",
        "'' is no name for a tensor: it is empty, not printable, or reserved",
        "'a\\n' is no name for a tensor: it is empty, not printable, or reserved",
        'extra["a"][1] is of type set, which cannot be stored',
        'extra["b"] has the key 1, which cannot be stored: keys are strings',
        'extra["c"] has dtype <U1, which cannot be stored',
        'extra["d"] is an integer of thousands of digits, which cannot be stored',
        'extra["e"] is of type complex, which cannot be stored',
        'extra["f"] is of type type, which cannot be stored',
    ]
    with pytest.raises(InputError, match=r"is nested deeper than 100 levels, or contains itself$"):
        pack(Artifact({}, {}, extra=loop))


@pytest.mark.parametrize("text", ["", "{", "nonsense", '{"format": 1', "[" * 100_000, '{"format":' + "9" * 5000 + "}"])
def test_a_text_that_is_no_json_is_refused(text):
    assert problems_of(text)[0].startswith("the header is no JSON: ")


def test_a_text_that_is_no_header_is_refused():
    assert problems_of("[]") == ["the header is no JSON object"]
    assert problems_of("{}") == ["the header has format version None; a version is a number from 1"]
    assert problems_of('{"format":true}') == ["the header has format version True; a version is a number from 1"]
    fields = ("door", "specifications", "tensors", "arrays", "extra", "grounds", "metrics", "digest")
    expected = [f"the header lacks `{name}`" for name in fields] + ["the header has the unknown field `more`"]
    assert problems_of('{"format":1,"more":2}') == expected


def test_a_newer_version_is_refused_before_anything_else():
    with pytest.raises(CheckpointError) as caught:
        read_artifact('{"format":2,"other":[]}', {})
    assert str(caught.value) == (
        "the checkpoint has format version 2; this version of scallax reads version 1\n"
        "hint: it was saved by a newer version: update scallax"
    )


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"door": 1}, "the header's `door` and `digest` must be strings"),
        ({"specifications": []}, "the header's `specifications` must be an object"),
        ({"specifications": {"": 1}}, "the saved specification is no JSON object"),
        ({"specifications": {"a": {"format": 9}}}, "reasoner `a`: the saved specification has format version 9; "),
        ({"tensors": {}}, "the header's `tensors` must be a list of arrays with their dtypes, shapes and SHA-256"),
        ({"arrays": [1]}, "the header's `arrays` must be a list of arrays with their dtypes, shapes and SHA-256"),
        ({"extra": {"array": 1}}, 'the header has a value of no known kind: {"array": 1}'),
        ({"extra": {"array": "0"}}, 'the header has a value of no known kind: {"array": "0"}'),
        ({"extra": [{"array": 0}, {"array": 0}]}, 'the header has a value of no known kind: {"array": 0}'),
        ({"extra": None}, "the header has arrays that nothing refers to"),
        ({"extra": {"array": 0, "x": 1}}, 'the header has a value of no known kind: {"array": 0, "x": 1}'),
        ({"extra": {"dict": [[1, 2]]}}, 'the header has a value of no known kind: {"dict": [[1, 2]]}'),
        ({"grounds": {"dict": [["a", 1]]}}, "the header's grounding of `a` is no grounding"),
        ({"metrics": [1]}, "the header's metrics are no numbers by name"),
        ({"metrics": {"dict": [["a", "b"]]}}, "the header's metrics are no numbers by name"),
    ],
)
def test_a_forged_header_is_refused(change, problem):
    problems = problems_of(resealed({**header_of(SMALL), **change}))
    assert any(found.startswith(problem) for found in problems), problems


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "complex64"},
        {"dtype": None},
        {"shape": 3},
        {"shape": [-1]},
        {"shape": [True]},
        {"shape": [2**62, 2**62]},
        {"shape": [2**62, 0]},
        {"shape": [0] * 100},
        {"sha256": 1},
        {"name": 1},
        {"name": "scallax/7"},
        {"more": 1},
    ],
)
def test_a_forged_array_is_refused(change):
    header = header_of(SMALL)
    header["tensors"][0].update(change)
    assert problems_of(resealed(header))[0].startswith("the header's `tensors` must be a list of")


def test_deeply_nested_values_are_refused():
    extra: object = None
    for _ in range(150):
        extra = [extra]
    problems = problems_of(resealed({**header_of(SMALL), "extra": extra}))
    assert "the header has values nested deeper than 100 levels" in problems


def test_every_change_of_a_header_is_found():
    text, arrays = pack(SMALL)
    for place in range(len(text)):
        for bit in range(7):
            changed = text[:place] + chr(ord(text[place]) ^ 1 << bit) + text[place + 1 :]
            with pytest.raises(CheckpointError):
                read_artifact(changed, arrays)


def test_every_problem_of_the_arrays_is_told_together():
    artifact = dataclasses.replace(SMALL, tensors={name: np.arange(3) for name in "abcd"})
    text, arrays = pack(artifact)
    text = text.replace('"loss",0.5', '"loss",0.7')
    arrays["a"] = arrays["a"].astype(np.int32)
    arrays["b"] = arrays["b"].reshape(3, 1)
    arrays["c"][1] ^= 1
    arrays["e"] = arrays.pop("d")
    arrays["scallax/0"][0] ^= 1
    assert problems_of(text, arrays) == [
        "the header does not match its SHA-256: it was changed after it was saved",
        "the tensor `a` is int32 [3], but the header says int64 [3]",
        "the tensor `b` is int64 [3, 1], but the header says int64 [3]",
        "the tensor `c` does not match its SHA-256: it was changed after it was saved",
        "the tensor `d` is missing",
        "the array `e` is not in the header",
        "the array `scallax/0` does not match its SHA-256: it was changed after it was saved",
    ]


def test_a_damaged_specification_is_told_with_the_rest():
    header = header_of(SMALL)
    header["specifications"] = {"a": {**header["specifications"][""], "k": 4}}
    assert problems_of(resealed(header), {}) == [
        "reasoner `a`: the saved specification does not match its SHA-256: it was changed after it was saved",
        "the tensor `weights` is missing",
        "the array `scallax/0` is missing",
    ]


def test_equal_artifacts_do_not_differ():
    assert differences(every_kind(), every_kind()) == []
    same_shapes = dataclasses.replace(SMALL, tensors={"weights": np.ones(3, np.float32)}, extra=None, door="torch")
    assert differences(SMALL, same_shapes) == []


def test_every_difference_is_told():
    ground = {"a": SerializedProgram({}, {})}
    found = Artifact(
        {"a": EXAMPLE, "b": EXAMPLE}, {"x": np.zeros(2), "y": np.zeros(2), "z": np.zeros(2)}, grounds=ground
    )
    other = dataclasses.replace(EXAMPLE, k=5)
    expected = Artifact(
        {"a": other, "": EXAMPLE}, {"y": np.zeros((2, 1)), "z": np.zeros(2, np.float32), "w": np.zeros(())}
    )
    assert differences(expected, found) == [
        "reasoner `a`: k: was 3, is 5",
        "reasoner `b`: was a program, is none",
        "reasoner: was none, is a program",
        "tensor `x`: was float64 [2], is none",
        "tensor `y`: was float64 [2], is float64 [2, 1]",
        "tensor `z`: was float64 [2], is float32 [2]",
        "tensor `w`: was none, is float64 []",
    ]
