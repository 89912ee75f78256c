"""Predictions with what a group's residuals say: against the dense Gaussian conditioned on the rows of the fit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from residual_textbook import RANDOM, TEXTBOOK, Matrix, dense_residual, make_data, time_gaps

import bayesmm as bmm
from bayesmm import Model
from bayesmm.errors import PredictionError
from bayesmm.inference.fixed.information import parameter_covariance

DATA = make_data(seed=11, groups=60)
OUT = np.isin(np.arange(len(DATA)), np.random.default_rng(0).choice(len(DATA), 12, replace=False))
OLD, NEW = DATA[~OUT].reset_index(drop=True), DATA[OUT].reset_index(drop=True)
BOTH = pd.concat([OLD, NEW], ignore_index=True)
BOTH.attrs["time_gaps"] = time_gaps(OLD)
n = len(OLD)
FORMULA = "y ~ arm + visit + x"
BESIDE = ("ar1(step | id)", "hetar1(step | id)", "car1(time | id) * exponential(x)", "ar1(step | id, by=arm)")
CASES = [*((text, "") for text in TEXTBOOK), *((text, RANDOM[1]) for text in BESIDE)]
LAYERS: Any = ("fixed", "full")
KINDS: Any = ("confidence", "prediction")
BOTH_WAYS: Any = ("conditional", "none")
KRIGED: dict[str, Any] = {"residuals": "conditional", "new_levels": "sample"}


def dense_covariance(text: str, random: str, values: dict[str, float]) -> tuple[Matrix, Matrix, Matrix]:
    """V of all rows, known and new, and X and y of the known ones and X of the new ones."""
    whole = Model(FORMULA + random, BOTH, residual=text, weights="w")
    V = dense_residual(whole, values, BOTH, BOTH["w"].to_numpy())
    if random:
        ids = BOTH["id"].to_numpy()
        V = V + values["sd(Intercept | id)"] ** 2 * (ids[:, None] == ids)
    return V, whole.design.X[:, whole.design.kept], whole.design.y[:n]


def krige(V: Matrix, X: Matrix) -> tuple[Matrix, Matrix, Matrix]:
    """Weights of the known rows (n, m), and variances with β known and estimated: universal kriging."""
    Vi, c = np.linalg.inv(V[:n, :n]), V[:n, n:]
    A = np.linalg.inv(X[:n].T @ Vi @ X[:n])
    left = X[n:] - c.T @ Vi @ X[:n]
    known = V[n:, n:] - c.T @ Vi @ c
    return Vi @ c + Vi @ X[:n] @ A @ left.T, np.diag(known), np.diag(known + left @ A @ left.T)


@pytest.mark.parametrize(("text", "random"), CASES)
def test_predictions_and_their_variances_are_those_of_universal_kriging(text: str, random: str) -> None:
    fit = Model(FORMULA + random, OLD, residual=text, weights="w").fit()
    V, X, y = dense_covariance(text, random, fit.parameters["estimate"].to_dict())
    weights, of_residuals, of_all = krige(V, X)

    assert fit.predict(NEW, **KRIGED).to_numpy() == pytest.approx(weights.T @ y, rel=1e-9)
    layers: Any = {"conditional": of_residuals, "fixed": of_all}
    for layer, variance in layers.items():
        table = fit.predict(NEW, interval="prediction", uncertainty=layer, **KRIGED)
        assert table["std_error"].to_numpy() ** 2 == pytest.approx(variance, rel=1e-7)


@pytest.mark.parametrize(
    ("text", "random"),
    [("ar1(step | id)", " + (1 | id)"), ("car1(time | id) * exponential(x)", ""), ("us(visit | id)", "")],
)
def test_estimated_covariances_add_the_error_of_the_weights(text: str, random: str) -> None:
    fit = Model(FORMULA + random, OLD, residual=text, weights="w").fit()
    W, at, residual = parameter_covariance(fit, "expected"), fit.estimate.coordinates, fit.estimate.residual
    assert residual is not None
    names = [*fit.labels.residual_sds, *fit.labels.residual_cors]

    def covariance(psi: Matrix) -> tuple[Matrix, Matrix]:
        sigma, t = np.exp(psi[-1]), len(psi) - 1 - len(names)
        values = dict(zip(names, residual.public_values(psi[t:-1], psi[-1]), strict=True)) | {"sigma": sigma}
        if random:
            root = fit.estimate.criterion_function.products.effect_roots[0][0, 0]
            values["sd(Intercept | id)"] = sigma * psi[0] / root
        V, X, _ = dense_covariance(text, random, values)
        return V, X

    steps = 1e-4 * np.eye(len(at))
    ends = [(krige(*covariance(at + e)), krige(*covariance(at - e))) for e in steps]
    ways = np.array([(up[0] - down[0]) / 2e-4 for up, down in ends])  # ∂λ, (u, n, m)
    slopes = np.array([(up[2] - down[2]) / 2e-4 for up, down in ends])
    V, X = covariance(at)
    third = np.einsum("ij,inm,nk,jkm->m", W, ways, V[:n, :n], ways, optimize=True)
    variance = krige(V, X)[2]
    noise = np.einsum("im,ij,jm->m", slopes, W, slopes)

    table = fit.predict(NEW, interval="prediction", **KRIGED)
    seen = NEW["id"].isin(OLD["id"]).to_numpy()
    assert table["std_error"].to_numpy()[seen] ** 2 == pytest.approx((variance + 2.0 * third)[seen], rel=1e-5)
    df = np.maximum(2.0 * variance**2 / noise, 1.0)
    assert table["df"].to_numpy()[seen] == pytest.approx(df[seen], rel=1e-4)
    mean, new = (fit.predict(NEW, interval=kind, **KRIGED)["std_error"] ** 2 for kind in KINDS)
    left = krige(V, X)[1] if not random else None
    if left is not None:
        assert (new - mean).to_numpy() == pytest.approx(left, rel=1e-7)


@pytest.mark.parametrize("text", ["car1(time | id)", "us(visit | id)", "homcs(visit | id)", "ar1(step | id, by=arm)"])
def test_where_a_group_was_measured_the_measurement_is_predicted(text: str) -> None:
    data = make_data(seed=5)
    fit = Model("y ~ arm + visit + x", data, residual=text).fit()
    table = fit.predict(data, residuals="conditional", interval="prediction")
    assert table["estimate"].to_numpy() == pytest.approx(data["y"].to_numpy(), rel=1e-9)
    assert table["std_error"].to_numpy() == pytest.approx(0.0, abs=1e-4)
    moved = fit.predict(data.assign(x=data["x"] + 1.0), residuals="conditional")
    assert (moved - data["y"]).to_numpy() == pytest.approx(fit.fixed_effects.loc["x", "estimate"], rel=1e-7)


def test_groups_without_rows_are_predicted_as_without_residuals() -> None:
    fit = Model("y ~ arm + x", DATA, residual="ar1(step | id)").fit()
    strange = DATA.head(4).assign(id=["new", "new", "g999", "other"])
    for kind in KINDS:
        with_, without = (fit.predict(strange, interval=kind, residuals=r) for r in BOTH_WAYS)
        pd.testing.assert_frame_equal(with_, without)
    some = pd.concat([DATA.head(2).assign(step=4), strange])
    mixed = fit.predict(some, interval="prediction", residuals="conditional")
    pd.testing.assert_frame_equal(mixed.iloc[2:], fit.predict(strange, interval="prediction"), check_like=True)
    assert (mixed["estimate"].iloc[:2] - fit.predict(some).iloc[:2]).abs().min() > 1e-3


@pytest.mark.parametrize("text", ["car1(time | id)", "car1(time | id, by=arm)"])
def test_the_origin_of_time_and_the_order_of_rows_do_not_count(text: str) -> None:
    new = NEW[NEW["id"].isin(OLD["id"])].assign(time=lambda rows: rows["time"] - 3.0)  # before all that was measured
    fit = Model("y ~ arm + x", OLD, residual=text).fit()
    later = Model("y ~ arm + x", OLD.assign(time=OLD["time"] + 512.0).iloc[::-1], residual=text).fit()
    ask: dict[str, Any] = {"interval": "prediction", "residuals": "conditional"}
    here, there = fit.predict(new, **ask), later.predict(new.assign(time=new["time"] + 512.0).iloc[::-1], **ask)
    pd.testing.assert_frame_equal(here, there.iloc[::-1], rtol=1e-5)


def test_far_away_residuals_say_nothing() -> None:
    fit = Model("y ~ arm + x", DATA, residual="car1(time | id)").fit()
    far = DATA.head(3).assign(time=1e6)
    conditional, none = (fit.predict(far, interval="prediction", residuals=r) for r in BOTH_WAYS)
    assert conditional["estimate"].to_numpy() == pytest.approx(none["estimate"].to_numpy(), rel=1e-12)
    fixed = [
        fit.predict(far, interval="prediction", residuals=r, uncertainty="fixed")["std_error"].to_numpy()
        for r in BOTH_WAYS
    ]
    assert fixed[0] == pytest.approx(fixed[1], rel=1e-12)


def test_refits_move_predictions_about_as_much_as_the_second_order_says() -> None:
    data = make_data(seed=8, groups=150)
    new = data.groupby("id").tail(1).assign(step=lambda rows: rows["step"] + 1)
    fit = Model("y ~ arm + x", data, residual="ar1(step | id)").fit()
    ask: dict[str, Any] = {"interval": "confidence", "residuals": "conditional"}
    fixed, full = (fit.predict(new, uncertainty=u, **ask)["std_error"] ** 2 for u in LAYERS)
    moved = fit.predict(new, uncertainty="bootstrap", refits=50, progress=False, **ask)["std_error"] ** 2
    third = ((full - fixed) / 2.0).to_numpy()
    assert ((moved - fixed).to_numpy().sum() / third.sum()) == pytest.approx(1.0, abs=0.3)


def test_intervals_of_the_next_visit_cover() -> None:
    rng, covered, plain = np.random.default_rng(4), [], []
    frame = pd.DataFrame({"id": np.repeat(np.arange(12), 6), "t": np.tile(np.arange(6), 12)})
    L = np.linalg.cholesky(0.8 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6))))
    for _ in range(50):
        y = (rng.standard_normal((12, 6)) @ L.T).ravel() + 0.1 * frame["t"]
        data = frame.assign(y=y)
        new = data[data["t"] == 5]
        fit = Model("y ~ t", data[data["t"] < 5], residual="ar1(t | id)").fit()
        table = fit.predict(new, interval="prediction", residuals="conditional", level=0.9)
        covered.append(((new["y"] > table["lower"]) & (new["y"] < table["upper"])).mean())
        plain.append(((table["estimate"] - new["y"]) ** 2).mean() / ((fit.predict(new) - new["y"]) ** 2).mean())
    assert np.mean(covered) == pytest.approx(0.9, abs=3 * np.sqrt(0.9 * 0.1 / 600))
    assert np.mean(plain) < 0.5  # 1 − 0.8² of the variance is left


def test_chains_take_what_is_nearest_alone() -> None:
    rng = np.random.default_rng(1)
    long = pd.DataFrame({"id": "a", "t": np.arange(300), "y": rng.standard_normal(300).cumsum()})
    fit = Model("y ~ 1", long, residual="ar1(t | id)").fit()
    new = pd.DataFrame({"id": "a", "t": [300, 310]})
    rho, mu = fit.parameters.loc["rho(t | id)", "estimate"], fit.fixed_effects.loc["Intercept", "estimate"]
    expected = mu + rho ** np.array([1, 11]) * (long["y"].iloc[-1] - mu)
    assert fit.predict(new, residuals="conditional").to_numpy() == pytest.approx(expected, rel=1e-9)


def test_what_cannot_be_conditioned_on_is_refused() -> None:
    centres = DATA.assign(centre="c" + DATA["id"].str[-1])
    fit = Model("y ~ arm + x + (1 | centre)", centres, residual="ar1(step | id)").fit()
    rows = centres.head(2)
    with pytest.raises(PredictionError, match=r"residuals is 'all': give 'none'.* or 'conditional'"):
        fit.predict(rows, residuals="all")  # type: ignore[arg-type]
    with pytest.raises(PredictionError, match="residuals of their own"):
        fit.predict(residuals="conditional")
    with pytest.raises(PredictionError, match="leave random= out"):
        fit.predict(rows, residuals="conditional", random="none")
    with pytest.raises(PredictionError, match="another level of 'centre'"):
        fit.predict(rows.assign(centre=["c1", "c2"], id="g3"), residuals="conditional")
    by = Model("y ~ x", DATA, residual="ar1(step | id, by=arm)").fit()
    with pytest.raises(PredictionError, match="has new rows of arm"):
        by.predict(DATA.head(1).assign(arm="b", id="g0", step=9), residuals="conditional")


def test_the_sign_of_a_correlation_that_no_gap_tells_is_not_made_up() -> None:
    even = DATA.assign(step=2 * DATA["step"])
    fit = Model("y ~ arm + x", even, residual="ar1(step | id)").fit()
    rows = even.groupby("id").tail(1)
    assert fit.predict(rows.assign(step=8), residuals="conditional").notna().all()
    with pytest.raises(PredictionError, match="an odd number of steps of 'step' from its others"):
        fit.predict(rows.assign(step=9), residuals="conditional")


def test_a_covariance_without_correlations_says_nothing_of_other_rows() -> None:
    for residual in (None, "het(arm)"):
        fit = bmm.Model("y ~ arm + x + (1 | id)", DATA, residual=residual).fit()
        pd.testing.assert_series_equal(fit.predict(DATA, residuals="conditional"), fit.predict(DATA))
