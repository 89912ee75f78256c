"""Some rows as they were read, with where they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Some rows as they were read.

    Attributes
    ----------
    where : str
        What they were read from, for error messages.
    number : int
        Which chunk it is, from 0.
    first : int
        How many rows were before it.
    table : pyarrow.Table
        The columns that were asked for.
    """

    where: str
    number: int
    first: int
    table: pa.Table

    def __str__(self) -> str:
        return f"{self.where}, chunk {self.number} (rows {self.first} to {self.first + self.table.num_rows - 1})"
