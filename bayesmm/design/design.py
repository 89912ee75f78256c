"""Data and specification together: everything that either engine needs to know, labelled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.blocks.checks import (
    check_block,
    check_coefficients,
    check_covariance_parameters,
    check_known_sigma,
    check_rank,
    check_response,
    check_sizes,
    check_told_apart,
    check_weights,
)
from bayesmm.design.blocks.confounding import check_columns
from bayesmm.design.blocks.labels import Labels, build_labels, check_distinct, has_plain_names
from bayesmm.design.blocks.residual import ResidualBlock, build_residual, first_fitted
from bayesmm.design.columns.columns import Columns, distinct_names
from bayesmm.design.columns.rank import are_plain, independent_columns
from bayesmm.design.columns.terms import INTERCEPT
from bayesmm.design.elsewhere import Elsewhere
from bayesmm.design.reading.frame import UsedRows
from bayesmm.design.reading.names import Names
from bayesmm.design.reading.rows import Missing
from bayesmm.design.related.relation import AnyRelation, read_relations
from bayesmm.design.rows.new_rows import NewRows, evaluate_rows, evaluate_weights
from bayesmm.design.rows.sources import Sources, build_sources, read_prior_weights, read_used_data
from bayesmm.errors import ArgumentError, DesignError, RowsError
from bayesmm.specification.terms import Specification


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Design:
    """The labelled arrays of one model on one data set.

    Attributes
    ----------
    specification : Specification
        What was asked.
    response : str
        The response as it was written.
    y, offset, weights : array, shape (n,)
        Response without the offset subtracted; offset, zero if none; prior weights, one if none.
    has_weights : bool
        Whether weights were given.
    X : array, shape (n, p_all)
        All columns of the fixed part, also those that are combinations of others.
    coefficients : tuple of str
        Names of the columns of X (p_all,).
    kept : array of int, shape (p,)
        Columns of X that are not combinations of earlier ones.
    aliased : tuple of str
        Names of the others.
    blocks : tuple of RandomBlock
        One for each grouping factor, in order of appearance in the formula.
    rows : pandas.Index
        Labels of the rows used.
    n_dropped : int
        Rows left out because of missing values.
    dropped_by : dict of str to int
        In how many rows each column is missing.
    used : UsedRows
        The used columns of the used rows.
    known_sigma : float, optional
        Residual standard deviation (of a row of weight one) where it is known rather than estimated.
    weights_text : str, optional
        The weights as they were written, if they were a column's name or an expression.
    user_names : tuple of str
        Names of the functions and values that the formula was given in ``namespace``.
    residual : ResidualBlock, optional
        Covariance of the residuals, where they are not independent with one variance.
    elsewhere : Elsewhere, optional
        What is known of the rows where they are not in memory; what would be arrays of rows then refuses any use.
    sources : Sources
        How the columns are computed for new rows.
    """

    specification: Specification
    response: str
    y: np.ndarray
    offset: np.ndarray
    weights: np.ndarray
    has_weights: bool
    X: np.ndarray
    coefficients: tuple[str, ...]
    kept: np.ndarray
    aliased: tuple[str, ...]
    blocks: tuple[RandomBlock, ...]
    rows: pd.Index
    n_dropped: int
    dropped_by: Mapping[str, int]
    used: UsedRows
    known_sigma: float | None = None
    weights_text: str | None = None
    user_names: tuple[str, ...] = ()
    residual: ResidualBlock | None = None
    elsewhere: Elsewhere | None = None
    sources: Sources = field(repr=False)

    @property
    def relations(self) -> dict[str, AnyRelation]:
        """How levels are related, by the names in the formula."""
        return {block.grouping.relation: block.relation for block in self.blocks if block.relation is not None}

    @property
    def matrices(self) -> dict[str, AnyRelation]:
        """All known matrices, of levels and of effects, by the names in the formula."""
        pieces = [piece for block in self.blocks for piece in block.pieces]
        return self.relations | {piece.structure.matrix: piece.matrix for piece in pieces if piece.matrix is not None}

    @property
    def known_terms(self) -> tuple[str, ...]:
        """Terms of random effects whose covariance has no parameter."""
        pieces = (piece for block in self.blocks for piece in block.pieces)
        return tuple(str(piece.term) for piece in pieces if piece.structure.n_sds(piece.k) == 0)

    @property
    def n(self) -> int:
        """Number of rows used."""
        return len(self.y) if self.elsewhere is None else self.elsewhere.n

    @property
    def p(self) -> int:
        """Number of coefficients that are estimated: columns of X without the aliased ones."""
        return len(self.kept)

    @property
    def fixed_rows(self) -> np.ndarray:
        """All columns of the fixed part, (m, p_all): of all rows, or of a few with the same sums of products."""
        return self.X if self.elsewhere is None else self.elsewhere.stand_in

    def has_response_of(self, other: "Design") -> bool:
        """Whether both have the same response in the same number of rows."""
        if self.elsewhere is None and other.elsewhere is None:
            return np.array_equal(self.y, other.y)
        return self.elsewhere is not None and other.elsewhere is not None and self.elsewhere.equals(other.elsewhere)

    @property
    def n_pairs(self) -> Mapping[tuple[int, int], int] | None:
        """How many pairs of levels of two blocks share a row, where the rows are not in memory."""
        return None if self.elsewhere is None else self.elsewhere.n_pairs

    @property
    def response_spread(self) -> float:
        """Standard deviation of the response less its offset, divided by the number of rows."""
        if self.elsewhere is None:
            return float(np.std(self.y - self.offset))
        return float(np.sqrt(self.elsewhere.response_square / self.n))

    def require_known_spreads(self, what: str) -> None:
        """Refuse what integrates coefficients out, which is no closed form where they make the residual variance.

        Raises
        ------
        ArgumentError
            If the residual variance changes with fitted values.
        """
        if self.residual is not None and self.residual.of_fitted:
            raise ArgumentError(
                f"{what} is not available for a model with residual={self.residual.specification.text!r}: the residual "
                "variance is a function of coefficients and random effects there, which cannot be integrated out in "
                "closed form. The conditional program samples them, program='conditional'."
            )

    def require_one_likelihood(self, what: str) -> None:
        """Refuse what needs one likelihood for all values of the parameters.

        Raises
        ------
        ArgumentError
            If the residual variance changes with fitted values, which are taken as known at each estimate.
        """
        if self.residual is not None and self.residual.of_fitted:
            raise ArgumentError(
                f"{what} is not available for a model with residual={self.residual.specification.text!r}: each "
                "estimate has variances by its own fitted values, so that no two have one likelihood. "
                "docs/residuals.md says what is; with a covariate, power(x), all is."
            )

    def require_independent_residuals(self, what: str) -> None:
        """Refuse what is worked out for independent residuals of one variance alone.

        Parameters
        ----------
        what : str
            What was asked for, as the beginning of a sentence.

        Raises
        ------
        ArgumentError
            If the residuals have a covariance.
        """
        if self.residual is not None:
            raise ArgumentError(
                f"{what} is not available for a model with residual={self.residual.specification.text!r}: it takes "
                "residuals that are independent and of one variance. docs/residuals.md says what is."
            )

    def require_random_effects(self, what: str) -> None:
        """Refuse what is about the levels of random effects where there are none.

        Parameters
        ----------
        what : str
            What was asked for, as the beginning of a sentence.

        Raises
        ------
        ArgumentError
            If the model has none.
        """
        if not self.blocks:
            raise ArgumentError(
                f"{what} takes levels of random effects, and {self.specification.shown} has none: correlated residuals "
                "have no effects. Add a term such as (1 | group)."
            )

    @property
    def known_rows(self) -> UsedRows:
        """Rows that have every level, and the limits of every number: all of them, or those that were kept."""
        return self.used if self.elsewhere is None else self.elsewhere.kept

    def column_mean(self, name: str) -> float:
        """Mean of a column of numbers over the rows used."""
        if self.elsewhere is None:
            return float(self.frame[name].to_numpy(dtype=float).mean())
        return self.elsewhere.column_means[name]

    def offset_mean(self, source: Columns) -> float:
        """Mean over the rows used of one of the offsets.

        Raises
        ------
        RowsError
            If rows are not in memory, and it is computed from columns.
        """
        if self.elsewhere is None:
            return float(source.fitted(self.n).mean())
        if source.are_plain == (True,):
            return self.column_mean(source.uses[0])
        raise RowsError(
            f"This needs the mean of offset({source.names[0]}), and the rows are in {self.elsewhere.where}, not in "
            "memory: compute that column in the rows."
        )

    def few_values(self, name: str, most: int) -> tuple[float, ...]:
        """Distinct values of a column of numbers in the rows used, ascending; none if they are more than `most`."""
        if self.elsewhere is None:
            distinct = np.unique(self.frame[name].to_numpy(dtype=float))
            return tuple(distinct.tolist()) if len(distinct) <= most else ()
        return tuple(map(float, self.elsewhere.few[name]))

    @property
    def frame(self) -> pd.DataFrame:
        """The used columns of the used rows, with plain dtypes."""
        return self.used.frame

    @cached_property
    def labels(self) -> Labels:
        """Names of coefficients, grouping factors, effects and levels, in tables and for ArviZ."""
        names = [self.coefficients[j] for j in self.kept]
        return build_labels(names, self.blocks, has_sigma=self.known_sigma is None, residual=self.residual)

    def with_response(self, y: np.ndarray) -> Self:
        """Return the same design with another response; its `frame` stays that of the data.

        Parameters
        ----------
        y : array, shape (n,)
            For the rows used, offset included.

        Raises
        ------
        DesignError
            If it is not finite, or nothing can be estimated from it.
        """
        y = self._column("y", y)
        bad = ~np.isfinite(y)
        if bad.any():
            raise DesignError(
                f"y has {int(bad.sum())} value(s) that are not finite, the first in row {self.rows[bad.argmax()]!r}: "
                "give numbers, offset included, for all rows used."
            )
        check_sizes([(self.response, y)])
        check_response(y, self.offset, self.response)
        if self.known_sigma is not None:
            check_known_sigma(self.known_sigma, y - self.offset, self.weights, self.response)
        return replace(self, y=y)

    def with_fitted(self, fitted: np.ndarray) -> Self:
        """Return the same design with other fitted values (n,), by which the residual variance changes.

        Raises
        ------
        DesignError
            If one of them has no variance.
        """
        assert self.residual is not None
        return replace(self, residual=self.residual.at_fitted(fitted, self.rows))

    def without_fitted(self) -> Self:
        """Return the same design without what the residual variance has by fitted values."""
        if self.residual is None or not self.residual.of_fitted:
            return self
        return replace(self, residual=self.residual.without_fitted())

    def with_weights(self, weights: np.ndarray) -> Self:
        """Return the same design with other prior weights.

        Parameters
        ----------
        weights : array, shape (n,)
            For the rows used.

        Raises
        ------
        DesignError
            If one of them is not positive and finite.
        """
        weights = self._column("weights", weights)
        check_weights(weights, self.rows)
        sources = replace(self.sources, weights=None)
        return replace(self, weights=weights, has_weights=True, weights_text=None, sources=sources)

    def _column(self, name: str, values: Any) -> np.ndarray:
        array = np.array(values, dtype=float)
        if array.shape != (self.n,):
            raise ArgumentError(
                f"{name} has the shape {array.shape}, and the model uses {self.n} rows: give one number for each of "
                "them, in the order of design.rows."
            )
        return array

    def evaluate(self, new_data: Any, *, response: bool = False, groups: Sequence[str] | None = None) -> NewRows:
        """Compute the columns of the model for new rows.

        Parameters
        ----------
        new_data : data frame
            Rows with the columns of the formula; grouping levels are matched by their labels.
        response : bool
            Whether the response is read too; by default its columns need not be there.
        groups : sequence of str, optional
            Names of the blocks to evaluate; all of them if None. The grouping columns of others need not be there.

        Returns
        -------
        NewRows
            Rows with missing values stay, as rows of NaN and of code −1.

        Raises
        ------
        DesignError
            If a column is lacking or cannot be read.
        PredictionError
            If a column is of another kind than in the fit, or a factor of the fixed part has an unknown level.
        """
        return evaluate_rows(
            self.sources,
            self.blocks,
            new_data,
            fixed=self.specification.fixed,
            fitted=self.known_rows.frame,
            response=response,
            groups=groups,
        )

    def evaluate_weights(self, new_data: Any) -> np.ndarray | None:
        """Compute the prior weights of new rows.

        Parameters
        ----------
        new_data : data frame
            Rows, with the columns of the weights or without.

        Returns
        -------
        array, shape (m,), or None
            NaN where a column is missing a value; None where the weights were not given as a text, or a column is not
            there.
        """
        return evaluate_weights(self.sources, new_data, self.known_rows.frame)

    def __repr__(self) -> str:
        return (
            f"<Design of {self.specification.shown}: {self.n} rows, {self.p} coefficients, {len(self.blocks)} groups>"
        )


def build_design(
    specification: Specification,
    data: Any,
    *,
    weights: Any = None,
    missing: Missing = "drop",
    namespace: Mapping[str, Any] | None = None,
    known_sigma: float | None = None,
    relations: Any = None,
) -> Design:
    """Bring a specification and data together.

    Parameters
    ----------
    specification : Specification
        The model, from `parse_formula`.
    data : data frame
        A pandas, polars or pyarrow table.
    weights : array-like, str or None
        Prior weights w of the residual variance σ²/w: one number for each row of the data, a column's name, or an
        expression such as ``"1 / se**2"``.
    missing : {"drop", "raise"}
        What to do with rows that have missing values in a used column.
    namespace : mapping of str to object, optional
        Functions and values that the formula may use by these names.
    known_sigma : float, optional
        σ where it is known; a term may then have as many random effects as there are rows.
    relations : mapping of str to data frame, KnownRelation, SparseRelation or Pedigree, optional
        Covariance matrices of levels by the names that ``rel()`` uses.

    Returns
    -------
    Design

    Raises
    ------
    DesignError
        If the data do not fit the specification.
    SpecificationError
        If the formula uses a function that is not known, or σ is in other units than the response.

    Warns
    -----
    BayesmmWarning
        If rows are dropped.

    Notes
    -----
    A categorical column keeps the order of its categories (those that occur), as in R; texts, and the Categorical of
    polars, which has no order of its own, are sorted by code point. A boolean column is a factor, ``flag[T.True]``, but
    0 and 1 in arithmetic. Whole numbers become floats, so that ``I(x**2)`` cannot overflow. Terms of a lower order come
    first, as in R: ``x * f + w`` has the columns of x, f, w, x:f.
    """
    names = Names(namespace)
    used = read_used_data(specification, data, weights, missing, names)
    n = len(used.columns)
    sources, blocks = build_sources(
        specification, used.columns, used.numbers, names, read_relations(relations), known_sigma
    )
    check_covariance_parameters(blocks)
    y, offsets = sources.response.number(), [each.number() for each in sources.offsets]
    offset = sum(offsets, np.zeros(n))
    X = sources.fixed.fitted(n)
    prior_weights, weight_source = read_prior_weights(weights, used, names)
    check_sizes([(specification.response, y), *zip(specification.offsets, offsets, strict=True)])
    has_weights = weights is not None
    plain = _find_plain([block.columns for block in blocks] + [X] * (not has_weights))
    if id(X) not in plain:
        check_sizes(zip(sources.fixed.names, X.T, strict=True))
    for block in blocks:
        if id(block.columns) not in plain:
            check_sizes(zip(block.effects, block.columns.T, strict=True))
    check_response(y, offset, specification.response)
    for block in blocks:
        check_block(block)
        if id(block.columns) not in plain or not block.incidence.is_single:
            check_columns(block)
    if specification.residual is None and known_sigma is None:
        check_told_apart(blocks, prior_weights)
    coefficients = distinct_names([sources.fixed])
    check_coefficients(coefficients)
    if id(X) in plain and not has_weights:
        kept = np.arange(len(coefficients))
    else:
        kept = independent_columns(X, prior_weights, has_intercept=coefficients[:1] == (INTERCEPT,))
    check_rank(n, len(kept), has_sigma=known_sigma is None)
    estimated, residual = set(kept.tolist()), None
    if specification.residual is not None:

        def fitted() -> np.ndarray:
            return first_fitted(y, offset, X[:, kept], prior_weights, blocks)

        residual = build_residual(
            specification.residual, used.columns, used.numbers, names, blocks, fitted, known_sigma
        )
    design = Design(
        specification=specification,
        response=specification.response,
        y=y,
        offset=offset,
        weights=prior_weights,
        has_weights=has_weights,
        X=X,
        coefficients=coefficients,
        kept=kept,
        aliased=tuple(name for j, name in enumerate(coefficients) if j not in estimated),
        blocks=blocks,
        rows=used.columns.index,
        n_dropped=used.rows.n_dropped,
        dropped_by=used.rows.dropped_by,
        used=used.columns,
        known_sigma=known_sigma,
        weights_text=weights if isinstance(weights, str) else None,
        user_names=tuple(names.user),
        residual=residual,
        sources=replace(sources, weights=weight_source),
    )
    if known_sigma is not None:
        check_known_sigma(known_sigma, y - offset, prior_weights, design.response)
    if residual is not None or not has_plain_names(coefficients, blocks):
        check_distinct(design.labels)
    return design


def _find_plain(matrices: Sequence[np.ndarray]) -> set[int]:
    """Find which arrays have several columns that their sums show to be in order; one array may be there twice."""
    several = {id(each): each for each in matrices if each.shape[1] > 1}
    return {key for key, columns in several.items() if are_plain(columns)}
