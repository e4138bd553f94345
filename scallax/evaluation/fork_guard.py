"""JAX cannot run in a child that was forked from a process in which it had started: such a child hangs."""

import os
import sys

from scallax.errors import Diagnostic, UnsupportedError


class _ForkGuard:
    """Notes at every fork whether the child inherits a started JAX."""

    def __init__(self):
        self.inherits_started_jax = False
        os.register_at_fork(after_in_child=self._note)

    def _note(self) -> None:
        self.inherits_started_jax = self.inherits_started_jax or _jax_has_started()


def _jax_has_started() -> bool:
    config = getattr(sys.modules.get("jax"), "config", None)
    if config is None:
        return False
    # This option can be set until JAX starts, and only until then.
    devices = config.jax_num_cpu_devices
    try:
        config.update("jax_num_cpu_devices", 2 if devices == 1 else 1)
    except RuntimeError:  # JAX has started
        return True
    config.update("jax_num_cpu_devices", devices)
    return False


_guard = _ForkGuard()


def check_process() -> None:
    """UnsupportedError in a process that was forked from one in which JAX had started."""
    if _guard.inherits_started_jax:
        raise UnsupportedError(
            Diagnostic(
                "this process was forked from one that had used JAX, and JAX would hang in it",
                hint="start workers with the method `spawn` or `forkserver`, or fork before the first use of JAX",
            )
        )
