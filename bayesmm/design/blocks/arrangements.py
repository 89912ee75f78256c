"""How grouping factors lie in each other: nested, crossed, or the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
import pandas as pd

from bayesmm.console import visible
from bayesmm.design.blocks.blocks import RandomBlock

type ArrangementKind = Literal["nested", "same", "fully crossed", "partially crossed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrangement:
    """How two grouping factors lie in each other.

    Attributes
    ----------
    first, second : str
        The groups; if nested, the levels of the first lie within those of the second.
    kind : {"nested", "same", "fully crossed", "partially crossed"}
        Nested: every level of the first occurs with one level of the second only.
    n_pairs, n_possible : int
        How many pairs of levels occur together, and how many could.
    """

    first: str
    second: str
    kind: ArrangementKind
    n_pairs: int
    n_possible: int

    def __str__(self) -> str:
        return visible(self._write())

    def _write(self) -> str:
        match self.kind:
            case "nested":
                return f"{self.first} is nested in {self.second}"
            case "same":
                return f"{self.first} and {self.second} are the same grouping: their variances cannot be told apart"
            case "fully crossed":
                return f"{self.first} and {self.second} are fully crossed: all {self.n_possible} combinations occur"
            case "partially crossed":
                return (
                    f"{self.first} and {self.second} are partially crossed: {self.n_pairs} of {self.n_possible} "
                    "combinations occur"
                )


def find_arrangements(
    blocks: Sequence[RandomBlock], n_pairs: Mapping[tuple[int, int], int] | None = None
) -> tuple[Arrangement, ...]:
    """Find how every two grouping factors lie in each other; all rows as one level are none.

    Parameters
    ----------
    blocks : sequence of RandomBlock
        The blocks of one design.
    n_pairs : mapping of (int, int) to int, optional
        How many pairs of levels of two blocks share a row, where the rows are not in memory.

    Returns
    -------
    tuple of Arrangement
    """
    found = combinations([(f, block) for f, block in enumerate(blocks) if not block.is_whole], 2)
    if n_pairs is None:
        return tuple(_arrange(one, other, _count_pairs(one, other)) for (_, one), (_, other) in found)
    return tuple(_arrange(one, other, n_pairs.get((f, g)) or n_pairs[g, f]) for (f, one), (g, other) in found)


def _count_pairs(one: RandomBlock, other: RandomBlock) -> int:
    keys = [
        pd.unique(own.codes * np.int64(other.q) + their.codes)
        for own in one.incidence.memberships
        for their in other.incidence.memberships
    ]
    return len(pd.unique(np.concatenate(keys)))


def _arrange(one: RandomBlock, other: RandomBlock, n_pairs: int) -> Arrangement:
    fine, coarse = (one, other) if one.q >= other.q else (other, one)
    n_possible = fine.q * coarse.q
    kind: ArrangementKind
    if n_pairs == fine.q:
        kind = "same" if fine.q == coarse.q else "nested"
    else:
        kind = "fully crossed" if n_pairs == n_possible else "partially crossed"
    first, second = (fine, coarse) if kind == "nested" else (one, other)
    return Arrangement(first=first.group, second=second.group, kind=kind, n_pairs=n_pairs, n_possible=n_possible)
