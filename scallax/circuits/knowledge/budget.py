"""Limits of a compilation, and the thread that it works in."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

from scallax.language.records import record

Result = TypeVar("Result")

# The library descends the variables of a diagram by recursion, of 70 to 105 bytes a variable where it was measured.
_STACK_FOR_VARIABLE = 1024
_LEAST_STACK = 1 << 24
# Their stack is 256 MiB: addresses, and memory as far as it is used.
MOST_VARIABLES = 1 << 18
# The size of stacks is a setting of the process.
_STARTING = threading.Lock()
# Seconds that a thread may take to find that its time is over.
_GRACE_SECONDS = 0.25


@record
class CompilationLimits:
    """The budget of a compilation: decisions of diagrams at a time, of about 120 bytes each, and seconds.

    Modules within modules take at most `levels` levels where larger formulas have a circuit that is cheaper.
    """

    decisions: int = 1 << 22
    seconds: float = 120.0
    levels: int = 16


class LimitError(Exception):
    """A compilation takes more than some limit, which the argument names."""


class Deadline:
    """The time until which a compilation may work; it may be called off before."""

    def __init__(self, seconds: float):
        self._end = time.monotonic() + seconds
        self._is_off = False
        self._limit = f"{seconds:g} seconds"

    @property
    def seconds(self) -> float:
        """The seconds that are left, at least 0."""
        return 0.0 if self._is_off else max(0.0, self._end - time.monotonic())

    @property
    def error(self) -> LimitError:
        """The error that is raised when nothing is left."""
        return LimitError(self._limit)

    def call_off(self) -> None:
        """Nothing is left from now on."""
        self._is_off = True

    def check(self) -> None:
        """`LimitError` if nothing is left."""
        if not self.seconds:
            raise self.error


def run_apart(work: Callable[[], Result], num_variables: int, deadline: Deadline) -> Result:
    """The result of work on diagrams of so many variables, in a thread whose stack is enough for them.

    A call of the library cannot be interrupted. The caller need not wait for it: when the time is over, or the caller
    is interrupted, the thread ends after the call that it is in. Raises what the work raises, and `LimitError`.
    """
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except LimitError as error:
            # Its frames have the diagrams, which would live as long as the error does.
            future.set_exception(error.with_traceback(None))
        except BaseException as error:  # raised for the caller
            future.set_exception(error)

    thread = threading.Thread(target=run, name="scallax-exact")
    with _STARTING:
        usual = threading.stack_size(_LEAST_STACK + _STACK_FOR_VARIABLE * min(num_variables, MOST_VARIABLES))
        try:
            thread.start()
        finally:
            threading.stack_size(usual)
    try:
        return future.result(deadline.seconds + _GRACE_SECONDS)
    except TimeoutError:
        raise deadline.error from None
    finally:
        deadline.call_off()
