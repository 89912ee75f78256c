"""Worker: small models in a loop, of bayesmm or mixedlm; run by small.py, several at a time, in turns."""

from __future__ import annotations

import gc
import importlib
import sys
import time
from collections.abc import Callable
from typing import Any

from worker_loop import answer_lines


def serve(program: str) -> None:
    """Answer each line, a number of fits, by the least processor time of a fit, and of a fit with its tables."""
    worker = importlib.import_module(f"worker_{program}")

    def answer(request: str, task: dict[str, Any], frame: Any) -> dict[str, Any]:
        plain, with_tables = [], []
        for _ in range(int(request)):
            gc.collect()
            taken, result = _timed(worker.fit, task, frame)
            reading, _ = _timed(worker.tables, result)
            plain.append(taken)
            with_tables.append(taken + reading)
        return {"fit": min(plain), "with tables": min(with_tables), "loglik": worker.facts(result)["loglik"]}

    answer_lines(program, answer)


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    begin = time.process_time()
    result = function(*arguments)
    return time.process_time() - begin, result


if __name__ == "__main__":
    serve(sys.argv[1])
