"""A lattice of nodes that covers a density, grown from its mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

DEPTH = 20.0  # log density below the mode at which nodes are left out: e⁻²⁰ is 2e-9
SPAN = 512  # nodes on either side of the mode along an axis; keys of a node are made of digits to this base
Energies = Callable[[np.ndarray], np.ndarray]


class Lattice(NamedTuple):
    """Nodes of equal cells.

    Attributes
    ----------
    index : array of int, shape (m, d)
        Which node, along each axis of the lattice.
    positions : array, shape (m, d)
        Where it is.
    energies : array, shape (m,)
        −log density there.
    axes : array, shape (d, d)
        Edges of a cell, as columns.
    """

    index: np.ndarray
    positions: np.ndarray
    energies: np.ndarray
    axes: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """Shares of the nodes in the integral of the density; sum 1."""
        density = np.exp(self.energies.min() - self.energies)
        return density / density.sum()

    @property
    def log_integral(self) -> float:
        """Log of the integral of the density."""
        least = self.energies.min()
        _, log_cell = np.linalg.slogdet(self.axes)
        return float(np.log(np.exp(least - self.energies).sum()) - least + log_cell)


def grow_lattice(
    energies: Energies, origin: np.ndarray, axes: np.ndarray, *, most: int, also: np.ndarray | None = None
) -> Lattice | None:
    """Add neighbours of nodes, from the origin on, as long as the density there counts.

    Parameters
    ----------
    energies : callable
        Takes positions (m, d) to −log densities (m,).
    origin : array, shape (d,)
        The first node, near the mode.
    axes : array, shape (d, d)
        Edges of a cell, as columns.
    most : int
        Nodes at most.
    also : array, shape (m, d), optional
        Positions to begin from besides the origin.

    Returns
    -------
    Lattice or None
        None if more nodes than that were needed, or some as far from the origin as can be counted.

    Notes
    -----
    The sum over such a lattice is the trapezoidal rule, whose error falls exponentially as cells get smaller: for a
    normal density and cells of one standard deviation it is 5e-9 (Trefethen & Weideman 2014, SIAM Review 56).
    """
    d = len(origin)
    steps = np.concatenate([np.eye(d, dtype=np.int64), -np.eye(d, dtype=np.int64)])
    digits = (2 * SPAN) ** np.arange(d, dtype=np.int64)
    front = np.zeros((1, d), dtype=np.int64)
    if also is not None:
        nearest = np.rint(np.linalg.solve(axes, (also - origin).T).T).astype(np.int64)
        nearest = nearest[(np.abs(nearest) < SPAN).all(axis=1)]
        front = np.unique(np.concatenate([front, nearest]), axis=0)
    seen = np.sort((front + SPAN) @ digits)
    kept, values, least, total = [], [], np.inf, 0
    while len(front):
        positions = origin + front @ axes.T
        found = energies(positions)
        least = min(least, float(found.min(initial=np.inf)))
        counts = found - least < DEPTH
        kept.append(front[counts])
        values.append(found[counts])
        total += int(counts.sum())
        if total > most or (np.abs(front[counts]) >= SPAN - 1).any():
            return None
        near = (front[counts][:, None, :] + steps).reshape(-1, d)
        near = near[(np.abs(near) < SPAN).all(axis=1)]
        keys, first = np.unique((near + SPAN) @ digits, return_index=True)
        where = np.searchsorted(seen, keys)  # both are sorted
        fresh = np.append(seen, -1)[where] != keys
        front = near[first[fresh]]
        seen = np.insert(seen, where[fresh], keys[fresh])
    index, found = np.concatenate(kept), np.concatenate(values)
    counts = found - least < DEPTH
    return Lattice(index[counts], origin + index[counts] @ axes.T, found[counts], axes)
