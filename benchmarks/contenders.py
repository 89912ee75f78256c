"""A contender: one program in a process of its own, which holds its data and is idle until it is asked to fit.

The parent sends lines: first the task, then ``fit`` or ``tables`` as often as it likes. The worker answers each with
one line of JSON: ``{"ready": version}``, ``{"seconds": ...}``, ``{"error": message}`` or ``{"skipped": reason}``.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from memory import peak_gib

HERE = Path(__file__).parent
OURS = "bayesmm"
START_TIMEOUT = 600.0  # seconds for imports and for reading the data, which are not timed
LAST_WORDS = 300  # characters of standard error that are kept of a worker that died


class Stopped(Exception):  # noqa: N818  not always an error: a program that is not installed is skipped
    """A contender that will answer no more: `how` is a key of the result line, `why` its value."""

    def __init__(self, how: Literal["skipped", "error", "timed_out_after"], why: str | float) -> None:
        super().__init__(f"{how}: {why}")
        self.how, self.why = how, why


class Contender:
    """One program at work on one task.

    Parameters
    ----------
    program : str
        "bayesmm", "mixedlm", "statsmodels", "lme4" or "glmmTMB".
    task : mapping
        data (path of a CSV file), formula, method, factors (names of columns); more for statsmodels.
    folder : path
        A scratch folder: standard error and caches go there.
    timeout : float
        Seconds that one answer may take; then the process is killed.

    Raises
    ------
    Stopped
        If the program is not installed, fails, or takes too long; so do `fit` and `tables`.
    """

    def __init__(self, program: str, task: Mapping[str, Any], *, folder: Path, timeout: float) -> None:
        command = _command(program)
        self._timeout = timeout
        self._errors = (folder / f"{program}.stderr").open("w+", errors="replace")
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=_environment(folder),
        )
        self._lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()
        self.version: str = self._ask(_encode(program, task), START_TIMEOUT)["ready"]

    def fit(self) -> dict[str, Any]:
        """Go once from formula and data frame to the estimates: seconds, loglik, evaluations."""
        return self._ask("fit", self._timeout)

    def tables(self) -> float:
        """Read standard errors and random effects off the last fit; seconds."""
        return self._ask("tables", self._timeout)["seconds"]

    def peak_gib(self) -> float | None:
        """Peak resident memory so far, in GiB."""
        return peak_gib(self._process.pid)

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def _ask(self, line: str, timeout: float) -> dict[str, Any]:
        try:
            answer = self._answer(line, timeout)
            for how in ("skipped", "error"):
                if how in answer:
                    raise Stopped(how, answer[how])
        except Stopped:
            self.close()
            raise
        return answer

    def _answer(self, line: str, timeout: float) -> dict[str, Any]:
        try:
            assert self._process.stdin is not None
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            answer = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise Stopped("timed_out_after", timeout) from None
        except BrokenPipeError:
            answer = ""
        if not answer:
            self._process.wait()
            raise Stopped("error", f"exit status {self._process.returncode}: {self._last_words()}")
        return json.loads(answer)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # what libraries print is not for us
                self._lines.put(line)
        self._lines.put("")

    def _last_words(self) -> str:
        self._errors.seek(0)
        return " ".join(self._errors.read().split())[-LAST_WORDS:]


def rivals_python() -> Path:
    """Return the interpreter of the virtual environment that the Python rivals live in."""
    folder = os.environ.get("BAYESMM_RIVALS") or HERE.parent / ".venv-rivals"
    return Path(folder) / "bin" / "python"


def _command(program: str) -> list[str]:
    if program == OURS:
        return [sys.executable, str(HERE / "worker_bayesmm.py")]
    if program in ("mixedlm", "statsmodels"):
        if not rivals_python().exists():
            raise Stopped("skipped", f"there is no virtual environment of rivals (see {HERE.name}/README.md)")
        return [str(rivals_python()), str(HERE / f"worker_{program}.py")]
    if shutil.which("Rscript") is None:
        raise Stopped("skipped", "Rscript is not on the PATH")
    return ["Rscript", str(HERE / "worker.R"), program]


def _environment(folder: Path) -> dict[str, str]:
    """Leave out what would make a first fit cheaper than a user's first: programs compiled earlier."""
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return kept | {"XDG_CACHE_HOME": str(folder / "cache")}


def _encode(program: str, task: Mapping[str, Any]) -> str:
    if program in (OURS, "mixedlm", "statsmodels"):
        return json.dumps(dict(task))
    # Plain R reads no JSON.
    return "\t".join([str(task["data"]), task["formula"], task["method"], ",".join(task["factors"])])
