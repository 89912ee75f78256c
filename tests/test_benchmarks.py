"""The benchmarks run: one small race without rivals, and the page that is made of its line; draws are read rightly."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"


def run(script: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, str(FOLDER / script), *arguments]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    return done.stdout


def test_a_race_without_rivals_reports_ours_and_says_who_is_missing(tmp_path: Path) -> None:
    lines = run("crossed.py", "--quick", BAYESMM_RIVALS=str(tmp_path), PATH=str(tmp_path))
    small = json.loads(lines.splitlines()[0])
    assert small["bayesmm"]["median"] > 0
    assert small["bayesmm"]["evaluations"] <= 15
    assert all("skipped" in rival for rival in small["rivals"].values())
    results = tmp_path / "results.jsonl"
    results.write_text(lines, encoding="utf-8")
    assert "Two crossed factors" in run("table.py", str(results))


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def test_variances_and_covariances_of_rstanarm_are_read_as_our_spreads(module: Any, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    sd, cor = rng.uniform(1, 2, (8, 2)), rng.uniform(-0.9, 0.9, 8)
    written = {
        "draw": [1, 2, 3, 4] * 2,
        "chain": [1] * 4 + [2] * 4,
        "(Intercept)": np.arange(8.0),
        "Days": np.arange(8.0) ** 2,
        "sigma": 1.0,
        "Sigma[a:b:(Intercept),(Intercept)]": sd[:, 0] ** 2,
        "Sigma[a:b:Days,(Intercept)]": cor * sd.prod(axis=1),
        "Sigma[a:b:Days,Days]": sd[:, 1] ** 2,
    }
    shuffled = pd.DataFrame(written).sample(frac=1, random_state=1)
    shuffled.to_csv(tmp_path / "draws.csv", index=False)
    draws, names = module("efficiency").read_draws(tmp_path / "draws.csv")
    ours = ["Intercept", "Days", "sigma", "sd(Intercept | a:b)", "cor(Intercept, Days | a:b)", "sd(Days | a:b)"]
    assert names == ours
    expected = np.column_stack([np.arange(8), np.arange(8) ** 2, np.ones(8), sd[:, 0], cor, sd[:, 1]])
    np.testing.assert_allclose(draws, expected.reshape(2, 4, 6), rtol=1e-12)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("b_Intercept", "Intercept"),
        ("b_Days", "Days"),
        ("sd_batch:cask__Intercept", "sd(Intercept | batch:cask)"),
        ("cor_Subject__Intercept__Days", "cor(Intercept, Days | Subject)"),
        ("1|batch:cask_sigma", "sd(Intercept | batch:cask)"),
        ("Days|Subject_sigma", "sd(Days | Subject)"),
        ("sd(Days | Subject)", "sd(Days | Subject)"),
        ("sigma", "sigma"),
    ],
)
def test_parameters_of_every_program_get_our_names(module: Any, theirs: str, ours: str) -> None:
    assert module("efficiency")._our_name(theirs) == ours


def test_the_least_effective_parameter_is_the_autocorrelated_one(module: Any) -> None:
    rng = np.random.default_rng(2)
    noise = rng.standard_normal((4, 1000, 2))
    for t in range(1, 1000):  # autocorrelation 0.8: nine draws are worth one
        noise[:, t, 1] = 0.8 * noise[:, t - 1, 1] + 0.6 * noise[:, t, 1]
    summary = module("efficiency").summarise(noise, ["free", "tied"])
    assert summary["worst"] == "tied"
    assert 4000 / 9 * 0.7 < summary["ess"] < 4000 / 9 * 1.4
    assert summary["r_hat"] < 1.02
    halved = module("efficiency").summarise(noise, ["free", "tied"], share=0.5)
    assert halved["ess"] == pytest.approx(summary["ess"] / 2)


def test_ratios_say_how_many_times_as_effective_we_are(module: Any) -> None:
    ours = {state: {"ess_per_second": 100.0} for state in ("nothing cached", "programs cached", "second call")}
    theirs = {"nothing cached": {"ess_per_second": 5.0}, "second call": {"ess_per_second": 20.0}}
    compare = module("sampling").compare
    assert compare(ours, theirs) == {"nothing cached": 20.0, "programs cached": 20.0, "second call": 5.0}
    stopped = {"nothing cached": {"ess_per_second_at_most": 2.0}}
    assert compare(ours, stopped) == {"nothing cached, at least": 50.0, "programs cached, at least": 50.0}


@pytest.mark.slow
def test_a_small_match_of_samplers_without_rivals_becomes_a_table(
    module: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("BAYESMM_RIVALS_BAMBI", str(tmp_path))
    sampling = module("sampling")
    line = sampling.play(
        sampling.Match(
            name="small",
            description="sleepstudy",
            frame=sampling.datasets.load("sleepstudy"),
            formula="Reaction ~ Days + (1 | Subject)",
            factors=["Subject"],
            lengths={"chains": 2, "draws": 50, "tune": 50},
            samplers=["bayesmm", "Bambi PyMC", "brms"],
            calls_again=False,
        )
    )
    ours = line["contenders"]["bayesmm"]["states"]["nothing cached"]
    assert ours["ess_per_second"] == pytest.approx(ours["ess"] / ours["seconds"])
    assert set(ours["means"]) == {"Intercept", "Days", "sd(Intercept | Subject)", "sigma"}
    assert all("skipped" in line["contenders"][rival] for rival in ("Bambi PyMC", "brms"))
    text = module("table_sampling").sampling_tables([line])
    assert "bayesmm, 2 × 50 after 50" in text
    assert text.count("not installed") == 2


def test_an_accelerator_becomes_rows_beside_the_processor(module: Any) -> None:
    measured = {"device": "cpu", "gradient": 2e-5, "first_call": 3.0, "second_call": 0.1, "least_ess": 700.0}
    line = {
        "name": "sleepstudy",
        "lengths": {"draws": 200, "tune": 200},
        "platforms": {"cpu": measured, "cuda": {"timed_out_after": 400.0}},
    }
    text = module("table_sampling").accelerator_table([line])
    assert "| sleepstudy | cpu | 20 µs | 3 s | 100 ms | 700 |" in text
    assert "| sleepstudy | cuda | > 400 s |" in text


@pytest.mark.slow
def test_each_platform_is_measured_in_a_process_of_its_own(
    module: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    accelerator, begun = module("accelerator"), []
    measured = accelerator.start_worker("cpu", "sleepstudy", quick=True)
    assert measured["device"] == "cpu"
    assert measured["second_call"] > 0

    def start_worker(platform: str, name: str, quick: bool) -> dict[str, Any]:
        begun.append((platform, name, quick))
        return measured

    monkeypatch.setattr(accelerator, "start_worker", start_worker)
    monkeypatch.setattr(accelerator, "found_platforms", lambda: ["cpu", "cuda"])
    monkeypatch.setattr(sys, "argv", ["accelerator.py", "--quick"])
    accelerator.main()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    names = ["sleepstudy", "10,000 groups"]
    assert begun == [(platform, name, True) for name in names for platform in ("cpu", "cuda")]
    assert [line["name"] for line in lines] == names
    assert {platform for line in lines for platform in line["platforms"]} == {"cpu", "cuda"}
    rounded = pytest.approx(measured["second_call"], rel=1e-3)
    assert all(found["second_call"] == rounded for line in lines for found in line["platforms"].values())


def test_coverage_of_predicted_effects_is_simulated_by_each_layer(module: Any) -> None:
    coverage = module("effect_coverage")
    found = coverage.simulate(coverage.slopes(5), 1.0, 4, 3, 0, 1).set_index(["effect", "layer"])
    assert list(found.loc["x"].index) == [name for name in coverage.TRIED if name != "posterior"]
    assert (found.loc["x", "claimed/true"]["fixed z"] > found.loc["x", "claimed/true"]["conditional z"]).all()
    assert found["coverage"].between(0.0, 1.0).all()
