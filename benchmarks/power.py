"""Power by simulation: one run of all effects, beside a loop of lme4 that does what simr does for one effect.

Simulate, refit, test, a thousand times. simr is not in Debian: the loop calls what it calls, ``simulate``, ``refit``,
and the test of lmerTest or pbkrtest (``apt-get install r-cran-lmertest r-cran-pbkrtest``), without simr's own
bookkeeping; without R its part is `skipped`. The loop refits fewer times, and its time is scaled up. Both report power,
so that the numbers can be compared; the designs are simr's example (30 rows), one of 43 rows, and one of 10,200.

    .venv/bin/python benchmarks/power.py [--quick]
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from report import is_quick, print_line

import bayesmm as bmm

N = 1000
IN_R = """
suppressMessages({library(lme4); library(lmerTest); library(pbkrtest)})
frame <- read.csv("PATH"); frame$g <- factor(frame$g)
options(warn = -1)
fit <- suppressMessages(lmer(y ~ x + (1 | g), frame))
truth <- list(beta = c(BETA), theta = THETA, sigma = SIGMA)
set.seed(1)
test <- function(fit) if ("DF" == "kenward-roger") {
  KRmodcomp(fit, update(fit, . ~ . - x))$test["Ftest", "p.value"]
} else coef(summary(as_lmerModLmerTest(fit)))["x", "Pr(>|t|)"]
one <- function(i) {
  y <- simulate(fit, newparams = truth)[[1]]
  suppressMessages(test(refit(fit, y)))
}
one(0)
t <- system.time(p <- sapply(1:TIMES, one))[["elapsed"]]
cat(t / TIMES, mean(p < 0.05), "\\n")
"""


def main() -> None:
    """Print one line of JSON a design."""
    quick = is_quick(__doc__)
    for name, data, truth, df, times in _designs():
        n, times = (50, 5) if quick else (N, times)
        if not (quick and len(data) > 100):
            print_line(
                {"kind": "power", "design": name, "rows": len(data), "df": df, **_race(data, truth, df, n, times)}
            )


def _designs() -> list[tuple[str, pd.DataFrame, dict[str, float], str, int]]:
    """Name, data, parameters, degrees of freedom, and how many refits the rival makes."""
    truth = {"Intercept": 10.0, "x": -0.05, "sd(Intercept | g)": 0.5, "sigma": 0.4}
    small = pd.DataFrame({"x": np.tile(np.arange(1.0, 11.0), 3), "g": np.repeat(["a", "b", "c"], 10)})
    rng = np.random.default_rng(1)
    middle = pd.DataFrame({"x": rng.normal(size=43), "g": np.arange(43) % 9})
    large = pd.DataFrame({"x": rng.normal(size=10_200), "g": np.arange(10_200) % 340})
    return [
        ("simr's example", small, truth, "satterthwaite", 100),
        ("43 rows", middle, truth | {"x": 0.2}, "kenward-roger", 50),
        ("10,200 rows", large, truth | {"x": 0.01}, "satterthwaite", 20),
    ]


def _race(data: pd.DataFrame, truth: dict[str, float], df: str, n: int, times: int) -> dict[str, Any]:
    bmm.power("y ~ x + (1 | g)", data, truth, n=5, df=df, progress=False)  # imports
    start = time.perf_counter()
    found = bmm.power("y ~ x + (1 | g)", data, truth, n=n, df=df, progress=False)
    seconds = time.perf_counter() - start
    ours = {"n": n, "seconds": seconds, "power": float(found.table["power"].iloc[0])}
    rival = _rival(data, truth, df, times)
    if "seconds_each" in rival:
        rival["scaled"] = rival["seconds_each"] * n
        rival["times_as_long"] = rival["scaled"] / seconds
    return {"bayesmm": ours, "lme4 loop": rival}


def _rival(data: pd.DataFrame, truth: dict[str, float], df: str, times: int) -> dict[str, Any]:
    if shutil.which("Rscript") is None:
        return {"skipped": "R is not installed"}
    drawn = bmm.simulate("y ~ x + (1 | g)", data, truth)[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "data.csv"
        data.assign(y=drawn).to_csv(path, index=False)
        sigma = truth["sigma"]
        script = IN_R
        for word, value in {
            "PATH": path,
            "BETA": f"{truth['Intercept']}, {truth['x']}",
            "THETA": truth["sd(Intercept | g)"] / sigma,
            "SIGMA": sigma,
            "DF": df,
            "TIMES": times,
        }.items():
            script = script.replace(word, str(value))
        done = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True, check=False)
    if done.returncode:
        return {"skipped": done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "R failed"}
    seconds, power = map(float, done.stdout.split()[-2:])
    return {"refits": times, "seconds_each": seconds, "power": power}


if __name__ == "__main__":
    main()
