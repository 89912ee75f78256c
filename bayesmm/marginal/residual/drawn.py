"""Residuals drawn on few rows that have the sums of all rows: what a parametric bootstrap refits without these.

Of G groups that share a covariance matrix σ²R and their levels let V (G, oc) be their rows' columns side by side, and
E (G, o) their residuals. With V = QS, Q'Q = I, the r lines of Q'E are independent and have the covariance of those of
E. What they leave of E'E is independent of them, and has a Wishart distribution with G − r degrees of freedom (Mardia,
Kent & Bibby 1979, Multivariate Analysis, section 3.4). So r lines [S Q'E], and o lines [0 T] with T'T so distributed
(Bartlett's decomposition), have sums of products that are distributed as those of the G groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from bayesmm.incidence import Incidence
from bayesmm.marginal.residual.group_totals import root_lines
from bayesmm.marginal.residual.layout import Ordered, ResidualLayout, find_patterns
from bayesmm.marginal.residual.whitened import ResidualRows
from bayesmm.marginal.shapes import Array, Float, Int


class RowSource:
    """Draws residuals of few rows that stand for many.

    Parameters
    ----------
    rows : ResidualRows
        Few rows with the sums of all; their response is not looked at.

    Attributes
    ----------
    rows : ResidualRows
        As few with the same sums of all but the response, and room for one that is drawn; it is zero.
    """

    def __init__(self, rows: ResidualRows) -> None:
        roots, ordered = rows.effect_roots, rows.layout.ordered
        columns = np.concatenate([rows.fixed[:, :-1], *rows.effects], axis=1)[ordered.rows]
        codes = [block.incidence.only.codes[ordered.rows] for block in rows.blocks]
        parts = [part for o in np.unique(ordered.sizes) for part in _put_in_place(rows.layout, codes, columns, int(o))]
        at = np.concatenate([part.example for part in parts])
        placed = np.concatenate([part.columns.reshape(-1, columns.shape[1]) for part in parts])
        ends = np.cumsum([rows.p, *map(len, roots)])
        fixed, *effects = np.split(placed, ends[:-1], axis=1)
        sizes = np.concatenate([np.full(len(part.columns), part.columns.shape[1]) for part in parts])
        shares = np.concatenate([part.shares for part in parts])
        layout = replace(
            rows.layout,
            ordered=Ordered(
                rows=np.arange(len(at)),
                sizes=sizes,
                positions=ordered.positions[at],
                spreads=ordered.spreads[at],
                log_weights=ordered.log_weights[at],
                shares=np.repeat(shares, sizes),
            ),
        )
        blocks = tuple(
            replace(block, incidence=Incidence.single(own[at], Z @ T, block.n_levels))
            for block, own, Z, T in zip(rows.blocks, codes, effects, roots, strict=True)
        )
        self.rows = replace(
            rows, fixed=np.column_stack([fixed, np.zeros(len(at))]), blocks=blocks, layout=layout, n_rows=rows.n
        )
        self._find_wishart(parts)

    def _find_wishart(self, parts: Sequence[_Placed]) -> None:
        """Find the entries of triangular roots: those of χ², with their degrees of freedom, and zeros."""
        squares, degrees, nothing, start = [], [], [], 0
        for part in parts:
            G, o = part.columns.shape[:2]
            line = start + np.arange(G * o).reshape(G, o)
            if part.n_beyond == o and part.df >= o:
                root = line[G - o :]
                squares += np.diag(root).tolist()
                degrees += (part.df - np.arange(o)).tolist()
                nothing += root[np.tril_indices(o, -1)].tolist()
            start += G * o
        self._squares, self._degrees = np.array(squares, dtype=int), np.array(degrees, dtype=float)
        self._nothing = np.array(nothing, dtype=int)

    def draw(self, streams: Sequence[np.random.Generator]) -> Float[Array, "N m"]:
        """Draw residuals of which each row's would be independent and of variance one, one set from each stream."""
        drawn = np.stack([stream.standard_normal(len(self.rows.fixed)) for stream in streams], axis=1)
        drawn[self._squares] = np.sqrt(np.stack([stream.chisquare(self._degrees) for stream in streams], axis=1))
        drawn[self._nothing] = 0.0
        return drawn


class _Placed(NamedTuple):
    """Groups of some classes.

    Attributes
    ----------
    example : int array, shape (Go,)
        For each row, in order, one that has its position, standard deviation, weight and levels.
    columns : array, shape (G, o, c)
    shares : array, shape (G,)
        How many groups each stands for.
    n_beyond : int
        How many, the last ones, have no columns.
    df : int
        Degrees of freedom of the squares of their residuals.
    """

    example: np.ndarray
    columns: np.ndarray
    shares: np.ndarray
    n_beyond: int = 0
    df: int = 0


def _put_in_place(
    layout: ResidualLayout, codes: Sequence[Int[Array, " n"]], columns: Float[Array, "n c"], o: int
) -> list[_Placed]:
    """Put few groups of o rows in the place of those that stand for many; the others stay, as the first part."""
    rows = layout.ordered
    at = layout.first[rows.sizes == o][:, None] + np.arange(o)
    marks = [rows.spreads[at].reshape(len(at), -1), rows.log_weights[at], *(own[at[:, :1]] for own in codes)]
    if layout.correlation is not None:
        marks.append(rows.positions[at])
    _, which = find_patterns(np.column_stack(marks))
    order = np.argsort(which, kind="stable")
    at, which, stand_for = at[order], which[order], rows.shares[at[order, 0]]
    n_lines = np.bincount(which)
    total = np.rint(np.bincount(which, weights=stand_for)).astype(int)
    stays = (total == n_lines)[which]
    found = [_Placed(at[stays].ravel(), columns[at[stays]], stand_for[stays])] if stays.any() else []
    ends = np.cumsum(n_lines)
    for number in np.flatnonzero(total > n_lines):
        own = at[ends[number] - n_lines[number] : ends[number]]
        lines = columns[own].reshape(len(own), -1)
        root = root_lines(lines) if lines.shape[1] else lines[:0]
        df = int(total[number]) - len(root)
        n_beyond = min(df, o)
        G = len(root) + n_beyond
        placed = np.concatenate([root, np.zeros((n_beyond, lines.shape[1]))]).reshape(G, o, -1)
        found.append(_Placed(np.tile(own[0], G), placed, np.full(G, total[number] / G), n_beyond, df))
    return found
