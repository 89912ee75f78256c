"""SparseRelation: many levels, of whose relation the inverse is known, and sparse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from bayesmm.cholesky.precision import Factored, Precision
from bayesmm.console import listing
from bayesmm.errors import DesignError


@dataclass(frozen=True, kw_only=True, eq=False)
class SparseRelation:
    """Levels, and the inverse of the covariance of their effects but for a factor: b ~ N(0, A ⊗ Σ).

    Attributes
    ----------
    levels : tuple of str
        Labels of the levels (q,); they need not all have rows.
    precision : Precision
        A⁻¹.
    """

    levels: tuple[str, ...]
    precision: Precision

    @property
    def relation(self) -> SparseRelation:
        """Itself; a pedigree has one, too."""
        return self

    @property
    def variances(self) -> np.ndarray:
        """Diagonal of A (q,)."""
        return self.precision.variances

    @property
    def arrays(self) -> list[np.ndarray]:
        """What tells it from others."""
        return list(self.precision.arrays.values())

    def covariances(self, levels: Any, others: Any) -> np.ndarray:
        """Entries of A between levels and others, by their codes, that are broadcast against each other."""
        return self.precision.covariances(np.asarray(levels), np.asarray(others))

    def relate(self, effects: np.ndarray) -> np.ndarray:
        """Give independent effects (..., q, k) of all levels the relation that these have."""
        return self.precision.spread(effects.swapaxes(-1, -2)).swapaxes(-1, -2)

    def unrelate(self, effects: np.ndarray) -> np.ndarray:
        """Give the independent effects (..., q, k) that `relate` makes these of."""
        return self.precision.unrelate(effects.swapaxes(-1, -2)).swapaxes(-1, -2)

    def __repr__(self) -> str:
        return f"<SparseRelation of {len(self.levels):,} levels>"


def read_sparse_precision(matrix: Any, labels: tuple[str, ...], asymmetric: float) -> SparseRelation:
    """Read a sparse A⁻¹.

    Parameters
    ----------
    matrix : scipy.sparse matrix, shape (q, q)
    labels : tuple of str
        Of its rows.
    asymmetric : float
        Share of the largest entry by which it may differ from its transpose.

    Raises
    ------
    DesignError
        If it is none of a covariance matrix.
    """
    from scipy import sparse  # where a sparse matrix is given

    q = len(labels)
    if matrix.shape != (q, q):
        raise DesignError(
            f"The matrix of relations has the shape {matrix.shape}, and there are {q:,} levels: give (q, q)."
        )
    Q: Any = sparse.csc_array(matrix, dtype=float)
    Q.sum_duplicates()
    if not np.isfinite(Q.data).all():
        i = int(np.flatnonzero(~np.isfinite(Q.tocoo().data))[0])
        pair = [labels[axis[i]] for axis in Q.tocoo().coords]
        raise DesignError(f"The precision of {pair[0]!r} and {pair[1]!r} is not a finite number. Correct it.")
    if abs(Q - Q.T).max() > asymmetric * abs(Q).max():
        raise DesignError(
            "The precision of the relations is not symmetric. Give both halves, or neither a triangle alone."
        )
    alone = np.flatnonzero(Q.diagonal() <= 0)
    if len(alone):
        shown = listing([labels[i] for i in alone], 5, quoted=True)
        raise DesignError(f"{len(alone)} level(s) have a precision of zero or less on the diagonal: {shown}.")
    lower: Any = sparse.tril(0.5 * (Q + Q.T)).tocoo()
    rows, columns = lower.coords
    try:
        precision = Factored(q, rows, columns, lower.data)
    except np.linalg.LinAlgError:
        raise DesignError(
            "The precision of the relations is not positive definite, so that it has no inverse. Give one that is; "
            "for an intrinsic autoregression of neighbouring regions see bmm.car()."
        ) from None
    return SparseRelation(levels=labels, precision=precision)
