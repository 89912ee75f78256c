"""KnownRelation: levels of a grouping factor with the covariance that is known between them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.cholesky.constrained import Constraint
from bayesmm.cholesky.precision import Factored, Precision
from bayesmm.console import listing
from bayesmm.design.reading.dtypes import level_text
from bayesmm.design.related.sparse_relation import SparseRelation, read_sparse_precision
from bayesmm.errors import DesignError

MOST_LEVELS = 5000  # of a dense matrix: beyond, it and its factor take seconds and hundreds of megabytes
ASYMMETRIC = 1e-8  # of the largest entry: what A may differ from A' by rounding, as where it was read from a text
NEGATIVE = 1e-8  # of the largest eigenvalue: what an eigenvalue may be below zero by rounding
INEXACT = 1e-4  # what AA⁻¹ may differ from the identity
NOTHING = 1e-12  # of the largest eigenvalue, below which one is zero
FLAT = 1e-10  # of the largest eigenvalue, below which a direction is held at zero where an inverse is needed
MOST_FLAT = 100  # of such directions: each is two more columns of every solution
ROUNDING = 1e-12  # of the diagonal, below which an entry of an inverse is zero


@dataclass(frozen=True, kw_only=True, eq=False)
class KnownRelation:
    """Levels, and the covariance of their effects but for a factor: b ~ N(0, A ⊗ Σ).

    Attributes
    ----------
    levels : tuple of str
        Labels of the levels (q,); they need not all have rows.
    covariance : array, shape (q, q)
        A, symmetric and positive semi-definite; unitless.
    """

    levels: tuple[str, ...]
    covariance: np.ndarray

    @property
    def relation(self) -> KnownRelation:
        """Itself; a pedigree has one, too."""
        return self

    @cached_property
    def root(self) -> np.ndarray:
        """C (q, q) with CC' = A; lower triangular where A has an inverse."""
        try:
            return np.linalg.cholesky(self.covariance)
        except np.linalg.LinAlgError:
            values, vectors = np.linalg.eigh(self.covariance)
            return vectors * np.sqrt(np.where(values > NOTHING * values[-1], values, 0.0))

    @cached_property
    def precision(self) -> Precision:
        """A⁻¹, without what is zero but for rounding; where A is singular, its pseudoinverse with what is held at zero.

        Raises
        ------
        DesignError
            If A is singular in very many directions.
        """
        constraint = None
        try:
            inverse = np.linalg.inv(np.linalg.cholesky(self.covariance))
            Q = inverse.T @ inverse
            is_exact = np.abs(Q @ self.covariance - np.eye(len(Q))).max() < INEXACT
        except np.linalg.LinAlgError:
            Q, is_exact = self.covariance, False
        if not is_exact:
            Q, constraint = self._invert_singular()
        size = np.sqrt(np.diag(Q))
        rows, columns = np.nonzero(np.tril(np.abs(Q) > ROUNDING * size[:, None] * size))
        return Factored(len(Q), rows, columns, Q[rows, columns], constraint)

    def _invert_singular(self) -> tuple[np.ndarray, Constraint]:
        """Give the pseudoinverse, made definite by entries on its diagonal, and the directions without variance."""
        from scipy import linalg  # where a matrix is singular

        values, vectors = np.linalg.eigh(self.covariance)
        is_zero = values < FLAT * values[-1]
        none = vectors[:, is_zero].T
        if len(none) > MOST_FLAT:
            raise DesignError(
                f"A matrix that relates {len(self.levels):,} levels is singular in {len(none):,} directions, and for "
                f"what its inverse is needed for {MOST_FLAT} may be. Add a little to its diagonal, or give levels that "
                "have one effect one name."
            )
        Q = (vectors[:, ~is_zero] / values[~is_zero]) @ vectors[:, ~is_zero].T
        order: Any = linalg.qr(none, mode="r", pivoting=True)[-1]
        anchors = order[: len(none)]
        added = np.full(len(none), np.trace(Q) / len(Q))
        Q[anchors, anchors] += added
        return Q, Constraint(rows=none, anchors=anchors, added=added)

    @cached_property
    def variances(self) -> np.ndarray:
        """Diagonal of A (q,)."""
        return np.diag(self.covariance)

    @property
    def arrays(self) -> list[np.ndarray]:
        """What tells it from others."""
        return [self.covariance]

    def covariances(self, levels: Any, others: Any) -> np.ndarray:
        """Entries of A between levels and others, by their codes, that are broadcast against each other."""
        return self.covariance[np.asarray(levels), np.asarray(others)]

    def relate(self, effects: np.ndarray) -> np.ndarray:
        """Give independent effects (..., q, k) of all levels the relation that these have."""
        return self.root @ effects

    def unrelate(self, effects: np.ndarray) -> np.ndarray:
        """Give the independent effects (q, k) that `relate` makes these of; where A is singular the least."""
        return np.linalg.lstsq(self.root, effects, rcond=None)[0]

    def __repr__(self) -> str:
        return f"<KnownRelation of {len(self.levels)} levels>"


type AnyRelation = KnownRelation | SparseRelation


def as_sparse(relation: AnyRelation) -> SparseRelation:
    """Take the inverse of a relation that is given as A."""
    if isinstance(relation, SparseRelation):
        return relation
    return SparseRelation(levels=relation.levels, precision=relation.precision)


def dense_relation(relation: AnyRelation) -> KnownRelation:
    """Form A of levels that are related by a sparse A⁻¹.

    Raises
    ------
    DesignError
        If there are more levels than a dense matrix is made for.
    """
    if isinstance(relation, KnownRelation):
        return relation
    check_size(len(relation.levels))
    A = relation.precision.relate(np.eye(len(relation.levels)))
    return KnownRelation(levels=relation.levels, covariance=0.5 * (A + A.T))


def are_alike(one: AnyRelation, other: AnyRelation) -> bool:
    """Whether both relate the same levels alike, dense or sparse."""
    if one.levels != other.levels:
        return False
    if type(one) is type(other):
        return all(np.array_equal(*pair) for pair in zip(one.arrays, other.arrays, strict=True))
    if len(one.levels) > MOST_LEVELS:
        return False
    return np.allclose(dense_relation(one).covariance, dense_relation(other).covariance, rtol=0.0, atol=ASYMMETRIC)


def relation(matrix: Any, levels: Sequence[Any] | None = None, *, precision: bool = False) -> AnyRelation:
    """Say how the levels of a grouping factor are related.

    Parameters
    ----------
    matrix : data frame, array or scipy.sparse matrix, shape (q, q)
        The covariance A of the levels' effects but for their variance: relationships of animals, shared branches of a
        phylogeny, a correlation that falls with distance. A pandas table names its levels itself, in rows and columns.
    levels : sequence, optional
        Labels of the rows, in their order, where `matrix` has none.
    precision : bool
        Whether `matrix` is A⁻¹.

    Returns
    -------
    KnownRelation or SparseRelation
        For ``relations`` of `Model`. The latter of more than 5,000 levels, of which A⁻¹ must be given, as a matrix of
        `scipy.sparse`.

    Raises
    ------
    DesignError
        If it is no covariance matrix: not square, not symmetric, not finite, with a negative eigenvalue, or (as a
        precision) without inverse; or if labels do not fit it or occur twice.

    Notes
    -----
    The standard deviation of a term ``(1 | rel(g, A))`` is that of a level whose variance in A is one. A may be
    singular, as that of clones is.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> A = bmm.relation([[1.0, 0.5], [0.5, 1.0]], levels=["dam", "daughter"])
    >>> A.levels
    ('dam', 'daughter')
    """
    if isinstance(matrix, pd.DataFrame):
        levels = _levels_of_frame(matrix, levels)
        matrix = matrix.to_numpy()
    if not isinstance(precision, bool):
        raise DesignError(f"precision is {shorten(precision)}: give True or False.")
    labels = read_labels(levels, "matrix of relations")
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise DesignError(f"The level {twice!r} occurs twice in the matrix of relations. Name each level once.")
    if hasattr(matrix, "toarray"):
        if precision and len(labels) > MOST_LEVELS:
            return read_sparse_precision(matrix, labels, ASYMMETRIC)
        check_size(max(len(labels), *matrix.shape))
        matrix = matrix.toarray()
    A = _read_matrix(matrix, labels)
    if precision:
        A = _invert(A)
    return KnownRelation(levels=labels, covariance=A)


def read_labels(levels: Any, what: str) -> tuple[str, ...]:
    """Write labels of levels as texts.

    Parameters
    ----------
    levels : sequence
        As they were given.
    what : str
        What they are of, for the error message.

    Raises
    ------
    DesignError
        If there are none, or they are no sequence.
    """
    if levels is None:
        raise DesignError(
            f"The {what} has no labels: give a pandas table whose rows and columns are named by the levels, or a "
            "matrix and levels=[...]."
        )
    if not isinstance(levels, Iterable):
        raise DesignError(f"levels is {shorten(levels)}: give a list of labels, one for each row of the matrix.")
    return tuple(level_text(level) for level in levels)


def read_relations(given: Any) -> dict[str, AnyRelation]:
    """Read ``relations`` of a model.

    Parameters
    ----------
    given : mapping of str to data frame, KnownRelation, SparseRelation or Pedigree; or None
        By the names that ``rel()`` uses.

    Raises
    ------
    DesignError
        If it is no mapping, or a value is none of these.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise DesignError(f"relations is {shorten(given)}: give a mapping, {{'A': A}}, for (1 | rel(animal, A)).")
    found = {}
    for name, value in given.items():
        try:
            found[str(name)] = value.relation if hasattr(value, "relation") else relation(value)
        except DesignError as error:
            raise DesignError(f"relations[{str(name)!r}]: {error}") from None
    return found


def _levels_of_frame(frame: pd.DataFrame, levels: Sequence[Any] | None) -> Sequence[Any]:
    if levels is not None:
        raise DesignError("levels are for a matrix without labels; this table names its rows and columns itself.")
    rows, columns = ([level_text(each) for each in axis] for axis in (frame.index, frame.columns))
    if rows != columns:
        raise DesignError(
            f"The rows of the matrix of relations are {listing(rows, 5)}, its columns {listing(columns, 5)}: both must "
            "be the levels, in the same order. Read a file with its first column as the index, "
            "pd.read_csv(path, index_col=0)."
        )
    return rows


def _read_matrix(matrix: Any, labels: tuple[str, ...]) -> np.ndarray:
    q = len(labels)
    try:
        A = np.array(matrix, dtype=float)
    except (TypeError, ValueError, OverflowError):
        raise DesignError(f"The matrix of relations is {shorten(matrix)}: give numbers.") from None
    if A.shape != (q, q) or q == 0:
        raise DesignError(f"The matrix of relations has the shape {A.shape}, and there are {q} levels: give (q, q).")
    check_size(q)
    if not np.isfinite(A).all():
        i, j = np.argwhere(~np.isfinite(A))[0]
        raise DesignError(f"The relation of {labels[i]!r} and {labels[j]!r} is {A[i, j]}. Give a number for each pair.")
    off = np.abs(A - A.T)
    if off.max() > ASYMMETRIC * np.abs(A).max():
        i, j = np.unravel_index(off.argmax(), off.shape)
        raise DesignError(
            f"The matrix of relations is not symmetric: {labels[i]!r} to {labels[j]!r} is {A[i, j]:g}, and back "
            f"{A[j, i]:g}."
        )
    if np.diag(A).min() <= 0:
        i = int(np.diag(A).argmin())
        raise DesignError(
            f"The variance of {labels[i]!r} in the matrix of relations is {A[i, i]:g}: it must be positive. Leave out "
            "levels that have no effect."
        )
    A = 0.5 * (A + A.T)
    lowest, highest = _ends(A)
    if lowest < -NEGATIVE * highest:
        raise DesignError(
            f"The matrix of relations is no covariance matrix: its eigenvalues go from {lowest:.3g} to {highest:.3g}, "
            "and none may be negative. Estimated relationships may be bent to the nearest one that is."
        )
    return A


def check_size(q: int) -> None:
    """Refuse more levels than a dense matrix is made for."""
    if q > MOST_LEVELS:
        raise DesignError(
            f"{q:,} related levels are more than the {MOST_LEVELS:,} of a dense covariance matrix. Give a pedigree, or "
            "A⁻¹ as a matrix of scipy.sparse, bmm.relation(inverse, levels, precision=True), or leave out levels that "
            "are related to none with data."
        )


def _ends(A: np.ndarray) -> tuple[float, float]:
    """Lowest and highest eigenvalue; the former only where there is no Cholesky factor."""
    try:
        np.linalg.cholesky(A)
    except np.linalg.LinAlgError:
        values = np.linalg.eigvalsh(A)
        return float(values[0]), float(values[-1])
    return 0.0, 1.0


def _invert(Q: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(Q)
    if values[0] <= NOTHING * values[-1]:
        raise DesignError(
            f"The precision of the relations has an eigenvalue of {values[0]:.3g} beside one of {values[-1]:.3g}, so "
            "that it has no inverse. Give the covariance itself; for neighbouring regions see bmm.car()."
        )
    return (vectors / values) @ vectors.T
