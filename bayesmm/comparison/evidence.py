"""The numbers that the notes of a comparison are made from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from bayesmm.bayes.priors.quantities import prior_quantities
from bayesmm.comparison.prior_pull import prior_pull
from bayesmm.comparison.suspects import Suspect, find_suspects

if TYPE_CHECKING:
    from bayesmm.bayes.posterior import Posterior
    from bayesmm.fit.fit import Fit

NEAR = 0.25  # posterior sds; a shift below this changes nobody's conclusion
ERRORS = 4.0  # Monte Carlo standard errors below which a shift may be chance
SKEWED = 0.3  # skewness from which a tail is worth naming
WIDER = 0.03  # relative difference of widths that is worth a sentence
ZERO = 1e-6  # part of a posterior sd below which a conditional sd is zero
# posterior sds: the mean of a distribution with one peak is within √3 sds of it (Johnson & Rogers 1951, Ann. Math.
# Stat. 22), and under flat priors the estimate is the peak, though of all parameters together: what is further away has
# other reasons than a tail
FURTHEST = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter in numbers.

    Attributes
    ----------
    name, kind, group : str
        As in the table; group "" where there is none.
    estimate, std_error, fit_lower, fit_upper : float
        Of the fit.
    mean, sd, lower, upper, median, q95, skewness : float
        Of the posterior.
    shift : float
        (mean − estimate) / sd.
    pull, puller : float, str
        By how many posterior sds the priors move the mean, and the parameter whose prior does most of it.
    on_boundary : bool
        Whether an sd was estimated as zero, or a correlation as ±1 or not at all.
    differs : bool
        Whether the shift is too large to be chance or to be ignored.
    follows_from : str
        Where the effects are ("at the mean of Days") whose standard deviations and correlations this one is a function
        of, if those shift by no more than their tails explain; else "".
    """

    name: str
    kind: str
    group: str
    estimate: float
    std_error: float
    fit_lower: float
    fit_upper: float
    mean: float
    sd: float
    lower: float
    upper: float
    median: float
    q95: float
    skewness: float
    shift: float
    pull: float
    puller: str
    on_boundary: bool
    differs: bool
    follows_from: str

    @property
    def is_pulled(self) -> bool:
        """Whether the priors matter, and in the direction of the shift."""
        return self.differs and abs(self.pull) > NEAR and self.pull * self.shift > 0

    @property
    def is_far(self) -> bool:
        """Whether the estimate lies further from the mean than in any distribution with its peak there.

        A correlation on the boundary need not be a peak: it is undefined where a standard deviation is zero.
        """
        return abs(self.shift) > FURTHEST and not (self.kind == "cor" and self.on_boundary)

    @property
    def is_skewed(self) -> bool:
        """Whether a long tail draws the mean away from the peak, beyond what the priors explain."""
        rest = self.shift - self.pull
        has_tail = abs(self.skewness) > SKEWED and rest * self.skewness > 0
        return self.differs and not self.on_boundary and has_tail and abs(rest) > NEAR / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """A comparison in numbers.

    Attributes
    ----------
    fit : Fit
        Point estimates.
    posterior : Posterior
        Draws.
    parameters : tuple of Parameter
        In the order of the table.
    random_effects : DataFrame
        As `Comparison.random_effects`.
    suspects : tuple of Suspect
        Priors that speak against the estimates, where a parameter is far from them.
    width_noise : float
        Relative difference of two widths below which it may be chance, or is not worth a sentence.
    """

    fit: Fit
    posterior: Posterior
    parameters: tuple[Parameter, ...]
    random_effects: pd.DataFrame
    suspects: tuple[Suspect, ...]
    width_noise: float

    @property
    def method(self) -> str:
        """What the estimates are called: "REML" or "ML"."""
        return self.fit.method.upper()

    def of_kind(self, *kinds: str) -> list[Parameter]:
        """Parameters of these kinds."""
        return [parameter for parameter in self.parameters if parameter.kind in kinds]


def gather(fit: Fit, posterior: Posterior, table: pd.DataFrame, random_effects: pd.DataFrame) -> Evidence:
    """Compute what the notes need beyond the tables."""
    draws = _flat_draws(posterior)
    ess = np.maximum(table["ess_bulk"].fillna(1.0).to_numpy(dtype=float), 1.0)
    on_boundary = np.concatenate(
        [np.zeros(len(fit.labels.coefficients), bool), fit.estimate.public_parameters.on_boundary]
    )
    on_boundary = on_boundary[: len(table)]  # σ is last, and left out where it is known
    on_boundary |= table["kind"].eq("cor").to_numpy() & table["estimate"].isna().to_numpy()
    estimates = pd.Series(table["estimate"])
    interior = pd.Series(np.where(on_boundary, table["mean"], table["estimate"]), index=table.index)
    pulls = prior_pull(posterior, interior, draws)
    more = table.assign(
        group=table["group"].fillna(""),
        lower=table["posterior_lower"],
        upper=table["posterior_upper"],
        median=np.median(draws, axis=0),
        q95=np.quantile(draws, 0.95, axis=0),
        skewness=_skewness(draws),
        pull=pulls.sum(axis=1),
        puller=table.index[np.abs(pulls).argmax(axis=1)],
        on_boundary=on_boundary,
        differs=table["shift"].abs() > np.maximum(NEAR, ERRORS / np.sqrt(ess)),
        follows_from=_origins(posterior, estimates, draws, ess),
    )
    names = [name for name in Parameter.__dataclass_fields__ if name != "name"]
    records = more.reindex(columns=names).to_dict("index")
    # The standard error of the logarithm of a standard deviation from N independent draws is 1 / √(2N).
    noise = max(WIDER, 2.0 / float(np.sqrt(2.0 * ess.min())))
    parameters = tuple(Parameter(name=str(name), **values) for name, values in records.items())
    is_far = any(each.is_far for each in parameters)
    return Evidence(
        fit=fit,
        posterior=posterior,
        parameters=parameters,
        random_effects=random_effects,
        suspects=find_suspects(fit, posterior, estimates, draws) if is_far else (),
        width_noise=noise,
    )


def effect_is_certain(random_effects: pd.DataFrame) -> np.ndarray:
    """Find random effects whose BLUP has no conditional variance, for their variance was estimated as zero."""
    return random_effects["std_error"].to_numpy() < ZERO * random_effects["sd"].to_numpy()


def _origins(posterior: Posterior, estimates: pd.Series, draws: np.ndarray, ess: np.ndarray) -> list[str]:
    """Find standard deviations and correlations at the origin of covariates that follow from those at the means."""
    priors, labels = posterior.priors, posterior.labels
    quantities = prior_quantities(priors, labels, draws)
    shift = quantities.mean(axis=0) - prior_quantities(priors, labels, estimates.to_numpy(dtype=float))
    shift /= np.maximum(quantities.std(axis=0), np.finfo(float).tiny)
    skewness = _skewness(quantities)
    has_tail = (np.abs(skewness) > SKEWED) & (shift * skewness > 0)
    explained = (np.abs(shift) <= np.maximum(NEAR, ERRORS / np.sqrt(ess))) | (has_tail & (np.abs(shift) <= FURTHEST))
    by_name = dict(zip([row.name for row in priors.rows], explained, strict=True))
    origins = []
    for row in priors.rows:
        same_group = [other.name for other in priors.rows if other.group == row.group and other.kind in ("sd", "cor")]
        follows = row.kind in ("sd", "cor") and all(by_name[name] for name in same_group)
        origins.append(row.where if follows else "")
    return origins


def _skewness(draws: np.ndarray) -> np.ndarray:
    spread = draws.std(axis=0)
    return (((draws - draws.mean(axis=0)) / np.where(spread > 0, spread, 1.0)) ** 3).mean(axis=0)


def _flat_draws(posterior: Posterior) -> np.ndarray:
    """Draws of the parameters in the order of the table, chains joined; shape (N, m)."""
    columns = []
    for row in posterior.labels.parameter_rows():
        values = posterior.draws(row.variable)
        columns.append((values if row.index is None else values[..., row.index]).ravel())
    return np.stack(columns, axis=1)
