"""What each layer claims of the error of predicted effects, beside the true error, and how often its intervals hold.

    python benchmarks/effect_coverage.py                                   # 2,000 data sets of each: half an hour
    python benchmarks/effect_coverage.py --simulations 200 --groups 5 15 --designs intercepts --bootstrap 100

Data are drawn of 5, 8, 15 and 50 groups: a random intercept with six rows a group (intercepts), a correlated slope with
eight (slopes), or groups crossed with six items (crossed). The standard deviations of the groups are 0, 0.25 and 1 of
σ. A row of the table is one effect by one layer: the square root of the claimed over the true mean squared error, and
in what share of data sets and levels the 95 % interval by normal quantiles held the effect that was drawn; below them
the Monte Carlo error of the coverage, from data sets that are independent of each other, and the share of fits that are
singular. Where the truth is zero an interval of no length holds it.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd

import bayesmm as bmm
from bayesmm.errors import EstimationError
from bayesmm.fit.fit import Fit
from bayesmm.inference.effects.uncertainty import effect_uncertainty
from bayesmm.reml.estimate import estimate

Z = 1.959963984540054
LAYERS = ("conditional", "fixed", "full", "bootstrap")


class Study(NamedTuple):
    """Rows without their response, the model, and the covariance (k, k) of the effects of g for sd one."""

    formula: str
    rows: pd.DataFrame
    covariance: np.ndarray


def intercepts(q: int) -> Study:
    """Nest errors: six rows a group, and a covariate of the rows."""
    g = np.repeat(np.arange(q), 6)
    return Study("y ~ x + (1 | g)", _rows(g, np.tile(np.arange(6.0) - 2.5, q)), np.eye(1))


def slopes(q: int) -> Study:
    """Give intercepts and slopes, correlated by 0.3; eight rows a group, the covariate of standard deviation one."""
    g, x = np.repeat(np.arange(q), 8), np.tile(np.linspace(-1.53, 1.53, 8), q)
    return Study("y ~ x + (x | g)", _rows(g, x), np.array([[1.0, 0.3], [0.3, 1.0]]))


def crossed(q: int) -> Study:
    """Cross each group with six items, whose standard deviation is σ."""
    g = np.repeat(np.arange(q), 6)
    return Study("y ~ 1 + (1 | g) + (1 | item)", _rows(g, np.zeros(len(g))), np.eye(1))


DESIGNS = {"intercepts": intercepts, "slopes": slopes, "crossed": crossed}


def _rows(g: np.ndarray, x: np.ndarray) -> pd.DataFrame:
    item = np.arange(len(g)) % 6
    return pd.DataFrame({"g": [f"g{i:03}" for i in g], "item": [f"i{i}" for i in item], "x": x})


def simulate(study: Study, sd: float, n: int, bootstrap: int | None, seed: int) -> pd.DataFrame:
    """Fit n data sets, and compare what is claimed of the effects of g with what is true."""
    rng, rows = np.random.default_rng(seed), study.rows
    g, k = pd.factorize(rows["g"])[0], len(study.covariance)
    q, Zx = g.max() + 1, np.column_stack([np.ones(len(g)), rows["x"]])[:, :k]
    b = sd * rng.normal(size=(n, q, k)) @ np.linalg.cholesky(study.covariance).T
    y = np.einsum("rk,nrk->nr", Zx, b[:, g]) + rng.normal(size=(n, len(g)))
    if "item" in study.formula:
        y += rng.normal(size=(n, 6))[:, pd.factorize(rows["item"])[0]]
    first = bmm.Model(study.formula, rows.assign(y=y[0])).fit()
    effects, singular, failed = first.labels.blocks[0].effects, 0, 0
    layers = [layer for layer in LAYERS if layer != "bootstrap" or bootstrap]
    squares, claims, held = [], [], []
    for number, (problem, truth) in enumerate(zip(first.problem.with_responses(y.T), b, strict=True)):
        try:
            found = estimate(replace(first.estimate.criterion_function, products=problem.products))
        except EstimationError:
            failed += 1
            continue
        fit: Fit = replace(first, problem=problem, estimate=found)
        table = effect_uncertainty(fit, bootstrap=bootstrap, seed=number, progress=False).table
        own = table[table["group"] == "g"]
        errors = (own["estimate"].to_numpy() - truth.ravel()).reshape(q, k)
        claimed = np.stack([own[layer].to_numpy().reshape(q, k) for layer in layers])
        singular += fit.is_singular
        squares.append((errors**2).mean(axis=0))
        claims.append((claimed**2).mean(axis=1))
        held.append((np.abs(errors) <= Z * claimed + 1e-12).mean(axis=1))
    with np.errstate(all="ignore"):
        ratio = np.sqrt(np.mean(claims, axis=0) / np.mean(squares, axis=0))
    coverage, noise = np.mean(held, axis=0), np.std(held, axis=0) / np.sqrt(len(held))
    lines = [
        {
            "effect": effect,
            "layer": layer,
            "claimed/true": ratio[i, j],
            "coverage": coverage[i, j],
            "error": noise[i, j],
            "singular": singular / len(held),
            "failed": failed,
        }
        for (j, effect), (i, layer) in itertools.product(enumerate(effects), enumerate(layers))
    ]
    return pd.DataFrame(lines)


def main() -> None:
    """Print the table, design by design."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--designs", nargs="+", choices=list(DESIGNS), default=list(DESIGNS))
    parser.add_argument("--groups", nargs="+", type=int, default=[5, 8, 15, 50])
    parser.add_argument("--sds", nargs="+", type=float, default=[0.0, 0.25, 1.0], help="of the groups, over sigma")
    parser.add_argument("--bootstrap", type=int, default=None, help="refits of each data set; none by default")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for design, q, sd in itertools.product(given.designs, given.groups, given.sds):
        print(f"\n{design}, {q} groups, sd {sd:g} of sigma, {given.simulations} data sets", flush=True)
        found = simulate(DESIGNS[design](q), sd, given.simulations, given.bootstrap, given.seed)
        print(found.round(3).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
