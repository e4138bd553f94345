"""Orders of rows against those of Python."""

import numpy as np
import pytest

from scallax.kernels.runs import dense_ranks, row_order, stable_order

WIDE = [-(1 << 63), -1, 0, 5, (1 << 63) - 1]


@pytest.mark.parametrize(
    "kinds",
    [
        [(np.int64, WIDE)],
        [(np.int64, WIDE), (np.int64, WIDE)],
        [(np.int32, [-(1 << 31), 0, (1 << 31) - 1]), (np.bool_, [False, True])],
        [(np.uint64, [(1 << 64) - 1, (1 << 64) - 7]), (np.int8, [-128, 127])],
        [(np.float64, [0.5, -np.inf, 3.0]), (np.int64, [2, 1])],
        [],
    ],
)
def test_rows_are_in_the_order_of_their_columns(kinds: list):
    rng = np.random.default_rng(0)
    columns = [np.array(values, dtype)[rng.integers(0, len(values), 100)] for dtype, values in kinds]
    if not columns:
        assert row_order([np.zeros(0, np.int64)]).tolist() == []
        return
    order = row_order(columns)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    assert order.tolist() == sorted(range(100), key=rows.__getitem__)
    places = {value: place for place, value in enumerate(sorted(set(rows)))}
    if len(columns) == 1:
        assert dense_ranks(columns[0]).tolist() == [places[row] for row in rows]


@pytest.mark.parametrize("num_labels", [1, 300, 1 << 16, 1 << 20, (1 << 63) - 1])
def test_a_stable_order_keeps_positions(num_labels: int):
    labels = np.random.default_rng(0).integers(0, min(num_labels, 40), 100) * (num_labels // 40 or 1)
    expected = sorted(range(100), key=labels.tolist().__getitem__)
    assert stable_order(labels, num_labels).tolist() == expected
    if num_labels < 1 << 31:
        assert stable_order(labels.astype(np.int32), num_labels).tolist() == expected
