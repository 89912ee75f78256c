"""Draw the pictures of docs/gallery.md, all or those that are named: python docs/pictures/gallery.py [NAME ...].

A new figure is a line of FIGURES: the name of its file, and what draws it from `Results`.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib as mpl
from PIL import Image

import bayesmm as bmm

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bayesmm.bayes.posterior import Posterior
    from bayesmm.fit.fit import Fit

DPI = 100
COLOURS = 256  # of a palette, which makes files small
FOLDER = Path(__file__).parent / "gallery"


class Results:
    """What figures are drawn from, each worked out once."""

    @cached_property
    def model(self) -> bmm.Model:
        """Reaction times by days without sleep."""
        return bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))

    @cached_property
    def fit(self) -> Fit:
        """Its estimates."""
        return self.model.fit()

    @cached_property
    def posterior(self) -> Posterior:
        """Its posterior, without a sampler."""
        return self.model.sample(method="importance", seed=1)

    @cached_property
    def schools(self) -> Fit:
        """Achievement in 160 schools."""
        return bmm.Model("mAch ~ ses + (1 | school)", bmm.datasets.load("hsb82")).fit()

    @cached_property
    def pups(self) -> Fit:
        """Weights of rat pups."""
        formula = "weight ~ Treatment * sex + Lsize + (1 | Litter)"
        return bmm.Model(formula, bmm.datasets.load("ratpupweight")).fit()


FIGURES: dict[str, Callable[[Results], Figure]] = {
    "groups": lambda r: r.fit.plot_groups(),
    "groups_of_both": lambda r: bmm.compare(r.fit, r.posterior).plot_groups(levels=["308", "309", "335", "337"]),
    "shrinkage": lambda r: bmm.shrinkage(r.fit, of="coefficients").plot(),
    "shrinkage_of_draws": lambda r: bmm.shrinkage(r.posterior).plot(effects="Days"),
    "ranking": lambda r: bmm.ranking(r.fit, "Subject", "Days", of="coefficients", top=3).plot(),
    "league": lambda r: bmm.ranking(r.schools, "school", top=10).plot(),
    "means": lambda r: bmm.emmeans(r.pups, "Treatment", by="sex").plot(),
    "contrasts": lambda r: bmm.emmeans(r.pups, "Treatment", by="sex").contrasts().plot(),
    "influence": lambda r: r.fit.influence("Subject").plot(),
    "residuals": lambda r: r.fit.plot_residuals(),
    "envelopes": lambda r: r.fit.plot_envelopes(),
    "simulated_residuals": lambda r: r.fit.simulated_residuals(random="all").plot(),
}


def main(names: list[str]) -> None:
    """Draw and save."""
    mpl.use("agg")
    FOLDER.mkdir(exist_ok=True)
    results = Results()
    for name in names or FIGURES:
        figure = FIGURES[name](results)
        written = io.BytesIO()
        figure.savefig(written, dpi=DPI)
        picture = (
            Image.open(written).convert("RGB").quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
        )
        picture.save(FOLDER / f"{name}.png", optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
