"""Posteriors against deterministic quadrature: every entry of `tests/reference/bayes_exact.json`, by every method."""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import bayesmm as bmm
from bayesmm.priors import LKJ, HalfCauchy, HalfNormal, Normal

EXACT = {
    entry["id"]: entry
    for entry in json.loads((Path(__file__).parents[1] / "reference" / "bayes_exact.json").read_text())["models"]
}
ERRORS = 5.0  # Monte Carlo standard errors; some sixty comparisons a program, fixed seed
EXACTLY = 1e-3  # posterior standard deviations: quantiles are interpolated
SD_ERROR = 0.12  # relative; posteriors of spreads have heavy tails, whose sd converges slowly


MODELS = {
    "eight_schools_flat": ("y ~ 1 + (1 | school)", "eight_schools", "flat"),
    "eight_schools_half_cauchy5": (
        "y ~ 1 + (1 | school)",
        "eight_schools",
        {"Intercept": Normal(0, 5), "sd": HalfCauchy(5)},
    ),
    "dyestuff_weak": (
        "Yield ~ 1 + (1 | Batch)",
        "dyestuff",
        {"Intercept": Normal(1500, 250), "sd": HalfNormal(100), "sigma": HalfNormal(100)},
    ),
    "dyestuff2_half_normal": (
        "Yield ~ 1 + (1 | Batch)",
        "dyestuff2",
        {"Intercept": Normal(5, 10), "sd": HalfNormal(3), "sigma": HalfNormal(10)},
    ),
    "sleepstudy_ri": (
        "Reaction ~ Days + (1 | Subject)",
        "sleepstudy",
        {"Intercept": Normal(250, 100), "Days": Normal(0, 50), "sd": HalfNormal(100), "sigma": HalfNormal(100)},
    ),
    "sleepstudy_corr_lkj2": (
        "Reaction ~ Days + (Days | Subject)",
        "sleepstudy",
        {
            "Intercept": Normal(250, 100),
            "Days": Normal(0, 50),
            "sd(Intercept | Subject)": HalfNormal(100),
            "sd(Days | Subject)": HalfNormal(50),
            "cor": LKJ(2),
            "sigma": HalfNormal(100),
        },
    ),
}


def model_of(name: str) -> bmm.Model:
    formula, data, priors = MODELS[name]
    known = {"weights": "1 / sigma**2", "sigma": 1.0} if data == "eight_schools" else {}
    return bmm.Model(formula, bmm.datasets.load(data), priors=priors, **known)


@cache
def independent(name: str, method: str):
    return model_of(name).sample(draws=1500, seed=11, method=method)


def draws_by_reference_name(posterior) -> dict[str, np.ndarray]:
    block = posterior.labels.blocks[0]
    effects = posterior.effects[0]
    named = {label: posterior.beta[..., i] for i, label in enumerate(posterior.labels.coefficients)}
    named |= {"mu": posterior.beta[..., 0], "slope": posterior.beta[..., -1], "sigma": posterior.sigma}
    sds = posterior.draws(block.sd_variable)
    named |= {"tau": sds[..., 0], f"sd_{block.group}": sds[..., 0]}
    named |= {f"sd_{effect}": sds[..., i] for i, effect in enumerate(block.effects)}
    if block.cors:
        named["corr"] = posterior.draws(block.cor_variable)[..., 0]
    for i, level in enumerate(block.levels):
        named[f"b[{level}]"] = effects[..., i, 0]
        named[f"theta[{level}]"] = posterior.beta[..., 0] + effects[..., i, 0]
    return named


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:[0-9]+ of [0-9]+ trajectories diverged")  # the conditional program's, few here
@pytest.mark.parametrize("program", ["marginal", "conditional"])
@pytest.mark.parametrize("name", list(EXACT))
def test_nuts_agrees_with_quadrature(name: str, program: str) -> None:
    check_draws(name, model_of(name).sample(draws=1500, tune=700, seed=11, program=program, target_accept=0.95))


@pytest.mark.parametrize("method", ["importance", "quadrature"])
@pytest.mark.parametrize("name", list(EXACT))
def test_independent_draws_agree_with_quadrature(name: str, method: str) -> None:
    posterior = independent(name, method)
    assert posterior.method == method
    assert posterior.diagnostics.is_good
    check_draws(name, posterior)


@pytest.mark.parametrize("name", list(EXACT))
def test_importance_sampling_estimates_the_evidence(name: str) -> None:
    posterior = independent(name, "importance")
    stats = posterior.data["sample_stats"].attrs
    error = np.sqrt((1.0 / stats["efficiency"] - 1.0) / stats["proposals"])
    assert posterior.log_evidence == pytest.approx(EXACT[name]["log_marginal_likelihood"], abs=4.0 * error)


@pytest.mark.parametrize("name", list(EXACT))
def test_quadrature_has_no_monte_carlo_error(name: str) -> None:
    posterior = independent(name, "quadrature")
    assert posterior.log_evidence == pytest.approx(EXACT[name]["log_marginal_likelihood"], abs=1e-5)
    table, effects = posterior.parameters, posterior.random_effects()
    block = posterior.labels.blocks[0]
    first = {"mu": posterior.labels.coefficients[0], "slope": posterior.labels.coefficients[-1]}
    first |= {"tau": block.sd_rows[0], f"sd_{block.group}": block.sd_rows[0]}
    first |= {f"sd_{effect}": row for effect, row in zip(block.effects, block.sd_rows, strict=True)}
    if block.cors:
        first["corr"] = block.cor_rows[0]
    for parameter, expected in EXACT[name]["parameters"].items():
        if parameter.startswith("theta"):
            continue  # a sum of two rows
        if parameter.startswith("b["):
            own = effects[(effects["level"] == parameter[2:-1]) & (effects["effect"] == "Intercept")].iloc[0]
        else:
            own = table.loc[first.get(parameter, parameter)]
        limits = [expected["quantiles"][0], expected["quantiles"][-1]]
        found = np.array([own["mean"], own["sd"], own["lower"], own["upper"]], dtype=float)
        np.testing.assert_allclose(
            found, [expected["mean"], expected["sd"], *limits], rtol=0, atol=EXACTLY * expected["sd"], err_msg=parameter
        )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:[0-9]+ of [0-9]+ trajectories diverged")
@pytest.mark.parametrize(
    ("name", "degree"), [("eight_schools_half_cauchy5", 0.2), ("dyestuff_weak", 0.5), ("sleepstudy_corr_lkj2", 0.6)]
)
def test_partly_centred_posterior_agrees_with_quadrature(name: str, degree: float) -> None:
    posterior = model_of(name).sample(
        draws=1500, tune=700, seed=12, program="conditional", parameterisation=degree, target_accept=0.98
    )
    check_draws(name, posterior)


def check_draws(name: str, posterior) -> None:
    from arviz_stats.base import array_stats

    draws = draws_by_reference_name(posterior)
    found = {}
    for parameter, expected in EXACT[name]["parameters"].items():
        values = draws[parameter]
        ess = float(array_stats.ess(values, method="mean", chain_axis=0, draw_axis=1))
        assert ess > 200, f"{parameter}: {ess:.0f} effective draws"
        shift = (values.mean() - expected["mean"]) / (expected["sd"] / np.sqrt(ess))
        scale = values.std() / expected["sd"]
        if abs(shift) > ERRORS or abs(scale - 1.0) > max(SD_ERROR, 4.0 / np.sqrt(ess)):
            found[parameter] = (values.mean(), expected["mean"], shift, scale)
    assert not found


@pytest.mark.slow
def test_eight_schools_has_its_known_moments() -> None:
    parameters = (
        model_of("eight_schools_half_cauchy5").sample(draws=4000, tune=700, seed=2, target_accept=0.95).parameters
    )
    for name, mean, sd in (("Intercept", 4.396821, 3.317704), ("sd(Intercept | school)", 3.597705, 3.219958)):
        row = parameters.loc[name]
        error = sd / np.sqrt(row["ess_bulk"])
        assert row["mean"] == pytest.approx(mean, abs=4.0 * error)
        assert row["sd"] == pytest.approx(sd, rel=0.08)
