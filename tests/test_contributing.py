"""What a contributor relies on: one definition of the checks, a citation and a wheel that say what the project is."""

import re
import tomllib
from pathlib import Path
from zipfile import ZipFile

import documents
import pytest
from hatchling.builders.wheel import WheelBuilder

import bayesmm

ROOT = documents.ROOT
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
PRE_COMMIT = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
CITATION = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGES = [*documents.PAGES, ROOT / "benchmarks" / "README.md"]
PATH = re.compile(r"`(\w[\w.-]*(?:/[\w.-]+)*/?)`")  # not `.json`, the ending of a file
KINDS = (".py", ".md", ".toml", ".json", ".cff", "/")
FOLDERS = ("bayesmm", "tests", "docs", "examples", "benchmarks")


def prerequisites(target):
    (found,) = re.findall(rf"^{target}:([^#\n]*)", MAKEFILE, re.MULTILINE)
    return found.split()


def commands(target):
    (found,) = re.findall(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    return [line.strip() for line in found.splitlines()]


def value(key):
    (found,) = re.findall(rf"^{key}: (.+)$", CITATION, re.MULTILINE)
    return found.strip('"')


def test_hooks_before_a_commit_are_the_checks_of_continuous_integration():
    checks = prerequisites("check")
    assert re.findall(r"^ +entry: (.+)$", PRE_COMMIT, re.MULTILINE) == [f"make {check}" for check in checks]
    assert len(checks) == len(re.findall(r"^ +- id: ", PRE_COMMIT, re.MULTILINE)) >= 4
    run = re.findall(r"^make .*", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert run == ["make test", "make --jobs=2 --output-sync=target check docs"]


def test_hooks_look_at_everything_as_continuous_integration_does():
    assert PRE_COMMIT.count("pass_filenames: false") == len(prerequisites("check"))
    assert not re.findall(r"^ +(files|exclude|types|types_or|stages):", PRE_COMMIT, re.MULTILINE)


def test_each_check_is_one_command_of_the_development_environment():
    tools = {}
    for check in prerequisites("check"):
        assert prerequisites(check) == ["install"]
        (command,) = commands(check)
        tools[check] = command.removeprefix(".venv/bin/")
    assert tools == {
        "lint": "ruff check .",
        "layout": "ruff format --check .",
        "types": "pyright",
        "floors": "lint-imports",
    }


def test_make_targets_that_the_pages_name_are_there():
    named = {name for page in PAGES for name in re.findall(r"\bmake (?:\w+=\S+ )*([a-z]+)\b`", page.read_text("utf-8"))}
    assert named >= {"check", "test", "lint", "install"}
    (phony,) = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    assert named <= set(phony.split())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_are_there(page):
    """A path from the top, from the package or from the page's folder; a bare name is that of some file."""
    names = {path.name for folder in FOLDERS for path in [ROOT / folder, *(ROOT / folder).rglob("*")]}
    for path in PATH.findall(page.read_text(encoding="utf-8")):
        if path.endswith(KINDS):
            there = [(folder / path).exists() for folder in (ROOT, ROOT / "bayesmm", page.parent)]
            assert any(there) or path.strip("/") in names, f"{page.name} names {path}, which is not there"


def test_citation_is_of_this_version_and_says_what_the_package_says():
    assert value("cff-version") == "1.2.0"
    assert value("version") == PROJECT["version"] == bayesmm.__version__
    assert value("license") == PROJECT["license"]
    assert re.findall(r"^  - (?!name)(.+)$", CITATION, re.MULTILINE) == PROJECT["keywords"]
    holder = re.search(r"Copyright \(c\) \d+ (.+)", (ROOT / "LICENSE").read_text(encoding="utf-8"))
    assert holder
    assert f"  - name: {holder[1]}\n" in CITATION
    assert value("title").startswith("bayesmm: ")
    assert value("message")


def test_wheel_says_that_it_is_typed_and_leaves_nothing_of_the_package_out(tmp_path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with ZipFile(wheel) as archive:
        packed = {Path(name) for name in archive.namelist()}
    package = ROOT / "bayesmm"
    files = {
        path.relative_to(ROOT) for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in packed if path.parts[0] == "bayesmm"} == files
    assert Path("bayesmm/py.typed") in packed
