"""Caches of values by key that forget those used longest ago, beyond a number of them and of bytes."""

import os
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, NamedTuple, TypeVar, final

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class CacheInfo(NamedTuple):
    """The hits and misses of a cache so far, and its contents."""

    hits: int
    misses: int
    size: int
    bytes: int


@final
class BoundedCache(Generic[Key, Value]):
    """The values used last: at most `most` of them, and `most_bytes` together, by what `num_bytes` says of each.

    The last value is kept however large it is. Threads may share a cache.
    """

    def __init__(self, most: int, most_bytes: int, num_bytes: Callable[[Key, Value], int]) -> None:
        self._most, self._most_bytes, self._num_bytes = most, most_bytes, num_bytes
        self._items: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._lock = threading.Lock()
        self._hits = self._misses = self._bytes = 0
        _CACHES.add(self)

    def renew_lock(self) -> None:
        """A lock that is free: in a process that was forked another thread may have had it."""
        self._lock = threading.Lock()

    def find(self, key: Key) -> Value | None:
        """The value of a key; None if it is not kept."""
        with self._lock:
            found = self._items.get(key)
            if found is None:
                self._misses += 1
                return None
            self._hits += 1
            self._items.move_to_end(key)
            return found[0]

    def add(self, key: Key, value: Value) -> None:
        """Keeps a value, unless the key has one, and forgets the oldest ones beyond the bounds."""
        size = self._num_bytes(key, value)
        with self._lock:
            if key in self._items:
                return
            self._items[key] = value, size
            self._bytes += size
            while len(self._items) > self._most or (self._bytes > self._most_bytes and len(self._items) > 1):
                _, (_, forgotten) = self._items.popitem(last=False)
                self._bytes -= forgotten

    def clear(self) -> None:
        """Drops all values and starts counting anew."""
        with self._lock:
            self._items.clear()
            self._hits = self._misses = self._bytes = 0

    def info(self) -> CacheInfo:
        """The figures of the cache."""
        with self._lock:
            return CacheInfo(self._hits, self._misses, len(self._items), self._bytes)


_CACHES: weakref.WeakSet[BoundedCache] = weakref.WeakSet()


def _renew_locks() -> None:
    for cache in _CACHES:
        cache.renew_lock()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_renew_locks)
