"""What help() says: every public function and method explains its arguments, its result and its errors, and has an example that runs."""

from __future__ import annotations

import ast
import doctest
import inspect
import re
import warnings
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from types import ModuleType
from typing import Any

import pytest
from matplotlib import pyplot

import bayesmm as bmm
from bayesmm.errors import BayesmmWarning

PACKAGE = Path(bmm.__file__).parent
MODULES = (bmm, bmm.datasets, bmm.priors, bmm.errors)
# What a dialog, a browser or hours are needed for: its example is read, not run.
SKIPPED = {"Fit.explore", "Model.calibrate", "Calibration.to_datatree", "PublicationTable.great_table", "Calibration"}


def shown_classes() -> dict[str, type]:
    """Classes that a notebook shows: the results, and the model."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any(getattr(each, "name", "") == "_repr_html_" for each in node.body):
                module = ".".join(("bayesmm", *path.relative_to(PACKAGE).with_suffix("").parts))
                found[node.name] = getattr(import_module(module), node.name)
    return found


CLASSES = {name: kind for name, kind in sorted(shown_classes().items()) if name != "TextTable"}  # that is pandas' own


def functions() -> dict[str, Any]:
    found = {}
    for module in MODULES[:2]:
        for name in dir(module):
            value = getattr(module, name)
            if inspect.isfunction(value):
                found[f"{module.__name__}.{name}"] = value
    for owner, kind in CLASSES.items():
        for name, value in vars(kind).items():
            if not name.startswith("_") and inspect.isfunction(value):
                found[f"{owner}.{name}"] = value
    return found


FUNCTIONS = functions()


def raises_itself(function: Any) -> bool:
    tree = ast.parse(dedent(inspect.getsource(inspect.unwrap(function))))
    return any(isinstance(node, ast.Raise) and node.exc is not None for node in ast.walk(tree))


def sections(text: str) -> list[str]:
    return re.findall(r"^(\w+)\n-{3,}$", text, re.MULTILINE)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_help_has_arguments_results_errors_and_an_example(name):
    function = FUNCTIONS[name]
    text = inspect.getdoc(function)
    assert text
    first = text.splitlines()[0]
    assert first.endswith("."), first
    taken = [each for each in inspect.signature(function).parameters if each != "self"]
    found = sections(text)
    wanted = ["Parameters"] * bool(taken) + ["Returns", "Examples"] + ["Raises"] * raises_itself(function)
    assert [each for each in wanted if each not in found] == []
    order = ["Parameters", "Returns", "Yields", "Raises", "Warns", "Notes", "References", "Examples"]
    assert sorted(found, key=order.index) == found
    for parameter in taken:
        assert re.search(rf"\b{parameter}\b", text), parameter
    assert max(map(len, text.splitlines())) <= 120


@pytest.fixture(scope="module")
def sampled():
    return {}


@pytest.mark.filterwarnings("ignore:Estimated shape parameter of Pareto")
@pytest.mark.parametrize("name", [name for name in [*FUNCTIONS, *CLASSES] if name not in SKIPPED])
def test_examples_say_what_is_so(name, sampled, monkeypatch):
    value = FUNCTIONS.get(name) or CLASSES[name]
    usual = bmm.Model.sample

    def sample(self, **how):  # the same posterior for all examples that ask for it
        key = self.specification.shown, *sorted(how.items())
        if key not in sampled:
            sampled[key] = usual(self, **how)
        return sampled[key]

    monkeypatch.setattr(bmm.Model, "sample", sample)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    tests = [each for each in doctest.DocTestFinder(recurse=False).find(value, name, globs={}) if each.examples]
    assert tests
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", BayesmmWarning)  # of few simulations
        for each in tests:
            runner.run(each, out=said.append)
    pyplot.close("all")
    assert runner.summarize(verbose=False).failed == 0, "".join(said)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_completion_offers_public_names_only(module: ModuleType):
    names = dir(module)
    assert names
    assert [name for name in names if name.startswith("_") and name != "__version__"] == []
    for name in names:
        value = getattr(module, name)
        assert getattr(value, "__module__", "bayesmm").startswith("bayesmm"), name
        assert isinstance(value, (ModuleType, str)) or inspect.getdoc(value), name
