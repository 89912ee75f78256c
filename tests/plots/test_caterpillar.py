"""The figure of predicted effects: marks and limits are those of the table, by level, layer and order."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from functools import cache

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior

import bayesmm as bmm
from bayesmm.errors import ArgumentError, BayesmmError
from bayesmm.fit import Fit
from bayesmm.inference.effects.uncertainty import EffectUncertainty

LAYERS = ["conditional", "fixed", "full", "bootstrap", "posterior"]


@pytest.fixture(autouse=True)
def quiet_backend() -> Iterator[None]:
    mpl.use("agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")


@cache
def found() -> EffectUncertainty:
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    return bmm.effect_uncertainty(model.fit(), make_posterior(model), 10)


@cache
def many() -> Fit:
    rng, q = np.random.default_rng(1), 700
    g = np.repeat(np.arange(q), 4)
    y = rng.normal(size=q)[g] + rng.normal(size=4 * q)
    return bmm.Model("y ~ 1 + (1 | g)", pd.DataFrame({"g": [f"level ${i}$" for i in g], "y": y})).fit()


def drawn(axis, colour):
    """Rows of the intervals of one colour: height, lower, upper."""
    (lines,) = [lines for lines in axis.collections if mpl.colors.to_hex(lines.get_color()[0]) == colour.lower()]
    return np.array([(s[0][1], s[0][0], s[1][0]) for s in lines.get_segments()])


def test_every_layer_of_every_level_is_where_the_table_has_it():
    from bayesmm.plots.caterpillar import LOOKS

    axis = found().plot("Days", level=0.8).axes[0]
    table = found().intervals(0.8)
    names = [label.get_text() for label in axis.get_yticklabels()]
    for layer in LAYERS:
        own = table[(table["effect"] == "Days") & (table["layer"] == layer)].set_index("level").loc[names]
        rows = drawn(axis, LOOKS[layer].colour)
        np.testing.assert_allclose(rows[:, 1:], own[["lower", "upper"]])
        np.testing.assert_array_equal(np.round(rows[:, 0]), np.arange(18))
    estimates = found().table.query("effect == 'Days'").set_index("level").loc[names, "estimate"]
    assert estimates.is_monotonic_increasing


def test_layers_of_a_level_keep_the_order_of_the_legend():
    from bayesmm.plots.caterpillar import LOOKS

    figure = found().plot()
    heights = [drawn(figure.axes[0], LOOKS[layer].colour)[0, 0] for layer in LAYERS]
    assert (np.diff(heights) < 0).all()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["conditional, 95 %", *LAYERS[1:]]


def test_layers_can_be_chosen_and_axes_be_given():
    from matplotlib import pyplot

    figure, axis = pyplot.subplots()
    assert found().plot("Days", "Subject", layers=["full", "posterior"], ax=axis) is figure
    assert len(axis.collections) == 2
    assert axis.get_title(loc="left") == "Days | Subject"
    assert len(found().plot(layers="full").axes[0].collections) == 1


def test_of_many_levels_there_is_a_band_with_the_extremes_named():
    fit = many()
    figure = fit.plot_effects(level=0.8)
    axis, table = figure.axes[0], fit.random_effects(uncertainty="full", level=0.8)
    assert not [t for t in axis.get_yticklabels() if "level" in t.get_text()]
    curve = next(line for line in axis.lines if len(line.get_xdata()) == 700)
    np.testing.assert_allclose(curve.get_ydata(), np.sort(table["estimate"]))
    full = [
        line.get_ydata() for line in axis.lines if line.get_linestyle() == "-" and 100 < len(line.get_ydata()) < 700
    ]
    reach = np.median(table["upper"] - table["estimate"])  # of a balanced table all alike
    np.testing.assert_allclose((full[1] - full[0]) / 2.0, reach, rtol=1e-3)
    ordered = table.sort_values("estimate")["level"]
    assert [text.get_text() for text in axis.texts] == [", ".join(ordered[:3]), ", ".join(ordered[:-4:-1])]
    figure.draw_without_rendering()  # a $ in names is no formula
    assert figure.get_size_inches()[1] < 6


def test_a_dark_style_has_a_light_curve():
    from matplotlib import pyplot

    with pyplot.style.context("dark_background"):
        curve = next(line for line in many().plot_effects().axes[0].lines if len(line.get_xdata()) == 700)
    assert mpl.colors.to_hex(curve.get_color()) == "#ffffff"


def test_what_is_not_there_is_named_with_what_is(monkeypatch):
    with pytest.raises(ArgumentError, match="no effect 'Age' of group None: give one of Intercept of Subject, Days"):
        found().plot("Age")
    with pytest.raises(ArgumentError, match="layers is 'profile': give some of conditional, fixed"):
        found().plot(layers="profile")
    with pytest.raises(ArgumentError, match="ax is 3"):
        found().plot(ax=3)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BayesmmError, match=r"Plots need matplotlib.*pip install matplotlib"):
        found().plot()
