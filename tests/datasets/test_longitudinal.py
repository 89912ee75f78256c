import numpy as np
import pytest

from bayesmm.datasets import simulate_longitudinal
from bayesmm.errors import DatasetError


def test_two_arms_give_the_interaction_as_treatment_effect():
    simulation = simulate_longitudinal(
        10, intercept=100, slope=-2, treatment_effect=-0.5, sd_intercept=9, sd_slope=1, correlation=0.2, sigma=3
    )
    assert simulation.formula == "y ~ time * treatment + (time | subject)"
    assert dict(simulation.parameters) == {
        "Intercept": 100,
        "time": -2,
        "treatment[T.treated]": 0,
        "time:treatment[T.treated]": -0.5,
        "sd(Intercept | subject)": 9,
        "sd(time | subject)": 1,
        "cor(Intercept, time | subject)": 0.2,
        "sigma": 3,
    }
    assert list(simulation.data["treatment"].cat.categories) == ["control", "treated"]
    assert simulation.data.groupby("subject", observed=True)["treatment"].nunique().eq(1).all()
    assert simulation.data.drop_duplicates("subject")["treatment"].value_counts().to_list() == [5, 5]


def test_one_arm_has_no_treatment():
    simulation = simulate_longitudinal(8, subject="rat", response="weight", times=[8, 15, 22])
    assert simulation.formula == "weight ~ time + (time | rat)"
    assert list(simulation.data.columns) == ["rat", "time", "weight"]
    assert len(simulation.data) == 24


def test_no_slope_spread_gives_random_intercepts():
    simulation = simulate_longitudinal(8, sd_slope=None)
    assert simulation.formula == "y ~ time + (1 | subject)"
    assert list(simulation.parameters.index) == ["Intercept", "time", "sd(Intercept | subject)", "sigma"]


def test_response_is_mean_plus_effects_plus_noise_of_the_chosen_size():
    simulation = simulate_longitudinal(
        800,
        intercept=5,
        slope=2,
        treatment_effect=1,
        baseline_difference=-3,
        sd_intercept=2,
        sd_slope=0.7,
        correlation=0.8,
        sigma=0.3,
    )
    effects = simulation.random_effects.pivot(index="level", columns="effect", values="value")
    data = simulation.data
    b, t, treated = (
        effects.loc[data["subject"].astype(str)],
        data["time"].to_numpy(),
        (data["treatment"] == "treated").to_numpy(),
    )
    mean = 5 - 3 * treated + b["Intercept"].to_numpy() + (2 + treated + b["time"].to_numpy()) * t
    assert np.std(data["y"] - mean) == pytest.approx(0.3, rel=0.05)
    assert effects.std().to_list() == pytest.approx([2, 0.7], rel=0.1)
    assert effects.corr().iloc[0, 1] == pytest.approx(0.8, abs=0.05)


def test_who_drops_out_does_not_come_back():
    data = simulate_longitudinal(200, times=range(6), dropout=0.2, seed=4).data
    visits = data.groupby("subject", observed=True)["time"].agg(["size", "max"])
    assert (visits["size"] == visits["max"] + 1).all()
    assert visits["size"].min() == 1
    # Each of the five later visits keeps 80 in 100 of those who came before.
    assert (visits["size"] == 6).mean() == pytest.approx(0.8**5, abs=0.1)


def test_missed_visits_leave_gaps_but_never_the_first():
    data = simulate_longitudinal(200, times=range(6), missed=0.3, seed=4).data
    visits = data.groupby("subject", observed=True)["time"].agg(["size", "max", "min"])
    assert (visits["min"] == 0).all()
    assert (visits["size"] < visits["max"] + 1).any()
    assert len(data) == pytest.approx(200 * (1 + 5 * 0.7), rel=0.05)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"subjects": 3}, "subjects is 3; give a whole number of at least 4"),
        ({"times": [0]}, "give two or more increasing times"),
        ({"times": [0, 2, 1]}, "give two or more increasing times"),
        ({"times": ["a", "b"]}, "A value in times is 'a'"),
        ({"baseline_difference": 1}, "there is one arm"),
        ({"correlation": 1.2}, "correlation is 1.2; give a number from -1 to 1"),
        ({"correlation": 0.2, "sd_slope": None}, "but sd_slope is None"),
        ({"sd_slope": -1}, "sd_slope is -1"),
        ({"dropout": 2}, "dropout is 2; give a number from 0 to 1"),
        ({"subject": "time"}, "subject is 'time', which another column is called already"),
        ({"response": "subject"}, "response is 'subject', which another column is called already"),
    ],
)
def test_impossible_requests_are_refused(change, message):
    with pytest.raises(DatasetError, match=message):
        simulate_longitudinal(**change)
