"""Compiled programs that can be made ahead, beside each other: compiling is most of a first call."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from numpyro import handlers

from bayesmm.inside_jax import check_process, inside_jax

WORKERS = 3  # more than the programs of one run would find nothing to do
_COMPILING = ThreadPoolExecutor(WORKERS, thread_name_prefix="bayesmm-compile")
_TRACING = threading.RLock()


def trace_alone[T](function: Callable[..., T], *arguments: Any, **options: Any) -> T:
    """Call what traces NumPyro models: in one thread at a time, out of the reach of handlers that are open outside.

    NumPyro's stack of effect handlers is one for the whole process, so that the handlers of all threads see what one
    of them traces. Compiling and running take place outside of this, threads beside each other.
    """
    check_process()  # a fork may have a lock that nobody will open
    with _TRACING, inside_jax(), handlers.block():
        return function(*arguments, **options)


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
        return trace_alone(self._jitted.eval_shape, *arguments)

    def prepare(self, *arguments: Any) -> None:
        """Begin to compile for arguments of these shapes, in another thread."""
        with self._promise(arguments) as (own, found):
            if found is own:
                _COMPILING.submit(self._compile, own, arguments, self._lower(arguments))

    def __call__(self, *arguments: Any) -> Any:
        """Run, after compiling if that has not been done for these shapes."""
        return self.compiled(*arguments)(*arguments)

    def compiled(self, *arguments: Any) -> Callable[..., Any]:
        """Return what runs on arguments of these shapes, once it is compiled."""
        while True:
            with self._promise(arguments) as (own, found):
                if found is own:
                    own.set_result(self._lower(arguments).compile())
            try:
                return found.result()
            except _AbandonedError:
                continue

    def _lower(self, arguments: tuple[Any, ...]) -> Any:
        return trace_alone(self._jitted.lower, *arguments)

    def _compile(self, own: Future, arguments: tuple[Any, ...], lowered: Any) -> None:
        with self._breaking(own, arguments):
            own.set_result(lowered.compile())

    @contextmanager
    def _promise(self, arguments: tuple[Any, ...]) -> Iterator[tuple[Future, Future]]:
        """Give a future of one's own, and that of whoever promised first to compile for these shapes."""
        own: Future = Future()
        with self._breaking(own, arguments):  # from before anybody may wait for it
            with self._lock:
                found = self._compiled.setdefault(_key(arguments), own)
            yield own, found

    @contextmanager
    def _breaking(self, own: Future, arguments: tuple[Any, ...]) -> Iterator[None]:
        """Tell whoever waits of a failure, and let others try again; an interruption is of one thread alone."""
        try:
            yield
        except BaseException as error:
            with self._lock:
                if self._compiled.get(_key(arguments)) is own:
                    del self._compiled[_key(arguments)]
            if not own.done():
                own.set_exception(error if isinstance(error, Exception) else _AbandonedError())
            raise


class _AbandonedError(Exception):
    """The thread that was to compile was interrupted."""


def _key(arguments: tuple[Any, ...]) -> Hashable:
    """Name what a compiled program depends on: shapes, and the device if the user has chosen one."""
    return signature(arguments), jax.config.jax_default_device


def signature(arguments: Any) -> Hashable:
    """Structure, shapes and types of a pytree of arrays or of their shapes; hashable."""
    leaves, structure = jax.tree.flatten(arguments)
    return structure, tuple((np.shape(leaf), getattr(leaf, "dtype", type(leaf))) for leaf in leaves)
