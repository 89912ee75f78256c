"""Many responses evaluated side by side have what each has by itself."""

from __future__ import annotations

import numpy as np
import pytest
from designs import KINDS, Fill, random_design

from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import evaluate
from bayesmm.marginal.many.side_by_side import evaluate_each, profile_together, score_together
from bayesmm.marginal.sums.responses import Responses, sum_responses

APART = [kind for kind in KINDS if kind[1] == "apart" or kind[0] == "one"]


def some_responses(shape: str, fill: Fill, seed: int) -> tuple[Responses, object]:
    design = random_design(shape, seed)
    rows = np.random.default_rng(seed).normal(size=(4, len(design.y))) * np.array([[1.0], [1e3], [1e-3], [1.0]])
    return sum_responses(design.X, rows, design.weights, design.blocks, design.products(fill)), design


@pytest.mark.parametrize(("shape", "fill"), KINDS)
@pytest.mark.parametrize(("sigma", "restriction"), [(None, 1.0), (2.0, 0.0)])
def test_all_at_one_theta_have_the_values_and_gradients_of_each(shape, fill, sigma, restriction) -> None:
    responses, design = some_responses(shape, fill, 8)
    theta = design.random_theta(1)
    scores = score_together(responses, theta, sigma, restriction, design.layout)
    values = profile_together(responses, design.factors(theta), sigma, restriction).value
    for i, products in enumerate(responses):
        at = evaluate(host, theta, products, sigma, restriction, layout=design.layout)
        np.testing.assert_allclose([scores.profiles.value[i], values[i]], at.value, rtol=1e-9)
        np.testing.assert_allclose(scores.gradient[i], at.gradient, rtol=1e-6, atol=1e-6 * np.abs(at.gradient).max())
        np.testing.assert_allclose(scores.profiles.beta[i], at.fixed.beta, rtol=1e-7, atol=1e-9 * responses.squares[i])


@pytest.mark.parametrize(("shape", "fill"), APART)
@pytest.mark.parametrize(("sigma", "restriction"), [(None, 1.0), (2.0, 0.0)])
def test_each_at_its_own_theta_has_what_it_has_alone(shape, fill, sigma, restriction) -> None:
    responses, design = some_responses(shape, fill, 3)
    thetas = np.stack([design.random_theta(seed) for seed in range(len(responses))])
    together = evaluate_each(responses, thetas, sigma, restriction, design.layout)
    for i, products in enumerate(responses):
        at = evaluate(host, thetas[i], products, sigma, restriction, layout=design.layout)
        np.testing.assert_allclose(together.profiles.value[i], at.value, rtol=1e-10)
        for ours, theirs in ((together.gradient[i], at.gradient), (together.curvature[i], at.curvature)):
            np.testing.assert_allclose(ours, theirs, rtol=1e-7, atol=1e-8 * np.abs(theirs).max())
