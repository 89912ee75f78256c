"""The command that simulates designs."""

import pandas as pd
import pytest
from cli_commands import SLEEP, mistake, run, run_json

import bayesmm as bmm
from bayesmm import datasets

DESIGN = ("--parameters", "Days=5", "--along", "Subject=6,9", "-n", 20)


def test_power_prints_the_page_of_the_library():
    fit = bmm.Model(SLEEP[0], datasets.load("sleepstudy")).fit()
    found = bmm.power(fit, parameters={"Days": 5}, along={"Subject": [6, 9]}, n=20, progress=False)
    assert run("power", *SLEEP, "--fitted", *DESIGN).stdout.rstrip("\n") == str(found)


def test_residuals_have_a_covariance_that_is_stated_or_fitted():
    residual = ("--residual", "hetar1(age | Subject)")
    formula, data = "distance ~ age", datasets.load("orthodont")
    fit = bmm.Model(formula, data, residual=residual[1]).fit()
    found = bmm.power(fit, parameters={"rho(age | Subject)": 0.2}, n=5, progress=False)
    asked = ("power", formula, "--data", "orthodont", *residual, "-n", 5)
    assert run(*asked, "--fitted", "--parameters", "rho(age | Subject)=0.2").stdout.rstrip("\n") == str(found)
    values = {**fit.parameters["estimate"], "sigma": fit.sigma, "rho(age | Subject)": 0.2}
    stated = [text for name, value in values.items() for text in ("--parameters", f"{name}={float(value)!r}")]
    assert run(*asked, *stated).stdout.rstrip("\n") == str(found)


def test_parameters_and_sizes_are_read_as_they_are_written(tmp_path):
    pd.DataFrame({"x": [0, 1, 2] * 4, "g": [1, 2, 3, 4] * 3}).to_csv(tmp_path / "plan.csv", index=False)
    truth = ("--parameters", "Intercept=1; x = 0.5", "--parameters", "sd(Intercept | g)=1;sigma=1")
    document = run_json(
        "power", "y ~ x + (1 | g)", "--data", tmp_path / "plan.csv", *truth, "--within", "g=3,6", "--aim", "x=1",
        "--test", "x", "--test", "sd(Intercept | g)", "-n", 10, "--output", tmp_path / "power.csv",
    )["power"]  # fmt: skip
    designs = document["designs"]
    assert [(row["rows"], row["effect"], row["truth"]) for row in designs] == [
        (12, "x", 0.5), (12, "sd(Intercept | g)", 1.0), (24, "x", 0.5), (24, "sd(Intercept | g)", 1.0)
    ]  # fmt: skip
    assert designs[0]["aim"] == 1.0
    assert pd.read_csv(tmp_path / "power.csv")["power"].tolist() == pytest.approx([row["power"] for row in designs])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--parameters", "Days"), "is no assignment"),
        (("--parameters", "Days=many"), "no number after"),
        (("--parameters", "Days=1;Days=2"), "twice"),
        (("--along", "Subject=a"), "no whole numbers"),
        (("--along", "Subject=3", "--along", "Subject=4"), "twice"),
        (("--along", "Days=3"), "no column of the grouping factors"),
    ],
)
def test_mistakes_are_explained(arguments, words):
    assert words in mistake("power", *SLEEP, "--fitted", *arguments)


def test_without_parameters_the_lacking_one_is_named():
    assert "no value of 'Intercept'" in mistake("power", *SLEEP)
