"""What a pass over the rows makes of them: something that begins empty, takes chunk after chunk, and can be merged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from bayesmm.rows.chunk import Chunk


class Account(Protocol):
    """What is known of some rows."""

    def packed(self) -> Any:
        """Return what `merge` needs of it, as small as it can be: it may travel."""

    def merge(self, other: Any) -> None:
        """Take in what is known of other rows, packed."""


class Pass[A: Account](Protocol):
    """One pass over the rows; its pickle is all that another process needs to make a part of it."""

    @property
    def names(self) -> Sequence[str]:
        """The columns that are read."""
        ...

    @property
    def rows(self) -> int | None:
        """How many rows a chunk has at least, if not as many as the source says."""
        ...

    @property
    def text(self) -> str:
        """What it looks for, in a word."""
        ...

    def begin(self) -> A:
        """Begin with nothing."""
        ...

    def add(self, so_far: A, chunk: Chunk) -> None:
        """Take in a chunk."""
