"""The distribution of a function of several coordinates, by integrating along the lines of a lattice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.interpolate import BSpline, make_interp_spline

PIECES = (4, 8)  # of the way from one node to the next
FOLDS = 16  # of these, where the function turns back
DEGREE = 5  # of the splines along a line
BINS = 4096  # thresholds at which the distribution function is summed up
BEYOND = 0.05  # of the range of the values at nodes: how far a spline may go beyond
LEAST = 1e-5  # of the range of the thresholds: a piece over which the function changes by less is a step


class Scattered(NamedTuple):
    """Nodes with the values of a function, ready to tell its distribution.

    Attributes
    ----------
    index : array of int, shape (m, d)
        Places of the nodes on a lattice.
    weights : array, shape (m,)
        Shares in the integral.
    values, beyond : arrays, shape (m,)
        Of the function, there and half a step further along the first axis.
    """

    index: np.ndarray
    weights: np.ndarray
    values: np.ndarray
    beyond: np.ndarray


class Distribution(NamedTuple):
    """A distribution function.

    Attributes
    ----------
    values : array, shape (m,)
        Of the function,
    cumulative : array, shape (m,)
        and the probability of lying below.
    others : array, shape (3, m)
        The same from larger pieces, from every second line, and from the lines between.
    """

    values: np.ndarray
    cumulative: np.ndarray
    others: np.ndarray


def distribution_function(parts: list[Scattered]) -> Distribution:
    """Tabulate the distribution function of a function of the coordinates.

    Parameters
    ----------
    parts : list of Scattered
        Nodes of one lattice or several, weights of sum 1 together; the function changes most along their first axes.

    Notes
    -----
    Along a line of nodes the logarithm of the density and the function are interpolated by splines, and the mass where
    the function lies below a threshold is integrated. That mass is smooth in the other coordinates where the function
    changes along the line more than from line to line, so that its sum is as exact as the trapezoidal rule is.
    """
    values = np.concatenate([part.values for part in parts])
    margin = BEYOND * (values.max() - values.min()) + np.finfo(float).tiny
    thresholds = np.linspace(values.min() - margin, values.max() + margin, BINS)
    below, masses = np.zeros((2, 2, len(thresholds))), np.zeros(2)  # by number of pieces, by half
    for part in parts:
        halves = part.index[:, 1:].sum(axis=1) % 2
        for nodes in _runs(part.index):
            for half in (0, 1):
                own = nodes[halves[nodes[:, 0]] == half]
                if len(own):
                    below[:, half] += _mass_below(thresholds, part, own)
                    masses[half] += part.weights[own].sum()
    coarse, fine = below
    tables = [fine.sum(axis=0) / masses.sum(), coarse.sum(axis=0) / masses.sum()]
    tables += [own / mass for own, mass in zip(fine, masses, strict=True) if mass > 0.0]
    cumulative, *others = np.clip(np.maximum.accumulate(tables, axis=1), 0.0, 1.0)
    return Distribution(thresholds, cumulative, np.stack(others))


def _runs(index: np.ndarray) -> Iterator[np.ndarray]:
    """Group nodes into lines along the first axis, without gaps, by their length: numbers of nodes, (lines, length)."""
    order = np.lexsort(index.T)
    along, beside = index[order, 0], index[order, 1:]
    breaks = (np.diff(along) != 1) | (np.diff(beside, axis=0) != 0).any(axis=1)
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    lengths = np.diff(np.append(starts, len(order)))
    for length in np.unique(lengths):
        first = starts[lengths == length]
        yield order[first[:, None] + np.arange(length)]


def _mass_below(thresholds: np.ndarray, part: Scattered, nodes: np.ndarray) -> np.ndarray:
    """Mass of lines (lines, n) where a function is below each threshold, by both numbers of pieces."""
    n, weights, values = nodes.shape[1], part.weights[nodes], part.values[nodes]
    if n == 1:
        return np.tile(_steps(thresholds, values[:, 0], weights[:, 0]), (2, 1))
    halfway = np.stack([values[:, :-1], part.beyond[nodes[:, :-1]]], axis=-1).reshape(len(nodes), -1)
    log_density = _spline(np.arange(n), np.log(weights))
    function = _spline(0.5 * np.arange(2 * n - 1), np.column_stack([halfway, values[:, -1]]))
    found = []
    for pieces in PIECES:
        fine = np.linspace(0, n - 1, 2 * pieces * (n - 1) + 1)
        density, along = np.exp(log_density(fine)), function(fine)
        shares = np.stack([density[:, :-2:2], density[:, 1:-1:2], density[:, 2::2]], axis=-1)
        shares *= (weights.sum(axis=1) / _simpson(shares).sum(axis=1))[:, None, None]
        triples = np.stack([along[:, :-2:2], along[:, 1:-1:2], along[:, 2::2]], axis=-1)
        found.append(_ramps(thresholds, *_split_folds(triples.reshape(-1, 3), shares.reshape(-1, 3))))
    return np.stack(found)


def _spline(at: np.ndarray, values: np.ndarray) -> BSpline:
    """Interpolate lines (lines, n)."""
    return make_interp_spline(at, values, k=min(DEGREE, 2 * ((len(at) - 2) // 2) + 1), axis=1)


def _steps(thresholds: np.ndarray, values: np.ndarray, masses: np.ndarray) -> np.ndarray:
    where = np.searchsorted(thresholds, values)
    return np.cumsum(_counts(where, masses, len(thresholds) + 1))[:-1]


def _counts(where: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    return np.bincount(where, weights=weights, minlength=size).astype(float)  # of no weights they are whole numbers


def _simpson(triples: np.ndarray) -> np.ndarray:
    """Integrate over pieces of unit length; start, middle and end in the last axis."""
    return (triples[..., 0] + 4.0 * triples[..., 1] + triples[..., 2]) / 6.0


def _split_folds(values: np.ndarray, densities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut pieces over which a function turns back into small ones, where a parabola tells it and the density."""
    slopes = values @ np.array([[-3.0, 1.0], [4.0, -4.0], [-1.0, 3.0]])  # at both ends
    folded = slopes[:, 0] * slopes[:, 1] < 0.0
    if not folded.any():
        return values, densities
    t = np.linspace(0.0, 1.0, 2 * FOLDS + 1)
    basis = np.stack([(1.0 - t) * (1.0 - 2.0 * t), 4.0 * t * (1.0 - t), t * (2.0 * t - 1.0)])
    small = []
    for each, scale in ((values, 1.0), (densities, 1.0 / FOLDS)):
        fine = scale * each[folded] @ basis
        cut = np.stack([fine[:, :-2:2], fine[:, 1:-1:2], fine[:, 2::2]], axis=-1).reshape(-1, 3)
        small.append(np.concatenate([each[~folded], cut]))
    return small[0], small[1]


def _ramps(thresholds: np.ndarray, values: np.ndarray, densities: np.ndarray) -> np.ndarray:
    """Mass below each threshold, of pieces over which the mass rises with the function as a parabola does.

    Parameters
    ----------
    thresholds : array, shape (m,)
        Increasing.
    values : array, shape (pieces, 3)
        Of the function at start, middle and end.
    densities : array, shape (pieces, 3)
        There, by unit length of a piece.
    """
    start, middle, end = values.T
    masses = _simpson(densities)
    first = densities @ np.array([5.0, 8.0, -1.0]) / 24.0  # the same parabola over the first half
    lower, upper = np.minimum(start, end), np.maximum(start, end)
    where = np.searchsorted(thresholds, lower), np.searchsorted(thresholds, upper)
    wide = (where[0] != where[1]) & (upper - lower > LEAST * (thresholds[-1] - thresholds[0]))
    below = _steps(thresholds, upper[~wide], masses[~wide])
    width, mass = (upper - lower)[wide], masses[wide]
    u = np.clip((middle - lower)[wide] / width, 0.01, 0.99)
    share = np.where(end > start, first, masses - first)[wide] / mass
    bend = np.clip((share - u) / (u * u - u), -1.0, 1.0)  # F(u) = u + bend (u² − u)
    origin, size = thresholds[0], len(thresholds) + 1
    a, b = mass * bend / width**2, mass * (1.0 - bend) / width
    x, at = thresholds - origin, (lower - origin)[wide]
    # F(t) = a (t − at)² + b (t − at) from lower on, and the whole mass from upper on
    for index, sign, rest in ((where[0][wide], 1.0, 0.0), (where[1][wide], -1.0, mass)):
        terms = (sign * (a * at * at - b * at) + rest, sign * (b - 2.0 * a * at), sign * a)
        for power, term in enumerate(terms):
            below += np.cumsum(_counts(index, term, size))[:-1] * x**power
    return below
