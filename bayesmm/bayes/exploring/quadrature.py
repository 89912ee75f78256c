"""Posteriors by quadrature over covariance parameters, all else integrated exactly: no randomness in their numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.interpolate import CubicSpline, make_interp_spline
from scipy.special import ndtr

from bayesmm.bayes.exploring.lattice import DEPTH, Lattice, grow_lattice
from bayesmm.bayes.exploring.modes import Modes, Partition
from bayesmm.bayes.exploring.surface import Surface
from bayesmm.errors import SamplingError

MOST_PARAMETERS = 4
CELLS = {1: 0.5, 2: 0.6, 3: 0.8, 4: 1.0}  # edge of the first lattice's cells, in standard deviations, by dimension
FINER = 0.8  # factor from one lattice to the next
TOLERANCE = 1e-4  # in posterior standard deviations: how far means and sds of two lattices may differ
LIMITS = 1e-3  # likewise, of quantiles by splines of two degrees through the masses of slices
DEGREES = (5, 3)  # of these, the better first
COMPARED = np.linspace(-2.5, 2.5, 51)  # normal quantiles of the probabilities at which distributions are compared
MOST_NODES = 400_000
TOO_MANY = (
    f"The posterior is too wide or too irregular for quadrature (more than {MOST_NODES:,} nodes): use "
    "method='importance' or method='nuts', or narrower priors."
)
FINE = 8193  # points at which a marginal density is integrated
POINTS = 511  # of a tabulated distribution, at probabilities of equally spaced normal quantiles; one call tells them
REACH = 5.0  # the last of those quantiles


@dataclass(frozen=True, slots=True, kw_only=True)
class Quadrature:
    """Nodes and weights that stand for a posterior.

    Attributes
    ----------
    modes : Modes
        The peaks.
    partition : Partition
        Which part of the density is each mode's.
    lattices : tuple of tuple of Lattice
        By mode: one for each coordinate c, whose slices of equal first index are slices of equal c.
    cell : float
        Edge of their cells, in standard deviations.
    error : float
        Largest difference of a mean or a standard deviation of a coordinate between lattices, in standard deviations.
    log_evidence_error : float
        Largest difference of log evidence between lattices.
    """

    modes: Modes
    partition: Partition
    lattices: tuple[tuple[Lattice, ...], ...]
    cell: float
    error: float
    log_evidence_error: float

    @property
    def log_evidence(self) -> float:
        """Log of the integral of the density."""
        return float(np.logaddexp.reduce([lattices[0].log_integral for lattices in self.lattices]))

    @property
    def shares(self) -> np.ndarray:
        """Of the modes in the integral."""
        return np.exp([lattices[0].log_integral - self.log_evidence for lattices in self.lattices])

    def parts(self, c: int) -> list[tuple[float, Lattice]]:
        """Shares of the modes, with their lattices of coordinate c."""
        return [(float(w), lattices[c]) for w, lattices in zip(self.shares, self.lattices, strict=True)]

    def propose(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw n positions from cells of constant density, each that of its node.

        Returns
        -------
        positions : array, shape (n, d)
            Proposals.
        log_densities : array, shape (n,)
            Theirs, over the share of the posterior that is the part of their mode: weights by the whole posterior are
            those by that part.
        """
        shares = self.shares
        positions, log_densities = [], []
        for k, count in enumerate(rng.multinomial(n, shares / shares.sum()) if len(shares) > 1 else [n]):
            lattice = self.lattices[k][0]
            chosen = rng.choice(len(lattice.weights), size=count, p=lattice.weights)
            within = rng.uniform(-0.5, 0.5, size=(count, lattice.axes.shape[0]))
            _, log_cell = np.linalg.slogdet(lattice.axes)
            positions.append(lattice.positions[chosen] + within @ lattice.axes.T)
            own = self.partition.log_shares(positions[-1])[:, k]
            log_densities.append(np.log(shares[k] * lattice.weights[chosen]) - log_cell - own)
        return np.concatenate(positions), np.concatenate(log_densities)


def integrate(surface: Surface, modes: Modes) -> Quadrature:
    """Cover a posterior with lattices fine enough for their sums to agree.

    Parameters
    ----------
    surface : Surface
        The posterior, of at most four coordinates.
    modes : Modes
        Its peaks.

    Raises
    ------
    SamplingError
        If no lattice of a reasonable size covers it.

    Notes
    -----
    The axes of the lattice of coordinate c are the columns of a triangular root of the covariance at the mode, c first:
    the marginal distribution of c is then the sums over its slices, as exact as the whole integral. Where there are
    several modes each has lattices of its own, in its own widths, for its share of the density (`Partition`); the
    integrals add up.
    """
    d = len(modes.found[0].position)
    partition, cell = Partition(modes), CELLS[d]
    best: Quadrature | None = None
    while True:
        sets = [_cover(surface, modes, partition, _triangular(modes, c, cell)) for c in range(d)]
        if d == 1:  # a second lattice to compare with: the same one, half a cell on
            sets.append(_cover(surface, modes, partition, _triangular(modes, 0, cell), shift=0.5))
        whole = [lattices for lattices in sets if lattices is not None]
        if len(whole) < len(sets) and best is not None:
            return best
        if len(whole) < len(sets):
            raise SamplingError(TOO_MANY)
        error, log_error = _disagreement(whole)
        if error < TOLERANCE:
            best = Quadrature(
                modes=modes,
                partition=partition,
                lattices=tuple(zip(*whole[:d], strict=True)),
                cell=cell,
                error=error,
                log_evidence_error=log_error,
            )
            if _limits_apart(best) < LIMITS:
                return best
        cell *= FINER


def _limits_apart(quadrature: Quadrature) -> float:
    """Largest difference between splines of two degrees of a quantile of a coordinate, in standard deviations."""
    probabilities, apart = ndtr(COMPARED), 0.0
    for c in range(len(quadrature.lattices[0])):
        tables = [marginal_distribution(quadrature.parts(c), c, degree) for degree in DEGREES]
        one, other = (np.interp(probabilities, cumulative, values) for values, cumulative in tables)
        width = (np.interp(ndtr(1.0), probabilities, one) - np.interp(ndtr(-1.0), probabilities, one)) / 2.0
        apart = max(apart, float(np.abs(one - other).max() / width))
    return apart


def lattices_along(
    surface: Surface, quadrature: Quadrature, gradients: list[np.ndarray], cell: float
) -> list[Lattice] | None:
    """Cover the same posterior with lattices whose first axis is the direction in which a function changes.

    Parameters
    ----------
    surface, quadrature
        The posterior, and what is known of it.
    gradients : list of array, shape (d,)
        Of the function at each mode, by coordinates of unit variance: columns of the triangular root.
    cell : float
        Edge of a cell, in standard deviations.

    Returns
    -------
    list of Lattice, or None
        By mode; None if there were too many nodes.
    """
    pairs = zip(quadrature.modes.found, gradients, strict=True)
    axes = [cell * np.linalg.cholesky(mode.covariance) @ line_axes(gradient) for mode, gradient in pairs]
    return _cover(surface, quadrature.modes, quadrature.partition, axes)


def line_axes(gradient: np.ndarray) -> np.ndarray:
    """Complete a direction to an orthonormal basis, columns; the others in no special direction where there are three.

    Where a function is curved it changes along some of the others too: lines that stand behind each other, seen from
    there, would be as few as their rows.
    """
    d = len(gradient)
    basis, _ = np.linalg.qr(np.column_stack([gradient, np.eye(d)]))
    if d > 3:
        turn, _ = np.linalg.qr(np.cos(np.arange(1.0, (d - 1) ** 2 + 1.0) ** 2).reshape(d - 1, d - 1))
        basis[:, 1:] = basis[:, 1:] @ turn
    return basis


def _triangular(modes: Modes, c: int, cell: float) -> list[np.ndarray]:
    """Axes of lattices, for each mode, of which only the first moves coordinate c."""
    d = len(modes.found[0].position)
    order = np.array([c, *(j for j in range(d) if j != c)])
    every = []
    for mode in modes.found:
        axes = np.zeros((d, d))
        axes[order] = cell * np.linalg.cholesky(mode.covariance[np.ix_(order, order)])
        every.append(axes)
    return every


def _cover(
    surface: Surface, modes: Modes, partition: Partition, axes: list[np.ndarray], shift: float = 0.0
) -> list[Lattice] | None:
    """Grow a lattice for each mode; then on from where other lattices found density that is its share."""

    def grow(k: int, also: np.ndarray | None) -> Lattice | None:
        return grow_lattice(
            lambda x: surface.energies(modes.place, x) - partition.log_shares(x)[:, k],
            modes.found[k].position + shift * axes[k][:, 0],
            axes[k],
            most=MOST_NODES,
            also=also,
        )

    grown: list[Lattice] = []
    for k in range(len(modes.found)):
        lattice = grow(k, None)
        if lattice is None:
            return None
        grown.append(lattice)
    if len(grown) == 1:
        return grown
    known = [partition.log_shares(lattice.positions) for lattice in grown]
    finished: list[Lattice] = []
    for k in range(len(grown)):
        least = grown[k].energies.min()
        also = [
            lattice.positions[lattice.energies + shares[:, j] - shares[:, k] - least < DEPTH]
            for j, (lattice, shares) in enumerate(zip(grown, known, strict=True))
            if j != k
        ]
        lattice = grow(k, np.concatenate(also))
        if lattice is None:
            return None
        finished.append(lattice)
    return finished


def _disagreement(sets: list[list[Lattice]]) -> tuple[float, float]:
    """Largest differences between sets of lattices: of means and sds, in sds, and of log integrals."""
    moments, logs = [], []
    for lattices in sets:
        log_integrals = np.array([lattice.log_integral for lattice in lattices])
        logs.append(float(np.logaddexp.reduce(log_integrals)))
        shares = np.exp(log_integrals - logs[-1])
        pairs = list(zip(shares, lattices, strict=True))
        mean = sum((w * (lattice.weights @ lattice.positions) for w, lattice in pairs), np.zeros(()))
        variance = sum((w * (lattice.weights @ (lattice.positions - mean) ** 2) for w, lattice in pairs), np.zeros(()))
        moments.append((mean, np.sqrt(variance)))
    (mean, sd), *others = moments
    error = max(max(np.abs((m - mean) / sd).max(), np.abs(s / sd - 1.0).max()) for m, s in others)
    return float(error), float(max(logs) - min(logs))


def marginal_distribution(
    parts: Iterable[tuple[float, Lattice]], c: int, degree: int = DEGREES[0]
) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate the marginal distribution of the coordinate that lattices have first.

    Parameters
    ----------
    parts : iterable of (float, Lattice)
        Shares of the integral, and lattices of coordinate c.
    c : int
        The coordinate.
    degree : int
        Of the spline through the logarithms of the masses of slices.

    Returns
    -------
    values, cumulative : arrays, shape (m,)
        The coordinate, and the probability of lying below.
    """
    curves = [
        (share * mass, fine, cumulative)
        for share, lattice in parts
        for mass, fine, cumulative in _slices(lattice, c, degree)
    ]
    at = np.unique(np.concatenate([fine for _, fine, _ in curves]))
    total = sum((mass * np.interp(at, fine, cumulative) for mass, fine, cumulative in curves), np.zeros(()))
    wanted = ndtr(np.linspace(-REACH, REACH, POINTS))
    return np.interp(wanted, np.maximum.accumulate(total / total[-1]), at), wanted


def _slices(lattice: Lattice, c: int, degree: int) -> Iterator[tuple[float, np.ndarray, np.ndarray]]:
    """Masses of runs of adjoining slices, and their distributions on fine points."""
    slices, where = np.unique(lattice.index[:, 0], return_inverse=True)
    mass = np.bincount(where, weights=lattice.weights)
    at = np.zeros(len(slices))
    at[where] = lattice.positions[:, c]
    for run in np.split(np.arange(len(slices)), np.flatnonzero(np.diff(slices) > 1) + 1):
        if len(run) == 1:
            yield float(mass[run[0]]), at[run[0]] + np.array([-0.5, 0.5]) * lattice.axes[c, 0], np.array([0.0, 1.0])
            continue
        # smooth: the logarithm of a slice's mass at its coordinate
        log_density = make_interp_spline(at[run], np.log(mass[run]), k=min(degree, 2 * ((len(run) - 2) // 2) + 1))
        fine = np.linspace(at[run[0]], at[run[-1]], FINE)
        cumulative = CubicSpline(fine, np.exp(log_density(fine))).antiderivative()(fine)
        cumulative = np.maximum.accumulate((cumulative - cumulative[0]) / (cumulative[-1] - cumulative[0]))
        yield float(mass[run].sum()), fine, cumulative
