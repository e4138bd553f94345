"""Cases that stand for others in every run; the rest of their table is run by `make nightly` alone."""

from collections.abc import Container, Iterable
from typing import Any

import pytest


def with_rest_at_night(cases: Iterable[Any], representative: Container[Any]) -> list:
    """All cases as parameters of a test, those marked `nightly` that are not `representative`."""
    return [
        case
        if case in representative
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.nightly)
        for case in cases
    ]
