"""The shortest decimal numbers that are equal to float32 ones, as float64."""

import numpy as np

# A decimal number of so many digits tells every float32 from all others.
_MOST_DIGITS = 9

# Powers of ten that are exact in float64.
_POWERS = 10.0 ** np.arange(23)

# Numbers of this size and beyond have neighbours so far apart that a short number may lie halfway between two.
_LARGEST = 2.0**20


def shortest_numbers(values: np.ndarray) -> np.ndarray:
    """`float(str(value))` of each value, float64 `[values]`: of a float32 the number that it is shown as.

    A number of d digits is found by rounding `value * 10**p` to an integer of d digits; it is the one that is shown if
    it is the first, by d, that is the same float32. What this does not decide for sure is written as text: powers of
    two, whose neighbours are at different distances, and numbers that are very small, large, or not finite.
    """
    if values.dtype != np.float32:
        return values.astype(np.float64)
    found = values.astype(np.float64)
    size = np.abs(found)
    mantissa, _ = np.frexp(values)
    is_easy = (size >= 1e-13) & (size < _LARGEST) & (np.abs(mantissa) != 0.5)
    # A number that has d digits has d + 1 as well: few have less than seven.
    easy = np.flatnonzero(is_easy)
    _, is_short, is_sure = _rounded(values[easy], 6)
    is_short |= ~is_sure
    hard = [np.flatnonzero(~is_easy & (size != 0))]
    for rest, digits in ((easy[is_short], range(1, 7)), (easy[~is_short], range(7, _MOST_DIGITS + 1))):
        for count in digits:
            number, is_same, is_sure = _rounded(values[rest], count)
            found[rest[is_same]] = number[is_same]
            hard.append(rest[~is_sure])
            rest = rest[~is_same & is_sure]
        hard.append(rest)
    for place in np.concatenate(hard).tolist():
        found[place] = float(str(values[place]))
    return found


def _rounded(values: np.ndarray, digits: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values rounded to so many digits; which of these are the same in float32; which are rounded to the right side."""
    wide = values.astype(np.float64)
    power = digits - 1 - np.floor(np.log10(np.abs(wide))).astype(np.int64)
    up, down = _POWERS[np.maximum(power, 0)], _POWERS[np.maximum(-power, 0)]
    scaled = wide * up / down
    whole = np.rint(scaled)
    # One operation rounds once: the number nearest to the decimal one.
    number = whole / up * down
    # The product was rounded: its nearest integer is only sure where it is not halfway between two.
    return number, number.astype(np.float32) == values, np.abs(np.abs(scaled - whole) - 0.5) > 1e-4
