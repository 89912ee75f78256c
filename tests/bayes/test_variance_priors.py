"""Priors of variance components against the closed form of a balanced one-way layout, and against the BUGS manual."""

import jax
import numpy as np
import pytest
from numpyro.infer.util import log_density
from programs import compiled
from scipy.integrate import cumulative_simpson

import bayesmm as bmm
from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.priors import Beta, BoxTiao, Flat, InverseGamma, Normal, Reciprocal

SIZE = 5  # rows of a batch
ERRORS = 4.5  # Monte Carlo standard errors; some twenty comparisons, fixed seeds
RELATIVE = 1e-10  # of log densities of some hundreds in float64
PRIORS = {
    "uniform on both variances": {"fixed": Flat(), "sd": Flat(on="variance"), "sigma": Flat(on="variance")},
    "Box and Tiao": {"fixed": Flat(), "sd": BoxTiao(SIZE), "sigma": Reciprocal()},
    "uniform share": {"fixed": Flat(), "sd": Beta(1, 1), "sigma": Reciprocal()},
}


@pytest.fixture(scope="module")
def sums():
    """Levels, and sums of squares within and between."""
    yields = bmm.datasets.load("dyestuff").groupby("Batch", observed=True)["Yield"]
    within = float((yields.var() * (SIZE - 1)).sum())
    return len(yields), within, float(SIZE * yields.mean().var() * (len(yields) - 1))


def closed_form(name, variance, residual, sums):
    """Log posterior density of (sd², σ²), up to a constant; the mean integrated out over a flat prior.

    With s = σ² + K sd² the likelihood is that of two independent scaled chi-squares (Box & Tiao 1973, section 5.2).
    """
    q, within, between = sums
    s = residual + SIZE * variance
    value = -0.5 * (q * (SIZE - 1) * np.log(residual) + within / residual + (q - 1) * np.log(s) + between / s)
    match name:
        case "Box and Tiao":
            return value - np.log(residual) - np.log(s)
        case "uniform share":  # dσ/σ, and d share = σ² / (sd² + σ²)² d sd²
            return value - np.log(residual) + np.log(residual) - 2.0 * np.log(variance + residual)
        case _:
            return value


def jacobian(name, variance, residual):
    """Log of |d(sd², σ²) / d(sites)| of the program: sd² or the share; σ² or σ."""
    match name:
        case "Box and Tiao":
            return 0.5 * np.log(residual)
        case "uniform share":
            return 2.0 * np.log(variance + residual) - np.log(residual) + 0.5 * np.log(residual)
        case _:
            return np.zeros_like(variance)


def sites_at(name, variance, residual):
    match name:
        case "Box and Tiao":
            return {"variance_Batch": [variance], "sigma": np.sqrt(residual)}
        case "uniform share":
            return {"share_Batch": [variance / (variance + residual)], "sigma": np.sqrt(residual)}
        case _:
            return {"variance_Batch": [variance], "variance": residual}


@pytest.mark.parametrize("name", PRIORS)
def test_posterior_density_of_the_variances_is_the_closed_form(build, sums, name):
    case = build("Yield ~ 1 + (1 | Batch)", "dyestuff", priors=PRIORS[name])
    program, data = bind_marginal(case.problem, case.priors)
    variance, residual = (grid.ravel() for grid in np.meshgrid([1.0, 100.0, 1800.0, 2e4, 1e6], [500.0, 2500.0, 9e3]))
    each = [sites_at(name, v, r) for v, r in zip(variance, residual, strict=True)]
    sites = {k: np.array([one[k] for one in each]) for k in each[0]}
    found = compiled(lambda data, s: jax.lax.map(lambda at: log_density(program, (data,), {}, at)[0], s), data, sites)
    difference = found - closed_form(name, variance, residual, sums) - jacobian(name, variance, residual)
    np.testing.assert_allclose(difference, difference.mean(), rtol=RELATIVE)


def exact_quantiles(name, sums, levels):
    """Quantiles of sd and σ by quadrature over their logarithms, wide enough for the heavy tail of sd."""
    log_sd, log_sigma = np.linspace(np.log(1e-3), np.log(1e6), 4001), np.linspace(np.log(20.0), np.log(200.0), 801)
    u, v = np.meshgrid(log_sd, log_sigma, indexing="ij")
    log_weight = closed_form(name, np.exp(2 * u), np.exp(2 * v), sums) + 2 * u + 2 * v
    weight = np.exp(log_weight - log_weight.max())
    quantiles = []
    for axis, grid in ((1, log_sd), (0, log_sigma)):
        cumulative = cumulative_simpson(weight.sum(axis=axis), x=grid, initial=0.0)
        quantiles.append(np.exp(np.interp(levels, cumulative / cumulative[-1], grid)))
    return quantiles


@pytest.mark.slow
@pytest.mark.parametrize(("name", "program"), [("Box and Tiao", "marginal"), ("uniform share", "conditional")])
def test_draws_have_the_quantiles_of_the_closed_form(sums, name, program):
    from arviz_stats.base import array_stats

    model = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"), priors=PRIORS[name])
    posterior = model.sample(draws=2000, tune=700, seed=3, program=program, target_accept=0.95)
    levels = np.array([0.1, 0.5, 0.9])
    draws = [posterior.draws("sd_Batch")[..., 0], posterior.draws("sigma")]
    for values, quantiles in zip(draws, exact_quantiles(name, sums, levels), strict=True):
        for level, quantile in zip(levels, quantiles, strict=True):
            below = (values < quantile).astype(float)
            ess = float(array_stats.ess(below, method="mean", chain_axis=0, draw_axis=1))
            assert below.mean() == pytest.approx(level, abs=ERRORS * np.sqrt(level * (1.0 - level) / ess))


@pytest.mark.slow
def test_rats_have_the_posterior_of_the_bugs_manual():
    """Examples volume 1 of the BUGS manual, "Rats"; means and standard deviations to the digits it prints."""
    vague = InverseGamma(0.001, 0.001, on="variance")
    model = bmm.Model(
        "weight ~ I(day - 22) + (I(day - 22) || rat)",
        bmm.datasets.load("rats"),
        priors={"fixed": Normal(0, 1000), "sd": vague, "sigma": vague},
    )
    posterior = model.sample(draws=2500, tune=700, seed=4)
    slope, sigma = posterior.beta[..., 1], posterior.sigma
    for values, mean, sd in (
        (posterior.beta[..., 0] - 22.0 * slope, 106.6, 3.66),
        (slope, 6.186, 0.109),
        (sigma, 6.093, 0.464),
    ):
        assert values.mean() == pytest.approx(mean, abs=0.05 * sd + 0.5 * 10.0 ** -(3 if mean < 100 else 1))
        assert values.std() == pytest.approx(sd, rel=0.05)
