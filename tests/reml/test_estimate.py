from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from designs import KINDS, SHAPES, Fill, RandomDesign, random_design

import bayesmm as bmm
from bayesmm.covariance.layout import n_theta, start_theta
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import estimate

SAME = 1e-7  # of −2 log likelihood: what two searches for one minimum may differ by
FEW = 15  # evaluations from the default start
ONE_FIELD = 25  # the same of one field of places, whose nugget, sill and range make a valley
MODELS = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "pastes": "strength ~ 1 + (1 | batch/cask)",
    "penicillin": "diameter ~ 1 + (1 | plate) + (1 | sample)",
    "early": "cog ~ tos * trt + (tos | id)",  # a correlation of −1
    "dyestuff2": "Yield ~ 1 + (1 | Batch)",  # no variance
    "oxboys": "height ~ age + I(age**2) + (age + I(age**2) | Subject)",
    "pixel": "pixel ~ day + I(day**2) + (day | Dog) + (1 | Dog:Side)",
}
WEIGHTS = {
    "bcg": "1 / vi",
    "eight_schools": "1 / sigma**2",
    "school_calendar": "1 / vi",
}  # sampling variances are known
LARGE = {"insteval"}  # half a second a search
IDENTIFIED = [shape for shape in SHAPES if shape not in ("same", "units")]  # variances of its own for each factor


def criterion_of(design: RandomDesign, method: str, fill: Fill = "chosen") -> Criterion:
    return Criterion(design.products(fill), design.layout, method)


@cache
def model_of(name: str) -> bmm.Model:
    return bmm.Model(MODELS[name], bmm.datasets.load(name))


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("name", MODELS)
def test_many_starts_end_at_one_optimum(name: str, method: str) -> None:
    """None of them is called a success at a worse point than the best."""
    model = model_of(name)
    criterion = Criterion(model.problem.products, model.problem.layout, method)
    k = n_theta(criterion.layout)
    random = np.random.default_rng(1).normal(scale=3.0, size=(4, k))
    found = [estimate(criterion, start) for start in (None, np.zeros(k), start_theta(criterion.layout), *random)]
    best = min(each.criterion for each in found)
    assert [each.minimum.converged for each in found] == [True] * 7
    np.testing.assert_allclose([each.criterion for each in found], best, rtol=0, atol=SAME)


@pytest.mark.parametrize("name", [name for name in bmm.datasets.names() if name not in LARGE])
@pytest.mark.filterwarnings("ignore:2 of 378 rows dropped")  # glucose has two missing values
def test_search_from_the_default_start_takes_few_evaluations(name: str) -> None:
    known = {"weights": WEIGHTS[name], "sigma": 1.0} if name in WEIGHTS else {}
    model = bmm.Model(bmm.datasets.describe(name).example, bmm.datasets.load(name), **known)
    for method in ("reml", "ml"):
        minimum = model.fit(method).estimate.minimum
        assert minimum.converged
        assert minimum.n_evaluations <= (ONE_FIELD if name == "meuse" else FEW)


@pytest.mark.parametrize(("shape", "seed"), [("nested", 0), ("clustered", 2), ("islands", 0), ("crossed", 23)])
def test_saddles_on_the_boundary_are_left(shape: str, seed: int) -> None:
    """From zero, where every slope vanishes, a search with corrected Hessians can stop at one."""
    criterion = criterion_of(random_design(shape, seed, n=140), "reml")
    best = estimate(criterion)
    for start in (np.zeros_like(best.minimum.x), start_theta(criterion.layout)):
        found = estimate(criterion, start)
        assert found.minimum.converged
        assert found.criterion == pytest.approx(best.criterion, abs=SAME)


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(("shape", "fill"), [kind for kind in KINDS if kind[0] in IDENTIFIED])
def test_estimates_are_the_dense_ones_at_a_stationary_point(shape: str, fill: Fill, method: str) -> None:
    """On the user's columns, whichever way the plan goes."""
    design = random_design(shape, 2, n=140)
    found = estimate(criterion_of(design, method, fill))
    dense, relative = design.dense, design.covariance_of(list(found.factors))
    G = found.sigma**2 * relative
    assert found.minimum.converged
    assert found.criterion == pytest.approx(-2.0 * dense.profiled_log_likelihood(relative, method), rel=1e-9)
    assert found.sigma == pytest.approx(dense.profiled_sigma(relative, method), rel=1e-7)
    np.testing.assert_allclose(found.beta, dense.fixed_effects(G, found.sigma), rtol=1e-6)
    np.testing.assert_allclose(found.beta_covariance, dense.fixed_effects_covariance(G, found.sigma), rtol=1e-6)
    modes, covariance = dense.random_effects(G, found.sigma), dense.random_effects_covariance(G, found.sigma)
    for f, block in enumerate(design.blocks):
        of_factor = modes[design.offsets[f] : design.offsets[f + 1]].reshape(block.n_levels, -1)
        np.testing.assert_allclose(found.modes[f], of_factor, rtol=0, atol=1e-6)
        expected = np.moveaxis(design.diagonal_blocks(covariance, f), -1, 0)
        np.testing.assert_allclose(found.mode_covariances[f], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", ["nested", "crossed"])
def test_numpy_and_jax_give_the_same_estimate(shape: str) -> None:
    design = random_design(shape, 1)
    for method in ("reml", "ml"):
        criteria = (Criterion(design.products(), design.layout, method, None, engine) for engine in ("numpy", "jax"))
        ours, theirs = map(estimate, criteria)
        assert ours.minimum.converged
        assert theirs.minimum.converged
        assert theirs.criterion == pytest.approx(ours.criterion, abs=1e-9)
        np.testing.assert_allclose(theirs.beta, ours.beta, rtol=1e-6)
        np.testing.assert_allclose(
            theirs.public_parameters.covariance, ours.public_parameters.covariance, rtol=1e-4, atol=1e-6
        )
