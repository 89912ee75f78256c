import subprocess
import sys
from importlib.resources import files

import pytest
from reference_data import schema

from bayesmm import datasets
from bayesmm.design import build_design
from bayesmm.errors import DatasetError
from bayesmm.specification import parse_formula

CLASSICAL = {
    "sleepstudy", "dyestuff", "dyestuff2", "penicillin", "pastes", "cake", "orthodont", "rail", "oxide", "machines",
    "oats", "dietox", "rats", "eight_schools",
}  # fmt: skip


def test_classical_data_sets_are_bundled():
    assert set(datasets.names()) >= CLASSICAL


def test_names_are_sorted_and_lower_case():
    names = datasets.names()
    assert names == sorted(names) == [name.lower() for name in names]


@pytest.mark.parametrize("name", datasets.names())
def test_every_description_has_source_meanings_and_an_example(name):
    description = datasets.describe(name)
    assert description.title
    assert description.source
    assert description.read_from
    assert "|" in description.example
    assert all(column.meaning for column in description.columns)


@pytest.mark.filterwarnings("ignore:2 of 378 rows dropped")  # glucose has two missing values
@pytest.mark.parametrize("name", datasets.names())
def test_every_example_is_a_model_of_its_data(name):
    description = datasets.describe(name)
    known_variance = description.note.startswith("Known")  # one observation a group, which needs sigma fixed
    specification = parse_formula(description.example)
    assert build_design(specification, datasets.load(name), known_sigma=1.0 if known_variance else None).n > 0


def test_every_file_is_in_the_catalogue():
    folder = files("bayesmm.datasets") / "files"
    stored = {entry.name for entry in folder.iterdir() if ".csv" in entry.name}
    assert stored == {datasets.describe(name).file for name in datasets.names()}


def test_catalogue_and_reference_schema_describe_the_same_columns():
    known = {name.lower(): entry for name, entry in schema().items()}
    for name in datasets.names():
        description = datasets.describe(name)
        assert description.rows == known[name]["rows"]
        assert [column.name for column in description.columns] == list(known[name]["columns"])


@pytest.mark.parametrize("spelling", ["eight_schools", "Eight Schools", "EIGHT-SCHOOLS", "eightschools"])
def test_spelling_of_a_name_is_forgiven(spelling):
    assert datasets.describe(spelling).name == "eight_schools"


def test_unknown_name_error_suggests_and_lists():
    with pytest.raises(DatasetError, match=r"'sleepstudi'.*Did you mean 'sleepstudy'\?.*Bundled are: assay, ") as error:
        datasets.load("sleepstudi")
    assert "verbagg" in str(error.value)


def test_name_unlike_any_other_gets_the_list_alone():
    with pytest.raises(DatasetError, match="Bundled are") as error:
        datasets.describe("qqqq")
    assert "Did you mean" not in str(error.value)


def test_name_that_is_not_text_is_refused():
    with pytest.raises(DatasetError, match="data set 3"):
        datasets.describe(3)


def test_description_prints_source_columns_and_units():
    text = str(datasets.describe("orthodont"))
    assert text.startswith("orthodont: Orthodontic growth\n108 rows, 4 columns\n")
    for part in ("distance", "mm", "years", "factor, 27 levels", "(Female, Male)", "Potthoff", "Biometrika", "nlme"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 100
    assert repr(datasets.describe("orthodont")) == text


def test_description_escapes_html():
    assert "Chapman &amp; Hall" in datasets.describe("bodyweight")._repr_html_()
    assert "<td" in datasets.describe("bodyweight")._repr_html_()


def test_names_and_descriptions_need_no_pandas():
    code = "import sys, bayesmm.datasets as d; d.describe(d.names()[0]); sys.exit('pandas' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_public_names_of_datasets():
    assert dir(datasets) == [
        "Column", "Description", "Simulation", "describe", "load", "names",
        "simulate_crossed", "simulate_dyads", "simulate_longitudinal", "simulate_nested", "simulate_pedigree",
    ]  # fmt: skip
    for name in dir(datasets):
        assert getattr(datasets, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'simulate_anything'"):
        datasets.simulate_anything  # noqa: B018
