"""Draws of new rows given the residuals of their groups, against dense Gaussians draw by draw."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from residual_textbook import dense_residual, make_data

from bayesmm import Model
from bayesmm.bayes.results.prediction import draw_rows
from bayesmm.errors import PredictionError

DATA = make_data(seed=11, groups=30)
LAST = DATA.groupby("id")["step"].transform("max") == DATA["step"]
FIRST = DATA.groupby("id")["step"].transform("min") == DATA["step"]
OUT = (LAST | FIRST) & DATA["id"].isin([f"g{i}" for i in range(6)]) & (DATA.groupby("id")["id"].transform("size") > 2)
OLD, NEW = DATA[~OUT].reset_index(drop=True), DATA[OUT].reset_index(drop=True)
n, m = len(OLD), len(NEW)
BOTH = pd.concat([OLD, NEW], ignore_index=True)
CASES = {
    "hetar1(step | id)": "y ~ arm + x",
    "car1(time | id) * exponential(x)": "y ~ arm + x + (1 | id)",
    "homcs(visit | id, by=arm)": "y ~ arm + x",
}
ASK: dict[str, Any] = {"random": "all", "new_levels": "error", "weights": None, "seed": 3}


@pytest.mark.parametrize("text", CASES)
def test_each_draw_is_the_dense_conditional_normal(text: str) -> None:
    formula = CASES[text]
    posterior = make_posterior(Model(formula, OLD, residual=text, weights="w"))
    whole = Model(formula, BOTH, residual=text, weights="w")
    rows = draw_rows(posterior, NEW, given="groups", draws=12, **ASK)
    mean, chosen = rows.mean(), rows._draws.chosen
    draws = {name: np.asarray(posterior.draws(name))[0, chosen] for name in posterior.data["posterior"].data_vars}
    assert rows._kriged is not None
    noise = np.eye(m)
    for d in range(3):
        values = {"sigma": float(draws["sigma"][d])}
        found = [draws[name][d] for name in ("residual_sd", "residual_cor") if name in draws]
        names = [*posterior.labels.residual_sds, *posterior.labels.residual_cors]
        values |= dict(zip(names, np.concatenate(found), strict=True))
        R = dense_residual(whole, values, BOTH, BOTH["w"].to_numpy())
        X = whole.design.X[:, whole.design.kept]
        eta = X @ draws["beta"][d]
        for block in whole.design.blocks:
            b = draws[f"b_{block.group}"][d]
            known = {label: i for i, label in enumerate(posterior.design.blocks[0].levels)}
            eta = eta + np.array([b[known[each], 0] for each in BOTH["id"]])
        K = np.linalg.solve(R[:n, :n], R[:n, n:])
        assert mean[d] == pytest.approx(eta[n:] + K.T @ (OLD["y"].to_numpy() - eta[:n]), rel=1e-8)
        shift = rows._kriged.drawn(slice(None), slice(d, d + 1), np.zeros((1, m)))[0]
        roots = np.array([rows._kriged.drawn(slice(None), slice(d, d + 1), each[None])[0] for each in noise]) - shift
        assert roots.T @ roots == pytest.approx(R[n:, n:] - R[n:, :n] @ K, rel=1e-8, abs=1e-10)


def test_observations_add_what_is_left_of_the_residual_variance() -> None:
    posterior = make_posterior(Model("y ~ arm + x", OLD, residual="ar1(step | id)"))
    rows = draw_rows(posterior, NEW, given="rows", **ASK)
    mean = posterior.predict(NEW, residuals="conditional", progress=False)
    new = posterior.predict(NEW, interval="prediction", residuals="conditional", seed=5, progress=False)
    assert rows._kriged is not None
    every, ones = slice(None), np.ones((4000, m))
    left = (rows._kriged.drawn(every, every, ones) - rows._kriged.drawn(every, every, 0.0 * ones)) ** 2
    assert new["sd"].to_numpy() ** 2 == pytest.approx(mean["sd"].to_numpy() ** 2 + left.mean(axis=0), rel=0.1)
    assert new["mean"].to_numpy() == pytest.approx(mean["mean"].to_numpy(), rel=0.01)
    tree = posterior.posterior_predictive(NEW, residuals="conditional", seed=1, progress=False)
    drawn = tree["posterior_predictive"]["y"].to_numpy().reshape(-1, m)
    assert drawn.std(axis=0) == pytest.approx(new["sd"].to_numpy(), rel=0.1)
    plain = posterior.predict(NEW, interval="prediction", progress=False)
    assert (new["sd"] < 0.95 * plain["sd"]).all()


def test_known_rows_are_drawn_as_measured_and_strangers_as_ever() -> None:
    model = Model("y ~ arm + x", OLD, residual="ar1(step | id)")
    posterior = make_posterior(model)
    known = posterior.posterior_predictive(OLD, residuals="conditional", draws=20, progress=False)
    y = known["posterior_predictive"]["y"].to_numpy()
    assert y == pytest.approx(np.broadcast_to(OLD["y"], y.shape), rel=1e-6)
    strangers = NEW.assign(id="new" + NEW["id"])
    with_, without = (
        posterior.predict(strangers, interval="prediction", residuals=r, progress=False)
        for r in ("conditional", "none")
    )
    pd.testing.assert_frame_equal(with_, without)
    with pytest.raises(PredictionError, match="several new rows at one step"):
        posterior.posterior_predictive(pd.concat([NEW, NEW]), residuals="conditional", progress=False)
    assert len(posterior.predict(pd.concat([NEW, NEW]), residuals="conditional", progress=False)) == 2 * m
    with pytest.raises(PredictionError, match="residuals of their own"):
        posterior.predict(residuals="conditional", progress=False)
