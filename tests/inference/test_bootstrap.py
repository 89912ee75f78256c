"""Bootstrap replicates are fits of data that the model, or the data themselves, would give."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import arviz as az
import numpy as np
import pandas as pd
import pytest
from scipy import stats

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmWarning
from bayesmm.fit import Fit
from bayesmm.inference.bootstrap import replicates
from bayesmm.inference.bootstrap.bootstrap import Bootstrap
from bayesmm.inference.bootstrap.intervals import interval_limits
from bayesmm.inference.bootstrap.resampling import LevelSampler, parametric_rows, residual_rows
from bayesmm.marginal.sums import responses as sums
from bayesmm.model import Model

load = bmm.datasets.load
SLOPES = "Reaction ~ Days + (Days | Subject)"
SURE = 4.0  # standard errors that a simulation may be off


@cache
def sleepstudy() -> Fit:
    return bmm.Model(SLOPES, load("sleepstudy")).fit()


@cache
def parametric() -> Bootstrap:
    return sleepstudy().bootstrap(400)


@cache
def one_way(name: str) -> Fit:
    return bmm.Model("Yield ~ 1 + (1 | Batch)", load(name)).fit()


def streams(n: int, seed: int = 3) -> list[np.random.Generator]:
    return [np.random.default_rng([seed, i]) for i in range(n)]


# -- parametric ---------------------------------------------------------------------------------------------------------


def test_share_of_zero_variances_is_that_of_the_f_distribution() -> None:
    """In a balanced one-way layout the REML estimate is zero where the F ratio is at most one."""
    found = one_way("dyestuff2").bootstrap(1000)
    share, expected = (found.draws["sd(Intercept | Batch)"] == 0.0).mean(), stats.f.cdf(1.0, 5, 24)
    assert abs(share - expected) < SURE * np.sqrt(expected * (1.0 - expected) / 1000)


def test_estimates_of_a_balanced_layout_have_their_exact_distributions() -> None:
    """σ̂² = MSW ~ σ²χ²/24 where MSB exceeds it, and the mean is normal with variance E(MSB)/n."""
    fit, n = one_way("dyestuff"), 3000
    found = fit.bootstrap(n)
    between = 5 * fit.parameters.loc["sd(Intercept | Batch)", "estimate"] ** 2 + fit.sigma**2
    mean = found.draws["Intercept"] - fit.estimate.beta[0]
    assert stats.kstest(mean / np.sqrt(between / 30), "norm").pvalue > 1e-3
    inside = found.draws["sd(Intercept | Batch)"] > 0.0
    ratio = 5 * found.draws["sd(Intercept | Batch)"] ** 2 + found.draws["sigma"] ** 2
    assert stats.kstest((5 * ratio / between)[inside], "chi2", args=(5,)).statistic < 0.06
    expected = stats.f.cdf(fit.sigma**2 / between, 5, 24)
    assert abs((~inside).mean() - expected) < SURE * np.sqrt(expected / n)
    # the acceleration of σ: a sixth of the skewness of χ² with 24 degrees of freedom
    assert found.acceleration[2] == pytest.approx(np.sqrt(8 / 24) / 6, abs=SURE * np.sqrt(6 / n) / 6)
    assert found.acceleration[0] == 0.0


def test_sums_and_rows_give_one_distribution() -> None:
    fit = sleepstudy()
    sums_alone, with_rows = fit.bootstrap(400, seed=2), fit.bootstrap(400, seed=5, statistic=lambda fit: fit.sigma)
    for name in fit.parameters.index:
        assert stats.ks_2samp(sums_alone.draws[name], with_rows.draws[name]).pvalue > 1e-3, name


def test_replicates_are_fits_of_their_rows() -> None:
    fit = bmm.Model(SLOPES, load("sleepstudy"), weights="1 + Days").fit("ml")
    found = fit.bootstrap(4, seed=3, statistic=lambda fit: fit.loglik)
    rows = parametric_rows(fit)(streams(4))
    for i in range(4):
        again = bmm.Model(SLOPES, load("sleepstudy").assign(Reaction=rows[:, i]), weights="1 + Days").fit("ml")
        np.testing.assert_allclose(found.draws.loc[i], again.parameters["estimate"], rtol=1e-4, atol=1e-5)
        assert found.statistics.loc[i, "statistic"] == pytest.approx(again.loglik, abs=1e-6)


def test_no_row_is_touched_where_sums_are_drawn(monkeypatch) -> None:
    fit = sleepstudy()
    assert fit.problem.products is not None

    def refuse(*arguments: Any) -> None:
        raise AssertionError("a row was read")

    for name in ("sum_residuals", "sum_left_over", "dense_rows", "_project"):
        monkeypatch.setattr(sums, name, refuse)
    assert fit.bootstrap(5).n_failed == 0
    with pytest.raises(AssertionError, match="a row was read"):
        fit.bootstrap(5, kind="residual")


@pytest.mark.parametrize("kind", ["parametric", "residual", "case"])
def test_same_seed_same_numbers_however_many_and_however_cut(kind, monkeypatch) -> None:
    fit = sleepstudy()
    all_of_them, few = fit.bootstrap(24, kind=kind), fit.bootstrap(9, kind=kind)
    monkeypatch.setattr(replicates, "MOST", 5)
    cut = fit.bootstrap(24, kind=kind)
    np.testing.assert_allclose(few.replicates, all_of_them.replicates[:9], rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(cut.replicates, all_of_them.replicates, rtol=1e-6, atol=1e-7)
    other = fit.bootstrap(9, kind=kind, seed=2)
    assert not np.isclose(other.replicates[:, 0], few.replicates[:, 0]).any()


@pytest.mark.parametrize("kind", ["parametric", "residual", "case"])
def test_units_of_the_response_and_names_do_not_matter(kind) -> None:
    data = load("sleepstudy")
    other = data.assign(Reaction=1000.0 * data.Reaction)
    found = bmm.Model(SLOPES, other).fit().bootstrap(12, kind=kind)
    expected = sleepstudy().bootstrap(12, kind=kind)
    scale = [1.0 if "cor" in name else 1000.0 for name in expected.draws]
    np.testing.assert_allclose(found.draws, expected.draws * scale, rtol=1e-4, atol=1e-4)


# -- residual and case --------------------------------------------------------------------------------------------------


def test_resampled_effects_and_residuals_have_the_estimated_covariance() -> None:
    """Averaged over resamples, exactly what was estimated: Carpenter, Goldstein & Rasbash (2003), section 3.2."""
    fit = sleepstudy()
    rows = residual_rows(fit)(streams(1500)) - (fit.design.X @ fit.estimate.beta)[:, None]
    values = rows.reshape(18, 10, -1)
    L = fit.sigma * fit.factors[0]
    X = fit.design.X[:10]
    expected = X @ L @ L.T @ X.T + fit.sigma**2 * np.eye(10)
    covariance = np.einsum("sdm,sem->de", values, values) / (18 * 1500)
    np.testing.assert_allclose(covariance, expected, atol=0.06 * np.abs(expected).max())


def test_residual_bootstrap_without_between_variance_has_none() -> None:
    fit = one_way("dyestuff2")
    rows = residual_rows(fit)(streams(300))
    means = rows.reshape(6, 5, -1).mean(axis=1) - fit.estimate.beta
    np.testing.assert_allclose(means.var(), fit.sigma**2 / 5, rtol=0.15)


@pytest.mark.parametrize(
    ("formula", "options", "method"),
    [
        (SLOPES, {}, "reml"),
        (SLOPES, {"weights": "1 + Days"}, "ml"),
        ("Reaction ~ 0 + offset(Days) + (1 | Subject)", {"sigma": 40.0}, "reml"),
    ],
)
def test_case_replicates_are_fits_of_the_levels_that_were_drawn(formula, options, method) -> None:
    data = load("sleepstudy").iloc[:-13]  # a level less, and one of 7 rows
    data = data.assign(Subject=data.Subject.cat.remove_unused_categories())
    fit = bmm.Model(formula, data, **options).fit(method)
    found, q = fit.bootstrap(4, kind="case", seed=4), data.Subject.nunique()
    for i, stream in enumerate(streams(4, 4)):
        names = data.Subject.cat.categories[np.sort(stream.integers(q, size=q))]
        copies = [data[data.Subject == name].assign(Subject=f"copy {j}") for j, name in enumerate(names)]
        again = bmm.Model(formula, pd.concat(copies), **options).fit(method)
        np.testing.assert_allclose(found.draws.loc[i], again.parameters["estimate"], rtol=1e-4, atol=1e-4)


def test_levels_inside_a_copy_are_levels_of_their_own() -> None:
    design = bmm.Model("strength ~ 1 + (1 | batch/cask)", load("pastes")).design
    sampler = LevelSampler(design, None)
    assert sampler.group == "batch"
    assert sampler.n_levels == 10
    drawn = sampler.draw(np.array([2, 2, 5, 5, 5, 0, 1, 3, 4, 6]))
    outer, inner = (next(block for block in drawn.blocks if block.group == name) for name in ("batch", "batch:cask"))
    assert outer.levels[:5] == ("C", "C (2)", "F", "F (2)", "F (3)")
    assert inner.q == 30
    assert len(set(inner.levels)) == 30
    codes = inner.incidence.memberships[0].codes
    assert (np.bincount(codes) == 2).all()
    assert (outer.incidence.memberships[0].codes == codes // 3).all()
    assert (drawn.y[:6] == drawn.y[6:12]).all()


def test_a_replicate_that_lacks_a_coefficient_is_counted_and_not_a_number() -> None:
    data = load("sleepstudy").assign(one=lambda d: (d.Subject == "308").astype(float))
    fit = bmm.Model("Reaction ~ Days + one + (1 | Subject)", data).fit()
    with pytest.warns(BayesmmWarning, match=r"of 20 refits failed: they are NaN") as caught:
        found = fit.bootstrap(20, kind="case")
    assert 0 < found.n_failed < 20
    assert caught[0].filename == __file__
    assert found.draws[found.failed].isna().all(axis=None)
    assert found.draws[~found.failed].notna().all(axis=None)
    assert f"{found.n_failed} of 20 refits failed" in str(found)
    assert found.data["posterior"].sizes["draw"] == 20 - found.n_failed
    assert found.data["posterior"].attrs["n_failed"] == found.n_failed
    np.testing.assert_array_equal(found.data["posterior"]["draw"], np.flatnonzero(~found.failed))


@pytest.mark.parametrize(
    ("formula", "data", "group", "message"),
    [
        ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", None, "No grouping factor holds all others"),
        ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", "plate", "No grouping factor holds all others"),
        ("strength ~ 1 + (1 | batch/cask)", "pastes", "batch:cask", "Give batch"),
        ("strength ~ 1 + (1 | batch/cask)", "pastes", "cask", "is no grouping factor: give one of"),
    ],
)
def test_levels_that_cannot_be_resampled_are_refused(formula, data, group, message) -> None:
    with pytest.raises(ArgumentError, match=message):
        bmm.Model(formula, load(data)).fit().bootstrap(5, kind="case", group=group)


# -- what is read off ---------------------------------------------------------------------------------------------------


def test_tables_are_those_of_the_draws() -> None:
    found, fit = parametric(), sleepstudy()
    table = found.parameters
    assert list(table.index) == list(fit.parameters.index)
    assert list(table.columns) == ["kind", "group", "estimate", "std_error", "lower", "upper", "bias"]
    np.testing.assert_allclose(table["estimate"], fit.parameters["estimate"])
    np.testing.assert_allclose(table["std_error"], found.draws.std())
    np.testing.assert_allclose(table["bias"], found.draws.mean() - table["estimate"])
    np.testing.assert_allclose(
        found.intervals(level=0.8)["lower"], found.draws.quantile(0.1), atol=0.1 * table["std_error"].max()
    )
    basic, percentile = found.intervals("basic", 0.9), found.intervals("percentile", 0.9)
    np.testing.assert_allclose(basic["lower"], 2.0 * table["estimate"] - percentile["upper"])


def test_basic_intervals_end_at_the_limits_of_a_parameter() -> None:
    basic = one_way("dyestuff2").bootstrap(200).intervals("basic")
    assert basic.loc["sd(Intercept | Batch)", "lower"] == 0.0


def test_bca_limits_are_those_of_scipy() -> None:
    """Of a mean of skew numbers, whose influences are the numbers; SciPy takes other quantiles between two replicates."""
    rng = np.random.default_rng(1)
    sample = rng.exponential(size=25)
    theirs = stats.bootstrap((sample,), np.mean, n_resamples=9999, method="BCa", rng=rng)
    centred = sample - sample.mean()
    acceleration = (centred**3).sum() / (centred**2).sum() ** 1.5 / 6.0
    ours = interval_limits(
        "bca",
        0.95,
        np.array([sample.mean()]),
        theirs.bootstrap_distribution[:, None],
        np.array([acceleration]),
        np.array([[0.0, np.inf]]),
    )
    np.testing.assert_allclose(ours[:, 0], theirs.confidence_interval, rtol=2e-3)


def test_case_acceleration_of_a_mean_is_that_of_its_groups() -> None:
    """Of a grand mean of balanced groups the influences are the groups' means: Efron (1987), equation 7.3."""
    fit = one_way("dyestuff")
    found = fit.bootstrap(300, kind="case")
    means = fit.design.y.reshape(6, 5).mean(axis=1) - fit.design.y.mean()
    assert found.acceleration[0] == pytest.approx((means**3).sum() / (means**2).sum() ** 1.5 / 6.0, rel=1e-6)


def test_there_is_no_bca_interval_on_the_boundary() -> None:
    found = one_way("dyestuff2").bootstrap(100)
    table = found.intervals("bca")
    assert table.loc["sd(Intercept | Batch)", ["lower", "upper"]].isna().all()
    assert table.loc[["Intercept", "sigma"]].notna().all(axis=None)
    assert "No BCa interval where" in str(found.summary(kind="bca"))


def test_arviz_shows_each_parameter_under_its_own_name() -> None:
    found = parametric()
    table = az.summary(found.data, kind="stats", round_to="none", ci_kind="eti", ci_prob=0.9)
    rows = {
        "beta[Intercept]": "Intercept",
        "beta[Days]": "Days",
        "sd_Subject[Intercept]": "sd(Intercept | Subject)",
        "sd_Subject[Days]": "sd(Days | Subject)",
        "cor_Subject[Intercept, Days]": "cor(Intercept, Days | Subject)",
        "sigma": "sigma",
    }
    assert list(table.index) == list(rows)
    for theirs, ours in rows.items():
        assert table.loc[theirs, "mean"] == pytest.approx(found.draws[ours].mean())
        assert table.loc[theirs, "sd"] == pytest.approx(found.draws[ours].std(), rel=1e-2)


def test_datatree_has_the_coordinates_of_estimates() -> None:
    tree, expected = parametric().data, sleepstudy().to_datatree()
    for name, variable in tree["posterior"].data_vars.items():
        assert variable.dims == ("chain", "draw", *expected["estimate"][name].dims)
        for dim in expected["estimate"][name].dims:
            np.testing.assert_array_equal(variable[dim], expected["estimate"][dim])
    for group in ("observed_data", "constant_data"):
        assert tree[group].to_dataset().identical(expected[group].to_dataset())


@pytest.mark.parametrize("statistic", [lambda fit: [fit.sigma, 2.0], lambda fit: {"sigma": fit.sigma, "two": 2.0}])
def test_statistics_are_bootstrapped_beside_the_parameters(statistic: Callable[[Fit], Any]) -> None:
    found = sleepstudy().bootstrap(60, statistic=statistic)
    first, second = found.statistics.columns
    np.testing.assert_allclose(found.statistics[first], found.draws["sigma"], rtol=1e-5)
    assert (found.statistics[second] == 2.0).all()
    table = found.intervals("bca")
    np.testing.assert_allclose(table.loc[first, "lower"], table.loc["sigma", "lower"], rtol=1e-3)
    assert first not in found.parameters.index
    assert first in str(found)


def test_statistic_of_resampled_levels_sees_their_data() -> None:
    found = sleepstudy().bootstrap(3, kind="case", statistic=lambda fit: {"n": fit.n, "mean": fit.design.y.mean()})
    assert (found.statistics["n"] == 180).all()
    assert found.statistics["mean"].nunique() == 3


def test_undefined_correlations_and_zero_variances_are_said() -> None:
    data = load("sleepstudy")
    data = data[data.Subject.isin(data.Subject.cat.categories[:5])].assign(
        Subject=lambda d: d.Subject.cat.remove_unused_categories()
    )
    fit = bmm.Model("Reaction ~ Days + (Days | Subject)", data).fit()
    found = fit.bootstrap(100)
    undefined = int(found.draws["cor(Intercept, Days | Subject)"].isna().sum())
    zero = int((found.draws["sd(Intercept | Subject)"] == 0.0).sum())
    text = re.sub(r"\s+", " ", str(found))
    assert (f"is not defined in {undefined} of 100" in text) == (undefined > 0)
    assert (f"sd(Intercept | Subject) is zero in {zero} of 100" in text) == (zero > 2)
    assert "100 replicates are few" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 1}, "n is 1: give a whole number from 2 to"),
        ({"n": 10, "kind": "wild"}, "kind is 'wild': give 'parametric', 'residual' or 'case'"),
        ({"n": 10, "seed": -1}, "seed is -1"),
        ({"n": 10, "group": "Subject"}, "only kind='case'"),
        ({"n": 10, "statistic": lambda fit: "text"}, "statistic returned 'text'"),
    ],
)
def test_arguments_out_of_range_are_named(options, message) -> None:
    with pytest.raises(ArgumentError, match=re.escape(message)):
        sleepstudy().bootstrap(**options)
    with pytest.raises(ArgumentError, match="give 'percentile', 'basic' or 'bca'"):
        parametric().intervals("normal")  # type: ignore[arg-type]


def test_interruption_leaves_nothing() -> None:
    fit, calls = sleepstudy(), []

    def interrupt(fit: Fit) -> float:
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return 1.0

    with pytest.raises(KeyboardInterrupt):
        fit.bootstrap(10, statistic=interrupt)


def test_pickle_gives_the_same_numbers_and_arrays_are_read_only() -> None:
    found = parametric()
    again = pickle.loads(pickle.dumps(found))
    assert str(again) == str(found)
    assert again.draws.equals(found.draws)
    with pytest.raises(ValueError, match="read-only"):
        found.replicates[0, 0] = 0.0


FORMULAS = {
    "aliased": ("Reaction ~ Days + twice + (Days || Subject)", {}),
    "offset": ("Reaction ~ Days + offset(shift) + (1 | Subject)", {"sigma": 30.0}),
    "members": ("Reaction ~ Days + (1 | mm(one, other))", {}),
    "dyads": ("Reaction ~ Days + (1 | dyad(one, other))", {}),
    "members and levels": ("Reaction ~ Days + (1 | Subject) + (1 | mm(one, other))", {}),
    "crossed": ("Reaction ~ Days + (Days | Subject) + (1 | week)", {}),
}


@pytest.mark.parametrize("kind", ["parametric", "residual"])
@pytest.mark.parametrize("name", FORMULAS)
def test_every_incidence_is_bootstrapped(name, kind) -> None:
    rng, data = np.random.default_rng(0), load("sleepstudy")
    members = np.stack([rng.permutation(list("abcdefgh"))[:2] for _ in range(len(data))])
    data = data.assign(
        twice=2 * data.Days,
        shift=rng.normal(size=len(data)),
        one=members[:, 0],
        other=members[:, 1],
        week=(data.index % 7).astype(str),
    )
    formula, options = FORMULAS[name]
    fit = Model(formula, data, **options).fit()
    found = fit.bootstrap(25, kind=kind)
    assert found.n_failed == 0
    errors = found.parameters["std_error"].loc[["Intercept", "Days"]]
    np.testing.assert_allclose(errors, fit.parameters["std_error"].loc[["Intercept", "Days"]], rtol=0.6)
