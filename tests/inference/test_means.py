"""Means, slopes, contrasts: against R's emmeans, against each other, and a fit against a posterior."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from reference_models import reference_models

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmError, BayesmmWarning
from bayesmm.inference.fixed.fixed_effects import infer_fixed_effects

R = json.loads((Path(__file__).parent / "means.json").read_text(encoding="utf-8"))
RENAMED = {"emmean": "estimate", "Lsize.trend": "estimate", "SE": "std_error", "lower.CL": "lower", "upper.CL": "upper"}
RENAMED |= {"p.value": "p_value", "t.ratio": "statistic"}
LEVELS = {"p_value": 1e-4, "df": 1e-4}  # absolute, relative
MVT = 10.0  # times these: what R's emmeans asks of the random lattice of mvtnorm
WITH_MEANS = [case for case in reference_models()[0] if "emmeans" in case.entry]


@cache
def data(name):
    if name == "pup":
        pup = bmm.datasets.load("ratpupweight")
        return pup.assign(two=np.where(pup["sex"] == "Male", 1.5, 0.5))
    oats = bmm.datasets.load("oats")
    oats = oats.assign(nitro=pd.Categorical([f"{value:g}" for value in oats["nitro"]]))
    if name == "uneven":
        return oats.drop(index=np.array([1, 2, 3, 5, 8, 13, 21, 34, 55]) - 1)
    return oats[~((oats["Variety"] == "Victory") & (oats["nitro"] == "0.6"))]


MODELS = {
    "pup": ("weight ~ Treatment * sex + Lsize + (1 | Litter)", "pup"),
    "curved": ("weight ~ Treatment * poly(Lsize, 2) + sex + (1 | Litter)", "pup"),
    "shifted": ("weight ~ Treatment * two + offset(np.log(Lsize)) + (1 | Litter)", "pup"),
    "uneven": ("yield ~ Variety * nitro + (1 | Block/Variety)", "uneven"),
    "hollow": ("yield ~ Variety * nitro + (1 | Block)", "hollow"),
}


@cache
def model(name):
    formula, of = MODELS[name]
    return bmm.Model(formula, data(of))


@cache
def fitted(name):
    return model(name).fit()


def pup(specs="Treatment", **how):
    return bmm.emmeans(fitted("pup"), specs, **how)


def uneven():
    return bmm.emmeans(fitted("uneven"), "nitro")


def hollow(specs, **how):
    return bmm.emmeans(fitted("hollow"), specs, **how)


OURS = {
    ("pup", "emmeans(fit, 'Treatment')"): lambda: pup(),
    ("pup", "emmeans(fit, 'Treatment', lmer.df = 'kenward-roger')"): lambda: pup(df="kenward-roger"),
    ("pup", "emmeans(fit, 'Treatment', weights = 'proportional')"): lambda: pup(weights="proportional"),
    ("pup", "emmeans(fit, 'Treatment', weights = 'cells')"): lambda: pup(weights="cells"),
    ("pup", "emmeans(fit, 'Lsize', weights = 'proportional')"): lambda: pup("Lsize", weights="proportional"),
    ("pup", "emmeans(fit, 'Lsize', weights = 'outer')"): lambda: pup("Lsize", weights="outer"),
    ("pup", "emmeans(fit, 'Treatment', by = 'sex')"): lambda: pup(by="sex"),
    ("pup", "emmeans(fit, ~ Treatment * sex, at = list(Lsize = c(10, 14)))"): lambda: pup(
        ["Treatment", "sex"], at={"Lsize": [10, 14]}
    ),
    ("pup", "contrast(emmeans(fit, ~ Treatment * sex), interaction = 'pairwise')"): lambda: pup(
        ["Treatment", "sex"]
    ).contrasts(interaction=True),
    ("pup", "pairs(emmeans(fit, 'Treatment', by = 'sex'))"): lambda: pup(by="sex").contrasts(),
    ("curved", "emmeans(fit, 'Treatment')"): lambda: bmm.emmeans(fitted("curved"), "Treatment"),
    ("curved", "emtrends(fit, 'Treatment', var = 'Lsize', delta.var = 1e-6)"): lambda: bmm.slopes(
        fitted("curved"), "Lsize", "Treatment"
    ),
    ("curved", "pairs(emtrends(fit, 'Treatment', var = 'Lsize', delta.var = 1e-6, at = list(Lsize = 14)))"): lambda: (
        bmm.slopes(fitted("curved"), "Lsize", "Treatment", at={"Lsize": 14}).contrasts()
    ),
    ("shifted", "emmeans(fit, 'Treatment')"): lambda: bmm.emmeans(fitted("shifted"), "Treatment"),
    ("shifted", "emmeans(fit, 'two')"): lambda: bmm.emmeans(fitted("shifted"), "two"),
    ("uneven", "contrast(emmeans(fit, 'nitro'), 'poly')"): lambda: uneven().contrasts("poly"),
    ("uneven", "contrast(emmeans(fit, 'nitro'), 'consec', adjust = 'mvt')"): lambda: uneven().contrasts("consec"),
    ("uneven", "pairs(emmeans(fit, 'nitro'), adjust = 'mvt')"): lambda: uneven().contrasts(adjust="mvt"),
    ("uneven", "pairs(emmeans(fit, 'nitro'), reverse = TRUE, adjust = 'none')"): lambda: uneven().contrasts(
        "revpairwise", adjust="none"
    ),
    ("hollow", "emmeans(fit, ~ Variety * nitro)"): lambda: hollow(["Variety", "nitro"]),
    ("hollow", "emmeans(fit, 'Variety')"): lambda: hollow("Variety"),
    ("hollow", "emmeans(fit, 'Variety', weights = 'cells')"): lambda: hollow("Variety", weights="cells"),
    ("hollow", "emmeans(fit, 'Variety', weights = 'flat')"): lambda: hollow("Variety", weights="flat"),
    ("hollow", "pairs(emmeans(fit, 'Variety', by = 'nitro'))"): lambda: hollow("Variety", by="nitro").contrasts(),
}
for name in ("tukey", "holm", "bonferroni", "sidak", "scheffe", "fdr", "none"):
    for way in ("summary", "confint"):
        OURS["pup", f"{way}(pairs(emmeans(fit, 'Treatment'), adjust = '{name}'))"] = lambda name=name: pup().contrasts(
            adjust=name
        )
for way in ("summary", "confint"):
    OURS["pup", f"{way}(contrast(emmeans(fit, 'Treatment'), 'trt.vs.ctrl', adjust = 'mvt'))"] = lambda: pup().contrasts(
        "trt.vs.ctrl"
    )
    OURS["pup", f"{way}(contrast(emmeans(fit, 'Treatment'), 'eff'))"] = lambda: pup().contrasts("eff")


@pytest.mark.parametrize("entry", R["entries"], ids=lambda entry: f"{entry['model']}: {entry['call']}")
def test_means_contrasts_and_slopes_are_those_of_r(entry):
    theirs = pd.DataFrame(entry["table"]).rename(columns=RENAMED)
    ours = OURS[entry["model"], entry["call"]]().table.reset_index()
    assert len(ours) == len(theirs)
    for name in set(theirs) - set(RENAMED.values()) - {"df"}:
        own = ours[name.replace("_pairwise", "_contrast")]
        found = [f"{value:g}" if isinstance(value, float) else str(value) for value in own]
        numbers = all(isinstance(value, float) for value in own)
        expected = [f"{float(value):g}" if numbers else str(value) for value in theirs[name]]
        assert found == expected, name
    is_mvt = "mvt" in entry["call"]
    for name in set(theirs) & set(RENAMED.values()) | {"df"}:
        expected, got = pd.to_numeric(theirs[name]).to_numpy(dtype=float), ours[name].to_numpy(dtype=float)
        assert (np.isnan(expected) == np.isnan(got)).all(), name
        if name in LEVELS:
            tolerance = LEVELS[name] * (np.abs(expected) if name == "df" else MVT if is_mvt else 1.0)
        else:
            tolerance = np.abs(expected) * 1e-6 + 1e-6
            tolerance *= 100.0 * MVT if is_mvt and name in ("lower", "upper") else 1.0
        worst = np.nanmax(np.abs(got - expected) / tolerance)
        assert worst < 1.0, (name, worst)


@pytest.mark.parametrize("case", WITH_MEANS, ids=lambda case: case.id)
@pytest.mark.parametrize("df", ["satterthwaite", "kenward-roger"])
def test_reference_means_and_pairs_are_met(case, df):
    fit = bmm.Model(case.formula, case.frame(), weights=case.weights).fit(method=case.method)
    entries = [entry for entry in case.entry["emmeans"] if entry["ddf"] == df]
    if not entries:
        pytest.skip("the entry has other degrees of freedom")
    for entry in entries:
        means = bmm.emmeans(fit, entry["spec"].split("*"), df=df)
        theirs, table = entry["means"], means.table
        assert [str(key) for key in table.index] == [str(next(iter(level.values()))) for level in theirs["levels"]]
        pairs, expected = means.contrasts().table, entry["pairs"]
        assert pairs.index.to_list() == expected["contrast"]
        near = {"rtol": 1e-6 * case.rough, "atol": 1e-6 * case.scale}
        for ours, of in ((table, theirs), (pairs, expected)):
            np.testing.assert_allclose(ours["estimate"], of["estimate"], **near)
            np.testing.assert_allclose(ours["std_error"], of["se"], **near)
            np.testing.assert_allclose(ours["df"], of["df"], rtol=1e-3)
        np.testing.assert_allclose(table["lower"], theirs["lower"], rtol=1e-4)
        np.testing.assert_allclose(pairs["p_value"], expected["p_value_tukey"], atol=1e-4)


def test_the_joint_test_is_that_of_r():
    (entry,) = R["joint"]
    theirs, ours = entry["table"][0], pup(df="kenward-roger").contrasts().joint_test().loc["all"]
    # emmeans takes the smallest df of the rows where Kenward and Roger have one for all together, and no scale
    assert ours["num_df"] == theirs["df1"]
    assert ours["statistic"] == pytest.approx(theirs["F.ratio"], rel=5e-3)
    of = infer_fixed_effects(fitted("pup"), "kenward-roger")
    expected = of.f_test(pup().contrasts().L)
    assert ours.to_list() == pytest.approx(list(expected), rel=1e-9)


def test_means_are_averages_of_predictions_over_the_grid():
    rows = pd.DataFrame(
        [(t, s) for t in ("Control", "High", "Low") for s in ("Female", "Male")], columns=["Treatment", "sex"]
    )
    rows["Lsize"] = data("pup")["Lsize"].mean()
    predicted = fitted("pup").predict(rows, random="none").to_numpy().reshape(3, 2)
    np.testing.assert_allclose(pup().table["estimate"], predicted.mean(axis=1), rtol=1e-12)


def test_cell_weights_give_the_means_of_fitted_values_without_covariates():
    fit = bmm.Model("weight ~ Treatment * sex + (1 | Litter)", data("pup")).fit()
    mean = fit.predict(random="none").groupby(data("pup")["Treatment"], observed=True).mean()
    np.testing.assert_allclose(bmm.emmeans(fit, "Treatment", weights="cells").table["estimate"], mean, rtol=1e-12)


def test_comparisons_are_differences_of_predictions_averaged_over_the_rows():
    fit, rows = fitted("pup"), data("pup")
    low, high = (fit.predict(rows.assign(Lsize=value), random="none") for value in (10.0, 14.0))
    table = bmm.comparisons(fit, {"Lsize": [10, 14], "Treatment": ["Low", "Control"]}, by="sex").table
    groups = rows["sex"]
    np.testing.assert_allclose(
        table.xs("Lsize", level="variable")["estimate"], (high - low).groupby(groups, observed=True).mean(), rtol=1e-10
    )
    control, treated = (fit.predict(rows.assign(Treatment=value), random="none") for value in ("Low", "Control"))
    np.testing.assert_allclose(
        table.xs("Treatment", level="variable")["estimate"],
        (treated - control).groupby(groups, observed=True).mean(),
        rtol=1e-10,
    )
    assert table.index.names == ["sex", "variable", "contrast"]


def test_a_step_of_a_curve_is_averaged_over_the_rows():
    fit, rows = fitted("curved"), data("pup")
    with pytest.warns(BayesmmWarning, match="predicted outside its data"):
        step = fit.predict(rows.assign(Lsize=rows["Lsize"] - 1.0), random="none") - fit.predict(random="none")
    with pytest.warns(BayesmmWarning, match="predicted outside its data"):
        table = bmm.comparisons(fit, {"Lsize": -1}).table
    assert table["estimate"].iloc[0] == pytest.approx(step.mean(), rel=1e-10)
    assert table.index.to_list() == [("Lsize", "Lsize −1")]


def test_slopes_of_fourth_powers_are_exact():
    rng = np.random.default_rng(1)
    x = rng.uniform(1.0, 3.0, 120)
    frame = pd.DataFrame({"x": x, "g": np.repeat(np.arange(12), 10).astype(str), "y": x**4 + rng.standard_normal(120)})
    fit = bmm.Model("y ~ I(x**4) + (1 | g)", frame).fit()
    slope = bmm.slopes(fit, "x", at={"x": [1.5, 2.5]}, specs="x").table["estimate"]
    expected = 4.0 * np.array([1.5, 2.5]) ** 3 * fit.fixed_effects["estimate"].iloc[1]
    np.testing.assert_allclose(slope, expected, rtol=1e-9)


def test_an_offset_that_has_the_variable_counts_in_its_slope():
    plain = bmm.Model("weight ~ Lsize + (1 | Litter)", data("pup")).fit()
    moved = bmm.Model("weight ~ Lsize + offset(0.3 * Lsize) + (1 | Litter)", data("pup")).fit()
    for ask in (lambda fit: bmm.slopes(fit, "Lsize"), lambda fit: bmm.emmeans(fit, "Lsize", at={"Lsize": [9, 15]})):
        pd.testing.assert_frame_equal(ask(plain).table, ask(moved).table, rtol=1e-6)


def test_means_do_not_depend_on_the_coding_the_order_of_rows_or_the_origin():
    pupils = data("pup")
    base = pup().contrasts().table
    reordered = pupils.assign(
        Treatment=pupils["Treatment"].cat.reorder_categories(["Low", "Control", "High"]), Lsize=pupils["Lsize"] + 1000
    ).sample(frac=1.0, random_state=1)
    fit = bmm.Model("weight ~ C(Treatment, Sum) * sex + Lsize + (1 | Litter)", reordered).fit()
    other = bmm.emmeans(fit, "Treatment").contrasts().table
    assert other.loc["Low - Control", "estimate"] == pytest.approx(-base.loc["Control - Low", "estimate"], rel=1e-6)
    for column in ("std_error", "p_value"):
        assert other.loc["Control - High", column] == pytest.approx(base.loc["Control - High", column], rel=1e-5)


def test_scaled_responses_scale_means_and_leave_tests():
    scaled = bmm.Model(MODELS["pup"][0], data("pup").assign(weight=data("pup")["weight"] * 1000.0)).fit()
    base, table = pup().contrasts().table, bmm.emmeans(scaled, "Treatment").contrasts().table
    np.testing.assert_allclose(table["estimate"], 1000.0 * base["estimate"], rtol=1e-6)
    np.testing.assert_allclose(table[["df", "statistic", "p_value"]], base[["df", "statistic", "p_value"]], rtol=1e-4)


def test_contrasts_of_contrasts_are_interaction_contrasts():
    by_sex = pup("sex", by="Treatment").contrasts()
    interaction = pup(["Treatment", "sex"]).contrasts(interaction=True).table
    inside = bmm.emmeans(fitted("pup"), ["Treatment", "sex"]).contrasts({"x": [1, -1, 0, -1, 1, 0]}).table
    assert by_sex.table["estimate"].iloc[0] - by_sex.table["estimate"].iloc[1] == pytest.approx(
        interaction["estimate"].iloc[0]
    )
    assert inside["estimate"].iloc[0] == pytest.approx(interaction["estimate"].iloc[0])


def test_a_posterior_has_the_rows_of_the_fit_and_its_draws_are_kept():
    posterior = make_posterior(model("pup"))
    fit = fitted("pup")
    for ask in (
        lambda result: bmm.emmeans(result, "Treatment", by="sex"),
        lambda result: bmm.emmeans(result, "Treatment").contrasts("trt.vs.ctrl", ref="Low"),
        lambda result: bmm.slopes(result, "Lsize"),
        lambda result: bmm.comparisons(result, "Treatment", by="sex"),
    ):
        drawn, estimated = ask(posterior), ask(fit)
        pd.testing.assert_index_equal(drawn.table.index, estimated.table.index)
        assert drawn.table.columns.to_list() == ["mean", "sd", "lower", "upper", "r_hat", "ess_bulk", "ess_tail"]
        np.testing.assert_allclose(drawn.table["mean"], estimated.table["estimate"], rtol=1e-6, atol=1e-9)
        values = drawn.data["posterior"][drawn.kind]
        assert values.dims[:2] == ("chain", "draw")
        np.testing.assert_allclose(values.mean(("chain", "draw")).to_numpy().ravel(), drawn.table["mean"], atol=1e-12)


def test_draws_are_labelled_by_the_columns_for_arviz():
    import arviz_stats

    margins = bmm.emmeans(make_posterior(model("pup")), ["Treatment", "sex"])
    values = margins.data["posterior"]["mean"]
    assert values.dims == ("chain", "draw", "Treatment", "sex")
    table = arviz_stats.summary(margins.data, round_to="none")
    assert table.loc["mean[High, Male]", "mean"] == pytest.approx(margins.table.loc[("High", "Male"), "mean"])


def test_probability_counts_draws():
    contrasts = bmm.emmeans(make_posterior(model("pup")), "Treatment").contrasts()
    draws = contrasts.data["posterior"]["contrast"].sel(contrast_="Control - High")
    assert contrasts.probability(above=0.5)["Control - High"] == pytest.approx(float((draws > 0.5).mean()))
    with pytest.raises(ArgumentError, match="probability is of draws, and these are estimates"):
        pup().probability()


def test_given_covariance_replaces_that_of_the_fit():
    of = infer_fixed_effects(fitted("pup"), "kenward-roger")
    pd.testing.assert_frame_equal(pup(covariance=of).table, pup(df="kenward-roger").table)
    with pytest.raises(ArgumentError, match="df is 'normal', and covariance= brings its own"):
        pup(covariance=of, df="normal")
    with pytest.raises(ArgumentError, match="draws of a posterior need none"):
        bmm.emmeans(make_posterior(model("pup")), "Treatment", df="normal")


def test_numbers_that_the_formula_codes_are_factors_and_booleans_too():
    frame = bmm.datasets.load("orthodont").assign(late=lambda rows: rows["age"] > 10)
    fit = bmm.Model("distance ~ C(age) + (1 | Subject)", frame).fit()
    means = bmm.emmeans(fit, "age")
    assert means.table.index.to_list() == [8.0, 10.0, 12.0, 14.0]
    np.testing.assert_allclose(means.table["estimate"], frame.groupby("age")["distance"].mean(), rtol=1e-10)
    assert means.contrasts().table.index[0] == "age8 - age10"
    late = bmm.emmeans(bmm.Model("distance ~ late + (1 | Subject)", frame).fit(), "late")
    assert late.table.index.to_list() == [False, True]
    assert late.contrasts().table.index.to_list() == ["lateFalse - lateTrue"]


def test_the_report_says_what_was_averaged_and_what_cannot_be():
    text = " ".join(str(pup()).split())
    assert "Averaged over sex." in text
    assert "At Lsize = 13.3292." in text
    assert "The model has the interaction Treatment:sex" in text
    assert "adjusted: Tukey's method for comparing 3 means." in " ".join(str(pup().contrasts()).split())
    assert "1 of 3 rows cannot be estimated" in " ".join(str(hollow("Variety")).split())
    assert "Averaged over sex" not in str(pup(by="sex"))
    assert pup(by="sex")._repr_html_().count("<tbody") == 2


def tabulate(ask):
    return ask().table


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: pup("Litter"), "'Litter' is not a column of the fixed part.*it has Treatment, sex, Lsize"),
        (lambda: pup(at={"Treatment": ["Placebo"]}), "no level 'Placebo'.*Control, High, Low"),
        (lambda: pup(at={"Lsize": "many"}), "'Lsize' is set to 'many'"),
        (lambda: pup(weights="even"), "weights is 'even': give 'equal'"),
        (lambda: pup(by="Treatment"), "'Treatment' is in by= too"),
        (lambda: pup(3), "specs is 3"),
        (lambda: pup(level=2), "level is 2"),
        (lambda: pup(adjust="tukey"), "all pairs of means"),
        (lambda: pup().contrasts("pair"), "method is 'pair'"),
        (lambda: pup().contrasts("pairwise", ref="Low"), "'pairwise' has no control"),
        (lambda: pup().contrasts("trt.vs.ctrl", ref="Placebo"), "ref is 'Placebo'"),
        (lambda: pup().contrasts({"x": [1, -1]}), "give 3 numbers for each"),
        (lambda: pup().contrasts(interaction=True), "combinations of two columns"),
        (lambda: pup("Lsize").contrasts(), "one row only"),
        (lambda: bmm.slopes(fitted("pup"), "sex"), "'sex' is a factor and has no slope"),
        (lambda: bmm.comparisons(fitted("pup"), "Litter"), "not a column of the fixed part"),
        (lambda: bmm.comparisons(fitted("pup"), {"Lsize": [3]}), "give two values or more"),
        (lambda: bmm.comparisons(fitted("pup"), "Lsize", by="Dam"), "by names 'Dam'"),
        (lambda: bmm.emmeans(3, "x"), "result is 3: give a fit or a posterior"),
        (lambda: bmm.emmeans(make_posterior(model("pup")), "Treatment").contrasts(adjust="holm"), "no p-values"),
        (lambda: bmm.emmeans(make_posterior(model("pup")), "Treatment").joint_test(), "these are draws"),
        (lambda: pup().data, "data is of draws"),
    ],
)
def test_what_cannot_be_is_refused_with_the_value_and_what_to_do(ask, message):
    with pytest.raises(BayesmmError, match=message):
        tabulate(ask)


def test_without_columns_there_is_the_overall_mean():
    constant = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit()
    table = bmm.emmeans(constant, []).table
    assert table.loc["overall", "estimate"] == pytest.approx(1527.5)
    assert table.loc["overall", "df"] == pytest.approx(5.0, rel=1e-3)
    assert pup([], by="sex").table.index.to_list() == [("Female", "overall"), ("Male", "overall")]


def test_columns_called_like_ours_keep_their_names():
    frame = data("pup").rename(columns={"Treatment": "contrast", "sex": "variable"})
    fit = bmm.Model("weight ~ contrast * variable + Lsize + (1 | Litter)", frame).fit()
    table = bmm.emmeans(fit, "variable", by="contrast").contrasts().table
    assert table.index.names == ["contrast", "contrast_"]
    assert bmm.comparisons(fit, "contrast", by="variable").table.index.names == ["variable", "variable_", "contrast"]
    posterior = make_posterior(bmm.Model("weight ~ contrast * variable + Lsize + (1 | Litter)", frame))
    assert bmm.emmeans(posterior, "variable").data["posterior"]["mean"].dims == ("chain", "draw", "variable_")


def test_comparisons_take_rows_of_any_library_and_leave_incomplete_ones_out():
    import polars as pl

    rows = data("pup")[["Treatment", "sex", "Lsize"]].iloc[:40]
    expected = bmm.comparisons(fitted("pup"), "sex", data=rows).table
    lacking = pd.concat([rows, rows.iloc[:1].assign(Lsize=np.nan)])
    of_polars = pl.DataFrame(
        {name: lacking[name].astype(object if name != "Lsize" else float).to_list() for name in lacking}
    )
    for other in (lacking, of_polars):
        pd.testing.assert_frame_equal(bmm.comparisons(fitted("pup"), "sex", data=other).table, expected)


def test_every_kind_of_model_has_means():
    rows = data("pup").assign(w=np.linspace(0.5, 2.0, 322))
    for formula, how, fitting in (
        ("weight ~ 0 + Treatment + (1 | Litter)", {}, {"method": "ml"}),
        ("weight ~ Treatment + cs(0 + sex | Litter)", {"weights": "w"}, {}),
        ("weight ~ Treatment + bs(Lsize, 4) + (1 | Litter)", {"sigma": 0.4}, {}),
    ):
        fit = bmm.Model(formula, rows, **how).fit(**fitting)
        predicted = fit.predict(
            pd.DataFrame({"Treatment": ["Control", "High", "Low"], "Lsize": rows["Lsize"].mean()}), random="none"
        )
        np.testing.assert_allclose(bmm.emmeans(fit, "Treatment").table["estimate"], predicted, rtol=1e-10)
        assert (bmm.emmeans(fit, "Treatment").contrasts().table["p_value"] < 1.0).all()


def test_slopes_at_the_end_of_a_spline_do_not_warn():
    fit = bmm.Model("weight ~ bs(Lsize, 4) + (1 | Litter)", data("pup")).fit()
    assert np.isfinite(bmm.slopes(fit, "Lsize", "Lsize", at={"Lsize": [2, 18]}).table["estimate"]).all()


def test_normal_quantiles_have_z_in_the_report():
    text = str(pup(df="normal").contrasts())
    assert " z " in text
    assert " df " not in text


def test_robust_contrasts_are_robust_coefficients():
    fit = bmm.Model("weight ~ Treatment + sex + Lsize + (1 | Litter)", data("pup")).fit()
    robust = fit.robust("Litter")
    against = bmm.emmeans(fit, "Treatment", covariance=robust).contrasts("trt.vs.ctrl", adjust="none")
    expected = robust.coefficients().loc[["Treatment[T.High]", "Treatment[T.Low]"]]
    np.testing.assert_allclose(against.table, expected, rtol=1e-9)
    assert "cluster-robust covariance CR2" in str(against)


def test_intervals_of_several_means_are_adjusted_when_asked():
    plain, wider = pup().table, pup(adjust="bonferroni").table
    np.testing.assert_allclose(wider["estimate"], plain["estimate"])
    alone = pup(level=1.0 - 0.05 / 3.0).table
    np.testing.assert_allclose(wider[["lower", "upper"]], alone[["lower", "upper"]])
    assert "Intervals are adjusted: Bonferroni's method for 3 tests." in " ".join(str(pup(adjust="bonferroni")).split())
