"""Artifacts for the tests of checkpoints, and whether two are the same."""

from collections.abc import Mapping

import ml_dtypes
import numpy as np

from scallax.checkpoint.artifact import Artifact
from scallax.circuits.serialized import SerializedProgram
from tests.facts.test_specification import EXAMPLE

DTYPES = (
    *(np.bool_, np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64),
    *(np.float16, ml_dtypes.bfloat16, np.float32, np.float64),
)


def every_kind() -> Artifact:
    """Two reasoners, tensors of every dtype with and without axes and elements, and every kind of value."""
    tensors = {}
    for dtype in DTYPES:
        name = np.dtype(dtype).name
        tensors[f"{name}.matrix"] = np.arange(6).reshape(2, 3).astype(dtype)
        tensors[f"{name}.number"] = np.array(1, dtype)
        tensors[f"{name}.empty"] = np.zeros((0, 3), dtype)
    return Artifact(
        specifications={"adder": EXAMPLE, "": EXAMPLE},
        tensors=tensors,
        door="flax",
        extra={
            "z": [None, True, 3, -(2**100), 0.1, -0.0, float("nan"), float("inf"), "é\ud800\n"],
            "a": {"array": [0], "dict": {"float": "nan"}, "": np.arange(3.0)},
            "optimizer": [np.zeros((0,), np.int32), [np.array([0.1, np.nan], np.float32)]],
        },
        grounds={
            "adder": SerializedProgram({"sizes": [1, 2]}, {"heads": np.arange(4), "atoms": np.zeros((0, 2), np.int32)})
        },
        metrics={"loss": 0.25, "accuracy": float("nan")},
    )


def numbered(number: int) -> Artifact:
    """An artifact in which every part tells its number."""
    # Random: no storage makes them smaller.
    big = np.random.default_rng(number).random(3000)
    return Artifact(
        specifications={"": EXAMPLE},
        tensors={"big": big, "small": np.full((), number, np.int64)},
        extra={"number": number, "momentum": [big[:500] + number]},
    )


def number_of(artifact: Artifact) -> int:
    """The number of `numbered`, which every part must tell."""
    number = int(artifact.tensors["small"])
    assert_same(artifact, numbered(number))
    return number


def assert_same(actual: Artifact, expected: Artifact) -> None:
    """Equal to the bit, the order of names included."""
    for name in ("specifications", "door"):
        assert getattr(actual, name) == getattr(expected, name)
    for name in ("tensors", "extra", "metrics"):
        assert_same_values(getattr(actual, name), getattr(expected, name))
    assert list(actual.grounds) == list(expected.grounds)
    for path, ground in expected.grounds.items():
        assert_same_values(actual.grounds[path].data, ground.data)
        assert_same_values(actual.grounds[path].arrays, ground.arrays)


def assert_same_values(actual: object, expected: object) -> None:
    """Equal values of equal types, tuples and NumPy scalars as they come back."""
    match expected:
        case Mapping():
            assert isinstance(actual, Mapping)
            assert list(actual) == list(expected)
            for key in expected:
                assert_same_values(actual[key], expected[key])
        case list() | tuple():
            assert isinstance(actual, list)
            assert len(actual) == len(expected)
            for a, b in zip(actual, expected, strict=True):
                assert_same_values(a, b)
        case np.ndarray() | np.generic():
            assert isinstance(actual, np.ndarray)
            assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
            assert actual.tobytes() == expected.tobytes()
        case float():
            assert isinstance(actual, float)
            assert repr(actual) == repr(expected)
        case _:
            assert type(actual) is type(expected)
            assert actual == expected
