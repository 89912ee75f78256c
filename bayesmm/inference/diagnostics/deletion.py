"""What a fit's fixed effects would be without some of its rows, at its variances: exact, and without a refit.

For rows g with D = (Ṽ⁻¹)_gg, U = (Ṽ⁻¹X)_g, e = (Py)_g and T = P_gg = D − UA⁻¹U', all of which one elimination gives,

    β̂ − β̂_(g) = A⁻¹U'T⁻¹e,    Var β̂_(g) = σ²(A⁻¹ + A⁻¹U'T⁻¹UA⁻¹),    r² − r²_(g) = e'T⁻¹e.

To leave rows out is to give each of them a coefficient of its own (Cook & Weisberg 1982, section 2.2), which in a mixed
model takes V in the place of σ²I (Christensen, Pearson & Johnson 1992, Technometrics 34; Demidenko 2013, Mixed Models,
section 4). Groups of many rows are turned (QR) to as many as they have columns first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy import linalg, sparse

from bayesmm.errors import ArgumentError
from bayesmm.inference.diagnostics.row_view import RowView
from bayesmm.marginal.residual.through_rows import AT_ONCE, Eliminated

GONE = 1e-9  # share of T that is nothing: without these rows a coefficient is not determined
MOST_NUMBERS = 50_000_000  # in C between all effects and those of the other factors: 400 MB
TOGETHER = 128  # columns taken through the elimination at a time: with more their products leave the cache
MOST_ROWS = 3000  # of one group after turning: a dense matrix of their square


class Deleted(NamedTuple):
    """All groups with rows, on the conditioned columns; NaN for those without which a coefficient is not determined.

    Attributes
    ----------
    change : array, shape (G, p)
        β̂ − β̂_(g).
    variance : array, shape (G, p, p)
        Var β̂_(g) / σ².
    explained : array, shape (G,)
        e'T⁻¹e: what r² loses with the rows.
    leverage : array, shape (G,)
        Sum of the rows' leverages.
    size : array, shape (G,)
        Number of rows.
    """

    change: np.ndarray
    variance: np.ndarray
    explained: np.ndarray
    leverage: np.ndarray
    size: np.ndarray


def delete_rows(rows: RowView) -> Deleted:
    """Leave out each row by itself."""
    T = np.where(rows.left > GONE * rows.own, rows.left, np.nan)
    change, variance, explained = _delete_singly(rows.solved[:, :-1], T, rows.residual, rows.at.covariance)
    return Deleted(change, variance, explained, rows.leverage, np.ones(len(T), dtype=int))


def _delete_singly(
    u: np.ndarray, T: np.ndarray, e: np.ndarray, covariance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Leave out rows one by one, as they are: change, variance and what is explained of each."""
    v = u @ covariance
    return v * (e / T)[:, None], covariance + v[:, :, None] * (v / T[:, None])[:, None], e**2 / T


def delete_groups(
    at: Eliminated, groups: Sequence[np.ndarray], factor: int | None, counts: np.ndarray | None = None
) -> Deleted:
    """Leave out each group of rows; rows whose residuals hang together are in one.

    Parameters
    ----------
    at : Eliminated
        The fit.
    groups : sequence of int arrays
        Rows of each, where they are not levels of a factor.
    factor : int or None
        Of which grouping factor they are the levels that have rows.
    counts : array, shape (n,), optional
        Rows that each row stands for, where few have the sums of all.

    Raises
    ------
    ArgumentError
        If a group has too many levels of other factors.
    """
    groups = groups if factor is None else at.rows.incidences[factor].members()
    p, n_groups = at.p, len(groups)
    found = Deleted(
        change=np.full((n_groups, p), np.nan),
        variance=np.full((n_groups, p, p), np.nan),
        explained=np.full(n_groups, np.nan),
        leverage=np.array([(1.0 - at.left[rows]).sum() for rows in groups]),
        size=np.array([len(rows) if counts is None else round(counts[rows].sum()) for rows in groups], dtype=int),
    )
    single = np.flatnonzero([len(rows) == 1 for rows in groups])
    if len(single):
        own = np.concatenate([groups[g] for g in single.tolist()])
        T = np.where(at.left[own] > GONE, at.left[own], np.nan)
        of_rows = _delete_singly(at.solved[own, :-1], T, at.residual[own], at.covariance)
        found.change[single], found.variance[single], found.explained[single] = of_rows
        groups = [rows if len(rows) > 1 else rows[:0] for rows in groups]
    Z = sparse.hstack(at.columns, format="csr") if at.columns else sparse.csr_array((len(at.rows.fixed), 0))
    for turned, D in _solve_levels(at, Z, groups, factor):
        V = turned.solved[:, :-1] @ at.covariance
        T = D - V @ turned.solved[:, :-1].T
        e = turned.solved[:, -1] - turned.solved[:, :-1] @ at.beta
        half = _inverse_root(0.5 * (T + T.T))
        if half is None:
            continue
        rooted, score = half @ V, half @ e
        g = turned.group
        found.change[g] = rooted.T @ score
        found.variance[g] = at.covariance + rooted.T @ rooted
        found.explained[g] = score @ score + turned.rest
    return Deleted(*(each[found.size > 0] for each in found))  # related levels may have no rows


def _inverse_root(T: np.ndarray) -> np.ndarray | None:
    """Return L⁻¹ with LL' = T; None where T has an eigenvalue of nothing."""
    try:
        half = linalg.solve_triangular(np.linalg.cholesky(T), np.eye(len(T)), lower=True)
    except np.linalg.LinAlgError:
        return None
    if (half * half).sum() * GONE < 1.0:  # 1/‖L⁻¹‖² is below every eigenvalue
        return half
    return half if not len(T) or np.linalg.eigvalsh(T)[0] > GONE else None


def columns_needed(at: Eliminated, groups: Sequence[np.ndarray], factor: int | None) -> float:
    """Count, at most, the columns that leaving groups of rows out takes through the elimination."""
    others = np.inf if factor is None else _columns_of_others(at, factor)
    return min(_columns_of_rows(at, groups), others) if at.columns else 0


def _columns_of_rows(at: Eliminated, groups: Sequence[np.ndarray]) -> int:
    """Count one column a row, which groups in independent parts of the data share."""
    needed: dict[int, int] = defaultdict(int)
    for rows in groups:
        if len(rows):
            needed[int(at.components[rows[0]])] += len(rows)
    return max(needed.values(), default=0)


def _columns_of_others(at: Eliminated, factor: int) -> float:
    """Count one column for each effect of the other factors; too many where rows have several levels of this one."""
    n = sum(Z.shape[1] for f, Z in enumerate(at.columns) if f != factor)
    total = n + at.columns[factor].shape[1]
    several = len(at.rows.incidences[factor].memberships) > 1
    return np.inf if several or n * total > MOST_NUMBERS else n


def _solve_levels(
    at: Eliminated, Z: Any, groups: Sequence[np.ndarray], factor: int | None
) -> Iterator[tuple[_Turned, np.ndarray]]:
    """D of each group, in the way that takes fewer columns through the elimination."""
    if not at.columns:
        for group, rows in enumerate(groups):
            if len(rows):
                turned = _turn(at, Z[rows], group, rows)
                yield turned, np.eye(turned.Q.shape[1])
    elif not any(map(len, groups)):
        return
    elif factor is not None and _columns_of_others(at, factor) < _columns_of_rows(at, groups):
        yield from _solve_by_others(at, Z, groups, factor)
    else:
        for batch in _batches(at, Z, groups):
            yield from _solve(at, Z, batch)


def _solve_by_others(
    at: Eliminated, Z: Any, groups: Sequence[np.ndarray], factor: int
) -> Iterator[tuple[_Turned, np.ndarray]]:
    """D from C between a level, whose own block is known, and all effects of the other factors."""
    sizes = [each.shape[1] for each in at.columns]
    start, m = sum(sizes[:factor]), sum(sizes)
    others = np.concatenate([np.arange(start), np.arange(start + sizes[factor], m)])
    place = np.full(m, -1)
    place[others] = np.arange(len(others))
    C = np.empty((m, len(others)))
    step = max(AT_ONCE // m, 1)
    for first in range(0, len(others), step):
        some = others[first : first + step]
        C[:, first : first + step] = _solve_columns(
            at, sparse.csr_array((np.ones(len(some)), (some, np.arange(len(some)))), shape=(m, len(some)))
        )
    own, q = at.own_covariances[factor], at.rows.incidences[factor].n_levels
    for level, rows in enumerate(groups):
        if not len(rows):
            continue
        own_columns = Z[rows]
        touched, columns = _touched(own_columns)
        turned = _turn(at, own_columns, level, rows)
        among = place[touched]
        left = turned.Q.T @ columns
        to_others = C[np.ix_(touched, among[among >= 0])]
        block = np.empty((len(touched), len(touched)))
        block[:, among >= 0] = to_others
        block[np.ix_(among >= 0, among < 0)] = to_others[among < 0].T
        effects = (touched[among < 0] - start) // q
        block[np.ix_(among < 0, among < 0)] = own[np.ix_(effects, effects, [level])][:, :, 0]
        D = np.eye(len(left)) - left @ block @ left.T
        yield turned, 0.5 * (D + D.T)


def _touched(columns: Any) -> tuple[np.ndarray, np.ndarray]:
    """Which columns have entries, and these columns dense."""
    touched, position = np.unique(columns.indices, return_inverse=True)
    dense = np.zeros((columns.shape[0], len(touched)))
    np.add.at(dense, (np.repeat(np.arange(len(dense)), np.diff(columns.indptr)), position), columns.data)
    return touched, dense


def _solve_columns(at: Eliminated, cross: Any) -> np.ndarray:
    """C times columns (m, c) of all effects, sparse."""
    some = [cross[:, first : first + TOGETHER] for first in range(0, cross.shape[1], TOGETHER)]
    return np.hstack([_solve_some(at, each) for each in some]) if some else np.zeros(cross.shape)


def _solve_some(at: Eliminated, cross: Any) -> np.ndarray:
    width, parts, start = cross.shape[1], [], 0
    for incidence in at.rows.incidences:
        k, q = incidence.k, incidence.n_levels
        parts.append(cross[start : start + k * q].toarray().reshape(k, q, width).swapaxes(1, 2).copy())
        start += k * q
    return np.concatenate([b.swapaxes(1, 2).reshape(-1, width) for b in at.solve_levels(parts)])


class _Turned(NamedTuple):
    """The rows of one group, turned: Q (n_g, r), Q'Ṽ⁻¹[X y], and the square of Py that Q does not reach."""

    group: int
    rows: np.ndarray
    Q: np.ndarray
    solved: np.ndarray
    rest: float
    part: int


def _turn(at: Eliminated, own: Any, group: int, rows: np.ndarray) -> _Turned:
    """Reduce rows, whose effects' columns are given, to as many as they have columns."""
    part = int(at.components[rows[0]])
    if len(rows) <= at.p + sum(incidence.k for incidence in at.rows.incidences):
        return _Turned(group, rows, np.eye(len(rows)), at.solved[rows], 0.0, part)
    touched, columns = _touched(own)
    if len(touched) + at.p >= len(rows):
        turned = _Turned(group, rows, np.eye(len(rows)), at.solved[rows], 0.0, part)
    else:
        Q = np.linalg.qr(np.hstack([columns, at.rows.fixed[rows, :-1]]))[0]
        rest = float(at.residual[rows] @ at.residual[rows] - ((Q.T @ at.residual[rows]) ** 2).sum())
        turned = _Turned(group, rows, Q, Q.T @ at.solved[rows], max(rest, 0.0), part)
    if turned.Q.shape[1] > MOST_ROWS:
        raise ArgumentError(
            f"A level with {len(rows):,} rows has {len(touched):,} random effects in them; leaving it out takes a "
            f"dense matrix of {turned.Q.shape[1]:,} rows, and {MOST_ROWS:,} are the most. Leave out rows, or levels of "
            "another factor."
        )
    return turned


def _batches(at: Eliminated, Z: Any, groups: Sequence[np.ndarray]) -> Iterator[list[tuple[_Turned, int]]]:
    """Put groups together, each with its first column; those of independent parts share columns."""
    width = max(AT_ONCE // Z.shape[1], 1)
    batches: dict[int, list[tuple[_Turned, int]]] = defaultdict(list)
    at_end: dict[int, tuple[int, int]] = {}  # by part: its last batch, and its next column there
    for group, rows in enumerate(groups):
        if not len(rows):
            continue
        turned = _turn(at, Z[rows], group, rows)
        batch, column = at_end.get(turned.part, (0, 0))
        if column and column + turned.Q.shape[1] > width:
            batch, column = batch + 1, 0
        batches[batch].append((turned, column))
        at_end[turned.part] = batch, column + turned.Q.shape[1]
    yield from batches.values()


def _solve(at: Eliminated, Z: Any, batch: list[tuple[_Turned, int]]) -> Iterator[tuple[_Turned, np.ndarray]]:
    """D of each group of a batch."""
    width = max(column + turned.Q.shape[1] for turned, column in batch)
    effects = _solve_columns(at, Z.T @ _side_by_side(batch, width, len(at.rows.fixed)))
    for some in _chunks(batch, max(AT_ONCE // width, 1)):
        taken = Z[np.concatenate([turned.rows for turned, _ in some])] @ effects  # (rows, width)
        ends = np.cumsum([len(turned.rows) for turned, _ in some])
        for (turned, column), own in zip(some, np.split(taken, ends[:-1]), strict=True):
            r = turned.Q.shape[1]
            D = np.eye(r) - turned.Q.T @ own[:, column : column + r]
            yield turned, 0.5 * (D + D.T)


def _side_by_side(batch: list[tuple[_Turned, int]], width: int, n: int) -> Any:
    """All Q of a batch as one sparse matrix (n, width)."""
    values = np.concatenate([turned.Q.ravel() for turned, _ in batch])
    rows = np.concatenate([np.repeat(turned.rows, turned.Q.shape[1]) for turned, _ in batch])
    columns = np.concatenate([np.tile(np.arange(c, c + t.Q.shape[1]), len(t.rows)) for t, c in batch])
    return sparse.csr_array((values, (rows, columns)), shape=(n, width))


def _chunks(batch: list[tuple[_Turned, int]], most: int) -> Iterator[list[tuple[_Turned, int]]]:
    """Cut a batch into groups of no more rows together than `most`, one group at least."""
    some, n = [], 0
    for turned, column in batch:
        if some and n + len(turned.rows) > most:
            yield some
            some, n = [], 0
        some.append((turned, column))
        n += len(turned.rows)
    yield some
