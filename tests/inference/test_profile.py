"""Profile likelihood against roots of lme4's profiled deviance, dense likelihoods and formulas of textbooks."""

import re

import pytest
from reference_models import ReferenceModel, reference_models
from reference_names import canonical_effect, canonical_group

from bayesmm import Model

END = 1e-4  # of the width of the interval: both are roots of the same function
SPLINE = 1e-3  # the same, for ends that lme4 interpolates

PROFILED = [model for model in reference_models()[0] if (model.entry.get("ci_profile_95") or {}).get("direct")]


def row_of(name: str) -> tuple[str, ...]:
    """Read lme4's name of a parameter."""
    if name == "sigma":
        return ("sigma",)
    if match := re.fullmatch(r"sd_(.*)\|(.*)", name):
        return ("sd", canonical_effect(effect_of(match[1])), canonical_group(match[2]))
    if match := re.fullmatch(r"cor_(.*)\.(\(Intercept\)|\w+)\|(.*)", name):
        return ("cor", *sorted((effect_of(match[1]), effect_of(match[2]))), canonical_group(match[3]))
    return ("fixed", effect_of(name))


def effect_of(name: str) -> str:
    return "Intercept" if name == "(Intercept)" else name


def own_row(name: str) -> tuple[str, ...]:
    """Read a name of the package."""
    if name == "sigma":
        return ("sigma",)
    if match := re.fullmatch(r"sd\((.*) \| (.*)\)", name):
        return ("sd", match[1], canonical_group(match[2]))
    if match := re.fullmatch(r"cor\((.*), (.*) \| (.*)\)", name):
        return ("cor", *sorted((match[1], match[2])), canonical_group(match[3]))
    return ("fixed", name)


@pytest.mark.parametrize("model", PROFILED, ids=lambda model: model.id)
def test_ends_are_the_roots_of_lme4s_profiled_deviance(model: ReferenceModel) -> None:
    fit = Model(model.formula, model.frame(), weights=model.weights).fit(method="ml")
    intervals = fit.profile().intervals().rename(index=own_row)
    expected = model.entry["ci_profile_95"]["direct"]
    for name, lower, upper in zip(*(expected[key] for key in ("parameters", "lower", "upper")), strict=True):
        row = intervals.loc[[row_of(name)]].iloc[0]
        assert abs(row["lower"] - lower) < END * (upper - lower), name
        assert abs(row["upper"] - upper) < END * (upper - lower), name
        assert (row["at_boundary"] == "lower") == (lower == 0.0), name
