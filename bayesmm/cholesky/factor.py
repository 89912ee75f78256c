"""The Cholesky factor of a sparse matrix, front by front; solutions; entries of the inverse where the factor has some.

References
----------
Duff & Reid (1983), ACM Trans. Math. Softw. 9. Takahashi, Fagan & Chen (1973), for the inverse: from the last row back,
each front has what it needs in that of its parent.
"""

from __future__ import annotations

import numpy as np

from bayesmm.cholesky.fronts import Batch, Fronts

SMALL = 48  # rows of a triangle that is inverted as it stands


class Factor:
    """L with LL' = PMP', of a positive definite matrix M.

    Parameters
    ----------
    fronts : Fronts
        Of the pattern.
    numbers : array
        M at `Fronts.positions`, zero elsewhere. It is overwritten.

    Raises
    ------
    numpy.linalg.LinAlgError
        If M is not positive definite.
    """

    def __init__(self, fronts: Fronts, numbers: np.ndarray) -> None:
        self._fronts, self._numbers = fronts, numbers
        self.log_det = 0.0
        for batch in fronts.batches:
            self._eliminate(batch)

    def _eliminate(self, batch: Batch) -> None:
        """Factor the fronts of a batch, and add what they leave to their parents. J by J holds L⁻¹ there."""
        F, j = batch.view(self._numbers), batch.j
        if j == 1:
            pivots = F[:, :1, :1]
            if not (pivots > 0).all():
                raise np.linalg.LinAlgError("a pivot is not positive")
            inverse = 1.0 / np.sqrt(pivots)
        else:
            inverse = _inverse_root(F[:, :j, :j])
        self.log_det -= 2.0 * float(np.log(np.diagonal(inverse, axis1=1, axis2=2)).sum())
        F[:, :j, :j] = inverse
        if batch.size == j:
            return
        below = F[:, j:, :j] @ inverse.swapaxes(1, 2)
        F[:, j:, :j] = below
        left = F[:, j:, j:] - below @ below.swapaxes(1, 2)
        if batch.is_alone:
            places = batch.places[0]
            batch.parent(self._numbers)[places[:, None], places] += left[0]
        else:
            np.add.at(self._numbers, batch.targets, left.reshape(-1))

    @property
    def pivots(self) -> np.ndarray:
        """Diagonal of L by row of M (N,)."""
        found = np.empty(self._fronts.n)
        for batch in self._fronts.batches:
            found[batch.own] = 1.0 / np.diagonal(batch.view(self._numbers), axis1=1, axis2=2)[:, : batch.j]
        return found

    def forward(self, columns: np.ndarray) -> np.ndarray:
        """L⁻¹P x of each of some columns (c, N)."""
        x = np.array(columns, dtype=float, order="C")
        flat, offsets = x.reshape(-1), np.arange(len(x))[:, None] * x.shape[1]
        for batch in self._fronts.batches:
            F, j = batch.view(self._numbers), batch.j
            own = F[:, :j, :j] @ x[:, batch.own].transpose(1, 2, 0)  # (n, j, c)
            x[:, batch.own] = own.transpose(2, 0, 1)
            if batch.size > j:
                taken = (F[:, j:, :j] @ own).transpose(2, 0, 1)
                np.subtract.at(flat, (offsets + batch.reached.reshape(-1)).reshape(-1), taken.reshape(-1))
        return x

    def backward(self, columns: np.ndarray) -> np.ndarray:
        """P'L'⁻¹ x of each of some columns (c, N)."""
        x = np.array(columns, dtype=float, order="C")
        for batch in reversed(self._fronts.batches):
            F, j = batch.view(self._numbers), batch.j
            own = x[:, batch.own].transpose(1, 2, 0)
            if batch.size > j:
                own = own - F[:, j:, :j].swapaxes(1, 2) @ x[:, batch.reached].transpose(1, 2, 0)
            x[:, batch.own] = (F[:, :j, :j].swapaxes(1, 2) @ own).transpose(2, 0, 1)
        return x

    def solve(self, columns: np.ndarray) -> np.ndarray:
        """M⁻¹ x of each of some columns (c, N)."""
        return self.backward(self.forward(columns))

    def invert(self) -> np.ndarray:
        """M⁻¹ where the fronts have numbers, at `Fronts.positions`."""
        Z = np.zeros(self._fronts.n_numbers)
        for batch in reversed(self._fronts.batches):
            F, own, j = batch.view(self._numbers), batch.view(Z), batch.j
            inverse = F[:, :j, :j]
            own[:, :j, :j] = inverse.swapaxes(1, 2) @ inverse
            if batch.size == j:
                continue
            if batch.is_alone:
                places = batch.places[0]
                later = batch.parent(Z)[places[:, None], places][None]
            else:
                later = Z[batch.targets].reshape(batch.n, batch.size - j, batch.size - j)
            G = F[:, j:, :j] @ inverse
            across = -later @ G
            own[:, j:, j:] = later
            own[:, j:, :j] = across
            own[:, :j, j:] = across.swapaxes(1, 2)
            own[:, :j, :j] -= G.swapaxes(1, 2) @ across
        return Z


def _inverse_root(M: np.ndarray) -> np.ndarray:
    """L⁻¹ of each (n, j, j), from their lower triangles."""
    return _invert_triangle(np.linalg.cholesky(M))


def _invert_triangle(L: np.ndarray) -> np.ndarray:
    """L⁻¹, half by half: as products of matrices, which LAPACK's own does not use."""
    j = L.shape[1]
    if j <= SMALL:
        return np.tril(np.linalg.inv(L))
    half = j // 2
    inverse = np.zeros_like(L)
    first = inverse[:, :half, :half] = _invert_triangle(L[:, :half, :half])
    second = inverse[:, half:, half:] = _invert_triangle(L[:, half:, half:])
    inverse[:, half:, :half] = -second @ (L[:, half:, :half] @ first)
    return inverse
