"""The search ends at the highest maximum, or says that there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from designs import SHAPES, random_design
from oracle import DenseModel, level_covariance, random_columns
from small_models import DenseCriterion, SmallModel, irregular, layout_of, uncentred

import bayesmm as bmm
from bayesmm.covariance.layout import assemble_factors
from bayesmm.incidence import Incidence
from bayesmm.marginal.likelihood.screening import Screen
from bayesmm.marginal.sums.crossproducts import build_products
from bayesmm.marginal.sums.rows import BlockArrays
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.estimate import AbsorbedError, Estimate, estimate
from bayesmm.reml.search import SaturatedError

SHORT = 1e-4  # of −2 log likelihood: what a search may miss
SMALL_MODELS = [*((uncentred, seed) for seed in range(1000, 1030)), *((irregular, seed) for seed in range(1000, 1050))]
YEARS = Path(__file__).with_name("uncentred_years.csv")


def criterion_of(model: SmallModel, method: Any) -> Criterion:
    layout = layout_of(model.factors)
    blocks = [
        BlockArrays(incidence=Incidence.single(each.codes, each.columns, each.q), pieces=pieces)
        for each, pieces in zip(model.factors, layout, strict=True)
    ]
    products = build_products(model.X, model.y, model.weights, blocks)[0]
    return Criterion(products, layout, method)


def estimate_of(model: SmallModel, method: str) -> Estimate:
    return estimate(criterion_of(model, method))


@pytest.mark.parametrize(("make", "seed"), SMALL_MODELS)
def test_no_search_ends_short_of_what_scipy_finds_from_many_starts(make: Any, seed: int) -> None:
    """On a dense criterion of the textbook; methods by turns. Only where effects are as many as rows may it give up."""
    model, method = make(seed), ("reml", "ml")[seed % 2]
    is_crowded = sum(each.q * each.columns.shape[1] for each in model.factors) + model.X.shape[1] >= len(model.y)
    try:
        found = estimate_of(model, method)
    except (AbsorbedError, SaturatedError):
        assert is_crowded
        return
    assert found.minimum.converged or is_crowded
    assert found.criterion < DenseCriterion(model, method).lowest(3, seed) + SHORT


@pytest.mark.parametrize(
    ("seed", "method", "lowest"),
    [
        (2182, "ml", 107.17361197),  # two factors, sds of 4000 times sigma: elimination lost the digits that lead there
        (2238, "reml", -180.85068733),
        (2335, "reml", -44.89185493),  # a narrow bent valley, which took Newton's steps 200 evaluations and more
        (2478, "reml", 81.07918681),  # two matrices that explain nearly all together, in directions of their own
        (2578, "ml", -433.18001511),  # 47 effects, 48 rows, two large variances whose ratio matters to a few percent
    ],
)
def test_maximum_that_an_earlier_search_missed_is_found(seed: int, method: str, lowest: float) -> None:
    """Values that SciPy found from many starts on the dense criterion."""
    found = estimate_of(irregular(seed), method)
    assert found.minimum.converged
    assert found.criterion < lowest + SHORT


def test_crowded_model_with_a_second_maximum_at_a_small_sigma_ends_at_the_higher() -> None:
    """25 effects, 22 rows: one more way to explain the rows, along a direction that no start from moments has."""
    model = irregular(2027)
    assert estimate_of(model, "reml").criterion < DenseCriterion(model, "reml").lowest(6, 2027) + SHORT


def test_likelihood_that_rises_as_some_effects_of_many_do_is_refused() -> None:
    """61 effects, 41 rows: 39 of them and the fixed effects explain all, so ML rises by 2 (n - 39) log 10 a decade."""
    model = irregular(2020)
    dense = DenseCriterion(model, "ml")

    def along(decade: float) -> float:
        far = decade * np.log(10.0)
        return dense(np.array([far, 0.0, far, -30.0, 0.0, far, -30.0, far]))

    assert along(6.0) - along(7.0) == pytest.approx(2.0 * (len(model.y) - 39) * np.log(10.0), rel=1e-3)
    with pytest.raises(SaturatedError):
        estimate_of(model, "ml")
    estimate_of(model, "reml")


@pytest.fixture(scope="module")
def years() -> bmm.Model:
    return bmm.Model("y ~ year + (year || country)", pd.read_csv(YEARS))


def test_maximum_far_from_the_boundary_is_found_and_the_one_there_is_kept(years: bmm.Model) -> None:
    """Values of an exact integration, and of lme4 from several starts."""
    fit = years.fit()
    assert fit.loglik == pytest.approx(-150.454, abs=2e-3)
    assert [other.log_likelihood for other in fit.other_maxima] == pytest.approx([-186.750], abs=2e-3)
    (boundary,) = fit.other_maxima
    assert boundary.factors[0][1, 1] == 0.0
    assert boundary.sigma == pytest.approx(1.434, abs=1e-3)
    assert "Another maximum of the likelihood seen, lower by 36.3" in str(fit)
    assert len(years._warm_start.elsewhere) == 1


@pytest.mark.parametrize("ratio", [1.0, 1e3, 1e6, 1e8])
def test_one_way_layout_gives_the_anova_estimates_at_any_ratio(ratio: float) -> None:
    rng = np.random.default_rng(0)
    q, m = 12, 6
    y = ratio * rng.normal(size=(q, 1)) + rng.normal(size=(q, m))
    within = y.var(axis=1, ddof=1).mean()
    between = y.mean(axis=1).var(ddof=1) - within / m
    fit = bmm.Model("y ~ 1 + (1 | g)", pd.DataFrame({"y": y.ravel(), "g": np.repeat(np.arange(q), m)})).fit()
    assert fit.status is bmm.errors.FitStatus.CONVERGED
    assert fit.sigma == pytest.approx(np.sqrt(within), rel=1e-9)
    assert fit.parameters.loc["sd(Intercept | g)", "estimate"] == pytest.approx(np.sqrt(between), rel=1e-9)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_effects_that_explain_every_row_have_no_maximum(method: Any) -> None:
    """Three crossed factors of three with two slopes each, 15 rows: σ goes to zero."""
    rng = np.random.default_rng(5)
    n = 15
    data = pd.DataFrame({"x": rng.normal(size=n), **{g: rng.integers(0, 5, n) for g in "abc"}})
    data["y"] = sum(rng.normal(size=5)[data[g]] + rng.normal(size=5)[data[g]] * data["x"] for g in "abc")
    with pytest.raises(bmm.errors.EstimationError, match=r"30 random effects and 1 fixed effects explain all 15 rows"):
        bmm.Model("y ~ 1 + (x | a) + (x | b) + (x | c)", data).fit(method)


@pytest.mark.parametrize("sigma", [None, 1.3])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_looked_at_are_those_of_the_criterion(shape: str, sigma: float | None) -> None:
    design = random_design(shape, 3, n=60)
    for method in ("reml", "ml"):
        criterion = Criterion(design.products(), design.layout, method, sigma)
        thetas = [design.random_theta(seed) for seed in range(5)]
        stacked = [np.stack(L) for L in zip(*(assemble_factors(np, t, design.layout) for t in thetas), strict=True)]
        values = Screen(criterion.products, sigma, criterion.restriction).values(stacked)
        np.testing.assert_allclose(values, [criterion(theta).value for theta in thetas], rtol=1e-10)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_values_along_a_column_are_those_at_each_of_its_sizes(method: str) -> None:
    """For one factor, and for two of which one has one effect."""
    rng, sizes, n_effects = np.random.default_rng(0), np.array([0.0, 0.3, 1.0, 20.0]), set()
    for seed in range(100):
        screen = criterion_of(irregular(seed), method).screen
        if screen.last is None:
            continue
        ks = [len(G) for G in screen.products.diagonal]
        factors = [rng.normal(size=(3, k, k)) for k in ks]
        for size, values in zip(sizes, screen.values_along(factors, sizes).T, strict=True):
            scaled = [Lambda.copy() for Lambda in factors]
            scaled[screen.last][:, :, -1] *= size
            np.testing.assert_allclose(values, screen.values(scaled), rtol=1e-9, atol=1e-9)
        n_effects.add(tuple(sorted(ks)))
    assert n_effects >= {(1,), (2,), (3,), (1, 1), (1, 2)}


def test_search_that_ends_early_says_so_above_the_tables(years: bmm.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("FIRST", "FURTHER", "MOST"):
        monkeypatch.setattr(f"bayesmm.reml.search.{limit}", 1)
    with pytest.warns(bmm.errors.BayesmmWarning, match="did not reach a maximum"):
        fit = bmm.Model("y ~ year + (year | country)", pd.read_csv(YEARS)).fit()
    text, page = str(fit), fit._repr_html_()
    assert 0 < text.index("did not reach a maximum") < text.index("Random effects")
    assert 0 < page.index("did not reach a maximum") < page.index("Random effects")
    assert fit.parameters["estimate"].notna().all()  # and no warning of a square root


@pytest.mark.parametrize("shift", [0.0, -2006.5])
def test_standard_errors_far_from_the_origin_are_those_of_a_dense_hessian(shift: float) -> None:
    """In logarithms of the standard deviations, by central differences of the textbook's likelihood."""
    data = pd.read_csv(YEARS)
    data["year"] += shift
    fit = bmm.Model("y ~ year + (year || country)", data).fit()
    codes, columns = pd.factorize(data["country"])[0], np.column_stack([np.ones(len(data)), data["year"]])
    X = np.column_stack([np.ones(len(data)), data["year"] - data["year"].mean()])
    dense = DenseModel(y=data["y"].to_numpy(), X=X, Z=random_columns(codes, columns, 8))
    names = ["sd(Intercept | country)", "sd(year | country)", "sigma"]
    found = fit.parameters.loc[names]

    def value(logarithms: np.ndarray) -> float:
        sds = np.exp(logarithms)
        return dense.log_likelihood(level_covariance(np.diag(sds[:2] ** 2), 8), sds[2], "reml")

    at, steps = np.log(found["estimate"].to_numpy()), 1e-3 * np.eye(3)
    hessian = [
        [(value(at + s + t) - value(at + s - t) - value(at - s + t) + value(at - s - t)) / 4e-6 for t in steps]
        for s in steps
    ]
    errors = np.sqrt(np.diag(np.linalg.inv(-np.array(hessian))))
    np.testing.assert_allclose(found["std_error"] / found["estimate"], errors, rtol=1e-3)
