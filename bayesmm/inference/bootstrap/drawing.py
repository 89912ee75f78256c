"""Responses of a bootstrap, drawn as sums where that suffices, and as rows where not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bayesmm.covariance.layout import assemble_factors
from bayesmm.inference.bootstrap.resampling import DrawRows, parametric_rows, residual_rows
from bayesmm.inference.fitted import Fitted
from bayesmm.inference.simulated_responses import draw_departures
from bayesmm.marginal.many.drawn import SumSource
from bayesmm.marginal.residual.drawn import RowSource
from bayesmm.marginal.residual.whitened import ResidualRows
from bayesmm.marginal.sums.responses import Responses
from bayesmm.reml.criterion import Criterion

NUMBERS = 2**22  # held at once in the sums of responses, or in their rows
MOST = 500  # replicates at a time


class ResponseSource:
    """Responses that are drawn from a fit, one for each stream of random numbers.

    Parameters
    ----------
    fit : Fit
        Whose estimates are taken for the truth.
    kind : {"parametric", "residual"}
        As in `bayesmm.fit.fit.Fit.bootstrap`.
    with_rows : bool
        Whether rows are needed, and not their sums alone.

    Attributes
    ----------
    at_once : int
        For how many streams there is room.
    """

    def __init__(self, fit: Fitted, kind: Literal["parametric", "residual"], *, with_rows: bool) -> None:
        self._fit, criterion = fit, fit.estimate.criterion_function
        self._factors = assemble_factors(np, fit.estimate.minimum.x, criterion.layout)
        self._sums = sum_source(criterion) if kind == "parametric" and not with_rows else None
        self._rows: DrawRows | None = None
        size = sum(G.shape[0] * G.shape[2] for G in fit.problem.products.diagonal) + fit.design.p
        if self._sums is None:
            self._rows = (parametric_rows if kind == "parametric" else residual_rows)(fit)
            size += fit.n
        self.at_once = int(np.clip(NUMBERS // size, 1, MOST))

    def draw(self, streams: Sequence[np.random.Generator]) -> tuple[Responses, np.ndarray | None]:
        """Draw a response from each stream: what the likelihood takes of them, and their rows (n, m) if there are."""
        if self._sums is not None:
            fit = self._fit
            return self._sums.draw(streams, self._factors, fit.sigma, fit.estimate.beta), None
        assert self._rows is not None
        rows = self._rows(streams)
        return self._fit.problem.sum_responses(rows), rows


class FewRowsSource:
    """Responses of rows that are not in memory, and whose residuals have a covariance, on few rows.

    Parameters
    ----------
    fit : Fit
        Whose estimates are taken for the truth.
    """

    def __init__(self, fit: Fitted) -> None:
        self._fit, self._source = fit, RowSource(fit.problem.residual_rows)

    def draw(self, streams: Sequence[np.random.Generator]) -> list[ResidualRows]:
        """Draw a response from each stream."""
        at, rows = self._fit.estimate, self._source.rows
        assert at.residual is not None
        drawn = draw_departures(self._source, rows, self._fit.design, at.factors, at.sigma, streams, at.residual.public)
        return [rows.around(at.beta, each) for each in drawn.T]


def sum_source(criterion: Criterion) -> SumSource | None:
    """Draw sums, unless these would be inexact, or levels are related by a sparse matrix."""
    if criterion.products.sparse is not None or (criterion.has_many_effects and not criterion.products.is_apart):
        return None
    source = SumSource(criterion.products)
    return source if source.is_exact else None
