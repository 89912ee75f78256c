"""SAS's published results on the data set of R's mmrm: the oracle first, then fits.

The table is not part of the repository: `BAYESMM_FEV_DATA` names a CSV file of it, without which these tests are skipped.
"""

import inspect
import json
import os
from functools import cache

import numpy as np
import pandas as pd
import pytest
from reference_data import REFERENCE
from residual_cases import ResidualCase

import bayesmm as bmm

PATH = os.environ.get("BAYESMM_FEV_DATA")
CONTENT = json.loads((REFERENCE / "residual" / "sas_fev_data.json").read_text(encoding="utf-8"))
HAS_RESIDUALS = "residual" in inspect.signature(bmm.Model).parameters
pytestmark = [
    pytest.mark.skipif(PATH is None, reason="BAYESMM_FEV_DATA names no file with the data set fev_data"),
    pytest.mark.skipif(not HAS_RESIDUALS, reason="Model has no residual= yet"),
]
DEVIANCE = 1e-5  # SAS's last step; its spatial power and compound symmetry stop a little earlier
PRINTED = 2e-3  # of figures printed with four digits
LOOSE = {"car1_ml": 2e-5, "car1_reml": 2e-5}
CONVERGED = 5e-4  # of degrees of freedom and their standard errors: how far SAS's iterations went
ROUNDED = 0.6  # of degrees of freedom printed without digits


@cache
def fev_data():
    """The 537 rows whose response is there."""
    frame = pd.read_csv(PATH).dropna(subset=["FEV1"]).reset_index(drop=True)
    levels = {"ARMCD": ["PBO", "TRT"], "AVISIT": [f"VIS{k}" for k in range(1, 5)], "SEX": ["Male", "Female"]}
    levels["RACE"] = ["Asian", "Black or African American", "White"]
    for column, known in levels.items():
        frame[column] = pd.Categorical(frame[column], categories=known)
    return frame


def case_of(entry):
    """The entry for the oracle."""
    frame, fixed = fev_data(), entry["fixed"]
    columns = [np.ones(len(frame))]
    if "ARMCD" in fixed:
        columns.append((frame["ARMCD"] == "TRT").to_numpy(dtype=float))
    if "SEX" in fixed:
        columns.append((frame["SEX"] == "Female").to_numpy(dtype=float))
    return ResidualCase(
        frame=frame,
        fixed=f"FEV1 ~ {fixed}",
        residual=entry["residual"],
        y=frame["FEV1"].to_numpy(),
        X=np.column_stack(columns),
        by=entry.get("by"),
        weights=frame[entry["weights"]].to_numpy() if "weights" in entry else None,
    )


def fit_of(entry):
    """The entry as a model; residuals with an own set of parameters in each arm are not in the grammar."""
    if "by" in entry:
        pytest.skip("residuals cannot have an own set of parameters in each level of a factor")
    model = bmm.Model(f"FEV1 ~ {entry['fixed']}", fev_data(), residual=entry["residual"], weights=entry.get("weights"))
    return model.fit(method=entry["method"])


def entries(key):
    return [pytest.param(entry, id=entry["id"]) for entry in CONTENT["models"] if key in entry]


@pytest.mark.parametrize("entry", entries("deviance"))
def test_likelihood_and_fixed_effects_are_those_of_sas(entry):
    fit = fit_of(entry)
    assert -2.0 * fit.loglik == pytest.approx(entry["deviance"], abs=LOOSE.get(entry["id"], DEVIANCE))
    table = fit.coefficients(df="satterthwaite")
    for name, estimate in entry.get("estimate", {}).items():
        assert table.loc[name, "estimate"] == pytest.approx(estimate, rel=1e-4, abs=PRINTED * table["std_error"].min())
    for name, se in entry.get("se", {}).items():
        assert table.loc[name, "std_error"] == pytest.approx(se, rel=PRINTED)
    for name, df in entry.get("satterthwaite", {}).items():
        assert table.loc[name, "df"] == pytest.approx(df, abs=ROUNDED)


@pytest.mark.parametrize("entry", entries("deviance"))
def test_oracle_has_the_likelihood_of_sas_at_its_estimates(entry):
    """At the printed parameters: four digits of them, eight of the deviance, which is flat there."""
    if "variances" not in entry or "estimate" not in entry:
        pytest.skip("no parameters of a small model are printed")
    model, start = case_of(entry).model(entry["method"])
    psi = printed_parameters(entry, start)
    assert model.deviance(psi) == pytest.approx(entry["deviance"], abs=2e-3)
    here = model.at(psi)
    assert here.beta[0] == pytest.approx(entry["estimate"]["Intercept"], rel=PRINTED)
    if "se" in entry:
        assert np.sqrt(here.covariance[0, 0]) == pytest.approx(entry["se"]["Intercept"], rel=PRINTED)


def printed_parameters(entry, start):
    structure = entry["residual"].split("(")[0]
    variances = np.atleast_2d(np.array(entry["variances"], dtype=float))
    variances = variances.T if variances.shape[0] == 1 and "by" in entry else variances
    if structure == "car1":
        return np.append(variances[0], np.sqrt(entry["correlation_at_distance_two"]))
    if "covariances_below_diagonal" in entry:  # Toeplitz: the first of each lag, as correlations
        lower, v = entry["covariances_below_diagonal"], variances[0]
        return np.append(v, [lower[k - 1] / np.sqrt(v[0] * v[k]) for k in (1, 2, 3)])
    rest = np.atleast_2d(np.array(entry.get("correlations", entry.get("covariances_by_lag")), dtype=float))
    if structure == "homcs" and "correlations" in entry:
        rest = rest * variances
    return np.hstack([variances, rest]).ravel()


@pytest.mark.parametrize("entry", entries("kenward_roger"))
def test_kenward_and_rogers_method_is_that_of_sas(entry):
    expected, fit = entry["kenward_roger"], fit_of(entry)
    row = fit.coefficients(df="kenward-roger", information="observed").loc[expected["coefficient"]]
    assert row["df"] == pytest.approx(expected["df"], rel=CONVERGED)
    assert row["std_error"] == pytest.approx(expected.get("se") or expected["se_linear"], rel=CONVERGED)


@pytest.mark.parametrize("entry", entries("intervals"))
def test_intervals_are_those_of_sas(entry):
    table = fit_of(entry).coefficients(df="satterthwaite")
    for name, limits in entry["intervals"].items():
        assert table.loc[name, ["lower", "upper"]].to_numpy(dtype=float) == pytest.approx(limits, abs=2e-3)


@pytest.mark.parametrize("entry", entries("means"))
def test_means_and_contrasts_are_those_of_sas(entry):
    fit = fit_of(entry)
    means = bmm.emmeans(fit, ["ARMCD", "AVISIT"])
    table = means.table.reset_index()
    for cell, expected in entry["means"].items():
        arm, visit = cell.split()
        row = table[(table["ARMCD"] == arm) & (table["AVISIT"] == visit)].iloc[0]
        assert row["estimate"] == pytest.approx(expected["estimate"], rel=PRINTED)
        assert row["std_error"] == pytest.approx(expected["se"], rel=PRINTED)
        if "df" in expected:
            assert row["df"] == pytest.approx(expected["df"], abs=ROUNDED)
    tests = fit.anova().table if "type_3" in entry else None
    for term, (df, den_df, F) in entry.get("type_3", {}).items():
        assert tests.loc[term, "num_df"] == df
        assert tests.loc[term, "statistic"] == pytest.approx(F, rel=PRINTED, abs=0.006)
        if df == 1:  # of several together, ours do not depend on the coding, SAS's do
            assert tests.loc[term, "den_df"] == pytest.approx(den_df, abs=ROUNDED)
