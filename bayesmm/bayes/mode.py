"""The highest point of a posterior in unconstrained coordinates, and the curvature there."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from bayesmm.bayes.layout import Place
from bayesmm.bayes.surface import Surface
from bayesmm.errors import SamplingError

NO_DENSITY = "The posterior has no density at the start: look for priors that rule out the REML estimate."
STEP = 1e-3  # of differences of the gradient, in units of the guessed posterior standard deviation
LEAST_CURVATURE = 0.25  # no direction is taken to be wider than two guessed standard deviations
STEPS = 60  # Newton steps at most; 3 to 5 are usual
GAIN = 1e-9  # log density that a further step must promise
SUFFICIENT = 1e-4  # share of the promised gain that a step must bring


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


def find_mode(surface: Surface) -> Mode:
    """Find the mode by Newton steps, the Hessian from differences of gradients.

    Raises
    ------
    SamplingError
        If the density is zero at the start.
    """
    d = surface.layout.n_dense
    around = np.vstack([np.zeros(d), STEP * np.eye(d), -STEP * np.eye(d)])
    x = np.zeros(d)
    place, energy, gradient, covariance = _look(surface, x, around)
    if not np.isfinite(energy):
        raise SamplingError(NO_DENSITY)
    for _ in range(STEPS):
        step = -covariance @ gradient
        promised = -step @ gradient
        if promised < GAIN:
            break
        shrink = 1.0
        while shrink > 1e-6:
            found = _look(surface, x + shrink * step, around)
            if found[1] <= energy - SUFFICIENT * shrink * promised:
                break
            shrink *= 0.5
        else:
            break
        x = x + shrink * step
        place, energy, gradient, covariance = found
    return Mode(place, x, energy, covariance)


def _look(surface: Surface, x: np.ndarray, around: np.ndarray) -> tuple[Place, float, np.ndarray, np.ndarray]:
    """Coordinates, energy, gradient and inverse curvature at one position."""
    probe = surface.probe({"dense": x + around})
    gradients = np.asarray(probe.gradient["dense"])
    covariance = inverse_curvature(gradients[1:], len(x))
    return surface.place(jax.tree.map(np.asarray, probe.centre)), float(probe.energy[0]), gradients[0], covariance


def inverse_curvature(gradients: np.ndarray, n: int) -> np.ndarray:
    """Inverse Hessian from central differences of gradients, at n steps forward and n steps back."""
    hessian = (gradients[:n] - gradients[n : 2 * n]) / (2.0 * STEP)
    hessian = np.where(np.isfinite(hessian), hessian, np.eye(n))
    values, vectors = np.linalg.eigh(0.5 * (hessian + hessian.T))
    return (vectors / np.maximum(np.abs(values), LEAST_CURVATURE)) @ vectors.T
