"""What the tags of facts may be."""

from enum import Enum


class Domain(Enum):
    """What the tags of facts are, and what numbers are refused (values beside probabilities: only warned of)."""

    PROBABILITY = "a probability"
    COST = "a finite number"
    NATURAL = "a natural number of at most 16,777,216"
    # Whatever a user's provenance makes of it.
    ANY = "a number"

    def admits(self, value: float | int) -> bool:
        """Whether a finite number is in the domain."""
        return self is not Domain.NATURAL or bool(0 <= value <= MAX_WEIGHT and value == int(value))


# The largest natural number up to which float32, in which weights are given, holds all.
MAX_WEIGHT = 1 << 24
