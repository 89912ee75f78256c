from dataclasses import replace

import numpy as np
import pytest
from designs import SHAPES, RandomDesign, design_of, random_design

from bayesmm.covariance.layout import start_theta
from bayesmm.covariance.structure import LEAST
from bayesmm.incidence import Incidence
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.start import moment_start


def start_of(design: RandomDesign, method: str = "reml", sigma: float | None = None) -> np.ndarray:
    criterion = Criterion(design.products(), design.layout, method, sigma)
    unit = start_theta(design.layout)
    return moment_start(criterion.evaluate(unit), unit, design.layout)


def one_way(y: np.ndarray, *, slopes: bool = False) -> RandomDesign:
    """Groups, one a row of y; slopes are of one column that is the same in each group."""
    q, m = y.shape
    x = np.column_stack([np.ones(q * m), np.tile(np.arange(float(m)), q)])[:, : 1 + slopes]
    design = design_of(np.repeat(np.arange(q), m), slopes=slopes)
    (block,) = design.blocks
    incidence = Incidence.single(block.incidence.only.codes, x, q)
    return replace(design, X=x, y=y.ravel(), blocks=(replace(block, incidence=incidence),))


@pytest.mark.parametrize("sd", [0.3, 1.0, 5.0])
def test_balanced_one_way_layout_starts_near_the_anova_estimate(sd: float) -> None:
    rng = np.random.default_rng(2)
    q, m = 40, 2_000  # rows a level are many
    y = sd * rng.normal(size=(q, 1)) + rng.normal(size=(q, m))
    within = y.var(axis=1, ddof=1).mean()
    between = y.mean(axis=1).var(ddof=1) - within / m
    (theta,) = start_of(one_way(y))
    assert theta**2 == pytest.approx(between / within, rel=0.03)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_groups_of_equal_means_start_off_zero(method: str) -> None:
    """At zero the slope vanishes, minimum or not."""
    residual = np.random.default_rng(1).normal(size=(8, 6))
    (theta,) = start_of(one_way(residual - residual.mean(axis=1, keepdims=True)), method)
    assert theta == LEAST


@pytest.mark.parametrize("sigma", [None, 0.5])
@pytest.mark.parametrize("shape", SHAPES)
def test_start_is_finite_and_its_factors_are_of_full_rank(shape: str, sigma: float | None) -> None:
    for seed in range(4):
        design = random_design(shape, seed, n=60)
        theta = start_of(design, sigma=sigma)
        assert np.isfinite(theta).all()
        for L in design.factors(theta):
            assert (np.diag(L) > 0).all()


def test_slopes_without_variance_start_off_zero_in_every_direction() -> None:
    residual = np.random.default_rng(3).normal(size=(10, 6))
    X = np.column_stack([np.ones(6), np.arange(6.0)])
    design = one_way(residual - residual @ X @ np.linalg.pinv(X), slopes=True)
    (L,) = design.factors(start_of(design))
    assert np.linalg.svd(L, compute_uv=False).min() >= 0.5 * LEAST
