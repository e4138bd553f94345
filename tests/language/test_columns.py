"""Columns and rows hold the Python values that they are made of, in arrays where these have one kind."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scallax.language.columns import Column, Rows
from scallax.language.values import ValueType

INTEGERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(allow_nan=False)
KINDS = [INTEGERS, FLOATS, st.booleans(), st.text(max_size=2), st.integers()]
MIXED = st.one_of(*KINDS, st.none())
LISTS = st.one_of(*(st.lists(kind | st.none()) for kind in KINDS), *(st.lists(kind) for kind in KINDS), st.lists(MIXED))


def exactly(values):
    """The values with their classes, so that 1, 1.0 and True are not equal."""
    return [(type(value), value) for value in values]


@settings(max_examples=60)
@given(LISTS, st.data())
def test_a_column_is_the_list_it_is_made_of(values, data):
    column = Column.of(values)
    assert exactly(column.tolist()) == exactly(column) == exactly(values)
    assert column == values
    assert len(column) == len(values)
    assert exactly(column[i] for i in range(len(values))) == exactly(values)
    assert column.is_missing.tolist() == [value is None for value in values]
    places = data.draw(st.lists(st.integers(0, len(values) - 1))) if values else []
    taken = column.take(np.array(places, np.int64))
    assert exactly(taken) == exactly(taken.compact()) == exactly(values[place] for place in places)
    other = data.draw(LISTS)
    assert exactly(Column.join([column, Column.of(other), column])) == exactly([*values, *other, *values])
    assert pickle.loads(pickle.dumps(column)) == copy.deepcopy(column) == values


@pytest.mark.parametrize("values", [[1, -5], [0.5], [True, False], [1, None], [None, None]])
def test_values_of_one_kind_stand_in_an_array(values):
    assert Column.of(values).distinct is None


def test_equal_texts_have_one_number():
    column = Column.of(["b", "a", "b"])
    assert (column.array.tolist(), column.distinct) == ([0, 1, 0], ("b", "a"))
    assert Column.join([column, Column.of(["a", "c"])]).distinct == ("b", "a", "c")


@settings(max_examples=100)
@given(st.lists(st.tuples(INTEGERS, st.text(max_size=1), FLOATS)))
def test_rows_are_the_tuples_they_are_made_of(tuples):
    rows = Rows.of(tuples)
    assert (list(rows), len(rows)) == (tuples, len(tuples))
    assert rows == tuples
    assert rows == tuple(tuples)
    assert [rows[place] for place in range(-len(tuples), len(tuples))] == [*tuples, *tuples]
    assert list(rows[1:5:2]) == tuples[1:5:2]
    assert hash(rows) == hash(tuple(tuples))


def test_rows_without_columns_are_counted():
    rows = Rows((), 3)
    assert (list(rows), rows[2], list(rows[1:])) == ([(), (), ()], (), [(), ()])
    with pytest.raises(IndexError):
        rows[3]


@settings(max_examples=200)
@given(LISTS.filter(lambda values: None not in values), st.sampled_from(list(ValueType)))
def test_a_type_refuses_of_a_column_what_it_refuses_alone(values, type):
    first = next((place for place, value in enumerate(values) if not type.admits(value)), None)
    column = Column.of(values)
    if column.distinct is None:
        assert type.find_unfit(column) == first
    else:
        assert column.find(lambda value: not type.admits(value)) == first
