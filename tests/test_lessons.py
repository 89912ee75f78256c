"""The lessons in `examples/lessons/`: their parts, and notebooks that say the same. `make docs` executes them."""

import importlib.util
import json
import re

import documents
import pytest

pytest.importorskip("jupytext")
HERE = documents.ROOT / "examples" / "lessons"
LESSONS = sorted(HERE.glob("*.py"))
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")

_specification = importlib.util.spec_from_file_location(
    "notebooks", documents.ROOT / "docs" / "sphinx" / "notebooks.py"
)
notebooks = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(notebooks)

every_lesson = pytest.mark.parametrize("lesson", LESSONS, ids=lambda path: path.stem)


def cells(lesson, kind):
    """Cells of one kind, as the notebook beside a lesson has them."""
    found = json.loads(lesson.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
    return [cell | {"source": "".join(cell["source"])} for cell in found if cell["cell_type"] == kind]


def test_there_are_seven_lessons_and_a_notebook_of_each():
    assert [lesson.stem[:2] for lesson in LESSONS] == [f"{number}_" for number in range(1, 8)]
    assert sorted(path.stem for path in HERE.glob("*.ipynb")) == [lesson.stem for lesson in LESSONS]


@every_lesson
def test_notebook_is_made_from_the_script(lesson):
    written = lesson.with_suffix(".ipynb").read_text(encoding="utf-8")
    assert written == notebooks.notebook(lesson), "Run `make lessons`."


@every_lesson
def test_notebook_has_no_outputs(lesson):
    for cell in cells(lesson, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@every_lesson
def test_lesson_begins_with_its_number_and_a_question(lesson):
    first = cells(lesson, "markdown")[0]["source"]
    assert first.startswith(f"# {lesson.stem[0]}. ")
    assert "?" in first


@every_lesson
def test_lesson_asks_for_predictions_and_ends_with_what_to_remember(lesson):
    texts = [cell["source"] for cell in cells(lesson, "markdown")]
    assert sum(text.count("**Predict") for text in texts) >= 2
    assert "## What to remember" in texts[-1]


@every_lesson
def test_every_exercise_has_a_hidden_solution_that_checks_itself(lesson):
    everything = json.loads(lesson.with_suffix(".ipynb").read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in everything]
    start = next(number for number, text in enumerate(texts) if re.search("^## Exercises", text, re.MULTILINE))
    exercises = len(re.findall(r"^\*\*\d\.\*\*", "\n".join(texts[start:]), re.MULTILINE))
    hidden = [cell for cell in everything[start:] if "hide-cell" in cell["metadata"].get("tags", ())]
    assert exercises == len(hidden) >= 2
    for solution in hidden:
        assert solution["cell_type"] == "code"
        assert "assert " in "".join(solution["source"])


@every_lesson
def test_code_compiles(lesson):
    for cell in cells(lesson, "code"):
        compile(cell["source"], lesson.name, "exec")


@every_lesson
def test_links_lead_to_files(lesson):
    for target in LINK.findall(lesson.read_text(encoding="utf-8")):
        assert (HERE / target).exists(), f"{lesson.name} links to {target}, which is not there"


def test_page_of_lessons_lists_each():
    page = (documents.ROOT / "docs" / "lessons.md").read_text(encoding="utf-8")
    assert [lesson.name for lesson in LESSONS if f"(../examples/lessons/{lesson.name})" not in page] == []
