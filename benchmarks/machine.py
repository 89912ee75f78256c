"""What the numbers were measured on: processor, memory, versions. One line of JSON."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from contenders import rivals_python
from report import print_line
from samplers import bambi_python

OURS = ("bayesmm", "jax", "jaxlib", "numpyro", "numpy", "scipy", "pandas")
RIVALS = ("mixedlm", "statsmodels", "numpy", "scipy", "pandas")
SAMPLERS = ("bambi", "pymc", "pytensor", "nutpie", "numpyro", "jax")
READ_VERSIONS = """
import json, sys
from importlib import metadata
installed = {d.name.lower(): d.version for d in metadata.distributions()}
print(json.dumps({name: installed.get(name) for name in sys.argv[1:]}))
"""
READ_R = """
cat(R.version.string, "\\n")
for (p in c("lme4", "glmmTMB", "nlme", "mmrm", "Matrix", "rstanarm", "brms", "rstan"))
  cat(p, tryCatch(as.character(packageVersion(p)), error = function(e) "not installed"), "\\n")
cat("BLAS", basename(extSoftVersion()[["BLAS"]]), "of", basename(dirname(extSoftVersion()[["BLAS"]])), "\\n")
"""


def main() -> None:
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    print_line(
        {
            "kind": "machine",
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "memory_gib": _memory_gib(),
            "system": f"{platform.system()} {platform.machine()}",
            "load_before": load,
            "threads": {name: os.environ[name] for name in sorted(os.environ) if name.endswith("_NUM_THREADS")},
            "python": platform.python_version(),
            "versions": {name: metadata.version(name) for name in OURS},
            "rivals": _installed(rivals_python(), RIVALS),
            "bambi": _installed(bambi_python(), SAMPLERS),
            "r": _r(),
        }
    )


def _processor() -> str:
    return _field("/proc/cpuinfo", "model name") or platform.processor() or "unknown"


def _memory_gib() -> float | None:
    text = _field("/proc/meminfo", "MemTotal")
    return int(text.split()[0]) / 2**20 if text else None


def _field(path: str, name: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(name)), None)


def _installed(python: Path, packages: Iterable[str]) -> dict[str, str | None] | str:
    if not python.exists():
        return f"no virtual environment of {next(iter(packages))}"
    text = _output([str(python), "-c", READ_VERSIONS, *packages])
    return json.loads(text) if text else f"the virtual environment of {next(iter(packages))} does not run"


def _r() -> list[str] | str:
    if shutil.which("Rscript") is None:
        return "Rscript is not on the PATH"
    return [" ".join(line.split()) for line in (_output(["Rscript", "-e", READ_R]) or "").splitlines()]


def _output(command: Iterable[str]) -> str | None:
    done = subprocess.run(list(command), capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
    return done.stdout if done.returncode == 0 else None


if __name__ == "__main__":
    main()
