"""The shortest decimal number of a float32 is the one that it is shown as."""

import numpy as np
import pytest

from scallax.kernels.shortest_numbers import shortest_numbers


def sampled() -> dict[str, np.ndarray]:
    """Numbers of many sizes, and those about which rounding is hardest."""
    random = np.random.default_rng(0)
    powers = np.array([10.0**power for power in range(-14, 8)], np.float32)
    return {
        "probabilities": random.random(20_000).astype(np.float32),
        "any bits": random.integers(0, 0x7F80_0000, 20_000).astype(np.uint32).view(np.float32),
        "of many sizes": (random.random(20_000) * 10.0 ** random.integers(-14, 9, 20_000)).astype(np.float32),
        "written": np.round(random.random(20_000), 3).astype(np.float32),
        "beside powers of ten": np.concatenate([np.nextafter(powers, np.float32(to)) for to in (0, 1e9)]),
        "powers": np.concatenate([powers, np.ldexp(np.float32(1), np.arange(-149, 128))]),
        "special": np.array([0.0, -0.0, 1, -1, np.inf, -np.inf, np.nan, 1e-45, 3.4028235e38, 2**24], np.float32),
    }


@pytest.mark.parametrize("values", sampled().values(), ids=list(sampled()))
@pytest.mark.parametrize("sign", [1, -1])
def test_the_shortest_number_is_the_one_that_is_shown(values, sign):
    values = sign * values
    expected = np.array([float(str(value)) for value in values])
    np.testing.assert_array_equal(shortest_numbers(values), expected)


def test_wide_floats_are_their_own():
    values = np.random.default_rng(1).random(100)
    assert shortest_numbers(values).tolist() == values.tolist()
