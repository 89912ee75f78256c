"""The report on a standard deviation near zero: its parts against dense likelihoods and published figures."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_posterior import SHAPE, make_posterior
from oracle import DenseModel, level_covariance, random_columns
from scipy import optimize, stats

import bayesmm as bmm
from bayesmm.errors import ArgumentError, ComparisonError
from bayesmm.inference.variances.boundary_avoiding import avoid_boundary

BATCH, SCHOOL = "sd(Intercept | Batch)", "sd(Intercept | school)"
FEW = 60  # refits


@cache
def model(data: str) -> Any:
    frame = bmm.datasets.load(data)
    if data == "eight_schools":
        return bmm.Model("y ~ 1 + (1 | school)", frame, weights="1 / sigma**2", sigma=1.0)
    return bmm.Model("Yield ~ 1 + (1 | Batch)", frame)


@cache
def report(data: str, name: str) -> Any:
    return model(data).fit().boundary(name, n=FEW)


def dense(data: str) -> DenseModel:
    design = model(data).design
    (block,) = design.blocks
    Z = random_columns(block.incidence.only.codes, block.columns, block.q)
    return DenseModel(y=design.y, X=design.X, Z=Z, weights=design.weights)


def log_likelihood(data: str, sd: float, method: Any) -> float:
    """At a standard deviation, with σ at its best or known."""
    of = dense(data)
    G = level_covariance(np.array([[sd**2]]), of.Z.shape[1])
    if data == "eight_schools":
        return of.log_likelihood(G, 1.0, method)
    found = optimize.minimize_scalar(
        lambda s: -of.log_likelihood(G, np.exp(s), method),
        bounds=(-3.0, 6.0),
        method="bounded",
        options={"xatol": 1e-9},
    )
    return -found.fun


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(("data", "most"), [("dyestuff", 200.0), ("dyestuff2", 10.0), ("eight_schools", 60.0)])
def test_boundary_avoiding_estimate_maximises_the_dense_likelihood_times_the_sd(data, most, method):
    best = optimize.minimize_scalar(
        lambda s: -log_likelihood(data, s, method) - np.log(s),
        bounds=(1e-3 * most, most),
        method="bounded",
        options={"xatol": 1e-9 * most},
    )
    found = avoid_boundary(model(data).fit(method=method), SCHOOL if data == "eight_schools" else BATCH)
    assert found.sd == pytest.approx(best.x, rel=1e-4)
    assert found.deviance == pytest.approx(-2.0 * log_likelihood(data, best.x, method), abs=1e-5)  # it is no minimum


def test_boundary_avoiding_estimate_of_a_correlated_effect_is_above_its_estimate():
    fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    found = avoid_boundary(fit, "sd(Days | Subject)")
    own = fit.parameters.loc["sd(Days | Subject)"]
    assert 0.0 < found.sd - own["estimate"] < own["std_error"]
    assert found.deviance > fit.estimate.criterion


def test_two_groups_have_no_boundary_avoiding_estimate():
    """Of two levels the restricted likelihood falls no faster than 1/sd, and its product with sd never."""
    rng = np.random.default_rng(0)
    data = pd.DataFrame({"y": rng.normal(size=12), "g": np.repeat(["a", "b"], 6)})
    fit = bmm.Model("y ~ 1 + (1 | g)", data).fit()
    assert np.isnan(avoid_boundary(fit, "sd(Intercept | g)").sd)
    assert "no boundary-avoiding estimate" in fit.boundary("sd(Intercept | g)", n=5).sentences[2]


@pytest.mark.parametrize(("data", "name"), [("dyestuff2", BATCH), ("eight_schools", SCHOOL), ("dyestuff", BATCH)])
def test_profile_limit_is_where_the_dense_likelihood_has_fallen(data, name):
    table = report(data, name).table
    fall = stats.chi2.ppf(0.95, 1) / 2.0
    best = model(data).fit().loglik
    upper = table.loc["profile likelihood", "upper"]
    assert best - log_likelihood(data, upper, "reml") == pytest.approx(fall, abs=1e-4)
    lower = table.loc["profile likelihood", "lower"]
    at_zero = table.loc["profile likelihood", "at_zero"]
    assert at_zero == pytest.approx(np.exp(log_likelihood(data, 0.0, "reml") - best), rel=1e-5)
    if at_zero > np.exp(-fall):
        assert lower == 0.0
    else:
        assert best - log_likelihood(data, lower, "reml") == pytest.approx(fall, abs=1e-4)


def test_zero_estimate_is_called_no_proof():
    found = report("dyestuff2", BATCH)
    assert found.table.loc["REML", "estimate"] == 0.0
    assert found.table.loc["likelihood-ratio test", "at_zero"] == 1.0
    assert "at zero" in found.sentences[0]
    assert "no proof" in found.sentences[0]
    assert "do not speak against zero" in found.sentences[1]
    assert len(found.sentences) == 3
    # Where the variance is zero, F is below one, and so the estimate zero, in 56 % of samples.
    assert "56 % of samples" in found.sentences[1]
    share = found.table.loc["bootstrap", "at_zero"]
    assert abs(share - stats.f.cdf(1.0, 5, 24)) < 4.0 * np.sqrt(0.25 / FEW)


def test_clear_variance_is_told_from_zero():
    found = report("dyestuff", BATCH)
    assert found.table.loc["REML", "estimate"] == pytest.approx(42.0006, abs=1e-3)
    assert abs(found.test.p_value - stats.f.sf(4.598, 5, 24)) < 1e-3
    assert "speak against zero" in found.sentences[1]
    assert "do not" not in found.sentences[1]


def test_posterior_is_read_with_its_density_at_zero():
    rng = np.random.default_rng(1)
    half_normal, far = np.abs(rng.normal(scale=2.0, size=SHAPE)), rng.normal(5.0, 0.5, size=SHAPE)
    fit = model("dyestuff2").fit()
    near = fit.boundary(BATCH, make_posterior(model("dyestuff2"), {BATCH: half_normal}), n=5)
    assert near.table.loc["posterior", "estimate"] == pytest.approx(half_normal.mean(), rel=1e-12)
    np.testing.assert_allclose(
        near.table.loc["posterior", ["lower", "upper"]], np.quantile(half_normal, [0.025, 0.975])
    )
    assert near.table.loc["posterior", "at_zero"] > 0.95
    assert "does not tell it from zero" in near.sentences[2]
    away = fit.boundary(BATCH, make_posterior(model("dyestuff2"), {BATCH: far}), n=5)
    assert away.table.loc["posterior", "at_zero"] < 1e-6
    assert "away from zero" in away.sentences[2]


def test_report_follows_the_units_of_the_response():
    frame = bmm.datasets.load("dyestuff2")
    other = frame.assign(
        Yield=1000.0 * frame["Yield"] - 7.0, Batch=frame["Batch"].cat.rename_categories(list("ZYXWVU"))
    )
    again = bmm.Model("Yield ~ 1 + (1 | Batch)", other).fit().boundary(BATCH, n=FEW)
    own = report("dyestuff2", BATCH).table
    lengths = ["estimate", "std_error", "lower", "upper"]
    np.testing.assert_allclose(again.table[lengths].to_numpy() / 1000.0, own[lengths].to_numpy(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(again.table["at_zero"], own["at_zero"], rtol=1e-6)


def test_standard_deviation_of_a_structured_term_has_a_report():
    """With a standard deviation of zero of one cell the term stays, while the test is of the whole term."""
    rng = np.random.default_rng(3)
    g, f = np.repeat(np.arange(12), 6), np.tile(np.repeat([0, 1], 3), 12)
    y = rng.normal(size=12)[g] + rng.normal(size=(12, 2))[g, f] + rng.normal(size=72)
    data = pd.DataFrame({"y": y, "g": g.astype(str), "f": np.array(["a", "b"])[f]})
    found = bmm.Model("y ~ f + cs(0 + f | g)", data).fit().boundary("sd(f[a] | g)", n=5)
    assert found.test.parameter == "cs(0 + f | g)"
    assert found.test.kind == "bootstrap"
    assert np.isnan(found.table.loc["profile likelihood", "at_zero"])
    assert found.table.loc["profile likelihood", "lower"] < found.table.loc["REML", "estimate"]


def test_same_seed_gives_the_same_report():
    fit = model("eight_schools").fit()
    pd.testing.assert_frame_equal(fit.boundary(SCHOOL, n=5, seed=4).table, fit.boundary(SCHOOL, n=5, seed=4).table)


def test_report_prints_within_a_terminal():
    text = str(report("dyestuff2", BATCH))
    assert max(map(len, text.splitlines())) <= 80
    assert "profile likelihood" in text
    assert text.count("•") == 3


@pytest.mark.parametrize("name", ["sigma", "Intercept", "sd(Batch)", 3])
def test_other_parameters_are_refused(name):
    with pytest.raises(ArgumentError, match=r"give the name of a standard deviation \(sd\(Intercept \| Batch\)\)"):
        model("dyestuff2").fit().boundary(name)


def test_posterior_of_other_data_is_refused():
    with pytest.raises(ComparisonError, match="not of the same model"):
        model("dyestuff2").fit().boundary(BATCH, make_posterior(model("dyestuff")))
