"""The rows of a model once more, with its columns, after it was fitted; held to the sums that it was fitted to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from bayesmm.design.rows.sources import needed_columns
from bayesmm.errors import RowsError
from bayesmm.marginal.sums.totals import ChunkRows
from bayesmm.rows.chunk import Chunk
from bayesmm.rows.scan import Scan
from bayesmm.rows.states import Moments
from bayesmm.rows.summing import Evaluation, Summed

SAME = 1e-8  # of the response's size: what the order of additions changes


class RowsOf:
    """All rows of a model, chunk by chunk.

    Parameters
    ----------
    summed : Summed
        The model.
    source : Scan
        Where its rows are.
    """

    def __init__(self, summed: Summed, source: Scan) -> None:
        declared = summed.declared
        needed = needed_columns(declared.specification, declared.weights, source.columns, declared.names)
        self._summed, self._source = summed, source
        self._evaluation = Evaluation(declared, summed.found, needed, source.texts)
        self._seen = Seen()

    def chunks(self, rows: int, *, beside: bool) -> Iterator[tuple[Chunk, np.ndarray, ChunkRows | None]]:
        """Yield chunks, which of their rows are complete, and the columns of these; None of none.

        Parameters
        ----------
        rows : int
            How many a chunk has at least.
        beside : bool
            Whether columns that the model does not use are read too.
        """
        names = self._source.columns if beside else self._evaluation.names
        for chunk in self._source.chunks(names, min(rows, self._source.chunk_rows)):
            complete, part = self._evaluation.read_rows(chunk)
            if part is not None:
                self._seen.add(part)
            yield chunk, complete, part

    def check(self) -> None:
        """Refuse rows that are not those of the model; see `check_same`."""
        check_same(self._summed, self._source, self._seen)


class Seen:
    """What is known of rows that were read, to hold them to those of a model."""

    def __init__(self) -> None:
        self.response, self.weight = Moments(), 0.0

    def add(self, rows: ChunkRows) -> None:
        """Take in some rows."""
        self.response.add(rows.y)
        self.weight += float(rows.weights.sum())

    def merge(self, other: Seen) -> None:
        """Take in what is known of others."""
        self.response.merge(other.response)
        self.weight += other.weight


def check_same(summed: Summed, source: Scan, seen: Seen) -> None:
    """Refuse rows that are not those of the model.

    Raises
    ------
    RowsError
        Says how they differ.
    """
    known = summed.design.elsewhere
    assert known is not None
    found, n = seen.response, seen.response.n
    size = max(abs(known.response_low), abs(known.response_high))
    pairs = [(found.mean, known.response_mean), (np.sqrt(found.square / max(n, 1)), _sd(known.response_square, n))]
    same = all(abs(one - other) <= SAME * size for one, other in pairs)
    if n != known.n or not same or abs(seen.weight - known.weight_total) > SAME * known.weight_total:
        raise RowsError(
            f"{source} are not the rows that the model was made of: {n:,} complete rows with a mean response "
            f"of {found.mean:g}, and the model has {known.n:,} with {known.response_mean:g}. Give the rows that "
            "it was made of, all of them."
        )


def _sd(square: float, n: int) -> float:
    return float(np.sqrt(square / max(n, 1)))
