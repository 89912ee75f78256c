"""Small fits of every kind, and the textbook's matrices of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from oracle import DenseModel, Matrix, block_diagonal, level_covariance, random_columns

SLEEP = "Reaction ~ Days + (Days | Subject)"

# By what is special: formula, data set, options of the model.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "slopes": (SLEEP, "sleepstudy", {}),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", {}),
    "nested": ("strength ~ 1 + (1 | batch/cask)", "pastes", {}),
    "diagonal": ("score ~ Machine + (1 | Worker) + (0 + Machine || Worker)", "machines", {}),
    "singular": ("Yield ~ 1 + (1 | Batch)", "dyestuff2", {}),
    "one correlation": ("distance ~ age * Sex + homcs(1 + age | Subject)", "orthodont", {}),
    "known sigma": ("y ~ 1 + (1 | school)", "eight_schools", {"weights": "1 / sigma**2", "sigma": 1.0}),
}


def dense_of(fit: Any) -> tuple[DenseModel, Matrix]:
    """The dense model of a fit, and G at its estimate."""
    design = fit.design
    Z, G = [], []
    for block, L in zip(design.blocks, fit.factors, strict=True):
        Z.append(sum(random_columns(own.codes, own.columns, block.q) for own in block.incidence.memberships))
        G.append(level_covariance(fit.sigma**2 * L @ L.T, block.q))
    model = DenseModel(y=design.y - design.offset, X=design.X[:, design.kept], Z=np.hstack(Z), weights=design.weights)
    return model, block_diagonal(G)
