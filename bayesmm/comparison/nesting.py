"""Whether one model is a special case of another, as far as their columns and covariance structures tell."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bayesmm.covariance.layout import block_diagonal, piece_factor
from bayesmm.covariance.residual import Correlation, PairProducts
from bayesmm.covariance.structure import lower_triangular
from bayesmm.covariance.tangents import piece_derivatives
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.blocks.confounding import are_related_alike
from bayesmm.design.design import Design

OUTSIDE = 1e-8  # part of a column's norm outside the span of others, from which on it is not in it
DIFFERENT = 1e-6  # of the largest variance: what covariances may differ by rounding
SINGULAR = 1e-9  # share of the largest eigenvalue below which there is no variance
SPREAD = 0.4  # of θ about Λ = I in covariances that are drawn
OPEN = 1e-5  # of the largest singular value of ∂Σ, below which a combination of parameters is not determined
TRIED = 3  # covariances of the smaller model that must be in the larger one


class Nesting(NamedTuple):
    """What is known of a smaller and a larger model.

    Attributes
    ----------
    fixed : bool
        Whether the fixed effects of the smaller one are combinations of those of the larger.
    random : bool
        Whether every covariance of its random effects, and of its residuals, was seen to be one of the larger model's.
    residual : bool
        Whether that is so of the residuals.
    on_boundary : tuple of str
        Grouping factors in which some effects of the larger model have no variance in the smaller one.
    undetermined : tuple of str
        Grouping factors in which the smaller model leaves loadings of the larger one open.
    """

    fixed: bool
    random: bool
    residual: bool
    on_boundary: tuple[str, ...]
    undetermined: tuple[str, ...] = ()


def examine(small: Design, large: Design) -> Nesting:
    """Look whether a model is a special case of another.

    Parameters
    ----------
    small, large : Design
        On the same rows.

    Notes
    -----
    Random effects are compared grouping factor by grouping factor: covariances of the smaller model, some drawn at
    random, are carried over to the columns of the larger one, and must have its structure. A model that is nested in
    another way, across grouping factors, is not seen to be.
    """
    fixed = is_in_span(small.X[:, small.kept], large.X[:, large.kept])
    random, on_boundary, undetermined = True, [], []
    of_small = {block.group: block for block in small.blocks}
    matched = set()
    for block in large.blocks:
        other = next((name for name, own in of_small.items() if _same_levels(own, block)), None)
        if other is None:
            on_boundary.append(block.group)
            continue
        matched.add(other)
        carried = _carry(of_small[other], block)
        if carried is None or not all(_has_structure(block, covariance) for covariance in carried):
            random = False
        elif min(_least_share(block, covariance) for covariance in carried) < SINGULAR:
            on_boundary.append(block.group)
        elif not all(_determines_loadings(block, covariance) for covariance in carried):
            undetermined.append(block.group)
    same_sigma = large.known_sigma is None or large.known_sigma == small.known_sigma
    residual = _has_residual(small, large)
    random = random and same_sigma and residual and matched == set(of_small)
    return Nesting(
        fixed=fixed,
        random=random,
        residual=residual,
        on_boundary=tuple(on_boundary),
        undetermined=tuple(undetermined),
    )


def _has_residual(small: Design, large: Design) -> bool:
    """Whether the covariance of the smaller model's residuals is one of the larger model's, as far as is known.

    Logarithms of standard deviations are linear in columns. Without correlations all structures meet. Fitted values,
    each model's own, count as one covariate.
    """
    one, other = small.without_fitted().residual, large.without_fitted().residual
    if one is None or other is None:
        return one is None
    constant = np.ones((len(other.columns), 1))
    mine, theirs = (each.columns[:, each.columns.any(axis=0)] for each in (one, other))
    if not is_in_span(mine, np.hstack([constant, theirs])):
        return False
    if not {kind for _, kind in one.growth.terms} <= {kind for _, kind in other.growth.terms}:
        return False
    if one.correlation is None or other.correlation is None:
        return one.correlation is None
    if not _is_one_to_one(one.codes, other.codes)[0]:
        return False
    part_of_one, part = one.correlation.part_of(one.positions), other.correlation.part_of(other.positions)
    for own in (part == level for level in np.unique(part)):  # parameters of its own in the larger model
        is_same, at = _is_one_to_one(one.positions[own], other.positions[own])
        if not is_same or len(np.unique(part_of_one[own])) > 1:
            return False
        if not _has_correlation(one.correlation, other.correlation, one.positions[own][at], other.positions[own][at]):
            return False
    return True


def _is_one_to_one(one: np.ndarray, other: np.ndarray) -> tuple[bool, np.ndarray]:
    """Whether two columns tell the same rows apart, and an example of each."""
    both, at = np.unique(np.stack([one, other], 1), axis=0, return_index=True)
    return all(len(np.unique(own)) == len(both) for own in both.T), at


def _has_correlation(small: Correlation, large: Correlation, of_small: np.ndarray, of_large: np.ndarray) -> bool:
    """Whether correlation matrices of one structure, some drawn at random, are what the other makes of their entries.

    Parameters
    ----------
    small, large : Correlation
        The structures.
    of_small, of_large : arrays, shape (o,)
        Positions of the same rows in both.
    """
    rng = np.random.default_rng(0)
    i, j = np.triu_indices(len(of_small), 1)
    for sign in np.resize([1.0, -1.0], TRIED):  # some structures have no correlations below zero
        C = small.matrix(np, small.public(np, sign * rng.uniform(0.1, SPREAD, len(small.names))), of_small)
        z = large.start(PairProducts(of_large[i], of_large[j], C[i, j]))
        if np.abs(large.matrix(np, large.public(np, z), of_large) - C).max() > DIFFERENT:
            return False
    return True


def is_in_span(columns: np.ndarray, of: np.ndarray) -> bool:
    """Whether columns (n, p) are combinations of others (n, r)."""
    if not columns.shape[1]:
        return True
    if not of.shape[1]:
        return False
    basis = np.linalg.qr(of / np.linalg.norm(of, axis=0))[0]
    unit = columns / np.linalg.norm(columns, axis=0)
    rest = unit - basis @ (basis.T @ unit)
    rest -= basis @ (basis.T @ rest)
    return bool((np.linalg.norm(rest, axis=0) < OUTSIDE).all())


def _same_levels(first: RandomBlock, second: RandomBlock) -> bool:
    """Whether the rows have the same levels, whatever these are called."""
    if first.relation is not None or second.relation is not None:
        return are_related_alike(first, second)
    memberships = first.incidence.memberships, second.incidence.memberships
    if first.q != second.q or len(memberships[0]) != len(memberships[1]):
        return False
    pairs = np.unique(
        np.concatenate([np.stack([a.codes, b.codes], 1) for a, b in zip(*memberships, strict=True)]), axis=0
    )
    return len(pairs) == first.q


def _carry(small: RandomBlock, large: RandomBlock) -> list[np.ndarray] | None:
    """Covariances of the smaller block on the columns of the larger one; None where its columns are not among them."""
    columns, others = (block.incidence.stacked().columns for block in (small, large))
    if not is_in_span(columns, others):
        return None
    size = np.linalg.norm(others, axis=0)
    T = np.linalg.lstsq(others / size, columns, rcond=None)[0] / size[:, None]  # Z_small = Z_large T
    T[np.abs(T) < OUTSIDE * np.abs(T).max(axis=0)] = 0.0
    rng, together = np.random.default_rng(0), _meet(large)
    return [T @ _draw(small, rng) @ T.T * together for _ in range(TRIED)]


def _meet(block: RandomBlock) -> np.ndarray:
    """Which effects (k, k) some level has both of; others, of different strata, have no covariance that is seen."""
    membership = block.incidence.stacked()
    reached = np.stack([np.bincount(membership.codes, own != 0.0, block.q) > 0 for own in membership.columns.T], 1)
    return (reached.T.astype(float) @ reached) > 0.0


def _draw(block: RandomBlock, rng: np.random.Generator) -> np.ndarray:
    """Draw a covariance matrix that a block may have, with effects of about the same weight."""
    pieces = block.layout
    sizes = np.linalg.norm(block.incidence.stacked().columns, axis=0)
    factors = []
    for piece in pieces:
        theta = piece.structure.start(piece.k) + rng.uniform(-SPREAD, SPREAD, piece.n_theta)
        own = sizes[piece.inside]
        scale = {"scale": np.full(piece.k, own.mean()), "none": np.ones(piece.k)}.get(piece.structure.invariance, own)
        factors.append(piece_factor(np, theta, piece) / scale[:, None])
    L = block_diagonal(np, factors, pieces)
    return L @ L.T


def _has_structure(block: RandomBlock, covariance: np.ndarray) -> bool:
    """Whether a covariance matrix is that of its own standard deviations and correlations in the block's structure."""
    sizes = np.linalg.norm(block.incidence.stacked().columns, axis=0)
    own = [piece.structure.with_structure(covariance[piece.inside, piece.inside]) for piece in block.layout]
    again = block_diagonal(np, own, block.layout)
    scaled = covariance * np.outer(sizes, sizes)
    is_alike = np.abs(scaled - again * np.outer(sizes, sizes)).max() < DIFFERENT * np.abs(scaled).max()
    n_null = block.k - _rank(block)
    return bool(is_alike and (np.linalg.eigvalsh(scaled)[:n_null] < DIFFERENT * np.abs(scaled).max()).all())


def _determines_loadings(block: RandomBlock, covariance: np.ndarray) -> bool:
    """Whether the parameters of terms with factors are determined at a covariance matrix, as they are in general."""
    for piece in block.layout:
        root = lower_triangular(np.linalg.cholesky(covariance[piece.inside, piece.inside]))
        if piece.structure.loadings(root) is None or not piece.structure.has_inverse:
            continue
        ranks = []
        for theta in (piece.structure.nearest(root), piece.structure.generic(piece.k)):
            L, first = piece_factor(np, theta, piece), piece_derivatives(np, theta, piece)[0][..., : piece.k]
            half = first @ L.T
            slopes = (half + half.swapaxes(1, 2)).reshape(len(theta), -1)
            sizes = np.linalg.svd(slopes, compute_uv=False)
            ranks.append((sizes > OPEN * sizes[0]).sum())
        if ranks[0] < ranks[1]:
            return False
    return True


def _least_share(block: RandomBlock, covariance: np.ndarray) -> float:
    """Smallest eigenvalue that the block may have over the largest, of columns of unit norm."""
    sizes = np.linalg.norm(block.incidence.stacked().columns, axis=0)
    values = np.linalg.eigvalsh(covariance * np.outer(sizes, sizes))
    return float(values[block.k - _rank(block)] / values[-1])


def _rank(block: RandomBlock) -> int:
    return sum(piece.structure.rank(piece.k) for piece in block.layout)
