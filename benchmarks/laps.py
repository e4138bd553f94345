"""Wall and processor seconds of what a process does one thing after another, and its memory."""

import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Laps:
    """Seconds of named laps; what lies between two laps is not measured."""

    def __init__(self):
        self._found: list[tuple[str, float, float]] = []

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Measures a block. `name` says what it did, for people who read the table."""
        wall, processor = time.perf_counter(), time.process_time()
        yield
        self._found.append((name, time.perf_counter() - wall, time.process_time() - processor))

    def report(self) -> None:
        """Prints a line of JSON: for each lap its name, wall seconds and processor seconds of all threads."""
        print(json.dumps(self._found))


def peak_mib() -> float:
    """The process's largest resident memory so far, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
