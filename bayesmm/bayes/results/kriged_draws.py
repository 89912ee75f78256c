"""Draws of the residuals of new rows, given those that each draw leaves of the rows of their groups."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bayesmm.bayes.residual_draws import growth_of
from bayesmm.bayes.results.draws import ParameterDraws
from bayesmm.covariance.residual import GroupedRows
from bayesmm.design.design import Design
from bayesmm.design.predictors import Predictors
from bayesmm.design.seen_residuals import SeenResiduals, read_seen
from bayesmm.errors import PredictionError
from bayesmm.incidence import Incidence
from bayesmm.marginal.residual.kriging import Kriging, lay_out_kriging


class KrigedDraws:
    """What residuals of known rows say of those of new ones, draw by draw.

    Parameters
    ----------
    seen : SeenResiduals
        The new rows, and those of the data in their groups alone.
    residuals : array, shape (D, n)
        Of the latter, over what standard deviations are multiplied by at their expected responses; so are those of the
        new rows that are made of them.
    draws : ParameterDraws
        Parameters.
    together : bool
        Whether new rows of a group have a joint distribution.
    """

    def __init__(self, seen: SeenResiduals, residuals: np.ndarray, draws: ParameterDraws, *, together: bool) -> None:
        assert draws.residual is not None
        self._seen, self._residuals, self._together = seen, residuals, together
        self._public, self._sigma = draws.residual, draws.sigma

    def seen(self, part: slice) -> np.ndarray:
        """Which of some new rows (c,) are of groups of the data."""
        return self._seen.new.groups[part] >= 0

    def expected(self, part: slice, draws: slice) -> np.ndarray:
        """Residuals (D, c) that are expected of some new rows, by some draws; zeros of other groups."""
        return self._take(part, draws, None)

    def drawn(self, part: slice, draws: slice, noise: np.ndarray) -> np.ndarray:
        """Residuals (D, c) of standard normal numbers (D, c); zeros of other groups."""
        return self._take(part, draws, noise)

    def _lay_out(self, part: slice) -> Kriging:
        seen = self._seen
        new = GroupedRows(*(each[part] for each in seen.new))
        together = seen.groups[part] if self._together else np.arange(len(new.groups))
        return lay_out_kriging(seen.correlation, seen.known, new, together)

    def _take(self, part: slice, draws: slice, noise: np.ndarray | None) -> np.ndarray:
        kriging, residuals = self._lay_out(part), self._residuals[draws]
        found = np.zeros((len(residuals), len(self.seen(part))))
        for d, (public, sigma) in enumerate(zip(self._public[draws], self._sigma[draws], strict=True)):
            try:
                for each in kriging.conditionals(public):
                    own = np.einsum("gom,go->gm", each.K, residuals[d][each.known])
                    if noise is not None:
                        own += sigma * np.einsum("gmk,gk->gm", _roots(each.variance), noise[d][each.new])
                    found[d][each.new] = own
            except np.linalg.LinAlgError:
                raise PredictionError(
                    "Residuals of so large a group cannot be as negatively correlated as those of the groups of the "
                    "data: predict with residuals='none'."
                ) from None
        return found


def krige(
    design: Design,
    new_data: Any,
    predictors: Predictors,
    draws: ParameterDraws,
    effects: tuple[np.ndarray, ...],
    weights: np.ndarray,
    *,
    together: bool,
) -> KrigedDraws | None:
    """Take the residuals of rows of the data, of the groups that new rows are of; None where they are not correlated.

    Parameters
    ----------
    design : Design
        Of the data, with effects at new places.
    new_data : data frame
        New rows.
    predictors : Predictors
        Those; codes are places in `effects`.
    draws, effects, weights
        As of `bayesmm.bayes.results.prediction.RowDraws`.
    together : bool
        As of `KrigedDraws`.
    """
    seen = read_seen(design.without_fitted(), new_data, weights, apart=together)
    if seen is None:
        return None
    groups = seen.new.groups
    rows = np.flatnonzero(np.isin(seen.known.groups, groups))
    incidences = []
    for own, block in zip(predictors.incidences, design.blocks, strict=True):
        assert own is not None
        codes = np.full(len(design.residual.levels) + 1, -1)  # type: ignore[union-attr]
        codes[groups] = own.only.codes
        columns = block.incidence.only.columns[rows]
        incidences.append(Incidence.single(codes[seen.known.groups[rows]], columns, own.n_levels))
    known = Predictors(
        index=design.rows[rows],
        X=design.X[rows][:, design.kept],
        offset=design.offset[rows],
        incidences=tuple(incidences),
        n_new=predictors.n_new,
    )
    expected = known.mean(draws.beta, effects)
    assert draws.residual is not None
    left = (design.y[rows] - expected) / growth_of(design, draws.residual, expected)
    some = replace(seen, known=GroupedRows(*(each[rows] for each in seen.known)))
    return KrigedDraws(some, left, draws, together=together)


def _roots(variance: np.ndarray) -> np.ndarray:
    """F (G, m, m) with FF' the variance, which is singular where a row is measured already."""
    values, vectors = np.linalg.eigh(variance)
    return vectors * np.sqrt(np.maximum(values, 0.0))[:, None, :]
