"""NumPyro's other kernels, and variational inference, on both programs."""

import jax
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
import scipy.stats as st
from numpyro.infer import HMC, MCMC, NUTS, SVI, BarkerMH, Trace_ELBO
from numpyro.infer.autoguide import AutoMultivariateNormal, AutoNormal
from numpyro.optim import Adam
from programs import density_of

import bayesmm as bmm

ERRORS = 4.5  # Monte Carlo standard errors
KERNELS = {
    "HMC": lambda program: HMC(program, num_steps=5, trajectory_length=None),
    "BarkerMH": BarkerMH,
}  # NUTS: test_programs.py
PROGRAMS = [("marginal", "auto"), ("conditional", 0.5)]


@pytest.fixture(scope="module")
def model():
    return bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"))


@pytest.mark.parametrize(("kind", "how"), PROGRAMS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_takes_steps_on_a_program(model, kernel, kind, how):
    program, data = model.program(kind, parameterisation=how)
    with jax.enable_x64(True):
        chain = MCMC(KERNELS[kernel](program), num_warmup=20, num_samples=20, progress_bar=False)
        chain.run(jax.random.key(0), data)
        draws = {name: np.asarray(values) for name, values in chain.get_samples().items()}
    expected = {"sd_Batch": (20, 1), "sigma": (20,)}
    if kind == "conditional":
        expected |= {"beta": (20, 1), "t_Batch": (20, 6, 1), "b_Batch": (20, 6, 1)}
    for name, shape in expected.items():
        assert draws[name].shape == shape
        assert draws[name].dtype == np.float64
        assert np.isfinite(draws[name]).all()


@pytest.mark.parametrize(("kind", "how"), PROGRAMS)
@pytest.mark.parametrize("guide", [AutoNormal, AutoMultivariateNormal])
def test_a_variational_guide_fits_a_program(model, guide, kind, how):
    program, data = model.program(kind, parameterisation=how)
    with jax.enable_x64(True):
        svi = SVI(program, guide(program), Adam(0.05), Trace_ELBO())
        losses = np.asarray(svi.run(jax.random.key(0), 300, data, progress_bar=False).losses)
    assert np.isfinite(losses).all()
    assert losses[-50:].mean() < losses[:50].mean()


def test_another_likelihood_on_the_linear_predictor_has_the_same_prior(model):
    """Student-t less normal: the difference of the two densities of the residuals, and nothing else."""
    program, data = model.program("conditional", parameterisation="noncentred")

    def robust(data):
        mean, scale = program.linear_predictor(data)
        numpyro.sample("y", dist.StudentT(4.0, mean, scale), obs=data.y)

    z = np.linspace(-1.0, 1.0, 6)[:, None]
    sites = {"sd_Batch": np.array([40.0]), "sigma": np.float64(50.0), "beta": np.array([1520.0]), "z_Batch": z}
    normal, student = (density_of(each, data, sites) for each in (program, robust))
    y, residual_sd = model.design.y, 50.0
    mean = 1520.0 + 40.0 * z[model.design.blocks[0].incidence.only.codes, 0]
    expected = st.t(4.0, mean, residual_sd).logpdf(y).sum() - st.norm(mean, residual_sd).logpdf(y).sum()
    assert student - normal == pytest.approx(expected, rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["marginal", "conditional"])
def test_numpyros_nuts_has_the_posterior_of_sample(model, kind):
    from arviz_stats.base import array_stats

    program, data = model.program(kind)
    with jax.enable_x64(True):
        kernel = NUTS(program, target_accept_prob=0.95)
        chain = MCMC(
            kernel, num_warmup=800, num_samples=1500, num_chains=2, chain_method="vectorized", progress_bar=False
        )
        chain.run(jax.random.key(3), data)
        other = {name: np.asarray(values) for name, values in chain.get_samples(group_by_chain=True).items()}
    own = model.sample(draws=1500, tune=800, chains=2, seed=3, target_accept=0.95, progress=False)
    for name in ("sd_Batch", "sigma"):
        both = [values.reshape(2, 1500) for values in (other[name], own.draws(name))]
        ess = [float(array_stats.ess(values, method="mean", chain_axis=0, draw_axis=1)) for values in both]
        error = np.sqrt(sum(values.var() / n for values, n in zip(both, ess, strict=True)))
        assert min(ess) > 200
        assert abs(both[0].mean() - both[1].mean()) < ERRORS * error
