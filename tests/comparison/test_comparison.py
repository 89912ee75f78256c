"""The tables of a comparison, and how it prints."""

from dataclasses import FrozenInstanceError
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.errors import ComparisonError


@pytest.fixture(scope="module")
def sleep():
    return bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))


@pytest.fixture(scope="module")
def comparison(sleep):
    return bmm.compare(sleep.fit(), make_posterior(sleep, widen=1.2))


def test_table_has_one_row_for_each_parameter_of_the_fit(sleep, comparison):
    assert list(comparison.table.index) == list(sleep.fit().parameters.index)
    assert list(comparison.table) == [
        *("kind", "group", "estimate", "std_error", "fit_lower", "fit_upper"),
        *("mean", "sd", "posterior_lower", "posterior_upper", "shift", "r_hat", "ess_bulk", "ess_tail"),
    ]


def test_table_repeats_both_results(comparison):
    fit, posterior = comparison.fit.parameters, comparison.posterior.parameters
    pd.testing.assert_series_equal(comparison.table["fit_upper"], fit["upper"], check_names=False)
    pd.testing.assert_series_equal(comparison.table["std_error"], fit["std_error"])
    pd.testing.assert_series_equal(comparison.table["posterior_lower"], posterior["lower"], check_names=False)
    pd.testing.assert_series_equal(comparison.table["ess_tail"], posterior["ess_tail"])


def test_shift_is_counted_in_posterior_sds(sleep):
    estimate = sleep.fit().parameters.loc["Days", "estimate"]
    rng = np.random.default_rng(1)
    z = rng.standard_normal((4, 1000))
    posterior = make_posterior(sleep, {"Days": estimate + 3.0 + 2.0 * (z - z.mean()) / z.std(ddof=1)})
    table = bmm.compare(sleep.fit(), posterior).table
    assert table.loc["Days", "shift"] == pytest.approx(1.5)
    assert table.loc["Intercept", "shift"] == pytest.approx(0.0, abs=1e-9)


def test_level_reaches_both_intervals(sleep, comparison):
    half = bmm.compare(comparison.fit, comparison.posterior, level=0.5).table
    assert half["fit_lower"].equals(comparison.fit.parameter_table(level=0.5)["lower"])
    assert half["posterior_upper"].equals(comparison.posterior.parameter_table(level=0.5)["upper"])


def test_random_effects_stand_side_by_side_level_by_level(comparison):
    table = comparison.random_effects
    modes, draws = comparison.fit.random_effects(), comparison.posterior.random_effects()
    assert list(table) == [
        "group",
        "level",
        "effect",
        "unpooled",
        "estimate",
        "std_error",
        "full",
        "mean",
        "sd",
        "shift",
    ]
    pd.testing.assert_frame_equal(table[["group", "level", "effect"]], modes[["group", "level", "effect"]])
    np.testing.assert_array_equal(table["std_error"], modes["std_error"])
    full = comparison.fit.random_effects(uncertainty="full")["std_error"]
    np.testing.assert_array_equal(table["full"], full)
    shown = [line.split() for line in str(comparison).splitlines() if line.split()[:2] == ["308", "Days"]]
    assert all(f"{full[1]:.2f}" in line for line in shown)
    np.testing.assert_array_equal(table["sd"], draws["sd"])
    np.testing.assert_allclose(table["shift"], (table["mean"] - table["estimate"]) / table["sd"])


def test_unpooled_effects_are_least_squares_within_the_level():
    data = bmm.datasets.load("sleepstudy").assign(w=np.tile([1.0, 2.0, 0.5], 60))
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", data, weights="w")
    fit = model.fit()
    table = bmm.compare(fit, make_posterior(model)).random_effects
    alone = table[table["level"] == "335"].set_index("effect")["unpooled"]
    own = data[data["Subject"] == "335"]
    Z = np.column_stack([np.ones(len(own)), own["Days"]])
    root = np.sqrt(own["w"].to_numpy())
    rest = own["Reaction"].to_numpy() - Z @ fit.parameters.loc[["Intercept", "Days"], "estimate"].to_numpy()
    expected = np.linalg.lstsq(root[:, None] * Z, root * rest, rcond=None)[0]
    np.testing.assert_allclose(alone.loc[["Intercept", "Days"]], expected, rtol=1e-8)


def test_unpooled_effects_of_crossed_factors_take_the_other_factor_as_it_is():
    model = bmm.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", bmm.datasets.load("penicillin"))
    fit = model.fit()
    table = bmm.compare(fit, make_posterior(model)).random_effects
    modes = fit.random_effects().set_index(["group", "level"])["estimate"]
    data = bmm.datasets.load("penicillin")
    own = data[data["plate"] == "a"]
    others = modes.loc["sample"].loc[own["sample"].astype(str)].to_numpy()
    expected = (own["diameter"] - fit.parameters.loc["Intercept", "estimate"] - others).mean()
    alone = table[(table["group"] == "plate") & (table["level"] == "a")]["unpooled"].item()
    assert alone == pytest.approx(expected)


def test_unpooled_effects_that_a_level_cannot_determine_are_missing():
    data = bmm.datasets.load("sleepstudy").query("Subject != '308' or Days == 3")
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", data)
    comparison = bmm.compare(model.fit(), make_posterior(model))
    table = comparison.random_effects
    assert table.loc[table["level"] == "308", "unpooled"].isna().all()
    assert table.loc[table["level"] != "308", "unpooled"].notna().all()
    assert str(comparison)


def test_known_sigma_is_no_row():
    model = bmm.Model("y ~ 1 + (1 | school)", bmm.datasets.load("eight_schools"), weights="1 / sigma**2", sigma=1.0)
    comparison = bmm.compare(model.fit(), make_posterior(model))
    assert "sigma" not in comparison.table.index
    assert "residual standard deviation known to be 1" in str(comparison)


def test_comparison_cannot_be_changed(comparison):
    with pytest.raises(FrozenInstanceError):
        comparison.level = 0.5


def test_sleepstudy_prints_in_a_hundred_columns(comparison):
    lines = str(comparison).splitlines()
    assert max(map(len, lines)) <= 100
    assert repr(comparison) == str(comparison)


def test_printed_report_has_formula_parameters_notes_and_shrinkage(comparison):
    text = str(comparison)
    assert text.startswith("Reaction ~ Days + (Days | Subject)\n")
    for words in ("180 rows", "18 levels of Subject", "─ REML ─", "─ posterior ─", "sd(Intercept)", "sigma", "R-hat"):
        assert words in text
    assert all(note.split(":")[0] in text.replace("\n  ", " ") for note in comparison.notes)
    assert text.count("●") == 4 * 2 + 1  # four levels of two effects, and the legend


def test_long_names_stand_on_a_line_of_their_own():
    data = bmm.datasets.load("sleepstudy").assign(a_predictor_with_a_really_long_name=lambda d: np.sin(d["Days"] ** 2))
    model = bmm.Model("Reaction ~ a_predictor_with_a_really_long_name + (1 | Subject)", data)
    lines = str(bmm.compare(model.fit(), make_posterior(model))).splitlines()
    assert "  a_predictor_with_a_really_long_name" in lines
    assert max(map(len, lines)) <= 100


def test_notebook_page_is_well_formed_and_escaped():
    data = bmm.datasets.load("dyestuff").assign(Batch=lambda d: d["Batch"].astype(str) + "<b>")
    model = bmm.Model("Yield ~ 1 + (1 | Batch)", data)
    page = bmm.compare(model.fit(), make_posterior(model))._repr_html_()
    assert "C&lt;b&gt;" in page
    reader = _Balance()
    reader.feed(page)
    assert reader.open == []


class _Balance(HTMLParser):
    """Keeps the tags that are open."""

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_bootstrap_stands_beside_fit_and_posterior():
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    fit, posterior = model.fit(), make_posterior(model)
    refits = fit.bootstrap(60, progress=False)
    comparison = bmm.compare(fit, refits, posterior)
    for name, column in (("std_error", "std_error"), ("lower", "lower"), ("upper", "upper")):
        expected = refits.parameter_table(level=0.95)[name]
        pd.testing.assert_series_equal(comparison.table[f"bootstrap_{column}"], expected, check_names=False)
    assert "bootstrap: 60 refits, parametric" in str(comparison)
    assert bmm.compare(fit, posterior, refits).table.equals(comparison.table)
    with pytest.raises(ComparisonError, match="the fit is by ML, the bootstrap by REML"):
        bmm.compare(model.fit("ml"), posterior, refits)
    with pytest.raises(ComparisonError, match="was given a Fit and a Bootstrap"):
        bmm.compare(fit, refits)
