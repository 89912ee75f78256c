"""How often intervals of small samples hold the truth, and how long they are: fixed effects and standard deviations.

    python benchmarks/coverage.py                       # 2,000 data sets of each design, all methods: some hours
    python benchmarks/coverage.py --simulations 300 --methods wald satterthwaite kenward-roger profile

Data are drawn from three designs whose truth is known: 6 groups of 5 rows with a covariate of the groups and one of
the rows; 8 people crossed with 6 items, a treatment of the people; 8 subjects with slopes. A row of the table is one
parameter by one method: in what share of the data sets its 95 % interval held the true value, the Monte Carlo error of
that share, the median length of the interval, in how many data sets there was none, and milliseconds of CPU.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

import bayesmm as bmm
from bayesmm.fit.estimating import fit_quietly
from bayesmm.fit.fit import Fit

LEVEL = 0.95


class Study(NamedTuple):
    """One design: rows without their response, the model, and the truth by the names of the table of parameters."""

    formula: str
    rows: pd.DataFrame
    truth: dict[str, float]


def groups_of_five(rng: np.random.Generator) -> Study:
    """Six groups of five rows."""
    g = np.repeat(np.arange(6), 5)
    rows = pd.DataFrame({"g": g.astype(str), "between": np.arange(6.0)[g] - 2.5, "within": rng.normal(size=30)})
    truth = {"Intercept": 1.0, "between": 0.3, "within": 0.5, "sd(Intercept | g)": 1.0, "sigma": 1.0}
    return Study("y ~ between + within + (1 | g)", rows, truth)


def crossed(rng: np.random.Generator) -> Study:
    """Eight people by six items, one row each."""
    person, item = np.divmod(np.arange(48), 6)
    rows = pd.DataFrame({"person": person.astype(str), "item": item.astype(str), "treated": (person % 2) - 0.5})
    truth = {"Intercept": 2.0, "treated": 1.0, "sd(Intercept | person)": 0.8, "sd(Intercept | item)": 0.5, "sigma": 1.0}
    return Study("y ~ treated + (1 | person) + (1 | item)", rows, truth)


def slopes(rng: np.random.Generator) -> Study:
    """Eight subjects at six times."""
    subject, day = np.divmod(np.arange(48), 6)
    rows = pd.DataFrame({"subject": subject.astype(str), "day": day - 2.5})
    truth = {
        "Intercept": 10.0,
        "day": 0.5,
        "sd(Intercept | subject)": 1.5,
        "sd(day | subject)": 0.5,
        "cor(Intercept, day | subject)": 0.3,
        "sigma": 1.0,
    }
    return Study("y ~ day + (day | subject)", rows, truth)


STUDIES = {"6 groups of 5": groups_of_five, "8 x 6 crossed": crossed, "8 slopes": slopes}


def draw(study: Study, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw responses (rows, n) from the truth."""
    first = bmm.Model(study.formula, study.rows.assign(y=rng.normal(size=len(study.rows))))
    mean = first.marginal_mean(at=study.truth)["mean"].to_numpy(dtype=float)
    covariance = first.marginal_covariance(list(study.rows.index), at=study.truth).to_numpy(dtype=float)
    return rng.multivariate_normal(mean, covariance, size=n).T


def by_df(df: str) -> Callable[[Fit, int], pd.DataFrame]:
    """Take the table of parameters with one kind of degrees of freedom."""
    return lambda fit, _: fit.parameter_table(df=df, level=LEVEL)[["lower", "upper"]]  # type: ignore[arg-type]


def profile(fit: Fit, _: int) -> pd.DataFrame:
    """Profile the restricted likelihood."""
    return fit.profile(level=LEVEL, progress=False).intervals(level=LEVEL)[["lower", "upper"]]


def bootstrap(fit: Fit, seed: int) -> pd.DataFrame:
    """Take percentiles of 999 parametric refits."""
    return fit.bootstrap(999, seed=seed, progress=False).intervals(kind="percentile", level=LEVEL)[["lower", "upper"]]


def posterior(fit: Fit, seed: int) -> pd.DataFrame:
    """Sample under the default priors, without Monte Carlo error where there are few spreads."""
    rows = fit.design.frame.assign(y=fit.design.y)
    drawn = bmm.Model(fit.design.specification.formula, rows).sample(
        method="importance", draws=500, chains=4, seed=seed, progress=False
    )
    return drawn.parameter_table(level=LEVEL)[["lower", "upper"]]


METHODS: dict[str, Callable[[Fit, int], pd.DataFrame]] = {
    "wald": by_df("normal"),
    "satterthwaite": by_df("satterthwaite"),
    "kenward-roger": by_df("kenward-roger"),
    "profile": profile,
    "bootstrap": bootstrap,
    "posterior": posterior,
}


def run(study: Study, n: int, methods: list[str], seed: int) -> pd.DataFrame:
    """Count what the intervals of each method hold; fits without an interval of a parameter are left out of its row."""
    rng = np.random.default_rng(seed)
    responses = draw(study, n, rng)
    base = bmm.Model(study.formula, study.rows.assign(y=responses[:, 0])).problem
    names, truth = list(study.truth), np.array(list(study.truth.values()))
    limits = {method: np.full((n, len(names), 2), np.nan) for method in methods}
    failures = dict.fromkeys(methods, 0)
    seconds = dict.fromkeys(methods, 0.0)
    for i, problem in enumerate(base.with_responses(responses)):
        fit = fit_quietly(problem, "reml")
        for method in methods:
            start = time.process_time()
            try:
                limits[method][i] = METHODS[method](fit, i).loc[names].to_numpy(dtype=float)
            except bmm.errors.BayesmmError:
                failures[method] += 1
            seconds[method] += time.process_time() - start
    rows = []
    for method, found in limits.items():
        lower, upper = found[..., 0], found[..., 1]
        counted = np.isfinite(lower) & np.isfinite(upper)
        held = (lower <= truth) & (truth <= upper)
        for j, name in enumerate(names):
            share = held[counted[:, j], j].mean()
            rows.append(
                {
                    "parameter": name,
                    "method": method,
                    "coverage": share,
                    "error": np.sqrt(share * (1.0 - share) / counted[:, j].sum()),
                    "length": float(np.median((upper - lower)[counted[:, j], j])),
                    "without": int(n - counted[:, j].sum()),
                    "ms": 1e3 * seconds[method] / n,
                }
            )
    table = pd.DataFrame(rows).sort_values("parameter", key=lambda column: column.map(names.index), kind="stable")
    return table.reset_index(drop=True)


def main() -> None:
    """Run all designs and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of singular fits and of draws: both are counted by what their intervals hold
    for name, make in STUDIES.items():
        study = make(np.random.default_rng(options.seed))
        print(f"\n{name}: {study.formula}, {options.simulations} data sets")
        table = run(study, options.simulations, options.methods, options.seed)
        print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))


if __name__ == "__main__":
    main()
