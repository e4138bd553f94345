"""The compiled functions of this process: one bounded cache, in which living objects hold what they use.

JAX is imported by the first of them.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, final

import numpy as np

from scallax.errors import Diagnostic, InputError, checks_call

if TYPE_CHECKING:
    import jax

    from scallax.evaluation.stored_functions import StoredFunction

# Bounds for functions that nothing holds: what is kept of programs that come again, at no great cost to those that
# never do.
_FUNCTIONS = 256
_BYTES = 1 << 28

# The bounds for all functions, unless twice those above are more: beyond them, held functions go as well. Code is
# mapped in pieces, some 20 for each MiB that is counted here, and a process of Linux may map 65,530.
_MOST_FUNCTIONS = 1024
_MOST_BYTES = 2 << 30

# Memory of an operation when compiled, with what JAX keeps beside the code. Measured on a CPU: 5 to 16 KiB.
_BYTES_OF_OPERATION = 16 << 10

_ticks = itertools.count(1)

_LOGGER = logging.getLogger(__name__)

# How the log calls a function, by its static and its other arguments.
_DESCRIPTIONS: dict[Callable[..., Any], Callable[[tuple, tuple], str]] = {}


def describe_by(function: Callable[..., Any], describe: Callable[[tuple, tuple], str]) -> None:
    """Has the log call a function what `describe(static, arguments)` says; others it calls by their names."""
    _DESCRIPTIONS[function] = describe


class CompiledInfo(NamedTuple):
    """The state of the cache of compiled functions; see `scallax.compiled_info`.

    Args:
        functions: The number of compiled functions in the cache.
        bytes: Their memory, estimated from the number of operations.
        held_functions: The number of those that living objects hold.
        held_bytes: The memory of those that living objects hold.
        made: The number of functions that were compiled since the process started.
        dropped: The number of these that left the cache.

    Example:
        >>> import scallax
        >>> info = scallax.compiled_info()
        >>> info.functions == info.made - info.dropped
        True
    """

    functions: int
    bytes: int
    held_functions: int
    held_bytes: int
    made: int
    dropped: int


def compiled_info() -> CompiledInfo:
    """Tells how many compiled functions this process keeps, and about how much memory they take.

    Returns:
        The numbers at this moment, a `scallax.CompiledInfo`.

    Example:
        >>> import scallax
        >>> scallax.compiled_info().held_functions <= scallax.compiled_info().functions
        True
    """
    return _CACHE.info()


@checks_call
def limit_compiled(*, functions: int = _FUNCTIONS, bytes: int = _BYTES) -> None:
    """Bounds the compiled functions that no living reasoner or module holds; the least recently used ones go first.

    Functions that are held stay, with one exception. If all functions together are more than 1,024 or take more than
    2 GiB, and more than twice these bounds, then the least recently used functions go, held or not, and are compiled
    again when they are called. This is necessary because a Linux process ends if it maps too many pieces of memory.

    Args:
        functions: The largest number of functions that nothing holds; 0 keeps only held functions.
        bytes: The largest memory of these functions, as estimated by `compiled_info`.

    Raises:
        InputError: A bound is not an integer from 0.

    Example:
        >>> import scallax
        >>> scallax.limit_compiled(functions=256, bytes=1 << 28)  # the defaults
    """
    for name, bound in (("functions", functions), ("bytes", bytes)):
        if isinstance(bound, bool) or not isinstance(bound, int) or bound < 0:
            hint = "give an integer from 0; 0 keeps only what is held"
            raise InputError(Diagnostic(f"`{name}` is {bound!r}, which is no bound", hint=hint))
    _CACHE.limit(functions, bytes)


@final
class Holder:
    """Keeps the compiled functions that are called through it, for as long as it lives itself."""

    __slots__ = ("__weakref__", "functions")

    def __init__(self):
        self.functions: dict[tuple, _Function] = {}
        weakref.finalize(self, _CACHE.release, self.functions).atexit = False


def call(holder: Holder | None, function: Callable[..., Any], static: tuple[Hashable, ...], *arguments: Any) -> Any:
    """`function(*static, *arguments)`, compiled once for equal `static` and arguments of the same structure and shapes.

    `function` is one of a module, and pure; the leaves of the arguments are arrays, which may be traced.
    """
    key = _key(function, static, arguments)
    found = (_CACHE.functions if holder is None else holder.functions).get(key)
    run = None if found is None else found.run
    if found is None or run is None:
        found, run = _CACHE.find(key, holder)
    found.used = next(_ticks)
    return run(*arguments)


@final
class BoundFunction:
    """`call` with a holder, a function of one array and static arguments; takes some microseconds less."""

    __slots__ = ("_bound", "_functions", "_holder")

    def __init__(self, holder: Holder, function: Callable[..., Any], static: tuple[Hashable, ...]):
        self._holder = holder
        self._bound = function, static
        self._functions: dict[tuple, _Function] = {}

    def __call__(self, array: jax.Array | np.ndarray) -> Any:
        form = array.shape, array.dtype
        found = self._functions.get(form)
        run = None if found is None else found.run
        if found is None or run is None:
            found, run = _CACHE.find(_key(*self._bound, (array,)), self._holder)
            self._functions[form] = found
        found.used = next(_ticks)
        return run(array)


def _key(function: Callable[..., Any], static: tuple[Hashable, ...], arguments: tuple) -> tuple:
    import jax

    leaves, structure = jax.tree.flatten(arguments)
    return function, static, structure, tuple([(leaf.shape, leaf.dtype) for leaf in leaves])


@final
class _Function:
    """A function of the cache, of one form of arguments.

    JAX keeps traces and executables by weak references to functions of Python: all that was made of a function of its
    own, its derivatives too, goes with it.
    """

    __slots__ = ("_lock", "_stored", "holders", "key", "run", "size", "used")

    def __init__(self, key: tuple):
        import jax

        function, static, *_ = key

        def run(*arguments):
            return function(*static, *arguments)

        run.__name__ = run.__qualname__ = function.__name__
        self.key = key
        self.holders = 0
        self.size = 0
        self.used = next(_ticks)
        # None once the function was dropped.
        self.run: Callable[..., Any] | None = functools.partial(self._run_first, jax.jit(run))
        self._stored: StoredFunction | None = None
        self.renew_lock()

    def renew_lock(self) -> None:
        """A lock that is free, as that of the cache."""
        self._lock = threading.Lock()

    def _run_first(self, jitted: Any, *arguments: Any) -> Any:
        from scallax.evaluation.stored_functions import count_operations, is_traced

        if is_traced(arguments):
            return self._run_traced(jitted, arguments)
        started, what = time.monotonic(), ""
        if _LOGGER.isEnabledFor(logging.INFO):
            what = self._describe(arguments)
            _LOGGER.info("compiling %s", what)
        # JAX keeps the trace, and compiles once what several threads call first.
        stored = self._find_stored(arguments)
        if stored is None:
            operations, run = count_operations(jitted.trace(*arguments).jaxpr.jaxpr), jitted
        else:
            operations, run = stored.operations, functools.partial(stored.run, jitted)
        self.size = _BYTES_OF_OPERATION * operations
        results = run(*arguments)
        if what:
            _LOGGER.info("compiled %s in %.1f s: %s operations", what, time.monotonic() - started, f"{operations:,}")
        _CACHE.keep(self, run)
        return results

    def _run_traced(self, jitted: Any, arguments: tuple) -> Any:
        """A first call by a transformation of the caller's; a later one with arrays looks into the cache folder."""
        from scallax.evaluation.stored_functions import count_operations

        self.size = _BYTES_OF_OPERATION * count_operations(jitted.trace(*arguments).jaxpr.jaxpr)
        results = jitted(*arguments)
        # Its imports take longer than a small program that compiles nothing.
        from scallax.evaluation.cache_folder import open_folder

        if open_folder() is None:
            _CACHE.keep(self, jitted)
        return results

    def _describe(self, arguments: tuple) -> str:
        function, static, *_ = self.key
        describe = _DESCRIPTIONS.get(function)
        return f"`{function.__name__.strip('_')}`" if describe is None else describe(static, arguments)

    def _find_stored(self, arguments: tuple) -> StoredFunction | None:
        """The function by way of the cache folder, if there is one."""
        with self._lock:
            if self._stored is None:
                from scallax.evaluation.stored_functions import find_stored

                function, static, *_ = self.key
                self._stored = find_stored(function, static, arguments)
            return self._stored


@final
class _Cache:
    """All functions by what they compute."""

    def __init__(self):
        self.functions: dict[tuple, _Function] = {}
        self._limits = _FUNCTIONS, _BYTES
        self._made = self._dropped = 0
        # The functions of holders that are gone. A holder may go at any moment, even while this thread has the lock.
        self._released: deque[dict[tuple, _Function]] = deque()
        self._is_due = False
        self.renew_lock()

    def renew_lock(self) -> None:
        """Locks that are free: in a process that was forked another thread may have had them."""
        self._lock = threading.Lock()
        for function in list(self.functions.values()):
            function.renew_lock()

    def find(self, key: tuple, holder: Holder | None) -> tuple[_Function, Callable[..., Any]]:
        """The function of a key, held by the holder, and what to call; made if there is none."""
        with self._locked():
            found = self.functions.get(key)
            if found is None:
                found = self.functions[key] = _Function(key)
                self._made += 1
            if holder is not None and holder.functions.get(key) is not found:
                holder.functions[key] = found
                found.holders += 1
            assert found.run is not None, "it is in the cache"
            return found, found.run

    def keep(self, function: _Function, jitted: Callable[..., Any]) -> None:
        """Notes that a function was compiled, and that its size is known."""
        with self._locked():
            if self.functions.get(function.key) is function:
                function.run = jitted

    def release(self, held: dict[tuple, _Function]) -> None:
        """Lets go what a holder had."""
        self._released.append(held)
        self._settle()

    def limit(self, functions: int, bytes: int) -> None:
        with self._locked():
            self._limits = functions, bytes

    def info(self) -> CompiledInfo:
        self._settle()
        with self._locked():
            functions = list(self.functions.values())
            held = [function for function in functions if function.holders]
            return CompiledInfo(len(functions), _size(functions), len(held), _size(held), self._made, self._dropped)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._lock:
            yield
        self._settle()

    def _settle(self) -> None:
        """Drops what is beyond the bounds. If another call has the lock, that one does it when it is through."""
        self._is_due = True
        while self._is_due and self._lock.acquire(blocking=False):
            try:
                self._is_due = False
                dropped = self._drop()
            finally:
                self._lock.release()
            # Here their memory goes: finalizers that run meanwhile find the lock free.
            dropped.clear()

    def _drop(self) -> list[Any]:
        """Drops functions; what was called in their place, and has their memory."""
        while self._released:
            for function in self._released.popleft().values():
                function.holders -= 1
        most, most_bytes = self._limits
        free = [function for function in self.functions.values() if not function.holders]
        dropped = self._forget(_find_excess(free, most, most_bytes))
        most, most_bytes = max(2 * most, _MOST_FUNCTIONS), max(2 * most_bytes, _MOST_BYTES)
        return dropped + self._forget(_find_excess(self.functions.values(), most, most_bytes))

    def _forget(self, functions: Iterable[_Function]) -> list[Any]:
        dropped = []
        for function in functions:
            del self.functions[function.key]
            dropped.append(function.run)
            # Holders of the function look for it again.
            function.run = None
        self._dropped += len(dropped)
        return dropped


_CACHE = _Cache()
os.register_at_fork(after_in_child=_CACHE.renew_lock)


def _find_excess(functions: Iterable[_Function], most: int, most_bytes: int) -> list[_Function]:
    """The least recently used functions, without which at most `most` and `most_bytes`, or only one, are left."""
    kept, size = 0, 0
    by_use = sorted(functions, key=lambda function: function.used, reverse=True)
    for function in by_use:
        size += function.size
        if kept >= most or (kept and size > most_bytes):
            break
        kept += 1
    return by_use[kept:]


def _size(functions: Iterable[_Function]) -> int:
    return sum(function.size for function in functions)
