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
from matplotlib import pyplot
from PIL import Image

import bayesmm as bmm

if TYPE_CHECKING:
    from arviz_plots import PlotCollection
    from matplotlib.figure import Figure

    from bayesmm.bayes.posterior import Posterior
    from bayesmm.fit.fit import Fit
    from bayesmm.inference.bootstrap.bootstrap import Bootstrap
    from bayesmm.inference.profile.profile import Profile

DPI = 100
COLOURS = 256  # of a palette, which makes files small
SOME = ["Days", "sd(Days | Subject)", "cor(Intercept, Days | Subject)", "sigma"]
FOLDER = Path(__file__).parent / "gallery"
DRAWN_WITH = (
    "linux",
    "3.11",
)  # platform and matplotlib of these pictures; others draw text otherwise


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

    @cached_property
    def pastes(self) -> Fit:
        """Strength of a paste, of casks in batches."""
        return bmm.Model("strength ~ 1 + (1 | batch/cask)", bmm.datasets.load("pastes")).fit()

    @cached_property
    def boys(self) -> Fit:
        """Heights of boys, a curve over age."""
        return bmm.Model("height ~ s(age) + (age | Subject)", bmm.datasets.load("oxboys")).fit()

    @cached_property
    def jaws(self) -> Fit:
        """Growth of jaws, by lag."""
        formula = "distance ~ age * Sex + homtoep(0 + C(age) | Subject)"
        return bmm.Model(formula, bmm.datasets.load("orthodont"), sigma=0.001).fit(method="ml")

    @cached_property
    def zones(self) -> bmm.Model:
        """Zones of penicillin, of samples on plates."""
        return bmm.Model("diameter ~ 1 + (1 | plate) + (1 | sample)", bmm.datasets.load("penicillin"))

    @cached_property
    def bootstrap(self) -> Bootstrap:
        """Refits of the reaction times."""
        return self.fit.bootstrap(400, progress=False)

    @cached_property
    def comparison(self) -> bmm.Comparison:
        """Both engines and the refits."""
        return bmm.compare(self.fit, self.posterior, self.bootstrap)

    @cached_property
    def profile(self) -> Profile:
        """Profile of the reaction times."""
        return self.fit.profile(progress=False)


FIGURES: dict[str, Callable[[Results], Figure]] = {
    "groups": lambda r: r.fit.plot_groups(),
    "groups_of_both": lambda r: bmm.compare(r.fit, r.posterior).plot_groups(levels=["308", "309", "335", "337"]),
    "shrinkage": lambda r: bmm.shrinkage(r.fit, of="coefficients").plot(),
    "shrinkage_of_draws": lambda r: bmm.shrinkage(r.posterior).plot(effects="Days"),
    "ranking": lambda r: bmm.ranking(r.fit, "Subject", "Days", of="coefficients", top=3).plot(),
    "league": lambda r: bmm.ranking(r.schools, "school", top=10).plot(),
    "effects": lambda r: bmm.effect_uncertainty(r.fit, r.posterior).plot(effect="Days"),
    "effects_of_many": lambda r: r.schools.plot_effects(),
    "means": lambda r: bmm.emmeans(r.pups, "Treatment", by="sex").plot(),
    "contrasts": lambda r: bmm.emmeans(r.pups, "Treatment", by="sex").contrasts().plot(),
    "influence": lambda r: r.fit.influence("Subject").plot(),
    "residuals": lambda r: r.fit.plot_residuals(),
    "envelopes": lambda r: r.fit.plot_envelopes(),
    "simulated_residuals": lambda r: r.fit.simulated_residuals(random="all").plot(),
    "comparison": lambda r: r.comparison.plot(profile=r.profile),
    "forest": lambda r: figure_of(r.comparison.plot_forest(["Days", "sd(Days | Subject)"], profile=r.profile)),
    "profile": lambda r: r.profile.plot(),
    "profile_density": lambda r: r.pastes.profile(progress=False).plot_density(),
    "profile_pairs": lambda r: r.fit.profile(SOME, progress=False).plot_pairs(),
    "bootstrap": lambda r: r.pastes.bootstrap(400, progress=False).plot(),
    "boundary": lambda r: r.pastes.boundary("sd(Intercept | batch)", n=400, progress=False).plot(),
    "priors": lambda r: r.model.plot_priors(),
    "priors_and_posterior": lambda r: r.posterior.plot_priors(),
    "explained": lambda r: r.posterior.explained().plot(),
    "smooths": lambda r: r.boys.smooths().plot(),
    "variance_shares": lambda r: r.pastes.plot_variance_shares(),
    "marginal_covariance": lambda r: r.fit.plot_marginal_covariance({"Subject": ["308", "309"]}, correlation=True),
    "nested_covariance": lambda r: r.pastes.plot_marginal_covariance({"batch": ["A", "B"]}),
    "toeplitz": lambda r: r.jaws.plot_marginal_covariance({"Subject": ["M01", "M02"]}, correlation=True),
    "power": lambda r: bmm.power(
        r.fit, parameters={"Days": 5.0}, along={"Subject": [6, 12, 18, 24]}, n=500, progress=False
    ).plot(),
    "predictive": lambda r: figure_of(r.posterior.plot_predictive(seed=1)),
    "pit": lambda r: figure_of(r.zones.sample(method="importance", seed=1).plot_pit()),
}


def figure_of(collection: PlotCollection) -> Figure:
    """Take matplotlib's figure out of what ArviZ has drawn."""
    return collection.viz["figure"].item()


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
        pyplot.close(figure)


if __name__ == "__main__":
    main(sys.argv[1:])
