"""The command that checks a fit."""

import pandas as pd
import pytest
from cli_commands import DYESTUFF, SLEEP, mistake, run, run_json

import bayesmm as bmm
from bayesmm import datasets


def test_check_prints_the_page_of_the_library():
    fit = bmm.Model(SLEEP[0], datasets.load("sleepstudy")).fit()
    assert run("check", *SLEEP, "--sets", 49).stdout.rstrip("\n") == str(fit.check(n=49))


def test_check_as_json_holds_findings_looks_and_influence():
    document = run_json("check", *SLEEP, "--sets", 49)["check"]
    assert not document["good"]
    assert {"topic", "concern", "text", "advice"} == set(document["findings"][0])
    assert len(document["influence"]["rows"]) == 180
    assert len(document["influence"]["Subject"]) == 18
    assert document["influence"]["Subject"][0]["Subject"] == "308"
    assert document["levels"] == [
        {"group": "Subject", "levels": 18, "fewest": 10, "median": 10.0, "most": 10, "single": 0, "reliability": pytest.approx(0.801, abs=1e-3)}
    ]  # fmt: skip
    assert {row["look"] for row in document["looks"]} >= {"skewness", "curvature", "spread by Subject"}


def test_check_writes_its_looks(tmp_path):
    run("check", *DYESTUFF, "--sets", 49, "--output", tmp_path / "looks.csv")
    looks = pd.read_csv(tmp_path / "looks.csv")
    assert list(looks) == ["what", "look", "statistic", "lower", "upper", "distance", "p_value"]


def test_check_of_the_same_seed_is_the_same():
    one, two, other = (
        run_json("check", *DYESTUFF, "--sets", 49, "--seed", seed)["check"]["looks"] for seed in (3, 3, 4)
    )
    assert one == two
    assert one != other


def test_too_few_sets_are_refused():
    assert "--sets" in mistake("check", *DYESTUFF, "--sets", 3)


def test_boundary_is_no_failure_and_help_says_the_exit_codes():
    run("check", "Yield ~ 1 + (1 | Batch)", "--data", "dyestuff2", "--sets", 49, code=0)
    assert "Exit codes" in run("check", "--help").stdout
