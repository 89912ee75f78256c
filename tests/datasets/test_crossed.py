import numpy as np
import pytest

from bayesmm.datasets import simulate_crossed
from bayesmm.errors import DatasetError


def test_formula_and_truth_have_slopes_where_a_pair_was_given():
    simulation = simulate_crossed(
        {"subject": 30, "item": 20},
        sds={"subject": (80, 20), "item": 40},
        correlations={"subject": 0.4},
        sigma=120,
        intercept=600,
        condition_effect=30,
    )
    assert simulation.formula == "y ~ 1 + condition + (1 + condition | subject) + (1 | item)"
    assert dict(simulation.parameters) == {
        "Intercept": 600,
        "condition": 30,
        "sd(Intercept | subject)": 80,
        "sd(condition | subject)": 20,
        "cor(Intercept, condition | subject)": 0.4,
        "sd(Intercept | item)": 40,
        "sigma": 120,
    }
    assert len(simulation.data) == 600


def test_without_condition_there_are_intercepts_only():
    simulation = simulate_crossed(
        {"rater": 5, "essay": 7, "day": 3}, sds={"rater": 1, "essay": 2, "day": 0}, response="mark"
    )
    assert simulation.formula == "mark ~ 1 + (1 | rater) + (1 | essay) + (1 | day)"
    assert list(simulation.data.columns) == ["rater", "essay", "day", "mark"]
    assert len(simulation.data) == 5 * 7 * 3


def test_every_level_of_every_factor_meets_both_conditions():
    data = simulate_crossed({"a": 4, "b": 3}, sds={"a": 1, "b": 1}, condition_effect=0).data
    for factor in ("a", "b"):
        assert (data.groupby(factor, observed=True)["condition"].nunique() == 2).all()


def test_repeats_of_one_combination_alternate_conditions():
    data = simulate_crossed({"a": 4, "b": 3}, sds={"a": 1, "b": 1}, condition_effect=0, repeats=2).data
    assert (data.groupby(["a", "b"], observed=True)["condition"].agg(["size", "nunique"]) == 2).all().all()


def test_response_is_mean_plus_effects_plus_noise_of_the_chosen_size():
    simulation = simulate_crossed(
        {"a": 300, "b": 40},
        sds={"a": (3, 2), "b": 1},
        correlations={"a": -0.6},
        sigma=0.5,
        intercept=10,
        condition_effect=4,
        seed=2,
    )
    effects = simulation.random_effects.set_index(["group", "effect", "level"])["value"].sort_index()
    data = simulation.data.astype({"a": str, "b": str})
    c = data["condition"]
    mean = 10 + 4 * c + effects["a", "Intercept"].loc[data["a"]].array + effects["b", "Intercept"].loc[data["b"]].array
    noise = data["y"] - mean - c * effects["a", "condition"].loc[data["a"]].array
    assert np.std(noise) == pytest.approx(0.5, rel=0.03)
    drawn = np.column_stack([effects["a", "Intercept"], effects["a", "condition"]])
    assert drawn.std(axis=0) == pytest.approx([3, 2], rel=0.1)
    assert np.corrcoef(drawn.T)[0, 1] == pytest.approx(-0.6, abs=0.1)


def test_share_observed_keeps_a_part_of_the_rows_and_levels_that_occur():
    simulation = simulate_crossed({"a": 40, "b": 40}, sds={"a": 1, "b": 1}, share_observed=0.05, seed=5)
    assert 40 < len(simulation.data) < 120
    assert set(simulation.data["a"].cat.categories) == set(simulation.data["a"])


def test_correlation_of_a_zero_spread_is_undefined():
    simulation = simulate_crossed({"a": 4, "b": 3}, sds={"a": (1, 0), "b": 1}, condition_effect=0)
    assert np.isnan(simulation.parameters["cor(Intercept, condition | a)"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": {"a": 4}}, "give two or more crossed factors"),
        ({"groups": {"a": 4, "b": 1}}, r"groups\['b'\] is 1; give a whole number of at least 2"),
        (
            {"groups": {"a": 4, "condition": 3}, "sds": {"a": 1, "condition": 1}},
            "which another column is called already",
        ),
        ({"response": "condition"}, "response is 'condition', which another column is called already"),
        ({"sds": {"a": (1, 1), "b": 1}}, "asks for slopes, but condition_effect is None"),
        ({"sds": {"a": (1, 1, 1), "b": 1}}, "give one standard deviation, or a pair"),
        ({"sds": {"a": "wide", "b": 1}}, r"sds\['a'\] is 'wide'; give a finite number"),
        ({"correlations": {"a": 0.5}}, r"correlations\['a'\] is 0.5, but sds\['a'\] has no slope"),
        ({"correlations": {"a": 1.5}}, "give a number from -1 to 1"),
        ({"correlations": {"c": 0.5}}, "correlations has no group 'c'; the groups are a, b"),
        ({"share_observed": 0.0}, "share_observed is 0, which leaves 0 observations"),
        ({"repeats": 0}, "repeats is 0"),
    ],
)
def test_impossible_requests_are_refused(change, message):
    arguments = {"groups": {"a": 4, "b": 3}, "sds": {"a": 1, "b": 1}} | change
    with pytest.raises(DatasetError, match=message):
        simulate_crossed(arguments.pop("groups"), **arguments)
