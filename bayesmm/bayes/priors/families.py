"""The families of priors in NumPy: log densities and quantiles, which compile nothing.

In the programs they are NumPyro's own (`bayesmm.bayes.programs.distributions`); the tests hold these to those.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from scipy import special

from bayesmm.specification.prior import Prior

Floats = Any  # numbers or arrays of them, which broadcast


class Family(NamedTuple):
    """A proper family of one variable.

    Attributes
    ----------
    log_density : callable
        Of values inside the support, and the numbers of the declaration by name.
    quantile : callable
        Of probabilities and the same numbers.
    """

    log_density: Callable[..., Floats]
    quantile: Callable[..., Floats]


def _normal(z: Floats) -> Floats:
    return -0.5 * (z * z + np.log(2.0 * np.pi))


def _student(df: float, z: Floats) -> Floats:
    normaliser = special.gammaln((df + 1.0) / 2.0) - special.gammaln(df / 2.0) - 0.5 * np.log(df * np.pi)
    return normaliser - 0.5 * (df + 1.0) * np.log1p(z * z / df)


def _cauchy(z: Floats) -> Floats:
    return -np.log(np.pi) - np.log1p(z * z)


def _laplace_quantile(p: Floats) -> Floats:
    return -np.sign(p - 0.5) * np.log1p(-2.0 * np.abs(p - 0.5))


HALF = np.log(2.0)  # what cutting a symmetric density at zero adds to its logarithm

FAMILIES = {
    "Normal": Family(
        lambda x, mean, sd: _normal((x - mean) / sd) - np.log(sd),
        lambda p, mean, sd: mean + sd * special.ndtri(p),
    ),
    "StudentT": Family(
        lambda x, df, mean, scale: _student(df, (x - mean) / scale) - np.log(scale),
        lambda p, df, mean, scale: mean + scale * special.stdtrit(df, p),
    ),
    "Cauchy": Family(
        lambda x, mean, scale: _cauchy((x - mean) / scale) - np.log(scale),
        lambda p, mean, scale: mean + scale * np.tan(np.pi * (p - 0.5)),
    ),
    "Laplace": Family(
        lambda x, mean, scale: -np.abs(x - mean) / scale - np.log(2.0 * scale),
        lambda p, mean, scale: mean + scale * _laplace_quantile(p),
    ),
    "HalfNormal": Family(
        lambda x, sd: HALF + _normal(x / sd) - np.log(sd),
        lambda p, sd: sd * np.sqrt(2.0) * special.erfinv(p),
    ),
    "HalfStudentT": Family(
        lambda x, df, scale: HALF + _student(df, x / scale) - np.log(scale),
        lambda p, df, scale: scale * special.stdtrit(df, 0.5 + 0.5 * p),
    ),
    "HalfCauchy": Family(
        lambda x, scale: HALF + _cauchy(x / scale) - np.log(scale),
        lambda p, scale: scale * np.tan(0.5 * np.pi * p),
    ),
    "Exponential": Family(
        lambda x, rate: np.log(rate) - rate * x,
        lambda p, rate: -np.log1p(-p) / rate,
    ),
    "Gamma": Family(
        lambda x, shape, rate: special.xlogy(shape - 1.0, x) - rate * x + shape * np.log(rate) - special.gammaln(shape),
        lambda p, shape, rate: special.gammaincinv(shape, p) / rate,
    ),
    "InverseGamma": Family(
        lambda x, shape, scale: shape * np.log(scale) - special.gammaln(shape) - (shape + 1.0) * np.log(x) - scale / x,
        lambda p, shape, scale: scale / special.gammainccinv(shape, p),
    ),
    "LogNormal": Family(
        lambda x, mean, sd: _normal((np.log(x) - mean) / sd) - np.log(sd * x),
        lambda p, mean, sd: np.exp(mean + sd * special.ndtri(p)),
    ),
    "Uniform": Family(
        lambda x, lower, upper: np.zeros_like(x) - np.log(upper - lower),
        lambda p, lower, upper: lower + (upper - lower) * p,
    ),
    "Beta": Family(
        lambda x, a, b: special.xlogy(a - 1.0, x) + special.xlog1py(b - 1.0, -x) - special.betaln(a, b),
        lambda p, a, b: special.betaincinv(a, b, p),
    ),
}


def log_density(prior: Prior, x: Floats, sigma: float) -> Floats:
    """Evaluate the log density of the quantity that a prior is stated for, inside its support.

    Parameters
    ----------
    prior : Prior
        The declaration.
    x : array, shape (m,)
        Values.
    sigma : float
        Residual standard deviation, for a family whose density depends on it.

    Returns
    -------
    array, shape (m,)
        Up to a constant where the prior is improper.
    """
    match prior.family:
        case "Flat":
            return np.zeros_like(x)
        case "Reciprocal":
            return -np.log(x)
        case "BoxTiao":
            return -np.log(sigma**2 + prior.numbers["size"] * x)
        case family:
            return FAMILIES[family].log_density(x, **prior.numbers)


def log_spread_density(prior: Prior, sd: Floats, sigma: float) -> Floats:
    """Evaluate the log density of standard deviations, whatever the prior is stated for.

    Parameters
    ----------
    prior : Prior
        The declaration.
    sd : array, shape (m,)
        Standard deviations.
    sigma : float
        Residual standard deviation.

    Returns
    -------
    array, shape (m,)
        Up to a constant where the prior is improper.

    Notes
    -----
    p(sd) = p(sd²) 2 sd; and p(sd) = p(s) 2 sd σ² / (sd² + σ²)² for the share s = sd² / (sd² + σ²).
    """
    match prior.stated_for:
        case "variance":
            return log_density(prior, sd**2, sigma) + np.log(2.0 * sd)
        case "share":
            total = sd**2 + sigma**2
            return log_density(prior, sd**2 / total, sigma) + np.log(2.0 * sd * sigma**2 / total**2)
        case _:
            return log_density(prior, sd, sigma)


def quantile(prior: Prior, p: Floats) -> Floats:
    """Quantiles of what a proper prior is stated for, infinite where they are beyond the largest number."""
    return FAMILIES[prior.family].quantile(p, **prior.numbers)


def draw(prior: Prior, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw from a proper prior by inversion: one uniform number for each draw, whatever the family."""
    return quantile(prior, rng.random(n))


def draw_cholesky(k: int, concentration: float, rng: np.random.Generator, n: int) -> np.ndarray:
    """Draw Cholesky factors of correlation matrices R with density ∝ det(R)^(concentration − 1); shape (n, k, k).

    Notes
    -----
    Row i is a direction on the sphere in i dimensions, with squared length Beta(i/2, concentration + (k − 1 − i)/2)
    and the rest of its unit length on the diagonal: the onion method, row by row.

    References
    ----------
    Lewandowski, Kurowicka & Joe (2009). J. Multivar. Anal. 100, section 3.2.
    """
    L = np.zeros((n, k, k))
    L[:, 0, 0] = 1.0
    for i in range(1, k):
        square = special.betaincinv(0.5 * i, concentration + 0.5 * (k - 1 - i), rng.random(n))
        direction = rng.standard_normal((n, i))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        L[:, i, :i] = np.sqrt(square)[:, None] * direction
        L[:, i, i] = np.sqrt(1.0 - square)
    return L


def cholesky_log_normaliser(k: int, concentration: float) -> float:
    """Log of the constant of the density of such factors, in the entries below the diagonal.

    References
    ----------
    Lewandowski, Kurowicka & Joe (2009). J. Multivar. Anal. 100, page 1999.
    """
    lags = np.arange(1, k)
    alpha = concentration + 0.5 * (k - 1)
    ratios = special.gammaln(alpha) - special.gammaln(alpha - 0.5 * lags)
    return float((ratios - 0.5 * lags * np.log(np.pi)).sum())
