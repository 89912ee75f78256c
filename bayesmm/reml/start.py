"""Where the search starts."""

from __future__ import annotations

import numpy as np

from bayesmm.marginal.covariance import Layout, assemble_factors, lower_triangular, theta_of
from bayesmm.marginal.evaluation import Evaluated

LEAST = 1e-3  # singular values below which a start is too near the boundary, where slopes vanish


def moment_start(at: Evaluated, theta: np.ndarray, layout: Layout) -> np.ndarray:
    """Move once towards the covariances that make the evaluation's moments agree.

    Parameters
    ----------
    at : Evaluated
        The criterion at `theta`.
    theta : array, shape (t,)
        Factors of order one.
    layout : Layout
        Covariance pieces of each factor.

    Returns
    -------
    array, shape (t,)

    Notes
    -----
    The estimates solve E = O, where E = Σ Z_i'PZ_i and O = Σ Z_i'e e'Z_i / σ². With one effect a level the step is
    ψ ← ψ O/E, which in balanced one-way layouts with many rows a level is the solution (Harville 1977, JASA 72,
    section 5.1). With several, ΛΛ' ← ΛD⁻½(Λ'OΛ)D⁻½Λ' with D = Λ'EΛ.
    """
    factors = assemble_factors(np, theta, layout)
    moved = []
    for L, expected, observed, pieces in zip(factors, at.expected, at.observed, layout, strict=True):
        new = np.zeros_like(L)
        for start, stop, structure in pieces:
            part = slice(start, stop)
            new[part, part] = _move(L[part, part], expected[part, part], observed[part, part], structure)
        moved.append(new)
    return theta_of(moved, layout)


def _move(L: np.ndarray, expected: np.ndarray, observed: np.ndarray, structure: str) -> np.ndarray:
    D, U = L.T @ expected @ L, L.T @ observed @ L
    if not (np.isfinite(D).all() and np.isfinite(U).all() and (np.diag(D) > 0.0).all()):
        return L  # rounding, far out
    if structure == "diagonal":
        ratio = np.diag(U) / np.diag(D)
        return np.diag(np.maximum(np.abs(np.diag(L)) * np.sqrt(ratio), LEAST))
    values, vectors = np.linalg.eigh(D)
    root = vectors / np.sqrt(np.maximum(values, 1e-12 * values.max())) @ vectors.T
    values, vectors = np.linalg.eigh(root @ U @ root)
    return lower_triangular(L @ vectors * np.maximum(np.sqrt(np.maximum(values, 0.0)), LEAST))
