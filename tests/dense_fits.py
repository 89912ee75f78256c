"""Small fits of every kind, and the textbook's matrices of a fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from oracle import DenseModel, Matrix, block_diagonal, random_columns

SLEEP = "Reaction ~ Days + (Days | Subject)"


def falling(levels: list[str], rate: float = 0.25) -> pd.DataFrame:
    """A relation that falls with the distance in a list, its variances not one."""
    place = np.arange(len(levels))
    sizes = 1.0 + 0.1 * place
    A = np.exp(-rate * np.abs(place[:, None] - place)) * np.sqrt(np.outer(sizes, sizes))
    return pd.DataFrame(A, levels, levels)


SUBJECTS = [
    "308",
    "371",
    "309",
    "310",
    "399",
    "330",
    "331",
    "332",
    "333",
    "372",
    "334",
    "335",
    "337",
    "349",
    "350",
    "351",
    "352",
    "369",
    "370",
    "372",
][:-1]
RELATED = {"A": falling([*SUBJECTS, "first unseen", "second unseen"])}

# By what is special: formula, data set, options of the model.
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "slopes": (SLEEP, "sleepstudy", {}),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", {}),
    "nested": ("strength ~ 1 + (1 | batch/cask)", "pastes", {}),
    "diagonal": ("score ~ Machine + (1 | Worker) + (0 + Machine || Worker)", "machines", {}),
    "singular": ("Yield ~ 1 + (1 | Batch)", "dyestuff2", {}),
    "one correlation": ("distance ~ age * Sex + homcs(1 + age | Subject)", "orthodont", {}),
    "related": ("Reaction ~ Days + (1 | rel(Subject, A))", "sleepstudy", {"relations": RELATED}),
    "related slopes": ("Reaction ~ Days + (Days | rel(Subject, A)) + (1 | Days)", "sleepstudy", {"relations": RELATED}),
    "known sigma": ("y ~ 1 + (1 | school)", "eight_schools", {"weights": "1 / sigma**2", "sigma": 1.0}),
}


def dense_of(fit: Any) -> tuple[DenseModel, Matrix]:
    """The dense model of a fit, and G at its estimate."""
    design = fit.design
    Z, G = [], []
    for block, L in zip(design.blocks, fit.factors, strict=True):
        Z.append(sum(random_columns(own.codes, own.columns, block.q) for own in block.incidence.memberships))
        A = (
            np.eye(block.q)
            if block.relation is None
            else block.relation.covariances(*np.ix_(np.arange(block.q), np.arange(block.q)))
        )
        G.append(np.kron(A, fit.sigma**2 * L @ L.T))
    model = DenseModel(y=design.y - design.offset, X=design.X[:, design.kept], Z=np.hstack(Z), weights=design.weights)
    return model, block_diagonal(G)
