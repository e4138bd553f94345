"""Rows of operands against plain lists."""

import numpy as np
import pytest

from scallax.kernels.array_namespace import NUMPY
from scallax.kernels.tiles import OperandRows, stack_rows

WIDTH, ROWS = 3, 4


def _rows(count: int) -> tuple[OperandRows, list[np.ndarray]]:
    """Rows of `count` operands that take turns, of a table of numbers times 10, and the same as a list."""
    places = [np.random.default_rng(each).integers(0, 50, ROWS * WIDTH) for each in range(count)]
    listed = [10 * part[row * WIDTH : (row + 1) * WIDTH] for row in range(ROWS) for part in places]
    return OperandRows(NUMPY, WIDTH, places, lambda found: 5 * found, lambda tags: 2 * tags), listed


@pytest.mark.parametrize("count", [1, 2])
def test_operand_rows_read_as_a_list(count: int):
    rows, listed = _rows(count)
    assert len(rows) == len(listed)
    np.testing.assert_array_equal(list(rows), listed)
    for part in (slice(None), slice(1, None, 2), slice(2, 4), slice(None, None, -1)):
        np.testing.assert_array_equal(list(rows[part]), listed[part])
    np.testing.assert_array_equal(rows[-1], listed[-1])
    with pytest.raises(IndexError):
        rows[len(listed)]


@pytest.mark.parametrize("count", [1, 2])
def test_operand_rows_are_stacked_like_a_list(count: int):
    rows, listed = _rows(count)
    for turn in range(count):
        np.testing.assert_array_equal(
            stack_rows(NUMPY, rows[turn::count]), stack_rows(NUMPY, listed[turn::count]), strict=True
        )
