"""``residual="het(1)"``: one standard deviation of all residuals in the place of a sigma that is known."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from numpy.testing import assert_allclose
from oracle import DenseModel, block_diagonal, level_covariance, random_columns
from scipy.optimize import minimize

import bayesmm as bmm
from bayesmm.errors import DesignError, PriorError

SLEEP = bmm.datasets.load("sleepstudy")
GROWTH = bmm.datasets.load("orthodont")
AGES = [8, 10, 12, 14]
WALK = pd.DataFrame(0.3 * (np.minimum.outer(AGES, AGES) - 6.0), index=AGES, columns=AGES)
BESIDE = "distance ~ age * Sex + (1 | Subject) + equalto(0 + C(age) | Subject, V)"


def in_place(formula: str = "Reaction ~ Days + (Days | Subject)", sigma: float = 20.0, **how) -> bmm.Model:
    return bmm.Model(formula, SLEEP, sigma=sigma, residual="het(1)", **how)


@pytest.fixture(scope="module")
def fits() -> list[bmm.fit.Fit]:
    return [bmm.Model("Reaction ~ Days + (Days | Subject)", SLEEP).fit(), in_place().fit()]


def renamed(table: pd.DataFrame) -> pd.DataFrame:
    return table.rename(index={"sigma(1)": "sigma"})


def test_it_is_the_model_whose_sigma_is_estimated(fits) -> None:
    usual, other = fits
    assert_allclose(other.loglik, usual.loglik, atol=1e-8)
    assert other.n_parameters == usual.n_parameters
    numbers = ["estimate", "std_error", "lower", "upper"]
    assert_allclose(
        renamed(other.parameters).loc[usual.parameters.index, numbers], usual.parameters[numbers], rtol=1e-4
    )
    for df in ("satterthwaite", "kenward-roger"):
        one, two = (each.coefficients(df=df)[["estimate", "std_error", "df"]] for each in fits)
        assert_allclose(two, one, rtol=1e-4)
    assert_allclose(
        other.random_effects(uncertainty="full")["std_error"],
        usual.random_effects(uncertainty="full")["std_error"],
        rtol=1e-3,
    )
    new = pd.DataFrame({"Days": [0, 12], "Subject": ["308", "308"]})
    one, two = (each.predict(new, interval="prediction") for each in fits)
    assert_allclose(two, one, rtol=1e-3)
    assert_allclose(other.explained().table["estimate"], usual.explained().table["estimate"], rtol=1e-5)


@pytest.mark.parametrize("sigma", [0.5, 1000.0])
def test_number_given_as_sigma_does_not_matter(fits, sigma) -> None:
    found = in_place(sigma=sigma).fit()
    assert_allclose(found.loglik, fits[1].loglik, atol=1e-7)
    assert_allclose(found.parameters["estimate"], fits[1].parameters["estimate"], rtol=1e-4)


def test_profile_is_that_of_sigma(fits) -> None:
    one, two = (each.profile(progress=False).intervals(0.95)[["lower", "upper"]] for each in fits)
    assert_allclose(renamed(two).loc[one.index], one, rtol=1e-3)


def test_it_is_shown_as_that_of_the_residuals(fits) -> None:
    other = fits[1]
    tables = [str(each).split("Random effects")[1].split("Fixed effects")[0] for each in fits]
    assert tables[0] == tables[1]
    assert "known" not in str(other)
    rows = [re.findall(r"σ² +([\d.]+)", str(bmm.publication_table(each))) for each in fits]
    assert rows[0] == rows[1]
    assert other.labels.residual_sds == ("sigma(1)",)


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_beside_a_covariance_that_is_known_with_its_scale(method) -> None:
    found = bmm.Model(BESIDE, GROWTH, relations={"V": WALK}, sigma=1.0, residual="het(1)").fit(method)
    codes, _ = pd.factorize(GROWTH["Subject"], sort=True)
    male, age = (GROWTH["Sex"] == "Male").to_numpy(float), GROWTH["age"].to_numpy(float)
    Z = [random_columns(codes, np.ones((108, 1)), 27), random_columns(codes, (age[:, None] == AGES).astype(float), 27)]
    dense = DenseModel(
        y=GROWTH["distance"].to_numpy(),
        X=np.column_stack([np.ones(108), age, male, age * male]),
        Z=np.column_stack(Z),
    )
    V = level_covariance(WALK.to_numpy(), 27)

    def loss(logs: np.ndarray) -> float:
        G = block_diagonal([np.exp(2.0 * logs[0]) * np.eye(27), V])
        return -dense.log_likelihood(G, float(np.exp(logs[1])), method)

    best = minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-6})
    assert_allclose(found.loglik, -best.fun, atol=1e-8)
    names = ["sd(Intercept | Subject)", "sigma(1)"]
    assert_allclose(found.parameters.loc[names, "estimate"], np.exp(best.x), rtol=1e-5)
    steps = np.eye(2) * 1e-3
    second = [
        [
            (loss(best.x + a + b) - loss(best.x + a - b) - loss(best.x - a + b) + loss(best.x - a - b)) / 4e-6
            for a in steps
        ]
        for b in steps
    ]
    errors = np.sqrt(np.diag(np.linalg.inv(second))) * np.exp(best.x)
    assert_allclose(found.parameters.loc[names, "std_error"], errors, rtol=1e-3)
    if method == "reml":
        tests = found.variance_tests().table
        assert_allclose(tests.loc[names[0], "statistic"], 2.0 * (_without(dense, V) * -1.0 + -best.fun), rtol=1e-4)


def _without(dense: DenseModel, V: np.ndarray) -> float:
    """Highest restricted log-likelihood without the intercepts of the levels."""
    G = [block_diagonal([np.zeros((27, 27)), V])] * 2
    found = minimize(lambda s: -dense.log_likelihood(G[0], float(np.exp(s[0])), "reml"), [0.0], options={"gtol": 1e-6})
    return -found.fun


def test_posterior_has_the_same_density() -> None:
    model = bmm.Model(BESIDE, GROWTH, relations={"V": WALK}, sigma=1.0, residual="het(1)")
    found = model.check_identity()
    assert abs(found.gap) < 1e-8
    assert (found.slopes.abs() < 1e-3).all()
    difference = found.points["difference"]
    assert_allclose(difference, difference.iloc[0], atol=1e-8)


def test_nothing_that_is_printed_calls_it_fixed() -> None:
    model, said = in_place(), "sigma(1) is the residual standard deviation, in the place of sigma = 20"
    for shown in (model.priors, make_posterior(model).summary()):
        assert said in " ".join(str(shown).split())
        assert "fixed at" not in str(shown)
    with pytest.raises(PriorError, match=r"'sigma\(1\)' is the residual standard deviation"):
        str(in_place(priors={"sigma": bmm.priors.HalfNormal(3.0)}).priors)
    known = bmm.Model("Reaction ~ Days + (Days | Subject)", SLEEP, sigma=20.0)
    assert "sigma is fixed at 20" in str(make_posterior(known).summary())


def test_without_a_known_sigma_it_says_what_to_write() -> None:
    with pytest.raises(DesignError, match="which sigma is already: leave it out, or give a sigma"):
        bmm.Model("Reaction ~ Days", SLEEP, residual="het(1)")
