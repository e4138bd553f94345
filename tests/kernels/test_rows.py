"""Row tables and indexes against Python dictionaries."""

import numpy as np
import pytest

from scallax.kernels.row_sets import DenseKeys, RowIndex, RowTable, expand_ranges, group, unique_rows


def _random_columns(rng: np.random.Generator, num_rows: int, num_columns: int, values: int) -> list[np.ndarray]:
    spread = rng.integers(-(2**63), 2**63 - 1, values)
    return [spread[rng.integers(0, values, num_rows)] for _ in range(num_columns)]


def _rows(columns: list[np.ndarray], num_rows: int) -> list[tuple]:
    return list(zip(*(column.tolist() for column in columns), strict=True)) if columns else [()] * num_rows


@pytest.mark.parametrize("num_columns", [0, 1, 2, 4])
@pytest.mark.parametrize("values", [1, 3, 50])
def test_row_table_numbers_rows_in_order_of_appearance(num_columns: int, values: int):
    rng = np.random.default_rng(num_columns)
    table = RowTable(num_columns)
    expected: dict[tuple, int] = {}
    for num_rows in (0, 1, 7, 300, 2000):
        columns = _random_columns(rng, num_rows, num_columns, values)
        rows = _rows(columns, num_rows)
        assert table.find(columns, num_rows).tolist() == [expected.get(row, -1) for row in rows]
        assert table.insert(columns, num_rows).tolist() == [expected.setdefault(row, len(expected)) for row in rows]
        assert table.size == len(expected)
        assert table.find(columns, num_rows).tolist() == [expected[row] for row in rows]
    assert _rows(list(table.columns), table.size) == list(expected)


def test_row_table_inserts_many_repeats_in_chunks():
    rng = np.random.default_rng(0)
    columns = [rng.integers(0, 500, 300_000), rng.integers(0, 500, 300_000)]
    table = RowTable(2)
    ids = table.insert(columns, 300_000)
    _, first, inverse = np.unique(columns[0] * 500 + columns[1], return_index=True, return_inverse=True)
    ranks = np.empty(len(first), np.int64)
    ranks[np.argsort(first)] = np.arange(len(first))
    assert np.array_equal(ids, ranks[inverse])


# Rows of a large first batch: in order, in order by all columns, on a grid, by sorting, and too wide for one number.
@pytest.mark.parametrize("kind", ["ascending", "sorted", "grid", "sparse", "wide", "no columns"])
def test_row_table_numbers_a_large_first_batch(kind: str):
    rng, count = np.random.default_rng(0), 70_000
    drawn = [rng.integers(0, 400 if kind == "grid" else 50_000, count) for _ in range(2)]
    columns: list[np.ndarray] = {
        "ascending": [drawn[0], np.arange(count) * 999],
        "sorted": list(np.unique(np.stack(drawn, 1), axis=0).T),
        "wide": [drawn[0] % 300 << 54, drawn[1] % 300 << 54],
        "no columns": [],
    }.get(kind, drawn)
    count = len(columns[0]) if columns else count
    table, rows, expected = RowTable(len(columns)), _rows(columns, count), dict[tuple, int]()
    numbers = [expected.setdefault(row, len(expected)) for row in rows]
    assert table.insert(columns, count).tolist() == numbers
    twin = table.copy()
    probes = [np.append(column[:1000], 123_456_789) for column in columns]
    assert twin.find(probes, 1001).tolist() == [expected.get(row, -1) for row in _rows(probes, 1001)]
    more = [rng.integers(-50, 50_050, 500) for _ in columns]
    numbers = [expected.setdefault(row, len(expected)) for row in _rows(more, 500)]
    assert twin.insert(more, 500).tolist() == table.insert(more, 500).tolist() == numbers
    assert _rows(list(table.columns), table.size) == list(expected)


# The rows fill a grid of 290 x 290 from the first batch on, and leave it in the fifth alone.
@pytest.mark.parametrize("outside", [300, -(1 << 63), (1 << 63) - 1])
def test_row_table_numbers_rows_of_a_grid(outside: int):
    rng = np.random.default_rng(0)
    table, expected = RowTable(2), dict[tuple, int]()
    for batch in range(8):
        columns = [rng.integers(-40, 250, 60_000) for _ in range(2)]
        if batch == 4:
            columns[0][30_000:] = outside
        rows = _rows(columns, 60_000)
        twin = table.copy()
        numbers = [expected.setdefault(row, len(expected)) for row in rows]
        assert twin.insert(columns, 60_000).tolist() == table.insert(columns, 60_000).tolist() == numbers
        probes = [np.append(column[:1000], outside) for column in columns]
        assert table.find(probes, 1001).tolist() == [expected.get(row, -1) for row in _rows(probes, 1001)]
    assert table.size == len(expected)
    assert _rows(list(table.columns), table.size) == list(expected)


def test_row_table_takes_rows_that_differ_in_high_bits_only():
    column = np.arange(1000, dtype=np.int64) << 54
    assert RowTable(1).insert([column], 1000).tolist() == list(range(1000))


# Close values lie in a grid; those that are far apart are hashed. -(2^63) is as far from others as integers are.
@pytest.mark.parametrize("scale", [1, 1 << 58])
@pytest.mark.parametrize("num_columns", [0, 1, 3])
def test_row_index_finds_all_matching_pairs_in_order(num_columns: int, scale: int):
    rng = np.random.default_rng(1)
    build = [scale * rng.integers(-1, 2, 200) for _ in range(num_columns)]
    others = rng.choice([7, -7, -(1 << 63), (1 << 63) - 1], 50)
    probe = [np.where(rng.random(50) < 0.8, column[:50], others) for column in build]
    index = RowIndex.build(build, 200, first=1000)
    assert isinstance(index.keys, DenseKeys) == (num_columns > 0 and scale == 1)
    groups, counts = index.count(probe, 50)
    probes, rows = index.expand(groups, counts)
    expected = [
        (i, 1000 + j)
        for i, row in enumerate(_rows(probe, 50))
        for j, other in enumerate(_rows(build, 200))
        if row == other
    ]
    assert list(zip(probes.tolist(), rows.tolist(), strict=True)) == expected


def test_row_index_of_no_rows_matches_nothing():
    index = RowIndex.build([np.zeros(0, np.int64)], 0)
    groups, counts = index.count([np.arange(3)], 3)
    assert counts.tolist() == [0, 0, 0]
    assert [len(part) for part in index.expand(groups, counts)] == [0, 0]


def test_group_lists_positions_by_label():
    starts, positions = group(np.array([2, 0, 2, 2]), 4)
    assert starts.tolist() == [0, 1, 1, 4, 4]
    assert positions.tolist() == [1, 0, 2, 3]


def test_expand_ranges_lists_every_element_with_its_range():
    owners, elements = expand_ranges(np.array([5, 0, 9]), np.array([2, 0, 1]))
    assert owners.tolist() == [0, 0, 2]
    assert elements.tolist() == [5, 6, 9]


def test_unique_rows_keeps_first_appearances():
    assert unique_rows([np.array([3, 1, 3, 1, 2])], 5).tolist() == [0, 1, 4]
    assert unique_rows([], 3).tolist() == [0]
    assert unique_rows([np.zeros(0, np.int64)], 0).tolist() == []
