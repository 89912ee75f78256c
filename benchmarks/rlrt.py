"""Tests of a variance: p-values and times beside RLRsim's, and how often each null distribution rejects a true null.

RLRsim and lme4 come from Debian (``apt-get install r-cran-rlrsim r-cran-lme4``); without them their part is `skipped`.
Both draw 10,000 values of the null distribution. Where groups are balanced, the p-value of the F test is the exact one.

    .venv/bin/python benchmarks/rlrt.py [--datasets 1000]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from report import print_line
from scipy import stats

import bayesmm as bmm
from bayesmm.inference.simulated_responses import simulate_responses
from bayesmm.inference.variances.null_models import fit_null, variance_hypotheses

DRAWS = 10_000
REPEATS = 5
LEVEL = 0.05
PUBLISHED = (  # data set, formula, and what is tested, in the order of `IN_R`
    ("dyestuff", "Yield ~ 1 + (1 | Batch)", "sd(Intercept | Batch)"),
    ("sleepstudy", "Reaction ~ Days + (1 | Subject)", "sd(Intercept | Subject)"),
    ("sleepstudy", "Reaction ~ Days + (Days || Subject)", "sd(Days | Subject)"),
    ("pastes", "strength ~ 1 + (1 | batch) + (1 | batch:cask)", "sd(Intercept | batch)"),
)
IN_R = """
suppressMessages({library(lme4); library(RLRsim)})
run <- function(test) { set.seed(1); t <- system.time(for (i in 1:REPEATS) r <- test())[["elapsed"]] / REPEATS
  cat(r$statistic, r$p.value, t, "\\n") }
a <- lmer(Yield ~ 1 + (1 | Batch), Dyestuff); run(function() exactRLRT(a, nsim = DRAWS))
b <- lmer(Reaction ~ Days + (1 | Subject), sleepstudy); run(function() exactRLRT(b, nsim = DRAWS))
c1 <- lmer(Reaction ~ Days + (1 | Subject) + (0 + Days | Subject), sleepstudy)
c2 <- lmer(Reaction ~ Days + (0 + Days | Subject), sleepstudy)
run(function() exactRLRT(c2, c1, b, nsim = DRAWS))
d <- lmer(strength ~ 1 + (1 | batch) + (1 | sample), Pastes)
d1 <- lmer(strength ~ 1 + (1 | batch), Pastes); d0 <- lmer(strength ~ 1 + (1 | sample), Pastes)
run(function() exactRLRT(d1, d, d0, nsim = DRAWS))
"""


def main() -> None:
    """Print one line of JSON a result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", type=int, default=1000, help="responses drawn under each null")
    arguments = parser.parse_args()
    rival = _rival()
    for case, other in zip(PUBLISHED, rival, strict=True):
        print_line({"kind": "rlrt", **_ours(*case), **other})
    for name, data, formula, parameter in _designs():
        print_line({"kind": "rlrt_size", "design": name, **_size(data, formula, parameter, arguments.datasets)})


def _ours(data: str, formula: str, parameter: str) -> dict[str, Any]:
    fit = bmm.Model(formula, bmm.datasets.load(data)).fit()
    fit.variance_tests(parameter, kind="exact", n=10)
    start = time.perf_counter()
    for _ in range(REPEATS):
        (test,) = fit.variance_tests(parameter, kind="exact", n=DRAWS).tests
    seconds = (time.perf_counter() - start) / REPEATS
    found = {"data": data, "parameter": parameter, "statistic": test.statistic, "p": test.p_value, "seconds": seconds}
    if len(fit.design.blocks) == 1 and fit.design.blocks[0].k == 1 and fit.design.p == 1:
        groups = bmm.datasets.load(data).groupby(fit.design.blocks[0].group, observed=True)
        found["p_of_f"] = stats.f_oneway(*(y for _, y in groups[fit.design.response])).pvalue
    return found


def _rival() -> list[dict[str, Any]]:
    if shutil.which("Rscript") is None:
        return [{"rlrsim": "skipped: no Rscript"}] * len(PUBLISHED)
    code = IN_R.replace("DRAWS", str(DRAWS)).replace("REPEATS", str(REPEATS))
    done = subprocess.run(["Rscript", "-e", code], capture_output=True, text=True, check=False)
    lines = [line.split() for line in done.stdout.splitlines() if line.strip()]
    if done.returncode or len(lines) != len(PUBLISHED):
        return [{"rlrsim": f"skipped: {done.stderr.strip()[-200:]}"}] * len(PUBLISHED)
    names = ("rlrsim_statistic", "rlrsim_p", "rlrsim_seconds")
    return [dict(zip(names, map(float, line), strict=True)) for line in lines]


def _designs() -> Iterator[tuple[str, pd.DataFrame, str, str]]:
    rng = np.random.default_rng(1)
    six = pd.DataFrame({"g": np.repeat(np.arange(6), 5)})
    yield "6 groups of 5", six, "y ~ 1 + (1 | g)", "sd(Intercept | g)"
    uneven = pd.DataFrame({"g": np.repeat(np.arange(8), [1, 2, 2, 3, 4, 6, 12, 20]), "x": rng.normal(size=50)})
    yield "8 uneven groups, covariate", uneven, "y ~ x + (1 | g)", "sd(Intercept | g)"
    crossed = pd.DataFrame({"g": np.repeat(np.arange(8), 6), "h": np.tile(np.arange(6), 8)})
    yield "crossed 8 x 6, tested given the other", crossed, "y ~ 1 + (1 | g) + (1 | h)", "sd(Intercept | h)"
    slopes = pd.DataFrame({"g": np.repeat(np.arange(8), 5), "x": np.tile(np.arange(5.0), 8)})
    yield "8 subjects, slope given intercepts", slopes, "y ~ x + (x || g)", "sd(x | g)"
    yield "8 subjects, correlated slope", slopes, "y ~ x + (x | g)", "sd(x | g)"
    nested = pd.DataFrame({"g": np.repeat(np.arange(6), 8), "h": np.repeat(np.arange(24), 2)})
    yield "6 groups of 4 nested, tested given these", nested, "y ~ 1 + (1 | g) + (1 | h)", "sd(Intercept | g)"


def _size(data: pd.DataFrame, formula: str, parameter: str, n: int) -> dict[str, Any]:
    """Share of responses without the tested variance, all other standard deviations one, that a test rejects."""
    rng = np.random.default_rng(2)
    frame = data.assign(y=rng.normal(size=len(data)))
    template = bmm.Model(formula, frame)
    fit = template.fit()
    null = fit_null(fit, variance_hypotheses(fit)[parameter])
    factors = [np.eye(block.k) for block in null.design.blocks]
    Y = simulate_responses(null.design, np.zeros(null.design.p), factors, 1.0, rng.spawn(n))
    kinds = ["exact", "mixture"] if null.hypothesis.is_one_variance else ["mixture"]
    rejected = dict.fromkeys(kinds, 0)
    for y in Y.T:
        own = bmm.Model(formula, frame.assign(y=y)).fit()
        for kind in kinds:
            (test,) = own.variance_tests(parameter, kind=kind, n=2000 if kind == "exact" else None).tests  # pyright: ignore[reportArgumentType]
            rejected[kind] += test.p_value < LEVEL
    error = float(np.sqrt(LEVEL * (1.0 - LEVEL) / n))
    return {"level": LEVEL, **{kind: count / n for kind, count in rejected.items()}, "datasets": n, "error": error}


if __name__ == "__main__":
    main()
