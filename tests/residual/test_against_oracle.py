"""Fits with residual covariances against the dense oracle, on random designs nobody would draw by hand.

Visits are missing, rows are in no order, some groups have one row. The oracle maximises by itself; what the package says
at its own maximum must agree.
"""

import inspect
import warnings
from dataclasses import replace
from functools import cache
from itertools import compress

import numpy as np
import pandas as pd
import pytest
from residual_cases import ResidualCase

import bayesmm as bmm

HAS_RESIDUALS = "residual" in inspect.signature(bmm.Model).parameters
pytestmark = pytest.mark.skipif(not HAS_RESIDUALS, reason="Model has no residual= yet")
DEVIANCE = 1e-6  # both are maxima: second order in the parameters' error
ESTIMATE = 2e-5  # of standard errors; first order in it
INFERENCE = 2e-4  # of degrees of freedom: first order, times slopes

MANY = pytest.mark.slow  # parameters: the oracle takes seconds
STRUCTURES = [
    ("ar1(time | id)", ()),
    ("hetar1(time | id)", ()),
    ("car1(week | id)", ()),
    ("homcs(visit | id)", ()),
    ("cs(visit | id)", ()),
    ("us(visit | id)", ()),
    pytest.param("homus(visit | id)", (), marks=MANY),
    pytest.param("toep(visit | id)", (), marks=MANY),
    ("homtoep(visit | id)", ()),
    pytest.param("ad(visit | id)", (), marks=MANY),
    ("homad(visit | id)", ()),
    ("het(arm)", ()),
    ("power(week)", ()),
    ("exponential(week)", ()),
    ("ar1(time | id) * het(arm)", ()),
    ("car1(week | id) * power(week)", ()),
    pytest.param("us(visit | id) * het(arm)", (), marks=MANY),
    ("car1(week | id)", ("(1 | id)",)),
    ("ar1(time | id)", ("(1 | site)",)),
    ("homcs(visit | id)", ("(1 | site)",)),
    ("het(arm)", ("(1 | id)",)),
    ("power(week)", ("(1 | id)",)),
    ("ar1(time | id) * het(arm)", ("(1 | site)",)),
]


def random_case(residual, random, seed):
    """20 patients of 4 sites at up to three visits."""
    rng = np.random.default_rng(seed)
    weeks = np.array([1.0, 2.5, 6.0])
    by_site = np.repeat(rng.normal(scale=1.5, size=4), 5)
    rows = []
    for i in range(20):
        seen = rng.random(3) < 0.8
        seen[rng.integers(3)] = True
        if i % 9 == 0:
            seen = np.arange(3) == rng.integers(3)
        correlation = 0.2 + 0.8 * 0.75 ** np.abs(np.subtract.outer(weeks, weeks))
        sds = np.array([1.0, 1.3, 1.8]) * (1.0 if i % 2 else 1.4)
        errors = sds * (np.linalg.cholesky(correlation) @ rng.normal(size=3))
        for k in np.flatnonzero(seen):
            y = 3.0 + by_site[i] + 0.5 * weeks[k] * (i % 2) + errors[k] + 0.8 * rng.normal() * ("(" in str(random))
            rows.append((f"i{i:02d}", f"s{i // 5}", "ab"[i % 2], f"v{k}", k + 2, weeks[k], y))
    frame = pd.DataFrame(rows, columns=["id", "site", "arm", "visit", "time", "week", "y"])
    frame = frame.sample(frac=1.0, random_state=seed).reset_index(drop=True)
    for name in ("id", "site", "arm", "visit"):
        frame[name] = frame[name].astype("category")
    b, week = (frame["arm"] == "b").to_numpy(dtype=float), frame["week"].to_numpy()
    X = np.column_stack([np.ones(len(frame)), b, week, b * week])
    return ResidualCase(
        frame=frame, fixed="y ~ arm * week", residual=residual, y=frame["y"].to_numpy(), X=X, random=random
    )


def fit_case(case, method):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance of zero is an ordinary end here
        return bmm.Model(case.formula, case.frame, residual=case.residual).fit(method=method)


@cache
def random_case_at_maximum(residual, random, method):
    """A design, drawn from the names, and the oracle's maximum; a term whose variance would be negative is left out there."""
    case = random_case(residual, random, seed=sum(map(ord, residual)) + len(random))
    without = case
    while True:
        model, start = without.model(method)
        psi = model.maximise(start)
        negative = psi[: len(without.random)] <= 0.0
        if not negative.any():
            return case, model.at(psi)
        without = replace(without, random=tuple(compress(without.random, ~negative)))


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(("residual", "random"), STRUCTURES, ids=lambda value: str(value) or "none")
def test_fit_is_the_maximum_of_the_dense_likelihood(residual, random, method):
    case, here = random_case_at_maximum(residual, random, method)
    fit = fit_case(case, method)
    assert -2.0 * fit.loglik <= here.model.deviance(here.psi) + DEVIANCE
    assert -2.0 * fit.loglik == pytest.approx(here.model.deviance(here.psi), abs=DEVIANCE)
    table, se = fit.coefficients(df="normal"), np.sqrt(np.diag(here.covariance))
    assert table["estimate"].to_numpy() == pytest.approx(here.beta, abs=ESTIMATE * se.min())
    assert table["std_error"].to_numpy() == pytest.approx(se, rel=ESTIMATE)


@pytest.mark.parametrize("information", ["observed", "expected"])
@pytest.mark.parametrize(("residual", "random"), STRUCTURES, ids=lambda value: str(value) or "none")
def test_degrees_of_freedom_are_those_of_the_dense_covariance(residual, random, information):
    case, here = random_case_at_maximum(residual, random, "reml")
    fit = fit_case(case, "reml")
    contrasts = np.eye(4)
    satterthwaite = fit.coefficients(df="satterthwaite", information=information)
    assert satterthwaite["df"].to_numpy() == pytest.approx(
        [here.satterthwaite(row, information) for row in contrasts], rel=INFERENCE
    )
    kenward = fit.coefficients(df="kenward-roger", information=information)
    adjusted = here.kenward_roger_covariance(information)
    assert kenward["std_error"].to_numpy() == pytest.approx(np.sqrt(np.diag(adjusted)), rel=INFERENCE)
    assert kenward["df"].to_numpy() == pytest.approx(
        [here.kenward_roger(row, information).denominator for row in contrasts], rel=INFERENCE
    )
    joint = here.kenward_roger(contrasts[1:], information)
    found = fit.test(np.asarray(contrasts[1:]), df="kenward-roger", information=information)
    assert found.joint.statistic == pytest.approx(joint.F, rel=INFERENCE)
    assert found.joint.den_df == pytest.approx(joint.denominator, rel=INFERENCE)
