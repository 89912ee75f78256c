"""The gallery's lines run and draw its pictures; compared on the platform that drew them."""

import inspect
import pkgutil
import sys
from importlib import import_module

import documents
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot
from PIL import Image

import bayesmm as bmm
from bayesmm import plots
from bayesmm.bayes.posterior import Posterior
from bayesmm.fit.fit import Fit

sys.path.insert(0, str(documents.ROOT / "docs" / "pictures"))
gallery = __import__("gallery")

ALIKE = 2.0  # root mean square of differences, of 255: colours are those of a palette, edges differ by processors
TOOL = 3  # of sys.monitoring; those below are for debuggers, coverage and profilers
HERE = (sys.platform, ".".join(mpl.__version__.split(".")[:2]))


def plot_functions():
    """The functions of `plots/` that make whole figures."""
    modules = [import_module(f"bayesmm.plots.{each.name}") for each in pkgutil.iter_modules(plots.__path__)]
    return {
        f"{module.__name__}.{name}": inspect.unwrap(value)
        for module in modules
        for name, value in vars(module).items()
        if name.startswith("plot_") and value.__module__ == module.__name__
    }


def draw_page():
    """Every figure as it is drawn now, and the functions of `plots/` that ran for them."""
    tool, codes, ran = sys.monitoring, {each.__code__: name for name, each in plot_functions().items()}, set()
    tool.use_tool_id(TOOL, "gallery")
    tool.register_callback(TOOL, tool.events.PY_START, lambda code, _: ran.add(codes[code]))
    for code in codes:
        tool.set_local_events(TOOL, code, tool.events.PY_START)
    found = {}
    try:
        for name, figure in gallery.figures():
            found[name] = gallery.picture_of(figure)
            pyplot.close(figure)
    finally:
        tool.free_tool_id(TOOL)
    return found, ran


def test_every_figure_is_in_the_page_and_its_picture_is_what_the_lines_above_it_draw():
    pictures, ran = draw_page()  # once: it is the whole page
    assert list(pictures) == gallery.names()
    assert {path.stem for path in gallery.FOLDER.glob("*.png")} == {*pictures}
    functions = {*plot_functions()}
    assert len(functions) > 20
    assert functions - ran == set()
    if HERE != gallery.DRAWN_WITH:
        pytest.skip(f"pictures are of {gallery.DRAWN_WITH}, this is {HERE}: they are not compared")
    off = {name: distance(found, gallery.FOLDER / f"{name}.png") for name, found in pictures.items()}
    assert {name: each for name, each in off.items() if each >= ALIKE} == {}


def distance(found, path):
    kept = Image.open(path).convert("RGB")
    return np.sqrt(np.mean(np.subtract(found, kept, dtype=float) ** 2)) if found.size == kept.size else np.inf


def test_every_method_that_draws_is_in_the_page():
    page = gallery.PAGE.read_text(encoding="utf-8")
    names = {
        name for each in (bmm.Model, bmm.Comparison, Fit, Posterior) for name in dir(each) if name.startswith("plot")
    }
    assert names >= {"plot", "plot_groups", "plot_priors", "plot_effects"}
    assert sorted(name for name in names if f".{name}(" not in page) == []
