"""Normal effects that sum to zero over parts of the rows: what their singular precision matrix leaves to factor.

Of M − Σ τ ee' with M positive definite and e an entry of each part, on the rows x with Cx = 0, all that a factor is
asked for follows from M's factor and a few columns, B = [C' e] and D = diag(0, 1/τ):

    covariance M⁻¹ + M⁻¹B S⁻¹ B'M⁻¹,  S = D − B'M⁻¹B,   log determinant on these rows = log|M| + log|det S| + Σ log τ.

References
----------
Rue & Held (2005), Gaussian Markov Random Fields, section 2.3.3 (conditioning on linear constraints).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bayesmm.cholesky.factor import Factor
from bayesmm.cholesky.fronts import Fronts


@dataclass(frozen=True, kw_only=True, eq=False)
class Constraint:
    """Sums that are zero, and what makes the matrix that is factored positive definite.

    Attributes
    ----------
    rows : array, shape (r, N)
        C, orthonormal.
    anchors : array of int, shape (r,)
        The row of each part whose diagonal has had τ added.
    added : array, shape (r,)
        τ.
    """

    rows: np.ndarray
    anchors: np.ndarray
    added: np.ndarray

    @property
    def columns(self) -> np.ndarray:
        """B' (2r, N)."""
        units = np.zeros_like(self.rows)
        units[np.arange(len(units)), self.anchors] = 1.0
        return np.concatenate([self.rows, units])


class ConstrainedFactor:
    """A root of the covariance of effects that meet the constraint; what `bayesmm.cholesky.factor.Factor` is to M⁻¹.

    Parameters
    ----------
    fronts, numbers
        As a `Factor` takes them; of the matrix with τ.
    constraint : Constraint
        What sums to zero.

    Notes
    -----
    With T = L⁻¹PB and its QR decomposition T = QR the covariance is P'L'⁻¹(I + Q R S⁻¹R' Q')L⁻¹P. The matrix in the
    middle has a symmetric root, which differs from I by few columns: solutions take it in.
    """

    def __init__(self, fronts: Fronts, numbers: np.ndarray, constraint: Constraint) -> None:
        self._fronts, self._inner = fronts, Factor(fronts, numbers)
        r = len(constraint.added)
        T = self._inner.forward(constraint.columns)  # (2r, N)
        S = np.diag(np.concatenate([np.zeros(r), 1.0 / constraint.added])) - T @ T.T
        self._basis, R = np.linalg.qr(T.T)
        values, vectors = np.linalg.eigh(np.eye(2 * r) + R @ np.linalg.solve(S, R.T))
        self._root = (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T - np.eye(2 * r)
        self._columns, self._weights = self._inner.backward(T), S
        log_det = float(np.linalg.slogdet(S)[1] + np.log(constraint.added).sum())
        self.log_det = self._inner.log_det + log_det

    @property
    def pivots(self) -> np.ndarray:
        """Diagonal of the factor of the matrix with τ, by row."""
        return self._inner.pivots

    def forward(self, columns: np.ndarray) -> np.ndarray:
        """Take each of some columns (c, N) to K'x, where KK' is the covariance."""
        return self._take_in(self._inner.forward(columns))

    def backward(self, columns: np.ndarray) -> np.ndarray:
        """Take each of some columns (c, N) to Kx."""
        return self._inner.backward(self._take_in(columns))

    def _take_in(self, x: np.ndarray) -> np.ndarray:
        return x + (x @ self._basis) @ self._root @ self._basis.T

    def invert(self) -> np.ndarray:
        """Give the covariance where the fronts have numbers, at `Fronts.positions`."""
        Z = self._inner.invert()
        weighted = np.linalg.solve(self._weights, self._columns)
        for batch in self._fronts.batches:
            rows = np.concatenate([batch.own, batch.reached], axis=1)  # (n, j + r)
            left, right = self._columns[:, rows], weighted[:, rows]
            batch.view(Z)[...] += np.einsum("ani,anj->nij", left, right, optimize=True)
        return Z


type AnyFactor = Factor | ConstrainedFactor


def factorise(fronts: Fronts, numbers: np.ndarray, constraint: Constraint | None) -> AnyFactor:
    """Factor a matrix, on the rows that meet the constraint if there is one."""
    return Factor(fronts, numbers) if constraint is None else ConstrainedFactor(fronts, numbers, constraint)
