"""Draw the correlation matrices of docs/residuals.md: of every structure of residuals, as it was estimated."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

import bayesmm as bmm

mpl.use("Agg")
from matplotlib import pyplot

COLUMNS = 6
NAMES = [
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
    "homtoep",
    "toep",
    "homad",
    "ad",
    "homus",
    "us",
]


def estimates() -> dict[str, bmm.Fit]:
    """Fits of the page, by what stands above their panel."""
    sleep = bmm.datasets.load("sleepstudy")
    texts = {name: f"{name}(Days | Subject)" for name in NAMES} | {"exp, nugget": "exp(Days | Subject, nugget=True)"}
    return {name: bmm.Model("Reaction ~ Days", sleep, residual=text).fit() for name, text in texts.items()}


def main() -> None:
    """Write residual_structures.png."""
    fits = estimates()
    rows = -(-len(fits) // COLUMNS)
    figure, axes = pyplot.subplots(rows, COLUMNS, figsize=(11, 2.1 * rows), layout="constrained")
    image = None
    for axis, (name, fit) in zip(axes.flat, fits.items(), strict=False):
        image = axis.imshow(fit.residual_correlation(), cmap="RdBu_r", vmin=-1, vmax=1)
        axis.set(title=name, xticks=[], yticks=[])
    for axis in list(axes.flat)[len(fits) :]:
        axis.set_axis_off()
    assert image is not None
    figure.colorbar(image, ax=axes, shrink=0.6, label="correlation")
    figure.savefig(Path(__file__).parent / "residual_structures.png", dpi=80)


if __name__ == "__main__":
    main()
