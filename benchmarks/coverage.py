"""How often intervals of small samples hold the truth, and how long they are: fixed effects and standard deviations.

    python benchmarks/coverage.py                       # 2,000 data sets of each design, all methods: some hours
    python benchmarks/coverage.py --simulations 300 --methods wald satterthwaite kenward-roger profile
    python benchmarks/coverage.py --designs "trial, ar1" "trial, us" --methods kenward-roger "kr, observed"
    python benchmarks/coverage.py --simulations 2000 --designs "trial of 6, ar1" "trial of 8, ar1" "trial of 12, ar1" \
        "trial of 6, us" "trial of 8, us" "trial of 12, us" \
        --methods wald satterthwaite "satterthwaite, expected" kenward-roger "kr, observed"  # some 10 minutes

Data are drawn from designs whose truth is known: 6 groups of 5 rows with a covariate of the groups and one of the
rows; 8 people crossed with 6 items, a treatment of the people; 8 subjects with slopes; trials of 6 to 14 patients with
missing visits, their residuals AR(1) or unstructured (of 6 patients three visits, none missing: with fewer an
unstructured covariance is not determined). A row of the table is one parameter by one method: in what share of
the data sets its 95 % interval held the true value, the Monte Carlo error of that share, the median length of the
interval, in how many data sets there was none, and milliseconds of CPU.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

import bayesmm as bmm
from bayesmm.fit.estimating import fit_quietly
from bayesmm.fit.fit import Fit

LEVEL = 0.95


class Study(NamedTuple):
    """One design: rows without their response, the model, and the truth by the names of the table of parameters.

    With residuals that hang together, the mean (rows,) and their covariance are given; truth then has fixed effects
    alone.
    """

    formula: str
    rows: pd.DataFrame
    truth: dict[str, float]
    residual: str | None = None
    moments: tuple[np.ndarray, np.ndarray] | None = None

    def model(self, response: np.ndarray) -> bmm.Model:
        """Bind the design to a response."""
        residual = {} if self.residual is None else {"residual": self.residual}
        return bmm.Model(self.formula, self.rows.assign(y=response), **residual)


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


def trial(
    rng: np.random.Generator, residual: str, covariance: np.ndarray, patients: int = 14, missing: float = 0.15
) -> Study:
    """Patients in two arms, up to as many visits as the covariance has rows."""
    visits = len(covariance)
    patient, visit = np.divmod(np.arange(patients * visits), visits)
    seen = (rng.random(len(visit)) >= missing) | (visit == 0)
    patient, visit = patient[seen], visit[seen]
    active = patient % 2
    rows = pd.DataFrame(
        {
            "id": [f"p{i:02d}" for i in patient],
            "arm": np.where(active, "b", "a"),
            "visit": [f"v{k}" for k in visit],
            "number": visit,
        }
    )
    steps = {f"visit[T.v{k}]": 0.3 * k for k in range(1, visits)}
    truth = {"Intercept": 2.0, "arm[T.b]": 0.5, **steps}
    truth |= {f"arm[T.b]:{name}": 0.2 for name in steps}
    mean = 2.0 + 0.5 * active + 0.3 * visit + 0.2 * active * (visit > 0)
    together = covariance[np.ix_(visit, visit)] * (patient[:, None] == patient)
    return Study("y ~ arm * visit", rows, truth, residual, (mean, together))


def serial_trial(rng: np.random.Generator, patients: int = 14) -> Study:
    """Residuals AR(1), correlation 0.6."""
    C = 0.6 ** np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    return trial(rng, "ar1(number | id)", *_of(patients, C))


def unstructured_trial(rng: np.random.Generator, patients: int = 14) -> Study:
    """Ten variances and covariances; correlations between 0.3 and 0.8."""
    correlation = np.array([[1.0, 0.7, 0.5, 0.3], [0.7, 1.0, 0.8, 0.5], [0.5, 0.8, 1.0, 0.6], [0.3, 0.5, 0.6, 1.0]])
    sds = np.array([1.0, 1.2, 1.5, 2.0])
    return trial(rng, "us(visit | id)", *_of(patients, np.outer(sds, sds) * correlation))


def _of(patients: int, covariance: np.ndarray) -> tuple[np.ndarray, int, float]:
    """Covariance, patients and share of missing visits; six patients have three visits, all of them."""
    return (covariance[:3, :3], patients, 0.0) if patients < 8 else (covariance, patients, 0.15)


STUDIES = {
    "6 groups of 5": groups_of_five,
    "8 x 6 crossed": crossed,
    "8 slopes": slopes,
    "trial, ar1": serial_trial,
    "trial, us": unstructured_trial,
    **{f"trial of {m}, ar1": partial(serial_trial, patients=m) for m in (6, 8, 12)},
    **{f"trial of {m}, us": partial(unstructured_trial, patients=m) for m in (6, 8, 12)},
}


def draw(study: Study, n: int, rng: np.random.Generator) -> np.ndarray:
    """Draw responses (rows, n) from the truth."""
    if study.moments is not None:
        return rng.multivariate_normal(*study.moments, size=n).T
    first = study.model(rng.normal(size=len(study.rows)))
    mean = first.marginal_mean(at=study.truth)["mean"].to_numpy(dtype=float)
    covariance = first.marginal_covariance(list(study.rows.index), at=study.truth).to_numpy(dtype=float)
    return rng.multivariate_normal(mean, covariance, size=n).T


def by_df(df: str) -> Callable[[Fit, int], pd.DataFrame]:
    """Take the table of parameters with one kind of degrees of freedom."""
    return lambda fit, _: fit.parameter_table(df=df, level=LEVEL)[["lower", "upper"]]  # type: ignore[arg-type]


def by_information(df: str, information: str) -> Callable[[Fit, int], pd.DataFrame]:
    """Take the table with the other information: Kenward and Roger's by the observed is that of SAS and mmrm."""
    return lambda fit, _: fit.parameter_table(
        df=df,  # type: ignore[arg-type]
        information=information,  # type: ignore[arg-type]
        level=LEVEL,
    )[["lower", "upper"]]


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
    "satterthwaite, expected": by_information("satterthwaite", "expected"),
    "kr, observed": by_information("kenward-roger", "observed"),
    "profile": profile,
    "bootstrap": bootstrap,
    "posterior": posterior,
}


def run(study: Study, n: int, methods: list[str], seed: int) -> pd.DataFrame:
    """Count what the intervals of each method hold; fits without an interval of a parameter are left out of its row."""
    rng = np.random.default_rng(seed)
    responses = draw(study, n, rng)
    problems = (
        study.model(responses[:, 0]).problem.with_responses(responses)
        if study.residual is None
        else (study.model(y).problem for y in responses.T)
    )
    names, truth = list(study.truth), np.array(list(study.truth.values()))
    limits = {method: np.full((n, len(names), 2), np.nan) for method in methods}
    failures = dict.fromkeys(methods, 0)
    seconds = dict.fromkeys(methods, 0.0)
    for i, problem in enumerate(problems):
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
    parser.add_argument("--designs", nargs="+", choices=STUDIES, default=list(STUDIES))
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of singular fits and of draws: both are counted by what their intervals hold
    for name in options.designs:
        study = STUDIES[name](np.random.default_rng(options.seed))
        residual = f", {study.residual}" if study.residual else ""
        print(f"\n{name}: {study.formula}{residual}, {options.simulations} data sets")
        table = run(study, options.simulations, options.methods, options.seed)
        print(table.to_string(index=False, float_format=lambda value: f"{value:.3f}"))
        if study.residual:
            print(f"\n{name}, over the {len(study.truth)} fixed effects")
            print(over_parameters(table).to_string(index=False, float_format=lambda value: f"{value:.3f}"))


def over_parameters(table: pd.DataFrame) -> pd.DataFrame:
    """Sum up one design by method: mean, lowest and highest coverage; mean of the lengths over that of the first."""
    by_method = table.groupby("method", sort=False)
    lengths = by_method["length"].mean()
    return pd.DataFrame(
        {
            "method": list(lengths.index),
            "coverage": by_method["coverage"].mean().to_numpy(),
            "lowest": by_method["coverage"].min().to_numpy(),
            "highest": by_method["coverage"].max().to_numpy(),
            "length": (lengths / lengths.iloc[0]).to_numpy(),
            "without": by_method["without"].max().to_numpy(),
            "ms": by_method["ms"].first().to_numpy(),
        }
    )


if __name__ == "__main__":
    main()
