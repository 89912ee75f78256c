"""Averages over a grid: which columns stay, how the others are weighed, and what can be estimated."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd

from bayesmm.arguments import is_one_of
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError
from bayesmm.inference.means.grid import Grid

type Weights = Literal["equal", "proportional", "outer", "cells", "flat"]

WEIGHTS = ("equal", "proportional", "outer", "cells", "flat")
ESTIMABLE = 1e-8  # part of a row's size up to which it counts as a combination of rows of X


class Averages(NamedTuple):
    """Means over a grid.

    Attributes
    ----------
    L : array, shape (r, p)
        On the coefficients that are estimated; NaN where a mean is not estimable.
    offset : array, shape (r,)
        Known part.
    labels : DataFrame
        One column a variable that stays, one row a mean; the first varies fastest.
    """

    L: np.ndarray
    offset: np.ndarray
    labels: pd.DataFrame


def check_weights(weights: object) -> None:
    """Refuse what is no way to weigh."""
    if not is_one_of(weights, WEIGHTS):
        raise ArgumentError(f"weights is {weights!r}: give {', '.join(map(repr, WEIGHTS[:-1]))} or {WEIGHTS[-1]!r}.")


def average(grid: Grid, rows: np.ndarray, offset: np.ndarray, stays: Sequence[str], weights: Weights) -> Averages:
    """Average rows of a grid over all variables but some.

    Parameters
    ----------
    grid : Grid
        The combinations.
    rows : array, shape (m, p_all)
        All columns of the model at each, also the aliased ones.
    offset : array, shape (m,)
        Known part.
    stays : sequence of str
        Variables that means are by; the first varies fastest.
    weights : str
        One of `WEIGHTS`.
    """
    names = [each.name for each in grid.variables]
    out = tuple(i for i, name in enumerate(names) if name not in stays)
    axes = [names.index(name) for name in reversed(stays)]
    shares = np.broadcast_to(_shares(grid, out, weights), grid.shape)
    both = np.concatenate([rows, offset[:, None]], axis=1)
    r = int(np.prod([grid.shape[i] for i in axes]))
    order = [*axes, *out]
    part = shares.transpose(order).reshape(r, 1, -1)
    places = np.arange(len(rows)).reshape(grid.shape).transpose(order).reshape(r, -1)
    means = np.stack([(own @ both[place])[0] for own, place in zip(part, places, strict=True)])
    return Averages(keep_estimable(grid.design, means[:, :-1]), means[:, -1], _labels(grid, stays))


def _labels(grid: Grid, stays: Sequence[str]) -> pd.DataFrame:
    if not stays:
        return pd.DataFrame(index=range(1))
    values = [grid.variable(name).labels for name in reversed(stays)]
    index = pd.MultiIndex.from_product(values, names=list(reversed(stays)))
    return pd.DataFrame(index.to_frame(index=False), columns=list(stays))


def _shares(grid: Grid, out: tuple[int, ...], weights: Weights) -> np.ndarray:
    """Share of each combination in its mean; sums over the axes in `out` are one."""
    counts = np.ones(grid.shape) if weights == "equal" else grid.counts()
    stays = tuple(i for i in range(counts.ndim) if i not in out)
    if weights == "proportional":
        counts = counts.sum(axis=stays, keepdims=True)
    elif weights == "outer":
        counts = np.prod(
            np.broadcast_arrays(
                np.ones([1] * counts.ndim),
                *(counts.sum(axis=tuple(j for j in range(counts.ndim) if j != i), keepdims=True) for i in out),
            ),
            axis=0,
        )
    elif weights == "flat":
        counts = (counts > 0.0).astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):
        return counts / counts.sum(axis=out, keepdims=True)


def keep_estimable(design: Design, rows: np.ndarray) -> np.ndarray:
    """Reduce rows to the coefficients that are estimated.

    Parameters
    ----------
    design : Design
        The model's.
    rows : array, shape (r, p_all)
        Combinations of all coefficients, also the aliased ones.

    Returns
    -------
    array, shape (r, p)
        NaN where a combination differs between solutions of the normal equations: where it is none of the rows of X.

    Notes
    -----
    Aliased columns are combinations of kept ones, X_a = X_k T; a row (l_k, l_a) is one of the rows of X if l_a = l_k T.
    """
    kept = rows[:, design.kept]
    if not design.aliased:
        return kept
    X = design.fixed_rows
    aliased = np.setdiff1d(np.arange(X.shape[1]), design.kept)
    columns = X[:, aliased]
    scale = np.linalg.norm(X[:, design.kept], axis=0)
    T = np.linalg.lstsq(X[:, design.kept] / scale, columns, rcond=None)[0] / scale[:, None]
    off = np.abs(rows[:, aliased] - kept @ T)
    size = np.abs(rows[:, aliased]) + np.abs(kept / scale).sum(axis=1)[:, None] * np.linalg.norm(columns, axis=0)
    return np.where((off <= ESTIMABLE * size).all(axis=1)[:, None], kept, np.nan)
