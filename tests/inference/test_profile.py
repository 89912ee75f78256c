"""Profile likelihood against roots of lme4's profiled deviance, dense likelihoods and formulas of textbooks."""

import pickle
import re
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from reference_models import ReferenceModel, reference_models
from reference_names import canonical_effect, canonical_group
from scipy.interpolate import CubicSpline
from scipy.optimize import minimize

from bayesmm import Model
from bayesmm.covariance.layout import Piece, piece_factor
from bayesmm.covariance.public import assemble_covariance
from bayesmm.covariance.public_slopes import differentiate_correlations, differentiate_variances
from bayesmm.covariance.table import STRUCTURES
from bayesmm.datasets import load
from bayesmm.errors import ArgumentError
from bayesmm.inference.profile.held import Point
from bayesmm.inference.profile.path import trace_side

END = 1e-4  # of the width of the interval: both are roots of the same function
SPLINE = 1e-3  # the same, for ends that lme4 interpolates

PROFILED = [model for model in reference_models()[0] if (model.entry.get("ci_profile_95") or {}).get("direct")]


def row_of(name: str) -> tuple[str, ...]:
    """Read lme4's name of a parameter."""
    if name == "sigma":
        return ("sigma",)
    if match := re.fullmatch(r"sd_(.*)\|(.*)", name):
        return ("sd", canonical_effect(effect_of(match[1])), canonical_group(match[2]))
    if match := re.fullmatch(r"cor_(.*)\.(\(Intercept\)|\w+)\|(.*)", name):
        return ("cor", *sorted((effect_of(match[1]), effect_of(match[2]))), canonical_group(match[3]))
    return ("fixed", effect_of(name))


def effect_of(name: str) -> str:
    return "Intercept" if name == "(Intercept)" else name


def own_row(name: str) -> tuple[str, ...]:
    """Read a name of the package."""
    if name == "sigma":
        return ("sigma",)
    if match := re.fullmatch(r"sd\((.*) \| (.*)\)", name):
        return ("sd", match[1], canonical_group(match[2]))
    if match := re.fullmatch(r"cor\((.*), (.*) \| (.*)\)", name):
        return ("cor", *sorted((match[1], match[2])), canonical_group(match[3]))
    return ("fixed", name)


@pytest.mark.parametrize("model", PROFILED, ids=lambda model: model.id)
def test_ends_are_the_roots_of_lme4s_profiled_deviance(model: ReferenceModel) -> None:
    fit = Model(model.formula, model.frame(), weights=model.weights).fit(method="ml")
    intervals = fit.profile().intervals().rename(index=own_row)
    expected = model.entry["ci_profile_95"]["direct"]
    for name, lower, upper in zip(*(expected[key] for key in ("parameters", "lower", "upper")), strict=True):
        if (model.id, name) == ("Dyestuff2/ri_ml", "(Intercept)"):
            continue  # see test_dyestuff2_has_an_upper_end_only_and_leaves_zero_where_the_mean_is_held
        row = intervals.loc[[row_of(name)]].iloc[0]
        assert abs(row["lower"] - lower) < END * (upper - lower), name
        assert abs(row["upper"] - upper) < END * (upper - lower), name
        assert (row["at_boundary"] == "lower") == (lower == 0.0), name


def dense_loss(frame, response, columns, covariance, *, reml, column=None, held=None):
    """−2 log likelihood with V = `covariance` (n, n), one coefficient held at a value or not, from the textbook."""
    y, X = frame[response].to_numpy(float), np.column_stack([np.ones(len(frame)), *(frame[c] for c in columns)])
    root = np.linalg.cholesky(covariance)
    A = np.linalg.solve(root, X)
    target, design = np.linalg.solve(root, y), A
    if column is not None:
        target, design = target - held * A[:, column], np.delete(A, column, axis=1)
    rest = target - design @ np.linalg.lstsq(design, target)[0] if design.size else target
    n, p = X.shape
    value = 2.0 * np.log(np.diag(root)).sum() + rest @ rest + (n - p * reml) * np.log(2.0 * np.pi)
    return value + (np.linalg.slogdet(A.T @ A)[1] if reml else 0.0)


def one_way(frame, group, sd, sigma):
    same = frame[group].to_numpy()[:, None] == frame[group].to_numpy()
    return sd**2 * same + sigma**2 * np.eye(len(frame))


def least(function, start):
    return minimize(function, start, method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11}).fun


def test_ends_of_restricted_profiles_are_roots_of_the_dense_criterion() -> None:
    frame = load("rail")
    fit = Model("travel ~ 1 + (1 | Rail)", frame).fit()
    intervals = fit.profile().intervals(0.9)
    start = np.log([fit.parameters.loc["sd(Intercept | Rail)", "estimate"], fit.sigma])
    cutoff = NormalDist().inv_cdf(0.95) ** 2

    def loss(sd, sigma, **held):
        return dense_loss(frame, "travel", [], one_way(frame, "Rail", np.exp(sd), np.exp(sigma)), reml=True, **held)

    floor = least(lambda x: loss(*x), start)
    for end in ("lower", "upper"):
        intercept, sd, sigma = intervals[end]
        held = least(lambda x, value=intercept: loss(*x, column=0, held=value), start)
        assert np.isclose(held - floor, cutoff, rtol=1e-6)
        assert np.isclose(least(lambda x, at=sd: loss(np.log(at), x[0]), start[1:]) - floor, cutoff, rtol=1e-6)
        assert np.isclose(least(lambda x, at=sigma: loss(x[0], np.log(at)), start[:1]) - floor, cutoff, rtol=1e-6)


def test_a_held_coefficient_is_a_fit_to_what_it_leaves() -> None:
    frame = load("sleepstudy")
    fit = Model("Reaction ~ Days + (Days | Subject)", frame).fit("ml")
    lower = fit.profile("Days").intervals().loc["Days", "lower"]
    rest = Model("left ~ 1 + (Days | Subject)", frame.assign(left=frame["Reaction"] - lower * frame["Days"])).fit("ml")
    assert np.isclose(2.0 * (fit.loglik - rest.loglik), NormalDist().inv_cdf(0.975) ** 2, atol=1e-6)


def test_slope_sd_of_sleepstudy_is_not_zero() -> None:
    fit = Model("Reaction ~ Days + (Days | Subject)", load("sleepstudy")).fit("ml")
    row = fit.profile("sd(Days | Subject)").intervals().loc["sd(Days | Subject)"]
    assert np.isclose(row["lower"], 3.80117728, atol=1e-6)
    assert row["at_boundary"] == ""
    assert row["is_monotone"]


def test_dyestuff2_has_an_upper_end_only_and_leaves_zero_where_the_mean_is_held() -> None:
    model = next(each for each in reference_models()[0] if each.id == "Dyestuff2/ri_ml")
    frame = model.frame()
    fit = Model(model.formula, frame).fit("ml")
    profile = fit.profile()
    row = profile.intervals().loc["sd(Intercept | Batch)"]
    assert (row["lower"], row["at_boundary"]) == (0.0, "lower")
    assert "sd(Intercept | Batch) is estimated at its boundary, 0: its profile has one side." in profile.notes
    # the reference holds the standard deviation at zero there, which is a saddle
    lower = profile.intervals().loc["Intercept", "lower"]

    def loss(x, **held):
        covariance = one_way(frame, "Batch", x[0], np.exp(x[1]))
        return dense_loss(frame, "Yield", [], covariance, reml=False, **held)

    held = least(lambda x: loss(x, column=0, held=lower), [1.0, np.log(fit.sigma)])
    assert np.isclose(held - least(loss, [0.0, np.log(fit.sigma)]), 3.841458820694124, rtol=1e-6)


def test_a_correlation_has_no_ends_where_a_standard_deviation_may_be_zero() -> None:
    frame = load("orthodont")
    fit = Model("distance ~ age + (age | Subject)", frame).fit()
    simpler = Model("distance ~ age + (0 + age | Subject)", frame).fit()
    name = "cor(Intercept, age | Subject)"
    profile = fit.profile(name)
    row = profile.intervals().loc[name]
    assert (row["lower"], row["upper"], row["at_boundary"]) == (-1.0, 1.0, "both")
    assert np.isclose(profile.table["zeta"].min() ** 2, 2.0 * (fit.loglik - simpler.loglik), atol=1e-4)
    assert profile.notes[0].startswith(f"{name} may be anything: with a standard deviation of zero it has no meaning")


def test_an_undefined_correlation_may_be_anything() -> None:
    frame = load("sleepstudy")
    means = frame.groupby("Subject")["Reaction"].transform("mean")
    frame = frame.assign(left=frame["Reaction"] - means, late=frame["Days"] - 4.5)
    fit = Model("left ~ late + (late | Subject)", frame).fit("ml")
    name = "cor(Intercept, late | Subject)"
    profile = fit.profile(name)
    row = profile.intervals().loc[name]
    assert np.isnan(row["estimate"])
    assert (row["lower"], row["upper"], row["at_boundary"]) == (-1.0, 1.0, "both")
    assert profile.notes == (f"{name} is undefined, since a standard deviation is zero: any value is as likely.",)
    assert profile.table.empty


class OneDimensional:
    """A parameter whose profile is a given function, with nothing else to fit."""

    limits, near = (-np.inf, np.inf), 0.0

    class surface:  # noqa: N801  the interface's name
        @staticmethod
        def absolute(x):
            return x

        relative = absolute

    def __init__(self, function) -> None:
        self.function = function

    def step(self, value, by):
        return value + by

    def solve(self, value, start, hessian):
        slope = (self.function(value + 1e-6) - self.function(value - 1e-6)) / 2e-6
        return Point(value, self.function(value), slope, np.zeros(1), np.eye(1), np.zeros(0), True)

    def side(self, zeta):
        start = self.solve(0.0, None, None)
        return trace_side(self, start, 1, zeta, error=1.0, size=100.0)


def test_a_profile_with_two_maxima_reaches_over_both_and_says_so() -> None:
    side = OneDimensional(lambda v: v**2 * (v - 3.0) ** 2 / 4.0 + 0.1 * v).side(1.96)
    assert side.falls
    assert np.allclose(side.maxima, 3.0, atol=0.5)
    end = side.end(1.0).value
    assert end > 3.0
    assert np.isclose(side.parameter.function(end), 1.0)


def test_a_likelihood_that_stays_high_has_no_end() -> None:
    side = OneDimensional(lambda v: v**2 / (1.0 + v**2)).side(1.96)
    assert side.stopped == "far"
    assert side.end(1.5) == (np.inf, False)
    assert np.isclose(side.end(0.5).value, np.sqrt(1.0 / 3.0))


def test_intervals_follow_units_origin_and_order() -> None:
    frame = load("sleepstudy")
    first = Model("Reaction ~ Days + (Days | Subject)", frame).fit().profile().intervals()
    other = frame.sample(frac=1.0, random_state=1).assign(Reaction=lambda f: 1e3 * f["Reaction"] + 7.0)
    other["Days"], other["Subject"] = 24.0 * other["Days"], "s" + other["Subject"].astype(str).str[::-1]
    second = Model("Reaction ~ Days + (Days | Subject)", other).fit().profile().intervals()
    scale = {"Intercept": 1e3, "Days": 1e3 / 24.0, "sd(Intercept | Subject)": 1e3, "sd(Days | Subject)": 1e3 / 24.0}
    for name, row in first.iterrows():
        shift = 7.0 if name == "Intercept" else 0.0
        factor = scale.get(name, 1e3 if name == "sigma" else 1.0)
        for end in ("lower", "upper"):
            assert np.isclose(second.loc[name, end], factor * row[end] + shift, rtol=2e-7, atol=1e-6), name


STRUCTURED = [
    f"{callee}(0 + Machine | Worker)" for callee in ("us", "diag", "homdiag", "cs", "homcs", "ar1", "hetar1", "toep")
]


@pytest.mark.parametrize("term", STRUCTURED)
def test_points_are_minima_of_the_dense_criterion(term: str) -> None:
    """The criterion at all parameters of a point is ζ² above the least; no neighbour with the held one is lower."""
    frame = load("machines")
    fit = Model(f"score ~ Machine + {term}", frame).fit()
    names = list(fit.parameters.index)
    profile = fit.profile(names[3:], level=0.9)
    rows = profile.table["zeta"].abs().between(0.4, 1.6) & profile.traces[names[3:]].abs().gt(1e-3).all(axis=1)
    chosen = profile.table[rows].iloc[::4]
    assert len(chosen) > 1
    pieces, rng = fit.design.blocks[0].layout, np.random.default_rng(1)
    columns = pd.get_dummies(frame["Machine"]).to_numpy(float)
    k = columns.shape[1]
    same = frame["Worker"].to_numpy()[:, None] == frame["Worker"].to_numpy()
    m = pieces[0].structure.n_sds(k)
    dummies = pd.DataFrame({name: (frame["Machine"] == name).astype(float) for name in ("B", "C")})
    frame = frame.assign(**dummies)

    def loss(values):
        covariance = assemble_covariance(np, values[:m], values[m:-1], pieces)
        V = same * (columns @ covariance @ columns.T) + values[-1] ** 2 * np.eye(fit.n)
        return dense_loss(frame, "score", ["B", "C"], V, reml=True)

    for at, (name, zeta) in chosen[["parameter", "zeta"]].iterrows():
        values = profile.traces.loc[at, names[3:]].to_numpy()
        least = loss(values)
        assert np.isclose(least + 2.0 * fit.loglik, zeta**2, atol=1e-5)
        for _ in range(3):
            moved = values * (1.0 + 1e-3 * rng.normal(size=len(values)))
            moved[names.index(name) - 3] = values[names.index(name) - 3]
            assert loss(moved) > least - 1e-6


@pytest.mark.parametrize("callee", [name for name in STRUCTURES if name != "equalto"])  # which has no parameters
def test_slopes_of_public_values_are_those_of_differences(callee: str) -> None:
    structure, k, rng = STRUCTURES[callee], 3, np.random.default_rng(3)
    piece, back = Piece(0, k, structure), np.linalg.inv(np.diag([1.0, 2.0, 0.5]))
    if structure.invariance == "scale":
        back = 2.0 * np.eye(k)
    theta = structure.start(k) + 0.2 * rng.normal(size=structure.n_theta(k))

    def values(at):
        M = back @ piece_factor(np, at, piece)
        sd, cor = structure.read(np, M @ M.T)
        return sd**2, cor

    for which, differentiate in enumerate((differentiate_variances, differentiate_correlations)):
        at = differentiate(theta, piece, back)
        assert np.allclose(at.values, values(theta)[which])
        for i, step in enumerate(1e-5 * np.eye(len(theta))):
            up, down = (differentiate(theta + sign * step, piece, back) for sign in (1, -1))
            assert np.allclose((up.values - down.values) / 2e-5, at.first[:, i], atol=1e-8)
            assert np.allclose((up.first - down.first) / 2e-5, at.second[:, i], atol=1e-6)


def test_known_sigma_has_no_row() -> None:
    model = next(each for each in reference_models()[0] if each.id == "known_variance_bcg/mean_reml")
    fit = Model(model.formula, model.frame(), weights=model.weights, sigma=model.sigma).fit()
    intervals = fit.profile().intervals()
    assert list(intervals.index) == ["Intercept", "sd(Intercept | trial)"]
    assert (intervals["lower"] < intervals["estimate"]).all()


def test_levels_beyond_the_profile_and_unknown_parameters_are_refused() -> None:
    fit = Model("travel ~ 1 + (1 | Rail)", load("rail")).fit()
    profile = fit.profile("sigma", level=0.9)
    with pytest.raises(ArgumentError, match="as far as 0\\.9:"):
        profile.intervals()
    with pytest.raises(ArgumentError, match="no parameter of the model: give some of Intercept, "):
        fit.profile(["sigma", "tau"])
    with pytest.raises(ArgumentError, match="level is 2"):
        fit.profile(level=2)
    assert list(fit.profile(["sigma", "beta(Intercept)"]).intervals().index) == ["Intercept", "sigma"]


def test_a_profile_is_pickled_with_its_ends_to_find() -> None:
    profile = Model("travel ~ 1 + (1 | Rail)", load("rail")).fit().profile()
    again = pickle.loads(pickle.dumps(profile))
    pd.testing.assert_frame_equal(again.intervals(0.9), profile.intervals(0.9))
    pd.testing.assert_frame_equal(again.table, profile.table)


def test_curves_have_the_intervals_as_their_crossings_and_the_density_as_their_slope() -> None:
    profile = Model("Reaction ~ Days + (Days | Subject)", load("sleepstudy")).fit("ml").profile()
    intervals = profile.intervals()
    for name, curve in profile.table.groupby("parameter", sort=False):
        assert (np.diff(curve["value"]) > 0.0).all()
        assert (np.diff(curve["zeta"]) > 0.0).all()
        ends = CubicSpline(curve["zeta"], curve["value"])(np.array([-1.0, 1.0]) * NormalDist().inv_cdf(0.975))
        width = intervals.loc[name, "upper"] - intervals.loc[name, "lower"]
        assert np.allclose(ends, intervals.loc[name, ["lower", "upper"]].astype(float), atol=SPLINE * width)
        density = CubicSpline(curve["value"], curve["zeta"], bc_type="natural").derivative()(curve["value"])
        density *= np.exp(-0.5 * curve["zeta"] ** 2) / np.sqrt(2.0 * np.pi)
        assert np.allclose(curve["density"].iloc[2:-2], density.iloc[2:-2], rtol=0.02)
    assert list(profile.traces.columns) == list(intervals.index)
    assert len(profile.traces) == len(profile.table)
