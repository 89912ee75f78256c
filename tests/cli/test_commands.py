"""The commands, from arguments to text, JSON, files and exit codes."""

import json

import pandas as pd
import pytest
from cli_commands import DYESTUFF, QUICK, SLEEP, mistake, run, run_json

import bayesmm as bmm
from bayesmm import datasets

VERDICT = "bayesmm.bayes.results.diagnostics.Diagnostics.is_good"


@pytest.fixture
def good_draws(monkeypatch):
    """So few draws may or may not pass the diagnostics; here they do."""
    monkeypatch.setattr(VERDICT, True)


@pytest.fixture(scope="module")
def compared():
    """One comparison for all tests that look at it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bayesmm.compilation.enable_compilation_cache", lambda: None)
        patch.setattr(VERDICT, True)
        return run_json("compare", *DYESTUFF, *QUICK)


def test_fit_prints_the_summary():
    result = run("fit", *SLEEP)
    assert result.stdout.startswith("Linear mixed model fitted by REML: Reaction ~ Days + (Days | Subject)")
    assert result.stderr == ""


def test_fit_as_json_holds_the_numbers_of_the_library():
    document = run_json("fit", *SLEEP, "--method", "ml")
    fit = bmm.Model(SLEEP[0], datasets.load("sleepstudy")).fit("ml")
    assert document["bayesmm"] == bmm.__version__
    assert document["model"]["rows"] == {"used": 180, "dropped": 0, "dropped_by": {}}
    assert document["fit"]["status"] == "converged"
    assert document["fit"]["log_likelihood"] == pytest.approx(fit.loglik)
    assert [row["parameter"] for row in document["fit"]["parameters"]] == list(fit.parameters.index)
    assert [row["estimate"] for row in document["fit"]["parameters"]] == pytest.approx(
        fit.parameters["estimate"].tolist()
    )
    assert len(document["fit"]["random_effects"]) == 36


def test_what_is_not_a_number_is_null():
    parameters = run_json("fit", "Yield ~ 1 + (1 | Batch)", "--data", "dyestuff2")["fit"]["parameters"]
    sd = next(row for row in parameters if row["kind"] == "sd")
    assert sd["estimate"] == 0.0
    assert sd["std_error"] is None
    assert parameters[0]["group"] is None


def test_level_changes_the_intervals_and_is_shown():
    narrow, usual = (run_json("fit", *DYESTUFF, "--level", level)["fit"]["parameters"][0] for level in ("0.5", "0.95"))
    assert narrow["upper"] < usual["upper"]
    shown = run("fit", *DYESTUFF, "--level", "0.5").stdout
    assert shown.count("50 % interval") == 2  # of spreads and of fixed effects
    assert "95 %" not in shown


def test_random_effects_are_printed_on_demand():
    lines = run("fit", *DYESTUFF, "--random-effects").stdout.splitlines()
    assert lines[-8] == "Random effects"
    assert [line.split()[:3] for line in lines[-6:]] == [["Batch", level, "Intercept"] for level in "ABCDEF"]


def test_degrees_of_freedom_reach_the_tables():
    document = run_json("fit", *SLEEP, "--df", "kenward-roger", "--information", "observed")["fit"]
    fit = bmm.Model(SLEEP[0], datasets.load("sleepstudy")).fit()
    table = fit.coefficients(df="kenward-roger", information="observed")
    assert [row["df"] for row in document["fixed_effects"]] == pytest.approx(table["df"].tolist())
    assert document["parameters"][1]["lower"] == pytest.approx(table.loc["Days", "lower"])
    assert "normal quantiles" in run("fit", *SLEEP, "--df", "normal").stdout
    assert "is for REML" in mistake("fit", *SLEEP, "--method", "ml", "--df", "kenward-roger")


def test_terms_and_hypotheses_are_tested(tmp_path):
    file = tmp_path / "terms.csv"
    formula = "angle ~ recipe * temp + (1 | recipe:replicate)"
    result = run("anova", formula, "--data", "cake", "--type", "2", "-o", str(file))
    expected = bmm.Model(formula, datasets.load("cake")).fit().anova(type=2)
    assert result.stdout.startswith("Tests of fixed effects, type II")
    pd.testing.assert_frame_equal(pd.read_csv(file, index_col="term"), expected.table)
    found = run_json("test", SLEEP[0], "Days = 0, Intercept = 250", *SLEEP[1:])["test"]
    assert [row["hypothesis"] for row in found["hypotheses"]] == ["Days = 0", "Intercept = 250"]
    assert found["joint"]["num_df"] == 2
    assert "'Dayz'" in mistake("test", SLEEP[0], "Dayz = 0", *SLEEP[1:])


def test_weights_and_known_sigma_reach_the_model():
    arguments = ("y ~ 1 + (1 | school)", "--data", "eight_schools", "--weights", "1 / sigma**2", "--sigma", "1")
    document = run_json("fit", *arguments)
    assert document["model"]["sigma"] == 1.0
    assert document["fit"]["parameters"][0]["estimate"] == pytest.approx(7.6856, abs=1e-3)


def test_dropped_rows_are_noted_on_standard_error(tmp_path):
    path = tmp_path / "gaps.csv"
    datasets.load("dyestuff").assign(Yield=lambda d: d["Yield"].where(d.index > 1)).to_csv(path, index=False)
    result = run("fit", DYESTUFF[0], "--data", path)
    assert result.stderr.startswith("Note: ")
    assert "2" in result.stderr
    assert "Yield" in result.stderr
    assert "missing" in mistake("fit", DYESTUFF[0], "--data", path, "--missing-rows", "raise")


def test_compare_as_json_holds_both_sides(compared):
    assert set(compared) == {"bayesmm", "model", "fit", "posterior", "comparison"}
    rows = compared["comparison"]["parameters"]
    assert [row["parameter"] for row in rows] == ["Intercept", "sd(Intercept | Batch)", "sigma"]
    for row, fit, draws in zip(rows, compared["fit"]["parameters"], compared["posterior"]["parameters"], strict=True):
        assert row["estimate"] == fit["estimate"]
        assert row["mean"] == draws["mean"]
        assert row["shift"] == pytest.approx((row["mean"] - row["estimate"]) / row["sd"])
    assert compared["posterior"]["chains"] == 4
    assert compared["comparison"]["notes"]
    assert len(compared["comparison"]["random_effects"]) == 6


def test_sample_with_the_same_seed_gives_the_draws_of_compare(compared, good_draws):
    document = run_json("sample", *DYESTUFF, *QUICK)
    assert document["posterior"]["parameters"] == compared["posterior"]["parameters"]


def test_compare_prints_a_report_and_writes_what_is_asked_for(tmp_path, good_draws):
    names = [tmp_path / name for name in ("table.csv", "all.json", "figure.png")]
    outputs = [argument for name in names for argument in ("--output", name)]
    result = run("compare", *DYESTUFF, *QUICK, "--random-effects", *outputs)
    assert result.stdout.startswith("Yield ~ 1 + (1 | Batch)\n")
    assert "posterior" in result.stdout
    assert list(pd.read_csv(tmp_path / "table.csv")["parameter"]) == ["Intercept", "sd(Intercept | Batch)", "sigma"]
    assert len(pd.read_csv(tmp_path / "table_random_effects.csv")) == 6
    assert "comparison" in json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_unreliable_draws_are_exit_code_one(monkeypatch):
    monkeypatch.setattr(VERDICT, False)
    result = run("sample", *DYESTUFF, *QUICK, code=1)
    assert result.stderr.startswith("Note: ")
    assert "Posterior of Yield" in result.stdout


def test_failed_fit_is_exit_code_one(monkeypatch):
    monkeypatch.setattr("bayesmm.fit.fit.Fit.status", bmm.errors.FitStatus.NOT_CONVERGED)
    document = run_json("fit", *DYESTUFF, code=1)
    assert document["fit"]["status"] == "not_converged"


def test_boundary_fit_is_exit_code_zero():
    assert run_json("fit", "Yield ~ 1 + (1 | Batch)", "--data", "dyestuff2")["fit"]["status"] == "boundary"


def test_priors_reach_the_model(good_draws):
    document = run_json("sample", *DYESTUFF, *QUICK, "--priors", "Intercept=Normal(1500, 40)")
    first = document["posterior"]["priors"][0]
    assert (first["prior"], first["source"]) == ("Normal(1500, 40)", "user")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("fit", "Reaction ~ Dayz + (1 | Subject)", "-d", "sleepstudy"),
            "no column 'Dayz'. Did you mean 'Days'? Columns:",
        ),
        (("fit", "Reaction ~ Days", "-d", "sleepstudy"), "no random-effects term"),
        (("fit", "Reaction ~ (Days | Subject", "-d", "sleepstudy"), "'(' at position 12 is never closed"),
        (("fit", "Reaction ~ open('x') + (1 | Subject)", "-d", "sleepstudy"), "'open'"),
        (("fit", SLEEP[0], "-d", "nowhere.csv"), "no file 'nowhere.csv'. Check the path."),
        (("fit", SLEEP[0], "-d", "sleepstudi"), "Did you mean 'sleepstudy'?"),
        (("fit", *SLEEP, "--sigma", "-1"), "sigma is -1.0: give the known residual standard deviation"),
        (("fit", *SLEEP, "--weights", "w"), "no column 'w'"),
        (("fit", *SLEEP, "--level", "95"), "level is 95.0: give a"),
        (("fit", *SLEEP, "--method", "remll"), "Invalid value for '--method'"),
        (("fit", *SLEEP, "--missing", "raise"), "missing values is said by --missing-rows raise"),
        (("fit", *SLEEP, "--sep", ";"), "'sleepstudy' is a bundled data set: it is not read with --sep."),
        (("fit", SLEEP[0]), "Missing option '--data'"),
        (("fit", *SLEEP, "-o", "x.png"), "ends in '.png'; this command writes .csv, .json"),
        (("fit", *SLEEP, "-o", "no/x.csv"), "there is no folder 'no'. Make it first."),
        (("sample", *SLEEP, "--draws", "0"), "Invalid value for '--draws'"),
        (("sample", *SLEEP, "--priors", "Dayz=Normal(0, 1)"), "no such parameter. Did you mean 'Days'?"),
        (("sample", *SLEEP, "--priors", "sigma=Normal(0, 1)"), "sigma"),
        (("compare", *SLEEP, "--priors", "flatt"), "'flatt' is neither 'flat' nor NAME=PRIOR"),
        (("datasets", "sleepstudi"), "Did you mean 'sleepstudy'?"),
        (("fitt", *SLEEP), "No such command 'fitt'"),
    ],
)
def test_mistake_is_exit_code_two_and_a_message_without_traceback(arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERMINAL_WIDTH", "200")
    assert message in mistake(*arguments)


def test_place_in_a_formula_keeps_its_lines():
    lines = run("fit", "Reaction ~ (Days | Subject", "-d", "sleepstudy", code=2).stderr.splitlines()
    formula = next(line for line in lines if line.startswith("    Reaction"))
    assert lines[lines.index(formula) + 1].strip() == "^"


def test_datasets_are_listed_and_described():
    listed = run("datasets").stdout
    assert all(name in listed for name in datasets.names())
    assert max(map(len, listed.splitlines())) <= 100
    assert run("datasets", "sleepstudy").stdout.strip() == str(datasets.describe("sleepstudy"))


def test_datasets_as_json():
    assert [entry["name"] for entry in run_json("datasets")] == datasets.names()
    described = run_json("datasets", "sleepstudy")
    assert [column["name"] for column in described["columns"]] == ["Reaction", "Days", "Subject"]
    assert "file" not in described


def test_version_is_that_of_the_package():
    assert run("--version").stdout == f"bayesmm {bmm.__version__}\n"


@pytest.mark.parametrize("command", ["fit", "sample", "compare"])
def test_help_says_the_exit_codes(command):
    assert "Exit codes" in run(command, "--help").stdout


def test_sample_writes_a_posterior_that_can_be_loaded(tmp_path, good_draws):
    pytest.importorskip("h5netcdf")
    printed = run("sample", *DYESTUFF, *QUICK, "--output", tmp_path / "draws.nc").stdout
    assert str(bmm.load(tmp_path / "draws.nc")) == printed.rstrip("\n")


def test_a_checkpoint_of_a_command_is_used_again(tmp_path, good_draws):
    pytest.importorskip("zarr")
    command = ("sample", *DYESTUFF, *QUICK, "--checkpoint", tmp_path / "run.zarr")
    assert run(*command).stdout == run(*command).stdout
    assert "seed is 1 there and 2 here" in mistake(*command, "--seed", "2")
    assert "is a folder, and no saved fit or posterior" in mistake(
        "sample", *DYESTUFF, "--output", tmp_path / "run.zarr"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fit", "Reaction ~ Days", *SLEEP[1:]), '--residual "us(visit | id)"'),
        (("fit", "Yield ~ Batch + (1 | Batch)", *DYESTUFF[1:]), "or use --method ml, which"),
        (("fit", *SLEEP, "--sigma", "-1"), "Error: --sigma is -1.0"),
        (("power", *SLEEP, "--along", "Subjects=5"), "Error: --along names 'Subjects'"),
    ],
)
def test_messages_name_options_where_python_has_arguments(arguments, message):
    assert message in mistake(*arguments)
