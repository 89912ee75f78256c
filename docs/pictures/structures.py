"""Draw the correlation matrices of docs/structures.md: of every structure, as it was estimated."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

import bayesmm as bmm

mpl.use("Agg")
from matplotlib import pyplot

COLUMNS = 6
SAME = "distance ~ age * Sex + {name}(0 + C(age) | Subject)"


def estimates() -> dict[str, bmm.Fit]:
    """Fits of the page, by what stands above their panel."""
    growth, ages = bmm.datasets.load("orthodont"), [8, 10, 12, 14]
    names = [
        "homdiag",
        "diag",
        "homcs",
        "cs",
        "ar1",
        "hetar1",
        "exp",
        "hetexp",
        "gau",
        "ratio",
        "sph",
        "lin",
        "mat",
        "homtoep",
        "toep",
        "us",
    ]
    found = {name: bmm.Model(SAME.format(name=name), growth, sigma=0.001).fit("ml") for name in names}
    boys = bmm.datasets.load("oxboys")
    heights = "height ~ age + I(age**2) + rr(0 + C(Occasion) | Subject, d=2)"
    found["rr, d=2"] = bmm.Model(heights, boys).fit("ml")
    of_factors = heights.replace("rr(", "fa(")
    found["fa, d=2"] = bmm.Model(of_factors, boys, sigma=0.05).fit("ml")
    pixel = bmm.datasets.load("pixel")
    found["kron(us, exp)"] = bmm.Model("pixel ~ day + I(day**2) + kron(us(Side), exp(C(day)) | Dog)", pixel).fit()
    V = pd.DataFrame(np.minimum.outer(ages, ages), index=ages, columns=ages)
    walk = "distance ~ age * Sex + propto(0 + C(age) | Subject, V)"
    found["propto"] = bmm.Model(walk, growth, relations={"V": V}).fit()
    strata = "distance ~ age * Sex + homcs(0 + C(age) | gr(Subject, by=Sex))"
    found["homcs, gr(by=Sex)"] = bmm.Model(strata, growth, sigma=0.001).fit("ml")
    return found


def main() -> None:
    """Write structures.png."""
    fits = estimates()
    rows = -(-len(fits) // COLUMNS)
    figure, axes = pyplot.subplots(rows, COLUMNS, figsize=(11, 2.1 * rows), layout="constrained")
    image = None
    for axis, (name, fit) in zip(axes.flat, fits.items(), strict=False):
        covariance = fit.factors[0] @ fit.factors[0].T
        sds = np.sqrt(np.diag(covariance))
        image = axis.imshow(covariance / np.outer(sds, sds), cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set(title=name, xticks=[], yticks=[])
    for axis in list(axes.flat)[len(fits) :]:
        axis.set_axis_off()
    assert image is not None
    figure.colorbar(image, ax=axes, shrink=0.6, label="correlation")
    figure.savefig(Path(__file__).parent / "structures.png", dpi=80)


if __name__ == "__main__":
    main()
