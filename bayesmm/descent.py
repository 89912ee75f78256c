"""What follows from descent: inbreeding, and how far animals vary around the mean of their parents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np


def find_inbreeding(sires: np.ndarray, dams: np.ndarray) -> np.ndarray:
    """Inbreeding coefficients (q,) of animals in an order in which parents come before offspring.

    Parameters
    ----------
    sires, dams : array of int, shape (q,)
        Positions of the parents; −1 where not known.

    Notes
    -----
    F is half the relationship of the parents, Σ_j T_sj T_dj D_j, with T the shares of each ancestor's own part that an
    animal has, and D the variances of those parts: generation by generation, all mates of a parent together.

    References
    ----------
    Quaas (1976), Biometrics 32. Meuwissen & Luo (1992), Genet. Sel. Evol. 24.
    """
    from scipy import sparse  # where a pedigree is read

    q = len(sires)
    F, D = np.zeros(q), np.zeros(q)
    is_parent = np.zeros(q + 1, dtype=bool)
    is_parent[sires] = is_parent[dams] = True
    place = np.full(q + 1, -1)  # of a parent's row in what is known of T
    T: Any = sparse.csr_array((1, q))  # its first row is of a parent that is not known
    place[-1] = 0
    for own in generations(sires, dams):
        both = own[(sires[own] >= 0) & (dams[own] >= 0)]
        few, many = sorted((sires[both], dams[both]), key=lambda side: len(np.unique(side)))
        for parent in np.unique(few):
            mates, which = np.unique(many[few == parent], return_inverse=True)
            shares = T[[place[parent]]].toarray().ravel() * D
            F[both[few == parent]] = 0.5 * (T[place[mates]] @ shares)[which]
        D[own] = sampling_variances(sires[own], dams[own], F)
        needed = own[is_parent[own]]
        if len(needed):
            unit = sparse.csr_array((np.ones(len(needed)), (np.arange(len(needed)), needed)), shape=(len(needed), q))
            place[needed] = T.shape[0] + np.arange(len(needed))
            rows = 0.5 * (T[place[sires[needed]]] + T[place[dams[needed]]]) + unit
            T = sparse.vstack([T, rows], format="csr")
    return F


def generations(sires: np.ndarray, dams: np.ndarray) -> Iterator[np.ndarray]:
    """Animals without known parents, then those whose parents are among these, and so on."""
    generation = np.zeros(len(sires) + 1, np.int64)
    generation[-1] = -1
    for i, (sire, dam) in enumerate(zip(sires.tolist(), dams.tolist(), strict=True)):
        generation[i] = 1 + max(generation[sire], generation[dam])
    order = np.argsort(generation[:-1], kind="stable")
    yield from np.split(order, np.flatnonzero(np.diff(generation[order])) + 1)


def sampling_variances(sires: np.ndarray, dams: np.ndarray, F: np.ndarray) -> np.ndarray:
    """Variance of each animal given its parents, in units of that of founders.

    Parameters
    ----------
    sires, dams : array of int, shape (m,)
        Positions of the parents of some animals; −1 where not known.
    F : array, shape (q,)
        Inbreeding coefficients of all animals, of those parents at least.

    Notes
    -----
    One, less a quarter of one plus inbreeding for each known parent.
    """
    known = np.append(0.25 * (1.0 + F), 0.0)
    return 1.0 - known[sires] - known[dams]
