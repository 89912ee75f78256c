"""Posteriors of many related levels, whose elimination JAX asks the host for: held to the same with A dense.

The size decides which way is taken; here small relations are made sparse by hand.
"""

from __future__ import annotations

import gc
import pickle
from typing import Any

import arviz as az
import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose
from related_models import DATA, FAMILY, by_descent, model_of

import bayesmm as bmm
from bayesmm.bayes.exploring.surface_programs import QUICK
from bayesmm.bayes.programs.binding import bind_marginal
from bayesmm.errors import BayesmmWarning
from bayesmm.inside_jax import inside_jax
from bayesmm.marginal.arrays import host
from bayesmm.marginal.elimination.elimination import eliminate
from bayesmm.marginal.in_jax import hosted
from bayesmm.marginal.in_jax.recovery import draw_effects, effect_moments
from bayesmm.marginal.likelihood.along import find_along

DENSITY = 1e-8  # relative, of log densities and their slopes
PRIORS = {"x": bmm.priors.StudentT(4, 0, 2)}  # is sampled, others are integrated out


def density(model: bmm.Model, program: Any, data: Any) -> tuple[np.ndarray, np.ndarray]:
    """Log likelihood and slopes at a point, and beside it as one of two together."""
    sizes = [block.k for block in model.design.blocks]
    sampled = None if program.coefficients is None else np.array([0.7])

    def value(s: Any) -> Any:
        factors = [s[0] * np.eye(k) + 0.1 * np.tri(k) for k in sizes]
        return program.log_likelihood(data, factors, s[1], sampled)

    at = np.array([[0.8, 1.2], [0.3, 1.1]])
    with inside_jax():
        both = jax.jit(jax.vmap(jax.value_and_grad(value)), compiler_options=QUICK)(at)
    return np.asarray(both[0]), np.asarray(both[1])


@pytest.mark.parametrize(("name", "priors"), [("alone", None), ("slopes", PRIORS)])
def test_density_and_slopes_are_those_of_a_dense_matrix(name: str, priors: Any) -> None:
    found = []
    for A in (FAMILY, by_descent(FAMILY)):
        model = model_of(name, A, weights="w", priors=priors)
        program, data = bind_marginal(model.problem, model.priors)
        assert hosted.is_hosted(data) is (A is not FAMILY)
        found.append(density(model, program, data))
    for one, other in zip(*found, strict=True):
        assert_allclose(other, one, rtol=DENSITY, atol=DENSITY)


def test_polynomials_along_one_standard_deviation_are_exact() -> None:
    """Over twenty-two orders of magnitude of the variance, at points that are no nodes."""
    products = model_of("alone", by_descent(FAMILY), weights="w").problem.products
    along = find_along(products)
    assert along is not None
    assert not along.reaches(0.0)
    assert find_along(model_of("slopes", by_descent(FAMILY)).problem.products) is None
    at, other = hosted.Host(products), hosted.Host(products)
    other.along = None
    for scale in (1e-6, 0.03, -0.7, 1.9, 40.0, 1e5):
        factor = np.array([[scale]])
        reduced, exact = along.reduce(scale), eliminate(host, products, [factor])[1].reduced
        assert float(reduced.log_det) == pytest.approx(float(exact.log_det), rel=1e-12, abs=1e-12)
        assert_allclose(reduced.gram, exact.gram, rtol=1e-11, atol=1e-13 * np.abs(exact.gram).max())
        one, two = (hosted._differentiate(each, [factor]) for each in (at, other))
        size = np.abs(exact.gram).max() / scale**2
        assert_allclose(one.influence[0], two.influence[0], rtol=1e-9, atol=1e-10 / abs(scale))
        outer = [R.residual[0][0] @ R.residual[0][0].T for R in (one, two)]
        assert_allclose(outer[0], outer[1], atol=1e-9 * size)


def test_draws_and_moments_of_effects_are_those_of_a_dense_matrix() -> None:
    moments: list[Any] = []
    sigma: Any = np.float64(1.2)
    for A in (FAMILY, by_descent(FAMILY)):
        model = model_of("slopes", A, weights="w", priors="flat")
        _, data = bind_marginal(model.problem, model.priors)
        factors: Any = [0.7 * np.eye(block.k) + 0.2 * np.tri(block.k) for block in model.design.blocks]
        with inside_jax():
            ask = jax.jit(lambda data, factors=factors: effect_moments(data.products, factors, sigma, data.prior))
            moments.append(jax.tree.map(np.asarray, ask(data)))
    dense, found = moments
    assert_allclose(found.beta_mean, dense.beta_mean, rtol=1e-8)
    assert_allclose(found.beta_variance, dense.beta_variance, rtol=1e-8)
    for one, two in [
        *zip(dense.b_mean, found.b_mean, strict=True),
        *zip(dense.b_variance, found.b_variance, strict=True),
    ]:
        assert_allclose(np.asarray(two), np.asarray(one)[: len(two)], rtol=1e-7, atol=1e-9)

    def draw(key: Any) -> Any:
        return draw_effects(data.products, factors, sigma, data.prior, key)

    with inside_jax():
        many = jax.tree.map(
            np.asarray, jax.jit(lambda keys: jax.lax.map(draw, keys))(jax.random.split(jax.random.key(1), 600))
        )
    for drawn, mean, variance in zip(many.b, found.b_mean, found.b_variance, strict=True):
        z = (drawn - mean) / np.sqrt(variance)
        assert np.abs(z.mean(axis=0)).max() < 4.5 / np.sqrt(600)
        assert_allclose((z**2).mean(), 1.0, atol=0.03)
        own = np.linalg.cholesky(np.cov(z[..., 0].T) + 1e-9 * np.eye(z.shape[1]))  # of related levels, far from I
        assert np.diag(own).min() < 0.8


@pytest.fixture(scope="module")
def posterior() -> bmm.Posterior:
    model = model_of("alone", by_descent(FAMILY))
    return model.sample(draws=100, tune=10, chains=2, seed=4, method="importance", progress=False)


def test_a_sparse_posterior_is_that_of_a_dense_matrix(posterior: bmm.Posterior) -> None:
    """The same proposals have the same weights: draws of the parameters agree one by one."""
    model = model_of("alone", FAMILY)
    dense = model.sample(draws=100, tune=10, chains=2, seed=4, method="importance", progress=False)
    assert_allclose(posterior.sigma, dense.sigma, rtol=1e-7)
    assert_allclose(posterior.draws("sd_rel_animal"), dense.draws("sd_rel_animal"), rtol=1e-7)
    both = posterior.random_effects().merge(dense.random_effects(), on=["group", "level", "effect"])
    assert len(both) == len(FAMILY)
    assert (np.abs(both["mean_x"] - both["mean_y"]) < 5.0 * both["sd_y"] * np.sqrt(2.0 / 200)).all()
    assert_allclose(both["sd_x"].mean(), both["sd_y"].mean(), rtol=0.05)


def test_what_is_said_of_a_sparse_posterior(posterior: bmm.Posterior, tmp_path: Any) -> None:
    table = az.summary(posterior.data, kind="stats", round_to="none")
    effects = posterior.data["posterior"]["b_rel_animal"]
    for level in ("k3", "k17"):
        own = effects.sel(rel_animal=level, rel_animal_effect="Intercept").to_numpy()
        assert table.loc[f"b_rel_animal[{level}, Intercept]", "mean"] == pytest.approx(own.mean())
    again: Any = bmm.load(posterior.save(tmp_path / "herd.nc"))
    assert_allclose(again.predict(DATA.head(4))["mean"], posterior.predict(DATA.head(4))["mean"])
    assert again.diagnostics.is_good == posterior.diagnostics.is_good
    model = model_of("alone", by_descent(FAMILY))
    compared = bmm.compare(model.fit(), posterior)
    assert abs(compared.table["shift"]).max() < 1.0
    differences = model.check_identity().points["difference"]
    assert_allclose(differences, differences.iloc[0], atol=1e-6)


def test_a_program_keeps_its_data_and_can_be_pickled() -> None:
    model = model_of("alone", by_descent(FAMILY))
    program, data = model.program("marginal")
    expected = density(model, program, data)[0]
    copied = pickle.loads(pickle.dumps(data))
    assert_allclose(density(model, program, copied)[0], expected)
    del model
    gc.collect()
    handle = int(data.products.handle)
    assert handle in hosted._HELD
    del data
    gc.collect()
    assert handle not in hosted._HELD


@pytest.mark.parametrize("method", ["nuts", "importance"])
def test_an_interruption_on_the_host_is_one_of_the_run(
    method: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """JAX wraps what is raised meanwhile into an error of its own, and prints it."""
    asked, original = [], hosted.Host.answer

    def answer(self: Any, what: Any, arguments: Any) -> Any:
        asked.append(what)
        if len(asked) == (3000 if method == "nuts" else 700):
            raise KeyboardInterrupt
        return original(self, what, arguments)

    monkeypatch.setattr(hosted.Host, "answer", answer)
    model = model_of("alone", by_descent(FAMILY))
    options: Any = {"draws": 5000, "tune": 50, "chains": 2, "seed": 1, "progress": False, "method": method}
    if method == "nuts":
        with pytest.warns(BayesmmWarning, match="Interrupted"):
            posterior = model.sample(**options)
        assert 0 < posterior.sigma.shape[1] < 5000
    else:
        with pytest.raises(KeyboardInterrupt):
            model.sample(**options)
    assert "pure_callback" not in capfd.readouterr().err


def test_parameters_beyond_all_measure_have_no_density() -> None:
    products = model_of("slopes", by_descent(FAMILY)).problem.products
    given = hosted.host_products(products)
    with inside_jax():
        reduced = jax.jit(hosted.reduce_on_host)(given, [np.full((2, 2), 1e200), np.eye(1)])
    assert np.isnan(float(reduced.log_det))


def test_moments_of_very_many_effects_are_averages_over_some_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bayesmm.bayes.exploring.moments.AVERAGED", 60 * 80)
    model = model_of("alone", by_descent(FAMILY))
    posterior = model.sample(
        draws=100, tune=10, chains=2, seed=4, method="importance", random_effects="moments", progress=False
    )
    assert any("over 80 of the 200 draws" in note for note in posterior.notes)
    assert len(posterior.random_effects()) == len(FAMILY)
