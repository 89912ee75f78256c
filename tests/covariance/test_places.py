"""Correlations that fall with distances between places, in one dimension or more: exponential, Gaussian, Matérn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cli_commands import run_json
from oracle import DenseModel, level_covariance, random_columns
from scipy.sparse.csgraph import minimum_spanning_tree
from scipy.special import gamma, kv

import bayesmm as bmm
from bayesmm.covariance.isotropic import Isotropic
from bayesmm.covariance.kernels import Kernel
from bayesmm.covariance.layout import Piece, piece_factor
from bayesmm.covariance.tangents import tangents
from bayesmm.errors import DesignError, PredictionError, SpecificationError

LEVELS, SIGMA = 10, 0.5
PLACES = np.array([[0.0, 0.0], [1.0, 0.2], [0.3, 2.0], [3.0, 1.0], [2.0, 3.0]])
SMOOTH = {"exp": 0.5, "mat": 1.5, "gau": np.inf, "ratio": "ratio", "sph": "sph"}


def apart(places) -> np.ndarray:
    return np.sqrt(((places[:, None] - places) ** 2).sum(axis=-1))


def neighbours(places) -> float:
    return minimum_spanning_tree(apart(places)).data.mean()


def unit(name: str | float, places) -> float:
    """The distance whose correlation is the parameter."""
    return apart(places)[np.tril_indices(len(places), -1)].min() if name == "sph" else neighbours(places)


def structure_of(name: str, places) -> Isotropic:
    kernel = {"curve": name} if name in ("ratio", "sph") else {"nu": SMOOTH[name]}
    return Isotropic(equal=True, places=tuple(map(tuple, places)), **kernel)


def matern(nu: float | str, s) -> np.ndarray:
    """Matérn's function of distances over the range, by SciPy's Bessel function; others by their names."""
    s = np.asarray(s, dtype=float)
    if nu == "ratio":
        return 1.0 / (1.0 + s**2)
    if nu == "sph":
        return np.where(s < 1.0, 1.0 - 1.5 * s + 0.5 * s**3, 0.0)
    if np.isinf(nu):
        return np.exp(-(s**2))
    with np.errstate(all="ignore"):
        return np.where(s > 0.0, 2.0 ** (1.0 - nu) / gamma(nu) * s**nu * kv(nu, s), 1.0)


def correlations(name: str | float, rho: float, places=PLACES) -> np.ndarray:
    """R with ρ at the mean distance of neighbours; the range by bisection."""
    nu = SMOOTH.get(name, name)
    low, high = -12.0, 12.0  # of the logarithm of that distance in ranges
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if matern(nu, np.exp(middle)) > rho else (low, middle)
    return matern(nu, np.exp(low) * apart(places) / unit(name, places))


@pytest.mark.parametrize("nu", [0.5, 1.5, 2.5, 6.5, 0.8, 1.0, 3.3, np.inf])
def test_kernels_are_those_of_the_bessel_function(nu) -> None:
    kernel, s = Kernel(nu), np.array([0.0, 1e-3, 0.1, 1.0, 3.0, 30.0, 300.0])
    np.testing.assert_allclose(kernel.value(np, s), matern(nu, s), rtol=1e-11, atol=1e-300)
    f, first, second = kernel.slopes(np, s[1:])
    np.testing.assert_allclose(f, kernel.value(np, s[1:]), rtol=1e-14)
    np.testing.assert_allclose(np.imag(kernel.value(np, s[1:] + 1e-30j)) / 1e-30, first, rtol=1e-9, atol=1e-300)
    step = 1e-5 * s[2:]
    differences = (kernel.slopes(np, s[2:] + step)[1] - kernel.slopes(np, s[2:] - step)[1]) / (2.0 * step)
    np.testing.assert_allclose(second[1:], differences, rtol=1e-5, atol=1e-10)
    rho = np.array([1e-6, 0.1, 0.5, 0.99])
    np.testing.assert_allclose(kernel.value(np, kernel.distance(np, rho)), rho, rtol=1e-10)


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("rho", [0.0, 0.02, 0.6, 0.97, 1.0])
def test_factor_is_that_of_the_textbook_matrix(name, dimensions, rho) -> None:
    places = np.random.default_rng(dimensions).normal(size=(6, dimensions))
    structure = structure_of(name, places)
    R = np.eye(6) if rho == 0.0 else np.ones((6, 6)) if rho == 1.0 else correlations(name, rho, places)
    np.testing.assert_allclose(structure.correlation(np, np.array([rho]), 6), R, atol=1e-12)
    L = piece_factor(np, structure.nearest(1.7 * np.linalg.cholesky(R + 1e-13 * np.eye(6))), Piece(0, 6, structure))
    np.testing.assert_array_equal(L, np.tril(L))
    np.testing.assert_allclose(L @ L.T, 1.7**2 * R, atol=1e-9)


@pytest.mark.parametrize("name", SMOOTH)
def test_tangents_equal_differences_everywhere(name) -> None:
    places = np.vstack([PLACES, PLACES[0] + 0.01])  # two nearly together
    structure = structure_of(name, places)
    piece, rng = Piece(0, 6, structure), np.random.default_rng(1)
    G = rng.normal(size=(6, 6))
    G = G + G.T

    def gradient(theta: np.ndarray) -> np.ndarray:
        return 2.0 * tangents(np, theta, ((piece,),))[0].along(G @ piece_factor(np, theta, piece))

    def value(theta: np.ndarray) -> float:
        L = piece_factor(np, theta, piece)
        return float((G * (L @ L.T)).sum())

    for angle in (0.0, 0.1, 0.7, 1.2, 1.5, 1.569, np.pi / 2):
        theta = np.array([1.3, angle])
        steps = 1e-5 * np.eye(2)
        first = np.array([(value(theta + e) - value(theta - e)) / 2e-5 for e in steps])
        second = np.array([(gradient(theta + e) - gradient(theta - e)) / 2e-5 for e in steps])
        L, found = piece_factor(np, theta, piece), tangents(np, theta, ((piece,),))[0]
        np.testing.assert_allclose(gradient(theta), first, atol=1e-6 * max(1.0, np.abs(first).max()))
        np.testing.assert_allclose(found.bend(G, G @ L), second, atol=2e-3 * max(1.0, np.abs(second).max()))


@pytest.fixture(scope="module")
def cells() -> pd.DataFrame:
    """Two rows at each of five places in ten levels, some missing; R = exp(−h / 2)."""
    rng = np.random.default_rng(4)
    level, place = (each.ravel() for each in np.indices((LEVELS, 5)).repeat(2, axis=1).reshape(2, -1))
    b = rng.multivariate_normal(np.zeros(5), np.exp(-apart(PLACES) / 2.0), size=LEVELS)
    y = 1.0 + b[level, place] + SIGMA * rng.normal(size=len(level))
    x, (east, north) = rng.normal(size=len(level)), PLACES[place].T
    frame = pd.DataFrame({"g": [f"g{i}" for i in level], "east": east, "north": north, "x": x, "y": y})
    return frame.drop(index=[3, 4, 17, 18, 30]).reset_index(drop=True)


def dense(frame: pd.DataFrame) -> DenseModel:
    columns = (frame[["east", "north"]].to_numpy()[:, None] == PLACES).all(axis=-1).astype(float)
    X = np.column_stack([np.ones(len(frame)), frame["x"]])
    return DenseModel(y=frame["y"].to_numpy(), X=X, Z=random_columns(pd.factorize(frame["g"])[0], columns, LEVELS))


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize("name", SMOOTH)
def test_fit_is_a_maximum_of_the_dense_likelihood(cells, name, method) -> None:
    fit = bmm.Model(f"y ~ x + {name}(0 + at(east, north) | g)", cells).fit(method=method)
    model = dense(cells)

    def log_likelihood(values: np.ndarray) -> float:
        G = level_covariance(values[0] ** 2 * correlations(name, values[1]), LEVELS)
        return model.log_likelihood(G, values[2], method)

    values = fit.parameters["estimate"].to_numpy()[2:]
    assert fit.loglik == pytest.approx(log_likelihood(values), abs=1e-7)
    for e in 1e-4 * np.eye(3):
        assert (log_likelihood(values + e) - log_likelihood(values - e)) / 2e-4 == pytest.approx(0.0, abs=2e-3)
        assert log_likelihood(values + 30.0 * e) < fit.loglik > log_likelihood(values - 30.0 * e)


def test_fit_does_not_depend_on_origin_unit_directions_or_order(cells) -> None:
    here = bmm.Model("y ~ x + mat(0 + at(east, north) | g)", cells).fit()
    turn = np.array([[np.cos(1.0), np.sin(1.0)], [-np.sin(1.0), np.cos(1.0)]])
    places = cells[["east", "north"]].to_numpy() @ turn
    moved = cells.assign(east=1000.0 * places[:, 0].round(12) - 7.0, north=1000.0 * places[:, 1].round(12))
    for frame, term in (
        (moved, "at(east, north)"),
        (cells, "numFactor(north, east)"),
        (cells.sample(frac=1.0, random_state=1), "at(east, north)"),
        (cells.assign(height=3.0), "at(east, height, north)"),
    ):
        there = bmm.Model(f"y ~ x + mat(0 + {term} | g)", frame).fit()
        assert there.loglik == pytest.approx(here.loglik, abs=1e-8)
        np.testing.assert_allclose(there.parameters["estimate"], here.parameters["estimate"], rtol=1e-5)
        np.testing.assert_allclose(there.parameters["std_error"], here.parameters["std_error"], rtol=1e-4)


def test_places_of_one_dimension_are_times(cells) -> None:
    one, other = (bmm.Model(f"y ~ x + exp(0 + {term} | g)", cells).fit() for term in ("at(east)", "C(east)"))
    assert one.loglik == pytest.approx(other.loglik, abs=1e-10)
    flat = bmm.Model("y ~ x + exp(0 + at(east, zero) | g)", cells.assign(zero=0.0)).fit()  # by another factor
    assert flat.loglik == pytest.approx(other.loglik, abs=1e-8)
    np.testing.assert_allclose(flat.parameters["estimate"], other.parameters["estimate"], rtol=1e-5)


@pytest.mark.parametrize("name", ["gau", "mat"])
def test_many_places_within_a_range_are_no_difficulty(name) -> None:
    """Matrices that are singular to all digits: the likelihood is that of the textbook, and the fit no boundary."""
    rng = np.random.default_rng(5)
    t = np.arange(40) / 10.0
    R = matern(SMOOTH[name], np.abs(t[:, None] - t) / 1.5)
    values, vectors = np.linalg.eigh(R)
    y = vectors @ (np.sqrt(np.maximum(values, 0.0)) * rng.normal(size=40)) + 0.1 * rng.normal(size=40)
    fit = bmm.Model(f"y ~ 1 + {name}(0 + at(t) | field)", pd.DataFrame({"t": t, "y": y, "field": "a"})).fit()
    assert fit.status.name == "CONVERGED"
    sd, rho, sigma = fit.parameters["estimate"].iloc[1:]
    V = sd**2 * correlations(name, rho, t[:, None])
    model = DenseModel(y=y, X=np.ones((40, 1)), Z=np.eye(40))
    assert fit.loglik == pytest.approx(model.log_likelihood(V, sigma, "reml"), abs=1e-6)
    assert np.isfinite(fit.parameters["std_error"]).all()
    effects = fit.random_effects()
    W = V + sigma**2 * np.eye(40)
    beta = np.linalg.solve(W, y).sum() / np.linalg.inv(W).sum()
    np.testing.assert_allclose(effects["estimate"], V @ np.linalg.solve(W, y - beta), atol=1e-6)


@pytest.mark.parametrize("name", SMOOTH)
def test_restricted_likelihood_is_the_posterior_under_flat_priors(cells, name) -> None:
    found = bmm.Model(f"y ~ x + {name}(0 + at(east, north) | g)", cells).check_identity()
    assert abs(found.gap) < 1e-8
    assert (found.slopes.abs() < 1e-3).all()


@pytest.mark.parametrize("nu", [0.5, 2.5, 1.2])
def test_smoothness_is_an_option(cells, nu, tmp_path) -> None:
    formula = f"y ~ x + mat(0 + at(east, north) | g, nu={nu})"
    model = bmm.Model(formula, cells)
    fit = model.fit()
    sd, rho, sigma = fit.parameters["estimate"].iloc[2:]
    G = level_covariance(sd**2 * correlations(nu, rho), LEVELS)
    assert fit.loglik == pytest.approx(dense(cells).log_likelihood(G, sigma, "reml"), abs=1e-7)
    for by in (0.97, 1.03):
        G = level_covariance(sd**2 * correlations(nu, rho * by), LEVELS)
        assert dense(cells).log_likelihood(G, sigma, "reml") < fit.loglik
    written = model.design.specification.normalised()
    assert written.endswith(f"mat(0 + at(east, north) | g, nu={nu})")
    assert bmm.Model(written, cells).fit().loglik == fit.loglik
    pd.testing.assert_frame_equal(bmm.load(fit.save(tmp_path / "fit.nc")).parameters, fit.parameters)
    if nu == 1.2:
        assert abs(model.check_identity().gap) < 1e-8
    if nu == 0.5:
        same = bmm.Model("y ~ x + exp(0 + at(east, north) | g)", cells).fit()
        assert fit.loglik == pytest.approx(same.loglik, abs=1e-10)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("nu=0.4", "a number from 0.5 to 50"),
        ("nu=x", "a number from 0.5 to 50"),
        ("smooth=2", r"mat\(\) takes nu= after its bar"),
        ("2.5", r"mat\(\) takes nu= after its bar"),
    ],
)
def test_what_is_no_smoothness_is_refused(cells, option, message) -> None:
    with pytest.raises(SpecificationError, match=message):
        bmm.Model(f"y ~ x + mat(0 + at(east, north) | g, {option})", cells)


def test_moments_are_those_of_the_structure(cells) -> None:
    rows = [int(np.flatnonzero((cells["g"] == "g0") & (cells["east"] == east))[0]) for east in PLACES[:, 0]]
    for name in SMOOTH:
        model, term = bmm.Model(f"y ~ x + {name}(0 + at(east, north) | g)", cells), "0 + at(east, north) | g"
        at = {f"sd({term})": 1.3, f"cor({term})": 0.4, "Intercept": 1.0, "x": 0.0, "sigma": SIGMA}
        found = model.marginal_covariance(rows, at=at).to_numpy(dtype=float)
        np.testing.assert_allclose(found, 1.69 * correlations(name, 0.4) + SIGMA**2 * np.eye(5), rtol=1e-9)
        symbol = str(model.marginal_covariance(rows).to_numpy()[0, 1])
        h = apart(PLACES)[0, 1] / unit(name, PLACES)
        shown = {"exp": f"ρ({term})^{h:.6g}", "gau": f"ρ({term})^{h**2:.6g}", "mat": f"mat({h:.6g}; ρ({term}))"}
        shown = shown.get(name, f"{name}({h:.6g}; ρ({term}))")
        assert symbol == f"{shown}·σ²({term})"


def test_what_is_read_off_a_fit_and_a_posterior_works(cells, tmp_path) -> None:
    model = bmm.Model("y ~ x + gau(0 + at(east, north) | g)", cells)
    fit, posterior = model.fit(), model.sample(method="importance", draws=200, seed=1)
    for result in (fit, posterior):
        again = bmm.load(result.save(tmp_path / "result.nc"))
        pd.testing.assert_frame_equal(again.parameters, result.parameters)
        seen, before = (np.asarray(each.predict(cells.head(6))) for each in (again, result))
        np.testing.assert_allclose(seen.astype(float), before.astype(float))
        near, new = cells.head(3), pd.DataFrame({"g": "g1", "x": 0.0, "east": [1.0, 9.0], "north": [1.0, -3.0]})
        moved = near.assign(east=near["east"] + 1e-4)  # next to a place of the fit its effect is that one
        one, other = (np.asarray(result.predict(each), dtype=float).reshape(3, -1) for each in (near, moved))
        np.testing.assert_allclose(other, one, rtol=1e-3)
        np.testing.assert_allclose(
            np.asarray(again.predict(new), dtype=float), np.asarray(result.predict(new), dtype=float)
        )
    found = posterior.predict(new)
    expected = fit.predict(new, interval="confidence")
    assert (found["mean"] - expected["estimate"]).abs().max() < 0.4 * expected["std_error"].min()
    assert np.isfinite(np.asarray(posterior.posterior_predictive(new, draws=20).posterior_predictive["y"])).all()
    assert "0 + at(east, north)" in str(bmm.compare(fit, posterior))
    data = tmp_path / "cells.csv"
    cells.to_csv(data, index=False)
    rows = run_json("fit", "y ~ x + gau(0 + numFactor(east, north) | g)", "--data", data)["fit"]["parameters"]
    found = {row["parameter"]: row["estimate"] for row in rows}
    assert found["cor(0 + at(east, north) | g)"] == pytest.approx(fit.parameters["estimate"].iloc[3], rel=1e-4)


@pytest.mark.parametrize(
    ("term", "message"),
    [
        ("at(east, north)", "places stand alone left of a bar, without an intercept: exp"),
        ("0 + x + at(east, north)", "places stand alone left of a bar"),
        ("0 + at(east, g)", r"at\(\) takes columns of numbers"),
        ("0 + at(east + 1, north)", r"at\(\) takes columns of numbers"),
        ("0 + at()", r"at\(\) takes columns of numbers"),
    ],
)
def test_what_is_no_place_is_refused(cells, term, message) -> None:
    with pytest.raises(DesignError, match=message):
        bmm.Model(f"y ~ x + exp({term} | g)", cells)


def test_nearly_one_place_is_refused_by_name(cells) -> None:
    frame = cells.assign(east=cells["east"].where(cells.index > 0, 1e-9))
    with pytest.raises(
        DesignError, match=r"at\(east, north\)\[0, 0\]' and 'at\(east, north\)\[1e-09, 0\]' at \(nearly"
    ):
        bmm.Model("y ~ x + exp(0 + at(east, north) | g)", frame)
    with pytest.raises(SpecificationError, match="redefines 'at'"):
        bmm.Model("y ~ x + exp(0 + at(east, north) | g)", cells, namespace={"at": np.add})


NEW = pd.DataFrame(
    {
        "g": ["g0", "g1", "g1", "g3", "g0", "g4"],
        "x": [0.5, 0.0, -1.0, 0.3, 0.2, 0.1],
        "east": [0.5, 2.5, 2.5, -4.0, 0.0, np.nan],
        "north": [0.5, 2.0, 2.0, 9.0, 0.0, 1.0],
    }
)


@pytest.mark.parametrize("name", [*SMOOTH, "times"])
def test_new_places_are_predicted_as_by_universal_kriging(cells, name) -> None:
    """x'β̂ + c'V⁻¹(y − Xβ̂), with the variance V₀₀ − c'V⁻¹c + (x − X'V⁻¹c)'(X'V⁻¹X)⁻¹(x − X'V⁻¹c)."""
    times = name == "times"
    term = "exp(0 + C(east) | g)" if times else f"{name}(0 + at(east, north) | g)"
    fit = bmm.Model(f"y ~ x + {term}", cells).fit()
    sd, rho, sigma = fit.parameters["estimate"].iloc[2:]
    new = NEW.dropna()
    at = pd.concat([cells, new])[["east"] if times else ["east", "north"]].to_numpy()
    known = PLACES[:, :1] if times else PLACES
    low, high, nu = -12.0, 12.0, 0.5 if times else SMOOTH[name]
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if matern(nu, np.exp(middle)) > rho else (low, middle)
    same = pd.concat([cells, new])["g"].to_numpy()
    both = sd**2 * matern(nu, np.exp(low) * apart(at) / unit("exp" if times else name, known)) * (same[:, None] == same)
    n = len(cells)
    V, C = both[:n, :n] + sigma**2 * np.eye(n), both[:n, n:]
    X, X0 = (np.column_stack([np.ones(len(each)), each["x"]]) for each in (cells, new))
    Phi = np.linalg.inv(X.T @ np.linalg.solve(V, X))
    beta = Phi @ X.T @ np.linalg.solve(V, cells["y"])
    mean = X0 @ beta + C.T @ np.linalg.solve(V, cells["y"] - X @ beta)
    D = X0.T - X.T @ np.linalg.solve(V, C)
    left = np.diag(both[n:, n:]) - (C * np.linalg.solve(V, C)).sum(axis=0)
    given_beta = np.sqrt(np.maximum(left, 0.0))
    everything = np.sqrt(left + (D * (Phi @ D)).sum(axis=0))
    for uncertainty, sds in (("conditional", given_beta), ("fixed", everything)):
        found = fit.predict(NEW, interval="confidence", uncertainty=uncertainty)
        assert found.iloc[-1].isna().all()
        np.testing.assert_allclose(found["estimate"].iloc[:-1], mean, rtol=1e-6)
        np.testing.assert_allclose(found["std_error"].iloc[:-1], sds, rtol=1e-5)
    full = fit.predict(NEW, interval="prediction").iloc[:-1]
    assert (full["std_error"] ** 2 > everything**2 + sigma**2).all()
    np.testing.assert_allclose(fit.predict(NEW).iloc[:-1], mean, rtol=1e-6)
    pd.testing.assert_series_equal(fit.predict(NEW).iloc[[4]], fit.predict(NEW.iloc[[4]]), rtol=1e-8)


def test_new_places_of_new_levels_vary_as_the_others_do(cells) -> None:
    fit = bmm.Model("y ~ x + mat(0 + at(east, north) | g)", cells).fit()
    new = pd.DataFrame({"g": "other", "x": 0.0, "east": [9.0], "north": [9.0]})
    with pytest.raises(PredictionError, match="'other'"):
        fit.predict(new)
    population, sample = (
        fit.predict(new, interval="confidence", new_levels=how, uncertainty="fixed") for how in ("population", "sample")
    )
    sd = fit.parameters["estimate"].iloc[2]
    extra = sample["std_error"].iloc[0] ** 2 - population["std_error"].iloc[0] ** 2
    assert extra == pytest.approx(sd**2, rel=1e-8)
    fixed_only = fit.predict(new, random="none")
    np.testing.assert_allclose(population["estimate"], fixed_only)


@pytest.mark.parametrize(
    ("term", "why"),
    [
        ("hetexp(0 + at(east, north) | g)", "each effect has a standard deviation of its own"),
        ("ar1(0 + C(east) | g)", "these are not evenly spaced"),
        ("(0 + C(east) | g)", "nothing is known of other effects where the covariance is unstructured"),
    ],
)
def test_new_places_are_refused_where_nothing_is_known_of_them(cells, term, why) -> None:
    fit = bmm.Model(f"y ~ x + {term}", cells).fit()
    with pytest.raises(PredictionError, match=rf"\[9(, 0)?\]' in the new data, which the fit did not see: .*{why}"):
        fit.predict(cells.head(1).assign(east=9.0))


def test_draws_at_new_places_have_the_conditional_distribution() -> None:
    from bayesmm.bayes.results.new_places import _draw

    rng = np.random.default_rng(3)
    places = rng.normal(size=(6, 2))
    C = 2.0 * np.exp(-apart(places))
    known = np.array([[1.0, -0.5, 0.3, 2.0]])
    found = _draw(np.tile(C, (40_000, 1, 1)), np.tile(known, (40_000, 1, 1)), rng)[:, 0]
    gain = np.linalg.solve(C[:4, :4], C[:4, 4:]).T
    np.testing.assert_allclose(found.mean(axis=0), gain @ known[0], atol=0.03)
    np.testing.assert_allclose(np.cov(found.T), C[4:, 4:] - gain @ C[:4, 4:], atol=0.05)


def test_zinc_at_the_meuse_is_what_nlme_and_gstat_say() -> None:
    """nlme 3.1-162 and gstat 2.1-0.

    gls(log(zinc) ~ sqrt(dist), meuse, corExp(c(300, 0.3), form = ~ x + y, nugget = TRUE), method = "REML"), and
    krige(log(zinc) ~ sqrt(dist), meuse, new, v) with its variogram v, the nugget as the measurements' error.
    """
    meuse = bmm.datasets.load("meuse")
    fit = bmm.Model("np.log(zinc) ~ np.sqrt(dist) + exp(0 + at(x, y) | area)", meuse).fit()
    assert fit.loglik == pytest.approx(-77.1721061406, abs=1e-8)
    sd, rho, sigma = fit.parameters["estimate"].iloc[2:]
    np.testing.assert_allclose(fit.parameters["estimate"].iloc[:2], [6.98543065015, -2.56716351368], rtol=1e-6)
    np.testing.assert_allclose(fit.coefficients()["std_error"], [0.124845344384, 0.234861134855], rtol=1e-6)
    assert np.hypot(sd, sigma) == pytest.approx(0.444676795376, rel=1e-6)
    assert sigma**2 / (sd**2 + sigma**2) == pytest.approx(0.2463448412, rel=1e-5)
    unit = neighbours(meuse[["x", "y"]].to_numpy(dtype=float))
    assert -unit / np.log(rho) == pytest.approx(192.5140114119, rel=1e-5)
    new = pd.DataFrame(
        {"x": [179000, 180000, 181072], "y": [330000, 331500, 333700], "dist": [0.3, 0.1, 0.05], "area": "Meuse"}
    )
    found = fit.predict(new, interval="confidence", uncertainty="fixed")
    np.testing.assert_allclose(found["estimate"], [5.60621650874, 6.17784683694, 6.48260323589], rtol=1e-6)
    np.testing.assert_allclose(found["std_error"], [0.304058352202, 0.334145998477, 0.318434722316], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "loglik", "length", "nugget", "spread", "beta", "errors"),
    [
        ("sph", -76.64206990, 429.2394, 0.33511, 0.4375458, [6.96335095, -2.53764803], [0.11223601, 0.21713808]),
        ("ratio", -76.96039920, 209.7606, 0.39983, 0.4569348, [6.98077117, -2.55658311], [0.13893162, 0.24401671]),
    ],
)
def test_spherical_and_rational_fields_are_those_of_nlme(name, loglik, length, nugget, spread, beta, errors) -> None:
    """nlme 3.1-162, of starts from 200 to 1500 m.

    gls(log(zinc) ~ sqrt(dist), meuse, corSpher(c(range, 0.3), form = ~ x + y, nugget = TRUE), method = "REML",
    control = glsControl(msMaxIter = 500, tolerance = 1e-10, msTol = 1e-12)), and corRatio.
    """
    meuse = bmm.datasets.load("meuse")
    fit = bmm.Model(f"np.log(zinc) ~ np.sqrt(dist) + {name}(0 + at(x, y) | area)", meuse).fit()
    assert fit.loglik == pytest.approx(loglik, abs=1e-7)
    sd, rho, sigma = fit.parameters["estimate"].iloc[2:]
    gap = unit(name, meuse[["x", "y"]].to_numpy(dtype=float))
    found = 2.0 * np.sin(np.arcsin(1.0 - rho) / 3.0) if name == "sph" else np.sqrt((1.0 - rho) / rho)
    assert gap / found == pytest.approx(length, rel=1e-4)
    assert sigma**2 / (sd**2 + sigma**2) == pytest.approx(nugget, rel=1e-4)
    assert np.hypot(sd, sigma) == pytest.approx(spread, rel=1e-5)
    np.testing.assert_allclose(fit.parameters["estimate"].iloc[:2], beta, rtol=1e-5)
    np.testing.assert_allclose(fit.coefficients()["std_error"], errors, rtol=1e-4)


def test_spheres_share_volume_in_three_dimensions_at_most(cells) -> None:
    frame = cells.assign(a=0.0, b=0.0)
    assert bmm.Model("y ~ x + sph(0 + at(east, north, a) | g)", frame).design.n == len(cells)
    with pytest.raises(DesignError, match="places of 4 coordinates, and spherical correlations"):
        bmm.Model("y ~ x + sph(0 + at(east, north, a, b) | g)", frame)
