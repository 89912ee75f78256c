"""Every argument of every public function, with values of wrong type and of extreme size: a result, or an own error."""

import inspect
import warnings
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from matplotlib import pyplot

import bayesmm as bmm
from bayesmm import datasets
from bayesmm.errors import BayesmmError

STRANGE = {
    "None": None, "True": True, "False": False, "zero": 0, "minus one": -1, "half": 0.5, "huge": 1e300, "tiny": 1e-300,
    "whole and huge": 10**30, "beyond a double": 10**400, "nan": float("nan"), "inf": float("inf"), "text": "no such thing", "number as text": "0.9",
    "empty text": "", "bytes": b"abc", "list": [], "list of a list": [[1]], "list of None": [None], "tuple": (1, 2), "dict": {},
    "dict of a number": {1: 2}, "set": {1}, "complex": 1j, "array": np.arange(3.0), "table of numbers": np.zeros((2, 2)),
    "numpy": np.float64(0.9), "fraction": Fraction(1, 2), "function": len, "class": dict, "object": object(),
    "series": pd.Series([1.0, 2.0]), "frame": pd.DataFrame({"a": [1]}), "path": Path("nowhere"), "range": range(3),
}  # fmt: skip
ANOVA = {"refit": False, "names": None}
COMPARED = {"df": "satterthwaite", "information": None, "level": 0.95}
PUBLISHED = {
    "names": None,
    "show": "interval",
    "labels": None,
    "title": None,
    "df": "normal",
    "centre": "mean",
    "level": 0.9,
}
LONGEST = 1200  # characters of a message
WIDE = pd.DataFrame({"who": ["a", "b"], "Y1": [1, 2], "Y2": [3, 4]})


@pytest.fixture(scope="module")
def things():
    data = datasets.load("sleepstudy")
    model = bmm.Model("Reaction ~ Days + (Days | Subject)", data)
    fit = model.fit()
    bootstrap = fit.bootstrap(5, progress=False)
    profile, pair = fit.profile("sigma", progress=False), fit.profile(["Days", "sigma"], progress=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("made_posterior.SHAPE", (4, 250))  # as many as no diagnostic complains of
        posterior = make_posterior(model)
    made = {"data": data, "model": model, "fit": fit, "posterior": posterior, "bootstrap": bootstrap}
    made["smooths"] = bmm.Model("Reaction ~ s(Days, k=4) + (1 | Subject)", data).fit().smooths()
    return made | {"profile": profile, "pair": pair, "power": bmm.power(fit, n=3, progress=False)}


def calls(things):
    """Public functions with arguments that are right, by name; each of them is then replaced in turn."""
    model, fit, posterior = (things[name] for name in ("model", "fit", "posterior"))
    new = things["data"].iloc[:3]
    bootstrap, margins = things["bootstrap"], bmm.emmeans(fit, "Days", at={"Days": [1, 3, 4]})
    other = bmm.Model("Reaction ~ Days + (1 | Subject)", things["data"]).fit()
    uncertainty = bmm.effect_uncertainty(fit)
    small = {"draws": 2, "tune": 2, "chains": 1, "seed": 1, "progress": False}
    return {
        "Model": (bmm.Model, {"formula": "Reaction ~ Days + (1 | Subject)", "data": things["data"]}),
        "Model.fit": (model.fit, {}),
        "Model.marginal_mean": (model.marginal_mean, {"rows": [0, 1]}),
        "Model.marginal_covariance": (model.marginal_covariance, {"rows": [0, 1]}),
        "Model.program": (model.program, {}),
        "Model.prior_predictive": (model.prior_predictive, {"draws": 2}),
        "Model.calibrate": (model.calibrate, {"simulations": 1}),  # too few: nothing is run
        "Model.sample": (model.sample, small | {"checkpoint": "no folder.txt"}),  # likewise
        "Fit.parameter_table": (fit.parameter_table, {}),
        "Fit.random_effects": (fit.random_effects, {}),
        "Fit.random_effects by refits": (fit.random_effects, {"uncertainty": "bootstrap", "bootstrap": bootstrap}),
        "Fit.coef": (fit.coef, {"bootstrap": bootstrap, "progress": False}),
        "Fit.plot_effects": (fit.plot_effects, {}),
        "effect_uncertainty": (bmm.effect_uncertainty, {"fit": fit, "progress": False}),
        "EffectUncertainty.intervals": (uncertainty.intervals, {}),
        "EffectUncertainty.only": (uncertainty.only, {}),
        "EffectUncertainty.plot": (uncertainty.plot, {}),
        "Fit.summary": (fit.summary, {}),
        "Fit.residuals": (fit.residuals, {}),
        "Fit.predict": (fit.predict, {"new_data": new}),
        "Fit.simulate": (fit.simulate, {}),
        "Fit.tidy": (fit.tidy, {}),
        "Fit.augment": (fit.augment, {}),
        "Posterior.simulate": (posterior.simulate, {}),
        "Posterior.tidy": (posterior.tidy, {}),
        "Posterior.augment": (posterior.augment, {}),
        "simulate": (
            bmm.simulate,
            {"formula": "y ~ Days + (Days | Subject)", "data": things["data"], "parameters": fit},
        ),
        "power": (
            bmm.power,
            {"formula": "y ~ Days + (1 | Subject)", "data": things["data"], "parameters": other, "n": 2}
            | {"test": "Days", "along": {"Subject": 3}, "within": {"Subject": 4}, "aim": {"Days": 1.0}},
        ),
        "power of a fit": (bmm.power, {"formula": other, "parameters": {"Days": 5.0}, "n": 2}),
        "Power.smallest": (things["power"].smallest, {}),
        "Posterior.draws": (posterior.draws, {"name": "beta"}),
        "Posterior.parameter_table": (posterior.parameter_table, {}),
        "Posterior.random_effects": (posterior.random_effects, {}),
        "Posterior.summary": (posterior.summary, {}),
        "Posterior.predict": (posterior.predict, {"new_data": new}),
        "Posterior.posterior_predictive": (posterior.posterior_predictive, {"new_data": new, "draws": 2}),
        "Posterior.with_predictive": (posterior.with_predictive, {}),
        "Posterior.variance_shares": (posterior.variance_shares, {}),
        "Posterior.save": (posterior.save, {"path": "no folder/x.nc"}),
        "Fit.save": (fit.save, {"path": "no folder/x.nc"}),
        "Fit.coefficients": (fit.coefficients, {}),
        "Fit.anova": (fit.anova, {}),
        "Fit.test": (fit.test, {"hypotheses": "Days = 0"}),
        "Fit.profile": (fit.profile, {"parameters": "sigma", "progress": False}),
        "Fit.bootstrap": (fit.bootstrap, {"n": 3, "progress": False}),
        "Bootstrap.intervals": (bootstrap.intervals, {}),
        "Bootstrap.parameter_table": (bootstrap.parameter_table, {}),
        "Fit.variance_tests": (fit.variance_tests, {"parameters": "sd(Days | Subject)", "n": 3, "progress": False}),
        "Fit.boundary": (fit.boundary, {"parameter": "sd(Days | Subject)", "n": 3, "progress": False}),
        "Fit.plot_variance_shares": (fit.plot_variance_shares, {}),
        "Fit.plot_marginal_covariance": (fit.plot_marginal_covariance, {"rows": [0, 1]}),
        "Profile.plot": (things["profile"].plot, {}),
        "Profile.plot_density": (things["profile"].plot_density, {}),
        "Profile.pairs": (things["pair"].pairs, {}),
        "Profile.plot_pairs": (things["pair"].plot_pairs, {}),
        "Bootstrap.plot": (bootstrap.plot, {}),
        "Comparison.plot": (bmm.compare(fit, posterior).plot, {}),
        "Comparison.plot_forest": (bmm.compare(fit, posterior).plot_forest, {"parameters": "Days", "backend": "none"}),
        "Posterior.plot_variance_shares": (posterior.plot_variance_shares, {}),
        "Posterior.plot_predictive": (posterior.plot_predictive, {"draws": 2, "backend": "none"}),
        "Posterior.plot_pit": (posterior.plot_pit, {"draws": 20, "backend": "none"}),
        "Fit.criteria": (fit.criteria, {}),
        "Fit.explained": (fit.explained, {}),
        "Smooths.curves": (things["smooths"].curves, {}),
        "Smooths.plot": (things["smooths"].plot, {}),
        "Fit.variance_shares": (fit.variance_shares, {}),
        "Fit.robust": (fit.robust, {}),
        "Fit.influence": (fit.influence, {"by": "Subject"}),
        "Fit.envelopes": (fit.envelopes, {"n": 20}),
        "Fit.plot_envelopes": (fit.plot_envelopes, {"n": 20}),
        "Fit.plot_residuals": (fit.plot_residuals, {"n": 20}),
        "Fit.group_lines": (fit.group_lines, {"levels": ["308"]}),
        "Fit.plot_groups": (fit.plot_groups, {"levels": ["308"]}),
        "Posterior.group_lines": (posterior.group_lines, {"levels": ["308"]}),
        "Posterior.plot_groups": (posterior.plot_groups, {"levels": ["308"]}),
        "Comparison.plot_groups": (bmm.compare(fit, posterior).plot_groups, {"levels": ["308"]}),
        "PartialPooling.plot": (bmm.shrinkage(fit).plot, {}),
        "Ranking.plot": (bmm.ranking(fit, "Subject", "Days").plot, {}),
        "Margins.plot": (margins.plot, {}),
        "SimulatedResiduals.plot": (fit.simulated_residuals(n=20).plot, {}),
        "Fit.simulated_residuals": (fit.simulated_residuals, {"n": 20}),
        "Fit.check": (fit.check, {"n": 20}),
        "Fit.explore": (fit.explore, {"path": "explorer.html"}),
        # A page takes seconds to draw: it goes where it cannot, so that nothing is drawn before the refusal.
        "report": (bmm.report, {"fit": fit, "posterior": posterior, "path": "no folder/x.html"}),
        "anova": (
            lambda refit, names: bmm.anova(fit, other, refit=refit, names=names),
            ANOVA,
        ),
        "emmeans": (bmm.emmeans, {"result": fit, "specs": [], "at": {"Days": 3}}),
        "slopes": (bmm.slopes, {"result": fit, "variable": "Days"}),
        "comparisons": (bmm.comparisons, {"result": fit, "variables": {"Days": [1, 2]}}),
        "Margins.contrasts": (margins.contrasts, {}),
        "Margins.joint_test": (margins.joint_test, {}),
        "compare": (lambda fit, other: bmm.compare(fit, other), {"fit": fit, "other": posterior}),
        "compare options": (
            lambda df, information, level: bmm.compare(fit, posterior, df=df, information=information, level=level),
            COMPARED,
        ),
        "publication_table": (
            lambda result: bmm.publication_table(result, fit),
            {"result": posterior},
        ),
        "publication_table options": (
            lambda names, show, labels, title, df, centre, level: bmm.publication_table(
                fit, posterior, names=names, show=show, labels=labels, title=title, df=df, centre=centre, level=level
            ),
            PUBLISHED,
        ),
        "load": (bmm.load, {"path": "nowhere.nc"}),
        "to_long": (bmm.to_long, {"data": WIDE, "pattern": "{variable}{time}", "id": "who"}),
        "to_long columns": (bmm.to_long, {"data": WIDE, "columns": {"Y": ["Y1", "Y2"]}, "id": "who"}),
        "datasets.load": (datasets.load, {"name": "rail"}),
        "datasets.describe": (datasets.describe, {"name": "rail"}),
        "simulate_crossed": (
            datasets.simulate_crossed,
            {"groups": {"item": 3, "person": 3}, "sds": {"item": 1.0, "person": 1.0}},
        ),
        "simulate_nested": (
            datasets.simulate_nested,
            {"groups": {"school": 3}, "sds": {"school": 1.0}, "observations": 2},
        ),
        "simulate_dyads": (datasets.simulate_dyads, {"n_people": 4}),
        "simulate_pedigree": (datasets.simulate_pedigree, {"n_sires": 2, "n_dams": 4, "generations": 1}),
        "relation": (bmm.relation, {"matrix": [[1.0, 0.5], [0.5, 1.0]], "levels": ["a", "b"]}),
        "pedigree": (bmm.pedigree, {"data": {"animal": ["c"], "sire": ["a"], "dam": ["b"]}}),
        "phylogeny": (bmm.phylogeny, {"tree": "((a:1,b:1):2,c:3);"}),
        "car": (bmm.car, {"neighbours": [[0, 1], [1, 0]], "levels": ["a", "b"]}),
        "simulate_longitudinal": (datasets.simulate_longitudinal, {"subjects": 3}),
    }


def described(error):
    """Whether a message is one, and fits a screen."""
    text = str(error)
    return 10 < len(text) < LONGEST and text.count("\n") < 20


def test_strange_arguments_give_a_result_or_an_own_error(things, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    wrong = []
    for name, (function, right) in calls(things).items():
        for argument in inspect.signature(function).parameters:
            if argument == "progress" and name != "Fit.bootstrap":
                continue  # one place reads it for all, and draws a bar of whatever is neither None nor False
            for kind, value in STRANGE.items():
                if name == "Model.sample" and argument == "checkpoint" and value is None:
                    continue  # a run
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    try:
                        function(**{**right, argument: value})
                    except BayesmmError as error:
                        if not described(error):
                            wrong.append(f"{name}({argument}={kind}): a message of {len(str(error))} characters")
                    except Exception as error:
                        wrong.append(f"{name}({argument}={kind}): {type(error).__name__}: {str(error)[:100]}")
        pyplot.close("all")
    assert wrong == []


SIZES = [1e-300, 1e-200, 1e-100, 1e-60, 1e-20, 1e-10, 1e10, 1e20, 1e60, 1e100, 1e200, 1e300]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("where", ["response", "covariate", "offset", "weights", "sigma", "slope"])
def test_numbers_of_any_size_are_fitted_or_refused(things, where, size):
    data, formula, options = things["data"], "Reaction ~ Days + (1 | Subject)", {}
    match where:
        case "response":
            data = data.assign(Reaction=data["Reaction"] * size)
        case "covariate":
            data = data.assign(Days=data["Days"] * size)
        case "offset":
            data, formula = data.assign(z=size), "Reaction ~ Days + offset(z) + (1 | Subject)"
        case "weights":
            options = {"weights": np.full(len(data), size)}
        case "sigma":
            options = {"sigma": size}
        case "slope":
            data, formula = data.assign(Days=data["Days"] * size), "Reaction ~ 1 + (Days | Subject)"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bmm.errors.BayesmmWarning)
        try:
            fit = bmm.Model(formula, data, **options).fit()
            assert np.isfinite(fit.loglik)
            assert str(fit)
        except BayesmmError as error:
            refused = error
        else:
            return
    assert described(refused)
    # Weights, a known sigma and an offset are measured by the response, whose digits they take away.
    assert not (1e-5 <= size <= 1e5 if where in ("sigma", "weights", "offset") else 1e-20 <= size <= 1e20)
