"""Cholesky factors of correlation matrices as sites: NumPyro's density and coordinates, in fewer operations."""

import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from numpyro.distributions import biject_to, constraints

from bayesmm.bayes.priors.families import cholesky_log_normaliser
from bayesmm.bayes.programs.roots import LKJRoot

ROUNDING = 1e-12  # of numbers of some units


def energy(prior, transform):
    """Density in unconstrained coordinates, and the factor."""

    def value(x):
        factor = transform(x)
        return prior.log_prob(factor) + transform.log_abs_det_jacobian(x, factor), factor

    return jax.jit(jax.value_and_grad(value, has_aux=True))


@pytest.mark.parametrize(("k", "concentration"), [(2, 0.6), (3, 3.0)])
def test_factors_have_numpyros_coordinates_and_density(k, concentration):
    x = np.random.default_rng(k).normal(size=k * (k - 1) // 2)
    with jax.enable_x64(True):
        root = LKJRoot(k, np.float64(concentration), cholesky_log_normaliser(k, concentration))
        found = energy(root, biject_to(root.support))
        expected = energy(dist.LKJCholesky(k, np.float64(concentration)), biject_to(constraints.corr_cholesky))
        for at in (x, np.zeros_like(x)):
            for ours, theirs in zip(jax.tree.leaves(found(at)), jax.tree.leaves(expected(at)), strict=True):
                np.testing.assert_allclose(ours, theirs, rtol=ROUNDING, atol=ROUNDING)


def test_the_transform_is_inverted():
    x = np.random.default_rng(3).normal(size=6)
    with jax.enable_x64(True):
        transform = biject_to(LKJRoot.support)
        np.testing.assert_allclose(jax.jit(lambda x: transform.inv(transform(x)))(x), x, rtol=1e-10)


def test_the_density_of_two_effects_integrates_to_one():
    """In the entry below the diagonal r, with √(1 − r²) on it."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    r = np.sin(0.5 * np.pi * nodes)
    factors = np.zeros((60, 2, 2))
    factors[:, 0, 0], factors[:, 1, 0], factors[:, 1, 1] = 1.0, r, np.sqrt(1.0 - r * r)
    with jax.enable_x64(True):
        density = np.exp(LKJRoot(2, np.float64(2.5), cholesky_log_normaliser(2, 2.5)).log_prob(factors))
    assert (weights * density * 0.5 * np.pi * np.cos(0.5 * np.pi * nodes)).sum() == pytest.approx(1.0, rel=1e-8)
