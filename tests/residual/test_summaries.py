"""Criteria, explained variance and robust standard errors of fits whose residuals have a covariance."""

from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
from dense_errors import Dense, model_fit

from bayesmm import Model, compare
from bayesmm.datasets import load
from bayesmm.errors import ArgumentError
from bayesmm.reml.residual_search import refit_responses

ORTHODONT = load("orthodont")
STEPS = ((ORTHODONT["age"] - 8.0) // 2.0).astype(int)
CR0_ERRORS = [0.7910512610, 1.5241433464, 0.0630614286, 0.1237313803]
CR2_ERRORS = [0.8264135037, 1.5752121392, 0.0660887976, 0.1280085959]
CR2_DF = [10.000070, 24.300037, 10.000062, 24.300027]
LME_ERRORS = [0.7582318564, 1.4241656278, 0.0663164297, 0.1211535086]
LME_DF = [10.0, 21.653466, 10.0, 21.653466]
NAMES = ["autoregressive residuals", "a power, weights", "crossed, strata", "related, autoregressive residuals"]


@pytest.mark.parametrize("name", NAMES)
def test_conditional_likelihood_is_that_of_the_textbook(name: str) -> None:
    fit = model_fit(name)
    dense = Dense(fit)
    R = dense.V - dense.Z @ dense.G @ dense.Z.T
    e = fit.residuals("response")
    expected = -0.5 * (fit.n * np.log(2.0 * np.pi) + np.linalg.slogdet(R)[1] + e @ np.linalg.solve(R, e))
    found = fit.criteria()
    assert found.conditional_loglik == pytest.approx(expected, rel=1e-9)
    assert found.hat_trace == pytest.approx(np.trace(np.eye(fit.n) - R @ dense.P), rel=1e-7)
    assert found.table.loc["AIC", "value"] == pytest.approx(fit.aic)
    assert found.n_residual == 1 + len(fit.estimate.residual.phi)
    assert "Overholser & Xu 2014" in " ".join(str(found).split())


@pytest.mark.parametrize(
    ("formula", "residual", "method"),
    [
        ("distance ~ age", "ar1(age | Subject)", "reml"),
        ("distance ~ age", "us(age | Subject)", "ml"),
        ("distance ~ age + (1 | Subject)", "het(Sex)", "reml"),
        ("distance ~ age + (1 | Subject)", "het(Sex)", "ml"),
    ],
)
def test_effective_degrees_of_freedom_are_the_derivative_of_refitted_values(
    formula: str, residual: str, method: Literal["reml", "ml"]
) -> None:
    data = ORTHODONT[ORTHODONT["Subject"].isin([f"{sex}0{i}" for sex in "MF" for i in range(1, 7)])].iloc[2:]
    model = Model(formula, data, residual=residual)
    fit = model.fit(method)
    found, h, total = fit.criteria(), 1e-3, 0.0
    criterion, start = fit.estimate.residual.criterion, fit.estimate.coordinates[:-1]
    moved = fit.design.y[:, None] + h * np.hstack([np.eye(fit.n), -np.eye(fit.n)])
    ends = []
    for y, each in zip(moved.T, refit_responses(model.problem, criterion, moved, start), strict=True):
        again = replace(fit, problem=model.problem.with_response(y), estimate=each)
        ends.append(np.asarray(again.fitted))
    for i in range(fit.n):
        total += (ends[i][i] - ends[fit.n + i][i]) / (2.0 * h)
    assert found.hat_trace + found.uncertainty == pytest.approx(total, rel=2e-4)


def test_conditional_criterion_without_random_effects_is_nearly_that_of_ml() -> None:
    fit = Model("distance ~ age", ORTHODONT, residual="homcs(age | Subject)").fit("ml")
    found = fit.criteria()
    assert found.uncertainty == pytest.approx(0.0, abs=1e-8)  # least squares are best, whatever the correlation
    assert found.caic == pytest.approx(fit.aic, abs=1e-6)


def test_strata_that_are_no_different_have_the_criterion_of_one_variance() -> None:
    data = ORTHODONT.assign(half=np.where(np.arange(len(ORTHODONT)) % 8 < 4, "a", "b"))
    two = Model("distance ~ age + (1 | Subject)", data, residual="het(half)").fit()
    one = Model("distance ~ age + (1 | Subject)", data).fit()
    assert two.criteria().effective_df - one.criteria().effective_df == pytest.approx(1.0, abs=0.7)
    assert one.criteria().n_residual == 1


@pytest.mark.parametrize("name", NAMES)
def test_explained_variance_takes_the_mean_of_the_variances_of_rows(name: str) -> None:
    fit = model_fit(name)
    dense = Dense(fit)
    random = np.diag(dense.Z @ dense.G @ dense.Z.T).mean()
    residual = np.diag(dense.V).mean() - random
    fixed = (dense.X @ fit.estimate.beta).var(ddof=1)
    total = fixed + random + residual
    table = fit.explained().table["estimate"]
    assert table["R2 marginal"] == pytest.approx(fixed / total, rel=1e-8)
    assert table["R2 conditional"] == pytest.approx((fixed + random) / total, rel=1e-8)
    assert table["ICC adjusted"] == pytest.approx(random / (random + residual), rel=1e-8)
    assert fit.variance_shares().loc["residual", "estimate"] == pytest.approx(residual / (random + residual), rel=1e-8)
    assert fit.glance()["r2_marginal"].iloc[0] == pytest.approx(fixed / total, rel=1e-8)


def test_error_of_explained_variance_is_that_of_the_model_with_the_random_effect_that_makes_the_same() -> None:
    residual = Model("distance ~ age", ORTHODONT, residual="homcs(age | Subject)").fit()
    random = Model("distance ~ age + (1 | Subject)", ORTHODONT).fit()
    one, two = (fit.explained().table.loc["R2 marginal", ["estimate", "std_error"]] for fit in (residual, random))
    assert one.to_numpy(dtype=float) == pytest.approx(two.to_numpy(dtype=float), rel=1e-4)
    assert "correlations of residuals explain nothing" in " ".join(str(residual.explained()).split())


def test_robust_standard_errors_and_degrees_of_freedom_are_those_of_club_sandwich() -> None:
    """clubSandwich 0.5.8 for gls and lme of nlme: coef_test(f, vcov="CR2", cluster=d$Subject)."""
    fit = Model("distance ~ Sex * age", ORTHODONT, residual="ar1(age | Subject) * het(Sex)").fit()
    found = {kind: fit.robust(kind=kind).table for kind in ("CR0", "CR2")}
    assert found["CR0"]["std_error"].to_numpy() == pytest.approx(CR0_ERRORS, rel=1e-5)
    assert found["CR2"]["std_error"].to_numpy() == pytest.approx(CR2_ERRORS, rel=1e-5)
    assert found["CR2"]["df"].to_numpy() == pytest.approx(CR2_DF, rel=1e-4)
    beside = Model("distance ~ Sex * age + (1 | Subject)", ORTHODONT.assign(t=STEPS), residual="ar1(t | Subject)").fit()
    table = beside.robust("Subject").table
    assert table["std_error"].to_numpy() == pytest.approx(LME_ERRORS, rel=1e-4)
    assert table["df"].to_numpy() == pytest.approx(LME_DF, rel=1e-3)


def test_clusters_that_cut_groups_of_residuals_are_refused() -> None:
    fit = Model("distance ~ Sex * age", ORTHODONT, residual="ar1(age | Subject)").fit()
    with pytest.raises(ArgumentError, match="whose residuals are correlated, are in several"):
        fit.robust(cluster=ORTHODONT["age"].to_numpy())
    with pytest.raises(ArgumentError, match="has no groups of rows"):
        Model("distance ~ age", ORTHODONT, residual="het(Sex)").fit().robust()


def test_comparison_has_the_layer_full_beside_correlated_residuals() -> None:
    model = Model("Reaction ~ Days + (1 | Subject)", load("sleepstudy"), residual="ar1(Days | Subject)")
    fit, posterior = model.fit(), model.sample(method="importance", draws=200, seed=1, progress=False)
    table = compare(fit, posterior).random_effects
    assert table["full"].to_numpy() == pytest.approx(fit.random_effects(uncertainty="full")["std_error"].to_numpy())
    assert (table["full"] > table["std_error"]).all()
