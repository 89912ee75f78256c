"""Posteriors by quadrature over the spreads, everything else integrated exactly: no randomness in its numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import ndtr

from bayesmm.bayes.lattice import Lattice, grow_lattice
from bayesmm.bayes.mode import Mode, find_mode
from bayesmm.bayes.surface import Surface
from bayesmm.errors import SamplingError

MOST_PARAMETERS = 4
CELLS = {1: 0.5, 2: 0.6, 3: 0.8, 4: 1.0}  # edge of the first lattice's cells, in standard deviations, by dimension
FINER = 0.8  # factor from one lattice to the next
TOLERANCE = 1e-4  # in posterior standard deviations: how far means and sds of two lattices may differ
MOST_NODES = 400_000
FINE = 8193  # points at which a marginal density is integrated
POINTS = 511  # of a tabulated distribution, at probabilities of equally spaced normal quantiles; one call tells them
REACH = 5.0  # the last of those quantiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Quadrature:
    """Nodes and weights that stand for a posterior.

    Attributes
    ----------
    mode : Mode
        The highest point.
    lattices : tuple of Lattice
        One for each coordinate c, whose slices of equal first index are slices of equal c.
    error : float
        Largest difference of a mean or a standard deviation of a coordinate between lattices, in standard deviations.
    """

    mode: Mode
    lattices: tuple[Lattice, ...]
    error: float

    @property
    def log_evidence(self) -> float:
        """Log of the integral of the density."""
        return self.lattices[0].log_integral

    def propose(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw n positions from cells of constant density, each that of its node; with their log densities."""
        lattice = self.lattices[0]
        chosen = rng.choice(len(lattice.weights), size=n, p=lattice.weights)
        within = rng.uniform(-0.5, 0.5, size=(n, lattice.axes.shape[0]))
        _, log_cell = np.linalg.slogdet(lattice.axes)
        return lattice.positions[chosen] + within @ lattice.axes.T, np.log(lattice.weights[chosen]) - log_cell


def integrate(surface: Surface) -> Quadrature:
    """Cover a posterior with lattices fine enough for their sums to agree.

    Parameters
    ----------
    surface : Surface
        The posterior, of at most four coordinates.

    Raises
    ------
    SamplingError
        If no lattice of a reasonable size covers it.

    Notes
    -----
    The axes of the lattice of coordinate c are the columns of a triangular root of the covariance at the mode, c first:
    the marginal distribution of c is then the sums over its slices, as exact as the whole integral.
    """
    mode = find_mode(surface)
    d = len(mode.position)
    cell = CELLS[d]
    while True:
        lattices = [_grow(surface, mode, c, cell) for c in range(d)]
        if d == 1:  # a second lattice to compare with: the same one, half a cell on
            lattices.append(_grow(surface, mode, 0, cell, shift=0.5))
        if any(lattice is None for lattice in lattices):
            raise SamplingError(
                f"The posterior is too wide or too irregular for quadrature (more than {MOST_NODES:,} nodes): use "
                "method='importance' or method='nuts', or narrower priors."
            )
        whole = tuple(lattice for lattice in lattices if lattice is not None)
        error = _disagreement(whole)
        if error < TOLERANCE:
            return Quadrature(mode=mode, lattices=whole[:d], error=error)
        cell *= FINER


def _grow(surface: Surface, mode: Mode, c: int, cell: float, shift: float = 0.0) -> Lattice | None:
    d = len(mode.position)
    order = np.array([c, *(j for j in range(d) if j != c)])
    axes = np.zeros((d, d))
    axes[order] = cell * np.linalg.cholesky(mode.covariance[np.ix_(order, order)])
    origin = mode.position + shift * axes[:, 0]
    return grow_lattice(lambda x: surface.energies(mode.place, x), origin, axes, most=MOST_NODES)


def _disagreement(lattices: tuple[Lattice, ...]) -> float:
    moments = []
    for lattice in lattices:
        mean = lattice.weights @ lattice.positions
        moments.append((mean, np.sqrt(lattice.weights @ (lattice.positions - mean) ** 2)))
    (mean, sd), *others = moments
    return max(max(np.abs((m - mean) / sd).max(), np.abs(s / sd - 1.0).max()) for m, s in others)


def marginal_distribution(lattice: Lattice, c: int) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate the marginal distribution of the coordinate that a lattice has first.

    Parameters
    ----------
    lattice : Lattice
        Of coordinate c.
    c : int
        The coordinate.

    Returns
    -------
    values, cumulative : arrays, shape (m,)
        The coordinate, and the probability of lying below.
    """
    slices, where = np.unique(lattice.index[:, 0], return_inverse=True)
    mass = np.bincount(where, weights=lattice.weights)
    at = np.zeros(len(slices))
    at[where] = lattice.positions[:, c]
    log_density = CubicSpline(at, np.log(mass))  # smooth: the logarithm of a slice's mass at its coordinate
    fine = np.linspace(at[0], at[-1], FINE)
    cumulative = CubicSpline(fine, np.exp(log_density(fine))).antiderivative()(fine)
    cumulative = np.maximum.accumulate((cumulative - cumulative[0]) / (cumulative[-1] - cumulative[0]))
    wanted = ndtr(np.linspace(-REACH, REACH, POINTS))
    return np.interp(wanted, cumulative, fine), wanted
