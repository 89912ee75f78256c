"""Sensitivity to priors by power-scaling, with a sentence of advice for each parameter."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import numpy as np
import pandas as pd
from arviz_base import from_dict
from arviz_stats import psense
from xarray import DataTree

from bayesmm.bayes.priors.quantities import prior_quantities
from bayesmm.bayes.priors.resolution import PriorRow
from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.bayes.programs.distributions import distribution
from bayesmm.bayes.programs.program import MarginalData
from bayesmm.bayes.residual_draws import residuals_of
from bayesmm.bayes.results.drawn import DrawnModel
from bayesmm.bayes.results.draws import ParameterDraws, map_draws, read_draws
from bayesmm.bayes.results.recovered import read_effects
from bayesmm.bayes.results.tables import stack_parameters
from bayesmm.covariance.residual import Correlation
from bayesmm.design.predictors import build_predictors
from bayesmm.errors import PriorError
from bayesmm.inside_jax import inside_jax
from bayesmm.marginal.in_jax.density import FixedPrior, log_density
from bayesmm.marginal.in_jax.fixed_prior import condition_prior
from bayesmm.marginal.leave_out.leave_out import Draw
from bayesmm.presenting.progress import progress_bar
from bayesmm.specification.priors import Flat

CONFLICT = "potential prior-data conflict"  # the words of ArviZ
STRONG = "potential strong prior / weak likelihood"
SOUND = "✓"


def sensitivity(posterior: DrawnModel, threshold: float, progress: bool | None = False) -> pd.DataFrame:
    """Power-scaling sensitivities of all parameters; see `Posterior.sensitivity`."""
    rows = posterior.priors.rows
    if not any(_says_something(row) for row in rows):
        raise PriorError(
            "All priors are flat, and a flat prior to any power is the same prior: there is no sensitivity to measure. "
            "Sample under proper priors, such as the defaults, and compare."
        )
    tree = scaling_tree(posterior, progress)
    is_fixed = np.ptp(tree["posterior"]["parameter"].to_numpy(), axis=(0, 1)) == 0.0  # a correlation of one direction
    with np.errstate(invalid="ignore"):
        found = {group: psense(tree, group=group)["parameter"].to_numpy() for group in ("prior", "likelihood")}
    moved = {group: np.where(is_fixed, 0.0, values) for group, values in found.items()}
    table = pd.DataFrame(moved, index=pd.Index([row.name for row in rows], name="parameter"))
    table["has_prior"] = [_says_something(row) for row in rows]
    table["diagnosis"] = [_diagnose(*pair, threshold) for pair in zip(table["prior"], table["likelihood"], strict=True)]
    table["advice"] = [_advise(row, diagnosis) for row, diagnosis in zip(rows, table["diagnosis"], strict=True)]
    return table


def scaling_tree(posterior: DrawnModel, progress: bool | None = False) -> DataTree:
    """Draws of the parameters, with what power-scaling scales.

    Parameters
    ----------
    posterior : DrawnModel
        The draws.
    progress : bool, optional
        Whether to show a progress bar; None shows it where a person can see it.

    Returns
    -------
    xarray.DataTree
        Groups posterior (``parameter``, in the order of the table), log_prior (``parameter``: of each row's own prior,
        up to a constant; that of a correlation matrix with its first correlation) and log_likelihood (``y``: of all
        data, given the parameters, random effects integrated out; given random effects too where the residual variance
        changes with fitted values).
    """
    draws = read_draws(posterior)
    rows, shape = posterior.priors.rows, draws.shape
    priors = _log_priors(posterior, draws)
    likelihood = _log_likelihood(posterior, draws, progress)
    return from_dict(
        {
            "posterior": {"parameter": stack_parameters(posterior.data, posterior.labels)},
            "log_prior": {"parameter": priors.reshape(*shape, len(rows))},
            "log_likelihood": {"y": likelihood.reshape(*shape, 1)},
        },
        dims={"parameter": ["name"], "y": ["data"]},
        coords={"name": [row.name for row in rows], "data": ["all"]},
    )


def _says_something(row: PriorRow) -> bool:
    """Whether the density is not constant."""
    if row.kind == "cor":
        return row.prior.family not in ("Uniform", "Flat", "LKJ") or getattr(row.prior, "concentration", 1.0) != 1.0
    return not isinstance(row.prior, Flat) and row.prior.family != "Uniform"


def _log_priors(posterior: DrawnModel, draws: ParameterDraws) -> np.ndarray:
    """Log density of each row's prior, on the scale that it was stated for; (D, rows)."""
    rows, labels = posterior.priors.rows, posterior.labels
    values = stack_parameters(posterior.data, labels).reshape(len(draws.sigma), -1)
    quantities = prior_quantities(posterior.priors, labels, values)
    densities = np.zeros(values.shape)
    sigma: Any = draws.sigma  # a NumPy array in the place of a JAX one
    with inside_jax():
        for j, row in enumerate(rows):
            if row.kind == "cor" or not _says_something(row):
                continue
            value = quantities[:, j]
            if row.kind not in ("fixed", "exponent") and row.prior.stated_for == "variance":
                value = value**2
            elif row.kind == "sd" and row.prior.stated_for == "share":
                value = value**2 / (value**2 + draws.sigma**2)
            prior = distribution(row.prior.family, _numbers(row), (), row.prior.support, sigma)
            densities[:, j] = np.asarray(prior.log_prob(value))
    names = [row.name for row in rows]
    for piece in posterior.priors.matrices:
        own = [names.index(name) for name in piece.rows]
        densities[:, own[0]] = piece.log_density(posterior.priors.of_matrix(piece), quantities[:, own])
    return densities


def _numbers(row: PriorRow) -> dict[str, Any]:
    return {name: np.float64(value) for name, value in row.prior.numbers.items()}


def _log_likelihood(posterior: DrawnModel, draws: ParameterDraws, progress: bool | None) -> np.ndarray:
    """Evaluate log p(y | β, covariances, σ), random effects integrated out; given them where they make variances."""
    design = posterior.design
    if design.residual is not None and design.residual.growth:
        assert draws.residual is not None
        mean = build_predictors(design).mean(draws.beta, read_effects(posterior, draws, progress=progress))
        return residuals_of(design, draws.residual, draws.sigma, mean).groups(design.y - mean)[0].sum(axis=1)
    program, data = bind_marginal(posterior.problem, posterior.priors)
    p = draws.beta.shape[1]
    everything_sampled = condition_prior(data.products, np.zeros(p), np.zeros((p, p)), range(p))
    stacked: Any = {
        "factors": draws.factors(),
        "sigma": draws.sigma,
        "beta": draws.beta,
        "residual": draws.residual,
    }
    evaluate = partial(_densities, correlation=program.correlation)
    with progress_bar("evaluating the likelihood", len(draws.sigma), progress) as bar:
        return map_draws(evaluate, (data, everything_sampled), Draw(**stacked), bar=bar)


@partial(jax.jit, static_argnames=("batch", "correlation"))
def _densities(data: MarginalData, prior: FixedPrior, draws: Draw, batch: int, correlation: Correlation | None) -> Any:
    def one(draw: Draw) -> Any:
        products = data.at(correlation, draw.residual)
        return log_density(products, [F / draw.sigma for F in draw.factors], draw.sigma, prior, draw.beta)

    return jax.lax.map(one, draws, batch_size=batch)


def _diagnose(prior: float, likelihood: float, threshold: float) -> str:
    if prior < threshold:
        return SOUND
    return CONFLICT if likelihood >= threshold else STRONG


def _advise(row: PriorRow, diagnosis: str) -> str:
    if diagnosis == SOUND:
        return ""
    if not _says_something(row):
        return f"{row.name!r} has no informative prior of its own, but moves with those of others: look at theirs."
    if diagnosis == CONFLICT:
        return f"Data and priors pull at {row.name!r}: check that {row.prior} is what you mean, or make it wider."
    return f"The data say little about {row.name!r}: justify {row.prior}, and report the result under another one too."
