"""Profiles of models with residual covariances: ends are roots of the dense likelihood, and move as the data do."""

from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text
from residual_cases import ResidualCase

from bayesmm import Model
from bayesmm.datasets import load

CUTOFF = NormalDist().inv_cdf(0.975) ** 2
SLOPE = 2e-3  # of −2 log likelihood, whose error where a search ended is its square
VISITS = load("orthodont").assign(arm=lambda d: d.Sex.astype("category"), week=lambda d: d.age - 7.0)
VISITS["id"] = VISITS.Subject.astype("category")
VISITS["time"] = ((VISITS.age - 8) // 2).astype(int)
SITES = VISITS.assign(site=pd.Categorical((VISITS.id.cat.codes % 9).astype(str))).drop(index=[1, 2, 9, 40, 77])


def dense_case(frame: pd.DataFrame, residual: str, random: tuple[str, ...]) -> ResidualCase:
    X = np.column_stack([np.ones(len(frame)), frame.week])
    y = frame.distance.to_numpy()
    return ResidualCase(frame=frame, fixed="distance ~ week", residual=residual, y=y, X=X, random=random)


# name of each of the oracle's parameters in the tables, and what it is of the value there
CASES = {
    "ar1(time | id) * het(arm)": (("(1 | site)",), ["sd(Intercept | site)", "sigma", "rho(time | id)", "sigma(arm[Male])"]),
    "car1(week | id) * power(week)": ((), ["sigma", "rho(week | id)", "power(week)"]),
    "homcs(time | id)": ((), ["sigma", "rho(time | id)"]),
}  # fmt: skip


def to_oracle(name: str, value: float, sigma: float, residual: str) -> float:
    if name.startswith("s"):
        return value**2
    return value * sigma**2 if residual.startswith("homcs") else value


@pytest.mark.parametrize("residual", CASES)
def test_points_are_minima_of_the_dense_criterion_where_one_parameter_is_held(residual: str) -> None:
    random, names = CASES[residual]
    case = dense_case(SITES, residual, random)
    fit = Model(case.formula, SITES, residual=residual).fit()
    model, _ = case.model("reml")
    profile = fit.profile(names, progress=False)
    assert profile.intervals()["is_monotone"].all()

    def deviance(values: np.ndarray) -> float:
        own = dict(zip(names, values, strict=True))
        return model.deviance([to_oracle(name, own[name], own["sigma"], residual) for name in names])

    floor = deviance(fit.parameters.loc[names, "estimate"].to_numpy())
    table, traces = profile.table, profile.traces[names].to_numpy()
    for held, name in enumerate(names):
        own = np.flatnonzero(table["parameter"] == name)
        for row in (own[1], own[-2]):  # the outermost is at a limit of some
            zeta, values = table.loc[row, "zeta"], traces[row]
            assert deviance(values) - floor == pytest.approx(zeta**2, abs=1e-6)
            for other in set(range(len(names))) - {held}:
                step = np.eye(len(names))[other] * 1e-4 * abs(values[other])
                slope = (deviance(values + step) - deviance(values - step)) / 2e-4  # for a relative change by one
                assert slope == pytest.approx(0.0, abs=SLOPE)


@pytest.mark.parametrize("residual", CASES)
def test_ends_are_where_the_curve_says(residual: str) -> None:
    random, names = CASES[residual]
    fit = Model(dense_case(SITES, residual, random).formula, SITES, residual=residual).fit()
    profile = fit.profile(names, progress=False)
    ends, table = profile.intervals(), profile.table
    for name in names:
        own = table[table["parameter"] == name]
        for end, sign in (("lower", -1.0), ("upper", 1.0)):
            if ends.loc[name, "at_boundary"] != end:
                between = np.interp(ends.loc[name, end], own["value"], own["zeta"])
                assert between == pytest.approx(sign * np.sqrt(CUTOFF), abs=0.05)


@pytest.mark.parametrize("residual", ["us(age | Subject)", "ar1(time | Subject) * het(Sex)"])
@pytest.mark.parametrize("random", ["", " + (1 | site)"])
def test_a_held_coefficient_is_a_fit_to_what_it_leaves(residual: str, random: str) -> None:
    fit = Model(f"distance ~ week{random}", SITES, residual=residual).fit("ml")
    upper = fit.profile("week", progress=False).intervals().loc["week", "upper"]
    left = SITES.assign(left=SITES.distance - upper * SITES.week)
    rest = Model(f"left ~ 1{random}", left, residual=residual).fit("ml")
    assert 2.0 * (fit.loglik - rest.loglik) == pytest.approx(CUTOFF, abs=1e-5)


def test_nlme_loses_as_much_where_a_correlation_is_held_at_an_end() -> None:
    """nlme 3.1, gls and lme with fixed=TRUE: 2(logLik − logLik) at these values is 3.8413, 3.8412, 3.8431, 3.8404."""
    fit = Model("distance ~ Sex * age", VISITS, residual="homcs(age | Subject) * het(Sex)").fit()
    row = fit.profile("rho(age | Subject)", progress=False).intervals().iloc[0]
    assert [row["lower"], row["upper"]] == pytest.approx([0.5670, 0.8557], abs=6e-5)
    fit = Model("Reaction ~ Days + (1 | Subject)", load("sleepstudy"), residual="ar1(Days | Subject)").fit()
    row = fit.profile("rho(Days | Subject)", progress=False).intervals().iloc[0]
    assert [row["lower"], row["upper"]] == pytest.approx([0.4749, 0.8375], abs=6e-5)


def profiled(data: pd.DataFrame, residual: str, formula: str = "distance ~ week + (1 | site)") -> pd.DataFrame:
    return Model(formula, data, residual=residual).fit().profile(progress=False).intervals()


def test_ends_scale_with_the_response_and_stay_when_rows_are_shuffled() -> None:
    residual = "car1(week | id) * het(arm)"
    plain = profiled(SITES, residual)
    other = profiled(SITES.assign(distance=1e3 * SITES.distance + 7.0).sample(frac=1.0, random_state=1), residual)
    scale = np.where(plain.index.str.startswith("rho"), 1.0, 1e3)
    shift = np.where(plain.index == "Intercept", 7.0, 0.0)
    for column in ("estimate", "lower", "upper"):
        assert other[column].to_numpy() == pytest.approx(scale * plain[column].to_numpy() + shift, rel=1e-5)


def test_a_known_sigma_has_no_profile_of_its_own_but_strata_have() -> None:
    fit = Model("distance ~ week + (1 | site)", SITES, residual="het(arm)", sigma=1.5).fit()
    profile = fit.profile(progress=False)
    assert "sigma" not in profile.intervals().index
    row = profile.intervals().loc["sigma(arm[Male])"]
    assert row["lower"] < fit.parameters.loc["sigma(arm[Male])", "estimate"] < row["upper"]


def test_a_correlation_that_is_estimated_as_zero_is_a_fit_of_independent_rows_with_a_one_sided_profile() -> None:
    rng = np.random.default_rng(0)
    e = rng.normal(size=(40, 6))
    data = pd.DataFrame({"y": (e[:, 1:] - 0.6 * e[:, :-1]).ravel(), "id": np.repeat(np.arange(40), 5)})
    data["t"] = np.tile(np.arange(5.0), 40)
    fit = Model("y ~ t", data, residual="car1(t | id)").fit()
    X = np.column_stack([np.ones(200), data.t])
    square = float(np.linalg.lstsq(X, data.y)[1][0])
    plain = -0.5 * (198.0 * (1.0 + np.log(2.0 * np.pi * square / 198.0)) + np.linalg.slogdet(X.T @ X)[1])
    assert fit.parameters.loc["rho(t | id)", "estimate"] == 0.0
    assert fit.loglik == pytest.approx(plain, abs=1e-8)
    profile = fit.profile(["rho(t | id)", "sigma"], progress=False)
    row = profile.intervals().loc["rho(t | id)"]
    assert (row["lower"], row["at_boundary"]) == (0.0, "lower")
    assert row["upper"] > 0.0
    assert profile.notes == ("rho(t | id) is estimated at its boundary, 0: its profile has one side.",)


def test_a_profile_names_parameters_as_the_tables_do_and_draws_them() -> None:
    fit = Model("distance ~ week", SITES, residual="us(age | Subject)").fit()
    names = ["sigma(age[10])", "rho(8, 10 | Subject)"]
    profile = fit.profile(names, progress=False)
    assert list(profile.intervals().index) == names
    assert list(profile.traces.columns) == list(fit.parameters.index)
    drawn = " ".join(text.get_text() for text in profile.plot().findobj(Text))
    assert all(name in drawn for name in names)


@pytest.mark.parametrize("number", [10, 12])
def test_ends_are_found_where_the_path_bends_towards_a_random_walk(number: int) -> None:
    """Without variance between groups correlations rise, and next to one sigma is large: straight lines lead astray."""
    rng = np.random.default_rng(1)
    L = np.linalg.cholesky(0.5 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6))))
    for _ in range(number + 1):
        b, e = rng.normal(size=20), rng.normal(size=(20, 6)) @ L.T
    data = pd.DataFrame({"g": np.repeat([f"a{i}" for i in range(20)], 6), "t": np.tile(np.arange(6.0), 20)})
    data["y"] = 1.0 + 0.2 * data["t"] + np.repeat(b, 6) + e.ravel()
    fit = Model("y ~ t + (1 | g)", data, residual="ar1(t | g)").fit()
    profile = fit.profile("rho(t | g)", progress=False)
    upper, side = profile.intervals().iloc[0]["upper"], profile.curves[0].sides[1]
    point = min(side.points, key=lambda each: abs(each.value - upper))
    found = side.parameter.solve(upper, point.x, point.hessian)
    assert found.converged
    assert side.zeta(found) ** 2 == pytest.approx(CUTOFF, abs=1e-4)
