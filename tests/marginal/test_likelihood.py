from dataclasses import replace

import jax
import numpy as np
import pytest
from designs import A_FEW, KINDS, METHODS, SEEDS, SIGMAS, Case, RandomDesign, random_design
from hypothesis import given
from oracle import DenseModel, random_columns

from bayesmm.covariance.layout import Piece
from bayesmm.covariance.table import STRUCTURES
from bayesmm.incidence import Incidence
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.likelihood import (
    condition_factors,
    criterion,
    deviance,
    profile_fixed,
    reduce_products,
)
from bayesmm.marginal.sums.crossproducts import CrossProducts, build_products
from bayesmm.marginal.sums.rows import BlockArrays

RELATIVE = 1e-9  # the engine and the oracle agree to rounding of well-conditioned designs


def profiled(design: RandomDesign, products: CrossProducts, theta: np.ndarray, method: str) -> float:
    """−2 log likelihood for factors on the user's columns, β and σ profiled out."""
    reduced = reduce_products(host, products, condition_factors(host, products, design.factors(theta)))
    fixed = profile_fixed(host, reduced, products)
    return float(deviance(host, reduced, fixed, products, None, float(method == "reml")))


@pytest.mark.parametrize(("shape", "fill"), KINDS)
@given(seed=SEEDS, method=METHODS)
@A_FEW
def test_deviance_of_factors_on_the_users_columns_equals_dense_gaussian(shape, fill, seed, method) -> None:
    case = Case(shape, fill, seed)
    expected = -2.0 * case.design.dense.profiled_log_likelihood(case.design.covariance(case.theta), method)
    assert profiled(case.design, case.products, case.theta, method) == pytest.approx(expected, rel=RELATIVE)


@pytest.mark.parametrize(("shape", "fill"), KINDS)
@given(seed=SEEDS, method=METHODS, sigma=SIGMAS)
@A_FEW
def test_criterion_on_conditioned_columns_equals_dense_gaussian(shape, fill, seed, method, sigma) -> None:
    case = Case(shape, fill, seed, method, sigma)
    found = criterion(host, case.theta, case.products, sigma, case.restriction, layout=case.design.layout)
    dense, G = case.conditioned.dense, case.design.covariance(case.theta)
    used = sigma or dense.profiled_sigma(G, method)
    assert found == pytest.approx(-2.0 * dense.log_likelihood(used**2 * G, used, method), rel=RELATIVE)


@pytest.mark.parametrize("shape", ["nested", "crossed"])
def test_permuting_rows_and_shifting_the_response_leave_the_criterion(shape: str) -> None:
    design = random_design(shape, 4)
    theta = design.random_theta(3)
    order = np.random.default_rng(0).permutation(len(design.y))
    high = 1e9 + design.y
    design = replace(design, y=high - 1e9)  # rounded as the shifted response is
    blocks = (replace(block, incidence=block.incidence.rows(order)) for block in design.blocks)
    moved = RandomDesign(design.X[order], high[order], design.weights[order], tuple(blocks))
    values = [profiled(each, each.products(), theta, "reml") for each in (moved, design)]
    assert values[0] == pytest.approx(values[1], rel=RELATIVE)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_models_without_fixed_effects_have_a_likelihood(method: str) -> None:
    design = random_design("partly", 3)
    bare = RandomDesign(design.X[:, :0], design.y, design.weights, design.blocks)
    theta = bare.random_theta(1)
    expected = -2.0 * bare.dense.profiled_log_likelihood(bare.covariance(theta), method)
    assert profiled(bare, bare.products(), theta, method) == pytest.approx(expected, rel=RELATIVE)


def test_global_precision_setting_is_left_alone() -> None:
    before = jax.config.jax_enable_x64
    design = random_design("one", 1)
    profiled(design, design.products(), design.random_theta(0), "ml")
    assert jax.config.jax_enable_x64 == before


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_more_fixed_effects_than_small_matrices_have_rows_leave_the_criterion_exact(method: str) -> None:
    """From a hundred rows on LAPACK itself is called, and may write over what it is given."""
    rng = np.random.default_rng(0)
    n, p, q = 400, host.LAPACK_FROM + 30, 20
    X, y, codes = np.column_stack([np.ones(n), rng.normal(size=(n, p - 1))]), rng.normal(size=n), np.arange(n) % q
    block = BlockArrays(incidence=Incidence.single(codes, np.ones((n, 1)), q), pieces=(Piece(0, 1, STRUCTURES["us"]),))
    products, _ = build_products(X, y, np.ones(n), [block])
    dense = DenseModel(y=y, X=X, Z=random_columns(codes, np.ones((n, 1)), q))
    found = criterion(host, np.array([0.7]), products, None, float(method == "reml"), layout=(block.pieces,))
    expected = -2.0 * dense.profiled_log_likelihood(0.49 * np.eye(q), method)
    assert found == pytest.approx(expected, rel=RELATIVE)
