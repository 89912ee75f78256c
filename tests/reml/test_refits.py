"""Refits of many responses are the fits that each would have by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.covariance.layout import assemble_factors, theta_of
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.likelihood import condition_factors
from bayesmm.marginal.many.drawn import SumSource
from bayesmm.marginal.sums.responses import Responses
from bayesmm.reml.estimate import estimate
from bayesmm.reml.optimise import Evaluation, minimise
from bayesmm.reml.predicted import predict_minima
from bayesmm.reml.refits import off_boundary, public_values_together, refit
from bayesmm.reml.search import find_minimum
from bayesmm.reml.side_by_side import Points, minimise_side_by_side

DEVIANCE = 1e-6
load = bmm.datasets.load
YEARS = Path(__file__).with_name("uncentred_years.csv")
MODELS = {
    "slopes": ("Reaction ~ Days + (Days | Subject)", "sleepstudy", {}, 12),
    "independent": ("Reaction ~ Days + (Days || Subject)", "sleepstudy", {"weights": "1 + Days"}, 8),
    "known": ("Reaction ~ Days + (Days | Subject)", "sleepstudy", {"sigma": 25.0}, 8),
    "on the boundary": ("Yield ~ 1 + (1 | Batch)", "dyestuff2", {}, 12),
    "one correlation": ("Reaction ~ Days + cs(Days | Subject)", "sleepstudy", {}, 2),
    "no fixed effects": ("Reaction ~ 0 + (1 | Subject)", "sleepstudy", {}, 10),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin", {}, 10),
    "nested": ("strength ~ 1 + (1 | batch/cask)", "pastes", {}, 8),
    "three effects": ("score ~ Machine + (Machine | Worker)", "machines", {}, 10),
}


def drawn(fit, n: int) -> Responses:
    criterion = fit.estimate.criterion_function
    factors = assemble_factors(np, fit.estimate.minimum.x, criterion.layout)
    streams = [np.random.default_rng([7, i]) for i in range(n)]
    return SumSource(fit.problem.products).draw(streams, factors, fit.sigma, fit.estimate.beta)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_refits_are_ordinary_fits(name, method) -> None:
    formula, data, options, n = MODELS[name]
    fit = bmm.Model(formula, load(data), **options).fit(method)
    criterion, responses = fit.estimate.criterion_function, drawn(fit, n)
    found = refit(criterion, responses, fit.estimate.minimum.x)
    values = public_values_together(found.theta, found.sigma, criterion)
    for i, products in enumerate(responses):
        alone = estimate(replace(criterion, products=products))
        assert abs(found.criterion[i] - alone.criterion) < DEVIANCE
        np.testing.assert_allclose(found.sigma[i], alone.sigma, rtol=1e-5)
        np.testing.assert_allclose(found.beta[i], alone.beta, rtol=1e-6)
        sds = alone.public_parameters.values[: criterion.layout[0][0].k]
        np.testing.assert_allclose(values[i, : len(sds)], sds, rtol=1e-4, atol=1e-4 * alone.sigma)


def test_a_design_that_is_eliminated_step_by_step_is_refitted_from_predicted_minima() -> None:
    data = bmm.datasets.simulate_crossed(
        {"item": 60, "person": 50}, sds={"item": 1.0, "person": 0.7}, share_observed=0.3, seed=2
    ).data
    fit = bmm.Model("y ~ 1 + (1 | item) + (1 | person)", data).fit()
    criterion, responses = fit.estimate.criterion_function, drawn(fit, 25)
    assert not criterion.products.is_apart
    found = refit(criterion, responses, fit.estimate.minimum.x)
    near = predict_minima(criterion, responses, fit.estimate.minimum.x)
    errors = np.sqrt(2.0 * np.diag(np.linalg.inv(criterion.derivatives(fit.estimate.minimum.x).hessian)))
    assert near is not None
    assert np.median(np.abs(near.theta - found.theta) / errors) < 0.05
    exact = [replace(criterion, products=responses[i]).derivatives(found.theta[i]).hessian for i in range(3)]
    np.testing.assert_allclose(near.hessian[:3], exact, rtol=0.2, atol=0.05 * np.abs(exact).max())
    for i in range(0, 25, 6):
        alone = estimate(replace(criterion, products=responses[i]))
        assert abs(found.criterion[i] - alone.criterion) < DEVIANCE


def test_a_lower_maximum_is_left_for_the_highest() -> None:
    """From a start in the basin of the lower maximum."""
    fit = bmm.Model("y ~ year + (year || country)", pd.read_csv(YEARS)).fit()
    criterion = fit.estimate.criterion_function
    (lower,) = fit.other_maxima
    wrong = theta_of(condition_factors(host, criterion.products, lower.factors), criterion.layout)
    assert -0.5 * find_minimum(criterion, wrong).evaluation.value == pytest.approx(lower.log_likelihood)
    found = refit(criterion, fit.problem.sum_responses(fit.design.y[:, None]), wrong)
    assert -0.5 * found.criterion[0] == pytest.approx(fit.loglik, abs=DEVIANCE)


def test_what_has_no_maximum_is_no_number() -> None:
    fit = bmm.Model("Reaction ~ Days + (Days | Subject)", load("sleepstudy")).fit()
    responses = drawn(fit, 3)
    bad = replace(responses, squares=responses.squares * np.array([1.0, np.nan, 1.0]))
    bad.levels.gram[3, 3] = np.nan  # type: ignore[union-attr]
    found = refit(fit.estimate.criterion_function, bad, fit.estimate.minimum.x)
    assert found.converged.tolist() == [True, False, True]
    assert np.isnan(found.theta[1]).all()
    assert np.isnan(found.beta[1]).all()
    assert np.isnan(found.sigma[1])


def test_a_start_off_the_boundary_has_positive_variances_nearby() -> None:
    fit = bmm.Model("Yield ~ 1 + (1 | Batch)", load("dyestuff2")).fit()
    layout = fit.estimate.criterion_function.layout
    assert fit.estimate.minimum.x[0] == 0.0
    np.testing.assert_allclose(off_boundary(fit.estimate.minimum.x, layout), [0.1])
    assert off_boundary(np.array([0.7]), layout) == [0.7]


def test_side_by_side_ends_where_single_searches_end() -> None:
    """Quartic valleys with saddles at the origin, from starts on both sides and on the saddle."""
    shifts = np.array([0.3, -1.2, 2.0, 0.0])

    def at(x: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        value = (x[:, 0] ** 2 - 1.0) ** 2 + (x[:, 1] - shift) ** 2 + 0.1 * x[:, 0]
        gradient = np.stack([4.0 * x[:, 0] * (x[:, 0] ** 2 - 1.0) + 0.1, 2.0 * (x[:, 1] - shift)], axis=1)
        hessian = np.zeros((len(x), 2, 2))
        hessian[:, 0, 0], hessian[:, 1, 1] = 12.0 * x[:, 0] ** 2 - 4.0, 2.0
        return value, gradient, hessian

    starts = np.array([[0.5, 0.0], [-3.0, 2.0], [0.01, -5.0], [2.0, 2.0]])
    ends = minimise_side_by_side(lambda x, which: Points(*at(x, shifts[which]), np.full(len(x), 1e-15)), starts)
    assert ends.is_minimum.all()
    for i, start in enumerate(starts):
        alone = minimise(lambda x, i=i: Evaluation(*(each[0] for each in at(x[None], shifts[i : i + 1]))), start)
        np.testing.assert_allclose(ends.x[i], alone.x, atol=1e-7)
