"""Neighbouring regions: conditional autoregressive relations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.cholesky.precision import Intrinsic
from bayesmm.console import listing
from bayesmm.design.related.relation import MOST_LEVELS, NOTHING, AnyRelation, check_size, read_labels, relation
from bayesmm.design.related.sparse_relation import SparseRelation, read_sparse_precision
from bayesmm.errors import DesignError

MOST_PARTS = 100  # of a map of many regions: each is two more columns of every solution


def car(neighbours: Any, rho: float = 1.0, levels: Sequence[Any] | None = None, *, scaled: bool = True) -> AnyRelation:
    """Relate regions to those that they border on: proper or intrinsic conditional autoregression.

    Parameters
    ----------
    neighbours : data frame, array or scipy.sparse matrix, shape (q, q)
        W: one (or a weight) for each two regions that are neighbours, zero otherwise, zeros on the diagonal.
    rho : float
        Below one (and above minus one): the effects have the precision D − ρW, D the sums of the rows of W, so that the
        effect of a region given all others has ρ times the mean of its neighbours as its mean. One: the intrinsic
        autoregression (ICAR), differences of neighbours alone, made well-posed by a sum of zero over each connected
        part of the map.
    levels : sequence, optional
        Labels of the regions, in the order of the rows, where `neighbours` has none.
    scaled : bool
        Whether the covariance is divided by the geometric mean of its variances, so that the standard deviation of the
        term is that of a typical region, whatever the map. Without, it is that of D − ρW as it is.

    Returns
    -------
    KnownRelation or SparseRelation
        For ``relations`` of `Model`: ``Model("y ~ 1 + (1 | rel(region, W))", data, relations={"W": car(W)})``.

    Raises
    ------
    DesignError
        If W is not symmetric or negative, a region is its own neighbour or has none, or `rho` is out of its limits; or
        if there are more than 5,000 regions and W is not a matrix of `scipy.sparse`.

    Notes
    -----
    The covariance of the intrinsic one is the Moore–Penrose inverse of D − W: that of effects with the improper
    density, given their sums over each part. Add ``(1 | region)`` for variation without neighbours (Besag, York &
    Mollié 1991).

    References
    ----------
    Besag (1974), JRSS-B 36. Besag, York & Mollié (1991), Ann. Inst. Stat. Math. 43. Sørbye & Rue (2014), Spatial
    Stat. 8, for the scale.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> line = [[0, 1, 0], [1, 0, 1], [0, 1, 0]]
    >>> bmm.car(line, levels=["west", "middle", "east"], scaled=False).covariance.round(3).tolist()
    [[0.556, -0.111, -0.444], [-0.111, 0.222, -0.111], [-0.444, -0.111, 0.556]]
    """
    if isinstance(rho, bool) or not isinstance(rho, (int, float, np.number)) or not -1 < rho <= 1:
        raise DesignError(f"rho is {shorten(rho)}: give a number above -1, up to 1 (the intrinsic autoregression).")
    if not isinstance(scaled, bool):
        raise DesignError(f"scaled is {shorten(scaled)}: give True or False.")
    if hasattr(neighbours, "toarray") and max(neighbours.shape) > MOST_LEVELS:
        return _relate_many(neighbours, float(rho), read_labels(levels, "matrix of neighbours"), scaled=scaled)
    labels, W = _read_neighbours(neighbours, levels)
    values, vectors = np.linalg.eigh(np.diag(W.sum(axis=1)) - float(rho) * W)
    inverse = np.where(values > NOTHING * values[-1] * len(W), 1.0 / np.where(values > 0, values, 1.0), 0.0)
    A = (vectors * inverse) @ vectors.T
    if scaled:
        A = A / np.exp(np.log(np.diag(A)).mean())
    return relation(0.5 * (A + A.T), labels)


def _relate_many(neighbours: Any, rho: float, labels: tuple[str, ...], *, scaled: bool) -> SparseRelation:
    """Relate more regions than a dense matrix is made for."""
    from scipy import sparse  # where a sparse matrix is given

    if neighbours.shape != (len(labels),) * 2:
        raise DesignError(f"The neighbours have the shape {neighbours.shape}, and there are {len(labels)} regions.")
    W: Any = sparse.csc_array(neighbours, dtype=float)
    _check_neighbours(W.data, (W != W.T).nnz == 0, W.diagonal(), np.asarray(W.sum(axis=0)), labels)
    Q = sparse.diags_array(np.asarray(W.sum(axis=1)).ravel()) - rho * W
    found = _read_precision(Q, W, rho, labels)
    if not scaled:
        return found
    return _read_precision(Q * np.exp(np.log(found.variances).mean()), W, rho, labels)


def _read_precision(Q: Any, W: Any, rho: float, labels: tuple[str, ...]) -> SparseRelation:
    from scipy import sparse

    if rho < 1:
        return read_sparse_precision(Q, labels, asymmetric=0.0)
    count, parts = sparse.csgraph.connected_components(W, directed=False)
    if count > MOST_PARTS:
        raise DesignError(
            f"The map of {len(labels):,} regions falls into {count:,} parts, over each of which effects are to sum to "
            f"zero: at most {MOST_PARTS} can. Join islands to the nearest coast, or give rho a little below one."
        )
    lower: Any = sparse.tril(Q).tocoo()
    rows, columns = lower.coords
    return SparseRelation(levels=labels, precision=Intrinsic(len(labels), rows, columns, lower.data, parts))


def _check_neighbours(
    weights: np.ndarray, is_symmetric: bool, diagonal: np.ndarray, sums: np.ndarray, labels: Sequence[str]
) -> None:
    if not np.isfinite(weights).all() or (weights < 0).any() or not is_symmetric or diagonal.any():
        raise DesignError(
            "The neighbours must be a symmetric matrix of finite weights of at least 0, with zeros on the diagonal: no "
            "region is its own neighbour."
        )
    alone = [label for label, total in zip(labels, sums, strict=True) if not total]
    if alone:
        raise DesignError(
            f"{len(alone)} region(s) have no neighbours: {listing(alone, 5, quoted=True)}. Join each to another, as "
            "islands are to the nearest coast, or leave their rows out."
        )


def _read_neighbours(neighbours: Any, levels: Sequence[Any] | None) -> tuple[list[str], np.ndarray]:
    if isinstance(neighbours, pd.DataFrame):
        if list(map(str, neighbours.index)) != list(map(str, neighbours.columns)) or levels is not None:
            raise DesignError("Rows and columns of the table of neighbours must be named by the regions, in one order.")
        levels, neighbours = list(neighbours.index), neighbours.to_numpy()
    elif hasattr(neighbours, "toarray"):
        neighbours = neighbours.toarray()
    labels = list(read_labels(levels, "matrix of neighbours"))
    check_size(len(labels))
    try:
        W = np.array(neighbours, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise DesignError(f"The neighbours are {shorten(neighbours)}: give a matrix of numbers.") from None
    if W.shape != (len(labels),) * 2:
        raise DesignError(f"The neighbours have the shape {W.shape}, and there are {len(labels)} regions.")
    _check_neighbours(W, np.array_equal(W, W.T), np.diag(W), W.sum(axis=1), labels)
    return labels, W
