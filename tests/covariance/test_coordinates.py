"""Correlations that fall with distances between the numbers that levels are: any distances, in any order."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
import scipy.stats as st
from cli_commands import run_json
from oracle import DenseModel, level_covariance, random_columns

import bayesmm as bmm
from bayesmm.covariance.exponential import ExponentialDecay
from bayesmm.covariance.layout import Piece, piece_factor
from bayesmm.covariance.tangents import tangents
from bayesmm.errors import DesignError, PriorError
from bayesmm.priors import LKJ, HalfNormal, Normal, Uniform

PLACES = {
    "irregular": (0.0, 0.5, 2.0, 6.0),
    "in another order": (4.0, -1.0, 2.5, 0.0, 2.0),
    "two nearly together": (3.0, 0.0, 0.002, 7.0),
}
FIRST, SECOND = 1e-6, 1e-5  # of differences with steps of 1e-5, as for the other structures
SIGMA = 0.5


def distances(places) -> np.ndarray:
    """|t_i − t_j| over the mean distance of neighbours."""
    t = np.array(places, dtype=float)
    return np.abs(t[:, None] - t) * (len(t) - 1) / (t.max() - t.min())


def piece_at(places, *, equal: bool) -> Piece:
    return Piece(0, len(places), ExponentialDecay(equal=equal, coordinates=tuple(places)))


def thetas(piece: Piece) -> list[np.ndarray]:
    """In the midst, of either sign, and where scales are zero and the correlation at an end."""
    inside = piece.structure.start(piece.k) + np.random.default_rng(3).uniform(0.2, 0.7, piece.n_theta)
    ends = [np.append(inside[:-1], angle) for angle in (0.0, np.pi / 2, 1.3, 0.01)]
    return [inside, -inside, 0.0 * inside, *ends]


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("rho", [0.0, 1e-4, 0.3, 0.9, 0.999999])
def test_factor_is_the_cholesky_factor_of_the_textbook_matrix(places, rho) -> None:
    piece = piece_at(places, equal=True)
    R = np.where(distances(places) == 0.0, 1.0, rho ** distances(places))
    np.testing.assert_allclose(piece.structure.correlation(np, np.array([rho]), piece.k), R, atol=1e-13)
    C = piece.structure.unit_factor(np, np.array([rho]), piece.k)
    np.testing.assert_array_equal(C, np.tril(C))
    np.testing.assert_allclose(C @ C.T, R, atol=1e-13)
    theta = piece.structure.nearest(1.7 * C)
    L = piece_factor(np, theta, piece)
    np.testing.assert_allclose(L @ L.T, 1.7**2 * R, atol=1e-9)
    sd, cor = piece.structure.read(np, 1.7**2 * R)
    np.testing.assert_allclose([sd[0], cor[0]], [1.7, rho], atol=1e-9)


@pytest.mark.parametrize("places", PLACES.values(), ids=PLACES)
@pytest.mark.parametrize("equal", [True, False])
def test_tangents_equal_differences_and_those_in_jax(places, equal) -> None:
    from bayesmm.inside_jax import inside_jax

    jnp = pytest.importorskip("jax.numpy")
    piece = piece_at(places, equal=equal)
    rng, k = np.random.default_rng(1), piece.k
    G = rng.normal(size=(k, k))
    G = G + G.T

    def gradient(theta: np.ndarray) -> np.ndarray:
        return 2.0 * tangents(np, theta, ((piece,),))[0].along(G @ piece_factor(np, theta, piece))

    def value(theta: np.ndarray) -> float:
        L = piece_factor(np, theta, piece)
        return float((G * (L @ L.T)).sum())

    for theta in thetas(piece):
        steps = 1e-5 * np.eye(len(theta))
        first = np.array([(value(theta + e) - value(theta - e)) / 2e-5 for e in steps])
        second = np.array([(gradient(theta + e) - gradient(theta - e)) / 2e-5 for e in steps])
        L = piece_factor(np, theta, piece)
        found = tangents(np, theta, ((piece,),))[0]
        np.testing.assert_allclose(gradient(theta), first, atol=FIRST * max(1.0, np.abs(first).max()))
        bend = found.bend(G, G @ L)
        np.testing.assert_allclose(bend, second, atol=SECOND * max(1.0, np.abs(second).max()))
        with inside_jax():
            there = tangents(jnp, jnp.asarray(theta), ((piece,),))[0]
            np.testing.assert_allclose(piece_factor(jnp, jnp.asarray(theta), piece), L, atol=1e-12)
            np.testing.assert_allclose(there.along(G @ L), found.along(G @ L), atol=1e-9)
            np.testing.assert_allclose(there.bend(G, G @ L), bend, atol=1e-6 * max(1.0, np.abs(bend).max()))


TIMES, LEVELS = np.array([0.0, 0.5, 2.0, 6.0]), 12


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    """Two rows at each of four irregular times in twelve levels, some missing; R = 0.5^(|t − t'| / 2)."""
    rng = np.random.default_rng(4)
    level, time = (each.ravel() for each in np.indices((LEVELS, 4)).repeat(2, axis=1).reshape(2, -1))
    b = rng.multivariate_normal(np.zeros(4), 0.5 ** distances(TIMES), size=LEVELS)
    y = 1.0 + b[level, time] + SIGMA * rng.normal(size=len(level))
    frame = pd.DataFrame({"g": [f"g{i}" for i in level], "t": TIMES[time], "x": rng.normal(size=len(level)), "y": y})
    return frame.drop(index=[3, 4, 17, 18, 30]).reset_index(drop=True)


def dense(frame: pd.DataFrame, times=TIMES) -> DenseModel:
    codes = pd.factorize(frame["g"])[0]
    columns = (frame["t"].to_numpy()[:, None] == np.asarray(times)).astype(float)
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    return DenseModel(y=frame["y"].to_numpy(), X=X, Z=random_columns(codes, columns, LEVELS))


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("name", ["exp", "hetexp", "ou"])
def test_fit_is_a_maximum_of_the_dense_likelihood(cells, name, method) -> None:
    fit = bmm.Model(f"y ~ x + {name}(0 + C(t) | g)", cells).fit(method=method)
    model, k = dense(cells), len(TIMES)

    def log_likelihood(values: np.ndarray) -> float:
        sds = np.broadcast_to(values[:-2], k)
        G = level_covariance(values[-2] ** distances(TIMES) * np.outer(sds, sds), LEVELS)
        return model.log_likelihood(G, values[-1], method)

    values = fit.parameters["estimate"].to_numpy()[2:]
    assert fit.loglik == pytest.approx(log_likelihood(values), abs=1e-8)
    for e in 1e-4 * np.eye(len(values)):
        assert (log_likelihood(values + e) - log_likelihood(values - e)) / 2e-4 == pytest.approx(0.0, abs=1e-3)
        assert log_likelihood(values + 30.0 * e) < fit.loglik > log_likelihood(values - 30.0 * e)


def test_fit_does_not_depend_on_origin_unit_order_or_units_of_the_response(cells) -> None:
    here = bmm.Model("y ~ x + exp(0 + C(t) | g)", cells).fit()
    moved = cells.assign(t=1000.0 * cells["t"] - 7.0)
    reversed_time = cells.assign(t=-cells["t"])
    shuffled = cells.sample(frac=1.0, random_state=1).reset_index(drop=True)
    categories = pd.Categorical(cells["t"], categories=[2.0, 6.0, 0.0, 0.5])
    for frame in (moved, reversed_time, shuffled, cells.assign(t=categories)):
        effects = "t" if frame["t"].dtype == "category" else "C(t)"
        there = bmm.Model(f"y ~ x + exp(0 + {effects} | g)", frame).fit()
        assert there.loglik == pytest.approx(here.loglik, abs=1e-8)
        np.testing.assert_allclose(there.parameters["estimate"], here.parameters["estimate"], rtol=1e-5)
        np.testing.assert_allclose(there.parameters["std_error"], here.parameters["std_error"], rtol=1e-4)
    scaled = bmm.Model("y ~ x + exp(0 + C(t) | g)", cells.assign(y=100.0 * cells["y"])).fit()
    factor = np.where(here.parameters["kind"] == "cor", 1.0, 100.0)
    np.testing.assert_allclose(scaled.parameters["estimate"], factor * here.parameters["estimate"], rtol=1e-5)


def test_equal_distances_are_autoregressive(cells) -> None:
    frame = cells.assign(t=cells["t"].map({0.0: 3.0, 0.5: 5.0, 2.0: 7.0, 6.0: 9.0}))
    one, other = (bmm.Model(f"y ~ x + {name}(0 + C(t) | g)", frame).fit() for name in ("exp", "ar1"))
    assert one.loglik == pytest.approx(other.loglik, abs=1e-9)
    pd.testing.assert_frame_equal(one.parameters, other.parameters, rtol=1e-5)


def test_negative_neighbours_end_at_independence() -> None:
    """Where near times are unlike, no correlation is the best: an end of the range, with no standard error."""
    rng = np.random.default_rng(2)
    level, time = (each.ravel() for each in np.indices((40, 4)).repeat(3, axis=1).reshape(2, -1))
    b = rng.multivariate_normal(np.zeros(4), (-0.6) ** np.abs(np.subtract.outer(np.arange(4), np.arange(4))), size=40)
    frame = pd.DataFrame({"g": level, "t": TIMES[time], "y": b[level, time] + rng.normal(size=len(level))})
    frame["g"] = "g" + frame["g"].astype(str)
    fit = bmm.Model("y ~ 1 + exp(0 + C(t) | g)", frame).fit()
    independent = bmm.Model("y ~ 1 + homdiag(0 + C(t) | g)", frame).fit()
    assert fit.parameters.loc["cor(0 + C(t) | g)", "estimate"] == 0.0
    assert np.isnan(fit.parameters.loc["cor(0 + C(t) | g)", "std_error"])
    assert fit.loglik == pytest.approx(independent.loglik, abs=1e-8)
    test = fit.variance_tests("cor(0 + C(t) | g)", kind="mixture").table
    assert test["p_value"].iloc[0] == 1.0
    assert fit.coefficients(df="kenward-roger")["df"].iloc[0] == pytest.approx(
        independent.coefficients(df="kenward-roger")["df"].iloc[0], rel=1e-3
    )


def test_test_of_the_correlation_is_one_sided(cells) -> None:
    fit = bmm.Model("y ~ x + exp(0 + C(t) | g)", cells).fit()
    independent = bmm.Model("y ~ x + homdiag(0 + C(t) | g)", cells).fit()
    statistic = 2.0 * (fit.loglik - independent.loglik)
    row = fit.variance_tests("cor(0 + C(t) | g)", kind="mixture").table.iloc[0]
    assert row["statistic"] == pytest.approx(statistic, abs=1e-6)
    assert row["p_value"] == pytest.approx(0.5 * st.chi2.sf(statistic, 1), rel=1e-5)


def test_profile_is_the_highest_dense_likelihood_at_each_correlation(cells) -> None:
    fit = bmm.Model("y ~ x + exp(0 + C(t) | g)", cells).fit()
    row = "cor(0 + C(t) | g)"
    profile = fit.profile(row, level=0.9)
    model = dense(cells)
    table, traces = profile.table, profile.traces
    checked = table[table["zeta"].abs().between(0.3, 1.7)].iloc[::3]
    assert len(checked) > 1
    for at, zeta in checked["zeta"].items():
        sd, rho, sigma = traces.loc[at, ["sd(0 + C(t) | g)", row, "sigma"]]
        best = -np.inf
        for by in (0.98, 1.0, 1.02):
            G = level_covariance(rho ** distances(TIMES) * (by * sd / sigma) ** 2, LEVELS)
            value = model.profiled_log_likelihood(G, "reml")
            best = max(best, value)
            if by == 1.0:
                here = value
        assert here == best
        assert 2.0 * (fit.loglik - here) == pytest.approx(zeta**2, abs=1e-5)
    lower, upper = profile.intervals(level=0.9).loc[row, ["lower", "upper"]]
    assert 0.0 <= lower < fit.parameters.loc[row, "estimate"] < upper <= 1.0


def test_moments_are_those_of_the_structure(cells) -> None:
    model = bmm.Model("y ~ x + exp(0 + C(t) | g)", cells)
    at = {"sd(0 + C(t) | g)": 1.3, "cor(0 + C(t) | g)": 0.4, "Intercept": 1.0, "x": 0.0, "sigma": SIGMA}
    rows = [int(np.flatnonzero((cells["g"] == "g0") & (cells["t"] == t))[0]) for t in TIMES]
    found = model.marginal_covariance(rows, at=at).to_numpy(dtype=float)
    np.testing.assert_allclose(found, 1.69 * 0.4 ** distances(TIMES) + SIGMA**2 * np.eye(4), rtol=1e-12)
    symbols = model.marginal_covariance(rows).to_numpy()
    assert str(symbols[0, 1]) == "ρ(0 + C(t) | g)^0.25·σ²(0 + C(t) | g)"
    assert str(symbols[0, 3]) == "ρ(0 + C(t) | g)^3·σ²(0 + C(t) | g)"


def test_posterior_is_the_sum_over_a_dense_likelihood(cells) -> None:
    frame = cells.assign(t=pd.Categorical(cells["t"], categories=[2.0, 0.0, 6.0, 0.5]))
    priors = {"Intercept": Normal(0.0, 5.0), "x": Normal(0.0, 5.0), "sd": HalfNormal(2.0), "cor(g)": Uniform(0.1, 1.0)}
    posterior = bmm.Model("y ~ x + ou(0 + t | g)", frame, sigma=SIGMA, priors=priors).sample(
        method="quadrature", draws=200, seed=3
    )
    model = dense(cells)
    log_sd, share = np.linspace(-1.4, 1.1, 20), (np.arange(20) + 0.5) / 20.0
    rho, weight = 0.1 + 0.9 * share**2 * (3.0 - 2.0 * share), 6.0 * share * (1.0 - share)
    log_density = np.array(
        [
            [
                model.log_marginal_density(
                    level_covariance(np.exp(2.0 * s) * r ** distances(TIMES), LEVELS),
                    SIGMA,
                    np.zeros(2),
                    np.eye(2) / 25.0,
                )
                + st.halfnorm.logpdf(np.exp(s), scale=2.0)
                + s
                + np.log(w)
                for r, w in zip(rho, weight, strict=True)
            ]
            for s in log_sd
        ]
    )
    weights = np.exp(log_density - log_density.max())
    weights /= weights.sum()
    for row, values in (("sd(0 + t | g)", np.exp(log_sd)[:, None]), ("cor(0 + t | g)", rho[None, :])):
        mean = (weights * values).sum()
        sd = np.sqrt((weights * (values - mean) ** 2).sum())
        assert posterior.parameters.loc[row, "mean"] == pytest.approx(mean, abs=5e-3 * sd)
        assert posterior.parameters.loc[row, "sd"] == pytest.approx(sd, rel=1e-2)
    assert {"sd_g", "cor_g", "b_g"} <= set(posterior.data.posterior.data_vars)


def test_what_is_read_off_a_fit_and_a_posterior_works(cells, tmp_path) -> None:
    model = bmm.Model("y ~ x + exp(0 + C(t) | g)", cells)
    fit, posterior = model.fit(), model.sample(method="importance", draws=200, seed=1)
    for result in (fit, posterior):
        again = bmm.load(result.save(tmp_path / "result.nc"))
        pd.testing.assert_frame_equal(again.parameters, result.parameters)
        seen, before = (np.asarray(each.predict(cells.head(6))) for each in (again, result))
        np.testing.assert_allclose(seen.astype(float), before.astype(float))
        assert np.isfinite(np.asarray(result.predict(cells.head(2).assign(t=3.0)), dtype=float)).all()
    assert "0 + C(t)" in str(bmm.compare(fit, posterior))
    assert np.isfinite(np.asarray(posterior.loo().elpd))
    assert pickle.loads(pickle.dumps(model)).fit().loglik == fit.loglik
    assert abs(model.check_identity().gap) < 1e-8
    assert "(0 + C(t) | g)" in str(fit.summary())


def test_simulated_covariances_are_those_of_the_estimates(cells) -> None:
    fit = bmm.Model("y ~ x + exp(0 + C(t) | g)", cells).fit()
    rows = [int(np.flatnonzero((cells["g"] == "g0") & (cells["t"] == t))[0]) for t in TIMES]
    y = np.asarray(fit.simulate(4000, seed=1))
    y = y if y.shape[0] == len(cells) else y.T
    sd, rho, sigma = fit.parameters["estimate"].to_numpy()[2:]
    expected = sd**2 * rho ** distances(TIMES) + sigma**2 * np.eye(4)
    np.testing.assert_allclose(np.cov(y[rows]), expected, atol=5.0 * expected.max() / np.sqrt(4000 / 2))


def test_command_line_fits_it(cells, tmp_path) -> None:
    data = tmp_path / "cells.csv"
    cells.to_csv(data, index=False)
    rows = run_json("fit", "y ~ x + ou(0 + C(t) | g)", "--data", data)["fit"]["parameters"]
    found = {row["parameter"]: row["estimate"] for row in rows}
    fit = bmm.Model("y ~ x + exp(0 + C(t) | g)", cells).fit()
    assert found["cor(0 + C(t) | g)"] == pytest.approx(fit.parameters["estimate"]["cor(0 + C(t) | g)"], rel=1e-4)


@pytest.mark.parametrize(
    ("formula", "message"),
    [
        ("y ~ x + exp(0 + g | h)", "needs a number for each effect, a place or a time, and 'g.g0.' names none"),
        ("y ~ x + exp(C(t) | h)", "'Intercept' names none"),
        ("y ~ x + ou(0 + C(t) + x | h)", "'x' names none"),
        ("y ~ x + exp(0 + t | h)", "single effect 't'"),
    ],
)
def test_effects_without_coordinates_are_refused(cells, formula, message) -> None:
    with pytest.raises(DesignError, match=message):
        bmm.Model(formula, cells.assign(h=[f"h{i % 7}" for i in range(len(cells))]))


def test_two_levels_at_one_place_are_refused(cells) -> None:
    labels = cells["t"].map({0.0: "0", 0.5: "0.0", 2.0: "2", 6.0: "6"})
    with pytest.raises(DesignError, match=r"'C\(t\)\[0\]' and 'C\(t\)\[0\.0\]' at \(nearly\) one place"):
        bmm.Model("y ~ x + exp(0 + C(t) | g)", cells.assign(t=labels))


def test_the_function_of_this_name_stays_a_function(cells) -> None:
    fit = bmm.Model("y ~ exp(x) + exp(0 + C(t) | g)", cells, namespace={"exp": np.exp}).fit()
    assert list(fit.parameters.index[:2]) == ["Intercept", "exp(x)"]
    expected = bmm.Model("y ~ z + exp(0 + C(t) | g)", cells.assign(z=np.exp(cells["x"]))).fit()
    assert fit.loglik == pytest.approx(expected.loglik, abs=1e-9)


def test_prior_of_a_determinant_is_refused(cells) -> None:
    with pytest.raises(PriorError, match=r"Give Uniform\(0, 1\)"):
        bmm.Model("y ~ x + exp(0 + C(t) | g)", cells, priors={"cor(g)": LKJ(2)})
    with pytest.raises(PriorError, match="between 0 and 1"):
        bmm.Model("y ~ x + exp(0 + C(t) | g)", cells, priors={"cor(g)": Uniform(-1, 1)})
