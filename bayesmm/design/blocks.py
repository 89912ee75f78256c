"""Random effects as blocks: everything that varies by one grouping factor, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from bayesmm.covariance.layout import Piece
from bayesmm.covariance.structure import Structure
from bayesmm.covariance.table import STRUCTURES
from bayesmm.design.columns import Columns, distinct_names
from bayesmm.design.levels import read_levels
from bayesmm.errors import DesignError
from bayesmm.incidence import Incidence
from bayesmm.specification.terms import RandomTerm


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockPiece:
    """The columns ``start:stop`` of a block that come from one term; effects of different pieces are independent."""

    term: RandomTerm
    start: int
    stop: int

    @property
    def structure(self) -> Structure:
        """How its effects covary."""
        return STRUCTURES[self.term.structure]

    @property
    def k(self) -> int:
        """Number of its effects."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RandomBlock:
    """All random effects of one grouping factor.

    Attributes
    ----------
    group : str
        Name of the grouping factor, ``"Subject"`` or ``"a:b"``.
    factors : tuple of str
        The columns whose combinations are the levels.
    levels : tuple of str
        Labels of the observed levels (q,).
    incidence : Incidence
        Which levels each row belongs to, and what their effects are multiplied by.
    effects : tuple of str
        Names of the columns (k,).
    columns : array, shape (n, k)
        Value of each column; `incidence` has them once for each level of a row, times its weight.
    pieces : tuple of BlockPiece
        Which columns come from which term.
    """

    group: str
    factors: tuple[str, ...]
    levels: tuple[str, ...]
    incidence: Incidence
    effects: tuple[str, ...]
    columns: np.ndarray
    pieces: tuple[BlockPiece, ...]

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

    def times(self, T: np.ndarray) -> "RandomBlock":
        """Return the block with columns ZT."""
        return replace(self, columns=self.columns @ T, incidence=self.incidence.times(T))


def build_blocks(
    terms: Sequence[RandomTerm], frame: pd.DataFrame, built: Mapping[str, Columns]
) -> tuple[tuple[RandomBlock, ...], tuple[tuple[Columns, ...], ...]]:
    """Build one block for each grouping factor, in order of appearance.

    Parameters
    ----------
    terms : sequence of RandomTerm
        The terms of the specification; ``a:b`` and ``b:a`` are the same grouping.
    frame : pandas.DataFrame
        The rows used.
    built : mapping of str to Columns
        The columns of each term's expression.

    Returns
    -------
    blocks : tuple of RandomBlock
    sources : tuple of tuple of Columns
        For each block and piece, how its columns are computed for new rows.
    """
    by_group: dict[frozenset[str], list[RandomTerm]] = {}
    for term in terms:
        by_group.setdefault(frozenset(term.factors), []).append(term)
    blocks, sources = [], []
    groups = [members[0].group for members in by_group.values()]
    for members in by_group.values():
        of_block = tuple(built[term.expression] for term in members)
        group = members[0].group
        # the column `a:b` beside the combination a:b keeps its backquotes
        is_column = len(members[0].factors) == 1 and groups.count(group) > 1
        blocks.append(_block(members, of_block, frame, f"`{group}`" if is_column else group))
        sources.append(of_block)
    return tuple(blocks), tuple(sources)


def _block(terms: list[RandomTerm], sources: tuple[Columns, ...], frame: pd.DataFrame, group: str) -> RandomBlock:
    factors = terms[0].factors
    levels = read_levels(factors, [_values(pd.Series(frame[name])) for name in factors])
    ends = np.cumsum([len(source.names) for source in sources]).tolist()
    effects = distinct_names(sources)
    columns = np.column_stack([source.fitted(len(frame)) for source in sources])
    _check_distinct(terms, [len(source.names) for source in sources], effects)
    return RandomBlock(
        group=group,
        factors=factors,
        levels=levels.labels,
        incidence=Incidence.single(levels.codes, columns, len(levels.labels)),
        effects=effects,
        columns=columns,
        pieces=tuple(
            BlockPiece(term=term, start=end - len(source.names), stop=end)
            for term, source, end in zip(terms, sources, ends, strict=True)
        ),
    )


def _values(series: pd.Series) -> np.ndarray | pd.Categorical:
    return series.array if isinstance(series.array, pd.Categorical) else series.to_numpy()


def _check_distinct(terms: list[RandomTerm], widths: Sequence[int], effects: Sequence[str]) -> None:
    """Refuse the same effect twice in one group: the two variances cannot be told apart."""
    first: dict[str, RandomTerm] = {}
    owners = [term for term, width in zip(terms, widths, strict=True) for _ in range(width)]
    for term, name in zip(owners, effects, strict=True):
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
