"""Few rows that have the sums of all: the rows of each combination of levels, turned to as many as they have columns.

What leaves levels out, or asks for sums of one level, sees nothing of rows but products of their columns within such a
combination. Residuals of a fit stand for the responses while products are summed, so that levels that lie far apart
lose no digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.design.design import Design
from bayesmm.design.rows.sources import needed_columns
from bayesmm.errors import RowsError
from bayesmm.incidence import Incidence, Membership
from bayesmm.marginal.sums.totals import ChunkRows
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.rows.by_rows import Seen, check_same
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.source import Scan
from bayesmm.rows.summing import Evaluation, Summed

MOST_NUMBERS = 40_000_000  # held of all combinations: 320 MB
MOST_KEYS = 2**62
NOTHING = 1e-14  # of an eigenvalue of scaled products, relative to their greatest: what rounding leaves
AT_ONCE = 2**16  # combinations whose products are taken apart at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Condensed:
    """Some rows as they are, and few of weight one that have the sums of all others, in each combination of levels.

    Attributes
    ----------
    design : Design
        The model, of these rows.
    counts : array, shape (m,)
        Rows that each of them stands for; of all in a combination together it is their number.
    log_weights : array, shape (m,)
        Their share in the sum of the logarithms of the weights.
    n_sampled : int
        How many, the first ones, are as they are; they have their position among the rows read as their label.
    """

    design: Design
    counts: np.ndarray
    log_weights: np.ndarray
    n_sampled: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Columns:
    """What products are summed of: columns that are nearly orthonormal, and residuals.

    Attributes
    ----------
    kept : array of int, shape (p,)
        Columns of X that are estimated.
    fixed_root : array, shape (p, p)
        R: the user's columns are those here times R.
    effect_roots : tuple of arrays, shapes (k, k)
        T, of each factor likewise.
    beta : array, shape (p,)
        What residuals are taken from.
    effects : tuple of arrays, shapes (q, k)
        And random effects.
    n_members : tuple of int
        Levels of each factor that a row may have.
    """

    kept: np.ndarray
    fixed_root: np.ndarray
    effect_roots: tuple[np.ndarray, ...]
    beta: np.ndarray
    effects: tuple[np.ndarray, ...]
    n_members: tuple[int, ...]

    @property
    def width(self) -> int:
        """Number of columns, with the residual."""
        each = zip(self.n_members, self.effect_roots, strict=True)
        return sum(m * len(T) for m, T in each) + len(self.kept) + 1

    @property
    def sizes(self) -> list[int]:
        """Number of levels of each membership."""
        return [len(b) for b, m in zip(self.effects, self.n_members, strict=True) for _ in range(m)]

    def of(self, rows: ChunkRows) -> tuple[np.ndarray, np.ndarray]:
        """Return the combination (n,) of each row, as a number, and weighted columns (c, n)."""
        X, parts, keys = rows.fixed[self.kept], [], np.zeros(len(rows.y), np.int64)
        residual = rows.y - self.beta @ X
        for incidence, T, b, m in zip(rows.incidences, self.effect_roots, self.effects, self.n_members, strict=True):
            for membership in _members(incidence.ordered, m):
                keys = keys * len(b) + membership.codes
                parts.append(np.linalg.solve(T.T, membership.columns.T))
                residual -= (membership.columns * b[membership.codes]).sum(axis=1)
        parts.append(np.linalg.solve(self.fixed_root.T, X) if len(X) else X)
        columns = np.concatenate([*parts, residual[None]])
        return keys, columns * np.sqrt(rows.weights) if rows.has_weights else columns

    def levels(self, keys: np.ndarray) -> list[np.ndarray]:
        """Return the levels (n,) of each membership."""
        found = []
        for size in reversed(self.sizes):
            keys, codes = np.divmod(keys, size)
            found.append(codes)
        return found[::-1]


def _members(incidence: Incidence, m: int) -> list[Membership]:
    """Memberships of ordered rows, as many as rows elsewhere may have: those that add nothing repeat the last."""
    last = incidence.memberships[-1]
    nothing = Membership(codes=last.codes, columns=np.zeros_like(last.columns))
    return [*incidence.memberships, *[nothing] * (m - len(incidence.memberships))]


def sample_places(summed: Summed, n: int, seed: int) -> np.ndarray:
    """Draw about n rows: positions among all, ascending, of which those that are not complete will be left out."""
    found = summed.found
    size = min(found.n_read, round(n * found.n_read / found.n))
    return np.sort(np.random.default_rng(seed).choice(found.n_read, size, replace=False))


def condense(
    summed: Summed,
    source: Scan,
    beta: np.ndarray,
    effects: Sequence[np.ndarray],
    bar: Bar = SILENT,
    sampled: np.ndarray | None = None,
) -> Condensed:
    """Put few rows in the place of those that a model was made of, in one pass over these.

    Parameters
    ----------
    summed : Summed
        The model.
    source : Scan
        Where its rows are.
    beta : array, shape (p,)
        Coefficients near which the responses are.
    effects : sequence of arrays, shapes (q, k)
        Random effects likewise.
    bar : Bar
        What is told how many rows were read.
    sampled : array of int, optional
        Positions, ascending, of rows that stay as they are.

    Raises
    ------
    RowsError
        If the rows are not those of the model, or have too many combinations of levels.
    """
    declared, products, blocks = summed.declared, summed.products, summed.design.blocks
    needed = needed_columns(declared.specification, declared.weights, source.columns, declared.names)
    columns = Columns(
        kept=summed.design.kept,
        fixed_root=np.asarray(products.fixed_root),
        effect_roots=tuple(map(np.asarray, products.effect_roots)),
        beta=beta,
        effects=tuple(effects),
        n_members=tuple(len(block.incidence.memberships) for block in blocks),
    )
    _check_keys(columns, [block.group for block in blocks])
    evaluation = Evaluation(declared, summed.found, needed, source.texts)
    whole = _Condensing(evaluation=evaluation, columns=columns, sampled=sampled)
    # of a cluster's parts the position of a row is not known: this process reads the rows itself
    found = source.fold(whole, bar) if sampled is None else Scan.fold(source, whole, bar)
    check_same(summed, source, found.seen)
    return _rows_of(found, columns, summed.design)


def _check_keys(columns: Columns, groups: Sequence[str]) -> None:
    if np.prod([float(size) for size in columns.sizes]) > MOST_KEYS:
        raise RowsError(
            f"There are more combinations of levels of {', '.join(groups)} than can be numbered. Read a part of the "
            "rows into a data frame, and fit that."
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Condensing:
    """The pass that sums products within combinations of levels."""

    evaluation: Evaluation
    columns: Columns
    sampled: np.ndarray | None = None
    rows: int | None = None
    text: str = "sums of levels"

    @property
    def names(self) -> Sequence[str]:
        return self.evaluation.names

    def begin(self) -> _Cells:
        return _Cells(self.columns.width)

    def add(self, so_far: _Cells, chunk: Chunk) -> None:
        complete, rows = self.evaluation.read_rows(chunk)
        if rows is None:
            return
        so_far.seen.add(rows)
        keys, columns = self.columns.of(rows)
        logs, own = np.log(rows.weights), self._sampled(chunk)
        if len(own):
            is_own = np.zeros(len(complete), bool)
            is_own[own - chunk.first] = True
            is_own = is_own[complete]
            places = chunk.first + np.flatnonzero(complete)
            if is_own.any():
                so_far.sampled.append((places[is_own], rows.rows(is_own)))
            keys, columns, logs = keys[~is_own], columns[:, ~is_own], logs[~is_own]
        if len(keys):
            so_far.add(keys, columns, logs)

    def _sampled(self, chunk: Chunk) -> np.ndarray:
        if self.sampled is None:
            return np.zeros(0, np.int64)
        ends = np.searchsorted(self.sampled, [chunk.first, chunk.first + chunk.table.num_rows])
        return self.sampled[slice(*ends)]


class _Cells:
    """Products within combinations of levels, with the number of rows and the sum of the logarithms of weights."""

    def __init__(self, width: int) -> None:
        self.seen = Seen()
        self.sampled: list[tuple[np.ndarray, ChunkRows]] = []
        self._lower = np.tril_indices(width)
        self._parts: list[tuple[np.ndarray, np.ndarray]] = []
        self._settled = 0

    def add(self, keys: np.ndarray, columns: np.ndarray, log_weights: np.ndarray) -> None:
        """Add rows with combinations (n,) and columns (c, n)."""
        found, position = np.unique(keys, return_inverse=True)
        position = position.reshape(-1)

        def total(values: np.ndarray | None) -> np.ndarray:
            return np.bincount(position, weights=values, minlength=len(found))

        products = [total(columns[i] * columns[j]) for i, j in zip(*self._lower, strict=True)]
        self._wait(found, np.stack([*products, total(None), total(log_weights)]))

    def packed(self) -> tuple[Seen, list[tuple[np.ndarray, ChunkRows]], np.ndarray, np.ndarray]:
        """Return all of it."""
        return self.seen, self.sampled, *self.read()

    def merge(self, other: tuple[Seen, list[tuple[np.ndarray, ChunkRows]], np.ndarray, np.ndarray]) -> None:
        """Add what other rows have."""
        seen, sampled, keys, sums = other
        self.seen.merge(seen)
        self.sampled += sampled
        self._wait(keys, sums)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the sorted combinations (P,), and their sums (s, P)."""
        if not self._parts:
            return np.zeros(0, np.int64), np.zeros((len(self._lower[0]) + 2, 0))
        if len(self._parts) > 1:
            keys, position = np.unique(np.concatenate([keys for keys, _ in self._parts]), return_inverse=True)
            parts = np.concatenate([sums for _, sums in self._parts], axis=1)
            weighed = [np.bincount(position.reshape(-1), weights=own, minlength=len(keys)) for own in parts]
            self._parts = [(keys, np.stack(weighed))]
        self._settled = self._parts[0][1].size
        return self._parts[0]

    def _wait(self, keys: np.ndarray, sums: np.ndarray) -> None:
        self._parts.append((keys, sums))
        if sum(sums.size for _, sums in self._parts) > max(2 * self._settled, MOST_NUMBERS // 8):
            self.read()
            if self._settled > MOST_NUMBERS:
                raise RowsError(
                    f"The rows have {len(self._parts[0][0]):,} combinations of levels, and of each {len(sums)} numbers "
                    f"would be held, together more than {MOST_NUMBERS:,}. Fit a model with fewer grouping factors, or "
                    "one of a part of the rows in a data frame."
                )


def _rows_of(cells: _Cells, columns: Columns, design: Design) -> Condensed:
    """Take the products of each combination apart into rows, after those that stay as they are."""
    keys, sums = cells.read()
    parts = [_roots(sums[:-2, start : start + AT_ONCE], columns.width) for start in range(0, len(keys), AT_ONCE)]
    of_cell = np.concatenate([np.zeros(0, np.int64), *(i * AT_ONCE + cell for i, (cell, _) in enumerate(parts))])
    found = np.concatenate([np.zeros((0, columns.width)), *(rows for _, rows in parts)])
    n, share = len(of_cell), 1.0 / np.bincount(of_cell, minlength=len(keys))
    levels, blocks, at = iter(columns.levels(keys[of_cell])), [], 0
    own = sorted(cells.sampled, key=lambda each: each[0][0])
    X = np.zeros((n, len(design.coefficients)))
    X[:, columns.kept] = found[:, -1 - len(columns.kept) : -1] @ columns.fixed_root
    y = found[:, -1] + X[:, columns.kept] @ columns.beta
    each = enumerate(zip(design.blocks, columns.effect_roots, columns.effects, columns.n_members, strict=True))
    for f, (block, T, b, m) in each:
        memberships = []
        for side in range(m):
            codes, Z = next(levels), found[:, at : at + len(T)] @ T
            at += len(T)
            y += (Z * b[codes]).sum(axis=1)
            as_they_are = [rows.incidences[f].memberships[side] for _, rows in own]
            memberships.append(
                Membership(
                    codes=np.concatenate([*(each.codes for each in as_they_are), codes]),
                    columns=np.concatenate([*(each.columns for each in as_they_are), Z]),
                )
            )
        incidence = Incidence(memberships=tuple(memberships), n_levels=block.q)
        blocks.append(replace(block, incidence=incidence, columns=incidence.total, moments=None))
    places = np.concatenate([np.zeros(0, np.int64), *(places for places, _ in own)])
    ones, weights = np.ones(n), np.concatenate([np.zeros(0), *(rows.weights for _, rows in own)])
    return Condensed(
        design=replace(
            design,
            y=np.concatenate([*(rows.y + rows.offset for _, rows in own), y]),
            offset=np.concatenate([*(rows.offset for _, rows in own), 0.0 * ones]),
            weights=np.append(weights, ones),
            X=np.concatenate([*(rows.fixed.T for _, rows in own), X]),
            blocks=tuple(blocks),
            rows=pd.Index(np.append(places, np.arange(-n, 0))),
            elsewhere=None,
        ),
        counts=np.append(np.ones(len(places)), (sums[-2] * share)[of_cell]),
        log_weights=np.append(np.log(weights), (sums[-1] * share)[of_cell]),
        n_sampled=len(places),
    )


def _roots(lower: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows (m, c) with the products (s, P) of each combination, and which combination (m,) each is of."""
    gram = np.zeros((lower.shape[1], width, width))
    i, j = np.tril_indices(width)
    gram[:, i, j] = gram[:, j, i] = lower.T
    size = np.sqrt(np.einsum("pii->pi", gram))
    scale = np.where(size > 0, size, 1.0)
    values, vectors = np.linalg.eigh(gram / (scale[:, :, None] * scale[:, None, :]))
    is_some = values > NOTHING * values[:, -1:]
    is_some[:, -1] = True
    cell, which = np.nonzero(is_some)
    rows: Any = vectors[cell, :, which] * np.sqrt(np.maximum(values[cell, which], 0.0))[:, None]
    return cell, rows * scale[cell]
