"""Tests of variances: against lme4's likelihoods, F tests of balanced designs, dense algebra, and simulation."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from oracle import DenseModel, block_diagonal, level_covariance, random_columns
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import ArgumentError
from bayesmm.inference.simulated_responses import simulate_responses
from bayesmm.inference.variances.null_models import find_hypothesis, fit_null, variance_hypotheses
from bayesmm.inference.variances.spectral import find_spectrum
from bayesmm.reml.refits import refit

BATCH, SUBJECT, DAYS = "sd(Intercept | Batch)", "sd(Intercept | Subject)", "sd(Days | Subject)"
PRINTED = 1e-6  # of twice a difference of log-likelihoods, as the reference files have them
ERRORS = 4.0  # Monte Carlo standard errors
DRAWS = 20_000


@cache
def fitted(formula: str, data: str, method: Any = "reml") -> Any:
    return bmm.Model(formula, bmm.datasets.load(data)).fit(method=method)


def made(n_groups: int = 7, seed: int = 0) -> pd.DataFrame:
    """Two crossed factors of unequal sizes, weights and a covariate."""
    rng = np.random.default_rng(seed)
    n = 9 * n_groups
    g, h = rng.integers(n_groups, size=n), rng.integers(5, size=n)
    x, w = rng.normal(size=n), rng.uniform(0.5, 2.0, size=n)
    b, c = 0.6 * rng.normal(size=(n_groups, 2)), 0.8 * rng.normal(size=5)
    y = 1.0 + x + b[g, 0] + b[g, 1] * x + c[h] + rng.normal(size=n) / np.sqrt(w)
    return pd.DataFrame({"y": y, "x": x, "w": w, "g": [f"g{i}" for i in g], "h": [f"h{i}" for i in h]})


# -- the statistic ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("formula", "data", "name", "statistic"),
    [
        ("Yield ~ 1 + (1 | Batch)", "dyestuff", BATCH, 6.368955),  # as RLRsim has it
        ("Reaction ~ Days + (1 | Subject)", "sleepstudy", SUBJECT, 107.1986),
        # Twice the differences of lme4's restricted log-likelihoods in tests/reference/sleepstudy.json.
        ("Reaction ~ Days + (Days | Subject)", "sleepstudy", DAYS, 2.0 * (893.23254269746 - 871.814135979245)),
        ("Reaction ~ Days + (Days | Subject)", "sleepstudy", SUBJECT, 2.0 * (883.262513742784 - 871.814135979245)),
        ("Reaction ~ Days + (Days || Subject)", "sleepstudy", DAYS, 2.0 * (893.23254269746 - 871.834646790656)),
        (
            "Reaction ~ Days + (Days | Subject)",
            "sleepstudy",
            "cor(Days, Intercept | Subject)",
            2.0 * (871.834646790656 - 871.814135979245),
        ),
    ],
)
def test_statistic_is_that_of_lme4(formula, data, name, statistic):
    (test,) = fitted(formula, data).variance_tests(name, kind="mixture").tests
    assert test.statistic == pytest.approx(statistic, abs=1e-4 if statistic in (107.1986,) else 5e-6)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("sigma", [None, 1.1])
def test_likelihood_without_random_effects_is_that_of_a_linear_model(method, sigma):
    data = made()
    fit = bmm.Model("y ~ x + (1 | g)", data, weights="w", sigma=sigma).fit(method=method)
    null = fit_null(fit, find_hypothesis(fit, "sd(Intercept | g)"))
    X, y = np.column_stack([np.ones(len(data)), data["x"]]), data["y"].to_numpy()
    dense = DenseModel(y=y, X=X, Z=np.zeros((len(y), 1)), weights=data["w"].to_numpy())
    nothing = np.zeros((1, 1))
    used = sigma or dense.profiled_sigma(nothing, method)
    assert null.deviance == pytest.approx(-2.0 * dense.log_likelihood(nothing, used, method), rel=1e-12)
    assert null.sigma == pytest.approx(used, rel=1e-12)
    np.testing.assert_allclose(null.beta, dense.fixed_effects(nothing, used), rtol=1e-10)


@pytest.mark.parametrize(
    ("full", "name", "without"),
    [
        ("y ~ x + (x | g) + (1 | h)", "sd(Intercept | h)", "y ~ x + (x | g)"),
        ("y ~ x + (x | g) + (1 | h)", "sd(x | g)", "y ~ x + (1 | g) + (1 | h)"),
        ("y ~ x + (x | g) + (1 | h)", "(x | g)", "y ~ x + (1 | h)"),
        ("y ~ x + (x | g) + (1 | h)", "cor(Intercept, x | g)", "y ~ x + (x || g) + (1 | h)"),
        ("y ~ x + cs(0 + h | g)", "cor(0 + h | g)", "y ~ x + diag(0 + h | g)"),
        ("y ~ x + (1 | g) + homcs(0 + h | g)", "cor(0 + h | g)", "y ~ x + (1 | g) + homdiag(0 + h | g)"),
        ("y ~ x + (1 | h) + ar1(0 + h | g)", "sd(0 + h | g)", "y ~ x + (1 | h)"),
        ("y ~ x + (1 | h) + toep(0 + h | g)", "sd(h[h1] | g)", "y ~ x + (1 | h)"),
        ("y ~ x + homtoep(0 + h | g)", "cor(lag 1 | g)", "y ~ x + homdiag(0 + h | g)"),
        ("y ~ x + (1 | h) + homdiag(x | g)", "sd(1 + x | g)", "y ~ x + (1 | h)"),
    ],
)
def test_null_model_is_the_one_that_a_formula_would_give(full, name, without):
    data = made()
    null = fit_null(bmm.Model(full, data).fit(), find_hypothesis(bmm.Model(full, data).fit(), name))
    assert null.deviance == pytest.approx(-2.0 * bmm.Model(without, data).fit().loglik, abs=1e-7)


# -- null distributions -----------------------------------------------------------------------------------------------


def test_exact_p_of_a_balanced_design_is_that_of_its_f_test():
    data = bmm.datasets.load("dyestuff")
    (test,) = fitted("Yield ~ 1 + (1 | Batch)", "dyestuff").variance_tests().tests
    f = stats.f_oneway(*(own["Yield"] for _, own in data.groupby("Batch", observed=True)))
    assert test.kind == "exact"
    assert abs(test.p_value - f.pvalue) < ERRORS * test.p_error
    at_zero = stats.f.cdf(1.0, 5, 24)  # where the estimate is zero
    assert abs(test.share_at_zero - at_zero) < ERRORS * np.sqrt(0.25 / len(test.draws))


def test_exact_p_is_that_of_f_wherever_the_statistic_lies():
    """Of balanced groups the statistic is a monotone function of F."""
    fit = bmm.Model(
        "y ~ 1 + (1 | g)", pd.DataFrame({"y": np.arange(24.0) % 7.0, "g": np.repeat(list("abcdef"), 4)})
    ).fit()
    draws = find_spectrum(fit_null(fit, find_hypothesis(fit, "sd(Intercept | g)"))).simulate(
        100_000, np.random.default_rng(3)
    )
    F = np.array([1.2, 2.0, 4.0, 8.0])
    between, within = 5, 18  # degrees of freedom
    # RLRT of λ with 1 + λμ = F: 23 log of the total over the sum of squares, less 5 log F.
    statistic = (between + within) * np.log((between * F + within) / (between + within)) - between * np.log(F)
    for t, p in zip(statistic, stats.f.sf(F, between, within), strict=True):
        assert abs((draws >= t).mean() - p) < ERRORS * np.sqrt(p * (1.0 - p) / len(draws))


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(
    ("formula", "name"),
    [
        ("y ~ x + (1 | g)", "sd(Intercept | g)"),
        ("y ~ x + (1 | g) + (1 | h)", "sd(Intercept | g)"),
        ("y ~ x + (x || g) + (1 | h)", "sd(x | g)"),
        ("y ~ x + (1 | h) + (x | g)", "sd(Intercept | h)"),
        ("y ~ 0 + (1 | h) + homdiag(x | g)", "sd(1 + x | g)"),
    ],
)
def test_eigenvalues_are_those_of_dense_matrices(formula, name, method):
    data = made()
    fit = bmm.Model(formula, data, weights="w").fit(method=method)
    null = fit_null(fit, find_hypothesis(fit, name))
    found = find_spectrum(null)
    W = 1.0 / data["w"].to_numpy()
    V = np.diag(W)
    if null.estimate is not None:
        blocks = null.design.blocks
        Z = np.hstack([random_columns(b.incidence.only.codes, b.columns, b.q) for b in blocks])
        factors = [level_covariance(L @ L.T, b.q) for L, b in zip(null.estimate.factors, blocks, strict=True)]
        V = V + Z @ block_diagonal(factors) @ Z.T
    block = fit.design.blocks[null.hypothesis.block]
    own = block.columns[:, list(null.hypothesis.effects)]
    T = random_columns(block.incidence.only.codes, own, block.q)
    inverse = np.linalg.inv(V)
    X = fit.design.X
    P = inverse - inverse @ X @ np.linalg.pinv(X.T @ inverse @ X) @ X.T @ inverse if X.shape[1] else inverse
    for mine, M in ((found.residual, P), (found.marginal, inverse)):
        if mine.size:
            values = np.linalg.eigvalsh(T.T @ M @ T)[-len(mine) :]
            np.testing.assert_allclose(mine / mine.max(), values / values.max(), rtol=1e-8)
    assert found.marginal.size == (T.shape[1] if method == "ml" else 0)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("sigma", [None, 1.0])
def test_exact_distribution_is_that_of_refits(method, sigma):
    data = made(5).assign(y=lambda d: np.random.default_rng(1).normal(size=len(d)))
    fit = bmm.Model("y ~ x + (1 | g)", data, weights="w", sigma=sigma).fit(method=method)
    (exact,) = fit.variance_tests(kind="exact", n=DRAWS).tests
    (refits,) = fit.variance_tests(kind="bootstrap", n=120).tests
    assert refits.n_failed == 0
    assert stats.ks_2samp(exact.draws, refits.draws).pvalue > 1e-3
    assert abs(exact.share_at_zero - refits.share_at_zero) < ERRORS * np.sqrt(0.25 / 120)


def test_bootstrap_agrees_with_exact_p():
    fit = fitted("Yield ~ 1 + (1 | Batch)", "dyestuff")
    (test,) = fit.variance_tests(kind="bootstrap", n=150, seed=2).tests
    p = stats.f.sf(4.598, 5, 24)
    assert abs(test.p_value - p) < ERRORS * np.sqrt(p / 150) + 1.0 / 151
    assert test.null == "bootstrap, 150 refits"


def test_mixtures_are_those_of_self_and_liang():
    of_slope = fitted("Reaction ~ Days + (Days | Subject)", "sleepstudy").variance_tests(DAYS).tests[0]
    assert of_slope.kind == "mixture"
    assert of_slope.null == "½χ²₁ + ½χ²₂"
    t = of_slope.statistic
    assert of_slope.p_value == pytest.approx(0.5 * stats.chi2.sf(t, 1) + 0.5 * stats.chi2.sf(t, 2), rel=1e-12)
    of_batch = fitted("Yield ~ 1 + (1 | Batch)", "dyestuff").variance_tests(BATCH, kind="mixture").tests[0]
    assert of_batch.null == "½χ²₀ + ½χ²₁"
    assert of_batch.p_value == pytest.approx(0.5 * stats.chi2.sf(6.368955, 1), rel=1e-5)


def test_correlation_has_the_p_value_of_an_ordinary_test():
    """Bates, Mächler, Bolker & Walker (2015) print χ² = 0.0639, Df 1, p = 0.8004 of the ML fits."""
    fit = fitted("Reaction ~ Days + (Days | Subject)", "sleepstudy", "ml")
    (test,) = fit.variance_tests("cor(Intercept, Days | Subject)").tests
    assert (round(test.statistic, 4), round(test.p_value, 4)) == (0.0639, 0.8004)
    assert test.null == "χ²₁"


def test_whole_term_has_a_bound():
    (test,) = fitted("Reaction ~ Days + (Days | Subject)", "sleepstudy").variance_tests("(Days | Subject)").tests
    assert test.null == "at most ½χ²₂ + ½χ²₃"
    assert "upper bound" in test.remarks[0]


def test_zero_estimate_has_the_p_value_one():
    (test,) = fitted("Yield ~ 1 + (1 | Batch)", "dyestuff2").variance_tests().tests
    assert (test.statistic, test.p_value) == (0.0, 1.0)
    (test,) = fitted("Yield ~ 1 + (1 | Batch)", "dyestuff2").variance_tests(kind="mixture").tests
    assert test.p_value == 1.0


def test_draws_are_uniform_p_values_under_the_null():
    """The F test's p-values of responses drawn without the variance, and those of the exact distribution, rank by rank."""
    fit = fitted("Yield ~ 1 + (1 | Batch)", "dyestuff")
    null = fit_null(fit, find_hypothesis(fit, BATCH))
    Y = simulate_responses(null.design, null.beta, (), null.sigma, np.random.default_rng(5).spawn(100))
    draws = find_spectrum(null).simulate(DRAWS, np.random.default_rng(6))
    responses = fit.problem.sum_responses(Y)
    statistics = null.refit(responses) - refit(null.full, responses, fit.estimate.minimum.x).criterion
    p = np.array([(draws >= t).mean() for t in statistics])
    inside = statistics > 1e-9  # below them all p-values are one
    assert stats.kstest(p[inside] / stats.f.sf(1.0, 5, 24), "uniform").pvalue > 1e-3


def test_fit_below_its_null_model_is_said_to_be_no_maximum():
    fit = fitted("Yield ~ 1 + (1 | Batch)", "dyestuff")
    lower = replace(fit, estimate=replace(fit.estimate, criterion=fit.estimate.criterion + 8.0))
    (test,) = lower.variance_tests(kind="mixture").tests
    assert test.statistic == 0.0
    assert "higher log-likelihood, by 0.816" in test.remarks[0]


# -- invariance -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["exact", "mixture", "bootstrap"])
def test_tests_do_not_depend_on_units_names_or_order(kind):
    data = made()
    names = ["sd(Intercept | g)", "sd(x | g)", "sd(Intercept | h)"]
    tests = bmm.Model("y ~ x + (x || g) + (1 | h)", data).fit().variance_tests(names, kind=kind, n=6)
    other = data.assign(y=1000.0 + 1e-3 * data["y"], x=40.0 * data["x"])
    again = bmm.Model("y ~ x + (x || g) + (1 | h)", other).fit().variance_tests(names, kind=kind, n=6)
    np.testing.assert_allclose(again.table["statistic"], tests.table["statistic"], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(again.table["p_value"], tests.table["p_value"], rtol=1e-5)
    renamed = data.assign(g=data["g"].str.replace("g", "z"), h=data["h"].map({f"h{i}": f"k{9 - i}" for i in range(5)}))
    if kind != "bootstrap":  # whose responses are drawn row by row
        renamed = renamed.sample(frac=1.0, random_state=1)
    again = bmm.Model("y ~ x + (x || g) + (1 | h)", renamed).fit().variance_tests(names, kind=kind, n=6)
    np.testing.assert_allclose(again.table["statistic"], tests.table["statistic"], rtol=1e-5, atol=1e-7)
    if kind != "bootstrap":
        np.testing.assert_allclose(again.table["p_value"], tests.table["p_value"], rtol=1e-5)


def test_slope_test_with_correlation_does_not_depend_on_the_origin():
    data = bmm.datasets.load("sleepstudy")
    far = data.assign(Days=data["Days"] + 2015)
    tests = [
        bmm.Model("Reaction ~ Days + (Days | Subject)", d).fit().variance_tests(DAYS).tests[0] for d in (data, far)
    ]
    assert tests[1].statistic == pytest.approx(tests[0].statistic, rel=1e-7)


def test_same_seed_gives_same_numbers():
    fit = fitted("Yield ~ 1 + (1 | Batch)", "dyestuff")
    first, again, other = (fit.variance_tests(n=500, seed=seed).tests[0].draws for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


# -- what is tested, and what is refused ------------------------------------------------------------------------------


def test_every_standard_deviation_is_tested_once():
    fit = fitted("Reaction ~ Days + (Days | Subject)", "sleepstudy")
    assert list(fit.variance_tests().table.index) == [SUBJECT, DAYS]
    cells = bmm.Model("y ~ x + cs(0 + h | g)", made()).fit()
    assert len(variance_hypotheses(cells)) == 5  # five standard deviations of one term
    assert {each.name for each in variance_hypotheses(cells).values()} == {"cs(0 + h | g)"}


def test_levels_that_share_rows_are_tested_too():
    """Of a row's two levels each adds its effect: eigenvalues of the whole indicator matrix."""
    rng = np.random.default_rng(2)
    first, second = rng.integers(8, size=(2, 60))
    data = pd.DataFrame({"y": rng.normal(size=60), "a": first, "b": second}).astype({"a": str, "b": str})
    fit = bmm.Model("y ~ 1 + (1 | mm(a, b))", data).fit()
    (name,) = variance_hypotheses(fit)
    Z = np.eye(8)[first] + np.eye(8)[second]
    values = np.linalg.eigvalsh((Z - Z.mean(axis=0)).T @ (Z - Z.mean(axis=0)))
    found = find_spectrum(fit_null(fit, find_hypothesis(fit, name))).residual
    np.testing.assert_allclose(found / found.max(), values[-len(found) :] / values.max(), rtol=1e-8)


def test_exact_distribution_of_correlated_effects_is_refused():
    fit = fitted("Reaction ~ Days + (Days | Subject)", "sleepstudy")
    with pytest.raises(ArgumentError, match=r"one variance alone.*1 correlation.*'mixture' or 'bootstrap'"):
        fit.variance_tests(DAYS, kind="exact")


def test_mixture_is_refused_where_a_correlation_loses_its_meaning():
    fit = bmm.Model("y ~ x + (1 | h) + homcs(0 + h | g)", made()).fit()
    with pytest.raises(ArgumentError, match=r"no meaning under the null.*'bootstrap'"):
        fit.variance_tests("sd(0 + h | g)", kind="mixture")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"parameters": "sd(Nights | Subject)"}, r"no variance 'sd\(Nights.*sd\(Days \| Subject\)"),
        ({"parameters": 3}, "parameters is 3"),
        ({"kind": "wald"}, "kind is 'wald'"),
        ({"n": 0}, "n is 0"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_wrong_arguments_are_refused(arguments, words):
    with pytest.raises(ArgumentError, match=words):
        fitted("Reaction ~ Days + (Days | Subject)", "sleepstudy").variance_tests(**arguments)


def test_tests_print_as_a_table():
    text = str(fitted("Yield ~ 1 + (1 | Batch)", "dyestuff").variance_tests())
    assert "restricted likelihood" in text
    assert "6.369  0.004" in text


# -- standard errors --------------------------------------------------------------------------------------------------


def test_expected_information_of_a_balanced_design_is_that_of_its_mean_squares():
    """Var of (MSB − MSE)/m and of MSE, which are the REML estimates (Searle, Casella & McCulloch 1992, section 3.5)."""
    table = fitted("Yield ~ 1 + (1 | Batch)", "dyestuff").parameter_table(information="expected")
    groups = [own["Yield"].to_numpy() for _, own in bmm.datasets.load("dyestuff").groupby("Batch", observed=True)]
    q, m = len(groups), len(groups[0])
    between = m * np.var([own.mean() for own in groups], ddof=1)
    within = np.mean([np.var(own, ddof=1) for own in groups])
    variance = 2.0 / m**2 * (between**2 / (q - 1) + within**2 / (q * (m - 1)))
    sd = table.loc[BATCH, "estimate"]
    assert table.loc[BATCH, "std_error"] == pytest.approx(np.sqrt(variance) / (2.0 * sd), rel=1e-5)
    assert table.loc["sigma", "std_error"] == pytest.approx(np.sqrt(within / (2.0 * q * (m - 1))), rel=1e-5)


def test_observed_information_is_the_default():
    fit = fitted("Reaction ~ Days + (Days || Subject)", "sleepstudy")
    pd.testing.assert_frame_equal(fit.parameter_table(information="observed"), fit.parameters)
    assert not np.allclose(fit.parameter_table(information="expected")["std_error"], fit.parameters["std_error"])
