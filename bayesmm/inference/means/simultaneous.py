"""The largest of several t's together: the studentized range, and the multivariate t of any correlations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

NODES = 96  # of a rule for a normal density: errors of 1e-14
LATTICE = 2**16  # directions; P is then good to about 1e-5, in two dimensions to 1e-8
TOGETHER = (
    32  # directions of nearly the same reach whose mean stands for them: an error of 1e-6 of P, and half the time
)
NEGLIGIBLE = 40.0  # log of a part of a density that is not counted
RANK = 1e-10  # part of the largest eigenvalue of correlations below which one is zero


class StudentizedRange:
    """The range of k independent standard normals over an independent root of χ²/df.

    Parameters
    ----------
    k : int
        How many means are compared.

    Notes
    -----
    P(Q > q) = ∫ (1 − W(qs)) dF(s), W(w) = k ∫ φ(z)[Φ(z) − Φ(z − w)]^{k−1} dz, and s the root of χ²/df. The integrand
    decays on either side in log s, where the trapezoidal rule converges geometrically; z has Gauss and Legendre's.

    References
    ----------
    Copenhaver & Holland (1988), J. Stat. Comput. Simul. 30.
    """

    def __init__(self, k: int) -> None:
        self.k = k
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        self._z = 8.5 * nodes
        self._weights = 8.5 * weights * np.exp(-0.5 * self._z**2) / np.sqrt(2.0 * np.pi)

    def upper_tail(self, q: float, df: float) -> float:
        """Probability of a larger range."""
        if not np.isfinite(df):
            return float(self._beyond(np.array([q]))[0])
        x = _log_scales(df)
        density = np.exp(df * x - 0.5 * df * np.expm1(2.0 * x))  # up to a constant, 1 at its top
        return float(density @ self._beyond(q * np.exp(x)) / density.sum())

    def _beyond(self, w: np.ndarray) -> np.ndarray:
        """Return 1 − W."""
        inside = special.ndtr(self._z) - special.ndtr(self._z - w[:, None])
        return np.maximum(1.0 - self.k * (inside ** (self.k - 1) @ self._weights), 0.0)


def _log_scales(df: float) -> np.ndarray:
    """Equally spaced log s over all that counts of the density of √(χ²/df)."""
    width = 1.0 / np.sqrt(2.0 * df)
    low = -NEGLIGIBLE / df - 2.0 * np.sqrt(NEGLIGIBLE) * width
    high = 0.5 * np.log1p(4.0 * NEGLIGIBLE / df + 4.0 * np.sqrt(NEGLIGIBLE / df))
    return np.linspace(low, high, int(min((high - low) / (0.15 * width), 4000)) + 2)


class LargestT:
    """The largest |t| of several with given correlations and one estimate of the scale.

    Parameters
    ----------
    correlation : array, shape (m, m)
        Correlations of what the t's are of; of any rank.

    Notes
    -----
    With correlations AA', A of rank r and rows of length one, the t's are A·d times a radius, where d is uniform on the
    sphere and radius²/r is F with r and df degrees of freedom. So P(max |t| > c) is the mean over directions of
    P(F > c²/(r·max(a'd)²)), exact in the radius. Directions: equally spaced in the plane, and beyond it the points of a
    Richtmyer lattice; they are the same each time, so that there is no seed.

    References
    ----------
    Deák (1980), Numer. Math. 35. Genz & Bretz (2009), Computation of Multivariate Normal and t Probabilities.
    """

    def __init__(self, correlation: np.ndarray) -> None:
        values, vectors = np.linalg.eigh(correlation)
        keep = values > RANK * values.max()
        A = vectors[:, keep] * np.sqrt(values[keep])
        self.rank = int(keep.sum())
        reach = np.sort(np.abs(_directions(self.rank) @ A.T).max(axis=1))
        self._reach = reach.reshape(-1, TOGETHER).mean(axis=1) if len(reach) > TOGETHER else reach

    def upper_tail(self, c: float, df: float) -> float:
        """Probability that one of them is further from zero than c."""
        with np.errstate(divide="ignore"):
            F = (c / self._reach) ** 2 / self.rank
        if np.isfinite(df):
            return float(special.fdtrc(self.rank, df, F).mean())
        return float(special.chdtrc(self.rank, self.rank * F).mean())


def _directions(rank: int) -> np.ndarray:
    """Points on the sphere (N, rank)."""
    if rank == 1:
        return np.ones((1, 1))
    steps = np.arange(LATTICE) + 0.5
    if rank == 2:
        angles = np.pi * steps / LATTICE  # opposite directions have the same largest |t|
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = (steps[:, None] * np.sqrt(_primes(rank))) % 1.0
    normal = special.ndtri(np.clip(points, 1e-12, 1.0 - 1e-12))
    return normal / np.linalg.norm(normal, axis=1, keepdims=True)


def _primes(n: int) -> np.ndarray:
    found: list[int] = []
    candidate = 2
    while len(found) < n:
        if all(candidate % prime for prime in found):
            found.append(candidate)
        candidate += 1
    return np.array(found, dtype=float)


def quantile(upper_tail: Callable[[float, float], float], probability: float, df: float) -> float:
    """Find what is exceeded with this probability, by bisection and secants.

    Parameters
    ----------
    upper_tail : callable
        Probability of a larger value, of a value and df.
    probability, df : float
        What it shall be; degrees of freedom.
    """
    from scipy.optimize import brentq  # 0.1 s to import

    high = 4.0
    while upper_tail(high, df) > probability and high < 1e9:
        high *= 2.0
    root: Any = brentq(lambda c: upper_tail(c, df) - probability, 0.0, high, xtol=1e-11)
    return float(root)
