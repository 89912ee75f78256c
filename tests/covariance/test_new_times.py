"""Effects at levels that no row has: AR(1) at further steps, equally correlated and independent effects anywhere."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from cli_commands import mistake, run_json

import bayesmm as bmm
from bayesmm.covariance.autoregressive import Autoregressive
from bayesmm.covariance.compound_symmetry import CompoundSymmetry
from bayesmm.design.new_places import add_places, check_possible
from bayesmm.errors import PredictionError, RowsError

STRUCTURES = {
    "ar1": lambda rho, d: rho ** np.abs(d),
    "homcs": lambda rho, d: np.where(d == 0.0, 1.0, rho),
    "homdiag": lambda rho, d: np.where(d == 0.0, 1.0, 0.0),
}
NEW = pd.DataFrame(
    {
        "g": ["g0", "g0", "g1", "g1", "g2", "other", "other", "g3"],
        "x": [0.5, 0.0, -1.0, 0.3, 0.2, 0.1, 0.4, 0.1],
        "t": [16.0, 12.0, -4.0, 2.0, 6.0, 20.0, 12.0, np.nan],
    }
)  # beyond both ends, next to an end and not, and known ones


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    """Two rows at each of six even times in twelve levels, some missing; ρ = −0.6 a step of two."""
    rng = np.random.default_rng(8)
    level, step = (each.ravel() for each in np.indices((12, 6)).repeat(2, axis=1).reshape(2, -1))
    R = (-0.6) ** np.abs(np.subtract.outer(range(6), range(6)))
    b = rng.multivariate_normal(np.zeros(6), R, size=12)
    x = rng.normal(size=len(level))
    y = 1.0 + x + b[level, step] + 0.5 * rng.normal(size=len(level))
    frame = pd.DataFrame({"g": [f"g{i}" for i in level], "t": 2.0 * step, "x": x, "y": y})
    frame["visit"] = pd.Categorical([f"v{i}" for i in step])
    frame["arm"] = np.where(level < 6, "A", "B")
    return frame.drop(index=[3, 4, 17, 18, 30]).reset_index(drop=True)


def textbook(frame: pd.DataFrame, new: pd.DataFrame, function, sd: float, rho: float, sigma: float) -> dict:
    """Dense conditional normal distribution of new rows' Xβ + Zb, with β known and estimated."""
    both = pd.concat([frame, new])
    t, g, n = both["t"].to_numpy(), both["g"].to_numpy(), len(frame)
    C = sd**2 * function(rho, (t[:, None] - t) / 2.0) * (g[:, None] == g)
    V, c, X = C[:n, :n] + sigma**2 * np.eye(n), C[:n, n:], np.column_stack([np.ones(len(both)), both["x"]])
    y = frame["y"].to_numpy()
    Phi = np.linalg.inv(X[:n].T @ np.linalg.solve(V, X[:n]))
    beta = Phi @ X[:n].T @ np.linalg.solve(V, y)
    left = C[n:, n:] - c.T @ np.linalg.solve(V, c)
    D = X[n:].T - X[:n].T @ np.linalg.solve(V, c)
    return {
        "mean": X[n:] @ beta + c.T @ np.linalg.solve(V, y - X[:n] @ beta),
        "conditional": np.sqrt(np.diag(left)),
        "fixed": np.sqrt(np.diag(left) + np.einsum("im,ij,jm->m", D, Phi, D)),
    }


@pytest.mark.parametrize("name", STRUCTURES)
def test_new_times_have_the_conditional_distribution_of_the_textbook(rows, name) -> None:
    if name == "homcs":
        rows = rows.assign(y=rows["y"] + pd.factorize(rows["g"])[0] % 4)
    fit = bmm.Model(f"y ~ x + {name}(0 + C(t) | g)", rows).fit()
    values = fit.parameters["estimate"].iloc[2:].tolist()
    sd, rho = values[0], values[1] if name != "homdiag" else 0.0
    seen = NEW["t"].notna()
    expected = textbook(rows, NEW[seen], STRUCTURES[name], sd, rho, fit.sigma)
    for uncertainty in ("conditional", "fixed"):
        found = fit.predict(NEW, interval="confidence", uncertainty=uncertainty, new_levels="sample")
        assert found[~seen].isna().all(axis=None)
        np.testing.assert_allclose(found["estimate"][seen], expected["mean"], atol=1e-9)
        np.testing.assert_allclose(found["std_error"][seen], expected[uncertainty], rtol=1e-8)
    full = fit.predict(NEW[seen], interval="prediction", new_levels="sample")
    assert (full["std_error"] ** 2 > expected["fixed"] ** 2 + fit.sigma**2).all()
    if name != "ar1":
        how = {"uncertainty": "bootstrap", "refits": 8, "new_levels": "sample", "progress": False}
        drawn = fit.predict(NEW[seen], interval="confidence", **how)
        assert (drawn["std_error"] > expected["fixed"]).all()
    alone = fit.predict(NEW.iloc[[0]])  # does not depend on what else is asked for
    np.testing.assert_allclose(alone, fit.predict(NEW, new_levels="sample").iloc[[0]], rtol=1e-9)


@pytest.mark.parametrize("rho", [-1.0, -0.7, 0.0, 0.4, 1.0])
def test_factor_in_any_order_is_that_of_the_textbook_matrix(rho) -> None:
    steps = (0, 1, 2, 3, -4, 9, -1, 5)
    structure = Autoregressive(equal=True, steps=steps)
    R = float(rho) ** np.abs(np.subtract.outer(steps, steps))
    k = len(steps)
    np.testing.assert_allclose(structure.correlation(np, np.array([rho]), k), R, atol=1e-14)
    theta = structure.nearest(1.5 * np.eye(k))
    theta[-1] = structure.angles(np.array([rho]), k)[0]
    L = structure.factor(np, theta, k)
    np.testing.assert_allclose(L @ L.T, theta[0] ** 2 * R, atol=1e-12)
    np.testing.assert_allclose(structure.read(np, L @ L.T)[1], [rho], atol=1e-12)
    assert structure.power(4, 5) == 13


@pytest.mark.parametrize("rho", [-0.15, 0.0, 0.6, 1.0])
@pytest.mark.parametrize("turn", [1.0, -1.0])
def test_factor_of_more_equally_correlated_effects_is_that_of_the_textbook(rho, turn) -> None:
    structure = CompoundSymmetry(equal=True, size=4)
    angle = turn * structure.angles(np.array([rho]), 6)
    C = structure.units(np, angle[None], 6)[0]
    np.testing.assert_allclose(C @ C.T, np.where(np.eye(6), 1.0, rho), atol=1e-12)
    np.testing.assert_allclose(C[:4, :4], CompoundSymmetry(equal=True).units(np, angle[None], 4)[0], atol=1e-14)


def test_posterior_draws_new_times_given_the_effects_of_each_draw(rows, tmp_path) -> None:
    model = bmm.Model("y ~ x + ar1(0 + C(t) | g)", rows)
    fit, posterior = model.fit(), model.sample(method="importance", draws=600, seed=1)
    new = NEW.dropna()
    found = posterior.predict(new, new_levels="sample")
    expected = fit.predict(new, interval="confidence", new_levels="sample")
    assert (found["mean"] - expected["estimate"]).abs().max() < 0.3 * expected["std_error"].min()
    np.testing.assert_allclose(found["sd"], expected["std_error"], rtol=0.2)
    drawn = posterior.posterior_predictive(new, new_levels="sample", draws=600).posterior_predictive["y"]
    y = drawn.to_numpy().reshape(-1, len(new))
    noise = fit.sigma**2
    np.testing.assert_allclose(y.std(axis=0), np.sqrt(expected["std_error"] ** 2 + noise), rtol=0.2)
    covariance = np.cov(y.T)  # of new times of one level, jointly: those of g0 are two steps apart
    rho = fit.parameters.loc["cor(0 + C(t) | g)", "estimate"]
    alone = 1.0 - rho**2  # of the innovation of the first, of which the further one has ρ²
    sd = fit.parameters.loc["sd(0 + C(t) | g)", "estimate"]
    assert covariance[0, 1] > 0.5 * rho**2 * alone * sd**2
    for result in (fit, posterior):
        again = bmm.load(result.save(tmp_path / "result.nc"))
        one, other = (np.asarray(each.predict(new, new_levels="sample"), dtype=float) for each in (again, result))
        np.testing.assert_allclose(one, other)


def test_levels_that_are_words_are_equally_correlated_and_have_no_steps(rows) -> None:
    new = pd.DataFrame({"g": ["g0", "g1"], "x": 0.0, "visit": ["v9", "v2"], "t": [18.0, 4.0]})
    by_name, by_number = (bmm.Model(f"y ~ x + homcs(0 + {f} | g)", rows).fit() for f in ("visit", "C(t)"))
    one, other = (fit.predict(new, interval="confidence") for fit in (by_name, by_number))
    np.testing.assert_allclose(one, other, rtol=1e-6)
    fit = bmm.Model("y ~ x + ar1(0 + visit | g)", rows).fit()
    with pytest.raises(PredictionError, match=r"'visit\[v9\]' in the new data.*its levels are no numbers"):
        fit.predict(new)
    digits = rows.assign(visit=rows["visit"].astype(str).str[1:])
    fit = bmm.Model("y ~ x + ar1(0 + C(visit) | g)", digits).fit()
    by_number = bmm.Model("y ~ x + ar1(0 + C(t) | g)", rows).fit()
    np.testing.assert_allclose(fit.predict(new.assign(visit=["9", "2"])), by_number.predict(new), rtol=1e-6)


def test_strata_know_new_times_by_their_own_covariance(rows) -> None:
    fit = bmm.Model("y ~ x + ar1(0 + C(t) | gr(g, by=arm))", rows).fit()
    new = NEW[NEW["g"].str.startswith("g")].dropna().assign(arm="A")
    found = fit.predict(new, interval="confidence", uncertainty="conditional")
    values = fit.parameters["estimate"]
    own = values[[name for name in values.index if "arm[A]" in name]].tolist()
    other = values[[name for name in values.index if "arm[B]" in name]].tolist()
    both = pd.concat([rows, new])
    t, g, arm = (both[name].to_numpy() for name in ("t", "g", "arm"))
    n, steps = len(rows), np.abs(t[:, None] - t) / 2.0
    C = np.where(arm == "A", own[0] ** 2 * own[1] ** steps, other[0] ** 2 * other[1] ** steps) * (g[:, None] == g)
    V, c = C[:n, :n] + fit.sigma**2 * np.eye(n), C[:n, n:]
    X = np.column_stack([np.ones(len(both)), both["x"]])
    beta = values.iloc[:2].to_numpy()
    np.testing.assert_allclose(
        found["estimate"], X[n:] @ beta + c.T @ np.linalg.solve(V, rows["y"] - X[:n] @ beta), atol=1e-7
    )
    np.testing.assert_allclose(
        found["std_error"] ** 2, np.diag(C[n:, n:]) - (c * np.linalg.solve(V, c)).sum(axis=0), rtol=1e-7
    )


@pytest.mark.parametrize(
    ("term", "t", "why"),
    [
        ("ar1", 3.0, "a step is 2 long, and no whole number of them leads there. exp"),
        ("hetar1", 12.0, "each effect has a standard deviation of its own"),
        ("cs", 12.0, "each effect has a standard deviation of its own"),
        ("homtoep", 12.0, "there is a correlation for each lag up to 5"),
        ("diag", 12.0, "the covariance is diagonal. ar1, homcs"),
        ("us", 12.0, "the covariance is unstructured. ar1, homcs"),
    ],
)
def test_what_nothing_is_known_of_is_refused_with_the_reason(rows, term, t, why) -> None:
    fit = bmm.Model(f"y ~ x + {term}(0 + C(t) | g)", rows).fit()
    with pytest.raises(PredictionError, match=rf"'C\(t\)\[{t:g}\]' in the new data, which the fit did not see.*{why}"):
        fit.predict(NEW.iloc[[0]].assign(t=t))
    assert np.isfinite(fit.predict(NEW.iloc[[0]].assign(t=t), random="none")).all()


def test_times_that_are_not_even_have_no_steps(rows) -> None:
    fit = bmm.Model("y ~ x + ar1(0 + C(t) | g)", rows[rows["t"] != 6.0]).fit()
    for t in (6.0, 12.0):
        with pytest.raises(PredictionError, match=r"not evenly spaced \(0, 2, 4, 8, 10\), so that no number of steps"):
            fit.predict(NEW.iloc[[0]].assign(t=t))


def test_more_effects_than_may_be_negatively_correlated_are_refused(rows) -> None:
    rng, wide = np.random.default_rng(2), rows.copy()
    b = rng.normal(size=(12, 6))
    b -= 0.98 * b.mean(axis=1, keepdims=True)  # next to the limit of six
    wide["y"] = b[wide["g"].str[1:].astype(int), (wide["t"] / 2).astype(int)] + 0.1 * rng.normal(size=len(wide))
    fit = bmm.Model("y ~ x + homcs(0 + C(t) | g)", wide).fit()
    with pytest.raises(PredictionError, match=r"has 8 effects, and so many cannot have the covariance that was found:"):
        fit.predict(NEW.iloc[:2])
    design = add_places(fit.design, NEW.iloc[:2], ["g"])
    (piece,) = design.blocks[0].pieces
    draws = np.array([piece.structure.correlation(np, np.array([rho]), 8) for rho in (0.1, -0.1, -0.15, -0.19)])
    with pytest.raises(PredictionError, match=r"found in 2 of 4 draws.*Uniform\(0, 1\)"):
        check_possible(piece, draws)


def test_new_times_from_files_and_the_command_line(rows, tmp_path) -> None:
    data, new = tmp_path / "rows.csv", tmp_path / "new.csv"
    rows.drop(columns="visit").to_csv(data, index=False)
    NEW.dropna().to_csv(new, index=False)
    formula = "y ~ x + ar1(0 + C(t) | g)"
    expected = bmm.Model(formula, rows).fit().predict(NEW.dropna(), interval="prediction", new_levels="sample")
    options = ("--interval", "prediction", "--new-levels", "sample")
    table = run_json("predict", formula, "--data", data, "--new", new, *options)["prediction"]["table"]
    np.testing.assert_allclose([row["estimate"] for row in table], expected["estimate"], rtol=1e-5)
    message = mistake("predict", formula.replace("ar1", "hetar1"), "--data", data, "--new", new, *options)
    assert "each effect has a standard deviation of its own" in message
    fit = bmm.Model(formula, bmm.scan(data, chunk_rows=40)).fit()
    with pytest.raises(RowsError, match="levels, times or places left of a bar that no row of the fit has"):
        fit.predict(NEW.dropna(), new_levels="sample")
    np.testing.assert_allclose(
        fit.predict(NEW.iloc[3:5]), bmm.Model(formula, rows).fit().predict(NEW.iloc[3:5]), rtol=1e-5
    )
    fit = bmm.Model(formula, rows).fit()
    out = fit.predict_rows(bmm.scan(new, chunk_rows=3), to=tmp_path / "out.parquet", new_levels="sample")
    np.testing.assert_allclose(pd.read_parquet(out)["predicted"], expected["estimate"], rtol=1e-5)
