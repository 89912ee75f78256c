"""Figures are drawn into memory, and closed."""

import matplotlib as mpl
import pytest


@pytest.fixture(autouse=True)
def quiet_backend():
    mpl.use("agg")
    yield
    from matplotlib import pyplot

    pyplot.close("all")
