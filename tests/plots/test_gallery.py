"""The pictures of the gallery are what its lines of code draw; on the platform that drew them, and told elsewhere."""

import io
import sys
from functools import cache

import documents
import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

import bayesmm as bmm

sys.path.insert(0, str(documents.ROOT / "docs" / "pictures"))
gallery = __import__("gallery")

DRAWN = ["shrinkage", "groups", "ranking", "means", "influence", "variance_shares", "marginal_covariance", "priors"]
ALIKE = 2.0  # root mean square of differences, of 255: colours are those of a palette, edges differ by processors
HERE = (sys.platform, ".".join(mpl.__version__.split(".")[:2]))


@cache
def results():
    return gallery.Results()


@pytest.mark.skipif(HERE != gallery.DRAWN_WITH, reason=f"pictures are of {gallery.DRAWN_WITH}, this is {HERE}")
@pytest.mark.parametrize("name", DRAWN)
def test_picture_is_what_the_figure_draws(name):
    drawn = io.BytesIO()
    gallery.FIGURES[name](results()).savefig(drawn, dpi=gallery.DPI)
    found, kept = (Image.open(f).convert("RGB") for f in (drawn, gallery.FOLDER / f"{name}.png"))
    assert found.size == kept.size
    difference = np.asarray(found, dtype=float) - np.asarray(kept, dtype=float)
    assert np.sqrt(np.mean(difference**2)) < ALIKE


def test_every_picture_is_in_the_page_and_has_its_line():
    page = (documents.ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    assert [name for name in gallery.FIGURES if f"pictures/gallery/{name}.png" not in page] == []
    assert {path.stem for path in gallery.FOLDER.glob("*.png")} == set(gallery.FIGURES)


def test_every_figure_of_a_result_is_in_the_page():
    page = (documents.ROOT / "docs" / "gallery.md").read_text(encoding="utf-8")
    classes = {bmm.Model, bmm.Comparison, *(type(results().__getattribute__(name)) for name in ("fit", "posterior"))}
    names = {name for each in classes for name in dir(each) if name.startswith("plot")}
    assert names >= {"plot", "plot_groups", "plot_priors", "plot_effects"}
    assert sorted(name for name in names if f".{name}(" not in page) == []
