"""How much the data say about each random effect, and what follows for the conditional program."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bayesmm.bayes.programs.parameterisation import Choice
from bayesmm.design.blocks.blocks import RandomBlock

STRONG = 0.5  # share of the prior variance of a level's effect that the data must remove
SINGULAR = "its effects vary along fewer directions than there are effects"
SURE = 1.0 / 3.0  # standard error that the logarithm of a standard deviation may have


def spherical_covariance(
    block: RandomBlock, weights: np.ndarray, factor: np.ndarray, root: np.ndarray | None = None
) -> np.ndarray:
    """Compute what the data leave of the unit covariance of each level's spherical effects, all else taken as known.

    Parameters
    ----------
    block : RandomBlock
        Of one grouping factor.
    weights : array, shape (n,)
        Prior weights.
    factor : array, shape (k, k)
        Relative factor Λ.
    root : array, shape (q, q), optional
        V, where the effects of the levels are V times independent ones, which the result is then of.

    Returns
    -------
    array, shape (q, k, k)
        (I + Λ'Z_j'WZ_jΛ)⁻¹.
    """
    scaled = block.incidence.times(factor)
    information = np.empty((block.q, block.k, block.k))
    for a in range(block.k):
        for b in range(block.k):
            information[:, a, b] = scaled.sum_by_level(lambda Z, a=a, b=b: weights * Z[:, a] * Z[:, b])
    if root is not None:
        information = np.einsum("lj,lab->jab", root**2, information)
    return np.linalg.inv(np.eye(block.k) + information)


def choose_automatically(
    blocks: Sequence[RandomBlock],
    weights: np.ndarray,
    factors: Sequence[np.ndarray],
    sigma: float,
    covariances: Sequence[np.ndarray] | None = None,
) -> tuple[Choice, ...]:
    """Choose centred where the data know the effects of a typical level, and that they differ; else non-centred.

    Degrees in between are left to the user: on eight schools, Dyestuff, Pastes, Penicillin and sleepstudy none was
    better than the end chosen here by more than a quarter with both of two seeds and without divergences
    (docs/programs.md has the numbers).

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
    choices: list[Choice] = []
    for f, (block, factor) in enumerate(zip(blocks, factors, strict=True)):
        if block.relation is not None:
            reason = f"its levels are related by {block.grouping.relation}, so that independent effects are sampled"
            choices.append(Choice(degree=0.0, reason=reason, is_only=True))
            continue
        if any(not piece.structure.has_shares for piece in block.pieces):
            choices.append(Choice(degree=0.0, reason=SINGULAR, is_only=True))
            continue
        spherical = spherical_covariance(block, weights, factor).mean(axis=0)
        after = sigma**2 * factor @ spherical @ factor.T if covariances is None else covariances[f].mean(axis=0)
        before = sigma**2 * (factor**2).sum(axis=1)
        left = np.divide(np.diag(after), before, out=np.ones(block.k), where=before > 0)
        known = 1.0 - float(left.max())
        # A combination of effects without variance is a funnel for centred chains whatever the data know of its parts.
        least_known = 1.0 - float(np.linalg.eigvalsh(spherical).max())
        if (before == 0.0).any():
            zero = block.effects[int(np.argmin(before))]
            choices.append(Choice(degree=0.0, reason=f"the standard deviation of {zero} is estimated as zero"))
        else:
            choices.append(_choose(block, known, least_known, block.effects[int(np.argmax(left))]))
    return tuple(choices)


def _choose(block: RandomBlock, known: float, least_known: float, least: str) -> Choice:
    whose = "a typical level's effect" if block.k == 1 else f"a typical level's effect on {least}, the least known"
    removed = f"the data remove {100.0 * known:.0f} % of the prior variance of {whose}"
    if known <= STRONG:
        return Choice(degree=0.0, reason=removed)
    if least_known <= STRONG:
        return Choice(
            degree=0.0,
            reason=f"the data remove only {100.0 * least_known:.0f} % of the prior variance of one combination of a "
            "typical level's effects",
        )
    # A standard deviation that may be zero is a funnel too (6 levels, 78 % known: divergences).
    error = 1.0 / (np.sqrt(2.0 * block.q) * known)
    if error >= SURE:
        return Choice(
            degree=0.0,
            reason=f"{removed}, but {block.q} levels leave a standard error of {error:.2f} to the logarithm of a "
            "standard deviation, which may be zero",
        )
    return Choice(degree=1.0, reason=removed)
