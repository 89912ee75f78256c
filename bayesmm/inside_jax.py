"""The one door into JAX: double precision, and never in the fork of a process that JAX was running in."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bayesmm.errors import ProcessError

_FORKED = (
    "This process was forked from one in which JAX was running. The fork has none of the threads that JAX waits for, "
    "so that this call would never return. Start workers as processes of their own: "
    "multiprocessing.get_context('spawn').Pool(), "
    "ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn')), or joblib, which does so by itself; or use "
    "threads. Model.fit() needs no JAX and works in a fork."
)
_without_threads = False  # whether this process is such a fork


def check_process() -> None:
    """Refuse a process that JAX cannot run in.

    Raises
    ------
    ProcessError
        If it was forked after JAX had begun to run.
    """
    if _without_threads:
        raise ProcessError(_FORKED)


@contextmanager
def inside_jax() -> Iterator[None]:
    """Compute in double precision, in this thread and until the block ends.

    Raises
    ------
    ProcessError
        If this process was forked after JAX had begun to run.
    KeyboardInterrupt
        If it is interrupted, also where JAX makes another error of it: it compares static parts of pytrees in Python
        and calls functions of the host, and wraps whatever is raised meanwhile.
    """
    check_process()
    import jax

    try:
        with jax.enable_x64(True):
            yield
    except ValueError as error:
        if isinstance(error.__cause__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    except jax.errors.JaxRuntimeError as error:
        if "KeyboardInterrupt" in str(error):  # in the text alone
            raise KeyboardInterrupt from None
        raise


def _after_fork() -> None:
    global _without_threads
    _without_threads = _without_threads or _is_running()


def _is_running() -> bool:
    """Whether JAX has begun to run: it is of no consequence that it was imported. JAX tells in private only."""
    bridge = sys.modules.get("jax._src.xla_bridge")
    return bridge is not None and bridge.backends_are_initialized()


if hasattr(os, "register_at_fork"):  # systems without forks have none to refuse
    os.register_at_fork(after_in_child=_after_fork)
