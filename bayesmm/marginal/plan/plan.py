"""The elimination plan: what of it is static, its index lists, and the fill map of the first step."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from bayesmm.marginal.plan.dense_layout import FactorPair
from bayesmm.marginal.plan.sparse import SparsePlan
from bayesmm.marginal.shapes import Array, Float, Int

Target = Literal["pair", "dense"]
StepKind = Literal["scatter", "product"]


@dataclass(frozen=True, slots=True)
class UpdateShape:
    """One kind of edge that a batch step leaves behind: between neighbours in factors `left` and `right`."""

    left: int
    right: int
    target: Target


@dataclass(frozen=True, slots=True)
class StepShape:
    """Elimination of one factor as a batch.

    Attributes
    ----------
    factor : int
        The factor.
    neighbours : tuple of int
        Remaining factors that it has edges to.
    updates : tuple of UpdateShape
        Edges that it leaves, those in the fill map excepted.
    kind : {"scatter", "product"}
        Whether they are scattered one by one, or made by one dense product.
    """

    factor: int
    neighbours: tuple[int, ...]
    updates: tuple[UpdateShape, ...]
    kind: StepKind


@dataclass(frozen=True, slots=True)
class PlanShape:
    """The static part of a plan; equal shapes share a compiled program.

    Attributes
    ----------
    widths : tuple of int
        Effects per level of each factor.
    pairs : tuple of (int, int)
        Factors of each pair list.
    steps : tuple of StepShape
        Batch steps in order.
    remainder : tuple of int
        Factors that are left for dense blocks.
    buckets : tuple of (int, int)
        Number and size of dense blocks.
    too_large : str
        Why nothing is eliminated where what would remain of crossed factors is too large; otherwise empty. There are no
        steps and blocks then.
    """

    widths: tuple[int, ...]
    pairs: tuple[FactorPair, ...]
    steps: tuple[StepShape, ...]
    remainder: tuple[int, ...]
    buckets: tuple[tuple[int, int], ...]
    too_large: str = ""

    @property
    def dense_length(self) -> int:
        """Entries of all dense blocks together."""
        return sum(count * size * size for count, size in self.buckets)

    @property
    def dense_rows(self) -> int:
        """Rows of all dense blocks together."""
        return sum(count * size for count, size in self.buckets)

    @property
    def band(self) -> int:
        """Most effects of a level in the dense blocks, less one."""
        return max((self.widths[f] for f in self.remainder), default=1) - 1


@dataclass(frozen=True)
class Update:
    """Index lists of one `UpdateShape`: positions in two pair lists, and where their product is added."""

    left: Int[Array, " u"]
    right: Int[Array, " u"]
    target: Int[Array, " u"]
    stride: Int[Array, " u"]


@dataclass(frozen=True)
class PlanIndex:
    """The index lists of a plan.

    Attributes
    ----------
    rows, columns : tuple of arrays, shape (P,)
        Levels of the first and of the second factor, per pair list.
    updates : tuple of tuple of Update
        Per step.
    pair_target, pair_stride : tuple of arrays, shape (P,)
        Where pairs within the remainder lie in the dense blocks; else empty.
    node_start, node_column, node_stride, node_row : tuple of arrays, shape (q,)
        For each level of the remaining factors: where its first dense row starts, its first column there, the length
        of the row, and its number among all dense rows.
    bands : tuple of arrays, shape (dense rows,)
        For each offset d from −band to band, which entry (i + d, i) of the remaining factors' Λ, laid end to end after
        a zero, belongs to a dense row of effect i.
    """

    rows: tuple[Int[Array, " P"], ...]
    columns: tuple[Int[Array, " P"], ...]
    updates: tuple[tuple[Update, ...], ...]
    pair_target: tuple[Int[Array, " P"], ...]
    pair_stride: tuple[Int[Array, " P"], ...]
    node_start: tuple[Int[Array, " q"], ...]
    node_column: tuple[Int[Array, " q"], ...]
    node_stride: tuple[Int[Array, " q"], ...]
    node_row: tuple[Int[Array, " q"], ...]
    bands: tuple[Int[Array, " m"], ...]


@dataclass(frozen=True)
class FillMap:
    """What the first step adds to the dense blocks, as a linear map of its matrices N: a sparse matrix by columns.

    The edges of the first factor are those of the data, so that only N changes with θ.

    Attributes
    ----------
    coefficient : array, shape (t,)
        Products of two edges, negative.
    row : array, shape (t,)
        Dense positions.
    column : array, shape (t,)
        Positions in N (k, k, q) laid end to end several times, ascending: once for each kind of edge.
    copies : int
        How many times.
    """

    coefficient: Float[Array, " t"]
    row: Int[Array, " t"]
    column: Int[Array, " t"]
    copies: int = field(metadata={"static": True})

    @cached_property
    def _matrices(self) -> dict[tuple[int, int], Any]:
        return {}

    def matrix(self, n_rows: int, n_columns: int) -> Any:
        """Return the map as a matrix of SciPy, made once."""
        key = (n_rows, n_columns)
        if key not in self._matrices:
            from scipy.sparse import csc_array

            starts = np.zeros(n_columns + 1, np.int32)
            np.cumsum(np.bincount(self.column, minlength=n_columns), out=starts[1:])
            self._matrices[key] = csc_array((self.coefficient, self.row, starts), shape=key)
        return self._matrices[key]


class StepCost(NamedTuple):
    """What decided on a step: pairs of neighbours, and predicted seconds of either way."""

    n_pairs: int
    scatter: float
    product: float


@dataclass(frozen=True)
class Plan:
    """A plan with the facts that people ask about.

    Attributes
    ----------
    shape : PlanShape
        Static part.
    index : PlanIndex
        Index lists.
    n_levels : tuple of int
        Levels of each factor.
    block_sizes : array of int
        Rows of each dense block, without padding.
    costs : tuple of StepCost
        By step.
    sparse : SparsePlan, optional
        Where levels are related by a sparse matrix: of all effects together. There are no steps and blocks then.
    """

    shape: PlanShape
    index: PlanIndex
    n_levels: tuple[int, ...]
    block_sizes: np.ndarray
    costs: tuple[StepCost, ...]
    sparse: SparsePlan | None = None
