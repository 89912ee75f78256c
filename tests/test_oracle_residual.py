"""The oracle's residual covariances against nlme, whose estimates it is given."""

import json

import numpy as np
import pandas as pd
import pytest
from reference_data import REFERENCE, load_data
from residual_cases import ResidualCase, read_residual

DEVIANCE = 1e-6  # nlme's optimisers agree to 1e-8
RELATIVE = 1e-5  # its parameters are converged to about 1e-7 of themselves
ENTRIES = json.loads((REFERENCE / "residual" / "nlme_sim_trial.json").read_text(encoding="utf-8"))["models"]


def trial_columns(frame):
    """The columns of `y ~ base + arm * visit` and their names."""
    columns = {"Intercept": np.ones(len(frame)), "base": frame["base"].to_numpy()}
    active = (frame["arm"] == "active").to_numpy(dtype=float)
    columns["arm[T.active]"] = active
    visits = {f"visit[T.V{k}]": (frame["visit"] == f"V{k}").to_numpy(dtype=float) for k in range(2, 6)}
    columns |= visits | {f"arm[T.active]:{name}": active * column for name, column in visits.items()}
    return list(columns), np.column_stack(list(columns.values()))


def trial_case(entry):
    frame = load_data("sim_trial")
    names, X = trial_columns(frame)
    case = ResidualCase(
        frame=frame,
        fixed=entry["fixed"],
        residual=entry["residual"],
        y=frame["y"].to_numpy(),
        X=X,
        random=(entry["random"],) if entry.get("random") else (),
    )
    return case, names


def reference_parameters(entry):
    """ψ of an entry of nlme in the oracle's order: variances, correlations or covariances, ratios."""
    first, *others = read_residual(entry["residual"])
    variance = entry["sigma"] ** 2
    ratios = entry.get("variance_function", {})
    stacked = ratios if "A" in ratios or "B" in ratios else None
    by_visit = (stacked or {}).get("A", ratios)
    visits = variance * np.array([by_visit.get(f"V{k}", 1.0) for k in range(1, 6)]) ** 2
    matrix = np.array(entry.get("correlation_matrix", np.eye(5)))
    own = {
        "us": lambda: (
            np.append(visits, matrix[np.tril_indices(5, -1)])
            if others
            else (np.sqrt(np.outer(visits, visits)) * matrix)[np.tril_indices(5)]
        ),
        "homcs": lambda: variance * np.array([1.0, matrix[0, 1]]),
        "cs": lambda: np.append(visits, matrix[0, 1]),
        "ar1": lambda: np.array([variance, matrix[0, 1]]),
        "hetar1": lambda: np.append(visits, matrix[0, 1]),
        "car1": lambda: np.array([variance, matrix[0, 1]]),  # the first two visits are a week apart
        "power": lambda: np.array([variance, ratios["power"]]),
        "exponential": lambda: np.array([variance, ratios["expon"]]),
        "het": lambda: (
            visits if first.of == "visit" else variance * np.array([ratios["placebo"], ratios["active"]]) ** 2
        ),
    }[first.structure]()
    by_arm = (stacked or {}).get("B", ratios)
    rest = [
        np.array([ratios["power"]])
        if each.structure == "power"
        else np.array([by_arm["active"] / by_arm["placebo"]]) ** 2 * own[0]
        for each in others
    ]
    return np.concatenate([np.array(list(entry.get("random_sd", {}).values())) ** 2, own, *rest])


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["id"])
def test_residual_covariance_at_reference_parameters_gives_reference_values(entry):
    case, names = trial_case(entry)
    model, _ = case.model(entry["method"])
    psi = reference_parameters(entry)
    here = model.at(psi)
    assert model.deviance(psi) == pytest.approx(entry["deviance"], abs=DEVIANCE)
    estimates, se = pd.Series(entry["estimate"])[names], pd.Series(entry["se"])[names]
    assert here.beta == pytest.approx(estimates.to_numpy(), rel=RELATIVE, abs=RELATIVE * se.min())
    assert np.sqrt(np.diag(here.covariance)) == pytest.approx(se.to_numpy(), rel=RELATIVE)


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if "us(" not in entry["residual"]], ids=lambda e: e["id"])
def test_reference_parameters_are_a_maximum_of_the_oracle(entry):
    """What a step of scoring would gain there, −2 log likelihood: gradient and expected information."""
    model, _ = trial_case(entry)[0].model(entry["method"])
    here = model.at(reference_parameters(entry))
    gain = 0.5 * here.gradient @ np.linalg.solve(here.information("expected"), here.gradient)
    assert gain < DEVIANCE


@pytest.mark.parametrize("id", ["ar1_reml", "car1_ml", "car1_power_reml", "intercept_ar1_ml"])
def test_maximum_of_the_oracle_is_the_reference(id):
    entry = next(entry for entry in ENTRIES if entry["id"] == id)
    model, start = trial_case(entry)[0].model(entry["method"])
    assert model.deviance(model.maximise(start)) == pytest.approx(entry["deviance"], abs=DEVIANCE)


@pytest.fixture(name="small", params=["ar1(number | id)", "car1(week | id) * power(week)"])
def small_model(request):
    """Some rows of the trial; a start is no maximum."""
    frame = load_data("sim_trial").head(70)
    _, X = trial_columns(frame)
    return ResidualCase(
        frame=frame, fixed="", residual=request.param, y=frame["y"].to_numpy(), X=X, random=("(1 | id)",)
    )


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_gradient_and_observed_information_equal_differences(small, method):
    model, psi = small.model(method)
    here = model.at(psi)
    steps = np.diag(1e-4 * np.maximum(np.abs(psi), 0.1))
    slopes = [(model.deviance(psi + e) - model.deviance(psi - e)) / (2.0 * e.sum()) for e in steps]
    assert here.gradient == pytest.approx(np.array(slopes), rel=1e-6, abs=1e-6)
    bends = [(model.at(psi + e).gradient - model.at(psi - e).gradient) / (4.0 * e.sum()) for e in steps]
    assert here.information("observed") == pytest.approx(np.array(bends), rel=1e-5, abs=1e-7)


def test_satterthwaite_is_how_uncertain_the_variance_of_a_contrast_is(small):
    """2 v² / Var v with the slopes of v by differences of v itself."""
    model, psi = small.model("reml")
    contrast = np.linspace(-1.0, 1.0, model.X.shape[1])
    steps = np.diag(1e-4 * np.maximum(np.abs(psi), 0.1))
    variance = [[contrast @ model.at(psi + s * e).covariance @ contrast for s in (1.0, -1.0)] for e in steps]
    slopes = np.array([(up - down) / (2.0 * e.sum()) for (up, down), e in zip(variance, steps, strict=True)])
    here = model.at(psi)
    v = contrast @ here.covariance @ contrast
    expected = 2.0 * v**2 / (slopes @ np.linalg.inv(here.information("expected")) @ slopes)
    assert here.satterthwaite(contrast, "expected") == pytest.approx(expected, rel=1e-6)
    assert here.kenward_roger(contrast).denominator == pytest.approx(expected, rel=1e-8)


def test_kenward_roger_adds_the_curvature_of_the_covariance_of_least_squares(small):
    """Φ_A = Φ − ½ Σ W ∂²Φ + Λ, the bias of Φ at the estimates taken off and what the estimates add to the variance."""
    model, psi = small.model("reml")
    here, W = model.at(psi), model.at(psi).parameter_covariance("expected")
    steps = np.diag(1e-3 * np.maximum(np.abs(psi), 0.1))

    def second(e, f):
        corners = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1)]
        total = sum(sign * model.at(psi + a * e + b * f).covariance for a, b, sign in corners)
        return total / (4.0 * e.sum() * f.sum())

    def slope(e):
        return (model.at(psi + e).beta - model.at(psi - e).beta) / (2.0 * e.sum())

    bias = 0.5 * sum(W[i, j] * second(e, f) for i, e in enumerate(steps) for j, f in enumerate(steps))
    VX = here.inverse @ model.X
    gains = -np.einsum("cp,np,tnm,mk->tck", here.covariance, VX, here.first, here.projection)  # ∂β̂/∂ψ = gains y
    V = model.V(psi)
    added = np.einsum("st,sca,ab,tdb->cd", W, gains, V, gains)
    expected = here.covariance - bias + added
    assert here.kenward_roger_covariance() == pytest.approx(expected, rel=1e-5, abs=1e-6 * np.abs(expected).max())
    assert slope(steps[0]) == pytest.approx(gains[0] @ model.y, rel=1e-4, abs=1e-8)
