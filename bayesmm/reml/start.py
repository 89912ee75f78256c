"""Where the search starts."""

from __future__ import annotations

import numpy as np

from bayesmm.covariance.layout import Layout, assemble_factors
from bayesmm.marginal.likelihood.evaluation import Evaluated, Slopes


def moment_start(at: Evaluated | Slopes, theta: np.ndarray, layout: Layout) -> np.ndarray:
    """Move once towards the covariances that make the evaluation's moments agree.

    Parameters
    ----------
    at : Evaluated or Slopes
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
    section 5.1). With several, ΛΛ' ← ΛD⁻½(Λ'OΛ)D⁻½Λ' with D = Λ'EΛ, and what is nearest to that where the covariance
    matrix has a structure.
    """
    factors = assemble_factors(np, theta, layout)
    return np.concatenate(
        [
            piece.structure.moments(*(M[piece.inside, piece.inside] for M in (Lambda, expected, observed)))
            for Lambda, expected, observed, pieces in zip(factors, at.expected, at.observed, layout, strict=True)
            for piece in pieces
        ]
    )
