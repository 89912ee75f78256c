"""A log-determinant by probes: smooth and differentiable given the probes, near the exact one as it says, fitted."""

import pickle
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.covariance.layout import assemble_factors, start_theta
from bayesmm.errors import ArgumentError, DesignError
from bayesmm.marginal.arrays import host
from bayesmm.marginal.likelihood.evaluation import conditional_covariances
from bayesmm.marginal.plan import planning
from bayesmm.marginal.stochastic import probing
from bayesmm.marginal.stochastic.krylov import conjugate_gradients, quadrature, tridiagonalise
from bayesmm.marginal.stochastic.probing import make_probing
from bayesmm.reml.by_probes import make_matrices, with_probing
from bayesmm.reml.criterion import Criterion
from bayesmm.reml.monte_carlo import gradient_covariance, probed

CROSSED = "y ~ x + (1 | g) + (1 | h)"
SEEDS = 40
COVERED = (0.7, 1.45)  # root mean square of 40 z-scores, each over a spread of 24 probes


def simulate(n: int = 1200, levels: Sequence[int] = (130, 90, 6), seed: int = 1) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    codes = [rng.integers(0, q, n) for q in levels]
    x = rng.normal(size=n)
    y = 1.0 + 0.5 * x + rng.normal(size=n)
    for sd, q, code in zip((0.8, 0.6, 0.4), levels, codes, strict=True):
        y += sd * rng.normal(size=q)[code]
    y += 0.4 * rng.normal(size=levels[1])[codes[1]] * x
    return pd.DataFrame(dict(zip("ghc", codes, strict=True)) | {"x": x, "y": y})


def criteria(formula: str, probes: int = 24, seed: int = 0, data: pd.DataFrame | None = None) -> tuple[Any, Any, Any]:
    """Return the exact criterion, the one by probes, and a θ."""
    model = bmm.Model(formula, simulate() if data is None else data)
    products, layout = model.problem.products, model.problem.layout
    theta = start_theta(layout) * 0.7 + 0.1
    exact = Criterion(replace(products, levels=None, effects=None), layout, "reml")
    factors = assemble_factors(np, theta, layout)
    own = make_probing(make_matrices(products, "numpy"), factors, probes, seed)
    return exact, with_probing(exact, own), theta


def test_quadrature_is_the_logarithm_of_a_dense_matrix_and_its_derivative() -> None:
    rng = np.random.default_rng(0)
    B, E, z = rng.normal(size=(30, 20)), rng.normal(size=(20, 20)), rng.normal(size=(20, 3))
    A, E = np.eye(20) + 0.05 * B.T @ B, E + E.T

    def logarithm(M: np.ndarray) -> np.ndarray:
        values, vectors = np.linalg.eigh(M)
        return (vectors * (np.log(values) - values + 1.0)) @ vectors.T

    found = quadrature(np, tridiagonalise(np, lambda x: A @ x, z, 1e-10))
    np.testing.assert_allclose(found.values, np.einsum("nc,nm,mc->c", z, logarithm(A), z), rtol=1e-9)
    h = 1e-5
    slope = (logarithm(A + h * E) - logarithm(A - h * E)) / (2 * h)
    derivative = sum(np.einsum("nc,nm,mc->c", x, E, x) for x in found.vectors) - np.einsum("nc,nm,mc->c", z, E, z)
    np.testing.assert_allclose(derivative, np.einsum("nc,nm,mc->c", z, slope, z), rtol=1e-5, atol=1e-5)
    solved = conjugate_gradients(np, lambda x: A @ x, z, 1e-12)
    np.testing.assert_allclose(solved.columns, np.linalg.solve(A, z), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("formula", ["y ~ x + (1 | g) + (x | h) + (1 | c)", "y ~ x + (x | g) + (1 | h) + (x || c)"])
def test_gradient_is_that_of_the_value_given_the_probes(formula: str) -> None:
    _, own, theta = criteria(formula, probes=4)
    at = own.evaluate(theta)
    h = 1e-4
    slopes = [(own.evaluate(theta + e).value - own.evaluate(theta - e).value) / (2 * h) for e in h * np.eye(len(theta))]
    np.testing.assert_allclose(at.gradient, slopes, rtol=1e-6, atol=2e-5)


@pytest.mark.parametrize("formula", [CROSSED, "y ~ x + (x | g) + (x | c)", "y ~ x + (1 | g/c) + (1 | h)"])
def test_nothing_is_left_to_chance_where_the_fixed_space_is_everything(
    formula: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "FIXED", 1000)
    monkeypatch.setattr(probing, "MOST_FIXED", 1000)
    exact, own, theta = criteria(formula)
    one, two = exact.evaluate(theta), own.evaluate(theta)
    assert probed(own, theta).shares.values.size == 0
    np.testing.assert_allclose(two.value, one.value, rtol=1e-12)
    np.testing.assert_allclose(two.gradient, one.gradient, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(two.curvature, one.curvature, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(two.fixed.beta, one.fixed.beta, rtol=1e-8, atol=1e-10)
    factors = assemble_factors(np, theta, own.layout)
    for left, right in zip(two.modes, one.modes, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-8, atol=1e-9)
    for left, right in zip(conditional_covariances(host, own.products, factors), one.covariances, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-6, atol=1e-9)


def test_the_stated_error_covers_value_and_gradient() -> None:
    exact, _, theta = criteria(CROSSED)
    matrices, truth = make_matrices(exact.products, "numpy"), exact.evaluate(theta)
    factors, z = assemble_factors(np, theta, exact.layout), []
    for seed in range(SEEDS):
        own = with_probing(exact, make_probing(matrices, factors, 24, seed))
        at, values = own.evaluate(theta), probed(own, theta).shares.values
        errors = np.sqrt(np.append(np.diag(gradient_covariance(own, theta)), values.var(ddof=1) / len(values)))
        z.append((np.append(at.gradient, at.value) - np.append(truth.gradient, truth.value)) / errors)
    size = np.sqrt(np.mean(np.square(z), axis=0))
    assert (size > COVERED[0]).all()
    assert (size < COVERED[1]).all()


def test_conditional_covariances_are_near_the_exact_ones_as_they_say() -> None:
    exact, own, theta = criteria("y ~ x + (1 | g) + (x | h)", probes=64)
    factors = assemble_factors(np, theta, own.layout)
    found, known = own.products.probing.diagonal(factors), exact.evaluate(theta).covariances
    for C, error, truth in zip(found.covariances, found.errors, known, strict=True):
        off = np.einsum("kkq->kq", C - truth)
        assert np.abs(off / np.einsum("kkq->kq", truth)).max() < 0.02
        assert 0.6 < np.sqrt(np.mean((off / error) ** 2)) < 1.6


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_estimates_are_near_the_exact_ones_as_they_say(method: Any) -> None:
    model, z = bmm.Model(CROSSED, simulate(2000, (200, 120, 6))), []
    exact = model.fit(method)
    errors = exact.parameters["std_error"]
    for seed in range(4):
        fit = model.fit(method, determinant="stochastic", seed=seed)
        assert (fit.parameters["mc_error"].to_numpy() < 0.025 * errors.to_numpy()).all()
        z.append((fit.parameters["estimate"] - exact.parameters["estimate"]) / fit.parameters["mc_error"])
        carlo = fit.estimate.monte_carlo
        assert carlo is not None
        assert abs(fit.loglik - exact.loglik) < 4.0 * carlo.loglik
        np.testing.assert_allclose(fit.parameters["std_error"], errors, rtol=2e-3)
    assert np.abs(z).max() < 5.0
    assert 0.3 < np.sqrt(np.mean(np.square(z))) < 2.0


def test_levels_of_one_factor_that_share_rows_are_taken_too() -> None:
    data = simulate()
    data["g2"] = np.random.default_rng(3).integers(0, 130, len(data))
    exact, own, theta = criteria("y ~ x + (1 | mm(g, g2)) + (1 | h)", data=data)
    one, two = exact.evaluate(theta), own.evaluate(theta)
    values = probed(own, theta).shares.values
    assert abs(two.value - one.value) < 4.5 * values.std(ddof=1) / np.sqrt(len(values))
    everything, alone, theta = criteria("y ~ x + (1 | mm(g, g2))", data=data)
    assert alone.products.probing.matrices.layout.first is None
    np.testing.assert_allclose(alone.evaluate(theta).value, everything.evaluate(theta).value, rtol=1e-4)
    slope = [alone.evaluate(theta + h).value for h in (1e-4, -1e-4)]
    np.testing.assert_allclose(alone.evaluate(theta).gradient, (slope[0] - slope[1]) / 2e-4, rtol=1e-5)


def test_jax_gives_the_numbers_of_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "FIXED", 4)
    exact, own, theta = criteria("y ~ x + (1 | g) + (x | h)", probes=4)
    kept = own.products.probing
    device = with_probing(exact, replace(kept, matrices=make_matrices(exact.products, "jax"), _last={}))
    one, two = own.evaluate(theta), device.evaluate(theta)
    np.testing.assert_allclose(two.value, one.value, rtol=1e-12)
    np.testing.assert_allclose(two.gradient, one.gradient, rtol=1e-8, atol=1e-7)
    np.testing.assert_allclose(two.curvature, one.curvature, rtol=1e-8, atol=1e-7)


@pytest.fixture
def beyond(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Return data whose crossed factors are beyond a limit that is low here."""
    monkeypatch.setattr(planning, "MAX_DENSE", 25)
    return simulate()


def test_beyond_the_limit_a_fit_is_by_probes_and_says_so(beyond: pd.DataFrame, tmp_path: Path) -> None:
    model = bmm.Model(CROSSED, beyond)
    assert "conjugate gradients" in str(model.plan)
    assert model.plan.steps["how"].tolist() == ["batch", "probes"]
    fit = model.fit()
    text = " ".join(str(fit).split())
    assert "Log-determinant by 24 random probes: the Monte Carlo error of the restricted log-likelihood is" in text
    assert "of its standard error" in text
    assert all(len(line) <= 80 for line in str(fit).splitlines())
    assert {"mc_error"} <= {*fit.parameters.columns} & {*fit.random_effects().columns}
    restored = bmm.load(fit.save(tmp_path / "fit.nc"))
    pd.testing.assert_frame_equal(restored.parameters, fit.parameters)
    pd.testing.assert_frame_equal(pickle.loads(pickle.dumps(fit)).parameters, fit.parameters)
    assert fit.predict().shape[0] == len(beyond)


def test_beyond_the_limit_sums_of_rows_in_files_fit_alike(beyond: pd.DataFrame, tmp_path: Path) -> None:
    beyond.to_parquet(tmp_path / "rows.parquet")
    fit = bmm.Model(CROSSED, beyond).fit()
    read = bmm.Model(CROSSED, str(tmp_path / "*.parquet"))
    np.testing.assert_allclose(read.fit().parameters["estimate"], fit.parameters["estimate"], rtol=1e-7)
    summed = bmm.Model.from_sums(read.problem.sums).fit()
    np.testing.assert_allclose(summed.parameters["estimate"], fit.parameters["estimate"], rtol=1e-7)


def test_beyond_the_limit_what_needs_the_exact_elimination_is_refused(beyond: pd.DataFrame) -> None:
    model = bmm.Model(CROSSED, beyond)
    with pytest.raises(DesignError, match=r"dense matrix of 90 rows.*determinant='stochastic' does without"):
        model.fit(determinant="exact")
    with pytest.raises(DesignError, match=r"dense matrix of 90 rows.*model\.fit\(\) does without"):
        model.sample(draws=10, tune=10, chains=1)
    with pytest.raises(DesignError, match="dense matrix of 90 rows"):
        model.program()
    fit = model.fit()
    for refused in (lambda: fit.bootstrap(20), lambda: fit.predict(interval="confidence"), lambda: fit.influence("g")):
        with pytest.raises(ArgumentError, match="eliminated exactly"):
            refused()


def test_wrong_arguments_are_refused() -> None:
    model = bmm.Model(CROSSED, simulate())
    with pytest.raises(ArgumentError, match=r"determinant is 'sometimes': give 'auto' or 'exact' or 'stochastic'"):
        model.fit(determinant="sometimes")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match="probes is 1: give a whole number from 4"):
        model.fit(determinant="stochastic", probes=1)
    with pytest.raises(ArgumentError, match="seed is -1"):
        model.fit(determinant="stochastic", seed=-1)
    with pytest.raises(ArgumentError, match="residuals have a covariance"):
        bmm.Model(CROSSED, simulate(), residual="het(c)").fit(determinant="stochastic")


def test_probes_are_as_many_as_asked_for_and_their_error_falls() -> None:
    model = bmm.Model(CROSSED, simulate())
    few, many = (model.fit(determinant="stochastic", probes=m).estimate.monte_carlo for m in (8, 128))
    assert few is not None
    assert many is not None
    assert (few.n_probes, many.n_probes) == (8, 128)
    assert many.loglik < few.loglik
    assert model.fit(determinant="stochastic", probes=8) is model.fit(determinant="stochastic", probes=8)


def test_one_factor_alone_leaves_nothing_to_probes() -> None:
    model = bmm.Model("y ~ x + (x | g)", simulate())
    fit = model.fit(determinant="stochastic")
    assert fit.estimate.monte_carlo is None
    assert fit.loglik == model.fit().loglik


def test_a_variance_of_zero_is_found_on_the_boundary() -> None:
    data = simulate()
    data["y"] = (
        np.random.default_rng(4).normal(size=len(data)) + 0.8 * np.random.default_rng(5).normal(size=130)[data["g"]]
    )
    rng, null = np.random.default_rng(6), 0
    for _ in range(20):  # a permutation for which the variance between levels of h is zero
        data["h"] = rng.permutation(data["h"].to_numpy())
        model = bmm.Model(CROSSED, data)
        if model.fit().is_singular:
            null += 1
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                fit = model.fit(determinant="stochastic")
            assert fit.is_singular
            np.testing.assert_allclose(fit.loglik, model.fit().loglik, atol=0.01)
            break
    assert null
