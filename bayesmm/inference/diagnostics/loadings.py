"""Loadings of the effects of terms with factors, rotated to principal axes."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayesmm.inference.fitted import Fitted

LAST = ("sd_specific", "communality")


def tabulate_loadings(fit: Fitted) -> pd.DataFrame:
    """One row an effect of a term with factors; see `Fit.loadings`."""
    parts = []
    for block, L in zip(fit.labels.blocks, fit.estimate.factors, strict=True):
        for piece in block.pieces:
            own = L[piece.inside, piece.inside]
            found = piece.structure.loadings(own)
            if found is None:
                continue
            loadings, specific = rotate(found[0]), found[1]
            variances = (own**2).sum(axis=1)
            shared = (loadings**2).sum(axis=1)
            columns = {f"loading_{j}": fit.sigma * each for j, each in enumerate(loadings.T, start=1)}
            columns["sd_specific"] = fit.sigma * specific
            columns["communality"] = np.where(
                variances > 0.0, shared / np.where(variances > 0.0, variances, 1.0), np.nan
            )
            index = {"group": block.group, "effect": block.effects[piece.inside]}
            parts.append(pd.DataFrame(index | columns))
    if not parts:
        return pd.DataFrame(columns=["group", "effect", *LAST]).set_index(["group", "effect"])
    table = pd.concat(parts, ignore_index=True).set_index(["group", "effect"])
    return table.reindex(columns=[*(name for name in table.columns if name not in LAST), *LAST])


def rotate(loadings: np.ndarray) -> np.ndarray:
    """Γ (k, d) on the principal axes of ΓΓ', the largest first, each with a sum that is not negative."""
    left, values, _ = np.linalg.svd(loadings, full_matrices=False)
    turned = left * values
    return turned * np.where(turned.sum(axis=0) < 0.0, -1.0, 1.0)
