"""What the effects of its relatives say of each level, and how reliably a level is predicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.inference.pooling.levels import FitValues, PosteriorValues


def expect_from_relatives(block: RandomBlock, effects: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Expect the effects of each level given those of all others, without its own rows.

    Parameters
    ----------
    block : RandomBlock
        Of related levels, b ~ N(0, A ⊗ Σ).
    effects : array, shape (q, k)
        Predicted effects of all levels.

    Returns
    -------
    expected : array, shape (q, k)
        −Σ_j A^ij b_j / A^ii over the others j.
    left : array, shape (q,)
        1 / A^ii: the covariance of a level's effects given those of all others is Σ times it. Both are NaN where A has
        no inverse.
    """
    assert block.relation is not None
    precision = block.relation.relation.precision
    if precision.constraint is not None:
        return np.full(effects.shape, np.nan), np.full(len(effects), np.nan)
    own = np.zeros(len(effects))
    is_own = precision.rows == precision.columns
    own[precision.rows[is_own]] = precision.values[is_own]
    return effects - precision.multiply(effects.T).T / own[:, None], 1.0 / own


def reliabilities(values: FitValues | PosteriorValues, block: RandomBlock, f: int, e: int) -> np.ndarray:
    """Reliability of the predicted effect e of each level, (q,): the squared correlation of predicted and true effects.

    Notes
    -----
    r² = 1 − PEV / (σ²ₐ aᵢᵢ), with PEV = Var(b̂ − b), fixed effects estimated, or the posterior variance over the
    posterior mean of σ²ₐ aᵢᵢ. Its root is the accuracy. Mrode & Thompson (2005), Linear Models for the Prediction of
    Animal Breeding Values, section 3.4. NaN where effects do not vary.
    """
    assert block.relation is not None
    if isinstance(values, FitValues):
        L = values.fit.estimate.factors[f]
        variance = values.fit.sigma**2 * float((L @ L.T)[e, e])
    else:
        variance = float(values.parameters.covariances[f][:, e, e].mean())
    if variance == 0.0:
        return np.full(block.q, np.nan)
    sds = replace(values, of="effects").read(f, e).sds
    return np.clip(1.0 - sds**2 / (variance * block.relation.relation.variances), 0.0, 1.0)
