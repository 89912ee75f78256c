"""The command that predicts rows."""

import numpy as np
import pandas as pd
import pytest
from cli_commands import SLEEP, mistake, run, run_json

import bayesmm as bmm

NEW = pd.DataFrame({"Days": [3.0, 9.0, 3.0, np.nan], "Subject": ["308", "309", "somebody", "310"]})


@pytest.fixture
def new(tmp_path):
    NEW.to_csv(tmp_path / "new.csv", index=False)
    return tmp_path / "new.csv"


@pytest.fixture(scope="module")
def fit():
    return bmm.Model(SLEEP[0], bmm.datasets.load("sleepstudy")).fit()


def test_predict_writes_the_rows_with_what_the_library_says_of_them(new, fit, tmp_path):
    out = tmp_path / "out.csv"
    options = ("--interval", "prediction", "--level", "0.8", "--new-levels", "sample", "--uncertainty", "fixed")
    printed = run("predict", *SLEEP, "--new", new, *options, "--output", out).stdout
    written = pd.read_csv(out, index_col="row", dtype={"Subject": str})
    expected = fit.predict(NEW, interval="prediction", level=0.8, new_levels="sample", uncertainty="fixed")
    pd.testing.assert_frame_equal(written[["Days", "Subject"]], NEW, check_names=False, check_dtype=False)
    np.testing.assert_allclose(written.filter(regex=r"^\.").to_numpy(), expected, rtol=1e-9)
    assert list(written)[2:] == [f".{name}" for name in expected]
    assert "80 % interval" in printed
    assert "1 of 4 rows have a missing value" in printed
    assert max(map(len, printed.splitlines())) <= 80


def test_predict_takes_the_rows_of_the_data_without_others(fit):
    table = run_json("predict", *SLEEP, "--interval", "confidence")["prediction"]["table"]
    expected = fit.predict(interval="confidence")
    np.testing.assert_allclose([row["estimate"] for row in table], expected["estimate"])
    np.testing.assert_allclose([row["upper"] for row in table], expected["upper"])
    assert "first 20 of 180 rows" in run("predict", *SLEEP).stdout


def test_residuals_of_a_group_count_where_they_are_asked_for(tmp_path):
    data = bmm.datasets.load("sleepstudy")
    last = data[(data["Days"] == 9) & data["Subject"].isin(["308", "309"])].assign(Days=10)
    last.to_csv(tmp_path / "last.csv", index=False)
    asked = ("predict", "Reaction ~ Days", "--data", "sleepstudy", "--residual", "ar1(Days | Subject)")
    document = run_json(*asked, "--new", tmp_path / "last.csv", "--residuals", "conditional")["prediction"]
    fit = bmm.Model("Reaction ~ Days", data, residual="ar1(Days | Subject)").fit()
    expected = fit.predict(last, residuals="conditional")
    assert document["residuals"] == "conditional"
    assert [row["estimate"] for row in document["table"]] == pytest.approx(expected.tolist())
    assert expected.tolist() != pytest.approx(fit.predict(last).tolist())


def test_random_effects_are_chosen(new, fit):
    for given, random in (("none", "none"), ("Subject", ["Subject"])):
        document = run_json("predict", *SLEEP, "--new", new, "--random", given, "--new-levels", "population")
        assert document["prediction"]["random"] == random
        expected = fit.predict(NEW, random=random, new_levels="population")
        assert [row["estimate"] for row in document["prediction"]["table"]][:3] == pytest.approx(expected[:3].tolist())
        assert document["prediction"]["table"][3]["estimate"] is None


def test_a_posterior_predicts_too(new):
    options = ("--posterior", "--by", "quadrature", "--draws", "500", "--new-levels", "sample")
    document = run_json("predict", *SLEEP, "--new", new, *options, "--interval", "prediction")["prediction"]
    assert document["by"] == "posterior"
    posterior = bmm.Model(SLEEP[0], bmm.datasets.load("sleepstudy")).sample(
        draws=500, seed=0, method="quadrature", progress=False
    )
    expected = posterior.predict(NEW, interval="prediction", new_levels="sample").iloc[:3]
    assert [row["sd"] for row in document["table"]][:3] == pytest.approx(expected["sd"].tolist())


def test_weights_of_new_rows_come_from_their_column_or_an_option(new, tmp_path):
    weighted = (*SLEEP, "--weights", "1 / (1 + Days)", "--interval", "prediction", "--new-levels", "sample")
    known = run_json("predict", *weighted, "--new", new)["prediction"]["table"]
    one = run_json("predict", *weighted, "--new", new, "--new-weights", "1")["prediction"]["table"]
    assert known[1]["std_error"] > 1.5 * one[1]["std_error"]


def test_mistakes_are_answered(new):
    assert "not among the 18 of the fit: 'somebody'" in mistake("predict", *SLEEP, "--new", new)
    assert "no grouping factor 'Sbject'" in mistake("predict", *SLEEP, "--random", "Sbject")
    assert "both be read from standard input" in mistake("predict", SLEEP[0], "--data", "-", "--new", "-")
    assert "writes .csv, .json" in mistake("predict", *SLEEP, "--output", "figure.png")
    assert "--interval" in mistake("predict", *SLEEP, "--interval", "both")


def test_a_column_of_the_user_is_not_written_over(new, tmp_path):
    NEW.assign(**{".estimate": 1.0}).to_csv(tmp_path / "taken.csv", index=False)
    said = mistake("predict", *SLEEP, "--new", tmp_path / "taken.csv", "--new-levels", "sample")
    assert "have a column '.estimate'" in said
