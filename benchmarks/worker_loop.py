"""What all Python workers do: load the data that the task names, then fit, or make tables, whenever a line asks for it.

It runs in the environments of the rivals too, so it needs nothing but pandas.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TextIO


def require(module: str) -> Any:
    """Import a program, or tell the parent that it is not installed, and leave."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        print(json.dumps({"skipped": f"{module} cannot be imported: {error}"}), flush=True)
        sys.exit()


def serve(
    program: str,
    *,
    fit: Callable[[dict[str, Any], Any], Any],
    tables: Callable[[Any], object],
    facts: Callable[[Any], dict[str, Any]],
) -> None:
    """Answer every line of standard input by one line of JSON.

    Parameters
    ----------
    program : str
        Name of the package, for its version.
    fit : callable
        From the task and the data frame to a result; what is timed.
    tables : callable
        Reads standard errors and random effects off a result; timed on its own.
    facts : callable
        From a result to what the parent wants to know of it: loglik, evaluations.
    """
    results: list[Any] = []

    def answer(request: str, task: dict[str, Any], frame: Any) -> dict[str, Any]:
        if request == "fit":
            results.clear()  # frees the memory of the last fit
            seconds, result = timed(fit, task, frame)
            results.append(result)
            return {"seconds": seconds, **facts(result)}
        seconds, _ = timed(tables, results[-1])
        return {"seconds": seconds}

    answer_lines(program, answer)


def answer_lines(program: str, answer: Callable[[str, dict[str, Any], Any], dict[str, Any]]) -> None:
    """Read the task, then answer every line of standard input by one line of JSON.

    Parameters
    ----------
    program : str
        Name of the package, for its version.
    answer : callable
        From a request, the task and the data frame to what the parent is told.
    """
    answers = _private_output()
    task = json.loads(sys.stdin.readline())
    frame = load(task)
    _tell(answers, {"ready": version(program)})
    for line in sys.stdin:
        try:
            _tell(answers, answer(line.strip(), task, frame))
        except Exception as error:
            traceback.print_exc()
            _tell(answers, {"error": f"{type(error).__name__}: {error}"[:300]})


def load(task: dict[str, Any]) -> Any:
    """Read the data frame of a task, with its factors as categoricals."""
    import pandas as pd

    text = dict.fromkeys(task["factors"], str)
    # pandas' fast parser may be off by a last digit; R's is not.
    frame = pd.read_csv(task["data"], dtype=text, float_precision="round_trip")
    return frame.astype(dict.fromkeys(task["factors"], "category"))


def timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Call a function and take the time, garbage collected beforehand."""
    gc.collect()
    begin = time.perf_counter()
    result = function(*arguments)
    return time.perf_counter() - begin, result


def _private_output() -> TextIO:
    """Keep standard output for answers alone: what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers


def _tell(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()
