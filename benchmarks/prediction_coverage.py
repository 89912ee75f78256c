"""How often the intervals of predictions hold what they predict: of seen and of new levels, by fit and by posterior.

    python benchmarks/prediction_coverage.py                                  # 400 data sets of each: some minutes
    python benchmarks/prediction_coverage.py --simulations 2000 --bootstrap 100 --posteriors 100

Data are drawn of 5, 8, 15 and 50 groups with six rows each, a covariate, and a random intercept (intercepts), or a
correlated slope too (slopes). The standard deviations of the groups are 0.3 and 1 of σ. Each data set is fitted, and
the response is predicted at one value of the covariate for every group that was seen and for one that was not. A row of
the table is one way to make 95 % intervals; its columns are the shares that held: of the expected response of seen
groups (confidence, seen), of that of a new group, and of one further observation in either; then the Monte Carlo error
of the first, and the median length of prediction intervals for a new group over σ. `normal` takes normal quantiles
where the others take those of t.
"""

from __future__ import annotations

import argparse
import itertools
import warnings
from typing import Any

import numpy as np
import pandas as pd

import bayesmm as bmm
from bayesmm.errors import EstimationError

SLOPES = {"intercepts": "y ~ x + (1 | g)", "slopes": "y ~ x + (x | g)"}
ROWS = 6
AT = 1.0  # value of the covariate that is predicted
WAYS: dict[str, dict[str, Any]] = {
    "conditional, normal": {"uncertainty": "conditional", "df": "normal"},
    "fixed, normal": {"uncertainty": "fixed", "df": "normal"},
    "fixed": {"uncertainty": "fixed"},
    "full, normal": {"uncertainty": "full", "df": "normal"},
    "full": {"uncertainty": "full"},
}
TARGETS = ("confidence, seen", "confidence, new", "prediction, seen", "prediction, new")


def simulate(design: str, q: int, sd: float, n: int, bootstrap: int | None, posteriors: int, seed: int) -> pd.DataFrame:
    """Predict from n data sets, from the posterior of some of them too, and count what the intervals held."""
    rng, formula = np.random.default_rng(seed), SLOPES[design]
    k = 2 if design == "slopes" else 1
    g, x = np.repeat(np.arange(q), ROWS), np.tile(np.linspace(-1.5, 1.5, ROWS), q)
    rows = pd.DataFrame({"g": [f"g{i:03}" for i in g], "x": x})
    new = pd.DataFrame({"g": [*rows["g"].unique(), "new"], "x": AT})
    root = sd * np.linalg.cholesky(np.array([[1.0, 0.3], [0.3, 1.0]])[:k, :k])
    ways = dict(WAYS)
    if bootstrap:
        ways["bootstrap"] = {"uncertainty": "bootstrap", "refits": bootstrap, "progress": False}
    held: dict[str, list[np.ndarray]] = {way: [] for way in [*ways, *["posterior"] * (posteriors > 0)]}
    lengths: dict[str, list[float]] = {way: [] for way in held}
    singular = 0
    for number in range(n):
        b = rng.normal(size=(q + 1, k)) @ root.T
        y = (b[g] * np.column_stack([np.ones(len(g)), x])[:, :k]).sum(axis=1) + rng.normal(size=len(g))
        mean = b @ np.array([1.0, AT])[:k]
        truth = {"confidence": mean, "prediction": mean + rng.normal(size=q + 1)}
        model = bmm.Model(formula, rows.assign(y=y))
        try:
            fit = model.fit()
        except EstimationError:
            continue
        singular += fit.is_singular
        sources = {way: (fit, options) for way, options in ways.items()}
        if number < posteriors:
            sources["posterior"] = (model.sample(method="quadrature", draws=1000, seed=1, progress=False), {})
        for way, (source, options) in sources.items():
            tables = {kind: source.predict(new, interval=kind, new_levels="sample", **options) for kind in truth}
            inside = {
                kind: (table["lower"].to_numpy() <= truth[kind]) & (truth[kind] <= table["upper"].to_numpy())
                for kind, table in tables.items()
            }
            held[way].append(np.array([f(inside[kind]) for kind in truth for f in (_seen, _new)]))
            last = tables["prediction"].iloc[-1]
            lengths[way].append(float(last["upper"] - last["lower"]))
    lines = [
        {
            "by": way,
            **dict(zip(TARGETS, np.mean(found, axis=0), strict=True)),
            "error": np.std(found, axis=0)[0] / np.sqrt(len(found)),
            "length": np.median(lengths[way]),
            "sets": len(found),
        }
        for way, found in held.items()
    ]
    print(f"singular: {singular / n:.2f}")
    return pd.DataFrame(lines)


def _seen(inside: np.ndarray) -> float:
    return float(inside[:-1].mean())


def _new(inside: np.ndarray) -> float:
    return float(inside[-1])


def main() -> None:
    """Print the table, design by design."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulations", type=int, default=400)
    parser.add_argument("--designs", nargs="+", choices=list(SLOPES), default=["intercepts"])
    parser.add_argument("--groups", nargs="+", type=int, default=[5, 8, 15, 50])
    parser.add_argument("--sds", nargs="+", type=float, default=[0.3, 1.0], help="of the groups, over sigma")
    parser.add_argument("--bootstrap", type=int, default=None, help="refits of each data set; none by default")
    parser.add_argument("--posteriors", type=int, default=0, help="of how many data sets the posterior is explored too")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    warnings.simplefilter("ignore", bmm.errors.BayesmmWarning)
    for design, q, sd in itertools.product(given.designs, given.groups, given.sds):
        print(f"\n{design}, {q} groups, sd {sd:g} of sigma", flush=True)
        found = simulate(design, q, sd, given.simulations, given.bootstrap, given.posteriors, given.seed)
        print(found.round(3).to_string(index=False), flush=True)


if __name__ == "__main__":
    main()
