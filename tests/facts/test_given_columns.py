"""Facts in columns are the facts that the rows of the same values are, and what is wrong with them is one error."""

import datetime
import re

import numpy as np
import pytest

from scallax import Context, InputError, Table

pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")

TYPES = ("name: String", "size: i32")
ROWS = [(0.5, ("b", 1)), (0.25, ("a", 2)), (0.125, ("b", 3))]
FRAME = pandas.DataFrame({"name": ["b", "a", "b"], "size": [1, 2, 3], "p": [0.5, 0.25, 0.125]})
ARROW = pyarrow.table(FRAME)
TABLES = {
    "pandas": FRAME,
    "categories": FRAME.astype({"name": "category"}),
    "objects": FRAME.astype({"name": object, "size": object}),
    "nullable": FRAME.convert_dtypes(),
    "pandas on Arrow": FRAME.convert_dtypes(dtype_backend="pyarrow"),
    "series": dict(FRAME.items()),
    "Arrow": ARROW,
    "a batch of Arrow": ARROW.to_batches()[0],
    "chunks": pyarrow.concat_tables([ARROW[:1], ARROW[1:]]),
    "dictionary of Arrow": pyarrow.table(FRAME.astype({"name": "category"})),
    "columns of Arrow": dict(zip(ARROW.column_names, ARROW.columns, strict=True)),
    "lists": FRAME.to_dict("list"),
    "arrays": {
        "p": FRAME.p.to_numpy(np.float32),
        "size": np.array([1, 2, 3], np.uint8),
        "name": np.array(["b", "a", "b"]),
    },
    "an array with fields": FRAME.to_records(index=False),
}


def of(types, facts=None, provenance="minmaxprob", **arguments):
    """A relation `r` with these facts, as a run answers it."""
    context = Context(provenance)
    context.add_relation("r", types)
    context.add_facts("r", facts, **arguments)
    context.run()
    return context.relation("r")


@pytest.mark.parametrize("table", TABLES.values(), ids=list(TABLES))
def test_columns_of_a_table_are_its_rows(table):
    assert of(TYPES, table, tags="p") == of(TYPES, ROWS)


def test_tags_stand_beside_columns_and_beside_tuples():
    columns = FRAME[["size", "name"]]
    for tags in (FRAME.p, FRAME.p.to_numpy(), FRAME.p.tolist(), ARROW["p"], FRAME.p.astype("Float64")):
        assert of(TYPES, columns, tags=tags) == of(TYPES, ROWS)
        assert of(TYPES, [values for _, values in ROWS], tags=tags) == of(TYPES, ROWS)
    assert of(TYPES, columns) == of(TYPES, [(None, values) for _, values in ROWS])


def test_what_is_missing_among_tags_is_certain():
    expected = of(int, [(None, (1,)), (0.5, (2,))])
    for tags in (
        [None, 0.5],
        pandas.Series([None, 0.5], dtype="Float64"),
        pyarrow.array([None, 0.5]),
        np.ma.masked_array([0.1, 0.5], [True, False]),
    ):
        assert of(int, np.array([1, 2]), tags=tags) == expected


def test_arrays_are_columns_by_position():
    grid = np.arange(6).reshape(3, 2)
    assert of((int, int), grid, "unit") == [(0, 1), (2, 3), (4, 5)]
    assert of(int, grid[:, 1], "unit") == of(int, pandas.Series([1, 3, 5]), "unit") == [(1,), (3,), (5,)]
    assert of((int, str), {0: [1], 1: ["a"]}, "unit") == of((int, str), {"x": [1], "y": ["a"]}, "unit") == [(1, "a")]


@pytest.mark.parametrize(
    ("type", "values"),
    [
        ("DateTime", ["2020-01-31", "2021-02-03 04:05:06"]),
        ("Duration", [datetime.timedelta(hours=1), datetime.timedelta(days=3)]),
        ("f32", [0.1, -0.0]),
        ("bool", [True, False]),
        ("char", ["a", "b"]),
        ("u64", [2**63, 1]),
        ("i128", [2**100, -1]),
    ],
)
def test_columns_of_each_type_are_those_of_lists(type, values):
    expected = of(type, [(value,) for value in values], "unit")
    assert of(type, {0: values}, "unit") == expected
    array = np.array(values, {"DateTime": "datetime64[s]", "Duration": "timedelta64[s]", "u64": "u8"}.get(type))
    assert of(type, {0: array}, "unit") == of(type, pandas.Series(array), "unit") == expected
    if type != "i128":
        assert of(type, {0: pyarrow.array(array)}, "unit") == expected


def test_dates_of_a_zone_are_those_of_utc():
    dates = pandas.Series(pandas.to_datetime(["2020-07-01"])).dt.tz_localize("Europe/Berlin")
    assert of("DateTime", dates, "unit") == of("DateTime", pyarrow.array(dates).to_pandas(), "unit")
    assert of("DateTime", dates, "unit") == [("2020-06-30 22:00:00 UTC",)]


def test_what_leaves_as_a_table_comes_in_as_one():
    found = of(TYPES, ROWS)
    assert of(TYPES, found.to_pandas(), tags="tag") == of(TYPES, found.to_arrow(), tags="tag") == found
    assert of(TYPES, found.columns(), tags=found.tag_array()) == found


@pytest.mark.parametrize("table", [FRAME, ARROW, FRAME.to_dict("list")])
def test_tables_are_loaded_by_the_names_of_their_columns(table):
    context = Context("minmaxprob")
    context.add_relation("r", TYPES)
    context.add_relation("s", int)
    context.load("r", table, tag="p")
    context.load("s", Table(table, columns="size"))
    context.run()
    assert context.relation("r") == of(TYPES, ROWS)
    assert [values for _, values in context.relation("s")] == [(1,), (2,), (3,)]
    with pytest.raises(InputError, match="the table has no column `sizes`"):
        context.load("s", table, columns=["sizes"])


WRONG = [
    (FRAME, {}, "the table has the columns `name`, `size`, `p`; `r` has 2 (`name`, `size`)"),
    ({"names": ["a"], "size": [1]}, {}, "the table has the columns `names`, `size`; `r` has 2 (`name`, `size`)"),
    (FRAME, {"tags": "q"}, "there is no column 'q' for tags"),
    (FRAME.assign(size=[1, "x", 3]), {"tags": "p"}, 'entry 1, ("a", "x"), does not fit: "x" is no i32 (column 2)'),
    (FRAME.assign(size=2**40), {"tags": "p"}, 'entry 0, ("b", 1099511627776), does not fit'),
    (FRAME.assign(p=[0.5, np.nan, 0.5]), {"tags": "p"}, 'fact 1, ("a", 2), has the tag nan; it must be finite; None'),
    (FRAME.assign(p=[0.5, np.inf, 0.5]), {"tags": "p"}, 'fact 1, ("a", 2), has the tag inf; it must be finite'),
    (FRAME.assign(p="x"), {"tags": "p"}, "fact 0, (\"b\", 1), has the tag 'x'; it must be a number"),
    ({"name": ["a"], "size": [1, 2]}, {}, "the columns differ in length: 1, 2"),
    ({"name": ["a"], "size": [None]}, {}, "column 'size' has no value for fact 0"),
    ({"name": ["a"], "size": 1}, {}, "column 'size': 1 is no column"),
    ({"name": [object], "size": [1]}, {}, "column 'name', fact 0: <class 'object'> is no value"),
    ({"name": ["a"], "size": [1]}, {"tags": [0.5, 0.5]}, "there are 2 tags for 1 facts"),
    (np.zeros((2, 2, 2)), {}, "an array has the axes [facts] or [facts, columns]; it has 3"),
]


@pytest.mark.parametrize(("facts", "arguments", "message"), WRONG)
def test_what_does_not_fit_is_one_error_and_changes_nothing(facts, arguments, message):
    context = Context("minmaxprob")
    context.add_relation("r", TYPES)
    with pytest.raises(InputError, match=re.escape(f"facts of `r`: {message}")):
        context.add_facts("r", facts, **arguments)
    context.run()
    assert context.relation("r") == []


def test_tags_of_facts_that_have_none_are_refused():
    context = Context("unit")
    context.add_relation("r", int)
    with pytest.raises(InputError, match=re.escape("facts of `r`: `tags` are given")):
        context.add_facts("r", [1], tags=[0.5])
