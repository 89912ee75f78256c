import numpy as np
import pytest

from bayesmm.datasets import simulate_dyads
from bayesmm.errors import DatasetError


def test_everybody_writes_to_everybody_else():
    data = simulate_dyads(7, repeats=2).data
    assert list(data.columns) == ["sender", "receiver", "log_count"]
    assert (data.groupby(["sender", "receiver"]).size() == 2).all()
    assert (data["sender"] != data["receiver"]).all()
    assert len(data) == 2 * 7 * 6


def test_response_is_mean_plus_both_effects_plus_noise_of_the_chosen_size():
    simulation = simulate_dyads(
        400, intercept=4, sender_sd=2, receiver_sd=1, correlation=-0.7, sigma=0.3, share_observed=0.2, seed=3
    )
    effects = simulation.random_effects.pivot_table(index="level", columns="effect", values="value")
    data = simulation.data
    mean = 4 + effects.loc[data["sender"], "sender"].array + effects.loc[data["receiver"], "receiver"].array
    assert np.std(data["log_count"] - mean) == pytest.approx(0.3, rel=0.02)
    assert effects.std().to_dict() == pytest.approx({"sender": 2, "receiver": 1}, rel=0.1)
    assert effects.corr().loc["sender", "receiver"] == pytest.approx(-0.7, abs=0.06)
    assert len(data) == pytest.approx(0.2 * 400 * 399, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_people": 2}, "n_people is 2; give a whole number of at least 3"),
        ({"repeats": 0}, "repeats is 0"),
        ({"sender_sd": -1}, "sender_sd is -1"),
        ({"receiver_sd": float("nan")}, "receiver_sd is nan; give a finite number"),
        ({"correlation": 1.2}, "correlation is 1.2; give a number from -1 to 1"),
        ({"sigma": 0}, "sigma is 0; give a standard deviation above 0"),
        ({"share_observed": 0.0}, "share_observed is 0, which leaves 0 observations"),
        ({"response": "sender"}, "response is 'sender', which another column is called already"),
    ],
)
def test_what_is_impossible_is_named(change, message):
    with pytest.raises(DatasetError, match=message):
        simulate_dyads(**{"n_people": 5, **change})
