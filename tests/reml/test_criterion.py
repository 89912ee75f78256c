import numpy as np
import pytest
from designs import random_design

from bayesmm.marginal.covariance import start_theta
from bayesmm.marginal.crossproducts import build_products
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import estimate


@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("shape", ["nested", "crossed"])
def test_numpy_and_jax_give_the_same_estimate(shape, method, sigma) -> None:
    design = random_design(shape, 1)
    products, _ = build_products(design.X, design.y, design.weights, design.blocks)
    ours, theirs = (estimate(Criterion(products, design.layout, method, sigma, engine)) for engine in ("numpy", "jax"))
    assert ours.minimum.converged
    assert theirs.minimum.converged
    assert theirs.criterion == pytest.approx(ours.criterion, abs=1e-9)
    np.testing.assert_allclose(theirs.beta, ours.beta, rtol=1e-6)
    np.testing.assert_allclose(theirs.spread.covariance, ours.spread.covariance, rtol=1e-4, atol=1e-6)


def test_saddle_on_the_boundary_is_left() -> None:
    design = random_design("crossed", 21, n=140)
    products, _ = build_products(design.X, design.y, design.weights, design.blocks)
    criterion = Criterion(products, design.layout, "reml")
    best = estimate(criterion)
    for start in (np.zeros(len(best.minimum.x)), start_theta(design.layout)):
        found = estimate(criterion, start)
        assert found.minimum.converged
        assert found.criterion == pytest.approx(best.criterion, abs=1e-7)
