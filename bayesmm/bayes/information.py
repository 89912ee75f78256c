"""How much the data say about each random effect, and what follows for the conditional program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesmm.bayes.centring import Parameterisation
from bayesmm.design.blocks import RandomBlock

STRONG = 0.5  # share of the prior variance of a level's effect that the data must remove
SURE = 1.0 / 3.0  # standard error that the logarithm of a standard deviation may have


def spherical_covariance(block: RandomBlock, weights: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Compute what the data leave of the unit covariance of each level's spherical effects, all else taken as known.

    Parameters
    ----------
    block : RandomBlock
        Codes and columns of one grouping factor.
    weights : array, shape (n,)
        Prior weights.
    factor : array, shape (k, k)
        Relative factor Λ.

    Returns
    -------
    array, shape (q, k, k)
        (I + Λ'Z_j'WZ_jΛ)⁻¹.
    """
    scaled = block.columns @ factor
    information = np.empty((block.q, block.k, block.k))
    for a in range(block.k):
        for b in range(block.k):
            products = weights * scaled[:, a] * scaled[:, b]
            information[:, a, b] = np.bincount(block.codes, weights=products, minlength=block.q)
    return np.linalg.inv(np.eye(block.k) + information)


def choose_parameterisations(
    blocks: Sequence[RandomBlock],
    weights: np.ndarray,
    factors: Sequence[np.ndarray],
    sigma: float,
    covariances: Sequence[np.ndarray] | None = None,
) -> tuple[Parameterisation, ...]:
    """Choose centred where the data know the effects of a typical level, and that they differ; else non-centred.

    Parameters
    ----------
    blocks : sequence of RandomBlock
        Grouping factors.
    weights : array, shape (n,)
        Prior weights.
    factors : sequence of arrays, shape (k, k)
        Relative factor Λ of each grouping factor.
    sigma : float
        Residual standard deviation.
    covariances : sequence of arrays, shape (q, k, k), optional
        Covariance of the effects of each level given the data; from the level's own rows alone if not given.

    References
    ----------
    Papaspiliopoulos, Roberts & Sköld (2007). Stat. Sci. 22.
    """
    choices: list[Parameterisation] = []
    for f, (block, factor) in enumerate(zip(blocks, factors, strict=True)):
        spherical = spherical_covariance(block, weights, factor).mean(axis=0)
        after = sigma**2 * factor @ spherical @ factor.T if covariances is None else covariances[f].mean(axis=0)
        before = sigma**2 * (factor**2).sum(axis=1)
        left = np.divide(np.diag(after), before, out=np.ones(block.k), where=before > 0)
        known = 1.0 - float(left.max())
        # A combination of effects without variance is a funnel for centred chains whatever the data know of its parts.
        least_known = 1.0 - float(np.linalg.eigvalsh(spherical).max())
        # So is a standard deviation that may be zero (6 levels, 78 % known: divergences).
        far_from_zero = known > 0.0 and 1.0 / (np.sqrt(2.0 * block.q) * known) < SURE
        choices.append("centred" if min(known, least_known) > STRONG and far_from_zero else "noncentred")
    return tuple(choices)
