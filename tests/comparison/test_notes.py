"""The sentences follow from the numbers."""

import numpy as np
import pandas as pd
import pytest
from made_posterior import SHAPE, make_posterior, normal_draws
from scipy import special

import bayesmm as bmm
from bayesmm.comparison.evidence import gather
from bayesmm.comparison.notes import write_notes
from bayesmm.specification import priors

SD = "sd(Intercept | Batch)"


@pytest.fixture(scope="module")
def dyestuff():
    return bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))


def notes_of(model, posterior, method="reml", df="normal"):
    return bmm.compare(model.fit(method), posterior, df=df).notes


def gamma_draws(mean, sd, seed=5):
    """Skewed draws: skewness 2 sd / mean."""
    shape = (mean / sd) ** 2
    return np.random.default_rng(seed).gamma(shape, mean / shape, SHAPE)


def test_equal_results_agree_and_nothing_else_is_said_of_the_parameters(dyestuff):
    notes = notes_of(dyestuff, make_posterior(dyestuff, priors="flat"))
    assert notes == (
        "They agree: every posterior mean is within 0.01 posterior sds of its REML estimate.",
        "Normal intervals and posterior intervals of Intercept are as wide; their ends differ by 0.04 posterior sds.",
        "Posterior sds of the random effects equal the BLUPs' conditional sds on average.",
    )


def test_skewed_sd_is_explained_with_its_figures_and_the_number_of_levels(dyestuff):
    draws = gamma_draws(60.0, 30.0)
    notes = notes_of(dyestuff, make_posterior(dyestuff, {SD: draws}, priors="flat"))
    note = next(note for note in notes if "long right tail" in note)
    assert "(6 levels of Batch inform them)" in note
    assert f"{SD} {draws.mean():.1f} (median {np.median(draws):.1f}) against 42.0" in note
    assert notes[0].startswith("The fixed effects agree: the posterior mean is within 0.01")


def test_symmetric_shift_is_not_called_skewed(dyestuff):
    draws = normal_draws(55.0, 10.0, np.random.default_rng(0))
    notes = notes_of(dyestuff, make_posterior(dyestuff, {SD: draws}, priors="flat"))
    assert not any("long right tail" in note for note in notes)
    assert any(note.startswith("Neither priors") and f"{SD} 55.0 against 42.0" in note for note in notes)


def test_maximum_likelihood_is_told_apart_from_skewness(dyestuff):
    posterior = make_posterior(dyestuff, {SD: gamma_draws(60.0, 30.0)}, priors="flat")
    assert any("counterpart of method='reml'" in note for note in notes_of(dyestuff, posterior, "ml"))
    assert not any("counterpart" in note for note in notes_of(dyestuff, posterior))


def test_zero_sd_is_named_with_what_the_posterior_says_instead():
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2"))
    draws = gamma_draws(1.2, 1.0)
    notes = notes_of(model, make_posterior(model, {SD: draws}, widen=1.3))
    note = next(note for note in notes if "exactly zero" in note)
    assert note.startswith(f"REML puts {SD} at exactly zero")
    assert f"below {np.quantile(draws, 0.95):.3f} with probability 0.95, mean {draws.mean():.3f}" in note
    assert any(note.startswith("A variance of zero leaves BLUPs of Batch no uncertainty") for note in notes)


def test_correlation_of_one_is_named_with_the_posteriors_interval():
    rng = np.random.default_rng(2)
    g, x = np.repeat(np.arange(8), 6), np.tile(np.arange(6.0), 8)
    b = rng.normal(size=8)
    y = 3.0 + b[g] * (1.0 + 0.8 * x) + x + 2.0 * rng.normal(size=48)
    model = bmm.Model("y ~ x + (x | g)", pd.DataFrame({"y": y, "x": x, "g": g}))
    name = "cor(Intercept, x | g)"
    assert model.fit().parameters.loc[name, "estimate"] == pytest.approx(1.0, abs=1e-6)
    draws = np.random.default_rng(0).uniform(-0.4, 0.96, SHAPE)
    lower, upper = np.quantile(draws, [0.025, 0.975])
    notes = notes_of(model, make_posterior(model, {name: draws}))
    note = next(note for note in notes if note.startswith(name))
    assert "is +1 in the REML fit" in note
    assert f"from −{-lower:.3f} to {upper:.3f} open" in note


def test_undefined_correlation_is_called_undefined():
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    name = "cor(Intercept, Days | Subject)"
    draws = gamma_draws(0.1, 0.1)
    fit, posterior = model.fit(), make_posterior(model, {name: draws})
    comparison = bmm.compare(fit, posterior)
    table = comparison.table.copy()
    table.loc[name, ["estimate", "std_error", "shift"]] = np.nan
    notes = write_notes(gather(fit, posterior, table, comparison.random_effects), "satterthwaite")
    start = f"{name} is undefined in the REML fit; the posterior has mean {draws.mean():.3f}"
    assert any(note.startswith(start) for note in notes)


def test_prior_that_moves_a_mean_is_named_with_its_direction(dyestuff):
    declared = {"Intercept": priors.Normal(1500.0, 10.0)}
    posterior = make_posterior(
        dyestuff, {"Intercept": normal_draws(1515.0, 9.0, np.random.default_rng(0))}, priors=declared
    )
    notes = notes_of(dyestuff, posterior)
    note = next(note for note in notes if note.startswith("Priors move"))
    assert "Intercept down by about 2.5 posterior sds (Normal(1500, 10), yours)" in note


def test_wide_default_priors_are_not_blamed(dyestuff):
    notes = notes_of(dyestuff, make_posterior(dyestuff, {SD: gamma_draws(60.0, 30.0)}))
    assert not any(note.startswith("Priors move") for note in notes)


def test_divergences_come_first_and_leave_nothing_unexplained(dyestuff):
    draws = normal_draws(80.0, 10.0, np.random.default_rng(0))
    notes = notes_of(dyestuff, make_posterior(dyestuff, {SD: draws}, priors="flat", divergences=7))
    assert notes[0].startswith("The draws are not reliable yet")
    assert "7 of 4000 trajectories diverged" in notes[0]
    assert not any(note.startswith("Neither") for note in notes)


def test_fit_that_did_not_converge_comes_first(dyestuff, monkeypatch):
    monkeypatch.setattr("bayesmm.fit.fit.Fit.status", bmm.errors.FitStatus.NOT_CONVERGED)
    notes = notes_of(dyestuff, make_posterior(dyestuff, priors="flat"))
    assert notes[0].startswith("The REML fit did not converge, so nothing below can be relied on.")


def test_widths_are_compared_in_percent(dyestuff):
    notes = notes_of(dyestuff, make_posterior(dyestuff, widen=1.2, priors="flat"))
    start = "Posterior intervals of Intercept are 19 % wider than normal intervals, which take the estimated"
    assert any(note.startswith(start) for note in notes)
    assert any("random effects are on average 20 % larger (Batch)." in note for note in notes)


def sleepstudy():
    return bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))


def test_full_layer_is_recommended_where_it_is_near_the_posterior():
    model = sleepstudy()
    notes = notes_of(model, make_posterior(model, widen=1.25, priors="flat"))
    note = next(note for note in notes if note.startswith("Full sds"))
    table = bmm.compare(model.fit(), make_posterior(model)).random_effects
    change = (table["full"] / table["std_error"]).groupby(table["effect"]).mean() - 1.0
    assert f"{100 * change['Days']:.0f} % larger (Subject, Days)" in note
    assert "near the posterior's: report them" in note


def test_posterior_is_recommended_where_it_is_far_from_the_full_layer():
    model = sleepstudy()
    notes = notes_of(model, make_posterior(model, widen=2.0, priors="flat"))
    note = next(note for note in notes if note.startswith("Full sds"))
    assert "the posterior's differ from them by +" in note
    assert "the posterior is to be reported" in note


def test_full_layer_is_no_matter_where_all_sds_are_alike():
    rng, g = np.random.default_rng(4), np.repeat(np.arange(80), 6)
    data = pd.DataFrame({"g": g, "y": rng.normal(size=80)[g] + rng.normal(size=480)})
    model = bmm.Model("y ~ 1 + (1 | g)", data)
    assert model.fit().parameters.loc["sd(Intercept | g)", "estimate"] > 0.5
    posterior = make_posterior(model, priors="flat")
    assert not any(note.startswith("Full sds") for note in notes_of(model, posterior))


def test_narrower_posteriors_are_said_to_be_so(dyestuff):
    notes = notes_of(dyestuff, make_posterior(dyestuff, widen=0.8, priors="flat"))
    assert any("intervals of Intercept are 20 % narrower than normal intervals" in note for note in notes)
    assert any("random effects are on average 20 % smaller (Batch)" in note for note in notes)


def test_small_samples_are_allowed_for_by_t_intervals(dyestuff):
    """Draws as wide as a t of five degrees of freedom: the intervals agree, where normal ones are too short."""
    n = int(np.prod(SHAPE))
    t = np.random.default_rng(3).permutation(special.stdtrit(5.0, (np.arange(n) + 0.5) / n)).reshape(SHAPE)
    fit = dyestuff.fit()
    estimate, error = fit.fixed_effects.loc["Intercept", ["estimate", "std_error"]]
    posterior = make_posterior(dyestuff, {"Intercept": estimate + error * t}, priors="flat")
    fair, short = (notes_of(dyestuff, posterior, df=df) for df in ("kenward-roger", "normal"))
    assert any(note.startswith("Kenward and Roger's t intervals and posterior intervals") for note in fair)
    assert any("wider than normal intervals" in note for note in short)
