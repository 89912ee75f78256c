"""Problem: one design with the sums over its rows and the plan of their elimination, which both wings take."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from bayesmm.arguments import shorten
from bayesmm.covariance.layout import Layout
from bayesmm.design.blocks.blocks import BlockPiece
from bayesmm.design.blocks.labels import Labels
from bayesmm.design.blocks.told_apart import find_indistinct
from bayesmm.design.design import Design
from bayesmm.design.related.relation import MOST_LEVELS, KnownRelation, as_sparse, dense_relation
from bayesmm.design.related.sparse_relation import SparseRelation
from bayesmm.errors import ArgumentError, DesignError, RowsError
from bayesmm.marginal.plan.plan import Plan
from bayesmm.marginal.sums.crossproducts import CrossProducts, build_products, plan_elimination
from bayesmm.marginal.sums.rows import BlockArrays
from bayesmm.presenting.progress import SILENT, Bar
from bayesmm.rows.blocks import as_arrays

if TYPE_CHECKING:  # loaded where rows are read chunk by chunk, sums are saved, or residuals have a covariance
    from bayesmm.design.words.own_rows import OwnRows, Whiten
    from bayesmm.marginal.leave_out.row_groups import Rows
    from bayesmm.marginal.residual.layout import ResidualLayout
    from bayesmm.marginal.residual.whitened import ResidualRows, Whitened
    from bayesmm.marginal.sums.responses import Responses
    from bayesmm.rows.of_levels import RowsOfLevels
    from bayesmm.rows.summing import Summed
    from bayesmm.rows.sums import Sums

EXACT = 1e-13  # residual norm relative to the response's that is only rounding
AT_ONCE = 64  # responses that are summed together


class Problem:
    """What is estimated or sampled, ready for either: everything that likelihood and priors know of the data.

    Plan and sums are made when they are first asked for.

    Parameters
    ----------
    design : Design
        Labelled data, with the residual standard deviation where it is known.
    plan : Plan, optional
        Of the same levels in the same rows, if there is one already.
    products : CrossProducts, optional
        Of this design, likewise.
    whitened : Whitened, optional
        Of a design with a covariance of the residuals: its rows at one value of φ.
    summed : Summed, optional
        Of a design whose rows are not in memory: its sums as they add up.

    Examples
    --------
    >>> import bayesmm as bmm
    >>> model = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy"))
    >>> doubled = model.problem.with_response(2.0 * model.design.y)
    >>> doubled.plan is model.problem.plan
    True
    """

    def __init__(
        self,
        design: Design,
        *,
        plan: Plan | None = None,
        products: CrossProducts | None = None,
        whitened: Whitened | None = None,
        summed: Summed | None = None,
    ) -> None:
        self.design = design
        self._plan, self._products, self._whitened = plan, products, whitened
        self._summed_rows = summed

    @classmethod
    def of_sums(cls, summed: Summed) -> Problem:
        """Pose the problem of rows that are not in memory, by their sums."""
        if summed.residual_rows is None:
            return cls(summed.design, plan=summed.plan, products=summed.products, summed=summed)
        found = cls(summed.design, plan=summed.plan, summed=summed)
        found.residual_rows = found._check_rows(summed.residual_rows)
        return found

    @classmethod
    def of_source(cls, design: Design, summed: Summed | None) -> Problem:
        """Pose the problem of a design, or of its sums where its rows are not in memory."""
        return cls(design) if summed is None else cls.of_sums(summed)

    @classmethod
    def of_fewer_effects(cls, summed: Summed, design: Design, effects: Sequence[Sequence[int]]) -> Problem:
        """Pose the problem of a design that has some of the random effects of rows that are not in memory."""
        from bayesmm.marginal.sums.finished import finish
        from bayesmm.marginal.sums.totals import of_effects

        totals = of_effects(summed.totals, [np.array(kept, dtype=int) for kept in effects])
        products, plan = finish(totals, as_arrays(design.blocks), None)
        return cls(design, plan=plan, products=products)

    @property
    def summed(self) -> Summed | None:
        """The sums over rows that are not in memory, as they add up."""
        return None if self.design.elsewhere is None else self._summed_rows

    @property
    def sums(self) -> Sums:
        """The sums over the rows, to save, or to add to those of other rows.

        Raises
        ------
        RowsError
            If prior weights were given as an array, or the formula uses functions of your own.
        """
        from bayesmm.rows.scan import scan
        from bayesmm.rows.summing import sum_source
        from bayesmm.rows.sums import Sums

        if self._summed_rows is None:
            design = self.design
            if design.has_weights and design.weights_text is None:
                raise RowsError("Prior weights were given as an array: put them into the data, and name the column.")
            if design.user_names:
                raise RowsError("The formula uses a namespace: make the model of bmm.scan(data), and ask it for sums.")
            self._summed_rows = sum_source(
                design.specification,
                scan(_as_written(design.frame)),
                weights=design.weights_text,
                known_sigma=design.known_sigma,
                relations=design.matrices,
            )
        return Sums(self._summed_rows)

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the sums over the rows to a file, without any row; `bayesmm.Model.from_sums` reads it.

        Parameters
        ----------
        path : path
            Ends in ``.nc`` or ``.zarr``.

        Returns
        -------
        pathlib.Path
            Where they are.
        """
        return self.sums.save(path)

    @property
    def labels(self) -> Labels:
        """Names of everything."""
        return self.design.labels

    @property
    def known_sigma(self) -> float | None:
        """Residual standard deviation (of a row of weight one) where it is known rather than estimated."""
        return self.design.known_sigma

    @property
    def layout(self) -> Layout:
        """Covariance pieces of each grouping factor, as the numerics take them."""
        return tuple(block.layout for block in self.design.blocks)

    @cached_property
    def blocks(self) -> tuple[BlockArrays, ...]:
        """Random effects of each grouping factor, as the numerics take them."""
        blocks = as_arrays(self.design.blocks)
        return blocks if self.design.residual is None else tuple(replace(b, is_weighted_once=False) for b in blocks)

    @cached_property
    def dense(self) -> Problem:
        """The same with dense matrices of related levels, as a search in JAX takes them.

        Raises
        ------
        ArgumentError
            If these are too many.
        DesignError
            If what remains of crossed factors is too large.
        """
        blocks = self.design.blocks
        if self.design.residual is None and self.plan.shape.too_large:
            raise DesignError(f"{self.plan.shape.too_large} model.fit() does without that matrix.")
        if not any(isinstance(block.relation, SparseRelation) for block in blocks):
            return self
        large = next((block for block in blocks if block.relation is not None and block.q > MOST_LEVELS), None)
        if large is not None:
            what, instead = "A search in JAX, or the conditional program,", "Take the default of both."
            if self.design.residual is not None:
                what, instead = "A posterior beside a covariance of the residuals", "Leave residual= out, or fit."
            raise ArgumentError(
                f"{large.group} has {large.q:,} levels, related by the matrix {large.grouping.relation!r}. {what} "
                f"takes dense matrices, of at most {MOST_LEVELS:,}. {instead}"
            )
        known = [None if block.relation is None else dense_relation(block.relation) for block in blocks]
        return Problem(
            replace(
                self.design,
                blocks=tuple(replace(block, relation=A) for block, A in zip(blocks, known, strict=True)),
            )
        )

    @cached_property
    def sparse(self) -> Problem:
        """The same with the inverses of matrices of related levels, where that serves better; see `as_sparse`.

        Raises
        ------
        DesignError
            If a matrix is singular in more directions than can be held at zero.
        """
        blocks = self.design.blocks
        if not any(isinstance(block.relation, KnownRelation) for block in blocks):
            return self
        inverted = (None if block.relation is None else as_sparse(block.relation) for block in blocks)
        related = tuple(replace(block, relation=A) for block, A in zip(blocks, inverted, strict=True))
        return Problem(replace(self.design, blocks=related))

    @property
    def _columns(self) -> np.ndarray:
        """Columns of the coefficients that are estimated (n, p)."""
        X, kept = self.design.X, self.design.kept
        return X if len(kept) == X.shape[1] else X[:, kept]

    @property
    def known_plan(self) -> Plan | None:
        """The plan, if it has been made."""
        return self._plan

    @property
    def plan(self) -> Plan:
        """How the random effects are eliminated; it depends on which levels occur together, and on nothing else."""
        if self._plan is None:
            self._plan = plan_elimination(self.blocks)
        return self._plan

    @cached_property
    def products(self) -> CrossProducts:
        """The sums over the rows.

        Raises
        ------
        DesignError
            If the fixed effects leave nothing but rounding of the response to a σ that is estimated.
        """
        products = self._summed()
        if self.known_sigma is None:
            _check_residual(products, self.design)
        return products

    @cached_property
    def residual_rows(self) -> ResidualRows:
        """The rows of a design with a covariance of the residuals, before φ is known.

        Raises
        ------
        DesignError
            As `products`.
        """
        from bayesmm.marginal.residual.whitened import residual_rows

        design = self.design
        layout, response = lay_out_design(design), design.y - design.offset
        return self._check_rows(residual_rows(self._columns, response, design.weights, self.blocks, layout))

    def _check_rows(self, rows: ResidualRows) -> ResidualRows:
        design = self.design
        if design.elsewhere is not None:
            return rows  # as `products`
        left, total = (float(design.weights @ v**2) for v in (rows.fixed[:, -1], design.y - design.offset))
        if self.known_sigma is None:
            _check_explained(left, total, design)
        return rows

    def at(self, phi: np.ndarray) -> Problem:
        """Pose the problem with the covariance of the residuals known up to σ², as one of independent residuals.

        Parameters
        ----------
        phi : array, shape (f,)
            Parameters of that covariance, as `bayesmm.marginal.residual.layout.ResidualLayout` has them.

        Returns
        -------
        Problem
            Its sums and rows are those of the whitened rows.
        """
        from bayesmm.marginal.residual.whitened import whiten_at

        whitened = whiten_at(self.residual_rows, phi, self._plan)
        found = Problem(self.design, plan=whitened.plan, products=whitened.products, whitened=whitened)
        found.residual_rows = self.residual_rows
        return found

    def read_own_rows(
        self, beta: np.ndarray, effects: Sequence[np.ndarray], whiten: Whiten | None = None
    ) -> list[OwnRows]:
        """Estimate every level's effects from its own rows alone; see `bayesmm.design.words.own_rows.read_own_rows`."""
        if self.summed is not None:
            from bayesmm.rows.own_rows import own_rows_of_sums

            return own_rows_of_sums(self.summed.totals, beta, effects)
        from bayesmm.design.words.own_rows import read_own_rows

        return read_own_rows(self.design, beta, effects, whiten)

    def rows_of_levels(self, rows: Any, what: str, bar: Bar = SILENT) -> RowsOfLevels | None:
        """Read rows that are not in memory by their levels; None where they are in memory.

        Parameters
        ----------
        rows : path, list, data frame or None
            Where they are, as `bayesmm.scan` takes it; None where they are in memory.
        what : str
            How they are given: ``fit.group_lines(rows='visits/*.parquet')``.
        bar : Bar
            What is told how many rows were read.

        Raises
        ------
        ArgumentError
            If rows are given, and the model has its own.
        RowsError
            If they are not given and needed, or residuals have a covariance.
        """
        if not self._must_read(rows, what):
            return None
        from bayesmm.rows.of_levels import RowsOfLevels

        assert self._summed_rows is not None
        return RowsOfLevels(self._summed_rows, rows, bar)

    def _must_read(self, rows: Any, what: str) -> bool:
        """Whether rows are read once more, which are given where they are not in memory and only there."""
        known = self.design.elsewhere
        if known is None:
            if rows is not None:
                raise ArgumentError(f"rows is {shorten(rows)}, and the model has its rows in memory: leave rows out.")
            return False
        if self.design.residual is not None:
            raise RowsError(
                f"This needs the rows, which are in {known.where}, and their residuals have a covariance "
                f"({self.design.residual.specification.write()}): it is there for models of a data frame."
            )
        if rows is None:
            raise RowsError(
                f"This needs the rows of each level, which are in {known.where}, not in memory: give them once more, "
                f"{what}."
            )
        return True

    def condense(
        self,
        rows: Any,
        what: str,
        beta: np.ndarray,
        effects: Sequence[np.ndarray],
        bar: Bar = SILENT,
        *,
        sample: int | None = None,
        seed: int = 0,
    ) -> FewRows:
        """Put few rows, with the same sums in each combination of levels, in the place of rows that are not in memory.

        Parameters
        ----------
        rows, what, bar
            As of `rows_of_levels`; rows may be what this has returned before.
        beta : array, shape (p,)
            Coefficients near which the responses are.
        effects : sequence of arrays, shapes (q, k)
            Random effects likewise.
        sample, seed : int
            How many rows stay as they are, about, and which.

        Returns
        -------
        FewRows
            The problem as it is where its rows are in memory.

        Raises
        ------
        ArgumentError, RowsError
            As of `rows_of_levels`; also if the rows are not those of the model.
        """
        if isinstance(rows, FewRows):
            return rows
        if not self._must_read(rows, what):
            return FewRows(self)
        from bayesmm.rows.condensing import condense, sample_places
        from bayesmm.rows.scan import scan

        assert self._summed_rows is not None
        sampled = None if sample is None else sample_places(self._summed_rows, sample, seed)
        found = condense(self._summed_rows, scan(rows), beta, effects, bar, sampled)
        few = Problem(found.design, plan=self.plan, products=self.products)
        return FewRows(few, found.counts, found.log_weights, found.n_sampled)

    def find_indistinct(self) -> list[BlockPiece]:
        """Find the terms that can take over a part of the residual variance once the rows are free of fixed effects."""
        if self.design.elsewhere is not None:
            from bayesmm.rows.indistinct import find_in_sums

            return find_in_sums(self.design.blocks, self.products, free_of_fixed=True)
        return find_indistinct(self.design.blocks, self.design.weights, self._columns)

    def _summed(self) -> CrossProducts:
        if self._products is None:
            self._refuse_residual()
            design = self.design
            response = design.y - design.offset
            self._products, self._plan = build_products(
                self._columns, response, design.weights, self.blocks, self._plan
            )
        return self._products

    def conditioned_rows(self) -> Rows:
        """Return the rows on the columns that the sums are over, for leaving some of them out."""
        if self._whitened is not None:
            return self._whitened.rows
        from bayesmm.marginal.leave_out.row_groups import condition_rows

        self._refuse_residual()
        response = self.design.y - self.design.offset
        return condition_rows(self._columns, response, self.design.weights, self.blocks, self.products)

    def sum_responses(self, responses: np.ndarray) -> Responses:
        """Sum other responses with the columns of this design, all of them in the same passes over the rows.

        Parameters
        ----------
        responses : array, shape (n, m)
            One a column, offset included, for the rows used.

        Returns
        -------
        Responses
            What is new in their sums, side by side, and the whole of each.
        """
        from bayesmm.marginal.sums.responses import sum_responses

        self._refuse_residual()
        design = self.design
        if np.ndim(responses) != 2 or len(responses) != design.n:
            raise ArgumentError(
                f"responses has the shape {np.shape(responses)}, and the model has {design.n} rows: give an array of "
                f"shape ({design.n}, m), one response a column."
            )
        rows = np.asarray(responses, dtype=float).T - design.offset
        return sum_responses(self._columns, rows, design.weights, self.blocks, self._summed())

    def with_responses(self, responses: np.ndarray) -> Iterator[Problem]:
        """Pose the same problem for other responses, which are summed some dozens at a time.

        Parameters
        ----------
        responses : array, shape (n, m)
            One a column, offset included, for the rows used.

        Yields
        ------
        Problem
            Of one response after another, with the plan and the sums of the columns of this one.
        """
        m = np.shape(responses)[-1]
        for start in range(0, m, AT_ONCE):
            some = responses[:, start : start + AT_ONCE]
            for y, products in zip(some.T, self.sum_responses(some), strict=True):
                yield Problem(self.design.with_response(y), plan=self.plan, products=products)

    def with_response(self, y: np.ndarray) -> Problem:
        """Pose the same problem for another response.

        Parameters
        ----------
        y : array, shape (n,)
            For the rows used, offset included.

        Returns
        -------
        Problem
            With the plan of this one; only the response is summed.

        Raises
        ------
        DesignError
            If it is not finite, or does not vary.
        """
        design = self.design.with_response(y)
        if design.residual is not None:
            found, rows = Problem(design, plan=self._plan), self.residual_rows
            response = design.y - design.offset
            found.residual_rows = found._check_rows(rows.with_response(self._columns, response, design.weights))
            return found
        (products,) = self.sum_responses(design.y[:, None])
        return Problem(design, plan=self.plan, products=products)

    @property
    def is_probed(self) -> bool:
        """Whether its sums are solved by probes already; nothing is summed to tell."""
        return self._products is not None and self._products.probing is not None

    def with_products(self, products: CrossProducts) -> Problem:
        """Pose the same problem with its sums as they are solved otherwise."""
        return Problem(self.design, plan=self._plan, products=products, summed=self._summed_rows)

    def with_weights(self, weights: np.ndarray) -> Problem:
        """Pose the same problem with other prior weights.

        Parameters
        ----------
        weights : array, shape (n,)
            For the rows used, positive.

        Returns
        -------
        Problem
            With the plan of this one; its sums are new.

        Raises
        ------
        DesignError
            If a weight is not positive and finite.
        """
        return Problem(self.design.with_weights(weights), plan=self.plan)

    def _refuse_residual(self) -> None:
        """Refuse what would take the residuals for independent."""
        self.design.require_independent_residuals("This")


class FewRows(NamedTuple):
    """Rows in which each combination of levels has the sums that it has in all.

    Attributes
    ----------
    problem : Problem
        Of these rows.
    counts, log_weights : arrays, shape (m,), or None
        As of `bayesmm.rows.condensing.Condensed`; None where they are the rows of the model.
    n_sampled : int or None
        How many, the first ones, are rows of the model; None where all are.
    """

    problem: Problem
    counts: np.ndarray | None = None
    log_weights: np.ndarray | None = None
    n_sampled: int | None = None

    @property
    def seen(self) -> slice:
        """Which are rows of the model, that can be looked at."""
        return slice(self.n_sampled)

    def count(self, rows: np.ndarray) -> int:
        """Count the rows that some of these stand for."""
        return len(rows) if self.counts is None else round(self.counts[rows].sum())

    def say(self, n: int) -> str | None:
        """Say which rows of n can be looked at, where it is some of them."""
        few = self.n_sampled
        return None if few is None or few == n else f"{few:,} of {n:,} rows, drawn at random"


def lay_out_design(design: Design) -> ResidualLayout:
    """Lay out the groups of a design whose residuals have a covariance."""
    from bayesmm.marginal.residual.layout import lay_out_residuals

    residual = design.residual
    assert residual is not None
    return lay_out_residuals(
        residual.correlation, residual.codes, residual.positions, residual.columns, residual.are_sds, design.weights
    )


def _as_written(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the columns of a design as those of a file: sorted texts are texts."""
    sorted_texts = {
        str(name): values.astype(str)
        for name, values in frame.items()
        if isinstance(values.dtype, pd.CategoricalDtype)
        and all(type(each) is str for each in values.cat.categories)
        and values.cat.categories.is_monotonic_increasing
    }
    return frame.assign(**sorted_texts) if sorted_texts else frame


def _check_residual(products: CrossProducts, design: Design) -> None:
    """Refuse a response that the fixed effects leave nothing of but rounding."""
    known = design.elsewhere
    if known is None:
        total = (design.weights * (design.y - design.offset) ** 2).sum()
    else:
        total = known.weighted_square + known.weight_total * known.weighted_mean**2
    _check_explained(float(products.gram[-1, -1]), float(total), design)


def _check_explained(left: float, total: float, design: Design) -> None:
    if left < (EXACT**2) * total:
        raise DesignError(
            f"The fixed effects explain the response {design.response!r} exactly (what they leave is "
            f"{np.sqrt(left / total):.0e} of it): no variance is left to estimate. Check whether the "
            "response is among the predictors, or give sigma."
        )
