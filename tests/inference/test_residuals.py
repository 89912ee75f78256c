"""Residuals of every scale, envelopes and simulated residuals, beside dense algebra and simulation."""

import numpy as np
import pandas as pd
import pytest
from dense_fits import MODELS, SLEEP, dense_of
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import ArgumentError
from bayesmm.inference.diagnostics import residuals
from bayesmm.inference.diagnostics.patterns import look_for_patterns
from bayesmm.inference.diagnostics.row_view import view_rows
from bayesmm.inference.eliminated import eliminate_fit


@pytest.fixture(scope="module")
def sleep():
    return bmm.Model(SLEEP, bmm.datasets.load("sleepstudy")).fit()


@pytest.fixture(scope="module", params=MODELS)
def fitted(request):
    formula, name, options = MODELS[request.param]
    return bmm.Model(formula, bmm.datasets.load(name), **options).fit()


def textbook(fit):
    """V, X(X'V⁻¹X)⁻¹X', P and y − Xβ̂."""
    model, G = dense_of(fit)
    V = model.covariance(G, fit.sigma)
    inverse = np.linalg.inv(V)
    explained = model.X @ np.linalg.solve(model.X.T @ inverse @ model.X, model.X.T)
    P = inverse - inverse @ explained @ inverse
    return V, explained, P, model.y - model.X @ fit.estimate.beta, fit.sigma**2 / model.weights


def test_marginal_residuals_are_the_textbooks(fitted):
    V, explained, _, r, _ = textbook(fitted)
    for kind, expected in {
        "response": r,
        "pearson": r / np.sqrt(np.diag(V)),
        "standardised": r / np.sqrt(np.diag(V - explained)),
    }.items():
        np.testing.assert_allclose(fitted.residuals(kind, random="none"), expected, rtol=1e-6, atol=1e-8)


def test_conditional_residuals_are_the_textbooks(fitted):
    _, _, P, r, R = textbook(fitted)
    e = R * (P @ (r + 0.0))  # P annihilates Xβ̂
    for kind, expected in {
        "response": e,
        "pearson": e / np.sqrt(R),
        "standardised": e / np.sqrt(R**2 * np.diag(P)),
    }.items():
        np.testing.assert_allclose(fitted.residuals(kind), expected, rtol=1e-6, atol=1e-8)
        np.testing.assert_allclose(fitted.residuals(kind, random="all"), expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("block", [400, 5])
def test_cholesky_residuals_are_those_of_the_whole_matrix(fitted, block, monkeypatch):
    monkeypatch.setattr(residuals, "BLOCK", block)
    V, _, _, r, _ = textbook(fitted)
    np.testing.assert_allclose(
        fitted.residuals("cholesky"), np.linalg.solve(np.linalg.cholesky(V), r), rtol=1e-6, atol=1e-7
    )


def test_cholesky_residuals_of_independent_levels_do_not_depend_on_how_they_are_mixed(sleep):
    data = bmm.datasets.load("sleepstudy")
    mixed = data.sort_values("Days", kind="stable")
    again = pd.Series(bmm.Model(SLEEP, mixed).fit().residuals("cholesky"), index=mixed.index)
    np.testing.assert_allclose(again.loc[data.index], sleep.residuals("cholesky"), rtol=1e-5, atol=1e-7)


def test_row_that_a_coefficient_fits_exactly_has_no_standardised_residual():
    data = bmm.datasets.load("sleepstudy").assign(only=lambda d: (d.index == 7) * 1.0)
    fit = bmm.Model("Reaction ~ Days + only + (Days | Subject)", data).fit()
    assert np.flatnonzero(np.isnan(fit.residuals("standardised"))).tolist() == [7]
    assert fit.influence().undetermined == [7]
    assert fit.influence().table["leverage"].iloc[7] == pytest.approx(1.0)
    assert fit.check(n=49).patterns.table.notna().all().all()


def test_residuals_that_cannot_be_had_are_refused(sleep, monkeypatch):
    with pytest.raises(ArgumentError, match="'cholesky'"):
        sleep.residuals("scaled")
    with pytest.raises(ArgumentError, match="give 'all'"):
        sleep.residuals(random="Subject")
    with pytest.raises(ArgumentError, match="kind='pearson'"):
        sleep.residuals("cholesky", random="all")
    monkeypatch.setattr(residuals, "BLOCK", 5)
    monkeypatch.setattr(residuals, "MOST_EFFECTS", 1)
    with pytest.raises(ArgumentError, match="2 random effects hang together"):
        sleep.residuals("cholesky")


def test_modes_have_the_standard_deviations_of_the_textbook(fitted):
    """Lange and Ryan (1989): Var b̂ = G Z'PZ G."""
    model, G = dense_of(fitted)
    _, _, P, _, _ = textbook(fitted)
    dense = np.diag(G @ model.Z.T @ P @ model.Z @ G)
    found = [fitted.sigma**2 * v.T.ravel() for v in eliminate_fit(fitted).mode_variances]
    np.testing.assert_allclose(np.concatenate(found), dense, rtol=1e-6, atol=1e-9 * max(dense.max(), 1e-9))


def test_observed_values_of_an_envelope_are_the_sorted_residuals(sleep):
    table = sleep.envelopes(n=99)
    np.testing.assert_allclose(table["observed"], np.sort(sleep.residuals("standardised")), rtol=1e-9)
    np.testing.assert_allclose(table["expected"], stats.norm.ppf((np.arange(180) + 0.5) / 180))
    assert table.index[-1] == np.argmax(sleep.residuals("standardised"))
    assert (table["lower_simultaneous"] <= table["lower"] + 0.3).all()
    effects = sleep.envelopes("random_effects", n=99)
    assert effects.groupby("effect", sort=False).size().tolist() == [18, 18]
    assert sleep.envelopes(n=99, seed=5).equals(sleep.envelopes(n=99, seed=5))


def test_envelopes_with_refits_have_the_same_observed_values(sleep):
    fixed, refitted = (sleep.envelopes("random_effects", n=30, refit=each) for each in (False, True))
    np.testing.assert_allclose(refitted["observed"], fixed["observed"], rtol=1e-6)
    assert (refitted["upper"] - refitted["lower"]).mean() < (fixed["upper"] - fixed["lower"]).mean()


def simulate(rng, heavy=False):
    g = np.repeat(np.arange(12), 6)
    noise = rng.standard_t(2, size=72) if heavy else rng.normal(size=72)
    return pd.DataFrame({"g": [f"g{i:02}" for i in g], "x": np.tile(np.arange(6.0), 12)}).assign(
        y=lambda d: d["x"] + rng.normal(size=12)[g] + noise
    )


def test_looks_are_as_extreme_as_they_should_be_when_the_model_is_right():
    """Known truth: p-values of 60 data sets are uniform, those of all tests and that of all looks together."""
    rng = np.random.default_rng(9)
    found = []
    for seed in range(60):
        fit = bmm.Model("y ~ x + (1 | g)", simulate(rng)).fit()
        tests = [fit.simulated_residuals(n=39, random=each, seed=seed).tests["p_value"] for each in ("none", "all")]
        found.append(
            [
                *tests[0][["uniformity", "outliers"]],
                tests[1]["uniformity"],
                look_for_patterns(fit, view_rows(fit), 39, seed, False).p_any,
            ]
        )
    for p_values in np.array(found).T:
        assert (p_values <= 0.1).mean() < 0.1 + 3.0 * np.sqrt(0.09 / 60)
        assert (p_values <= 0.5).mean() < 0.5 + 3.0 * np.sqrt(0.25 / 60)
    together = np.array(found)[:, -1]
    assert (together <= 0.5).mean() > 0.5 - 4.0 * np.sqrt(0.25 / 60)


def test_heavy_tails_are_seen():
    fit = bmm.Model("y ~ x + (1 | g)", simulate(np.random.default_rng(3), heavy=True)).fit()
    check = fit.check(n=199)
    assert check.patterns.p_any < 0.05
    assert any("Tails are heavier" in each.advice for each in check.concerns)
    outside = fit.envelopes(n=199)
    assert (outside["observed"] > outside["upper_simultaneous"]).any() or (
        outside["observed"] < outside["lower_simultaneous"]
    ).any()


def test_scaled_residuals_lie_between_zero_and_one_and_rise_with_the_residual(sleep):
    for random in ("none", "all"):
        found = sleep.simulated_residuals(n=250, random=random)
        assert found.residuals.between(0.0, 1.0).all()
        again = sleep.residuals("standardised", random=random)
        exact = stats.norm.cdf(again)
        assert np.abs(found.residuals - exact).max() < 0.15  # a rank among 250
        assert found.residuals.index.equals(sleep.design.rows)


def test_known_sigma_that_is_too_small_is_dispersion():
    data = simulate(np.random.default_rng(1))
    fit = bmm.Model("y ~ x + (1 | g)", data, sigma=0.5).fit()
    tests = fit.simulated_residuals(random="all").tests
    assert tests.loc["dispersion", "statistic"] > tests.loc["dispersion", "upper"]
    assert tests.loc["dispersion", "p_value"] < 0.01


def test_simulations_that_cannot_be_had_are_refused(sleep):
    for call in (sleep.simulated_residuals, sleep.check, sleep.envelopes):
        with pytest.raises(ArgumentError, match="n is 3: give a whole number from 20 to"):
            call(n=3)
        with pytest.raises(ArgumentError, match="seed is -1"):
            call(seed=-1)
    with pytest.raises(ArgumentError, match=r"that are kept\. Draw fewer: n=277776"):
        sleep.simulated_residuals(n=1_000_000)
    with pytest.raises(ArgumentError, match="'residuals' or 'random_effects'"):
        sleep.envelopes("effects")
    with pytest.raises(ArgumentError, match="give 'none'"):
        sleep.simulated_residuals(random="Subject")
    singular = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2")).fit()
    with pytest.raises(ArgumentError, match="no random effect of this fit has a variance"):
        singular.envelopes("random_effects", n=30)
