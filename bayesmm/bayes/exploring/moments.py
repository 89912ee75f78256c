"""Means and standard deviations of random effects without draws of them: Rao–Blackwellised over draws of the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import xarray as xr

from bayesmm.bayes.exploring.coordinates import Place
from bayesmm.bayes.exploring.surface import Surface
from bayesmm.design.blocks.labels import BlockLabels, Labels
from bayesmm.design.coordinates import effect_coordinates

AVERAGED = 10_000_000  # draws times random effects on the host: some two minutes of a processor
FEWEST = 50  # draws: what is averaged are conditional means and variances, which hardly differ between draws


class MomentSum:
    """The moments of a mixture of conditional distributions, added up part by part."""

    def __init__(self) -> None:
        self._weight: float = 0.0
        self._mean: np.ndarray | float = 0.0
        self._between: np.ndarray | float = 0.0
        self._within: np.ndarray | float = 0.0

    def add(self, weights: np.ndarray, means: np.ndarray, variances: np.ndarray) -> None:
        """Add conditional means and variances, first axis that of the draws, weighted.

        Notes
        -----
        Sums of squares are about the running mean: Chan, Golub & LeVeque (1983), Am. Stat. 37.
        """
        weight = weights.sum()
        mean = np.tensordot(weights, means, axes=1) / weight
        between = np.tensordot(weights, (means - mean) ** 2, axes=1)
        total = self._weight + weight
        shift = mean - self._mean
        self._between = self._between + between + shift**2 * (self._weight * weight / total)
        self._mean = self._mean + shift * (weight / total)
        self._within = self._within + np.tensordot(weights, variances, axes=1)
        self._weight = total

    @property
    def mean(self) -> np.ndarray:
        """Mean of the mixture."""
        return np.asarray(self._mean)

    @property
    def sd(self) -> np.ndarray:
        """Standard deviation of the mixture: within and between."""
        return np.sqrt((np.asarray(self._within) + self._between) / self._weight)


def choose_averaged(n_draws: int, n_hosted: int) -> np.ndarray:
    """Choose the draws, evenly spaced, over which moments are averaged: all, unless each takes a factor on the host.

    Parameters
    ----------
    n_draws : int
        How many there are.
    n_hosted : int
        Random effects that are eliminated on the host.
    """
    count = min(n_draws, max(FEWEST, AVERAGED // n_hosted))
    return np.linspace(0, n_draws - 1, count).round().astype(int)


def averaged_note(count: int, n_draws: int) -> tuple[str, ...]:
    """Say so if these are not all."""
    if count == n_draws:
        return ()
    return (
        f"Means and standard deviations of the random effects are averages over {count:,} of the {n_draws:,} draws of "
        "everything else, evenly spaced.",
    )


def average_moments(surface: Surface, place: Place, positions: Mapping[str, np.ndarray], labels: Labels) -> xr.Dataset:
    """Average the conditional moments of the random effects over draws of everything else.

    Parameters
    ----------
    surface : Surface
        The posterior; describes itself by `bayesmm.bayes.programs.program.MarginalProgram.moments`.
    place, positions
        Draws.
    labels : Labels
        The names.

    Returns
    -------
    Dataset
        ``b_Subject_mean`` and ``b_Subject_sd`` (Subject, Subject_effect) of each grouping factor.

    References
    ----------
    Gelfand & Smith (1990), JASA 85.
    """
    sums = {block.effect_variable: MomentSum() for block in labels.blocks}
    for part in surface.describe(place, positions):
        for name, total in sums.items():
            means = part[f"{name}_mean"]
            total.add(np.ones(len(means)), means, part[f"{name}_variance"])
    return moment_group(labels, list(sums.values()))


def moment_group(labels: Labels, sums: Sequence[MomentSum]) -> xr.Dataset:
    """Label the moments of the effects of each grouping factor: the group ``random_effects`` of a DataTree."""
    variables, coordinates = {}, {}
    for block, total in zip(labels.blocks, sums, strict=True):
        variables |= effect_variables(block, total.mean, total.sd)
        coordinates |= effect_coordinates(block)
    return xr.Dataset(variables, coords=coordinates)


def effect_variables(block: BlockLabels, mean: np.ndarray, sd: np.ndarray) -> dict[str, tuple[list[str], np.ndarray]]:
    """Name moments of the effects of a grouping factor; a first axis, if there is one more, is that of the nodes."""
    dims = ["node"] * (mean.ndim - 2) + [block.dim, block.effect_dim]
    return {f"{block.effect_variable}_mean": (dims, mean), f"{block.effect_variable}_sd": (dims, sd)}
