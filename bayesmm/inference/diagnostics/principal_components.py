"""Principal components of each covariance matrix: along which combinations the levels differ, and along which not."""

from __future__ import annotations

import numpy as np
import pandas as pd

from bayesmm.inference.fitted import Fitted

COLUMNS = ("sd", "relative", "share", "cumulative")


def decompose_covariances(fit: Fitted) -> pd.DataFrame:
    """One row a group and component; see `Fit.principal_components`."""
    if not fit.labels.blocks:
        return pd.DataFrame(columns=["group", "component", *COLUMNS]).set_index(["group", "component"])
    parts = []
    sizes = _directions_left(fit)
    for block, L, n_left in zip(fit.labels.blocks, fit.estimate.factors, sizes, strict=True):
        vectors, values, _ = np.linalg.svd(L)
        values[n_left:] = 0.0
        signs = np.sign(np.take_along_axis(vectors, np.abs(vectors).argmax(axis=0)[None], axis=0))
        shares = values**2 / max(float((values**2).sum()), np.finfo(float).tiny)
        parts.append(
            pd.DataFrame(
                {
                    "group": block.group,
                    "component": np.arange(1, len(values) + 1),
                    "sd": fit.sigma * values,
                    "relative": values,
                    "share": shares,
                    "cumulative": np.cumsum(shares),
                    **dict(zip(block.effects, vectors * signs, strict=True)),
                }
            )
        )
    return pd.concat(parts, ignore_index=True).set_index(["group", "component"])


def _directions_left(fit: Fitted) -> list[int]:
    """How many components have a variance, per grouping factor: as the fit counts its singular directions."""
    return [
        len(L) - directions.shape[1]
        for L, directions in zip(fit.estimate.factors, fit.estimate.null_directions, strict=True)
    ]
