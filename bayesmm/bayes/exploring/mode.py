"""The highest point of a posterior in unconstrained coordinates, and the curvature there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bayesmm.bayes.exploring.coordinates import Place
from bayesmm.bayes.exploring.surface import Surface
from bayesmm.errors import SamplingError

NO_DENSITY = "The posterior has no density at the start: look for priors that rule out the REML estimate."
STEP = 1e-3  # of differences of the gradient, in units of the guessed posterior standard deviation
LEAST_CURVATURE = 0.25  # no direction is taken to be wider than two guessed standard deviations
STEPS = 60  # Newton steps at most; 3 to 5 are usual
GAIN = 1e-9  # log density that a further step must promise
SUFFICIENT = 1e-4  # share of the promised gain that a step must bring
LONGEST = 8.0  # step in any coordinate, in units of guessed posterior standard deviations or e-folds
NEAR = 2.0  # posterior standard deviations, by the curvature at a known mode: a search that comes so near ends there


class Mode(NamedTuple):
    """A peak of the density.

    Attributes
    ----------
    place : Place
        The coordinates.
    position : array, shape (d,)
        Where it is.
    energy : float
        −log density there.
    covariance : array, shape (d, d)
        Inverse curvature; directions of little or negative curvature bounded.
    """

    place: Place
    position: np.ndarray
    energy: float
    covariance: np.ndarray

    @property
    def log_mass(self) -> float:
        """Log integral of the density about the peak by Laplace's method, but for what all modes of a place share."""
        return float(0.5 * np.linalg.slogdet(self.covariance)[1] - self.energy)

    def seen_from(self, place: Place) -> Mode:
        """Return the same peak in the coordinates of another origin."""
        shift = (self.place.centre["dense"] - place.centre["dense"]) / place.scale["dense"]
        return self._replace(place=place, position=self.position + shift)

    def holds(self, position: np.ndarray, energy: float) -> bool:
        """Whether a position is so near that this is the mode it leads to."""
        apart = position - self.position
        square = apart @ np.linalg.solve(self.covariance, apart)
        return bool(square < NEAR**2 and energy < self.energy + NEAR**2 / 2.0)


def find_mode(surface: Surface, known: Sequence[Mode] = ()) -> Mode:
    """Find the mode by Newton steps, the Hessian from differences of gradients.

    Parameters
    ----------
    surface : Surface
        The posterior; the search begins at its origin.
    known : sequence of Mode
        Modes already found: the search ends where it comes to one, and returns it.

    Raises
    ------
    SamplingError
        If the density is zero at the start.
    """
    x, quick = np.zeros(surface.coordinates.n_dense), bool(known)
    at = look(surface, x, quick=quick)
    if not np.isfinite(at.energy):
        raise SamplingError(NO_DENSITY)
    known = [mode.seen_from(at.place) for mode in known]
    for _ in range(STEPS):
        met = next((mode for mode in known if mode.holds(x, at.energy)), None)
        if met is not None:
            return met
        step = -at.covariance @ at.gradient
        promised = -step @ at.gradient
        if promised < GAIN:
            break
        shrink = min(1.0, LONGEST / np.abs(step).max())
        while shrink > 1e-6:
            found = look(surface, x + shrink * step, quick=quick)
            if found.energy <= at.energy - SUFFICIENT * shrink * promised:
                break
            shrink *= 0.5
        else:
            break
        x, at = x + shrink * step, found
    if quick:
        at = look(surface, x)
    return Mode(at.place, x, at.energy, at.covariance)


class Look(NamedTuple):
    """What is seen of a posterior at one position."""

    place: Place
    energy: float
    gradient: np.ndarray
    covariance: np.ndarray  # inverse curvature


def look(surface: Surface, x: np.ndarray, *, quick: bool = False) -> Look:
    """Look at one position; the curvature from central differences of gradients, or at half the cost from others."""
    d = len(x)
    steps = STEP * np.eye(d)
    probe = surface.probe({"dense": x + np.vstack([np.zeros(d), steps, *([] if quick else [-steps])])})
    gradients = np.asarray(probe.gradient["dense"])
    if quick:
        hessian = (gradients[1:] - gradients[0]) / STEP
    else:
        hessian = (gradients[1 : d + 1] - gradients[d + 1 :]) / (2.0 * STEP)
    return Look(surface.place(probe.centre), float(probe.energy[0]), gradients[0], _inverse(hessian))


def _inverse(hessian: np.ndarray) -> np.ndarray:
    """Invert a curvature, directions of little or negative curvature bounded."""
    hessian = np.where(np.isfinite(hessian), hessian, np.eye(len(hessian)))
    values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
    return (vectors / np.maximum(np.abs(values), LEAST_CURVATURE)) @ vectors.T
