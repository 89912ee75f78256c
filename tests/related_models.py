"""Small pedigrees and models of them, whose relations are made sparse by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

import bayesmm as bmm
from bayesmm.cholesky.precision import Descent, Factored
from bayesmm.design.related.pedigree import Pedigree
from bayesmm.design.related.sparse_relation import SparseRelation

FORMULAS = {
    "alone": "y ~ sex + (1 | rel(animal, A))",
    "repeatability": "y ~ sex + (1 | rel(animal, A)) + (1 | animal) + (1 | herd)",
    "slopes": "y ~ x + (x | rel(animal, A)) + (1 | herd)",
    "uncorrelated": "y ~ x + (x || rel(animal, A))",
    "two relations": "y ~ x + (1 | rel(animal, A)) + (1 | rel(herd, H))",
}
HERDS = pd.DataFrame(np.eye(6) + 0.5, range(6), range(6))


def random_pedigree(seed: int, founders: int = 8, q: int = 60) -> Pedigree:
    """Random mating of all earlier animals, relatives among them; some parents unknown."""
    rng = np.random.default_rng(seed)
    names = rng.permutation([f"k{i}" for i in range(q)])
    rows = []
    for i in range(founders, q):
        male, female = rng.integers(0, i // 2) * 2, rng.integers(0, i // 2) * 2 + 1
        rows.append([names[i], *(None if rng.random() < 0.1 else names[j] for j in (male, female))])
    table = pd.DataFrame(rows, columns=["animal", "sire", "dam"])
    return bmm.pedigree(table.sample(frac=1.0, random_state=seed), selfing=True)


def by_descent(family: Pedigree) -> SparseRelation:
    return SparseRelation(levels=family.animals, precision=Descent(family.sires, family.dams, family.inbreeding))


def by_entries(family: Pedigree) -> SparseRelation:
    lower: Any = sparse.tril(family.inverse).tocoo()
    rows, columns = lower.coords
    return SparseRelation(levels=family.animals, precision=Factored(len(family), rows, columns, lower.data))


FAMILY = random_pedigree(2)


def records(family: Pedigree, n: int = 110, seed: int = 3) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    observed = rng.permutation(len(family))[: int(0.8 * len(family))]
    own = rng.choice(observed, n)
    C = np.linalg.cholesky(family.covariance.to_numpy())
    b = C @ rng.normal(size=(len(family), 2)) * [1.3, 0.6]
    herd, x = rng.integers(0, 6, n), rng.normal(size=n)
    return pd.DataFrame(
        {
            "animal": np.array(family.animals)[own],
            "sex": rng.choice(["male", "female"], n),
            "herd": herd,
            "x": x,
            "w": rng.uniform(0.5, 2.0, n),
            "y": 5.0 + x + b[own, 0] + b[own, 1] * x + rng.normal(size=6)[herd] + rng.normal(size=n),
        }
    )


DATA = records(FAMILY)


def model_of(name: str, A: Any, data: pd.DataFrame = DATA, **options: Any) -> bmm.Model:
    return bmm.Model(FORMULAS[name], data, relations={"A": A, "H": HERDS}, **options)
