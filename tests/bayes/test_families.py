"""Priors in NumPy are those of the NumPyro programs: densities, quantiles, draws of correlation matrices."""

import ast
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.stats as st

import bayesmm.bayes
from bayesmm.bayes.priors import families
from bayesmm.bayes.programs.distributions import distribution, log_spread_density
from bayesmm.priors import (
    Beta,
    BoxTiao,
    Cauchy,
    Exponential,
    Flat,
    Gamma,
    HalfCauchy,
    HalfNormal,
    HalfStudentT,
    InverseGamma,
    Laplace,
    LogNormal,
    Normal,
    Reciprocal,
    StudentT,
    Uniform,
)
from bayesmm.specification.priors import PRIORS

PROPER = [
    Normal(-3, 2),
    StudentT(2.5, 1, 0.3),
    Cauchy(4, 0.1),
    Laplace(-1, 5),
    HalfNormal(1e-3),
    HalfStudentT(3, 140),
    HalfStudentT(0.7, 2),
    HalfCauchy(25),
    Exponential(0.02),
    Gamma(0.3, 5),
    Gamma(80, 0.5),
    InverseGamma(1.5, 900),
    LogNormal(2, 1.5),
    Uniform(-2, 7),
    Beta(0.5, 0.4),
    Beta(6, 1),
]
IMPROPER = [Flat(), Reciprocal(), BoxTiao(5)]
ROUNDING = 1e-12  # relative to the log density, or absolute where that is below 1
SURE = 1e-4  # p-value below which a distribution is another; fixed seed
SCIPY = {
    "Normal": lambda mean, sd: st.norm(mean, sd),
    "StudentT": lambda df, mean, scale: st.t(df, mean, scale),
    "Cauchy": lambda mean, scale: st.cauchy(mean, scale),
    "Laplace": lambda mean, scale: st.laplace(mean, scale),
    "HalfNormal": lambda sd: st.halfnorm(scale=sd),
    "HalfStudentT": lambda df, scale: st.t(df, 0, scale),  # of twice the upper tail
    "HalfCauchy": lambda scale: st.halfcauchy(scale=scale),
    "Exponential": lambda rate: st.expon(scale=1 / rate),
    "Gamma": lambda shape, rate: st.gamma(shape, scale=1 / rate),
    "InverseGamma": lambda shape, scale: st.invgamma(shape, scale=scale),
    "LogNormal": lambda mean, sd: st.lognorm(sd, scale=np.exp(mean)),
    "Uniform": lambda lower, upper: st.uniform(lower, upper - lower),
    "Beta": lambda a, b: st.beta(a, b),
}


def scipy_cdf(prior, x):
    cdf = SCIPY[prior.family](**prior.numbers).cdf(x)
    return 2.0 * cdf - 1.0 if prior.family == "HalfStudentT" else cdf


def test_every_family_is_covered_here():
    named = {prior.family for prior in [*PROPER, *IMPROPER]}
    assert named == {each.__name__ for each in PRIORS} - {"LKJ"}
    assert set(families.FAMILIES) == {prior.family for prior in PROPER}


@pytest.mark.parametrize("prior", [*PROPER, *IMPROPER], ids=str)
def test_log_densities_are_those_of_numpyro(prior):
    p = np.array([1e-6, 0.01, 0.3, 0.5, 0.77, 0.99, 1 - 1e-6])
    x = families.quantile(prior, p) if prior.is_proper else np.geomspace(0.01, 1e6, 7)
    with jax.enable_x64(True):
        numbers = {name: np.float64(value) for name, value in sorted(prior.numbers.items())}  # as JAX sorts them
        support = "positive numbers" if prior.family == "Flat" else prior.support
        expected = [float(distribution(prior.family, numbers, (), support, np.float64(7.0)).log_prob(at)) for at in x]
    np.testing.assert_allclose(families.log_density(prior, x, 7.0), expected, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize(
    "prior",
    [
        HalfStudentT(3, 2),
        HalfNormal(3, on="variance"),
        InverseGamma(2, 3, on="variance"),
        Flat(on="variance"),
        BoxTiao(5),
        Beta(2, 3),
        Uniform(0.1, 0.9, on="share"),
    ],
    ids=str,
)
def test_densities_of_standard_deviations_are_those_of_numpyro(prior):
    sd = np.array([0.7, 1.0, 2.5])
    with jax.enable_x64(True):
        numbers = {name: np.float64(value) for name, value in prior.numbers.items()}
        expected = log_spread_density(prior.family, prior.stated_for, numbers, sd, np.float64(1.3))
    np.testing.assert_allclose(
        families.log_spread_density(prior, sd, 1.3), np.asarray(expected), rtol=ROUNDING, atol=ROUNDING
    )


@pytest.mark.parametrize("prior", PROPER, ids=str)
def test_quantiles_invert_the_distribution_functions_of_scipy(prior):
    p = np.array([1e-6, 0.01, 0.3, 0.5, 0.77, 0.99, 1 - 1e-6])
    np.testing.assert_allclose(scipy_cdf(prior, families.quantile(prior, p)), p, rtol=1e-8)


@pytest.mark.parametrize("prior", PROPER, ids=str)
def test_draws_have_the_distribution(prior):
    drawn = families.draw(prior, np.random.default_rng(3), 3000)
    assert st.kstest(drawn, lambda x: scipy_cdf(prior, x)).pvalue > SURE


def log_determinant(L):
    return 2.0 * np.log(np.diagonal(L, axis1=-2, axis2=-1)).sum(axis=-1)


@pytest.mark.parametrize(("k", "concentration"), [(2, 0.6), (3, 1.0), (4, 3.0), (7, 0.4)])
def test_correlations_have_the_distribution_of_lewandowskis_vine(k, concentration):
    """Each correlation is a Beta; det R is a product of 1 − ρ², ρ the independent partial correlations of a vine."""
    n, rng = 4000, np.random.default_rng(5)
    L = families.draw_cholesky(k, concentration, rng, n)
    R = L @ L.swapaxes(1, 2)
    np.testing.assert_allclose(np.diagonal(R, axis1=1, axis2=2), 1.0, rtol=1e-12)
    assert (np.triu(L, 1) == 0.0).all()
    shape = concentration - 1.0 + 0.5 * k
    for i, j in zip(*np.tril_indices(k, -1), strict=True):
        assert st.kstest(0.5 * (R[:, i, j] + 1.0), st.beta(shape, shape).cdf).pvalue > SURE
    vine = np.zeros(n)
    for given in range(k - 1):  # how many others a partial correlation is given, and one fewer of them each time
        own = concentration + 0.5 * (k - 2 - given)
        vine += np.log1p(-((2.0 * rng.beta(own, own, (k - 1 - given, n)) - 1.0) ** 2)).sum(axis=0)
    assert st.ks_2samp(log_determinant(L), vine).pvalue > SURE


def test_numpyro_is_loaded_before_parts_of_its_parts_are_imported():
    """ArviZ registers numpyro to be loaded lazily; numpyro.infer first would leave it half loaded."""
    for path in Path(bayesmm.bayes.__file__).parent.rglob("*.py"):
        loaded = False
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("numpyro."):
                assert loaded or not node.module.startswith("numpyro.infer"), f"{path.name}: {ast.unparse(node)}"
            loaded |= isinstance(node, ast.ImportFrom) and node.module == "numpyro"
