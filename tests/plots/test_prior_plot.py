"""The figure of the priors in force, and the curves that it draws."""

import sys

import numpy as np
import pytest
import scipy.stats as st

import bayesmm as bmm
from bayesmm.bayes.priors.prior_curves import build_curves
from bayesmm.errors import BayesmmError
from bayesmm.priors import LKJ, Beta, BoxTiao, Flat, InverseGamma, Normal, Reciprocal, Uniform


def sleep(priors=None, formula="Reaction ~ Days + (Days | Subject)"):
    return bmm.Model(formula, bmm.datasets.load("sleepstudy"), priors=priors)


def curves_of(model, estimates=None):
    return {curve.name: curve for curve in build_curves(model.priors, model.design, estimates)}


def dyestuff(priors):
    return bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff"), priors=priors)


def test_every_row_has_a_panel_with_its_declaration():
    titles = [axis.get_title(loc="left").splitlines() for axis in sleep({"Days": Normal(0, 20)}).plot_priors().axes]
    assert titles == [
        ["Intercept", "Normal(298.5, 140.8), default"],
        ["Days", "Normal(0, 20)"],
        ["sd(Intercept | Subject)", "HalfStudentT(3, 140.8), default"],
        ["sd(Days | Subject)", "HalfStudentT(3, 48.89), default"],
        ["cor(Intercept, Days | Subject)", "LKJ(1), default"],
        ["sigma", "HalfStudentT(3, 140.8), default"],
    ]


def test_curves_are_the_densities_in_units_of_the_data():
    quadratic = "Reaction ~ Days + (Days + I(Days**2) | Subject)"
    priors = {
        "Days": Uniform(-3, 20),
        "sd": InverseGamma(2, 300, on="variance"),
        "sd(Days | Subject)": Beta(2, 3),
        "cor": LKJ(2),
    }
    curves = curves_of(sleep(priors, quadratic))
    for name, density in {
        "Days": lambda x: st.uniform(-3, 23).pdf(x),
        "sd(Intercept | Subject)": lambda x: st.invgamma(2, scale=300).pdf(x**2) * 2.0 * x,
        "sd(Days | Subject)": lambda x: st.beta(2, 3).pdf(x),
        "cor(Intercept, Days | Subject)": lambda x: 0.5 * st.beta(2.5, 2.5).pdf(0.5 * (x + 1.0)),
    }.items():
        np.testing.assert_allclose(curves[name].density, density(curves[name].x), rtol=1e-9, err_msg=name)


def test_most_of_a_proper_prior_is_in_its_panel():
    for curve in curves_of(sleep({"sigma": InverseGamma(2, 300, on="variance")})).values():
        assert 0.93 < np.trapezoid(curve.density, curve.x) < 1.01, curve.name


def test_marks_are_at_the_estimate_of_what_the_prior_is_about():
    model = sleep({"sd(Days | Subject)": Beta(1, 3)})
    fit = model.fit()
    estimates = fit.parameters["estimate"]
    curves = curves_of(model, estimates.to_dict())
    assert curves["Intercept"].estimate == pytest.approx(estimates["Intercept"] + 4.5 * estimates["Days"])
    sd, sigma = estimates["sd(Days | Subject)"], estimates["sigma"]
    assert curves["sd(Days | Subject)"].estimate == pytest.approx(sd**2 / (sd**2 + sigma**2))
    assert curves["sigma"].estimate == pytest.approx(sigma)
    for curve in curves.values():
        assert curve.x[0] <= curve.estimate <= curve.x[-1]


def test_estimates_are_marked_once_there_is_a_fit():
    def legend(figure):
        return [text.get_text() for text in figure.legends[0].get_texts()]

    model = sleep()
    assert legend(model.plot_priors()) == ["prior"]
    model.fit()
    assert legend(model.plot_priors()) == ["prior", "REML estimate"]


def test_improper_priors_are_dashed_and_said_to_be():
    model = dyestuff({"fixed": Flat(), "sd": BoxTiao(5), "sigma": Reciprocal()})
    sigma = model.fit().sigma
    figure = model.plot_priors()
    assert [axis.lines[0].get_linestyle() for axis in figure.axes] == ["--"] * 3
    assert ["improper" in axis.get_title(loc="left") for axis in figure.axes] == [True] * 3
    flat, box_tiao, reciprocal = curves_of(model, model.fit().parameters["estimate"].to_dict()).values()
    assert np.ptp(flat.density) == 0.0
    shape = 2.0 * box_tiao.x / (sigma**2 + 5.0 * box_tiao.x**2)
    np.testing.assert_allclose(box_tiao.density, shape, rtol=1e-9)
    assert box_tiao.given_sigma == pytest.approx(sigma)
    np.testing.assert_allclose(reciprocal.density * reciprocal.x, 1.0, rtol=1e-9)


def test_a_prior_wider_than_doubles_still_has_a_panel():
    curve = curves_of(dyestuff({"sigma": InverseGamma(0.001, 0.001, on="variance")}))["sigma"]
    assert np.isfinite(curve.x).all()
    assert np.isfinite(curve.density).all()


def test_a_known_sigma_has_no_panel_and_serves_the_shares():
    model = bmm.Model(
        "y ~ 1 + (1 | school)",
        bmm.datasets.load("eight_schools"),
        weights="1 / sigma**2",
        sigma=1.0,
        priors={"sd": Uniform(0, 1, on="share")},
    )
    model.fit()
    assert [axis.get_title(loc="left").splitlines()[0] for axis in model.plot_priors().axes] == list(
        model.priors.table().index
    )


def test_missing_matplotlib_is_said_with_what_to_install(monkeypatch):
    model = sleep()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(BayesmmError, match=r"Plots need matplotlib.*pip install matplotlib"):
        model.plot_priors()
