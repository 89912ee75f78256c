"""Gaussian, rational quadratic and spherical correlations of residuals: nlme's figures, several maxima, ends, draws."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from reference_data import load_data

import bayesmm as bmm
from bayesmm import Model
from bayesmm.errors import PriorError, SpecificationError

OVARY = load_data("ovary")
MODELS = {
    "ovary": ("follicles ~ np.sin(2*np.pi*Time) + np.cos(2*np.pi*Time)", "Time | Mare"),
    "sleepstudy": ("Reaction ~ Days", "Days | Subject"),
    "bodyweight": ("weight ~ Time * Diet + (1 | Rat)", "Time | Rat"),
}

# nlme 3.1-162, the best of several starts of the range:
# gls(formula, data, correlation = corGaus(c(range, 0.2), form = ~ Time | Mare, nugget = TRUE), method = "REML",
#     control = glsControl(msMaxIter = 500, tolerance = 1e-10, msTol = 1e-12)), and
# lme(weight ~ Time * Diet, BodyWeight, random = ~ 1 | Rat, correlation = ...) with the same tolerances.
NLME = [  # data, structure, method, log-likelihood, range, nugget, sigma
    ("ovary", "gau", "reml", -826.89590302, 0.054853623, None, 4.1724911),
    ("ovary", "gau", "ml", -827.06397272, 0.054677204, None, 4.1436026),
    ("ovary", "gau", "reml", -784.29264700, 0.40160970, 0.32371544, 4.4907337),
    ("ovary", "gau", "ml", -785.41138122, 0.40926938, 0.33855175, 4.4000041),
    ("ovary", "ratio", "reml", -797.20206613, 0.058045785, None, 4.0679509),
    ("ovary", "ratio", "ml", -797.82411808, 0.0575646, None, 4.0313909),
    ("ovary", "ratio", "reml", -778.19975938, 0.19825877, 0.26418359, 4.3043328),
    ("ovary", "ratio", "ml", -779.43291993, 0.19509536, 0.27384655, 4.2261028),
    ("ovary", "sph", "reml", -791.13606920, 0.40990616, None, 5.6205546),
    ("ovary", "sph", "ml", -793.12656234, 0.32081082, None, 5.0457299),
    ("ovary", "sph", "reml", -775.71799017, 0.74752782, 0.17700895, 4.6361925),
    ("ovary", "sph", "ml", -777.10811850, 0.74989822, 0.18990228, 4.5396653),
    ("sleepstudy", "gau", "reml", -898.58567708, 1.2468941, None, 44.106524),
    ("sleepstudy", "gau", "reml", -869.96809640, 5.69195735, 0.20565423, 48.780739),
    ("sleepstudy", "ratio", "reml", -881.71924349, 1.3564154, None, 43.28154),
    ("sleepstudy", "sph", "reml", -872.35700372, 8.3386658, None, 52.967939),
    ("sleepstudy", "sph", "reml", -867.60055305, 15.60544085, 0.10901813, 50.453532),
    ("ovary", "lin", "reml", -797.48214446, 1.08333297, None, 10.86436433),  # on an edge: a distance that occurs
    ("ovary", "lin", "reml", -775.97014366, 0.63870861, 0.18264690, 4.8347878),
    ("sleepstudy", "lin", "reml", -872.06657051, 6.57119980, None, 57.4186157),
    ("sleepstudy", "lin", "reml", -868.13964082, 12.354094, 0.11126331, 52.199121),
    ("bodyweight", "gau", "reml", -568.61727138, 57.842759, 0.081850686, 13.613432),
    ("bodyweight", "ratio", "reml", -568.27557340, 65.264833, 0.058222802, 15.819928),
    ("bodyweight", "sph", "reml", -564.67630498, 1456.7560, 0.0043826555, 37.297591),
]


def gaps(data: str) -> np.ndarray:
    time, group = MODELS[data][1].split(" | ")
    frame = load_data(data)
    return np.concatenate([np.diff(np.sort(own[time].to_numpy(dtype=float))) for _, own in frame.groupby(group)])


def range_of(name: str, rho: float, between: np.ndarray) -> float:
    """As the page has it."""
    return {
        "gau": between.mean() / np.sqrt(-np.log(rho)),
        "ratio": between.mean() * np.sqrt(rho / (1.0 - rho)),
        "lin": between.min() / (1.0 - rho),
        "sph": between.min() / (2.0 * np.sin(np.arcsin(1.0 - rho) / 3.0)),
    }[name]


@pytest.mark.parametrize(("data", "name", "method", "loglik", "length", "nugget", "sigma"), NLME)
def test_nlme_has_the_same_fit(data, name, method, loglik, length, nugget, sigma) -> None:
    formula, of = MODELS[data]
    text = f"{name}({of})" if nugget is None else f"{name}({of}, nugget=True)"
    fit = Model(formula, load_data(data), residual=text).fit(method)
    assert fit.loglik == pytest.approx(loglik, abs=1e-6)
    estimates = fit.parameters["estimate"]
    assert estimates["sigma"] == pytest.approx(sigma, rel=1e-4)
    assert range_of(name, estimates[f"rho({of})"], gaps(data)) == pytest.approx(length, rel=1e-4)
    if nugget is not None:
        assert estimates[f"nugget({of})"] == pytest.approx(nugget, rel=1e-3)


def test_maximum_on_an_edge_is_one_without_a_standard_error() -> None:
    """Where the range is a distance that occurs, linear correlations have two slopes, and so has the likelihood."""
    formula, of = MODELS["ovary"]
    fit = Model(formula, OVARY, residual=f"lin({of})").fit()
    assert fit.status.name == "CONVERGED"
    row = fit.parameters.loc[f"rho({of})"]
    assert np.isnan(row["std_error"])
    length = range_of("lin", row["estimate"], gaps("ovary"))
    times = OVARY.groupby("Mare")["Time"].apply(lambda t: np.abs(np.subtract.outer(t.to_numpy(), t.to_numpy())).ravel())
    assert np.abs(np.concatenate(times.to_list()) - length).min() < 1e-9
    assert np.isfinite(fit.parameters.loc["sigma", "std_error"])
    smooth = Model(formula, OVARY, residual=f"lin({of}, nugget=True)").fit()
    assert np.isfinite(smooth.parameters.loc[f"rho({of})", "std_error"])


def test_other_maxima_of_a_spherical_likelihood_are_named() -> None:
    """Of the three at which gls ends, −791.30 is where a search from moments does."""
    formula, of = MODELS["ovary"]
    fit = Model(formula, OVARY, residual=f"sph({of})").fit()
    assert fit.other_maxima[0].log_likelihood == pytest.approx(-791.29864735, abs=1e-5)
    values = [each.log_likelihood for each in fit.other_maxima]
    assert len({round(each, 3) for each in values}) == len(values)
    assert max(values) < fit.loglik


@pytest.mark.parametrize("name", ["gau", "ratio", "sph"])
def test_origin_unit_and_order_do_not_count(name: str) -> None:
    formula, of = "follicles ~ Time", "Time | Mare"
    here = Model(formula, OVARY, residual=f"{name}({of}, nugget=True)").fit()
    moved = OVARY.assign(Time=1000.0 * OVARY["Time"] + 77.0).sample(frac=1.0, random_state=1)
    there = Model(formula, moved, residual=f"{name}({of}, nugget=True)").fit()
    assert here.loglik - there.loglik == pytest.approx(np.log(1000.0), abs=1e-6)  # of REML, whose X changes its unit
    one, other = (fit.parameters.loc[f"rho({of})" :, ["estimate", "std_error"]] for fit in (here, there))
    np.testing.assert_allclose(one, other, rtol=1e-3)


@pytest.mark.parametrize("name", ["gau", "ratio", "sph"])
def test_independent_rows_are_an_ordinary_end(name: str) -> None:
    """Rows of a group go against each other, so that no positive correlation is as likely as none."""
    rng = np.random.default_rng(2)
    data = pd.DataFrame(
        {"id": np.repeat(np.arange(40), 6), "t": np.tile(np.arange(6.0), 40), "e": rng.normal(size=240)}
    )
    data["y"] = data["e"] - data.groupby("id")["e"].transform("mean")
    fit = Model("y ~ t", data, residual=f"{name}(t | id)").fit()
    X, y, df = np.column_stack([np.ones(240), data["t"]]), data["y"].to_numpy(), 238
    left = ((y - X @ np.linalg.lstsq(X, y, rcond=None)[0]) ** 2).sum()
    plain = -0.5 * (np.linalg.slogdet(X.T @ X)[1] + df * (1.0 + np.log(2.0 * np.pi * left / df)))
    assert fit.loglik == pytest.approx(plain, abs=1e-8)
    assert fit.parameters.loc["rho(t | id)", "estimate"] == 0.0
    assert np.isnan(fit.parameters.loc["rho(t | id)", "std_error"])
    assert fit.coefficients(df="kenward-roger")["df"].to_numpy() == pytest.approx(238.0, rel=1e-6)


def test_models_with_and_without_a_nugget_are_nested_and_curves_are_not() -> None:
    fits = [
        Model("follicles ~ Time", OVARY, residual=text).fit()
        for text in ("gau(Time | Mare)", "gau(Time | Mare, nugget=True)", "sph(Time | Mare, nugget=True)")
    ]
    assert not any("special case" in each for each in bmm.anova(*fits[:2]).remarks)
    assert any("special case" in each for each in bmm.anova(fits[0], fits[2]).remarks)


def test_a_profile_holds_the_truth_of_a_large_sample() -> None:
    rng = np.random.default_rng(5)
    t = np.arange(8.0)
    C = 0.8 * np.exp(-((np.subtract.outer(t, t) / 2.5) ** 2)) + 0.2 * np.eye(8)
    y = np.linalg.cholesky(C) @ rng.normal(size=(8, 150))
    data = pd.DataFrame({"id": np.tile(np.arange(150), 8), "t": np.repeat(t, 150), "y": y.ravel()})
    fit = Model("y ~ t", data, residual="gau(t | id, nugget=True)").fit()
    found = fit.profile(["rho(t | id)", "nugget(t | id)"], progress=False).intervals()
    for name, truth in (("rho(t | id)", np.exp(-((1.0 / 2.5) ** 2))), ("nugget(t | id)", 0.2)):
        row = found.loc[name]
        assert row["lower"] < truth < row["upper"]
        assert fit.parameters.loc[name, "lower"] == pytest.approx(row["lower"], abs=0.02)


def test_draws_have_the_parameters_and_predict_what_was_measured() -> None:
    model = Model("weight ~ Time * Diet", load_data("bodyweight"), residual="sph(Time | Rat)")
    assert "correlation of residuals, sph(Time | Rat)" in str(model.priors)
    posterior = make_posterior(model)
    drawn = posterior.predict(load_data("bodyweight").head(2), residuals="conditional", progress=False)
    expected = load_data("bodyweight")["weight"].head(2).to_numpy()
    assert drawn["mean"].to_numpy() == pytest.approx(expected, rel=1e-6)
    with pytest.raises(PriorError):
        str(
            Model(
                "y ~ t",
                OVARY.assign(y=1.0 * OVARY["follicles"], t=OVARY["Time"]),
                residual="gau(t | Mare)",
                priors={"rho": bmm.priors.LKJ(2)},
            ).priors
        )


def test_what_is_not_there_is_refused() -> None:
    for text, part in (("mat(Time | Mare)", "mat"), ("gau(Time | Mare, hom=False)", "hom")):
        with pytest.raises(SpecificationError, match=part):
            Model("follicles ~ Time", OVARY, residual=text)


@pytest.mark.parametrize("text", ["gau(Days | Subject, nugget=True)", "sph(Days | Subject)"])
def test_restricted_likelihood_is_the_posterior_under_flat_priors(text: str) -> None:
    found = Model("Reaction ~ Days", load_data("sleepstudy"), residual=text).check_identity()
    assert abs(found.gap) < 1e-8
    assert (found.slopes.abs() < 1e-3).all()
