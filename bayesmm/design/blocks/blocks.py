"""Random effects as blocks: everything that varies by one grouping factor, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np

from bayesmm.covariance.layout import Piece
from bayesmm.covariance.structure import Structure
from bayesmm.covariance.table import find_structure
from bayesmm.design.blocks.memberships import check_member_weights, member_columns, name_effects, repeat_columns
from bayesmm.design.columns.columns import Columns, distinct_names
from bayesmm.design.columns.strata import columns_of_stratum, find_strata
from bayesmm.design.elsewhere import BlockMoments
from bayesmm.design.reading.frame import UsedRows
from bayesmm.design.reading.levels import read_levels, read_member_levels
from bayesmm.design.related.levels import find_matrix, find_relation, read_related_levels
from bayesmm.design.related.relation import AnyRelation, KnownRelation
from bayesmm.errors import DesignError
from bayesmm.incidence import Incidence, Membership
from bayesmm.specification.terms import Grouping, RandomTerm


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPiece:
    """The columns ``start:stop`` of a block that come from one term; effects of different pieces are independent."""

    term: RandomTerm
    start: int
    stop: int
    structure: Structure
    matrix: KnownRelation | None = None  # that the structure needs

    @property
    def k(self) -> int:
        """Number of its effects."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BlockSources:
    """How the columns of one block are computed for new rows: those of each piece, and the weights of members."""

    columns: tuple[Columns, ...]
    weights: tuple[Columns, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RandomBlock:
    """All random effects of one grouping factor.

    Attributes
    ----------
    group : str
        Name of the grouping factor, ``"Subject"`` or ``"a:b"``.
    grouping : Grouping
        How columns of the data say which levels a row has.
    levels : tuple of str
        Labels of the levels (q,): of those observed, or of all that a known relation has.
    incidence : Incidence
        Which levels each row belongs to, and what their effects are multiplied by.
    effects : tuple of str
        Names of the columns (k,).
    columns : array, shape (n, k)
        Value of each column; `incidence` has them once for each level of a row, times its weight.
    pieces : tuple of BlockPiece
        Which columns come from which term.
    relation : KnownRelation or SparseRelation, optional
        How the levels are related; independent by default.
    moments : BlockMoments, optional
        What the columns are over all rows, where the rows are not in memory.
    """

    group: str
    levels: tuple[str, ...]
    incidence: Incidence
    effects: tuple[str, ...]
    columns: np.ndarray
    grouping: Grouping
    pieces: tuple[BlockPiece, ...]
    relation: AnyRelation | None = None
    moments: BlockMoments | None = None

    @property
    def factors(self) -> tuple[str, ...]:
        """The columns that the levels are made of."""
        return self.grouping.factors

    @property
    def is_whole(self) -> bool:
        """Whether all rows are one level, as for a smooth curve."""
        return not self.grouping.factors

    @property
    def roles(self) -> tuple[list[int], ...]:
        """Effects that multiply the same level of a row: all of them, but of a dyad those of each role."""
        if self.grouping.kind != "roles":
            return (list(range(self.k)),)
        if self.moments is not None:
            return tuple(
                [j for piece in self.pieces for j in self._of_role(piece, r)] for r in range(len(self.factors))
            )
        others = [membership.columns.any(axis=0) for membership in self.incidence.memberships]
        return tuple([j for j in range(self.k) if own[j]] for own in others)

    def _of_role(self, piece: BlockPiece, role: int) -> range:
        n = piece.k // len(self.factors)
        return range(piece.start + role * n, piece.start + (role + 1) * n)

    @property
    def has_touching_levels(self) -> bool:
        """Whether levels depend on each other given all parameters: some row has two of them, or they are related."""
        return self.relation is not None or self.incidence.touches_itself

    @property
    def q(self) -> int:
        """Number of levels."""
        return len(self.levels)

    @property
    def k(self) -> int:
        """Number of effects per level."""
        return len(self.effects)

    @property
    def layout(self) -> tuple[Piece, ...]:
        """Which effects share a covariance matrix, and its structure."""
        return tuple(Piece(piece.start, piece.stop, piece.structure) for piece in self.pieces)

    def relation_of(self, levels: Any, others: Any) -> Any:
        """Relation of levels with others, by their codes: one of a level with itself, zero of independent ones."""
        if self.relation is None:
            return np.where(levels == others, 1.0, 0.0)
        return self.relation.covariances(levels, others)

    def relate(self, effects: np.ndarray) -> np.ndarray:
        """Give independent effects (..., q, k) of all levels the relation that these have."""
        return effects if self.relation is None else self.relation.relate(effects)

    @property
    def means(self) -> np.ndarray:
        """Mean of each column over all rows (k,)."""
        return self.columns.mean(axis=0) if self.moments is None else self.moments.mean

    @property
    def spreads(self) -> np.ndarray:
        """Standard deviation of each column over all rows (k,), divided by their number."""
        return self.columns.std(axis=0) if self.moments is None else np.sqrt(np.diag(self.moments.covariance))

    @property
    def mean_variance(self) -> float:
        """Mean variance of the level of a row, where levels are related."""
        assert self.relation is not None
        if self.moments is not None:
            return self.moments.mean_variance
        return float(self.relation.variances[self.incidence.only.codes].mean())

    def level_squares(self, weights: np.ndarray) -> np.ndarray:
        """Mean of Σ wz² over the rows of a level, (k,), of prior weights (n,)."""
        if self.moments is not None:
            return np.diag(self.moments.weighted) / self.q
        incidence = self.incidence.ordered
        columns, weights = incidence.stacked().columns, incidence.repeat(weights)
        return (weights[:, None] * columns**2).sum(axis=0) / self.q

    def times(self, T: np.ndarray) -> "RandomBlock":
        """Return the block with columns ZT."""
        if self.moments is not None:
            return replace(self, moments=self.moments.times(T))
        return replace(self, columns=self.columns @ T, incidence=self.incidence.times(T))


def build_blocks(
    terms: Sequence[RandomTerm],
    rows: UsedRows,
    built: Mapping[str, Columns],
    weights: Mapping[str, Columns],
    relations: Mapping[str, AnyRelation],
    known_sigma: float | None,
) -> tuple[tuple[RandomBlock, ...], tuple[BlockSources, ...]]:
    """Build one block for each grouping factor, in order of appearance.

    Parameters
    ----------
    terms : sequence of RandomTerm
        The terms of the specification; ``a:b`` and ``b:a`` are the same grouping.
    rows : UsedRows
        Their grouping columns.
    built : mapping of str to Columns
        The columns of each term's expression.
    weights : mapping of str to Columns
        The column of each expression of a member's weight.
    relations : mapping of str to relation
        Of the names that ``rel()`` uses.
    known_sigma : float or None
        Residual standard deviation where it is known.

    Returns
    -------
    blocks : tuple of RandomBlock
    sources : tuple of BlockSources
        How the columns of each are computed for new rows.
    """
    by_group: dict[tuple, list[RandomTerm]] = {}
    for term in terms:
        by_group.setdefault(term.grouping.key, []).append(term)
    blocks, sources = [], []
    groups = [members[0].group for members in by_group.values()]
    for members in by_group.values():
        grouping, group = members[0].grouping, members[0].group
        grouping = replace(grouping, by="") if grouping.by else grouping
        terms, columns = _by_strata(members, built, rows)
        of_block = BlockSources(
            columns=columns,
            weights=tuple(weights[text] for text in grouping.weights),
        )
        if groups.count(group) > 1 and grouping.kind == "combination" and len(grouping.factors) == 1:
            group = f"`{group}`"  # the column `a:b` beside the combination a:b keeps its backquotes
        elif groups.count(group) > 1:
            group = grouping.write()  # members with weights beside the same without
        related = find_relation(grouping, relations) if grouping.relation else None
        matrices = [_matrix_of(term, relations) for term in terms]
        blocks.append(_block(terms, grouping, of_block, rows, group, related, matrices, known_sigma))
        sources.append(of_block)
    return tuple(blocks), tuple(sources)


def _by_strata(
    terms: Sequence[RandomTerm], built: Mapping[str, Columns], rows: UsedRows
) -> tuple[list[RandomTerm], tuple[Columns, ...]]:
    """Make of a term by strata one for each of them, whose columns are zero in the others."""
    found: list[tuple[RandomTerm, Columns]] = []
    for term in terms:
        columns, grouping = built[term.expression], term.grouping
        if not grouping.by:
            found.append((term, columns))
            continue
        levels = read_levels(grouping.factors, [rows.columns[name] for name in grouping.factors], len(rows))
        strata = find_strata(grouping, rows, levels.codes, levels.labels)
        for stratum in strata:
            own = replace(grouping, stratum=stratum)
            found.append((replace(term, grouping=own), columns_of_stratum(columns, own, strata, rows)))
    return [term for term, _ in found], tuple(columns for _, columns in found)


def _block(
    terms: list[RandomTerm],
    grouping: Grouping,
    sources: BlockSources,
    rows: UsedRows,
    group: str,
    related: AnyRelation | None,
    matrices: Sequence[KnownRelation | None],
    known_sigma: float | None,
) -> RandomBlock:
    values = [rows.columns[name] for name in grouping.factors]
    if related is not None:
        codes, labels = [read_related_levels(grouping, values[0], related.levels)], related.levels
    elif not grouping.has_members:
        levels = read_levels(grouping.factors, values, len(rows))
        codes, labels = [levels.codes], levels.labels
    else:
        codes, labels = read_member_levels(grouping.name, values)
    names = effect_names(grouping, sources.columns)
    effects = tuple(name for own in names for name in own)
    _check_distinct(terms, list(map(len, names)), effects)
    parts = [source.fitted(len(rows)) for source in sources.columns]
    weights = [source.raw() for source in sources.weights]
    check_member_weights(grouping, weights, rows.index)
    if grouping.has_members:
        columns, every = repeat_columns(grouping, parts), member_columns(grouping, parts, weights)
    else:
        columns = parts[0] if len(parts) == 1 else np.column_stack(parts)
        every = [columns]
    memberships = tuple(Membership(codes=one, columns=its) for one, its in zip(codes, every, strict=True))
    ends = accumulate(map(len, names))
    return RandomBlock(
        group=group,
        grouping=grouping,
        levels=labels,
        incidence=Incidence(memberships=memberships, n_levels=len(labels)),
        effects=effects,
        columns=columns,
        pieces=tuple(
            BlockPiece(
                term=term,
                start=end - len(own),
                stop=end,
                structure=_structure_of(term, matrix, known_sigma).bound(without_stratum(own, term.grouping), term),
                matrix=matrix,
            )
            for term, own, end, matrix in zip(terms, names, ends, matrices, strict=True)
        ),
        relation=related,
    )


def _matrix_of(term: RandomTerm, relations: Mapping[str, AnyRelation]) -> KnownRelation | None:
    """Return the known matrix that the structure of a term needs."""
    name = find_structure(term.structure).matrix
    if not name:
        return None
    found = find_matrix(name, str(term), relations, "the levels of the factor left of the bar")
    if not isinstance(found, KnownRelation):
        raise DesignError(
            f"{term} needs the matrix {name!r} as a table of all its entries: it was given by its inverse."
        )
    return found


def _structure_of(term: RandomTerm, matrix: KnownRelation | None, known_sigma: float | None) -> Structure:
    structure = find_structure(term.structure).beside(known_sigma, term)
    return structure if matrix is None else structure.given(matrix.levels, matrix.covariance)


def effect_names(grouping: Grouping, sources: Sequence[Columns]) -> list[tuple[str, ...]]:
    """Names of the effects of each term."""
    distinct = iter(distinct_names(sources))
    return [name_effects(grouping, [next(distinct) for _ in source.names]) for source in sources]


def without_stratum(effects: Sequence[str], grouping: Grouping) -> tuple[str, ...]:
    """Name effects as a structure reads them, in whatever stratum they are."""
    return tuple(name.removesuffix(grouping.suffix) for name in effects)


def _check_distinct(terms: list[RandomTerm], widths: Sequence[int], effects: Sequence[str]) -> None:
    """Refuse the same effect twice in one group: the two variances cannot be told apart."""
    if len(set(effects)) == len(effects) and not any(term.grouping.by for term in terms):
        return
    owners = [term for term, width in zip(terms, widths, strict=True) for _ in range(width)]
    whole = {name for term, name in zip(owners, effects, strict=True) if not term.grouping.by}
    first: dict[str, RandomTerm] = {}
    for term, name in zip(owners, effects, strict=True):
        (plain,) = without_stratum([name], term.grouping)
        if term.grouping.by and plain in whole:
            raise DesignError(
                f"The effect {plain!r} varies by {term.group!r} as a whole and by strata, in {term}. The variances "
                "cannot be told apart. Leave it out of one of the terms."
            )
        if name not in first:
            first[name] = term
            continue
        if first[name] is term:
            raise DesignError(
                f"Two effects of {term} are both called {name!r}. Rename the columns or the levels in the data so that "
                "they differ."
            )
        raise DesignError(
            f"The effect {name!r} varies by {term.group!r} in two terms, {first[name]} and {term}. Their variances "
            f"cannot be told apart. Leave it out of one of them; (0 + x | {term.group}) has no intercept."
        )
