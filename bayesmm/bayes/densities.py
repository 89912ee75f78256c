"""Densities of draws, by ArviZ's kernel estimate, with what mass there is at the limits of a parameter."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from bayesmm.design.blocks.labels import Kind
from bayesmm.plots.densities import Density

LIMITS = {
    "fixed": (-np.inf, np.inf),
    "exponent": (-np.inf, np.inf),
    "sd": (0.0, np.inf),
    "sigma": (0.0, np.inf),
    "cor": (-1.0, 1.0),
}
AT = 1e-6  # of the largest draw: so near to a limit a draw is at it
BEYOND = 0.5  # standard deviations beyond the outermost draws, where the curve comes down
SEEN = 0.004  # of the highest density: what is less is not drawn, or a few draws far out would be all there is to see
N_POINTS = 512
FEWEST = 5  # distinct draws of which a density is made


def densities_by_name(names: Iterable[str], kinds: Iterable[Kind | str], draws: np.ndarray) -> Mapping[str, Density]:
    """Estimate the density of every parameter.

    Parameters
    ----------
    names, kinds : iterable of str
        Of the parameters; any other kind than those of a table of parameters has no limits.
    draws : array, shape (..., m)
        Of m parameters; NaN is left out.
    """
    columns = draws.reshape(-1, draws.shape[-1]).T
    limits = (LIMITS.get(kind, (-np.inf, np.inf)) for kind in kinds)
    return {name: estimate_density(column, own) for name, column, own in zip(names, columns, limits, strict=True)}


def estimate_density(draws: np.ndarray, limits: tuple[float, float] = (-np.inf, np.inf)) -> Density:
    """Estimate the density of draws of one quantity.

    Parameters
    ----------
    draws : array, shape (n,)
        NaN is left out.
    limits : (float, float)
        Between which the quantity lies; draws at a limit are mass at a single value, and not smoothed.

    Returns
    -------
    Density
        Where it is more than 1/250 of the highest. With mass at limits, the curve has the rest.

    Notes
    -----
    ArviZ's Gaussian kernel estimate, reflected at the limits.
    """
    values = draws[np.isfinite(draws)]
    near = AT * np.max(np.abs(values), initial=0.0)
    at = [(limit, np.abs(values - limit) <= near) for limit in limits if np.isfinite(limit)]
    atoms = tuple((limit, float(here.mean())) for limit, here in at if here.any())
    inside = values[~np.any([here for _, here in at], axis=0)] if at else values
    if len(np.unique(inside)) < FEWEST:
        return Density(x=np.empty(0), density=np.empty(0), atoms=(*atoms, *_points(inside, len(values))))
    from arviz_stats.base import array_stats

    beyond = BEYOND * float(inside.std())
    low, high = float(inside.min()), float(inside.max())
    ends = min(low, max(limits[0], low - beyond)), max(high, min(limits[1], high + beyond))
    x, density, _ = array_stats.kde(inside, grid_len=N_POINTS, custom_lims=ends, bound_correction=True)
    places = np.flatnonzero(density > SEEN * density.max())
    seen = slice(places[0], places[-1] + 1)
    return Density(x=x[seen], density=density[seen] * len(inside) / len(values), atoms=atoms)


def _points(values: np.ndarray, n: int) -> tuple[tuple[float, float], ...]:
    """Few distinct values, as a known number has, are themselves."""
    found, counts = np.unique(values, return_counts=True)
    return tuple((float(value), count / n) for value, count in zip(found, counts, strict=True))
