"""The distribution of a function of several coordinates, by integrating along the lines of a lattice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import ndtri

PIECES = 24  # of the way from one node to the next, in each of which the function is taken to be linear
BINS = 2048  # thresholds at which the distribution function is summed up
LEAST = 1e-11  # of the range of the thresholds: a piece over which the function changes by less is a step


class Scattered(NamedTuple):
    """Nodes with the values of a function, ready to tell its distribution.

    Attributes
    ----------
    index : array of int, shape (m, d)
        Places of the nodes on a lattice.
    weights : array, shape (m,)
        Shares in the integral.
    values : array, shape (m,)
        Of the function.
    """

    index: np.ndarray
    weights: np.ndarray
    values: np.ndarray


def steepest_axes(parts: list[Scattered]) -> list[int]:
    """Order the axes of a lattice by how much a function changes along them, most first."""
    d = parts[0].index.shape[1]
    changes = np.zeros(d)
    for part in parts:
        for axis in range(d):
            for nodes in _runs(part.index, axis):
                steps = np.abs(np.diff(part.values[nodes], axis=1))
                changes[axis] += (steps * np.sqrt(part.weights[nodes][:, 1:] * part.weights[nodes][:, :-1])).sum()
    return [int(axis) for axis in np.argsort(-changes, kind="stable")]


def distribution_function(parts: list[Scattered], axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Tabulate the distribution function of a function of the coordinates.

    Parameters
    ----------
    parts : list of Scattered
        Nodes of one lattice or several, weights of sum 1 together.
    axis : int
        Of the lattices, along which the function changes.

    Returns
    -------
    values, cumulative : arrays, shape (m,)
        The function, and the probability of lying below.

    Notes
    -----
    Along a line of nodes the logarithm of the density and the function are interpolated by splines, and the mass where
    the function lies below a threshold is integrated. That mass is smooth in the other coordinates where the function
    is monotone along the line, so that its sum over the lines is as exact as the trapezoidal rule is.
    """
    values = np.concatenate([part.values for part in parts])
    weights = np.concatenate([part.weights for part in parts])
    thresholds = _thresholds(values, weights)
    below = np.zeros(len(thresholds))
    for part in parts:
        for nodes in _runs(part.index, axis):
            below += _mass_below(thresholds, part.values[nodes], part.weights[nodes])
    return thresholds, np.clip(np.maximum.accumulate(below / weights.sum()), 0.0, 1.0)


def _thresholds(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Spread thresholds over the normal quantiles of the distribution of the nodes, and a little beyond them."""
    order = np.argsort(values)
    cumulative = np.cumsum(weights[order]) - 0.5 * weights[order]
    scores = ndtri(np.clip(cumulative / weights.sum(), 1e-300, 1.0 - 1e-16))
    wanted = np.linspace(scores[0], scores[-1], BINS)
    inner = np.interp(wanted, scores, values[order])
    margin = 0.5 * (values.max() - values.min()) + np.finfo(float).tiny
    return np.unique(np.concatenate([[values.min() - margin], inner, [values.max() + margin]]))


def _runs(index: np.ndarray, axis: int) -> Iterator[np.ndarray]:
    """Group nodes into lines along an axis, without gaps, by their length: numbers of nodes, (lines, length)."""
    others = np.delete(index, axis, axis=1)
    order = np.lexsort((index[:, axis], *others.T))
    along, beside = index[order, axis], others[order]
    breaks = (np.diff(along) != 1) | (np.diff(beside, axis=0) != 0).any(axis=1)
    starts = np.concatenate([[0], np.flatnonzero(breaks) + 1])
    lengths = np.diff(np.append(starts, len(order)))
    for length in np.unique(lengths):
        first = starts[lengths == length]
        yield order[first[:, None] + np.arange(length)]


def _mass_below(thresholds: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mass of lines (lines, n) where a function is below each threshold."""
    n = values.shape[1]
    if n == 1:
        return _steps(thresholds, values[:, 0], weights[:, 0])
    nodes, fine = np.arange(n), np.linspace(0, n - 1, 2 * PIECES * (n - 1) + 1)
    heights = np.log(weights)
    top = heights.max(axis=1, keepdims=True)
    density = np.exp(CubicSpline(nodes, heights - top, axis=1)(fine))
    masses = density[:, :-2:2] + 4.0 * density[:, 1:-1:2] + density[:, 2::2]  # Simpson
    masses *= weights.sum(axis=1, keepdims=True) / masses.sum(axis=1, keepdims=True)
    along = CubicSpline(nodes, values, axis=1)(fine[::2])
    ends = along[:, :-1].ravel(), along[:, 1:].ravel()
    return _ramps(thresholds, np.minimum(*ends), np.maximum(*ends), masses.ravel())


def _steps(thresholds: np.ndarray, values: np.ndarray, masses: np.ndarray) -> np.ndarray:
    where = np.searchsorted(thresholds, values)
    return np.cumsum(np.bincount(where, weights=masses, minlength=len(thresholds) + 1))[: len(thresholds)]


def _ramps(thresholds: np.ndarray, lower: np.ndarray, upper: np.ndarray, masses: np.ndarray) -> np.ndarray:
    """Mass below each threshold, of masses spread evenly from lower to upper."""
    first, last = np.searchsorted(thresholds, lower), np.searchsorted(thresholds, upper)
    wide = (first != last) & (upper - lower > LEAST * (thresholds[-1] - thresholds[0]))
    below = _steps(thresholds, upper[~wide], masses[~wide])
    origin, size = thresholds[0], len(thresholds) + 1
    slopes = masses[wide] / (upper[wide] - lower[wide])
    for where, knot, sign in ((first[wide], lower[wide], 1.0), (last[wide], upper[wide], -1.0)):
        slope = np.cumsum(np.bincount(where, weights=sign * slopes, minlength=size))[:-1]
        moment = np.cumsum(np.bincount(where, weights=sign * slopes * (knot - origin), minlength=size))[:-1]
        below += slope * (thresholds - origin) - moment
    return below
