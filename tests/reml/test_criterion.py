from typing import Any

import numpy as np
import pandas as pd
import pytest
from designs import A_FEW, KINDS, METHODS, SEEDS, SIGMAS, Case
from hypothesis import given

from bayesmm import Model
from bayesmm.covariance.layout import start_theta
from bayesmm.marginal.likelihood.evaluation import Evaluated
from bayesmm.reml.criterion import Criterion

DIFFERENCES = 1e-6  # of the largest entry: central differences of exact gradients
TWO_PROGRAMS = 1e-10  # of the largest entry


def criterion_of(case: Case, engine: str = "numpy") -> Criterion:
    return Criterion(case.products, case.design.layout, case.method, case.sigma, engine)


@pytest.mark.parametrize(("shape", "fill"), KINDS)
@given(seed=SEEDS, method=METHODS, sigma=SIGMAS)
@A_FEW
def test_hessian_of_the_criterion_equals_the_dense_one(shape, fill, seed, method, sigma) -> None:
    case = Case(shape, fill, seed, method, sigma)
    found, dense = criterion_of(case).derivatives(case.theta), case.dense()
    assert found.value == pytest.approx(dense.value, rel=1e-9)
    largest = np.abs(dense.hessian).max()
    np.testing.assert_allclose(found.hessian, dense.hessian, rtol=0, atol=DIFFERENCES * largest)


@pytest.mark.parametrize(
    ("shape", "fill", "sigma"),
    [("nested", "chosen", None), ("crossed", "product", 1.3), ("clustered", "scatter", None)],
)
def test_numpy_and_jax_give_the_same_evaluation(shape, fill, sigma) -> None:
    for method in ("reml", "ml"):
        case = Case(shape, fill, 1, method, sigma)
        ours, theirs = (criterion_of(case, engine).evaluate(case.theta) for engine in ("numpy", "jax"))
        for one, other in zip(leaves(ours), leaves(theirs), strict=True):
            assert isinstance(other, np.ndarray)
            np.testing.assert_allclose(other, one, rtol=0, atol=TWO_PROGRAMS * max(1.0, np.abs(one).max(initial=0.0)))


def leaves(evaluated: Evaluated) -> list[np.ndarray]:
    """All but what is no array: a function, which a compiled program cannot return."""
    return [
        np.asarray(leaf) for part in evaluated[:-1] for leaf in (part if isinstance(part, (list, tuple)) else [part])
    ]


@pytest.mark.parametrize(("shape", "fill"), [("nested", "chosen"), ("crossed", "product"), ("clustered", "scatter")])
def test_parameters_beyond_all_numbers_give_no_number_and_no_warning(shape, fill) -> None:
    case = Case(shape, fill, 1)
    at = criterion_of(case)(1e200 * case.theta)
    assert not np.isfinite(at.value)


@pytest.mark.parametrize("random", ["(x | g)", "(1 | g) + (1 | h)", "(1 | h) + homdiag(x | g)"])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_hessian_without_fixed_effects_is_that_of_differences(random: str, method: Any) -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"g": np.arange(60) % 7, "h": np.arange(60) % 5, "x": rng.normal(size=60)})
    frame["y"] = rng.normal(size=7)[frame["g"]] * (1.0 + frame["x"]) + rng.normal(size=60)
    problem = Model(f"y ~ 0 + {random}", frame).problem
    criterion = Criterion(problem.products, problem.layout, method)
    theta = 0.7 * start_theta(problem.layout)
    ends = [
        (criterion.slopes(theta + e).gradient, criterion.slopes(theta - e).gradient) for e in 1e-5 * np.eye(len(theta))
    ]
    differences = np.array([(up - down) / 2e-5 for up, down in ends])
    found = criterion.derivatives(theta).hessian
    np.testing.assert_allclose(found, differences, rtol=0, atol=DIFFERENCES * np.abs(differences).max())
