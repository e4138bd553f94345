"""The last line of a terminal tells what the log says is waited for."""

import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, final

from scallax.kernels import long_work

# Seconds between two drawings of a status line, and the characters of its bar.
_TICK = 0.1
_BAR = 20

# The loggers of all of the package.
_LOGGER = logging.getLogger("scallax")


@contextmanager
def shown_work(stream: TextIO, *, is_verbose: bool = False) -> Iterator[None]:
    """Inside, the last line of a terminal tells what is waited for, once that takes long; nothing if it is none.

    `is_verbose`: all that is logged at INFO goes to the stream instead, a line each.
    """
    if not (is_verbose or stream.isatty()):
        yield
        return
    line = None if is_verbose else _StatusLine(stream)
    handler: logging.Handler = line or logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    level = _LOGGER.level
    _LOGGER.setLevel(logging.INFO if line is None else logging.DEBUG)
    _LOGGER.addHandler(handler)
    try:
        yield
    finally:
        _LOGGER.removeHandler(handler)
        _LOGGER.setLevel(level)
        if line is not None:
            line.stop()


@final
class _StatusLine(logging.Handler):
    """The last message and the time, drawn by a thread of its own: who waits for XLA cannot draw."""

    def __init__(self, stream: TextIO):
        super().__init__()
        self._stream = stream
        self._started = time.monotonic()
        self._text = ""
        self._is_drawn = False
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._draw_again, name="scallax-status", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.WARNING:
            self._text = _bar(record) + record.getMessage()
            return
        self._erase()
        print(f"warning: {record.getMessage()}", file=self._stream)

    def stop(self) -> None:
        """Leaves no trace of the line."""
        self._stopped.set()
        self._thread.join()
        with self.lock or threading.RLock():
            self._erase()

    def _draw_again(self) -> None:
        while not self._stopped.wait(_TICK):
            seconds = time.monotonic() - self._started
            if seconds < long_work.SECONDS or not self._text:
                continue
            clock = f" [{int(seconds) // 60:02}:{int(seconds) % 60:02}]"
            width = max(self._columns() - len(clock) - 1, 0)
            with self.lock or threading.RLock():
                self._stream.write(f"\r\x1b[K{self._text[:width]}{clock}")
                self._stream.flush()
                self._is_drawn = True

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns
        except OSError:  # the stream is no file of the system's
            return 80

    def _erase(self) -> None:
        if self._is_drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._is_drawn = False


def _bar(record: logging.LogRecord) -> str:
    """`done` of `total` as in `40%|████████            | `; empty without a total."""
    done, total = getattr(record, "done", 0), getattr(record, "total", 0)
    if not total:
        return ""
    full = _BAR * done // total
    return f"{100 * done // total:3}%|{'█' * full}{' ' * (_BAR - full)}| "
