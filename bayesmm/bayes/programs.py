"""Compiled programs that can be made ahead, beside each other: compiling is most of a first call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any

import jax
import numpy as np

WORKERS = 3  # more than the programs of one run would find nothing to do
TRACING = threading.RLock()  # NumPyro's stack of effect handlers is one for the whole process


class Program:
    """A function that JAX compiles once for each shape of its arguments, and for each default device.

    Parameters
    ----------
    function : callable
        Of pytrees of arrays.
    options : mapping
        XLA's compiler options.

    Notes
    -----
    ``jax.jit`` compiles when it is called, in the caller's thread. Here another thread can be asked to compile
    before the arguments are known, from their shapes alone (`prepare`).
    """

    def __init__(self, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
        self._jitted = jax.jit(function, compiler_options=dict(options))
        self._compiled: dict[Hashable, Future] = {}
        self._lock = threading.Lock()

    def shapes(self, *arguments: Any) -> Any:
        """Shapes of the results, computing nothing."""
        return self._jitted.eval_shape(*arguments)

    def prepare(self, *arguments: Any) -> None:
        """Begin to compile for arguments of these shapes, in another thread."""
        found, is_new = self._find(arguments)
        if is_new:
            with self._promise(found, arguments):
                lowered = self._lower(arguments)
                _threads().submit(self._compile, found, arguments, lowered)

    def __call__(self, *arguments: Any) -> Any:
        """Run, after compiling if that has not been done for these shapes."""
        return self.compiled(*arguments)(*arguments)

    def compiled(self, *arguments: Any) -> Callable[..., Any]:
        """Return what runs on arguments of these shapes, once it is compiled."""
        found, is_new = self._find(arguments)
        if is_new:
            with self._promise(found, arguments):
                found.set_result(self._lower(arguments).compile())
        return found.result()

    def _find(self, arguments: tuple[Any, ...]) -> tuple[Future, bool]:
        key = _key(arguments)
        with self._lock:
            is_new = key not in self._compiled
            return self._compiled.setdefault(key, Future()), is_new

    def _lower(self, arguments: tuple[Any, ...]) -> Any:
        with TRACING, jax.enable_x64(True):  # the setting is a thread's own
            return self._jitted.lower(*arguments)

    def _compile(self, found: Future, arguments: tuple[Any, ...], lowered: Any) -> None:
        with self._promise(found, arguments):
            found.set_result(lowered.compile())

    @contextmanager
    def _promise(self, found: Future, arguments: tuple[Any, ...]) -> Iterator[None]:
        """Tell whoever waits of a failure, and let others try again: an interruption is one too."""
        try:
            yield
        except BaseException as error:
            with self._lock:
                self._compiled.pop(_key(arguments), None)
            found.set_exception(error)
            raise


def _key(arguments: tuple[Any, ...]) -> Hashable:
    """Name what a compiled program depends on: shapes, and the device if the user has chosen one."""
    return signature(arguments), jax.config.jax_default_device


def signature(arguments: Any) -> Hashable:
    """Structure, shapes and types of a pytree of arrays or of their shapes; hashable."""
    leaves, structure = jax.tree.flatten(arguments)
    return structure, tuple((np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)


@cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(WORKERS, thread_name_prefix="bayesmm-compile")
