"""Counting what JAX compiles, and what is kept of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import jax

from scallax import limit_compiled

# Tests meet more programs than a process of a user, and many come again.
BOUNDS = {"functions": 512, "bytes": 1 << 30}


@contextmanager
def counted_compilations() -> Iterator[list[str]]:
    """A list that grows by the name of what is compiled for every compilation inside the block."""
    compiled: list[str] = []

    def listen(event: str, duration_secs: float, **kwargs) -> None:
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(kwargs["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield compiled
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def forget_compiled() -> None:
    """Drops the compiled functions that no reasoner holds."""
    limit_compiled(functions=0)
    limit_compiled(**BOUNDS)
