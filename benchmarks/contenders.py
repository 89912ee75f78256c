"""A contender: one program in a process of its own, which holds its data and is idle until it is asked something.

The parent sends lines: first the task, then requests as often as it likes, ``fit`` and ``tables`` in a race. The worker
answers each with one line of JSON: ``{"ready": version}``, ``{"seconds": ...}``, ``{"error": message}`` or
``{"skipped": reason}``.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from memory import peak_gib

HERE = Path(__file__).parent
OURS = "bayesmm"
BEFORE = "bayesmm before"  # an older checkout, in the folder that this variable names; then the only rival in races
BEFORE_VARIABLE = "BAYESMM_BEFORE"
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
    command : sequence of str
        What starts the worker.
    greeting : str
        The first line that it is sent: its task.
    folder : path
        A scratch folder.
    environment : mapping of str to str
        Of the process.
    timeout : float
        Seconds that one answer may take; then the process is killed.

    Attributes
    ----------
    version : str
        What the worker says it is.
    start_seconds : float
        From the start of the process until it was ready, its data read.

    Raises
    ------
    Stopped
        If the program is not installed, fails, or takes too long; so does `ask`.
    """

    def __init__(
        self,
        command: Sequence[str],
        greeting: str,
        *,
        folder: Path,
        environment: Mapping[str, str],
        timeout: float,
    ) -> None:
        self._timeout = timeout
        self._errors = tempfile.TemporaryFile("w+", dir=folder, errors="replace")  # noqa: SIM115  closed by close()
        begin = time.perf_counter()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
            start_new_session=True,  # chains may be processes of their own: they are ended with it
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        self.version: str = self._ask(greeting, START_TIMEOUT)["ready"]
        self.start_seconds = time.perf_counter() - begin

    def ask(self, request: str) -> dict[str, Any]:
        """Send one line and wait for its answer."""
        return self._ask(request, self._timeout)

    def peak_gib(self) -> float | None:
        """Peak resident memory so far, in GiB."""
        return peak_gib(self._process.pid)

    def close(self) -> None:
        """End the process, and those that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._listener.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            assert stream is not None
            with contextlib.suppress(BrokenPipeError):  # a request that was never read
                stream.close()

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


def before() -> Path | None:
    """Return the folder of an older checkout that is the rival, where there is one."""
    folder = os.environ.get(BEFORE_VARIABLE)
    return None if folder is None else Path(folder)


def rivals_python() -> Path:
    """Return the interpreter of the virtual environment that the Python rivals live in."""
    folder = os.environ.get("BAYESMM_RIVALS") or HERE.parent / ".venv-rivals"
    return Path(folder) / "bin" / "python"


def start_fitter(program: str, task: Mapping[str, Any], *, folder: Path, timeout: float) -> Contender:
    """Start a program that answers ``fit`` (seconds, loglik, evaluations) and ``tables`` (seconds).

    Parameters
    ----------
    program : str
        "bayesmm", "bayesmm before", "mixedlm", "statsmodels", "lme4", "glmmTMB", "nlme" or "mmrm".
    task : mapping
        data (path of a CSV file), formula, method, factors (names of columns); more for statsmodels; residual for
        ours; call, an expression of R over `frame` and `reml`, for what R's formula alone does not say.
    folder, timeout
        See `Contender`. Caches go to the folder as well.

    Raises
    ------
    Stopped
        If the program is not installed.
    """
    return Contender(
        _command(program),
        _encode(program, task),
        folder=folder,
        environment=_environment(folder) | of_checkout(program),
        timeout=timeout,
    )


def scripts_of(program: str) -> Path:
    """Return the folder of benchmarks that a program's worker is in: ours, or that of the older checkout."""
    folder = before()
    return folder / HERE.name if program.startswith(BEFORE) and folder is not None else HERE


def of_checkout(program: str) -> dict[str, str]:
    """Return what a process needs in its environment to import the checkout that its program is of."""
    return {"PYTHONPATH": str(scripts_of(program).parent)} if program.startswith(OURS) else {}


def _command(program: str) -> list[str]:
    if program in (OURS, BEFORE):
        return [sys.executable, str(scripts_of(program) / "worker_bayesmm.py")]
    if program in ("mixedlm", "statsmodels"):
        if not rivals_python().exists():
            raise Stopped("skipped", f"there is no virtual environment of rivals (see {HERE.name}/README.md)")
        return [str(rivals_python()), str(HERE / f"worker_{program}.py")]
    return [rscript(), str(HERE / "worker.R"), program]


def rscript() -> str:
    """Return R's interpreter of scripts; `Stopped` where there is none."""
    path = shutil.which("Rscript")
    if path is None:
        raise Stopped("skipped", "Rscript is not on the PATH")
    return path


def _environment(folder: Path) -> dict[str, str]:
    """Leave out what would make a first fit cheaper than a user's first: programs compiled earlier."""
    kept = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    return kept | {"XDG_CACHE_HOME": str(folder / "cache")}


def _encode(program: str, task: Mapping[str, Any]) -> str:
    if program in (OURS, BEFORE, "mixedlm", "statsmodels"):
        return json.dumps(dict(task))
    # Plain R reads no JSON.
    return "\t".join(
        [str(task["data"]), task["formula"], task["method"], ",".join(task["factors"]), task.get("call", "")]
    )
