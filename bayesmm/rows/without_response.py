"""Rows whose response is yet to be drawn: a column of noise stands for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bayesmm.rows.source import CHUNK_ROWS, Scan

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, eq=False, repr=False)
class WithNoise(Scan):
    """Rows with one more column, of the same noise in each pass; this process reads them.

    Attributes
    ----------
    rows : Scan
        The rows.
    name : str
        The column, which they do not have.
    """

    rows: Scan
    name: str
    chunk_rows: int = CHUNK_ROWS
    threads: int | None = None

    @classmethod
    def of(cls, rows: Scan, name: str) -> WithNoise:
        """Add noise to rows, read as they are."""
        return cls(rows, name, rows.chunk_rows, getattr(rows, "threads", None))

    @property
    def columns(self) -> list[str]:
        """Those of the rows, and the noise."""
        return [*self.rows.columns, self.name]

    @property
    def texts(self) -> set[str]:
        """Those of the rows."""
        return self.rows.texts

    @property
    def parts(self) -> tuple[str, ...]:
        """Those of the rows."""
        return self.rows.parts

    @property
    def is_of_files(self) -> bool:
        """Whether the rows are."""
        return self.rows.is_of_files

    def __str__(self) -> str:
        return str(self.rows)

    def _pieces(self, names: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        import pyarrow as pa

        rng = np.random.default_rng(0)
        for where, table in self.rows._pieces([name for name in names if name != self.name]):
            if self.name in names:
                table = table.append_column(self.name, pa.array(rng.standard_normal(table.num_rows)))
            yield where, table.select(list(names))
