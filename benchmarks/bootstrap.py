"""Bootstraps: beside those of lme4, mixedlm and statsmodels in the same minutes, and their time against the rows.

lme4 comes from Debian (``apt-get install r-cran-lme4``), mixedlm and statsmodels from ``rivals.txt``; without them
their part is `skipped`. A rival refits fewer times, and its time is scaled up. Each of lme4's replicates draws rows,
and searches from the estimates of the data with its own optimiser and tolerance.

    .venv/bin/python benchmarks/bootstrap.py [--quick]
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from report import is_quick, print_line

import bayesmm as bmm

RACES = (  # data, formula, replicates, and how many of them rivals make
    ("sleepstudy", "Reaction ~ Days + (Days | Subject)", 1000, 100),
    ("dyestuff", "Yield ~ 1 + (1 | Batch)", 1000, 100),
    ("penicillin", "diameter ~ 1 + (1 | plate) + (1 | sample)", 1000, 50),
    ("pastes", "strength ~ 1 + (1 | batch) + (1 | batch:cask)", 1000, 50),
    ("insteval", "y ~ service + (1 | s) + (1 | d) + (1 | dept:service)", 200, 2),
)
ROWS = (1_000, 10_000, 100_000, 1_000_000)
LEVELS = 100
IN_R = """
suppressMessages(library(lme4))
frame <- read.csv("PATH", check.names = FALSE)
for (name in strsplit("FACTORS", ",")[[1]]) frame[[name]] <- factor(frame[[name]])
fit <- suppressMessages(suppressWarnings(lmer(FORMULA, frame)))
values <- function(x) c(fixef(x), getME(x, "theta"), sigma(x))
t <- system.time(suppressMessages(suppressWarnings(b <- bootMer(fit, values, nsim = TIMES, seed = 1))))[["elapsed"]]
cat(t / TIMES, sd(b$t[, 1], na.rm = TRUE), "\\n")
"""
IN_STATSMODELS = """
import time, sys, warnings
import numpy as np, pandas as pd, statsmodels.formula.api as smf
warnings.simplefilter("ignore")
frame = pd.read_csv("PATH")
rng = np.random.default_rng(1)
def fit(frame): return smf.mixedlm("Reaction ~ Days", frame, groups="Subject", re_formula="~Days").fit()
found = fit(frame)
begin = time.perf_counter()
for _ in range(TIMES):
    b = rng.multivariate_normal(np.zeros(2), found.cov_re, size=18)
    code = frame.Subject.astype("category").cat.codes.to_numpy()
    y = found.predict(frame) + b[code, 0] + b[code, 1] * frame.Days + rng.normal(size=len(frame)) * found.scale**0.5
    fit(frame.assign(Reaction=y))
print((time.perf_counter() - begin) / TIMES, 0.0)
"""
IN_MIXEDLM = """
import time, warnings
import pandas as pd
from mixedlm import bootMer, lmer
warnings.simplefilter("ignore")
frame = pd.read_csv("PATH")
for name in "FACTORS".split(","): frame[name] = frame[name].astype(str).astype("category")
fit = lmer(FORMULA, frame)
bootMer(fit, nsim=2, seed=2)
begin = time.perf_counter()
found = bootMer(fit, nsim=TIMES, seed=1)
print((time.perf_counter() - begin) / TIMES, float(found.beta_samples[:, 0].std(ddof=1)))
"""


def main() -> None:
    """Print one line of JSON a race, and one a number of rows."""
    quick = is_quick(__doc__)
    for name, formula, n, of_rivals in RACES[: 2 if quick else None]:
        _race(name, formula, 50 if quick else n, 5 if quick else of_rivals)
    _rows(ROWS[: 2 if quick else None], 20 if quick else 200)


def _race(name: str, formula: str, n: int, of_rivals: int) -> None:
    data = bmm.datasets.load(name)
    fit = bmm.Model(formula, data).fit()
    kinds = ["parametric"] if name == "insteval" else ["parametric", "residual"]
    kinds += [kind for kind in ("case",) if name in ("sleepstudy", "dyestuff", "pastes")]
    for kind in kinds:
        fit.bootstrap(5, kind=kind)  # pyright: ignore[reportArgumentType]
    seconds, errors, failed = {}, {}, {}
    for kind in kinds:
        begin = time.perf_counter()
        found = fit.bootstrap(n, kind=kind)  # pyright: ignore[reportArgumentType]
        seconds[kind] = time.perf_counter() - begin
        errors[kind], failed[kind] = float(found.parameters["std_error"].iloc[0]), found.n_failed
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"bootstrap_{os.getpid()}.csv"
    data.to_csv(path, index=False)
    factors = [column for column in data if isinstance(data[column].dtype, pd.CategoricalDtype)]
    r = IN_R.replace("PATH", str(path)).replace("FACTORS", ",".join(map(str, factors))).replace("FORMULA", formula)
    rivals = {"lme4": _run(["Rscript", "-e", r.replace("TIMES", str(of_rivals))])}
    python = Path(os.environ.get("BAYESMM_RIVALS", ".venv-rivals")) / "bin" / "python"
    code = IN_MIXEDLM.replace("PATH", str(path)).replace("FACTORS", ",".join(map(str, factors)))
    code = code.replace("FORMULA", repr(formula)).replace("TIMES", str(of_rivals))
    rivals["mixedlm"] = _run([str(python), "-c", code])
    if name == "sleepstudy":
        code = IN_STATSMODELS.replace("PATH", str(path)).replace("TIMES", str(min(of_rivals, 20)))
        rivals["statsmodels"] = _run([str(python), "-c", code])
    path.unlink()
    for rival in rivals.values():
        if "seconds" in rival:
            rival["seconds"] *= n
            rival["ratio"] = rival["seconds"] / seconds["parametric"]
    print_line(
        {
            "kind": "bootstrap",
            "data": name,
            "replicates": n,
            "seconds": seconds,
            "std_error_of_intercept": errors,
            "failed": failed,
            "rivals": rivals,
            "load": os.getloadavg()[0],
        }
    )


def _run(command: list[str]) -> dict[str, Any]:
    if shutil.which(command[0]) is None:
        return {"skipped": f"no {command[0]}"}
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    numbers = done.stdout.split()
    if done.returncode or len(numbers) < 2:
        return {"skipped": done.stderr.strip()[-200:]}
    return {"seconds": float(numbers[-2]), "std_error_of_intercept": float(numbers[-1])}


def _rows(sizes: tuple[int, ...], n: int) -> None:
    """Time of a replicate, and of the same with rows, for as many levels and more rows."""
    rng, seconds, with_rows = np.random.default_rng(1), [], []
    for size in sizes:
        level, x = rng.integers(LEVELS, size=size), rng.normal(size=size)
        y = 1.0 + x + rng.normal(size=LEVELS)[level] + rng.normal(size=LEVELS)[level] * x + rng.normal(size=size)
        fit = bmm.Model("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x, "g": level})).fit()
        fit.bootstrap(5)
        begin = time.perf_counter()
        fit.bootstrap(n)
        seconds.append((time.perf_counter() - begin) / n)
        m = max(min(n, 10**7 // size), 2)
        begin = time.perf_counter()
        fit.bootstrap(m, kind="residual")
        with_rows.append((time.perf_counter() - begin) / m)
    logs = [np.polyfit(np.log(sizes), np.log(each), 1)[0] for each in (seconds, with_rows)]
    print_line(
        {
            "kind": "bootstrap_rows",
            "levels": LEVELS,
            "rows": list(sizes),
            "seconds_each": seconds,
            "slope": float(logs[0]),
            "residual_seconds_each": with_rows,
            "residual_slope": float(logs[1]),
        }
    )


if __name__ == "__main__":
    main()
