"""Levels beside residuals that have a covariance: own lines, pooling, ranks; pictures and pages of such fits."""

import re

import numpy as np
import pytest
from dense_errors import Dense, data, model_fit
from scipy.stats import chi2, norm

import bayesmm as bmm
from bayesmm.datasets import load
from bayesmm.errors import ArgumentError
from bayesmm.fit import Fit


def marginal() -> Fit:
    return bmm.Model("distance ~ Sex * age", load("orthodont"), residual="us(age | Subject)").fit()


@pytest.mark.parametrize("name", ["autoregressive residuals", "a power, weights"])
def test_own_lines_and_weights_are_those_of_generalised_least_squares(name: str) -> None:
    fit = model_fit(name)
    dense, block = Dense(fit), fit.design.blocks[0]
    R = dense.V - dense.Z @ dense.G @ dense.Z.T
    k, left = block.k, fit.design.y - dense.X @ fit.estimate.beta
    found = bmm.shrinkage(fit)
    unpooled = found.table.pivot(index="level", columns="effect", values="unpooled").loc[list(block.levels)]
    for level in (0, 4, 11):
        rows = np.flatnonzero(block.incidence.only.codes == level)
        Z, own = dense.Z[rows, level * k : (level + 1) * k], np.linalg.inv(R[np.ix_(rows, rows)])
        expected = np.linalg.solve(Z.T @ own @ Z, Z.T @ own @ left[rows])
        assert unpooled.iloc[level][list(block.effects)].to_numpy(dtype=float) == pytest.approx(expected, rel=1e-7)
        G = dense.G[:k, :k]
        weight = G @ np.linalg.inv(G + np.linalg.inv(Z.T @ own @ Z))
        assert found.weights[block.group][level] == pytest.approx(weight, rel=1e-7)
        assert weight @ expected == pytest.approx(fit.estimate.modes[0][level], rel=1e-6)


def test_ranks_have_the_joint_error_of_effects() -> None:
    fit = model_fit("autoregressive residuals")
    dense = Dense(fit)
    q = fit.design.blocks[0].q
    found = bmm.ranking(fit, "g")
    b = fit.estimate.modes[0][:, 0]
    C = dense.fixed[:q, :q]
    i, j = 0, 3
    z = (b[i] - b[j]) / np.sqrt(C[i, i] + C[j, j] - 2.0 * C[i, j])
    labels = fit.labels.blocks[0].levels
    assert found.pairs().loc[labels[i], labels[j]] == pytest.approx(norm.cdf(z), abs=1e-7)


def test_correlations_are_tabulated_by_the_names_of_the_data() -> None:
    fit = marginal()
    table = fit.residual_correlation()
    assert list(table.index) == list(table.columns) == ["8", "10", "12", "14"]
    for pair in ("8, 10", "8, 14", "10, 12"):
        one, two = pair.split(", ")
        assert table.loc[one, two] == fit.parameters.loc[f"rho({pair} | Subject)", "estimate"]
    texts = [text.get_text() for text in fit.plot_residual_correlation().axes[0].texts]
    assert texts[:4] == [re.sub("^0", "", f"{value:.2f}").replace("1.00", "1") for value in table.iloc[0]]


def test_correlations_of_parted_and_of_timed_residuals() -> None:
    orthodont = load("orthodont")
    fit = bmm.Model("distance ~ Sex * age", orthodont, residual="homcs(age | Subject, by=Sex)").fit()
    table = fit.residual_correlation()
    assert table.loc["8, Sex[Male]", "14, Sex[Male]"] == fit.parameters.loc["rho(age | Subject, Sex[Male])", "estimate"]
    assert np.isnan(table.loc["8, Sex[Male]", "8, Sex[Female]"])
    fit.plot_residual_correlation()
    timed = bmm.Model("distance ~ age", orthodont.assign(age=orthodont.age / 4.0), residual="car1(age | Subject)").fit()
    rho = timed.parameters.loc["rho(age | Subject)", "estimate"]
    assert timed.residual_correlation().loc["2", "3.5"] == pytest.approx(rho**1.5)
    with pytest.raises(ArgumentError, match="are not correlated"):
        bmm.Model("distance ~ age", orthodont, residual="het(Sex)").fit().residual_correlation()


@pytest.mark.parametrize("ask", ["plot_effects", "group_lines", "plot_groups"])
def test_what_is_about_levels_says_so_where_there_are_no_random_effects(ask: str) -> None:
    with pytest.raises(ArgumentError, match=r"Add a term such as \(1 \| group\)"):
        getattr(marginal(), ask)()


def test_pages_have_profiles_and_the_picture_and_the_code_that_makes_them() -> None:
    plain = bmm.report(marginal(), data="orthodont")
    assert plain.sections == (
        "At a glance", "Model", "Data", "Estimates", "Variance components", "Checks", "Do it again, and cite",
    )  # fmt: skip
    assert "residual=&#39;us(age | Subject)&#39;" in plain.html
    assert "rho(12, 14 | Subject)" in plain.html
    assert "Correlations of residuals within a group" in plain.html
    assert "not available" not in plain.html


def test_groups_of_a_check_are_told_though_they_have_no_effects() -> None:
    fit = bmm.Model("y ~ x", data(), residual="ar1(row | g)").fit()
    assert "level of g" in " ".join(str(fit.check(n=20, progress=False)).split())


def test_a_variance_beside_correlated_residuals_is_tested_against_the_model_without_it() -> None:
    """nlme: twice the difference of the restricted log-likelihoods of lme and gls is 3.014955."""
    sleep = load("sleepstudy")
    fit = bmm.Model("Reaction ~ Days + (1 | Subject)", sleep, residual="ar1(Days | Subject)").fit()
    row = fit.variance_tests(progress=False).table.iloc[0]
    assert (row["kind"], row["statistic"]) == ("mixture", pytest.approx(3.014955, abs=1e-5))
    assert row["p_value"] == pytest.approx(0.5 * chi2.sf(3.014955, 1), rel=1e-4)
    drawn = fit.variance_tests(kind="bootstrap", n=25, progress=False).tests[0]
    assert (drawn.draws >= 0.0).all()
    assert len(drawn.draws) + drawn.n_failed == 25
    assert drawn.share_at_zero > 0.2  # half of them, as the mixture has it
    with pytest.raises(ArgumentError, match="residuals that are independent"):
        fit.variance_tests(kind="exact")
    report = fit.boundary("sd(Intercept | Subject)", n=20, progress=False)
    assert report.table.loc["profile likelihood", "lower"] == 0.0
    assert report.table.loc["boundary-avoiding", "estimate"] > fit.parameters.loc["sd(Intercept | Subject)", "estimate"]
