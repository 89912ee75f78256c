import numpy as np
import pytest
from designs import random_design

import bayesmm.reml.criterion
from bayesmm.marginal.covariance import start_theta
from bayesmm.marginal.crossproducts import build_products
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import estimate


@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_large_and_small_designs_are_searched_to_the_same_estimate(method, sigma, monkeypatch) -> None:
    design = random_design("nested", 1)
    products, plan = build_products(design.X, design.y, design.weights, design.blocks)
    exact = Criterion(products, design.layout, method, sigma)
    small = estimate(exact, plan.n_levels)
    theta = start_theta(design.layout)
    at_small = exact.derivatives(theta)
    monkeypatch.setattr(bayesmm.reml.criterion, "LARGE", 0)
    gradients_only = Criterion(products, design.layout, method, sigma)
    large = estimate(gradients_only, plan.n_levels)
    assert small.minimum.converged
    assert large.minimum.converged
    assert large.criterion == pytest.approx(small.criterion, abs=1e-8)
    at_large = gradients_only.derivatives(theta)
    np.testing.assert_allclose(at_large.hessian, at_small.hessian, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        at_large.residual_square_gradient, at_small.residual_square_gradient, rtol=1e-6, atol=1e-6
    )
    np.testing.assert_allclose(large.spread.covariance, small.spread.covariance, rtol=2e-3, atol=1e-5)


def test_saddle_on_the_boundary_is_left_without_exact_hessians(monkeypatch) -> None:
    design = random_design("crossed", 21, n=140)
    products, plan = build_products(design.X, design.y, design.weights, design.blocks)
    best = estimate(Criterion(products, design.layout, "reml"), plan.n_levels)
    monkeypatch.setattr(bayesmm.reml.criterion, "LARGE", 0)
    for start in (np.zeros(len(best.minimum.x)), start_theta(design.layout)):
        found = estimate(Criterion(products, design.layout, "reml"), plan.n_levels, start)
        assert found.minimum.converged
        assert found.criterion == pytest.approx(best.criterion, abs=1e-7)
