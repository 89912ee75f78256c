"""R², ICC and shares of variance of a fit, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import pandas as pd

from bayesmm.covariance.layout import assemble_factors
from bayesmm.design.words.explained import Explained
from bayesmm.design.words.variances import (
    EXPLAINED,
    Total,
    VarianceParts,
    explain,
    measure_columns,
    share,
    share_names,
)
from bayesmm.inference.explained.ratio import ratio_interval
from bayesmm.inference.fitted import Fitted
from bayesmm.presenting.columns import in_order
from bayesmm.presenting.intervals import check_level, tails

STEP = 1e-30  # of complex differences, which lose no digits however small it is
EXACT = "exact (Wald 1940; Harville & Fenech 1985)"
DELTA = "are by the delta method on the logit scale: rough where there are few levels."
AT_END = 1e-12  # a share that is nearer to 0 or 1 is at the boundary


def explained(fit: Fitted, level: float) -> Explained:
    """R², ICC and shares with their intervals; see `bayesmm.fit.Fit.explained`."""
    level = check_level(level)
    values, errors = _delta(fit, lambda parts: [*explain(parts), *share(parts, "response")])
    n = len(EXPLAINED)
    table = _tabulate(EXPLAINED, values[:n], errors[:n], level, "quantity")
    shares = _tabulate(share_names(fit.design, "response"), values[n:], errors[n:], level, "group")
    exact, remarks = _exact_icc(fit, level), [f"Intervals {DELTA}"]
    if exact is not None and table.loc["R2 marginal", "estimate"] <= AT_END:
        table.loc[EXPLAINED[1:], ["lower", "upper"]] = exact
        shares.iloc[1:, -2:] = _with_residual(exact)
        remarks = [f"Intervals are {EXACT}."]
    elif exact is not None:
        table.loc["ICC adjusted", ["lower", "upper"]] = exact
        remarks = [f"The interval of the adjusted ICC is {EXACT}. Others {DELTA}"]
    residual = fit.design.residual
    if residual is not None and residual.spreads:
        remarks.append("The variance of the residual is the mean over the rows, which differ in it.")
    if not fit.design.blocks:
        remarks.append("There are no random effects: correlations of residuals explain nothing.")
    if fit.design.blocks and shares["std_error"].iloc[1:].isna().any():
        remarks.append("A share of 0 or 1 is on the boundary and has no standard error.")
    return Explained(
        table=table,
        shares=shares,
        formula=fit.design.specification.shown,
        level=level,
        remarks=tuple(remarks),
    )


def variance_shares(fit: Fitted, total: Total, level: float) -> pd.DataFrame:
    """Shares of the grouping factors in the variance; see `bayesmm.fit.Fit.variance_shares`."""
    level, names = check_level(level), share_names(fit.design, total)
    table = _tabulate(names, *_delta(fit, lambda parts: share(parts, total)), level, "group")
    exact = _exact_icc(fit, level) if total == "unexplained" else None
    if exact is not None:
        table[["lower", "upper"]] = _with_residual(exact)
    return table


def _tabulate(names: Sequence[str], values: np.ndarray, errors: np.ndarray, level: float, head: str) -> pd.DataFrame:
    inside = (values > AT_END) & (values < 1.0 - AT_END)
    logit = np.log(np.where(inside, values / np.where(inside, 1.0 - values, 1.0), 1.0))
    with np.errstate(invalid="ignore"):
        errors = np.where(inside & (errors > 0.0), errors, np.nan)
        half = NormalDist().inv_cdf(tails(level)[1]) * errors / (values * (1.0 - values))
    lower, upper = (1.0 / (1.0 + np.exp(-(logit + way * half))) for way in (-1.0, 1.0))
    columns = {"estimate": values, "std_error": errors, "lower": lower, "upper": upper}
    return pd.DataFrame(in_order(columns), index=pd.Index(names, name=head))


def _delta(fit: Fitted, function: Callable[[VarianceParts], list[np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Values of a function of the parts of the variance, and their standard errors by the delta method.

    (θ, log σ) and β are uncorrelated. What is held on the boundary counts as known.
    """
    estimate, moments = fit.estimate, measure_columns(fit.design)
    criterion = estimate.criterion_function
    at = np.concatenate([estimate.coordinates, estimate.beta])
    n_theta, n_spreads = len(estimate.minimum.x), len(estimate.coordinates)

    def evaluate(parameters: np.ndarray) -> np.ndarray:
        theta, log_sigma, beta = parameters[:n_theta], parameters[n_spreads - 1], parameters[n_spreads:]
        sigma, covariances = np.exp(log_sigma), []
        for L, T in zip(assemble_factors(np, theta, criterion.layout), criterion.products.effect_roots, strict=True):
            factor = sigma * (np.linalg.solve(T, L) if len(T) else L)
            covariances.append(factor @ factor.T)
        parts = moments.split(beta, covariances, sigma)
        if fit.design.residual is not None:
            own = fit.design.residual.mean_variance(parameters[n_theta:], fit.design.weights)
            parts = parts._replace(residual=sigma**2 * own)
        return np.array(function(parts))

    jacobian = np.stack([np.imag(evaluate(at + 1j * STEP * e)) / STEP for e in np.eye(len(at))], axis=1)
    covariance = np.zeros((len(at),) * 2)
    covariance[:n_spreads, :n_spreads] = estimate.parameter_covariance
    covariance[n_spreads:, n_spreads:] = estimate.beta_covariance
    return evaluate(at), np.sqrt(np.maximum(np.einsum("im,mn,in->i", jacobian, covariance, jacobian), 0.0))


def _exact_icc(fit: Fitted, level: float) -> tuple[float, float] | None:
    """Find the exact interval of a model with one variance besides the residual; None where there are more."""
    if fit.design.residual is not None:
        return None
    ends = ratio_interval(fit, level)
    if ends is None:
        return None
    moments = measure_columns(fit.design)
    weight = float(moments.groups[0][0, 0]) / moments.residual  # of σ_b²/σ² in the variance of a row
    lower, upper = (weight * ratio / (1.0 + weight * ratio) if np.isfinite(ratio) else 1.0 for ratio in ends)
    return lower, upper


def _with_residual(ends: tuple[float, float]) -> list[tuple[float, float]]:
    """Limits of the share of the one grouping factor, and of the residual's."""
    lower, upper = ends
    return [(lower, upper), (1.0 - upper, 1.0 - lower)]
