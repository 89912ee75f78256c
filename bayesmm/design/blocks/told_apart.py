"""Whether random effects can be told from the residuals: by rank, not by their number.

With rows weighted so that the residuals' covariance matrix is σ²I, a small change of the parameters of the random
effects changes that of the response by Σ_j c_j A_j, A_j = Z(I ⊗ E_j)Z', with E_j the derivatives of the covariance
matrix of a level's effects. Where some combination of the A_j is the identity, that much of σ² can go to the effects
without any change of the likelihood; where none is, it cannot. REML sees the rows only as far as the fixed effects
leave them, N = I − QQ': there NA_jN and N take the places of A_j and I. All inner products are read off Z'WZ and Z'WX.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bayesmm.covariance.layout import Piece, piece_factor
from bayesmm.design.blocks.blocks import BlockPiece, RandomBlock
from bayesmm.design.related.relation import KnownRelation
from bayesmm.design.related.sparse_relation import SparseRelation

ALIKE = 1e-12  # share of the identity that the A_j leave, below which it is rounding
PART = 1e-6  # of a term in the combination, below which it has none
DEPENDENT = 1e-10  # share of a column that others leave, below which they make it up
TINY = 1e-30  # a complex step
SOME = 300  # rows of related levels that are looked at first
MORE = 1500  # rows that are looked at last where the relation is sparse


def find_indistinct(
    blocks: Sequence[RandomBlock], weights: np.ndarray, X: np.ndarray | None = None
) -> list[BlockPiece]:
    """Find the terms that together can take over a part of the residual variance.

    Parameters
    ----------
    blocks : sequence of RandomBlock
        All random effects.
    weights : array, shape (n,)
        Prior weights.
    X : array, shape (n, p), optional
        Columns of full rank that the rows are free of, as REML sees them.

    Returns
    -------
    list of BlockPiece
        None where the residual variance is determined.

    References
    ----------
    Rao & Kleffe (1988), Estimation of Variance Components and Applications, chapter 4: a variance is identified if its
    matrix is no combination of the others. Demidenko (2013), Mixed Models, section 3.2.
    """
    # what some rows tell apart, all rows do; relations make full matrices
    related = [block.relation for block in blocks if block.relation is not None]
    if any(isinstance(relation, SparseRelation) for relation in related):
        in_samples: list[BlockPiece] = []
        for some in _samples(len(weights)):
            in_samples = _find_in(some, blocks, weights, X)
            if not in_samples:
                break
        return in_samples
    p = 0 if X is None else X.shape[1]
    n = len(weights)
    if sum(block.q * block.k for block in blocks) + p < n:  # too few to make up a matrix of full rank
        return []
    if related and n > SOME and not _find_in(_spaced(n, SOME), blocks, weights, X):
        return []
    from scipy import sparse  # seldom needed, and 50 ms to import

    root = np.sqrt(weights)
    Z: Any = sparse.hstack([_columns(block, root) for block in blocks], format="csr")
    C = np.zeros((Z.shape[1], 0)) if X is None else Z.T @ np.linalg.qr(X * root[:, None])[0]
    return indistinct_of(blocks, (Z.T @ Z).tocsr(), C, n)


def indistinct_of(blocks: Sequence[RandomBlock], G: Any, C: np.ndarray, n: int) -> list[BlockPiece]:
    """Find them in sums over the rows.

    Parameters
    ----------
    blocks : sequence of RandomBlock
        All random effects.
    G : sparse array, shape (m, m)
        Z'WZ, factor after factor, within one the first effect of all levels first.
    C : array, shape (m, p)
        Z'WQ, for an orthonormal basis Q of the columns that the rows are free of.
    n : int
        Rows.
    """
    owners, moves = zip(*_moves(blocks), strict=True)
    p = C.shape[1]
    moved, taken = [K @ G for K in moves], [K @ C for K in moves]  # K G and K C, with K = I ⊗ E
    small = [C.T @ F for F in taken]
    gram = np.array(
        [
            [
                A.multiply(B.T).sum() - 2.0 * (E * (G @ F)).sum() + (c * d.T).sum()
                for B, F, d in zip(moved, taken, small, strict=True)
            ]
            for A, E, c in zip(moved, taken, small, strict=True)
        ]
    )
    towards = np.array([A.trace() - np.trace(c) for A, c in zip(moved, small, strict=True)])
    scale = np.sqrt(np.maximum(np.diag(gram), np.finfo(float).tiny))
    parts = np.linalg.lstsq(gram / scale / scale[:, None], towards / scale, rcond=ALIKE)[0]
    if n - p - parts @ (towards / scale) > ALIKE * n:
        return []
    found = dict.fromkeys(
        id(owner) for owner, part in zip(owners, parts, strict=True) if abs(part) > PART * np.abs(parts).max()
    )
    return [piece for block in blocks for piece in block.pieces if id(piece) in found]


def _spaced(n: int, size: int) -> np.ndarray:
    return np.linspace(0, n - 1, min(n, size)).astype(int)


def _samples(n: int) -> list[np.ndarray]:
    """Rows to be looked at where all would be too many: spread out, side by side as relatives often are, and more."""
    return [_spaced(n, SOME), np.arange(min(n, SOME)), _spaced(n, MORE)]


def _find_in(
    rows: np.ndarray, blocks: Sequence[RandomBlock], weights: np.ndarray, X: np.ndarray | None
) -> list[BlockPiece]:
    """Find in some rows what cannot be told apart there."""
    part = [_on_rows(block, rows) for block in blocks]
    return find_indistinct(part, weights[rows], None if X is None else _independent(X[rows]))


def _on_rows(block: RandomBlock, rows: np.ndarray) -> RandomBlock:
    """Return the block in some rows, of related levels those that have some."""
    incidence = block.incidence.rows(rows)
    if block.relation is None:
        return replace(block, incidence=incidence)
    present = incidence.levels_present()
    levels = tuple(block.levels[level] for level in present)
    place = np.full(block.q, -1)
    place[present] = np.arange(len(present))
    relation = KnownRelation(levels=levels, covariance=block.relation.covariances(*np.ix_(present, present)))
    incidence = replace(incidence.map(lambda codes: place[codes]), n_levels=len(present))
    return replace(block, incidence=incidence, levels=levels, relation=relation)


def _independent(X: np.ndarray) -> np.ndarray:
    """Columns with the span of these (n, p) that are independent in these rows."""
    left, values, _ = np.linalg.svd(X, full_matrices=False)
    return left[:, values > DEPENDENT * values.max(initial=0.0)]


def find_crowded(blocks: Sequence[RandomBlock], n_rows: int) -> list[tuple[BlockPiece, str]]:
    """Find terms with as many random effects as rows, by lme4's count, and how many they are in words.

    Effects that are uncorrelated by ``||`` count as terms of their own; so do those of one correlation. Related levels
    do not count: relatives tell their effects from residuals.
    """
    return [
        (piece, f"{n_effects} random effects ({words}) for {n_rows} rows")
        for block in blocks
        for piece in block.pieces
        for n_effects, words in [_count(block, piece)]
        if n_effects >= n_rows and block.relation is None
    ]


def _count(block: RandomBlock, piece: BlockPiece) -> tuple[int, str]:
    k = piece.structure.rank(piece.k) if piece.structure.correlations in ("matrix", "rank") else 1
    n_effects = block.q * k
    if block.grouping.kind == "roles" or piece.term.grouping.by:  # not everybody has every role
        reached = block.incidence.n_reached()[piece.start : piece.stop]
        n_effects = int(reached.sum() if k > 1 else reached.max())
    return n_effects, f"{block.q} levels" + (f" × {k} effects" if k > 1 else "")


def _columns(block: RandomBlock, root: np.ndarray) -> Any:
    """Z of one factor times the roots of the weights, (n, kq), on columns that are nearly of one size."""
    from scipy import sparse

    incidence = block.incidence.ordered
    every = incidence.stacked().columns * incidence.repeat(root)[:, None]
    T = np.zeros((block.k, block.k))
    for piece in block.layout:
        T[piece.inside, piece.inside] = _conditioning(piece, every[:, piece.inside])
    n, k, q = incidence.n, incidence.k, incidence.n_levels
    rows = np.repeat(np.arange(n), k)
    parts = [
        ((m.columns @ T * root[:, None]).ravel(), rows, (m.codes[:, None] + q * np.arange(k)).ravel())
        for m in incidence.memberships
    ]
    values, own, where = (np.concatenate(part) for part in zip(*parts, strict=True))
    Z = sparse.csr_array((values, (own, where)), shape=(n, k * q))
    if block.relation is None:
        return Z
    assert isinstance(block.relation, KnownRelation)  # _on_rows has made it so
    return sparse.hstack([Z[:, j * q : (j + 1) * q] @ sparse.csr_array(block.relation.root) for j in range(k)], "csr")


def _conditioning(piece: Piece, columns: np.ndarray) -> np.ndarray:
    """Return a change of columns (k, k) that the structure allows, and that leaves them tame."""
    norms = np.sqrt((columns**2).sum(axis=0))
    norms = np.where(norms > 0, norms, 1.0)
    if piece.structure.invariance == "scale":
        return np.eye(piece.k) / np.sqrt((norms**2).mean())
    if piece.structure.invariance == "linear" and len(columns) >= piece.k:
        R = np.linalg.qr(columns / norms, mode="r")
        if np.abs(np.diag(R)).min() > DEPENDENT:
            return np.linalg.inv(R) / norms[:, None]
    return np.diag(1.0 / norms)


def _moves(blocks: Sequence[RandomBlock]) -> Iterator[tuple[BlockPiece, Any]]:
    """I ⊗ E_j among all effects, for each parameter of each term, at covariance matrices that are nothing special."""
    from scipy import sparse

    sizes = [block.q * block.k for block in blocks]
    for f, block in enumerate(blocks):
        before, after = sum(sizes[:f]), sum(sizes[f + 1 :])
        for piece, own in zip(block.pieces, block.layout, strict=True):
            for E in _derivatives(own):
                wide = np.zeros((block.k, block.k))
                wide[own.inside, own.inside] = E
                parts = [sparse.csr_array((before, before)), sparse.kron(wide, sparse.eye_array(block.q))]
                yield piece, sparse.block_diag([*parts, sparse.csr_array((after, after))], format="csr")


def _derivatives(piece: Piece) -> list[np.ndarray]:
    """∂ΛΛ'/∂θ_j (k, k), by complex steps."""
    theta = piece.structure.generic(piece.k)
    found = []
    for e in np.eye(len(theta)):
        L = piece_factor(np, theta + 1j * TINY * e, piece)
        found.append(np.imag(L @ L.T) / TINY)
    return found
