"""The programs that `sampling.py` sets against each other, each a process of its own with a cache folder of its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from contenders import BEFORE, HERE, OURS, Contender, Stopped, before, of_checkout, rscript, scripts_of

METHODS = ("nuts", "importance", "quadrature")
OURSELVES = {OURS: METHODS[0]} | {f"{OURS} {method}": method for method in METHODS[1:]}
OLDER = {f"{BEFORE} {method}": method for method in METHODS}
PYTHON_WORKERS = {  # name -> script and its argument
    **{name: ("worker_sampling_bayesmm.py", method) for name, method in (OURSELVES | OLDER).items()},
    "Bambi PyMC": ("worker_sampling_bambi.py", "pymc"),
    "Bambi nutpie": ("worker_sampling_bambi.py", "nutpie"),
    "Bambi NumPyro": ("worker_sampling_bambi.py", "numpyro"),
}
R_PACKAGES = ("rstanarm", "brms")
RIVALS = tuple(OLDER) if before() else (*(name for name in PYTHON_WORKERS if not name.startswith(OURS)), *R_PACKAGES)
SAMPLERS = (*OURSELVES, *RIVALS)
R_FIELDS = ("data", "formula", "factors", "chains", "draws", "tune", "cores")


def keeps_programs(name: str) -> bool:
    """Say whether what a program compiles is there for the next process, if its cache folder is."""
    return name in PYTHON_WORKERS


def start_sampler(name: str, task: Mapping[str, Any], *, folder: Path, cache: Path, timeout: float) -> Contender:
    """Start a program that answers ``draw``, a seed and a path, with tabs between them, by seconds and divergences.

    Parameters
    ----------
    name : str
        One of `SAMPLERS`.
    task : mapping
        data (path of a CSV file), formula, factors (names of columns), chains, draws, tune, cores.
    folder : path
        A scratch folder.
    cache : path
        Where the program keeps what it compiles, where it does that.
    timeout : float
        Seconds that one request may take.

    Raises
    ------
    Stopped
        If the program is not installed.
    """
    return Contender(
        _command(name), _encode(name, task), folder=folder, environment=_environment(name, cache), timeout=timeout
    )


def bambi_python() -> Path:
    """Return the interpreter of the virtual environment that Bambi lives in."""
    folder = os.environ.get("BAYESMM_RIVALS_BAMBI") or HERE.parent / ".venv-rivals-bambi"
    return Path(folder) / "bin" / "python"


def _command(name: str) -> list[str]:
    if name in R_PACKAGES:
        return [rscript(), str(HERE / "worker_sampling.R"), name]
    script, argument = PYTHON_WORKERS[name]
    python = Path(sys.executable) if name.startswith(OURS) else bambi_python()
    if not python.exists():
        raise Stopped("skipped", f"there is no virtual environment with Bambi (see {HERE.name}/README.md)")
    return [str(python), str(scripts_of(name) / script), argument]


def _encode(name: str, task: Mapping[str, Any]) -> str:
    if name in PYTHON_WORKERS:
        return json.dumps(dict(task))
    # Plain R reads no JSON.
    values = (task[field] for field in R_FIELDS)
    return "\t".join(",".join(value) if isinstance(value, list) else str(value) for value in values)


def _environment(name: str, cache: Path) -> dict[str, str]:
    """Send every compiler of a program to one folder: what is in it, and nothing else, was compiled before."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("JAX_", "PYTENSOR_", "NUMBA_"))}
    kept["MPLCONFIGDIR"] = str(cache.parent / "matplotlib")  # the list of fonts is made once
    if name.startswith(OURS):
        return kept | of_checkout(name) | {"XDG_CACHE_HOME": str(cache)}  # where `enable_compilation_cache` puts it
    return kept | {
        "PYTENSOR_FLAGS": f"base_compiledir={cache / 'pytensor'}",
        "NUMBA_CACHE_DIR": str(cache / "numba"),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
