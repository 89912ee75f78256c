"""Every figure can be read: whatever names are, however large letters are, and on whatever ground."""

import itertools
import pickle
from functools import cache

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from legibility import complaints
from made_posterior import make_posterior
from matplotlib import pyplot
from matplotlib.artist import Artist
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D
from matplotlib.text import Text

import bayesmm as bmm
from bayesmm.plots.canvas import (
    FIT,
    cut_all,
    draw_interval,
    ground,
    literals,
    note_points,
    open_figure,
    shade,
    show_key,
    show_no_rounding,
)
from bayesmm.plots.notes import Note

NAMES = {
    "plain": [f"L{i}" for i in range(8)],
    "strange": [
        "a site with a rather long name in the far of the country, 17", "$x$", "new\nline", "a_b^c",
        "a site with a rather long name in the new of the country, 17", r"\alpha_1 %عربي", "", " <b>a\u202eb&",
    ],  # alike where they are cut; signs of TeX and of HTML; nothing
}  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore:.*has the level.*:bayesmm.errors.BayesmmWarning")  # an empty one


COLUMNS = {  # longer than axes
    "g": "the_hospital_where_the_patient_was_treated_at_first_admission",
    "x": "days since the first admission to the hospital, as of $2020$",
    "y": "the systolic blood pressure at the end of the follow-up period",
}


@cache
def results(names):
    rng, rows = np.random.default_rng(0), 6
    level, x = np.repeat(np.arange(8), rows), np.tile(np.arange(float(rows)), 8)
    b = rng.normal(size=(8, 2)) * [1.0, 0.4]
    y = 2.0 + 0.5 * x + b[level, 0] + b[level, 1] * x + 0.7 * rng.normal(size=len(x))
    levels = np.array(NAMES.get(names, NAMES["plain"]))
    data = pd.DataFrame({"y": y, "x": x, "g": levels[level], "dose": levels[np.arange(len(x)) // 2 % 3]})
    group, by, response = (COLUMNS[name] if names == "columns" else name for name in "gxy")
    more = [
        f"a measurement of the patient at the time of admission, {i}" for i in range(9 if names == "columns" else 0)
    ]
    data = data.rename(columns=dict(zip("gxy", (group, by, response), strict=True)))
    data = data.assign(**{name: rng.normal(size=len(x)) for name in more})
    rest = "".join(f" + `{name}`" for name in more)
    model = bmm.Model(f"`{response}` ~ `{by}` + dose{rest} + (`{by}` | `{group}`)", data)
    fit = model.fit()
    return model, fit, make_posterior(model)


def drawn(collection):
    return collection.viz["figure"].item()


FIGURES = {
    "groups": lambda model, fit, posterior: bmm.compare(fit, posterior).plot_groups(),
    "plane": lambda model, fit, posterior: bmm.shrinkage(fit).plot(),
    "columns": lambda model, fit, posterior: bmm.shrinkage(posterior).plot(effects="Intercept"),
    "ranking": lambda model, fit, posterior: bmm.ranking(fit, fit.design.blocks[0].group, "Intercept", top=3).plot(),
    "effects": lambda model, fit, posterior: bmm.effect_uncertainty(fit, posterior).plot(effect="Intercept"),
    "influence": lambda model, fit, posterior: fit.influence(fit.design.blocks[0].group).plot(),
    "residuals": lambda model, fit, posterior: fit.plot_residuals(n=20),
    "uniform": lambda model, fit, posterior: fit.simulated_residuals(n=20).plot(),
    "means": lambda model, fit, posterior: bmm.emmeans(fit, "dose").plot("dose"),
    "contrasts": lambda model, fit, posterior: bmm.emmeans(fit, "dose").contrasts().plot(),
    "comparison": lambda model, fit, posterior: bmm.compare(fit, posterior).plot(),
    "forest": lambda model, fit, posterior: drawn(bmm.compare(fit, posterior).plot_forest()),
    "predictive": lambda model, fit, posterior: drawn(posterior.plot_predictive(draws=5)),
    "shares": lambda model, fit, posterior: fit.plot_variance_shares(),
    "explained": lambda model, fit, posterior: posterior.explained().plot(),
    "covariance": lambda model, fit, posterior: fit.plot_marginal_covariance(range(12), correlation=True),
}


NO_LARGER = ["groups", "comparison", "explained"]  # whose panels have one size


@pytest.mark.parametrize(
    ("figure", "names"),
    [*itertools.product(FIGURES, ["strange", "columns"]), *((figure, "plain") for figure in NO_LARGER)],
)
def test_no_text_lies_on_another_or_is_cut_off(figure, names):
    assert complaints(FIGURES[figure](*results(names))) == []


@pytest.mark.parametrize("figure", sorted({*FIGURES} - {*NO_LARGER}))
def test_larger_letters_have_room(figure):
    with pyplot.style.context({"font.size": 18, "font.family": "serif"}):
        assert complaints(FIGURES[figure](*results("plain"))) == []


@pytest.mark.parametrize("own", ["figure.constrained_layout.use", "figure.autolayout"])
@pytest.mark.parametrize("figure", ["groups", "comparison", "shares", "forest"])
def test_a_layout_of_the_users_own_does_no_harm(figure, own):
    with mpl.rc_context({own: True}):
        assert complaints(FIGURES[figure](*results("plain"))) == []


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
def test_figures_of_arviz_say_what_is_drawn():
    _, fit, posterior = results("plain")
    pit = drawn(posterior.plot_pit(draws=40))
    assert complaints(pit) == []
    assert "PIT" in [axis.get_xlabel() for axis in pit.axes]
    keys = {name: drawn(each).legends[0] for name, each in (
        ("predictive", posterior.plot_predictive(draws=5)), ("forest", bmm.compare(fit, posterior).plot_forest("x")),
    )}  # fmt: skip
    assert [text.get_text() for text in keys["predictive"].get_texts()] == ["observed", "predicted"]
    marks = [line.get_marker() for line in keys["forest"].get_lines()]
    assert len(set(marks)) == len(marks) == 2  # apart in print too


# Names beside points


def test_names_stand_inside_the_axes_apart_from_each_other_whatever_limits_are_set_later():
    rng = np.random.default_rng(1)
    figure, axes = open_figure(size=(4.0, 3.0))
    axis, (x, y) = axes[0, 0], rng.uniform(size=(2, 40))
    axis.plot(x, y, "o")
    note_points(axis, x, y, [f"a name {i}" for i in range(40)])
    for limits in ((0.0, 1.0), (0.2, 0.9)):
        axis.set(xlim=limits, ylim=limits)
        figure.draw_without_rendering()
        boxes = [note.get_window_extent() for note in axis.texts if note.is_shown]
        frame = axis.get_window_extent()
        assert len(boxes) >= 5
        assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
        assert all(frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
        assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_a_name_goes_where_no_mark_is_and_the_first_are_named_first():
    _, axes = open_figure(size=(4.0, 3.0))
    axis = axes[0, 0]
    axis.plot([0.5, 0.55], [0.5, 0.52], "o")
    axis.set(xlim=(0.0, 1.0), ylim=(0.0, 1.0))
    note_points(axis, np.array([0.5, 0.5, np.nan]), np.array([0.5, 0.5, 0.5]), ["a name", "another", "none"])
    axis.figure.draw_without_rendering()
    first = axis.texts[0]
    (place,) = axis.transData.transform([[0.55, 0.52]])
    assert [note.get_text() for note in axis.texts] == ["a name", "another"]
    assert first.is_shown
    assert not first.get_window_extent().contains(*place)


def test_figures_with_names_can_be_pickled():
    figure, axes = open_figure(size=(4.0, 3.0))
    note_points(axes[0, 0], np.array([0.5]), np.array([0.5]), ["a name"])
    again = pickle.loads(pickle.dumps(figure))
    again.draw_without_rendering()
    (note,) = again.findobj(Note)
    assert note.is_shown


# Names that are cut


@given(
    st.lists(st.text(st.characters(codec="ascii", categories=["L", "N", "Zs"]), max_size=30), unique=True),
    st.integers(10, 20),
)
@settings(max_examples=100, deadline=None)
def test_cut_names_fit_and_different_ones_stay_different(names, longest):  # fmt: skip
    shown = cut_all(names, longest)
    assert [one for name, one in zip(names, shown, strict=True) if len(name) <= longest and one != name] == []
    assert max(map(len, shown), default=0) <= longest
    long = [f"{'x' * 60}{name}{'y' * 60}" for name in names]
    shown = cut_all(long, longest)
    assert len(set(shown)) == len(names)
    assert max(map(len, shown), default=0) <= longest


def test_names_that_are_the_same_stay_the_same():
    assert cut_all(["a" * 50, "a" * 50, "b"], 10) == [cut_all(["a" * 50], 10)[0]] * 2 + ["b"]
    assert literals(["$x$"]) == [r"\$x\$"]


# Keys


@pytest.mark.parametrize("width", [3.0, 5.0, 8.0])
@pytest.mark.parametrize("n", [1, 3, 4, 7])
def test_keys_are_as_wide_as_the_figure_and_their_rows_are_full(width, n):
    figure, _ = open_figure(size=(width, 6.0))
    entries: dict[str, Artist] = {f"what is drawn as mark {i}": Line2D([], []) for i in range(n)}
    show_key(figure, entries)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    columns = legend._ncols
    assert legend.get_window_extent().width <= figure.bbox.width or columns == 1
    assert columns == -(-n // -(-n // columns))  # no fewer columns would do for as many rows


# Grounds


@pytest.mark.parametrize(
    ("figure", "axes", "seen"),
    [("white", "none", "white"), ("black", "none", "black"), ("black", "white", "white"), ("none", "none", "white")],
)
def test_the_ground_is_what_is_seen(figure, axes, seen):
    with mpl.rc_context({"figure.facecolor": figure, "axes.facecolor": axes}):
        assert shade(0.0) == to_rgb(seen)
    assert ground("black", (1.0, 1.0, 1.0, 0.25)) == (0.25, 0.25, 0.25)


INTO = {
    "shrinkage": lambda r, ax: bmm.shrinkage(r[1]).plot(ax=ax),
    "effects": lambda r, ax: r[1].plot_effects("x", ax=ax),
    "ranking": lambda r, ax: bmm.ranking(r[1], "g", "x").plot(ax=ax),
    "means": lambda r, ax: bmm.emmeans(r[1], "dose", by="x", at={"x": [0, 5]}).plot(ax=ax),
    "contrasts": lambda r, ax: bmm.emmeans(r[1], "dose").contrasts().plot(ax=ax),
    "uniform": lambda r, ax: r[1].simulated_residuals(n=20).plot(ax=ax),
    "envelopes": lambda r, ax: r[1].plot_envelopes(n=20, ax=ax),
    "covariance": lambda r, ax: r[1].plot_marginal_covariance(range(12), ax=ax),
}


@pytest.mark.parametrize("figure", sorted({*INTO} - {"contrasts"}))  # its p-values need more
def test_small_axes_have_room(figure):
    whole, axis = pyplot.subplots(figsize=(3.0, 2.5), layout="constrained")
    INTO[figure](results("plain"), axis)
    assert complaints(whole) == []


@pytest.mark.parametrize("figure", INTO)
@pytest.mark.parametrize(("own", "other"), [("dark_background", "default"), ("default", "dark_background")])
def test_what_is_drawn_into_axes_has_the_colours_of_their_style(figure, own, other):
    with pyplot.style.context(own):
        whole, axis = pyplot.subplots()
    with pyplot.style.context(other):
        INTO[figure](results("plain"), axis)
    whole.draw_without_rendering()
    is_dark = own == "dark_background"
    texts = [text for text in whole.findobj(Text) if text.get_text().strip() and text.get_visible()]
    wrong = [text.get_text() for text in texts if (np.mean(to_rgb(text.get_color())) > 0.5) != is_dark]
    assert wrong == []


# Intervals


@pytest.mark.parametrize(
    ("lower", "upper", "drawn_from", "is_filled"),
    [(1.0, 3.0, [1.0, 3.0], True), (np.nan, 3.0, [2.0, 3.0], True), (0.0, np.nan, [0.0, 2.0], True),
     (np.nan, np.nan, None, False), (0.0, np.inf, None, True)],
)  # fmt: skip
def test_intervals_are_drawn_as_far_as_they_are_known(lower, upper, drawn_from, is_filled):
    _, axes = open_figure(size=(3.0, 2.0))
    draw_interval(axes[0, 0], 0.0, 2.0, lower, upper, FIT)
    *ends, mark = axes[0, 0].lines
    assert [list(line.get_xdata()) for line in ends] == ([] if drawn_from is None else [drawn_from])
    assert to_rgb(mark.get_markerfacecolor()) == (to_rgb(FIT.colour) if is_filled else (1.0, 1.0, 1.0))


def test_differences_of_rounding_are_not_shown():
    _, axes = open_figure(size=(3.0, 2.0))
    show_no_rounding(axes[0, 0], np.array([1.5, 1.5 + 1e-9, np.nan]))
    assert axes[0, 0].get_xlim() == pytest.approx((1.425, 1.575))
    show_no_rounding(axes[0, 0], np.array([1.0, 1.1]))
    assert axes[0, 0].get_xlim() == pytest.approx((1.425, 1.575))
