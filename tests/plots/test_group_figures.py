"""Figures of levels: what is drawn is what the tables say, and the tables are those of textbooks."""

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from matplotlib import pyplot
from matplotlib.colors import to_hex

import bayesmm as bmm
from bayesmm.errors import ArgumentError
from bayesmm.plots.canvas import FIT, POOLED, POSTERIOR, UNPOOLED

SLOPES = "Reaction ~ Days + (Days | Subject)"
ROUNDING = 1e-8  # relative, of a dense solution against the elimination
Z95 = 1.959963984540054
HOSTILE = "$y_1$ of <b>"


@pytest.fixture(autouse=True)
def quiet_backend():
    mpl.use("agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def sleep():
    model = bmm.Model(SLOPES, bmm.datasets.load("sleepstudy"))
    return model, model.fit(), make_posterior(model)


@pytest.fixture(scope="module")
def oats():
    return bmm.Model("yield ~ nitro + (1 | Block/Variety)", bmm.datasets.load("oats")).fit()


def lines_of(axis, look):
    """Lines and marks of one kind, as (m, 2)."""
    return [line.get_xydata() for line in axis.lines if to_hex(line.get_color()) == look.colour.lower()]


def texts_of(axis):
    return [text.get_text() for text in axis.texts]


def error_covariance(fit):
    """Henderson's: the covariance (p + q, p + q) of what fixed and random effects are estimated wrong by."""
    design = fit.design
    Z, precisions = [], []
    for block, L in zip(design.blocks, fit.factors, strict=True):
        indicator = np.eye(len(block.levels))[block.incidence.only.codes]
        Z.append(np.einsum("nq,nk->nqk", indicator, block.columns).reshape(design.n, -1))
        precisions.append(np.kron(np.eye(len(block.levels)), np.linalg.inv(L @ L.T)))
    W = np.hstack([design.X, *Z])
    C = W.T @ W
    start = design.X.shape[1]
    for own in precisions:
        part = slice(start, start + len(own))
        C[part, part] += own
        start += len(own)
    return fit.sigma**2 * np.linalg.inv(C)


def test_own_lines_are_those_of_a_regression_in_each_level(sleep):
    _, fit, _ = sleep
    data = bmm.datasets.load("sleepstudy")
    for level, lines in fit.group_lines().groupby("level"):
        own = data[data["Subject"].astype(str) == level]
        slope, constant = np.polyfit(own["Days"], own["Reaction"], 1)
        np.testing.assert_allclose(lines["unpooled"], constant + slope * lines["x"], rtol=1e-9)


def test_partially_and_completely_pooled_lines_are_predictions(sleep):
    _, fit, _ = sleep
    lines = fit.group_lines()
    new = pd.DataFrame({"Days": lines["x"], "Subject": lines["level"].astype(int)})
    np.testing.assert_allclose(lines["estimate"], fit.predict(new), rtol=1e-10)
    np.testing.assert_allclose(lines["complete"], fit.predict(new, random="none"), rtol=1e-10)


def test_bands_of_one_factor_have_hendersons_variances(sleep):
    _, fit, _ = sleep
    lines, C = fit.group_lines(), error_covariance(fit)
    known = {level: i for i, level in enumerate(fit.design.blocks[0].levels)}
    combination = np.zeros((len(lines), len(C)))
    for row, (level, x) in enumerate(zip(lines["level"], lines["x"], strict=True)):
        start = 2 + 2 * known[level]
        combination[row, [0, 1, start, start + 1]] = [1.0, x, 1.0, x]
    errors = np.sqrt(np.einsum("ri,ij,rj->r", combination, C, combination))
    np.testing.assert_allclose((lines["upper"] - lines["estimate"]) / Z95, errors, rtol=ROUNDING)


def test_bands_of_nested_factors_have_hendersons_variances(oats):
    lines, C = oats.group_lines(group="Block:Variety"), error_covariance(oats)
    outer, inner = oats.design.blocks
    combination = np.zeros((len(lines), len(C)))
    for row, (level, x) in enumerate(zip(lines["level"], lines["x"], strict=True)):
        one = 2 + outer.levels.index(level.split(":")[0])
        two = 2 + len(outer.levels) + inner.levels.index(level)
        combination[row, [0, 1, one, two]] = [1.0, x, 1.0, 1.0]
    errors = np.sqrt(np.einsum("ri,ij,rj->r", combination, C, combination))
    np.testing.assert_allclose((lines["upper"] - lines["estimate"]) / Z95, errors, rtol=1e-5)


def test_bands_at_zero_are_those_of_the_coefficients(sleep):
    _, fit, _ = sleep
    lines = fit.group_lines(level=0.8)
    table = fit.coef(level=0.8)
    constants = table[table["effect"] == "Intercept"].set_index("level")
    at_zero = lines[lines["x"] == 0].set_index("level")
    for name in ("estimate", "lower", "upper"):
        np.testing.assert_allclose(at_zero[name], constants[name].loc[at_zero.index], rtol=1e-7)


def test_posterior_bands_are_quantiles_of_drawn_lines(sleep):
    _, _, posterior = sleep
    lines = posterior.group_lines(levels=["335"], level=0.9)
    beta, b = posterior.beta, posterior.effects[0]
    j = posterior.labels.blocks[0].levels.index("335")
    drawn = (beta[..., 0] + b[..., j, 0])[..., None] + (beta[..., 1] + b[..., j, 1])[..., None] * lines["x"].to_numpy()
    drawn = drawn.reshape(-1, len(lines))
    np.testing.assert_allclose(lines["estimate"], drawn.mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(lines["lower"], np.quantile(drawn, 0.05, axis=0), rtol=1e-9)
    np.testing.assert_allclose(lines["upper"], np.quantile(drawn, 0.95, axis=0), rtol=1e-9)


def test_lines_do_not_depend_on_where_zero_is_nor_on_units_names_or_order(sleep):
    _, fit, _ = sleep
    data = bmm.datasets.load("sleepstudy")
    other = data.assign(
        day=24.0 * (data["Days"] + 100.0), ms=data["Reaction"] / 1000.0, who="s" + data["Subject"].astype(str)
    ).sample(frac=1.0, random_state=3)
    moved = bmm.Model("ms ~ day + (day | who)", other).fit().group_lines()
    lines = fit.group_lines()
    both = moved.assign(level=moved["level"].str[1:]).sort_values(["level", "x"])
    for name in ("unpooled", "complete", "estimate", "lower", "upper"):
        np.testing.assert_allclose(1000.0 * both[name], lines.sort_values(["level", "x"])[name], rtol=1e-5)


def test_own_lines_end_with_the_rows_of_their_level():
    data = bmm.datasets.load("sleepstudy")
    data = data[(data["Subject"].astype(str) != "308") | (data["Days"] <= 4)]
    lines = bmm.Model(SLOPES, data).fit().group_lines()
    own = lines[lines["level"] == "308"].set_index("x")["unpooled"]
    assert own[own.index <= 4].notna().all()
    assert own[own.index > 4].isna().all()
    assert own.index.max() == 9


def test_of_many_levels_twenty_are_drawn_evenly_from_the_highest_to_the_lowest():
    fit = bmm.Model("mAch ~ ses + (1 | school)", bmm.datasets.load("hsb82")).fit()
    figure = fit.plot_groups()
    effects = fit.random_effects().sort_values("estimate", ascending=False)["level"].tolist()
    titles = [axis.get_title("left") for axis in figure.axes]
    assert titles == [effects[round(i * 159 / 19)] for i in range(20)]
    assert "20 of 160 levels of school" in figure.legends[0].get_title().get_text()


def test_drawn_lines_and_points_are_those_of_the_table(sleep):
    _, fit, _ = sleep
    figure, lines, data = fit.plot_groups(), fit.group_lines(), bmm.datasets.load("sleepstudy")
    assert len(figure.axes) == 18
    for axis in figure.axes:
        own = lines[lines["level"] == axis.get_title("left")]
        for look, name in ((UNPOOLED, "unpooled"), (POOLED, "complete"), (FIT, "estimate")):
            (drawn,) = lines_of(axis, look)
            np.testing.assert_allclose(drawn, own[["x", name]])
        rows = data[data["Subject"].astype(str) == axis.get_title("left")]
        np.testing.assert_allclose(axis.lines[0].get_xydata(), rows[["Days", "Reaction"]])
        (band,) = axis.collections
        corners = band.get_paths()[0].vertices
        assert set(own["lower"]) | set(own["upper"]) <= set(corners[:, 1])


def test_both_engines_share_a_panel(sleep):
    _, fit, posterior = sleep
    axis = bmm.compare(fit, posterior).plot_groups(levels=["335"]).axes[0]
    drawn = posterior.group_lines(levels=["335"])
    limits = lines_of(axis, POSTERIOR)
    for name, line in zip(("lower", "upper", "estimate"), limits, strict=True):
        np.testing.assert_allclose(line, drawn[["x", name]])
    assert len(lines_of(axis, FIT)) == 1


def test_factors_stand_at_their_levels():
    fit = bmm.Model("score ~ Machine + (Machine | Worker)", bmm.datasets.load("machines")).fit()
    lines = fit.group_lines()
    assert lines["x"].tolist() == ["A", "B", "C"] * 6
    data = bmm.datasets.load("machines")
    means = data.groupby(["Worker", "Machine"], observed=True)["score"].mean()
    for level, x, own in lines[["level", "x", "unpooled"]].itertuples(index=False):
        assert own == pytest.approx(means[type(means.index[0][0])(level), x])
    axis = fit.plot_groups().axes[-1]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["A", "B", "C"]


def test_a_model_without_columns_counts_the_rows_of_a_level():
    fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit()
    lines = fit.group_lines()
    data = bmm.datasets.load("dyestuff")
    means = data.groupby("Batch", observed=True)["Yield"].mean()
    np.testing.assert_allclose(lines["unpooled"], means.loc[lines["level"]], rtol=1e-9)
    assert fit.plot_groups().get_supxlabel() == "row of the level"


def test_names_show_as_themselves():
    data = bmm.datasets.load("sleepstudy")
    data = data.assign(
        **{HOSTILE: data["Reaction"], "x_$2$": data["Days"], "who": "$a_" + data["Subject"].astype(str) + "$"}
    )
    fit = bmm.Model(f"`{HOSTILE}` ~ `x_$2$` + (`x_$2$` | who)", data).fit()
    figure = fit.plot_groups(levels=["$a_308$"])
    shown = [figure.axes[0].title, figure._supxlabel, figure._supylabel]
    assert all(text._preprocess_math(text.get_text())[1] is False for text in shown)
    assert shown[1]._preprocess_math(shown[1].get_text())[0] == "`x_$2$`".strip("`")
    figure.draw_without_rendering()
    bmm.shrinkage(fit).plot().draw_without_rendering()
    bmm.ranking(fit, "who", "x_$2$").plot().draw_without_rendering()
    fit.plot_residuals(n=20).draw_without_rendering()
    fit.influence("who").plot().draw_without_rendering()


@pytest.mark.parametrize(
    "options", [{"x": "Reaction"}, {"x": "Subject"}, {"group": "Days"}, {"levels": ["1"]}, {"levels": []}]
)
def test_what_suits_nothing_is_refused(sleep, options):
    with pytest.raises(ArgumentError):
        sleep[1].plot_groups(**options)


def test_plane_of_two_effects_has_own_and_pooled_points_and_arrows_between(sleep):
    found = bmm.shrinkage(sleep[1], of="coefficients")
    axis = found.plot().axes[0]
    one, two = (found.table[found.table["effect"] == name] for name in ("Intercept", "Days"))
    own, partial = lines_of(axis, UNPOOLED)[0], lines_of(axis, FIT)[0]
    np.testing.assert_allclose(own, np.column_stack([one["unpooled"], two["unpooled"]]))
    np.testing.assert_allclose(partial, np.column_stack([one["estimate"], two["estimate"]]))
    np.testing.assert_allclose(lines_of(axis, POOLED)[0], [sleep[1].estimate.beta])
    arrows = axis.collections[0]
    np.testing.assert_allclose(np.column_stack([arrows.U, arrows.V]), partial - own)
    assert axis.get_xlabel() == "Intercept by Subject"


def test_ellipses_hold_half_and_nearly_all_of_the_population(sleep):
    fit = sleep[1]
    axis = bmm.shrinkage(fit).plot().axes[0]
    L = fit.factors[0] * fit.sigma
    draws = np.random.default_rng(1).standard_normal((40_000, 2)) @ L.T
    shares = [mpl.path.Path(line.get_xydata()).contains_points(draws).mean() for line in axis.lines[:2]]
    np.testing.assert_allclose(shares, [0.5, 0.95], atol=0.01)  # four standard errors


def test_one_effect_goes_over_three_columns(sleep):
    found = bmm.shrinkage(sleep[2])
    axis = found.plot(effects="Days").axes[0]
    table = found.table[found.table["effect"] == "Days"]
    np.testing.assert_allclose(lines_of(axis, UNPOOLED)[0][:, 1], table["unpooled"])
    np.testing.assert_allclose(lines_of(axis, POSTERIOR)[0][:, 1], table["estimate"])
    segments = np.array(axis.collections[-1].get_segments())
    np.testing.assert_allclose(segments[:, :, 1], table[["lower", "upper"]])
    assert axis.get_ylabel() == "random effect Days by Subject"


def test_levels_that_determine_nothing_have_no_own_estimate():
    data = bmm.datasets.load("sleepstudy")
    data = data[(data["Subject"].astype(str) != "308") | (data["Days"] == 4)]
    fit = bmm.Model(SLOPES, data).fit()
    axis = bmm.shrinkage(fit).plot().axes[0]
    assert np.isnan(lines_of(axis, UNPOOLED)[0]).any(axis=1).sum() == 1
    assert np.isfinite(lines_of(axis, FIT)[0]).all()
    bmm.shrinkage(fit).plot(effects="Days").draw_without_rendering()


def test_factors_have_a_panel_each_and_of_many_levels_some_are_named():
    fit = bmm.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", bmm.datasets.load("penicillin")).fit()
    found = bmm.shrinkage(fit)
    assert [axis.get_ylabel() for axis in found.plot().axes] == [
        "random effect Intercept by plate", "random effect Intercept by sample",
    ]  # fmt: skip
    schools = bmm.shrinkage(bmm.Model("mAch ~ ses + (1 | school)", bmm.datasets.load("hsb82")).fit())
    axis, table = schools.plot().axes[0], schools.table
    moved = table.assign(move=(table["unpooled"] - table["estimate"]).abs()).nlargest(5, "move")
    assert set(texts_of(axis)) <= set(moved["level"])
    assert texts_of(axis)
    with pytest.raises(ArgumentError, match="ax is for one panel"):
        found.plot(ax=axis)
    assert found.plot("plate", ax=axis) is axis.figure


def test_ranks_stand_in_order_with_their_intervals(sleep):
    found = bmm.ranking(sleep[1], "Subject", "Days", top=3, above=15.0, of="coefficients")
    ranks, chances = found.plot().axes
    table = found.table.sort_values("expected_rank", kind="stable")
    np.testing.assert_allclose(ranks.lines[0].get_xdata(), table["expected_rank"])
    segments = np.array(ranks.collections[0].get_segments())
    np.testing.assert_allclose(segments[:, :, 0], table[["rank_lower", "rank_upper"]])
    assert [label.get_text() for label in ranks.get_yticklabels()] == table.index.tolist()
    assert ranks.get_ylim()[0] > ranks.get_ylim()[1]
    for line, name in zip(chances.lines, ("best", "top", "above"), strict=True):
        np.testing.assert_allclose(line.get_xdata(), table[name])
    texts = [text.get_text() for text in chances.get_legend().get_texts()]
    assert texts == ["of being the best", "of being among the 3 best", "of more than 15"]
