"""Continuous structures with a nugget: nlme's figures, its ends, priors and forecasts."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from reference_data import REFERENCE, load_data

import bayesmm as bmm
from bayesmm import Model
from bayesmm.errors import PriorError, SpecificationError
from bayesmm.specification.residual import read_residual

NLME = json.loads((REFERENCE / "residual" / "nlme_fitted_and_nugget.json").read_text(encoding="utf-8"))["models"]
TEXT = "exp(Time | Mare, nugget=True)"
OVARY = load_data("ovary")


@pytest.mark.parametrize("entry", [each for each in NLME if "nugget" in each["id"]], ids=lambda each: each["id"])
def test_nlme_has_the_same_fit(entry: dict[str, Any]) -> None:
    formula = " + ".join(filter(None, [entry["fixed"], entry.get("random")]))
    fit = Model(formula, load_data(entry["dataset"]), residual=entry["residual"]).fit(entry["method"])
    assert fit.loglik == pytest.approx(entry["loglik"], abs=1e-5)
    table = fit.fixed_effects.loc[list(entry["estimate"])]
    assert table["estimate"].to_numpy() == pytest.approx(list(entry["estimate"].values()), rel=1e-3, abs=1e-5)
    assert table["std_error"].to_numpy() == pytest.approx(list(entry["se"].values()), rel=1e-4)
    estimates, settled = fit.parameters["estimate"], 1e-3 if "power" in entry["id"] else 1e-4
    nugget = next(name for name in estimates.index if name.startswith("nugget("))
    rho = next(name for name in estimates.index if name.startswith("rho("))
    assert estimates[nugget] == pytest.approx(entry["correlation"]["nugget"], rel=settled)
    assert -1.0 / np.log(estimates[rho]) == pytest.approx(entry["correlation"]["range"], rel=settled)


def test_the_interval_of_a_nugget_is_between_zero_and_one() -> None:
    row = (
        Model("weight ~ Time * Diet", load_data("bodyweight"), residual="exp(Time | Rat, nugget=True)").fit().parameters
    )
    lower, value, upper = row.loc["nugget(Time | Rat)", ["lower", "estimate", "upper"]]
    assert 0.0 < lower < value < upper < 1.0
    logit = np.log(np.array([lower, value, upper]) / (1.0 - np.array([lower, value, upper])))
    assert logit[2] - logit[1] == pytest.approx(logit[1] - logit[0])


def simulated(nugget: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame({"id": np.repeat(np.arange(30), 8), "t": np.tile(np.arange(8.0), 30) + rng.random(240)})
    y = np.empty(len(frame))
    for own in frame.groupby("id").indices.values():
        t = frame["t"].to_numpy()[own]
        C = (1.0 - nugget) * 0.8 ** np.abs(t[:, None] - t) + nugget * np.eye(len(t))
        y[own] = np.linalg.cholesky(C) @ rng.standard_normal(len(t))
    return frame.assign(y=y)


def test_a_nugget_is_found_where_there_is_one_and_zero_is_an_ordinary_end() -> None:
    table = Model("y ~ t", simulated(0.4, 2), residual="car1(t | id, nugget=True)").fit().parameters
    assert table.loc["nugget(t | id)", "lower"] < 0.4 < table.loc["nugget(t | id)", "upper"]
    ends = 0
    for seed in range(4):
        data = simulated(0.0, seed)
        with_, without = (
            Model("y ~ t", data, residual=text).fit() for text in ("car1(t | id, nugget=True)", "car1(t | id)")
        )
        assert with_.loglik >= without.loglik - 1e-7
        if with_.parameters.loc["nugget(t | id)", "estimate"] == 0.0:
            ends += 1
            assert with_.loglik == pytest.approx(without.loglik, abs=1e-6)
            assert np.isnan(with_.parameters.loc["nugget(t | id)", "std_error"])
            assert with_.coefficients(df="kenward-roger")["df"].to_numpy() == pytest.approx(
                without.coefficients(df="kenward-roger")["df"].to_numpy(), rel=1e-3
            )
    assert ends


def test_models_with_and_without_a_nugget_are_nested() -> None:
    one, other = (Model("follicles ~ Time", OVARY, residual=text).fit() for text in ("exp(Time | Mare)", TEXT))
    table = bmm.anova(one, other)
    assert table.table["p_value"].iloc[-1] < 0.05
    assert not any("special case" in each for each in table.remarks)


def test_a_profile_of_the_nugget_goes_where_the_likelihood_does() -> None:
    fit = Model("follicles ~ Time", OVARY, residual=TEXT).fit()
    row = fit.profile("nugget(Time | Mare)", progress=False).intervals().iloc[0]
    assert 0.0 < row["lower"] < row["estimate"] < row["upper"] < 1.0
    V = fit.residual_correlation()
    assert V.iloc[0, 1] < 1.0 - fit.parameters.loc["nugget(Time | Mare)", "estimate"]


def test_a_new_row_at_a_measured_time_is_what_was_measured_and_next_to_it_is_not() -> None:
    fit = Model("follicles ~ Time", OVARY, residual=TEXT).fit()
    rows = OVARY.iloc[[5, 20]]
    same, near = (fit.predict(rows.assign(Time=rows["Time"] + e), residuals="conditional") for e in (0.0, 1e-9))
    assert same.to_numpy() == pytest.approx(rows["follicles"].to_numpy(), rel=1e-9)
    assert np.abs(near - same).min() > 1e-2


def test_priors_of_nuggets_are_uniform_or_stated() -> None:
    model = Model("follicles ~ Time", OVARY, residual=TEXT, priors={"nugget": bmm.priors.Uniform(0.0, 0.5)})
    assert "nugget(Time | Mare)" in str(model.priors)
    assert "Uniform(0, 0.5)" in str(model.priors)
    plain = Model("follicles ~ Time", OVARY, residual=TEXT)
    assert "part of the residual variance that rows do not share" in str(plain.priors)
    drawn = plain.prior_predictive(2000, seed=1, progress=False)["prior"]["residual_cor"].to_numpy().reshape(-1, 2)
    assert np.quantile(drawn[:, 1], [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.05)
    with pytest.raises(PriorError, match="nugget"):
        str(Model("follicles ~ Time", OVARY, residual=TEXT, priors={"nugget": bmm.priors.Uniform(-1.0, 0.5)}).priors)


def test_draws_of_a_nugget_predict_what_was_measured() -> None:
    data = load_data("bodyweight")
    posterior = make_posterior(Model("weight ~ Time * Diet", data, residual="exp(Time | Rat, nugget=True)"))
    drawn = posterior.predict(data.head(2), residuals="conditional", progress=False)
    assert drawn["mean"].to_numpy() == pytest.approx(data["weight"].head(2).to_numpy(), rel=1e-6)


def test_the_text_is_read_back_and_wrong_ones_are_refused() -> None:
    assert read_residual("exp(t|id,by=arm,nugget=True)").write() == "exp(t | id, by=arm, nugget=True)"
    assert read_residual("car1(t | id, nugget=False)").write() == "car1(t | id)"
    for text, part in (
        ("ar1(t | id, nugget=True)", "ar1() has no nugget"),
        ("exp(t | id, nugget=1)", "nugget= is True or False"),
        ("exp(t | id, nugget=True, nugget=True)", "after its bar"),
    ):
        with pytest.raises(SpecificationError) as caught:
            read_residual(text)
        assert part in str(caught.value)
