"""How much the data say about each random effect, and what follows for the conditional program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesmm.bayes.program import Parameterisation
from bayesmm.design.blocks import RandomBlock

STRONG = 0.75  # share of the prior variance of the effects that the data remove, from which centred samples better


def level_information(block: RandomBlock, weights: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Information of the data on the spherical effects of each level, other effects taken as known.

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
        Λ'Z_j'WZ_jΛ; the identity is the information of the prior.
    """
    scaled = block.columns @ factor
    information = np.empty((block.q, block.k, block.k))
    for a in range(block.k):
        for b in range(block.k):
            products = weights * scaled[:, a] * scaled[:, b]
            information[:, a, b] = np.bincount(block.codes, weights=products, minlength=block.q)
    return information


def spherical_covariance(block: RandomBlock, weights: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """(I + Λ'Z_j'WZ_jΛ)⁻¹ of every level: what the data leave of the prior covariance; shape (q, k, k)."""
    return np.linalg.inv(np.eye(block.k) + level_information(block, weights, factor))


def choose_parameterisations(
    blocks: Sequence[RandomBlock], weights: np.ndarray, factors: Sequence[np.ndarray]
) -> tuple[Parameterisation, ...]:
    """Centred where the data dominate the prior of a typical level, non-centred elsewhere.

    References
    ----------
    Papaspiliopoulos, Roberts & Sköld (2007). Stat. Sci. 22.
    """
    choices: list[Parameterisation] = []
    for block, factor in zip(blocks, factors, strict=True):
        left = np.trace(spherical_covariance(block, weights, factor), axis1=1, axis2=2) / block.k
        choices.append("centred" if 1.0 - left.mean() > STRONG else "noncentred")
    return tuple(choices)
