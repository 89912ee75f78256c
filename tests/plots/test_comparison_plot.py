"""The figure of a comparison."""

import sys

import pytest
from made_posterior import make_posterior
from matplotlib.colors import to_rgb

import bayesmm as bmm
from bayesmm.errors import BayesmmError


def compared(formula, name, **options):
    model = bmm.Model(formula, bmm.datasets.load(name))
    return bmm.compare(model.fit(), make_posterior(model), **options)


def labels_of(axis):
    return [label.get_text() for label in axis.get_yticklabels()]


def test_each_parameter_is_drawn_once_and_scales_that_differ_are_kept_apart():
    figure = compared("Reaction ~ Days + (Days | Subject)", "sleepstudy").plot()
    panels = [labels_of(axis) for axis in figure.axes]
    assert panels == [
        ["Intercept"],
        ["Days"],
        ["sd(Intercept | Subject)", "sd(Days | Subject)", "sigma"],
        ["cor(Intercept, Days | Subject)"],
    ]


def test_legend_names_method_df_and_level():
    figure = compared("Yield ~ 1 + (1 | Batch)", "dyestuff", level=0.8).plot()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["REML (Satterthwaite), 80 % interval", "posterior mean, 80 % interval"]


def test_estimate_on_the_boundary_has_an_open_marker_and_no_interval():
    figure = compared("Yield ~ 1 + (1 | Batch)", "dyestuff2").plot()
    axis = next(axis for axis in figure.axes if "sd(Intercept | Batch)" in labels_of(axis))
    at_zero = [line for line in axis.lines if list(line.get_xdata()) == [0.0] and line.get_marker() == "s"]
    assert [line.get_markerfacecolor() for line in at_zero] == [to_rgb(axis.get_facecolor())]


def test_missing_matplotlib_is_said_with_what_to_install(monkeypatch):
    comparison = compared("Yield ~ 1 + (1 | Batch)", "dyestuff")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BayesmmError, match=r"Plots need matplotlib.*pip install matplotlib"):
        comparison.plot()
