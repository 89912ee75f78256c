"""The command that says how sure one is of each level's effects."""

import pandas as pd
import pytest
from cli_commands import DYESTUFF, SLEEP, mistake, run, run_json

import bayesmm as bmm
from bayesmm import datasets


def fitted():
    return bmm.Model(SLEEP[0], datasets.load("sleepstudy")).fit()


def test_effects_prints_the_report_of_the_library():
    text = run("effects", *SLEEP, "--bootstrap", 20).stdout.rstrip("\n")
    assert text == str(bmm.effect_uncertainty(fitted(), bootstrap=20))


def test_effects_as_json_holds_layers_notes_and_intervals():
    document = run_json("effects", *SLEEP, "--effect", "Days", "--level", 0.8)["effects"]
    found = bmm.effect_uncertainty(fitted()).only("Days", "Subject")
    assert document["layers"] == ["conditional", "fixed", "full"]
    assert document["notes"] == list(found.notes)
    assert [row["full"] for row in document["table"]] == pytest.approx(found.table["full"].tolist())
    assert len(document["intervals"]) == 3 * 18
    own = [row["upper"] for row in document["intervals"] if row["layer"] == "full"]
    wanted = fitted().random_effects(uncertainty="full", level=0.8).query("effect == 'Days'")["upper"]
    assert own == pytest.approx(wanted.tolist())
    assert document["intervals"][0]["df"] is None  # infinite


def test_one_layer_is_printed_and_written_level_by_level(tmp_path):
    path, figure = tmp_path / "effects.csv", tmp_path / "effects.svg"
    command = ("effects", *SLEEP, "--group", "Subject", "--uncertainty", "full", "-o", path, "-o", figure)
    lines = run(*command).stdout.splitlines()
    assert lines[1].strip().endswith("predicted by REML: full")
    assert len([line for line in lines if line.startswith("  Subject")]) == 36
    table = fitted().random_effects(uncertainty="full")
    pd.testing.assert_frame_equal(pd.read_csv(path, dtype={"level": str}), table, check_dtype=False)
    assert figure.read_bytes().startswith(b"<?xml")
    assert not list(tmp_path.glob("*_random_effects.csv"))


def test_without_a_layer_the_table_has_all(tmp_path):
    run("effects", *DYESTUFF, "-o", tmp_path / "layers.csv")
    columns = ["group", "level", "effect", "estimate", "conditional", "fixed", "full"]
    assert list(pd.read_csv(tmp_path / "layers.csv")) == columns


def test_bootstrap_layer_makes_refits_unasked():
    text = run("effects", *DYESTUFF, "--uncertainty", "bootstrap").stdout
    wanted = bmm.Model(DYESTUFF[0], datasets.load("dyestuff")).fit().random_effects(uncertainty="bootstrap")
    assert f"{wanted['std_error'][0]:.1f}" in text


def test_posterior_stands_beside(monkeypatch):
    monkeypatch.setattr("bayesmm.compilation.enable_compilation_cache", lambda: None)
    monkeypatch.setattr("bayesmm.bayes.results.diagnostics.Diagnostics.is_good", True)
    sampler = ("--posterior", "--by", "importance", "--draws", 100, "--seed", 1)
    document = run_json("effects", *DYESTUFF, *sampler)["effects"]
    assert document["layers"] == ["conditional", "fixed", "full", "posterior"]
    assert all(row["posterior"] > row["conditional"] for row in document["table"])


def test_effects_that_are_not_there_are_refused_with_those_that_are():
    assert "There is no --effect 'Age'. There are: Intercept of Subject, Days" in mistake(
        "effects", *SLEEP, "--effect", "Age"
    )
    assert "--group 'x'" in mistake("effects", *SLEEP, "--group", "x")
    assert "--bootstrap" in mistake("effects", *SLEEP, "--bootstrap", 1)
