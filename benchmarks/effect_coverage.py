"""What each layer claims of the error of predicted effects, beside the true error, and how often its intervals hold.

    python benchmarks/effect_coverage.py                                    # 20 data sets of each: two minutes
    python benchmarks/effect_coverage.py --simulations 400 --designs intercepts --posterior 400 --bootstrap 60

Data are drawn of 5, 8, 15 and 50 groups: a random intercept with six rows a group (intercepts), a correlated slope with
eight (slopes), or groups crossed with six items (crossed); --rows gives other numbers. The standard deviations of the
groups are 0, 0.25 and 1 of σ. A row of the table is one effect by one layer: the square root of the claimed over the
true mean squared error; in what share of data sets and levels the 95 % interval held the effect that was drawn; the
Monte Carlo error of the coverage, from data sets that are independent of each other; the median length of the interval
over σ; and the share of fits that are singular. "z" are normal quantiles, "t" those with Satterthwaite's degrees of
freedom. The posterior is by importance sampling with the default priors, its errors are those of its means. Where the
truth is zero an interval of no length holds it.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

import bayesmm as bmm
from bayesmm.errors import EstimationError
from bayesmm.fit.fit import Fit
from bayesmm.inference.effects.uncertainty import effect_uncertainty
from bayesmm.reml.estimate import estimate

Z = 1.959963984540054
TRIED = (
    "conditional z",
    "fixed z",
    "full z",
    "full t",
    "bootstrap z",
    "bootstrap t",
    "posterior",
)


class Study(NamedTuple):
    """Rows without their response, the model, and the covariance (k, k) of the effects of g for sd one."""

    formula: str
    rows: pd.DataFrame
    covariance: np.ndarray


class Claim(NamedTuple):
    """What one layer says of one data set: predictions, their errors, and limits, (q, k) each."""

    estimate: np.ndarray
    error: np.ndarray
    lower: np.ndarray
    upper: np.ndarray


def intercepts(q: int, rows: int = 6) -> Study:
    """Nest errors, with a covariate of the rows."""
    return Study("y ~ x + (1 | g)", _rows(q, rows), np.eye(1))


def slopes(q: int, rows: int = 8) -> Study:
    """Give intercepts and slopes, correlated by 0.3; the covariate has a standard deviation of one."""
    return Study("y ~ x + (x | g)", _rows(q, rows), np.array([[1.0, 0.3], [0.3, 1.0]]))


def crossed(q: int, rows: int = 6) -> Study:
    """Cross each group with as many items as it has rows, whose standard deviation is σ."""
    return Study("y ~ 1 + (1 | g) + (1 | item)", _rows(q, rows), np.eye(1))


DESIGNS = {"intercepts": intercepts, "slopes": slopes, "crossed": crossed}


def _rows(q: int, rows: int) -> pd.DataFrame:
    x = np.arange(rows) - (rows - 1) / 2.0
    g, item = np.repeat(np.arange(q), rows), np.tile(np.arange(rows), q)
    return pd.DataFrame(
        {"g": [f"g{i:03}" for i in g], "item": [f"i{i:03}" for i in item], "x": np.tile(x / x.std(), q)}
    )


def simulate(study: Study, sd: float, n: int, bootstrap: int | None, posterior: int, seed: int) -> pd.DataFrame:
    """Fit n data sets, the first of them by the posterior too, and compare what is claimed of g with what is true."""
    rng, rows = np.random.default_rng(seed), study.rows
    g, k = pd.factorize(rows["g"])[0], len(study.covariance)
    q, Zx = g.max() + 1, np.column_stack([np.ones(len(g)), rows["x"]])[:, :k]
    b = sd * rng.normal(size=(n, q, k)) @ np.linalg.cholesky(study.covariance).T
    y = np.einsum("rk,nrk->nr", Zx, b[:, g]) + rng.normal(size=(n, len(g)))
    if "item" in study.formula:
        item = pd.factorize(rows["item"])[0]
        y += rng.normal(size=(n, item.max() + 1))[:, item]
    first = bmm.Model(study.formula, rows.assign(y=y[0])).fit()
    effects, singular, failed, done = first.labels.blocks[0].effects, 0, 0, 0
    found: dict[str, list[tuple[np.ndarray, ...]]] = {name: [] for name in TRIED}
    for number, (problem, truth) in enumerate(zip(first.problem.with_responses(y.T), b, strict=True)):
        try:
            estimated = estimate(replace(first.estimate.criterion_function, products=problem.products))
        except EstimationError:
            failed += 1
            continue
        fit: Fit = replace(first, problem=problem, estimate=estimated)
        singular, done = singular + fit.is_singular, done + 1
        claims = _claims(fit, bootstrap, number, (q, k))
        if number < posterior:
            claims["posterior"] = _posterior(bmm.Model(study.formula, rows.assign(y=y[number])), number, (q, k))
        for name, claim in claims.items():
            held = (claim.lower <= truth + 1e-12) & (truth <= claim.upper + 1e-12)
            square, length = (claim.estimate - truth) ** 2, np.median(claim.upper - claim.lower, axis=0)
            found[name].append((square.mean(axis=0), (claim.error**2).mean(axis=0), held.mean(axis=0), length))
    lines = []
    for (j, effect), (name, own) in itertools.product(enumerate(effects), found.items()):
        if own:
            squares, claimed, held, lengths = (np.array(each)[:, j] for each in zip(*own, strict=True))
            with np.errstate(all="ignore"):
                ratio = np.sqrt(claimed.mean() / squares.mean())
            noise = held.std() / np.sqrt(len(held))
            lines.append((effect, name, ratio, held.mean(), noise, np.median(lengths), singular / done, failed))
    names = ["effect", "layer", "claimed/true", "coverage", "error", "length", "singular", "failed"]
    return pd.DataFrame(lines, columns=names)


def _claims(fit: Fit, bootstrap: int | None, seed: int, shape: tuple[int, int]) -> dict[str, Claim]:
    """By each layer of the fit, with either kind of quantiles."""
    found = effect_uncertainty(fit, bootstrap=bootstrap, seed=seed, progress=False)
    own = found.table["group"] == "g"
    table, df = found.table.loc[own], found.df.loc[own]
    centre, claims = table["estimate"].to_numpy().reshape(shape), {}
    for layer in found.layers:
        error = table[layer].to_numpy().reshape(shape)
        quantiles = {"z": np.full(shape, Z)}
        if layer in df:
            quantiles["t"] = special.stdtrit(df[layer].to_numpy().reshape(shape), 0.975)
        for kind, quantile in quantiles.items():
            claims[f"{layer} {kind}"] = Claim(centre, error, centre - quantile * error, centre + quantile * error)
    return claims


def _posterior(model: bmm.Model, seed: int, shape: tuple[int, int]) -> Claim:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that draws are few
        table = model.sample(method="importance", draws=250, seed=seed, progress=False).random_effects()
    own = table.loc[table["group"] == "g"]
    return Claim(*(own[name].to_numpy().reshape(shape) for name in ("mean", "sd", "lower", "upper")))


def main() -> None:
    """Print the table, design by design."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=20)
    parser.add_argument("--designs", nargs="+", choices=list(DESIGNS), default=list(DESIGNS))
    parser.add_argument("--groups", nargs="+", type=int, default=[5, 8, 15, 50])
    parser.add_argument("--rows", type=int, default=None, help="of each group; six, of slopes eight")
    parser.add_argument("--sds", nargs="+", type=float, default=[0.0, 0.25, 1.0], help="of the groups, over sigma")
    parser.add_argument("--bootstrap", type=int, default=20, help="refits of each data set; 0 for none")
    parser.add_argument("--posterior", type=int, default=10, help="of how many of the data sets the posterior is had")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for design, q, sd in itertools.product(given.designs, given.groups, given.sds):
        print(f"\n{design}, {q} groups, sd {sd:g} of sigma, {given.simulations} data sets", flush=True)
        study = DESIGNS[design](q) if given.rows is None else DESIGNS[design](q, given.rows)
        refits = given.bootstrap or None
        found = simulate(study, sd, given.simulations, refits, given.posterior, given.seed)
        print(found.round(3).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
