"""What all simulators promise."""

import pandas as pd
import pytest

from bayesmm import Model
from bayesmm.datasets import simulate_crossed, simulate_dyads, simulate_longitudinal, simulate_nested
from bayesmm.design import build_design
from bayesmm.specification import parse_formula

SIMULATIONS = {
    "nested": lambda seed: simulate_nested({"school": 12, "room": 3}, sds={"school": 2, "room": 1.0}, seed=seed),
    "crossed": lambda seed: simulate_crossed(
        {"subject": 12, "item": 8},
        sds={"subject": (2, 1), "item": 1},
        condition_effect=3,
        share_observed=0.8,
        seed=seed,
    ),
    "longitudinal": lambda seed: simulate_longitudinal(
        30, slope=1, treatment_effect=2, dropout=0.1, missed=0.1, seed=seed
    ),
    "dyads": lambda seed: simulate_dyads(12, share_observed=0.7, repeats=2, seed=seed),
}


@pytest.fixture(params=list(SIMULATIONS))
def simulate(request):
    return SIMULATIONS[request.param]


def test_seed_reproduces_and_another_seed_differs(simulate):
    first, again, other = simulate(1), simulate(1), simulate(2)
    pd.testing.assert_frame_equal(first.data, again.data)
    pd.testing.assert_frame_equal(first.random_effects, again.random_effects)
    assert not first.random_effects["value"].equals(other.random_effects["value"])


def test_random_effects_are_tidy_and_of_levels_in_the_data(simulate):
    simulation = simulate(1)
    effects = simulation.random_effects
    assert list(effects.columns) == ["group", "level", "effect", "value"]
    assert not effects.duplicated(["group", "level", "effect"]).any()
    for group, rows in effects.groupby("group"):
        if group.startswith("dyad"):
            levels = simulation.data[["sender", "receiver"]].to_numpy().ravel()
        else:
            levels = simulation.data[group.split(":")].astype(str).agg(":".join, axis=1)
        assert set(rows["level"]) == set(levels)


def test_summary_prints_counts_formula_and_truth(simulate):
    simulation = simulate(1)
    text = str(simulation)
    assert f"{len(simulation.data)} rows (" in text
    assert simulation.formula in " ".join(text.split())
    assert "sigma" in text.splitlines()[-1]
    assert repr(simulation) == text
    assert simulation.formula in simulation._repr_html_()


def test_truth_has_sigma_last_and_a_row_for_each_sd(simulate):
    truth = simulate(1).parameters
    assert truth.index[-1] == "sigma"
    assert truth.name == "truth"
    assert sum(name.startswith("sd(") for name in truth.index) >= 2


def test_truth_and_results_share_their_names(simulate):
    simulation = simulate(1)
    design = build_design(parse_formula(simulation.formula), simulation.data)
    assert [row.name for row in design.labels.parameter_rows()] == list(simulation.parameters.index)
    named = {
        (block.group, level, effect) for block in design.blocks for level in block.levels for effect in block.effects
    }
    effects = simulation.random_effects
    assert set(zip(effects["group"], effects["level"], effects["effect"], strict=True)) == named


def test_fit_recovers_the_truth_within_four_standard_errors(simulate):
    simulation = simulate(1)
    found = Model(simulation.formula, simulation.data).fit().parameters
    errors = (found["estimate"] - simulation.parameters) / found["std_error"]
    assert (errors.dropna().abs() < 4).all()
    assert errors.notna().sum() >= 4
