"""A prior on the user's fixed effects, carried over to the conditioned columns; on the host, once per model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bayesmm.marginal.in_jax.density import FixedPrior
from bayesmm.marginal.in_jax.hosted import HostedProducts
from bayesmm.marginal.sums.crossproducts import CrossProducts


def condition_prior(
    products: CrossProducts | HostedProducts, mean: np.ndarray, precision: np.ndarray, sampled: Sequence[int] = ()
) -> FixedPrior:
    """Express β ~ N(mean, precision⁻¹) on the conditioned columns.

    Parameters
    ----------
    products : CrossProducts or HostedProducts
        Cross-products of the design.
    mean : array, shape (p,)
        Prior means of the coefficients as the tables label them.
    precision : array, shape (p, p)
        Prior precision, positive semi-definite; zero rows are flat. Rows of sampled coefficients are ignored.
    sampled : sequence of int
        Positions of coefficients that are sampled instead of integrated out.

    Returns
    -------
    FixedPrior
        NumPy leaves.
    """
    R, origin = np.asarray(products.fixed_root), np.asarray(products.fixed_origin)
    drawn = np.asarray(sampled, dtype=int)
    free = np.setdiff1d(np.arange(len(origin)), drawn)
    basis, root = np.linalg.qr(R[:, free])
    P = precision[np.ix_(free, free)]
    left = np.linalg.solve(root.T, P).T if len(free) else P
    rows = np.asarray(products.gram).shape[0] - 1
    pad = ((0, rows - len(origin)), (0, 0))
    leaves: dict[str, Any] = {  # NumPy arrays in the place of JAX ones
        "basis": np.pad(basis, pad),
        "root": root,
        "mean": root @ (mean[free] - origin[free]),
        "precision": np.linalg.solve(root.T, left) if len(free) else P,
        "log_normaliser": _log_normaliser(P) + np.sum(0.5 * np.log(2.0 * np.pi) - np.log(np.abs(np.diag(root)))),
        "sampled_root": np.pad(R[:, drawn], pad),
        "origin": origin[free],
        "sampled_origin": origin[drawn],
        "free": free,
        "sampled": drawn,
    }
    return FixedPrior(**leaves)


def _log_normaliser(precision: np.ndarray) -> np.float64:
    """½ log|P|₊ − ½ rank log 2π; scaled to a unit diagonal first, since coefficients differ in units."""
    informed = np.diag(precision) > 0
    scale = np.sqrt(np.diag(precision)[informed])
    scaled = precision[np.ix_(informed, informed)] / np.outer(scale, scale)
    eigenvalues = np.linalg.eigvalsh(scaled) if len(scale) else np.zeros(0)
    proper = eigenvalues[eigenvalues > 1e-10]
    log_det = np.log(proper).sum() + 2.0 * np.log(scale).sum()
    return np.float64(0.5 * (log_det - len(proper) * np.log(2.0 * np.pi)))
