import jax
import numpy as np
import pytest
from designs import SHAPES, RandomDesign, random_design
from hypothesis import given, settings
from hypothesis import strategies as st

import bayesmm.marginal.plan
from bayesmm.marginal import host
from bayesmm.marginal.crossproducts import CrossProducts, build_products
from bayesmm.marginal.density import FixedPrior, draw_effects, log_density
from bayesmm.marginal.fixed_prior import condition_prior
from bayesmm.marginal.likelihood import condition_factors, deviance, profile_fixed, reduce_products
from bayesmm.marginal.padding import pad_products

RELATIVE = 1e-9  # the engine and the oracle agree to rounding of well-conditioned designs
METHODS = ("reml", "ml")


QUICK = {"xla_backend_optimization_level": 0}  # compiled as a whole: run op by op, every op would be compiled alone


def compiled(function, *arguments):
    with jax.enable_x64(True):
        return jax.tree.map(np.asarray, jax.jit(function, compiler_options=QUICK)(*arguments))


def products_of(design: RandomDesign) -> CrossProducts:
    return build_products(design.X, design.y, design.weights, design.blocks)[0]


def padded(design: RandomDesign) -> CrossProducts:
    return pad_products(products_of(design))


def engine_deviance(design: RandomDesign, theta: np.ndarray, method: str) -> float:
    products = products_of(design)
    reduced = reduce_products(host, products, condition_factors(products, design.factors(theta)))
    fixed = profile_fixed(host, reduced, products)
    return float(deviance(host, reduced, fixed, products, None, float(method == "reml")))


def prior_for(
    design: RandomDesign, kind: str, sampled: tuple[int, ...] = ()
) -> tuple[FixedPrior, np.ndarray, np.ndarray]:
    p = design.X.shape[1]
    root = np.random.default_rng(3).normal(size=(p, p)) + 2.0 * np.eye(p)
    mean, precision = (np.zeros(p), np.zeros((p, p))) if kind == "flat" else (np.linspace(-1, 2, p), root @ root.T)
    return condition_prior(padded(design), mean, precision, sampled), mean, precision


@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 10_000), method=st.sampled_from(METHODS))
@settings(max_examples=12, deadline=None)
def test_deviance_equals_dense_gaussian(shape: str, seed: int, method: str) -> None:
    design = random_design(shape, seed)
    theta = design.random_theta(seed)
    expected = -2.0 * design.dense.profiled_log_likelihood(design.covariance(theta), method)
    assert engine_deviance(design, theta, method) == pytest.approx(expected, rel=RELATIVE)


@pytest.mark.parametrize("cost", [1e-6, 1e6], ids=["scattered", "dense product"])
@pytest.mark.parametrize("shape", ["crossed", "three", "clustered", "partly"])
def test_scattered_and_dense_elimination_agree_with_oracle(
    shape: str, cost: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bayesmm.marginal.plan, "SCATTER_NS", cost)
    design = random_design(shape, 7)
    theta = design.random_theta(1)
    expected = -2.0 * design.dense.profiled_log_likelihood(design.covariance(theta), "reml")
    assert engine_deviance(design, theta, "reml") == pytest.approx(expected, rel=RELATIVE)


def test_crossed_factors_inside_clusters_become_one_block_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bayesmm.marginal.plan, "SCATTER_NS", 1e-6)
    design = random_design("clustered", 7)
    _, plan = build_products(design.X, design.y, design.weights, design.blocks)
    assert len(plan.block_sizes) == design.blocks[2].n_levels


def test_nested_chain_leaves_no_dense_remainder() -> None:
    design = random_design("deep", 2)
    _, plan = build_products(design.X, design.y, design.weights, design.blocks)
    assert plan.shape.remainder == ()
    assert [step.factor for step in plan.shape.steps] == [1, 2, 0]


@pytest.mark.parametrize("kind", ["flat", "normal"])
@pytest.mark.parametrize("shape", ["one", "nested", "crossed", "partly"])
def test_log_density_equals_dense_marginal(shape: str, kind: str) -> None:
    design = random_design(shape, 5)
    theta, sigma = design.random_theta(4), 1.7
    prior, mean, precision = prior_for(design, kind)
    value = float(compiled(log_density, padded(design), design.factors(theta), sigma, prior))
    expected = design.dense.log_marginal_density(design.covariance(theta, sigma), sigma, mean, precision)
    assert value == pytest.approx(expected, rel=RELATIVE)


def test_log_density_with_every_coefficient_sampled_equals_dense_conditional() -> None:
    design = random_design("crossed", 5)
    theta, sigma = design.random_theta(4), 0.6
    p = design.X.shape[1]
    beta = np.linspace(4.0, 6.0, p)
    prior, _, _ = prior_for(design, "flat", tuple(range(p)))
    value = float(compiled(log_density, padded(design), design.factors(theta), sigma, prior, beta))
    expected = design.dense.log_conditional_density(beta, design.covariance(theta, sigma), sigma)
    assert value == pytest.approx(expected, rel=RELATIVE)


def test_sampling_one_coefficient_equals_moving_its_column_to_the_response() -> None:
    design = random_design("nested", 8)
    sampled = design.X.shape[1] - 1
    theta, sigma = design.random_theta(4), 0.9
    prior, _, _ = prior_for(design, "flat", (sampled,))
    value = float(compiled(log_density, padded(design), design.factors(theta), sigma, prior, np.array([1.3])))
    moved = RandomDesign(
        np.delete(design.X, sampled, axis=1), design.y - 1.3 * design.X[:, sampled], design.weights, design.blocks
    )
    expected = moved.dense.log_marginal_density(design.covariance(theta, sigma), sigma)
    assert value == pytest.approx(expected, rel=RELATIVE)


@pytest.mark.parametrize("kind", ["flat", "normal"])
@pytest.mark.parametrize("shape", ["nested", "partly"])
def test_draws_have_the_moments_of_the_dense_conditional(shape: str, kind: str) -> None:
    design = random_design(shape, 9, n=60)
    theta, sigma = 0.5 * design.random_theta(6), 1.4
    prior, mean, precision = prior_for(design, kind)
    products, factors = padded(design), design.factors(theta)

    def draw(key):
        effects = draw_effects(products, factors, sigma, prior, key)
        b = [b[: block.n_levels].ravel() for b, block in zip(effects.b, design.blocks, strict=True)]
        return jax.numpy.concatenate([effects.beta, *b])

    with jax.enable_x64(True):
        draws = np.asarray(jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 40_000)))
    centre = compiled(lambda: draw_effects(products, factors, sigma, prior, None))
    expected, covariance = design.dense.joint_moments(design.covariance(theta, sigma), sigma, mean, precision)
    p = design.X.shape[1]
    np.testing.assert_allclose(np.asarray(centre.beta), expected[:p], rtol=1e-8, atol=1e-8)
    sd = np.sqrt(np.diag(covariance))
    assert np.abs((draws.mean(0) - expected) / sd).max() < 5.0 / np.sqrt(len(draws))
    correlation_error = (np.cov(draws.T) - covariance) / np.outer(sd, sd)
    assert np.abs(correlation_error).max() < 7.0 / np.sqrt(len(draws))


@pytest.mark.parametrize("shape", ["nested", "crossed"])
def test_permuting_rows_and_shifting_the_response_leave_the_criterion(shape: str) -> None:
    design = random_design(shape, 4)
    theta = design.random_theta(3)
    order = np.random.default_rng(0).permutation(len(design.y))
    blocks = tuple(
        type(block)(
            codes=block.codes[order], columns=block.columns[order], n_levels=block.n_levels, pieces=block.pieces
        )
        for block in design.blocks
    )
    moved = RandomDesign(design.X[order], design.y[order] + 1e9, design.weights[order], blocks)
    assert engine_deviance(moved, theta, "reml") == pytest.approx(engine_deviance(design, theta, "reml"), rel=1e-9)


def test_zero_factor_gives_ordinary_least_squares() -> None:
    design = random_design("crossed", 4)
    theta = np.zeros(len(design.random_theta(0)))
    expected = -2.0 * design.dense.profiled_log_likelihood(design.covariance(theta), "ml")
    assert engine_deviance(design, theta, "ml") == pytest.approx(expected, rel=RELATIVE)


def test_global_precision_setting_is_left_alone() -> None:
    before = jax.config.jax_enable_x64
    engine_deviance(random_design("one", 1), np.ones(len(random_design("one", 1).random_theta(0))), "ml")
    assert jax.config.jax_enable_x64 == before
