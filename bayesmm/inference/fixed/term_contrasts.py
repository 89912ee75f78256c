"""The hypotheses that each term of the fixed part stands for: contrasts of types I, II and III."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from math import prod
from typing import Literal, NamedTuple

import numpy as np

from bayesmm.design.columns.terms import TermPart
from bayesmm.design.design import Design

type Type = Literal[1, 2, 3]

INDEPENDENT = 1e-9  # part of a column, scaled to length one, that counts as its own


class TermContrasts(NamedTuple):
    """What is tested of one term.

    Attributes
    ----------
    name : str
        As it is written in the formula.
    L : array, shape (r, p)
        Combinations of the coefficients that are estimated; all are zero if the term has no effect.
    n_lost : int
        How many of the term's hypotheses the data cannot tell, for columns are combinations of others.
    """

    name: str
    L: np.ndarray
    n_lost: int


def term_contrasts(design: Design, type: Type) -> list[TermContrasts]:
    """Work out what is tested of each term but the intercept.

    Parameters
    ----------
    design : Design
        Whose fixed part.
    type : {1, 2, 3}
        I: each term after those before it. II: after all that do not contain it. III: its effects averaged over the
        levels of the factors with which it interacts, at zero of numeric columns with which it does.

    Returns
    -------
    list of TermContrasts

    Notes
    -----
    A term contains another if it has the same numeric columns and more factors (SAS). Types I and II come from
    X'X, as in lmerTest: rows of a triangular root of X'X with the terms in that order. Type III depends on no coding:
    at the level l of a factor the coefficients of column j count C[l, j], and the effect of a term is what differs
    between levels of its factors in the mean of all other factors' levels. A factor that stands for the constant too,
    as in ``0 + f``, is tested for all its levels, not for their differences.

    References
    ----------
    Goodnight (1980), Commun. Stat. A9. Searle (1971), Linear Models.
    """
    terms = [_Term(parts, columns) for parts, columns in _columns_of_terms(design)]
    tested = [term for term in terms if term.parts]
    root = np.linalg.qr(design.fixed_rows, mode="r")
    found = []
    for term in tested:
        if type == 3:
            L = _averaged(terms, term, len(design.coefficients))
        elif type == 2:
            L = _beyond(root, [each for each in terms if each is not term and not each.contains(term)], term)
        else:
            L = _beyond(root, terms[: terms.index(term)], term)
        found.append(_estimable(design, root, term, L))
    return found


class _Term:
    """A term with its columns of X."""

    def __init__(self, parts: tuple[TermPart, ...], columns: slice) -> None:
        self.parts, self.columns = parts, columns
        self.numbers = frozenset(part.name for part in parts if part.coding is None)
        self.factors = {part.name: part.coding for part in parts if part.coding is not None}

    @property
    def name(self) -> str:
        return ":".join(part.name for part in self.parts)

    def contains(self, other: _Term) -> bool:
        """Whether it is an interaction of the other with more factors."""
        return self.numbers == other.numbers and self.factors.keys() > other.factors.keys()


def _columns_of_terms(design: Design) -> list[tuple[tuple[TermPart, ...], slice]]:
    anatomy = design.sources.fixed.anatomy
    ends = accumulate((prod(part.width for part in parts) for parts in anatomy), initial=0)
    return [(parts, slice(*ends)) for parts, ends in zip(anatomy, pairwise(ends), strict=True)]


def _beyond(root: np.ndarray, before: Sequence[_Term], term: _Term) -> np.ndarray:
    """Find what the term's columns have beyond those of other terms, as combinations of all coefficients."""
    own = root[:, term.columns]
    scale = _lengths(own)
    if before:
        other = np.concatenate([root[:, each.columns] for each in before], axis=1)
        other = other / _lengths(other)
        basis, values, _ = np.linalg.svd(other, full_matrices=False)
        basis = basis[:, values > INDEPENDENT * values.max()]
        own = own - basis @ (basis.T @ own)
    basis, heights = np.linalg.qr(own)
    heights = np.diag(heights)
    kept = np.abs(heights) > INDEPENDENT * scale
    return basis[:, kept].T @ root / heights[kept, None]


def _lengths(columns: np.ndarray) -> np.ndarray:
    """Lengths of columns, one for those of zeros: a cell that is empty has such."""
    lengths = np.linalg.norm(columns, axis=0)
    return np.where(lengths > 0.0, lengths, 1.0)


def _averaged(terms: Sequence[_Term], term: _Term, p: int) -> np.ndarray:
    """Differences between levels of the term's factors, of the coefficients in the mean of other factors' levels."""
    width = prod(part.width for part in term.parts if part.coding is None)
    differences = {name: _differences(coding) for name, coding in term.factors.items()}
    n_rows = prod(len(D) for D in differences.values())
    L = np.zeros((width * n_rows, p))
    for other in terms:
        if other.numbers != term.numbers:
            continue
        effects = []
        for part in other.parts:
            if part.coding is None:
                effects.append(None)
            elif part.name in differences:
                effects.append(differences[part.name] @ part.coding)
            else:
                effects.append(part.coding.mean(axis=0, keepdims=True))
        missing = {name: D.sum(axis=1) for name, D in differences.items() if name not in other.factors}
        if any(not sums.any() for sums in missing.values()):
            continue  # a difference of what is the same at all levels
        L[:, other.columns] += _arrange(term, other, effects, missing, width)
    return L


def _arrange(
    term: _Term,
    other: _Term,
    effects: Sequence[np.ndarray | None],
    missing: dict[str, np.ndarray],
    width: int,
) -> np.ndarray:
    """Multiply the parts out: rows by the term's numeric columns and factors, columns as those of the other term."""
    numbers = [part.name for part in term.parts if part.coding is None]
    letters = iter("abcdefghijklmnopqrstuvwxyz")
    row = {name: next(letters) for name in [*numbers, *term.factors]}
    operands, subscripts, columns = [], [], ""
    for part, effect in zip(other.parts, effects, strict=True):
        column = next(letters)
        columns += column
        if effect is None:
            operands.append(np.eye(part.width))
            subscripts.append(row[part.name] + column)
        elif part.name in row:
            operands.append(effect)
            subscripts.append(row[part.name] + column)
        else:
            operands.append(effect[0])
            subscripts.append(column)
    for name, sums in missing.items():
        operands.append(sums)
        subscripts.append(row[name])
    if not operands:
        return np.ones((1, 1))
    found = np.einsum(f"{','.join(subscripts)}->{''.join(row.values())}{columns}", *operands, optimize=True)
    return found.reshape(-1, prod(part.width for part in other.parts))


def _differences(coding: np.ndarray) -> np.ndarray:
    """Contrasts between levels; all levels where the coding has the constant in it."""
    levels = len(coding)
    if np.linalg.matrix_rank(coding) == levels:
        return np.eye(levels)
    return np.eye(levels)[1:] - np.eye(levels)[:1]


def _estimable(design: Design, root: np.ndarray, term: _Term, L: np.ndarray) -> TermContrasts:
    """Keep the combinations of L's rows that are the same for all coefficients with the same fitted values."""
    if design.aliased and len(L):
        scale = _lengths(root)
        *_, vectors = np.linalg.svd(root / scale)
        none = vectors[len(design.kept) :].T / scale[:, None]  # combinations of coefficients that do nothing
        outside = L @ none
        left, sizes, _ = np.linalg.svd(outside)
        rank = int((sizes > INDEPENDENT * max(1.0, float(np.abs(L).max()))).sum())
        kept = left[:, rank:].T @ L
        return TermContrasts(term.name, kept[:, design.kept], len(L) - len(kept))
    lost = prod(part.width for part in term.parts) - len(L) if design.aliased else 0
    return TermContrasts(term.name, L[:, design.kept], lost)
