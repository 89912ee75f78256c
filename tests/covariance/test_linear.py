"""Linear correlations of effects, whose likelihood has edges at the distances that occur."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from oracle import DenseModel, level_covariance, random_columns

import bayesmm as bmm
from bayesmm.covariance.layout import Piece, piece_factor
from bayesmm.covariance.table import STRUCTURES
from bayesmm.covariance.tangents import tangents
from bayesmm.errors import DesignError

TIMES, Q = np.array([0.0, 1.0, 2.5, 4.0]), 6
APART = np.abs(np.subtract.outer(TIMES, TIMES))


def correlations(length: float) -> np.ndarray:
    return np.maximum(1.0 - APART / length, 0.0)


def simulated(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g, t = np.indices((Q, 4)).repeat(2, axis=1).reshape(2, -1)
    b = rng.multivariate_normal(np.zeros(4), correlations(2.5), size=Q, method="eigh")
    return pd.DataFrame({"g": g, "t": TIMES[t], "y": b[g, t] + 0.4 * rng.normal(size=len(g))})


@pytest.mark.parametrize(("seed", "edge"), [(0, None), (1, 4.0), (3, 1.5), (9, 2.5)])
def test_fit_is_the_best_of_a_grid_over_dense_likelihoods_on_edges_too(seed: int, edge: float | None) -> None:
    data = simulated(seed)
    fit = bmm.Model("y ~ 1 + lin(0 + C(t) | g)", data).fit("ml")
    Z = random_columns(data["g"].to_numpy(), pd.get_dummies(data["t"]).to_numpy(dtype=float), Q)
    dense = DenseModel(y=data["y"].to_numpy(), X=np.ones((len(data), 1)), Z=Z)
    row = fit.parameters.loc["cor(0 + C(t) | g)"]
    length = 1.0 / (1.0 - row["estimate"])  # the least distance is one

    def loglik(ratio: float, r: float) -> float:
        return dense.profiled_log_likelihood(level_covariance(ratio**2 * correlations(r), Q), "ml")

    ratio = fit.parameters.loc["sd(0 + C(t) | g)", "estimate"] / fit.sigma
    assert fit.loglik == pytest.approx(loglik(ratio, length), abs=1e-8)
    best = max(loglik(s, r) for s in ratio * np.linspace(0.7, 1.4, 15) for r in np.linspace(0.9, 12.0, 60))
    assert fit.loglik > best - 1e-8
    assert fit.status.name == "CONVERGED"
    assert np.isnan(row["std_error"]) == (edge is not None)
    if edge is not None:
        assert length == pytest.approx(edge, rel=1e-9)
        assert np.isfinite(fit.parameters.loc["sd(0 + C(t) | g)", "std_error"])


def test_factor_and_tangents_between_edges() -> None:
    structure = STRUCTURES["lin"].bound([f"C(t)[{t:g}]" for t in TIMES], "lin(0 + C(t) | g)")
    piece = Piece(0, 4, structure)
    theta = np.array([1.3, structure._angle(1.0 - 1.0 / 3.3, 4)])
    L = piece_factor(np, theta, piece)
    np.testing.assert_allclose(L @ L.T, 1.69 * correlations(3.3), rtol=1e-10)
    M = np.random.default_rng(0).normal(size=(4, 4))
    M = M + M.T

    def value(at: np.ndarray) -> float:
        root = piece_factor(np, at, piece)
        return float((M * (root @ root.T)).sum())

    expected = [(value(theta + e) - value(theta - e)) / 2e-6 for e in 1e-6 * np.eye(2)]
    found = tangents(np, theta, ((piece,),))[0].along(2.0 * M @ L)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_it_is_a_correlation_on_a_line_alone() -> None:
    data = simulated(0).assign(x=0.0)
    with pytest.raises(DesignError, match="a covariance in up to 1: take exp"):
        bmm.Model("y ~ 1 + lin(0 + at(t, x) | g)", data)
