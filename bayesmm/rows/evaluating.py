"""From the values of a chunk to the columns that are summed, by what the first pass found."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bayesmm.design.blocks.blocks import BlockSources, RandomBlock
from bayesmm.design.blocks.memberships import check_member_weights, member_columns, repeat_columns
from bayesmm.design.columns.columns import Columns
from bayesmm.design.reading.frame import UsedRows
from bayesmm.design.rows.sources import Sources
from bayesmm.errors import BayesmmError, DesignError, PredictionError, RowsError
from bayesmm.incidence import Incidence, Membership
from bayesmm.marginal.sums.totals import ChunkRows
from bayesmm.rows.dictionary import Combinations
from bayesmm.rows.gathering import CompleteRows
from bayesmm.rows.values import Values

LATE = (
    "The first pass over the rows did not see it: they have changed since. Build the model again when nothing writes "
    "there any more."
)


@dataclass(frozen=True, eq=False)
class _Side:
    """Levels of one membership, by the columns that say them."""

    columns: tuple[str, ...]
    seen: Combinations
    codes: np.ndarray

    def find(self, rows: CompleteRows, group: str) -> np.ndarray:
        values = [rows.columns[name] for name in self.columns]
        found = self.seen.find(values)
        if (found < 0).any():
            row = int((found < 0).argmax())
            level = ":".join(str(each.rows(np.array([row])).listed()[0]) for each in values)
            raise RowsError(f"{group!r} has the level {level!r} in {rows.chunk}. {LATE}")
        return self.codes[found]


@dataclass(frozen=True, eq=False)
class _Whole:
    """The one level of all rows."""

    def find(self, rows: CompleteRows, group: str) -> np.ndarray:
        return np.zeros(rows.n, np.int64)


class ColumnReader:
    """Brings the values of chunks to the kinds and categories of the rows that were kept; all columns, or some."""

    def __init__(self, kept: UsedRows, names: Collection[str] | None = None) -> None:
        self._names = names
        self._categories = {
            name: values.categories for name, values in kept.columns.items() if isinstance(values, pd.Categorical)
        }

    def frame(self, rows: CompleteRows) -> pd.DataFrame:
        """Return them as a data frame, as expressions see it."""
        names = rows.columns if self._names is None else [name for name in rows.columns if name in self._names]
        columns = {name: self._column(name, rows.columns[name], rows) for name in names}
        return pd.DataFrame(columns, index=pd.RangeIndex(rows.n), copy=False)

    def _column(self, name: str, values: Values, rows: CompleteRows) -> np.ndarray | pd.Categorical:
        known = self._categories.get(name)
        if known is None:
            return values.data.astype(np.float64, copy=False) if values.kind == "numbers" else values.data
        place = np.append(known.get_indexer(pd.Index(list(values.categories), dtype=object)), -1)
        codes = place[values.data]
        if (codes < 0).any():
            category = values.categories[values.data[(codes < 0).argmax()]]
            raise RowsError(f"Column {name!r} has the category {category!r} in {rows.chunk}. {LATE}")
        return pd.Categorical.from_codes(codes, categories=known, ordered=True, validate=False)


class Evaluator:
    """Computes the columns of a model for chunks of rows.

    Parameters
    ----------
    sources : Sources
        How columns are computed.
    blocks : sequence of RandomBlock
        Of the rows that were kept.
    kept : UsedRows
        Those rows.
    """

    def __init__(self, sources: Sources, blocks: Sequence[RandomBlock], kept: UsedRows) -> None:
        self.sources, self.blocks = sources, tuple(blocks)
        self._reader = ColumnReader(kept, {name for each in _columns_in(sources) for name in each.uses})
        self._sides = [[_side(block, own, kept) for own in range(len(_columns_of(block)))] for block in self.blocks]

    def evaluate(self, rows: CompleteRows) -> ChunkRows:
        """Compute the columns of some rows.

        Raises
        ------
        RowsError
            If a level or a category was not seen in the first pass, or a value is not finite.
        """
        try:
            return self._evaluate(rows)
        except RowsError:
            raise
        except PredictionError as error:
            raise RowsError(f"In {rows.chunk}: {error} {LATE}") from None
        except BayesmmError as error:
            raise RowsError(f"In {rows.chunk}: {error}") from None

    def _evaluate(self, rows: CompleteRows) -> ChunkRows:
        frame = self._reader.frame(rows)
        sources, n = self.sources, rows.n

        def one(source: Columns) -> np.ndarray:
            return _finite(source, frame)[0] if len(source.names) else np.zeros(n)

        offset = sum((one(each) for each in sources.offsets), np.zeros(n))
        weights = np.ones(n) if sources.weights is None else sources.weights.evaluate(frame)[:, 0]
        bad = ~(np.isfinite(weights) & (weights > 0))
        if bad.any():
            raise DesignError(
                f"{int(bad.sum())} weight(s) are not positive and finite, the first is {weights[bad.argmax()]:g}. A "
                "weight is a precision: leave out rows without information."
            )
        found = [
            self._block(block, own, sides, frame, rows)
            for block, own, sides in zip(self.blocks, sources.blocks, self._sides, strict=True)
        ]
        return ChunkRows(
            fixed=_finite(sources.fixed, frame),
            y=one(sources.response) - offset,
            offset=offset,
            weights=weights,
            has_weights=sources.weights is not None,
            incidences=tuple(incidence for incidence, _ in found),
            columns=tuple(columns for _, columns in found),
        )

    def _block(
        self,
        block: RandomBlock,
        sources: BlockSources,
        sides: Sequence[_Side | _Whole],
        frame: pd.DataFrame,
        rows: CompleteRows,
    ) -> tuple[Incidence, np.ndarray]:
        grouping, parts = block.grouping, [_finite(each, frame) for each in sources.columns]
        if not grouping.has_members:
            together = parts[0] if len(parts) == 1 else np.concatenate(parts)
            own = Membership(codes=sides[0].find(rows, block.group), columns=together.T)
            return Incidence(memberships=(own,), n_levels=block.q), together
        tall = [part.T for part in parts]
        weights = [_finite(each, frame)[0] for each in sources.weights]
        check_member_weights(grouping, weights, frame.index)
        memberships = [
            Membership(codes=side.find(rows, block.group), columns=columns)
            for side, columns in zip(sides, member_columns(grouping, tall, weights), strict=True)
        ]
        return Incidence(memberships=tuple(memberships), n_levels=block.q), repeat_columns(grouping, tall).T


def _columns_in(sources: Sources) -> list[Columns]:
    """All expressions of a model."""
    of_blocks = [each for own in sources.blocks for each in (*own.columns, *own.weights)]
    weights = [] if sources.weights is None else [sources.weights]
    return [sources.fixed, sources.response, *sources.offsets, *weights, *of_blocks]


def _columns_of(block: RandomBlock) -> list[tuple[str, ...]]:
    """Columns that say the level of each membership."""
    grouping = block.grouping
    return [(name,) for name in grouping.factors] if grouping.has_members else [tuple(grouping.factors)]


def _side(block: RandomBlock, own: int, kept: UsedRows) -> _Side | _Whole:
    names = _columns_of(block)[own]
    if not names:
        return _Whole()
    seen = Combinations(len(names))
    found = seen.learn([as_values(kept.columns[name]) for name in names])
    codes = np.zeros(len(seen), np.int64)
    codes[found] = block.incidence.memberships[own].codes
    return _Side(names, seen, codes)


def as_values(column: np.ndarray | pd.Categorical) -> Values:
    """Complete values of a column as a chunk has them."""
    if isinstance(column, pd.Categorical):
        return Values(kind="texts", data=column.codes.astype(np.int64), categories=tuple(column.categories.tolist()))
    return Values(kind="truth values" if column.dtype == bool else "numbers", data=column)


def _finite(source: Columns, frame: pd.DataFrame) -> np.ndarray:
    """Columns (k, n) of an expression, after a look at whether they are finite."""
    values = source.evaluate_across(frame)
    if not np.isfinite(values).all():
        is_bad = ~np.isfinite(values).all(axis=1)
        j = int(is_bad.argmax())
        n = int((~np.isfinite(values[j])).sum())
        raise DesignError(
            f"{source.names[j]!r} is not a finite number in {n} row(s). Logarithms and roots need positive "
            "numbers: look at those rows, or leave them out."
        )
    return values
