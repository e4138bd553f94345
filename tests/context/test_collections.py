"""The answers of a context: sequences of tuples, tables, and arrays; facts that are given in arrays."""

import importlib.util
import re
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from scallax import Context, InputError


def test_collections_are_sequences_with_tables():
    context = Context("minmaxprob")
    context.add_relation("r", ("name: String", "size: i32"))
    context.add_facts("r", [(0.25, ("b<", 2)), (0.5, ("a", 1))])
    context.run()
    found = context.relation("r")
    assert (len(found), found[0], found[-1], found[:1]) == (
        2,
        (0.5, ("a", 1)),
        (0.25, ("b<", 2)),
        [(0.5, ("a", 1))],
    )
    assert str(found).splitlines() == [
        "r: 2 tuples",
        "tag   name  size",
        "────  ────  ────",
        "0.5   a     1",
        "0.25  b<    2",
    ]
    assert "<td>b&lt;</td>" in found._repr_html_()
    assert (found.tags, found.tuples, found.field_names) == ([0.5, 0.25], [("a", 1), ("b<", 2)], ("name", "size"))


def test_long_collections_are_cut_in_tables():
    context = Context()
    context.add_relation("r", int)
    context.add_facts("r", range(100))
    context.run()
    assert str(context.relation("r")).endswith("59\nand 40 more")
    assert "and 40 more" in context.relation("r")._repr_html_()


@pytest.mark.parametrize(("package", "export"), [("pandas", "to_pandas"), ("pyarrow", "to_arrow")])
def test_collections_are_exported_where_the_package_is_there(package, export):
    context = Context("minmaxprob")
    context.add_relation("r", ("name: String", "size: i32"))
    context.add_facts("r", [(0.5, ("a", 1))])
    context.run()
    if importlib.util.find_spec(package) is None:
        with pytest.raises(InputError, match=f"this needs the package `{package}`"):
            getattr(context.relation("r"), export)()
        return
    found = getattr(context.relation("r"), export)()
    columns = found.to_dict("list") if package == "pandas" else found.to_pydict()
    assert columns == {"tag": [0.5], "name": ["a"], "size": [1]}


EVERY_TYPE = """
rel all = {
    0.25::(-7, 200, 1.5, true, 'c', "ab", s"sy", t"2024-02-29", d"3d", 340282366920938463463374607431768211455),
    0.1::(8, 0, 0.1, false, 'c', "a", s"sy", t"2024-03-01T12:30:00", d"3d", 0)
}
"""


def every_type(provenance: str) -> Context:
    """A context that computed a relation with a column of each kind."""
    context = Context(provenance)
    types = "x: i8, u: usize, f: f32, b: bool, c: char, s: String, y: Symbol, d: DateTime, p: Duration, w: u128"
    context.add_program(f"type all({types})\n{EVERY_TYPE}")
    context.run()
    return context


@pytest.mark.parametrize("provenance", ["minmaxprob", "unit"])
def test_columns_are_arrays_of_their_types(provenance):
    found = every_type(provenance).relation("all")
    columns = found.columns()
    dtypes = ["int8", "uint64", "float32", "bool", "object", "object", "object", "datetime64[us]", "object", "object"]
    assert [str(array.dtype) for array in columns.values()] == dtypes
    assert list(columns) == list(found.field_names)
    for place, (name, array) in enumerate(columns.items()):
        values = [row[place] for row in found.tuples]
        if name == "d":
            values = [np.datetime64(str(text).removesuffix(" UTC").replace(" ", "T"), "us") for text in values]
        assert array.tolist() == np.array(values, array.dtype).tolist()
        np.testing.assert_array_equal(array, found.column(place))
        np.testing.assert_array_equal(array, found.column(place - len(columns)))


def test_a_column_that_there_is_not_is_refused():
    found = every_type("unit").relation("all")
    for wrong in ("xx", 10, -11, 1.5, True):
        with pytest.raises(InputError, match=re.escape(f"`all` has no column {wrong!r}")):
            found.column(wrong)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("provenance", ["minmaxprob", "natural", "difftopkproofs", "bool", "unit"])
def test_tags_are_one_array(provenance):
    context = Context(provenance)
    context.add_relation("r", int)
    context.add_facts("r", list(range(5)) if provenance == "unit" else [(1 - i % 2, (i,)) for i in range(5)])
    context.run()
    found = context.relation("r")
    tags = found.tag_array()
    if provenance == "unit":
        assert tags is None
        return
    assert isinstance(tags, np.ndarray)
    assert tags.tolist() == [tag for tag, _ in found] == found.tags
    tags[:] = 0
    assert [found[place] for place in range(len(found))] == list(found) == found[:]


def test_gradients_pass_through_the_array_of_tags():
    def loss(weights):
        context = Context("diffaddmultprob")
        context.add_relation("edge", (int, int))
        context.add_facts("edge", [(weights[i], (i, i + 1)) for i in range(3)])
        context.add_rule("path(a, c) = edge(a, b), edge(b, c)")
        context.run()
        return context.relation("path").tag_array().sum()

    gradient = jax.grad(loss)(jnp.array([0.5, 0.25, 0.125]))
    assert gradient.tolist() == [0.25, 0.625, 0.25]


def test_texts_of_tables_are_in_a_dictionary():
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    context = Context("minmaxprob")
    context.add_relation("r", ("name: String", "size: i32"))
    context.add_facts("r", [(0.5, (name, size)) for size, name in enumerate(["b", "a", "b"])])
    context.run()
    found = context.relation("r")
    frame, table = found.to_pandas(), found.to_arrow()
    assert isinstance(frame["name"].dtype, pandas.CategoricalDtype)
    assert frame["name"].cat.categories.tolist() == ["a", "b"]
    assert pyarrow.types.is_dictionary(table.schema.field("name").type)
    rows = [(0.5, ("a", 1)), (0.5, ("b", 0)), (0.5, ("b", 2))]
    assert [(tag, (name, size)) for tag, name, size in frame.itertuples(index=False)] == rows == list(found)
    assert table.to_pydict() == {"tag": [0.5] * 3, "name": ["a", "b", "b"], "size": [1, 0, 2]}
    assert (str(frame["size"].dtype), str(table.schema.field("size").type)) == ("int32", "int32")


def test_facts_and_answers_are_kept_in_arrays():
    # 8 bytes for each number of a fact, and as much again while a run looks at them; a tuple of two takes 56 alone.
    context = Context("minmaxprob")
    context.add_relation("edge", (int, int))
    context.add_rule("out(y, x) = edge(x, y)")
    facts = [(0.5, (i, -i)) for i in range(20_000)]
    tracemalloc.start()
    context.add_facts("edge", facts)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 40 * len(facts)
    context.run()
    tracemalloc.start()
    found = context.relation("out")
    assert (found.column(0).sum(), found.tag_array().sum()) == (-sum(range(20_000)), 10_000)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 40 * len(facts)


@pytest.mark.parametrize("provenance", ["diffaddmultprob", "difftopkproofs", "diffexact"])
@pytest.mark.parametrize("groups", [None, [[0, 1]]])
def test_an_array_of_tags_is_as_many_scalars(provenance, groups):
    def answers(weights, apart):
        context = Context(provenance)
        context.add_relation("edge", (int, int))
        context.add_facts("edge", [(None, (3, 4))])
        edges = [(i, i + 1) for i in range(3)]
        if apart:
            context.add_facts("edge", np.array(edges), groups, tags=weights)
        else:
            context.add_facts("edge", zip(weights, edges, strict=True), groups)
        context.add_rule("path(a, c) = edge(a, b), edge(b, c)")
        context.run()
        return context.relation("path").tag_array()

    weights = jnp.array([0.5, 0.25, 0.125])
    for function in (answers, jax.jacobian(answers)):
        np.testing.assert_array_equal(function(weights, True), function(weights, False))


def test_an_array_of_tags_of_another_length_is_refused():
    context = Context("diffaddmultprob")
    context.add_relation("r", int)
    with pytest.raises(InputError, match=re.escape("the tags have the shape (2, 1); there are 2 facts")):
        context.add_facts("r", [1, 2], tags=jnp.ones((2, 1)))
