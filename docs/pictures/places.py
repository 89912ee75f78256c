"""Draw the picture of zinc at the Meuse in docs/formulas.md: predictions, how sure they are, and R of the samples."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pandas as pd

import bayesmm as bmm

mpl.use("Agg")
from matplotlib import pyplot

STEP = 60.0  # metres between predictions
NEAR = 150.0  # metres from a sample within which the map is drawn


def main() -> None:
    """Write places.png."""
    meuse = bmm.datasets.load("meuse")
    model = bmm.Model("np.log(zinc) ~ np.sqrt(dist) + exp(0 + at(x, y) | area)", meuse)
    fit = model.fit()
    samples = meuse[["x", "y"]].to_numpy(dtype=float)
    east, north = (
        np.arange(low - NEAR, high + NEAR, STEP) for low, high in zip(samples.min(0), samples.max(0), strict=True)
    )
    grid = np.stack(np.meshgrid(east, north), axis=-1).reshape(-1, 2)
    away = np.sqrt(((grid[:, None] - samples) ** 2).sum(axis=-1))
    inside = away.min(axis=1) < NEAR
    frame = pd.DataFrame({"x": grid[:, 0], "y": grid[:, 1], "area": "Meuse"})
    frame["dist"] = meuse["dist"].to_numpy()[away.argmin(axis=1)]  # of the sample that is nearest
    parts = [
        fit.predict(part, interval="confidence", uncertainty="fixed")
        for _, part in frame[inside].groupby(np.arange(inside.sum()) // 150)
    ]
    found = pd.concat(parts)
    order = np.argsort(samples[:, 1])
    figure, axes = pyplot.subplots(1, 3, figsize=(11, 4.2), layout="constrained")
    for axis, column, title in (
        (axes[0], "estimate", "log zinc, predicted"),
        (axes[1], "std_error", "its standard error"),
    ):
        values = np.full(len(grid), np.nan)
        values[inside] = found[column]
        image = axis.pcolormesh(east / 1000, north / 1000, values.reshape(len(north), len(east)), cmap="viridis")
        axis.plot(*(samples.T / 1000), ".", color="white", markersize=2)
        axis.set(title=title, xlabel="easting (km)", aspect="equal")
        figure.colorbar(image, ax=axis, shrink=0.8)
    axes[0].set_ylabel("northing (km)")
    covariance = model.marginal_covariance(order.tolist(), at=fit.parameters["estimate"].to_dict()).to_numpy(
        dtype=float
    )
    sds = np.sqrt(np.diag(covariance))
    image = axes[2].imshow(covariance / np.outer(sds, sds), cmap="magma", vmin=0, vmax=1)
    axes[2].set(title="correlation of the samples", xlabel="sample, from south to north")
    figure.colorbar(image, ax=axes[2], shrink=0.8)
    figure.savefig(Path(__file__).parent / "places.png", dpi=80)


if __name__ == "__main__":
    main()
