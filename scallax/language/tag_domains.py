"""The kinds of tags that facts may have."""

from enum import Enum

import numpy as np


class Domain(Enum):
    """The kind of numbers that a provenance takes as tags; others are refused, or, outside [0, 1], warned of."""

    PROBABILITY = "a probability"
    COST = "a finite number"
    NATURAL = "a natural number of at most 16,777,216"
    # Any number; a user's provenance decides what it means.
    ANY = "a number"

    def admits(self, value: float | int) -> bool:
        """Whether a finite number is in the domain."""
        return self is not Domain.NATURAL or bool(0 <= value <= MAX_WEIGHT and value == int(value))

    def admits_all(self, values: np.ndarray) -> np.ndarray:
        """True for finite numbers of an array that are in the domain."""
        if self is not Domain.NATURAL:
            return np.ones(len(values), np.bool_)
        return (values >= 0) & (values <= MAX_WEIGHT) & (values == np.floor(values))


# Probabilities that exclude each other, such as those of a softmax, may be over 1 by rounding.
ROUNDING = 1e-6

# Tags arrive as float32, which holds every natural number up to this one.
MAX_WEIGHT = 1 << 24
