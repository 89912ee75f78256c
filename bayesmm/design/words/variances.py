"""Where the variance of the response comes from: fixed effects, grouping factors, residual; R², ICC, shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from bayesmm.arguments import is_one_of
from bayesmm.design.blocks.blocks import RandomBlock
from bayesmm.design.design import Design
from bayesmm.errors import ArgumentError

type Total = Literal["unexplained", "response"]

OTHER_ROWS = ("fixed effects", "residual")  # a grouping factor that is called so keeps its backquotes
TITLES: dict[Total, str] = {
    "unexplained": "Shares of the variance that fixed effects leave",
    "response": "Shares of the variance of the response",
}
EXPLAINED = ("R2 marginal", "R2 conditional", "ICC adjusted", "ICC unadjusted")


class VarianceParts(NamedTuple):
    """The parts of the variance of the response, for one or for many values of the parameters.

    Attributes
    ----------
    fixed : array, shape (...)
        Variance of Xβ over the rows.
    groups : tuple of arrays, shapes (...)
        z'Σz of each grouping factor, the mean over the rows: slopes count where they were measured, and a level's
        variance in a known relation.
    residual : array, shape (...)
        That of the residuals, the mean over the rows: σ²/w, or what their covariance has for each row.
    """

    fixed: np.ndarray
    groups: tuple[np.ndarray, ...]
    residual: np.ndarray

    @property
    def random(self) -> np.ndarray:
        """Of all grouping factors together."""
        return sum(self.groups, 0.0 * self.residual)


class ColumnMoments(NamedTuple):
    """What the parts of the variance are computed from, whatever the values of the parameters.

    Attributes
    ----------
    fixed : array, shape (p, p)
        Covariance over the rows of the columns of the fixed effects.
    groups : tuple of arrays, shapes (k, k)
        Mean over the rows of zz' of each grouping factor.
    residual : float
        Mean of 1/w.
    """

    fixed: np.ndarray
    groups: tuple[np.ndarray, ...]
    residual: float

    def split(self, beta: Any, covariances: Sequence[Any], sigma: Any) -> VarianceParts:
        """Split the variance of the response.

        Parameters
        ----------
        beta : array, shape (..., p)
            Fixed effects.
        covariances : sequence of arrays, shapes (..., k, k)
            Σ of the effects of a level of each grouping factor.
        sigma : array, shape (...)
            Residual standard deviation.

        Notes
        -----
        Of several memberships of a row each counts by itself, with its own columns: effects of different levels are
        independent. Complex arguments give complex parts.
        """
        return VarianceParts(
            fixed=((beta @ self.fixed) * beta).sum(-1),
            groups=tuple(np.einsum("...ij,ij->...", S, M) for S, M in zip(covariances, self.groups, strict=True)),
            residual=sigma**2 * self.residual,
        )


def measure_columns(design: Design) -> ColumnMoments:
    """Average the columns of a design over its rows.

    Parameters
    ----------
    design : Design
        Of the model.
    """
    known = design.elsewhere
    if known is not None:
        return ColumnMoments(
            fixed=known.covariance[np.ix_(design.kept, design.kept)] * known.n / (known.n - 1),
            groups=tuple(block.moments.stacked for block in design.blocks if block.moments is not None),
            residual=known.inverse_weight,
        )
    X = design.X[:, design.kept]
    centred = X - X.mean(axis=0)
    stacked = [_stacked_columns(block) for block in design.blocks]
    return ColumnMoments(
        fixed=centred.T @ centred / (design.n - 1),
        groups=tuple(z.T @ z / design.n for z in stacked),
        residual=float(np.mean(1.0 / design.weights)),
    )


def _stacked_columns(block: RandomBlock) -> np.ndarray:
    """Columns of all memberships (m·n, k), in units of the level's own variance where levels are related."""
    stacked = block.incidence.ordered.stacked()
    if block.relation is None:
        return stacked.columns
    return stacked.columns * np.sqrt(block.relation.variances)[stacked.codes, None]


def explain(parts: VarianceParts) -> list[np.ndarray]:
    """R² marginal and conditional, ICC adjusted and unadjusted, in the order of `EXPLAINED`.

    References
    ----------
    Nakagawa & Schielzeth (2013), Methods Ecol. Evol. 4. Johnson (2014), Methods Ecol. Evol. 5.
    """
    random = parts.random
    unexplained = random + parts.residual
    total = parts.fixed + unexplained
    return [parts.fixed / total, (parts.fixed + random) / total, random / unexplained, random / total]


def share(parts: VarianceParts, total: Total) -> list[np.ndarray]:
    """Shares of the grouping factors and the residual; of the response, those of the fixed effects first."""
    chosen = [*parts.groups, parts.residual]
    if total == "response":
        chosen = [parts.fixed, *chosen]
    whole = sum(chosen[1:], chosen[0])
    return [part / whole for part in chosen]


def share_names(design: Design, total: Any) -> list[str]:
    """Names of the shares, in the order of `share`.

    Raises
    ------
    ArgumentError
        If `total` is not one that there is.
    """
    if not is_one_of(total, ("unexplained", "response")):
        raise ArgumentError(f"total is {total!r}: give 'unexplained' or 'response'.")
    groups = [f"`{block.group}`" if block.group in OTHER_ROWS else block.group for block in design.blocks]
    return [*([OTHER_ROWS[0]] if total == "response" else []), *groups, OTHER_ROWS[1]]
