"""Residuals and refits where residuals have a covariance beside random effects, against matrices of rows by rows."""

import numpy as np
import pytest
from dense_errors import Dense, model_fit

NAMES = [
    "autoregressive residuals",
    "a power, weights",
    "crossed, strata",
    "smaller groups",
    "related, autoregressive residuals",
    "related slopes, strata",
]


@pytest.mark.parametrize("name", NAMES)
def test_scaled_residuals_are_those_of_dense_matrices(name: str) -> None:
    fit = model_fit(name)
    dense, y = Dense(fit), fit.design.y
    marginal = y - dense.X @ fit.estimate.beta
    conditional = marginal - dense.Z @ dense.G @ dense.Z.T @ np.linalg.solve(dense.V, marginal)
    R = dense.V - dense.Z @ dense.G @ dense.Z.T
    left = np.diag(R @ dense.P @ R)
    assert fit.residuals("standardised") == pytest.approx(conditional / np.sqrt(left), abs=1e-8)
    left = np.diag(dense.V - dense.X @ dense.A @ dense.X.T)
    assert fit.residuals("standardised", random="none") == pytest.approx(marginal / np.sqrt(left), abs=1e-8)
    scaled, block = fit.residuals("cholesky"), fit.design.residual
    assert scaled @ scaled == pytest.approx(marginal @ np.linalg.solve(dense.V, marginal), rel=1e-9)
    if len(fit.design.blocks) == 1:  # those of crossed factors are in an order of their own
        order = np.lexsort((block.positions, block.codes))
        root = np.linalg.cholesky(dense.V[np.ix_(order, order)])
        assert scaled[order] == pytest.approx(np.linalg.solve(root, marginal[order]), abs=1e-8)


def test_a_bootstrap_gives_the_refits_that_effects_and_predictions_would_make() -> None:
    fit = model_fit("autoregressive residuals")
    refits = fit.bootstrap(6, seed=1, progress=False)
    own = fit.random_effects(uncertainty="bootstrap", bootstrap=6, seed=1, progress=False)
    given = fit.random_effects(uncertainty="bootstrap", bootstrap=refits)
    assert own["std_error"].to_numpy() == pytest.approx(given["std_error"].to_numpy(), rel=1e-6)
    layer = {"interval": "confidence", "refits": 6, "seed": 1, "progress": False}
    moved = fit.predict(uncertainty="bootstrap", **layer)["std_error"] ** 2
    assert (moved > fit.predict(uncertainty="fixed", **layer)["std_error"] ** 2).all()
