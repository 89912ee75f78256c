"""Draw the curves of docs/residuals.md: correlations of residuals by distance in time, and what pairs of days show."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np

import bayesmm as bmm

mpl.use("Agg")
from matplotlib import pyplot

NAMES = ("exp", "gau", "ratio", "sph", "lin")


def main() -> None:
    """Write residual_curves.png."""
    sleep = bmm.datasets.load("sleepstudy")
    any_ = bmm.Model("Reaction ~ Days", sleep, residual="homus(Days | Subject)").fit().residual_correlation().to_numpy()
    days = np.arange(len(any_))
    figure, axes = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained", sharey=True)
    for axis, nugget in zip(axes, ("", ", nugget=True"), strict=True):
        means = [np.diagonal(any_, lag).mean() for lag in days[1:]]
        axis.plot(days[1:], means, "o", color="0.4", label="mean of homus")
        for name in NAMES:
            fit = bmm.Model("Reaction ~ Days", sleep, residual=f"{name}(Days | Subject{nugget})").fit()
            axis.plot(days[1:], fit.residual_correlation().to_numpy()[0, 1:], label=name)
        axis.set(
            title="with a nugget" if nugget else "without a nugget", xlabel="days apart", xlim=(0, 9.5), ylim=(-0.1, 1)
        )
    axes[0].set_ylabel("correlation")
    axes[1].legend(fontsize=8)
    figure.savefig(Path(__file__).parent / "residual_curves.png", dpi=80)


if __name__ == "__main__":
    main()
