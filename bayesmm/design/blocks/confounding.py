"""Variances that cannot be told apart: of effects that differ in nothing but their names, or beyond rounding."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, permutations, product

import numpy as np

from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.related.relation import are_alike
from bayesmm.errors import DesignError
from bayesmm.incidence import Membership, find_parents

FAR_ORIGIN = 1e5  # means in spreads: at 1e4 a log-likelihood is wrong by 3e-7, at 1e6 by 1e-3
ROUNDING = 1e-10  # share of a column that is left when others are taken off, below which nothing is


def check_columns(block: RandomBlock, *, n_rows: int | None = None) -> None:
    """Refuse effects of one grouping factor that are made up of its other effects in every row.

    Parameters
    ----------
    block : RandomBlock
        All of its rows, or some that show what all do.
    n_rows : int, optional
        How many all are.

    Raises
    ------
    DesignError
        If a column is a combination of others with which it shares a covariance matrix, or a multiple of any other:
        part of its variance may then go to them without any change of the likelihood.
    """
    if block.k == 1:
        return
    units, every = _units(block), block.incidence.ordered.stacked().columns
    inside = [(unit[i], unit[:i]) for unit in units for i in range(1, len(unit))]
    across = [(j, [i]) for one, other in combinations(units, 2) for j in other for i in one]
    for j, others in inside + across:
        parts = _combination(every[:, j], every[:, others])
        if parts is None:
            continue
        names = " and ".join(repr(block.effects[others[i]]) for i in parts)
        constant = f" It is {every[0, j]:g} in every row." if np.ptp(every[:, j]) == 0 else ""
        raise DesignError(
            f"The column {block.effects[j]!r} among the random effects of {block.group!r} is made up of {names} in all "
            f"{n_rows or block.incidence.n} rows used, so that their variances cannot be told apart.{constant} Leave "
            f"{block.effects[j]!r} out of the random effects."
        )


def find_confounded(
    blocks: Sequence[RandomBlock], n_pairs: Mapping[tuple[int, int], int] | None = None
) -> tuple[str, ...]:
    """Find grouping factors that divide the rows alike and have effects in common.

    Parameters
    ----------
    blocks : sequence of RandomBlock
        Of one design.
    n_pairs : mapping of (int, int) to int, optional
        How many pairs of levels of two blocks share a row, where the blocks have only some of the rows.

    Returns
    -------
    tuple of str
        A sentence for each pair: the likelihood is the same however they share the variance.
    """
    sentences = []
    for (f, first), (g, second) in combinations(enumerate(blocks), 2):
        found = None if n_pairs is None else n_pairs.get((f, g), n_pairs.get((g, f)))
        if found is not None and found > max(first.q, second.q) and first.incidence.is_single:
            continue  # rows that are not here divide otherwise
        if first.q != second.q and _has_own_levels(first) and _has_own_levels(second):
            continue
        for one, two in product(_faces(first), _faces(second)):
            alike = _divide_alike(one, two) and are_related_alike(first, second)
            common = _in_common(first, one, second, two) if alike else set()
            if common:
                names = " and ".join(
                    name for name in dict.fromkeys((*first.effects, *second.effects)) if name in common
                )
                n_groups = len(np.unique(one.codes))
                sentences.append(
                    f"{first.group} and {second.group} divide the rows into the same {n_groups} groups: only what the "
                    f"variances of {names} add up to is determined, how the two share it is arbitrary. Drop one of "
                    "them."
                )
                break
    return tuple(sentences)


def _has_own_levels(block: RandomBlock) -> bool:
    """Whether every row has one level, and every level a row."""
    return block.incidence.is_single and block.relation is None


def _faces(block: RandomBlock) -> Iterator[Membership]:
    """Ways to see the levels of the rows: all of each row, and those of each role alone."""
    yield block.incidence.ordered.stacked()
    if len(block.roles) > 1:
        yield from block.incidence.memberships


def _in_common(first: RandomBlock, one: Membership, second: RandomBlock, two: Membership) -> set[str]:
    """Effects of two blocks that others of the other block make up, where their levels are seen in these ways."""
    found = set()
    for (own, face), (other, its_face) in permutations(((first, one), (second, two))):
        seen = face.columns.any(axis=0)
        for unit in ([j for j in unit if seen[j]] for unit in _units(own)):
            for j in range(other.k):
                if unit and _combination(its_face.columns[:, j], face.columns[:, unit]) is not None:
                    found.add(other.effects[j])
    return found


def find_far_origins(blocks: Sequence[RandomBlock]) -> tuple[str, ...]:
    """Find covariates of uncorrelated effects that are so far from zero that the likelihood loses digits.

    Parameters
    ----------
    blocks : sequence of RandomBlock
        Of one design.

    Returns
    -------
    tuple of str
        A sentence for each: their squares fill double precision, and beside other effects of the level no shift of the
        column takes that away without changing the model.
    """
    sentences = []
    for block in blocks:
        spreads, means = block.spreads, block.means
        for piece in block.pieces:
            if piece.structure.invariance == "linear" or block.k == 1:
                continue
            for j in range(piece.start, piece.stop):
                spread, mean = float(spreads[j]), float(means[j])
                if spread > 0 and abs(mean) > FAR_ORIGIN * spread:
                    sentences.append(
                        f"{block.effects[j]} in {piece.term} is {abs(mean) / spread:.0e} times further from zero than "
                        "it varies: the log-likelihood and the standard deviations of that term lose digits. Centre it."
                    )
    return tuple(sentences)


def _divide_alike(one: Membership, two: Membership) -> bool:
    if len(one.codes) != len(two.codes):
        return False
    both = ((one.codes, two.codes), (two.codes, one.codes))
    return all(find_parents(inner, outer, int(inner.max()) + 1) is not None for inner, outer in both)


def are_related_alike(first: RandomBlock, second: RandomBlock) -> bool:
    """Whether levels of both are independent, or related by the same matrix."""
    if first.relation is None or second.relation is None:
        return first.relation is second.relation
    return are_alike(first.relation, second.relation)


def _units(block: RandomBlock) -> list[list[int]]:
    """Columns that share a covariance matrix; independent ones with their own standard deviations are each alone."""
    units = []
    for piece in block.pieces:
        columns = list(range(piece.start, piece.stop))
        is_apart = piece.structure.correlations == "none" and piece.structure.n_sds(piece.k) == piece.k
        units += [[j] for j in columns] if is_apart else [columns]
    return units


def _combination(column: np.ndarray, others: np.ndarray) -> list[int] | None:
    """Which other columns (n, k) make up a column (n,), or None if they do not."""
    norms = np.sqrt((others**2).sum(axis=0))
    norm = np.sqrt(column @ column)
    if norm == 0 or not norms.all():
        return None
    scaled, target = others / norms, column / norm
    if scaled.shape[1] == 1:
        only = scaled[:, 0]
        left = target - only * (only @ target)
    else:
        Q = np.linalg.qr(scaled)[0]
        left = target - Q @ (Q.T @ target)
    if np.sqrt(left @ left) > ROUNDING:
        return None
    weights = np.linalg.lstsq(scaled, target, rcond=None)[0]
    return [i for i, weight in enumerate(weights) if abs(weight) > 1e-8]
