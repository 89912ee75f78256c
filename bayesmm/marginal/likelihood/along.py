"""log|H| and S along the one standard deviation of a sparse model, by polynomials; in NumPy.

With eigenvalues d of the effects' share in V, log|H| = Σ log(1 + λ²d) and the entries of S are sums of w/(1 + λ²d), one
λ for all. As functions of t = log λ² they have no singularity nearer to the axis than π, whatever the data, so that
polynomials through some thirty points of a panel are exact to rounding. What a posterior costs is then a hundred
factorisations, not one for each of its evaluations.

References
----------
Trefethen (2013), Approximation Theory and Approximation Practice, theorem 8.2.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.polynomial import chebyshev

from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.elimination import Reduced, eliminate
from bayesmm.marginal.shapes import Array, Float
from bayesmm.marginal.sums.crossproducts import CrossProducts

WIDTH = 4.0  # of a panel in t
NODES = 32  # of a panel: the error falls by a factor of 3.4 with each, π/2 + √(1 + π²/4)
FARTHEST = 60.0  # |t| up to which there are panels: beyond, M is singular but for rounding, or λ as good as zero


class Along:
    """log|H| and S of one factor with one effect a level.

    Parameters
    ----------
    products : CrossProducts
        Of the design.
    """

    def __init__(self, products: CrossProducts) -> None:
        self._products, self._lock = products, threading.Lock()
        self._panels: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def reaches(self, scale: float) -> bool:
        """Whether there are panels at a relative standard deviation λ."""
        return bool(np.isfinite(scale)) and scale != 0.0 and abs(2.0 * np.log(abs(scale))) < FARTHEST

    def reduce(self, scale: float) -> Reduced:
        """log|H| and S at λ."""
        return self._read(0, 2.0 * np.log(abs(scale)))

    def slope(self, scale: float) -> Reduced:
        """Their derivatives by log λ²."""
        return self._read(1, 2.0 * np.log(abs(scale)))

    def _read(self, order: int, t: float) -> Reduced:
        panel = int(np.floor(t / WIDTH))
        with self._lock:
            if panel not in self._panels:
                self._panels[panel] = self._make(panel)
        x = 2.0 * (t / WIDTH - panel) - 1.0
        return self._unpack(np.asarray(chebyshev.chebval(x, self._panels[panel][order])))

    def _make(self, panel: int) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients of the polynomials of a panel, and of their derivatives."""
        nodes = chebyshev.chebpts1(NODES)
        values = [self._evaluate(WIDTH * (panel + 0.5 * (x + 1.0))) for x in nodes]
        basis = chebyshev.chebvander(nodes, NODES - 1)
        norms = np.where(np.arange(NODES) == 0, 1.0, 2.0) / NODES
        coefficients = norms[:, None] * (basis.T @ np.stack(values))
        return coefficients, chebyshev.chebder(coefficients) * (2.0 / WIDTH)

    def _evaluate(self, t: float) -> np.ndarray:
        factor = np.array([[np.exp(0.5 * t)]])
        reduced = eliminate(host, self._products, [factor])[1].reduced
        return np.append(reduced.log_det, reduced.gram)

    def _unpack(self, values: np.ndarray) -> Reduced:
        c = len(self._products.gram)
        gram: Float[Array, "c c"] = values[1:].reshape(c, c)  # pyright: ignore[reportAssignmentType]
        return Reduced(np.float64(values[0]), 0.5 * (gram + gram.T))  # pyright: ignore[reportArgumentType]


def find_along(products: CrossProducts) -> Along | None:
    """Return what `Along` is made for; None where there are several standard deviations or correlations."""
    if products.sparse is None or len(products.diagonal) != 1 or products.diagonal[0].shape[0] != 1:
        return None
    return Along(products)
