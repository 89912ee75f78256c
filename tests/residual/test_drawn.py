"""Responses drawn with a stated covariance of the residuals, and the power of designs that are drawn so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from residual_textbook import DATA, TEXTBOOK, dense_residual
from scipy import stats

import bayesmm as bmm
from bayesmm.covariance.free_correlations import free_correlations
from bayesmm.errors import ArgumentError, DesignError

N = 3000
FAR = 5.0  # standard errors: one in two million is farther
PLAN = DATA.drop(columns="y")


def stated(model: bmm.Model) -> dict[str, float]:
    """A value for each parameter, correlations that do not contradict each other among them."""
    of_kind = {"fixed": (2.0, -3.0), "sd": (0.8, 1.3), "cor": (0.3, 0.2), "exponent": (0.4,), "sigma": (0.6,)}
    seen = dict.fromkeys(of_kind, 0)
    values = {}
    for row in model.labels.parameter_rows():
        values[row.name] = of_kind[row.kind][seen[row.kind] % len(of_kind[row.kind])]
        seen[row.kind] += 1
    return values


@pytest.mark.parametrize("residual", list(TEXTBOOK))
def test_responses_have_the_stated_moments(residual: str) -> None:
    model = bmm.Model("y ~ x", DATA, residual=residual, weights="w")
    values = stated(model)
    drawn = bmm.simulate("y ~ x", PLAN, values, N, residual=residual, weights="w", seed=2)
    V = dense_residual(model, values, DATA, DATA["w"].to_numpy())
    mean = 2.0 - 3.0 * DATA["x"].to_numpy()
    z = np.linalg.solve(np.linalg.cholesky(V), drawn.to_numpy() - mean[:, None])
    assert np.abs(z.mean(axis=1)).max() < FAR / np.sqrt(N)
    away = np.abs(z @ z.T / N - np.eye(len(z)))
    assert np.abs(np.diag(away)).max() < FAR * np.sqrt(2.0 / N)
    assert np.abs(away - np.diag(np.diag(away))).max() < FAR / np.sqrt(N)


def test_effects_and_residuals_of_a_group_add_up() -> None:
    values = {"Intercept": 1.0, "sd(Intercept | id)": 1.5, "rho(step | id)": -0.4, "sigma": 0.5}
    drawn = bmm.simulate("y ~ 1 + (1 | id)", PLAN, values, N, residual="ar1(step | id)").to_numpy()
    first, second = np.flatnonzero(PLAN["id"] == "g3")[:2]
    apart = abs(PLAN["step"].iloc[first] - PLAN["step"].iloc[second])
    seen = np.cov(drawn[[first, second]])
    assert seen[0, 0] == pytest.approx(2.5, rel=FAR * np.sqrt(2.0 / N))
    assert seen[0, 1] == pytest.approx(2.25 + 0.25 * (-0.4) ** apart, abs=FAR * 2.5 * np.sqrt(2.0 / N))


def test_fit_of_the_same_model_states_the_parameters() -> None:
    fit = bmm.Model("y ~ x", DATA, residual="us(visit | id)").fit()
    one = bmm.simulate("y ~ x", PLAN, fit, 2, residual="us(visit | id)", seed=5)
    assert one.to_numpy() == pytest.approx(fit.simulate(2, seed=5).to_numpy(), rel=1e-9)


def test_singular_correlations_can_be_drawn() -> None:
    data = pd.DataFrame({"id": np.repeat(np.arange(5), 3), "v": np.tile([1, 2, 3], 5)})
    drawn = bmm.simulate(
        "y ~ 1", data, {"Intercept": 4.0, "sigma": 1.0, "rho(v | id)": -0.5}, 3, residual="homcs(v | id)"
    )
    assert drawn.groupby(data["id"]).mean().to_numpy() == pytest.approx(np.full((5, 3), 4.0), abs=1e-12)
    assert drawn.to_numpy().std() > 0.5


IMPOSSIBLE = [
    ({"sigma(visit[v1])": 0.0}, "give a positive standard deviation"),
    ({"rho(v0, v1 | id)": 1.5}, "lies between -1 and 1"),
    ({"rho(v0, v1 | id)": np.nan}, "lies between -1 and 1"),
    ({"rho(v0, v1 | id)": 0.9, "rho(v0, v2 | id)": 0.9, "rho(v1, v2 | id)": -0.9}, "contradict each other"),
    ({"rho(v0, v9 | id)": 0.1}, "Did you mean"),
]


@pytest.mark.parametrize(("change", "part"), IMPOSSIBLE)
def test_impossible_covariances_are_refused(change: dict[str, float], part: str) -> None:
    values = stated(bmm.Model("y ~ x", DATA, residual="us(visit | id)")) | change
    for ask in (bmm.simulate, bmm.power):
        with pytest.raises(DesignError, match=part):
            ask("y ~ x", PLAN, values, residual="us(visit | id)")


@pytest.mark.parametrize("residual", [text for text in TEXTBOOK if "|" in text])
def test_free_parameters_of_correlations_are_found(residual: str) -> None:
    block = bmm.Model("y ~ x", DATA, residual=residual).design.residual
    assert block is not None
    assert block.correlation is not None
    for seed in range(3):
        z = np.random.default_rng(seed).normal(size=len(block.correlation.names))
        rho = block.correlation.public(np, z)
        assert free_correlations(block.correlation, rho) == pytest.approx(z, abs=1e-5)


def trial(subjects: int = 12, visits: int = 3) -> pd.DataFrame:
    arm = np.repeat(["A", "B"], subjects // 2)
    return pd.DataFrame(
        {
            "id": np.repeat(np.arange(subjects), visits),
            "visit": np.tile(np.arange(1, visits + 1), subjects),
            "arm": np.repeat(arm, visits),
        }
    )


def power(data: pd.DataFrame, values: dict[str, float], residual: str, test: Any, **options: Any) -> bmm.Power:
    settings: dict[str, Any] = {"n": 400, "progress": False} | options
    return bmm.power("y ~ C(visit) * arm", data, values, test, residual=residual, **settings)


def power_of_t(effect: float, error: float, df: float) -> float:
    limit = stats.t.ppf(0.975, df)
    return float(stats.nct.sf(limit, df, effect / error) + stats.nct.cdf(-limit, df, effect / error))


def is_near(seen: float, exact: float, n: int = 400) -> bool:
    return abs(seen - exact) < 4.5 * np.sqrt(exact * (1.0 - exact) / n)


MEANS = {"Intercept": 0.0, "C(visit)[T.2]": 0.3, "C(visit)[T.3]": 0.5, "arm[T.B]": 0.2,
         "C(visit)[T.2]:arm[T.B]": 0.6, "C(visit)[T.3]:arm[T.B]": 1.4}  # fmt: skip
LAST = "arm[T.B] + C(visit)[T.3]:arm[T.B] = 0"
US = {"sigma": 1.0, "sigma(visit[2])": 1.2, "sigma(visit[3])": 1.5,
      "rho(1, 2 | id)": 0.7, "rho(1, 3 | id)": 0.5, "rho(2, 3 | id)": 0.6}  # fmt: skip


def test_contrast_of_an_mmrm_has_the_power_of_t_at_its_visit() -> None:
    found = power(trial(), MEANS | US, "us(visit | id)", LAST, df="kenward-roger")
    assert found.table["n(id)"].tolist() == [12]
    exact = power_of_t(1.6, 1.5 * np.sqrt(4 / 12), 10)  # of the last visit alone, which tells as much
    assert is_near(found.table["power"].iloc[0], exact)
    assert is_near(found.table["coverage"].iloc[0], 0.95)
    assert found.table["failed"].sum() == 0


def test_arms_of_exchangeable_visits_have_the_power_of_t_of_their_means() -> None:
    values = MEANS | {"C(visit)[T.2]:arm[T.B]": 0.0, "C(visit)[T.3]:arm[T.B]": 0.0, "arm[T.B]": 1.0}
    values |= {"sigma": 1.0, "rho(visit | id)": 0.4}
    mean = "3 * arm[T.B] + C(visit)[T.2]:arm[T.B] + C(visit)[T.3]:arm[T.B] = 0"
    found = power(trial(), values, "homcs(visit | id)", [mean, "C(visit):arm"])
    error = np.sqrt((1.0 + 2.0 * 0.4) / 3.0 * 4 / 12)
    assert is_near(found.table["power"].iloc[0], power_of_t(1.0, error, 10))
    assert is_near(found.table["power"].iloc[1], 0.05)


def test_data_sets_are_fitted_as_a_model_would_fit_them() -> None:
    data, text = trial().iloc[1:], "ar1(visit | id) * het(arm)"  # a visit is missing
    values = MEANS | {"sigma": 1.0, "rho(visit | id)": 0.5, "sigma(arm[B])": 1.4}
    tests = ["arm[T.B]", "C(visit):arm", "rho(visit | id)", "sigma(arm[B])"]
    found = power(data, values, text, tests, n=3, seed=7, df="kenward-roger")
    model = bmm.Model("y ~ C(visit) * arm", data.assign(y=1.0 * np.arange(len(data)) ** 2), residual=text)
    V = model.marginal_covariance(at=values).to_numpy()
    mean = model.marginal_mean(at=values)["mean"].to_numpy()
    order = np.argsort(data["id"].to_numpy(), kind="stable")
    root = np.zeros_like(V)
    root[np.ix_(order, order)] = np.linalg.cholesky(V[np.ix_(order, order)])
    for number in range(3):
        y = mean + root @ np.random.default_rng([7, len(data), number]).standard_normal(len(data))
        fit = bmm.Model("y ~ C(visit) * arm", data.assign(y=y), residual=text).fit()
        p = found.p_values.iloc[number].to_numpy()
        anova = fit.anova(df="kenward-roger").table
        tested = fit.variance_tests(["rho(visit | id)", "sigma(arm[B])"]).table["p_value"]
        expected = [
            fit.coefficients(df="kenward-roger").loc["arm[T.B]", "p_value"], anova.loc["C(visit):arm", "p_value"], *tested
        ]  # fmt: skip
        assert p == pytest.approx(np.array(expected, dtype=float), rel=1e-3, abs=1e-8)


def test_tests_of_a_variance_beside_correlated_residuals_are_counted() -> None:
    values = MEANS | {"sd(Intercept | id)": 3.0, "sigma": 0.5, "sigma(visit[2])": 0.5, "sigma(visit[3])": 0.5}
    found = bmm.power(
        "y ~ C(visit) * arm + (1 | id)", trial(), values, ["sd(Intercept | id)", "sigma(visit)"],
        residual="het(visit)", n=20, progress=False,
    )  # fmt: skip
    fitted = found.p_values.iloc[:, 0].dropna()  # a visit may have a variance of nothing, which is no maximum
    assert (fitted < 0.05).all()
    assert len(fitted) >= 18
    assert found.table["power"].iloc[0] == len(fitted) / 20
    assert found.table["power"].iloc[1] < 0.5
    assert found.table["truth"].iloc[0] == 3.0


def test_copies_of_subjects_keep_their_visits_and_arms_take_turns() -> None:
    data = trial().drop(index=[2, 35])  # the first subject of A and the last of B drop out
    values = MEANS | {"sigma": 1.0, "rho(visit | id)": 0.5}
    found = power(data, values, "ar1(visit | id)", LAST, n=2, along={"id": [6, 24]})
    assert found.table[["n(id)", "rows"]].to_numpy().tolist() == [[6, 17], [24, 68]]
    from bayesmm.inference.power.extending import Size, extend_levels
    from bayesmm.specification.terms import Grouping

    for number in (4, 12, 18):
        taken = extend_levels(data, Size("id", number, False), [Grouping(factors=("id",))])
        assert taken.groupby("arm")["id"].nunique().tolist() == [number // 2, number // 2]
    with pytest.raises(ArgumentError, match="has one at each visit"):
        power(data, values, "ar1(visit | id)", LAST, n=2, within={"id": 4})
    assert power(trial(), values, "ar1(visit | id)", LAST, n=2, within={"id": [3]}).table["rows"].tolist() == [36]


def test_sizes_of_a_design_without_groups_are_refused() -> None:
    values = {"Intercept": 0.0, "sigma": 1.0, "sigma(arm[B])": 2.0}
    for sizes in ({"along": {"id": 4}}, {"within": {"arm": [4]}}):
        with pytest.raises(ArgumentError, match="the model has none"):
            bmm.power("y ~ 1", trial(), values, residual="het(arm)", **sizes)
    assert (
        bmm.power("y ~ 1", trial(), values, "sigma(arm)", residual="het(arm)", n=2, progress=False).table.shape[0] == 1
    )


def test_power_of_a_fit_takes_its_covariance_of_residuals() -> None:
    fit = bmm.Model("distance ~ Sex * age", bmm.datasets.load("orthodont"), residual="ar1(age | Subject)").fit()
    one = bmm.power(fit, test="Sex[T.Male]:age", n=4, progress=False)
    values = {**fit.parameters["estimate"], "sigma": fit.sigma}
    text = {"residual": "ar1(age | Subject)"}
    other = bmm.power("distance ~ Sex * age", fit.design.frame, values, "Sex[T.Male]:age", n=4, progress=False, **text)
    assert one.p_values.to_numpy() == pytest.approx(other.p_values.to_numpy())
    assert "ar1(age | Subject)" in str(one)
    with pytest.raises(ArgumentError, match="the fit has its own"):
        bmm.power(fit, **text)


def test_intervals_of_refits_and_posteriors_are_like_those_of_the_test() -> None:
    values = MEANS | {"sigma": 1.0, "rho(visit | id)": 0.5}
    length = {
        kind: power(trial(), values, "homcs(visit | id)", LAST, n=2, interval=kind).table["length"].iloc[0]
        for kind in ("wald", "bootstrap", "posterior")
    }
    assert length["bootstrap"] == pytest.approx(length["wald"], rel=0.35)
    assert length["posterior"] == pytest.approx(length["wald"], rel=0.35)
