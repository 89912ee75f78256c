"""Rows and groups left out of fits whose residuals have a covariance, against dense algebra and fits without them."""

import numpy as np
import pandas as pd
import pytest
from dense_errors import Dense, data, model_fit

import bayesmm as bmm
from bayesmm.fit import Fit

NAMES = [
    "autoregressive residuals",
    "a power, weights",
    "crossed, strata",
    "related, autoregressive residuals",
    "related slopes, strata",
    "none",
]


def fit_of(name: str) -> Fit:
    if name != "none":
        return model_fit(name)
    return bmm.Model("y ~ x", data(), residual="ar1(row | g) * het(t)").fit()


def covariance(fit: Fit) -> tuple[np.ndarray, np.ndarray]:
    """V and R (n, n)."""
    if fit.design.blocks:
        dense = Dense(fit)
        return dense.V, dense.V - dense.Z @ dense.G @ dense.Z.T
    values = fit.parameters["estimate"].to_dict()
    R = fit.design.residual.covariance(values, np.arange(fit.n), fit.design.weights)
    return R, R


def least_squares(V: np.ndarray, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """β̂, its covariance and y'Py."""
    W = np.linalg.inv(V)
    C = np.linalg.inv(X.T @ W @ X)
    beta = C @ X.T @ W @ y
    return beta, C, float((y - X @ beta) @ W @ (y - X @ beta))


def check(fit: Fit, by: str, groups: list[np.ndarray]) -> None:
    (V, R), found = covariance(fit), fit.influence(by)
    X, y, n = fit.design.X[:, fit.design.kept], fit.design.y, fit.n
    beta, C, square = least_squares(V, X, y)
    W = np.linalg.inv(V)
    H = np.eye(n) - R @ (W - W @ X @ C @ X.T @ W)  # of Xβ̂ + Zb̂
    for i, rows in enumerate(groups):
        kept = np.setdiff1d(np.arange(n), rows)
        other, covariance_without, left = least_squares(V[np.ix_(kept, kept)], X[kept], y[kept])
        assert found.dfbeta.iloc[i].to_numpy() == pytest.approx(beta - other, abs=1e-9)
        row, m = found.table.iloc[i], len(rows)
        assert row["leverage"] == pytest.approx(np.diag(H)[rows].sum(), abs=1e-8)
        assert row["covariance_ratio"] == pytest.approx(np.linalg.det(covariance_without) / np.linalg.det(C), rel=1e-7)
        distance = (beta - other) @ np.linalg.solve(C, beta - other) / len(beta)
        assert row["cooks_distance"] == pytest.approx(distance, rel=1e-6, abs=1e-12)
        statistic = (square - left) / m / (left / (n - len(beta) - m))
        assert row["statistic"] == pytest.approx(statistic, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_single_rows_are_left_out_as_by_dense_algebra(name: str) -> None:
    fit = fit_of(name)
    check(fit, "rows", [np.array([i]) for i in range(fit.n)][:40])


@pytest.mark.parametrize("name", NAMES)
def test_groups_are_left_out_as_by_dense_algebra(name: str) -> None:
    fit = fit_of(name)
    labels = data()["g"].to_numpy()
    by = fit.labels.blocks[0].group if fit.labels.blocks else "g"
    check(fit, by, [np.flatnonzero(labels == level) for level in fit.influence(by).table.index])


@pytest.mark.parametrize("name", ["autoregressive residuals", "none"])
def test_refits_are_fits_of_the_data_without_a_group_or_a_row(name: str) -> None:
    fit = fit_of(name)
    formula, residual = "y ~ x + (1 | g)" if name != "none" else "y ~ x", "ar1(row | g) * het(t)"
    frame = data()
    found = fit.influence("g", refit=True, progress=False)
    level = found.table.index[3]
    again = bmm.Model(formula, frame[frame["g"] != level], residual=residual).fit()
    assert found.parameters.loc[level].to_numpy() == pytest.approx(again.parameters["estimate"].to_numpy(), rel=2e-5)


def test_single_rows_of_a_group_that_hangs_together_can_be_refitted_without() -> None:
    orthodont = bmm.datasets.load("orthodont").iloc[:40]
    fit = bmm.Model("distance ~ age", orthodont, residual="homcs(age | Subject)").fit()
    found = fit.influence("rows", refit=True, progress=False).parameters
    again = bmm.Model("distance ~ age", orthodont.drop(index=7), residual="homcs(age | Subject)").fit()
    assert found.loc[7].to_numpy() == pytest.approx(again.parameters["estimate"].to_numpy(), rel=1e-5)


def test_diagnostics_do_not_depend_on_the_order_of_rows() -> None:
    frame = data()
    fit = fit_of("none")
    order = np.random.default_rng(1).permutation(fit.n)
    other = bmm.Model("y ~ x", frame.iloc[order], residual="ar1(row | g) * het(t)").fit()
    for by in ("rows", "g"):
        one, two = fit.influence(by).table, other.influence(by).table
        pd.testing.assert_frame_equal(two.loc[one.index], one, rtol=1e-5, atol=1e-7)
    one, two = (each.augment()[[".standardised", ".leverage"]] for each in (fit, other))
    pd.testing.assert_frame_equal(two.loc[one.index], one, rtol=1e-5, atol=1e-7)


def test_a_check_of_a_model_that_is_right_has_no_concerns_and_names_its_groups() -> None:
    rng = np.random.default_rng(5)
    L = np.linalg.cholesky(0.7 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6))))
    frame = pd.DataFrame({"id": np.repeat([f"p{i}" for i in range(40)], 6), "t": np.tile(np.arange(6), 40)})
    frame["y"] = 2.0 + 0.3 * frame["t"] + (rng.normal(size=(40, 6)) @ L.T).ravel()
    fit = bmm.Model("y ~ t", frame, residual="ar1(t | id)").fit()
    found = fit.check(n=99, progress=False)
    assert list(found.influence) == ["rows", "id"]
    assert found.is_good, found.concerns
    assert found.patterns.p_any > 0.05
    assert fit.simulated_residuals(n=99).tests["p_value"].min() > 0.01


def test_envelopes_are_of_the_residuals_that_are_shown() -> None:
    fit = fit_of("autoregressive residuals")
    table = fit.envelopes(n=40, progress=False)
    assert table["observed"].to_numpy() == pytest.approx(np.sort(fit.residuals("standardised")), abs=1e-9)
    refitted = fit.envelopes(n=20, refit=True, progress=False)
    assert refitted["observed"].to_numpy() == pytest.approx(table["observed"].to_numpy(), abs=1e-4)
    assert (table["lower_simultaneous"] <= table["lower"] + 1e-9).mean() > 0.9
