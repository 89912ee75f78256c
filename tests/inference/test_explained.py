"""R², ICC and shares of variance, their intervals, and information criteria."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from oracle import DenseModel, block_diagonal, level_covariance, random_columns
from reference_data import REFERENCE
from reference_models import reference_models
from scipy import stats

import bayesmm as bmm
from bayesmm.design.predictors import build_predictors
from bayesmm.design.words.variances import explain, measure_columns
from bayesmm.fit.fit import Fit
from bayesmm.inference.explained.ratio import ratio_interval
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import estimate

SLEEP = "Reaction ~ Days + ({} | Subject)"
ROWS = ["R2 marginal", "R2 conditional", "ICC adjusted", "ICC unadjusted"]
KEYS = ["r2_marginal", "r2_conditional", "icc_adjusted", "icc_unadjusted"]
AGREES = 2e-5  # absolute; performance rounds nothing, and the fits agree to some 1e-6
# performance 0.10.2 leaves the slopes of `(Days || Subject)` out of the variance of the random effects, and takes factors'
# contrasts for the columns of slopes
OTHER_VARIANCES = {"sleepstudy/uncorr_reml"}


@cache
def sleepstudy(term="Days", method="reml"):
    return bmm.Model(SLEEP.format(term), bmm.datasets.load("sleepstudy")).fit(method)


def referenced():
    found = [model for model in reference_models()[0] if "performance" in model.entry]
    assert len(found) > 15
    return [model for model in found if model.id not in OTHER_VARIANCES and "again" not in model.id]


@pytest.mark.parametrize("model", referenced(), ids=lambda model: model.id)
def test_r2_and_icc_are_those_of_performance(model):
    fit = bmm.Model(model.formula, model.frame(), weights=model.weights).fit(model.method)
    expected = [model.entry["performance"][key] for key in KEYS]
    assert fit.explained().table.loc[ROWS, "estimate"].tolist() == pytest.approx(expected, abs=AGREES)


def test_independent_slopes_count_where_performance_leaves_them_out():
    fit = bmm.Model("Reaction ~ Days + (Days || Subject)", bmm.datasets.load("sleepstudy")).fit()
    sd, days = fit.parameters["estimate"], bmm.datasets.load("sleepstudy")["Days"]
    intercepts, slopes = sd["sd(Intercept | Subject)"] ** 2, sd["sd(Days | Subject)"] ** 2 * np.mean(days**2)
    fixed, residual = sd["Days"] ** 2 * days.var(), sd["sigma"] ** 2
    table = fit.explained().table["estimate"]
    random = intercepts + slopes
    assert table["R2 marginal"] == pytest.approx(fixed / (fixed + random + residual))
    assert table["ICC adjusted"] == pytest.approx(random / (random + residual))
    entry = json.loads((REFERENCE / "sleepstudy.json").read_text())["models"][4]
    assert entry["performance"]["icc_adjusted"] == pytest.approx(intercepts / (intercepts + residual), rel=1e-4)


def balanced_interval(y, level):
    """Searle, Casella & McCulloch (1992), section 3.6d: from the F of the analysis of variance; y (groups, rows)."""
    a, n = y.shape
    F = n * y.mean(1).var(ddof=1) / ((y - y.mean(1, keepdims=True)) ** 2).sum() * a * (n - 1)
    ends = [F / stats.f.ppf(0.5 + side * level / 2, a - 1, a * (n - 1)) for side in (1, -1)]
    return [max((end - 1) / (end + n - 1), 0.0) for end in ends]


@pytest.mark.parametrize(("name", "level"), [("dyestuff", 0.95), ("dyestuff", 0.8), ("dyestuff2", 0.95)])
def test_icc_of_a_balanced_layout_has_the_interval_of_the_analysis_of_variance(name, level):
    data = bmm.datasets.load(name)
    y = data.sort_values("Batch", kind="stable")["Yield"].to_numpy().reshape(6, 5)
    for method in ("reml", "ml"):
        table = bmm.Model("Yield ~ 1 + (1 | Batch)", data).fit(method).explained(level=level).table
        assert table.loc["ICC adjusted", ["lower", "upper"]].tolist() == pytest.approx(balanced_interval(y, level))
        assert table.loc["ICC unadjusted", "lower"] == table.loc["ICC adjusted", "lower"]


def test_interval_of_a_known_sigma_is_the_q_profile_of_metafor():
    # metafor's documentation, confint(rma(yi, vi, data = dat.bcg)): tau² 0.1197 to 1.1115
    fit = bmm.Model("yi ~ 1 + (1 | trial)", bmm.datasets.load("bcg"), weights="1 / vi", sigma=1.0).fit()
    assert ratio_interval(fit, 0.95) == pytest.approx((0.1197, 1.1115), abs=5e-5)


def test_exact_interval_covers_as_often_as_it_says():
    rng = np.random.default_rng(11)
    group = np.repeat(np.arange(7), [2, 3, 3, 4, 5, 6, 9])
    x, ratio = rng.normal(size=len(group)), 0.6
    y = x[:, None] + np.sqrt(ratio) * rng.normal(size=(7, 50))[group] + rng.normal(size=(len(group), 50))
    problem = bmm.Model("y ~ x + (1 | g)", pd.DataFrame({"y": y[:, 0], "x": x, "g": group})).problem
    intervals = []
    for each in problem.with_responses(y):
        criterion = Criterion(each.products, each.layout, "reml")
        fit = Fit(problem=each, estimate=estimate(criterion, np.ones(1)))
        intervals.append(ratio_interval(fit, 0.8))
    lower, upper = np.array(intervals).T
    assert np.mean((lower <= ratio) & (ratio <= upper)) == pytest.approx(0.8, abs=3 * np.sqrt(0.16 / 50))


def test_rank_of_levels_that_fixed_effects_tell_apart_is_taken_off():
    # treatment is constant in each group: 8 groups less 2 means leave 6 degrees of freedom between
    rng = np.random.default_rng(2)
    group = np.repeat(np.arange(8), 4)
    treated = (group < 3) * 1.0
    data = pd.DataFrame({"y": treated + rng.normal(size=8)[group] + rng.normal(size=32), "t": treated, "g": group})
    fit = bmm.Model("y ~ t + (1 | g)", data).fit()
    means = data.groupby("g")["y"].mean()
    between = 4 * ((means[:3] - means[:3].mean()) ** 2).sum() + 4 * ((means[3:] - means[3:].mean()) ** 2).sum()
    F = between / 6 / (((data["y"] - means[group].to_numpy()) ** 2).sum() / 24)
    expected = [max((F / stats.f.ppf(p, 6, 24) - 1) / 4, 0.0) for p in (0.975, 0.025)]
    assert ratio_interval(fit, 0.95) == pytest.approx(expected, rel=1e-7)


def test_interval_does_not_depend_on_units_or_order():
    data = bmm.datasets.load("dyestuff")
    moved = data.assign(Yield=1e4 - 3e-3 * data["Yield"], one=7.0).sample(frac=1.0, random_state=4)
    expected = bmm.Model("Yield ~ 1 + (1 | Batch)", data).fit().explained().table.loc["ICC adjusted"]
    for formula in ("Yield ~ 1 + (1 | Batch)", "Yield ~ 1 + (0 + one | Batch)"):
        found = bmm.Model(formula, moved).fit().explained().table.loc["ICC adjusted"]
        assert found.to_numpy() == pytest.approx(expected.to_numpy(), rel=1e-6)


@pytest.mark.parametrize("formula", [SLEEP.format("Days"), "Reaction ~ Days + cs(1 + Days | Subject)"])
def test_standard_errors_are_the_spread_of_refits(formula):
    fit = bmm.Model(formula, bmm.datasets.load("sleepstudy")).fit()
    rng, design = np.random.default_rng(3), fit.design
    block, L = design.blocks[0], fit.sigma * fit.factors[0]
    b = np.einsum("ij,qjm->qim", L, rng.normal(size=(block.q, block.k, 100)))
    y = (design.X @ fit.estimate.beta)[:, None] + fit.sigma * rng.normal(size=(design.n, 100))
    y += np.einsum("nk,nkm->nm", block.columns, b[block.incidence.only.codes])
    logits = []
    for problem in fit.problem.with_responses(y):
        found = estimate(Criterion(problem.products, problem.layout, "reml"), fit.estimate.minimum.x)
        covariances = [found.sigma**2 * L @ L.T for L in found.factors]
        values = np.array(explain(measure_columns(design).split(found.beta, covariances, found.sigma)))
        logits.append(np.log(values / (1.0 - values)))
    table = fit.explained().table
    expected = table["std_error"] / (table["estimate"] * (1.0 - table["estimate"]))
    assert (np.std(logits, axis=0) / expected).tolist() == pytest.approx([1.0] * 4, abs=0.2)


def test_shares_are_the_posterior_s_rows_and_sum_to_one():
    model = bmm.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", bmm.datasets.load("penicillin"))
    fit, posterior = model.fit(), make_posterior(model)
    for total in ("unexplained", "response"):
        ours, theirs = fit.variance_shares(total=total), posterior.variance_shares(total=total)
        assert ours.index.tolist() == theirs.index.tolist()
        assert ours["estimate"].sum() == pytest.approx(1.0)
    ours, theirs = fit.explained(), posterior.explained()
    assert ours.table.index.equals(theirs.table.index)
    assert ours.shares.index.equals(theirs.shares.index)
    assert theirs.table.columns.tolist() == ["mean", "sd", "lower", "upper"]
    assert ours.table.columns.tolist() == ["estimate", "std_error", "lower", "upper"]


def test_posterior_explains_as_a_fit_does_draw_by_draw():
    model = bmm.Model(SLEEP.format("Days"), bmm.datasets.load("sleepstudy"))
    estimates = model.fit().parameters["estimate"]
    posterior = make_posterior(model, {name: np.full((4, 1000), value) for name, value in estimates.items()})
    table = posterior.explained(level=0.5).table
    assert table["mean"].tolist() == pytest.approx(model.fit().explained().table["estimate"].tolist())
    assert table["sd"].to_numpy() == pytest.approx(0.0, abs=1e-12)
    r2 = posterior.r2(kind="variances")
    assert float(r2["conditional"][0, 0]) == pytest.approx(table.loc["R2 conditional", "mean"])
    with pytest.raises(ValueError, match="kind is 'gelman': give 'fitted' or 'variances'"):
        posterior.r2(kind="gelman")


def test_levels_of_one_factor_that_share_a_row_count_each_by_itself():
    rng = np.random.default_rng(1)
    first, second = rng.integers(0, 12, 80), rng.integers(0, 12, 80)
    effects = rng.normal(size=12)
    data = pd.DataFrame({"y": effects[first] + effects[second] + rng.normal(size=80), "a": first, "b": second})
    fit = bmm.Model("y ~ 1 + (1 | mm(a, b))", data).fit()
    together = fit.explained().table.loc["ICC adjusted"]
    weights = np.where(first == second, 1.0, 0.5).mean()  # z'z of a row: members weigh a half
    variance = weights * fit.parameters.loc["sd(Intercept | mm(a, b))", "estimate"] ** 2
    assert together["estimate"] == pytest.approx(variance / (variance + fit.sigma**2))
    assert 0.0 < together["lower"] < together["estimate"] < together["upper"] < 1.0


def test_boundary_has_no_standard_error_and_says_so():
    formula = "Yield ~ x + (x || Batch)"
    data = bmm.datasets.load("dyestuff2").assign(x=np.tile(np.arange(5.0), 6))
    explained = bmm.Model(formula, data).fit().explained()
    assert explained.shares.loc["Batch", "estimate"] == pytest.approx(0.0, abs=1e-9)
    assert explained.shares.loc["Batch", ["std_error", "lower", "upper"]].isna().all()
    assert "on the boundary and has no standard error" in str(explained)


def test_wrong_arguments_are_answered():
    fit = sleepstudy()
    with pytest.raises(ValueError, match="total is 'all': give 'unexplained' or 'response'"):
        fit.variance_shares(total="all")
    with pytest.raises(ValueError, match="level is 95"):
        fit.explained(level=95)


# -- information criteria ---------------------------------------------------------------------------------------------


def greven_kneib(fit, share=1.0):
    """Effective degrees of freedom of Theorem 3 of Greven & Kneib (2010) without σ's, in n × n matrices.

    `share` is how much of what goes through σ̂ counts: R's cAIC4 1.1 has one half.
    """
    design = fit.design
    (block,), X, y = design.blocks, design.X, design.y
    Z, L = random_columns(block.incidence.only.codes, block.columns, block.q), fit.factors[0]
    V_inverse = np.linalg.inv(np.eye(design.n) + Z @ level_covariance(L @ L.T, block.q) @ Z.T)
    A = V_inverse - V_inverse @ X @ np.linalg.solve(X.T @ V_inverse @ X, X.T @ V_inverse)
    inner = A if fit.method == "reml" else V_inverse
    df = design.n - design.p if fit.method == "reml" else design.n
    e, tye = A @ y, y @ A @ y
    k = block.k
    W = []  # V is linear in variances and covariances
    for i in range(k):
        for j in range(i + 1):
            E = np.zeros((k, k))
            E[i, j] = E[j, i] = 1.0
            W.append(Z @ level_covariance(E, block.q) @ Z.T)
    B = np.array([[-tye * np.sum((a @ inner) * (b @ inner).T) / (2 * df) for b in W] for a in W])
    B += np.array([[e @ a @ A @ b @ e - (e @ a @ e) * (e @ b @ e) / (2 * tye) for b in W] for a in W])
    C = np.array([A @ w @ e - share * (e @ w @ e) / tye * e for w in W])
    return design.n - np.trace(A) + np.sum(np.linalg.solve(B, C) * np.array([A @ w @ e for w in W]))


# cAIC4 1.1 with lme4 2.0.1: conditional log-likelihood and degrees of freedom (with σ's one), to ten digits
CAIC4 = {
    ("1", "ml"): (-864.53545687, 18.97926985),
    ("1", "reml"): (-864.5295004, 19.02962967),
    ("Days", "ml"): (-824.92987717, 30.96951824),
    ("Days", "reml"): (-824.50689106, 31.30197993),
}


@pytest.mark.parametrize(("term", "method"), CAIC4)
def test_conditional_aic_is_greven_and_kneib_s(term, method):
    fit = sleepstudy(term, method)
    criteria, (loglik, df) = fit.criteria(), CAIC4[term, method]
    assert criteria.conditional_loglik == pytest.approx(loglik, abs=1e-3)
    assert criteria.effective_df - 1.0 == pytest.approx(greven_kneib(fit), abs=1e-6)
    assert greven_kneib(fit, share=0.5) + 1.0 == pytest.approx(df, abs=5e-4)  # R's own figure, by its own formula
    assert criteria.effective_df == pytest.approx(df, abs=0.1)
    assert criteria.caic == -2.0 * criteria.conditional_loglik + 2.0 * criteria.effective_df


@pytest.mark.parametrize(
    ("name", "method"),
    [("weights", "reml"), ("structure", "ml"), ("two factors", "reml"), ("known sigma", "ml"), ("offset", "reml")],
)
def test_effective_degrees_of_freedom_are_the_derivative_of_the_fitted_values(name, method):
    rng = np.random.default_rng(6)
    n = 30
    g, h, x = rng.integers(0, 6, n), rng.integers(0, 4, n), rng.normal(size=n)
    y = 2 + x + rng.normal(size=6)[g] + 0.8 * rng.normal(size=4)[h] + x * rng.normal(size=6)[g] + rng.normal(size=n)
    data = pd.DataFrame({"y": y, "x": x, "g": g, "h": h, "w": rng.uniform(0.5, 2.0, n)})
    formula = {
        "weights": "y ~ x + (x | g)",
        "structure": "y ~ x + homcs(1 + x | g)",
        "two factors": "y ~ x + (1 | g) + (1 | h)",
        "known sigma": "y ~ x + (1 | g) + (0 + x | g)",
        "offset": "y ~ 1 + offset(2 * x) + (x | g)",
    }[name]
    weights, sigma = "w" if name == "weights" else None, 1.0 if name == "known sigma" else None
    fit = bmm.Model(formula, data, weights=weights, sigma=sigma).fit(method)

    def fitted(response):
        problem = fit.problem.with_response(response)
        found = estimate(Criterion(problem.products, problem.layout, method, sigma), fit.estimate.minimum.x)
        return build_predictors(problem.design).mean(found.beta, found.modes)

    def slope(i, h):
        step = h * (np.arange(n) == i)
        return (fitted(y + step) - fitted(y - step))[i] / (2.0 * h)

    trace = sum((4.0 * slope(i, 0.05) - slope(i, 0.1)) / 3.0 for i in range(n))  # searches end within some 1e-6
    criteria = fit.criteria()
    assert not fit.is_singular
    assert criteria.hat_trace + criteria.uncertainty == pytest.approx(trace, rel=1e-4)
    assert criteria.uncertainty > 1e-3
    assert criteria.n_residual == (sigma is None)
    e = y - fit.fitted
    density = stats.norm.logpdf(e, scale=fit.sigma / np.sqrt(fit.design.weights)).sum()
    assert criteria.conditional_loglik == pytest.approx(density)


def test_variances_of_zero_leave_the_criterion_of_the_regression():
    # cAIC4 1.1 on Dyestuff2: 166.8730367 by ML, 166.8900832 by REML, with 2 degrees of freedom
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2"))
    for method, expected in (("ml", 166.87303665), ("reml", 166.8900832)):
        criteria = model.fit(method).criteria()
        assert (criteria.caic, criteria.effective_df) == pytest.approx((expected, 2.0), abs=1e-6)


def test_trace_is_the_sum_of_leverages_and_marginal_criteria_are_the_fit_s():
    fit = sleepstudy("Days", "ml")
    criteria = fit.criteria()
    assert criteria.hat_trace == pytest.approx(28.61165, abs=2e-4)  # MixedModels.jl's documentation of leverage
    assert (criteria.aic, criteria.bic) == pytest.approx((fit.aic, fit.bic))
    assert criteria.aicc == pytest.approx(fit.aic + 2 * 6 * 7 / (180 - 7))
    assert criteria.table.loc["cAIC", "value"] == criteria.caic
    G = level_covariance(fit.sigma**2 * fit.factors[0] @ fit.factors[0].T, 18)
    (block,) = fit.design.blocks
    Z = random_columns(block.incidence.only.codes, block.columns, 18)
    dense = DenseModel(y=fit.design.y, X=fit.design.X, Z=Z)
    hat = [dense_fitted(dense, row, G, fit.sigma)[i] for i, row in enumerate(np.eye(180))]
    assert criteria.hat_trace == pytest.approx(sum(hat))


def dense_fitted(dense, y, G, sigma):
    return DenseModel(y=y, X=dense.X, Z=dense.Z).fitted(block_diagonal([G]), sigma)


def test_criteria_do_not_depend_on_origins_and_units():
    data = bmm.datasets.load("sleepstudy")
    moved = data.assign(Days=24.0 * data["Days"] + 4e4, Reaction=data["Reaction"] + 1e4)
    one, two = (bmm.Model(SLEEP.format("Days"), frame).fit("ml").criteria() for frame in (data, moved))
    assert two.effective_df == pytest.approx(one.effective_df, abs=1e-5)
    assert two.caic == pytest.approx(one.caic, abs=1e-4)
