"""What each level's own rows say of its effects, all else taken as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.design import Design
from bayesmm.incidence import Incidence

DETERMINED = 1e-8  # smallest eigenvalue of a level's scaled cross-products whose own effects are worth computing


@dataclass(frozen=True, kw_only=True, eq=False)
class OwnRows:
    """The rows of each level of one grouping factor.

    Attributes
    ----------
    n : array, shape (q,)
        How many they are.
    scale : array, shape (q, k)
        Roots of the diagonal of Z'WZ, one where that is zero.
    gram : array, shape (q, k, k)
        Z'WZ over these on either side.
    determined : array of bool, shape (q,)
        Whether they determine the effects of their level.
    unpooled : array, shape (q, k)
        Least squares on them, in units of the response per unit of the column; NaN where not determined.
    """

    n: np.ndarray
    scale: np.ndarray
    gram: np.ndarray
    determined: np.ndarray
    unpooled: np.ndarray

    def weights(self, covariance: np.ndarray, variance: float) -> np.ndarray:
        """Weight each level's own estimate.

        Parameters
        ----------
        covariance : array, shape (k, k) or (q, k, k)
            Of the effects of one level, G, or of each.
        variance : float
            Of a residual of weight one, σ².

        Returns
        -------
        array, shape (q, k, k)
            G(G + σ²(Z'WZ)⁻¹)⁻¹ = GZ'WZ(GZ'WZ + σ²I)⁻¹; NaN where a level's rows do not determine its effects.
        """
        size = self.scale[self.determined]
        covariance = covariance[self.determined] if covariance.ndim == 3 else covariance
        scaled = covariance * size[:, :, None] * size[:, None, :] @ self.gram[self.determined]
        own = scaled @ np.linalg.inv(scaled + variance * np.eye(scaled.shape[-1]))
        found = np.full(self.gram.shape, np.nan)
        found[self.determined] = own * size[:, None, :] / size[:, :, None]
        return found


type Whiten = Callable[[np.ndarray], np.ndarray]


def read_own_rows(
    design: Design, beta: np.ndarray, effects: Sequence[np.ndarray], whiten: Whiten | None = None
) -> list[OwnRows]:
    """Estimate every level's effects from its own rows alone.

    Parameters
    ----------
    design : Design
        The data.
    beta : array, shape (p,)
        Fixed effects that are estimated.
    effects : sequence of array, shapes (q, k)
        Random effects of each grouping factor; those of the others are taken as they are.
    whiten : callable, optional
        What makes columns of rows with independent residuals from (n, c) of those of the data, where theirs have a
        covariance: least squares are generalised then.

    Returns
    -------
    list of OwnRows
        One for each grouping factor.

    Notes
    -----
    Least squares of y − offset − Xβ − (the other factors' Zb) on the level's columns Z, weighted. With e the residuals
    that is b + (Z'WZ)⁻¹ Z'We.
    """
    predictor = design.offset + design.X[:, design.kept] @ beta
    for block, own in zip(design.blocks, effects, strict=True):
        block.incidence.add_to(predictor, own)
    left, weights = design.y - predictor, design.weights
    incidences = [block.incidence for block in design.blocks]
    if whiten is not None:
        left, weights = whiten(left[:, None])[:, 0], np.ones(design.n)
        incidences = [incidence.map(lambda codes: codes, whiten) for incidence in incidences]
    return [
        _read_block(block, incidence, weights, weights * left, own)
        for block, incidence, own in zip(design.blocks, incidences, effects, strict=True)
    ]


def _read_block(
    block: RandomBlock, incidence: Incidence, weights: np.ndarray, weighted: np.ndarray, effects: np.ndarray
) -> OwnRows:
    q, k, by_level = block.q, block.k, incidence.sum_by_level
    moments = np.stack([by_level(lambda Z, i=i: Z[:, i] * weighted) for i in range(k)], axis=1)
    entries = [by_level(lambda Z, i=i, j=j: weights * Z[:, i] * Z[:, j]) for i in range(k) for j in range(k)]
    gram = np.stack(entries, axis=1).reshape(q, k, k)
    n = by_level(lambda Z: np.any(Z != 0.0, axis=1).astype(float)).astype(int)
    return solve_own_rows(gram, moments, n, effects)


def solve_own_rows(gram: np.ndarray, moments: np.ndarray, n: np.ndarray, effects: np.ndarray) -> OwnRows:
    """Solve for each level by itself.

    Parameters
    ----------
    gram : array, shape (q, k, k)
        Z'WZ of each level.
    moments : array, shape (q, k)
        Z'We of it, of residuals from these effects and all others.
    n : array of int, shape (q,)
        Rows of it.
    effects : array, shape (q, k)
        Its effects.
    """
    scale = np.sqrt(np.einsum("qii->qi", gram))
    scale = np.where(scale > 0, scale, 1.0)
    scaled = gram / (scale[:, :, None] * scale[:, None, :])
    determined = np.linalg.eigvalsh(scaled)[:, 0] > DETERMINED
    unpooled = np.full(moments.shape, np.nan)
    solved = np.linalg.solve(scaled[determined], (moments / scale)[determined][:, :, None])[:, :, 0]
    unpooled[determined] = effects[determined] + solved / scale[determined]
    return OwnRows(n=n, scale=scale, gram=scaled, determined=determined, unpooled=unpooled)
