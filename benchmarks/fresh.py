"""Run a function in a Python process of its own: nothing imported, nothing compiled, nothing in memory."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def in_fresh_process(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Call a function of a script in a new process.

    Parameters
    ----------
    function : callable
        From the top level of a module; it imports what is heavy itself.
    *arguments
        Its arguments, which are pickled.

    Returns
    -------
    dict
        What the function returns, or ``{"error": message}`` where it failed or its process died.
    """
    spawn = multiprocessing.get_context("spawn")  # a fork would inherit what is loaded here
    with ProcessPoolExecutor(max_workers=1, mp_context=spawn, initializer=_forget_compiled_programs) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except Exception as error:
            return {"error": f"{type(error).__name__}: {error}"[:300]}


def _forget_compiled_programs() -> None:
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)
