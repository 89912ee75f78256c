import numpy as np
import pytest

from bayesmm.datasets import simulate_nested
from bayesmm.errors import DatasetError


def test_formula_and_truth_name_the_groups_as_results_do():
    simulation = simulate_nested(
        {"district": 4, "school": 3, "room": 2}, sds={"district": 3, "school": 2, "room": 1}, sigma=4, intercept=50
    )
    assert simulation.formula == "y ~ 1 + (1 | district/school/room)"
    assert dict(simulation.parameters) == {
        "Intercept": 50,
        "sd(Intercept | district)": 3,
        "sd(Intercept | district:school)": 2,
        "sd(Intercept | district:school:room)": 1,
        "sigma": 4,
    }
    assert len(simulation.data) == 4 * 3 * 2 * 10


def test_response_is_mean_plus_effects_plus_noise_of_the_chosen_size():
    simulation = simulate_nested({"a": 50, "b": 5}, sds={"a": 3, "b": 2}, sigma=0.5, intercept=10, seed=3)
    effects = simulation.random_effects.set_index(["group", "level"])["value"]
    data = simulation.data.astype({"a": str, "b": str})
    noise = data["y"] - 10 - effects["a"].loc[data["a"]].array - effects["a:b"].loc[data["a"] + ":" + data["b"]].array
    assert np.std(noise) == pytest.approx(0.5, rel=0.05)
    assert np.std(effects["a"]) == pytest.approx(3, rel=0.3)
    assert np.std(effects["a:b"]) == pytest.approx(2, rel=0.15)


def test_labels_start_again_in_every_larger_group():
    simulation = simulate_nested({"school": 11, "room": 2}, sds={"school": 1, "room": 1}, observations=2)
    assert list(simulation.data["school"].cat.categories) == [str(i) for i in range(1, 12)]
    assert list(simulation.data["room"].cat.categories) == ["1", "2"]


def test_pairs_draw_unequal_numbers():
    simulation = simulate_nested(
        {"school": 30, "room": (1, 4)}, sds={"school": 1, "room": 1}, observations=(2, 9), seed=1
    )
    sizes = simulation.data.groupby(["school", "room"], observed=True).size()
    assert (sizes.min(), sizes.max()) == (2, 9)
    assert set(sizes.groupby("school", observed=True).size()) == {1, 2, 3, 4}


def test_one_level_of_groups_is_enough():
    simulation = simulate_nested({"batch": 6}, sds={"batch": 0}, response="strength")
    assert simulation.formula == "strength ~ 1 + (1 | batch)"
    assert (simulation.random_effects["value"] == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": {}}, "give a dictionary such as"),
        ({"groups": {"school": 1, "room": 2}}, r"groups\['school'\] is 1; give a whole number of at least 2"),
        ({"groups": {"school": 5, "room": 1}}, "one in each group above is that group"),
        ({"groups": {"school": 5, "room": 2.5}}, r"groups\['room'\] is 2.5; give a whole number"),
        ({"groups": {"school": 5, "room": (3, 2)}}, "the lowest number is above the highest"),
        ({"groups": {"school": 5, "room": (1, 2, 3)}}, "or a pair"),
        ({"groups": {"school": 5, "y": 2}}, "which another column is called already"),
        ({"groups": {"school": 5, "class room": 2}}, "is 'class room'; give a name of letters"),
        ({"sds": {"school": 1}}, "sds lacks the group 'room'; the groups are school, room"),
        ({"sds": {"school": 1, "rom": 1}}, "sds has no group 'rom' and lacks the group 'room'"),
        ({"sds": [1, 2]}, "give a dictionary from group to value"),
        ({"sds": {"school": -1, "room": 1}}, r"sds\['school'\] is -1; give a standard deviation of at least 0"),
        ({"sigma": 0}, "sigma is 0; give a standard deviation above 0"),
        ({"intercept": float("nan")}, "intercept is nan; give a finite number"),
        ({"observations": 1}, "cannot tell them from sigma"),
        ({"observations": True}, "observations is True"),
        ({"response": "my y"}, "response is 'my y'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_impossible_requests_are_refused(change, message):
    arguments = {"groups": {"school": 5, "room": 2}, "sds": {"school": 1, "room": 1}} | change
    with pytest.raises(DatasetError, match=message):
        simulate_nested(arguments.pop("groups"), **arguments)
