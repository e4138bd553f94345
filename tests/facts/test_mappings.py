"""Input and output mappings: every way to write one, and what is refused."""

import itertools

import numpy as np
import pytest

from scallax.errors import InputError
from scallax.facts.mappings import Entries, InputMapping, fit_entries, fit_tuples, read_entries, typical_tuples
from scallax.language.tensors import TensorValue
from scallax.language.values import ValueType

I32, U8, F32, STRING, CHAR, BOOL = (
    ValueType.I32,
    ValueType.U8,
    ValueType.F32,
    ValueType.STRING,
    ValueType.CHAR,
    ValueType.BOOL,
)


@pytest.mark.parametrize(
    ("mapping", "shape", "tuples"),
    [
        (range(3), (3,), ((0,), (1,), (2,))),
        (["a", "b"], (2,), (("a",), ("b",))),
        ([(0, 1), (1, 2)], (2,), ((0, 1), (1, 2))),
        ([()], (1,), ((),)),
        ((3, 5), (), ((3, 5),)),
        ((), (), ((),)),
        (3, (), ((3,),)),
        ("left", (), (("left",),)),
        ([[0, 1, 2], [3, 4, 5]], (2, 3), tuple((n,) for n in range(6))),
        ([range(2), range(2, 4)], (2, 2), ((0,), (1,), (2,), (3,))),
        ([[[(0, 1)], [(1, 0)]]], (1, 2, 1), ((0, 1), (1, 0))),
        ({0: range(2), 1: ["x", "y", "z"]}, (2, 3), tuple(itertools.product(range(2), "xyz"))),
        (np.arange(4).reshape(2, 2), (2, 2), ((0,), (1,), (2,), (3,))),
        ([np.int64(3), np.float32(0.5)], (2,), ((3,), (0.5,))),
    ],
)
def test_every_form_has_a_shape_and_tuples_in_row_major_order(mapping, shape, tuples):
    entries = InputMapping(mapping).entries
    assert entries == Entries(shape, tuples)
    assert all(type(value) in (bool, int, float, str) for values in entries.tuples for value in values)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ([], "m: it is empty"),
        (range(0), "m: it is empty"),
        ([[], []], "m: it is empty in dimension 1"),
        ([[1, 2], [3]], "m: it is ragged: the lists of dimension 1 differ in length"),
        ([[1, 2], 3], "m: it is ragged: the lists of dimension 1 differ in length"),
        ([1, [2]], "m: it is ragged: a list stands beside values"),
        (
            (range(5), [0, 1]),
            "m: a tuple is one fact, and has no lists or ranges in it\n"
            "hint: the axes of a tensor are a dictionary: {0: range(5), 1: range(10)}",
        ),
        ([(1, 2), (3,)], "m: its tuples differ in length: 1, 2"),
        ([None], "m: None is no value; a value is an integer, a float, a bool or a string"),
        ({}, "m: the keys of a dictionary are the axes 0, 1, ...; it has []"),
        ({1: [1]}, "m: the keys of a dictionary are the axes 0, 1, ...; it has [1]"),
        ({0: []}, "m: axis 0 must be a non-empty list or range of values"),
        ({0: [(1, 2)]}, "m: axis 0 must be a non-empty list or range of values"),
        (
            {1, 2},
            "m: set is no mapping; give a range, a list of values or tuples, a tuple, a value or a dictionary of lists",
        ),
    ],
)
def test_what_is_no_mapping_is_refused(mapping, message):
    with pytest.raises(InputError) as caught:
        read_entries(mapping, "m")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"disjunctive": 1}, "input mapping: `disjunctive` is 1; it must be True or False"),
        (
            {"disjunctive_dim": 2},
            "input mapping: `disjunctive_dim` is 2, but the mapping has 2 dimensions, counted from 0",
        ),
        ({"sample_dim": -1}, "input mapping: `sample_dim` is -1, but the mapping has 2 dimensions, counted from 0"),
        ({"retain_k": 0}, "input mapping: `retain_k` is 0; it must be a positive integer"),
        ({"retain_threshold": float("nan")}, "input mapping: `retain_threshold` is nan; it must be a finite number"),
        ({"sample_strategy": "best"}, "input mapping: unknown sample strategy 'best'; use `top` or `categorical`"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(InputError) as caught:
        InputMapping([[1, 2], [3, 4]], **options)
    assert str(caught.value) == message


def test_categorical_sampling_needs_the_number_of_draws():
    with pytest.raises(InputError, match="`categorical` needs `retain_k`, the number of draws"):
        InputMapping(range(3), sample_strategy="categorical")
    assert InputMapping(range(3), sample_strategy="categorical", retain_k=2).retention is not None


def test_what_is_not_said_is_no_part_of_a_mapping():
    said, unsaid = InputMapping(range(3), disjunctive=False), InputMapping(range(3))
    assert said == unsaid
    assert (said.is_declared, unsaid.is_declared, unsaid.disjunctive) == (True, False, False)
    exclusive = InputMapping(range(3), disjunctive=True)
    assert InputMapping(exclusive).disjunctive
    assert not InputMapping(exclusive, disjunctive=False).disjunctive
    for mapping in (said, unsaid, exclusive):
        assert InputMapping(mapping, retain_k=1).is_declared == mapping.is_declared
        assert InputMapping(mapping.entries, **mapping.options).is_declared == mapping.is_declared
    assert InputMapping([[1, 2]], disjunctive_dim=1).is_declared


def test_groups_are_the_fibres_along_the_exclusive_axis():
    grid = {0: range(2), 1: range(3)}
    assert InputMapping(grid).groups is None
    np.testing.assert_array_equal(InputMapping(grid, disjunctive=True).groups, [0] * 6)
    np.testing.assert_array_equal(InputMapping(grid, disjunctive_dim=1).groups, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(InputMapping(grid, disjunctive_dim=0).groups, [0, 1, 2, 0, 1, 2])


def test_equal_mappings_are_equal_and_hashable():
    assert InputMapping(range(3), retain_k=2) == InputMapping([0, 1, 2], retain_k=2)
    assert hash(InputMapping(range(3))) == hash(InputMapping([(0,), (1,), (2,)]))
    assert InputMapping(range(3)) != InputMapping(range(3), disjunctive=True)


def test_tuples_are_fitted_to_column_types():
    assert fit_tuples([(1, 0.1)], [F32, F32], "m") == ((1.0, float(np.float32(0.1))),)
    assert type(fit_tuples([(1,)], [F32], "m")[0][0]) is float


ENTRY = "m: entry {}, ({}), does not fit: {} (column {})"


@pytest.mark.parametrize(
    ("tuples", "columns", "message"),
    [
        ([(1,), ("x",)], [I32], 'm: entry 1, ("x"), does not fit: "x" is no i32 (column 1)'),
        ([(True,)], [I32], "m: entry 0, (true), does not fit: true is no i32 (column 1)"),
        ([(256,)], [U8], "m: entry 0, (256), does not fit: 256 is no u8 (column 1)"),
        ([(-1,)], [U8], "m: entry 0, (-1), does not fit: -1 is no u8 (column 1)"),
        ([("ab",)], [CHAR], 'm: entry 0, ("ab"), does not fit: "ab" is no char (column 1)'),
        ([(0.5,)], [I32], "m: entry 0, (0.5), does not fit: 0.5 is no i32 (column 1)"),
        ([(0, 1)], [BOOL, I32], "m: entry 0, (0, 1), does not fit: 0 is no bool (column 1)"),
        ([(1, 2)], [I32], "m: entry 0, (1, 2), has 2 values, but the relation has 1 columns"),
        # The first entry that is wrong, whatever its column.
        (
            [("a", 1), ("b", 1 << 31), (3, 4)],
            [STRING, I32],
            ENTRY.format(1, '"b", 2147483648', "2147483648 is no i32", 2),
        ),
        ([("a", 1), (2, 3), ("b", 1 << 31)], [STRING, I32], ENTRY.format(1, "2, 3", "2 is no String", 1)),
        ([(1,), (1, 2), ("x",)], [I32], "m: entry 1, (1, 2), has 2 values, but the relation has 1 columns"),
        ([(1,), ("x",), (1, 2)], [I32], ENTRY.format(1, '"x"', '"x" is no i32', 1)),
        ([(1,), (0.5,), (float("nan"),)], [F32], ENTRY.format(2, "nan", "nan is no f32", 1)),
        ([("a",), ("é",), ("\ud800",)], [STRING], ENTRY.format(2, '"?"', '"?" is no String', 1)),
    ],
)
def test_a_value_of_the_wrong_type_is_named(tuples, columns, message):
    with pytest.raises(InputError) as caught:
        fit_tuples(tuples, columns, "m")
    assert str(caught.value) == message


def test_a_column_is_checked_as_its_values_are():
    large = 10**400
    values = [True, 0, -1, 300, 1 << 40, large, -large, 0.5, float("nan"), float("inf"), "a", "ab", "é", "\ud800", "5s"]
    values += ["2024-01-01", TensorValue(np.zeros(2))]
    for kind in ValueType:
        admitted = [kind.admits(value) for value in values]
        for (first, fits), (second, also) in itertools.product(zip(values, admitted, strict=True), repeat=2):
            place = 1 if fits else 0
            assert kind.find_unfit([first, second]) == (None if fits and also else place), (kind, first, second)
        assert kind.find_unfit([]) is None
    assert not ValueType.F64.admits(large)


def test_duplicates_are_refused_after_rounding():
    fit_entries(Entries((2,), (("a",), ("b",))), [STRING], "m")
    with pytest.raises(InputError, match=r"^m: entry 2, \(1\), is a duplicate of entry 0$"):
        fit_entries(Entries((3,), ((1,), (2,), (1,))), [I32], "m")
    with pytest.raises(InputError, match="is a duplicate of entry 0"):
        fit_entries(Entries((2,), ((0.1,), (0.1 + 1e-12,))), [F32], "m")


def test_typical_tuples_cover_every_kind_of_value_in_every_column():
    tuples = [(n, s) for n in (-1, 0, 1, 2) for s in ("a", "bb", "c")]
    assert typical_tuples(tuples) == ((-1, "a"), (-1, "bb"), (0, "a"))
    assert typical_tuples([(), ()]) == ((),)
