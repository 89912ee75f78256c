"""R's mmrm on a trial with missing visits: likelihood, covariance, degrees of freedom, means, and the oracle's corrections."""

import inspect
import json

import numpy as np
import pandas as pd
import pytest
from reference_data import REFERENCE, load_data
from residual_cases import ResidualCase

import bayesmm as bmm

HAS_RESIDUALS = "residual" in inspect.signature(bmm.Model).parameters
ENTRIES = json.loads((REFERENCE / "residual" / "mmrm_sim_trial.json").read_text(encoding="utf-8"))["models"]
DEVIANCE = 2e-5  # mmrm's optimiser stops up to 1e-5 above the minimum
BY_ARM = 2e-4  # the same of twice as many parameters; ours is the lower one
RELATIVE = 1e-3  # and so its parameters are good to about this
ESTIMATE = 2e-3  # of standard errors


def trial():
    frame = load_data("sim_trial")
    return frame.assign(w=1.0 + (frame["number"] % 3) / 2.0)


@pytest.fixture(name="fit", scope="module")
def fitted():
    """Fit an entry, or skip it where there is no such model."""
    if not HAS_RESIDUALS:
        pytest.skip("Model has no residual= yet")

    def fit(entry):
        residual = entry["residual"]
        if "by" in entry:
            residual = f"{residual[:-1]}, by={entry['by']})"
        model = bmm.Model(f"y ~ {entry['fixed']}", trial(), residual=residual, weights=entry.get("weights"))
        return model.fit(method=entry["method"])

    return fit


def by_id(*ids):
    return [pytest.param(entry, id=entry["id"]) for entry in ENTRIES if not ids or entry["id"] in ids]


@pytest.mark.parametrize("entry", by_id())
def test_estimates_and_satterthwaite_are_those_of_mmrm(fit, entry):
    found = fit(entry)
    stopped = BY_ARM if "by" in entry else DEVIANCE
    assert -stopped < -2.0 * found.loglik - entry["deviance"] < DEVIANCE
    table = found.coefficients(df="satterthwaite")
    expected = pd.DataFrame({name: entry[name] for name in ("estimate", "se", "satterthwaite")}).loc[table.index]
    apart = (table["estimate"] - expected["estimate"]) / expected["se"]
    assert apart.abs().max() < (2.0 * ESTIMATE if "by" in entry else ESTIMATE)
    assert table["std_error"].to_numpy() == pytest.approx(expected["se"].to_numpy(), rel=RELATIVE)
    assert table["df"].to_numpy() == pytest.approx(expected["satterthwaite"].to_numpy(), rel=5 * RELATIVE)


@pytest.mark.parametrize("entry", by_id("us_reml", "ar1_reml", "toep_reml"))
def test_means_and_contrasts_of_arms_are_those_of_mmrm(fit, entry):
    means = bmm.emmeans(fit(entry), "arm", by="visit")
    table = means.table.reset_index().set_index(["arm", "visit"])
    expected = pd.DataFrame(entry["means"]).set_index(["arm", "visit"]).loc[table.index]
    for ours, theirs in (("estimate", "estimate"), ("std_error", "se"), ("df", "df")):
        assert table[ours].to_numpy() == pytest.approx(expected[theirs].to_numpy(), rel=5 * RELATIVE)


def corrected(entry):
    return "kenward_roger_linear" in entry and "by" not in entry


@pytest.mark.parametrize("entry", [param for param in by_id() if corrected(param.values[0])])
def test_degrees_of_freedom_by_kenward_and_roger_are_those_of_mmrm(fit, entry):
    """By the observed information; a standard error also where nothing is curved: mmrm takes other parameters."""
    found = fit(entry)
    table = found.coefficients(df="kenward-roger", information="observed")
    expected = pd.DataFrame({name: entry["kenward_roger_linear"][name] for name in ("se", "df")}).loc[table.index]
    assert table["df"].to_numpy() == pytest.approx(expected["df"].to_numpy(), rel=5 * RELATIVE)
    if entry["id"].startswith(("us_", "homcs_", "homtoep_")):
        assert table["std_error"].to_numpy() == pytest.approx(expected["se"].to_numpy(), rel=RELATIVE)
        names = list(table.index)
        L = np.eye(len(names))[["arm[T.active]:" in name for name in names]]
        joint = found.test(L, df="kenward-roger", information="observed").joint
        theirs = entry["kenward_roger_linear"]["interaction"]
        assert joint.statistic == pytest.approx(theirs["F"], rel=5 * RELATIVE)
        assert joint.den_df == pytest.approx(theirs["den_df"], rel=5 * RELATIVE)


@pytest.mark.parametrize("entry", by_id("homcs_reml", "ar1_reml", "car1_reml", "hetar1_reml"))
def test_oracle_has_the_linear_correction_of_mmrm(entry):
    """Without second derivatives Kenward and Roger's covariance does not depend on the parameters at a maximum."""
    frame = trial()
    names = list(entry["estimate"])
    X = np.column_stack([_column(frame, name) for name in names])
    case = ResidualCase(frame=frame, fixed="", residual=entry["residual"], y=frame["y"].to_numpy(), X=X)
    model, start = case.model("reml")
    here = model.at(model.maximise(start))
    adjusted = np.sqrt(np.diag(here.kenward_roger_covariance("observed", linear=True)))
    expected = entry["kenward_roger_linear"]
    assert adjusted == pytest.approx(np.array([expected["se"][name] for name in names]), rel=RELATIVE)
    df = [here.satterthwaite(row, "observed") for row in np.eye(len(names))]
    assert df == pytest.approx([expected["df"][name] for name in names], rel=5 * RELATIVE)


def _column(frame, name):
    """A coefficient's column: products of indicators and numbers."""
    column = np.ones(len(frame))
    for part in name.split(":"):
        if part == "base":
            column = column * frame["base"].to_numpy()
        elif part != "Intercept":
            factor, level = part.rstrip("]").split("[T.")
            column = column * (frame[factor] == level).to_numpy(dtype=float)
    return column
