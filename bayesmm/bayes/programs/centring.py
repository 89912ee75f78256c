"""What centred random effects are centred around: coefficients of the same columns, and effects of an outer level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayesmm.bayes.programs.parameterisation import Parameterisation, degree_of
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.incidence import Incidence, find_parents


@dataclass(frozen=True, slots=True, kw_only=True)
class Centring:
    """Means of the centred random effects, and what they leave of the linear predictor.

    Attributes
    ----------
    order : tuple of int
        Grouping factors from few levels to many, so that outer ones come first.
    parents : tuple of int or None
        For each grouping factor the one that it is nested in and centred around.
    parent_codes : tuple of array of int, shape (q,)
        Level of the parent of each level; zeros where there is none.
    links : tuple of array, shape (k, k of the parent)
        Effects that are means from those of the parent; shape (k, 0) where there is none. On the columns as labelled,
        one where an effect is centred around its parent's.
    means : tuple of array, shape (k, p)
        Effects that are means from coefficients. On the columns as labelled, one where an effect is centred around a
        coefficient.
    X : array, shape (n, p)
        Fixed-effect columns, zero where the coefficient is such a mean.
    incidences : tuple of Incidence
        Levels and effect columns, on the columns as labelled zero where the effect is the mean of an inner one.
    """

    order: tuple[int, ...]
    parents: tuple[int | None, ...]
    parent_codes: tuple[np.ndarray, ...]
    links: tuple[np.ndarray, ...]
    means: tuple[np.ndarray, ...]
    X: np.ndarray
    incidences: tuple[Incidence, ...]


def centre_effects(
    X: np.ndarray,
    blocks: Sequence[RandomBlock],
    parameterisations: Sequence[Parameterisation],
    *,
    contrasts: Sequence[np.ndarray] | None = None,
) -> Centring:
    """Find for every centred effect what it is centred around.

    Parameters
    ----------
    X : array, shape (n, p)
        Fixed-effect columns.
    blocks : sequence of RandomBlock
        Grouping factors.
    parameterisations : sequence of {"centred", "noncentred"} or degrees in [0, 1]
        By grouping factor; those that are not centred at all are centred around nothing.
    contrasts : sequence of array, shape (k, k), optional
        T: the effects are sampled as Tb; as labelled by default.

    Returns
    -------
    Centring

    Notes
    -----
    With strong data it is the sum of an intercept, a batch's effect and a cask's effect that is known, not its parts.
    The intercept of each cask, around that of its batch, around the intercept, has no such ridge (Gelfand, Sahu &
    Carlin 1995, Biometrika 82).
    """
    X, columns = X.copy(), [block.incidence.total.copy() for block in blocks]
    order = tuple(sorted(range(len(blocks)), key=lambda f: blocks[f].q))
    parents: list[int | None] = [None] * len(blocks)
    codes = [np.zeros(block.q, dtype=int) for block in blocks]
    links = [np.zeros((block.k, 0)) for block in blocks]
    means = [np.zeros((block.k, X.shape[1])) for block in blocks]
    for position, f in enumerate(order):
        if degree_of(parameterisations[f]) == 0.0:
            continue
        for g in reversed(order[:position]):
            parent = _nesting(blocks[f], blocks[g])
            if parent is not None:
                parents[f], codes[f], links[f] = g, parent, _take_over(blocks[f].incidence.total, columns[g])
                break
        means[f] = _take_over(blocks[f].incidence.total, X)
    contrasts = contrasts or [np.eye(block.k) for block in blocks]
    inverses = [np.linalg.inv(T) for T in contrasts]
    for f, parent in enumerate(parents):
        links[f] = contrasts[f] @ links[f] if parent is None else contrasts[f] @ links[f] @ inverses[parent]
    return Centring(
        order=order,
        parents=tuple(parents),
        parent_codes=tuple(codes),
        links=tuple(links),
        means=tuple(T @ mean for T, mean in zip(contrasts, means, strict=True)),
        X=X,
        incidences=tuple(
            block.incidence.times(np.where(_taken(block, own), 0.0, np.eye(block.k)) @ back)
            for block, own, back in zip(blocks, columns, inverses, strict=True)
        ),
    )


def _taken(block: RandomBlock, left: np.ndarray) -> np.ndarray:
    """Which effects of a block are means of inner ones, (k,), by what is left of their columns."""
    return block.incidence.total.any(axis=0) & ~left.any(axis=0)


def _nesting(inner: RandomBlock, outer: RandomBlock) -> np.ndarray | None:
    """Give the outer level of each inner one, if there is exactly one."""
    if len(inner.incidence.memberships) > 1 or len(outer.incidence.memberships) > 1:
        return None
    return find_parents(inner.incidence.only.codes, outer.incidence.only.codes, inner.q)


def _take_over(inner: np.ndarray, outer: np.ndarray) -> np.ndarray:
    """Match equal columns, one to one, and set those of the outer array to zero."""
    matched = np.zeros((inner.shape[1], outer.shape[1]))
    for i in range(inner.shape[1]):
        for j in range(outer.shape[1]):
            if outer[:, j].any() and np.array_equal(inner[:, i], outer[:, j]):
                matched[i, j] = 1.0
                outer[:, j] = 0.0
                break
    return matched
