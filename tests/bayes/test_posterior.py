import dataclasses

import arviz_stats
import numpy as np
import pytest
import scipy.stats as st
import xarray as xr
from made_posterior import make_posterior

from bayesmm import Model, datasets
from bayesmm.bayes.exploring.run import make_settings
from bayesmm.bayes.results.pointwise import pointwise_log_likelihood


@pytest.fixture(scope="module")
def sleep():
    return Model("Reaction ~ Days + (Days | Subject)", datasets.load("sleepstudy"))


@pytest.fixture(scope="module")
def made(sleep):
    return make_posterior(sleep)


def test_variables_have_the_dims_and_coordinates_of_the_labels(made):
    posterior = made.data["posterior"]
    assert {name: values.dims[2:] for name, values in posterior.data_vars.items()} == {
        "beta": ("coef",),
        "sd_Subject": ("Subject_sd",),
        "cor_Subject": ("Subject_pair",),
        "sigma": (),
        "b_Subject": ("Subject", "Subject_effect"),
    }
    one = posterior["b_Subject"].sel(Subject="308", Subject_effect="Days")
    np.testing.assert_array_equal(one, made.draws("b_Subject")[:, :, 0, 1])
    assert posterior["cor_Subject"].coords["Subject_pair"].to_numpy().tolist() == ["Intercept, Days"]
    assert made.data["observed_data"]["y"].dims == ("obs",)
    assert made.data["constant_data"]["X"].dims == ("obs", "coef")


def test_the_parameter_table_has_the_rows_of_a_fit(made, sleep):
    table = made.parameters
    assert table.index.tolist() == sleep.fit().parameters.index.tolist()
    assert list(table.columns) == ["kind", "group", "mean", "sd", "lower", "upper", "r_hat", "ess_bulk", "ess_tail"]
    slope = made.draws("beta")[..., 1]
    assert table.loc["Days", "mean"] == pytest.approx(slope.mean())
    assert table.loc["Days", ["lower", "upper"]].tolist() == pytest.approx(np.quantile(slope, [0.025, 0.975]))
    narrow = made.parameter_table(level=0.5)
    assert narrow.loc["Days", "upper"] == pytest.approx(np.quantile(slope, 0.75))


@pytest.mark.parametrize("shape", [(4, 1000), (3, 101), (2, 9), (1, 50)])
def test_r_hat_and_effective_sizes_are_those_of_arviz(made, shape):
    rng = np.random.default_rng(5)
    posterior = made.data["posterior"].to_dataset().isel(chain=slice(shape[0]), draw=slice(shape[1]))
    drift = xr.DataArray(np.cumsum(rng.normal(size=shape), axis=1), dims=("chain", "draw"))
    posterior["sigma"] = np.exp(0.1 * drift.round(1))  # correlated, with ties
    data = xr.DataTree.from_dict({"posterior": posterior, "sample_stats": made.data["sample_stats"].to_dataset()})
    table = dataclasses.replace(made, data=data).parameter_table()
    for column, expected in {
        "r_hat": arviz_stats.rhat(posterior),
        "ess_bulk": arviz_stats.ess(posterior, method="bulk"),
        "ess_tail": arviz_stats.ess(posterior, method="tail", prob=(0.05, 0.95)),
    }.items():
        assert table.loc["sigma", column] == pytest.approx(float(expected["sigma"]), rel=1e-12, nan_ok=True)
        assert table.loc["Days", column] == pytest.approx(float(expected["beta"][1]), rel=1e-12, nan_ok=True)


def test_random_effects_are_tidy(made):
    table = made.random_effects(level=0.8)
    expected = ["group", "level", "effect", "mean", "sd", "lower", "upper"]
    assert list(table.columns) == expected
    row = table[(table["level"] == "309") & (table["effect"] == "Days")].iloc[0]
    draws = made.draws("b_Subject")[:, :, 1, 1]
    assert row["mean"] == pytest.approx(draws.mean())
    assert [row["lower"], row["upper"]] == pytest.approx(np.quantile(draws, [0.1, 0.9]))
    with pytest.raises(ValueError, match="level is 95"):
        made.random_effects(level=95)


def test_an_unknown_variable_is_refused_with_the_known_ones(made):
    with pytest.raises(KeyError, match="'b_subject' is not a variable of the posterior; there are beta, sd_Subject"):
        made.draws("b_subject")


def test_good_draws_are_said_to_be_good(made):
    assert made.diagnostics.is_good
    assert "can be used as they are" in str(made)


def test_divergences_are_counted_and_answered(sleep):
    diagnostics = make_posterior(sleep, divergences=3).diagnostics
    assert not diagnostics.is_good
    assert diagnostics.advice.startswith("3 of 4000 trajectories diverged: raise target_accept")


def test_divergences_are_located(sleep):
    name = "sd(Days | Subject)"
    draws = np.random.default_rng(2).gamma(9.0, size=(4, 1000))
    draws[0, :20] = 0.1  # the first draws are those that diverge
    advice = make_posterior(sleep, {name: draws}, divergences=20).diagnostics.advice
    assert advice.startswith(f"20 of 4000 trajectories diverged, mostly at small {name}: raise target_accept")


def test_slow_tails_are_named(sleep):
    rng = np.random.default_rng(2)
    energy = np.cumsum(rng.standard_normal((4, 1000)), axis=1)  # a walk: each step is small beside its spread
    name = "sd(Days | Subject)"
    ranks = np.argsort(np.argsort(energy.ravel())).reshape(energy.shape)
    made = make_posterior(sleep, {name: 5.0 + ranks * rng.choice([-1e-3, 1e-3], size=energy.shape)})
    made.data["sample_stats"]["energy"].values[...] = energy
    diagnostics = made.diagnostics
    assert diagnostics.bfmi < 0.3
    assert diagnostics.energy_of == name
    assert f"a tighter prior of {name}" in diagnostics.advice


def test_chains_that_disagree_are_named(sleep):
    rng = np.random.default_rng(1)
    apart = rng.normal(size=(4, 1000)) + 10.0 + 3.0 * np.arange(4.0)[:, None]
    diagnostics = make_posterior(sleep, {"Days": apart}).diagnostics
    assert diagnostics.r_hat_of == diagnostics.ess_of == "Days"
    assert "R̂ of Days is" in diagnostics.advice
    assert "sample longer" in diagnostics.advice


def test_effects_of_the_conditional_program_are_checked_too(made):
    effects = made.draws("b_Subject").copy()
    effects[0, :, 2, 1] += 50.0
    data = made.data.copy(deep=True)
    data["posterior"]["b_Subject"].values[...] = effects
    worst = dataclasses.replace(made, data=data, program="conditional").diagnostics
    assert worst.r_hat_of == "Days of Subject 310"


def test_pointwise_log_likelihood_is_the_normal_density_given_the_effects(made, sleep):
    design = sleep.design
    sites = {name: made.draws(name)[:, :5] for name in ("beta", "sigma", "b_Subject")}
    values, notes = pointwise_log_likelihood(sites, design, 10**6)
    (block,) = design.blocks
    b = sites["b_Subject"][1, 2][block.incidence.only.codes]
    mean = design.X @ sites["beta"][1, 2] + (block.columns * b).sum(axis=1)
    assert notes == ()
    np.testing.assert_allclose(values[1, 2], st.norm(mean, sites["sigma"][1, 2]).logpdf(design.y))


def test_a_log_likelihood_that_is_too_large_is_left_out_with_a_note(made, sleep):
    sites = {name: made.draws(name) for name in ("beta", "sigma", "b_Subject")}
    values, (note,) = pointwise_log_likelihood(sites, sleep.design, 1000)
    assert values is None
    assert "720,000 numbers, more than pointwise_limit=1,000, and was left out" in note


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"draws": 0}, "draws is 0: give a whole number of at least 1"),
        ({"chains": 2.0}, "chains is 2.0: give a whole number"),
        ({"seed": -1}, "seed is -1"),
        ({"target_accept": 1.0}, "target_accept is 1.0: give a probability between 0 and 1"),
    ],
)
def test_impossible_lengths_are_refused(wrong, message):
    given = {"draws": 10, "tune": 10, "chains": 2, "seed": 0, "target_accept": 0.8, "max_tree_depth": 10}
    with pytest.raises(ValueError, match=message):
        make_settings(**(given | wrong))
