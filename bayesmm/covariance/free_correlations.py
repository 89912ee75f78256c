"""From public correlations of residuals back to the free parameters that a search goes along."""

from __future__ import annotations

import numpy as np

from bayesmm.covariance.residual import Correlation

TINY = 1e-30  # step of a complex-step derivative
SETTLED = 1e-12  # of a correlation
MOST_STEPS = 12  # of Newton's method, from a point of the way to the next
LEAST_PART = 1e-5  # of the way
EDGE = 1e-6  # share of what is between the limits of one correlation, next to which it is taken


def free_correlations(correlation: Correlation, rho: np.ndarray) -> np.ndarray:
    """Find free parameters (c,) of public correlations (c,), where a search is to begin.

    Parameters
    ----------
    correlation : Correlation
        The structure.
    rho : array, shape (c,)
        Public correlations. Of a matrix that is singular, or nearly, there are none: those of one on the way to it are
        returned.

    Notes
    -----
    Along the straight line from the matrix of z = 0, on which all matrices are admissible, by Newton's method: parts of
    the way from which that does not come to the next are halved.
    """
    found, start = [np.zeros(0)], 0
    for part in correlation.parts:
        own = rho[start : start + len(part.names)]
        start += len(own)
        found.append(_follow(part, own))
    return np.concatenate(found)


def _follow(part: Correlation, rho: np.ndarray) -> np.ndarray:
    z = np.zeros(len(rho))
    origin, target = _seen(part, part.public(np, z)), _seen(part, rho)
    if part.kind == "one":
        target = np.clip(target, EDGE, 1.0 - EDGE)
    done, step = 0.0, 1.0
    while done < 1.0 and step >= LEAST_PART and len(z):
        further = min(done + step, 1.0)
        found = _newton(part, z, origin + further * (target - origin))
        if found is None:
            step *= 0.5
        else:
            z, done, step = found, further, 2.0 * step
    return z


def _seen(part: Correlation, rho: np.ndarray) -> np.ndarray:
    """One correlation as a share of what is between its limits, so that the unit of time does not count."""
    return part.shares(rho) if part.kind == "one" else rho


def _newton(part: Correlation, z: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    for _ in range(MOST_STEPS):
        with np.errstate(all="ignore"):
            left = _seen(part, part.public(np, z)) - target
            if np.abs(left).max() < SETTLED:
                return z
            ways = [np.imag(_seen(part, part.public(np, z + 1j * TINY * e))) / TINY for e in np.eye(len(z))]
        J = np.stack(ways, axis=1)
        if not np.isfinite(left).all() or not np.isfinite(J).all():
            return None
        z = z - np.linalg.lstsq(J, left, rcond=None)[0]
    return None
