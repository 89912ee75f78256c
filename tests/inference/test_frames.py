"""Frames in broom's sense: cell by cell those of the tables that they come from, for fits and posteriors alike."""

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmWarning

SLEEP = "Reaction ~ Days + (Days | Subject)"
EVERYTHING = ("fixed", "ran_pars", "ran_vals")
TIDY = ["effect", "group", "level", "term", "estimate", "std_error", "df", "statistic", "p_value", "lower", "upper"]
HOSTILE = pd.DataFrame(
    {
        "estimate": np.random.default_rng(1).normal(size=60),
        "term": np.random.default_rng(2).normal(size=60),
        "sigma": np.random.default_rng(3).normal(size=60),
        "group": np.repeat(["a", "b:c", "None", "fixed", "`", "é/è"], 10),
        "level": np.resize(["x, Intercept", "[0]", "df", "1"], 60),
    }
)


@pytest.fixture(scope="module")
def sleep():
    return bmm.Model(SLEEP, bmm.datasets.load("sleepstudy"))


@pytest.fixture(scope="module", params=["sleepstudy", "penicillin", "hostile"])
def model(request):
    if request.param == "hostile":
        return bmm.Model("estimate ~ term + sigma + (term | group) + (1 | level)", HOSTILE)
    formula = SLEEP if request.param == "sleepstudy" else "diameter ~ 1 + (1 | plate) + (1 | sample)"
    return bmm.Model(formula, bmm.datasets.load(request.param))


def assert_cells(frame: Any, table: pd.DataFrame, columns: dict[str, str]) -> None:
    assert len(frame) == len(table)
    for own, other in columns.items():
        found, wanted = frame[own].to_numpy(), table[other].to_numpy()
        if wanted.dtype.kind == "f":
            np.testing.assert_array_equal(found.astype(float), wanted)
        else:
            assert [None if pd.isna(x) else x for x in wanted] == list(found)


@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger", "normal"])
def test_tidy_of_a_fit_is_its_tables(model, df):
    fit = model.fit()
    frame = fit.tidy(EVERYTHING, df=df, level=0.9)
    assert list(frame) == TIDY
    parts: dict[Any, pd.DataFrame] = dict(iter(frame.groupby("effect")))
    coefficients = fit.coefficients(df=df, level=0.9)
    parameters = fit.parameter_table(df=df, level=0.9)
    assert_cells(parts["fixed"], coefficients, {name: name for name in TIDY[4:]})
    assert list(frame["term"][: len(parameters)]) == list(parameters.index)
    names = {name: name for name in ("group", "estimate", "std_error", "lower", "upper")}
    assert_cells(frame[: len(parameters)], parameters, names)
    modes = fit.random_effects(level=0.9)
    assert_cells(parts["ran_vals"], modes, names | {"level": "level", "term": "effect"})
    assert frame[frame["effect"] != "fixed"][["df", "statistic", "p_value"]].isna().all(axis=None)


def test_tidy_of_a_posterior_is_its_tables(model):
    posterior = make_posterior(model)
    frame = posterior.tidy(EVERYTHING, level=0.8)
    checks = ["r_hat", "ess_bulk", "ess_tail"]
    assert list(frame) == [*TIDY, *checks]
    table = posterior.parameter_table(level=0.8)
    names = {"estimate": "mean", "std_error": "sd", "lower": "lower", "upper": "upper"}
    assert_cells(frame[: len(table)], table, names | {"group": "group"} | dict(zip(checks, checks, strict=True)))
    assert list(frame["term"][: len(table)]) == list(table.index)
    effects = posterior.random_effects(level=0.8)
    assert_cells(frame[len(table) :], effects, names | {"group": "group", "level": "level", "term": "effect"})


def test_frames_of_fit_and_posterior_stack(sleep):
    fit, posterior = sleep.fit(), make_posterior(sleep)
    both = pd.concat({"reml": fit.tidy(EVERYTHING), "nuts": posterior.tidy(EVERYTHING)}, names=["by"])
    wide = both.reset_index("by").pivot_table(
        index=["effect", "term", "level"], columns="by", values="estimate", dropna=False
    )
    assert len(wide.dropna()) == 42  # six parameters and two effects of eighteen levels, each with its partner
    for column in ("effect", "group", "level", "term"):
        assert list(both.loc["reml", column]) == list(both.loc["nuts", column])
    assert set(fit.glance()) & set(posterior.glance()) >= {"nobs", "n_levels(Subject)", "sigma", "icc", "converged"}


def test_kinds_come_in_one_order_whatever_is_asked_first(sleep):
    fit = sleep.fit()
    assert list(fit.tidy()["effect"].unique()) == ["fixed", "ran_pars"]
    assert list(fit.tidy(["ran_pars", "fixed"])["effect"].unique()) == ["fixed", "ran_pars"]
    assert list(fit.tidy("ran_vals")["effect"].unique()) == ["ran_vals"]
    unknown: tuple[Any, ...] = ("random", [], None, 1, ["fixed", None])
    for wrong in unknown:
        with pytest.raises(ArgumentError, match="effects is"):
            fit.tidy(wrong)
        with pytest.raises(ArgumentError, match="effects is"):
            make_posterior(sleep).tidy(wrong)


def test_coefficients_of_levels_are_sums_of_what_is_named_alike():
    """Of lme4's coef: 308 of sleepstudy has 253.66 and 19.67; effects without a fixed one have none."""
    data = bmm.datasets.load("sleepstudy")
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", data)
    fit, posterior = model.fit(), make_posterior(model)
    own = fit.tidy("ran_coefs")
    assert own["estimate"].to_numpy()[:2] == pytest.approx([253.66, 19.67], abs=0.01)
    pd.testing.assert_series_equal(own["std_error"], fit.coef()["std_error"], check_names=False)
    drawn = posterior.tidy("ran_coefs")
    keys = ["effect", "group", "level", "term"]
    pd.testing.assert_frame_equal(drawn[keys], own[keys])
    sums = posterior.beta[:, :, None] + posterior.draws("b_Subject")
    assert drawn["estimate"].to_numpy() == pytest.approx(sums.mean((0, 1)).ravel(), rel=1e-12)
    assert drawn["std_error"].to_numpy() == pytest.approx(sums.std((0, 1), ddof=1).ravel(), rel=1e-12)
    assert drawn["upper"].to_numpy() == pytest.approx(np.quantile(sums, 0.975, axis=(0, 1)).ravel(), rel=1e-12)
    slopes = bmm.Model("Reaction ~ 1 + (Days | Subject)", data)
    for result in (slopes.fit(), make_posterior(slopes)):
        assert result.tidy("ran_coefs")["term"].unique().tolist() == ["Intercept"]
    apart = bmm.Model("Reaction ~ 0 + Days + (1 | Subject)", data)
    for result in (apart.fit(), make_posterior(apart)):
        with pytest.raises(ArgumentError, match="No random effect has the name of a fixed one"):
            result.tidy("ran_coefs")


def test_glance_says_what_the_fit_says(model):
    fit = model.fit("ml")
    row = fit.glance().iloc[0]
    assert len(fit.glance()) == 1
    assert row["nobs"] == fit.n
    assert row["method"] == "ml"
    for name in ("sigma", "loglik", "aic", "bic", "n_parameters"):
        assert row[name] == getattr(fit, name)
    assert row["deviance"] == -2.0 * fit.loglik
    assert row["df_residual"] == fit.n - fit.n_parameters
    explained = fit.explained().table["estimate"]
    for name, quantity in (
        ("r2_marginal", "R2 marginal"),
        ("r2_conditional", "R2 conditional"),
        ("icc", "ICC adjusted"),
    ):
        assert row[name] == explained[quantity]
    for block in model.labels.blocks:
        assert row[f"n_levels({block.group})"] == len(block.levels)
    assert row["converged"]
    assert row["singular"] == fit.is_singular


def test_glance_of_a_posterior_says_what_the_posterior_says(sleep):
    posterior = make_posterior(sleep, divergences=50)
    row = posterior.glance().iloc[0]
    table = posterior.explained().table["mean"]
    assert row["sigma"] == pytest.approx(posterior.parameters.loc["sigma", "mean"])
    assert row["icc"] == table["ICC adjusted"]
    assert not row["converged"]
    assert row["divergences"] == 50
    assert row["r_hat"] == posterior.diagnostics.r_hat == posterior.parameters["r_hat"].max()
    assert row["ess"] == posterior.diagnostics.ess
    assert (row["chains"], row["draws"]) == (4, 1000)


@pytest.mark.filterwarnings("ignore:Estimated shape parameter")  # of made draws
def test_glance_leaves_rows_out_when_asked(sleep):
    posterior = make_posterior(sleep)
    row, found = posterior.glance(elpd=True).iloc[0], posterior.loo()
    assert (row["elpd_loo"], row["elpd_loo_std_error"], row["p_loo"]) == (found.elpd, found.se, found.p)
    assert "elpd_loo" not in posterior.glance()


def test_augment_of_a_fit_has_what_the_fit_says_of_each_row(model):
    fit = model.fit()
    frame = fit.augment()
    assert list(frame)[:-6] == list(model.design.frame)
    influence = fit.influence().table
    for name, wanted in {
        ".fitted": fit.fitted,
        ".fixed": fit.predict(random="none"),
        ".residual": model.design.y - fit.fitted,
        ".standardised": fit.residuals("standardised"),
        ".leverage": influence["leverage"],
        ".cooks_distance": influence["cooks_distance"],
    }.items():
        np.testing.assert_allclose(frame[name], wanted, rtol=1e-12, atol=1e-12, err_msg=name)


def test_augment_of_a_posterior_has_its_predictions(sleep):
    posterior = make_posterior(sleep)
    frame, predicted = posterior.augment(level=0.8), posterior.predict(level=0.8)
    for own, other in ((".fitted", "mean"), (".std_error", "sd"), (".lower", "lower"), (".upper", "upper")):
        np.testing.assert_array_equal(frame[own], predicted[other])
    np.testing.assert_array_equal(frame[".fixed"], posterior.predict(random="none")["mean"])
    np.testing.assert_allclose(frame[".residual"] + frame[".fitted"], sleep.design.y, rtol=1e-12)


def test_augmented_data_keep_all_their_columns_and_rows():
    data = bmm.datasets.load("sleepstudy").assign(note="as it was")
    data.index = pd.Index([f"row {i}" for i in range(len(data))])
    data.loc[["row 3", "row 9"], "Days"] = np.nan
    with pytest.warns(BayesmmWarning, match="2 of 180 rows dropped"):
        model = bmm.Model(SLEEP, data)
    for result in (model.fit(), make_posterior(model)):
        frame = result.augment(data)
        pd.testing.assert_frame_equal(pd.DataFrame(frame[list(data)]), data)
        assert list(frame.query("`.fitted`.isna()").index) == ["row 3", "row 9"]
        used = frame.drop(["row 3", "row 9"])
        np.testing.assert_array_equal(used[".residual"], result.augment()[".residual"])


def test_data_of_another_model_are_refused(sleep):
    fit, data = sleep.fit(), bmm.datasets.load("sleepstudy")
    with pytest.raises(ArgumentError, match="labels are not those of the 180 rows"):
        fit.augment(data.iloc[:20])
    with pytest.raises(ArgumentError, match=r"a column '\.fitted', which is one that is added"):
        fit.augment(fit.augment())
    with pytest.raises(ArgumentError, match="data is of type dict"):
        fit.augment({})  # pyright: ignore[reportArgumentType]


def test_rows_of_one_label_are_augmented_in_their_order():
    data = bmm.datasets.load("sleepstudy").set_axis([0] * 180)
    fit = bmm.Model(SLEEP, data).fit()
    np.testing.assert_array_equal(fit.augment(data)[".fitted"], fit.fitted)


@pytest.mark.parametrize(
    ("formula", "sigma"), [("y ~ 0 + (1 | g)", None), ("y ~ x + z + (1 | g)", None), ("y ~ x + (1 | g)", 1.0)]
)
def test_models_without_coefficients_with_aliased_ones_or_with_known_sigma(formula, sigma):
    rng = np.random.default_rng(1)
    data = pd.DataFrame({"y": rng.normal(size=40), "x": rng.normal(size=40), "g": np.arange(40) // 5})
    fit = bmm.Model(formula, data.assign(z=2.0 * data["x"]), sigma=sigma).fit()
    assert list(fit.tidy()["term"]) == list(fit.parameters.index)
    assert fit.glance().loc[0, "sigma"] == fit.sigma
    assert np.isfinite(fit.augment()[".fitted"]).all()
