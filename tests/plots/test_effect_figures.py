"""Figures of means, of influence and of residuals: what is drawn is what the tables say."""

import matplotlib as mpl
import numpy as np
import pytest
from made_posterior import make_posterior
from matplotlib import pyplot

import bayesmm as bmm
from bayesmm.errors import ArgumentError


@pytest.fixture(autouse=True)
def quiet_backend():
    mpl.use("agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def pups():
    model = bmm.Model("weight ~ Treatment * sex + Lsize + (1 | Litter)", bmm.datasets.load("ratpupweight"))
    return model, model.fit()


@pytest.fixture(scope="module")
def sleep():
    return bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()


def segments_of(axis):
    return np.concatenate([np.array(each.get_segments()) for each in axis.collections])


def test_means_of_two_columns_are_lines_over_the_first(pups):
    means = bmm.emmeans(pups[1], "Treatment", by="sex")
    figure = means.plot()
    axis = figure.axes[0]
    drawn = np.concatenate([line.get_ydata() for line in axis.lines])
    np.testing.assert_allclose(drawn, means.table["estimate"])
    np.testing.assert_allclose(segments_of(axis)[:, :, 1], means.table[["lower", "upper"]])
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["sex Female", "sex Male"]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["Control", "High", "Low"]


def test_keys_show_names_that_begin_with_an_underscore_or_hold_dollars():
    data = bmm.datasets.load("orthodont").rename(columns={"Sex": "_s$x$"})
    fit = bmm.Model("distance ~ age * `_s$x$` + (age | Subject)", data).fit()
    (key,) = bmm.emmeans(fit, ["age", "_s$x$"], at={"age": [8, 14]}).plot("age").legends
    texts = [text._preprocess_math(text.get_text()) for text in key.get_texts()]
    assert texts == [("_s$x$ Female", False), ("_s$x$ Male", False)]


def test_numbers_stand_where_they_are(sleep):
    means = bmm.emmeans(sleep, "Days", at={"Days": [0, 1, 9]})
    (line,) = means.plot("Days").axes[0].lines
    np.testing.assert_allclose(line.get_xdata(), [0.0, 1.0, 9.0])


def test_contrasts_are_a_forest_with_adjusted_intervals_and_p_values(pups):
    pairs = bmm.emmeans(pups[1], "Treatment", by="sex").contrasts()
    axis = pairs.plot().axes[0]
    np.testing.assert_allclose(segments_of(axis)[:, :, 0], pairs.table[["lower", "upper"]])
    np.testing.assert_allclose(axis.lines[0].get_xdata(), pairs.table["estimate"])
    assert axis.get_xlabel().endswith("95 % interval, adjusted")
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == ["Control - High", "Control - Low", "High - Low"] * 2 + ["sex Female", "sex Male"]
    assert len([text for text in axis.texts if text.get_text() != "p"]) == 6
    assert axis.lines[1].get_xdata() == [0.0, 0.0]


def test_drawn_means_and_slopes_are_drawn_too(pups, sleep):
    drawn = bmm.emmeans(make_posterior(pups[0]), "Treatment")
    axis = drawn.plot().axes[0]
    np.testing.assert_allclose(axis.lines[0].get_xdata(), drawn.table["mean"])
    assert "adjusted" not in axis.get_xlabel()
    slopes = bmm.slopes(sleep, "Days")
    axis = slopes.plot().axes[0]
    assert axis.get_xlabel() == "slope of Reaction, 95 % interval"
    with pytest.raises(ArgumentError, match="give a column of the rows"):
        drawn.plot("sex")


def test_influence_draws_every_row_and_names_the_largest(sleep):
    found = sleep.influence("Subject")
    distances, leverages, changes = found.plot().axes
    np.testing.assert_allclose(distances.lines[0].get_ydata(), found.table["cooks_distance"])
    named = {text.get_text() for text in distances.texts}
    assert named <= set(found.largest(5).index)
    assert found.largest(1).index[0] in named
    np.testing.assert_allclose(leverages.lines[0].get_xdata(), found.table["leverage"])
    np.testing.assert_allclose(leverages.lines[0].get_ydata() ** 2, found.table["statistic"])
    for line, name in zip(changes.lines, found.dfbetas, strict=False):
        np.testing.assert_allclose(line.get_xdata(), found.dfbetas[name])


def test_page_of_residuals_has_rows_envelopes_effects_and_levels(sleep):
    axes = sleep.plot_residuals(n=50).axes
    assert len(axes) == 6
    standardised, table = sleep.residuals("standardised"), sleep.envelopes(n=50)
    np.testing.assert_allclose(axes[0].lines[0].get_xydata(), np.column_stack([sleep.fitted, standardised]))
    np.testing.assert_allclose(axes[1].lines[0].get_ydata() ** 2, np.abs(standardised))
    np.testing.assert_allclose(axes[2].lines[0].get_xydata(), table[["expected", "observed"]])
    corners = axes[2].collections[1].get_paths()[0].vertices[:, 1]
    assert set(table["lower"]) | set(table["upper"]) <= set(corners)
    effects = sleep.envelopes("random_effects", n=50)
    for axis, name in zip(axes[3:5], ("Intercept", "Days"), strict=True):
        own = effects[effects["effect"] == name]
        np.testing.assert_allclose(axis.lines[0].get_xydata(), own[["expected", "observed"]])
        assert axis.get_ylabel().replace("\n", " ") == f"{name} by Subject, standardised"
    medians = axes[5].lines[1].get_ydata()
    assert len(axes[5].lines[0].get_xdata()) == 180
    assert np.all(np.diff(medians) >= 0)
    assert len(medians) == 18


def test_a_singular_fit_has_no_panel_of_effects():
    fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff2")).fit()
    assert len(fit.plot_residuals(n=20).axes) == 4


def test_envelopes_are_drawn_alone_and_into_given_axes(sleep):
    assert len(sleep.plot_envelopes("random_effects", n=20).axes) == 2
    figure, axis = pyplot.subplots()
    assert sleep.plot_envelopes(n=20, ax=axis) is figure
    with pytest.raises(ArgumentError, match="ax is for one panel"):
        sleep.plot_envelopes("random_effects", n=20, ax=axis)


def test_simulated_residuals_are_sorted_beside_uniform_quantiles(sleep):
    found = sleep.simulated_residuals(n=50)
    axis = found.plot().axes[0]
    x, y = axis.lines[1].get_data()
    np.testing.assert_allclose(y, np.sort(found.residuals))
    np.testing.assert_allclose(x, (np.arange(180) + 0.5) / 180)
    assert "uniformity" in axis.get_title("left")


def test_a_dark_style_has_light_lines(sleep):
    with pyplot.style.context("dark_background"):
        axis = sleep.influence("Subject").plot().axes[2]
    assert min(mpl.colors.to_rgb(axis.texts[0].get_color())) > 0.5
