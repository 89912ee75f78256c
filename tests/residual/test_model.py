"""What a user meets: errors of data and text, invariances, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm import Model
from bayesmm.errors import ArgumentError, DesignError, EstimationError, SpecificationError
from bayesmm.fit import Fit

SLEEP = bmm.datasets.load("sleepstudy")
FORMULA = "Reaction ~ Days"


@pytest.fixture(scope="module")
def fit() -> Fit:
    return Model("Reaction ~ Days + (1 | Subject)", SLEEP, residual="ar1(Days | Subject)").fit()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("", "residual is empty"),
        ("foo(Days | Subject)", "foo"),
        ("(Days | Subject)", "Name the structure"),
        ("ar1(Days | Subject) * cs(Days | Subject)", "two structures"),
        ("het(Subject) * het(Subject)", "twice"),
        ("ar1(Subject | Subject)", "cannot tell their rows apart"),
        ("ar1(I(Days**2) | Subject)", "is no column"),
        ("ar1(Days)", "has no bar"),
        ("power(fitted)", "not available"),
        ("us(Days | Subject, hom=maybe)", "True or False"),
    ],
)
def test_text_that_cannot_be_read_says_what_to_write(text: str, part: str) -> None:
    with pytest.raises(SpecificationError, match=re.escape(part)):
        Model(FORMULA, SLEEP, residual=text)


def test_repeated_time_names_group_and_time() -> None:
    data = pd.concat([SLEEP, SLEEP.iloc[[13]]], ignore_index=True)
    with pytest.raises(DesignError, match=r"Group '309' of 'Subject' has several rows at Days = 3"):
        Model(FORMULA, data, residual="ar1(Days | Subject)")


@pytest.mark.parametrize(
    ("data", "text", "part"),
    [
        (SLEEP.assign(Days=SLEEP.Days / 2), "ar1(Days | Subject)", "counts whole steps"),
        (SLEEP, "car1(Subject | Days)", "is not numbers"),
        (SLEEP, "power(Days)", "shift the covariate"),
        (SLEEP[SLEEP.Days == 1], "ar1(Days | Subject)", "has one row"),
        (SLEEP.assign(f="a"), "het(f)", "one level"),
        (SLEEP, "us(Days | Subject) * het(Days)", "make up already"),
        (SLEEP[(SLEEP.Days != 3) | (SLEEP.index % 20 > 9)], "het(Days) * us(Days | Subject)", "make up already"),
        (SLEEP[~((SLEEP.Days == 3) & (SLEEP.index < 90) | (SLEEP.Days == 4) & (SLEEP.index >= 90))],
         "us(Days | Subject)", "No group of 'Subject' has rows at 3 and at 4"),
    ],
)  # fmt: skip
def test_data_that_a_structure_cannot_take_are_refused(data: pd.DataFrame, text: str, part: str) -> None:
    with pytest.raises(DesignError, match=part):
        Model("Reaction ~ 1", data, residual=text)


def test_crossed_factors_are_refused_within_groups_and_taken_by_strata() -> None:
    data = bmm.datasets.load("penicillin")
    with pytest.raises(DesignError, match="cross the correlations"):
        Model("diameter ~ (1 | plate) + (1 | sample)", data, residual="homcs(sample | plate)")
    fit = Model("diameter ~ (1 | plate) + (1 | sample)", data, residual="het(sample)").fit()
    plain = Model("diameter ~ (1 | plate) + (1 | sample)", data).fit()
    assert fit.n_parameters == plain.n_parameters + 5
    assert fit.loglik > plain.loglik


def test_what_random_effects_say_already_is_refused() -> None:
    with pytest.raises(EstimationError, match="does not tell all covariance parameters"):
        Model("Reaction ~ Days + (1 | Subject)", SLEEP, residual="homcs(Days | Subject)").fit()


def test_formula_needs_no_random_effects_and_says_so() -> None:
    with pytest.raises(SpecificationError, match=r"residual='us\(visit \| id\)'"):
        Model(FORMULA, SLEEP)


@pytest.mark.parametrize("text", ["ar1(Days | Subject)", "us(Days | Subject)", "car1(Days | Subject) * het(half)"])
@pytest.mark.parametrize("random", ["", " + (1 | Subject)"])
def test_nothing_depends_on_order_units_or_names(text: str, random: str) -> None:
    if random and text.startswith("us"):
        pytest.skip("not told apart")
    data = SLEEP[SLEEP.Days < 4].assign(half=np.where(SLEEP[SLEEP.Days < 4].index % 4 < 2, "a", "b"))
    one = Model("Reaction ~ Days" + random, data, residual=text).fit()
    moved = data.sample(frac=1.0, random_state=1).reset_index(drop=True)
    moved["Reaction"] = 1e3 * moved["Reaction"] + 1e6
    moved["Subject"] = "s" + (1000 - moved["Subject"].astype(int)).astype(str)
    other = Model("Reaction ~ Days" + random, moved, residual=text).fit()
    df = one.n - one.design.p
    assert other.loglik + df * np.log(1e3) == pytest.approx(one.loglik, abs=1e-6)
    rho = [name for name in one.parameters.index if name.startswith("rho")]
    assert other.parameters.loc[rho, "estimate"].to_numpy() == pytest.approx(
        one.parameters.loc[rho, "estimate"].to_numpy(), rel=1e-5
    )
    table = one.coefficients(df="kenward-roger"), other.coefficients(df="kenward-roger")
    assert table[1]["df"].to_numpy() == pytest.approx(table[0]["df"].to_numpy(), rel=1e-4)
    assert table[1].loc["Days", "estimate"] == pytest.approx(1e3 * table[0].loc["Days", "estimate"], rel=1e-6)


def test_unit_of_time_changes_only_what_is_per_unit() -> None:
    one = Model(FORMULA, SLEEP, residual="car1(Days | Subject)").fit()
    hours = SLEEP.assign(Days=24.0 * SLEEP.Days)
    other = Model(FORMULA, hours, residual="car1(Days | Subject)").fit()
    assert other.loglik == pytest.approx(one.loglik + 0.5 * np.log(24**-2), abs=1e-7)
    assert other.parameters.loc["rho(Days | Subject)", "estimate"] ** 24 == pytest.approx(
        one.parameters.loc["rho(Days | Subject)", "estimate"], rel=1e-6
    )


def test_compound_symmetry_is_a_random_intercept_where_correlation_is_positive() -> None:
    residual = Model(FORMULA, SLEEP, residual="homcs(Days | Subject)").fit()
    random = Model("Reaction ~ Days + (1 | Subject)", SLEEP).fit()
    assert residual.loglik == pytest.approx(random.loglik, abs=1e-8)
    ours, theirs = (each.coefficients(df="kenward-roger") for each in (residual, random))
    assert ours.to_numpy() == pytest.approx(theirs.to_numpy(), rel=1e-6)


def test_negative_correlation_is_found() -> None:
    rng = np.random.default_rng(5)
    e = rng.normal(size=(40, 3))
    e -= 0.8 * e.mean(axis=1, keepdims=True)
    data = pd.DataFrame({"y": e.ravel(), "id": np.repeat(np.arange(40), 3), "v": np.tile([1, 2, 3], 40)})
    fit = Model("y ~ 1", data, residual="homcs(v | id)").fit()
    assert -0.5 < fit.parameters.loc["rho(v | id)", "estimate"] < -0.2


def test_weights_alone_are_prior_weights() -> None:
    data = SLEEP.assign(w=1.0 + SLEEP.index % 3, same="a", h=np.where(SLEEP.index % 2, "a", "b"))
    plain = Model("Reaction ~ Days + (Days | Subject)", data, weights="w").fit()
    strata = Model("Reaction ~ Days + (Days | Subject)", data, weights="w", residual="het(h)").fit()
    assert strata.loglik >= plain.loglik - 1e-9
    ratio = (strata.parameters.loc["sigma(h[b])", "estimate"] / strata.sigma) ** -2
    fixed = data.assign(w=data.w * np.where(data.h == "b", ratio, 1.0))
    again = Model("Reaction ~ Days + (Days | Subject)", fixed, weights="w").fit()
    assert again.loglik == pytest.approx(strata.loglik, abs=1e-7)
    assert again.sigma == pytest.approx(strata.sigma, rel=1e-6)


WORKS = {
    "aic", "anova", "bic", "coefficients", "confounded", "convergence", "design", "factors", "fitted", "fixed_effects", "glance",
    "is_singular", "known_sigma", "labels", "loglik", "method", "n", "n_parameters", "other_maxima", "parameter_table",
    "parameters", "predict", "principal_components", "random_effects", "residuals", "sigma", "singular_directions",
    "status", "summary", "theta", "tidy",
}  # fmt: skip
ARGUMENTS = {"test": ("Days = 0",), "boundary": ("sd(Intercept | Subject)",)}


def test_every_method_of_a_fit_works_or_refuses_with_a_sentence(fit: Fit) -> None:
    for name in [name for name in dir(fit) if not name.startswith("_")]:
        if name in WORKS | {"test", "problem", "estimate"}:
            value = getattr(fit, name)
            if callable(value):
                value(*ARGUMENTS.get(name, ()))
            continue
        with pytest.raises(ArgumentError, match="is not available for a model with residual="):
            getattr(fit, name)(*(("x.nc",) if name == "save" else ARGUMENTS.get(name, ())))


def test_choices_that_take_independent_residuals_are_refused(fit: Fit) -> None:
    refused = [
        lambda: fit.random_effects(uncertainty="full"),
        lambda: fit.coef(),
        lambda: fit.predict(interval="confidence"),
        lambda: fit.residuals("cholesky"),
        lambda: bmm.shrinkage(fit),
        lambda: bmm.ranking(fit, "Subject"),
        lambda: bmm.effect_uncertainty(fit),
        lambda: bmm.power(fit, test="Days"),
        lambda: bmm.report(fit),
    ]
    for ask in refused:
        with pytest.raises(ArgumentError, match="residual="):
            ask()


def test_model_refuses_to_sample() -> None:
    model = Model(FORMULA, SLEEP, residual="ar1(Days | Subject)")
    for ask in (model.sample, model.prior_predictive, model.program, model.plot_priors, lambda: model.priors):
        with pytest.raises(ArgumentError, match="residual="):
            ask()


def test_residuals_scaled_by_the_root_of_their_covariance_are_uncorrelated() -> None:
    fit = Model(FORMULA, SLEEP, residual="us(Days | Subject)").fit("ml")
    e = fit.residuals("cholesky").reshape(18, 10)
    X = np.column_stack([np.ones(10), np.arange(10)])
    R = (fit.residuals("response").reshape(18, 10).T @ fit.residuals("response").reshape(18, 10)) / 18
    # Maximum likelihood of complete data makes Σ the mean product of residuals, so that scaled ones have exactly I.
    assert e.T @ e / 18 == pytest.approx(np.eye(10), abs=1e-6)
    estimates = fit.parameters["estimate"]
    sds = np.append(fit.sigma, estimates[[f"sigma(Days[{t}])" for t in range(1, 10)]])
    assert sds == pytest.approx(np.sqrt(np.diag(R)), rel=1e-6)
    pearson = fit.residuals("pearson").reshape(18, 10)
    assert (pearson**2).mean(axis=0) == pytest.approx(np.ones(10), rel=1e-6)
    standardised = fit.residuals("standardised").reshape(18, 10)
    leverage = np.einsum("ti,ij,tj->t", X, fit.estimate.beta_covariance, X)
    assert standardised == pytest.approx(pearson * sds / np.sqrt(sds**2 - leverage), rel=1e-9)
