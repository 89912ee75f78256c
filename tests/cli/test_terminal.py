"""What a person sees: no line longer than the terminal, no character that its encoding lacks, help that is true."""

import re

import numpy as np
import pandas as pd
import pytest
from made_posterior import make_posterior
from typer.testing import CliRunner

from bayesmm import datasets
from bayesmm.cli.app import app
from bayesmm.cli.encoding import plain
from bayesmm.console import Column, cells, fold
from bayesmm.console import table as write_table

LONG = "a_covariate_with_a_name_that_is_as_long_as_those_that_questionnaires_export_with_all_of_the_question"
WIDTHS = (60, 80)
MODELS = {
    "sleepstudy": ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
    "boundary": ("Yield ~ 1 + (1 | Batch)", "dyestuff2"),
    "several effects": ("score ~ Machine + (0 + Machine | Worker)", "machines"),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "penicillin"),
    "splines": ("angle ~ recipe * temp + bs(temp, df=5) + (temp || replicate:recipe) + (1 | replicate)",
                "cake"),
    "long names": (f"response_time_of_the_participant ~ {LONG} * factor + ({LONG} | grouping_factor_of_the_long_kind)", "long.csv"),
    "other scripts": ("反応 ~ 日数 + Größe + (日数 | 被験者)", "wide.csv"),
    "large and small": ("y ~ x + (x | g)", "large.csv"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(1)
    n, g = 120, np.repeat(np.arange(12), 10)
    x, effect = rng.normal(size=n), rng.normal(size=(12, 2))
    y = x + effect[g, 0] + effect[g, 1] * x + rng.normal(size=n)
    levels = [f"the level {i} of a grouping factor whose levels are whole sentences of the questionnaire" for i in g]
    pd.DataFrame(
        {
            "response_time_of_the_participant": y,
            LONG: x,
            "factor": np.resize(["one answer", "another answer that goes on and on and on and on and on"], n),
            "grouping_factor_of_the_long_kind": levels,
        }
    ).to_csv(folder / "long.csv", index=False)
    pd.DataFrame({"反応": y, "日数": x, "Größe": x**2, "被験者": [f"被験者の番号{i}" for i in g]}).to_csv(
        folder / "wide.csv", index=False
    )
    pd.DataFrame({"y": 1e9 * y, "x": 1e-7 * x, "g": g}).to_csv(folder / "large.csv", index=False)
    return folder


@pytest.fixture
def run_at(folder, monkeypatch):
    """Run a command with draws that are made, not sampled, in a terminal of some width and encoding."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("bayesmm.model.Model.sample", lambda self, **options: make_posterior(self, divergences=30))

    def run_at(*arguments, width=80, encoding="utf-8"):
        monkeypatch.setenv("COLUMNS", str(width))
        monkeypatch.setenv("TERMINAL_WIDTH", str(width))
        monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", width)
        result = CliRunner(charset=encoding).invoke(app, list(arguments), prog_name="bayesmm")
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.stdout_bytes.decode(encoding), result.stderr_bytes.decode(encoding)

    return run_at


def too_long(text, width, whole_words=False):
    """Lines that are longer than the terminal; in messages a path or a name may stay whole."""
    lines = [line for line in text.splitlines() if cells(line) > width]
    return [line for line in lines if not whole_words or len(line.split()) > 1]


@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("command", ["fit", "sample", "compare"])
def test_no_line_is_longer_than_the_terminal(run_at, command, name):
    formula, data = MODELS[name]
    for width in WIDTHS:
        code, shown, told = run_at(command, formula, "--data", data, "--random-effects", width=width)
        assert code in (0, 1)
        assert too_long(shown, width) == []
        assert too_long(told, width, whole_words=True) == []


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_of_data_sets_and_help_is_longer_than_the_terminal(run_at, width):
    for arguments in [("datasets",), *(("datasets", name) for name in datasets.names())]:
        assert too_long(run_at(*arguments, width=width)[1], width) == []
    for command in ([], ["fit"], ["sample"], ["compare"], ["datasets"]):
        assert too_long(run_at(*command, "--help", width=width)[1], width) == []


@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1"])
@pytest.mark.parametrize("name", ["boundary", "other scripts"])
@pytest.mark.parametrize("command", ["fit", "sample", "compare"])
def test_output_is_readable_in_any_encoding(run_at, command, name, encoding):
    formula, data = MODELS[name]
    _, usual, _ = run_at(command, formula, "--data", data, "-r")
    _, shown, told = run_at(command, formula, "--data", data, "-r", encoding=encoding)
    assert "?" not in shown + told
    assert too_long(shown, 80) == [] or name == "other scripts"  # codes of characters are longer than these
    numbers = re.compile(r"[-−]?\d+\.\d+")
    assert [each.replace("−", "-") for each in numbers.findall(usual)] == numbers.findall(shown)
    if "−" in usual:
        assert shown.count("-") >= usual.count("−")


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_json_loses_nothing_in_any_encoding(run_at, encoding):
    import json

    formula, data = MODELS["other scripts"]
    document = json.loads(run_at("fit", formula, "--data", data, "--json", encoding=encoding)[1])
    assert document["fit"]["random_effects"][0]["level"] == "被験者の番号0"
    assert document["model"]["response"] == "反応"
    for name in datasets.names():
        assert json.loads(run_at("datasets", name, "--json", encoding=encoding)[1])["name"] == name


def test_names_stay_different_where_the_encoding_lacks_their_letters():
    class Ascii:
        encoding = "ascii"

    texts = ["é", "e", "è", "中", "丮", "σ", "x²", "x2"]
    assert len({plain(text, Ascii()) for text in texts}) == len(texts)
    assert plain("−0.5 ± 1, R̂ ≤ 1.01", Ascii()) == "-0.5 +/- 1, R-hat <= 1.01"


@pytest.mark.filterwarnings("ignore::bayesmm.errors.BayesmmWarning")
@pytest.mark.parametrize("command", ["fit", "sample", "compare"])
def test_every_table_has_the_level_that_was_asked_for(run_at, command):
    arguments = (*MODELS["sleepstudy"], "--level", "0.8", "--random-effects")
    shown = run_at(command, arguments[0], "--data", *arguments[1:], width=100)[1]
    printed, effects = shown.split("\nRandom effects\n  group    level")
    assert "80 % interval" in printed
    assert ("80 % interval" in effects) == (command != "compare")  # it has no intervals of effects
    assert "95 %" not in shown
    if command == "fit":  # 10.467 ± 1.3334 · 1.546, by t of 17 degrees of freedom
        assert "8.41, 12.53" in shown


@pytest.mark.parametrize("command", ["fit", "sample", "compare"])
def test_help_offers_the_endings_that_the_command_takes(run_at, command):
    shown = " ".join(
        re.findall(r"[\w.,'-]+", run_at(command, "--help", width=100)[1].split("--output")[1].split("--json")[0])
    )
    for ending in (".csv", ".json", ".nc", ".zarr", ".png", ".pdf", ".svg"):
        code, _, told = run_at(command, MODELS["sleepstudy"][0], "--data", "nothing.csv", "--output", f"x{ending}")
        assert code == 2
        offered = re.search(rf"{re.escape(ending)}\b", shown) is not None
        assert offered == ("this command writes" not in told)


def test_a_paragraph_is_broken_at_blanks_and_loses_nothing():
    rng = np.random.default_rng(1)
    for width in (20, 47, 80):
        words = ["x" * rng.integers(1, 60) for _ in range(40)]
        lines = fold(" ".join(words), width, first="• ", then="  ")
        assert max(map(cells, lines)) <= width
        assert "".join(lines).replace(" ", "").removeprefix("•") == "".join(words)
    assert fold("a share of 10 % here", 13) == ["a share of", "10 % here"]


def test_a_divided_table_shows_every_cell_once():
    columns = [Column(head=f"head{i}", cells=[f"{i}.{j}" for j in range(3)]) for i in range(30)]
    for width in (40, 60, 100):
        lines = write_table(["a", "b" * 50, "c"], columns, width)
        assert max(map(cells, lines)) <= width
        assert sorted(re.findall(r"\d+\.\d", "\n".join(lines))) == sorted(
            cell for each in columns for cell in each.cells
        )
