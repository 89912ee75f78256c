"""What all figures share: whose figure is closed, and how long names are cut."""

import pytest
from matplotlib import pyplot

import bayesmm as bmm
from bayesmm.errors import ArgumentError
from bayesmm.plots.canvas import cut, hand_over, literal, open_figure


@pytest.fixture
def in_a_notebook(monkeypatch):
    monkeypatch.setattr(pyplot, "get_backend", lambda: "module://matplotlib_inline.backend_inline")


def test_a_notebook_closes_figures_that_were_opened_here_and_no_others(in_a_notebook):
    own, axes = pyplot.subplots(1, 2)
    figure, _ = open_figure(axes[0], size=(4.0, 3.0))
    assert hand_over(figure) is own
    assert pyplot.fignum_exists(own.number)
    new, _ = open_figure(size=(4.0, 3.0))
    number = new.number
    hand_over(new)
    assert not pyplot.fignum_exists(number)


def test_axes_in_a_part_of_a_figure_give_the_whole_figure():
    own = pyplot.figure()
    axis = own.subfigures(1, 2)[0].subplots()
    fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit()
    assert bmm.shrinkage(fit).plot(ax=axis) is own
    assert axis.lines
    axis.remove()
    with pytest.raises(ArgumentError, match="out of its figure"):
        open_figure(axis, size=(4.0, 3.0))


def test_long_names_keep_both_ends_and_dollars():
    names = [f"a site with a very long name in the north of the country {year}" for year in (2019, 2020)]
    assert len({cut(name) for name in names}) == 2
    assert all(len(cut(name, 20)) == 20 and cut(name, 20).endswith(name[-5:]) for name in names)
    assert cut("short") == "short"
    figure, axes = open_figure(size=(4.0, 3.0))
    text = axes[0, 0].set_title(literal("cost $5 or $x$"))
    figure.canvas.draw()
    assert text.get_text().count("$") == text.get_text().count(r"\$") == 3
