"""Residuals of further rows, given those of the rows that their groups have.

With R over σ² of a group's rows g and of further rows n,

    E(ε_n | ε_g) = K'ε_g,   K = R_gg⁻¹R_gn,    Var(ε_n | ε_g)/σ² = R_nn − R_ng K.

In a chain all that is known of a row beyond its nearest neighbours goes through these, and the others are left out. A
further row at the position of a known one has the residual of that one, up to their standard deviations.

Cressie (1993), Statistics for Spatial Data, section 3.4 (simple and universal kriging).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bayesmm.covariance.residual import Correlation, GroupedRows
from bayesmm.marginal.residual.layout import Stack, find_patterns, pattern_covariances
from bayesmm.marginal.shapes import Array, Float

NEGATIVE = 1e-9  # share of a variance below zero that is only rounding


class Conditional(NamedTuple):
    """What the known rows of groups of one size say: K (G, o, m) and the variance over σ² (G, m, m)."""

    known: np.ndarray
    new: np.ndarray
    K: np.ndarray
    variance: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Kriging:
    """Further rows of groups that have rows, laid out by size and by what they share.

    Attributes
    ----------
    correlation : Correlation
        Of the rows of a group.
    stacks : tuple of Stack
        Rows o that are known, then m others, counted on from the known ones.
    n : int
        How many are known.
    same : tuple of bool arrays, shape (p, o, m)
        Of each pattern: which further row is at the position of which known one.
    """

    correlation: Correlation
    stacks: tuple[Stack, ...]
    n: int
    same: tuple[np.ndarray, ...]

    def conditionals(self, public: Array) -> Iterator[Conditional]:
        """Solve at logarithms of standard deviations and public correlations (f,); analytic.

        Raises
        ------
        numpy.linalg.LinAlgError
            If the covariance of known and further rows together is none: groups are larger than it admits.
        """
        for stack, same in zip(self.stacks, self.same, strict=True):
            R, o = pattern_covariances(np, self.correlation, public, stack), same.shape[1]
            sizes = np.sqrt(_diagonal(R))
            across = np.where(same, sizes[:, :o, None] * sizes[:, None, o:], R[:, :o, o:])
            K = np.linalg.solve(R[:, :o, :o], across)
            variance = R[:, o:, o:] - across.swapaxes(1, 2) @ K
            own = np.real(_diagonal(variance)) / np.real(_diagonal(R)[:, o:])
            if (own < -NEGATIVE).any():
                raise np.linalg.LinAlgError
            rows = stack.rows
            yield Conditional(rows[:, :o], rows[:, o:] - self.n, K[stack.pattern], variance[stack.pattern])


def lay_out_kriging(correlation: Correlation, known: GroupedRows, new: GroupedRows, together: np.ndarray) -> Kriging:
    """Lay further rows out beside those that their groups have.

    Parameters
    ----------
    correlation : Correlation
        Of the rows of a group.
    known, new : GroupedRows
        Groups of the others have the numbers of those that are known, or are −1: such rows are left out.
    together : int array, shape (m,)
        Rows of one number are of one group and have a joint distribution.
    """
    order = np.lexsort((known.positions, known.groups))
    starts = np.searchsorted(known.groups[order], np.arange(known.groups.max(initial=-1) + 2))
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    n = len(known.groups)
    seen = np.flatnonzero(new.groups >= 0)
    seen = seen[np.lexsort((new.positions[seen], together[seen]))]
    for own in np.split(seen, np.flatnonzero(np.diff(together[seen])) + 1) if len(seen) else []:
        group = new.groups[own[0]]
        rows = order[starts[group] : starts[group + 1]]
        if correlation.is_markov:
            after = np.searchsorted(known.positions[rows], new.positions[own])
            near = np.unique(np.concatenate([after - 1, after]))
            rows = rows[near[(near >= 0) & (near < len(rows))]]
        found.setdefault((len(rows), len(own)), []).append(np.concatenate([rows, n + own]))
    both = [np.concatenate(each) for each in zip(known, new, strict=True)]
    stacks = [_stack(correlation, np.array(rows), o, both) for (o, _), rows in found.items()]
    return Kriging(
        correlation=correlation, stacks=tuple(s for s, _ in stacks), n=n, same=tuple(same for _, same in stacks)
    )


def _stack(correlation: Correlation, rows: np.ndarray, o: int, both: list[np.ndarray]) -> tuple[Stack, np.ndarray]:
    """Find the patterns of rows (G, o + m), of which the first o are known, and who is where another is."""
    _, positions, spreads, weights = (values[rows] for values in both)
    order = np.argsort(positions, axis=1, kind="stable")  # anchors are from the first
    places = np.empty_like(positions)
    np.put_along_axis(places, order, correlation.anchor(np.take_along_axis(positions, order, axis=1)), axis=1)
    same = positions[:, :o, None] == positions[:, None, o:]
    flat = [each.reshape(len(rows), -1) for each in (same.astype(float), spreads)]
    example, pattern = find_patterns(np.column_stack([places, *flat, np.log(weights)]))
    stack = Stack(
        rows=rows,
        pattern=pattern,
        positions=places[example],
        spreads=spreads[example],
        log_weights=np.log(weights)[example],
        counts=np.bincount(pattern),
    )
    return stack, same[example]


def _diagonal(R: Float[Array, "m o o"]) -> Float[Array, "m o"]:
    return np.diagonal(R, axis1=1, axis2=2)
