"""The numbers that the notes of a comparison are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.comparison.prior_pull import prior_pull

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.reml.fit import Fit

NEAR = 0.25  # posterior sds; a shift below this changes nobody's conclusion
ZERO = 1e-6  # an sd below this part of sigma, and a correlation as near to ±1, was meant to be there
WIDER = 0.03  # relative difference of widths that is worth a sentence
ERRORS = 4.0  # Monte Carlo standard errors below which a shift may be chance


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """A comparison in numbers.

    Attributes
    ----------
    fit : Fit
        Point estimates.
    posterior : Posterior
        Draws.
    table : DataFrame
        As `Comparison.table`, with more columns: ``median``, ``q95`` and ``skewness`` of the posterior; ``pull``, by
        how many posterior sds the priors move the mean, and ``puller``, whose prior does most of it; ``on_boundary``,
        whether an sd was estimated as zero, or a correlation as ±1 or not at all; ``differs``, whether the shift is too
        large to be chance or to be ignored.
    random_effects : DataFrame
        As `Comparison.random_effects`.
    """

    fit: Fit
    posterior: Posterior
    table: pd.DataFrame
    random_effects: pd.DataFrame

    @property
    def method(self) -> str:
        """What the estimates are called: "REML" or "ML"."""
        return self.fit.method.upper()

    @property
    def effect_is_certain(self) -> pd.Series:
        """Random effects whose BLUP has no conditional variance, for their variance was estimated as zero."""
        return self.random_effects["std_error"] < ZERO * self.random_effects["sd"]

    @property
    def width_noise(self) -> float:
        """Relative difference of two widths below which it may be chance, or is not worth a sentence."""
        # The standard error of a log standard deviation from N independent draws is 1 / √(2N).
        least = self.table["ess_bulk"].fillna(1.0).clip(lower=1.0).min()
        return max(WIDER, 2.0 / float(np.sqrt(2.0 * least)))

    def of_kind(self, *kinds: str) -> pd.DataFrame:
        """Rows of the table of these kinds."""
        return self.table[self.table["kind"].isin(kinds)]


def gather(fit: Fit, posterior: Posterior, table: pd.DataFrame, random_effects: pd.DataFrame) -> Evidence:
    """Compute what the notes need beyond the tables."""
    draws = _flat_draws(posterior)
    spread = np.where(draws.std(axis=0) > 0, draws.std(axis=0), 1.0)
    on_boundary = _on_boundary(table, fit.sigma)
    interior = table["estimate"].where(~on_boundary, table["mean"])
    pulls = prior_pull(posterior, interior, draws)
    chance = ERRORS / np.sqrt(table["ess_bulk"].fillna(1.0).clip(lower=1.0))
    return Evidence(
        fit=fit,
        posterior=posterior,
        table=table.assign(
            median=np.median(draws, axis=0),
            q95=np.quantile(draws, 0.95, axis=0),
            skewness=(((draws - draws.mean(axis=0)) / spread) ** 3).mean(axis=0),
            pull=pulls.sum(axis=1),
            puller=table.index[np.abs(pulls).argmax(axis=1)],
            on_boundary=on_boundary,
            differs=table["shift"].abs() > chance.clip(lower=NEAR),
        ),
        random_effects=random_effects,
    )


def _on_boundary(table: pd.DataFrame, sigma: float) -> pd.Series:
    zero = (table["kind"] == "sd") & (table["estimate"] < ZERO * sigma)
    return zero | ((table["kind"] == "cor") & ~(table["estimate"].abs() < 1.0 - ZERO))


def _flat_draws(posterior: Posterior) -> np.ndarray:
    """Draws of the parameters in the order of the table, chains joined; shape (N, m)."""
    columns = []
    for row in posterior.labels.parameter_rows():
        values = posterior.draws(row.variable)
        columns.append((values if row.index is None else values[..., row.index]).ravel())
    return np.stack(columns, axis=1)
