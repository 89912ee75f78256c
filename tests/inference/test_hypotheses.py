"""Linear hypotheses as they are written, and tests of terms where columns are combinations of others."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import bayesmm as bmm
from bayesmm.errors import ArgumentError
from bayesmm.inference.fixed.hypotheses import read_hypotheses

NAMES = ("Intercept", "Days", "f[T.b]", "f[T.b c]:Days", "I(Days ** 2)", "I(Days == 3)", "Day", "a:b")


@pytest.mark.parametrize(
    ("text", "row", "value"),
    [
        ("Days = 0", {"Days": 1.0}, 0.0),
        ("Days", {"Days": 1.0}, 0.0),
        ("Day == 2", {"Day": 1.0}, 2.0),
        ("Intercept=250", {"Intercept": 1.0}, 250.0),
        ("2*Days - Intercept/4 = 1 + 2", {"Days": 2.0, "Intercept": -0.25}, 3.0),
        ("-(Days - 3) = Day", {"Days": -1.0, "Day": -1.0}, -3.0),
        ("f[T.b c]:Days = f[T.b]", {"f[T.b c]:Days": 1.0, "f[T.b]": -1.0}, 0.0),
        ("I(Days**2) = 1e-3", {"I(Days ** 2)": 1.0}, 1e-3),
        ("I(Days == 3) = .5", {"I(Days == 3)": 1.0}, 0.5),
        ("`a:b` * 3 = 0", {"a:b": 3.0}, 0.0),
        ("Days * (1 + 1) / 4", {"Days": 0.5}, 0.0),
    ],
)
def test_equations_mean_what_they_say(text: str, row: dict[str, float], value: float) -> None:
    read = read_hypotheses(text, NAMES, (), ())
    assert read.L.tolist() == [[row.get(name, 0.0) for name in NAMES]]
    assert read.values.tolist() == [pytest.approx(value)]


def test_several_ways_of_writing_are_one() -> None:
    chain, texts, values = (
        read_hypotheses(given, NAMES, (), ())
        for given in ("Days = Day = 0", ["Days = Day", "Day = 0"], {"Days": 0.0, "Day": 0})
    )
    assert chain.texts == ("Days = Day", "Day = 0")
    assert (chain.L == texts.L).all()
    assert np.linalg.matrix_rank(np.concatenate([chain.L, values.L])) == 2
    matrix = read_hypotheses(np.eye(len(NAMES))[1], NAMES, (), ())
    assert (matrix.L == read_hypotheses("Days", NAMES, (), ()).L).all()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("Dayz = 0", "'z=0' cannot be read|'Dayz' is no coefficient"),
        ("Days * Day = 0", "not linear"),
        ("Days / 0", "divides by zero"),
        ("(Days = 0", "cannot be|not closed"),
        ("Days = ", "a side of the equation is empty"),
        ("1 = 1", "says nothing about a coefficient"),
        ("Days = 0, 2*Days = 1", "contradict"),
        ("twice = 0", "combination of other columns"),
        ("sigma = 1", r"fit.variance_tests"),
        ("", "no hypothesis in ''"),
        ([[1.0, 2.0]], "one column for each of the 8 coefficients"),
        (7, "give texts"),
    ],
)
def test_what_cannot_be_tested_is_said(given: object, said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        read_hypotheses(given, NAMES, ("twice",), ("sigma",))


def test_joint_test_of_hypotheses_is_wald_s_with_values() -> None:
    fit = bmm.Model("Reaction ~ Days + (Days | Subject)", bmm.datasets.load("sleepstudy")).fit()
    found = fit.test("Days = 8, Intercept = 250", df="normal")
    missing = fit.estimate.beta - [250.0, 8.0]
    expected = missing @ np.linalg.solve(fit.estimate.beta_covariance, missing) / 2
    assert found.joint.statistic == pytest.approx(expected)
    assert found.table.loc["Days = 8", "statistic"] == pytest.approx(
        missing[1] / fit.fixed_effects.loc["Days", "std_error"]
    )
    assert found.table["value"].tolist() == [8.0, 250.0]
    again = fit.test("Days = 8, Intercept = 250, Days + Intercept = 258", df="normal").joint
    assert again == pytest.approx(found.joint)  # the third says nothing new


def test_an_empty_cell_is_said_and_the_rest_is_tested() -> None:
    data = bmm.datasets.load("ratpupweight")
    data = data[~((data["Treatment"] == "High") & (data["sex"] == "Male"))]
    fit = bmm.Model("weight ~ Treatment * sex + (1 | Litter)", data).fit()
    one, two, three = (fit.anova(type=type).table for type in (1, 2, 3))
    assert one["num_df"].tolist() == two["num_df"].tolist() == [2, 1, 1]
    assert three["num_df"].tolist() == [1, 0, 1]
    assert np.isnan(three.loc["sex", "statistic"])
    assert "cannot be tested" in str(fit.anova())
    cells = data["Treatment"].astype(str) + data["sex"].astype(str)
    means = bmm.Model("weight ~ cell + (1 | Litter)", data.assign(cell=cells)).fit()
    names = [f"cell[T.{cell}]" for cell in ("ControlMale", "HighFemale", "LowFemale", "LowMale")]
    control, _, low, low_male = names
    interaction = means.test(f"{control} = {low_male} - {low}").joint
    assert three.loc["Treatment:sex", "statistic"] == pytest.approx(interaction.statistic, rel=1e-6)


def test_a_factor_without_the_constant_is_tested_for_all_its_levels() -> None:
    data = bmm.datasets.load("machines")
    with_constant = bmm.Model("score ~ Machine + (1 | Worker)", data).fit().anova().table
    fit = bmm.Model("score ~ 0 + Machine + (1 | Worker)", data).fit()
    assert fit.anova().table.loc["Machine", "num_df"] == 3
    names = fit.fixed_effects.index
    same = fit.test(f"{names[0]} = {names[1]} = {names[2]}").joint
    assert same.statistic == pytest.approx(with_constant.loc["Machine", "statistic"])


def test_a_model_without_terms_says_so() -> None:
    fit = bmm.Model("Yield ~ 1 + (1 | Batch)", bmm.datasets.load("dyestuff")).fit()
    assert fit.anova().table.empty
    assert "there is no term to test" in str(fit.anova())
    with pytest.raises(ArgumentError, match="type is 4"):
        fit.anova(type=4)  # type: ignore[arg-type]
    none = bmm.Model("Yield ~ 0 + (1 | Batch)", pd.DataFrame(bmm.datasets.load("dyestuff"))).fit()
    assert none.fixed_effects.empty
    with pytest.raises(ArgumentError, match="no fixed effects"):
        none.test("Intercept = 0")
