"""Long work tells the log what it is and how far it has come.

Nothing is said of work that is short, and the log is asked whether it listens before a word is made.
"""

import logging
import time
from collections.abc import Callable
from typing import final

# From so many seconds on work is long; it tells how far it has come as often.
SECONDS = 2.0


@final
class LongWork:
    """Work that may take long, from the making of this object to `end`."""

    __slots__ = ("_due", "_logger", "_started")

    def __init__(self, logger: logging.Logger, what: str):
        self._logger = logger
        self._started = time.monotonic()
        self._due = self._started + SECONDS
        logger.debug(what)

    def tell(self, how_far: Callable[[], str], done: int = 0, total: int = 0) -> None:
        """Logs at INFO how far the work is, if that is due; `done` of `total` may be shown as a bar."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + SECONDS
        if self._logger.isEnabledFor(logging.INFO):
            self._logger.info(how_far(), extra={"done": done, "total": total})

    def end(self, how: Callable[[], str]) -> None:
        """Logs at INFO what has been done, and in how many seconds, if it took long."""
        seconds = time.monotonic() - self._started
        if seconds >= SECONDS and self._logger.isEnabledFor(logging.INFO):
            self._logger.info("%s in %.1f s", how(), seconds)
